"""What stands in for the world outside: the ports, the clock and the ids, and a gateway that is made of them.

Laws of this file:
- A fake fits its port, answers from what it was given, counts what it was asked, and fails when it was told to.
- The clock and the ids say what the contract's examples show, so that an answer can be compared with its example.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import attrs

from dragoman.app import NO_LIMITS, Guard, create_app
from dragoman.contract.source import Source
from dragoman.model import SECOND, Agent, AgentId, Alias, Guardrail, KeyId, OrganizationId, Principal
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler, Services
from dragoman.web.context import Sources
from dragoman.web.gateway import Gateway
from treaty import Document

NOW: Final = datetime(2026, 6, 14, 12, 0, tzinfo=UTC)
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
    return Sources(
        now=lambda: NOW,
        monotonic=monotonic or (lambda: next(ticks) / 1000),
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
        """Keep the one event of a request."""
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


def build_services(uptime: float = 0.0) -> Services:
    """Return what answers are made from: our aliases, no contract, no pages, and a gateway that runs for *uptime*."""
    return Services(catalogue=FakeCatalogue(), published=b"{}", pages={}, uptime=lambda: uptime, ready=lambda: True)


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
) -> House:
    """Return a gateway that serves *documents* (mount prefix -> effective contract), else the canonical one."""
    identity, catalogue, log = identity or FakeIdentity(), catalogue or FakeCatalogue(), RecordingLog()
    app = create_app(
        documents or {"/": effective()},
        identity=identity,
        catalogue=catalogue,
        log=log,
        sources=sources or fixed_sources(),
        guard=guard,
        handlers=handlers,
    )
    return House(app=app, identity=identity, catalogue=catalogue, log=log)


def example(document: Document, kind: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the body that *document* shows for *kind*."""
    return document["components"]["examples"][kind]["value"]
