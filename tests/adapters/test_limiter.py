"""The limiter in memory: exact against boulder's worked example and a second telling, and bounded."""

import asyncio
from collections.abc import Sequence
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.limiter import SUBJECTS, MemoryLimiter
from dragoman.model import SECOND, Quota, Rate, rate_of
from dragoman.ports import Limiter
from fakes import Clock
from gcra import Bucket, Expected

MS: Final = 1_000_000
TWENTY: Final = rate_of("20/s")
SCOPE: Final = "key"
ONE: Final = "one"


@attrs.frozen
class Counter:
    """A limiter that is asked from code that does not wait, and its clock."""

    clock: Clock
    limiter: Limiter

    def take(self, rate: Rate, subject: str = ONE, *, scope: str = SCOPE) -> Quota:
        """Return what a request of *subject* leaves."""
        return asyncio.run(self.limiter.take(scope, subject, rate))

    def peek(self, rate: Rate, subject: str = ONE, *, scope: str = SCOPE) -> Quota:
        """Return what a request of *subject* would find."""
        return asyncio.run(self.limiter.peek(scope, subject, rate))

    def admitted(self, rate: Rate, times: int, subject: str = ONE) -> int:
        """Return how many of so many requests of *subject* pass."""

        async def asking() -> int:
            return sum([not (await self.limiter.take(SCOPE, subject, rate)).limited for _ in range(times)])

        return asyncio.run(asking())

    def known(self, rate: Rate, subjects: Sequence[str]) -> list[str]:
        """Return those of the *subjects* whose requests are remembered."""

        async def asking() -> list[str]:
            return [one for one in subjects if (await self.limiter.peek(SCOPE, one, rate)).remaining < rate.burst]

        return asyncio.run(asking())


def counter(at: int = 0, capacity: int = SUBJECTS) -> Counter:
    """Return a limiter whose clock stands at so many nanoseconds."""
    clock = Clock(at)
    return Counter(clock, MemoryLimiter(now=clock.now, capacity=capacity))


def told(quota: Quota) -> Expected:
    """Return what *quota* says of the counter."""
    return Expected(limited=quota.limited, remaining=quota.remaining, reset=quota.reset, retry=quota.retry)


# --- Exactly what GCRA admits -----------------------------------------------------------------------------------------

STARTS: Final = (0, 1, SECOND - 1, 86_399_999_999_999, 1_764_547_200_123_456_789, 2**63, 10**30, -(10**12))


@confirms("ADR-0032.R1")
@pytest.mark.parametrize("start", STARTS)
def test_twenty_pass_at_once_and_then_one_every_50_ms(start: int) -> None:
    """At 20/s with a burst of 20, whatever the clock says: 20 at once, and then one at each 50 ms, not 1 ns earlier."""
    count = counter(start)

    burst = [count.take(TWENTY) for _ in range(20)]
    beyond = count.take(TWENTY)

    assert [(False, left, 0) for left in reversed(range(20))] == [
        (one.limited, one.remaining, one.retry) for one in burst
    ]
    assert [50 * MS * taken for taken in range(1, 21)] == [one.reset for one in burst]
    assert Expected(limited=True, remaining=0, reset=SECOND, retry=50 * MS) == told(beyond)
    for step in range(1, 100):
        count.clock.at = start + step * 50 * MS - 1
        assert Expected(limited=True, remaining=0, reset=SECOND - 50 * MS + 1, retry=1) == told(count.take(TWENTY))
        count.clock.at += 1
        assert (False, True) == (count.take(TWENTY).limited, count.take(TWENTY).limited)


@confirms("ADR-0032.R1")
def test_half_a_token_is_kept() -> None:
    """What has come back of a token counts: 25 ms after a refusal the next request passes in 25 ms, and not in 50."""
    count = counter()
    assert 20 == count.admitted(TWENTY, 21)

    waits = []
    for at in (25 * MS, 75 * MS, 75 * MS, 99 * MS):
        count.clock.at = at
        waits.append(count.take(TWENTY).retry)

    assert [25 * MS, 0, 25 * MS, 1 * MS] == waits
    count.clock.at = 100 * MS
    assert 1 == count.admitted(TWENTY, 2)


@confirms("ADR-0032.R1")
@pytest.mark.parametrize(("idle", "admitted"), [(499 * MS, 9), (500 * MS, 10), (SECOND, 20), (10**6 * SECOND, 20)])
def test_an_idle_bucket_fills_and_does_not_run_over(idle: int, admitted: int) -> None:
    """A bucket gets one token back every 50 ms, and never more than it holds."""
    count = counter()
    count.admitted(TWENTY, 20)

    count.clock.at += idle

    assert admitted == count.admitted(TWENTY, 40)


@confirms("ADR-0032.R1")
def test_a_rate_that_does_not_divide_its_period_loses_nothing() -> None:
    """Of 7 a minute 7,000 pass in a thousand minutes, asked again at once, and else when it was said."""
    seven, count = Rate(count=7, period=60 * SECOND, burst=1), counter()

    passed = 0
    while count.clock.at < 1000 * 60 * SECOND:
        quota = count.take(seven)
        passed += not quota.limited
        count.clock.at += quota.retry or 1

    assert 7000 == passed


COUNTS: Final = st.integers(1, 30) | st.integers(1, 999_999_999)
RATES: Final = st.builds(
    Rate,
    count=COUNTS,
    period=st.sampled_from([SECOND, 60 * SECOND, 3600 * SECOND, 86400 * SECOND]),
    burst=st.integers(1, 12) | st.integers(1, 999_999_999),
)
CLOCKS: Final = st.integers(0, 10**12) | st.integers(-(10**20), 10**30)
WAITS: Final = st.lists(st.fractions(0, 3) | st.just(0), min_size=1, max_size=40)
"""How many tokens come back between two requests."""


@confirms("ADR-0032.R1")
@given(rate=RATES, start=CLOCKS, waits=WAITS)
def test_the_limiter_counts_as_a_bucket_of_tokens_does(rate: Rate, start: int, waits: list[float]) -> None:
    """For every rate and clock, request by request, it says what a bucket of tokens in fractions says."""
    count, bucket = counter(start), Bucket(rate)

    for wait in waits:
        count.clock.at += int(wait * bucket.token_time)
        assert bucket.take(count.clock.at) == told(count.take(rate))


@confirms("ADR-0032.R2")
@given(rate=RATES, start=CLOCKS, waits=WAITS)
def test_the_next_request_passes_when_it_was_said(rate: Rate, start: int, waits: list[float]) -> None:
    """After `retry` the next request passes, and 1 ns before it does not; after `reset` all of them do."""
    count = counter(start)
    for wait in waits:
        count.clock.at += int(wait * rate.period // rate.count)
        count.take(rate)

    found = count.peek(rate)
    early, late, idle = (counter_at(count, found.retry + more, rate) for more in (-1, 0, found.reset - found.retry))

    assert found.retry == 0 or early.limited
    assert not late.limited
    assert (rate.burst, 0) == (idle.remaining, idle.reset)


def counter_at(count: Counter, later: int, rate: Rate) -> Quota:
    """Return what a request would find so many nanoseconds *later*."""
    count.clock.at += later
    quota = count.peek(rate)
    count.clock.at -= later
    return quota


# --- A rate that changes ----------------------------------------------------------------------------------------------


@given(before=RATES, after=RATES, start=CLOCKS, waits=WAITS)
def test_a_changed_rate_keeps_the_time_at_which_the_bucket_is_full(
    before: Rate, after: Rate, start: int, waits: list[float]
) -> None:
    """When a rate changes between requests, what was used stays used, as far as the new bucket has room for it."""
    count, bucket = counter(start), Bucket(before)
    for wait in waits:
        count.clock.at += int(wait * bucket.token_time)
        count.take(before)
        bucket.take(count.clock.at)

    bucket.become(after)

    assert bucket.look(count.clock.at) == told(count.peek(after))
    assert bucket.take(count.clock.at) == told(count.take(after))


def test_a_higher_rate_holds_at_once() -> None:
    """Who has used up one request a day and gets 20 a second waits 50 ms, and not until tomorrow."""
    count = counter()
    assert 1 == count.admitted(rate_of("1/d"), 2)

    assert 50 * MS == count.take(TWENTY).retry


def test_a_lower_rate_forgives_nothing_and_adds_nothing() -> None:
    """Who has used up 20 a second and gets one a day waits for the second that he owes, and no day."""
    count = counter()
    count.admitted(TWENTY, 20)

    assert SECOND == count.take(rate_of("1/d")).retry


# --- Looking, and whose count it is -----------------------------------------------------------------------------------


@given(rate=RATES, takes=st.integers(0, 15))
def test_looking_takes_nothing(rate: Rate, takes: int) -> None:
    """However often one looks, the next request finds the same, and looking says whether it will pass."""
    count = counter(10**15)
    for _ in range(takes):
        count.take(rate)

    looks = {told(count.peek(rate)) for _ in range(5)}
    took = count.take(rate)

    [look] = looks
    assert (look.limited, look.retry) == (took.limited, took.retry)
    assert look.remaining - (not look.limited) == took.remaining


def test_who_never_asked_has_everything() -> None:
    """A subject, and a scope, that nobody has asked for is full."""
    assert Expected(limited=False, remaining=20, reset=0, retry=0) == told(counter().peek(TWENTY))


def test_subjects_and_scopes_are_counted_apart() -> None:
    """A subject's requests count for no other, nor for one of the same name in another scope."""
    count, once = counter(), rate_of("1/h")

    passed = [count.take(once, subject, scope=scope).limited for subject in "ab" for scope in ("key", "alias")]

    assert [False] * 4 == passed
    assert count.take(once, "a", scope="key").limited


def test_a_quota_says_what_it_counts() -> None:
    """The scope and the rate of what was asked are told."""
    quota = counter().take(TWENTY, scope="address")

    assert ("address", TWENTY) == (quota.scope, quota.rate)


# --- Memory is bounded ------------------------------------------------------------------------------------------------


@confirms("ADR-0032.R8")
def test_twice_as_many_subjects_as_are_kept_do_not_free_one() -> None:
    """Of 200,000 new addresses at most 100,000 are remembered, and one that is over its limit stays over it."""
    rate, count = rate_of("2/d"), counter()
    assert 2 == count.admitted(rate, 3, "guesser")
    crowd = [f"address {index}" for index in range(2 * SUBJECTS)]

    async def arrive() -> None:
        for one in crowd:
            await count.limiter.take(SCOPE, one, rate)

    asyncio.run(arrive())

    assert count.take(rate, "guesser").limited
    assert SUBJECTS // 2 < len(count.known(rate, crowd)) < SUBJECTS


@confirms("ADR-0032.R8")
def test_full_buckets_make_room_first() -> None:
    """Whoever has his whole burst again is forgotten first, and nobody who has not."""
    rate, count = rate_of("1/s burst 2"), counter(capacity=4)
    for subject, times in (("a", 1), ("b", 2), ("c", 1), ("d", 2)):
        count.admitted(rate, times, subject)
    count.clock.at += SECOND

    count.take(rate, "e")

    assert ["b", "d", "e"] == count.known(rate, "abcde")


@confirms("ADR-0032.R8")
def test_all_full_buckets_make_room_at_once() -> None:
    """Where all are full, one look at them makes room for as many again."""
    looks, at = 0, 0

    def now() -> int:
        nonlocal looks
        looks += 1
        return at

    limiter = MemoryLimiter(now=now, capacity=100)

    async def arrive(crowd: str) -> int:
        before = looks
        for index in range(100):
            await limiter.take(SCOPE, f"{crowd} {index}", TWENTY)
        return looks - before

    first = asyncio.run(arrive("first"))
    at += SECOND

    assert (100, 101) == (first, asyncio.run(arrive("second")))


@confirms("ADR-0032.R8")
def test_then_those_that_are_nearest_to_full_make_room() -> None:
    """Where nobody is full, a tenth of those who are nearest to it is forgotten, and at least one."""
    rate = rate_of("1/s burst 9")
    small, large = counter(capacity=3), counter(capacity=30)
    for subject, times in (("a", 5), ("b", 3), ("c", 4)):
        small.admitted(rate, times, subject)
    crowd = [f"{index:02}" for index in range(30)]
    for index, subject in enumerate(crowd):
        large.admitted(rate, 2 + (index * 7 % 30 > 2), subject)

    small.take(rate, "d")
    large.take(rate, "new")

    assert ["a", "c", "d"] == small.known(rate, "abcd")
    assert {subject for index, subject in enumerate(crowd) if index * 7 % 30 > 2} == set(large.known(rate, crowd))


@confirms("ADR-0032.R8")
def test_who_is_over_his_limit_makes_room_last() -> None:
    """One who is over his limit stays while another can go, also when his own rate fills his bucket sooner."""
    quick, slow, count = rate_of("1/s"), rate_of("2/d"), counter(capacity=20)
    over = [f"over {index}" for index in range(19)]
    for subject in over:
        count.take(quick, subject)
    count.take(slow, "welcome")

    count.take(slow, "new")

    assert over == [subject for subject in over if count.peek(quick, subject).limited]
    assert ["new"] == count.known(slow, ["welcome", "new"])


@confirms("ADR-0032.R8")
def test_where_all_are_over_their_limits_the_nearest_to_full_make_room() -> None:
    """Also a limiter that holds nobody but those who are over their limits takes a new subject."""
    once, count = rate_of("1/h"), counter(capacity=3)
    for subject in "abc":
        count.take(once, subject)
        count.clock.at += SECOND

    assert not count.take(once, "d").limited
    assert ["b", "c", "d"] == count.known(once, "abcd")


@confirms("ADR-0032.R8")
def test_who_is_known_needs_no_room() -> None:
    """A subject that is remembered makes nobody go, and one that is refused is not remembered anew."""
    rate, count = rate_of("2/h"), counter(capacity=2)

    passed = [count.take(rate, subject).limited for subject in "ababab"]

    assert [False] * 4 + [True] * 2 == passed
    assert ["a", "b"] == count.known(rate, "ab")


@confirms("ADR-0032.R8")
def test_scopes_do_not_make_room_for_each_other() -> None:
    """However many addresses come, no key is forgotten."""
    rate, count = rate_of("2/h"), counter(capacity=2)
    count.take(rate)

    for index in range(9):
        count.take(rate, f"{index}", scope="address")

    assert [ONE] == count.known(rate, [ONE])
