"""What the tests of routing share: upstreams that do as they are told, and a router with a clock that is moved."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Final

import attrs

from dragoman.model import SECOND, Provider, Target, Timeouts
from dragoman.ports import Fault, UpstreamError
from dragoman.routing import Change, Failure, Policy, Routed, Router, RoutingError, State
from fakes import Clock

POLICY: Final = Policy()
NAMES: Final = ("one", "two", "three")

Outcome = BaseException | str | None
"""What an attempt meets: an error, or an answer; None is the answer that is the provider's name."""


def target(provider: str = "one", model: str | None = "model", *, weight: int = 1, order: int = 0) -> Target:
    """Return a target that may take 600 s."""
    return Target(provider=provider, model=model, weight=weight, order=order, timeouts=Timeouts(total=600.0))


ONE: Final = (target(),)
IN_ORDER: Final = (target("one"), target("two", order=1), target("three", order=2))


def fault(kind: Fault, *, status: int | None = None, retry_after: float | None = None) -> UpstreamError:
    """Return an error of this kind."""
    return UpstreamError(kind, status=status, retry_after=retry_after)


def refused() -> UpstreamError:
    """Return what comes of a port where nobody listens."""
    return fault(Fault.UNREACHABLE)


class Waiting:
    """What a coroutine waits for that is resumed by hand."""

    def __await__(self) -> Generator[object, str, str]:
        """Wait until something is sent or thrown."""
        return (yield self)


@attrs.define(eq=False)
class Flight:
    """A request that is in an attempt, or in the pause between two of them, until it is told what it meets."""

    forwarding: Coroutine[Any, Any, Routed[str]]

    def answer(self, value: str = "late") -> Routed[str] | None:
        """Let the attempt give *value*, or the pause end; return what comes of it, or None where it waits again."""
        try:
            self.forwarding.send(value)
        except StopIteration as end:
            routed: Routed[str] = end.value
            return routed
        return None

    def fail(self, error: BaseException) -> BaseException | None:
        """Let the attempt meet *error*; return what the caller gets, or None where it waits again."""
        try:
            self.forwarding.throw(error)
        except (RoutingError, asyncio.CancelledError) as raised:
            return raised
        return None


def fly(forwarding: Coroutine[Any, Any, Routed[str]]) -> Flight:
    """Return a request that has begun to wait."""
    flight = Flight(forwarding)
    forwarding.send(None)
    return flight


@attrs.define(kw_only=True, eq=False)
class Crossing:
    """A router between a caller and upstreams: provider -> what its next attempts meet; beyond those it answers.

    *asked* are the targets of all attempts, *pauses* what was waited between them. An attempt takes *lasting* seconds.
    """

    meets: dict[str, list[Outcome]] = attrs.field(factory=dict)
    chance: Callable[[], float] = attrs.field(default=lambda: 0.5)
    policy: Policy = POLICY
    lasting: float = 0.0
    asked: list[Target] = attrs.field(factory=list)
    pauses: list[float] = attrs.field(factory=list)
    changes: list[Change] = attrs.field(factory=list)
    clock: Clock = attrs.field(factory=Clock)
    router: Router = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Build the router."""
        self.router = Router(
            monotonic=self.clock.seconds,
            random=self.chance,
            sleep=self._pause,
            on_change=self.changes.append,
            policy=self.policy,
        )
        self.router.provide([Provider(name=name, kind="echo") for name in NAMES])

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.at += round(seconds * SECOND)

    async def attempt(self, one: Target) -> str:
        """Ask *one*."""
        self.asked.append(one)
        self.wait(self.lasting)
        waiting = self.meets.get(one.provider)
        outcome = waiting.pop(0) if waiting else None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome or one.provider

    def open(self, targets: Sequence[Target] = ONE) -> Routed[str]:
        """Return an exchange that has begun and not ended."""
        try:
            self.router.forward(targets, self.attempt).send(None)
        except StopIteration as end:
            routed: Routed[str] = end.value
            return routed
        message = "no attempt waits"
        raise AssertionError(message)

    def probe(self, targets: Sequence[Target] = ONE) -> Flight:
        """Return a request whose attempt lasts until it is told what it meets."""

        async def waiting(_: Target) -> str:
            return await Waiting()

        return fly(self.router.forward(targets, waiting))

    def ask(self, targets: Sequence[Target] = ONE) -> str:
        """Return who answered in an exchange that ended well."""
        routed = self.open(targets)
        routed.hold.close()
        return routed.value

    def fail(self, targets: Sequence[Target] = ONE) -> RoutingError:
        """Return why nobody answered."""
        try:
            answered = self.ask(targets)
        except RoutingError as error:
            return error
        message = f"{answered} has answered"
        raise AssertionError(message)

    def told(self, targets: Sequence[Target] = ONE) -> tuple[Failure, int | None, int]:
        """Return what a caller whom nobody answers is told: why, when to come again, and after how many attempts."""
        error = self.fail(targets)
        return error.kind, error.retry_after, error.attempts

    def close(self, routed: Routed[str] | None, error: BaseException | None = None) -> None:
        """End an exchange that has begun."""
        assert routed is not None
        routed.hold.close(error)

    def break_open(self, provider: str = "one") -> None:
        """Let *provider* fail until its breaker opens."""
        for _ in range(self.policy.failures):
            self.open((target(provider),)).hold.close(fault(Fault.CUT))
        assert State.OPEN is self.changes[-1].after

    @property
    def states(self) -> list[State]:
        """The states that breakers went into, in order."""
        return [change.after for change in self.changes]

    def providers_asked(self) -> list[str]:
        """Return whom the attempts went to since this was last asked."""
        names = [one.provider for one in self.asked]
        self.asked.clear()
        return names

    def in_flight(self) -> dict[str, int]:
        """Return the providers that have requests in work, and how many."""
        return dict(Counter({name: self.router.in_flight(name) for name in NAMES if self.router.in_flight(name)}))
