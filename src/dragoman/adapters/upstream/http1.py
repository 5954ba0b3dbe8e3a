"""The default engine: HTTP/1.1 over plain asyncio transports, parsed by httptools, which is what Node.js parses with.

Laws of this file:
- A connection carries one exchange at a time, and forgets it when its answer has ended: whoever still holds that
  exchange cannot touch the next one.
- A connection is kept only if the answer ended by its own framing, the server agrees, and not a byte came after it.
- No wait costs a timer: a connection has one, which looks at a deadline that moves (PERF: a timer for every wait takes
  as long as everything else that is done for an event).
"""

import asyncio
import contextlib
import enum
import ssl
from collections.abc import Callable, Mapping
from typing import Final, cast

import httptools

from dragoman.adapters.upstream.addresses import allowed_addresses
from dragoman.adapters.upstream.engine import HEAD_LIMIT, KEEP_ALIVE, KEPT, LINGER, Place
from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError

BUFFERED: Final = 32 * 1024
"""So many bytes that nobody has taken stop the reading of an answer, until they are taken."""

READ: Final = 64 * 1024
"""The most bytes that are read at once."""

_TOLERANCE: Final = 0.001
"""The clock of uvloop has no finer steps, in seconds."""

_LENGTH: Final = "content-length"
_CODING: Final = "transfer-encoding"
_NOTED: Final[Mapping[bytes, str]] = {name.encode(): name for name in KEPT | {_LENGTH, _CODING}}
_INTERIM: Final = 200
"""Statuses below are interim: another head follows (RFC 9110, section 15.2)."""
_BODILESS: Final = frozenset({204, 304})


class Stage(enum.Enum):
    """Where a connection is."""

    IDLE = enum.auto()
    """It carries nothing."""
    ASKED = enum.auto()
    """A request is sent; nothing has come."""
    HEAD = enum.auto()
    """Some of the head has come."""
    BODY = enum.auto()
    """The head has come."""
    OVER = enum.auto()
    """Nobody wants the rest, which should be only the end."""
    CLOSED = enum.auto()


IDLE, ASKED, HEAD, BODY, OVER, CLOSED = Stage  # PERF: names of a module are found in half the time


class Exchange:
    """One request and its answer; fits the protocol `Answer`.

    *stale* says that a kept connection was closed before anything came: the request may be sent again.
    """

    __slots__ = (
        "_connection",
        "_waiter",
        "ended",
        "failure",
        "headers",
        "limit",
        "pieces",
        "size",
        "stale",
        "status",
        "take",
    )

    def __init__(self, connection: "Connection") -> None:
        """Begin one on *connection*."""
        self._connection: Connection | None = connection
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.size = 0
        self.limit: int | None = None
        self.ended = False
        self.failure: Fault | None = None
        self.stale = False
        self.take: Callable[[bytes], bool] | None = None

    # --- For whoever wants the answer -------------------------------------------------------------------------------

    def begun(self) -> None:
        """Let the idle deadline count from now on."""
        if self._connection is not None:
            self._connection.begun()

    async def head(self) -> None:
        """Return when the status is known."""
        while not self.status:
            if self.failure is not None:
                raise UpstreamError(self.failure)
            await self._change()

    async def read(self, limit: int) -> bytes:
        """Return the whole body."""
        self.limit = limit
        if self._connection is not None:
            self._connection.flow()
        while not self.ended:
            if self.failure is not None:
                raise UpstreamError(self.failure, status=self.status)
            await self._change()
        if self.size > limit:
            raise UpstreamError(Fault.TOO_LARGE, status=self.status)
        return b"".join(self.pieces)

    async def piece(self) -> bytes:
        """Return what has arrived since the last call."""
        pieces = self.pieces
        while not pieces:
            if self.failure is not None:
                raise UpstreamError(self.failure, status=self.status)
            connection = self._connection
            if connection is None:
                return b""
            self._waiter = connection.loop.create_future()  # PERF: `_change` in line; it is for every event
            try:
                await self._waiter
            except asyncio.CancelledError:
                await self.aclose()
                raise
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self.size > BUFFERED and self._connection is not None:
            self._connection.flow()
        self.size = 0
        return piece

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """Let *take* have what arrives while somebody waits for a piece, if it will."""
        self.take = take

    def over(self) -> None:
        """Keep the connection if the answer ends soon with no further byte."""
        if self._connection is not None:
            self._connection.over()

    async def aclose(self) -> None:
        """Close the connection, unless the answer has ended, or is over."""
        if self._connection is not None:
            self._connection.fail(Fault.CUT)

    async def _change(self) -> None:
        """Return when something has come, or gone wrong."""
        if self._connection is None:
            raise UpstreamError(Fault.CUT, status=self.status or None)
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            await self.aclose()
            raise

    # --- For the connection -----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Let whoever waits look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def is_taken(self, piece: bytes) -> bool:
        """Whether *piece* went where what arrives is diverted to, as nothing that came before it is still here."""
        waiter, take = self._waiter, self.take
        if take is None or waiter is None or waiter.done() or self.pieces:
            return False
        try:
            return take(piece)
        except Exception:  # noqa: BLE001 - a fault of ours, not of the server's: who waits meets it, and tells it
            self.take = None
            return False

    def leave(self, fault: Fault | None) -> None:
        """Have no connection any more, as the answer has ended, or failed."""
        self._connection = self.take = None
        self.failure = fault
        self.ended = fault is None
        self.wake()


class Connection(asyncio.BufferedProtocol):
    """A connection to the server of *pool*, and what the parser calls."""

    __slots__ = (
        "_agreed",
        "_begun",
        "_end",
        "_exchange",
        "_first",
        "_framed",
        "_heard",
        "_idle",
        "_paused",
        "_pool",
        "_silent",
        "_timer",
        "_timer_at",
        "_used",
        "feed",
        "loop",
        "parser",
        "stage",
        "transport",
    )

    transport: asyncio.Transport
    """There from the first call of the loop on."""

    def __init__(self, pool: "Http1Engine") -> None:
        """Belong to *pool*."""
        self.loop = pool.loop
        self.stage = IDLE
        self.parser = httptools.HttpResponseParser(self)
        self.feed = self.parser.feed_data
        self._pool = pool
        self._exchange: Exchange | None = None
        self._used = self._agreed = self._begun = self._framed = self._paused = False
        self._first = self._idle = self._end = self._heard = 0.0
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    # --- What is asked of it ----------------------------------------------------------------------------------------

    def ask(self, request: bytes, timeouts: Timeouts, end: float) -> Exchange:
        """Send *request*; its answer must have ended at *end*."""
        exchange = Exchange(self)
        if self.stage is CLOSED:  # since it was made, or because the server spoke first
            exchange.leave(Fault.UNREACHABLE)
            return exchange
        now = self.loop.time()
        self._first, self._idle, self._end = now + timeouts.first_byte, timeouts.idle, end
        self._heard, self._begun, self._framed, self._silent = now, False, False, 0
        self.stage, self._exchange = ASKED, exchange
        self.transport.write(request)
        self._watch(min(self._first, end))
        return exchange

    def begun(self) -> None:
        """Let the idle deadline count from now on, and no longer the one of the first byte."""
        self._begun, self._heard = True, self.loop.time()
        self._watch(min(self._heard + self._idle, self._end))

    def flow(self) -> None:
        """Read on, if reading was stopped."""
        if self._paused:
            self._paused, self._heard = False, self.loop.time()
            self.transport.resume_reading()

    def over(self) -> None:
        """Let go of the exchange, and wait for its end."""
        exchange, self._exchange = self._exchange, None
        self.stage = OVER
        self._end = self.loop.time() + LINGER
        self._watch(self._end)
        self.flow()
        if exchange is not None:
            exchange.leave(None)

    def fail(self, fault: Fault) -> None:
        """Close, as the exchange has failed, or nobody wants it."""
        self._closed(fault)
        self.transport.abort()

    def _closed(self, fault: Fault | None) -> None:
        self.stage = CLOSED
        self._pool.unkeep(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.leave(fault)

    # --- Deadlines --------------------------------------------------------------------------------------------------

    def _watch(self, deadline: float) -> None:
        """Have a look at *deadline*, or before."""
        if deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at, self._timer = deadline, self.loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """Close what is too late; otherwise look again when it would be."""
        now = self.loop.time()
        self._timer, self._timer_at = None, float("inf")
        exchange = self._exchange
        if exchange is not None and self._begun and exchange.pieces and exchange.limit is None:
            self._heard = now  # the server is not silent: nobody has taken what it sent
        deadline = self._deadline()
        if deadline <= now + _TOLERANCE:
            self.fail(Fault.TIMEOUT)
        else:
            self._watch(deadline)

    def _deadline(self) -> float:
        match self.stage:
            case Stage.IDLE:
                return self._heard + KEEP_ALIVE
            case Stage.ASKED | Stage.HEAD | Stage.BODY:
                return min(self._heard + self._idle if self._begun else self._first, self._end)
            case Stage.OVER | Stage.CLOSED:
                return self._end

    # --- What the transport calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Carry."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by type
        self._pool.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the hint is of no use
        """Return where to read to: what is read there is parsed before anybody else can read."""
        return self._pool.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read."""
        stage = self.stage
        if stage is ASKED:
            self.stage = HEAD
        elif stage is IDLE:
            self.fail(Fault.GARBLED)
            return
        elif stage is CLOSED:
            return
        self._heard = self.loop.time()
        self._silent += nbytes
        try:
            self.feed(self._pool.buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(Fault.GARBLED)
            return
        if self._silent > HEAD_LIMIT:
            self.fail(Fault.TOO_LARGE)
        elif self.stage is IDLE:
            self._ended()

    def eof_received(self) -> None:
        """Let the transport close itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange what that means for it."""
        exchange, stage = self._exchange, self.stage
        if exchange is not None and stage is ASKED:
            exchange.stale = self._used
        if stage is BODY:
            self._closed(None if exc is None and not self._framed else Fault.CUT)
        else:
            self._closed(Fault.UNREACHABLE)
        self._pool.closed(self)

    # --- What the parser calls --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Fail for a second answer behind the one that was asked for."""
        if self.stage is IDLE:
            self.fail(Fault.GARBLED)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that anybody reads, and note how the body will end."""
        noted = _NOTED.get(name.lower())
        if noted is None:
            return
        exchange = self._exchange
        if exchange is None or self.stage is not HEAD:
            return
        if noted is _LENGTH or noted is _CODING:
            self._framed = True
            if noted is _CODING and value.lower() != b"chunked":
                self.fail(Fault.GARBLED)
        else:
            exchange.headers[noted] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Begin the body, unless another head follows."""
        exchange, status = self._exchange, self.parser.get_status_code()
        if exchange is None or self.stage is not HEAD:
            return
        if status < _INTERIM:
            exchange.headers.clear()
            self._framed = False
            return
        self.stage, self._silent = BODY, 0
        self._framed = self._framed or status in _BODILESS
        exchange.status = status
        exchange.wake()

    def on_body(self, piece: bytes) -> None:
        """Keep a piece until it is taken."""
        exchange = self._exchange
        self._silent = 0
        if exchange is None:
            if self.stage is OVER:
                self.fail(Fault.GARBLED)
            return
        if exchange.take is not None and exchange.is_taken(piece):
            return
        exchange.pieces.append(piece)
        exchange.size += len(piece)
        if exchange.limit is not None:
            if exchange.size > exchange.limit:
                self.fail(Fault.TOO_LARGE)
            return
        exchange.wake()
        if exchange.size > BUFFERED and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """Let go of the exchange, as its answer has ended, unless that was an interim one."""
        exchange, stage = self._exchange, self.stage
        if stage is BODY or stage is OVER:
            self.stage, self._exchange = IDLE, None
            self._agreed = self.parser.should_keep_alive()  # it knows until it is fed again
            if exchange is not None:
                exchange.leave(None)

    def _ended(self) -> None:
        """Be kept for the next request, if the server agrees and has read all of the last one."""
        if not self._agreed or self.transport.get_write_buffer_size():
            self.fail(Fault.CUT)
            return
        self._used = True
        self.flow()
        self._watch(self._heard + KEEP_ALIVE)
        self._pool.keep(self)


class Http1Engine:
    """Fits the protocol `Engine`. It belongs to the event loop in which it is made."""

    def __init__(self, place: Place, tls: ssl.SSLContext | None) -> None:
        """Send to *place*, over *tls* if that is https."""
        self.loop = asyncio.get_running_loop()
        self.buffer: Final = memoryview(bytearray(READ))
        self._place = place
        self._tls = tls
        self._heads: dict[str, bytes] = {}
        self._kept: list[Connection] = []
        self._open: set[Connection] = set()
        self._retired = False
        self._emptied: asyncio.Future[None] | None = None

    async def post(self, path: str, body: bytes, timeouts: Timeouts) -> Exchange:
        """Send *body* to *path*; return the answer when it has a head."""
        request = b"%b%d\r\n\r\n%b" % (self._heads.get(path) or self._head(path), len(body), body)
        end = self.loop.time() + timeouts.total
        if self._kept:
            exchange = self._kept.pop().ask(request, timeouts, end)
            try:
                await exchange.head()
            except UpstreamError:
                if not exchange.stale:
                    raise
            else:
                return exchange
        exchange = (await self._connect(timeouts)).ask(request, timeouts, end)
        await exchange.head()
        return exchange

    @property
    def busy(self) -> bool:
        """Whether a connection is open."""
        return bool(self._open)

    def retire(self) -> None:
        """Close what is idle, and everything else as soon as its answer has ended."""
        self._retired = True
        for connection in list(self._kept):
            connection.fail(Fault.CUT)

    async def aclose(self) -> None:
        """Close everything, now."""
        self._retired = True
        for connection in list(self._open):
            connection.fail(Fault.CUT)
        if self._open:
            self._emptied = self.loop.create_future()
            await self._emptied

    def _head(self, path: str) -> bytes:
        """Return everything of a request before the length of its body, and remember it."""
        place = self._place
        lines = [f"POST {place.base_path}{path} HTTP/1.1", f"Host: {place.authority}"]
        lines += [f"{name}: {value}" for name, value in place.headers.items()]
        head = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
        self._heads[path] = head
        return head

    async def _connect(self, timeouts: Timeouts) -> Connection:
        """Return a new connection, to the first of the allowed addresses that accepts one."""
        end = self.loop.time() + min(timeouts.connect, timeouts.total)
        try:
            async with asyncio.timeout_at(end):
                *others, last = await allowed_addresses(self._place, self.loop)
                for behind, address in zip(range(len(others), 0, -1), others, strict=True):
                    # One that does not answer leaves those behind it their part of the time.
                    now = self.loop.time()
                    with contextlib.suppress(OSError, TimeoutError):
                        async with asyncio.timeout_at(now + (end - now) / (behind + 1)):
                            return await self._open_to(address)
                return await self._open_to(last)
        except TimeoutError:
            raise UpstreamError(Fault.TIMEOUT) from None
        except OSError:
            raise UpstreamError(Fault.UNREACHABLE) from None

    async def _open_to(self, address: str) -> Connection:
        name = None if self._tls is None else self._place.host
        _, connection = await self.loop.create_connection(
            lambda: Connection(self), address, self._place.port, ssl=self._tls, server_hostname=name
        )
        return connection

    # --- For its connections ----------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Know *connection*."""
        self._open.add(connection)

    def keep(self, connection: Connection) -> None:
        """Use *connection* for the next request; those that wait longest will close."""
        if self._retired or len(self._kept) >= self._place.capacity:
            connection.fail(Fault.CUT)
        else:
            self._kept.append(connection)

    def unkeep(self, connection: Connection) -> None:
        """Use *connection* no more."""
        if connection in self._kept:
            self._kept.remove(connection)

    def closed(self, connection: Connection) -> None:
        """Forget *connection*, whose socket is closed."""
        self._open.discard(connection)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)
