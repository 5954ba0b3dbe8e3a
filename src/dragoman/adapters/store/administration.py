"""Changes what the store holds, and shows it (ADR-0029, ADR-0030).

Laws of this file:
- A change is one transaction: it looks, writes, leaves its audit rows and raises the revision, or does nothing.
- What a caller of ours gave as the id of a key is not told again: it may have been a token.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Generic

import attrs
from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from dragoman.adapters.store.apply import Apply
from dragoman.adapters.store.change import Change
from dragoman.adapters.store.opening import telling, writing
from dragoman.adapters.store.pepper import make_pepper
from dragoman.adapters.store.reading import pepper_of
from dragoman.adapters.store.rows import Reader, Stored, each, list_text, milliseconds, rate_column
from dragoman.adapters.store.tables import AGENTS, ALIASES, KEYS, ORGANIZATIONS
from dragoman.adapters.tokens import PREFIX, digest_of, is_prefix, make_key_id, make_token
from dragoman.declaration import (
    ALIAS_NAME,
    CATEGORIES,
    MOST_A_DAY,
    Declaration,
    is_agent_name,
    is_organization_name,
    is_title,
)
from dragoman.model import (
    Agent,
    Alias,
    Entry,
    IssuedKey,
    Key,
    KeyId,
    Organization,
    Rate,
    Rotation,
)
from dragoman.plan import Plan
from dragoman.ports import AdministrationError, Noun, Prune

_SCOPE: Final = re.compile(r"[a-z][a-z0-9:._-]{0,63}", re.ASCII)


@attrs.frozen(kw_only=True)
class _Shelf(Generic[Noun]):
    """Where things of one kind stand: *command* makes them, *kind* is what one is called."""

    kind: str
    command: str
    table: Table
    read: Callable[[Reader], Callable[[Stored], Entry[Noun]]]


_SHELVES: Final[Mapping[type, _Shelf[Any]]] = {
    Organization: _Shelf[Organization](
        kind="organisation", command="orgs", table=ORGANIZATIONS, read=lambda reader: reader.organization
    ),
    Key: _Shelf[Key](kind="key", command="keys", table=KEYS, read=lambda reader: reader.key),
    Agent: _Shelf[Agent](kind="agent", command="agents", table=AGENTS, read=lambda reader: reader.agent),
    Alias: _Shelf[Alias](kind="alias", command="aliases", table=ALIASES, read=lambda reader: reader.alias),
}


@attrs.frozen(kw_only=True)
class Ingredients:
    """Time, ids and randomness of this machine: *id* gives a new UUIDv7, *random* as many bytes as it is asked for."""

    now: Callable[[], datetime]
    id: Callable[[], str]
    random: Callable[[int], bytes]


@attrs.frozen(kw_only=True)
class StoreAdministration:
    """Fits the port `Administration`."""

    _engine: AsyncEngine
    _path: Path
    _ingredients: Ingredients
    _one_writer: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    async def create_organization(
        self, name: str, *, rate: Rate | None = None, token_rate: Rate | None = None
    ) -> Entry[Organization]:
        """Make an organisation."""
        _require(is_organization_name(name), "an organisation's name is 1 to 128 characters, and no uuid")
        async with self._change("orgs create") as change:
            values = {"name": name, "rate": rate_column(rate), "token_rate": rate_column(token_rate)}
            taken = f"there is an organisation {name!r} already; choose another name, or revoke it first"
            return await self._put(change, Organization, self._ingredients.id(), values, taken)

    async def create_key(  # noqa: PLR0913 - one argument a property
        self,
        organization: str,
        *,
        scopes: frozenset[str],
        name: str | None = None,
        prefix: str | None = None,
        expires: datetime | None = None,
        rate: Rate | None = None,
        token_rate: Rate | None = None,
        daily_requests: int | None = None,
        daily_tokens: int | None = None,
    ) -> IssuedKey:
        """Make a key of the *organization*."""
        prefix = PREFIX if prefix is None else prefix
        _require(is_prefix(prefix), "a prefix is 1 to 16 letters and digits")
        _require(name is None or is_title(name), "a key's name is 1 to 128 characters")
        _require(scopes and all(map(_SCOPE.fullmatch, scopes)), "a scope is a word in lower case, such as chat")
        for a_day in (daily_requests, daily_tokens):
            _require(a_day is None or 1 <= a_day <= MOST_A_DAY, f"what a key has a day is from 1 to {MOST_A_DAY}")
        async with self._change("keys create") as change:
            _require(expires is None or expires > change.time, "a key must expire in the future")
            owner = await self._in_force(change.connection, Organization, organization)
            return await self._issue(
                change,
                organization=owner.noun.id,
                name=name,
                prefix=prefix,
                scopes=list_text(scopes),
                expires=None if expires is None else milliseconds(expires),
                rate=rate_column(rate),
                token_rate=rate_column(token_rate),
                daily_requests=daily_requests,
                daily_tokens=daily_tokens,
            )

    async def create_agent(self, organization: str, name: str) -> Entry[Agent]:
        """Make an agent of the *organization*, in which its name is unique."""
        wanted = "an agent's name is 1 to 64 letters, digits, dots, hyphens and underscores, and no uuid"
        _require(is_agent_name(name), wanted)
        async with self._change("agents create") as change:
            owner = await self._in_force(change.connection, Organization, organization)
            taken = f"{owner.noun.name!r} has an agent {name!r} already; choose another name, or revoke it first"
            values = {"organization": owner.noun.id, "name": name}
            return await self._put(change, Agent, self._ingredients.id(), values, taken)

    async def create_alias(  # noqa: PLR0913 - one argument a property
        self,
        name: str,
        *,
        display_name: str,
        description: str,
        category: str,
        visible_to: Sequence[str] | None = None,
        rate: Rate | None = None,
        token_rate: Rate | None = None,
    ) -> Entry[Alias]:
        """Make an alias, which every organisation sees, or those that *visible_to* names."""
        _require(re.fullmatch(ALIAS_NAME, name, re.ASCII), "an alias is 1 to 256 visible ASCII characters")
        _require(is_title(display_name), "a display name is 1 to 128 characters")
        _require(description.isprintable(), "a description is one line of text")
        _require(category in CATEGORIES, f"a category is one of {', '.join(CATEGORIES)}")
        async with self._change("aliases create") as change:
            seeing = None
            if visible_to is not None:
                found = [await self._in_force(change.connection, Organization, one) for one in visible_to]
                seeing = list_text({owner.noun.id for owner in found})
            values = {
                "display_name": display_name,
                "description": description,
                "category": category,
                "visible_to": seeing,
                "rate": rate_column(rate),
                "token_rate": rate_column(token_rate),
            }
            taken = f"there is an alias {name!r} already; choose another name, or revoke it first"
            return await self._put(change, Alias, name, values, taken)

    async def entries(self, noun: type[Noun]) -> Sequence[Entry[Noun]]:
        """Return everything of this kind, in the order in which it was made."""
        shelf = _shelf(noun)
        with telling(self._path):
            async with self._engine.connect() as connection:
                rows = (await connection.execute(select(shelf.table).order_by(shelf.table.c.number))).all()
        return list(each(shelf.kind, rows, shelf.read(Reader())))

    async def entry(self, noun: type[Noun], named: str) -> Entry[Noun]:
        """Return the one that is *named*."""
        with telling(self._path):
            async with self._engine.connect() as connection:
                return await self._find(connection, noun, named)

    async def revoke(self, noun: type[Noun], named: str) -> Entry[Noun]:
        """End the one that is *named*, now; one that was revoked before stays as it is."""
        shelf = _shelf(noun)
        async with self._change(f"{shelf.command} revoke") as change:
            found = await self._find(change.connection, noun, named)
            if found.revoked is not None:
                return found
            change.note(shelf.kind, found.noun.id)
            ended = {"revoked": milliseconds(change.time)}
            row = await change.amend(shelf.table, found.noun.id, ended)
            [entry] = each(shelf.kind, [row], shelf.read(Reader()))
            return entry

    async def rotate_key(self, key: KeyId, *, overlap: timedelta) -> Rotation:
        """Make a successor of *key*, which ends after *overlap*."""
        async with self._change("keys rotate") as change:
            old = await self._in_force(change.connection, Key, key)
            await self._in_force(change.connection, Organization, old.noun.organization)
            noun, time = old.noun, change.time
            _require(noun.successor is None, f"the key has been rotated already; rotate {noun.successor} in its place")
            _require(noun.expires is None or noun.expires > time, "the key has expired; create another")
            issued = await self._issue(
                change,
                organization=noun.organization,
                name=noun.name,
                prefix=noun.prefix,
                scopes=list_text(noun.scopes),
                expires=None if noun.expires is None else milliseconds(_as_long(noun.expires, old.created, time)),
                rate=rate_column(noun.rate),
                token_rate=rate_column(noun.token_rate),
                daily_requests=noun.daily_requests,
                daily_tokens=noun.daily_tokens,
            )
            end = time + overlap if noun.expires is None else min(time + overlap, noun.expires)
            ending = {"expires": milliseconds(end), "successor": issued.entry.noun.id}
            change.note("key", noun.id)
            [replaced] = each("key", [await change.amend(KEYS, noun.id, ending)], Reader().key)
            return Rotation(issued=issued, replaced=replaced)

    async def apply(self, declaration: Declaration, *, prune: Prune = Prune.NOTHING, dry_run: bool = False) -> Plan:
        """Make what is in force what *declaration* says, and return what that took."""
        async with self._change("apply", keep=not dry_run) as change:
            return await Apply(change=change, new_id=self._ingredients.id, prune=prune).run(declaration)

    @asynccontextmanager
    async def _change(self, command: str, *, keep: bool = True) -> AsyncIterator[Change]:
        """Give a transaction, which is kept when the block has ended, unless it is said that it is not to be."""
        # Tasks of one process would wait for each other in SQLite, which does not queue them: here they are queued.
        async with self._one_writer:
            with telling(self._path):
                async with writing(self._engine) as connection:
                    change = Change(connection=connection, command=command, time=self._ingredients.now())
                    yield change
                    if keep:
                        await change.close()
                    else:
                        await connection.rollback()

    async def _issue(self, change: Change, **values: Any) -> IssuedKey:  # noqa: ANN401 - columns of a key
        pepper = await pepper_of(change.connection, self._path)
        if pepper is None:
            pepper = make_pepper(self._path, self._ingredients.random)
        key = make_key_id(self._ingredients.random)
        token = make_token(values["prefix"], key, self._ingredients.random)
        row = await change.put(KEYS, "key", key, {**values, "digest": digest_of(token, pepper)})
        [entry] = each("key", [row], Reader().key)
        return IssuedKey(entry=entry, token=token)

    async def _put(
        self, change: Change, noun: type[Noun], subject: str, values: Mapping[str, object], taken: str
    ) -> Entry[Noun]:
        shelf = _shelf(noun)
        try:
            row = await change.put(shelf.table, shelf.kind, subject, values)
        except IntegrityError:
            raise AdministrationError(taken) from None
        [entry] = each(shelf.kind, [row], shelf.read(Reader()))
        return entry

    async def _in_force(self, connection: AsyncConnection, noun: type[Noun], named: str) -> Entry[Noun]:
        found = await self._find(connection, noun, named)
        if found.revoked is not None:
            shelf = _shelf(noun)
            message = f"the {shelf.kind} {found.noun.id!r} is revoked; `dragoman {shelf.command} list` shows the others"
            raise AdministrationError(message)
        return found

    async def _find(self, connection: AsyncConnection, noun: type[Noun], named: str) -> Entry[Noun]:
        """Return the one that is *named*, rather one in force than one that was revoked, and rather a later one."""
        shelf = _shelf(noun)
        table = shelf.table
        found = (
            select(table)
            .where(_names(table, named))
            .order_by(table.c.revoked.is_not(None), table.c.number.desc())
            .limit(1)
        )
        # What cannot be printed is no name, and may be no text that SQLite takes.
        rows = (await connection.execute(found)).all() if named.isprintable() else []
        for entry in each(shelf.kind, rows, shelf.read(Reader())):
            return entry
        which = "" if table is KEYS else f" {named!r}"
        message = f"there is no {shelf.kind}{which}; `dragoman {shelf.command} list` shows all of them"
        raise AdministrationError(message)


def _shelf(noun: type[Noun]) -> _Shelf[Noun]:
    return _SHELVES[noun]


def _names(table: Table, named: str) -> ColumnElement[bool]:
    """Return what is true of the rows that are *named*: ids of organisations and agents are in lower case."""
    if table is ORGANIZATIONS:
        return (table.c.id == named.lower()) | (table.c.name == named)
    return table.c.id == (named.lower() if table is AGENTS else named)


def _as_long(expires: datetime, created: datetime, now: datetime) -> datetime:
    """Return when what is made *now* ends, which lives as long as what was *created* until it *expires*."""
    try:
        return now + (expires - created)
    except OverflowError:  # beyond the last year there is
        return expires


def _require(kept: object, rule: str) -> None:
    if not kept:
        raise AdministrationError(rule)
