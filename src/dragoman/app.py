"""Wires the gateway: contracts, handlers, ports. The only importer of adapters.

Laws of this file:
- Whatever does not fit together is refused here, before anything is served, and named (ADR-0001.R2).
"""

import secrets
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from uuid_utils.compat import uuid7

from dragoman.adapters.log import build_log
from dragoman.adapters.memory import MemoryStore, build_store
from dragoman.adapters.secret import build_secret_identity
from dragoman.contract import Contract, compile_contract
from dragoman.contract.source import Source
from dragoman.contract.traits import read_traits
from dragoman.errors import Kind
from dragoman.model import Agent, AgentId, Alias, KeyId, OrganizationId, Principal
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler, Rendered, Services
from dragoman.pipeline import Pipeline, Route, bind, possible_refusals
from dragoman.ports import Catalogue, EventLog, Identity
from dragoman.settings import AliasSettings, Dialect, Known, MountSettings, Settings
from dragoman.web.context import Sources
from dragoman.web.gateway import Gateway
from dragoman.web.mount import OPTIONS_STATUS, Mount
from treaty import Document, TreatyError, operations

ANYWHERE: Final = (Kind.MALFORMED_HTTP, Kind.UNKNOWN_URL, Kind.METHOD_NOT_ALLOWED, Kind.INTERNAL_ERROR)
"""The refusals that every contract needs outside its operations."""

DEVELOPMENT_ALIASES: Final = tuple(
    AliasSettings(id=name, display_name=name.capitalize(), description=description, category=category, visible_to=None)
    for name, description, category in (
        ("gpt-4o", "A general model.", "llm"),
        ("gpt-4", "The general model before it.", "llm"),
        ("gpt-4.1-mini", "A small and quick model.", "llm"),
        ("general", "An assistant for everyday work.", "llm"),
        ("secure", "An assistant for confidential work.", "llm"),
        ("text-embedding-3-small", "Turns texts into vectors.", "embedding"),
    )
)
"""The models of a gateway whose settings name none."""


PAGES: Final = {
    "index.html": "text/html; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-initializer.js": "text/javascript; charset=utf-8",
}
"""The files of the docs page: name -> media type."""


def system_sources() -> Sources:
    """Return the clock, the ids and the randomness of this machine."""
    return Sources(
        now=lambda: datetime.now(UTC),
        monotonic=time.perf_counter,
        request_id=lambda: str(uuid7()),
        trace_id=lambda: secrets.token_hex(16),
    )


def known_settings(source: Source) -> Known:
    """Return what settings may name: the dialects of *source* with their own switches, and the operations."""
    dialects = {}
    for name in source.dialects:
        document = source.dialect(name)
        traits = {str(route.name): read_traits(document, route.operation, where=name) for route in operations(document)}
        dialects[name] = Dialect(
            switches={one.switch: operation for operation, one in traits.items() if one.switch is not None},
            off=frozenset(operation for operation, one in traits.items() if one.default_off),
        )
    return Known(dialects=dialects, operations=source.operations, forwarding=forwarding_operations())


def build_gateway(source: Source, settings: Settings) -> Gateway:
    """Return the gateway that serves the mounts of *settings*, with the organisation for development, or with none."""
    sources = system_sources()
    store = build_development_store(settings, sources.now())
    documents = {
        mount.prefix: source.effective(mount.dialect, mount=mount.prefix, phases=mount.phases, off=mount.off)
        for mount in settings.mounts
    }
    identities = {
        mount.prefix: _identity(mount, source.dialect(mount.dialect), settings, store) for mount in settings.mounts
    }
    log = build_log(sys.stderr.buffer, sources.now)
    return create_app(documents, identity=store, identities=identities, catalogue=store, log=log, sources=sources)


def build_development_store(settings: Settings, now: datetime) -> MemoryStore:
    """Return a store with the aliases of *settings* and the organisation for development, if there is one.

    It has one key with all scopes, and its agents. Without it there is no key; the organisation for which secrets act
    has the agent `main` then (ADR-0024).
    """
    created = int(now.timestamp())
    stated = settings.aliases or DEVELOPMENT_ALIASES
    aliases = [
        Alias(
            id=alias.id,
            display_name=alias.display_name,
            description=alias.description,
            category=alias.category,
            created=created,
            visible_to=None if alias.visible_to is None else frozenset(map(OrganizationId, alias.visible_to)),
        )
        for alias in stated
    ]
    development, organization = settings.development, _organization(settings)
    named = {"main": str(uuid7())} if development is None else development.agents
    agents = [Agent(id=AgentId(agent), name=name, organization=organization) for name, agent in named.items()]
    keys = {} if development is None else {development.token: _owner(organization)}
    return build_store(keys=keys, agents=agents, aliases=aliases)


def _organization(settings: Settings) -> OrganizationId:
    return OrganizationId("default" if settings.development is None else settings.development.organization)


def _owner(organization: OrganizationId) -> Principal:
    return Principal(organization=organization, key=KeyId("dev"), scopes=frozenset({"chat", "models"}))


def _identity(mount: MountSettings, document: Document, settings: Settings, store: MemoryStore) -> Identity:
    """Return who knows the keys of *mount* (ADR-0024); *document* is its dialect's, also of what is switched off."""
    asks = any(route.operation.get("security") for route in operations(document))
    if mount.identity == "none" and asks:
        message = f"mount {mount.prefix}: identity 'none', but its contract asks for a credential; use another"
        raise TreatyError(message)
    if mount.identity in ("store", "token", "password") and not asks:
        message = f"mount {mount.prefix}: identity {mount.identity!r}, but its contract asks nobody; use none"
        raise TreatyError(message)
    if mount.secret is None:
        return store
    return build_secret_identity(mount.secret, _owner(_organization(settings)), store)


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
    store, log = build_store(keys={}), build_log(sys.stderr.buffer, sources.now)
    create_app({"/": document}, identity=store, catalogue=store, log=log, sources=sources)


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
    handlers: Mapping[str, Handler] = HANDLERS,
) -> Gateway:
    """Return the ASGI app that serves *documents*: mount prefix -> effective contract.

    *identities* holds those of single mounts, by prefix; *identity* is that of all others.

    Raises:
        TreatyError: naming what of a contract cannot be served.
    """
    pages, started = read_pages(), sources.monotonic()

    def uptime() -> float:
        return sources.monotonic() - started

    mounts = {}
    for prefix, document in documents.items():
        contract = _sound_contract(document)
        services = Services(catalogue=catalogue, published=contract.published, pages=pages, uptime=uptime)
        pipeline = Pipeline(identity=identities.get(prefix, identity), services=services)
        mounts[prefix] = Mount(contract, bind_routes(contract, handlers), pipeline, log)
    return Gateway(mounts, sources, log)


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
    missing = [kind.value for kind in ANYWHERE if kind not in contract.anywhere]
    if missing:
        message = f"{contract.title}: no x-anywhere response carries {', '.join(map(repr, missing))}"
        raise TreatyError(message)
    if OPTIONS_STATUS not in contract.bodiless:
        message = f"{contract.title}: no x-anywhere response without a body has the status {OPTIONS_STATUS}"
        raise TreatyError(message)
    return contract
