"""Asking webhooks over real sockets: one question, one answer, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import orjson
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.webhook import HttpWebhooks
from dragoman.guardrails import Webhook, WebhookUnavailableError
from process import LOOPBACK

QUESTION: Final[Mapping[str, Any]] = {"guardrail": "guard", "stage": "input", "texts": ["hi"]}
ANSWER: Final = b'{"findings":[]}'
Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


def whole(content: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """Return a response."""
    head = [f"HTTP/1.1 {status}", f"content-length: {len(content)}", "connection: close", *headers, "", ""]
    return "\r\n".join(head).encode() + content


@attrs.define
class Server:
    """What a server was sent, and where it is."""

    answering: Answering
    port: int = 0
    heads: list[bytes] = attrs.field(factory=list)
    bodies: list[bytes] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{LOOPBACK}:{self.port}/v1/look?a=b"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(int(length.partition(b":")[2])))
        try:
            await self.answering(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[Server]:
    """Give a server that answers so."""
    server = Server(answering)
    listening = await asyncio.start_server(server.serve, LOOPBACK, 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


def sending(content: bytes) -> Answering:
    """Return what sends *content* at once."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return send


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Send an answer so slowly that every read is in time and the whole is not."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silent(writer: asyncio.StreamWriter) -> None:
    """Send nothing, for long."""
    del writer
    await asyncio.sleep(30)


async def endless(writer: asyncio.StreamWriter) -> None:
    """Send more than anybody wants, without saying how much it is."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
        await writer.drain()


@asynccontextmanager
async def open_webhooks(**bounds: Any) -> AsyncIterator[HttpWebhooks]:  # noqa: ANN401 - of `HttpWebhooks`
    """Give what asks, and close its connections."""
    webhooks = HttpWebhooks(**bounds)
    try:
        yield webhooks
    finally:
        await webhooks.aclose()


async def ask(answering: Answering, **bounds: Any) -> object:  # noqa: ANN401 - of `open_webhooks`
    """Return what comes of a question to a server that answers so."""
    async with serving(answering) as server, open_webhooks(**bounds) as opened:
        webhook: Webhook = opened  # it fits the port
        return await webhook.ask(server.url, QUESTION)


def test_a_question_is_posted_as_json_and_the_answer_is_read() -> None:
    """It goes to the address as it is configured, with nobody's credential."""

    async def asking() -> tuple[object, Server]:
        async with serving(sending(whole(ANSWER))) as server, open_webhooks() as webhook:
            return await webhook.ask(server.url, QUESTION), server

    answer, server = asyncio.run(asking())

    assert {"findings": []} == answer
    assert [orjson.dumps(QUESTION)] == server.bodies
    assert server.heads[0].startswith(b"POST /v1/look?a=b HTTP/1.1\r\n")
    assert b"content-type: application/json" in server.heads[0].lower()
    assert b"authorization" not in server.heads[0].lower()


@confirms("ADR-0037.R9")
@pytest.mark.parametrize(
    "answering",
    [
        sending(whole(ANSWER, "500 Internal Server Error")),
        sending(whole(ANSWER, "201 Created")),
        sending(whole(b"", "204 No Content")),
        sending(whole(b"ok")),
        sending(whole(b"")),
        sending(whole(b'{"findings": NaN}')),
        sending(whole(ANSWER)[:-3]),
        sending(b"HTTP/1.1 what\r\n\r\n"),
        sending(b""),
    ],
)
def test_what_is_no_answer_is_told_as_none(answering: Answering) -> None:
    """Another status, no JSON, or a connection that ends too early."""
    with pytest.raises(WebhookUnavailableError) as raised:
        asyncio.run(ask(answering))

    assert ("", None, None) == (str(raised.value), raised.value.__cause__, raised.value.__context__)


@confirms("ADR-0037.R9")
@pytest.mark.parametrize("answering", [silent, dripping])
def test_a_question_has_one_deadline(answering: Answering) -> None:
    """Whether nothing comes or a little now and then, the task goes on soon."""

    async def asking() -> None:
        async with asyncio.timeout(20):  # a test that hangs fails
            with pytest.raises(WebhookUnavailableError):
                await ask(answering, deadline=0.2)

    asyncio.run(asking())


@confirms("ADR-0037.R9")
@pytest.mark.parametrize("answering", [endless, sending(whole(b'"' + b" " * 5000 + b'"'))])
def test_an_answer_that_is_too_large_is_none(answering: Answering) -> None:
    """Whether it says so or not; no more is read."""
    with pytest.raises(WebhookUnavailableError):
        asyncio.run(ask(answering, largest=4096))


@confirms("ADR-0037.R9")
def test_a_redirect_is_not_followed() -> None:
    """Nobody but the address that is configured is asked."""

    async def asking() -> list[bytes]:
        async with serving(sending(whole(ANSWER))) as other:
            redirect = whole(b"", "307 Temporary Redirect", f"location: {other.url}")
            async with serving(sending(redirect)) as server, open_webhooks() as webhook:
                with pytest.raises(WebhookUnavailableError):
                    await webhook.ask(server.url, QUESTION)
            return other.heads

    assert [] == asyncio.run(asking())


@confirms("ADR-0037.R9")
def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question does not go where a variable says."""

    async def asking() -> tuple[object, list[bytes]]:
        async with serving(sending(whole(ANSWER))) as proxy, serving(sending(whole(ANSWER))) as server:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://{LOOPBACK}:{proxy.port}")
            async with open_webhooks() as webhook:
                return await webhook.ask(server.url, QUESTION), proxy.heads

    assert ({"findings": []}, []) == asyncio.run(asking())


@pytest.mark.parametrize("url", [f"http://{LOOPBACK}:1/", "http://nowhere.invalid/", "no address", "http://[::1"])
def test_an_address_that_nobody_is_at_gives_no_answer(url: str) -> None:
    """Nor does one that is none."""

    async def asking() -> None:
        async with open_webhooks() as webhook:
            await webhook.ask(url, QUESTION)

    with pytest.raises(WebhookUnavailableError):
        asyncio.run(asking())


def test_a_text_that_is_no_utf_8_cannot_be_asked_about() -> None:
    """Nobody has looked at it then."""

    async def asking() -> None:
        async with serving(sending(whole(ANSWER))) as server, open_webhooks() as webhook:
            await webhook.ask(server.url, {"texts": ["\ud83d"]})

    with pytest.raises(WebhookUnavailableError) as raised:
        asyncio.run(asking())

    assert raised.value.__context__ is None
