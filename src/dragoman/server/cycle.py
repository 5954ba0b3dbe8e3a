"""One request of a connection and its answer, as an ASGI app sees them.

Laws of this file:
- A body is taken while its request is not answered, and an answer is sent while its caller is there.
- The head of an answer whose length is known goes out with its body, in one piece.

PERF: uvicorn's own takes twice as long, for what a gateway does not do: it searches every header singly, and goes
through an `asyncio.Event` for a body that came with its head.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE

from dragoman.errors import Kind, Refusal
from dragoman.server.wire import Lingering
from dragoman.web.context import Message

Headers = list[tuple[bytes, bytes]]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
BODILESS: Final = frozenset({204, 304})
"""The statuses whose answers have no body, whatever they say (RFC 9112, section 6.3)."""


class Cycle:
    """A request and its answer.

    *default_headers* come before those of the answer; *on_answered* is called when all of it is written. *expects* is
    whether the caller waits to be told to go on. *unread* is how many bytes have come and were not yet received;
    *disconnected* says that the caller has left, and *broken* what went wrong with the body.
    """

    __slots__ = (
        *("scope", "transport", "flow", "keep_alive", "unread", "disconnected", "response_complete", "broken"),
        *("_default_headers", "_expects", "_on_answered", "_pieces", "_more_body", "_news", "_waiting"),
        *("_started", "_held", "_left", "_has_no_body"),
    )

    def __init__(  # noqa: PLR0913, PLR0917 - PERF: what a connection knows of a request, by position
        self,
        scope: Message,
        transport: Lingering,
        flow: FlowControl,
        default_headers: Headers,
        keep_alive: bool,  # noqa: FBT001 - as above
        expects: bool,  # noqa: FBT001
        on_answered: Callable[[], None],
    ) -> None:
        """Take what the connection knows of the request."""
        self.scope = scope
        self.transport = transport
        self.flow = flow
        self.keep_alive = keep_alive
        self.unread = 0
        self.disconnected = False
        self.response_complete = False
        self.broken: Kind | None = None
        self._default_headers = default_headers
        self._expects = expects
        self._on_answered = on_answered
        self._pieces: list[bytes] = []
        self._more_body = True
        self._news = False  # something has come since `receive` returned
        self._waiting: asyncio.Future[None] | None = None
        self._started = False
        self._held = b""  # the head of an answer whose body is not there yet
        self._left: int | None = None  # how many bytes of the body are to come; None where only its end will tell
        self._has_no_body = False

    async def run(self, app: Any) -> None:  # noqa: ANN401 - uvicorn's type of an app is private
        """Let *app* answer; where it cannot, the connection is closed, and it has logged why."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001, S110 - PERF: contextlib.suppress takes longer
            pass
        finally:
            if not self.response_complete and not self.disconnected:
                self.transport.close()

    # What the caller sends

    def more(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(body)
        self.unread += len(body)
        self._expects = False  # RFC 9110, section 10.1.1: who sends does not wait to be told
        self.wake()

    def end(self) -> None:
        """Take the end of the body."""
        self._more_body = False
        self._expects = False
        self.wake()

    def break_off(self, kind: Kind) -> None:
        """Take that the body will not end: it is the answer, or the connection is closed behind the one that began."""
        if self.response_complete:
            self.transport.close()
        self.broken = kind
        self.keep_alive = False
        self._expects = False
        self.wake()

    def leave(self) -> None:
        """Take that the caller has left."""
        self.disconnected = True
        self.wake()

    def wake(self) -> None:
        """Let whoever waits in `receive` look again."""
        self._news = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def receive(self) -> Message:
        """Return the next piece of the body.

        Raises:
            Refusal: for a body that broke off: its framing is wrong, or it took too long.
        """
        if self._expects and not self.transport.is_closing():
            self.transport.write(CONTINUE)
            self._expects = False
        if not (self._news or self.disconnected or self.response_complete or self.broken):
            self.flow.resume_reading()
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._news = False
        if self.broken is not None:
            raise Refusal(self.broken)
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        pieces, self._pieces, self.unread = self._pieces, [], 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    # What the caller is sent

    async def send(self, message: Message) -> None:
        """Send a piece of the answer.

        Raises:
            RuntimeError: for a header that would be more than one, a body that is not as long as was said, and what
                comes when it should not.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self._started:
            self._begin(message["status"], message["headers"])
        elif self.response_complete:
            error = "the answer has ended"
            raise RuntimeError(error)
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    @property
    def ready(self) -> bool:
        """Whether a piece of the body would go out now, whose end alone will tell how long it is (the port `Sink`)."""
        open_ended = self._started and self._left is None and not self.response_complete
        return open_ended and not self.flow.write_paused and not self.disconnected

    def push(self, piece: bytes) -> None:
        """Send a *piece* of the body, which must not be empty: that would end it."""
        if piece:
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def _begin(self, status: int, own_headers: Headers) -> None:
        headers = [*self._default_headers, *own_headers]
        names, values = zip(*headers, strict=True) if headers else ((), ())
        if HEADER_RE.search(b"".join(names)) or HEADER_VALUE_RE.search(b"".join(values)):
            error = "a header of the answer has what may not stand there"
            raise RuntimeError(error)
        self._started, self._expects = True, False
        lines = [b"%b: %b\r\n" % header for header in headers]
        if (b"connection", b"close") in own_headers:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self._has_no_body = status in BODILESS or self.scope["method"] == "HEAD"
        if b"content-length" in names:
            self._left = 0 if self._has_no_body else int(values[names.index(b"content-length")])
            self._held = b"%b%b\r\n" % (STATUS_LINE[status], b"".join(lines))
            return
        if self._has_no_body:
            self._left = 0
        else:
            lines.append(b"transfer-encoding: chunked\r\n")
        self.transport.write(b"%b%b\r\n" % (STATUS_LINE[status], b"".join(lines)))

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self._left is None:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.transport.write(framed if more else framed + LAST_CHUNK)
        elif not self._has_no_body:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                error = "the body of the answer is not as long as its head says"
                raise RuntimeError(error)
            self.transport.write(self._held + body)
            self._held = b""
        elif self._held:
            self.transport.write(self._held)
            self._held = b""
        if not more:
            self.response_complete = True
            self.wake()
            if not self.keep_alive:
                self.transport.close()
            self._on_answered()
