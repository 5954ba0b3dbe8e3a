"""An engine on httpx: slower, and by others. It passes the tests that the default one passes.

Laws of this file:
- Only the transport of httpx is used: its client would read the environment, keep cookies and look for redirects.
- Requests go to an address that was judged; the name is in the header `Host`, and in what TLS asks for.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import httpx

from dragoman.adapters.upstream.addresses import allowed_addresses
from dragoman.adapters.upstream.engine import KEEP_ALIVE, KEPT, LINGER, Place, bracketed
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


class HttpxEngine:
    """Fits the protocol `Engine`. It belongs to the event loop in which it is made."""

    def __init__(self, place: Place, tls: ssl.SSLContext | None) -> None:
        """Send to *place*, over *tls* if that is https."""
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=False,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=place.capacity, keepalive_expiry=KEEP_ALIVE
            ),
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
        deadlines = _Deadlines(timeouts, self._loop)
        self._active += 1
        try:
            addresses = await self._addresses(timeouts)
            for address in addresses:
                try:
                    return await self._send(self._request(address, path, body), timeouts, deadlines)
                except httpx.ConnectError:
                    continue
        except BaseException:
            self.ended()
            raise
        self.ended()
        raise UpstreamError(Fault.UNREACHABLE)

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

    async def _addresses(self, timeouts: Timeouts) -> list[str]:
        try:
            async with asyncio.timeout(min(timeouts.connect, timeouts.total)):
                return list(await allowed_addresses(self._place, self._loop))
        except TimeoutError:
            raise UpstreamError(Fault.TIMEOUT) from None
        except OSError:
            raise UpstreamError(Fault.UNREACHABLE) from None

    def _request(self, address: str, path: str, body: bytes) -> httpx.Request:
        place = self._place
        url = f"{place.scheme}://{bracketed(address)}:{place.port}{place.base_path}{path}"
        return httpx.Request("POST", url, headers={**place.headers, "Host": place.authority}, content=body)

    async def _send(self, request: httpx.Request, timeouts: Timeouts, deadlines: _Deadlines) -> _HttpxAnswer:
        """Send *request*, and once more if it was on a kept connection that turned out to be closed."""
        for last in (False, True):
            new = False

            async def trace(event: str, _: Mapping[str, Any]) -> None:
                nonlocal new
                if event == "connection.connect_tcp.started":
                    new = True
                elif event == "http11.send_request_headers.started":
                    deadlines.connected()
                    if limit is not None:
                        limit.reschedule(deadlines.next())

            request.extensions = {
                "timeout": {"connect": timeouts.connect, "read": None, "write": None, "pool": None},
                "sni_hostname": self._place.host,
                "trace": trace,
            }
            limit: asyncio.Timeout | None = None
            try:
                async with asyncio.timeout_at(deadlines.end) as limit:
                    response = await self._transport.handle_async_request(request)
            except httpx.ConnectError:
                raise
            except (httpx.HTTPError, TimeoutError) as error:
                fault = _fault_of(error)
                if last or new or fault is not Fault.UNREACHABLE:
                    raise UpstreamError(fault) from None
            else:
                return _HttpxAnswer(self, response, deadlines)
        raise AssertionError  # the second attempt has returned or raised


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
