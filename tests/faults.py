"""A TCP proxy whose connections can be made to fail: what stands between two programs when the network is at fault.

Laws of this file:
- It changes no byte. A connection that is stalled stays open and carries nothing more, whatever happens afterwards.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import attrs

from process import LOOPBACK, PATIENCE

_PIECE = 64 * 1024


@attrs.define(eq=False)
class _Connection:
    """One connection, and both of its ways; *delay* says for how long a piece is kept, in seconds."""

    delay: Callable[[], float]
    flows: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what comes from *reader* to *writer*, until it ends."""
        try:
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(_PIECE):
                    await asyncio.sleep(self.delay())
                    await self.flows.wait()
                    writer.write(piece)
                    await writer.drain()
        finally:
            writer.close()


@attrs.define
class Proxy:
    """Carries what arrives on *port* on to the port *behind*, *delay* seconds later."""

    behind: int
    port: int = 0
    delay: float = 0.0
    _connections: list[_Connection] = attrs.field(factory=list)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._connections)

    def stall(self) -> None:
        """Let the connections that there are carry nothing more; new ones do."""
        for connection in self._connections:
            connection.flows.clear()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, until both sides have ended it."""
        connection = _Connection(lambda: self.delay)
        connection.flows.set()
        self._connections.append(connection)
        further, onwards = await asyncio.open_connection(LOOPBACK, self.behind)
        for way in (connection.carry(reader, onwards), connection.carry(further, writer)):
            self._tasks.add(asyncio.create_task(way))

    async def end(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy(behind: int) -> AsyncIterator[Proxy]:
    """Stand before the port *behind* until the end of the block."""
    standing = Proxy(behind)
    server = await asyncio.start_server(standing.accept, LOOPBACK, 0)
    standing.port = server.sockets[0].getsockname()[1]
    async with server:
        yield standing
        await standing.end()


@contextmanager
def proxy_of_its_own(behind: int) -> Iterator[Proxy]:
    """Stand before the port *behind* in a thread, until the end of the block."""
    given: list[Proxy] = []
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def stand() -> None:
        async with proxy(behind) as standing:
            given.append(standing)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(stand(),))
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield given[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)
        loop.close()
