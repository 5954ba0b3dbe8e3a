"""Reads what is in force out of a store, whole and at one moment (ADR-0029).

Laws of this file:
- One transaction reads everything, so that no change is seen by half.
- The event loop is held for milliseconds at a time: rows come in portions, records are made in a thread, and Python
  does not look for garbage meanwhile, of which there is none among thousands of new records.
"""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from sqlalchemy import Select, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from dragoman.adapters.directory import Contents, KnownKey
from dragoman.adapters.store.opening import require_head, telling
from dragoman.adapters.store.pepper import read_pepper, require_pepper
from dragoman.adapters.store.rows import Reader, Stored, digest, each, moment, text
from dragoman.adapters.store.tables import AGENTS, ALIASES, KEYS, ORGANIZATIONS, REVISION
from dragoman.model import KeyId, Principal

_PORTION: Final = 500
"""How many rows come at once."""

_ORGANIZATIONS: Final = select(ORGANIZATIONS).where(ORGANIZATIONS.c.revoked.is_(None))
_KEYS: Final = (
    select(KEYS.c.id, KEYS.c.organization, KEYS.c.scopes, KEYS.c.rate, KEYS.c.digest, KEYS.c.expires)
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
_ALIASES: Final = select(ALIASES).where(ALIASES.c.revoked.is_(None)).order_by(ALIASES.c.number)


@attrs.frozen(kw_only=True)
class _Rows:
    """Everything in force, as it stands in the store."""

    organizations: Sequence[Stored]
    keys: Sequence[Stored]
    agents: Sequence[Stored]
    aliases: Sequence[Stored]


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
        key, organization, scopes, rate, stored_digest, expires = row  # PERF: by name it takes a quarter longer
        owner = organizations[organization]
        principal = Principal(
            organization=owner.id,
            key=KeyId(text(key)),
            scopes=reader.words(scopes),
            organization_rate=owner.rate,
            key_rate=None if rate is None else reader.rate(rate),
        )
        end = None if expires is None else moment(expires)
        return key, KnownKey(digest=digest(stored_digest), principal=principal, expires=end)

    return Contents(
        pepper=pepper,
        keys=dict(each("key", rows.keys, known)),
        agents=tuple(entry.noun for entry in each("agent", rows.agents, reader.agent)),
        aliases=tuple(entry.noun for entry in each("alias", rows.aliases, reader.alias)),
    )
