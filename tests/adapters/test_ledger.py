"""The ledger: written soon and durably, whole at the end, and never in silence less than it was given."""

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PosixPath
from typing import Any, Final

import attrs
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from gateway_conformance.rules import confirms
from sqlalchemy import Connection

from dragoman.adapters.ledger import LedgerQueue, NoLedger, ledger_path
from dragoman.adapters.ledger.queue import BATCH, CAPACITY
from dragoman.adapters.ledger.tables import HEAD, METADATA
from dragoman.adapters.ledger.writer import FAREWELL, INTERVAL, LEDGER, keeping
from dragoman.adapters.store.opening import build_engine, opened
from dragoman.model import AgentId, KeyId, OrganizationId, Usage
from dragoman.ports import DailyUse, LedgerEntry, StoreError
from dragoman.server.life import CLOSING
from fakes import NOW, RecordingLog
from process import PATIENCE, environment
from stores import by_hand, furnish, is_sound, rows

QUICK: Final = 0.01
"""Seconds between two writes, where it is not the matter how long that takes."""

ENTRY: Final = LedgerEntry(
    request_id="019edb2f-6ac0-7c3e-9b1d-3f0e5a7c2d41",
    at=NOW,
    organization=OrganizationId("acme"),
    key=KeyId("own"),
    agent=AgentId("main"),
    alias="general",
    operation="chat",
    outcome="ok",
    stream=True,
    usage=Usage(input_tokens=11, output_tokens=7, cached_tokens=5, reasoning_tokens=3),
    estimated=False,
    cost=123_456_789_012,
    duration_ms=12.5,
    first_token_ms=3.25,
    provider="vendor",
    upstream_model="large-1",
    attempts=2,
)
NO_SEED: Final = lambda *_: None  # noqa: E731 - what a test does not look at
ALL: Final = "SELECT request_id FROM entries ORDER BY number"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger can be made: in a folder that is not there yet."""
    return tmp_path / "new" / "our store?#%20.db.ledger"


def entries(count: int, **members: Any) -> list[LedgerEntry]:  # noqa: ANN401 - members of an entry
    """Return so many entries, whose requests are numbered."""
    return [attrs.evolve(ENTRY, request_id=f"{number:05}", **members) for number in range(count)]


def named(count: int) -> list[tuple[str]]:
    """Return the rows of so many of them."""
    return [(f"{number:05}",) for number in range(count)]


@attrs.define
class Kept:
    """A ledger that is written, and what was said of it."""

    path: Path
    queue: LedgerQueue
    log: RecordingLog = attrs.field(factory=RecordingLog)

    async def until(self, met: Callable[[], Any]) -> None:
        """Wait until *met* says something true, or fail."""
        async with asyncio.timeout(20):
            while not met():  # noqa: ASYNC110 - what is waited for happens in another thread
                await asyncio.sleep(QUICK)

    async def has(self, count: int) -> None:
        """Wait until so many entries are on the disk."""
        await self.until(lambda: self.path.exists() and [(count,)] == counted(self.path))

    @property
    def states(self) -> list[object]:
        """What was said of its state, in a word each."""
        return [fields["state"] for fields in self.log.states]


def counted(path: Path) -> list[tuple[Any, ...]]:
    """Return how many entries are in the ledger at *path*, if it is one, and is not locked for a moment.

    It does not wait for a lock: who holds it may need the event loop that is waiting here.
    """
    connection = sqlite3.connect(path, timeout=0)
    try:
        return connection.execute("SELECT count(*) FROM entries").fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


@asynccontextmanager
async def kept(  # noqa: PLR0913 - what a ledger is kept with
    path: Path,
    *,
    capacity: int = CAPACITY,
    batch: int = BATCH,
    interval: float = QUICK,
    farewell: float = FAREWELL,
    seed: Callable[[date, Mapping[KeyId, DailyUse]], None] = NO_SEED,
    now: datetime = NOW,
) -> AsyncIterator[Kept]:
    """Keep the ledger at *path* until the end of the block."""
    one = Kept(path, LedgerQueue(capacity=capacity, batch=batch))
    async with keeping(path, one.queue, now=lambda: now, seed=seed, log=one.log, interval=interval, farewell=farewell):
        yield one


def keep(path: Path, given: Sequence[LedgerEntry], **settings: Any) -> Kept:  # noqa: ANN401 - those of `kept`
    """Give a ledger some entries, end it at once, and return what was said."""

    async def work() -> Kept:
        async with kept(path, **settings) as one:
            for entry in given:
                one.queue.record(entry)
        return one

    return asyncio.run(work())


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the lock of all writers on the ledger at *path* in the block."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
    finally:
        connection.close()


# --- What is written --------------------------------------------------------------------------------------------------


def test_an_entry_is_written_as_it_is(path: Path) -> None:
    """Every member of an entry has its column, and what is not there has nothing in it."""
    bare = attrs.evolve(
        ENTRY,
        request_id="bare",
        organization=None,
        key=None,
        agent=None,
        stream=False,
        estimated=True,
        first_token_ms=None,
        provider=None,
        upstream_model=None,
        attempts=0,
    )

    keep(path, [ENTRY, bare])

    with by_hand(path) as connection:
        connection.row_factory = sqlite3.Row
        whole, less = [dict(row) for row in connection.execute("SELECT * FROM entries ORDER BY number")]
    usage = attrs.asdict(ENTRY.usage)
    expected = {**attrs.asdict(ENTRY, recurse=False), **usage, "at": 1_781_438_400_000, "number": 1}
    del expected["usage"]
    assert expected == whole
    absent = ("organization", "key", "agent", "first_token_ms", "provider", "upstream_model")
    changed = {"number": 2, "request_id": "bare", "stream": 0, "estimated": 1, "attempts": 0}
    assert {**expected, **dict.fromkeys(absent), **changed} == less


def test_a_ledger_is_made_where_there_is_none(path: Path) -> None:
    """A new ledger is for its owner's eyes only, keeps a write-ahead log, and is opened again as it is."""
    for _ in range(2):
        keep(path, [ENTRY])

    assert [0o700, 0o600] == [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)]
    assert [("wal",)] == rows(path, "PRAGMA journal_mode")
    assert [(2,)] == counted(path)
    assert [path] == list(path.parent.iterdir())


def test_the_migrations_make_the_table(path: Path) -> None:
    """A migrated ledger is what the code takes it for, and the newest migration is the one that the code names."""
    keep(path, [])

    def differences(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    async def look() -> object:
        async with opened(path, LEDGER) as engine, engine.connect() as connection:
            return await connection.run_sync(differences)

    assert [] == asyncio.run(look())
    assert [(HEAD,)] == rows(path, "SELECT version_num FROM alembic_version")


def test_every_commit_is_on_the_disk(path: Path) -> None:
    """A connection of the writer syncs every commit, and does not wait for long for another writer."""
    keep(path, [])

    async def work() -> list[object]:
        engine = build_engine(path, patience=250)
        async with engine.connect() as connection:
            found = [
                (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
                for name in ("synchronous", "busy_timeout")
            ]
        await engine.dispose()
        return found

    assert [2, 250] == asyncio.run(work())


def test_the_ledger_lies_beside_the_store(tmp_path: Path) -> None:
    """The name of the store leads to its ledger, which is no store, as a store is no ledger."""
    store = tmp_path / "dragoman.db"
    furnish(store)
    path = ledger_path(store)
    assert tmp_path / "dragoman.db.ledger" == path

    with pytest.raises(StoreError, match="is no ledger: it is a database of another program"):
        keep(store, [ENTRY])
    keep(path, [ENTRY])

    assert [(1,)] == counted(path)


@pytest.mark.parametrize("content", [b"no database at all" * 99, b"\xff" * 4096])
def test_what_is_no_ledger_is_refused_at_the_start(path: Path, content: bytes) -> None:
    """A file of another kind is named, and not written to."""
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(StoreError, match="is no ledger"):
        keep(path, [ENTRY])

    assert content == path.read_bytes()


def test_a_ledger_of_a_newer_version_is_refused(path: Path) -> None:
    """A ledger whose revision is not known is named, and told whose it is."""
    keep(path, [])
    with by_hand(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match=r"the ledger .* was made by a newer version"):
        keep(path, [ENTRY])


# --- When it is written -----------------------------------------------------------------------------------------------


@confirms("ADR-0041.R7")
def test_an_entry_is_on_the_disk_after_the_interval(path: Path) -> None:
    """What is recorded is written soon, while the gateway goes on."""

    async def work() -> None:
        async with kept(path) as one:
            for count, entry in enumerate(entries(3), start=1):
                one.queue.record(entry)
                await one.has(count)

    asyncio.run(work())


def test_a_batch_does_not_wait_for_the_interval(path: Path) -> None:
    """As soon as there are enough entries, they are written."""

    async def work() -> None:
        async with kept(path, batch=10, interval=3600) as one:
            for entry in entries(25):
                one.queue.record(entry)
            await one.has(25)

    asyncio.run(work())


@confirms("ADR-0041.R7")
def test_recording_waits_for_nothing(path: Path) -> None:
    """While nothing can be written, recording goes on, and what was recorded is written as soon as it can be."""

    async def work() -> Kept:
        async with kept(path) as one:
            with locked(path):
                for entry in entries(2000):
                    one.queue.record(entry)
                await one.until(lambda: one.log.states)
                assert [(0,)] == counted(path)
            await one.has(2000)
            await one.until(lambda: len(one.log.states) == 2)
        return one

    one = asyncio.run(work())

    reason = f"the ledger {path} is busy: another process has been writing to it for a minute; try again"
    assert [{"part": "ledger", "state": "bad", "reason": reason}, {"part": "ledger", "state": "good"}] == one.log.states
    assert named(2000) == rows(path, ALL)


# --- The end ----------------------------------------------------------------------------------------------------------


@confirms("ADR-0041.R7")
@pytest.mark.parametrize("count", [0, 1, 3 * BATCH + 7])
def test_all_that_was_recorded_is_there_at_the_end(path: Path, count: int) -> None:
    """However much waits when the gateway ends, it is on the disk when it has ended, in order."""
    one = keep(path, entries(count), interval=3600)

    assert named(count) == rows(path, ALL)
    assert [] == one.log.states


@confirms("ADR-0041.R7")
def test_all_is_written_also_by_who_ends_while_the_disk_is_busy(path: Path) -> None:
    """Somebody else holds the ledger when the gateway ends: as soon as he lets go, everything is written."""

    async def work() -> Kept:
        keeper = kept(path, interval=3600, farewell=20)
        one = await keeper.__aenter__()
        for entry in entries(700):
            one.queue.record(entry)
        with locked(path):
            ending = asyncio.create_task(keeper.__aexit__(None, None, None))
            await one.until(lambda: one.log.states)
            assert not ending.done()
        await ending
        return one

    one = asyncio.run(work())

    assert named(700) == rows(path, ALL)
    assert ["bad", "good"] == one.states


@confirms("ADR-0041.R8")
def test_what_cannot_be_written_at_the_end_is_told(path: Path) -> None:
    """Where the disk stays busy, the gateway ends in time, and says how many entries it could not keep."""

    async def work() -> Kept:
        async with kept(path, interval=3600, farewell=0.3) as one:
            for entry in entries(12):
                one.queue.record(entry)
            lock = locked(path)
            lock.__enter__()
        lock.__exit__(None, None, None)
        return one

    one = asyncio.run(work())

    assert ["bad", "bad"] == one.states
    assert 12 == one.log.states[-1]["lost"]
    assert "busy" in str(one.log.states[-1]["reason"])


def test_the_farewell_fits_into_what_the_server_gives() -> None:
    """The server waits for the hooks longer than the ledger takes, so that what is lost is told."""
    assert CLOSING > FAREWELL + 0.5


KILLED: Final = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_ledger import ENTRY, LedgerQueue, NO_SEED, NOW, RecordingLog
from dragoman.adapters.ledger import keep_ledger
import attrs

async def work():
    queue, number = LedgerQueue(), 0
    async with keep_ledger(Path(sys.argv[1]), queue, now=lambda: NOW, seed=NO_SEED, log=RecordingLog()):
        while True:
            queue.record(attrs.evolve(ENTRY, request_id=f"{{number:05}}"))
            print(number, flush=True)
            number += 1
            await asyncio.sleep(0.002)

asyncio.run(work())
"""


@confirms("ADR-0041.R7")
def test_who_is_killed_loses_no_more_than_the_interval(path: Path) -> None:
    """A process that is killed leaves a sound ledger, with all but what it recorded in its last moments."""
    script = KILLED.format(path=[str(Path(__file__).parent), str(Path(__file__).parents[1])])
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        recorded = [int(process.stdout.readline()) for _ in range(1000)]
        os.kill(process.pid, signal.SIGKILL)
        recorded += [int(line) for line in process.stdout if line.endswith(b"\n")]
        process.wait(PATIENCE)

    written = rows(path, ALL)

    assert is_sound(path)
    assert named(len(written)) == written
    # They are 2 ms apart at least: those of one interval, and of the time that two writes take on a slow machine.
    assert len(recorded) - len(written) <= 3 * INTERVAL / 0.002 < len(recorded)


# --- What goes wrong --------------------------------------------------------------------------------------------------


@confirms("ADR-0041.R8")
def test_no_more_waits_than_there_is_room_for_and_what_is_dropped_is_told(path: Path) -> None:
    """While nothing can be written, the newest entries wait; how many others there were is told, and told once."""

    async def work() -> Kept:
        async with kept(path, capacity=50, batch=10) as one:
            with locked(path):
                for entry in entries(120):
                    one.queue.record(entry)
                await one.until(lambda: len(one.log.states) == 2)
                assert 50 >= len(one.queue)
            await one.until(lambda: len(one.log.states) == 3)
        return one

    one = asyncio.run(work())

    [busy, full, good] = one.log.states
    assert ("bad", "bad", "good") == (busy["state"], full["state"], good["state"])
    assert "50 entries wait, and the oldest are dropped" == full["reason"]
    written = rows(path, ALL)
    assert (120 - len(written), named(120)[-len(written) :]) == (good["lost"], written)


@confirms("ADR-0041.R8")
def test_one_bad_entry_does_not_hold_up_the_others(path: Path) -> None:
    """An entry that no database takes is dropped and told; the others are written once, in their order."""
    given = entries(30)
    given[7] = attrs.evolve(given[7], outcome="\ud800")
    given[8] = attrs.evolve(given[8], alias=None)  # type: ignore[arg-type]
    given[9] = attrs.evolve(given[9], at=None)  # type: ignore[arg-type]

    one = keep(path, given)

    assert [row for number, row in enumerate(named(30)) if number not in (7, 8, 9)] == rows(path, ALL)
    assert [("bad", 1)] * 3 == [(state["state"], state["lost"]) for state in one.log.states]
    assert ["UnicodeEncodeError", "IntegrityError", "TypeError"] == [
        str(state["reason"]).removeprefix("an entry cannot be written: ") for state in one.log.states
    ]


def test_what_an_upstream_says_it_used_is_kept_as_far_as_a_database_can(path: Path) -> None:
    """No number is too large to be written, nor the sum of several too large to be read."""
    vast = Usage(input_tokens=10**30, output_tokens=2**63 - 1)
    seen: list[Mapping[KeyId, DailyUse]] = []

    keep(path, [attrs.evolve(ENTRY, usage=vast, cost=10**40)] * 3)
    keep(path, [], seed=lambda _, used: seen.append(used))

    assert [(2**63 - 1, 2**63 - 1)] * 3 == rows(path, "SELECT input_tokens, cost FROM entries")
    assert seen[0][KeyId("own")].tokens > 2**64


class OddPath(PosixPath):
    """A path that cannot always be looked at, for a reason that nobody foresaw."""

    odd = False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return what there is, or fail."""
        if self.odd:
            message = "with a secret in it"
            raise RuntimeError(message)
        return super().stat(follow_symlinks=follow_symlinks)


def test_a_fault_of_ours_is_told_by_its_type_and_nothing_is_lost(path: Path) -> None:
    """Whatever goes wrong, what was taken waits again."""
    odd = OddPath(path)

    async def work() -> Kept:
        async with kept(odd) as one:
            odd.odd = True
            one.queue.record(ENTRY)
            await one.until(lambda: one.log.states)
            odd.odd = False
        return one

    one = asyncio.run(work())

    assert {"part": "ledger", "state": "bad", "reason": "the ledger cannot be written: RuntimeError"} == (
        one.log.states[0]
    )
    assert [(1,)] == counted(path)


@pytest.mark.parametrize("other", [None, b"", b"another file"])
def test_nothing_is_written_while_the_file_is_not_there(path: Path, other: bytes | None) -> None:
    """Where the file was moved, or another one is in its place, entries wait; when it is back they are written."""
    aside = path.with_name("aside")

    async def work() -> Kept:
        async with kept(path) as one:
            one.queue.record(ENTRY)
            await one.has(1)
            path.rename(aside)  # noqa: ASYNC240 - on a local disk
            if other is not None:
                path.write_bytes(other)  # noqa: ASYNC240
            one.queue.record(ENTRY)
            await one.until(lambda: one.log.states)
            aside.rename(path)
            one.queue.record(ENTRY)
        return one

    one = asyncio.run(work())

    assert is_sound(path)
    assert [(3,)] == counted(path)
    assert ["bad", "good"] == one.states
    assert f"the ledger {path} was moved while it was in use" in str(one.log.states[0]["reason"])


# --- What is read -----------------------------------------------------------------------------------------------------

TODAY: Final = NOW.date()
MIDNIGHT: Final = datetime(2026, 6, 14, tzinfo=UTC)
OTHER: Final = KeyId("other")


@confirms("ADR-0041.R3")
def test_a_start_finds_what_keys_have_used_today(path: Path) -> None:
    """Requests that were sent and their tokens are summed by key, of this day in UTC, from midnight to midnight."""
    seen: list[tuple[date, Mapping[KeyId, DailyUse]]] = []
    moments = [MIDNIGHT, NOW, MIDNIGHT + timedelta(days=1, milliseconds=-1)]
    others = [MIDNIGHT - timedelta(milliseconds=1), MIDNIGHT + timedelta(days=1)]
    given = [attrs.evolve(ENTRY, at=at) for at in moments + others]
    given += [attrs.evolve(ENTRY, key=OTHER), attrs.evolve(ENTRY, key=OTHER, usage=Usage(), attempts=0)]
    given += [attrs.evolve(ENTRY, key=None)]
    keep(path, given)

    keep(path, [], seed=lambda day, used: seen.append((day, used)))

    expected = {KeyId("own"): DailyUse(requests=3, tokens=54), OTHER: DailyUse(requests=1, tokens=18)}
    assert [(TODAY, expected)] == seen


def test_a_new_ledger_has_no_use(path: Path) -> None:
    """At the first start nobody has used anything, and the day is that of UTC wherever the clock is."""
    seen: list[tuple[date, Mapping[KeyId, DailyUse]]] = []
    late = datetime.fromisoformat("2026-06-15T01:00:00+09:00")

    keep(path, [], seed=lambda day, used: seen.append((day, used)), now=late)

    assert [(TODAY, {})] == seen


# --- Without a file ---------------------------------------------------------------------------------------------------


def test_without_a_file_nothing_is_kept() -> None:
    """A gateway of which nothing is to outlive the process forgets what was used."""
    NoLedger().record(ENTRY)


def test_a_queue_gives_what_it_got_in_order() -> None:
    """What is taken and put back is given again before what came meanwhile, and what does not fit is counted."""
    queue, given = LedgerQueue(capacity=5), entries(9)
    chance = random.Random(3)  # noqa: S311 - the same on every run
    for entry in given[:5]:
        queue.record(entry)

    taken = queue.take(3)
    for entry in given[5:]:
        queue.record(entry)
    queue.put_back(taken)

    assert given[:3] == list(taken)
    assert (given[4:], 4) == (list(queue.take(chance.randrange(9, 99))), queue.lost)
