"""Whom a request goes to: order, weight, and who is passed over; and what is told of it without asking anybody."""

import random
from collections import Counter
from collections.abc import Sequence
from math import sqrt

import pytest
from crossing import IN_ORDER, NAMES, ONE, Crossing, fault, target
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.model import Provider, Target
from dragoman.ports import Fault
from dragoman.routing import Failure, Prospect
from dragoman.routing.standing import Condition

MANY = 4000


def seeded(seed: int = 7) -> Crossing:
    """Return a crossing whose choices are random, and the same on every run."""
    return Crossing(chance=random.Random(seed).random)  # noqa: S311 - nobody shall not guess it


def frequencies(crossing: Crossing, targets: Sequence[Target]) -> Counter[str]:
    """Return how often each provider answered."""
    return Counter(crossing.ask(targets) for _ in range(MANY))


@confirms("ADR-0039.R1")
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 7), (90, 9, 1), (1, 1, 0)])
def test_each_target_of_an_order_is_chosen_as_often_as_its_weight_says(weights: tuple[int, ...]) -> None:
    """Of 4000 requests each target gets its share, within five standard deviations; one of weight 0 gets none."""
    targets = [target(name, weight=weight) for name, weight in zip(NAMES, weights, strict=True)]
    counted = frequencies(seeded(), targets)

    for name, weight in zip(NAMES, weights, strict=True):
        share = weight / sum(weights)
        assert abs(counted[name] - MANY * share) <= 5 * sqrt(MANY * share * (1 - share))


@confirms("ADR-0039.R1")
@given(weights=st.lists(st.integers(0, 5), min_size=1, max_size=5), chance=st.floats(0, 1, exclude_max=True))
def test_a_choice_is_where_the_random_number_falls(weights: list[int], chance: float) -> None:
    """The targets divide the numbers from 0 to 1 among them in their order; where none has a weight it is the first."""
    crossing = Crossing(chance=lambda: chance)
    targets = [target(model=str(place), weight=weight) for place, weight in enumerate(weights)]
    bounds = [sum(weights[: place + 1]) for place in range(len(weights))]

    chosen = int(crossing.open(targets).target.model or "")

    assert (0 if not sum(weights) else next(n for n, bound in enumerate(bounds) if chance * sum(weights) < bound)) == (
        chosen
    )


@confirms("ADR-0039.R1")
def test_a_lower_order_comes_first_wherever_it_stands() -> None:
    """While a target of a lower order can be asked, no other is, however the list is sorted."""
    crossing = seeded()
    targets = (target("one", order=2, weight=9), target("two", order=1), target("three", order=1, weight=0))

    assert {"two": MANY} == frequencies(crossing, targets)
    assert {"two": MANY} == frequencies(crossing, tuple(reversed(targets)))


@confirms("ADR-0039.R1")
def test_fallback_goes_through_the_orders_one_by_one() -> None:
    """Each failure that moves on leads to the next order, and to nobody twice."""
    crossing = Crossing(meets={"one": [fault(Fault.TIMEOUT)], "two": [fault(Fault.GARBLED)]})

    routed = crossing.open(tuple(reversed(IN_ORDER)))

    assert ("three", "three", 3) == (routed.value, routed.target.provider, routed.attempts)
    assert ["one", "two", "three"] == crossing.providers_asked()


@confirms("ADR-0039.R1")
def test_a_target_without_weight_is_a_spare_of_its_order() -> None:
    """It is asked when those with a weight have failed, before the next order is."""
    crossing = Crossing(meets={"one": [fault(Fault.TIMEOUT)]})
    targets = (target("two", weight=0), target("one"), target("three", order=1))

    assert "two" == crossing.ask(targets)
    assert ["one", "two"] == crossing.providers_asked()


def test_who_cannot_be_asked_is_passed_over_and_the_others_share() -> None:
    """An open, a resting and a full target get nothing; weights are shares of those that are left."""
    crossing = seeded()
    targets = [target("one", "open"), target("one", "rests"), target("two"), target("three", weight=3)]
    crossing.router.provide([Provider(name=name, kind="echo", capacity=int(name != "two")) for name in NAMES])
    for _ in range(5):
        crossing.open((target("one", "open"),)).hold.close(fault(Fault.CUT))
    crossing.open((target("one", "rests"),)).hold.close(fault(Fault.LIMITED))

    assert {"three": MANY} == frequencies(crossing, targets)

    crossing.router.provide([Provider(name=name, kind="echo") for name in NAMES])
    counted = frequencies(crossing, targets)
    assert MANY == counted["two"] + counted["three"]
    assert abs(counted["two"] - MANY / 4) < 5 * sqrt(MANY * 3 / 16)


def test_the_same_target_twice_is_one_target() -> None:
    """A target that an alias lists with two orders is not asked again in the second."""
    crossing = Crossing(meets={"one": [fault(Fault.TIMEOUT)] * 2})

    assert (Failure.TIMEOUT, None, 1) == crossing.told((target("one"), target("one", order=1, weight=3)))


def test_an_alias_without_targets_is_unavailable() -> None:
    """Where there is nobody to ask, nobody is."""
    assert (Failure.UNAVAILABLE, None, 0) == Crossing().told(())


# --- What is told of it -----------------------------------------------------------------------------------------------


def rows(prospects: Sequence[Prospect]) -> list[tuple[str, Condition, float, float]]:
    """Return model, condition, share and wait of each."""
    return [(str(one.target.model), one.standing.condition, one.share, one.standing.wait) for one in prospects]


def test_what_would_be_asked_is_told_without_asking() -> None:
    """The targets come in the order in which they would be asked, with their shares, and then those that cannot be."""
    crossing = Crossing()
    crossing.router.provide([Provider(name="two", kind="echo", capacity=0), Provider(name="one", kind="echo")])
    for _ in range(5):
        crossing.open((target("one", "open"),)).hold.close(fault(Fault.CUT))
        crossing.open((target("one", "due"),)).hold.close(fault(Fault.CUT))
    crossing.wait(4.0)
    crossing.open((target("one", "rests"),)).hold.close(fault(Fault.LIMITED, retry_after=30.0))
    for _ in range(2):
        crossing.router.explain([target("one", "open")])
    crossing.asked.clear()
    targets = (
        target("two", "full"),
        target("one", "last", order=1, weight=0),
        target("one", "spare", weight=0),
        target("one", "rests"),
        target("one", "less"),
        target("one", "open"),
        target("one", "more", weight=3),
    )

    assert [
        ("more", Condition.READY, 0.75, 0.0),
        ("less", Condition.READY, 0.25, 0.0),
        ("spare", Condition.READY, 0.0, 0.0),
        ("last", Condition.READY, 1.0, 0.0),
        ("full", Condition.FULL, 0.0, 0.0),
        ("rests", Condition.RESTING, 0.0, 30.0),
        ("open", Condition.OPEN, 0.0, 1.0),
    ] == rows(crossing.router.explain(targets))
    crossing.wait(1.0)
    assert [("due", Condition.PROBE, 1.0, 0.0)] == rows(crossing.router.explain([target("one", "due")]))
    crossing.open((target("one", "due"),)).hold.close()
    assert [("due", Condition.READY, 1.0, 0.0)] == rows(crossing.router.explain([target("one", "due")]))
    assert ["one"] == crossing.providers_asked()


def test_what_is_told_is_what_happens() -> None:
    """The shares that are told are those with which targets are chosen."""
    crossing = seeded()
    targets = [target(name, weight=weight) for name, weight in zip(NAMES, (1, 2, 7), strict=True)]
    shares = {one.target.provider: one.share for one in crossing.router.explain(targets)}

    counted = frequencies(crossing, targets)

    assert {"one": 0.1, "two": 0.2, "three": 0.7} == shares
    for name, share in shares.items():
        assert abs(counted[name] - MANY * share) <= 5 * sqrt(MANY * share * (1 - share))


# --- What is remembered -----------------------------------------------------------------------------------------------


@confirms("ADR-0039.R10")
def test_what_was_asked_long_ago_is_forgotten() -> None:
    """Thousands of targets that fare well leave no trace, and do not make the gateway forget who is open."""
    crossing = Crossing()
    crossing.break_open()

    for number in range(3000):
        crossing.ask((target(model=f"{number}"),))

    assert len(crossing.router._circuits) <= 1001  # noqa: SLF001 - memory cannot be seen from outside
    assert Failure.OPEN is crossing.fail(ONE).kind


@confirms("ADR-0039.R10")
def test_targets_that_fare_badly_are_forgotten_too() -> None:
    """Where all are open, those that nobody asks make room, and are told to be closed; what is in work stays."""
    crossing = Crossing()
    held = crossing.open(ONE)

    for number in range(3000):
        crossing.open((target(model=f"{number}"),)).hold.close(fault(Fault.CUT))
    crossing.router.provide([Provider(name=name, kind="echo", capacity=2000) for name in NAMES])
    kept = [crossing.open((target("two", f"{number}"),)) for number in range(1500)]

    assert {"one": 1, "two": 1500} == crossing.in_flight()
    for routed in (held, *kept):
        routed.hold.close()
    assert {} == crossing.in_flight()
    crossing.ask((target("two", "another"),))
    assert len(crossing.router._circuits) <= 1001  # noqa: SLF001 - memory cannot be seen from outside


@confirms("ADR-0039.R10")
def test_a_provider_that_is_gone_is_forgotten_when_its_last_request_has_ended() -> None:
    """Until then its places are counted; if it comes back, it is met as if it were new."""
    crossing = Crossing()
    crossing.break_open("two")
    held = crossing.open(ONE)

    crossing.router.provide([])
    assert (1, 0) == (crossing.router.in_flight("one"), crossing.router.in_flight("two"))
    held.hold.close()
    crossing.router.provide([])

    assert ({}, {}) == (crossing.router._providers, crossing.router._circuits)  # noqa: SLF001
    assert "two" == crossing.ask((target("two"),))
