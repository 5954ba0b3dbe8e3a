"""U9, U10, U12 and L5 over the whole gateway: who leaves, who reads slowly, and what must not touch anybody else."""

import contextlib
import http.client
import time
from typing import Final

import psutil
from gateway_conformance.rules import confirms

from lanes import PLACES, FaultyHouse, Lane, said_in, until
from process import LOOPBACK, PATIENCE
from sink import LAST, STREAMED, End, Received, Reply, Wait, chunk, chunks, completion, event, piece, sound, whole

KIBI: Final = 1024
LEAVERS: Final = 100


# --- U9: who leaves ---------------------------------------------------------------------------------------------------


def left_after(lane: Lane) -> float:
    """Return how long the connection to the upstream outlived this moment, in seconds."""
    return until(lambda: lane.proxy.open == 0)


@confirms("ADR-0043.R5", "ADR-0039.R8")
def test_who_leaves_while_waiting_closes_the_upstream(faulty: FaultyHouse, lane: Lane) -> None:
    """A hundred of a hundred within a second, as many at once as there are places, which are all free afterwards."""
    gateway, late = faulty.gateway, []
    lane.sink.answer = lambda _: [Wait(None)]
    for asked in range(0, LEAVERS, PLACES):
        with contextlib.ExitStack() as callers:
            for number in range(asked + 1, asked + PLACES + 1):
                line = http.client.HTTPConnection(LOOPBACK, gateway.served.port, timeout=PATIENCE)
                callers.callback(line.close)
                gateway.send(line, lane.calm, name=f"waits-{lane.number}-{number}")
            until(lambda: lane.asked == asked + PLACES)  # noqa: B023 - it is called here
        late += [left for left in [left_after(lane)] if left > 1.0]

    assert [] == late
    lane.sink.answer = sound
    assert [200] * (PLACES + 1) == [gateway.ask(lane.quick).status for _ in range(PLACES + 1)]
    entry = gateway.entry_of(f"waits-{lane.number}-1")
    assert ("left", 0) == (entry["outcome"], entry["output_tokens"])
    assert gateway.event_of(f"waits-{lane.number}-{LEAVERS}")["left"] is True


@confirms("ADR-0043.R5", "ADR-0043.R3")
def test_who_leaves_while_reading_closes_the_upstream(faulty: FaultyHouse, lane: Lane) -> None:
    """A hundred of a hundred within a second; what was sent until then is in the ledger."""
    gateway, late = faulty.gateway, []
    lane.sink.answer = lambda _: [
        STREAMED,
        *[step for one in chunks("word " * 200) for step in (piece(event(one)), Wait(0.02))],
    ]
    for asked in range(0, LEAVERS, PLACES):
        with contextlib.ExitStack() as callers:
            for number in range(asked + 1, asked + PLACES + 1):
                name = f"reads-{lane.number}-{number}"
                answer = callers.enter_context(gateway.asking(lane.calm, stream=True, name=name))
                assert answer.readline().startswith(b"data: ")
                while b"word" not in answer.readline():
                    pass
        late += [left for left in [left_after(lane)] if left > 1.0]

    assert [] == late
    assert LEAVERS == lane.asked
    entries = [gateway.entry_of(f"reads-{lane.number}-{number}") for number in (1, LEAVERS)]
    assert [("left", 1)] * 2 == [(entry["outcome"], entry["estimated"]) for entry in entries]
    assert [] == [entry for entry in entries if not 1 <= entry["output_tokens"] < 200]
    lane.sink.answer = sound
    assert 200 == gateway.ask(lane.quick).status


# --- U10: stale connections -------------------------------------------------------------------------------------------


@confirms("ADR-0038.R5")
def test_a_connection_that_was_closed_while_idle_is_no_error(faulty: FaultyHouse, lane: Lane) -> None:
    """An upstream that closes what is idle for 3 ms: of 1,000 requests, with pauses about as long, none fails."""
    gateway = faulty.gateway
    lane.sink.answer = lambda _: [*whole(completion()), Wait(0.003), End()]
    line = http.client.HTTPConnection(LOOPBACK, gateway.served.port, timeout=PATIENCE)
    statuses: dict[int, int] = {}
    for number in range(1000):
        time.sleep(number % 7 / 1000)
        gateway.send(line, lane.calm)
        with line.getresponse() as answer:
            answer.read()
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    line.close()

    assert {200: 1000} == statuses
    assert lane.sink.connections > 500


@confirms("ADR-0038.R5")
def test_a_kept_connection_that_is_reset_is_asked_once_more(faulty: FaultyHouse, lane: Lane) -> None:
    """A stale connection is no attempt: behind it there are two, as always, and no more."""
    assert 200 == faulty.gateway.ask(lane.quick).status
    lane.sink.tell(*[[End(reset=True)]] * 5)

    assert 502 == faulty.gateway.ask(lane.quick).status
    assert 1 + 1 + 2 == lane.asked


# --- U12: a slow upstream ---------------------------------------------------------------------------------------------


@confirms("ADR-0039.R8")
def test_a_slow_upstream_is_slow_for_itself_only(faulty: FaultyHouse, lane: Lane) -> None:
    """With all its places taken it refuses at once, others answer all they are asked, and then it works again."""
    gateway, other = faulty.gateway, faulty.lane()
    lane.sink.answer = lambda _: [Wait(None)]
    with contextlib.ExitStack() as callers:
        for number in range(1, PLACES + 1):
            line = http.client.HTTPConnection(LOOPBACK, gateway.served.port, timeout=PATIENCE)
            callers.callback(line.close)
            gateway.send(line, lane.calm)
            until(lambda: lane.asked == number)  # noqa: B023 - it is called here
        full = [gateway.ask(lane.calm) for _ in range(3)]
        others = [gateway.ask(other.quick).status for _ in range(30)]
        at_work = lane.proxy.open

    assert ([503] * 3, PLACES) == ([answer.status for answer in full], lane.asked)
    assert min(int(answer.headers["retry-after"]) for answer in full) >= 1
    assert ([200] * 30, PLACES) == (others, at_work)
    until(lambda: lane.proxy.open == 0)
    lane.sink.answer = sound
    assert 200 == gateway.ask(lane.calm).status


# --- L5: a slow reader ------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R9")
def test_a_slow_reader_slows_the_upstream_down(faulty: FaultyHouse, lane: Lane) -> None:
    """Of 40 MB that an upstream would send at once no more leaves it than what sockets take, and none piles up.

    The gateway's share is what its memory grows by: at most 256 KiB for each of four connections, and some slack for
    the allocator.
    """
    size, count = 16 * KIBI, 2500
    content = piece(event(chunk({"content": "x" * size})))

    def fast(_: Received) -> Reply:
        return [STREAMED, piece(event(chunks()[0])), *[content] * count, LAST]

    lane.sink.answer = fast
    process = psutil.Process(faulty.gateway.served.process.pid)
    with contextlib.ExitStack() as readers:
        warm = readers.enter_context(faulty.gateway.asking(lane.calm, stream=True))
        warm.read(KIBI)
        _settled(lane)
        before, sent = process.memory_info().rss, lane.sink.sent
        answers = [readers.enter_context(faulty.gateway.asking(lane.calm, stream=True)) for _ in range(PLACES - 1)]
        for _ in range(10):
            for answer in answers:
                answer.read(100)  # 1 kB/s
            time.sleep(0.1)
        _settled(lane)
        grown, more = process.memory_info().rss - before, lane.sink.sent - sent

    assert more < len(answers) * count * size // 2
    assert grown <= len(answers) * 256 * KIBI + 2048 * KIBI
    until(lambda: lane.proxy.open == 0, 5.0)


def _settled(lane: Lane) -> None:
    """Wait until the sink of *lane* sends no more."""
    last = -1
    while last != lane.sink.sent:
        last = lane.sink.sent
        time.sleep(0.3)


def test_a_slow_reader_gets_everything_in_the_end(faulty: FaultyHouse, lane: Lane) -> None:
    """Nothing of a stream is lost because its reader was slow."""
    text = "x" * 4 * KIBI
    lane.sink.answer = lambda _: [
        STREAMED,
        *[piece(event(one)) for one in (chunks()[0], *[chunk({"content": text})] * 500, chunk({}, "stop"))],
        piece(b"data: [DONE]\n\n") + LAST,
    ]
    with faulty.gateway.asking(lane.calm, stream=True) as answer:
        begun = answer.read(10)
        time.sleep(1.0)
        rest = answer.read()

    assert 500 * len(text) == len(said_in(begun + rest))
    assert rest.endswith(b"data: [DONE]\n\n")
