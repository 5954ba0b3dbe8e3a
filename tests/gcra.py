"""What a limit admits, told a second time: a bucket of tokens in fractions, where the limiter has times in integers.

Laws of this file:
- It shares nothing with the limiter but the record of a rate.
"""

import math
from fractions import Fraction

import attrs

from dragoman.model import Rate


@attrs.frozen(kw_only=True)
class Expected:
    """What is left of a limit; durations are in nanoseconds."""

    limited: bool
    remaining: int
    reset: int
    retry: int


@attrs.define
class Bucket:
    """A bucket that starts full, and gets `count` tokens per `period` until it holds `burst` of them."""

    rate: Rate
    tokens: Fraction = attrs.field(init=False)
    looked_at: int | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.tokens = Fraction(self.rate.burst)

    @property
    def token_time(self) -> Fraction:
        """How long one token takes to come, in nanoseconds."""
        return Fraction(self.rate.period, self.rate.count)

    def look(self, now: int) -> Expected:
        """Return what a request finds at *now*, which does not decrease."""
        if self.looked_at is not None:
            self.tokens = min(Fraction(self.rate.burst), self.tokens + (now - self.looked_at) / self.token_time)
        self.looked_at = now
        return self._expected(limited=self.tokens < 1)

    def take(self, now: int) -> Expected:
        """Return what a request leaves at *now*, and take its token if there is one."""
        if self.look(now).limited:
            return self._expected(limited=True)
        self.tokens -= 1
        return self._expected(limited=False)

    def become(self, rate: Rate) -> None:
        """Get another rate: the time until the bucket is full stays, but it cannot be emptier than empty."""
        debt = (self.rate.burst - self.tokens) * self.token_time
        self.rate = rate
        self.tokens = max(Fraction(0), rate.burst - debt / self.token_time)

    def _expected(self, *, limited: bool) -> Expected:
        return Expected(
            limited=limited,
            remaining=math.floor(self.tokens),
            reset=math.ceil((self.rate.burst - self.tokens) * self.token_time),
            retry=math.ceil((1 - self.tokens) * self.token_time) if limited else 0,
        )
