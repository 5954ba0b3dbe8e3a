"""How a process lives and ends, with one worker and with two: real processes, and real signals (ADR-0033)."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from gateway_conformance.rules import confirms

from dragoman.server import Ending, listen
from dragoman.server.life import Config, Server
from lines import BODY, read_answers
from process import LOOPBACK, PATIENCE, Served, ask, launched, read_answer, served

KEY: Final = {
    "DRAGOMAN_DEV_TOKEN": "cgt_of_the_test",
    "DRAGOMAN_DEV_AGENT_ID": "018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e33",
    "DRAGOMAN_DEV_ORG_ID": "018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d11",
}
TWO: Final = {"DRAGOMAN_WORKERS": "2", "DRAGOMAN_ALLOW_DIVERGENT_LIMITS": "on"}
WORKERS: Final = pytest.mark.parametrize("workers", [{}, TWO], ids=["one", "two"])


@contextlib.contextmanager
def living(tmp_path: Path, workers: dict[str, str], **variables: str) -> Iterator[Served]:
    """Serve with a key in processes of their own, and wait until all of them answer."""
    with served(tmp_path / "log", "serve", "--port", "0", **KEY, **workers, **variables) as running:
        assert 200 == ask(running.port, "GET /readyz HTTP/1.1").status
        assert comes_true(lambda: len(pids_of_workers(running)) == (2 if workers else 0))
        yield running


def comes_true(condition: Callable[[], bool]) -> bool:
    """Look at *condition*, some 50 times a second, until it holds, and return whether it ever did."""
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.02)
    return False


def pids_of_workers(running: Served) -> set[int]:
    """Return the processes that have been started to serve; their listening sockets show that they do."""
    children = psutil.Process(running.process.pid).children()
    return {child.pid for child in children if _listens(child, running.port)}


def _listens(child: psutil.Process, port: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(one.laddr.port == port for one in child.net_connections() if one.status == psutil.CONN_LISTEN)
    return False


def begin(running: Served, request_id: str) -> socket.socket:
    """Return a connection with a chat request in work, which waits for its body."""
    line = running.connect()
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: gateway",
        f"Authorization: Bearer {KEY['DRAGOMAN_DEV_TOKEN']}",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
        f"X-Request-ID: {request_id}",
        "Expect: 100-continue",
    ]
    line.sendall("\r\n".join([*head, "", ""]).encode())
    assert line.recv(65536).startswith(b"HTTP/1.1 100 ")  # it is in work
    return line


def events_in(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Return the events in the log by the caller's id; every line is an event."""
    told = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in told if line.startswith("{")]
    assert {"request"} == {line["event"] for line in lines}
    return {event["caller_request_id"]: event for event in lines if "caller_request_id" in event}


def is_refused(port: int) -> bool:
    """Whether nobody listens on *port* any more."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


@confirms("ADR-0033.R2", "ADR-0033.R3")
@WORKERS
def test_from_sigterm_on_the_gateway_is_not_ready_and_serves_until_the_end(
    tmp_path: Path, workers: dict[str, str]
) -> None:
    """After SIGTERM it says that it is not ready, and lives; it serves who comes, and answers whole what is in work."""
    with living(tmp_path, workers, DRAGOMAN_DRAIN_DELAY="2") as running:
        with begin(running, "early") as early, begin(running, "late") as late:
            running.process.send_signal(signal.SIGTERM)
            # Each worker has heard it: which of them answers is chance.
            asked = range(8)
            assert comes_true(lambda: all(ask(running.port, "GET /readyz HTTP/1.1").status == 503 for _ in asked))
            with running.connect() as line:
                line.sendall(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
                lives = read_answer(line)
            early.sendall(BODY)
            in_time = read_answer(early)
            assert comes_true(lambda: is_refused(running.port))
            late.sendall(BODY)
            after_all = read_answer(late)
        code = running.process.wait(PATIENCE)

    assert (200, "close") == (lives.status, lives.headers["connection"])
    assert (501, 501) == (in_time.status, after_all.status)
    assert in_time.json()["error"]["code"] == after_all.json()["error"]["code"] == "PROVIDER_NOT_CONFIGURED"
    assert ("close", "close") == (in_time.headers["connection"], after_all.headers["connection"])
    assert 0 == code
    events = events_in(tmp_path)
    assert [501, 501] == [events[one]["status"] for one in ("early", "late")]


@confirms("ADR-0033.R3")
def test_sigint_ends_it_without_a_delay(tmp_path: Path) -> None:
    """After SIGINT nobody is let in any more, what is in work is answered, and the process ends with code 0."""
    with living(tmp_path, {}, DRAGOMAN_DRAIN_DELAY="600") as running:
        with begin(running, "one") as line:
            running.process.send_signal(signal.SIGINT)
            assert comes_true(lambda: is_refused(running.port))
            line.sendall(BODY)
            answer = read_answer(line)
        code = running.process.wait(PATIENCE)

    assert (501, "close", 0) == (answer.status, answer.headers["connection"], code)
    assert 501 == events_in(tmp_path)["one"]["status"]


@confirms("ADR-0033.R3")
@pytest.mark.parametrize(
    ("workers", "first"), [({}, signal.SIGTERM), ({}, signal.SIGINT), (TWO, signal.SIGTERM)], ids=["one", "int", "two"]
)
def test_a_second_signal_ends_it_at_once(tmp_path: Path, workers: dict[str, str], first: signal.Signals) -> None:
    """A second signal skips what is left: nobody is waited for, and the events are written all the same."""
    endless = {"DRAGOMAN_DRAIN_DELAY": "600", "DRAGOMAN_GRACE": "600"}
    with living(tmp_path, workers, **endless) as running, begin(running, "cut"):
        running.process.send_signal(first)
        assert comes_true(lambda: has_begun_to_end(running, first))
        running.process.send_signal(signal.SIGTERM)
        code = running.process.wait(PATIENCE)

    assert 0 == code
    assert "cut" in events_in(tmp_path)


def has_begun_to_end(running: Served, sent: signal.Signals) -> bool:
    """Whether a signal has been heard: after SIGTERM the gateway says so, after SIGINT it lets nobody in."""
    if sent == signal.SIGINT:
        return is_refused(running.port)
    return ask(running.port, "GET /readyz HTTP/1.1").status == 503


@confirms("ADR-0033.R3")
def test_what_outlasts_the_grace_is_cut(tmp_path: Path) -> None:
    """A request that is in work when the grace is over is cut off, with its event, and the process ends with code 0."""
    with living(tmp_path, {}, DRAGOMAN_GRACE="1") as running:
        with begin(running, "cut") as line:
            running.process.send_signal(signal.SIGTERM)
            rest = line.recv(1)
        code = running.process.wait(PATIENCE)

    assert (b"", 0) == (rest, code)
    assert "cut" in events_in(tmp_path)


@confirms("ADR-0033.R3")
@WORKERS
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_the_start_is_heard(tmp_path: Path, workers: dict[str, str], sent: signal.Signals) -> None:
    """As soon as it says where it serves, a signal ends it with code 0 and without a traceback, also before it does."""
    with served(tmp_path / "log", "serve", "--port", "0", DRAGOMAN_GRACE="1", **KEY, **workers) as running:
        running.process.send_signal(sent)
        code = running.process.wait(PATIENCE)

    assert (0, "") == (code, (tmp_path / "log").read_text(encoding="utf-8"))


@confirms("ADR-0033.R4")
def test_a_worker_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """When one of two workers is killed the other one answers every request, and soon there are two again."""
    with living(tmp_path, TWO) as running:
        [killed, kept] = sorted(pids_of_workers(running))
        os.kill(killed, signal.SIGKILL)
        statuses = [ask(running.port, "GET /livez HTTP/1.1").status for _ in range(100)]
        replaced = comes_true(lambda: len(pids_of_workers(running) - {killed}) == 2)
        after = pids_of_workers(running)
        code = end(running)

    assert ({200}, True, 0) == (set(statuses), replaced, code)
    assert kept in after
    assert killed not in after


@confirms("ADR-0033.R4")
def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    """When the process that supervises them is killed, the workers end by themselves, and free the port."""
    with living(tmp_path, TWO) as running:
        left = [psutil.Process(pid) for pid in pids_of_workers(running)]
        running.process.kill()
        gone, alive = psutil.wait_procs(left, timeout=PATIENCE)

        assert (2, []) == (len(gone), alive)
        assert is_refused(running.port)


PROGRAM: Final = Path(__file__).with_name("starting.py")


@confirms("ADR-0033.R4")
def test_a_worker_that_cannot_start_does_not_end_one_that_serves(tmp_path: Path) -> None:
    """While a worker cannot be replaced the other one answers, and when it can be there are two again."""
    obstacle = tmp_path / "obstacle"
    log = tmp_path / "log"
    with launched([sys.executable, str(PROGRAM), str(obstacle)], log) as running:
        assert comes_true(lambda: log.read_text(encoding="utf-8").count("startup complete") == 2)
        obstacle.touch()
        [killed, _] = pids_of_workers(running)
        os.kill(killed, signal.SIGKILL)
        tried = comes_true(lambda: "startup failed" in log.read_text(encoding="utf-8"))
        statuses = {ask(running.port, "GET / HTTP/1.1").status for _ in range(20)}
        obstacle.unlink()
        replaced = comes_true(lambda: log.read_text(encoding="utf-8").count("startup complete") == 3)
        code = end(running)

    assert (True, {204}, True, 0) == (tried, statuses, replaced, code)


@confirms("ADR-0033.R4")
def test_when_no_worker_can_start_the_process_fails(tmp_path: Path) -> None:
    """A gateway that cannot start ends with a code of failure, with two workers as with one."""
    (tmp_path / "obstacle").touch()
    with launched([sys.executable, str(PROGRAM), str(tmp_path / "obstacle")], tmp_path / "log") as running:
        code = running.process.wait(PATIENCE)

    assert 3 == code


def end(running: Served) -> int:
    """End a gateway with SIGTERM, and return its exit code."""
    running.process.send_signal(signal.SIGTERM)
    return running.process.wait(PATIENCE)


class Recorder:
    """An app that notes what happens to it; it fits where a gateway is served."""

    draining = False

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.reported: list[BaseException] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Note the beginning and the end of the app and of each request, which waits for its body."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                self.notes.append(message["type"])
                await send({"type": f"{message['type']}.complete"})
            return
        self.notes.append("asked")
        try:
            await receive()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            self.notes.append("answered")
            await asyncio.sleep(0)  # something is done behind the answer
        finally:
            self.notes.append("left")

    def report(self, error: BaseException, _: object = None) -> None:
        """Note a fault."""
        self.reported.append(error)


@contextlib.contextmanager
def recording(ending: Ending) -> Iterator[tuple[Recorder, Server, int]]:
    """Serve a recorder in a thread, and wait for its end."""
    recorder = Recorder()
    with listen(LOOPBACK, 0) as listener:
        port = listener.getsockname()[1]
        server = Server(Config(lambda: recorder, ending=ending))  # type: ignore[arg-type, return-value]
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield recorder, server, port
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.mark.parametrize(("grace", "answered"), [(PATIENCE, ["answered"]), (0.1, [])])
def test_the_hooks_of_the_end_run_behind_the_last_request(grace: float, answered: list[str]) -> None:
    """The app is told to shut down when its requests have ended, whether they were answered or cut off."""
    with recording(Ending(delay=0, grace=grace)) as (recorder, server, port), socket.socket() as line:
        line.connect((LOOPBACK, port))
        line.sendall(b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1\r\n\r\n")
        assert comes_true(lambda: "asked" in recorder.notes)
        server.should_exit = True
        assert comes_true(lambda: is_refused(port))
        if answered:
            line.sendall(b"a")
        assert comes_true(lambda: "lifespan.shutdown" in recorder.notes)

    assert ["lifespan.startup", "asked", *answered, "left", "lifespan.shutdown"] == recorder.notes
    assert [] == recorder.reported


@confirms("ADR-0047.R1")
def test_requests_of_one_connection_are_served_one_after_the_other() -> None:
    """Of requests that come at once none begins before all that is done for the one before it is done."""
    asked = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with recording(Ending(delay=0, grace=PATIENCE)) as (recorder, _, port):
        with socket.create_connection((LOOPBACK, port), PATIENCE) as line:
            line.sendall(2 * asked + asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert [204, 204, 204] == [answer.status for answer in read_answers(line)]
        assert comes_true(lambda: recorder.notes.count("left") == 3)

    assert ["lifespan.startup", *(["asked", "answered", "left"] * 3), "lifespan.shutdown"] == recorder.notes


def test_a_caller_who_is_about_to_ask_is_answered_at_the_end() -> None:
    """A connection on which nothing has come yet is not closed in the caller's face; one between requests is."""
    asked = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with (
        recording(Ending(delay=0, grace=PATIENCE)) as (_, server, port),
        socket.create_connection((LOOPBACK, port), PATIENCE) as new,
        socket.create_connection((LOOPBACK, port), PATIENCE) as idle,
    ):
        idle.sendall(asked)
        assert 204 == read_answer(idle).status
        server.should_exit = True
        assert b"" == idle.recv(1)
        new.sendall(asked)
        assert 204 == read_answer(new).status


def test_a_fault_outside_of_requests_is_reported_without_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    """What goes wrong in the server itself is given to the gateway's log, and nothing is printed."""
    with recording(Ending(delay=0, grace=1)) as (recorder, server, port):
        with socket.create_connection((LOOPBACK, port), PATIENCE) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
            read_answer(line)
            [connection] = server.server_state.connections
            connection._gateway = None  # type: ignore[union-attr] # noqa: SLF001 - as if the server had a fault
            line.sendall(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
            assert b"" == line.recv(1)
        assert comes_true(lambda: bool(recorder.reported))

    assert ("", "") == capfd.readouterr()
