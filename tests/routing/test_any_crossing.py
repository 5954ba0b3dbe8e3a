"""Whatever happens in whatever order: what routing promises of attempts, probes, retries, places and rests holds."""

import asyncio
import math
from collections import Counter
from typing import Final

import attrs
from crossing import Crossing, Flight, Waiting, fault, fly, target
from gateway_conformance.rules import confirms
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dragoman.model import Provider, Target, Timeouts
from dragoman.ports import Fault, UpstreamError
from dragoman.routing import Change, Failure, Policy, Routed, RoutingError, State
from dragoman.routing.standing import Condition

Name = tuple[str, str | None]

CAPACITIES: Final = {"one": 2, "two": 3, "three": 50}
ALIASES: Final = (
    (target("one"),),
    (target("one"), target("two", weight=3)),
    (target("one"), target("two", order=1), target("three", weight=0, order=1), target("three", "other", order=2)),
    (target("two"), target("two", "other"), target("one", weight=0), target("two", order=7)),
    (attrs.evolve(target("one"), timeouts=Timeouts(total=3.0)), target("three", order=1)),
)
PICKS: Final = st.integers(0, 10**6)
ERRORS: Final = st.one_of(
    st.sampled_from([Fault.UNREACHABLE, Fault.UNREACHABLE, Fault.TIMEOUT, Fault.GARBLED, Fault.REJECTED]).map(fault),
    st.builds(lambda status: fault(Fault.FAILED, status=status), st.sampled_from([None, 302, 500])),
    st.builds(
        lambda kind, wait: fault(kind, status=503, retry_after=wait),
        st.sampled_from([Fault.LIMITED, Fault.FAILED]),
        st.sampled_from([0.0, 2.0, 1e9]),
    ),
)
ENDS: Final = st.one_of(st.none(), ERRORS, st.just(fault(Fault.CUT)), st.builds(asyncio.CancelledError))


@attrs.define(eq=False)
class Request:
    """One request: its *flight* as long as it waits, whom it *asked*, and whether an attempt is what it waits for."""

    targets: tuple[Target, ...]
    began: float
    deadline: float = math.inf
    asked: Counter[Name] = attrs.field(factory=Counter)
    attempting: Target | None = None
    is_probe: bool = False
    flight: Flight | None = None


class AnyCrossing(RuleBasedStateMachine):
    """Requests that begin, are answered, fail, are left and end in any order, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.crossing = Crossing(chance=lambda: self.chance, policy=Policy(failures=2, retry_savings=3))
        self.chance = 0.5
        self.requests: list[Request] = []
        self.exchanges: list[Routed[str]] = []
        self.states: dict[Name, State] = {}
        self.retries: Counter[str] = Counter()
        self.firsts: Counter[str] = Counter()
        self.crossing.router.sleep = self.pause
        self.crossing.router.on_change = self.on_change
        self.epoch = 0

    @initialize()
    def provide(self) -> None:
        """Say who there is."""
        self.crossing.router.provide(
            [
                Provider(name=name, kind="openai", base_url=f"https://{self.epoch}.invalid", capacity=capacity)
                for name, capacity in CAPACITIES.items()
            ]
        )

    def on_change(self, change: Change) -> None:
        """Follow the breakers: a change begins where the last one ended, and every target has its own."""
        name = (change.provider, change.model)
        assert self.states.get(name, State.CLOSED) is change.before is not change.after
        assert (change.before, change.after) != (State.CLOSED, State.HALF_OPEN)
        self.states[name] = change.after
        # Who is in work when it opens, or is mended, is no probe of what follows.
        for request in self.requests:
            if request.attempting is not None and name == (request.attempting.provider, request.attempting.model):
                request.is_probe = False

    async def pause(self, seconds: float) -> None:
        """Wait until the machine ends the pause."""
        assert 0 <= seconds <= 0.05
        await Waiting()

    async def attempt(self, request: Request, one: Target) -> str:
        """Judge an attempt by what must hold when it begins, and wait for what it meets."""
        name, now = (one.provider, one.model), self.crossing.clock.seconds()
        state = self.states.get(name, State.CLOSED)
        first = not request.asked[name]
        request.asked[name] += 1
        (self.firsts if first else self.retries)[one.provider] += 1
        if request.deadline == math.inf:
            request.deadline = request.began + one.timeouts.total

        assert state is not State.OPEN
        assert request.asked[name] <= 2
        assert now < request.deadline
        assert now + one.timeouts.total <= request.deadline + 1e-6

        request.attempting, request.is_probe = one, state is State.HALF_OPEN
        try:
            return await Waiting()
        finally:
            request.attempting, request.is_probe = None, False

    @rule(pick=PICKS, chance=st.floats(0, 1, exclude_max=True))
    def begin(self, pick: int, chance: float) -> None:
        """A request for one of the aliases comes."""
        self.chance = chance
        targets, now = ALIASES[pick % len(ALIASES)], self.crossing.clock.seconds()
        request = Request(targets=targets, began=now)
        usable = [one for one in self.crossing.router.explain(targets) if one.standing.failure is None]
        forwarding = self.crossing.router.forward(targets, lambda one: self.attempt(request, one))
        try:
            request.flight = fly(forwarding)
        except RoutingError as error:
            assert [] == usable
            self.judge_refused(error)
        else:
            assert request.attempting is not None
            assert usable[0].target.order == request.attempting.order
            assert request.attempting in [one.target for one in usable if one.share > 0]
            self.requests.append(request)

    def judge_refused(self, error: RoutingError) -> None:
        """Nobody could be asked: it is said when somebody can."""
        assert error.kind in {Failure.OPEN, Failure.LIMITED, Failure.FULL}
        assert error.retry_after is not None
        assert 1 <= error.retry_after <= 60
        assert (0, None) == (error.attempts, error.last)

    def take(self, pick: int) -> Request:
        """Return one of the requests that wait."""
        return self.requests[pick % len(self.requests)]

    @precondition(lambda self: self.requests)
    @rule(pick=PICKS)
    def answer(self, pick: int) -> None:
        """An answer begins, or a pause ends."""
        request = self.take(pick)
        assert request.flight is not None
        try:
            routed = request.flight.answer()
        except RoutingError as error:  # nobody was left after the pause
            self.judge(request, error)
        else:
            if routed is not None:
                self.exchanges.append(routed)
                self.requests.remove(request)

    @precondition(lambda self: any(request.attempting for request in self.requests))
    @rule(pick=PICKS, error=ERRORS)
    def fail(self, pick: int, error: UpstreamError) -> None:
        """An attempt fails."""
        attempting = [request for request in self.requests if request.attempting is not None]
        request = attempting[pick % len(attempting)]
        assert request.flight is not None
        failed = request.flight.fail(error)
        if failed is not None:
            self.judge(request, failed)

    def judge(self, request: Request, error: BaseException) -> None:
        """A request has ended without an answer: whoever could be asked was, unless its time was up."""
        self.requests.remove(request)
        assert isinstance(error, RoutingError)
        assert error.last is not None
        assert error.attempts == request.asked.total()
        ends_all = error.last.fault in {Fault.REJECTED, Fault.TOO_LARGE}
        late = error.kind is Failure.TIMEOUT and self.crossing.clock.seconds() >= request.deadline
        for one in self.crossing.router.explain(request.targets):
            asked = request.asked[one.target.provider, one.target.model]
            assert ends_all or late or asked or one.standing.failure is not None

    @precondition(lambda self: self.requests)
    @rule(pick=PICKS)
    def leave(self, pick: int) -> None:
        """A caller goes away while he waits."""
        request = self.take(pick)
        assert request.flight is not None
        assert isinstance(request.flight.fail(asyncio.CancelledError()), asyncio.CancelledError)
        self.requests.remove(request)

    @precondition(lambda self: self.exchanges)
    @rule(pick=PICKS, end=ENDS)
    def end(self, pick: int, end: BaseException | None) -> None:
        """An exchange ends, and is ended once more by somebody who does not know."""
        routed = self.exchanges.pop(pick % len(self.exchanges))
        routed.hold.close(end)
        routed.hold.close(fault(Fault.CUT))

    @rule(seconds=st.sampled_from([0.02, 1.0, 5.0, 70.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.crossing.wait(seconds)

    @rule()
    def mend(self) -> None:
        """All providers get another address."""
        self.epoch += 1
        self.provide()
        assert not set(self.states.values()) - {State.CLOSED}

    @invariant()
    def one_probe_at_a_time(self) -> None:
        """Of each target at most one request is in work that began while its breaker was half-open."""
        probes = Counter(
            (request.attempting.provider, request.attempting.model)
            for request in self.requests
            if request.attempting is not None and request.is_probe
        )
        assert all(count == 1 for count in probes.values())

    @invariant()
    def retries_are_within_the_budget(self) -> None:
        """A tenth of the first attempts, one in ten seconds, and the three that were saved."""
        for provider, retried in self.retries.items():
            assert retried <= 3 + self.firsts[provider] / 10 + self.crossing.clock.seconds() / 10 + 1e-6

    @invariant()
    def every_place_belongs_to_somebody(self) -> None:
        """Whoever is in an attempt, or in an exchange that has not ended, has one place, and nobody else has."""
        places = Counter(request.attempting.provider for request in self.requests if request.attempting is not None)
        places += Counter(routed.target.provider for routed in self.exchanges)
        assert dict(places) == self.crossing.in_flight()
        assert all(places[name] <= capacity for name, capacity in CAPACITIES.items())

    def teardown(self) -> None:
        """When everybody has gone, no place is taken, and after the longest wait everybody can be asked again."""
        while self.exchanges:
            self.end(0, None)
        while self.requests:
            self.leave(0)
        self.crossing.wait(61.0)

        assert {} == self.crossing.in_flight()
        for targets in ALIASES:
            for one in self.crossing.router.explain(targets):
                assert one.standing.condition in {Condition.READY, Condition.PROBE}


@confirms("ADR-0039.R2", "ADR-0039.R4", "ADR-0039.R5", "ADR-0039.R7", "ADR-0039.R8", "ADR-0039.R9")
def test_whatever_happens_in_whatever_order_the_promises_hold() -> None:
    """150 stories of up to 60 steps."""
    run_state_machine_as_test(AnyCrossing, settings=settings(max_examples=150, stateful_step_count=60))
