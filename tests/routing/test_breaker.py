"""Who is left alone for a while: the breaker, the rest after a 429, and the places of a provider."""

import asyncio
import math

import pytest
from crossing import IN_ORDER, NAMES, Crossing, fault, refused, target
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.model import Provider
from dragoman.ports import Fault, UpstreamError
from dragoman.routing import Change, Failure, Policy, Router, State

TWO = (target("two"),)


# --- Opening ----------------------------------------------------------------------------------------------------------


@confirms("ADR-0039.R4")
def test_five_failures_in_a_row_open_the_breaker() -> None:
    """After the fifth the target is not asked any more, the caller is told at once when to come again."""
    crossing = Crossing(meets={"one": [fault(Fault.GARBLED)] * 5})

    assert [Failure.UNAVAILABLE] * 5 == [crossing.fail().kind for _ in range(5)]
    crossing.asked.clear()

    assert (Failure.OPEN, 5, 0) == crossing.told()
    crossing.wait(4.5)
    assert (Failure.OPEN, 1, 0) == crossing.told()
    assert [] == crossing.asked
    assert [
        Change(provider="one", model="model", before=State.CLOSED, after=State.OPEN, failures=5, seconds=5.0)
    ] == crossing.changes


@confirms("ADR-0039.R4")
def test_each_attempt_counts() -> None:
    """A retry that fails is a failure of its own: two and a half requests make five."""
    crossing = Crossing(meets={"one": [refused()] * 9})

    assert [2, 2, 1, 0] == [crossing.fail().attempts for _ in range(4)]


def test_a_breaker_belongs_to_one_model_of_one_provider() -> None:
    """Others of the provider are asked, and so is the same model of another; the alias does not matter."""
    crossing = Crossing()
    crossing.break_open()

    assert "one" == crossing.ask((target("one", "other"),))
    assert "one" == crossing.ask((target("one", None),))
    assert "two" == crossing.ask(TWO)
    assert Failure.OPEN is crossing.fail((target(weight=7, order=3),)).kind


def test_what_is_open_is_passed_over() -> None:
    """Fallback goes on without an attempt at it."""
    crossing = Crossing()
    crossing.break_open()
    crossing.asked.clear()

    assert ("two", ["two"]) == (crossing.ask(IN_ORDER), crossing.providers_asked())


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (refused(), True),
        (fault(Fault.TIMEOUT), True),
        (fault(Fault.DENIED, status=403), True),
        (fault(Fault.FAILED, status=500), True),
        (fault(Fault.FAILED, status=404), True),
        (fault(Fault.FAILED, status=503, retry_after=1.0), True),
        (fault(Fault.GARBLED), True),
        (fault(Fault.CUT), True),
        (fault(Fault.LIMITED), False),
        (fault(Fault.REJECTED), False),
        (fault(Fault.TOO_LARGE), False),
        (asyncio.CancelledError(), False),
        (GeneratorExit(), False),
        (ZeroDivisionError(), False),
    ],
    ids=repr,
)
def test_what_counts_as_a_failure(error: BaseException, opens: bool) -> None:  # noqa: FBT001 - a column of the table
    """What a caller can provoke does not, nor what is no fault of the upstream; a late failure does as an early one."""
    crossing = Crossing()

    for _ in range(5):
        crossing.open().hold.close(error)
        crossing.wait(1.0)

    assert ([State.OPEN] if opens else []) == crossing.states


def test_only_a_good_end_breaks_the_row() -> None:
    """An answer that begins, or a request that is rejected, does not; an answer that ends well does."""
    crossing = Crossing()
    for _ in range(4):
        crossing.open().hold.close(fault(Fault.CUT))
    crossing.open().hold.close(fault(Fault.REJECTED))
    crossing.open().hold.close(asyncio.CancelledError())
    crossing.ask()
    for _ in range(4):
        crossing.open().hold.close(fault(Fault.CUT))
    crossing.open().hold.close(fault(Fault.REJECTED))
    assert [] == crossing.states

    crossing.open().hold.close(fault(Fault.CUT))

    assert [State.OPEN] == crossing.states


def test_what_began_before_it_opened_does_not_count() -> None:
    """Neither a late failure nor a late success changes anything, open, half-open or closed again."""
    crossing = Crossing()
    early = [crossing.open() for _ in range(12)]
    crossing.break_open()

    early[0].hold.close()
    early[1].hold.close(fault(Fault.CUT))
    early[2].hold.close(fault(Fault.LIMITED, retry_after=60.0))
    assert (Failure.OPEN, 5, 0) == crossing.told()
    crossing.wait(5.0)

    probe = crossing.probe()
    early[3].hold.close()
    early[4].hold.close(fault(Fault.CUT))
    early[5].hold.close(asyncio.CancelledError())
    assert [State.OPEN, State.HALF_OPEN] == crossing.states
    assert Failure.OPEN is crossing.fail().kind

    crossing.close(probe.answer())
    for routed in early[6:]:
        routed.hold.close(fault(Fault.CUT))
    assert [State.OPEN, State.HALF_OPEN, State.CLOSED] == crossing.states
    assert {} == crossing.in_flight()


def test_an_attempt_from_before_it_opened_is_no_probe() -> None:
    """Its answer, when the breaker is half-open, does not close it, and leaves the probe where it is."""
    crossing = Crossing()
    early = crossing.probe()
    crossing.break_open()
    crossing.wait(5.0)
    probe = crossing.probe()

    crossing.close(early.answer())

    assert ([State.OPEN, State.HALF_OPEN], Failure.OPEN) == (crossing.states, crossing.fail().kind)
    crossing.close(probe.answer())
    assert State.CLOSED is crossing.states[-1]


def test_a_good_end_from_before_it_opened_does_not_help_the_probe() -> None:
    """The probe that fails after it opens the breaker for twice as long all the same."""
    crossing = Crossing()
    early = crossing.open()
    crossing.break_open()
    early.hold.close()
    crossing.wait(5.0)

    crossing.probe().fail(fault(Fault.TIMEOUT))

    assert (State.OPEN, 10.0) == (crossing.changes[-1].after, crossing.changes[-1].seconds)


# --- Half-open --------------------------------------------------------------------------------------------------------


@confirms("ADR-0039.R5")
def test_one_probe_finds_out_and_closes_the_breaker() -> None:
    """When its time is over one request passes; while it waits the others are refused; its answer lets all pass."""
    crossing = Crossing()
    crossing.break_open()
    crossing.wait(5.0)

    probe = crossing.probe()

    assert [(Failure.OPEN, 1, 0)] * 50 == [crossing.told() for _ in range(50)]
    crossing.close(probe.answer())
    assert [State.OPEN, State.HALF_OPEN, State.CLOSED] == crossing.states
    assert ["one"] * 9 == [crossing.ask() for _ in range(9)]


@confirms("ADR-0039.R5")
def test_a_probe_that_fails_opens_it_for_twice_as_long() -> None:
    """5, 10, 20, 40 and then 60 s, and no longer; it is not repeated. One that ends well begins anew with 5 s."""
    crossing = Crossing()
    crossing.break_open()

    for seconds in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        assert seconds == crossing.changes[-1].seconds
        crossing.wait(seconds - 0.001)
        assert (Failure.OPEN, 1, 0) == crossing.told()
        crossing.wait(0.001)
        crossing.meets["one"] = [refused()]
        assert (Failure.UNAVAILABLE, None, 1) == crossing.told()
        assert [State.HALF_OPEN, State.OPEN] == crossing.states[-2:]

    crossing.wait(60.0)
    assert "one" == crossing.ask()
    crossing.break_open()
    assert 5.0 == crossing.changes[-1].seconds


@confirms("ADR-0039.R5")
def test_a_probe_whose_caller_leaves_makes_room_for_another() -> None:
    """It says nothing of the target, before its answer begins."""
    crossing = Crossing()
    crossing.break_open()
    crossing.wait(5.0)

    for _ in range(3):
        probe = crossing.probe()
        assert Failure.OPEN is crossing.fail().kind
        assert isinstance(probe.fail(asyncio.CancelledError()), asyncio.CancelledError)

    assert [State.OPEN, State.HALF_OPEN] == crossing.states
    assert "one" == crossing.ask()
    assert State.CLOSED is crossing.states[-1]


@confirms("ADR-0039.R5")
def test_a_probe_that_is_limited_makes_room_after_the_rest() -> None:
    """A 429 says neither that it is well nor that it is not."""
    crossing = Crossing()
    crossing.break_open()
    crossing.wait(5.0)
    crossing.probe().fail(fault(Fault.LIMITED, retry_after=3.0))

    assert (Failure.LIMITED, 3, 0) == crossing.told()
    crossing.wait(3.0)
    assert "one" == crossing.ask()
    assert [State.OPEN, State.HALF_OPEN, State.CLOSED] == crossing.states


@pytest.mark.parametrize("kind", [Fault.REJECTED, Fault.TOO_LARGE])
def test_a_probe_that_is_answered_badly_is_answered(kind: Fault) -> None:
    """An upstream that refuses a wrong request works."""
    crossing = Crossing()
    crossing.break_open()
    crossing.wait(5.0)

    crossing.probe().fail(fault(kind))

    assert [State.OPEN, State.HALF_OPEN, State.CLOSED] == crossing.states


@confirms("ADR-0039.R5")
def test_a_stream_that_begins_closes_the_breaker_and_one_that_is_cut_opens_it_again() -> None:
    """Until one request has ended well the next failure opens it, for twice as long; who leaves says nothing."""
    crossing = Crossing()
    crossing.break_open()
    crossing.wait(5.0)

    stream, left = crossing.open(), crossing.open()
    assert State.CLOSED is crossing.states[-1]
    left.hold.close(asyncio.CancelledError())
    stream.hold.close(fault(Fault.CUT))

    assert (State.OPEN, 10.0) == (crossing.changes[-1].after, crossing.changes[-1].seconds)
    crossing.wait(10.0)
    crossing.ask()
    crossing.open().hold.close(fault(Fault.CUT))
    assert State.CLOSED is crossing.states[-1]


def test_a_target_whose_time_is_over_is_asked_in_its_order_and_others_answer_if_it_fails() -> None:
    """A probe costs its caller time, and not his answer."""
    crossing = Crossing()
    crossing.break_open()
    crossing.wait(5.0)
    crossing.meets["one"] = [fault(Fault.TIMEOUT)]
    crossing.asked.clear()

    assert ("two", ["one", "two"]) == (crossing.ask(IN_ORDER), crossing.providers_asked())


# --- Resting ----------------------------------------------------------------------------------------------------------


RESTS = {0.0: 1.0, -5.0: 1.0, float("nan"): 1.0, 0.25: 1.0, 2.5: 2.5, 30.0: 30.0, 61.0: 60.0, 1e9: 60.0, math.inf: 60.0}
"""How long a target rests that asks for so many seconds."""


@confirms("ADR-0039.R6", "ADR-0039.R9")
@pytest.mark.parametrize(
    ("error", "failure", "rests"),
    [
        (fault(kind, retry_after=asked), failure, rests)
        for kind, failure in ((Fault.LIMITED, Failure.LIMITED), (Fault.FAILED, Failure.OPEN))
        for asked, rests in RESTS.items()
    ]
    + [(fault(Fault.LIMITED), Failure.LIMITED, 1.0)],
)
def test_a_target_rests_as_long_as_it_asks(error: UpstreamError, failure: Failure, rests: float) -> None:
    """Between 1 s and 60 s: until then it is not asked, and the caller is told when."""
    crossing = Crossing(meets={"one": [error]})

    assert (failure, math.ceil(rests), 1) == crossing.told()
    crossing.asked.clear()
    crossing.wait(rests - 0.001)
    assert (failure, 1, 0) == crossing.told()
    assert [] == crossing.asked
    crossing.wait(0.001)
    assert "one" == crossing.ask()


@confirms("ADR-0039.R6")
def test_a_limit_is_no_failure() -> None:
    """However often it is met, the breaker stays closed."""
    crossing = Crossing(meets={"one": [fault(Fault.LIMITED)] * 50})

    for _ in range(50):
        assert Failure.LIMITED is crossing.fail().kind
        crossing.wait(1.0)

    assert ([], "one") == (crossing.states, crossing.ask())


@confirms("ADR-0039.R6")
def test_a_shorter_rest_does_not_undo_a_longer_one() -> None:
    """Of the answers to concurrent requests the longest wish holds."""
    crossing = Crossing()
    held = [crossing.open() for _ in range(3)]

    for routed, asked in zip(held, (10.0, 30.0, 20.0), strict=True):
        routed.hold.close(fault(Fault.LIMITED, retry_after=asked))

    assert (Failure.LIMITED, 30, 0) == crossing.told()


# --- Places -----------------------------------------------------------------------------------------------------------


def small(capacity: int = 2) -> Crossing:
    """Return a crossing whose providers have so many places."""
    crossing = Crossing()
    crossing.router.provide([Provider(name=name, kind="echo", capacity=capacity) for name in NAMES])
    return crossing


@confirms("ADR-0039.R8")
def test_a_provider_has_so_many_places_and_no_more() -> None:
    """Of all its models together; one more request goes to the next target, or is refused at once."""
    crossing = small()
    held = [crossing.open(), crossing.open((target("one", "other"),))]

    assert (Failure.FULL, 1, 0) == crossing.told()
    assert "two" == crossing.ask(IN_ORDER)
    held[0].hold.close()
    assert "one" == crossing.ask(IN_ORDER)


@confirms("ADR-0039.R8")
def test_a_slow_provider_takes_no_place_of_another() -> None:
    """Aliases on other providers are served as if nothing were."""
    crossing = small()
    for _ in range(2):
        crossing.open()

    assert (["two"] * 9, {"one": 2}) == ([crossing.ask(TWO) for _ in range(9)], crossing.in_flight())


@confirms("ADR-0039.R8")
def test_a_place_is_given_back_once() -> None:
    """Closing a hold again changes nothing, and neither does leaving its block after it was closed."""
    crossing = small()
    held, other = crossing.open(), crossing.open()

    held.hold.close()
    held.hold.close(fault(Fault.CUT))
    with held.hold:
        pass

    assert {"one": 1} == crossing.in_flight()
    other.hold.close()
    assert {} == crossing.in_flight()


@confirms("ADR-0039.R8")
def test_a_hold_is_closed_by_what_ends_its_block() -> None:
    """A block that ends well counts as a good end, one that an upstream's error ends as a failure."""
    crossing = Crossing(policy=Policy(failures=1))

    with crossing.open().hold:
        pass
    assert ([], {}) == (crossing.states, crossing.in_flight())
    with pytest.raises(asyncio.CancelledError), crossing.open().hold:
        raise asyncio.CancelledError
    assert ([], {}) == (crossing.states, crossing.in_flight())
    with pytest.raises(UpstreamError), crossing.open().hold:
        raise fault(Fault.CUT)
    assert ([State.OPEN], {}) == (crossing.states, crossing.in_flight())


def test_a_capacity_that_shrinks_keeps_who_is_there() -> None:
    """Nobody is thrown out; the next one enters when there is room."""
    crossing = small(3)
    held = [crossing.open() for _ in range(3)]

    crossing.router.provide([Provider(name=name, kind="echo", capacity=1) for name in NAMES])

    for routed in held:
        assert Failure.FULL is crossing.fail().kind
        routed.hold.close()
    assert "one" == crossing.ask()


# --- When to come again -----------------------------------------------------------------------------------------------


@confirms("ADR-0039.R9")
def test_of_all_that_is_in_the_way_what_ends_first_is_told() -> None:
    """An open target for 5 s, a resting one for 3 s, and then a full one, of which a place may become free any time."""
    crossing = small()
    crossing.break_open("one")
    crossing.open(TWO).hold.close(fault(Fault.LIMITED, retry_after=3.0))
    assert (Failure.LIMITED, 3, 0) == crossing.told(IN_ORDER[:2])

    crossing.wait(2.0)
    crossing.open((target("three"),)).hold.close(fault(Fault.LIMITED, retry_after=9.0))
    assert (Failure.LIMITED, 1, 0) == crossing.told(IN_ORDER)

    full = small(1)
    full.break_open("one")
    full.open(TWO)
    assert (Failure.FULL, 1, 0) == full.told(IN_ORDER[:2])


def test_an_open_target_that_also_rests_is_back_when_both_are_over() -> None:
    """The later of the two is told."""
    crossing = Crossing(policy=Policy(failures=1))
    crossing.open().hold.close(fault(Fault.FAILED, status=503, retry_after=2.0))
    assert (Failure.OPEN, 5, 0) == crossing.told()

    crossing.wait(5.0)
    crossing.probe().fail(fault(Fault.FAILED, status=503, retry_after=45.0))
    assert (Failure.OPEN, 45, 0) == crossing.told()


def test_what_was_in_the_way_is_told_though_it_has_just_ended() -> None:
    """A rest that ends while the error is made is still the reason, not that nobody is there."""
    crossing = Crossing(meets={"one": [fault(Fault.LIMITED)]})
    crossing.fail()

    def passing() -> float:
        crossing.wait(0.7)
        return crossing.clock.seconds()

    crossing.router.monotonic = passing

    assert (Failure.LIMITED, 1, 0) == crossing.told()


@confirms("ADR-0039.R9")
@given(st.floats(0.0, 10**7), st.integers(1, 60))
def test_whole_seconds_stay_whole_whatever_the_clock_says(now: float, asked: int) -> None:
    """Who asks for 7 s is not said to ask for 8, because a float has added a little."""
    crossing = Crossing(meets={"one": [fault(Fault.LIMITED, retry_after=float(asked))]})
    crossing.wait(now)

    assert (Failure.LIMITED, asked, 1) == crossing.told()


# --- Changes of the configuration -------------------------------------------------------------------------------------


def test_what_is_known_outlives_a_new_configuration() -> None:
    """A provider that is the same, or has another capacity, keeps its breakers and its rest."""
    crossing = Crossing()
    crossing.break_open()
    crossing.open(TWO).hold.close(fault(Fault.LIMITED, retry_after=30.0))

    crossing.router.provide([Provider(name=name, kind="echo", capacity=9) for name in NAMES])

    assert (Failure.OPEN, 5, 0) == crossing.told()
    assert (Failure.LIMITED, 30, 0) == crossing.told(TWO)


def test_a_provider_that_was_mended_is_met_as_if_it_were_new() -> None:
    """Its breakers close, which is told, its rests end, and what it still has in work does not count."""
    crossing = Crossing()
    early = [crossing.open() for _ in range(9)]
    crossing.break_open()
    early += [crossing.open(TWO) for _ in range(9)]
    crossing.open(TWO).hold.close(fault(Fault.LIMITED, retry_after=30.0))

    crossing.router.provide([Provider(name=name, kind="openai", base_url="https://mended.invalid") for name in NAMES])

    assert [State.OPEN, State.CLOSED] == crossing.states
    for routed in early:
        routed.hold.close(fault(Fault.DENIED))
    assert ("one", "two") == (crossing.ask(), crossing.ask(TWO))
    assert ([State.OPEN, State.CLOSED], {}) == (crossing.states, crossing.in_flight())


def test_nobody_has_to_listen() -> None:
    """A router without a listener opens its breakers all the same."""
    crossing = Crossing()
    crossing.router = Router(monotonic=crossing.clock.seconds, random=lambda: 0.5, sleep=asyncio.sleep)

    for _ in range(5):
        crossing.open().hold.close(fault(Fault.CUT))

    assert Failure.OPEN is crossing.fail().kind
