"""The real gateway for the suite: the parts it is made of, and a process that serves it.

Laws of this file:
- It is the only place of the suite, beside the broken gateways, that imports `dragoman`.
- Nothing of `src/` is patched: a gateway is made by `create_app` from parts that fit its ports.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import attrs
from gateway_conformance.target import Callers

from dragoman.adapters.log import build_log
from dragoman.adapters.memory import build_store
from dragoman.app import create_app, system_sources
from dragoman.contract.source import CANONICAL, Source
from dragoman.model import Agent, AgentId, Alias, KeyId, OrganizationId, Principal
from dragoman.ports import Catalogue, EventLog, Identity
from dragoman.server import listen, serve
from dragoman.web.gateway import Gateway
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
)
FOREIGN_TOKEN: Final = "key_Ck4Wd9Qm1Zr6Yh3Tb7Nf2Jx8Gv5Ls0Pe_EaUoIyRtSc"

BETA: Final = "018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e55"

DIALECTS: Final[Mapping[str, str]] = {
    "/" if dialect == CANONICAL else f"/{dialect}": dialect for dialect in Source().dialects
}
"""What the suite serves: mount -> dialect."""


class Silence:
    """An event log that nobody reads; it fits the port `EventLog`."""

    def request(self, fields: dict[str, object]) -> None:
        """Drop the event of a request."""

    def failure(self, fields: dict[str, object]) -> None:
        """Drop the event of a failure."""


@attrs.frozen(kw_only=True)
class Parts:
    """What a gateway is made of: `documents` maps a mount to its effective contract."""

    documents: Mapping[str, Document]
    identity: Identity
    catalogue: Catalogue
    log: EventLog


def real_parts(dialects: Mapping[str, str] = DIALECTS, *, off: frozenset[str] = frozenset()) -> Parts:
    """Return the parts of the real gateway, which knows `CALLERS` and one foreign organisation."""
    created = int(datetime(2026, 6, 14, tzinfo=UTC).timestamp())
    scopes = frozenset({"chat", "models"})
    store = build_store(
        keys={
            CALLERS.token: Principal(organization=OWN, key=KeyId("own"), scopes=scopes),
            CALLERS.unscoped_token: Principal(organization=OWN, key=KeyId("unscoped"), scopes=frozenset()),
            FOREIGN_TOKEN: Principal(organization=FOREIGN, key=KeyId("foreign"), scopes=scopes),
        },
        agents=[
            Agent(id=AgentId(CALLERS.agent), name="main", organization=OWN),
            Agent(id=AgentId(BETA), name="beta", organization=OWN),
            Agent(id=AgentId(CALLERS.foreign_agent), name="theirs", organization=FOREIGN),
        ],
        aliases=[
            Alias(
                id="general",
                display_name="General",
                description="Everyday work.",
                category="llm",
                created=created,
                visible_to=frozenset({OWN}),
            )
        ],
    )
    documents = {mount: effective_document(dialect, mount=mount, off=off) for mount, dialect in dialects.items()}
    return Parts(documents=documents, identity=store, catalogue=store, log=Silence())


def effective_document(dialect: str, *, mount: str, phase: int = 1, off: frozenset[str] = frozenset()) -> Document:
    """Return the effective contract of *dialect* at *mount*, with all that forwards in *phase* and nothing else off."""
    source = Source()
    phases = {str(route.name): phase for route in operations(source.canonical) if "x-phase" in route.operation}
    return source.effective(dialect, mount=mount, phases=phases, off=off)


def build(parts: Parts) -> Gateway:
    """Return the gateway that is made of *parts*."""
    return create_app(
        parts.documents,
        identity=parts.identity,
        catalogue=parts.catalogue,
        log=parts.log,
        sources=system_sources(),
    )


def main(mounts: list[str]) -> None:
    """Serve the dialects at *mounts* on a free port, and print the port once it can be connected to."""
    parts = real_parts({mount: DIALECTS[mount] for mount in mounts})
    sources = system_sources()
    gateway = build(attrs.evolve(parts, log=build_log(sys.stderr.buffer, sources.now)))
    listener = listen("127.0.0.1", 0)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    serve(gateway, listener)


if __name__ == "__main__":
    main(sys.argv[1:])
