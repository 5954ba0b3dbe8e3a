"""The gateways that the suite judges, with all that their operator can state: in this process, or served by others.

Laws of this file:
- One gateway is for the cases that are generated, with limits that they do not reach. A tight one is used up, and a
  third has been told to end. All three are made by the same `build`.
"""

import io
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import attrs
from gateway_conformance.exchange import Asgi, OverSocket, Request, Transport, in_process, over_socket
from gateway_conformance.target import Log, Stated, Target, Tight, connect

import catalogue
from gateways import (
    CALLERS,
    DEADLINE,
    DIALECTS,
    LOGGED_FIELDS,
    NEWCOMERS,
    TIGHT,
    TIGHT_LIMITS,
    Parts,
    Remembering,
    Switch,
    build,
    known_store,
    logging_to,
    real_parts,
)
from leaky import telling

HERE: Final = Path(__file__).parent

BY_THE_CLOCK: Final = frozenset(
    {
        "what_is_used_up_comes_back",
        "a_confirmed_identity_ends_within_a_minute",
        "a_revoked_key_is_refused_soon",
    }
)
"""Checks that wait for hours or a minute, which they can do where the judge has the gateway's clock in his hands."""

ON_THE_WIRE: Final = frozenset(
    {
        "the_answer_to_no_http_is_traceable_too",
        "a_head_has_its_headers_and_its_bytes_and_no_more",
        "a_request_is_for_exactly_one_host",
        "what_has_two_readings_is_refused",
        "every_request_has_one_answer",
        "who_is_too_slow_is_not_waited_for",
        "an_expectation_is_met_or_refused",
        "an_upgrade_is_not_taken",
        "the_path_that_is_served_decides",
        "what_is_no_request_leaves_one_event_too",
    }
)
"""Checks that need a socket: they send bytes that no client would."""

KEPT_LINES: Final = 50_000
"""Lines of a log that wait for somebody to read them; the generated cases write many that nobody does."""


@attrs.frozen(kw_only=True)
class Court:
    """Gateways of all mounts, reached in one way, in one *phase*."""

    phase: int
    transport: Transport
    stated: Stated
    mounts: Mapping[str, str]

    def target(self, mount: str) -> Target:
        """Return the target at *mount*."""
        outermost = mount == "/" or "/" not in self.mounts
        return connect(self.transport, mount=mount, callers=CALLERS, outermost=outermost, stated=self.stated)


class Tap(io.RawIOBase):
    """A stream that keeps what is written to it, a line at a time, until it is taken."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self._lines: deque[bytes] = deque(maxlen=KEPT_LINES)

    def write(self, line: object, /) -> int:
        """Keep a line."""
        self._lines.append(bytes(line))  # type: ignore[call-overload]
        return len(self._lines[-1])

    def take(self) -> list[str]:
        """Return what is kept, and keep it no longer."""
        taken = [line.decode() for line in self._lines]
        self._lines.clear()
        return taken


@attrs.define
class _Lines:
    """The whole lines of a file that is still being written."""

    _read: BinaryIO
    _begun: bytes = b""

    def take(self) -> list[str]:
        """Return those that are new."""
        *whole, self._begun = (self._begun + self._read.read()).split(b"\n")
        return [line.decode() for line in whole]


@attrs.define
class Clock:
    """A clock that stands still until it is told to go on, in seconds."""

    now: float = 1_000_000.0

    def wait(self, seconds: float) -> None:
        """Go on."""
        self.now += seconds


def addresses() -> Iterator[str]:
    """Yield addresses of this machine: it has all of 127.0.0.0/8 (RFC 5735, section 3)."""
    yield from (f"127.{second}.{third}.{fourth}" for second, third, fourth in product(*[range(1, 255)] * 3))


@contextmanager
def inside(
    make: Callable[[Parts], Asgi] = build, mounts: Mapping[str, str] = DIALECTS, *, phase: int = 1, spare: bool = True
) -> Iterator[Court]:
    """Run the gateways that *make* makes in this process; without the *spare* ones, which not every check needs.

    The tight one goes by a clock that only the judge moves.
    """
    parts, tap = real_parts(mounts, phase=phase), Tap()
    parts = logging_to(parts, cast("BinaryIO", tap))
    with ExitStack() as running:
        parts = attrs.evolve(parts, leaky=running.enter_context(_leaking(phase)))
        line = running.enter_context(in_process(make(parts)))
        spares = _spares(running, make, parts) if spare else Stated()
        stated = attrs.evolve(spares, log=Log(lines=tap.take, fields=LOGGED_FIELDS), **_behind(phase))
        yield Court(phase=phase, transport=line, stated=stated, mounts=mounts)


@contextmanager
def _leaking(phase: int) -> Iterator[str | None]:
    """Serve an upstream that tells everything, where anything is forwarded."""
    if phase == 1:
        yield None
        return
    with telling(catalogue.HOST, catalogue.BASE_PATH) as base_url:
        yield base_url


def _behind(phase: int) -> dict[str, Any]:
    """Return what is stated of who is behind the models."""
    return {} if phase == 1 else {"staged": catalogue.staged(leaky=True), "secrets": catalogue.SECRETS}


def _spares(running: ExitStack, make: Callable[[Parts], Asgi], parts: Parts) -> Stated:
    """Run a tight gateway and one that has been told to end, and return what their operator states of them."""
    clock, switch = Clock(), Switch(real=known_store())
    tight = attrs.evolve(
        parts,
        identity=Remembering(switch, lambda: clock.now),
        sources=attrs.evolve(parts.sources, monotonic=lambda: clock.now, nanoseconds=lambda: round(clock.now * 1e9)),
        guard=TIGHT,
    )
    return Stated(
        tight=_tight(running.enter_context(in_process(make(tight))), wait=clock.wait),
        outage=switch,
        draining=running.enter_context(in_process(make(attrs.evolve(parts, draining=True)))),
    )


def _tight(line: Transport, *, wait: Callable[[float], None] | None) -> Tight:
    return Tight(
        transport=line,
        limits=TIGHT_LIMITS,
        alias=catalogue.SCARCE,
        embedding_alias=catalogue.SCARCE_EMBEDDING,
        places=TIGHT.capacity,
        newcomers=iter(NEWCOMERS),
        addresses=addresses(),
        wait=wait,
    )


def kinds_not_judged(target: Target) -> frozenset[str]:
    """Return the documented kinds that cannot be judged at *target*, although its operator has stated all he can."""
    needs_bytes = {"malformed_http", "invalid_host", "expectation_failed", "headers_too_large", "request_timeout"}
    return frozenset() if target.transport.app is None else frozenset(needs_bytes)


def checks_not_judged(target: Target) -> frozenset[str]:
    """Return the checks that cannot be made at *target*, although its operator has stated all he can."""
    if target.transport.app is not None:
        return ON_THE_WIRE
    return BY_THE_CLOCK if target.outermost else BY_THE_CLOCK | {"what_has_two_readings_is_refused"}


@contextmanager
def outside(folder: Path, mounts: Mapping[str, str] = DIALECTS, *, phase: int = 1) -> Iterator[Court]:
    """Serve the gateways by processes of their own, which log into *folder*, and ask identity services of their own."""
    log = folder / "log"
    with (
        _leaking(phase) as leaky,
        identities(folder / "identities") as service,
        identities(folder / "tight-identities") as tight_service,
        serving("generous", str(phase), service.address, leaky or "", *mounts, log=log) as line,
        serving("tight", str(phase), tight_service.address, leaky or "", *mounts, log=folder / "tight") as used_up,
        serving(
            "generous", str(phase), service.address, leaky or "", *mounts, log=folder / "draining", told_to_end=True
        ) as ending,
        log.open("rb") as read,
    ):
        stated = Stated(
            tight=_tight(used_up, wait=None),
            outage=tight_service,
            draining=ending,
            log=Log(lines=_Lines(read).take, fields=LOGGED_FIELDS),
            deadline=DEADLINE,
            **_behind(phase),
        )
        yield Court(phase=phase, transport=line, stated=stated, mounts=mounts)


@contextmanager
def serving(*arguments: str, log: Path, told_to_end: bool = False) -> Iterator[OverSocket]:
    """Serve what the *arguments* of `serve_dialects` say in a process of its own, which may have been *told to end*."""
    with _running(*arguments, log=log) as (process, port), over_socket(f"http://127.0.0.1:{port}") as line:
        if told_to_end:
            process.terminate()
            _wait_until_it_ends(line, arguments[-1])
        yield line


@attrs.frozen(kw_only=True)
class Service:
    """An identity service at *address*, in a process of its own; it fits what the judge calls an outage."""

    address: str
    process: subprocess.Popen[str]

    def begin(self) -> None:
        """Let nobody be able to say who is calling."""
        self._tell("begin")

    def end(self) -> None:
        """Let it be as it was."""
        self._tell("end")

    def revoke(self, token: str) -> None:
        """Let *token* be nobody's."""
        self._tell(f"revoke {token}")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert "done\n" == self.process.stdout.readline()


@contextmanager
def identities(log: Path) -> Iterator[Service]:
    """Serve who is known over gRPC."""
    with _running("identities", log=log) as (process, port):
        yield Service(address=f"127.0.0.1:{port}", process=process)


@contextmanager
def _running(*arguments: str, log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `gateways.py`, and yield its process and the port that it printed."""
    # It finds what this process finds, and no variable of this machine reaches it.
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, str(HERE / "gateways.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=paths,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port, f"nothing was started: {log.read_text()}"
            yield process, port
        finally:
            process.send_signal(signal.SIGINT)  # which waits for no balancer (ADR-0033)
            process.wait(timeout=10)


def _wait_until_it_ends(line: Transport, mount: str) -> None:
    """Ask at *mount* until the gateway says that it ends: it is told so by a signal, which may be on its way."""
    request = Request(method="GET", path=f"{mount.rstrip('/')}/no-such-path")
    for _ in range(1000):
        if line.exchange(request).header("connection") == "close":
            return
    message = "the gateway does not drain"
    raise AssertionError(message)
