"""Wires the gateway: contracts, handlers, ports. The only importer of adapters.

Laws of this file:
- Whatever does not fit together is refused here, before anything is served, and named (ADR-0001.R2).
"""

import asyncio
import hashlib
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final

import attrs
import uuid_utils
from uuid_utils.compat import uuid7

from dragoman.adapters.access_log import NoAccessLog, build_access_log
from dragoman.adapters.daily import MemoryDays
from dragoman.adapters.directory import NO_SEED, NOTHING, Contents, CurrentDirectory, Directory, Seed, build_directory
from dragoman.adapters.identity import AskedIdentity, build_remote_identity, serve_identity
from dragoman.adapters.ledger import LedgerQueue, NoLedger, keep_ledger, ledger_path
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.adapters.log import build_log
from dragoman.adapters.metrics import MemoryMeter
from dragoman.adapters.secret import build_secret_identity
from dragoman.adapters.store import follow_store, open_store, read_store
from dragoman.adapters.upstream.registry import ProviderError, Providers, check_provider
from dragoman.adapters.webhook import HttpWebhooks
from dragoman.contract import Contract, compile_contract
from dragoman.contract.source import Source
from dragoman.contract.traits import read_traits
from dragoman.errors import Kind
from dragoman.exchange import Exchange
from dragoman.gate.limits import Limits
from dragoman.gate.room import Room
from dragoman.gate.usage import TokenLimits
from dragoman.guardrails import Screens, Webhook, check
from dragoman.model import Agent, AgentId, Alias, KeyId, OrganizationId, Principal, Rate
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler, Rendered, Services
from dragoman.pipeline import Pipeline, Route, bind, possible_refusals
from dragoman.ports import (
    AccessLog,
    Administration,
    Catalogue,
    DailyCounter,
    EventLog,
    Identity,
    Ledger,
    Meter,
    StoreError,
    Upstreams,
)
from dragoman.routing import Change, Router
from dragoman.settings import (
    Certificates,
    Dialect,
    Known,
    MountSettings,
    Settings,
    identity_variable,
    process_environment,
    read_secret,
)
from dragoman.web.context import Sources
from dragoman.web.gateway import Gateway, Lifespan
from dragoman.web.mount import OPTIONS_STATUS, Mount
from treaty import Document, TreatyError, operations

ANYWHERE: Final = (
    Kind.MALFORMED_HTTP,
    Kind.INVALID_HOST,
    Kind.REQUEST_TIMEOUT,
    Kind.EXPECTATION_FAILED,
    Kind.HEADERS_TOO_LARGE,
    Kind.UNKNOWN_URL,
    Kind.METHOD_NOT_ALLOWED,
    Kind.INTERNAL_ERROR,
)
"""The refusals that every contract needs outside its operations, beside that of an address where it limits those."""

PAGES: Final = {
    "index.html": "text/html; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-initializer.js": "text/javascript; charset=utf-8",
}
"""The files of the docs page: name -> media type."""


@attrs.frozen(kw_only=True)
class Guard:
    """What a gateway bears: *capacity* requests in work at once, *trusted_hops* proxies in front.

    *rates* are those of requests by scope, *token_rates* those of tokens.
    """

    rates: Mapping[str, Rate] = MappingProxyType({})
    token_rates: Mapping[str, Rate] = MappingProxyType({})
    capacity: int = 512
    trusted_hops: int = 0


NO_LIMITS: Final = Guard()
NO_ACCESS_LOG: Final = NoAccessLog()


@attrs.frozen(kw_only=True)
class Forwarding:
    """Who answers what is forwarded, and where it is counted. All mounts share it."""

    upstreams: Upstreams
    router: Router
    days: DailyCounter
    ledger: Ledger
    meter: Meter
    webhook: Webhook


def system_sources() -> Sources:
    """Return the clock, the ids and the randomness of this machine."""
    return Sources(
        now=lambda: datetime.now(UTC),
        monotonic=time.perf_counter,
        nanoseconds=time.perf_counter_ns,
        request_id=lambda: str(uuid_utils.uuid7()),  # PERF: its text only, an eighth of the time of a whole UUID
        trace_id=lambda: uuid_utils.uuid4().hex,  # PERF: a quarter of the time of `secrets`, and random enough
    )


def known_settings(source: Source) -> Known:
    """Return what settings may name: the dialects of *source* with their own switches, and the operations."""
    dialects = {}
    for name in source.dialects:
        document = source.dialect(name)
        traits = {str(route.name): read_traits(document, route.operation, where=name) for route in operations(document)}
        dialects[name] = Dialect(
            asks=_asks(document),
            switches={one.switch: operation for operation, one in traits.items() if one.switch is not None},
            off=frozenset(operation for operation, one in traits.items() if one.default_off),
        )
    return Known(
        dialects=dialects,
        operations=source.operations,
        forwarding=forwarding_operations(),
        check_provider=check_provider,
        check_guardrail=check,
    )


def open_administration(path: Path) -> AbstractAsyncContextManager[Administration]:
    """Return what opens the store at *path*, made where there is none, and gives what changes it.

    Raises:
        StoreError: when it is entered, and the store cannot be used.
    """
    sources = system_sources()
    return open_store(path, now=sources.now, new_id=lambda: str(uuid_utils.uuid7()), random=secrets.token_bytes)


@attrs.frozen(kw_only=True)
class Proved:
    """What a store has: whether a key is in force, and its aliases, which are in force in place of a file's (ADR-0040).

    *aliases* are their ids; it is None where the store never had one.
    """

    keys: bool
    aliases: frozenset[str] | None


def prove_store(path: Path) -> Proved:
    """Open and read the store at *path* as a gateway does, for nobody, and return what it has.

    Raises:
        StoreError: naming what is wrong with it.
    """
    stored = asyncio.run(read_store(path))
    aliases = frozenset(alias.id for alias in stored.aliases) if stored.catalogued else None
    return Proved(keys=bool(stored.keys), aliases=aliases)


def prepare_store_identity() -> None:
    """Import now what `serve_store_identity` would import: most of the time that it takes to begin."""
    for name in ("dragoman.adapters.store.follower", "dragoman.adapters.identity.service"):
        import_module(name)


async def serve_store_identity(
    path: Path,
    *,
    address: str,
    certificates: Certificates | None,
    listening: Callable[[int], None],
    lifeline: int | None = None,
) -> None:
    """Serve who is known to the store at *path* over gRPC at *address*, until a signal ends it (ADR-0031).

    *listening* is called with the port as soon as questions are answered. With a *lifeline*, the file descriptor of a
    pipe, it also ends when nobody holds its other end.

    Raises:
        StoreError: the store cannot be used.
        OSError: the address is taken, or is none of this machine.
    """
    sources = system_sources()
    log, proofs = build_log(sys.stderr.buffer, sources.now), certificates or Certificates()

    def build(stored: Contents) -> Directory:
        return build_directory(NO_SEED, now=sources.now, stored=stored)

    store = CurrentDirectory(directory=build_directory(NO_SEED, now=sources.now))
    async with follow_store(path, store, build=build, log=log):
        await serve_identity(
            store,
            address=address,
            ca=proofs.ca,
            certificate=proofs.certificate,
            key=proofs.key,
            log=log,
            listening=listening,
            lifeline=lifeline,
        )


def build_gateway(source: Source, settings: Settings) -> Gateway:
    """Return the gateway that serves the mounts of *settings*.

    What is in force is that of the store, which is read when the gateway starts, and the organisation for development
    on top of it, if there is one.
    """
    sources = system_sources()
    seed = _seed(settings, sources.now())

    def build(stored: Contents) -> Directory:
        return build_directory(seed, now=sources.now, stored=stored)

    store = CurrentDirectory(directory=build_directory(seed, now=sources.now))
    documents = {
        mount.prefix: source.effective(mount.dialect, mount=mount.prefix, phases=mount.phases, off=mount.off)
        for mount in settings.mounts
    }
    log = build_log(sys.stderr.buffer, sources.now)
    service = _remote_identity(settings, sources, log)
    identities = {
        mount.prefix: _identity(mount, source.dialect(mount.dialect), settings, store=store, service=service)
        for mount in settings.mounts
    }
    path, running = settings.store, settings.running
    days, ledger = MemoryDays(), NoLedger() if path is None else LedgerQueue()
    providers = Providers(secret=partial(read_secret, environment=process_environment()), now=sources.now)
    router = build_router(sources, log)
    store.watch(partial(_provide, providers, router))
    webhooks = HttpWebhooks()
    forwarding = Forwarding(
        upstreams=providers, router=router, days=days, ledger=ledger, meter=MemoryMeter(), webhook=webhooks
    )
    lifespan: list[Lifespan] = [partial(closing, providers), partial(closing, webhooks)]
    if path is not None and isinstance(ledger, LedgerQueue):
        kept = partial(keep_ledger, ledger_path(path), ledger, now=sources.now, seed=days.seed, log=log)
        lifespan += [kept, partial(follow_store, path, store, build=build, log=log)]
    if service is not None:
        lifespan.append(service.connected)
    guard = Guard(
        rates=running.limits,
        token_rates=running.token_limits,
        capacity=running.max_in_flight,
        trusted_hops=running.trusted_hops,
    )
    access_log = build_access_log(sys.stderr.buffer, sources.now) if running.access_log == "combined" else NO_ACCESS_LOG
    return create_app(
        documents,
        identity=store,
        identities=identities,
        catalogue=store,
        log=log,
        sources=sources,
        forwarding=forwarding,
        access_log=access_log,
        guard=guard,
        lifespan=lifespan,
    )


def build_router(sources: Sources, log: EventLog) -> Router:
    """Return what chooses targets; a breaker that changes is told to *log*, without who is behind it (ADR-0043)."""

    def tell(change: Change) -> None:
        log.state({"part": "target", "target": mark_of(change.provider, change.model), "state": change.after.value})

    return Router(monotonic=sources.monotonic, random=random.random, sleep=asyncio.sleep, on_change=tell)


def mark_of(provider: str, model: str | None) -> str:
    """Return what stands for a target where its provider must not be told: `dragoman explain` shows it too."""
    return hashlib.sha256(f"{provider} {model or ''}".encode()).hexdigest()[:8]


def _provide(providers: Providers, router: Router, directory: Directory) -> None:
    """Put the providers of *directory* in force.

    Raises:
        StoreError: naming what of them cannot be used.
    """
    problems = [f"guardrail {one.key}: {problem}" for one in directory.guardrails_in_force for problem in check(one)]
    if problems:
        raise StoreError("; ".join(problems))
    try:
        providers.replace(directory.providers.values())
    except ProviderError as error:
        raise StoreError(str(error)) from None
    router.provide(directory.providers.values())


@asynccontextmanager
async def closing(connected: Providers | HttpWebhooks) -> AsyncIterator[None]:
    """Close every connection at the end of the block."""
    try:
        yield
    finally:
        await connected.aclose()


def _seed(settings: Settings, now: datetime) -> Seed:
    """Return what is known without a store: the catalogue of *settings* and the organisation for development.

    The catalogue counts as long as the store never had an alias. The organisation, if there is one, has one key with
    all scopes, and its agents; without it the organisation for which secrets act has the agent `main` (ADR-0024).
    """
    created, declared = int(now.timestamp()), settings.catalogue
    development, organization = settings.development, _organization(settings)
    named = {"main": str(uuid7())} if development is None else development.agents
    agents = [Agent(id=AgentId(agent), name=name, organization=organization) for name, agent in named.items()]
    return Seed(
        keys={} if development is None else {development.token: _owner(organization)},
        agents=agents,
        aliases=[Alias(created=created, **attrs.asdict(alias, recurse=False)) for alias in declared.aliases],
        providers={one.name: one for one in declared.providers},
        guardrails={one.key: one for one in declared.guardrails},
        watched={one.name: one.guardrails for one in declared.organizations},
    )


def read_directory(settings: Settings) -> Directory:
    """Return what a gateway with these *settings* that starts now has in force.

    Raises:
        StoreError: the store cannot be read.
    """
    now = system_sources().now
    stored = NOTHING if settings.store is None else asyncio.run(read_store(settings.store))
    return build_directory(_seed(settings, now()), now=now, stored=stored)


def _organization(settings: Settings) -> OrganizationId:
    return OrganizationId("default" if settings.development is None else settings.development.organization)


def _owner(organization: OrganizationId) -> Principal:
    return Principal(organization=organization, key=KeyId("dev"), scopes=frozenset({"chat", "models"}))


def _identity(
    mount: MountSettings, document: Document, settings: Settings, *, store: Identity, service: Identity | None
) -> Identity:
    """Return who knows the keys of *mount* (ADR-0024); *document* is its dialect's, also of what is switched off."""
    asks = _asks(document)
    if mount.identity == "none" and asks:
        message = f"mount {mount.prefix}: identity 'none', but its contract asks for a credential; use another"
        raise TreatyError(message)
    if mount.identity in ("store", "service", "token", "password") and not asks:
        message = f"mount {mount.prefix}: identity {mount.identity!r}, but its contract asks nobody; use none"
        raise TreatyError(message)
    remote = asks_service(mount, document)
    if remote and service is None:
        message = (
            f"mount {mount.prefix}: who is calling is known to an identity service, and there is none; name it with "
            f"DRAGOMAN_IDENTITY_ADDRESS, or set {identity_variable(mount.prefix)}=store"
        )
        raise TreatyError(message)
    if remote and service is not None:
        return service
    if mount.secret is None:
        return store
    return build_secret_identity(mount.secret, _owner(_organization(settings)), store)


def asks_service(mount: MountSettings, document: Document) -> bool:
    """Whether *mount* asks a service who is calling: its settings say so, or else *document*, its dialect's."""
    if mount.identity is not None:
        return mount.identity == "service"
    return read_traits(document, {}, where=mount.dialect).asks_service


def _asks(document: Document) -> bool:
    """Whether any operation of *document* asks for a credential."""
    return any(route.operation.get("security") for route in operations(document))


def _remote_identity(settings: Settings, sources: Sources, log: EventLog) -> AskedIdentity | None:
    """Return what asks the identity service of *settings*, if there is one."""
    service = settings.identity_service
    if service is None:
        return None
    proofs = service.certificates or Certificates()
    return build_remote_identity(
        service.address,
        ca=proofs.ca,
        certificate=proofs.certificate,
        key=proofs.key,
        now=sources.monotonic,
        log=log,
    )


def forwarding_operations() -> frozenset[str]:
    """Return the operations that can forward: those that have a Phase 2 which can be served."""
    return frozenset(name for name, handler in HANDLERS.items() if handler.request and handler.answer)


def compile_routes(document: Document) -> list[Route]:
    """Return the routes of an effective *document*, bound as they are served."""
    return bind_routes(_sound_contract(document), HANDLERS)


def prove_servable(document: Document) -> None:
    """Build the gateway of an effective *document*, for nobody.

    Raises:
        TreatyError: naming what cannot be served.
    """
    sources = system_sources()
    store, log = build_directory(NO_SEED, now=sources.now), build_log(sys.stderr.buffer, sources.now)
    nobody = Forwarding(
        upstreams=Providers(secret=str, now=sources.now),
        router=build_router(sources, log),
        days=MemoryDays(),
        ledger=NoLedger(),
        meter=MemoryMeter(),
        webhook=HttpWebhooks(),
    )
    create_app({"/": document}, identity=store, catalogue=store, log=log, sources=sources, forwarding=nobody)


def read_pages() -> Mapping[str, Rendered]:
    """Return the files of the docs page by name."""
    folder = files("dragoman.web") / "docs"
    return {
        name: Rendered(content=(folder / name).read_bytes(), media_type=media_type)
        for name, media_type in PAGES.items()
    }


def create_app(  # noqa: PLR0913 - one argument a port
    documents: Mapping[str, Document],
    *,
    identity: Identity,
    identities: Mapping[str, Identity] = MappingProxyType({}),
    catalogue: Catalogue,
    log: EventLog,
    sources: Sources,
    forwarding: Forwarding,
    access_log: AccessLog = NO_ACCESS_LOG,
    guard: Guard = NO_LIMITS,
    handlers: Mapping[str, Handler] = HANDLERS,
    lifespan: Sequence[Lifespan] = (),
) -> Gateway:
    """Return the ASGI app that serves *documents*: mount prefix -> effective contract.

    *identities* holds those of single mounts, by prefix; *identity* is that of all others. Limits are counted in
    memory, by the clock of *sources*. What *lifespan* makes runs while the app does.

    Raises:
        TreatyError: naming what of a contract cannot be served.
    """
    pages, started = read_pages(), sources.monotonic()

    def uptime() -> float:
        return sources.monotonic() - started

    def ready() -> bool:
        return not gateway.draining

    limiter = MemoryLimiter(now=sources.nanoseconds)
    limits, room = Limits(limiter=limiter, rates=guard.rates), Room(capacity=guard.capacity)
    tokens = TokenLimits(limiter=limiter, days=forwarding.days, rates=guard.token_rates)
    exchange = build_exchange(forwarding, catalogue=catalogue, tokens=tokens, now=sources.now)
    mounts = {}
    for prefix, document in documents.items():
        contract = _sound_contract(document)
        services = Services(
            catalogue=catalogue,
            exchange=exchange,
            published=contract.published,
            pages=pages,
            uptime=uptime,
            ready=ready,
        )
        pipeline = Pipeline(identity=identities.get(prefix, identity), limits=limits, room=room, services=services)
        mounts[prefix] = Mount(contract, bind_routes(contract, handlers), pipeline, log)
    gateway = Gateway(
        mounts,
        sources,
        log,
        meter=forwarding.meter,
        access_log=access_log,
        trusted_hops=guard.trusted_hops,
        lifespan=lifespan,
    )
    return gateway


def build_exchange(
    forwarding: Forwarding, *, catalogue: Catalogue, tokens: TokenLimits, now: Callable[[], datetime]
) -> Exchange:
    """Return what forwards, for all mounts."""
    return Exchange(
        catalogue=catalogue,
        upstreams=forwarding.upstreams,
        router=forwarding.router,
        tokens=tokens,
        screens=Screens(),
        webhook=forwarding.webhook,
        ledger=forwarding.ledger,
        meter=forwarding.meter,
        now=now,
    )


def bind_routes(contract: Contract, handlers: Mapping[str, Handler]) -> list[Route]:
    """Return a route for each operation of *contract*."""
    routes = []
    for operation in contract.operations:
        handler = handlers.get(operation.name)
        if handler is None:
            message = f"{operation.method} {operation.path}: no handler for the x-operation {operation.name!r}"
            raise TreatyError(message)
        if handler.answer is None and operation.phase != 1:
            message = f"{operation.method} {operation.path}: {operation.name!r} cannot forward, so its phase must be 1"
            raise TreatyError(message)
        route = bind(operation, handler)
        _require_refusals(route)
        routes.append(route)
    return routes


def _require_refusals(route: Route) -> None:
    """Refuse a route whose contract lists other kinds than those it may be refused with."""
    listed, possible = set(route.operation.refusals), possible_refusals(route)
    where = f"{route.operation.method} {route.operation.path}"
    if missing := possible - listed:
        message = f"{where}: no response lists {', '.join(sorted(kind.value for kind in missing))}"
        raise TreatyError(message)
    if idle := listed - possible:
        message = f"{where}: it can never be refused with {', '.join(sorted(kind.value for kind in idle))}"
        raise TreatyError(message)


def require_operations(canonical: Mapping[str, object], handlers: Mapping[str, Handler] = HANDLERS) -> None:
    """Refuse a handler for which the *canonical* contract has no operation."""
    for name in handlers:
        if name not in canonical:
            message = f"the handler {name!r} has no operation in the canonical contract"
            raise TreatyError(message)


def _sound_contract(document: Document) -> Contract:
    """Return the compiled contract of *document*, which has every answer outside its operations."""
    contract = compile_contract(document)
    by_address = {Kind.ADDRESS_LIMITED} if "address" in contract.traits.limits_by else set()
    missing = [kind.value for kind in (*ANYWHERE, *by_address) if kind not in contract.anywhere]
    if missing:
        message = f"{contract.title}: no x-anywhere response carries {', '.join(map(repr, missing))}"
        raise TreatyError(message)
    if OPTIONS_STATUS not in contract.bodiless:
        message = f"{contract.title}: no x-anywhere response without a body has the status {OPTIONS_STATUS}"
        raise TreatyError(message)
    return contract
