"""Whose keys there are, which agents, and the catalogue of models, in memory.

Laws of this file:
- A directory never changes; a new one replaces it by one assignment, whole or not at all (ADR-0029.R1). Whoever follows
  it hears of the new one before, and may keep it out (ADR-0040.R6).
- Nothing here awaits anything: what is asked is answered from memory (ADR-0030.R5).
- A token that is unknown, malformed or wrong takes one path, to one comparison in constant time (ADR-0030.R2).
"""

import hmac
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import attrs

from dragoman.adapters.tokens import digest_of, index_of
from dragoman.model import CATCH_ALL, Agent, Alias, Guardrail, Organization, OrganizationId, Principal, Provider


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

    *providers* are known by their names and *guardrails* by their keys; what names one of them names one that is there.
    *catalogued* is whether the store has, or had, an alias.
    """

    pepper: bytes = attrs.field(default=b"", repr=False)
    keys: Mapping[str, KnownKey] = MappingProxyType({})
    agents: Sequence[Agent] = ()
    organizations: Sequence[Organization] = ()
    aliases: Sequence[Alias] = ()
    providers: Mapping[str, Provider] = MappingProxyType({})
    guardrails: Mapping[str, Guardrail] = MappingProxyType({})
    catalogued: bool = False


@attrs.frozen(kw_only=True)
class Seed:
    """What is known without any store: *keys* by their tokens, of any form, *agents*, and a catalogue.

    The catalogue is that of a gateway whose store never had an alias: who revokes the last one does not open others. It
    may call organisations by their names: those that see an alias, and those that are *watched* by guardrails.
    """

    keys: Mapping[str, Principal] = attrs.field(default=MappingProxyType({}), repr=False)
    agents: Sequence[Agent] = ()
    aliases: Sequence[Alias] = ()
    providers: Mapping[str, Provider] = MappingProxyType({})
    guardrails: Mapping[str, Guardrail] = MappingProxyType({})
    watched: Mapping[str, Sequence[str]] = MappingProxyType({})


NOTHING: Final = Contents()
NO_SEED: Final = Seed()


@attrs.frozen(kw_only=True)
class Directory:
    """Fits the ports `Identity` and `Catalogue`; `build_directory` makes one. *providers* are known by their names."""

    _now: Callable[[], datetime]
    _pepper: bytes = attrs.field(repr=False)
    _keys: Mapping[str, KnownKey]
    _agents: Mapping[tuple[OrganizationId, str], Agent]  # by id, and by name
    _organizations: Mapping[str, Organization]  # by id, and by name
    _aliases: Mapping[str, Alias]
    _listed: Sequence[Alias]
    _guardrails: Mapping[str, Guardrail]
    _watched: Mapping[OrganizationId, Sequence[str]]
    providers: Mapping[str, Provider]

    @property
    def guardrails_in_force(self) -> Iterable[Guardrail]:
        """Every guardrail there is."""
        return self._guardrails.values()

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
        """Return the aliases that the *organization* may see, but for the one that stands for all other names."""
        return [alias for alias in self._listed if _is_visible(alias, organization)]

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        """Return the alias of this *name* that the *organization* may see, or None."""
        alias = self._aliases.get(name)
        return alias if alias is not None and _is_visible(alias, organization) else None

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        """Return what watches the *alias* when the *organization* uses it.

        An alias that another directory gave, a moment ago, is watched as it is here. `KeyError` where it is not here
        and named what is no longer there: what cannot be watched is not let through.
        """
        own = self._aliases.get(alias.id, alias).guardrails
        common = self._watched.get(organization, ())
        if not own and not common:
            return ()
        return [self._guardrails[key] for key in dict.fromkeys((*own, *common))]

    def organization(self, named: str) -> Organization | None:
        """Return the organisation that the store knows by this id, in either case, or name."""
        by_id = self._organizations.get(named.lower())
        return self._organizations.get(named) or (by_id if by_id is not None and by_id.id == named.lower() else None)

    @property
    def has_keys(self) -> bool:
        """Whether there is any key, so that somebody may pass."""
        return bool(self._keys)


def build_directory(seed: Seed, *, now: Callable[[], datetime], stored: Contents = NOTHING) -> Directory:
    """Return a directory of what is *stored*, and of *seed* on top of it; *now* is the wall clock."""
    agents = [*stored.agents, *seed.agents]
    by_name = {(agent.organization, agent.name): agent for agent in agents}
    by_id = {(agent.organization, str(agent.id)): agent for agent in agents}
    organizations = {
        **{one.name: one for one in stored.organizations},
        **{str(one.id): one for one in stored.organizations},
    }

    def identified(named: str) -> OrganizationId:
        return organizations[named].id if named in organizations else OrganizationId(named.lower())

    aliases, providers, guardrails = stored.aliases, stored.providers, stored.guardrails
    watched = {one.id: one.guardrails for one in stored.organizations if one.guardrails}
    if not stored.aliases and not stored.catalogued:
        aliases = [_seen_by_ids(alias, identified) for alias in seed.aliases]
        providers, guardrails = {**providers, **seed.providers}, {**guardrails, **seed.guardrails}
        watched |= {identified(named): tuple(keys) for named, keys in seed.watched.items()}
    return Directory(
        now=now,
        pepper=stored.pepper,
        keys={**stored.keys, **dict(_known(token, owner, stored.pepper) for token, owner in seed.keys.items())},
        agents={**by_name, **by_id},
        organizations=organizations,
        aliases={alias.id: alias for alias in aliases},
        listed=[alias for alias in aliases if alias.id != CATCH_ALL],
        guardrails=guardrails,
        watched=watched,
        providers=providers,
    )


def _known(token: str, owner: Principal, pepper: bytes) -> tuple[str, KnownKey]:
    digest = digest_of(token, pepper)
    return index_of(token, digest), KnownKey(digest=digest, principal=owner)


def _seen_by_ids(alias: Alias, identified: Callable[[str], OrganizationId]) -> Alias:
    """Return *alias* with the ids of those that see it."""
    if alias.visible_to is None:
        return alias
    return attrs.evolve(alias, visible_to=frozenset(map(identified, alias.visible_to)))


def _is_visible(alias: Alias, organization: OrganizationId) -> bool:
    return alias.visible_to is None or organization in alias.visible_to


Watcher = Callable[[Directory], None]
"""Hears of a directory; raising keeps it out of force."""


@attrs.define(kw_only=True)
class CurrentDirectory:
    """Fits the ports `Identity` and `Catalogue` with the *directory* that is in force at the moment of asking.

    PERF: what is asked is passed on without a coroutine of its own, five times a request.
    """

    directory: Directory
    _watchers: list[Watcher] = attrs.field(factory=list, init=False)

    def watch(self, watcher: Watcher) -> None:
        """Call *watcher* with what is in force now, and from now on with whatever is about to be, in its place.

        It is called on the event loop, and nothing is asked between the call and the replacement. One that raises keeps
        the new directory out, and those that have heard of it hear of the old one again.
        """
        watcher(self.directory)
        self._watchers.append(watcher)

    def put_in_force(self, directory: Directory) -> None:
        """Replace what is in force, unless a watcher raises."""
        told: list[Watcher] = []
        try:
            for watcher in self._watchers:
                told.append(watcher)
                watcher(directory)
        except Exception:
            for watcher in told:
                watcher(self.directory)
            raise
        self.directory = directory

    @property
    def providers(self) -> Mapping[str, Provider]:
        """The providers in force, by their names."""
        return self.directory.providers

    def principal(self, token: str) -> Coroutine[Any, Any, Principal | None]:
        """Return whose key *token* is, or None."""
        return self.directory.principal(token)

    def agent(self, organization: OrganizationId, named: str) -> Coroutine[Any, Any, Agent | None]:
        """Return the agent of the *organization* with this id or name, or None."""
        return self.directory.agent(organization, named)

    def aliases(self, organization: OrganizationId) -> Coroutine[Any, Any, Sequence[Alias]]:
        """Return the aliases that the *organization* may see."""
        return self.directory.aliases(organization)

    def alias(self, organization: OrganizationId, name: str) -> Coroutine[Any, Any, Alias | None]:
        """Return the alias of this *name* that the *organization* may see, or None."""
        return self.directory.alias(organization, name)

    def guardrails(self, organization: OrganizationId, alias: Alias) -> Coroutine[Any, Any, Sequence[Guardrail]]:
        """Return what watches the *alias* when the *organization* uses it."""
        return self.directory.guardrails(organization, alias)
