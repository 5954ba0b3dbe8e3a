"""A gateway and its ledger: what was used is on the disk when the process has ended, however busy it was."""

import http.client
import json
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.ledger import ledger_path
from dragoman.ports import Administration
from process import LOOPBACK, PATIENCE, Served, ask, served
from stores import SCOPES, administer, rows

CALLERS: Final = 4
ENOUGH: Final = 200
"""How many answers all callers have got when the gateway is told to end."""

BODY: Final = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "count to three"}]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store of a test is."""
    return tmp_path / "store.db"


def key_of(path: Path, *, daily_requests: int | None = None) -> str:
    """Make a store with one key, and return its token."""

    async def work(administration: Administration) -> str:
        await administration.create_organization("acme")
        issued = await administration.create_key("acme", scopes=SCOPES, daily_requests=daily_requests)
        return issued.token

    return administer(path, work)


def ask_on(running: Served, token: str, answered: list[int], until: threading.Event) -> None:
    """Ask for completions on one connection until the gateway has gone or it is time, and keep each whole answer."""
    line = http.client.HTTPConnection(LOOPBACK, running.port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        while not until.is_set():
            line.request("POST", "/v1/chat/completions", BODY, headers)
            answer = line.getresponse()
            answered.append(answer.status)
            total = json.loads(answer.read()).get("usage", {}).get("total_tokens", 0)
            answered[-1] = total if answer.status == 200 else -answer.status
    except (OSError, http.client.HTTPException):
        pass  # it ends
    finally:
        line.close()


@confirms("ADR-0041.R7")
def test_nothing_is_lost_when_a_busy_gateway_is_told_to_end(path: Path) -> None:
    """Callers ask without a pause while the gateway is told to end: each answer that one got is in the ledger."""
    token = key_of(path)
    answered: list[list[int]] = [[] for _ in range(CALLERS)]
    until = threading.Event()

    with served(path.with_name("log"), "serve", "--port", "0", DRAGOMAN_STORE=str(path), DRAGOMAN_PHASE="2") as running:
        callers = [threading.Thread(target=ask_on, args=(running, token, one, until)) for one in answered]
        for caller in callers:
            caller.start()
        while sum(map(len, answered)) < ENOUGH and any(caller.is_alive() for caller in callers):
            until.wait(0.01)
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(PATIENCE)
        until.set()
        for caller in callers:
            caller.join(PATIENCE)

    tokens = [used for one in answered for used in one if used > 0]
    assert len(tokens) >= ENOUGH
    assert 0 == running.process.returncode
    # A request whose answer its caller did not get whole may be in it, too: one for each connection.
    [(entries, used)] = rows(ledger_path(path), "SELECT count(*), sum(input_tokens + output_tokens) FROM entries")
    assert len(tokens) <= entries <= len(tokens) + CALLERS
    assert sum(tokens) <= used


@confirms("ADR-0041.R3")
def test_a_day_outlives_a_restart(path: Path) -> None:
    """A key that has used up its day is refused by the next process, too, until midnight."""
    token = key_of(path, daily_requests=3)
    variables = {"DRAGOMAN_STORE": str(path), "DRAGOMAN_PHASE": "2"}
    statuses = []

    for asked in (2, 3):
        with served(path.with_name("log"), "serve", "--port", "0", **variables) as running:
            for _ in range(asked):
                line = http.client.HTTPConnection(LOOPBACK, running.port, timeout=PATIENCE)
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                line.request("POST", "/v1/chat/completions", BODY, headers)
                answer = line.getresponse()
                answer.read()
                statuses.append(answer.status)
                line.close()

    assert [200, 200, 200, 429, 429] == statuses


def test_who_holds_the_ledger_does_not_hold_up_the_callers(path: Path) -> None:
    """While another process writes to the ledger requests are answered; what they used is written when it lets go."""
    token, until = key_of(path), threading.Event()
    answered: list[int] = []

    with served(path.with_name("log"), "serve", "--port", "0", DRAGOMAN_STORE=str(path), DRAGOMAN_PHASE="2") as running:
        assert 200 == ask(running.port, "GET /readyz HTTP/1.1").status  # it has opened the ledger
        other = sqlite3.connect(ledger_path(path), isolation_level=None, timeout=PATIENCE)
        other.execute("BEGIN IMMEDIATE")
        caller = threading.Thread(target=ask_on, args=(running, token, answered, until))
        caller.start()
        while len(answered) < 50 and caller.is_alive():
            until.wait(0.01)
        other.execute("ROLLBACK")
        other.close()
        until.set()
        caller.join(PATIENCE)

    assert len(answered) >= 50
    assert all(used > 0 for used in answered)
    assert [(len(answered),)] == rows(ledger_path(path), "SELECT count(*) FROM entries")
