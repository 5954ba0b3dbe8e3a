"""One request on its way through the web room.

Laws of this file:
- Of what the caller sent, only a valid `X-Request-ID` and the trace id of a valid `traceparent` pass unchanged.
- The body is read once, on demand, and never kept beyond the cap.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import attrs

from dragoman.errors import Kind, Refusal
from dragoman.gate.limits import caller_address
from dragoman.model import Quota, RequestEvent, valid_request_id
from dragoman.ports import Sink

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON: Final = "application/json"

_WATCHED_AFTER: Final = 0.05
"""Seconds until somebody looks whether the caller has left, or twice that: an upstream has to be left within one."""

_LOOKED_AT: Final = frozenset({b"x-request-id", b"traceparent", b"content-length", b"transfer-encoding"})

# W3C Trace Context, section 3.2: version ff is invalid, and so are ids of zeros; versions after 00 may append fields.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)(?!00.{53}-)[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


@attrs.frozen(kw_only=True)
class Sources:
    """Where time, ids and randomness come from.

    *monotonic* is in seconds, *nanoseconds* the same clock for who counts in them; *trace_id* gives 32 hex digits.
    """

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    nanoseconds: Callable[[], int]
    request_id: Callable[[], str]
    trace_id: Callable[[], str]


class Events(Protocol):
    """A streamed answer, as whoever sends it needs it. It is closed in the end, wherever it is."""

    async def piece(self) -> bytes:
        """Return whole events, as soon as there are some, and nothing behind the last.

        A `Refusal` is a failure that the caller may be told about.
        """

    def divert(self, sink: Sink) -> None:
        """Let what needs no further care go into *sink* as it arrives, while a piece is waited for."""

    async def aclose(self) -> None:
        """Close what is open; closing again does nothing."""


@attrs.frozen(kw_only=True)
class Presented:
    """An answer, ready to be sent. *body* is None where there is none; names of *headers* are in lower case.

    One that is made while it goes out has *events* in place of a body.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | None
    media_type: str = JSON
    events: Events | None = None


class Watch:
    """Cancels the task that makes it when the caller of a request leaves.

    PERF: most answers are there before a task of its own would have been worth it, so that it begins late.
    """

    __slots__ = ("_patience", "_receive", "_served", "_watching", "left")

    def __init__(self, receive: Receive) -> None:
        """Take what tells that the caller has left."""
        self.left = False
        self._receive = receive
        served = asyncio.current_task()
        assert served is not None  # noqa: S101 - it is made while a request is served
        self._served = served
        self._watching: asyncio.Task[None] | None = None
        self._patience = _patience()
        self._patience.add(self)

    def begin(self) -> None:
        """Look whether the caller leaves."""
        self._watching = asyncio.get_running_loop().create_task(self._wait())

    def stop(self) -> None:
        """Watch no longer."""
        self._patience.discard(self)
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None  # each holds the other

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._served.cancel()


class _Patience:
    """The watches of one event loop that have not begun. PERF: a timer for all of them, as one costs more than they."""

    __slots__ = ("_new", "_old", "_ticking", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._new: set[Watch] = set()
        self._old: set[Watch] = set()
        self._ticking = False

    def add(self, watch: Watch) -> None:
        """Begin *watch* after one tick, and before two."""
        self._new.add(watch)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(_WATCHED_AFTER, self._tick)

    def discard(self, watch: Watch) -> None:
        """Do not begin *watch* any more."""
        self._new.discard(watch)
        self._old.discard(watch)

    def _tick(self) -> None:
        for watch in self._old:
            watch.begin()
        self._old, self._new = self._new, set()
        self._ticking = bool(self._old)
        if self._ticking:
            self.loop.call_later(_WATCHED_AFTER, self._tick)


_patience_of_the_last: _Patience | None = None


def _patience() -> _Patience:
    """Return that of the running loop, which is nearly always the one of the last request."""
    global _patience_of_the_last  # noqa: PLW0603 - a loop has no place for it; a lost one still begins what it has
    loop = asyncio.get_running_loop()
    if _patience_of_the_last is None or _patience_of_the_last.loop is not loop:
        _patience_of_the_last = _Patience(loop)
    return _patience_of_the_last


@attrs.define(kw_only=True)
class RequestContext:
    """What is known of a request outside its operation.

    *address* is whose limits count; *met* are the limits of requests that were met, *met_tokens* those of tokens.
    *closing* says that the connection ends with the answer, *endings* what is called when it has ended. *presented* is
    the answer, as soon as there is one, of which so many bytes were *sent*; *watch* looks whether the caller leaves
    before it has ended.
    """

    sources: Sources
    started: float
    event: RequestEvent
    receive: Receive
    body_pending: bool
    address: str
    closing: bool = False
    presented: Presented | None = None
    watch: Watch | None = None
    sent: int = 0
    met: list[Quota] = attrs.field(factory=list)
    met_tokens: list[Quota] = attrs.field(factory=list)
    endings: list[Callable[[], None]] = attrs.field(factory=list)

    @property
    def request_id(self) -> str:
        """The id that the answer carries: the caller's own when he sent a valid one."""
        return self.event.caller_request_id or self.event.request_id

    def elapsed_ms(self) -> float:
        """Return the milliseconds since the request arrived."""
        return (self.sources.monotonic() - self.started) * 1000

    def begin_watch(self) -> None:
        """Cancel the task that serves the request as soon as its caller leaves; its body must have been read."""
        self.watch = Watch(self.receive)

    async def read(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            Refusal: `body_too_large` as soon as there are more than *limit* bytes; `invalid_json` when the caller
                left before the end: half a document is none, and nobody reads the answer; and what the server raises
                of a body that did not end: `request_timeout`, `malformed_http`, `headers_too_large`.
        """
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Refusal(Kind.INVALID_JSON)
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise Refusal(Kind.BODY_TOO_LARGE, limit=limit)
            chunks.append(chunk)
            if not message.get("more_body", False):
                self.body_pending = False
                return b"".join(chunks)


def open_context(sources: Sources, scope: Scope, receive: Receive, *, trusted_hops: int = 0) -> RequestContext:
    """Return the context of a request that has just arrived, over *trusted_hops* proxies."""
    sent_id, traceparent, has_body = _look_at(scope["headers"])
    peer = (scope.get("client") or ("local",))[0]
    forwarded = _forwarded_for(scope["headers"]) if trusted_hops else ()
    trace = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    event = RequestEvent(
        request_id=sources.request_id(),
        caller_request_id=valid_request_id(sent_id.decode("latin-1")) if sent_id else None,
        trace_id=trace["trace"].decode("ascii") if trace else sources.trace_id(),
    )
    return RequestContext(
        sources=sources,
        started=sources.monotonic(),
        event=event,
        receive=receive,
        body_pending=has_body,
        address=caller_address(peer, forwarded, trusted_hops),
    )


def _forwarded_for(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Return the entries of `X-Forwarded-For`, over all the fields of that name, the one of the nearest proxy last."""
    fields = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return ",".join(fields).split(",") if fields else []


def _look_at(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes, bool]:
    """Return the sent request id, the traceparent, and whether the request declares a body."""
    sent_id = traceparent = b""
    has_body = False
    for name, value in headers:
        if name not in _LOOKED_AT:  # PERF: most are not, and one look tells
            continue
        if name == b"x-request-id":
            sent_id = value
        elif name == b"traceparent":
            traceparent = value
        else:
            has_body |= name == b"transfer-encoding" or value != b"0"
    return sent_id, traceparent, has_body
