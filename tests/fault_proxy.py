"""A TCP proxy that does to a connection what networks do: refuse, reset, delay, throttle, cut, garble and swallow.

Laws of this file:
- It knows nothing of what it carries. Upwards, to the server behind, everything flows; faults are on the way back, but
  for latency, which is on both.
- Its properties may change at any time, and then count for the next piece, and for the next connection.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from process import LOOPBACK
from sink import reset_at_end

_PIECE = 64 * 1024
_TICK = 0.01
"""How often a throttled connection sends, in seconds."""


@attrs.define(eq=False, kw_only=True)
class FaultProxy:
    """Carries what arrives on *port* on to the port *behind*.

    *latency* is how long each piece takes, *first_byte* how long the first one of an answer takes beyond that, both in
    seconds; *bandwidth* is in bytes a second. After *cut_after* bytes of the server's the connection ends, with a reset
    if *reset*; before that, *garbage* is sent in place of what the server says. A *black_hole* accepts, and carries
    nothing; *reset_at_once* ends a connection when it is made.
    """

    behind: int
    port: int = 0
    latency: float = 0.0
    first_byte: float = 0.0
    bandwidth: int | None = None
    cut_after: int | None = None
    reset: bool = False
    garbage: bytes | None = None
    black_hole: bool = False
    reset_at_once: bool = False
    connections: int = 0
    open: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    _writers: list[asyncio.StreamWriter] = attrs.field(factory=list)

    async def listen(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, limit=_PIECE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse connections from now on, until `listen`; those that there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def end(self) -> None:
        """Refuse connections, and end those that there are."""
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, until one side has ended it."""
        self.open += 1
        self._writers.append(writer)
        onwards: asyncio.StreamWriter | None = None
        try:
            if self.reset_at_once:
                reset_at_end(writer)
                return
            if self.black_hole:
                while await reader.read(_PIECE):
                    pass
                return
            further, onwards = await asyncio.open_connection(LOOPBACK, self.behind, limit=_PIECE)
            self._writers.append(onwards)
            ways = {
                asyncio.ensure_future(self._upwards(reader, onwards)),
                asyncio.ensure_future(self._back(further, writer)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            for one in (writer, onwards):
                if one is not None:
                    one.close()

    async def _upwards(self, reader: asyncio.StreamReader, onwards: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(_PIECE):
                await asyncio.sleep(self.latency)
                onwards.write(piece)
                await onwards.drain()

    async def _back(self, further: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried = 0
        with contextlib.suppress(ConnectionError):
            while piece := await further.read(_PIECE if self.bandwidth is None else int(self.bandwidth * _TICK) or 1):
                if not carried:
                    await asyncio.sleep(self.first_byte)
                await asyncio.sleep(self.latency if self.bandwidth is None else _TICK)
                if self.garbage is not None:
                    piece = self.garbage
                if self.cut_after is not None:
                    piece = piece[: max(0, self.cut_after - carried)]
                carried += len(piece)
                writer.write(piece)
                await writer.drain()
                if self.cut_after is not None and carried >= self.cut_after:
                    if self.reset:
                        await asyncio.sleep(_TICK)  # or what was written may be lost with the reset
                        reset_at_end(writer)
                    return


@asynccontextmanager
async def fault_proxy(behind: int) -> AsyncIterator[FaultProxy]:
    """Stand before the port *behind* until the end of the block."""
    proxy = FaultProxy(behind=behind)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.end()
