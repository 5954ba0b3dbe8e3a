"""The ledger: what every forwarded request used, in a file beside the store (ADR-0041).

Laws of this file:
- Importing it is cheap: SQLAlchemy is imported when the ledger is opened.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path

from dragoman.adapters.ledger.queue import LedgerQueue, NoLedger
from dragoman.model import KeyId
from dragoman.ports import DailyUse, EventLog

__all__ = ["LedgerQueue", "NoLedger", "keep_ledger", "ledger_path"]


def ledger_path(store: Path) -> Path:
    """Return where the ledger beside *store* is."""
    return store.with_name(f"{store.name}.ledger")


@asynccontextmanager
async def keep_ledger(
    path: Path,
    queue: LedgerQueue,
    *,
    now: Callable[[], datetime],
    seed: Callable[[date, Mapping[KeyId, DailyUse]], None],
    log: EventLog,
) -> AsyncIterator[None]:
    """Write what *queue* gets to the ledger at *path* until the end of the block, and all that is left of it then.

    The ledger is made where there is none; before the block begins *seed* gets what keys have used today.

    Raises:
        StoreError: it cannot be opened or read, at the beginning.
    """
    # PERF: SQLAlchemy and its asyncio part take half a second to import.
    from dragoman.adapters.ledger.writer import keeping  # noqa: PLC0415

    async with keeping(path, queue, now=now, seed=seed, log=log):
        yield
