"""Writes the ledger in batches, from one task (ADR-0041).

Laws of this file:
- An entry leaves the queue for good when it is on the disk; what could not be written is tried again.
- Nothing is lost in silence: what had to be dropped is counted and told.
- A change of state is told once, and one bad entry does not hold up the others.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from dragoman.adapters.ledger.queue import LedgerQueue
from dragoman.adapters.ledger.tables import APPLICATION_ID, ENTRIES, HEAD
from dragoman.adapters.store.opening import Schema, build_engine, opened, telling, writing
from dragoman.adapters.store.rows import milliseconds
from dragoman.model import KeyId
from dragoman.ports import DailyUse, EventLog, LedgerEntry, StoreError

LEDGER: Final = Schema(
    noun="ledger",
    application_id=APPLICATION_ID,
    head=HEAD,
    migrations=Path(__file__).with_name("migrations"),
)

INTERVAL: Final = 0.5
"""Seconds that an entry waits at most: what a process that is killed may lose."""

RETRY: Final = 5.0
"""Seconds between two attempts at most, while nothing can be written; they begin with the interval."""

FAREWELL: Final = 4.0
"""Seconds that are left for what waits when the process ends: a second less than the server gives the hooks."""

_PATIENCE: Final = 250
"""For how many milliseconds SQLite waits for another writer: we ask again, and are told when the process ends."""

_PAUSE: Final = 0.05
"""Seconds between two attempts at the end."""

_LARGEST: Final = 2**63 - 1
"""The largest integer of SQLite; an upstream may say what it will."""

_PLAIN: Final = (
    *("request_id", "organization", "key", "agent", "alias", "operation", "outcome", "stream", "estimated"),
    *("duration_ms", "first_token_ms", "provider", "upstream_model", "attempts"),
)
"""The members of an entry that are written as they are."""

_COUNTS: Final = ("usage.input_tokens", "usage.output_tokens", "usage.cached_tokens", "usage.reasoning_tokens", "cost")

_plain_of: Final = attrgetter(*_PLAIN)
_counts_of: Final = attrgetter(*_COUNTS)

_COLUMNS: Final = (*_PLAIN, *(name.removeprefix("usage.") for name in _COUNTS), "at")

_AT_ONCE: Final = 49
"""How many entries one statement writes, of twenty values each: every SQLite takes 999 values, and newer ones more."""

_UNWRITABLE: Final = (OverflowError, UnicodeError, DataError, IntegrityError, InterfaceError, ProgrammingError)
"""What an entry raises that could never be written."""


class _UnwritableError(Exception):
    """An entry could never be written; its text is the type of what it raises."""


@asynccontextmanager
async def keeping(  # noqa: PLR0913 - what a ledger is made of
    path: Path,
    queue: LedgerQueue,
    *,
    now: Callable[[], datetime],
    seed: Callable[[date, Mapping[KeyId, DailyUse]], None],
    log: EventLog,
    interval: float = INTERVAL,
    farewell: float = FAREWELL,
) -> AsyncIterator[None]:
    """Write what *queue* gets to the ledger at *path* until the end of the block, and then what is left of it.

    Before the block begins *seed* gets what keys have used today.

    Raises:
        StoreError: it cannot be opened or read, at the beginning.
    """
    writer = _Writer(path, queue, log)
    try:
        today = now().astimezone(UTC).date()
        seed(today, await writer.used_on(today))
        done = asyncio.Event()
        writing_on = asyncio.create_task(writer.run(interval, done))
        try:
            yield
        finally:
            done.set()
            queue.ripe.set()
            await writing_on
            await writer.end(farewell)
    finally:
        await writer.close()


class _Writer:
    def __init__(self, path: Path, queue: LedgerQueue, log: EventLog) -> None:
        self._path = path
        self._queue = queue
        self._log = log
        self._engine: AsyncEngine | None = None
        self._file: tuple[int, int] | None = None
        self._reason: str | None = None
        self._told_loss = False

    async def run(self, interval: float, done: asyncio.Event) -> None:
        """Write what waits every *interval* seconds, or as soon as there is a batch, until it is *done*."""
        pause = interval
        while not done.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._queue.ripe.wait(), pause)
            self._queue.ripe.clear()
            pause = interval if await self._flush() else min(2 * pause, RETRY)

    async def end(self, seconds: float) -> None:
        """Write what is left, for so many *seconds* at most, and tell what could not be written."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        written = await self._flush()
        while loop.time() < end and not (written and not len(self._queue)):
            await asyncio.sleep(_PAUSE)
            written = await self._flush()
        if lost := len(self._queue) + self._queue.lost:
            self._state("bad", reason=self._reason or "there was no time to write it", lost=lost)

    async def used_on(self, day: date) -> Mapping[KeyId, DailyUse]:
        """Return what each key used on this *day* in UTC: requests that were sent, and tokens.

        Raises:
            StoreError: the ledger cannot be read.
        """
        begin = datetime.combine(day, time(), UTC)
        entries = ENTRIES.c
        # `total` cannot overflow, as `sum` can; up to 2^53 it is exact.
        statement = (
            select(
                entries.key,
                func.count().filter(entries.attempts > 0),
                func.total(entries.input_tokens) + func.total(entries.output_tokens),
            )
            .where(entries.at >= milliseconds(begin), entries.at < milliseconds(begin + timedelta(days=1)))
            .where(entries.key.is_not(None))
            .group_by(entries.key)
        )
        engine = await self._opened_engine()
        with telling(self._path, LEDGER):
            async with engine.connect() as connection:
                found = (await connection.execute(statement)).all()
        return {KeyId(key): DailyUse(requests=requests, tokens=int(tokens)) for key, requests, tokens in found}

    async def close(self) -> None:
        """Close what is open of the ledger."""
        if self._engine is not None:
            await self._engine.dispose()

    async def _flush(self) -> bool:
        """Write what waits, and return whether all of it could be written.

        A batch with an entry that can never be written is written singly; that entry is dropped, and told.
        """
        singly = 0
        while batch := self._queue.take(1 if singly else self._queue.batch):
            singly = max(0, singly - 1)
            try:
                await self._insert(batch)
            except _UnwritableError as error:
                if len(batch) > 1:
                    self._queue.put_back(batch)
                    singly = len(batch)
                else:
                    self._state("bad", reason=f"an entry cannot be written: {error}", lost=1)
            except StoreError as error:
                self._queue.put_back(batch)
                self._tell(str(error))
                return False
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the writing in silence
                self._queue.put_back(batch)
                self._tell(f"the ledger cannot be written: {type(error).__name__}")
                return False
            except BaseException:  # it was cancelled
                self._queue.put_back(batch)
                raise
        self._tell(None)
        return True

    async def _insert(self, batch: Sequence[LedgerEntry]) -> None:
        try:
            rows = [_row(entry) for entry in batch]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one of these entries
            raise _UnwritableError(type(error).__name__) from None
        with telling(self._path, LEDGER):
            engine = await self._opened_engine()
            try:
                async with writing(engine, attempts=1) as connection:
                    for begin in range(0, len(rows), _AT_ONCE):
                        some = rows[begin : begin + _AT_ONCE]
                        await connection.exec_driver_sql(_insert(len(some)), tuple(chain.from_iterable(some)))
            except _UNWRITABLE as error:
                raise _UnwritableError(type(error).__name__) from None

    async def _opened_engine(self) -> AsyncEngine:
        """Return an engine on the file, which is made where there is none; it is opened once.

        SQLite must not lose a file that it has open: what has been written lies in the log beside it, too. So nothing
        is written while the file is not where it was.
        """
        if self._engine is None:
            async with opened(self._path, LEDGER):
                pass  # it is there, and of this version
            self._engine, self._file = build_engine(self._path, patience=_PATIENCE), _identity_of(self._path)
        elif _identity_of(self._path) != self._file:
            message = f"the ledger {self._path} was moved while it was in use; put it back, or start again without it"
            raise StoreError(message)
        return self._engine

    def _tell(self, reason: str | None) -> None:
        """Tell that it has become bad, for a *reason*, or good; and once in between that entries are dropped."""
        if reason is None and self._reason is not None:
            self._state("good", **({"lost": self._queue.lost} if self._queue.lost else {}))
            self._queue.lost, self._told_loss = 0, False
        elif reason is not None and self._reason is None:
            self._state("bad", reason=reason)
        elif self._queue.lost and not self._told_loss:
            self._told_loss = True
            self._state("bad", reason=f"{self._queue.capacity} entries wait, and the oldest are dropped")
        self._reason = reason

    def _state(self, state: str, **fields: object) -> None:
        self._log.state({"part": "ledger", "state": state, **fields})


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@lru_cache(maxsize=_AT_ONCE)
def _insert(count: int) -> str:
    """Return the statement that writes *count* entries.

    PERF: SQLAlchemy takes three times as long for one that it makes itself. And Python's own `executemany` lets others
    run after each entry, and then waits until they do nothing: a busy event loop and the writer took turns for each.
    """
    values = f"({', '.join('?' * len(_COLUMNS))})"
    return 'INSERT INTO entries ("{}") VALUES {}'.format(  # noqa: S608 - all of it is ours
        '", "'.join(_COLUMNS), ", ".join([values] * count)
    )


def _row(entry: LedgerEntry) -> tuple[Any, ...]:
    """Return *entry* in the order of the columns."""
    counts = [min(count, _LARGEST) for count in _counts_of(entry)]
    return (*_plain_of(entry), *counts, milliseconds(entry.at))
