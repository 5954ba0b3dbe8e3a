"""Reads what is in force out of a store, whole and at one moment (ADR-0029).

Laws of this file:
- One transaction reads everything, so that no change is seen by half.
- The event loop is held for milliseconds at a time: rows come in portions, records are made in a thread, and Python
  does not look for garbage meanwhile, of which there is none among thousands of new records.
"""

import asyncio
import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from sqlalchemy import Select, Table, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from dragoman.adapters.directory import Contents, KnownKey
from dragoman.adapters.store.opening import require_head, telling
from dragoman.adapters.store.pepper import read_pepper, require_pepper
from dragoman.adapters.store.rows import Reader, Stored, digest, each, moment, quantity, text
from dragoman.adapters.store.tables import AGENTS, ALIASES, GUARDRAILS, KEYS, ORGANIZATIONS, PROVIDERS, REVISION
from dragoman.model import Alias, Guardrail, KeyId, Organization, Principal, Provider
from dragoman.ports import StoreError

_PORTION: Final = 500
"""How many rows come at once."""


def in_force(table: Table) -> Select[*tuple[Any, ...]]:
    """Return what selects the rows of *table* that are not revoked, in the order in which they were made."""
    return select(table).where(table.c.revoked.is_(None)).order_by(table.c.number)


_ORGANIZATIONS: Final = in_force(ORGANIZATIONS)
_KEYS: Final = (
    select(
        KEYS.c.id,
        KEYS.c.organization,
        KEYS.c.scopes,
        KEYS.c.rate,
        KEYS.c.digest,
        KEYS.c.expires,
        KEYS.c.token_rate,
        KEYS.c.daily_requests,
        KEYS.c.daily_tokens,
    )
    .join_from(KEYS, ORGANIZATIONS)
    .where(KEYS.c.revoked.is_(None), ORGANIZATIONS.c.revoked.is_(None))
    .order_by(KEYS.c.number)
)
_AGENTS: Final = (
    select(AGENTS)
    .join_from(AGENTS, ORGANIZATIONS)
    .where(AGENTS.c.revoked.is_(None), ORGANIZATIONS.c.revoked.is_(None))
    .order_by(AGENTS.c.number)
)
_ALIASES: Final = in_force(ALIASES)
_PROVIDERS: Final = in_force(PROVIDERS)
_GUARDRAILS: Final = in_force(GUARDRAILS)


@attrs.frozen(kw_only=True)
class _Rows:
    """Everything in force, as it stands in the store."""

    organizations: Sequence[Stored]
    keys: Sequence[Stored]
    agents: Sequence[Stored]
    aliases: Sequence[Stored]
    providers: Sequence[Stored]
    guardrails: Sequence[Stored]
    catalogued: bool


@attrs.frozen(kw_only=True)
class Snapshot:
    """What a store holds at one moment: its *revision* and what is in force."""

    revision: int
    contents: Contents


async def read_revision(engine: AsyncEngine, path: Path) -> int:
    """Return the revision of the store at *path*.

    Raises:
        StoreError: it cannot be read.
    """
    with telling(path):
        async with engine.connect() as connection:
            return await _revision(connection)


async def read_snapshot(engine: AsyncEngine, path: Path) -> Snapshot:
    """Return what is in the store at *path* now.

    Raises:
        StoreError: it cannot be read, or a row of it breaks a rule.
    """
    with _uncollected():
        with telling(path):
            async with engine.connect() as connection:
                await require_head(connection, path)
                revision = await _revision(connection)
                pepper = await pepper_of(connection, path)
                rows = _Rows(
                    organizations=await _rows(connection, _ORGANIZATIONS),
                    keys=await _rows(connection, _KEYS),
                    agents=await _rows(connection, _AGENTS),
                    aliases=await _rows(connection, _ALIASES),
                    providers=await _rows(connection, _PROVIDERS),
                    guardrails=await _rows(connection, _GUARDRAILS),
                    catalogued=bool(await connection.scalar(select(exists().select_from(ALIASES)))),
                )
        return Snapshot(revision=revision, contents=await asyncio.to_thread(_contents, pepper or b"", rows))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector still: it would stop everything, for 0.1 s at 100,000 keys, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def require_sound(engine: AsyncEngine, path: Path) -> None:
    """Refuse a store whose keys nobody can prove (ADR-0030.R3).

    Raises:
        StoreError: its pepper is missing, or cannot be used.
    """
    with telling(path):
        async with engine.connect() as connection:
            await pepper_of(connection, path)


async def pepper_of(connection: AsyncConnection, path: Path) -> bytes | None:
    """Return the pepper of the store at *path*, None where it has neither a pepper nor a key.

    Raises:
        StoreError: there are keys and no pepper, or it cannot be used.
    """
    has_keys = await connection.scalar(select(exists().select_from(KEYS)))
    return require_pepper(path) if has_keys else read_pepper(path)


async def _revision(connection: AsyncConnection) -> int:
    return (await connection.execute(select(REVISION.c.number))).scalar_one()


async def _rows(connection: AsyncConnection, statement: Select[*tuple[Any, ...]]) -> list[Stored]:
    result = await connection.stream(statement)
    return [row async for portion in result.partitions(_PORTION) for row in portion]


def _contents(pepper: bytes, rows: _Rows) -> Contents:
    reader = Reader()
    organizations = {
        entry.noun.id: entry.noun for entry in each("organisation", rows.organizations, reader.organization)
    }

    def known(row: Stored) -> tuple[str, KnownKey]:
        key, organization, scopes, rate, stored_digest, expires, token_rate, daily_requests, daily_tokens = row
        owner = organizations[organization]  # PERF: by name it takes a quarter longer
        principal = Principal(
            organization=owner.id,
            key=KeyId(text(key)),
            scopes=reader.words(scopes),
            organization_rate=owner.rate,
            key_rate=None if rate is None else reader.rate(rate),
            organization_token_rate=owner.token_rate,
            key_token_rate=None if token_rate is None else reader.rate(token_rate),
            daily_requests=None if daily_requests is None else quantity(daily_requests),
            daily_tokens=None if daily_tokens is None else quantity(daily_tokens),
        )
        end = None if expires is None else moment(expires)
        return key, KnownKey(digest=digest(stored_digest), principal=principal, expires=end)

    contents = Contents(
        pepper=pepper,
        keys=dict(each("key", rows.keys, known)),
        agents=tuple(entry.noun for entry in each("agent", rows.agents, reader.agent)),
        organizations=tuple(organizations.values()),
        aliases=tuple(entry.noun for entry in each("alias", rows.aliases, reader.alias)),
        providers={entry.noun.name: entry.noun for entry in each("provider", rows.providers, reader.provider)},
        guardrails={entry.noun.key: entry.noun for entry in each("guardrail", rows.guardrails, reader.guardrail)},
        catalogued=rows.catalogued,
    )
    for complaint in dangling(contents.organizations, contents.aliases, contents.providers, contents.guardrails):
        message = f"{complaint}, which is not there"
        raise StoreError(message)
    return contents


def dangling(
    organizations: Collection[Organization],
    aliases: Collection[Alias],
    providers: Mapping[str, Provider],
    guardrails: Mapping[str, Guardrail],
) -> Iterator[str]:
    """Yield what names a provider or guardrail that is not in force, and its name."""
    for organization in organizations:
        for key in organization.guardrails:
            if key not in guardrails:
                yield f"the organisation {organization.name!r} in the store names the guardrail {key!r}"
    for alias in aliases:
        for key in alias.guardrails:
            if key not in guardrails:
                yield f"the alias {alias.id!r} in the store names the guardrail {key!r}"
        for target in alias.targets:
            if target.provider not in providers:
                yield f"the alias {alias.id!r} in the store names the provider {target.provider!r}"
