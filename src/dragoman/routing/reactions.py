"""What a fault of an upstream means for the request at hand, and for those that come after it (ADR-0039).

Laws of this file:
- Which fault is repeated, which moves on and which counts is a table. It knows faults, and no status number.
- Every number of routing is a member of `Policy`, with its reason.
"""

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from dragoman.model import Target
from dragoman.ports import Fault, UpstreamError


class Failure(enum.Enum):
    """Why nobody has answered."""

    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    OPEN = "open"
    """Whoever could answer is left alone for a while, because it failed or has asked for it."""
    LIMITED = "limited"
    """Whoever could answer has had enough requests for now, and says so."""
    REJECTED = "rejected"
    """The request itself was not accepted: `last` has the upstream's code and parameter."""
    FULL = "full"
    """Whoever could answer has as many requests in work as it may have."""


class RoutingError(Exception):
    """No target has answered after so many *attempts*.

    *retry_after* is in whole seconds, stated for `OPEN`, `LIMITED` and `FULL`, and None for the others. *last* is what
    the last attempt met, and *target* whom it asked; both are None where there was none.
    """

    def __init__(
        self,
        kind: Failure,
        *,
        retry_after: int | None = None,
        last: UpstreamError | None = None,
        target: Target | None = None,
        attempts: int = 0,
    ) -> None:
        """Take what is known."""
        super().__init__(kind.value)
        self.kind = kind
        self.retry_after = retry_after
        self.last = last
        self.target = target
        self.attempts = attempts


class Verdict(enum.Enum):
    """What a fault says about the health of a target."""

    FAILED = "failed"
    ANSWERED = "answered"
    """It works, but that this was a good answer is not known."""
    NOTHING = "nothing"


@attrs.frozen
class Reaction:
    """What follows from a fault.

    *again*: the same target may be asked once more. *onward*: another one may. *rests*: the target is left alone for as
    long as it asks. *failure* is what the caller is told where nobody else answers.
    """

    verdict: Verdict
    failure: Failure
    again: bool = False
    onward: bool = True
    rests: bool = False


REACTIONS: Final[Mapping[Fault, Reaction]] = {
    Fault.UNREACHABLE: Reaction(Verdict.FAILED, Failure.UNAVAILABLE, again=True),
    Fault.FAILED: Reaction(Verdict.FAILED, Failure.UNAVAILABLE, again=True),
    # It has had its time, and what it has begun it may finish and charge for: not twice of the same.
    Fault.TIMEOUT: Reaction(Verdict.FAILED, Failure.TIMEOUT),
    Fault.GARBLED: Reaction(Verdict.FAILED, Failure.UNAVAILABLE),
    Fault.CUT: Reaction(Verdict.FAILED, Failure.UNAVAILABLE),
    # Some providers answer 403 to what a caller wrote: one such answer must not shut out everybody.
    Fault.DENIED: Reaction(Verdict.FAILED, Failure.UNAVAILABLE),
    Fault.LIMITED: Reaction(Verdict.NOTHING, Failure.LIMITED, rests=True),
    # A caller can ask for an answer of any length, and anybody else would give it as well.
    Fault.TOO_LARGE: Reaction(Verdict.ANSWERED, Failure.UNAVAILABLE, onward=False),
    Fault.REJECTED: Reaction(Verdict.ANSWERED, Failure.REJECTED, onward=False),
}
"""What follows from each fault; of `FAILED` this is the row of a passing failure, and two more stand below."""

ASKED_TO_WAIT: Final = Reaction(Verdict.FAILED, Failure.OPEN, rests=True)
"""It failed, and says when it will be back."""

FAILED_FOR_GOOD: Final = Reaction(Verdict.FAILED, Failure.UNAVAILABLE)
"""It failed with a status that will be the same in a moment: a redirection, a bill that is not paid."""


def reaction_to(error: UpstreamError) -> Reaction:
    """Return what follows from *error*."""
    if error.fault is Fault.FAILED:
        if error.retry_after is not None:
            return ASKED_TO_WAIT
        if not error.transient:
            return FAILED_FOR_GOOD
    return REACTIONS[error.fault]


@attrs.frozen(kw_only=True)
class Policy:
    """The numbers of routing; durations are in seconds.

    A breaker opens after so many *failures* in a row, for *first_open*; each time that a probe fails it is twice as
    long, up to *longest_open*. A target rests for as long as it asks, between *shortest_rest*, which holds where it
    says nothing, and *longest_rest*. Before a retry there is a random pause of at most *pause*. A retry costs
    *retry_cost* tokens, of which every first attempt brings 1 and every second 1; what *retry_savings* retries cost may
    be saved.
    """

    failures: int = 5
    first_open: float = 5.0
    longest_open: float = 60.0
    shortest_rest: float = 1.0
    longest_rest: float = 60.0
    # A refused connection has to become a 502 within 100 ms, with the retry.
    pause: float = 0.05
    # 10 % of traffic.
    retry_cost: int = 10
    # What a gateway that was quiet may use at once.
    retry_savings: int = 10
