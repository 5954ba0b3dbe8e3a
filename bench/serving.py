"""Starts servers on one core of this machine, tells what they use, and ends them.

Laws of this file:
- Every server listens on loopback, on the core it is given, in a process group of its own.
- Who starts a server ends it: with SIGTERM, and where that is not obeyed in time with SIGKILL, by its group.
- CPU time and memory are those of a server and all its descendants.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import psutil

HOST: Final = "127.0.0.1"
FAREWELL: Final = 5.0
"""Seconds that a server may take to end."""

FOREIGN: Final = ("DRAGOMAN_", "LITELLM_", "OPENAI_", "BENCH_")
"""How the names of variables begin that would change what is measured."""

PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


class NotServedError(Exception):
    """A server did not come up, or does not answer as it should; the text says why, in one line."""


@attrs.frozen(kw_only=True)
class Program:
    """What can be served: it listens on *port*, and may take *patience* seconds until it does. *key* is its name."""

    key: str
    command: Sequence[str]
    port: int
    variables: Mapping[str, str] = attrs.field(factory=dict)
    patience: float = 20.0


@attrs.frozen(kw_only=True)
class Server:
    """A server that runs: the process *pid*, and whatever it has started, on *port*. Its output goes to *log*."""

    pid: int
    port: int
    log: Path

    def tree(self) -> "Tree":
        """Return its processes, as they are now."""
        first = psutil.Process(self.pid)
        return Tree(processes=(first, *first.children(recursive=True)))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


@attrs.frozen(kw_only=True)
class Tree:
    """The processes of a server: looked for once, because that takes longer than to ask them."""

    processes: Sequence[psutil.Process]

    def cpu_seconds(self) -> float:
        """Return the CPU time that they have used."""
        used = [process.cpu_times() for process in self.processes]
        return float(sum(times.user + times.system for times in used))

    def resident(self) -> int:
        """Return the bytes of memory that they have; what they share counts for each."""
        return sum(process.memory_info().rss for process in self.processes)


@contextmanager
def alone(server: Server, others: Iterable[Server]) -> Iterator[None]:
    """Hold the *others* still while the block runs, so that *server* has its core for itself."""
    held = [other for other in others if other != server]
    for other in held:
        other.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # until it stands
    try:
        yield
    finally:
        for other in held:
            other.signal(signal.SIGCONT)


@contextmanager
def served(program: Program, place: Path, *, core: int) -> Iterator[Server]:
    """Run *program* on one *core* until the block ends, and yield it once it listens; its log goes to *place*.

    Raises:
        NotServedError: when it ended, or did not listen in time.
    """
    log = place / f"{program.key}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            pinned(program.command, core),
            env=environment(program.variables),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    server = Server(pid=process.pid, port=program.port, log=log)
    try:
        _await_port(server, process, program.patience)
        yield server
    finally:
        _end(server, process)


def pinned(command: Sequence[str], core: int) -> list[str]:
    """Return what runs *command* on one *core*, as does all that it starts, and ends it if this process is killed."""
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(core), *command]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process and *variables*, without what would change a measurement."""
    inherited = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - what it starts needs PATH and the like
        if not name.startswith(FOREIGN) and name.lower() not in PROXIES
    }
    return inherited | dict(variables)


def free_ports(count: int) -> list[int]:
    """Return that many free ports of loopback."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def last_words(log: Path) -> str:
    """Return the end of what a server has said, in a line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-2:])[-300:] or "it said nothing"


def _await_port(server: Server, process: subprocess.Popen[bytes], patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((HOST, server.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    state = f"it did not listen within {patience:.0f} s" if process.returncode is None else "it ended"
    message = f"{state}: {last_words(server.log)}"
    raise NotServedError(message)


def _end(server: Server, process: subprocess.Popen[bytes]) -> None:
    server.signal(signal.SIGCONT)
    server.signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=FAREWELL)
    server.signal(signal.SIGKILL)
    process.wait(timeout=FAREWELL)
