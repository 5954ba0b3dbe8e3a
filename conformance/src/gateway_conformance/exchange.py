"""One request and its answer, in process or over a socket.

Laws of this file:
- Both ways take the same record and give the same record back.
- A request is sent as it is written: no header is added but `Host` and the framing of the body.
"""

import http.client
import json
import select
import shlex
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import anyio
import attrs
import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

Message = MutableMapping[str, Any]
Asgi = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

PATIENCE: Final = 20.0
"""Seconds that an answer may take: 8 MiB bodies on a busy machine included."""

PATIENCE_WITHOUT_BODY: Final = 3.0
"""Seconds that an answer may take when the body is declared and never sent: nothing else is there to wait for."""

LARGE: Final = 1 << 20
"""Bytes of a body from which on the answer may come, and the connection end, while the body is still being sent."""

SHOWN: Final = 800
"""Characters of a body that a curl line or a failure shows."""

_CHUNK: Final = 65536


@attrs.frozen(kw_only=True)
class Request:
    """One request. *path* is the whole one, percent-encoded, with the query; *headers* may name one header twice.

    A *chunked* body is sent without its length. A *withheld* one is declared by the headers and never sent.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunked: bool = False
    withheld: bool = False

    def without(self, name: str) -> "Request":
        """Return the request without the header *name*."""
        return attrs.evolve(self, headers=tuple(pair for pair in self.headers if pair[0].lower() != name.lower()))

    def having(self, name: str, value: str) -> "Request":
        """Return the request with the header *name* once, and with this *value*."""
        return attrs.evolve(self, headers=(*self.without(name).headers, (name, value)))

    def curl(self, origin: str) -> str:
        """Return a line for a shell that sends the request."""
        words = ["curl", "-i", "-X", self.method]
        for name, value in self.headers:
            words += ["-H", f"{name}: {value}"]
        if self.chunked:
            words += ["-H", "Transfer-Encoding: chunked"]
        body = self.body.decode("utf-8", "replace")
        if body and not self.withheld:
            more = f"... ({len(self.body)} bytes)" if len(body) > SHOWN else ""
            words += ["--data-binary", body[:SHOWN] + more]
        return shlex.join([*words, origin + self.path])


@attrs.frozen(kw_only=True)
class Response:
    """One answer; header names are in lower case. *status* is 0 when none came in time."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of the header *name*; None when it is missing or stands twice."""
        values = [value for key, value in self.headers if key == name.lower()]
        return values[0] if len(values) == 1 else None

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON, or None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __str__(self) -> str:
        """Return the status and the beginning of the body."""
        text = self.body[:SHOWN].decode("utf-8", "replace")
        return f"{self.status} {text}".rstrip() if self.status else "no answer in time"


NO_ANSWER: Final = Response(status=0)


class Transport(Protocol):
    """A way to a gateway."""

    @property
    def origin(self) -> str:
        """Scheme and authority, as they stand before a path."""

    @property
    def app(self) -> Asgi | None:
        """The gateway itself, where it is in this process."""

    def exchange(self, request: Request) -> Response:
        """Send *request* and return what came."""

    def exchange_bytes(self, sent: bytes) -> Response:
        """Send bytes that need not be HTTP, over a socket, and return what came."""


@attrs.frozen(kw_only=True)
class InProcess:
    """Reaches an ASGI app. Made by `in_process`, which ends it."""

    app: Asgi
    portal: BlockingPortal
    client: httpx.AsyncClient
    origin: str = "http://gateway.test"

    def exchange(self, request: Request) -> Response:
        """Send *request* and return what came."""
        return self.portal.call(_exchange, self.client, self.origin, request)

    def exchange_bytes(self, sent: bytes) -> Response:
        """Refuse: there is no line to send bytes over."""
        message = f"{len(sent)} raw bytes can be sent over a socket only"
        raise NotImplementedError(message)


@attrs.frozen(kw_only=True)
class OverSocket:
    """Reaches a gateway at *origin*, `http://host:port`. Made by `over_socket`, which ends it."""

    origin: str
    portal: BlockingPortal
    client: httpx.AsyncClient
    app: None = None

    def exchange(self, request: Request) -> Response:
        """Send *request* and return what came."""
        if request.withheld:
            return self.exchange_bytes(self._head(request))
        if len(request.body) > LARGE:
            return self.exchange_bytes(self._head(framed(request)) + _framed_body(request))
        return self.portal.call(_exchange, self.client, self.origin, request)

    def exchange_bytes(self, sent: bytes) -> Response:
        """Send bytes that need not be HTTP and return what came."""
        address = urlsplit(self.origin)
        with socket.create_connection((address.hostname, address.port)) as line:
            _send_listening(line, sent)
            line.settimeout(PATIENCE if len(sent) > LARGE else PATIENCE_WITHOUT_BODY)
            answer = http.client.HTTPResponse(line)
            try:
                answer.begin()
                body = answer.read()
            except (TimeoutError, http.client.HTTPException, ConnectionError):
                return NO_ANSWER
            headers = tuple((name.lower(), value) for name, value in answer.getheaders())
            return Response(status=answer.status, headers=headers, body=body)

    def _head(self, request: Request) -> bytes:
        lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {urlsplit(self.origin).netloc}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@contextmanager
def in_process(app: Asgi) -> Iterator[InProcess]:
    """Run *app* on an event loop of its own thread, from its start-up to its shutdown."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    with start_blocking_portal() as portal:
        stop = portal.call(anyio.Event)
        lifespan, _ = portal.start_task(_live, app, stop)
        client = httpx.AsyncClient(transport=transport)
        yield InProcess(app=app, portal=portal, client=client)
        portal.call(client.aclose)
        portal.call(stop.set)
        lifespan.result(timeout=PATIENCE)


@contextmanager
def over_socket(origin: str) -> Iterator[OverSocket]:
    """Keep connections to the gateway at *origin*."""
    with start_blocking_portal() as portal:
        client = httpx.AsyncClient(timeout=PATIENCE, trust_env=False)
        yield OverSocket(origin=origin, portal=portal, client=client)
        portal.call(client.aclose)


async def _exchange(client: httpx.AsyncClient, origin: str, request: Request) -> Response:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]
    content = _content(request)
    sent = httpx.Request(request.method, origin + request.path, headers=headers, content=content)
    with anyio.move_on_after(PATIENCE_WITHOUT_BODY if request.withheld else PATIENCE):
        answer = await client.send(sent)
        pairs = tuple((name.lower(), value) for name, value in answer.headers.multi_items())
        return Response(status=answer.status_code, headers=pairs, body=answer.content)
    return NO_ANSWER


def _content(request: Request) -> bytes | AsyncIterator[bytes] | None:
    if request.withheld:
        return _never()
    if request.chunked:
        return _chunks(request.body)
    return request.body or None


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _CHUNK):
        yield body[start : start + _CHUNK]


async def _never() -> AsyncIterator[bytes]:
    await anyio.sleep_forever()
    yield b""


def framed(request: Request) -> Request:
    """Return *request* with the header that says where its body ends (RFC 9112, section 6)."""
    if request.chunked:
        return request.having("Transfer-Encoding", "chunked")
    return request.having("Content-Length", str(len(request.body)))


def _framed_body(request: Request) -> bytes:
    if not request.chunked:
        return request.body
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(request.body), request.body)


def _send_listening(line: socket.socket, sent: bytes) -> None:
    """Send, and stop when something comes back: whoever answers early does not want the rest."""
    line.settimeout(0)  # never wait in `send`: the answer may come first
    rest = memoryview(sent)
    while rest:
        readable, _, _ = select.select([line], [line], [], PATIENCE)
        if readable:
            return
        rest = rest[line.send(rest[:_CHUNK]) :]


async def _live(app: Asgi, stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Run the lifespan of *app* (ASGI, lifespan protocol): start it, wait for *stop*, shut it down."""
    asked = [{"type": "lifespan.startup"}]

    async def receive() -> Message:
        if asked:
            return asked.pop()
        await stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            task_status.started(None)
        elif message["type"].endswith(".failed"):
            raise RuntimeError(message.get("message", message["type"]))

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
