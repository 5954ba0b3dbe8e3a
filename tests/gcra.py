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
    """A bucket that starts full, and gets `count` tokens per `period` until it holds `burst` of them.

    What is *held* of its tokens is still in it, and for nobody else.
    """

    rate: Rate
    tokens: Fraction = attrs.field(init=False)
    held: int = attrs.field(default=0, init=False)
    looked_at: int | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.tokens = Fraction(self.rate.burst)

    @property
    def token_time(self) -> Fraction:
        """How long one token takes to come, in nanoseconds."""
        return Fraction(self.rate.period, self.rate.count)

    @property
    def left(self) -> Fraction:
        """What is left for others."""
        return self.tokens - self.held

    def look(self, now: int, amount: int = 1) -> Expected:
        """Return what a request for an *amount* finds at *now*, which does not decrease."""
        if self.looked_at is not None:
            self.tokens = min(Fraction(self.rate.burst), self.tokens + (now - self.looked_at) / self.token_time)
        self.looked_at = now
        return self._expected(amount, limited=self.left < amount)

    def take(self, now: int) -> Expected:
        """Return what a request leaves at *now*, and take its token if there is one."""
        if self.look(now).limited:
            return self._expected(1, limited=True)
        self.tokens -= 1
        return self._expected(1, limited=False)

    def reserve(self, now: int, amount: int) -> Expected:
        """Return what a request for an *amount* leaves at *now*, and hold it if it is there."""
        found = self.look(now, amount)
        if found.limited:
            return found
        self.held += amount
        return self._expected(amount, limited=False)

    def settle(self, now: int, reserved: int, used: int) -> None:
        """Hold what was *reserved* no longer, and take what was *used*, which may be more than there is."""
        self.look(now)
        self.held -= reserved
        self.tokens -= used

    def become(self, rate: Rate) -> None:
        """Get another rate: the time until the bucket is full stays, but it cannot be emptier than empty."""
        debt = (self.rate.burst - self.tokens) * self.token_time
        self.rate = rate
        self.tokens = max(Fraction(0), rate.burst - debt / self.token_time)

    def _expected(self, amount: int, *, limited: bool) -> Expected:
        return Expected(
            limited=limited,
            remaining=max(0, math.floor(self.left)),
            reset=math.ceil((self.rate.burst - self.left) * self.token_time),
            retry=math.ceil((amount - self.left) * self.token_time) if limited else 0,
        )
