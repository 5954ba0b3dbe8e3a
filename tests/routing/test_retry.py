"""What becomes of a request whose target fails: once more, somebody else, or the end; in time, and within a budget."""

import asyncio
import gc
import weakref
from typing import Final

import attrs
import pytest
from crossing import IN_ORDER, ONE, Crossing, fault, refused, target
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.model import Target, Timeouts
from dragoman.ports import Fault, UpstreamError
from dragoman.routing import Failure, Policy, RoutingError
from dragoman.routing.reactions import REACTIONS

TOLD: Final = {
    # fault: whom it asks, and what the caller is told when all fail alike
    "unreachable": (refused(), ["one", "one", "two", "two"], (Failure.UNAVAILABLE, None)),
    "failed": (fault(Fault.FAILED, status=500), ["one", "one", "two", "two"], (Failure.UNAVAILABLE, None)),
    "failed without status": (fault(Fault.FAILED), ["one", "one", "two", "two"], (Failure.UNAVAILABLE, None)),
    "failed for good": (fault(Fault.FAILED, status=302), ["one", "two"], (Failure.UNAVAILABLE, None)),
    "asks to wait": (fault(Fault.FAILED, status=503, retry_after=7.0), ["one", "two"], (Failure.OPEN, 7)),
    "timeout": (fault(Fault.TIMEOUT), ["one", "two"], (Failure.TIMEOUT, None)),
    "garbled": (fault(Fault.GARBLED), ["one", "two"], (Failure.UNAVAILABLE, None)),
    "cut": (fault(Fault.CUT), ["one", "two"], (Failure.UNAVAILABLE, None)),
    "denied": (fault(Fault.DENIED, status=401), ["one", "two"], (Failure.UNAVAILABLE, None)),
    "limited": (fault(Fault.LIMITED, status=429, retry_after=7.0), ["one", "two"], (Failure.LIMITED, 7)),
    "too large": (fault(Fault.TOO_LARGE), ["one"], (Failure.UNAVAILABLE, None)),
    "rejected": (fault(Fault.REJECTED, status=400), ["one"], (Failure.REJECTED, None)),
}


def test_every_fault_has_a_row() -> None:
    """The table answers for every fault there is, and so do the cases of these tests."""
    assert set(Fault) == set(REACTIONS) == {error.fault for error, _, _ in TOLD.values()}


@confirms("ADR-0039.R3")
@pytest.mark.parametrize(("error", "asked", "told"), TOLD.values(), ids=TOLD)
def test_a_fault_is_repeated_moves_on_or_ends_it(
    error: UpstreamError, asked: list[str], told: tuple[Failure, int | None]
) -> None:
    """Where both targets meet the same fault, these are asked, and this is told."""
    crossing = Crossing(meets={"one": [error] * 3, "two": [error] * 3})

    failed = crossing.fail(IN_ORDER[:2])

    assert asked == crossing.providers_asked()
    assert (*told, len(asked)) == (failed.kind, failed.retry_after, failed.attempts)
    assert (error, asked[-1]) == (failed.last, failed.target and failed.target.provider)
    assert {} == crossing.in_flight()


def test_a_rejected_request_says_what_the_upstream_said() -> None:
    """The code and the parameter of the upstream are kept for the caller."""
    rejected = UpstreamError(Fault.REJECTED, status=400, code="context_length_exceeded", param="messages")
    crossing = Crossing(meets={"one": [rejected]})

    last = crossing.fail(IN_ORDER).last

    assert ("context_length_exceeded", "messages") == (last and last.code, last and last.param)


def test_the_caller_is_told_what_the_last_attempt_met() -> None:
    """A limit that is met last is told, with the shortest wait of all; one that is met first is forgotten."""
    limited, cut = fault(Fault.LIMITED, retry_after=30.0), fault(Fault.CUT)

    assert (Failure.LIMITED, 1, 2) == Crossing(meets={"one": [cut], "two": [limited]}).told(IN_ORDER[:2])
    assert (Failure.UNAVAILABLE, None, 2) == Crossing(meets={"one": [limited], "two": [cut]}).told(IN_ORDER[:2])
    assert (Failure.LIMITED, 30, 1) == Crossing(meets={"one": [limited]}).told(ONE)


def test_what_is_no_fault_of_an_upstream_passes_through() -> None:
    """An error of ours is neither repeated nor hidden, and its place is free."""
    crossing = Crossing(meets={"one": [ZeroDivisionError()]})

    with pytest.raises(ZeroDivisionError):
        crossing.ask(IN_ORDER)

    assert (["one"], {}) == (crossing.providers_asked(), crossing.in_flight())


# --- Once more --------------------------------------------------------------------------------------------------------


@confirms("ADR-0039.R2")
@pytest.mark.parametrize(("chance", "pause"), [(0.0, 0.0), (0.5, 0.025), (0.999, 0.04995)])
def test_a_reset_is_repeated_once_after_a_random_pause(chance: float, pause: float) -> None:
    """One retry, after at most 50 ms; the second attempt's answer is the caller's."""
    crossing = Crossing(meets={"one": [refused()]}, chance=lambda: chance)

    routed = crossing.open()

    assert ("one", 2) == (routed.value, routed.attempts)
    assert [pause] == [round(waited, 6) for waited in crossing.pauses]


@confirms("ADR-0039.R2")
def test_a_target_gets_two_attempts_at_most() -> None:
    """A third one is not made, though the second failed as the first did."""
    crossing = Crossing(meets={"one": [refused()] * 9})

    assert (Failure.UNAVAILABLE, None, 2) == crossing.told()


def test_a_second_attempt_that_fails_otherwise_moves_on() -> None:
    """What the retry meets decides what follows it."""
    crossing = Crossing(meets={"one": [refused(), fault(Fault.LIMITED)]})

    assert "two" == crossing.ask(IN_ORDER)
    assert ["one", "one", "two"] == crossing.providers_asked()


def test_a_target_that_opens_meanwhile_is_not_asked_again() -> None:
    """Where a failure opens the breaker, or others do during the pause, the retry is not made."""
    opened = Crossing(meets={"one": [refused()]}, policy=Policy(failures=1))
    assert "two" == opened.ask(IN_ORDER)
    assert (["one", "two"], []) == (opened.providers_asked(), opened.pauses)

    crossing = Crossing()
    held = [crossing.open() for _ in range(4)]
    crossing.meets["one"] = [refused()]
    crossing.asked.clear()

    async def opening(_: float) -> None:
        for routed in held:
            routed.hold.close(fault(Fault.CUT))

    crossing.router.sleep = opening
    assert "two" == crossing.ask(IN_ORDER)
    assert ["one", "two"] == crossing.providers_asked()


@confirms("ADR-0039.R2")
def test_retries_are_a_tenth_of_the_traffic() -> None:
    """When the savings are used, ten requests pay for one retry, each provider's for its own."""
    crossing = Crossing(policy=Policy(failures=10**6), chance=lambda: 0.0)  # and so no time passes
    crossing.meets["one"] = [refused()] * 10**4

    retries = [crossing.told()[2] - 1 for _ in range(1000)]

    saved = 11  # ten, and one that the first ten requests pay for
    assert [1] * saved == retries[:saved]
    assert [0] * 9 + [1] == retries[saved : saved + 10]
    assert {10} == {sum(retries[at : at + 100]) for at in range(saved, 900)}
    crossing.meets["two"] = [refused()]
    assert "two" == crossing.ask((target("two"),))


@confirms("ADR-0039.R2")
@given(gaps=st.lists(st.sampled_from([0.0, 0.3, 1.0, 20.0, 500.0]), max_size=80))
def test_a_quiet_gateway_may_retry(gaps: list[float]) -> None:
    """Whatever the pace, retries are at most a tenth of the requests, one in ten seconds, and the ten saved ones."""
    crossing = Crossing(policy=Policy(failures=10**6), chance=lambda: 0.0)
    crossing.meets["one"] = [refused()] * 10**3
    retries = 0

    for number, gap in enumerate(gaps, start=1):
        crossing.wait(gap)
        retried = crossing.told()[2] - 1
        retries += retried
        assert retries <= 10 + number / 10 + sum(gaps[:number]) / 10 + 1e-9
        assert 1 == retried or gap < 10


@confirms("ADR-0039.R2")
@pytest.mark.parametrize(("requests", "seconds"), [(0, 10.0**6), (5000, 0.0), (5000, 10.0**6)])
def test_no_more_than_ten_retries_are_saved(requests: int, seconds: float) -> None:
    """Neither a quiet week nor many good requests pay for more: then it is a tenth."""
    crossing = Crossing(policy=Policy(failures=10**6), chance=lambda: 0.0)
    crossing.meets["one"] = [refused()] * 2
    crossing.told()
    for _ in range(requests):
        crossing.ask()
    crossing.wait(seconds)
    crossing.meets["one"] = [refused()] * 10**3

    retries = [crossing.told()[2] - 1 for _ in range(101)]

    assert (10, 10 + 10) == (sum(retries[:10]), sum(retries))


def test_another_target_is_no_retry() -> None:
    """Fallback costs nothing: it goes on when the savings are used."""
    crossing = Crossing(policy=Policy(failures=10**6, retry_savings=0))
    crossing.meets["one"] = [refused()] * 100

    assert ["two"] * 100 == [crossing.ask(IN_ORDER) for _ in range(100)]


# --- In time ----------------------------------------------------------------------------------------------------------


def hurried(provider: str, total: float, order: int = 0) -> Target:
    """Return a target with so much time."""
    return attrs.evolve(target(provider, order=order), timeouts=Timeouts(total=total))


@confirms("ADR-0039.R7")
@pytest.mark.parametrize("error", [refused(), fault(Fault.TIMEOUT)])
def test_no_attempt_begins_after_the_total_time_of_the_first_target(error: UpstreamError) -> None:
    """Whoever is left, and whatever time they would have."""
    crossing = Crossing(meets={"one": [error]}, lasting=10.0)

    failed = crossing.fail((hurried("one", 10.0), hurried("two", 600.0, order=1)))

    assert (Failure.TIMEOUT, None, 1) == (failed.kind, failed.retry_after, failed.attempts)
    assert (error, ["one"], []) == (failed.last, crossing.providers_asked(), crossing.pauses)


@confirms("ADR-0039.R7")
def test_the_pause_before_a_retry_takes_of_the_time() -> None:
    """A retry that would begin too late is not made."""
    crossing = Crossing(meets={"one": [refused()]}, lasting=9.99)

    assert (Failure.TIMEOUT, None, 1) == crossing.told((hurried("one", 10.0),))
    assert [0.025] == crossing.pauses


def test_where_nobody_is_left_the_last_fault_is_told_however_late() -> None:
    """The total time only prevents attempts; where there is none to make it is not the reason."""
    crossing = Crossing(meets={"one": [fault(Fault.GARBLED)]}, lasting=100.0)

    assert (Failure.UNAVAILABLE, None, 1) == crossing.told((hurried("one", 10.0),))


@confirms("ADR-0039.R7")
def test_a_later_attempt_has_what_is_left_of_the_time() -> None:
    """All attempts together take no longer than the first target may; one that has less keeps it."""
    crossing = Crossing(meets={"one": [fault(Fault.TIMEOUT)], "two": [fault(Fault.TIMEOUT)]}, lasting=4.0)

    crossing.ask((hurried("one", 10.0), hurried("two", 5.0, order=1), hurried("three", 600.0, order=2)))

    assert [10.0, 5.0, 2.0] == [one.timeouts.total for one in crossing.asked]
    assert {60.0} == {one.timeouts.first_byte for one in crossing.asked}


# --- Who leaves -------------------------------------------------------------------------------------------------------


@confirms("ADR-0039.R8")
def test_a_caller_who_leaves_while_waiting_frees_the_place() -> None:
    """Cancelled in an attempt: nothing is repeated, and nothing is held against the target."""
    crossing = Crossing()

    for _ in range(9):
        flight = crossing.probe(IN_ORDER)
        assert {"one": 1} == crossing.in_flight()
        assert isinstance(flight.fail(asyncio.CancelledError()), asyncio.CancelledError)

    assert ({}, []) == (crossing.in_flight(), crossing.changes)


@confirms("ADR-0039.R8")
def test_a_caller_who_leaves_in_the_pause_holds_nothing() -> None:
    """Between two attempts no place is taken."""
    crossing = Crossing(meets={"one": [refused()]})

    async def leave(_: float) -> None:
        assert {} == crossing.in_flight()
        raise asyncio.CancelledError

    crossing.router.sleep = leave
    with pytest.raises(asyncio.CancelledError):
        crossing.ask()

    assert (["one"], {}) == (crossing.providers_asked(), crossing.in_flight())


def test_what_a_second_attempt_gave_is_freed_with_the_exchange() -> None:
    """The error of the first does not keep it until the collector comes by."""

    @attrs.define(slots=True, weakref_slot=True)
    class Large:
        """An answer."""

    async def attempt(one: Target) -> Large:
        if one.provider == "one":
            raise fault(Fault.TIMEOUT)
        return Large()

    gc.disable()
    try:
        with pytest.raises(StopIteration) as end:
            Crossing().router.forward(IN_ORDER, attempt).send(None)
        answer = weakref.ref(end.value.value.value)
        assert isinstance(answer(), Large)
        del end
        assert answer() is None
    finally:
        gc.enable()


def test_a_routing_error_is_caused_by_the_last_fault() -> None:
    """Its text names nothing but the reason."""
    crossing = Crossing(meets={"one": [fault(Fault.TIMEOUT)]})

    with pytest.raises(RoutingError, match=r"\Atimeout\Z") as raised:
        crossing.ask()

    assert raised.value.__cause__ is raised.value.last
