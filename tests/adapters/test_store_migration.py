"""A store of an older version is brought up to date with everything that it holds."""

import asyncio
import secrets
import sqlite3
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from gateway_conformance.rules import confirms

import dragoman.adapters.store
from dragoman.adapters.directory import CurrentDirectory
from dragoman.adapters.store import read_store
from dragoman.adapters.store.follower import following
from dragoman.adapters.store.pepper import make_pepper
from dragoman.adapters.store.tables import APPLICATION_ID, HEAD
from dragoman.adapters.tokens import digest_of, make_key_id, make_token
from dragoman.model import Agent, Alias, Key, Organization, Prices, rate_of
from fakes import RecordingLog
from stores import administer, apply, by_hand, directory_of, is_sound, passes, rows

MIGRATIONS: Final = Path(dragoman.adapters.store.__file__).with_name("migrations")
ACME: Final = "018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d11"
AGENT: Final = "018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e33"
TABLES: Final = ("organizations", "keys", "agents", "aliases", "audit", "revision")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store can be made."""
    return tmp_path / "store.db"


def make_first(path: Path) -> str:
    """Make a store of the first revision, by its own migration, with one of everything, and return its key."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    pepper = make_pepper(path, secrets.token_bytes)
    key = make_key_id(secrets.token_bytes)
    token = make_token("cgt", key, secrets.token_bytes)
    with by_hand(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "INSERT INTO organizations (created, revoked, id, name, rate) VALUES (1, NULL, ?, 'acme', '6000/m'), "
            "(2, 3, 'old', 'globex', NULL)",
            (ACME,),
        )
        connection.execute(
            "INSERT INTO keys (created, id, organization, name, prefix, scopes, rate, digest, expires, successor) "
            "VALUES (4, ?, ?, 'laptop', 'cgt', '[\"chat\",\"models\"]', '20/s burst 40', ?, NULL, NULL)",
            (key, ACME, digest_of(token, pepper)),
        )
        connection.execute(
            "INSERT INTO agents (created, id, organization, name) VALUES (5, ?, ?, 'main')", (AGENT, ACME)
        )
        connection.execute(
            "INSERT INTO aliases (created, id, display_name, description, category, visible_to, rate) "
            "VALUES (6, 'general', 'General', 'd', 'llm', ?, '600/m')",
            (f'["{ACME}"]',),
        )
        connection.execute(
            "INSERT INTO audit (at, command, kind, subject) VALUES (6, 'aliases create', 'alias', 'general')"
        )
        connection.execute("UPDATE revision SET number = 5")
    return token


def columns(path: Path) -> dict[str, list[str]]:
    """Return the columns of each table of the first revision."""
    return {table: [row[1] for row in rows(path, f"PRAGMA table_info({table})")] for table in TABLES}


@confirms("ADR-0040.R10")
def test_a_store_of_the_first_revision_keeps_everything(path: Path) -> None:
    """Its key passes, all it holds is listed, no old column of any row is touched, and a file can be applied."""
    token = make_first(path)
    was = {table: ", ".join(names) for table, names in columns(path).items()}
    before = {table: rows(path, f"SELECT {names} FROM {table}") for table, names in was.items()}  # noqa: S608

    assert [True] == passes(path, token)

    assert before == {table: rows(path, f"SELECT {names} FROM {table}") for table, names in was.items()}  # noqa: S608
    assert [(HEAD,)] == rows(path, "SELECT version_num FROM alembic_version")
    assert [(APPLICATION_ID,)] == rows(path, "PRAGMA application_id")
    assert is_sound(path)
    acme, globex = administer(path, lambda one: one.entries(Organization))
    assert ("acme", rate_of("6000/m"), None, ()) == (
        acme.noun.name,
        acme.noun.rate,
        acme.noun.token_rate,
        acme.noun.guardrails,
    )
    assert [None, False] == [acme.revoked, globex.revoked is None]
    [key] = administer(path, lambda one: one.entries(Key))
    assert ("laptop", rate_of("20/s burst 40"), None, None, None) == (
        key.noun.name,
        key.noun.rate,
        key.noun.token_rate,
        key.noun.daily_requests,
        key.noun.daily_tokens,
    )
    assert [AGENT] == [entry.noun.id for entry in administer(path, lambda one: one.entries(Agent))]
    [alias] = administer(path, lambda one: one.entries(Alias))
    assert ("General", frozenset({ACME}), (), Prices(), ()) == (
        alias.noun.display_name,
        alias.noun.visible_to,
        alias.noun.targets,
        alias.noun.prices,
        alias.noun.guardrails,
    )
    assert "~ alias general" in [f"{one.sign} {one.thing.kind} {one.thing.name}" for one in apply(path).steps]
    assert [True] == passes(path, token)
    assert asyncio.run(read_store(path)).aliases[0].targets != ()


@confirms("ADR-0040.R10")
def test_a_gateway_that_starts_brings_its_store_up_to_date(path: Path) -> None:
    """Whoever follows a store of the first revision migrates it, and has what it held in force."""
    token = make_first(path)

    async def work() -> bool:
        current = CurrentDirectory(directory=directory_of())
        async with following(path, current, build=directory_of, log=RecordingLog()):
            return await current.principal(token) is not None

    assert asyncio.run(work())


def test_a_migration_that_fails_leaves_the_store_as_it_was(path: Path) -> None:
    """A store that cannot be migrated, since something of the new name is there, keeps its revision and its rows."""
    make_first(path)
    with by_hand(path) as connection:
        connection.execute("CREATE TABLE guardrails (id TEXT)")

    with pytest.raises(Exception, match="guardrails"):
        passes(path)

    assert [("0001",)] == rows(path, "SELECT version_num FROM alembic_version")
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        rows(path, "SELECT token_rate FROM keys")
