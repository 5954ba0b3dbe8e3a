"""An engine on httpx: slower, and by others. It passes the tests that the default one passes.

Laws of this file:
- Only the transport of httpx is used: its client would read the environment, keep cookies and look for redirects.
- Connections are made here, to an address that was judged, and closed when the task that makes them is cancelled.

It has two limits that the default engine has not: what a server sends beyond an answer, in the same packet, is taken
for the next one; and a head that broke off looks like none at all, so that such a request may be sent once more.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final

import httpcore
import httpx

from dragoman.adapters.upstream.addresses import allowed_addresses
from dragoman.adapters.upstream.engine import KEEP_ALIVE, KEPT, LINGER, Place
from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError

_SILENT: Final = ("Server disconnected", "peer closed connection")
"""How httpx tells that a connection was closed; everything else that it calls a protocol error is one."""

_TOO_LONG: Final = "Receive buffer too long"


class _HttpxAnswer:
    """Fits the protocol `Answer`."""

    def __init__(self, engine: "HttpxEngine", response: httpx.Response, deadlines: "_Deadlines") -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {name: value for name, value in response.headers.items() if name in KEPT}
        self._engine = engine
        self._response = response
        self._deadlines = deadlines
        self._pieces: AsyncIterator[bytes] = response.aiter_raw()
        self._ended = self._over = self._closed = False

    def begun(self) -> None:
        self._deadlines.begun = True

    async def read(self, limit: int) -> bytes:
        pieces, size = [], 0
        while piece := await self.piece():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                await self.aclose()
                raise UpstreamError(Fault.TOO_LARGE, status=self.status)
        return b"".join(pieces)

    async def piece(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._deadlines.next()):
                piece = await anext(self._pieces, b"")
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            await self.aclose()
            fault = _fault_of(error)
            raise UpstreamError(Fault.CUT if fault is Fault.UNREACHABLE else fault, status=self.status) from None
        except asyncio.CancelledError:
            await self.aclose()
            raise
        self._ended = not piece
        return piece

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """Let nothing go another way."""

    def over(self) -> None:
        self._over = True

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._over and not self._ended:
            with contextlib.suppress(httpx.HTTPError, httpx.StreamError, TimeoutError):
                async with asyncio.timeout(LINGER):
                    await anext(self._pieces, b"")
        await self._response.aclose()
        self._engine.ended()


class _Deadlines:
    """When a wait must have an end, on the clock of the loop."""

    def __init__(self, timeouts: Timeouts, loop: asyncio.AbstractEventLoop) -> None:
        self._timeouts = timeouts
        self._loop = loop
        self.end = loop.time() + timeouts.total
        self.first = self.end
        self.begun = False

    def connected(self) -> None:
        """Let the deadline of the first byte run from now on."""
        self.first = self._loop.time() + self._timeouts.first_byte

    def next(self) -> float:
        """Return when a wait that begins now must have an end."""
        first = self._loop.time() + self._timeouts.idle if self.begun else self.first
        return min(first, self.end)


class _Stream(httpcore.AsyncNetworkStream):
    """The connection *stream*, which is closed when its handshake does not come to an end, whatever the reason."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self.read = stream.read  # type: ignore[method-assign] # all of it is the other one's, but for what is below
        self.write = stream.write  # type: ignore[method-assign]
        self.aclose = stream.aclose  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._stream.aclose()
            raise


class _Network(httpcore.AsyncNetworkBackend):
    """Connects to *place*, at the first of its allowed addresses that accepts a connection."""

    def __init__(self, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        self._place = place
        self._loop = loop
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del host  # it is the one of the place
        try:
            async with asyncio.timeout(timeout):
                *addresses, last = await allowed_addresses(self._place, self._loop)
                for address in addresses:
                    with contextlib.suppress(httpcore.ConnectError):
                        made = await self._network.connect_tcp(address, port, None, local_address, socket_options)
                        return _Stream(made)
                return _Stream(await self._network.connect_tcp(last, port, None, local_address, socket_options))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except OSError as error:
            raise httpcore.ConnectError from error


class _Transport(httpx.AsyncHTTPTransport):
    """The transport of httpx over *pool*, which is all that it has; its own arguments do not lead to a network."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool


class HttpxEngine:
    """Fits the protocol `Engine`. It belongs to the event loop in which it is made."""

    def __init__(self, place: Place, tls: ssl.SSLContext | None) -> None:
        """Send to *place*, over *tls* if that is https."""
        self._loop = asyncio.get_running_loop()
        self._url = httpx.URL(f"{place.scheme}://{place.authority}")
        self._base_path = place.base_path
        self._headers = [(name, value) for name, value in place.headers.items()]
        self._transport = _Transport(
            httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=None,
                max_keepalive_connections=place.capacity,
                keepalive_expiry=KEEP_ALIVE,
                network_backend=_Network(place, self._loop),
            )
        )
        self._active = 0
        self._retired = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a connection is open."""
        return self._active > 0 or not (self._closing is not None and self._closing.done())

    async def post(self, path: str, body: bytes, timeouts: Timeouts) -> _HttpxAnswer:
        """Send *body* to *path*; return the answer when it has a head."""
        url = self._url.copy_with(path=f"{self._base_path}{path}")
        request = httpx.Request("POST", url, headers=self._headers, content=body)
        self._active += 1
        try:
            return await self._send(request, timeouts)
        except BaseException:
            self.ended()
            raise

    def retire(self) -> None:
        """Close everything as soon as nothing is carried: the transport cannot close only what is idle."""
        self._retired = True
        if not self._active and self._closing is None:
            self._closing = self._loop.create_task(self._transport.aclose())

    async def aclose(self) -> None:
        """Close everything, now."""
        self._retired = True
        if self._closing is not None:
            await self._closing
        await self._transport.aclose()

    def ended(self) -> None:
        """Count one request less."""
        self._active -= 1
        if self._retired:
            self.retire()

    async def _send(self, request: httpx.Request, timeouts: Timeouts) -> _HttpxAnswer:
        """Send *request*, and once more if it was on a kept connection that turned out to be closed."""
        deadlines = _Deadlines(timeouts, self._loop)
        for last in (False, True):
            attempt = _Attempt(deadlines)
            request.extensions = {
                "timeout": {"connect": timeouts.connect, "read": None, "write": None, "pool": None},
                "trace": attempt.trace,
            }
            try:
                async with attempt.limit:
                    response = await self._transport.handle_async_request(request)
            except (httpx.HTTPError, TimeoutError) as error:
                fault = _fault_of(error)
                if last or attempt.is_on_new_connection or fault is not Fault.UNREACHABLE:
                    raise UpstreamError(fault) from None
            else:
                return _HttpxAnswer(self, response, deadlines)
        raise AssertionError  # the second attempt has returned or raised


class _Attempt:
    """What httpx tells about one attempt to send a request, and the *limit* for it."""

    def __init__(self, deadlines: _Deadlines) -> None:
        self.is_on_new_connection = False
        self.limit = asyncio.timeout_at(deadlines.end)
        self._deadlines = deadlines

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Note *event*, which is the beginning or the end of a step."""
        if event == "connection.connect_tcp.started":
            self.is_on_new_connection = True
        elif event == "http11.send_request_headers.started":
            self._deadlines.connected()
            self.limit.reschedule(self._deadlines.next())


def _fault_of(error: Exception) -> Fault:
    """Return what an *error* of httpx is."""
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return Fault.TIMEOUT
        case httpx.ProtocolError() if str(error).startswith(_TOO_LONG):
            return Fault.TOO_LARGE
        case httpx.ProtocolError() if not str(error).startswith(_SILENT):
            return Fault.GARBLED
        case _:
            return Fault.UNREACHABLE
