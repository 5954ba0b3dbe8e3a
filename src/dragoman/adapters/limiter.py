"""Limits in memory: the generic cell rate algorithm, exact in whole numbers (ADR-0032).

Laws of this file:
- A subject is two numbers: the time at which its bucket is full again, which is kept in nanoseconds times the rate's
  count, so that no rate has a fraction; and how much of it is held. What is held does not come back until it is
  settled, so that nothing can be given back that was never taken (ADR-0041.R1).
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
    """*full_at* is in nanoseconds times the count of *rate*; *held* is in what the rate counts."""

    full_at: int
    rate: Rate
    held: int = 0

    def wait(self, now: int) -> int:
        """Return the nanoseconds, rounded up, until it is full, if what is held were settled now; 0 where it is."""
        rate = self.rate
        used = max(0, self.full_at - now * rate.count)
        return -(-(used + self.held * rate.period) // rate.count)

    def may_go(self, now: int) -> bool:
        """Whether it would pass a request, and nothing of it is held."""
        rate = self.rate
        return not self.held and self.full_at + rate.period <= now * rate.count + rate.bucket


@attrs.frozen(kw_only=True)
class MemoryLimiter:
    """Fits the port `Limiter`. *now* is monotonic, in nanoseconds."""

    now: Callable[[], int]
    capacity: int = SUBJECTS
    _scopes: dict[str, dict[str, _Bucket]] = attrs.field(factory=dict, init=False)

    async def take(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Take one request of *subject* if its *rate* admits it, and return what is left."""
        count, period, full = rate.count, rate.period, rate.bucket
        now = self.now() * count
        buckets = self._scopes.setdefault(scope, {})
        bucket = buckets.get(subject)
        if bucket is not None and bucket.rate is rate and not bucket.held:
            # PERF: nearly every request, in half the time of what follows.
            level = period if bucket.full_at <= now else bucket.full_at - now + period
            if level <= full:
                bucket.full_at = now + level
                return Quota(scope, rate, limited=False, remaining=(full - level) // period, reset=-(-level // count))
        held = 0 if bucket is None else bucket.held
        used = _used(bucket, rate, now)
        level = used + held * period
        missing = level + period - full
        if missing > 0:
            return _quota(scope, rate, level=level, missing=missing)
        self._keep(buckets, subject, _Bucket(now + used + period, rate, held))
        return _quota(scope, rate, level=level + period, missing=0)

    async def peek(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Return what `take` would find, and take nothing."""
        bucket = self._scopes.get(scope, {}).get(subject)
        held = 0 if bucket is None else bucket.held
        level = _used(bucket, rate, self.now() * rate.count) + held * rate.period
        missing = level + rate.period - rate.bucket
        return _quota(scope, rate, level=level, missing=max(0, missing))

    async def reserve(self, scope: str, subject: str, rate: Rate, amount: int) -> Quota:
        """Hold *amount* for *subject* until it is settled, if its *rate* has room for it, and return what is left."""
        now = self.now() * rate.count
        buckets = self._scopes.setdefault(scope, {})
        bucket = buckets.get(subject)
        if bucket is not None and bucket.rate is rate:
            # PERF: as in `take`.
            level = max(0, bucket.full_at - now) + (bucket.held + amount) * rate.period
            if level <= rate.bucket:
                bucket.held += amount
                left, reset = (rate.bucket - level) // rate.period, -(-level // rate.count)
                return Quota(scope, rate, limited=False, remaining=left, reset=reset)
        held = 0 if bucket is None else bucket.held
        used = _used(bucket, rate, now)
        level = used + (held + amount) * rate.period
        missing = level - rate.bucket
        if missing > 0:
            return _quota(scope, rate, level=used + held * rate.period, missing=missing)
        self._keep(buckets, subject, _Bucket(now + used, rate, held + amount))
        return _quota(scope, rate, level=level, missing=0)

    def settle(self, scope: str, subject: str, rate: Rate, *, reserved: int, used: int) -> None:
        """Let go what was *reserved* of *subject*, and take what it *used* in its place, however much that is.

        *rate* counts where nothing is known of the subject any more.
        """
        now, buckets = self.now(), self._scopes.setdefault(scope, {})
        bucket = buckets.get(subject)
        if bucket is None:
            bucket = _Bucket(now * rate.count, rate)
            self._keep(buckets, subject, bucket)
        rate = bucket.rate
        bucket.full_at = max(bucket.full_at, now * rate.count) + used * rate.period
        bucket.held = max(0, bucket.held - reserved)

    def _keep(self, buckets: dict[str, _Bucket], subject: str, bucket: _Bucket) -> None:
        if len(buckets) >= self.capacity and subject not in buckets:
            self._make_room(buckets)
        buckets[subject] = bucket

    def _make_room(self, buckets: dict[str, _Bucket]) -> None:
        now = self.now()
        leaving = [subject for subject, bucket in buckets.items() if bucket.wait(now) <= 0]
        if not leaving:
            passing = {subject: bucket for subject, bucket in buckets.items() if bucket.may_go(now)}
            candidates = passing or buckets
            share = max(1, self.capacity // _MAKE_ROOM)
            leaving = nsmallest(share, candidates, key=lambda subject: candidates[subject].wait(now))
        for subject in leaving:
            del buckets[subject]


def _used(bucket: _Bucket | None, rate: Rate, now: int) -> int:
    """Return how much of *bucket* is taken, in the units of *rate* and *now*; what is held of it is not counted.

    It may be more than the bucket holds, where more was used than had been reserved. If the rate has changed since, the
    time at which the bucket is full stays, but no bucket is emptier than empty, so that whoever gets a higher rate has
    not to wait for the end of the lower one.
    """
    if bucket is None:
        return 0
    before, full_at = bucket.rate, bucket.full_at
    if before is rate or before == rate:
        return max(0, full_at - now)
    if before.count != rate.count:
        full_at = -(-full_at * rate.count // before.count)
    return min(max(0, full_at - now), rate.bucket)


def _quota(scope: str, rate: Rate, *, level: int, missing: int) -> Quota:
    """Return the quota of a bucket of which so much is taken or held; *missing* is 0 where the caller is admitted."""
    return Quota(
        scope=scope,
        rate=rate,
        limited=missing > 0,
        remaining=max(0, rate.bucket - level) // rate.period,
        reset=-(-level // rate.count),
        retry=-(-missing // rate.count),
    )
