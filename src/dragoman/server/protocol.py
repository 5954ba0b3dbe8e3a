"""uvicorn's protocol, made to keep the contract where it would not.

Laws of this file:
- What uvicorn would answer in its own words is answered in the contract's (ADR-0006.R3), once a request.
- What arrives is counted and timed (ADR-0034); a connection is read until something is wrong, and never again after.
- A connection that is closed while the caller still sends is half-closed first, so that the answer can be read
  (ADR-0010).
"""

import asyncio
import enum
import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, assert_never, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from dragoman.errors import Kind, Refusal
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
from dragoman.web.context import JSON, Message, Presented
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


class Cycle(RequestResponseCycle):
    """A request and its answer; *broken* says what went wrong with its body."""

    broken: Kind | None = None

    async def run_asgi(self, app: Any) -> None:  # noqa: ANN401 - uvicorn's type of an app is private
        """Let *app* answer; where it cannot, the connection is closed, and it has logged why."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001, S110 - PERF: contextlib.suppress takes longer
            pass
        finally:
            if not self.response_complete and not self.disconnected:
                self.transport.close()
            self.on_response = lambda: None

    async def receive(self) -> Any:  # noqa: ANN401 - an ASGI message
        """Return the next piece of the body.

        Raises:
            Refusal: for a body that broke off: its framing is wrong, or it took too long.
        """
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not (self.disconnected or self.response_complete or self.broken):
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.broken is not None:
            raise Refusal(self.broken)
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, bytearray()
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        """Send a piece of the answer, as uvicorn does, but for the head.

        PERF: uvicorn searches every name and every value for what may not stand there, one by one, which takes as long
        as the pipeline takes for a schema. All names, and all values, are searched at once here, with its own patterns.
        """
        if self.response_started or self.disconnected or self.flow.write_paused or not _is_plain(message):
            await super().send(message)
            return
        headers = [*self.default_headers, *message["headers"]]
        names, values = zip(*headers, strict=True)
        if HEADER_RE.search(b"".join(names)) or HEADER_VALUE_RE.search(b"".join(values)):
            await super().send(message)  # which says what is wrong
            return
        head = b"\r\n".join([b"%b: %b" % header for header in headers])
        self.response_started, self.waiting_for_100_continue, self.chunked_encoding = True, False, False
        self.expected_content_length = next(int(value) for name, value in headers if name == b"content-length")
        if (b"connection", b"close") in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            head += b"\r\nconnection: close"
        self.transport.write(STATUS_LINE[message["status"]] + head + b"\r\n\r\n")

    def more(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.body += body
        self._arrived()

    def end(self) -> None:
        """Take the end of the body."""
        self.more_body = False
        self._arrived()

    def break_off(self, kind: Kind) -> None:
        """Take that the body will not end: it is the answer, or the connection is closed behind the one that began."""
        if self.response_complete:
            self.transport.close()
        self.broken = kind
        self.keep_alive = False
        self._arrived()

    def _arrived(self) -> None:
        self.waiting_for_100_continue = False  # RFC 9110, section 10.1.1: who sends does not wait to be told
        self.message_event.set()


def _is_plain(message: Any) -> bool:  # noqa: ANN401 - an ASGI message
    """Whether *message* is the head of an answer whose length is known, with the names that the gateway gives."""
    if message["type"] != "http.response.start":
        return False
    names = [name for name, _ in message["headers"]]
    return b"content-length" in names and b"transfer-encoding" not in names


class Protocol(HttpToolsProtocol):
    """One connection; `config.loaded_app` is its gateway, `config.wire` says what it may cost."""

    cycle: Cycle | None  # type: ignore[assignment]
    """The last request that has come; those before it that are not answered wait in `pipeline`, or are in work."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:  # noqa: ANN401 - uvicorn's
        """Take what uvicorn gives."""
        super().__init__(config, server_state, app_state, _loop)
        self._gateway: Gateway = config.loaded_app
        self._wire: Wire = config.wire
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
        self._serving: RequestResponseCycle | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        lingering = Lingering(transport, self._wire, self._is_receiving)
        super().connection_made(lingering)  # type: ignore[arg-type]
        self._reading.set(self.loop.time() + self._wire.head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request in work that its caller has left."""
        self._reading.stop()
        if self._serving is not None and not self._serving.response_complete:
            self._serving.disconnected = True
            self._serving.message_event.set()
        super().connection_lost(exc)

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
        if self._stage is DEAF or self.transport.draining:  # type: ignore[attr-defined]
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
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse(head + rest)

    def _ignore(self, data: bytes) -> None:
        """Drop what nobody will read, within bounds."""
        if not self.transport.draining:  # type: ignore[attr-defined]
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
        super().on_message_begin()
        self._offers_upgrade = False
        if self._stage is BETWEEN:
            self._timed = False
        self._stage = HEAD

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
        self.cycle = self._cycle(version, expects=len(watched) > 1 and any(name == b"expect" for name, _ in watched))
        if waits:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def _judge(self, method: bytes, version: str, watched: Headers) -> Kind | None:
        """Complete the scope of the request, and return why it is not served, or None."""
        scope = cast("Message", self.scope)
        scope["method"] = method.decode("ascii")
        scope["http_version"] = version
        target = target_of(method, self.url)
        if target is None:
            return Kind.MALFORMED_HTTP
        raw_path, scope["query_string"] = target
        path = raw_path.decode("ascii")
        scope["raw_path"] = raw_path
        scope["path"] = unquote(path) if "%" in path else path
        found = objection(version, watched)
        if found is not Kind.MALFORMED_HTTP and (
            len(self.headers) > self._wire.headers
            or (self._bulky and head_size(method, self.url, self.headers) > self._wire.head_bytes)
        ):
            return Kind.HEADERS_TOO_LARGE
        return found

    def _cycle(self, version: str, *, expects: bool) -> Cycle:
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self._gateway.draining
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=expects and version != "1.0",  # RFC 9110, section 10.1.1: HTTP/1.0 has no expectation
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless its request is answered."""
        if self.cycle is None or self.cycle.response_complete:
            return
        self._fed = 0
        self.cycle.more(body)
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
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
            self._start_asgi_task(*self.pipeline.pop())
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
        head: Message = dict(self.scope)
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


def raw_response(
    presented: Presented, server_headers: list[tuple[bytes, bytes]] | None = None, *, bodiless: bool = False
) -> bytes:
    """Return *presented* as HTTP/1.1 bytes; the connection is closed after them."""
    body = presented.body or b""
    headers = [(name.decode("ascii"), value.decode("ascii")) for name, value in server_headers or []]
    headers += [*presented.headers, ("content-type", JSON), ("content-length", str(len(body)))]
    if "connection" not in {name for name, _ in headers}:
        headers.append(("connection", "close"))
    lines = [f"HTTP/1.1 {presented.status} {HTTPStatus(presented.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if bodiless else body)
