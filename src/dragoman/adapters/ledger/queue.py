"""What waits to be written to the ledger (ADR-0041).

Laws of this file:
- Whoever records never waits, and never fails.
- So many entries wait at most; then the oldest are dropped, and counted.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from dragoman.ports import LedgerEntry

CAPACITY: Final = 100_000
"""How many entries wait at most: some 80 MB, or two minutes of a busy gateway whose disk is gone."""

BATCH: Final = 500
"""How many entries are written at once, and how many of them are written without waiting any longer."""


@attrs.define(kw_only=True)
class LedgerQueue:
    """Fits the port `Ledger`, in one event loop. *lost* is how many entries were dropped and not yet told.

    *ripe* is set when there is a batch to be written.
    """

    capacity: int = CAPACITY
    batch: int = BATCH
    lost: int = attrs.field(default=0, init=False)
    ripe: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _entries: deque[LedgerEntry] = attrs.field(factory=deque, init=False)

    def record(self, entry: LedgerEntry) -> None:
        """Keep *entry* until it is written."""
        entries = self._entries
        entries.append(entry)
        waiting = len(entries)
        if waiting == self.batch:
            self.ripe.set()
        elif waiting > self.capacity:
            self._drop()

    def take(self, most: int) -> Sequence[LedgerEntry]:
        """Take the oldest entries out of the queue, so many at *most*."""
        entries = self._entries
        return [entries.popleft() for _ in range(min(most, len(entries)))]

    def put_back(self, entries: Sequence[LedgerEntry]) -> None:
        """Let *entries*, which were taken, wait again, before all others."""
        self._entries.extendleft(reversed(entries))
        while len(self._entries) > self.capacity:
            self._drop()

    def __len__(self) -> int:
        """How many entries wait."""
        return len(self._entries)

    def _drop(self) -> None:
        self._entries.popleft()
        self.lost += 1


@attrs.frozen
class NoLedger:
    """Fits the port `Ledger` where nothing is to outlive the process."""

    def record(self, entry: LedgerEntry) -> None:
        """Forget *entry*."""
