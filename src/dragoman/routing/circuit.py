"""The health of a target: its circuit breaker, the rest that it asked for, and its place at the provider (ADR-0039).

Laws of this file:
- No clock and no waiting: whoever asks says what time it is, in seconds of a monotonic clock.
- What was begun before the breaker last opened says nothing about the target of now, and does not count.
- While the breaker is half-open, there is one request that began after it opened, the probe, or none.
"""

import enum
from collections.abc import Callable
from typing import Final

import attrs

from dragoman.ports import UpstreamError
from dragoman.routing.provider import ProviderState
from dragoman.routing.reactions import Failure, Policy, Verdict, reaction_to
from dragoman.routing.standing import FULL, READY, Condition, Standing

_NEVER: Final = float("-inf")
_UNTIL_PROBED: Final = float("inf")


class State(enum.Enum):
    """The states of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@attrs.frozen(kw_only=True)
class Change:
    """A breaker has changed its state, after so many *failures* in a row; it is open for *seconds*, if it is."""

    provider: str
    model: str | None
    before: State
    after: State
    failures: int
    seconds: float = 0.0


@attrs.define(eq=False)
class Circuit:
    """What is known of the health of one target, a *model* of a *provider*.

    *failures* are those in a row, *openings* is how often the breaker has opened, *in_flight* how many requests are in
    work. *shut_until* is when the breaker lets the next one pass, *resting_until* when the target has rested.
    """

    places: ProviderState
    model: str | None
    policy: Policy
    on_change: Callable[[Change], None]
    state: State = State.CLOSED
    failures: int = 0
    openings: int = 0
    in_flight: int = 0
    shut_until: float = _NEVER
    resting_until: float = _NEVER
    _resting_for: Failure = Failure.LIMITED
    _open_for: float = 0.0

    def is_usable(self, now: float) -> bool:
        """Whether a request may be sent, which may be the probe."""
        return self.shut_until <= now and self.resting_until <= now and self.places.taken < self.places.capacity

    def is_as_new(self, now: float) -> bool:
        """Whether nothing would be lost with it."""
        idle = self.in_flight == 0 and self.resting_until <= now
        return idle and self.state is State.CLOSED and self.failures == 0

    def standing(self, now: float) -> Standing:
        """Return whether it is usable, and why not."""
        if self.is_usable(now):
            return READY if self.state is State.CLOSED else Standing(condition=Condition.PROBE)
        if max(self.shut_until, self.resting_until) <= now:
            return FULL
        if self.resting_until >= self.shut_until:
            wait = self.resting_until - now
            return Standing(condition=Condition.RESTING, wait=wait, failure=self._resting_for)
        # How long a probe takes is not known.
        wait = self.policy.shortest_rest if self.shut_until == _UNTIL_PROBED else self.shut_until - now
        return Standing(condition=Condition.OPEN, wait=wait, failure=Failure.OPEN)

    def begin(self) -> int:
        """Let a request pass, which `is_usable` was asked for just before; return what its end has to be told with.

        It has a place until `succeeded`, `failed` or `left` is called.
        """
        self.in_flight += 1
        self.places.taken += 1
        if self.state is not State.CLOSED:
            self.shut_until = _UNTIL_PROBED
            if self.state is State.OPEN:
                self._change(State.HALF_OPEN)
        return self.openings

    def answered(self, begun: int) -> None:
        """Note that an answer begins.

        The probe closes the breaker with it, for a stream may last for minutes; but until one has ended well, the next
        failure opens it again.
        """
        if self.state is State.HALF_OPEN and begun == self.openings:
            self.failures = self.policy.failures - 1
            self.shut_until = _NEVER
            self._change(State.CLOSED)

    def succeeded(self, begun: int) -> None:
        """Note that a request ended well, after it was `answered`."""
        self.in_flight -= 1
        self.places.taken -= 1
        if begun == self.openings:
            self.failures, self._open_for = 0, 0.0

    def left(self, begun: int) -> None:
        """Note that the end of a request says nothing of the target; was it the probe, another one may be sent."""
        self.in_flight -= 1
        self.places.taken -= 1
        self._nothing_learned(begun)

    def failed(self, begun: int, error: UpstreamError, now: float) -> None:
        """Note that a request ended with *error*, which counts as its row says."""
        self.in_flight -= 1
        self.places.taken -= 1
        if begun != self.openings:
            return
        reaction = reaction_to(error)
        if reaction.rests:
            self._rest(error.retry_after, reaction.failure, now)
        if reaction.verdict is Verdict.ANSWERED:
            self.answered(begun)
        elif reaction.verdict is Verdict.NOTHING:
            self._nothing_learned(begun)
        else:
            self.failures += 1
            if self.failures >= self.policy.failures:
                self._open(now)

    def renew(self) -> None:
        """Forget everything but what is in work, which does not count when it ends."""
        self.openings += 1
        self.failures, self._open_for = 0, 0.0
        self.shut_until = self.resting_until = _NEVER
        if self.state is not State.CLOSED:
            self._change(State.CLOSED)

    def _nothing_learned(self, begun: int) -> None:
        if self.state is State.HALF_OPEN and begun == self.openings:
            self.shut_until = _NEVER

    def _rest(self, asked: float | None, failure: Failure, now: float) -> None:
        """Leave the target alone for as long as it *asked*; a shorter wish than the one before changes nothing."""
        wait = self.policy.shortest_rest if asked is None else asked
        until = now + min(self.policy.longest_rest, max(self.policy.shortest_rest, wait))
        if until > self.resting_until:
            self.resting_until, self._resting_for = until, failure

    def _open(self, now: float) -> None:
        self.openings += 1
        self._open_for = min(self._open_for * 2 or self.policy.first_open, self.policy.longest_open)
        self.shut_until = now + self._open_for
        self._change(State.OPEN)

    def _change(self, after: State) -> None:
        """Change the state, as the last thing that is done: *on_change* is not ours."""
        before, self.state = self.state, after
        self.on_change(
            Change(
                provider=self.places.provider.name,
                model=self.model,
                before=before,
                after=after,
                failures=self.failures,
                seconds=self._open_for if after is State.OPEN else 0.0,
            )
        )
