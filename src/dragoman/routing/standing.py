"""How a target stands: whether a request may be sent to it now, and what is in the way (ADR-0039)."""

import enum
from typing import Final

import attrs

from dragoman.routing.reactions import Failure


class Condition(enum.Enum):
    """What a request would meet."""

    READY = "ready"
    PROBE = "probe"
    """It would be the one that finds out whether the target is well again."""
    OPEN = "open"
    """The breaker is open, or a probe is in work."""
    RESTING = "resting"
    """It has asked to be left alone."""
    FULL = "full"


@attrs.frozen(kw_only=True)
class Standing:
    """The *condition* of a target; for those that are in the way, the *failure* to tell, which ends in *wait* seconds.

    A wait that nobody knows is the shortest that is told.
    """

    condition: Condition
    wait: float = 0.0
    failure: Failure | None = None


READY: Final = Standing(condition=Condition.READY)
FULL: Final = Standing(condition=Condition.FULL, failure=Failure.FULL)
"""A place becomes free whenever an answer ends."""
