"""What the Phase 1 path costs, beside the least that an answer can cost, in one run (ADR-0035).

Started as `python bench/run.py`, or `tox -e bench`. It serves each subject on the first core of this process, in
turns, loads it with wrk from the second one, and prints requests per second, the ratio of the medians and CPU per
request as a Markdown table. With `--profile` it also prints where the gateway's time goes. Everything it starts is on
loopback, bounded in time, and stopped by its process id.
"""

import argparse
import json
import os
import pstats
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import psutil

HERE: Final = Path(__file__).parent
CONNECTIONS: Final = 16
"""Enough that the server never waits for the load."""

PATIENCE: Final = 20.0
"""Seconds until a subject must answer."""

PLENTY: Final = "100000000/s"
"""A limit that counts every request and refuses none."""


CHAT: Final = "/v1/chat/completions"
DRAGOMAN: Final = (sys.executable, "-m", "dragoman")


@attrs.frozen(kw_only=True)
class Subject:
    """What is measured: the server with the process id *pid*, on *port* of loopback."""

    name: str
    pid: int
    port: int


@attrs.define(kw_only=True)
class Tally:
    """The rounds of one subject: requests per second, and CPU seconds per request."""

    rates: list[float] = attrs.field(factory=list)
    costs: list[float] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class House:
    """A store with one key and one alias: the *token*, and the variables that lead a gateway to it."""

    token: str
    variables: Mapping[str, str]


def main() -> None:
    """Measure, print, and say what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds per subject (default 7)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds per round (default 3)")
    parser.add_argument("--profile", action="store_true", help="print where the time of the gateway goes as well")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if shutil.which("wrk") is None or len(cores) < 2:  # noqa: PLR2004 - one for the subject, one for the load
        sys.exit("bench: it needs the program wrk on PATH and two cores, one for the subject and one for the load")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        house = build_house(place)
        subjects = start_subjects(stack, place, house, core=cores[0])
        tallies = {subject.name: Tally() for subject in subjects}
        for number in range(asked.rounds):
            for subject in subjects:
                measure(subject, tallies[subject.name], house, seconds=asked.seconds, core=cores[1])
            sys.stderr.write(f"bench: round {number + 1} of {asked.rounds}\n")
        sys.stdout.write(table(tallies))
    if asked.profile:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            sys.stdout.write(profile(place, build_house(place), seconds=asked.seconds, cores=cores))


def build_house(place: Path) -> House:
    """Return a store in *place*, made with the program's own commands, with every limit on and none in the way."""
    variables = {"DRAGOMAN_STORE": str(place / "dragoman.db")}
    organization = told("orgs", "create", "bench", **variables)["id"]
    token = told("keys", "create", "--org", organization, **variables)["token"]
    told("aliases", "create", "gpt-4o", **variables)
    limits = {f"DRAGOMAN_LIMIT_{name}": PLENTY for name in ("ADDRESS", "ORGANIZATION", "KEY", "ALIAS")}
    return House(token=token, variables={**variables, **limits})


def start_subjects(stack: ExitStack, place: Path, house: House, *, core: int) -> list[Subject]:
    """Start the constant answer, the gateway over its store, and the gateway over the identity service."""
    constant, stored, asked, identity = free_ports(4)

    def start(name: str, port: int, *arguments: str, **more: str) -> Subject:
        variables = {**house.variables, **more}
        pid = stack.enter_context(served(arguments, port, core=core, log=place / f"{port}.log", variables=variables))
        return Subject(name=name, pid=pid, port=port)

    start("identity service", identity, *DRAGOMAN, "identity-service", "--port", str(identity))
    service = {"DRAGOMAN_IDENTITY": "service", "DRAGOMAN_IDENTITY_ADDRESS": f"127.0.0.1:{identity}"}
    return [
        start("constant 501, bare Falcon", constant, sys.executable, str(HERE / "constant.py"), str(constant)),
        start("Phase 1, keys in the store", stored, *DRAGOMAN, "serve", "--port", str(stored)),
        start("Phase 1, identity over gRPC, warm", asked, *DRAGOMAN, "serve", "--port", str(asked), **service),
    ]


def told(*arguments: str, **variables: str) -> dict[str, Any]:
    """Run a command of the program and return the JSON that it prints."""
    ended = subprocess.run(
        [*DRAGOMAN, *arguments, "--json"], env=environment(variables), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        sys.exit(f"bench: {' '.join(arguments)}: {ended.stderr.strip()}")
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process, without settings of a gateway but these *variables*."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}  # noqa: TID251
    return inherited | dict(variables)


def free_ports(count: int) -> list[int]:
    """Return that many free ports of loopback."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def served(arguments: Sequence[str], port: int, *, core: int, log: Path, variables: Mapping[str, str]) -> Iterator[int]:
    """Run a server on one *core* until the block ends, and yield its process id once it listens on *port*."""
    with log.open("wb") as sink:
        server = subprocess.Popen(arguments, env=environment(variables), stdout=sink, stderr=subprocess.DEVNULL)
        try:
            os.sched_setaffinity(server.pid, {core})
            wait_for(port, server, log)
            yield server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=PATIENCE)


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when *server* accepts connections on *port*."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"bench: nothing listens on {port}: {log.read_text(encoding='utf-8')}")


def measure(subject: Subject, tally: Tally, house: House, *, seconds: int, core: int) -> None:
    """Load *subject* for some *seconds* and add the round to its *tally*."""
    before = cpu_seconds(subject.pid)
    requests, duration = load(subject.port, house, seconds=seconds, core=core)
    tally.rates.append(requests / duration)
    tally.costs.append((cpu_seconds(subject.pid) - before) / requests)


def load(port: int, house: House, *, seconds: int, core: int) -> tuple[int, float]:
    """Send chat requests from one *core*; return how many were answered 501 and in how many seconds."""
    arguments = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    arguments += ["-s", str(HERE / "chat.lua"), f"http://127.0.0.1:{port}{CHAT}"]
    variables = {"BENCH_TOKEN": house.token}
    ended = subprocess.run(arguments, env=environment(variables), capture_output=True, text=True, check=True)
    found = re.search(r"^RESULT (\d+) (\d+) (\d+)$", ended.stdout, re.MULTILINE)
    if found is None or found[3] != "0":
        sys.exit(f"bench: port {port}: not every answer was 501:\n{ended.stdout}")
    return int(found[1]), int(found[2]) / 1e6


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def table(tallies: Mapping[str, Tally]) -> str:
    """Return the medians of all subjects as a Markdown table; ratios are to the first one."""
    medians = {name: (statistics.median(one.rates), statistics.median(one.costs)) for name, one in tallies.items()}
    first_rate, first_cost = next(iter(medians.values()))
    rows = ["| subject | requests/s | of the constant | CPU per request | of the constant |", "|---|---|---|---|---|"]
    for name, (rate, cost) in medians.items():
        rows.append(
            f"| {name} | {rate:,.0f} | {rate / first_rate:.3f} | {cost * 1e6:.0f} µs | {first_cost / cost:.3f} |"
        )
    return "\n".join([*rows, ""])


def profile(place: Path, house: House, *, seconds: int, cores: Sequence[int]) -> str:
    """Return where the time of a request goes: the share of each module's own time, under load.

    What is called less often than every second request is start-up, or waiting, and does not count. cProfile makes
    calls dearer than they are, so that the shares of code with many small functions are too high.
    """
    [port] = free_ports(1)
    kept = place / "profile"
    arguments = (sys.executable, "-m", "cProfile", "-o", str(kept), *DRAGOMAN[1:], "serve", "--port", str(port))
    with served(arguments, port, core=cores[0], log=place / "log", variables=house.variables):
        requests, _ = load(port, house, seconds=seconds, core=cores[1])
    own: Counter[str] = Counter()
    timed: Mapping[tuple[str, int, str], Any] = pstats.Stats(str(kept)).stats  # type: ignore[attr-defined]
    for (path, _, name), (calls, _, seconds_of_its_own, _, _) in timed.items():
        if calls >= requests / 2:
            own[place_of(path, name)] += seconds_of_its_own
    total = sum(own.values())
    rows = ["", "| where | share of the time of a request |", "|---|---|"]
    rows += [f"| {name} | {100 * spent / total:.1f} % |" for name, spent in own.most_common(25)]
    return "\n".join([*rows, ""])


def place_of(path: str, name: str) -> str:
    """Return the module of ours, or the library, that a profiled function belongs to."""
    for mark in ("/dragoman/", "/treaty/", "/site-packages/"):
        if mark in path:
            inside = path.rpartition(mark)[2]
            return f"{mark.strip('/')}/{inside}" if mark != "/site-packages/" else inside.split("/")[0]
    return f"built in: {name}" if path == "~" else Path(path).name


if __name__ == "__main__":
    main()
