"""The store: what outlives the process (ADR-0029), opened for the commands, and followed by the gateway.

Laws of this file:
- Importing it is cheap: SQLAlchemy is imported when a store is opened, which most commands never do.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from dragoman.adapters.directory import Contents, CurrentDirectory, Directory
from dragoman.ports import Administration, EventLog


@asynccontextmanager
async def open_store(
    path: Path, *, now: Callable[[], datetime], new_id: Callable[[], str], random: Callable[[int], bytes]
) -> AsyncIterator[Administration]:
    """Give the administration of the store at *path*, which is made where there is none, until the end of the block.

    *new_id* returns a new UUIDv7, *random* as many random bytes as it is asked for.

    Raises:
        StoreError: it cannot be opened.
    """
    # PERF: SQLAlchemy and its asyncio part take half a second to import.
    from dragoman.adapters.store.administration import Ingredients, StoreAdministration  # noqa: PLC0415
    from dragoman.adapters.store.opening import opened  # noqa: PLC0415
    from dragoman.adapters.store.reading import require_sound  # noqa: PLC0415

    async with opened(path) as engine:
        await require_sound(engine, path)
        yield StoreAdministration(engine=engine, path=path, ingredients=Ingredients(now=now, id=new_id, random=random))


@asynccontextmanager
async def follow_store(
    path: Path, current: CurrentDirectory, *, build: Callable[[Contents], Directory], log: EventLog
) -> AsyncIterator[None]:
    """Keep *current* what *build* makes of the store at *path*, until the end of the block.

    Raises:
        StoreError: it cannot be opened or read, at the beginning.
    """
    from dragoman.adapters.store.follower import following  # noqa: PLC0415 - PERF, as above

    async with following(path, current, build=build, log=log):
        yield


async def read_store(path: Path) -> Contents:
    """Return what the store at *path* holds now, opened as a gateway opens it.

    Raises:
        StoreError: it cannot be opened or read.
    """
    from dragoman.adapters.store.opening import opened  # noqa: PLC0415 - PERF, as above
    from dragoman.adapters.store.reading import read_snapshot  # noqa: PLC0415

    async with opened(path) as engine:
        return (await read_snapshot(engine, path)).contents
