"""Wires the gateway: contracts, handlers, ports. The only importer of adapters.

Laws of this file:
- Whatever does not fit together is refused here, before anything is served, and named (ADR-0001.R2).
"""

import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from uuid_utils.compat import uuid7

from dragoman.adapters.log import build_log
from dragoman.adapters.memory import MemoryStore, build_store
from dragoman.contract import Contract, compile_contract
from dragoman.contract.source import Source
from dragoman.errors import Kind
from dragoman.model import Agent, AgentId, Alias, KeyId, OrganizationId, Principal
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler, Services
from dragoman.pipeline import Pipeline, Route, bind, possible_refusals
from dragoman.ports import Catalogue, EventLog, Identity
from dragoman.settings import Development, MountSettings
from dragoman.web.context import Sources
from dragoman.web.gateway import Gateway
from dragoman.web.mount import OPTIONS_STATUS, Mount
from treaty import Document, TreatyError

ANYWHERE: Final = (Kind.MALFORMED_HTTP, Kind.UNKNOWN_URL, Kind.METHOD_NOT_ALLOWED, Kind.INTERNAL_ERROR)
"""The refusals that every contract needs outside its operations."""

DEVELOPMENT_ALIASES: Final = {
    "gpt-4o": "A general model.",
    "general": "An assistant for everyday work.",
    "secure": "An assistant for confidential work.",
}
"""The models of the organisation that `dragoman demo` makes: id -> description."""


def system_sources() -> Sources:
    """Return the clock, the ids and the randomness of this machine."""
    return Sources(
        now=lambda: datetime.now(UTC),
        monotonic=time.perf_counter,
        request_id=lambda: str(uuid7()),
        trace_id=lambda: secrets.token_hex(16),
    )


def build_gateway(source: Source, mounts: Iterable[MountSettings], development: Development | None) -> Gateway:
    """Return the gateway that serves *mounts*, with the organisation of *development*, or with none."""
    sources = system_sources()
    store = build_store(keys={}) if development is None else development_store(development, sources.now())
    documents = {
        mount.prefix: source.effective(mount.dialect, mount=mount.prefix, phases=mount.phases, off=mount.off)
        for mount in mounts
    }
    log = build_log(sys.stderr.buffer, sources.now)
    return create_app(documents, identity=store, catalogue=store, log=log, sources=sources)


def development_store(development: Development, now: datetime) -> MemoryStore:
    """Return a store with one organisation, which has one key with all scopes, one agent and a few aliases."""
    organization = OrganizationId(development.organization)
    principal = Principal(organization=organization, key=KeyId("dev"), scopes=frozenset({"chat", "models"}))
    agent = Agent(id=AgentId(development.agent), name="main", organization=organization)
    created = int(now.timestamp())
    aliases = [
        Alias(id=name, display_name=name.capitalize(), description=text, created=created)
        for name, text in DEVELOPMENT_ALIASES.items()
    ]
    return build_store(keys={development.token: principal}, agents=[agent], aliases={organization: aliases})


def forwarding_operations() -> frozenset[str]:
    """Return the operations that can forward: those that have a Phase 2 which can be served."""
    return frozenset(name for name, handler in HANDLERS.items() if handler.request and handler.answer)


def serve_routes(document: Document) -> list[Route]:
    """Return the routes of an effective *document*, bound as they are served."""
    contract = compile_contract(document)
    _require_anywhere(contract)
    return bind_routes(contract, HANDLERS)


def create_app(  # noqa: PLR0913 - one argument a port
    documents: Mapping[str, Document],
    *,
    identity: Identity,
    catalogue: Catalogue,
    log: EventLog,
    sources: Sources,
    handlers: Mapping[str, Handler] = HANDLERS,
) -> Gateway:
    """Return the ASGI app that serves *documents*: mount prefix -> effective contract.

    Raises:
        TreatyError: naming what of a contract cannot be served.
    """
    mounts = {}
    for prefix, document in documents.items():
        contract = compile_contract(document)
        _require_anywhere(contract)
        services = Services(catalogue=catalogue, published=contract.published)
        pipeline = Pipeline(identity=identity, services=services)
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


def _require_anywhere(contract: Contract) -> None:
    missing = [kind.value for kind in ANYWHERE if kind not in contract.anywhere]
    if missing:
        message = f"{contract.title}: no x-anywhere response carries {', '.join(map(repr, missing))}"
        raise TreatyError(message)
    if OPTIONS_STATUS not in contract.bodiless:
        message = f"{contract.title}: no x-anywhere response without a body has the status {OPTIONS_STATUS}"
        raise TreatyError(message)
