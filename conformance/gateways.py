"""The real gateway for the suite: the parts that it is made of, and a process that serves it.

Laws of this file:
- It and `catalogue` are the only places of the suite, beside the broken gateways, that import `dragoman`.
- Nothing of `src/` is patched: a gateway is made by `create_app` from parts that fit its ports.
- What the judge is told of a gateway (`Callers`, `Limit`) is what the gateway is made with.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from typing import BinaryIO, Final

import attrs
from gateway_conformance.target import Callers, Limit

import catalogue
from dragoman.adapters.daily import MemoryDays
from dragoman.adapters.directory import Directory, Seed, build_directory
from dragoman.adapters.identity import build_remote_identity, serve_identity
from dragoman.adapters.identity.answers import Answers
from dragoman.adapters.ledger import NoLedger
from dragoman.adapters.log import build_log
from dragoman.adapters.metrics import MemoryMeter
from dragoman.adapters.upstream.registry import Providers
from dragoman.adapters.webhook import HttpWebhooks
from dragoman.app import Forwarding, Guard, build_router, closing, create_app, forwarding_operations, system_sources
from dragoman.contract.source import CANONICAL, Source
from dragoman.model import Agent, AgentId, KeyId, OrganizationId, Principal, RequestEvent, rate_of
from dragoman.ports import Catalogue, EventLog, Identity, IdentityUnavailableError
from dragoman.server import Ending, Wire, hold_signals, listen, serve
from dragoman.web.context import Sources
from dragoman.web.gateway import Gateway, Lifespan
from treaty import Document, operations

OWN: Final = OrganizationId("018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d11")
FOREIGN: Final = OrganizationId("018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d22")

CALLERS: Final = Callers(
    token="key_8b1JvK2mXq7Rt5Wz9LdPfGhN4cYs6AeUoTiBx3Zy0Qw",
    unscoped_token="key_Vn5Hc7Jr2Tg9Ml4Kd8Bs1Xw6Zq3Pf0Ye-UaLoIiCuRm",
    organization=OWN,
    foreign_organization=FOREIGN,
    agent="018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e33",
    foreign_agent="018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e44",
    values={"model": "general", "asset": "swagger-ui.css"},
    colleague_token="key_Rk3Tf8Zb5Nd1Wq6Vm9Lc2Xg7Hs4Jp0Ye-OaUiEtRnIc",
    uncheckable_token="key_Jq6Pz1Vx8Nf3Sd5Kb9Rw2Tm7Hg4Cy0Le-IoEaUtNrSm",
)
FOREIGN_TOKEN: Final = "key_Ck4Wd9Qm1Zr6Yh3Tb7Nf2Jx8Gv5Ls0Pe_EaUoIyRtSc"

BETA: Final = "018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e55"

DIALECTS: Final[Mapping[str, str]] = {
    "/" if dialect == CANONICAL else f"/{dialect}": dialect for dialect in Source().dialects
}
"""What the suite serves: mount -> dialect."""

SCOPES: Final = frozenset({"chat", "models", "metrics"})

GENEROUS: Final = Guard(
    rates={scope: rate_of("999999999/d") for scope in ("address", "failed-logins", "organization", "key", "alias")},
)
"""Limits that are on, so that headers tell of them, and that no run of the suite reaches."""

TIGHT: Final = Guard(
    rates={
        scope: rate_of(f"{count}/d")
        for scope, count in {"address": 60, "failed-logins": 3, "organization": 36, "key": 24}.items()
    },
    capacity=2,
)
"""Limits that a few requests reach: that of the alias before that of a key, and that before the organisation's.

None of them comes back while a run lasts: the fastest is one request in 24 minutes.
"""

TIGHT_LIMITS: Final = {
    **{scope: Limit(requests=rate.count, seconds=86_400) for scope, rate in TIGHT.rates.items()},
    "alias": Limit(requests=catalogue.SCARCE_REQUESTS, seconds=86_400),
}
"""What the judge is told of them."""


def _newcomer(number: int) -> Callers:
    secret, colleague = (sha256(f"{number} {who}".encode()).hexdigest() for who in ("newcomer", "colleague"))
    return attrs.evolve(
        CALLERS,
        token=f"key_{secret}",
        colleague_token=f"key_{colleague}",
        organization=f"018f3a5e-7b1c-7d20-9c41-{number:012x}",
        agent=f"018f3a5e-8c2d-7e31-8d52-{number:012x}",
    )


NEWCOMERS: Final[Sequence[Callers]] = tuple(_newcomer(number) for number in range(2000))
"""Callers of the tight gateway, each in an organisation of his own."""


@attrs.frozen(kw_only=True)
class Parts:
    """What a gateway is made of: `documents` maps a mount to its effective contract.

    A *draining* one has been told to end. What *lifespan* makes runs while the gateway does. *leaky* is the base URL of
    an upstream that tells everything, if there is one.
    """

    documents: Mapping[str, Document]
    identity: Identity
    catalogue: Catalogue
    log: EventLog
    sources: Sources
    guard: Guard
    draining: bool = False
    lifespan: Sequence[Lifespan] = ()
    leaky: str | None = None


@attrs.define
class Switch:
    """Fits the port `Identity`, and what the judge calls an outage: what *real* knows can be switched off."""

    real: Identity
    down: bool = False
    revoked: set[str] = attrs.field(factory=set)

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None."""
        if self.down or token == CALLERS.uncheckable_token:
            raise IdentityUnavailableError
        return None if token in self.revoked else await self.real.principal(token)

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id or name, or None."""
        if self.down:
            raise IdentityUnavailableError
        return await self.real.agent(organization, named)

    def begin(self) -> None:
        """Let nobody be able to say who is calling."""
        self.down = True

    def end(self) -> None:
        """Let it be as it was."""
        self.down = False

    def revoke(self, token: str) -> None:
        """Let *token* be nobody's."""
        self.revoked.add(token)


class Remembering:
    """Fits the port `Identity`: asks another one, and keeps the answers as the gateway keeps those of a service."""

    def __init__(self, asked: Identity, now: Callable[[], float]) -> None:
        """Take the identity that is *asked*, and a clock in seconds."""
        self._asked = asked
        self._principals: Answers[str, Principal] = Answers(now)
        self._agents: Answers[tuple[OrganizationId, str], Agent] = Answers(now)

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None."""
        return await self._principals.about(token, lambda: self._asked.principal(token))

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id or name, or None."""
        return await self._agents.about((organization, named), lambda: self._asked.agent(organization, named))


class Silence:
    """An event log that nobody reads; it fits the port `EventLog`."""

    def request(self, fields: Mapping[str, object]) -> None:
        """Drop the event of a request."""

    def failure(self, fields: Mapping[str, object]) -> None:
        """Drop the event of a failure."""

    def state(self, fields: Mapping[str, object]) -> None:
        """Drop that something became bad, or good again."""


def real_parts(dialects: Mapping[str, str] = DIALECTS, *, phase: int = 1, off: frozenset[str] = frozenset()) -> Parts:
    """Return the parts of the real gateway, which knows `CALLERS` and one foreign organisation."""
    store = known_store()
    return Parts(
        documents={
            mount: served_document(dialect, mount=mount, phase=phase, off=off) for mount, dialect in dialects.items()
        },
        identity=Switch(real=store),
        catalogue=store,
        log=Silence(),
        sources=system_sources(),
        guard=GENEROUS,
    )


@cache
def known_store() -> Directory:
    """Return who is known: `CALLERS`, the newcomers, one foreign organisation; and the aliases for them all."""
    everybody = (CALLERS, *NEWCOMERS)
    beta = Agent(id=AgentId(BETA), name="beta", organization=OWN)
    theirs = Agent(id=AgentId(CALLERS.foreign_agent), name="theirs", organization=FOREIGN)
    seed = Seed(
        keys={
            **{token: principal for callers in everybody for token, principal in _keys(callers)},
            CALLERS.unscoped_token: Principal(organization=OWN, key=KeyId("unscoped"), scopes=frozenset()),
            FOREIGN_TOKEN: Principal(organization=FOREIGN, key=KeyId("foreign"), scopes=SCOPES),
        },
        agents=[*(_agent(callers) for callers in everybody), beta, theirs],
        aliases=catalogue.aliases(),
        guardrails={catalogue.GUARDRAIL.key: catalogue.GUARDRAIL},
    )
    return build_directory(seed, now=system_sources().now)


def _keys(callers: Callers) -> Iterator[tuple[str, Principal]]:
    organization = OrganizationId(callers.organization)
    for name, token in (("own", callers.token), ("colleague", str(callers.colleague_token))):
        key = KeyId(f"{name}-{callers.organization[-12:]}")
        yield token, Principal(organization=organization, key=key, scopes=SCOPES)


def _agent(callers: Callers) -> Agent:
    return Agent(id=AgentId(callers.agent), name="main", organization=OrganizationId(callers.organization))


@cache
def effective_document(dialect: str, *, mount: str, phase: int = 1, off: frozenset[str] = frozenset()) -> Document:
    """Return the effective contract of *dialect* at *mount*, with all that forwards in *phase* and nothing else off."""
    source = Source()
    phases = {str(route.name): phase for route in operations(source.canonical) if "x-phase" in route.operation}
    return source.effective(dialect, mount=mount, phases=phases, off=off)


@cache
def served_document(dialect: str, *, mount: str, phase: int = 1, off: frozenset[str] = frozenset()) -> Document:
    """Return the effective contract of *dialect* at *mount*, with all in *phase* that can be served in it."""
    source = Source()
    phases = {name: phase for name in source.operations if name in forwarding_operations()}
    return source.effective(dialect, mount=mount, phases=phases, off=off)


def build(parts: Parts) -> Gateway:
    """Return the gateway that is made of *parts*."""
    providers, known = Providers(secret=_secret, now=parts.sources.now), catalogue.providers(parts.leaky)
    router = build_router(parts.sources, parts.log)
    providers.replace(known)
    router.provide(known)
    forwarding = Forwarding(
        upstreams=providers,
        router=router,
        days=MemoryDays(),
        ledger=NoLedger(),
        meter=MemoryMeter(),
        webhook=HttpWebhooks(),  # which is asked by no guardrail here
    )
    gateway = create_app(
        parts.documents,
        identity=parts.identity,
        catalogue=parts.catalogue,
        log=parts.log,
        sources=parts.sources,
        guard=parts.guard,
        forwarding=forwarding,
        lifespan=[*parts.lifespan, partial(closing, providers)],
    )
    gateway.draining = parts.draining
    return gateway


def _secret(reference: str) -> str:
    """Return what *reference* stands for."""
    assert reference == catalogue.KEY_REFERENCE
    return catalogue.KEY


def logging_to(parts: Parts, stream: BinaryIO) -> Parts:
    """Return *parts* whose gateway logs to *stream* as a process of it does."""
    return attrs.evolve(parts, log=build_log(stream, parts.sources.now))


LEADING_FIELDS: Final = frozenset({"time", "level", "event"})
FAULT_FIELDS: Final = frozenset({"error", "places", "part", "target", "state", "reason"})
LOGGED_FIELDS: Final = frozenset(attrs.fields_dict(RequestEvent)) | LEADING_FIELDS | FAULT_FIELDS
"""What may stand in a line of the log: what leads it, the fields of a request's event, and those of what went wrong."""

DEADLINE: Final = 2.0
"""Seconds that a head, and a pause in a body, may take in a process of the suite: ten of them would be waited for."""


def serve_dialects(guard: str, phase: str, service: str, leaky: str, *mounts: str) -> None:
    """Serve the dialects at *mounts* on a free port, and print the port once it can be connected to.

    Who is calling, the identity *service* at `host:port` is asked. *leaky* is the base URL of an upstream that tells
    everything, or nothing.
    """
    hold_signals()
    parts = real_parts({mount: DIALECTS[mount] for mount in mounts}, phase=int(phase))
    parts = attrs.evolve(parts, leaky=leaky or None)
    parts = logging_to(parts, sys.stderr.buffer)
    asked = build_remote_identity(
        service, ca=None, certificate=None, key=None, now=parts.sources.monotonic, log=parts.log
    )
    limits = TIGHT if guard == "tight" else GENEROUS
    gateway = build(attrs.evolve(parts, identity=asked, lifespan=[asked.connected], guard=limits))
    listener = listen("127.0.0.1", 0)
    tell(str(listener.getsockname()[1]))
    # Who is told to end goes on until he is told so again: he is judged meanwhile.
    serve(
        lambda: gateway,
        listener,
        ending=Ending(delay=3600.0),
        wire=Wire(head=DEADLINE, body_pause=DEADLINE),
    )


def serve_identities() -> None:
    """Serve who is known on a free port, print the port, and do what the lines of the standard input say."""
    switch = Switch(real=known_store())
    threading.Thread(target=obey, args=[switch], daemon=True).start()
    service = serve_identity(
        switch,
        address="127.0.0.1:0",
        ca=None,
        certificate=None,
        key=None,
        log=Silence(),
        listening=lambda port: tell(str(port)),
        lifeline=None,
    )
    asyncio.run(service)


def obey(switch: Switch) -> None:
    """Do with *switch* what each line says, and say that it is done."""
    for line in sys.stdin:
        match line.split():
            case ["begin"]:
                switch.begin()
            case ["end"]:
                switch.end()
            case ["revoke", token]:
                switch.revoke(token)
            case other:
                raise AssertionError(other)
        tell("done")


def tell(word: str) -> None:
    """Print a line now."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:] == ["identities"]:
        serve_identities()
    else:
        serve_dialects(*sys.argv[1:])
