"""The benchmark is honest: it notices what goes wrong with a stream, names who is missing, and lets nobody disturb."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NoReturn

import attrs
import cattrs
import psutil
import pytest
from gateway_conformance.rules import confirms

from bench.load import Load
from bench.peers import Peer
from bench.reading import Reading
from bench.report import DIRECT, OURS, Figure, Run, Tally, report
from bench.rounds import Bench
from bench.serving import NotServedError, Server, alone, served
from bench.streams import Account
from bench.subjects import House, Subject, constant, stub

ROOT: Final = Path(__file__).parent.parent
PIECES: Final = 4
LOAD: Final = Load(core=0, seconds=1, streams=3, pieces=PIECES, pace=1)


def event(document: object) -> bytes:
    """Return an event with *document* as JSON."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def content(text: str) -> bytes:
    """Return an event with a piece of content."""
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


ROLE: Final = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
TEXT: Final = tuple(content(f"{number:05d}@{number:019d} ") for number in range(PIECES))
FINISH: Final = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USAGE: Final = event({"choices": [], "usage": {"total_tokens": 3}})
DONE: Final = b"data: [DONE]\n\n"
WHOLE: Final = (ROLE, *TEXT, FINISH, USAGE, DONE)


def judged(sent: bytes, *, size: int) -> Reading:
    """Return what is made of a stream that comes in pieces of *size* bytes."""
    reading = Reading(pieces=PIECES)
    for start in range(0, len(sent), size):
        reading.feed(sent[start : start + size], now=PIECES)
    reading.ended()
    return reading


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_whole_stream_is_well(size: int) -> None:
    """A stream that has everything once and in order is well, however its bytes arrive."""
    reading = judged(b"".join(WHOLE), size=size)

    assert (None, len(WHOLE), [4, 3, 2, 1]) == (reading.wrong, reading.events, reading.delays)


@pytest.mark.parametrize(
    "sent",
    [
        (ROLE, content("00000@1 00001@2 00002"), content("@3 "), content("00003@4 "), FINISH, USAGE, DONE),
        (b": still here\n\n", *WHOLE[:3], b": and here\n\n", *WHOLE[3:]),
        tuple(part.replace(b"\n", b"\r\n") for part in WHOLE),
    ],
    ids=["cut elsewhere", "with comments", "with carriage returns"],
)
def test_a_stream_that_is_worded_otherwise_is_well(sent: Sequence[bytes]) -> None:
    """A gateway may cut the text elsewhere, send comments, and end lines otherwise."""
    assert [None, None] == [judged(b"".join(sent), size=size).wrong for size in (1, 10_000)]


@confirms("ADR-0044.R1")
@pytest.mark.parametrize(
    ("sent", "wrong"),
    [
        ((ROLE, *TEXT[:1], *TEXT[2:], FINISH, USAGE, DONE), "piece 1 is missing where piece 2 came"),
        ((ROLE, *TEXT[:2], *TEXT[1:], FINISH, USAGE, DONE), "piece 2 was expected where piece 1 came"),
        ((ROLE, TEXT[0], TEXT[2], TEXT[1], TEXT[3], FINISH, USAGE, DONE), "piece 1 is missing where piece 2 came"),
        ((ROLE, *TEXT[:3], FINISH, USAGE, DONE), "it ended with piece 3 of 4"),
        ((ROLE, *TEXT, TEXT[3], FINISH, USAGE, DONE), "piece 4 was expected where piece 3 came"),
        ((ROLE, *TEXT, content("more "), FINISH, USAGE, DONE), "it held 'more', which nobody sent"),
        ((ROLE, *TEXT, content("more"), FINISH, USAGE, DONE), "it ended with piece 4 of 4, and 'more' of another"),
        ((ROLE, *TEXT, FINISH, USAGE), "it ended without [DONE]"),
        ((ROLE, *TEXT, FINISH, USAGE, DONE, DONE), "something came after [DONE]"),
        ((ROLE, *TEXT, FINISH, DONE, USAGE), "something came after [DONE]"),
        ((ROLE, *TEXT, FINISH, USAGE, DONE, b"data: "), "it ended within an event"),
        ((ROLE, *TEXT, USAGE, DONE), "it had 0 finish reasons"),
        ((ROLE, *TEXT, FINISH, FINISH, USAGE, DONE), "it had 2 finish reasons"),
        ((ROLE, *TEXT, FINISH, DONE), "it counted its tokens 0 times"),
        ((ROLE, *TEXT[:2], b"data: {\n\n", *TEXT[2:], FINISH, USAGE, DONE), "an event is no JSON: b'{'"),
        ((ROLE, *TEXT, event({"error": {}}), DONE), 'it told an error: {"error": {}}'),
    ],
)
def test_a_stream_that_is_not_whole_is_noticed(sent: Sequence[bytes], wrong: str) -> None:
    """A piece that is lost, doubled or out of order, an error, and an end that is none are each told."""
    assert [wrong, wrong] == [judged(b"".join(sent), size=size).wrong for size in (1, 10_000)]


def test_streams_of_the_stub_are_well(tmp_path: Path) -> None:
    """What the stub sends over a socket is whole, and every event of every stream is counted."""
    upstream = stub(pieces=PIECES, pace=1)
    with served(upstream, tmp_path, core=0):
        account = read_streams(upstream)

    assert ({}, 3, 3 * len(WHOLE)) == (account.wrong, account.streams, account.events)


@confirms("ADR-0044.R1")
def test_a_stream_that_is_refused_or_cut_is_told(tmp_path: Path) -> None:
    """A status that is no success, and a server that is gone, are told for each stream."""
    with served(least := constant(), tmp_path, core=0):
        refused = read_streams(least)
    gone = read_streams(least)

    assert [3] == list(refused.wrong.values())
    assert next(iter(refused.wrong)).startswith("it was answered 501: ")
    assert [3] == list(gone.wrong.values())
    assert next(iter(gone.wrong)).startswith("it was not connected: ")


def read_streams(subject: Subject) -> Account:
    """Return what the load makes of three streams of *subject*."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench.streams"],
        cwd=ROOT,
        input=json.dumps(LOAD.order(subject, streams=3)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return cattrs.structure(json.loads(ended.stdout), Account)


@contextmanager
def benched(place: Path, peer: Peer) -> Iterator[Bench]:
    """Yield a bench with one *peer*."""
    upstream = stub(pieces=PIECES, pace=1)
    with served(upstream, place, core=0) as direct:
        yield Bench(
            core=0,
            load=LOAD,
            place=place,
            peers={peer.key: peer},
            installed=place,
            house=House(token="", variables={}),
            upstream=upstream,
            direct=direct,
        )


def installed_not(_: Path) -> NoReturn:
    """Fail, as where there is no network."""
    message = "it cannot be installed: no network"
    raise NotServedError(message)


def installed_at_once(_: Path) -> None:
    """Do nothing: what is needed is there."""


def silent(_: Path, __: Path, ___: Subject) -> Subject:
    """Return a program that ends as soon as it is started."""
    return attrs.evolve(constant(), key="peer", command=(sys.executable, "-c", "print('no key')"))


def refusing(_: Path, __: Path, ___: Subject) -> Subject:
    """Return a server that answers otherwise than it should."""
    return attrs.evolve(constant(), key="peer", status=200)


@confirms("ADR-0044.R2")
@pytest.mark.parametrize(
    ("install", "subject", "reason"),
    [
        (installed_not, silent, "it cannot be installed: no network"),
        (installed_at_once, silent, "it ended: no key"),
        (installed_at_once, refusing, "it answers 501: "),
    ],
)
def test_who_cannot_be_measured_is_missing_by_name(
    tmp_path: Path,
    install: Callable[[Path], None],
    subject: Callable[[Path, Path, Subject], Subject],
    reason: str,
) -> None:
    """A peer that is not installed, does not start, or does not answer is named with the reason, and the run fails."""
    peer = Peer(key="peer", name="Peer 1.0", install=install, subject=subject)
    with benched(tmp_path, peer) as bench:
        run = bench.run("", ["peer"], rounds=1, whole=False)

    assert ["Peer 1.0"] == list(run.missing)
    assert f"- missing: Peer 1.0: {reason}" in report(run)
    assert not run.well


@confirms("ADR-0044.R1")
def test_a_complaint_fails_the_run() -> None:
    """A run with an answer that was not as it should be says so, and fails."""
    tally = Tally(key=OURS, name="Ours", forwards=True)
    tally.add({Figure.EVENT_COST: 1e-6}, ["1 of 3 streams: it ended without [DONE]"])
    run = Run(title="", tallies=[tally], missing={})

    assert "- not well: Ours: 1 of 3 streams: it ended without [DONE]" in report(run)
    assert not run.well


@confirms("ADR-0044.R3")
def test_figures_are_medians_and_ratios_are_of_one_run() -> None:
    """Each figure is the median of its rounds; what is added is counted from the direct call, ratios are of medians."""
    tallies = [
        Tally(key=key, name=key, forwards=True, figures={Figure.RATE: rates, Figure.ONE_MEDIAN: waits})
        for key, rates, waits in (
            (DIRECT, [50.0, 90.0, 10.0], [0.001, 0.002, 0.009]),
            (OURS, [30.0, 20.0, 1.0], [0.004, 0.0035, 0.0031]),
            ("smg", [40.0, 39.0, 400.0], [0.003, 0.003, 0.003]),
        )
    ]
    said = report(Run(title="", tallies=tallies, missing={}))

    assert f"| {DIRECT} | 50 | - | (2.00 ms) |" in said
    assert f"| {OURS} | 20 | - | +1.50 ms |" in said
    assert "| smg | 0.5 | 0.6 or more, goal 1 |" in said


@confirms("ADR-0044.R4")
def test_who_is_measured_has_its_core_for_itself(tmp_path: Path) -> None:
    """While one server is measured, on its core, all others are held still; when all is over, none is left."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(served(attrs.evolve(stub(pieces=1, pace=1), key=key), tmp_path, core=0))
            for key in ("one", "other")
        ]
        one, other = servers
        with alone(one, servers):
            assert (False, True) == (held(one), held(other))
            assert [0] == psutil.Process(one.pid).cpu_affinity()
        assert (False, False) == (held(one), held(other))

    assert [] == [server.pid for server in servers if psutil.pid_exists(server.pid)]


def held(server: Server) -> bool:
    """Return whether a server is held still."""
    return psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
