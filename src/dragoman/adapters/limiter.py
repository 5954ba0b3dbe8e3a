"""Limits in memory: the generic cell rate algorithm, exact in whole numbers (ADR-0032).

Laws of this file:
- A subject is one number: the time at which its bucket is full again. It is kept in nanoseconds times the rate's count,
  so that no rate has a fraction.
- A scope keeps at most so many subjects; full ones go first, then those nearest to full, and those that are over their
  limit last.
"""

from collections.abc import Callable
from heapq import nsmallest
from typing import Final

import attrs

from dragoman.model import Quota, Rate

SUBJECTS: Final = 100_000
"""How many subjects a scope keeps: some 20 MB at most."""

_MAKE_ROOM: Final = 10
"""The part of them that makes room at once, as a divisor: looking at all of them takes some 50 ms."""


@attrs.define  # PERF: what is frozen takes three times as long to make, and one is made for every limit of a request
class _Bucket:
    """*full_at* is in nanoseconds times the count of *rate*."""

    full_at: int
    rate: Rate

    def wait(self, now: int) -> int:
        """Return the nanoseconds, rounded up, until it is full; nothing, or less, where it is."""
        return -(-self.full_at // self.rate.count) - now

    def is_over(self, now: int) -> bool:
        """Whether it would refuse a request."""
        rate = self.rate
        return self.full_at + rate.period > now * rate.count + rate.burst * rate.period


@attrs.frozen(kw_only=True)
class MemoryLimiter:
    """Fits the port `Limiter`. *now* is monotonic, in nanoseconds."""

    now: Callable[[], int]
    capacity: int = SUBJECTS
    _scopes: dict[str, dict[str, _Bucket]] = attrs.field(factory=dict, init=False)

    async def take(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Take one request of *subject* if its *rate* admits it, and return what is left."""
        now = self.now() * rate.count
        buckets = self._scopes.setdefault(scope, {})
        used = _used(buckets.get(subject), rate, now)
        missing = used + rate.period - rate.burst * rate.period
        if missing > 0:
            return _quota(scope, rate, used=used, missing=missing)
        if len(buckets) >= self.capacity and subject not in buckets:
            self._make_room(buckets)
        used += rate.period
        buckets[subject] = _Bucket(now + used, rate)
        return _quota(scope, rate, used=used, missing=0)

    async def peek(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Return what `take` would find, and take nothing."""
        used = _used(self._scopes.get(scope, {}).get(subject), rate, self.now() * rate.count)
        missing = used + rate.period - rate.burst * rate.period
        return _quota(scope, rate, used=used, missing=max(0, missing))

    def _make_room(self, buckets: dict[str, _Bucket]) -> None:
        now = self.now()
        leaving = [subject for subject, bucket in buckets.items() if bucket.wait(now) <= 0]
        if not leaving:
            passing = {subject: bucket for subject, bucket in buckets.items() if not bucket.is_over(now)}
            candidates = passing or buckets
            share = max(1, self.capacity // _MAKE_ROOM)
            leaving = nsmallest(share, candidates, key=lambda subject: candidates[subject].wait(now))
        for subject in leaving:
            del buckets[subject]


def _used(bucket: _Bucket | None, rate: Rate, now: int) -> int:
    """Return how much of *bucket* is taken, in the units of *rate* and *now*.

    The rate may have changed since: the time at which the bucket is full stays, but no bucket is emptier than empty, so
    that whoever gets a higher rate has not to wait for the end of the lower one.
    """
    if bucket is None:
        return 0
    full_at = bucket.full_at
    if bucket.rate.count != rate.count:
        full_at = -(-full_at * rate.count // bucket.rate.count)
    return min(max(0, full_at - now), rate.burst * rate.period)


def _quota(scope: str, rate: Rate, *, used: int, missing: int) -> Quota:
    """Return the quota of a bucket of which *used* is taken; *missing* is 0 where a request is admitted."""
    return Quota(
        scope=scope,
        rate=rate,
        limited=missing > 0,
        remaining=(rate.burst * rate.period - used) // rate.period,
        reset=-(-used // rate.count),
        retry=-(-missing // rate.count),
    )
