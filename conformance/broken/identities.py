"""Gateways that let somebody in who may not pass."""

import attrs
from gateway_conformance.exchange import Asgi

from dragoman.model import Agent, AgentId, KeyId, OrganizationId, Principal
from dragoman.ports import Identity, IdentityUnavailableError
from gateways import CALLERS, SCOPES, Parts, build


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
        return None if found is None else attrs.evolve(found, scopes=SCOPES)

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        return await self.real.agent(organization, named)


@attrs.frozen(kw_only=True)
class _Stale:
    """Takes what it was told last for the truth as long as nobody can be asked: for ever, if need be."""

    real: Identity
    told: dict[str, Principal | None] = attrs.field(factory=dict)

    async def principal(self, token: str) -> Principal | None:
        try:
            self.told[token] = await self.real.principal(token)
        except IdentityUnavailableError:
            if token not in self.told:
                raise
        return self.told[token]

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        return Agent(id=AgentId(named), name="main", organization=organization)


@attrs.frozen(kw_only=True)
class _Remembering:
    """Asks about a key once, and never again."""

    real: Identity
    told: dict[str, Principal | None] = attrs.field(factory=dict)

    async def principal(self, token: str) -> Principal | None:
        if token not in self.told:
            self.told[token] = await self.real.principal(token)
        return self.told[token]

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        return await self.real.agent(organization, named)


@attrs.frozen(kw_only=True)
class _Guessing:
    """Answers *instead* of whoever cannot be asked."""

    real: Identity
    instead: Principal | None

    async def principal(self, token: str) -> Principal | None:
        try:
            return await self.real.principal(token)
        except IdentityUnavailableError:
            return self.instead

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


def stale_for_ever(parts: Parts) -> Asgi:
    """A key that passed once passes for as long as nobody can say that it is revoked."""
    return build(attrs.evolve(parts, identity=_Stale(real=parts.identity)))


def asked_once(parts: Parts) -> Asgi:
    """A key that passed once passes for ever."""
    return build(attrs.evolve(parts, identity=_Remembering(real=parts.identity)))


def unavailable_is_wrong(parts: Parts) -> Asgi:
    """A key that cannot be checked is told to be wrong."""
    return build(attrs.evolve(parts, identity=_Guessing(real=parts.identity, instead=None)))


def unavailable_is_anybody(parts: Parts) -> Asgi:
    """A key that cannot be checked passes."""
    anybody = Principal(organization=OrganizationId(CALLERS.organization), key=KeyId("anybody"), scopes=SCOPES)
    return build(attrs.evolve(parts, identity=_Guessing(real=parts.identity, instead=anybody)))
