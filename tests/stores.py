"""Stores for tests: opened as the program opens them, and written by another hand.

Laws of this file:
- Every store is a file of its own; what is done to it by `by_hand` is what no command of ours does.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from uuid_utils.compat import uuid7

from dragoman.adapters.directory import NO_SEED, NOTHING, Contents, Directory, build_directory
from dragoman.adapters.store import open_store, read_store
from dragoman.declaration import Declaration, DeclaredAlias, DeclaredOrganization
from dragoman.model import (
    Guardrail,
    IssuedKey,
    Organization,
    Prices,
    Provider,
    Target,
    Timeouts,
    rate_of,
)
from dragoman.plan import Plan
from dragoman.ports import Administration

T = TypeVar("T")

SCOPES: Final = frozenset({"chat", "models"})

CATALOGUE: Final = Declaration(
    organizations=(
        DeclaredOrganization(
            name="acme",
            rate=rate_of("6000/m"),
            token_rate=rate_of("1000000/m"),
            guardrails=("long",),
            agents=("main", "support"),
        ),
        DeclaredOrganization(name="globex"),
    ),
    providers=(
        Provider(
            name="vendor",
            kind="openai",
            base_url="https://llm.example/v1",
            key="env:VENDOR_KEY",
            headers={"X-Team": "blue", "X-Token": "file:/run/token"},
            quirks=frozenset({"no_stream_options"}),
            private=True,
            capacity=8,
        ),
        Provider(name="echo", kind="echo"),
    ),
    guardrails=(
        Guardrail(
            key="pii",
            action="mask",
            stages=frozenset({"input"}),
            detectors=("email", "card"),
            patterns={"ticket": "TCK-[0-9]{6}"},
            keywords=("project x",),
            webhook="https://watch.example/ask",
        ),
        Guardrail(key="long", action="block", max_chars=20_000),
    ),
    aliases=(
        DeclaredAlias(
            id="general",
            display_name="General",
            description="Everyday work.",
            rate=rate_of("600/m"),
            token_rate=rate_of("100000/m"),
            targets=(
                Target(provider="vendor", model="large", weight=3, timeouts=Timeouts(connect=1.5)),
                Target(provider="echo", order=1),
            ),
            prices=Prices(input=2_500_000, output=10_000_001, cached_input=0),
            guardrails=("pii",),
        ),
        DeclaredAlias(
            id="vectors",
            display_name="Vectors",
            category="embedding",
            visible_to=frozenset({"globex"}),
            targets=(Target(provider="echo"),),
        ),
    ),
)
"""A catalogue in which every member is said once."""


def opened(
    path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AbstractAsyncContextManager[Administration]:
    """Open the store at *path* for the length of a block."""
    return open_store(path, now=now, new_id=lambda: str(uuid7()), random=secrets.token_bytes)


def administer(path: Path, work: Callable[[Administration], Awaitable[T]]) -> T:
    """Return what *work* makes of the store at *path*, opened for it alone."""

    async def done() -> T:
        async with opened(path) as administration:
            return await work(administration)

    return asyncio.run(done())


def furnish(path: Path) -> IssuedKey:
    """Make a store with the organisation `acme`, its agent `main` and the alias `general`, and return its one key."""

    async def work(administration: Administration) -> IssuedKey:
        await administration.create_organization("acme")
        await administration.create_agent("acme", "main")
        await administration.create_alias("general", display_name="General", description="", category="llm")
        return await administration.create_key("acme", scopes=SCOPES)

    return administer(path, work)


def apply(path: Path, declaration: Declaration = CATALOGUE, **how: Any) -> Plan:  # noqa: ANN401 - what may be said
    """Apply *declaration* to the store at *path*."""
    return administer(path, lambda administration: administration.apply(declaration, **how))


def directory_of(stored: Contents = NOTHING) -> Directory:
    """Return the directory of what is *stored*."""
    return build_directory(NO_SEED, now=lambda: datetime.now(UTC), stored=stored)


def passes(path: Path, *tokens: str) -> list[bool]:
    """Return whether a gateway that starts now would let each of *tokens* pass."""

    async def looked() -> list[bool]:
        directory = directory_of(await read_store(path))
        return [await directory.principal(token) is not None for token in tokens]

    return asyncio.run(looked())


@contextmanager
def by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    """Change the store at *path* with other means than ours, and commit at the end of the block."""
    connection = sqlite3.connect(path, timeout=20)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def spoil(path: Path, statement: str, *values: Any) -> None:  # noqa: ANN401 - what SQLite takes
    """Run one *statement* by hand, and raise the revision, so that whoever follows the store looks at it."""
    with by_hand(path) as connection:
        connection.execute(statement, values)
        connection.execute("UPDATE revision SET number = number + 1")


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Return what *statement* selects."""
    with by_hand(path) as connection:
        return connection.execute(statement).fetchall()


def is_sound(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with the file."""
    return [("ok",)] == rows(path, "PRAGMA integrity_check")


def bytes_of(path: Path) -> bytes:
    """Return every byte that the store at *path* has on the disk, but for its pepper."""
    files = [one for one in path.parent.iterdir() if one.name.startswith(path.name) and one.suffix != ".pepper"]
    return b"".join(one.read_bytes() for one in files)


def organization_of(path: Path, name: str = "acme") -> str:
    """Return the id of the organisation that is *name*d."""
    return administer(path, lambda administration: administration.entry(Organization, name)).noun.id
