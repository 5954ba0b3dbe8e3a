"""Gateways that let somebody in who may not pass."""

import attrs
from gateway_conformance.exchange import Asgi

from dragoman.model import Agent, OrganizationId, Principal
from dragoman.ports import Identity
from gateways import CALLERS, Parts, build


@attrs.frozen(kw_only=True)
class _AnyToken:
    """Takes every token for the one it knows: the classic stub that nobody sees behind a 501."""

    real: Identity

    async def principal(self, token: str) -> Principal | None:
        return await self.real.principal(token) or await self.real.principal(CALLERS.token)

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        return await self.real.agent(organization, named)


@attrs.frozen(kw_only=True)
class _AnyPrefix:
    """Knows a token by its first 16 characters: the cache key of an incident of the field."""

    real: Identity

    async def principal(self, token: str) -> Principal | None:
        known = token[:16] == CALLERS.token[:16]
        return await self.real.principal(CALLERS.token if known else token)

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        return await self.real.agent(organization, named)


@attrs.frozen(kw_only=True)
class _ForeignAgent:
    """Asks whether an agent exists, and not whose it is."""

    real: Identity

    async def principal(self, token: str) -> Principal | None:
        return await self.real.principal(token)

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        foreign = OrganizationId(CALLERS.foreign_organization)
        return await self.real.agent(organization, named) or await self.real.agent(foreign, named)


@attrs.frozen(kw_only=True)
class _EveryScope:
    """Forgets what a key may do."""

    real: Identity

    async def principal(self, token: str) -> Principal | None:
        found = await self.real.principal(token)
        return None if found is None else attrs.evolve(found, scopes=frozenset({"chat", "models"}))

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        return await self.real.agent(organization, named)


def any_token(parts: Parts) -> Asgi:
    """Any token is accepted."""
    return build(attrs.evolve(parts, identity=_AnyToken(real=parts.identity)))


def any_prefix(parts: Parts) -> Asgi:
    """A token is accepted for its first 16 characters."""
    return build(attrs.evolve(parts, identity=_AnyPrefix(real=parts.identity)))


def foreign_agent(parts: Parts) -> Asgi:
    """An agent of another organisation is accepted."""
    return build(attrs.evolve(parts, identity=_ForeignAgent(real=parts.identity)))


def every_scope(parts: Parts) -> Asgi:
    """A key without the operation's scope is accepted."""
    return build(attrs.evolve(parts, identity=_EveryScope(real=parts.identity)))
