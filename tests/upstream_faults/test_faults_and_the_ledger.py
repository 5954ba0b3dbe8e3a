"""A10 and SIGTERM over the whole gateway: each request is in the ledger, once, and the sums are right."""

import http.client
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from lanes import Gateway, Lane, Yard, entries_of, events_in, gateway, said_in, until, yard
from process import LOOPBACK, PATIENCE
from sink import STREAMED, End, Reply, Wait, chunks, completion, event, piece, stream, whole

REQUESTS: Final = 240
TOKENS: Final = 1_000_000
"""A limit of tokens a day, far beyond what is used: 12 a second come back."""
ENDLESS: Final[Reply] = [
    STREAMED,
    *[step for one in chunks("word " * 3000)[:-2] for step in (piece(event(one)), Wait(0.02))],
]


@pytest.fixture
def own_yard() -> Iterator[Yard]:
    """Return where the upstreams of a test live."""
    with yard() as made:
        yield made


@attrs.frozen(kw_only=True)
class Ending:
    """One way for a request to go, the *reply* that makes it, and the *outcomes* that the ledger may call it."""

    reply: Reply
    streamed: bool
    outcomes: frozenset[str]
    leaves: bool = False


def ways() -> dict[str, Ending]:
    """Return all ways, by name."""
    first, hello, *_ = chunks()
    cut = stream(first, hello, Wait(0.02), End(reset=True))
    return {
        "whole": Ending(reply=whole(completion()), streamed=False, outcomes=frozenset({"ok"})),
        "streamed": Ending(reply=stream(*chunks()), streamed=True, outcomes=frozenset({"ok"})),
        "no usage": Ending(reply=stream(*chunks()[:-1]), streamed=True, outcomes=frozenset({"ok"})),
        "cut": Ending(reply=cut, streamed=True, outcomes=frozenset({"cut"})),
        "garbage": Ending(
            reply=stream(first, Wait(0.02), b"data: {\n\n"), streamed=True, outcomes=frozenset({"garbled"})
        ),
        "html": Ending(reply=whole(b"<html>"), streamed=False, outcomes=frozenset({"upstream_unavailable"})),
        "denied": Ending(reply=whole({"error": {}}, 401), streamed=False, outcomes=frozenset({"upstream_unavailable"})),
        "rejected": Ending(reply=whole({"error": {}}, 400), streamed=False, outcomes=frozenset({"invalid_request"})),
        "waits": Ending(reply=[Wait(None)], streamed=False, outcomes=frozenset({"left"}), leaves=True),
        "reads": Ending(reply=ENDLESS, streamed=True, outcomes=frozenset({"left"}), leaves=True),
    }


def go(served: Gateway, lane: Lane, way: Ending, name: str) -> None:
    """Let one request go its *way*."""
    lane.sink.tell(way.reply)
    before = lane.asked
    if not way.leaves:
        served.ask(lane.calm, stream=way.streamed, name=name)
        return
    line = http.client.HTTPConnection(LOOPBACK, served.served.port, timeout=PATIENCE)
    try:
        served.send(line, lane.calm, stream=way.streamed, name=name)
        until(lambda: lane.asked > before)
        if way.streamed:
            with line.getresponse() as answer:
                answer.read(400)
    finally:
        line.close()
    until(lambda: lane.sink.open == 0 or lane.proxy.open == 0)


@confirms("ADR-0041.R5", "ADR-0043.R3")
def test_the_ledger_has_every_request_once_whatever_became_of_it(own_yard: Yard, tmp_path: Path) -> None:
    """A random run of ten ways to end, four at once: one entry each, sums that match, and nothing still reserved.

    What is left of a limit on tokens shows that all that was reserved was settled: it is the limit without the sum of
    the ledger, and what the limit has gained meanwhile.
    """
    lanes = [own_yard.lane() for _ in range(4)]
    known, moments = ways(), random.Random(10)  # noqa: S311 - the same run every time
    plan = [moments.choice(list(known)) for _ in range(REQUESTS)]
    begun = time.monotonic()
    with gateway(tmp_path, lanes, DRAGOMAN_LIMIT_KEY_TOKENS=f"{TOKENS}/d") as served:

        def run(lane: Lane, names: list[str]) -> list[tuple[str, str]]:
            done = []
            for number, way in enumerate(names):
                name = f"run-{lane.number}-{number}"
                go(served, lane, known[way], name)
                done.append((name, way))
                go(served, lane, known["whole"], f"mend-{lane.number}-{number}")
            return done

        with ThreadPoolExecutor(4) as callers:
            runs = callers.map(run, lanes, [plan[number::4] for number in range(4)])
            went = dict(pair for done in runs for pair in done)
        until(lambda: len(served.served.events()) >= 2 * REQUESTS)
        events = {event["caller_request_id"]: event for event in served.served.events() if "caller_request_id" in event}
        at_work = [lane.proxy.open for lane in lanes]
        last = served.ask(lanes[0].calm, max_tokens=10)
        left, gained = int(last.headers["x-ratelimit-remaining-tokens"]), (time.monotonic() - begun) * TOKENS / 86_400

    *entries, newest = entries_of(tmp_path / "store.db")
    assert "ok" == newest["outcome"]
    used = sum(entry["input_tokens"] + entry["output_tokens"] for entry in entries)
    assert used > 2 * REQUESTS * 5
    # The last request has reserved what it may use, when it is told what is left.
    assert TOKENS - used - 100 <= left <= TOKENS - used + gained
    assert 2 * REQUESTS == len(entries) == len({entry["request_id"] for entry in entries})
    by_id = {entry["request_id"]: entry for entry in entries}
    wrong = [
        (name, way, by_id[events[name]["request_id"]]["outcome"])
        for name, way in went.items()
        if by_id[events[name]["request_id"]]["outcome"] not in known[way].outcomes
    ]
    assert [] == wrong
    assert max(at_work) <= 1  # a connection that is kept
    sums = {one: sum(event[one] for event in events.values()) for one in ("input_tokens", "output_tokens")}
    assert sums == {one: sum(entry[one] for entry in entries) for one in sums}
    cost = sum(1_000_000 * entry["input_tokens"] + 2_000_000 * entry["output_tokens"] for entry in entries)
    assert cost == sum(entry["cost"] for entry in entries)
    exact = [entry for entry in entries if entry["outcome"] == "ok" and not entry["estimated"]]
    assert {(3, 2)} == {(entry["input_tokens"], entry["output_tokens"]) for entry in exact}
    assert len(exact) == REQUESTS + sum(way in ("whole", "streamed") for way in plan)


@confirms("ADR-0041.R7")
def test_sigterm_in_the_middle_of_streams_loses_nothing_of_the_ledger(own_yard: Yard, tmp_path: Path) -> None:
    """Streams that end in the grace are whole, longer ones end without `[DONE]`, and each has its entry and usage."""
    lane = own_yard.lane()
    lane.sink.tell(
        *[stream(*chunks(), pause=0.1)] * 2,
        *[ENDLESS] * 2,
    )
    bodies: list[bytes] = []
    with gateway(tmp_path, [lane], DRAGOMAN_GRACE="2") as served:

        def read() -> None:
            with served.asking(lane.calm, stream=True) as answer:
                try:
                    bodies.append(answer.read())
                except http.client.IncompleteRead as cut:
                    bodies.append(cut.partial)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for number, reader in enumerate(readers, start=1):
            reader.start()
            until(lambda: lane.asked == number)  # noqa: B023 - it is called here
        until(lambda: lane.sink.sent > 4 * len(STREAMED))
        served.served.process.send_signal(signal.SIGTERM)
        assert 0 == served.served.process.wait(PATIENCE)
        for reader in readers:
            reader.join(PATIENCE)

    whole = [body for body in bodies if events_in(body.rpartition(b"\n\n")[0] + b"\n\n")[-1] == "[DONE]"]
    assert (2, 4) == (len(whole), len(bodies))
    entries = entries_of(tmp_path / "store.db")
    assert 4 == len(entries)
    assert {(3, 2)} == {(one["input_tokens"], one["output_tokens"]) for one in entries if one["outcome"] == "ok"}
    longer = [entry for entry in entries if entry["outcome"] != "ok"]
    said = [len(said_in(body.rpartition(b"\n\n")[0] + b"\n\n")) for body in bodies if body not in whole]
    assert 2 == len(longer)
    assert min(-(-length // 4) for length in said) <= min(entry["output_tokens"] for entry in longer)
