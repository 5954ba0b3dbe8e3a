"""Loads a server from one core, and tells what came of it.

Laws of this file:
- Whole answers are asked for by wrk, in a closed loop; streams by `streams.py`, which judges each of them.
- CPU time is that of the server while the load ran, over what it answered. The whole answers that wrk leaves unread at
  the end are in the time and not in the number, so a slow server is asked for longer, until they weigh little.
- An answer that is not the expected one is counted as a complaint, never left out.
"""

import http.client
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

import attrs

from bench.serving import HOST, NotServedError, Server, environment, pinned
from bench.stub import ANSWER
from bench.subjects import HERE, PATH, Subject

RESULT: Final = re.compile(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
SAMPLING: Final = 0.1
"""Seconds between two looks at a server's memory."""

BEGUN: Final = 500
"""Streams that begin in a second."""

PATIENCE: Final = 60
"""Seconds that streams may take beyond their own pace."""

STREAMED: Final[Mapping[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}


@attrs.frozen(kw_only=True)
class Whole:
    """What came of whole answers: *rate* per second, CPU seconds for each, and their latency in seconds."""

    rate: float
    cost: float
    median: float
    late: float
    complaints: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Flow:
    """What came of streams: CPU seconds for each event, seconds until the first one, and seconds on the way.

    *peak* is the most memory that the server had meanwhile, in bytes.
    """

    cost: float
    first_median: float
    first_late: float
    delay_median: float
    delay_late: float
    peak: int
    complaints: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Load:
    """Where the load comes from, and how much it is: *streams* at once, of *pieces* pieces each, *pace* ms apart."""

    core: int
    seconds: int
    streams: int
    pieces: int
    pace: int

    def whole(self, subject: Subject, server: Server, *, connections: int, seconds: int | None = None) -> Whole:
        """Ask for whole answers for some *seconds*: as many as this load has, unless it is said."""
        tree = server.tree()
        before = tree.cpu_seconds()
        requests, micros, refused, broken, median, late = self._wrk(subject, connections, seconds or self.seconds)
        cost = (tree.cpu_seconds() - before) / max(requests, 1)
        wrong = broken + (refused if subject.forwards else requests - refused)
        return Whole(
            rate=requests / (micros / 1e6),
            cost=cost,
            median=median / 1e6,
            late=late / 1e6,
            complaints=(f"{wrong} of {requests} whole answers were not {subject.status}",) if wrong else (),
        )

    def streamed(self, subject: Subject, server: Server, *, streams: int | None = None) -> Flow:
        """Open the streams and read them to their end."""
        opened = self.streams if streams is None else streams
        tree = server.tree()
        before = tree.cpu_seconds()
        reader = subprocess.Popen(
            pinned([sys.executable, "-m", "bench.streams"], self.core),
            cwd=HERE.parent,
            env=environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        peak, told, said = tree.resident(), json.dumps(self.order(subject, streams=opened)), None
        try:
            while said is None:
                try:
                    said, _ = reader.communicate(told, timeout=SAMPLING)
                except subprocess.TimeoutExpired:
                    peak, told = max(peak, tree.resident()), ""
        finally:
            reader.kill()
        account = json.loads(said)
        events = max(account["events"], 1)
        first, delays = account["first"] or [0, 0], account["delays"] or [0, 0]
        return Flow(
            cost=(tree.cpu_seconds() - before) / events,
            first_median=first[0] / 1e9,
            first_late=first[1] / 1e9,
            delay_median=delays[0] / 1e9,
            delay_late=delays[1] / 1e9,
            peak=peak,
            complaints=tuple(f"{count} of {opened} streams: {wrong}" for wrong, count in account["wrong"].items()),
        )

    def order(self, subject: Subject, *, streams: int) -> Mapping[str, Any]:
        """Return what `streams.py` is to do: an `Order`."""
        return {
            "port": subject.port,
            "path": PATH,
            "headers": {"content-type": "application/json", **subject.headers},
            "body": subject.body(**STREAMED),
            "streams": streams,
            "pieces": self.pieces,
            "spread": streams / BEGUN,
            "limit": PATIENCE + self.pieces * self.pace / 1000,
        }

    def _wrk(self, subject: Subject, connections: int, seconds: int) -> tuple[int, ...]:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        command += ["-s", str(HERE / "chat.lua"), f"http://{HOST}:{subject.port}{PATH}"]
        headers = {"content-type": "application/json", **subject.headers}
        variables = {
            "BENCH_BODY": subject.body(),
            "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in headers.items()),
        }
        ended = subprocess.run(
            pinned(command, self.core),
            env=environment(variables),
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 60,
        )
        found = RESULT.search(ended.stdout)
        if found is None:
            message = f"wrk did not say what came: {ended.stdout} {ended.stderr}"
            raise NotServedError(message)
        return tuple(int(number) for number in found.groups())


def require_answers(load: Load, subject: Subject, server: Server) -> None:
    """Return if *subject* answers as it should, whole and as a stream.

    Raises:
        NotServedError: with what it answered instead.
    """
    connection = http.client.HTTPConnection(HOST, subject.port, timeout=30)
    try:
        headers = {"content-type": "application/json", **subject.headers}
        connection.request("POST", PATH, body=subject.body(), headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except OSError as error:
        message = f"it does not answer: {error}"
        raise NotServedError(message) from error
    finally:
        connection.close()
    if answer.status != subject.status or (subject.forwards and ANSWER not in text):
        message = f"it answers {answer.status}: {' '.join(text.split())[:200]}"
        raise NotServedError(message)
    if subject.forwards:
        complaints = load.streamed(subject, server, streams=2).complaints
        if complaints:
            message = f"it does not stream: {complaints[0]}"
            raise NotServedError(message)


def what_is_missing() -> list[str]:
    """Return which of the programs that a load needs are not there."""
    return [program for program in ("wrk", "taskset", "setpriv") if shutil.which(program) is None]
