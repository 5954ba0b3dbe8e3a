"""One request and its answer, in process or over a socket.

Laws of this file:
- Both ways take the same record and give the same record back.
- A request is sent as it is written: no header is added but `Host` and the framing of the body.
"""

import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import anyio
import attrs
import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from gateway_conformance.lines import CHUNK, INTERIM, NO_ANSWER, SHOWN, Line, Response, connected
from gateway_conformance.rules import NotJudged

Message = MutableMapping[str, Any]
Asgi = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

PATIENCE: Final = 20.0
"""Seconds that an answer may take: 8 MiB bodies on a busy machine included."""

PATIENCE_WITHOUT_BODY: Final = 3.0
"""Seconds that an answer may take when the body is declared and never sent: nothing else is there to wait for."""

LARGE: Final = 1 << 20
"""Bytes of a body from which on the answer may come, and the connection end, while the body is still being sent."""

HERE: Final = "127.0.0.1"
"""Where requests come from that do not say it, in process: as over a socket on one machine."""


@attrs.frozen(kw_only=True)
class Request:
    """One request. *path* is the whole one, percent-encoded, with the query; *headers* may name one header twice.

    A *chunked* body is sent without its length. A *withheld* one is declared by the headers and never sent. *address*
    is one of the caller's own that the request is sent from, where that is not left to the machine.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunked: bool = False
    withheld: bool = False
    address: str | None = None

    def without(self, name: str) -> "Request":
        """Return the request without the header *name*."""
        return attrs.evolve(self, headers=tuple(pair for pair in self.headers if pair[0].lower() != name.lower()))

    def having(self, name: str, value: str) -> "Request":
        """Return the request with the header *name* once, and with this *value*."""
        return attrs.evolve(self, headers=(*self.without(name).headers, (name, value)))

    def framed(self) -> "Request":
        """Return the request with the header that says where its body ends (RFC 9112, section 6)."""
        if self.chunked:
            return self.having("Transfer-Encoding", "chunked")
        return self.having("Content-Length", str(len(self.body)))

    def head(self, host: str) -> bytes:
        """Return its head as it is sent to *host*, with no more headers than it has."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def curl(self, origin: str) -> str:
        """Return a line for a shell that sends the request."""
        words = ["curl", "-i", "-X", self.method]
        words += [] if self.address is None else ["--interface", self.address]
        for name, value in self.headers:
            words += ["-H", f"{name}: {value}"]
        if self.chunked:
            words += ["-H", "Transfer-Encoding: chunked"]
        body = self.body.decode("utf-8", "replace")
        if body and not self.withheld:
            more = f"... ({len(self.body)} bytes)" if len(body) > SHOWN else ""
            words += ["--data-binary", body[:SHOWN] + more]
        return shlex.join([*words, origin + self.path])


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

    def hold(self, request: Request) -> AbstractContextManager[Callable[[], Response]]:
        """Keep *request* in work until the end of the block: its body is wanted, and does not come.

        What is given sends the body, and returns what came.

        Raises:
            NotHeldError: it was answered before anybody wanted the body.
        """

    def connect(self) -> AbstractContextManager[Line]:
        """Return a new connection until the end of the block.

        Raises:
            NotJudged: there is no socket.
        """


class NotHeldError(Exception):
    """A request that should wait for its body was answered at once; the text says how."""


@attrs.frozen(kw_only=True)
class InProcess:
    """Reaches an ASGI app. Made by `in_process`, which ends it."""

    app: Asgi
    portal: BlockingPortal
    origin: str = "http://gateway.test"

    def exchange(self, request: Request) -> Response:
        """Send *request* and return what came."""
        return self.portal.call(_exchange, self._from(request), self.origin, request, _content(request))

    @contextmanager
    def hold(self, request: Request) -> Iterator[Callable[[], Response]]:
        """Keep *request* in work until the end of the block."""
        body = _Late(body=request.body, wanted=self.portal.call(anyio.Event), sent=self.portal.call(anyio.Event))
        sent = request.framed()
        answered = self.portal.start_task_soon(_exchange, self._from(request), self.origin, sent, body.parts())
        if not self.portal.call(_is_wanted, body, PATIENCE_WITHOUT_BODY):
            self.portal.call(body.sent.set)
            message = f"{request.method} {request.path}: {answered.result(timeout=PATIENCE)}"
            raise NotHeldError(message)

        def finish() -> Response:
            self.portal.call(body.sent.set)
            return answered.result(timeout=PATIENCE)

        try:
            yield finish
        finally:
            finish()

    def connect(self) -> AbstractContextManager[Line]:
        """Refuse: there is nothing to connect to."""
        lacking = "a socket to send bytes over"
        raise NotJudged(lacking)

    def _from(self, request: Request) -> httpx.AsyncBaseTransport:
        caller = (request.address or HERE, 50_000)
        return httpx.ASGITransport(self.app, raise_app_exceptions=False, client=caller)


@attrs.frozen(kw_only=True)
class OverSocket:
    """Reaches a gateway at *origin*, `http://host:port`. Made by `over_socket`, which ends it."""

    origin: str
    portal: BlockingPortal
    line: httpx.AsyncHTTPTransport
    app: None = None

    def exchange(self, request: Request) -> Response:
        """Send *request* and return what came."""
        if request.withheld:
            return self._told(request, self._head(request), PATIENCE_WITHOUT_BODY)
        if len(request.body) > LARGE:
            return self._told(request, self._head(request.framed()) + _framed_body(request), PATIENCE)
        if request.address is None:
            return self.portal.call(_exchange, self.line, self.origin, request, _content(request))
        return self.portal.call(_exchange_from, request.address, self.origin, request)

    @contextmanager
    def hold(self, request: Request) -> Iterator[Callable[[], Response]]:
        """Keep *request* in work until the end of the block: whoever says `100 Continue` wants the body."""
        asking = request.framed().having("Expect", "100-continue")
        with self._connected(request) as line:
            line.send(self._head(asking), patience=PATIENCE)
            interim = line.answer(patience=PATIENCE_WITHOUT_BODY)
            if interim.status != INTERIM:
                message = f"{request.method} {request.path}: {interim}"
                raise NotHeldError(message)
            finished: list[Response] = []

            def finish() -> Response:
                if not finished:
                    line.send(request.body, patience=PATIENCE)
                    finished.append(line.answer(patience=PATIENCE))
                return finished[0]

            try:
                yield finish
            finally:
                finish()

    def connect(self) -> AbstractContextManager[Line]:
        """Return a new connection until the end of the block."""
        return self._connected(None)

    def _connected(self, request: Request | None) -> AbstractContextManager[Line]:
        address = urlsplit(self.origin)
        source = None if request is None else request.address
        return connected(address.hostname or "", address.port or 80, source=source)

    def _told(self, request: Request, sent: bytes, patience: float) -> Response:
        with self._connected(request) as line:
            line.send(sent, patience=PATIENCE)
            return line.answer(patience=patience)

    def _head(self, request: Request) -> bytes:
        return request.head(urlsplit(self.origin).netloc)


@attrs.frozen(kw_only=True)
class Placed:
    """Reaches a gateway from the *addresses*, one after the other, and from wherever when there are no more."""

    transport: Transport
    addresses: Iterator[str]

    @property
    def origin(self) -> str:
        """Scheme and authority, as they stand before a path."""
        return self.transport.origin

    @property
    def app(self) -> Asgi | None:
        """The gateway itself, where it is in this process."""
        return self.transport.app

    def exchange(self, request: Request) -> Response:
        """Send *request* from the next address and return what came."""
        return self.transport.exchange(self._placed(request))

    def hold(self, request: Request) -> AbstractContextManager[Callable[[], Response]]:
        """Keep *request*, from the next address, in work until the end of the block."""
        return self.transport.hold(self._placed(request))

    def connect(self) -> AbstractContextManager[Line]:
        """Return a new connection, from wherever, until the end of the block."""
        return self.transport.connect()

    def _placed(self, request: Request) -> Request:
        return request if request.address else attrs.evolve(request, address=next(self.addresses, None))


@contextmanager
def in_process(app: Asgi) -> Iterator[InProcess]:
    """Run *app* on an event loop of its own thread, from its start-up to its shutdown."""
    with start_blocking_portal() as portal:
        stop = portal.call(anyio.Event)
        lifespan, _ = portal.start_task(_live, app, stop)
        yield InProcess(app=app, portal=portal)
        portal.call(stop.set)
        lifespan.result(timeout=PATIENCE)


@contextmanager
def over_socket(origin: str) -> Iterator[OverSocket]:
    """Keep connections to the gateway at *origin*."""
    with start_blocking_portal() as portal:
        line = httpx.AsyncHTTPTransport()
        yield OverSocket(origin=origin, portal=portal, line=line)
        portal.call(line.aclose)


Content = bytes | AsyncIterator[bytes] | None


async def _exchange(line: httpx.AsyncBaseTransport, origin: str, request: Request, content: Content) -> Response:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]
    sent = httpx.Request(request.method, origin + request.path, headers=headers, content=content)
    with anyio.move_on_after(PATIENCE_WITHOUT_BODY if request.withheld else PATIENCE):
        answer = await line.handle_async_request(sent)
        body = await answer.aread()
        await answer.aclose()
        pairs = tuple((name.lower(), value) for name, value in answer.headers.multi_items())
        return Response(status=answer.status_code, headers=pairs, body=body)
    return NO_ANSWER


async def _exchange_from(address: str, origin: str, request: Request) -> Response:
    """Send *request* from an *address* of this machine, over a connection of its own."""
    async with httpx.AsyncHTTPTransport(verify=False, local_address=address) as line:
        return await _exchange(line, origin, request, _content(request))


def _content(request: Request) -> Content:
    if request.withheld:
        return _never()
    if request.chunked:
        return _chunks(request.body)
    return request.body or None


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK):
        yield body[start : start + CHUNK]


async def _never() -> AsyncIterator[bytes]:
    await anyio.sleep_forever()
    yield b""


@attrs.frozen(kw_only=True)
class _Late:
    """A body that comes when it is told to; *wanted* is set when somebody reads it."""

    body: bytes
    wanted: anyio.Event
    sent: anyio.Event

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        self.wanted.set()
        await self.sent.wait()
        yield self.body


async def _is_wanted(body: _Late, seconds: float) -> bool:
    with anyio.move_on_after(seconds):
        await body.wanted.wait()
    return body.wanted.is_set()


def _framed_body(request: Request) -> bytes:
    if not request.chunked:
        return request.body
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(request.body), request.body)


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
