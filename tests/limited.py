"""A gateway with limits on a clock that is moved, for the tests of what it lets through.

Laws of this file:
- The clock stands still during a request.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from dragoman.app import Guard
from dragoman.model import SECOND, Rate, rate_of
from fakes import Clock, FakeIdentity, House, build_house, fixed_sources
from wire import Answer

MODELS: Final = "/v1/models"
ONCE: Final = rate_of("1/h")
NOBODYS: Final = "nobody's"
"""A token that is nobody's."""
ELSEWHERE: Final = "192.0.2.9"


@attrs.frozen
class Limited:
    """A gateway with limits, and its clock."""

    clock: Clock
    house: House

    @property
    def refusals(self) -> list[object]:
        """The refusal of each request so far, None where it was answered."""
        return [event.get("refusal") for event in self.house.log.requests]


def limited(
    rates: Mapping[str, Rate], *, capacity: int = 512, trusted_hops: int = 0, identity: FakeIdentity | None = None
) -> Limited:
    """Return a gateway with these *rates*, by scope."""
    clock = Clock(SECOND)
    guard = Guard(rates=rates, capacity=capacity, trusted_hops=trusted_hops)
    return Limited(clock, build_house(sources=fixed_sources(clock.seconds), guard=guard, identity=identity))


def told(answer: Answer) -> tuple[int, str | None, Any]:
    """Return the status of *answer*, when to come again, and the body."""
    return answer.status, answer.header("retry-after"), answer.json()
