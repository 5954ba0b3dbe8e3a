"""Opens a file that is a store, or another database of ours: its engine, its transactions, its version (ADR-0029).

Laws of this file:
- A writer takes the lock when it begins: one that reads first and writes then would be refused whatever it waits.
- What is no store of ours is refused before anything is written to it.
- SQLAlchemy's own messages hold statements and values, so that of an error only SQLite's words are told.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import attrs
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from dragoman.adapters.store.tables import APPLICATION_ID, HEAD
from dragoman.ports import StoreError


@attrs.frozen(kw_only=True)
class Schema:
    """What a database of ours is: its *noun*, what its header says, and its newest migration, which all are there."""

    noun: str
    application_id: int
    head: str
    migrations: Path


STORE: Final = Schema(
    noun="store",
    application_id=APPLICATION_ID,
    head=HEAD,
    migrations=Path(__file__).with_name("migrations"),
)

_PRAGMAS: Final = ("synchronous = FULL", "foreign_keys = ON")
"""How every connection behaves; a commit is on the disk when it returns, also where the power fails after it."""

PATIENCE: Final = 5000
"""For how many milliseconds SQLite waits for another writer."""

_BEGIN: Final = "dragoman_begin"
"""The execution option that says how a transaction begins; with None there is none, for what SQLite does outside."""

_ATTEMPTS: Final = 12
"""How often SQLite waits so long before a writer gives up. Who waits is not queued, so that one may be unlucky."""

_SWITCHES: Final = 200
_SWITCH_PAUSE: Final = 0.05
"""SQLite does not wait when it is told to keep a WAL while another process opens the file: we do, up to 10 s."""


@asynccontextmanager
async def opened(path: Path, schema: Schema = STORE) -> AsyncIterator[AsyncEngine]:
    """Give the engine of the store at *path*, made or brought up to date where it must be, until the end of the block.

    Another *schema* makes it another database of ours.

    Raises:
        StoreError: naming what is wrong with the file.
    """
    _make_file(path, schema)
    with telling(path, schema):
        # What cannot be opened is told here: aiosqlite's thread may fail, and print it, when the loop ends just then.
        sqlite3.connect(_uri(path), uri=True).close()
    engine = build_engine(path)
    try:
        with telling(path, schema):
            await _bring_up_to_date(engine, path, schema)
        yield engine
    finally:
        await engine.dispose()


def build_engine(path: Path, *, patience: int = PATIENCE) -> AsyncEngine:
    """Return an engine on the file at *path*, which must be there; whoever builds it disposes of it.

    *patience* is for how many milliseconds a connection waits for another writer.
    """
    name, _, _ = _uri(path).partition("?")
    url = URL.create("sqlite+aiosqlite", database=name, query={"mode": "rw", "uri": "true"})
    engine = create_async_engine(url, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", partial(_prepare, patience))
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _uri(path: Path) -> str:
    """Return what names the file at *path*, which must be there: SQLite would make it anew without its mode."""
    return f"file:{quote(str(path.absolute()))}?mode=rw"


def _prepare(patience: int, connection: Any, _: object) -> None:  # noqa: ANN401 - whatever the driver connects with
    connection.isolation_level = None  # Python's driver must not begin transactions on its own (SQLAlchemy's recipe)
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {patience}", *_PRAGMAS):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if statement is not None:
        connection.exec_driver_sql(statement)


@asynccontextmanager
async def writing(engine: AsyncEngine, *, attempts: int = _ATTEMPTS) -> AsyncIterator[AsyncConnection]:
    """Give a connection that holds the lock of all writers; what was written is durable when the block has ended."""
    async with engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}).connect() as connection:
        for attempt in range(1, attempts + 1):
            try:
                await connection.begin()
                break
            except OperationalError as error:  # nothing has been written yet, so that it may be tried again
                if attempt == attempts or not _is_busy(error):
                    raise
        yield connection
        await connection.commit()


@contextmanager
def telling(path: Path, schema: Schema = STORE) -> Iterator[None]:
    """Turn what the database complains about in the block into a `StoreError` that names the store at *path*."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        origin = error.orig if isinstance(error, DBAPIError) else error
        raise StoreError(_complaint(path, schema.noun, str(origin))) from None
    except OSError as error:
        message = f"the {schema.noun} {path} cannot be used: {error.strerror}"
        raise StoreError(message) from None


def _complaint(path: Path, noun: str, told: str) -> str:
    if "not a database" in told:
        return f"{path} is no {noun}: it is no SQLite database; name another file with --store or DRAGOMAN_STORE"
    if not path.exists():
        return f"the {noun} {path} is gone; put it back, or name another with --store or DRAGOMAN_STORE"
    if "locked" in told:
        return f"the {noun} {path} is busy: another process has been writing to it for a minute; try again"
    return f"the {noun} {path} cannot be used: {told}"


def _is_busy(error: DBAPIError) -> bool:
    # Its lowest byte is what went wrong; the others say when (SQLite's extended result codes).
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _make_file(path: Path, schema: Schema) -> None:
    """Make an empty file for its owner's eyes only, unless there is one; SQLite takes it for an empty database."""
    try:
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # A file that is there is left alone: closing it would take away the locks that SQLite holds on it (POSIX).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        message = (
            f"the {schema.noun} {path} cannot be made: {error.strerror}; name another with --store or DRAGOMAN_STORE"
        )
        raise StoreError(message) from None


async def _bring_up_to_date(engine: AsyncEngine, path: Path, schema: Schema) -> None:
    async with engine.connect() as connection:
        revision = await _revision_of(connection, path, schema)
    if revision == schema.head:
        return
    if revision is None:
        await _keep_a_wal(engine, path, schema)
    async with writing(engine) as connection:
        revision = await _revision_of(connection, path, schema)  # another process may have been quicker
        if revision != schema.head:
            await connection.run_sync(_upgrade, path, schema, revision)


async def require_head(connection: AsyncConnection, path: Path) -> None:
    """Refuse what is no store of this version, without changing it.

    Raises:
        StoreError: naming what it is.
    """
    revision = await _revision_of(connection, path, STORE)
    if revision != HEAD:
        message = f"the store {path} has the revision {revision}, and this version reads {HEAD}; start it again"
        raise StoreError(message)


async def _revision_of(connection: AsyncConnection, path: Path, schema: Schema) -> str | None:
    """Return the newest migration of the database, None for an empty one."""
    application = (await connection.exec_driver_sql("PRAGMA application_id")).scalar_one()
    objects = (await connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")).scalar_one()
    if application == 0 and objects == 0:
        return None
    if application != schema.application_id:
        message = f"{path} is no {schema.noun}: it is a database of another program; name another file with --store"
        raise StoreError(message)
    revision: str = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one()
    return revision


async def _keep_a_wal(engine: AsyncEngine, path: Path, schema: Schema) -> None:
    """Make the database keep a write-ahead log, so that readers and the writer never wait for each other."""
    async with engine.execution_options(**{_BEGIN: None}).connect() as connection:
        for _ in range(_SWITCHES):
            try:
                mode = (await connection.exec_driver_sql("PRAGMA journal_mode = WAL")).scalar_one()
            except OperationalError as error:
                if not _is_busy(error):
                    raise
                await connection.rollback()
                await asyncio.sleep(_SWITCH_PAUSE)
                continue
            if mode != "wal":
                message = f"the {schema.noun} {path} lies on a file system that cannot hold it; name another place"
                raise StoreError(message)
            return
    message = f"the {schema.noun} {path} is busy: another process has been opening it for 10 s; try again"
    raise StoreError(message)


def _upgrade(connection: Connection, path: Path, schema: Schema, revision: str | None) -> None:
    """Run the migrations after *revision*, within the transaction of *connection*."""
    # PERF: Alembic takes 0.2 s to import, and a store that is up to date does not need it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    place = str(schema.migrations).replace("%", "%%")  # ConfigParser takes % for a reference
    config.set_main_option("script_location", place)
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        message = (
            f"the {schema.noun} {path} was made by a newer version of dragoman (revision {revision}; this one knows "
            f"{schema.head}); use that version, or name another store with --store or DRAGOMAN_STORE"
        )
        raise StoreError(message)
    command.upgrade(config, "head")
