"""The provider `anthropic` over real sockets: what it asks, what comes back, and how it fails."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.upstream.registry import Providers
from dragoman.model import Provider
from dragoman.ports import Fault, Upstream, UpstreamError
from engines import LONG, NOW, fault, until
from sink import EVENTS, MESSAGE, End, Reply, Sink, Wait, named, sinking, stream, whole

Document = Mapping[str, Any]

ASKED: Final[Document] = {
    "model": "general",
    "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}],
    "max_tokens": 9,
}


def error(kind: str) -> Document:
    """Return an error of this *kind*, as Anthropic words it."""
    return {"type": "error", "error": {"type": kind, "message": "canary"}, "request_id": "req_canary"}


def events(*documents: Document | Wait | End) -> Reply:
    """Return a streamed answer of *documents*."""
    return stream(*[named(one) if isinstance(one, Mapping) else one for one in documents], end=b"")


@asynccontextmanager
async def upstream(sink: Sink, path: str = "/v1") -> AsyncIterator[Upstream]:
    """Ask *sink* as a provider of this kind until the end of the block."""
    providers = Providers(secret={"env:KEY": "anthropic-key"}.__getitem__, now=lambda: NOW)
    providers.replace([Provider(name="a", kind="anthropic", base_url=sink.url(path), key="env:KEY", private=True)])
    try:
        yield providers.upstream("a")
    finally:
        await providers.aclose()


def answer_to(reply: Reply, document: Document = ASKED) -> Document | UpstreamError:
    """Return what a whole *reply* becomes."""

    async def ask() -> Document | UpstreamError:
        async with sinking(lambda _: reply) as sink, upstream(sink) as made:
            try:
                return await made.chat(document, model="claude", timeouts=LONG)
            except UpstreamError as raised:
                return raised

    return asyncio.run(ask())


def stream_of(reply: Reply) -> tuple[list[Document], UpstreamError | None]:
    """Return the chunks of a streamed *reply*, and how it fails, if it does."""

    async def ask() -> tuple[list[Document], UpstreamError | None]:
        came: list[Document] = []
        async with sinking(lambda _: reply) as sink, upstream(sink) as made:
            try:
                opened = await made.chat_stream(ASKED, model="claude", timeouts=LONG)
                async for batch in opened:
                    came += batch
            except UpstreamError as raised:
                return came, raised
            await opened.aclose()
            return came, None

    return asyncio.run(ask())


def text_of(chunks: list[Document]) -> str:
    """Return what *chunks* say."""
    return "".join(piece["delta"].get("content") or "" for one in chunks for piece in one["choices"])


@confirms("ADR-0038.R1")
@pytest.mark.parametrize("path", ["/v1", "", "/v1/"])
def test_a_request_is_one_of_the_messages_api(path: str) -> None:
    """Path, version, key and document are Anthropic's, with and without the version in the base URL."""

    async def test() -> Sink:
        async with sinking() as sink, upstream(sink, path) as made:
            await made.chat(ASKED, model="claude", timeouts=LONG)
            return sink

    [received] = asyncio.run(test()).requests
    assert ("/v1/messages", "anthropic-key", "2023-06-01") == (
        received.path,
        received.headers["x-api-key"],
        received.headers["anthropic-version"],
    )
    assert "authorization" not in received.headers
    assert ("claude", 9, False) == (
        received.document["model"],
        received.document["max_tokens"],
        "stream" in received.document,
    )


def test_an_answer_is_a_chat_completion() -> None:
    """Content, finish reason and usage are in OpenAI's places."""
    made = answer_to(whole(MESSAGE))

    assert not isinstance(made, UpstreamError)
    choice = made["choices"][0]
    assert ("hello there", "stop") == (choice["message"]["content"], choice["finish_reason"])
    assert (5, 2) == (made["usage"]["prompt_tokens"], made["usage"]["completion_tokens"])


def test_a_stream_is_one_of_chunks() -> None:
    """Events become chunks; what says nothing becomes none."""
    chunks, raised = stream_of(events(*EVENTS))

    assert ("hello there", None) == (text_of(chunks), raised)
    assert "assistant" == chunks[0]["choices"][0]["delta"]["role"]


@confirms("ADR-0038.R12")
@pytest.mark.parametrize("count", range(1, len(EVENTS)))
def test_a_stream_without_its_stop_is_cut(count: int) -> None:
    """Wherever it ends, before `message_stop` it is not whole, and what came is given."""
    for reply in (events(*EVENTS[:count]), events(*EVENTS[:count], Wait(0.05), End(reset=True))):
        chunks, raised = stream_of(reply)

        assert "hello there".startswith(text_of(chunks))
        assert raised is not None
        assert Fault.CUT is raised.fault


@confirms("ADR-0038.R2")
@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", Fault.REJECTED),
        (401, "authentication_error", Fault.DENIED),
        (403, "permission_error", Fault.DENIED),
        (404, "not_found_error", Fault.REJECTED),
        (413, "request_too_large", Fault.REJECTED),
        (429, "rate_limit_error", Fault.LIMITED),
        (500, "api_error", Fault.FAILED),
        (529, "overloaded_error", Fault.FAILED),
    ],
)
def test_an_error_is_a_fault(status: int, kind: str, expected: Fault) -> None:
    """Statuses mean what they mean elsewhere, with the delay that is asked for, and without a word of the text."""
    raised = answer_to(whole(error(kind), status, retry_after="12"))

    assert isinstance(raised, UpstreamError)
    assert (expected, status, 12.0, None) == (raised.fault, raised.status, raised.retry_after, raised.code)
    assert "canary" not in f"{raised!r} {vars(raised)}"


@confirms("ADR-0038.R2")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("overloaded_error", Fault.FAILED), ("rate_limit_error", Fault.LIMITED), ("api_error", Fault.FAILED)],
)
def test_an_error_inside_of_a_stream_is_a_fault(kind: str, expected: Fault) -> None:
    """Before the first chunk and after it; so is one in place of a whole answer."""
    for reply, text in ((events(error(kind)), ""), (events(*EVENTS[:4], error(kind), *EVENTS[4:]), "hello")):
        chunks, raised = stream_of(reply)
        assert raised is not None
        assert (text, expected) == (text_of(chunks), raised.fault)
    told = answer_to(whole(error(kind)))
    assert isinstance(told, UpstreamError)
    assert expected is told.fault


GARBLED: Final = [
    whole({"type": "message", "content": "text", "stop_reason": "end_turn"}),
    whole(b"<html>", content_type="text/html"),
    whole({**MESSAGE, "stop_reason": None}),
]


@confirms("ADR-0038.R2")
@pytest.mark.parametrize("reply", GARBLED, ids=str)
def test_what_is_no_message_is_garbled(reply: Reply) -> None:
    """A form that nobody agreed on is no answer."""
    raised = answer_to(reply)

    assert isinstance(raised, UpstreamError)
    assert Fault.GARBLED is raised.fault


@pytest.mark.parametrize("sent", [[EVENTS[3]], [EVENTS[0], EVENTS[0]], [{"type": 7}]], ids=str)
def test_events_out_of_order_are_garbled(sent: list[Document]) -> None:
    """So are events that cannot come where they do."""
    _, raised = stream_of(stream(*[b"data: " + orjson.dumps(one) + b"\n\n" for one in sent], end=b""))

    assert raised is not None
    assert Fault.GARBLED is raised.fault


@confirms("ADR-0038.R14")
def test_what_has_no_word_is_rejected_by_its_place() -> None:
    """A request that cannot be translated is not sent; the place is the caller's own."""

    async def test() -> tuple[UpstreamError, UpstreamError, int]:
        async with sinking() as sink, upstream(sink) as made:
            chat = await fault(made.chat({**ASKED, "logprobs": True}, model="claude", timeouts=LONG))
            embedding = await fault(made.embed({"input": "a"}, model="claude", timeouts=LONG))
            return chat, embedding, sink.connections

    chat, embedding, connections = asyncio.run(test())
    assert (Fault.REJECTED, "unsupported_parameter", "logprobs") == (chat.fault, chat.code, chat.param)
    assert (Fault.REJECTED, "unsupported_value", "model") == (embedding.fault, embedding.code, embedding.param)
    assert 0 == connections


@confirms("ADR-0038.R4")
def test_a_stream_that_is_left_closes_its_connection() -> None:
    """As with every other provider."""

    async def test() -> float:
        async with sinking(lambda _: events(*EVENTS[:4], Wait(None))) as sink, upstream(sink) as made:
            opened = await made.chat_stream(ASKED, model="claude", timeouts=LONG)
            await opened.aclose()
            return await until(lambda: sink.open == 0)

    assert asyncio.run(test()) < 1.0
