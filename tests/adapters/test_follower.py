"""Following a store: what others change is obeyed; what cannot be read leaves the last good directory in force."""

import asyncio
import itertools
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from dragoman.adapters.directory import Contents, CurrentDirectory, Directory
from dragoman.adapters.store import read_store
from dragoman.adapters.store.follower import PAUSE, following
from dragoman.adapters.store.opening import build_engine
from dragoman.adapters.store.pepper import pepper_path
from dragoman.adapters.store.reading import read_snapshot
from dragoman.adapters.store.tables import HEAD
from dragoman.model import Key, OrganizationId
from dragoman.ports import Administration, StoreError
from fakes import RecordingLog
from stores import (
    CATALOGUE,
    SCOPES,
    administer,
    apply,
    by_hand,
    directory_of,
    furnish,
    opened,
    organization_of,
    passes,
    rows,
    spoil,
)

QUICK: Final = 0.01
"""Seconds between two looks, where it is not the matter how long that takes."""

OBEYED: Final = 2.0
"""Seconds within which a change is obeyed (ADR-0029.R1)."""

GOOD: Final = {"part": "store", "state": "good"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store can be made."""
    return tmp_path / "store.db"


class Followed:
    """A store that is followed, and what the follower said."""

    def __init__(self) -> None:
        """Begin with nothing in force."""
        self.current = CurrentDirectory(directory=directory_of())
        self.log = RecordingLog()

    async def until(self, met: Callable[[], Any]) -> None:
        """Wait until *met* says something true, or fail."""
        async with asyncio.timeout(20):
            while not met():  # noqa: ASYNC110 - what is waited for happens in another process, or looks like it
                await asyncio.sleep(QUICK)

    async def looks(self, ran: list[str]) -> None:
        """Wait until the follower has looked twice more: the first look may have begun before."""

        def looks() -> int:
            return sum("revision.number" in statement for statement in ran)

        enough = looks() + 2
        await self.until(lambda: looks() >= enough)

    @property
    def states(self) -> list[object]:
        """What was said of the store's state, in a word each."""
        return [fields["state"] for fields in self.log.states]


@asynccontextmanager
async def followed(
    path: Path, *, pause: float = QUICK, make: Callable[[Contents], Directory] = directory_of
) -> AsyncIterator[Followed]:
    """Follow the store at *path* until the end of the block."""
    one = Followed()
    async with following(path, one.current, build=make, log=one.log, pause=pause):
        yield one


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Give the statements that any engine runs in the block."""
    ran: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield ran
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@confirms("ADR-0029.R1")
def test_a_change_is_obeyed_in_time(path: Path) -> None:
    """What is made and what is revoked in a store is obeyed within 2 s by who follows it as a gateway does."""
    issued = furnish(path)

    async def work() -> list[float]:
        loop, times = asyncio.get_running_loop(), []
        async with followed(path, pause=PAUSE) as one, opened(path) as administration:
            assert await one.current.principal(issued.token) is not None
            for passing in (False, True):
                begun = loop.time()
                if passing:
                    token = (await administration.create_key("acme", scopes=SCOPES)).token
                else:
                    token = issued.token
                    await administration.revoke(Key, issued.entry.noun.id)
                while (await one.current.principal(token) is not None) is not passing:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(QUICK)
                times.append(loop.time() - begun)
        return times

    assert [] == [time for time in asyncio.run(work()) if time > OBEYED]


@confirms("ADR-0029.R1")
def test_a_snapshot_is_of_one_moment(path: Path) -> None:
    """However often a key is rotated meanwhile, a reading holds one successor of it, and never none or two."""
    furnish(path)

    async def rotate(administration: Administration) -> None:
        key = (await administration.entries(Key))[0].noun.id
        for _ in range(30):
            key = (await administration.rotate_key(key, overlap=timedelta(0))).issued.entry.noun.id

    async def work() -> list[int]:
        engine, found = build_engine(path), []
        async with opened(path) as administration:
            rotating = asyncio.create_task(rotate(administration))
            while not rotating.done():
                kept = (await read_snapshot(engine, path)).contents.keys.values()
                found.append(sum(key.expires is None for key in kept))
            await rotating
        await engine.dispose()
        return found

    found = asyncio.run(work())

    assert len(found) > 5
    assert {1} == set(found)


BROKEN: Final[list[tuple[str, str, object]]] = [
    ("organizations", "rate", "1/y"),
    ("keys", "rate", "sesame"),
    ("keys", "scopes", '["chat"'),
    ("keys", "scopes", "{}"),
    ("keys", "scopes", "[1]"),
    ("keys", "digest", b"\0"),
    ("keys", "digest", "sesame"),
    ("keys", "expires", "sesame"),
    ("keys", "expires", 9_000_000_000_000_000_000),
    ("keys", "id", b"\0"),
    ("agents", "name", b"\0"),
    ("aliases", "category", "sesame"),
    ("aliases", "visible_to", "sesame"),
    ("aliases", "created", "sesame"),
    ("organizations", "token_rate", "sesame"),
    ("organizations", "guardrails", "sesame"),
    ("organizations", "guardrails", '["sesame"]'),
    ("keys", "token_rate", "0/m"),
    ("keys", "daily_requests", "sesame"),
    ("keys", "daily_requests", 0),
    ("keys", "daily_tokens", -1),
    ("aliases", "token_rate", "sesame"),
    ("aliases", "guardrails", '["sesame"]'),
    ("aliases", "targets", "sesame"),
    ("aliases", "targets", "{}"),
    ("aliases", "targets", "[1]"),
    ("aliases", "targets", '[{"provider": "sesame"}]'),
    ("aliases", "targets", '[{"provider": 1}]'),
    ("aliases", "targets", '[{"provider": "echo", "weight": 0}]'),
    ("aliases", "targets", '[{"provider": "echo", "order": -1}]'),
    ("aliases", "targets", '[{"provider": "echo", "model": ""}]'),
    ("aliases", "targets", '[{"provider": "echo", "sesame": 1}]'),
    ("aliases", "targets", '[{"provider": "echo", "timeouts": {"connect": 0.0}}]'),
    ("aliases", "targets", '[{"provider": "echo", "timeouts": []}]'),
    ("aliases", "prices", "[]"),
    ("aliases", "prices", '{"input": 1.5}'),
    ("aliases", "prices", '{"input": -1}'),
    ("aliases", "display_name", ""),
    ("providers", "kind", "sesame"),
    ("providers", "base_url", None),
    ("providers", "base_url", "https://user:sesame@llm.example"),
    ("providers", "key", "sesame"),
    ("providers", "headers", '{"Authorization": "sesame"}'),
    ("providers", "headers", '{"X-Team": 1}'),
    ("providers", "headers", '{"X Team": "sesame"}'),
    ("providers", "quirks", '["Sesame!"]'),
    ("providers", "private", "sesame"),
    ("providers", "capacity", 0),
    ("guardrails", "action", "sesame"),
    ("guardrails", "stages", "[]"),
    ("guardrails", "stages", '["sesame"]'),
    ("guardrails", "detectors", "{}"),
    ("guardrails", "patterns", '["sesame"]'),
    ("guardrails", "keywords", '[""]'),
    ("guardrails", "max_chars", -1),
    ("guardrails", "webhook", "https://watch.example/?key=sesame"),
]
"""Table, column, and what must not stand there."""


def put(path: Path, table: str, column: str, value: object) -> object:
    """Put *value* into the only row of *table*, and return what stood there."""
    [(before,)] = rows(path, f"SELECT {column} FROM {table} WHERE number = 1")  # noqa: S608 - names of our own
    spoil(path, f"UPDATE {table} SET {column} = ? WHERE number = 1", value)  # noqa: S608 - names of our own
    return before


@confirms("ADR-0029.R2", "ADR-0040.R7")
@pytest.mark.parametrize(("table", "column", "value"), BROKEN)
def test_a_broken_row_leaves_the_last_good_directory_in_force(
    path: Path, table: str, column: str, value: object
) -> None:
    """One row that breaks a rule makes all that is new bad; it is told once, unquoted, and once when it is mended."""
    issued = furnish(path)
    apply(path)
    organization = OrganizationId(organization_of(path))

    async def work() -> None:
        async with followed(path) as one:
            last = one.current.directory
            with counted_statements() as ran:
                add_agent_by_hand(path)
                before = put(path, table, column, value)
                await one.until(lambda: one.states)
                await one.looks(ran)
                assert last is one.current.directory
                assert await one.current.principal(issued.token) is not None
                put(path, table, column, before)
                await one.until(lambda: len(one.states) > 1)
                await one.looks(ran)
            assert await one.current.principal(issued.token) is not None
            assert await one.current.agent(organization, "beside") is not None
            bad, good = one.log.states
            wanted = (
                "the (organisation|key|agent|alias|provider|guardrail) .+ in the store (breaks a rule: .+|names .+)"
            )
            assert re.fullmatch(wanted, str(bad["reason"]))
            assert "sesame" not in str(bad) or " names the " in str(bad["reason"])
            assert GOOD.items() < good.items()

    asyncio.run(work())


def add_agent_by_hand(path: Path) -> None:
    """Add a sound agent, without raising the revision: a sound row beside a broken one."""
    with by_hand(path) as connection:
        connection.execute(
            "INSERT INTO agents (created, id, organization, name) "
            "SELECT 1, 'beside', id, 'beside' FROM organizations WHERE name = 'acme'"
        )


def move(path: Path) -> None:
    """Put the store out of its place."""
    path.rename(path.with_name("aside"))


def move_back(path: Path) -> None:
    """Put the store back into its place."""
    path.with_name("aside").replace(path)


def overwrite(path: Path) -> None:
    """Put something else in the place of the store."""
    move(path)
    path.write_text("our diary\n" * 1000)


def lose_pepper(path: Path) -> None:
    """Put the pepper out of its place, and have the store read."""
    pepper_path(path).rename(path.with_name("aside"))
    spoil(path, "SELECT 1")


def show_pepper(path: Path) -> None:
    """Let everybody read the pepper, and have the store read."""
    pepper_path(path).chmod(0o644)
    spoil(path, "SELECT 1")


GONE: Final[dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]]] = {
    "moved": (move, move_back),
    "overwritten": (overwrite, move_back),
    "of another version": (
        lambda path: spoil(path, "UPDATE alembic_version SET version_num = '9999'"),
        lambda path: spoil(path, "UPDATE alembic_version SET version_num = ?", HEAD),
    ),
    "without its pepper": (lose_pepper, lambda path: path.with_name("aside").rename(pepper_path(path))),
    "with a pepper for all": (
        show_pepper,
        lambda path: pepper_path(path).chmod(0o600),
    ),
}
"""How a store can go, and come back."""


@confirms("ADR-0029.R2")
@pytest.mark.parametrize("how", GONE)
def test_a_store_that_is_gone_leaves_the_last_good_directory_in_force(path: Path, how: str) -> None:
    """A store that is gone, damaged, migrated or unproved is told once; when it is back, that is told, and obeyed."""
    issued = furnish(path)
    take, give = GONE[how]

    async def work() -> list[object]:
        async with followed(path) as one:
            take(path)
            await one.until(lambda: one.states)
            assert await one.current.principal(issued.token) is not None
            give(path)
            await one.until(lambda: len(one.states) > 1)
            await asyncio.to_thread(administer, path, lambda store: store.revoke(Key, issued.entry.noun.id))
            last = one.current.directory
            await one.until(lambda: last is not one.current.directory)
            assert await one.current.principal(issued.token) is None
            return one.states

    assert ["bad", "good"] == asyncio.run(work())


def test_another_store_in_its_place_is_obeyed(path: Path) -> None:
    """A store that replaces the followed one, as a backup does, is followed, also when it has the same revision."""
    first = furnish(path)
    other = path.with_name("other.db")
    second = furnish(other)

    async def work() -> list[object]:
        async with followed(path) as one:
            last = one.current.directory
            pepper_path(other).replace(pepper_path(path))
            other.replace(path)
            await one.until(lambda: last is not one.current.directory)
            found = [await one.current.principal(token) is not None for token in (first.token, second.token)]
            return [found, one.states]

    assert [[False, True], []] == asyncio.run(work())


def test_a_fault_of_ours_does_not_end_the_following(path: Path) -> None:
    """What nobody has thought of is told by its kind, without its text, and the store is followed on."""
    issued = furnish(path)
    faults = itertools.chain([None], [ValueError("sesame")] * 3, itertools.repeat(None))

    def faulty(stored: Contents) -> Directory:
        fault = next(faults)
        if fault is not None:
            raise fault
        return directory_of(stored)

    async def work() -> list[dict[str, object]]:
        async with followed(path, make=faulty) as one:
            await asyncio.to_thread(administer, path, lambda store: store.revoke(Key, issued.entry.noun.id))
            await one.until(lambda: len(one.states) > 1)
            assert await one.current.principal(issued.token) is None
            return one.log.states

    bad = {"part": "store", "state": "bad", "reason": "the store cannot be read: ValueError"}
    assert [bad, {**GOOD, "revision": 5}] == asyncio.run(work())


@confirms("ADR-0040.R7")
def test_what_is_no_longer_there_leaves_the_last_good_catalogue_in_force(path: Path) -> None:
    """A provider that another hand revokes while an alias names it makes the snapshot bad, and it is named."""
    furnish(path)
    apply(path)

    async def work() -> list[object]:
        async with followed(path) as one:
            spoil(path, "UPDATE providers SET revoked = 1 WHERE id = 'echo'")
            await one.until(lambda: one.states)
            assert {"vendor", "echo"} == set(one.current.providers)
            return [fields["reason"] for fields in one.log.states]

    said = "the alias 'general' in the store names the provider 'echo', which is not there"
    assert [said] == asyncio.run(work())


@confirms("ADR-0040.R6")
def test_a_watcher_hears_of_each_snapshot_before_it_is_in_force(path: Path) -> None:
    """What follows the snapshot has the new providers when the directory has, and neither has them before."""
    furnish(path)
    seen: list[tuple[set[str], set[str]]] = []

    async def work() -> None:
        async with followed(path) as one:
            one.current.watch(lambda new: seen.append((set(new.providers), set(one.current.providers))))
            await asyncio.to_thread(apply, path)
            await one.until(lambda: one.current.providers)
            assert set(one.current.providers) == {"vendor", "echo"}

    asyncio.run(work())
    assert [(set(), set()), ({"vendor", "echo"}, set())] == seen


@confirms("ADR-0040.R6", "ADR-0040.R7")
def test_a_snapshot_that_a_watcher_refuses_is_not_in_force(path: Path) -> None:
    """A watcher that cannot follow keeps the snapshot out; that is told once, and obeyed when it can."""
    furnish(path)
    ready: list[bool] = []

    def follow(new: Directory) -> None:
        if new.providers and not ready:
            message = "the variable VENDOR_KEY is not set"
            raise StoreError(message)

    async def work() -> list[dict[str, object]]:
        async with followed(path) as one:
            one.current.watch(follow)
            await asyncio.to_thread(apply, path, CATALOGUE)
            await one.until(lambda: one.states)
            assert {} == one.current.providers
            ready.append(True)
            await one.until(lambda: len(one.states) > 1)
            assert {"vendor", "echo"} == set(one.current.providers)
            return one.log.states

    bad, good = asyncio.run(work())
    assert {"part": "store", "state": "bad", "reason": "the variable VENDOR_KEY is not set"} == bad
    assert GOOD.items() < good.items()


@pytest.mark.parametrize("how", ["broken", "no store"])
def test_a_store_that_is_bad_from_the_start_is_refused(path: Path, how: str) -> None:
    """There is nothing to leave in force when the first reading fails: it is refused by name."""
    if how == "broken":
        furnish(path)
        spoil(path, "UPDATE aliases SET category = 'x'")
    else:
        path.write_text("our diary\n" * 1000)

    async def work() -> None:
        async with followed(path):
            pytest.fail("it is followed")

    with pytest.raises(StoreError) as caught:
        asyncio.run(work())
    wanted = {"broken": "the alias 'general' in the store breaks a rule", "no store": f"{path} is no store"}
    assert str(caught.value).startswith(wanted[how])
    with pytest.raises(StoreError):
        passes(path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store that nobody changes."""
    path = tmp_path_factory.mktemp("shared") / "store.db"
    furnish(path)
    return path


TEXTS: Final = st.text(st.characters()) | st.binary(max_size=100).map(os.fsdecode)


@confirms("ADR-0030.R5", "ADR-0029.R1")
@given(st.lists(TEXTS | TEXTS.map(lambda text: f"cgt_aaaaaaaaaaaa_{text}"), min_size=1, max_size=20))
@settings(max_examples=50)
def test_no_token_reaches_the_database(shared: Path, tokens: list[str]) -> None:
    """Whatever is asked of a directory, it runs no statement; reading the store runs some, so that they are counted."""
    with counted_statements() as ran:
        directory = directory_of(asyncio.run(read_store(shared)))
        read = len(ran)
        found = [asyncio.run(directory.principal(token)) for token in tokens]
        agents = [asyncio.run(directory.agent(OrganizationId(token), token)) for token in tokens]

    assert read > 0
    assert ([None] * len(tokens), [None] * len(tokens), read) == (found, agents, len(ran))
