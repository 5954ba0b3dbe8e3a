"""What stands in for the world outside: the ports, the clock and the ids, and a gateway that is made of them.

Laws of this file:
- A fake fits its port, answers from what it was given, counts what it was asked, and fails when it was told to.
- The clock and the ids say what the contract's examples show, so that an answer can be compared with its example.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import attrs

from dragoman.adapters.daily import MemoryDays
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.app import NO_LIMITS, Forwarding, Guard, build_exchange, create_app
from dragoman.contract import Operation
from dragoman.contract.source import Source
from dragoman.exchange import Exchange
from dragoman.gate.admitted import Admitted
from dragoman.gate.usage import TokenLimits
from dragoman.model import (
    SECOND,
    Agent,
    AgentId,
    Alias,
    Guardrail,
    KeyId,
    OrganizationId,
    Principal,
    RequestEvent,
    Timeouts,
    Usage,
)
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler, Services
from dragoman.ports import LedgerEntry, Upstreams
from dragoman.routing import Router
from dragoman.web.context import Sources
from dragoman.web.gateway import Gateway
from treaty import Document

NOW: Final = datetime(2026, 6, 14, 12, 0, tzinfo=UTC)
LOGGED: Final = {field.name for field in attrs.fields(RequestEvent)}
REQUEST_ID: Final = "019edb2f-6ac0-7c3e-9b1d-3f0e5a7c2d41"
NO_FLAGS: Final[Mapping[str, int]] = MappingProxyType({})
TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"

OWN: Final = OrganizationId("018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d11")
FOREIGN: Final = OrganizationId("018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d22")
AGENT: Final = AgentId("018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e33")
FOREIGN_AGENT: Final = AgentId("018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e44")
TOKEN: Final = "token-of-our-own"
FOREIGN_TOKEN: Final = "token-of-another-organisation"
UNSCOPED_TOKEN: Final = "token-without-any-scope"

PRINCIPAL: Final = Principal(organization=OWN, key=KeyId("own"), scopes=frozenset({"chat", "models"}))
STRANGER: Final = Principal(organization=FOREIGN, key=KeyId("foreign"), scopes=frozenset({"chat", "models"}))
UNSCOPED: Final = Principal(organization=OWN, key=KeyId("unscoped"), scopes=frozenset())
KEYS: Final[Mapping[str, Principal]] = {TOKEN: PRINCIPAL, FOREIGN_TOKEN: STRANGER, UNSCOPED_TOKEN: UNSCOPED}
MAIN: Final = Agent(id=AGENT, name="main", organization=OWN)
BETA: Final = Agent(id=AgentId("018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e55"), name="beta", organization=OWN)
AGENTS: Final = (MAIN, BETA, Agent(id=FOREIGN_AGENT, name="foreign", organization=FOREIGN))
ALIASES: Final[Mapping[OrganizationId, Sequence[Alias]]] = {
    OWN: (
        Alias(id="general", display_name="General", description="Everyday work.", category="llm", created=1781438400),
        Alias(id="vendor/large", display_name="Large", description="Hard work.", category="llm", created=1781438401),
    )
}


def fixed_sources(monotonic: Callable[[], float] | None = None) -> Sources:
    """Return a clock that stands still, a stopwatch that gains a millisecond a look, and ids that never change."""
    ticks: Iterator[int] = count()
    seconds = monotonic or (lambda: next(ticks) / 1000)
    return Sources(
        now=lambda: NOW,
        monotonic=seconds,
        nanoseconds=lambda: round(seconds() * SECOND),
        request_id=lambda: REQUEST_ID,
        trace_id=lambda: TRACE_ID,
    )


@attrs.define
class Clock:
    """A clock that stands still until it is moved; *at* is in nanoseconds."""

    at: int = 0

    def now(self) -> int:
        """Return the time in nanoseconds."""
        return self.at

    def seconds(self) -> float:
        """Return the time in seconds."""
        return self.at / SECOND


@attrs.define(kw_only=True)
class FakeIdentity:
    """Fits the port `Identity`; *fault* is raised by every question when it is set."""

    keys: Mapping[str, Principal] = KEYS
    agents: Sequence[Agent] = AGENTS
    fault: Exception | None = None
    tokens_asked: list[str] = attrs.field(factory=list)
    agents_asked: list[str] = attrs.field(factory=list)

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is."""
        self.tokens_asked.append(token)
        if self.fault is not None:
            raise self.fault
        return self.keys.get(token)

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id, in either case, or name."""
        self.agents_asked.append(named)
        if self.fault is not None:
            raise self.fault
        own = (agent for agent in self.agents if agent.organization == organization)
        return next((agent for agent in own if named.lower() in (agent.id, agent.name)), None)


@attrs.define(kw_only=True)
class FakeCatalogue:
    """Fits the port `Catalogue`; *fault* is raised by every question when it is set."""

    of: Mapping[OrganizationId, Sequence[Alias]] = ALIASES
    watching: Mapping[str, Guardrail] = MappingProxyType({})
    fault: Exception | None = None

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases of the *organization*."""
        if self.fault is not None:
            raise self.fault
        return self.of.get(organization, ())

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        """Return the alias of this *name* among those of the *organization*."""
        return next((alias for alias in await self.aliases(organization) if alias.id == name), None)

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        """Return those that watch the *alias*; the *organization* has none of its own."""
        return [self.watching[key] for key in alias.guardrails if organization in self.of]


@attrs.define(kw_only=True)
class RecordingLog:
    """Fits the port `EventLog`, and keeps what was written."""

    requests: list[dict[str, object]] = attrs.field(factory=list)
    failures: list[dict[str, object]] = attrs.field(factory=list)
    states: list[dict[str, object]] = attrs.field(factory=list)

    def request(self, fields: dict[str, object]) -> None:
        """Keep the one event of a request, which has no field but those that may be logged."""
        assert fields.keys() <= LOGGED
        self.requests.append(fields)

    def failure(self, fields: dict[str, object]) -> None:
        """Keep that the gateway itself failed."""
        self.failures.append(fields)

    def state(self, fields: dict[str, object]) -> None:
        """Keep that something has become bad, or good again."""
        self.states.append(fields)

    @property
    def event(self) -> dict[str, object]:
        """The event of the one request that there was."""
        [event] = self.requests
        return event

    @property
    def text(self) -> str:
        """Everything that was written."""
        return repr([*self.requests, *self.failures, *self.states])


Said = Sequence[Mapping[str, Any]] | Exception | float
"""What a fake upstream does: chunks that arrive together, an error that it raises, or seconds that it waits."""


@attrs.define(kw_only=True, eq=False)
class FakeChunks:
    """Fits the port `Chunks`: what is *said*, one after the other."""

    said: Sequence[Said]
    closed: int = 0

    async def __aiter__(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Yield the chunks, wait, or raise."""
        for one in self.said:
            if isinstance(one, Exception):
                raise one
            if isinstance(one, float):
                await asyncio.sleep(one)
            else:
                yield one

    async def aclose(self) -> None:
        """Count how often it is closed."""
        self.closed += 1


@attrs.define(kw_only=True, eq=False)
class DivertingChunks(FakeChunks):
    """Fits the port `Divertible` as well: whoever wants to may take what comes alone, but for the first."""

    take: Callable[[Mapping[str, Any]], bool] | None = None

    def divert(self, take: Callable[[Mapping[str, Any]], bool]) -> None:
        """Offer to *take* what comes from now on."""
        self.take = take

    async def __aiter__(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Yield what is not taken."""
        async for arrived in super().__aiter__():
            if self.take is None or len(arrived) != 1 or not self.take(arrived[0]):
                yield arrived


@attrs.define(kw_only=True, eq=False)
class FakeUpstream:
    """Fits the port `Upstream`: gives its *answers* in their order, the last one for ever, and keeps what it was asked.

    An answer is a document, an error, a list of what is said in a stream, or the seconds that pass without one.
    """

    answers: list[Mapping[str, Any] | Exception | float | list[Said]]
    asked: list[tuple[str, Mapping[str, Any]]] = attrs.field(factory=list)
    streams: list[FakeChunks] = attrs.field(factory=list)
    diverts: bool = False

    async def chat(self, document: Mapping[str, Any], *, model: str, timeouts: Timeouts) -> Mapping[str, Any]:
        """Give the next answer, which must be whole."""
        answer = self._next(document, model, timeouts)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        assert isinstance(answer, Mapping)
        return answer

    async def chat_stream(self, document: Mapping[str, Any], *, model: str, timeouts: Timeouts) -> FakeChunks:
        """Give the next answer, which must be what is said in a stream."""
        answer = self._next(document, model, timeouts)
        assert isinstance(answer, list)
        self.streams.append(DivertingChunks(said=answer) if self.diverts else FakeChunks(said=answer))
        return self.streams[-1]

    async def embed(self, document: Mapping[str, Any], *, model: str, timeouts: Timeouts) -> Mapping[str, Any]:
        """Give the next answer, which must be whole."""
        return await self.chat(document, model=model, timeouts=timeouts)

    def _next(self, document: Mapping[str, Any], model: str, _: Timeouts) -> Mapping[str, Any] | float | list[Said]:
        self.asked.append((model, document))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@attrs.define(kw_only=True)
class FakeUpstreams:
    """Fits the port `Upstreams`."""

    by_provider: Mapping[str, FakeUpstream] = MappingProxyType({})

    def upstream(self, provider: str) -> FakeUpstream:
        """Return that of the *provider*."""
        return self.by_provider[provider]


@attrs.define(kw_only=True)
class FakeLedger:
    """Fits the port `Ledger`, and keeps what is recorded."""

    entries: list[LedgerEntry] = attrs.field(factory=list)

    def record(self, entry: LedgerEntry) -> None:
        """Keep *entry*."""
        self.entries.append(entry)


@attrs.define(kw_only=True)
class FakeMeter:
    """Fits the port `Meter`, and keeps what is counted of exchanges."""

    spending: list[tuple[str, Usage]] = attrs.field(factory=list)
    first_tokens: list[tuple[str, float]] = attrs.field(factory=list)

    def arrived(self) -> None:
        """Count nothing."""

    def answered(self, mount: str | None, operation: str | None, status: int | None, seconds: float) -> None:
        """Count nothing."""

    def first_token(self, alias: str, seconds: float) -> None:
        """Keep it."""
        self.first_tokens.append((alias, seconds))

    def spent(self, alias: str, usage: Usage) -> None:
        """Keep it."""
        self.spending.append((alias, usage))

    def exposition(self) -> bytes:
        """Return nothing."""
        return b""


@attrs.define(kw_only=True)
class FakeWebhook:
    """Fits the port `Webhook`: gives one *answer* to everything, and keeps what it was asked."""

    answer: object = None
    asked: list[tuple[str, Mapping[str, Any]]] = attrs.field(factory=list)

    async def ask(self, url: str, question: Mapping[str, Any]) -> object:
        """Keep the *question*, and answer."""
        self.asked.append((url, question))
        return self.answer


def build_forwarding(
    upstreams: Upstreams | None = None, *, ledger: FakeLedger | None = None, webhook: FakeWebhook | None = None
) -> Forwarding:
    """Return what forwards to *upstreams*, with a clock that stands still and no pause between two attempts."""

    async def no_pause(_: float) -> None:
        pass

    return Forwarding(
        upstreams=upstreams or FakeUpstreams(),
        router=Router(monotonic=lambda: 0.0, random=lambda: 0.0, sleep=no_pause),
        days=MemoryDays(),
        ledger=ledger or FakeLedger(),
        meter=FakeMeter(),
        webhook=webhook or FakeWebhook(),
    )


def fake_exchange(forwarding: Forwarding | None = None, *, catalogue: FakeCatalogue | None = None) -> Exchange:
    """Return what forwards, with no limits of tokens."""
    forwarding = forwarding or build_forwarding()
    tokens = TokenLimits(limiter=MemoryLimiter(now=lambda: 0), days=forwarding.days, rates={})
    return build_exchange(forwarding, catalogue=catalogue or FakeCatalogue(), tokens=tokens, now=lambda: NOW)


def admit(operation: Operation, **known: Any) -> Admitted:  # noqa: ANN401 - members of what is admitted
    """Return a request for *operation* that passed every check, of which so much is *known*."""
    stated = {
        "path": {},
        "event": RequestEvent(request_id=REQUEST_ID, trace_id=TRACE_ID),
        "met": [],
        "met_tokens": [],
        "elapsed_ms": lambda: 1.0,
    }
    return Admitted(operation=operation, **{**stated, **known})


def build_services(uptime: float = 0.0) -> Services:
    """Return what answers are made from: our aliases, no contract, no pages, and a gateway that runs for *uptime*."""
    return Services(
        catalogue=FakeCatalogue(),
        exchange=fake_exchange(),
        published=b"{}",
        pages={},
        uptime=lambda: uptime,
        ready=lambda: True,
    )


@attrs.frozen(kw_only=True)
class House:
    """A gateway in this process, and the fakes that it stands on."""

    app: Gateway
    identity: FakeIdentity
    catalogue: FakeCatalogue
    log: RecordingLog


def effective(dialect: str = "dragoman", *, mount: str = "/", phases: Mapping[str, int] = NO_FLAGS) -> Document:
    """Return the packaged contract of *dialect* as it is served at *mount*; what is not in *phases* is in Phase 1."""
    return Source().effective(dialect, mount=mount, phases=phases)


def build_house(  # noqa: PLR0913 - the parts of a gateway
    documents: Mapping[str, Document] | None = None,
    *,
    handlers: Mapping[str, Handler] = HANDLERS,
    sources: Sources | None = None,
    guard: Guard = NO_LIMITS,
    identity: FakeIdentity | None = None,
    catalogue: FakeCatalogue | None = None,
    forwarding: Forwarding | None = None,
) -> House:
    """Return a gateway that serves *documents* (mount prefix -> effective contract), else the canonical one."""
    identity, catalogue, log = identity or FakeIdentity(), catalogue or FakeCatalogue(), RecordingLog()
    app = create_app(
        documents or {"/": effective()},
        identity=identity,
        catalogue=catalogue,
        log=log,
        sources=sources or fixed_sources(),
        forwarding=forwarding or build_forwarding(),
        guard=guard,
        handlers=handlers,
    )
    return House(app=app, identity=identity, catalogue=catalogue, log=log)


def example(document: Document, kind: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the body that *document* shows for *kind*."""
    return document["components"]["examples"][kind]["value"]
