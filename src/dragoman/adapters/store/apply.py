"""Makes the catalogue of the store what a file declares, in one transaction (ADR-0040).

Laws of this file:
- What is declared and already there is not written, so that a second apply changes nothing.
- Keys are never touched; organisations are revoked only when that is asked for by its own name.
- What would be in force fits together, or nothing is changed.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Generic, TypeVar

import attrs
from sqlalchemy import Table, func, select

from dragoman.adapters.store.change import Change
from dragoman.adapters.store.reading import dangling, in_force
from dragoman.adapters.store.rows import (
    Reader,
    Stored,
    Values,
    alias_values,
    each,
    guardrail_values,
    milliseconds,
    organization_values,
    provider_values,
)
from dragoman.adapters.store.tables import AGENTS, ALIASES, GUARDRAILS, KEYS, ORGANIZATIONS, PROVIDERS
from dragoman.declaration import (
    Declaration,
    DeclaredAlias,
    DeclaredOrganization,
    Words,
    words_of_alias,
    words_of_guardrail,
    words_of_organization,
    words_of_provider,
)
from dragoman.model import Agent, AgentId, Alias, Entry, Guardrail, Organization, OrganizationId, Provider
from dragoman.plan import CHANGED, NEW, REMOVED, Difference, Named, Plan, Sign, Step, differences
from dragoman.ports import AdministrationError, Prune

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class _Shelf(Generic[T]):
    """Where things of one kind stand: their *values* are those of a row, *subject* is its id."""

    kind: str
    table: Table
    values: Callable[[T], Values]
    subject: Callable[[T], str]
    read: Callable[[Stored], Entry[T]]


@attrs.frozen(kw_only=True)
class Apply:
    """One apply, within *change*."""

    _change: Change
    _new_id: Callable[[], str]
    _prune: Prune
    _reader: Reader = attrs.field(factory=Reader, init=False)
    _steps: list[Step] = attrs.field(factory=list, init=False)
    _staying: list[Named] = attrs.field(factory=list, init=False)

    async def run(self, declaration: Declaration) -> Plan:
        """Make what is in force what *declaration* says.

        Raises:
            AdministrationError: it names an organisation that is not there, or what stays would name what does not.
        """
        guardrails = await self._set_guardrails(declaration)
        providers = await self._set_providers(declaration)
        organizations = await self._set_organizations(declaration)
        aliases = await self._set_aliases(declaration, organizations)
        for complaint in dangling(organizations.values(), aliases.values(), providers, guardrails):
            message = f"{complaint}, which would not be in force; declare it, or change what names it"
            raise AdministrationError(message)
        return Plan(steps=tuple(self._steps), staying=tuple(self._staying))

    async def _set_guardrails(self, declaration: Declaration) -> Mapping[str, Guardrail]:
        shelf = _Shelf[Guardrail](
            kind="guardrail",
            table=GUARDRAILS,
            values=guardrail_values,
            subject=lambda one: one.key,
            read=self._reader.guardrail,
        )

        def told(old: Guardrail | None, new: Guardrail) -> tuple[Words, Words]:
            return words_of_guardrail(old or Guardrail(key=new.key, action="")), words_of_guardrail(new)

        return await self._set_all(shelf, {one.key: one for one in declaration.guardrails}, told)

    async def _set_providers(self, declaration: Declaration) -> Mapping[str, Provider]:
        shelf = _Shelf[Provider](
            kind="provider",
            table=PROVIDERS,
            values=provider_values,
            subject=lambda one: one.name,
            read=self._reader.provider,
        )

        def told(old: Provider | None, new: Provider) -> tuple[Words, Words]:
            before = old or Provider(name=new.name, kind="")
            return words_of_provider(before), words_of_provider(new, instead_of=old)

        return await self._set_all(shelf, {one.name: one for one in declaration.providers}, told)

    async def _set_organizations(self, declaration: Declaration) -> Mapping[str, Organization]:
        """Return the organisations in force by their names."""
        shelf = _Shelf[Organization](
            kind="organisation",
            table=ORGANIZATIONS,
            values=organization_values,
            subject=lambda one: one.id,
            read=self._reader.organization,
        )
        there = {one.name: one for one in await self._there(shelf)}

        def told(old: Organization | None, new: Organization) -> tuple[Words, Words]:
            return words_of_organization(old or DeclaredOrganization(name=new.name)), words_of_organization(new)

        for stated in declaration.organizations:
            old = there.get(stated.name)
            new = Organization(
                id=OrganizationId(self._new_id()) if old is None else old.id,
                name=stated.name,
                rate=stated.rate,
                token_rate=stated.token_rate,
                guardrails=stated.guardrails,
            )
            there[new.name] = await self._set(shelf, stated.name, old, new, told)
        await self._set_agents(declaration, there)
        named = {one.name for one in declaration.organizations}
        seeing = {one for alias in declaration.aliases for one in alias.visible_to or ()}
        ids = {one.lower() for one in seeing}
        undeclared = [one for name, one in there.items() if name not in named | seeing and one.id not in ids]
        for one in undeclared:
            if self._prune is Prune.ORGANIZATIONS:
                await self._end(shelf, one.name, one, ending=await self._keys_of(one))
                del there[one.name]
            else:
                self._stays(shelf, one.name)
        return there

    async def _set_agents(self, declaration: Declaration, organizations: Mapping[str, Organization]) -> None:
        shelf = _Shelf[Agent](
            kind="agent",
            table=AGENTS,
            values=lambda one: {"organization": one.organization, "name": one.name},
            subject=lambda one: one.id,
            read=self._reader.agent,
        )
        there = await self._there(shelf)
        for stated in declaration.organizations:
            owner = organizations[stated.name].id
            own = {one.name: one for one in there if one.organization == owner}
            for name in stated.agents:
                if name not in own:
                    agent = Agent(id=AgentId(self._new_id()), name=name, organization=owner)
                    await self._set(shelf, f"{stated.name}/{name}", None, agent, lambda _old, _new: ({}, {}))
            for name, one in own.items():
                if name not in stated.agents:
                    await self._end_or_leave(shelf, f"{stated.name}/{name}", one)

    async def _set_aliases(
        self, declaration: Declaration, organizations: Mapping[str, Organization]
    ) -> Mapping[str, Alias]:
        shelf = _Shelf[Alias](
            kind="alias", table=ALIASES, values=alias_values, subject=lambda one: one.id, read=self._reader.alias
        )
        names = {str(one.id): one.name for one in organizations.values()}
        declared = {stated.id: _resolved(stated, organizations) for stated in declaration.aliases}

        def told(old: Alias | None, new: Alias) -> tuple[Words, Words]:
            return words_of_alias(old or DeclaredAlias(id=new.id, display_name=""), names), words_of_alias(new, names)

        return await self._set_all(shelf, declared, told)

    # --- Of any kind --------------------------------------------------------------------------------------------------

    async def _there(self, shelf: _Shelf[T]) -> list[T]:
        rows = (await self._change.connection.execute(in_force(shelf.table))).all()
        return [entry.noun for entry in each(shelf.kind, rows, shelf.read)]

    async def _set_all(
        self, shelf: _Shelf[T], declared: Mapping[str, T], told: Callable[[T | None, T], tuple[Words, Words]]
    ) -> dict[str, T]:
        """Return what is in force of a kind when what is *declared* is, by its name."""
        there = {shelf.subject(one): one for one in await self._there(shelf)}
        left = {
            name: one
            for name, one in there.items()
            if name not in declared and not await self._end_or_leave(shelf, name, one)
        }
        return left | {name: await self._set(shelf, name, there.get(name), new, told) for name, new in declared.items()}

    async def _set(
        self,
        shelf: _Shelf[T],
        name: str,
        old: T | None,
        new: T,
        told: Callable[[T | None, T], tuple[Words, Words]],
    ) -> T:
        """Return the thing as it is in the store when it is *new*, where *old* was."""
        values = shelf.values(new)
        if old is None:
            row = await self._change.put(shelf.table, shelf.kind, shelf.subject(new), values)
            fresh = [attrs.evolve(one, old=None) for one in differences(*told(None, new))]
            self._step(NEW, shelf, name, fresh)
        elif shelf.values(old) != values:
            self._change.note(shelf.kind, shelf.subject(old))
            row = await self._change.amend(shelf.table, shelf.subject(old), values)
            self._step(CHANGED, shelf, name, differences(*told(old, new)))
        else:
            return old
        [entry] = each(shelf.kind, [row], shelf.read)
        return entry.noun

    async def _end_or_leave(self, shelf: _Shelf[T], name: str, one: T) -> bool:
        """End what was not declared, or leave it, as is asked for; return whether it has ended."""
        if self._prune is Prune.NOTHING:
            self._stays(shelf, name)
            return False
        await self._end(shelf, name, one)
        return True

    async def _end(self, shelf: _Shelf[T], name: str, one: T, *, ending: int = 0) -> None:
        self._change.note(shelf.kind, shelf.subject(one))
        await self._change.amend(shelf.table, shelf.subject(one), {"revoked": milliseconds(self._change.time)})
        self._step(REMOVED, shelf, name, (), ending=ending)

    def _step(self, sign: Sign, shelf: _Shelf[T], name: str, changed: Iterable[Difference], *, ending: int = 0) -> None:
        thing = Named(kind=shelf.kind, name=name)
        self._steps.append(Step(sign=sign, thing=thing, differences=tuple(changed), ending=ending))

    def _stays(self, shelf: _Shelf[T], name: str) -> None:
        self._staying.append(Named(kind=shelf.kind, name=name))

    async def _keys_of(self, organization: Organization) -> int:
        """Return how many keys of *organization* pass now."""
        now = milliseconds(self._change.time)
        passing = (
            select(func.count())
            .select_from(KEYS)
            .where(
                KEYS.c.organization == organization.id,
                KEYS.c.revoked.is_(None),
                KEYS.c.expires.is_(None) | (KEYS.c.expires > now),
            )
        )
        return (await self._change.connection.execute(passing)).scalar_one()


def _resolved(stated: DeclaredAlias, organizations: Mapping[str, Organization]) -> Alias:
    """Return the alias that is *stated*, with the ids of the *organizations* that it names."""
    seeing = None
    if stated.visible_to is not None:
        ids = {str(one.id): one.id for one in organizations.values()}
        seeing = frozenset(_identified(stated.id, named, organizations, ids) for named in stated.visible_to)
    members = attrs.asdict(stated, recurse=False) | {"visible_to": seeing}
    return Alias(created=0, **members)


def _identified(
    alias: str, named: str, organizations: Mapping[str, Organization], ids: Mapping[str, OrganizationId]
) -> OrganizationId:
    if named in organizations:
        return organizations[named].id
    if named.lower() in ids:
        return ids[named.lower()]
    near = get_close_matches(named, organizations, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "declare it, or make it with `dragoman orgs create`"
    message = f"the alias {alias!r} is to be visible to {named!r}, and there is no such organisation; {hint}"
    raise AdministrationError(message)
