"""A gateway and its store: what others change while it serves is obeyed, and what was printed outlives any end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.store.pepper import pepper_path
from dragoman.app import build_gateway, prove_store
from dragoman.cli import main
from dragoman.contract.source import Source
from dragoman.model import Key
from dragoman.ports import StoreError
from process import PATIENCE, Served, ask, environment, free_port, run, serve_here, served
from stores import administer, bytes_of, furnish, is_sound, passes, rows, spoil
from test_app import settings

MODELS: Final = "GET /v1/models HTTP/1.1"
OBEYED: Final = 2.0
"""Seconds within which a change is obeyed (ADR-0029.R1)."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store of a test is."""
    return tmp_path / "store.db"


def status(running: Served, token: str) -> int:
    """Return the status that *token* gets."""
    return ask(running.port, MODELS, Authorization=f"Bearer {token}").status


def models(running: Served, token: str) -> list[str]:
    """Return the models that *token* sees."""
    return [one["id"] for one in ask(running.port, MODELS, Authorization=f"Bearer {token}").json()["data"]]


def told(path: Path, *arguments: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what a command in a process of its own prints with `--json`."""
    outcome = run(*arguments, "--json", "--store", str(path))
    assert 0 == outcome.code, outcome.err
    return json.loads(outcome.out)


def seconds_until(met: Callable[[], bool]) -> float:
    """Return after how many seconds *met* is true, which it must become."""
    begun = time.monotonic()
    while not met():
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.02)  # what is waited for needs the processor, too
    return time.monotonic() - begun


def serving(path: Path, **variables: str) -> AbstractContextManager[Served]:
    """Serve the store at *path* in a process of its own, which does not mind wrong credentials."""
    at = path.with_name("log")
    variables = {"DRAGOMAN_STORE": str(path), "DRAGOMAN_LIMIT_FAILED_LOGINS": "off", **variables}
    return served(at, "serve", "--port", "0", **variables)


def states(running: Served) -> list[Mapping[str, Any]]:
    """Return what the log says of changes of state."""
    whole = [line for line in running.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [event for event in map(json.loads, whole) if event["event"] == "state"]


# --- Obeying ----------------------------------------------------------------------------------------------------------


@confirms("ADR-0029.R1", "ADR-0030.R4")
def test_what_another_process_changes_is_obeyed_in_time(path: Path) -> None:
    """Keys, agents and aliases that a command makes, revokes or rotates count within 2 s in a gateway that serves."""
    late = []

    def obeyed(met: Callable[[], bool]) -> None:
        late.extend([passed for passed in [seconds_until(met)] if passed > OBEYED])

    with serving(path) as running:
        told(path, "orgs", "create", "acme")
        key = told(path, "keys", "create", "--org", "acme")
        obeyed(lambda: status(running, key["token"]) == 200)
        assert "gpt-4o" in models(running, key["token"])
        told(path, "aliases", "create", "general")
        obeyed(lambda: models(running, key["token"]) == ["general"])
        successor = told(path, "keys", "rotate", key["id"], "--overlap", "0")
        obeyed(lambda: status(running, key["token"]) == 401)
        assert 200 == status(running, successor["token"])
        told(path, "orgs", "revoke", "acme")
        obeyed(lambda: status(running, successor["token"]) == 401)
        content = running.log.read_text() + "".join(running.printed)

    assert [] == late
    secrets = [one["token"][-43:] for one in (key, successor)]
    assert [] == [secret for secret in secrets if secret in content or secret.encode() in bytes_of(path)]


@confirms("ADR-0029.R1")
def test_every_worker_obeys(path: Path) -> None:
    """A key that is revoked is refused by each of two workers within 2 s, whoever answers."""
    issued = furnish(path)
    with serving(path, DRAGOMAN_WORKERS="2", DRAGOMAN_ALLOW_DIVERGENT_LIMITS="on") as running:
        assert [200] * 20 == [status(running, issued.token) for _ in range(20)]
        administer(path, lambda one: one.revoke(Key, issued.entry.noun.id))
        time.sleep(OBEYED)  # the rule's own figure: nothing tells which worker has answered
        after = [status(running, issued.token) for _ in range(100)]

    assert [401] * 100 == after


@confirms("ADR-0029.R2")
def test_a_store_that_goes_bad_leaves_the_gateway_serving(path: Path) -> None:
    """The last good directory stays in force; one line says so, and one more says that all is well again."""
    issued = furnish(path)
    with serving(path) as running:
        before = status(running, issued.token)
        spoil(path, "UPDATE aliases SET category = 'sesame'")
        seconds_until(lambda: bool(states(running)))
        during = status(running, issued.token), models(running, issued.token)
        spoil(path, "UPDATE aliases SET category = 'llm', id = 'mended'")
        seconds_until(lambda: len(states(running)) > 1)
        after = models(running, issued.token)
        told_states = states(running)

    assert (200, (200, ["general"]), ["mended"]) == (before, during, after)
    assert [("warning", "store", "bad"), ("warning", "store", "good")] == [
        (event["level"], event["part"], event["state"]) for event in told_states
    ]


# --- Starting ---------------------------------------------------------------------------------------------------------


@confirms("ADR-0029.R6", "ADR-0030.R3")
@pytest.mark.parametrize("how", ["diary", "newer", "shown pepper", "lost pepper", "broken row", "damaged"])
def test_a_bad_store_ends_the_start_with_2_and_one_line(
    capsys: pytest.CaptureFixture[str], path: Path, how: str
) -> None:
    """A gateway and a command refuse a store that they cannot use, with exit code 2 and one line that names it."""
    if how != "diary":
        furnish(path)
    if how == "diary":
        path.write_text("our diary\n" * 1000)
    elif how == "newer":
        spoil(path, "UPDATE alembic_version SET version_num = '9999'")
    elif how == "shown pepper":
        pepper_path(path).chmod(0o644)
    elif how == "lost pepper":
        pepper_path(path).unlink()
    elif how == "broken row":
        spoil(path, "UPDATE keys SET rate = 'sesame'")
    else:
        path.write_bytes(path.read_bytes()[:6000])

    for command in (["serve", "--port", "0"], ["keys", "list"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--store", str(path)])
        printed = capsys.readouterr()
        assert (2, "", 1) == (ended.value.code, printed.out, printed.err.count("\n"))
        assert ("store" in printed.err, "sesame" in printed.err) == (True, False)


def test_a_store_that_goes_between_two_starts_is_named(path: Path) -> None:
    """A worker whose store has gone bad since the program looked cannot start, and says why on standard error."""
    script = (
        "import sys; from pathlib import Path; import dragoman.cli as cli; serve = cli.serve\n"
        "def spoilt(*arguments, **options):\n"
        "    Path(sys.argv[1]).write_text('our diary' * 99)\n"
        "    serve(*arguments, **options)\n"
        "cli.serve = spoilt\n"
        "cli.main(['serve', '--port', '0', '--store', sys.argv[1]])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert 0 != ended.returncode
    assert f"dragoman: {path} is no store: it is no SQLite database" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_serve_names_its_store_and_says_nothing_of_keys_that_there_are(
    capfd: pytest.CaptureFixture[str], path: Path
) -> None:
    """With a key in the store that `--store` names, it passes, and nobody is told that there is none."""
    port, answers, token = free_port(), [], furnish(path).token

    serve_here(
        ["serve", "--port", str(port), "--store", str(path)],
        port,
        lambda: answers.append(ask(port, MODELS, Authorization=f"Bearer {token}").status),
    )

    printed = capfd.readouterr()
    assert [200] == answers
    assert f"# the store is {path}" == printed.out.splitlines()[0]
    assert [] == [line for line in printed.err.splitlines() if not line.startswith("{")]


def test_a_gateway_is_made_without_its_store(path: Path) -> None:
    """Nothing is opened before the gateway starts: it is made from the settings alone."""
    build_gateway(Source(), settings(store=path))

    assert not path.exists()


def test_a_store_is_proved_before_it_is_served(path: Path) -> None:
    """Proving a store makes it, says whether it has a key in force, and refuses what a gateway could not read."""
    empty = prove_store(path)
    key = furnish(path).entry.noun.id
    keyed = prove_store(path)
    administer(path, lambda one: one.revoke(Key, key))

    assert (False, True, False) == (empty.keys, keyed.keys, prove_store(path).keys)
    spoil(path, "UPDATE aliases SET visible_to = '{'")
    with pytest.raises(StoreError, match="breaks a rule"):
        prove_store(path)


# --- Being killed -----------------------------------------------------------------------------------------------------

LOOP: Final = 'for _ in $(seq 50); do "$0" -m dragoman keys create --org acme --json --store "$1"; done'
"""Fifty commands in a row, each a process of its own."""

SHELLS: Final = 4


@contextmanager
def creating(path: Path, folder: Path) -> Iterator[list[Path]]:
    """Run 200 commands that make keys, in several shells, and kill what runs of them at the end of the block.

    Gives the files that they print to.
    """
    prints = [folder / f"printed-{number}" for number in range(SHELLS)]
    shells = []
    for file in prints:
        with file.open("wb") as out:
            command = ["bash", "-c", LOOP, sys.executable, str(path)]
            shells.append(
                subprocess.Popen(
                    command, env=environment(), stdout=out, stderr=subprocess.DEVNULL, start_new_session=True
                )
            )
    try:
        yield prints
    finally:
        for shell in shells:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


def printed_tokens(prints: list[Path]) -> list[str]:
    """Return every token that was printed whole."""
    decoder, tokens = json.JSONDecoder(), []
    for file in prints:
        text = file.read_text()
        while text:
            document, end = decoder.raw_decode(text)
            tokens.append(document["token"])
            text = text[end:].lstrip()
    return tokens


@confirms("ADR-0029.R3")
def test_what_was_printed_outlives_kill_9(path: Path, tmp_path: Path) -> None:
    """Killed in the middle of 200 commands, with the gateway, the store is whole and every printed key works."""
    furnish(path)
    with serving(path) as running:
        with creating(path, tmp_path) as prints:
            seconds_until(lambda: sum(file.stat().st_size > 0 for file in prints) == SHELLS)
            running.process.kill()
            running.process.wait(timeout=PATIENCE)
            at_kill = len(printed_tokens(prints))
            seconds_until(lambda: len(printed_tokens(prints)) >= at_kill + 2 * SHELLS)
        tokens = printed_tokens(prints)

    assert at_kill + 2 * SHELLS <= len(tokens) < 200
    assert is_sound(path)
    assert [True] * len(tokens) == passes(path, *tokens)
    with serving(path) as again:
        assert [200] * 5 == [status(again, token) for token in tokens[-5:]]


@confirms("ADR-0029.R3")
def test_a_command_may_be_killed_at_any_moment(path: Path, tmp_path: Path) -> None:
    """Whenever a command is killed, the store is whole, its audit and revision agree, and a printed key works."""
    furnish(path)
    moments = random.Random(29)  # noqa: S311 - the same moments on every run
    command = [sys.executable, "-m", "dragoman", "keys", "create", "--org", "acme", "--json", "--store", str(path)]
    begun = time.monotonic()
    subprocess.run(command, env=environment(), capture_output=True, check=True, timeout=PATIENCE)
    whole = time.monotonic() - begun
    prints = []
    for number in range(12):
        prints.append(tmp_path / f"printed-{number}")
        with prints[-1].open("wb") as out:
            process = subprocess.Popen(command, env=environment(), stdout=out, stderr=subprocess.DEVNULL)
        time.sleep(whole * moments.uniform(0.6, 1.1))  # when it writes; before, there is nothing to break
        process.kill()
        process.wait()

    assert is_sound(path)
    tokens = printed_tokens(prints)
    assert [True] * len(tokens) == passes(path, *tokens)
    [(keys, revision, audits)] = rows(
        path, "SELECT (SELECT count(*) FROM keys), (SELECT number FROM revision), (SELECT count(*) FROM audit)"
    )
    assert revision == audits == keys + 3
    assert len(tokens) + 2 <= keys


@confirms("ADR-0029.R4")
def test_two_processes_that_write_at_once_both_succeed(path: Path) -> None:
    """Two processes that make as many keys as they can see no lock, and nothing is lost."""
    furnish(path)
    script = (
        "import asyncio, sys; from pathlib import Path; from stores import SCOPES, opened\n"
        "async def work():\n"
        "    async with opened(Path(sys.argv[1])) as one:\n"
        "        await asyncio.gather(*(one.create_key('acme', scopes=SCOPES) for _ in range(500)))\n"
        "asyncio.run(work())"
    )
    variables = environment() | {"PYTHONPATH": str(Path(__file__).parent)}
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(path)], env=variables, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(writer.communicate(timeout=100)[1], writer.returncode) for writer in writers]

    assert [("", 0)] * 2 == ended
    assert [(1001, 1004)] == rows(path, "SELECT (SELECT count(*) FROM keys), (SELECT number FROM revision)")
    assert is_sound(path)
