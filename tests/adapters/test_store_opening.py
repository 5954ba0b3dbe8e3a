"""Opening a store: made, brought up to date, or refused by name, with its pepper."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from gateway_conformance.rules import confirms

import dragoman.adapters.store
from dragoman.adapters.store.opening import build_engine, writing
from dragoman.adapters.store.opening import opened as opened_engine
from dragoman.adapters.store.pepper import LENGTH, make_pepper, pepper_path, read_pepper
from dragoman.adapters.store.tables import HEAD, METADATA
from dragoman.model import Key, Organization
from dragoman.ports import StoreError
from process import PATIENCE, environment
from stores import SCOPES, administer, by_hand, furnish, is_sound, passes, rows

MIGRATIONS: Final = Path(dragoman.adapters.store.__file__).with_name("migrations")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store can be made: in a folder that is not there yet, with a name that is no plain text."""
    return tmp_path / "new" / "our store?#%20.db"


def refused(path: Path) -> str:
    """Return what is said of the store at *path*."""
    with pytest.raises(StoreError) as caught:
        administer(path, lambda one: one.entries(Organization))
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- Making -----------------------------------------------------------------------------------------------------------


def test_a_store_is_made_where_there_is_none(path: Path) -> None:
    """A new store is for its owner's eyes only, keeps a write-ahead log, and is opened again as it is."""
    administer(path, lambda one: one.create_organization("acme"))
    again = administer(path, lambda one: one.entries(Organization))

    assert ["acme"] == [entry.noun.name for entry in again]
    assert [0o700, 0o600] == [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)]
    assert [("wal",)] == rows(path, "PRAGMA journal_mode")
    assert [path] == list(path.parent.iterdir())


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    """What a process leaves that was killed before it could write anything is a store for the next one."""
    path.parent.mkdir()
    path.touch()

    assert [] == administer(path, lambda one: one.entries(Organization))


def test_every_connection_is_durable_and_patient(path: Path) -> None:
    """A connection syncs every commit, minds foreign keys, and waits for other writers; a writer locks at its start."""

    async def work() -> list[object]:
        async with opened_engine(path) as engine:
            async with engine.connect() as connection:
                names = ("synchronous", "foreign_keys", "busy_timeout")
                settings = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names]
            async with writing(engine):
                with by_hand(path) as other:
                    other.execute("PRAGMA busy_timeout = 0")
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        other.execute("BEGIN IMMEDIATE")
            return settings

    assert [2, 1, 5000] == asyncio.run(work())


@confirms("ADR-0029.R4")
def test_many_may_open_a_new_store_at_once(path: Path) -> None:
    """Processes that find no store, and make it at the same time, all succeed, and it is made once."""
    command = [sys.executable, "-m", "dragoman", "orgs", "create", "--store", str(path)]
    started = [
        subprocess.Popen([*command, f"acme-{number}"], env=environment(), stdout=subprocess.DEVNULL, stderr=-1)
        for number in range(4)
    ]
    ended = [(*process.communicate(timeout=3 * PATIENCE), process.returncode) for process in started]

    assert [(b"", 0)] * 4 == [(told, code) for _, told, code in ended]
    assert [(4,)] == rows(path, "SELECT count(*) FROM organizations")


def test_many_tasks_may_open_a_new_store_at_once(path: Path) -> None:
    """What holds for processes holds for the tasks of one."""

    async def one() -> None:
        async with opened_engine(path):
            pass

    async def work() -> None:
        await asyncio.gather(*(one() for _ in range(8)))

    asyncio.run(work())

    assert [(HEAD,)] == rows(path, "SELECT version_num FROM alembic_version")


def test_the_migrations_make_the_tables(path: Path) -> None:
    """A migrated store is what the code takes it for, and the newest migration is the one that the code names."""
    administer(path, lambda one: one.entries(Organization))

    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: sqlite3.connect(path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, METADATA)
    engine.dispose()
    assert HEAD == ScriptDirectory(str(MIGRATIONS)).get_current_head()
    made = {name for [name] in rows(path, "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE UNIQUE INDEX%'")}
    things = ("organization", "agent", "alias", "provider", "guardrail")
    assert {f"{thing}_names" for thing in things} == made


# --- Refusing ---------------------------------------------------------------------------------------------------------


@confirms("ADR-0029.R6")
def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """A file of another kind is refused by name, and left as it is."""
    path.parent.mkdir()
    path.write_text("our diary\n" * 1000)

    assert f"{path} is no store: it is no SQLite database; name another file with --store or DRAGOMAN_STORE" == refused(
        path
    )
    assert "our diary\n" * 1000 == path.read_text()


@confirms("ADR-0029.R6")
def test_a_database_of_another_program_is_refused(path: Path) -> None:
    """A database of another program, also one that Alembic migrates, is refused by name, and left as it is."""
    path.parent.mkdir()
    with by_hand(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
    before = path.read_bytes()

    assert refused(path).startswith(f"{path} is no store: it is a database of another program; name another")
    assert before == path.read_bytes()


@confirms("ADR-0029.R6")
def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    """A store whose newest migration is unknown is refused by name, and left as it is."""
    furnish(path)
    with by_hand(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()

    said = refused(path)

    wanted = f"the store {path} was made by a newer version of dragoman (revision 9999; this one knows {HEAD})"
    assert said.startswith(wanted)
    assert before == path.read_bytes()


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A folder, a file where a folder must be, and a place where nothing can be made are refused by name."""
    (tmp_path / "file").touch()
    folder, below, nowhere = tmp_path, tmp_path / "file" / "s.db", Path("/proc/nowhere/s.db")

    assert f"the store {folder} cannot be used: unable to open database file" == refused(folder)
    named = "name another with --store or DRAGOMAN_STORE"
    assert f"the store {below} cannot be made: Not a directory; {named}" == refused(below)
    assert f"the store {nowhere} cannot be made: No such file or directory; {named}" == refused(nowhere)


def test_a_damaged_store_is_refused(path: Path) -> None:
    """A store with broken pages is refused in SQLite's words, without a statement or a value of ours."""
    furnish(path)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)

    assert f"the store {path} cannot be used: database disk image is malformed" == refused(path)


@confirms("ADR-0029.R4")
def test_a_writer_waits_longer_than_sqlite_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that is unlucky once begins again; when it never gets its turn, the refusal says why."""
    furnish(path)
    monkeypatch.setattr("dragoman.adapters.store.opening._PRAGMAS", ("busy_timeout = 1",))
    monkeypatch.setattr("dragoman.adapters.store.opening._ATTEMPTS", 3)

    async def work() -> None:
        engine = build_engine(path)
        sqlalchemy.event.listen(engine.sync_engine, "before_cursor_execute", count)
        async with writing(engine):
            pass
        await engine.dispose()

    tries = []
    with by_hand(path) as other:

        def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            tries.append(statement)
            if len(tries) == 3:
                other.commit()

        other.execute("BEGIN IMMEDIATE")
        asyncio.run(work())
        assert ["BEGIN IMMEDIATE"] * 3 == tries
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            administer(path, lambda one: one.create_organization("globex"))
    assert f"the store {path} is busy: another process has been writing to it for a minute; try again" == str(
        caught.value
    )


# --- The pepper -------------------------------------------------------------------------------------------------------


@confirms("ADR-0030.R3")
def test_the_pepper_is_made_with_the_first_key(path: Path) -> None:
    """There is no pepper before the first key; then there are 32 bytes for its owner's eyes, once and for all."""
    administer(path, lambda one: one.create_organization("acme"))
    before = pepper_path(path).exists()
    keys = [administer(path, lambda one: one.create_key("acme", scopes=SCOPES)) for _ in range(2)]
    made = pepper_path(path)

    assert not before
    assert (0o600, LENGTH) == (stat.S_IMODE(made.stat().st_mode), made.stat().st_size)
    assert [True, True] == passes(path, *(key.token for key in keys))
    assert {path.name, made.name} == {one.name for one in path.parent.iterdir()}


@confirms("ADR-0030.R3")
def test_two_stores_have_two_peppers(tmp_path: Path) -> None:
    """The pepper is random, and proves keys of its own store only."""
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    token = furnish(one).token
    furnish(other)
    before = passes(one, token)
    pepper_path(one).write_bytes(pepper_path(other).read_bytes())

    assert ([True], [False]) == (before, passes(one, token))


@confirms("ADR-0030.R3")
def test_a_pepper_is_made_once(path: Path) -> None:
    """Who makes a pepper that another has just made gets the other's, which is not written over."""
    path.parent.mkdir()
    first = make_pepper(path, lambda count: b"a" * count)
    second = make_pepper(path, lambda count: b"b" * count)

    assert (b"a" * LENGTH, b"a" * LENGTH) == (first, second)
    assert [pepper_path(path)] == list(path.parent.iterdir())


@confirms("ADR-0030.R3")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_pepper_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    """A pepper that group or others may read or write is refused by name, with what to do; so is its store."""
    furnish(path)
    pepper_path(path).chmod(mode)

    assert refused(path).startswith(f"the pepper {pepper_path(path)} may be read by others; run `chmod 600` on it")
    with pytest.raises(StoreError, match="may be read by others"):
        passes(path)


@confirms("ADR-0030.R3")
def test_a_store_with_keys_and_no_pepper_is_refused(path: Path) -> None:
    """A missing pepper is named, and not made anew; also where all keys are revoked."""
    key = furnish(path).entry.noun.id
    administer(path, lambda one: one.revoke(Key, key))
    pepper_path(path).unlink()

    assert f"the store {path} has keys, but its pepper {pepper_path(path)} is missing; put it back" == refused(path)
    assert not pepper_path(path).exists()


@confirms("ADR-0030.R3")
@pytest.mark.parametrize("content", [b"", b"a" * 31, b"a" * 33])
def test_a_pepper_of_another_length_is_refused(path: Path, content: bytes) -> None:
    """What is not 32 bytes is no pepper."""
    furnish(path)
    pepper_path(path).write_bytes(content)

    assert refused(path).startswith(f"the pepper {pepper_path(path)} is not 32 bytes long; put back")


def test_a_pepper_that_cannot_be_is_refused(path: Path) -> None:
    """A folder in place of the pepper, and a folder in which none can be made, are refused by name."""
    furnish(path)
    pepper_path(path).unlink()
    pepper_path(path).mkdir()

    assert f"the pepper {pepper_path(path)} cannot be read: Is a directory" == refused(path)
    with pytest.raises(StoreError) as caught:
        make_pepper(Path("/proc/nowhere/s.db"), os.urandom)
    assert "the pepper /proc/nowhere/s.db.pepper cannot be made: No such file or directory" == str(caught.value)


def test_a_backup_of_store_and_pepper_is_the_store(path: Path, tmp_path: Path) -> None:
    """A copy of the two files, taken while nobody writes, lets the same keys pass."""
    token = furnish(path).token
    for file in (path, pepper_path(path)):
        shutil.copy(file, tmp_path / file.name)

    copy = tmp_path / path.name
    assert (True, [True]) == (is_sound(copy), passes(copy, token))
    assert read_pepper(path) == read_pepper(copy)
