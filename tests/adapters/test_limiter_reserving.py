"""What the limiter holds: reserved before, settled after, exact, and above the limit only by what was not foreseen."""

import asyncio
from fractions import Fraction
from typing import Final

import attrs
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.limiter import SUBJECTS, MemoryLimiter
from dragoman.model import SECOND, Quota, Rate, rate_of
from fakes import Clock
from gcra import Bucket, Expected

SCOPE: Final = "key-tokens"
ONE: Final = "one"
MINUTE: Final = rate_of("60/m")
"""A token a second, sixty of them at once."""


@attrs.frozen
class Counter:
    """A limiter that is asked from code that does not wait, and its clock."""

    clock: Clock
    limiter: MemoryLimiter

    def reserve(self, rate: Rate, amount: int, subject: str = ONE) -> Quota:
        """Return what a request for an *amount* leaves."""
        return asyncio.run(self.limiter.reserve(SCOPE, subject, rate, amount))

    def settle(self, rate: Rate, *, reserved: int, used: int, subject: str = ONE) -> None:
        """End a reservation."""
        self.limiter.settle(SCOPE, subject, rate, reserved=reserved, used=used)

    def peek(self, rate: Rate, subject: str = ONE) -> Quota:
        """Return what a request for one would find."""
        return asyncio.run(self.limiter.peek(SCOPE, subject, rate))

    def take(self, rate: Rate, subject: str = ONE) -> Quota:
        """Return what a request for one leaves, which is taken at once."""
        return asyncio.run(self.limiter.take(SCOPE, subject, rate))


def counter(at: int = 0, capacity: int = SUBJECTS) -> Counter:
    """Return a limiter whose clock stands at so many nanoseconds."""
    clock = Clock(at)
    return Counter(clock, MemoryLimiter(now=clock.now, capacity=capacity))


def told(quota: Quota) -> Expected:
    """Return what *quota* says of the counter."""
    return Expected(limited=quota.limited, remaining=quota.remaining, reset=quota.reset, retry=quota.retry)


# --- What is held -----------------------------------------------------------------------------------------------------


def test_what_is_held_is_left_for_nobody() -> None:
    """Of sixty tokens forty are held: twenty are left, and whoever wants more is told when that will be there."""
    count = counter()

    held = count.reserve(MINUTE, 40)
    beyond = count.reserve(MINUTE, 21)
    fits = count.reserve(MINUTE, 20)

    assert Expected(limited=False, remaining=20, reset=40 * SECOND, retry=0) == told(held)
    assert Expected(limited=True, remaining=20, reset=40 * SECOND, retry=1 * SECOND) == told(beyond)
    assert Expected(limited=False, remaining=0, reset=60 * SECOND, retry=0) == told(fits)


def test_what_is_held_does_not_come_back_before_it_is_settled() -> None:
    """However long a request takes, what it holds stays held; once it is settled, it comes back as all else does."""
    count = counter()
    count.reserve(MINUTE, 40)

    count.clock.at = 3600 * SECOND
    before = count.peek(MINUTE)
    count.settle(MINUTE, reserved=40, used=30)
    after = count.peek(MINUTE)
    count.clock.at += 10 * SECOND

    assert [20, 30, 40] == [before.remaining, after.remaining, count.peek(MINUTE).remaining]


def test_what_was_reserved_and_not_used_is_there_at_once() -> None:
    """A request that used less gives back the rest, and one that used nothing all of it."""
    count = counter()
    for _ in range(3):
        count.reserve(MINUTE, 20)
    assert 0 == count.peek(MINUTE).remaining

    left = []
    for used in (20, 5, 0):
        count.settle(MINUTE, reserved=20, used=used)
        left.append(count.peek(MINUTE).remaining)

    assert [0, 15, 35] == left


def test_what_was_used_beyond_its_reservation_is_owed() -> None:
    """Who used 100 of 60 has nothing left, and again something 41 s later; nothing is forgiven."""
    count = counter()
    count.reserve(MINUTE, 10)

    count.settle(MINUTE, reserved=10, used=100)
    owed = count.peek(MINUTE)
    count.clock.at = 41 * SECOND - 1
    early = count.reserve(MINUTE, 1)
    count.clock.at = 41 * SECOND

    assert Expected(limited=True, remaining=0, reset=100 * SECOND, retry=41 * SECOND) == told(owed)
    assert (True, 1) == (early.limited, early.retry)
    assert not count.reserve(MINUTE, 1).limited


def test_what_is_larger_than_the_bucket_is_never_admitted() -> None:
    """Of a full bucket of sixty nobody gets sixty-one; nothing is held of him."""
    count = counter()

    assert count.reserve(MINUTE, 61).limited
    assert 60 == count.peek(MINUTE).remaining


def test_requests_and_reservations_of_one_subject_count_together() -> None:
    """What is held counts for a request that takes one at once, and the other way round."""
    count = counter()
    count.reserve(MINUTE, 58)

    passed = [count.take(MINUTE).limited for _ in range(3)]
    count.settle(MINUTE, reserved=58, used=0)

    assert [False, False, True] == passed
    assert 58 == count.peek(MINUTE).remaining


# --- Exactly ----------------------------------------------------------------------------------------------------------

RATES: Final = st.builds(
    Rate,
    count=st.integers(1, 30) | st.integers(1, 999_999_999),
    period=st.sampled_from([SECOND, 60 * SECOND, 86400 * SECOND]),
    burst=st.integers(1, 50) | st.integers(1, 999_999_999),
)
SHARES: Final = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(1)]) | st.fractions(0, 1.25)
"""How much of the burst is asked for, or used of what was reserved."""

WAITS: Final = st.just(Fraction(0)) | st.fractions(0, 0.5)
"""How much of the time passes in which a bucket fills."""


@attrs.frozen(kw_only=True)
class Step:
    """So much of the time in which a bucket fills passes; then *asked* of the burst is reserved, and some is settled.

    *settled* says which of those that are held, if any, and *used* how much of it was used.
    """

    waited: Fraction
    asked: Fraction
    settled: int
    used: Fraction


STEPS: Final = st.lists(
    st.builds(Step, waited=WAITS, asked=SHARES, settled=st.integers(0, 2), used=SHARES),
    min_size=1,
    max_size=25,
)


@confirms("ADR-0041.R1")
@given(rate=RATES, start=st.integers(-(10**15), 10**20), steps=STEPS)
def test_the_limiter_holds_as_a_bucket_of_tokens_does(rate: Rate, start: int, steps: list[Step]) -> None:
    """For every rate, clock and order of reservations and settlements it says what a bucket in fractions says."""
    count, bucket = counter(start), Bucket(rate)
    held: list[int] = []

    for step in steps:
        count.clock.at += int(step.waited * rate.burst * bucket.token_time)
        amount = max(1, int(step.asked * rate.burst))
        expected = bucket.reserve(count.clock.at, amount)
        assert expected == told(count.reserve(rate, amount))
        if not expected.limited:
            held.append(amount)
        if step.settled < len(held):
            reserved = held.pop(step.settled)
            used = int(step.used * reserved)
            bucket.settle(count.clock.at, reserved, used)
            count.settle(rate, reserved=reserved, used=used)
        assert bucket.look(count.clock.at) == told(count.peek(rate))


@confirms("ADR-0041.R1")
@given(rate=RATES, steps=STEPS)
def test_between_any_two_moments_no_more_is_used_than_the_limit_and_what_was_not_reserved(
    rate: Rate, steps: list[Step]
) -> None:
    """What settles between two moments is at most the burst, what comes back meanwhile, and k of these settlements."""
    count, held = counter(), list[int]()
    settled: list[tuple[int, int, int]] = []  # when, how much, and how much of it above its reservation

    for step in steps:
        count.clock.at += int(step.waited * rate.burst * rate.period // rate.count)
        amount = max(1, int(step.asked * rate.burst))
        if not count.reserve(rate, amount).limited:
            held.append(amount)
        if step.settled < len(held):
            reserved = held.pop(step.settled)
            used = int(step.used * reserved)
            count.settle(rate, reserved=reserved, used=used)
            settled.append((count.clock.at, used, max(0, used - reserved)))

    for first in range(len(settled)):
        for last in range(first, len(settled)):
            between = settled[first : last + 1]
            window = between[-1][0] - between[0][0]
            bound = sum(beyond for _, _, beyond in between)
            # In tokens times the period, so that nothing is rounded.
            assert sum(used for _, used, _ in between) * rate.period <= (
                (rate.burst + bound) * rate.period + window * rate.count
            )


# --- A rate that changes, and who is forgotten ------------------------------------------------------------------------


def test_a_changed_rate_forgives_what_is_owed_beyond_an_empty_bucket() -> None:
    """Who owes forty beyond his sixty, and gets another rate, starts with an empty bucket of it."""
    count, other = counter(), rate_of("600/m")
    count.settle(MINUTE, reserved=0, used=100)

    assert Expected(limited=True, remaining=0, reset=60 * SECOND, retry=SECOND // 10) == told(count.peek(other))


def test_a_changed_rate_keeps_what_is_held() -> None:
    """What is held stays held, in tokens, and settles at the rate that holds then."""
    count, other = counter(), rate_of("120/m")
    count.reserve(MINUTE, 50)

    changed = count.reserve(other, 10)
    count.settle(MINUTE, reserved=50, used=30)

    assert 60 == changed.remaining
    assert Expected(limited=False, remaining=80, reset=20 * SECOND, retry=0) == told(count.peek(other))


@confirms("ADR-0032.R8")
def test_who_holds_something_makes_room_last() -> None:
    """A subject of which something is held stays while another can go, as one that is over its limit does."""
    count = counter(capacity=3)
    count.reserve(MINUTE, 1, "holding")
    for subject in ("a", "b"):
        for _ in range(2):
            count.take(MINUTE, subject)

    count.reserve(MINUTE, 1, "new")

    assert 59 == count.peek(MINUTE, "holding").remaining


@confirms("ADR-0032.R8")
def test_what_is_settled_of_a_forgotten_subject_is_counted_anew() -> None:
    """Where a subject had to go, its settlement makes room as a request does, and counts what was used."""
    count = counter(capacity=1)
    count.reserve(MINUTE, 20, "first")
    count.reserve(MINUTE, 20, "second")

    count.settle(MINUTE, reserved=20, used=15, subject="first")

    assert [45, 60] == [count.peek(MINUTE, subject).remaining for subject in ("first", "second")]
