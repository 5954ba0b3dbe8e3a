"""The days of keys, counted in memory (ADR-0041).

Laws of this file:
- Every request of every key is counted, bounded or not, so that a bound that is set at noon counts the morning.
- A day stays until the second one after it has begun: a request that arrived before midnight may end after it.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

import attrs

from dragoman.model import KeyId
from dragoman.ports import DailyUse

_KEPT: Final = timedelta(days=1)
"""How old a day may be that is still counted."""


@attrs.define
class _Count:
    """What a key has used, and what it holds."""

    requests: int = 0
    tokens: int = 0
    held: int = 0


@attrs.frozen(kw_only=True)
class MemoryDays:
    """Fits the port `DailyCounter`."""

    _days: dict[date, dict[KeyId, _Count]] = attrs.field(factory=dict, init=False)

    def seed(self, day: date, used: Mapping[KeyId, DailyUse]) -> None:
        """Count what was *used* on this *day* before this process began; for each day once."""
        for key, use in used.items():
            count = self._count(key, day)
            count.requests += use.requests
            count.tokens += use.tokens

    async def reserve(
        self, key: KeyId, day: date, *, amount: int, requests: int | None, tokens: int | None
    ) -> DailyUse:
        """Count a request and hold an *amount* of tokens, if no more than so many of both are counted then."""
        count = self._count(key, day)
        counted, total = count.requests + 1, count.tokens + count.held + amount
        if (requests is not None and counted > requests) or (tokens is not None and total > tokens):
            return DailyUse(requests=count.requests, tokens=count.tokens + count.held, admitted=False)
        count.requests = counted
        count.held += amount
        return DailyUse(requests=counted, tokens=total)

    def settle(self, key: KeyId, day: date, *, reserved: int, used: int) -> None:
        """Let go the tokens that were *reserved*, and count those that were *used*."""
        count = self._count(key, day)
        count.held -= reserved
        count.tokens += used

    def cancel(self, key: KeyId, day: date, *, reserved: int) -> None:
        """Let go the tokens that were *reserved*, and their request."""
        count = self._count(key, day)
        count.held -= reserved
        count.requests -= 1

    def used(self, key: KeyId, day: date) -> DailyUse:
        """Return what is counted of *key* on this *day*, without what is held."""
        count = self._days.get(day, {}).get(key, _Count())
        return DailyUse(requests=count.requests, tokens=count.tokens)

    def _count(self, key: KeyId, day: date) -> _Count:
        keys = self._days.get(day)
        if keys is None:
            for old in [one for one in self._days if one < day - _KEPT]:
                del self._days[old]
            keys = self._days[day] = {}
        count = keys.get(key)
        if count is None:
            count = keys[key] = _Count()
        return count
