"""Whose keys there are, which agents and which aliases, in memory.

Laws of this file:
- A directory never changes; a new one replaces it by one assignment, whole or not at all (ADR-0029.R1).
- Nothing here awaits anything: what is asked is answered from memory (ADR-0030.R5).
- A token that is unknown, malformed or wrong takes one path, to one comparison in constant time (ADR-0030.R2).
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import attrs

from dragoman.adapters.tokens import digest_of, index_of
from dragoman.model import Agent, Alias, Guardrail, OrganizationId, Principal


@attrs.frozen(kw_only=True)
class KnownKey:
    """What is known of a key in force: the *digest* of its token, whose it is, and from when on it does not pass."""

    digest: bytes = attrs.field(repr=False)
    principal: Principal | None
    expires: datetime | None = None


_NOBODY: Final = KnownKey(digest=bytes(32), principal=None)
"""Stands for every key that there is not: no token is known that has this digest, and it would pass for nobody."""


@attrs.frozen(kw_only=True)
class Contents:
    """What a store holds that is in force: *keys* by what they are found under, their digests made with *pepper*.

    *guardrails* are known by their keys, and *watched* says which of them watch an organisation.
    """

    pepper: bytes = attrs.field(default=b"", repr=False)
    keys: Mapping[str, KnownKey] = MappingProxyType({})
    agents: Sequence[Agent] = ()
    aliases: Sequence[Alias] = ()
    guardrails: Mapping[str, Guardrail] = MappingProxyType({})
    watched: Mapping[OrganizationId, Sequence[str]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Seed:
    """What is known without any store: *keys* by their tokens, of any form, *agents*, and *aliases*.

    The aliases are those of a gateway whose store has none.
    """

    keys: Mapping[str, Principal] = attrs.field(default=MappingProxyType({}), repr=False)
    agents: Sequence[Agent] = ()
    aliases: Sequence[Alias] = ()


NOTHING: Final = Contents()
NO_SEED: Final = Seed()


@attrs.frozen(kw_only=True)
class Directory:
    """Fits the ports `Identity` and `Catalogue`; `build_directory` makes one."""

    _now: Callable[[], datetime]
    _pepper: bytes = attrs.field(repr=False)
    _keys: Mapping[str, KnownKey]
    _agents: Mapping[tuple[OrganizationId, str], Agent]  # by id, and by name
    _aliases: Mapping[str, Alias]
    _guardrails: Mapping[str, Guardrail]
    _watched: Mapping[OrganizationId, Sequence[str]]

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None."""
        digest = digest_of(token, self._pepper)
        key = self._keys.get(index_of(token, digest), _NOBODY)
        if not hmac.compare_digest(digest, key.digest):
            return None
        if key.expires is not None and key.expires <= self._now():
            return None
        return key.principal

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id, in either case, or name; None where there is none."""
        return self._agents.get((organization, named)) or self._agents.get((organization, named.lower()))

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases that the *organization* may see."""
        return [alias for alias in self._aliases.values() if _is_visible(alias, organization)]

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        """Return the alias of this *name* that the *organization* may see, or None."""
        alias = self._aliases.get(name)
        return alias if alias is not None and _is_visible(alias, organization) else None

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        """Return what watches the *alias* when the *organization* uses it."""
        keys = dict.fromkeys((*alias.guardrails, *self._watched.get(organization, ())))
        return [self._guardrails[key] for key in keys]

    @property
    def has_keys(self) -> bool:
        """Whether there is any key, so that somebody may pass."""
        return bool(self._keys)


def build_directory(seed: Seed, *, now: Callable[[], datetime], stored: Contents = NOTHING) -> Directory:
    """Return a directory of what is *stored*, and of *seed* on top of it; *now* is the wall clock."""
    agents = [*stored.agents, *seed.agents]
    by_name = {(agent.organization, agent.name): agent for agent in agents}
    by_id = {(agent.organization, str(agent.id)): agent for agent in agents}
    return Directory(
        now=now,
        pepper=stored.pepper,
        keys={**stored.keys, **dict(_known(token, owner, stored.pepper) for token, owner in seed.keys.items())},
        agents={**by_name, **by_id},
        aliases={alias.id: alias for alias in stored.aliases or seed.aliases},
        guardrails=stored.guardrails,
        watched=stored.watched,
    )


def _known(token: str, owner: Principal, pepper: bytes) -> tuple[str, KnownKey]:
    digest = digest_of(token, pepper)
    return index_of(token, digest), KnownKey(digest=digest, principal=owner)


def _is_visible(alias: Alias, organization: OrganizationId) -> bool:
    return alias.visible_to is None or organization in alias.visible_to


@attrs.define(kw_only=True)
class CurrentDirectory:
    """Fits the ports `Identity` and `Catalogue` with the *directory* that is in force at the moment of asking."""

    directory: Directory

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None."""
        return await self.directory.principal(token)

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id or name, or None."""
        return await self.directory.agent(organization, named)

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases that the *organization* may see."""
        return await self.directory.aliases(organization)

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        """Return the alias of this *name* that the *organization* may see, or None."""
        return await self.directory.alias(organization, name)

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        """Return what watches the *alias* when the *organization* uses it."""
        return await self.directory.guardrails(organization, alias)
