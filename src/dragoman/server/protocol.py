"""One connection of HTTP/1.1, for uvicorn's server: what is read of it, when, and what follows.

Laws of this file:
- Whatever is wrong with what arrives is answered in the contract's words (ADR-0006.R3), once a request.
- What arrives is counted and timed (ADR-0034); a connection is read until something is wrong, and never again after.
- A connection that is closed while the caller still sends is half-closed first, so that the answer can be read
  (ADR-0010).
"""

import asyncio
import enum
import functools
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, assert_never, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from dragoman.errors import Kind
from dragoman.server.cycle import Cycle
from dragoman.server.head import (
    WATCHED,
    Headers,
    begins_with_line_feed,
    head_size,
    objection,
    target_of,
    without_offer,
)
from dragoman.server.wire import Alarm, Lingering, Wire
from dragoman.web.context import JSON, Message, Presented, Scope
from dragoman.web.gateway import Gateway

CONNECT: Final = b"CONNECT"
"""The parser takes what follows it for no HTTP."""


class Stage(enum.Enum):
    """Where the reading of a connection is."""

    OPENED = enum.auto()
    """Nothing has come."""
    HEAD = enum.auto()
    BODY = enum.auto()
    BETWEEN = enum.auto()
    """A whole request has come, and nothing of another one."""
    DEAF = enum.auto()
    """Nothing is read any more."""


OPENED, HEAD, BODY, BETWEEN, DEAF = Stage  # PERF: names of a module are found in half the time


class _NotServedError(Exception):
    """Stops the parser: what was read will not be served."""


class Protocol(asyncio.Protocol):
    """One connection of uvicorn's server; `config.loaded_app` is its gateway, `config.wire` what it may cost."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:  # noqa: ANN401, ARG002 - uvicorn's
        """Take what uvicorn gives."""
        self.loop = _loop or asyncio.get_running_loop()
        self.transport: Lingering
        self.flow: FlowControl
        self.parser = _parser(self)
        self.cycle: Cycle | None = None
        """The last request that has come; those before it that are not answered wait in `pipeline`, or are in work."""
        self.pipeline: deque[Cycle] = deque()
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.scope: Scope = {}
        self.server_state = server_state
        self._gateway: Gateway = config.loaded_app
        self._wire: Wire = config.wire
        self._asgi = {"version": config.asgi_version, "spec_version": "2.3"}
        self._base: Scope = {}  # what the scopes of all requests of the connection share
        self._stage = OPENED
        self._reading = Alarm(self.loop, self._on_late)
        self._fed = 0  # bytes since the last progress: since a head began, or since the last piece of a body
        self._in_empty_line = False  # half of one came behind a request
        self._bulky = False
        self._drained = 0
        self._timed = True  # whether the deadline of a head stands: here it is that of the connection
        self._body_due: float | None = None
        self._objection: Kind | None = None
        self._offers_upgrade = False
        self._last_word: Callable[[], None] | None = None
        self._serving: Cycle | None = None
        self._due: Cycle | None = None  # what is to be served next
        self._waiting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = False

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        self.server_state.connections.add(self)
        self.transport = Lingering(transport, self._wire, self._is_receiving)
        self.flow = FlowControl(cast("asyncio.Transport", self.transport))
        self._base = {
            "type": "http",
            "asgi": self._asgi,
            "scheme": "http",
            "root_path": "",
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
        }
        self._reading.set(self.loop.time() + self._wire.head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the requests that are not answered that their caller has left."""
        self._reading.stop()
        self.server_state.connections.discard(self)
        for cycle in (self._serving, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.leave()
        self._lost = True
        self._wake()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment] # it and the connection hold each other

    def pause_writing(self) -> None:
        """Take that the caller reads too slowly."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Take that the caller has read what waited."""
        self.flow.resume_writing()

    def wind_down(self) -> None:
        """Close the connection behind the answer to the last request that has come, if it is not answered yet."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection: now if it is idle, soon if a request may be on its way, else behind the answer."""
        self.wind_down()
        if self._is_answered() and self._stage is BETWEEN:
            self.transport.close()
        elif self._is_answered():
            self._reading.set(self.loop.time() + self._wire.drain)

    def _is_answered(self) -> bool:
        """Whether every request that has come is answered."""
        return self.cycle is None or self.cycle.response_complete

    def _is_receiving(self) -> bool:
        return self._stage in (HEAD, BODY, DEAF)

    # What arrives

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._stage is DEAF or self.transport.draining:
            self._ignore(data)
            return
        begins = self._fed == 0 and self._stage in (OPENED, BETWEEN) and not self._in_empty_line
        self._fed += len(data)
        if begins and begins_with_line_feed(data):
            self._break(Kind.MALFORMED_HTTP)
        elif self._fed > self._wire.head_bytes:
            self._parse_much(data)
        else:
            self._parse(data)
        if self._stage is not BETWEEN:  # PERF: what came whole is not timed
            self._time()
        else:
            self._in_empty_line = data.endswith(b"\r")

    def _parse_much(self, data: bytes) -> None:
        """Parse more than a head may have: a body, several requests, or something to be refused."""
        most = self._wire.head_bytes
        if self._stage is not BODY:
            allowed = len(data) - (self._fed - most)
            self._parse(data[:allowed])
            data = data[allowed:]
        # The end of a head begins the count anew, and so does a piece of a body.
        if self._stage is not DEAF and (self._stage is BODY or self._fed <= most):
            self._bulky = True
            self._parse(data)
            self._bulky = False
        # What is left is a head that is too long, or extensions and trailers of chunks, which nobody reads.
        if self._stage is not DEAF and self._fed > most:
            self._break(Kind.HEADERS_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self._decline(data[offered.args[0] :])
        except httptools.HttpParserCallbackError:
            if self._objection is not None:
                self._break(self._objection)
            elif self._stage is not DEAF:
                raise  # a fault of ours
        except httptools.HttpParserError:
            self._break(Kind.MALFORMED_HTTP)

    def _decline(self, rest: bytes) -> None:
        """Read the request again as one that offers no upgrade: the parser takes its body for another protocol."""
        if self.parser.get_method() == CONNECT:
            self._stage = DEAF
            self.wind_down()
            return
        version = self.parser.get_http_version()
        head = without_offer(self.parser.get_method(), self.url, version, self.headers)
        self.parser = _parser(self)
        self._parse(head + rest)

    def _ignore(self, data: bytes) -> None:
        """Drop what nobody will read, within bounds."""
        if not self.transport.draining:
            self.flow.pause_reading()  # an answer is still to be given
            return
        self._drained += len(data)
        if self._drained > self._wire.drain_bytes:
            self.transport.abort()

    def _time(self) -> None:
        """Set the deadline of what has not come whole."""
        now = self.loop.time()
        if self._stage is HEAD and not self._timed:
            self._timed = True
            self._reading.set(now + self._wire.head)
        elif self._stage is BODY and self._fed == 0:
            if self._body_due is None:
                self._body_due = now + self._wire.body
            self._reading.set(min(now + self._wire.body_pause, self._body_due))

    # What the parser finds

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.url = b""
        self.headers = []
        self.scope = {}
        self._offers_upgrade = False
        if self._stage is BETWEEN:
            self._timed = False
        self._stage = HEAD

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which goes nowhere."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Judge the head, and serve it or wait until those before it are answered."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        watched = [header for header in self.headers if header[0] in WATCHED]
        self._objection = self._judge(method, version, watched)
        if self._objection is not None:
            raise _NotServedError
        if self.parser.should_upgrade() and method != CONNECT:
            self._offers_upgrade = True
            return
        waits = not self._is_answered()
        if waits and len(self.pipeline) >= self._wire.pipelined:
            self._stage = DEAF
            self.wind_down()
            raise _NotServedError
        self._stage, self._fed, self._body_due = BODY, 0, None
        self.headers = []  # trailers are none
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self._gateway.draining
        # RFC 9110, section 10.1.1: HTTP/1.0 has no expectation.
        expects = len(watched) > 1 and version != "1.0" and any(name == b"expect" for name, _ in watched)
        self.cycle = cycle = Cycle(
            self.scope,
            self.transport,
            self.flow,
            self.server_state.default_headers,
            keep_alive,
            expects,
            self.on_response_complete,
        )
        if waits:
            self.flow.pause_reading()
            self.pipeline.append(cycle)
        else:
            self._start(cycle)

    def _judge(self, method: bytes, version: str, watched: Headers) -> Kind | None:
        """Make the scope of the request, and return why it is not served, or None."""
        target = target_of(method, self.url)
        if target is None:
            self.scope = {**self._base, "headers": self.headers, "method": method.decode("ascii")}
            return Kind.MALFORMED_HTTP
        raw_path, query = target
        path = raw_path.decode("ascii")
        self.scope = {
            **self._base,
            "headers": self.headers,
            "method": method.decode("ascii"),
            "http_version": version,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
        }
        found = objection(version, watched)
        if found is not Kind.MALFORMED_HTTP and (
            len(self.headers) > self._wire.headers
            or (self._bulky and head_size(method, self.url, self.headers) > self._wire.head_bytes)
        ):
            return Kind.HEADERS_TOO_LARGE
        return found

    def _start(self, cycle: Cycle) -> None:
        """Let *cycle* be served, as soon as the one before it has ended."""
        self._serving = self._due = cycle
        if self._task is None:
            self._task = self.loop.create_task(self._serve())
        else:
            self._wake()

    async def _serve(self) -> None:
        """Serve one request after the other, until the connection is lost.

        PERF: a task for each takes longer than half of what stands in this file.
        """
        tasks = self.server_state.tasks  # the server waits for those that are in it
        while not self._lost or self._due is not None:
            cycle, self._due = self._due, None
            if cycle is not None:
                tasks.add(self._task)
                try:
                    await cycle.run(self._gateway)
                finally:
                    tasks.discard(self._task)
            else:
                self._waiting = self.loop.create_future()
                await self._waiting
                self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless its request is answered."""
        if self.cycle is None or self.cycle.response_complete:
            return
        self._fed = 0
        self.cycle.more(body)
        if self.cycle.unread > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """End a request."""
        if self._offers_upgrade:
            return
        self._stage, self._fed = BETWEEN, 0
        if self.cycle is not None:
            self.cycle.end()
        if self._is_answered():
            self._reading.set(self.loop.time() + self._wire.idle)

    # What is answered

    def on_response_complete(self) -> None:
        """Go on with the request behind the one that is answered, or with what is wrong with it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start(self.pipeline.popleft())
        elif self._last_word is not None:
            self._last_word()
        else:
            self.flow.resume_reading()
            if self._stage is BETWEEN:
                self._reading.set(self.loop.time() + self._wire.idle)

    def _break(self, kind: Kind) -> None:
        """Read no more, for *kind*: it is the answer to the request whose body is read, or to what is no request."""
        stage, self._stage = self._stage, DEAF
        self._reading.clear()
        if stage is BODY and self.cycle is not None:
            self.cycle.break_off(kind)
            return
        last_word = functools.partial(self._refuse, kind, self._known_head(stage))
        if self._is_answered():
            last_word()
        else:
            self._last_word = last_word  # those before it are answered first

    def _known_head(self, stage: Stage) -> Message:
        """Return what is known of the request whose head is read, as a scope."""
        if stage is not HEAD:
            return {"headers": []}
        head: Message = {**self._base, "headers": self.headers, **self.scope}
        if "path" not in head and self.headers:  # whose target is complete
            target = target_of(b"", self.url)
            head["path"] = "*" if target is None else unquote(target[0].decode("ascii"))
        return head

    def _refuse(self, kind: Kind, head: Message) -> None:
        presented = self._gateway.refuse(kind, head)
        raw = raw_response(presented, self.server_state.default_headers, bodiless=head.get("method") == "HEAD")
        self.transport.write(raw)
        self.transport.close()

    # What takes too long

    def _on_late(self) -> None:
        match self._stage:
            case Stage.OPENED | Stage.BETWEEN:
                if self._is_answered():
                    self.transport.close()
            case Stage.HEAD | Stage.BODY if self.flow.read_paused:
                self._reading.set(self.loop.time() + self._wire.body_pause)  # it is we who do not read
            case Stage.HEAD | Stage.BODY:
                self._break(Kind.REQUEST_TIMEOUT)
            case Stage.DEAF:
                pass
            case _:
                assert_never(self._stage)


def _parser(protocol: Protocol) -> httptools.HttpRequestParser:
    """Return a parser that tells *protocol* what it finds."""
    parser = httptools.HttpRequestParser(protocol)
    # What follows a request that closes the connection is no fault of that request.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def raw_response(
    presented: Presented, server_headers: list[tuple[bytes, bytes]] | None = None, *, bodiless: bool = False
) -> bytes:
    """Return *presented* as HTTP/1.1 bytes; the connection is closed after them."""
    body = presented.body or b""
    headers = [*(server_headers or []), *presented.headers]
    headers += [(b"content-type", JSON.encode("ascii")), (b"content-length", b"%d" % len(body))]
    if b"connection" not in {name for name, _ in headers}:
        headers.append((b"connection", b"close"))
    lines = [b"HTTP/1.1 %d %b" % (presented.status, HTTPStatus(presented.status).phrase.encode("ascii"))]
    lines += [b"%b: %b" % header for header in headers]
    return b"\r\n".join([*lines, b"", b"" if bodiless else body])
