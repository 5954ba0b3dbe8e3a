"""Runs the program: in this process with what it printed, or as a process of its own that serves.

Laws of this file:
- A gateway is ready when it has printed its addresses: its socket listens by then.
- Who starts a process ends it.
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs

from dragoman.cli import main
from dragoman.settings import process_environment

PATIENCE: Final = 20.0
"""Seconds after which a socket that says nothing is a failure: far beyond what any machine needs."""

LOOPBACK: Final = "127.0.0.1"
NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int | str | None
    out: str
    err: str


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process with *variables* for all of ours."""
    inherited = {name: value for name, value in process_environment().items() if "DRAGOMAN_" not in name}
    return inherited | variables


def run(*arguments: str, **variables: str) -> Outcome:
    """Run the program with *arguments* in a process of its own, to its end."""
    ended = subprocess.run(
        [sys.executable, "-m", "dragoman", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return Outcome(code=ended.returncode, out=ended.stdout, err=ended.stderr)


@attrs.frozen(kw_only=True)
class Served:
    """A gateway in a process of its own. *printed* are the lines before it served; its log goes to the file *log*."""

    process: subprocess.Popen[str]
    printed: Sequence[str]
    log: Path

    @property
    def port(self) -> int:
        """The port that it listens on."""
        [port] = {
            int(found[1]) for line in self.printed if (found := re.search(r" is served at http://\S+:(\d+)", line))
        }
        return port

    @property
    def exports(self) -> Mapping[str, str]:
        """The variables that it printed."""
        pairs = (line.removeprefix("export ").split("=", 1) for line in self.printed if line.startswith("export "))
        return {name: value for name, value in pairs}  # noqa: C416 - a pair is a list here, which dict() does not type

    @property
    def authorization(self) -> str:
        """The header that lets a caller pass."""
        return f"Bearer {self.exports['DRAGOMAN_DEV_TOKEN']}"

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE)

    def events(self) -> list[dict[str, Any]]:
        """Return every line of the log so far.

        The gateway has one thread: when it answers a new request, the events of all earlier ones are written.
        """
        ask(self.port, "GET /livez HTTP/1.1", X_Request_ID="settled")
        events = [json.loads(text) for text in self.log.read_text().splitlines() if text.startswith("{")]
        return [event for event in events if event.get("caller_request_id") != "settled"]

    def events_of(self, request_id: str) -> list[dict[str, Any]]:
        """Return the events of the caller's *request_id*, as soon as there are any.

        Who leaves does not know when the gateway has noticed it, so this looks again, many times.
        """
        for _ in range(1000):
            found = [event for event in self.events() if event.get("caller_request_id") == request_id]
            if found:
                return found
        return []


def served(log: Path, *arguments: str, **variables: str) -> AbstractContextManager[Served]:
    """Run a serving command until the end of the block, and then end it with SIGTERM; it does not delay its end."""
    at_once = {"DRAGOMAN_DRAIN_DELAY": "0"}
    return launched([sys.executable, "-m", "dragoman", *arguments], log, variables=at_once | variables)


@contextmanager
def launched(
    command: Sequence[str], log: Path, *, folder: Path | None = None, variables: Mapping[str, str] = NO_VARIABLES
) -> Iterator[Served]:
    """Run *command*, which serves, in *folder* until the end of the block, and then end it with SIGTERM."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    with process, process.stdout:
        printed = []
        for text in process.stdout:
            printed.append(text.rstrip("\n"))
            if not text.startswith("export ") and is_last(printed):
                break
        try:
            yield Served(process=process, printed=printed, log=log)
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def is_last(printed: Sequence[str]) -> bool:
    """Whether the last of the *printed* lines is the last that a serving command prints."""
    dialects = len({line.split("_DEV_")[0] for line in printed if line.startswith("export ")})
    curls = [line for line in printed if "curl" in line]
    addresses = [line for line in printed if " is served at " in line]
    return len(curls) == dialects and len(addresses) >= max(1, dialects)


@attrs.frozen(kw_only=True)
class Answer:
    """What came over a socket."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON."""
        return json.loads(self.body)


def read_answer(line: socket.socket) -> Answer:
    """Return the next answer on *line*, which stays open."""
    response = http.client.HTTPResponse(line)
    with response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=response.read())


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, request_line: str, **headers: str) -> Answer:
    """Return the answer on *port* to a request without a body; names of *headers* have underscores for hyphens."""
    stated = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    request = "\r\n".join([request_line, f"Host: {LOOPBACK}", "Connection: close", *stated, "", ""])
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as line:
        line.sendall(request.encode())
        return read_answer(line)


def serve_here(arguments: Sequence[str], port: int, visit: Callable[[], None]) -> None:
    """Run a serving command in this process; *visit* is called in a thread when *port* answers.

    A signal ends the server, as it ends the program; it is caught here, so that it ends nothing else.
    """
    ended = threading.Event()

    def visit_then_end() -> None:
        try:
            while not is_listening(port):
                if ended.wait(0.01):  # it never came to listen
                    return
            ask(port, "GET /livez HTTP/1.1")  # the server minds signals by the time it answers, and not earlier
            visit()
        finally:
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    visitor = threading.Thread(target=visit_then_end, daemon=True)
    visitor.start()
    try:
        main(arguments)
    finally:
        ended.set()
        visitor.join(PATIENCE)
        signal.signal(signal.SIGTERM, before)


def is_listening(port: int) -> bool:
    """Whether somebody listens on *port*."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
