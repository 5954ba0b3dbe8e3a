"""Follows the store: what another process changes there is obeyed here (ADR-0029).

Laws of this file:
- What is in force is replaced whole, by one assignment, and only by what could be read whole and no watcher keeps out.
- A change of state is told once; a store that stays bad is looked at again and again, in silence.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from dragoman.adapters.directory import Contents, CurrentDirectory, Directory
from dragoman.adapters.store.opening import build_engine, opened
from dragoman.adapters.store.reading import read_revision, read_snapshot
from dragoman.ports import EventLog, StoreError

PAUSE: Final = 0.5
"""Seconds between two looks: a quarter of the time within which a change is obeyed (ADR-0029.R1)."""


@asynccontextmanager
async def following(
    path: Path,
    current: CurrentDirectory,
    *,
    build: Callable[[Contents], Directory],
    log: EventLog,
    pause: float = PAUSE,
) -> AsyncIterator[None]:
    """Keep *current* what *build* makes of the store at *path*, until the end of the block.

    The store is opened and read once before the block begins.

    Raises:
        StoreError: it cannot be opened or read, at the beginning.
    """
    async with opened(path):
        pass  # it is there, and of this version
    follower = _Follower(path, current, build=build, log=log)
    try:
        await follower.look()
        done = asyncio.Event()
        looking = asyncio.create_task(follower.run(pause, done))
        try:
            yield
        finally:
            done.set()
            await looking
    finally:
        await follower.close()


class _Follower:
    def __init__(
        self, path: Path, current: CurrentDirectory, *, build: Callable[[Contents], Directory], log: EventLog
    ) -> None:
        self._path = path
        self._current = current
        self._build = build
        self._log = log
        self._engine: AsyncEngine | None = None
        self._file: tuple[int, int] | None = None
        self._seen: int | None = None
        self._good = True

    async def run(self, pause: float, done: asyncio.Event) -> None:
        """Look every *pause* seconds until it is *done*."""
        while not await _is_set_within(done, pause):
            try:
                await self.look()
            except StoreError as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the following in silence
                self._tell(f"the store cannot be read: {type(error).__name__}")
            else:
                self._tell(None)

    async def look(self) -> None:
        """Read the store if it has changed, and put what it holds in force.

        Raises:
            StoreError: it cannot be read; what was in force stays so.
        """
        engine = await self._engine_of_the_file()
        if await read_revision(engine, self._path) == self._seen:
            return
        snapshot = await read_snapshot(engine, self._path)
        self._current.put_in_force(await asyncio.to_thread(self._build, snapshot.contents))
        self._seen = snapshot.revision

    async def close(self) -> None:
        """Close what is open of the store."""
        if self._engine is not None:
            await self._engine.dispose()

    async def _engine_of_the_file(self) -> AsyncEngine:
        """Return an engine on the file that is there now: an open connection would go on reading one that is gone."""
        try:
            status = self._path.stat()
        except OSError as error:
            message = f"the store {self._path} is gone: {error.strerror}"
            raise StoreError(message) from None
        file = (status.st_dev, status.st_ino)
        if self._engine is None or file != self._file:
            await self.close()
            self._engine, self._file, self._seen = build_engine(self._path), file, None
        return self._engine

    def _tell(self, reason: str | None) -> None:
        if self._good == (reason is None):
            return
        self._good = reason is None
        if reason is None:
            self._log.state({"part": "store", "state": "good", "revision": self._seen})
        else:
            self._log.state({"part": "store", "state": "bad", "reason": reason})


async def _is_set_within(done: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(done.wait(), seconds)
    except TimeoutError:
        return False
    return True
