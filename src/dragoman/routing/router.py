"""Who is asked, how often, and what becomes of those who fail (ADR-0039).

Laws of this file:
- One event loop: between the choice of a target and the taking of its place nothing is awaited.
- Whoever takes a place gives it back: by `Hold.close`, which an exchange calls when it ends, or here when it fails.
- Nothing is repeated after an attempt has returned, for the first byte of an answer may have gone out.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import attrs

from dragoman.model import Provider, Target
from dragoman.ports import UpstreamError
from dragoman.routing.circuit import Change, Circuit
from dragoman.routing.provider import ProviderState, RetryBudget
from dragoman.routing.reactions import Failure, Policy, RoutingError, reaction_to
from dragoman.routing.standing import READY, Standing

T = TypeVar("T")
Name = tuple[str, str | None]
"""What a target is known by, its provider and model: weight, order and time are an alias's own."""

CIRCUITS: Final = 1_000
"""How many targets are known at once, apart from those in work: some 400 KB."""

_SAYS_WHEN: Final = frozenset({Failure.OPEN, Failure.LIMITED, Failure.FULL})


@attrs.define(eq=False)  # PERF: one is made for every attempt, and what is frozen takes three times as long
class Hold:
    """A place at a provider, which belongs to one exchange until it is closed."""

    _circuit: Circuit
    _begun: int
    _monotonic: Callable[[], float]
    _closed: bool = False

    def answered(self) -> None:
        """Say that an answer begins; the router does."""
        self._circuit.answered(self._begun)

    def close(self, error: BaseException | None = None) -> None:
        """Give the place back, and say how the exchange ended; closing it once more does nothing.

        Without an *error* it ended well. An `UpstreamError` counts as its fault does; anything else, such as the
        `CancelledError` of a caller that left, says nothing of the upstream.
        """
        if self._closed:
            return
        self._closed = True
        if error is None:
            self._circuit.succeeded(self._begun)
        elif isinstance(error, UpstreamError):
            self._circuit.failed(self._begun, error, self._monotonic())
        else:
            self._circuit.left(self._begun)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it with what ended the block."""
        self.close(error)


@attrs.define(eq=False)  # PERF: one is made for every request
class Routed(Generic[T]):
    """What the *target* answered, the last of so many *attempts*; the exchange has to close the *hold* when it ends."""

    value: T
    target: Target
    attempts: int
    hold: Hold


@attrs.frozen(kw_only=True)
class Prospect:
    """What would become of a *target*: *share* is how likely it is asked first among those of its order."""

    target: Target
    standing: Standing
    share: float


@attrs.define(eq=False)  # PERF: one is made for every request
class _Journey:
    """One request on its way: who was *asked*, the *target* that was asked last, and the *last* error that was met."""

    targets: Sequence[Target]
    started: float
    attempts: int = 0
    asked: frozenset[Name] = frozenset()
    target: Target | None = None
    last: UpstreamError | None = None
    deadline: float = 0.0

    def failed(self, target: Target, error: UpstreamError) -> None:
        """Note that *target* has failed; the total time of the first one is that of all of them."""
        if self.last is None:
            self.deadline = self.started + target.timeouts.total
        # Its traceback holds this journey, and all that it still gets: not to be freed by counting references.
        self.target, self.last = target, error.with_traceback(None)

    def in_time(self, target: Target, now: float) -> Target:
        """Return *target* with no more time than is left.

        Raises:
            RoutingError: where none is.
        """
        left = self.deadline - now
        if left <= 0:
            raise self.error(Failure.TIMEOUT)
        if target.timeouts.total <= left:
            return target
        return attrs.evolve(target, timeouts=attrs.evolve(target.timeouts, total=left))

    def error(self, kind: Failure, *, retry_after: int | None = None) -> RoutingError:
        """Return that it has ended."""
        return RoutingError(kind, retry_after=retry_after, last=self.last, target=self.target, attempts=self.attempts)


def _ignore(_: Change) -> None:
    """Tell nobody."""


@attrs.define(kw_only=True, eq=False)
class Router:
    """Knows how every target fares, and forwards to the right one.

    *monotonic* is in seconds, *random* gives numbers from 0 to less than 1, *sleep* waits for so many seconds;
    *on_change* is told of every breaker that changes its state, and must not raise.
    """

    monotonic: Callable[[], float]
    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    on_change: Callable[[Change], None] = _ignore
    policy: Policy = attrs.field(factory=Policy)
    _providers: dict[str, ProviderState] = attrs.field(factory=dict, init=False)
    _circuits: dict[Name, Circuit] = attrs.field(factory=dict, init=False)

    def provide(self, providers: Iterable[Provider]) -> None:
        """Take the *providers* that are in force from now on.

        How a target fares is kept, unless its provider has changed in more than its capacity: whoever has mended one
        does not wait for its breaker.
        """
        in_force = {provider.name: provider for provider in providers}
        gone = self._providers.keys() - in_force.keys()
        changed = {name for name, provider in in_force.items() if self._provider(name).become(provider)}
        for target, circuit in tuple(self._circuits.items()):
            if circuit.places.provider.name in gone | changed:
                del self._circuits[target]
                circuit.renew()
        for name in gone:
            if not self._providers[name].taken:
                del self._providers[name]

    def in_flight(self, provider: str) -> int:
        """Return how many requests the *provider* has in work."""
        state = self._providers.get(provider)
        return 0 if state is None else state.taken

    async def forward(self, targets: Sequence[Target], attempt: Callable[[Target], Awaitable[T]]) -> Routed[T]:
        """Return what the first of the *targets* gives that answers *attempt*.

        An attempt ends with the first byte of an answer, or with an `UpstreamError`; whatever else it raises passes
        through. An attempt that is not the first gets its target with what is left of the total time of the first one.

        Raises:
            RoutingError: where nobody answers.
        """
        journey = _Journey(targets, self.monotonic())
        target = self._choose(journey, journey.started)
        while target is not None:
            hold = self._enter(target, journey)
            try:
                value = await attempt(target)
            except UpstreamError as error:
                hold.close(error)
                target = await self._next(journey, target, error)
            except BaseException as error:  # the caller has left, or a fault of ours
                hold.close(error)
                raise
            else:
                hold.answered()
                return Routed(value, target, journey.attempts, hold)
        raise self._ended(journey) from journey.last

    def explain(self, targets: Sequence[Target]) -> Sequence[Prospect]:
        """Return what would become of the *targets* if a request came now, in the order in which they would be asked.

        Those that can be asked come first, by order, then by share; then the others.
        """
        now = self.monotonic()
        standings = [self._circuit((target.provider, target.model), now).standing(now) for target in targets]
        standing_of = list(zip(targets, standings, strict=True))
        usable = [target for target, standing in standing_of if standing.failure is None]
        prospects = [
            Prospect(target=target, standing=standing, share=_share(target, usable)) for target, standing in standing_of
        ]
        return sorted(prospects, key=lambda one: (one.standing.failure is not None, one.target.order, -one.share))

    def _choose(self, journey: _Journey, now: float) -> Target | None:
        """Return one of the usable targets that were not asked, of the lowest order that has one."""
        pool: list[Target] = []
        for target in journey.targets:
            if pool and target.order > pool[0].order:
                continue
            name = (target.provider, target.model)
            circuit = self._circuits.get(name) or self._circuit(name, now)  # PERF: a call less
            if not circuit.is_usable(now) or name in journey.asked:
                continue
            if pool and target.order < pool[0].order:
                pool.clear()
            pool.append(target)
        if len(pool) > 1:
            return _weighed(pool, self.random())
        return pool[0] if pool else None

    def _enter(self, target: Target, journey: _Journey) -> Hold:
        """Take a place for *target*, which was found usable, with nothing awaited since."""
        name = (target.provider, target.model)
        circuit = self._circuits.get(name) or self._circuit(name, journey.started)
        journey.attempts += 1
        if name not in journey.asked:
            circuit.places.budget.earn()
        return Hold(circuit, circuit.begin(), self.monotonic)

    async def _next(self, journey: _Journey, failed: Target, error: UpstreamError) -> Target | None:
        """Return whom to ask after *failed* met *error*, or None where nobody is left.

        Raises:
            RoutingError: where somebody is left, but no time.
        """
        journey.failed(failed, error)
        reaction, name = reaction_to(error), (failed.provider, failed.model)
        if not reaction.onward:
            return None
        again = reaction.again and name not in journey.asked and self._may_repeat(name, journey.deadline)
        journey.asked |= {name}
        if again:
            await self.sleep(self.random() * self.policy.pause)
        now = self.monotonic()
        if again and self._circuit(name, now).is_usable(now):
            target: Target | None = failed
        else:
            target = self._choose(journey, now)
        return None if target is None else journey.in_time(target, now)

    def _may_repeat(self, name: Name, deadline: float) -> bool:
        """Whether a target may be asked once more; if so, it is paid for."""
        now = self.monotonic()
        circuit = self._circuit(name, now)
        return now < deadline and circuit.is_usable(now) and circuit.places.budget.spend(now)

    def _ended(self, journey: _Journey) -> RoutingError:
        """Return what the caller is told: what the last target did or, if none was asked, what was in the way.

        Of several that were in the way it is the one that ends first.
        """
        now = journey.started if journey.last is None else self.monotonic()
        standings = [self._circuit((target.provider, target.model), now).standing(now) for target in journey.targets]
        first = min(standings, key=lambda standing: standing.wait, default=READY)
        told = first.failure or Failure.UNAVAILABLE
        kind = told if journey.last is None else reaction_to(journey.last).failure
        return journey.error(kind, retry_after=_whole_seconds(first.wait) if kind in _SAYS_WHEN else None)

    def _circuit(self, name: Name, now: float) -> Circuit:
        """Return the circuit of a target; who is met for the first time is thought to be well."""
        circuit = self._circuits.get(name)
        if circuit is None:
            if len(self._circuits) >= CIRCUITS:
                self._make_room(now)
            provider, model = name
            circuit = Circuit(self._provider(provider), model, self.policy, self.on_change)
            self._circuits[name] = circuit
        return circuit

    def _make_room(self, now: float) -> None:
        """Forget the targets of which nothing is known, or else those that nobody asks at the moment."""
        idle = [name for name, circuit in self._circuits.items() if not circuit.in_flight]
        as_new = [name for name in idle if self._circuits[name].is_as_new(now)]
        for name in as_new or idle:
            self._circuits.pop(name).renew()

    def _provider(self, name: str) -> ProviderState:
        """Return how a provider is met; until it is provided nothing is known of it but its name."""
        state = self._providers.get(name)
        if state is None:
            budget = RetryBudget(policy=self.policy, at=self.monotonic())
            state = self._providers[name] = ProviderState(provider=Provider(name=name, kind=""), budget=budget)
        return state


def _whole_seconds(wait: float) -> int:
    """Return *wait* rounded up, at least 1: what floats add to it, less than a microsecond, makes no second."""
    return max(1, math.ceil(round(wait, 6)))


def _weighed(pool: Sequence[Target], random: float) -> Target:
    """Return one of *pool*, as often as its weight says; one without weight only where none has any, the first."""
    point = random * sum([target.weight for target in pool])  # PERF: a generator takes longer than the rest
    chosen = pool[0]
    for target in pool:
        if target.weight > 0:
            chosen = target
            point -= target.weight
            if point < 0:
                break
    return chosen


def _share(target: Target, usable: Sequence[Target]) -> float:
    """Return how likely *target* is chosen when one of the *usable* ones of its order is."""
    pool = [one for one in usable if one.order == target.order]
    total = sum(one.weight for one in pool)
    if not any(target is one for one in pool):
        return 0.0
    return target.weight / total if total else float(target is pool[0])
