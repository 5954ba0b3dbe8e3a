"""U1 to U3 over the whole gateway: upstreams that are not there, say nothing, or reset before they answer."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms

from lanes import CHAT, CLIENT, FaultyHouse, Gateway, Lane, until
from sink import End, Wait, completion, whole

FAILURES: Final = 5
"""Failures in a row that open a breaker (ADR-0039.R4)."""

both_forms: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def state_of(gateway: Gateway, count: int) -> list[str]:
    """Return the states of breakers that the log tells of, the last *count*."""
    lines = [json.loads(line) for line in gateway.served.log.read_text().splitlines() if '"state"' in line]
    return [line["state"] for line in lines if line.get("part") == "target"][-count:]


def error_of(body: bytes) -> dict[str, Any]:
    """Return the error in *body*."""
    error: dict[str, Any] = json.loads(body)["error"]
    return error


# --- U1: refused ------------------------------------------------------------------------------------------------------


@both_forms
def test_a_refused_connection_is_502_at_once(faulty: FaultyHouse, lane: Lane, stream: bool) -> None:  # noqa: FBT001
    """Where nobody listens the answer is 502 in 100 ms, after one retry, by the gateway's own clock."""
    gateway, names = faulty.gateway, [faulty.gateway.name() for _ in range(2)]
    faulty.yard.run(lane.proxy.refuse())

    answers = [gateway.ask(lane.quick, stream=stream, name=name) for name in names]

    assert [502, 502] == [answer.status for answer in answers]
    assert {"upstream_unavailable"} == {error_of(answer.body)["code"] for answer in answers}
    events = [gateway.event_of(name) for name in names]
    assert [2, 2] == [event["attempts"] for event in events]
    assert min(event["duration_ms"] for event in events) <= 100


@both_forms
def test_where_one_is_refused_the_next_one_answers(faulty: FaultyHouse, lane: Lane, stream: bool) -> None:  # noqa: FBT001
    """An alias with a second target is answered by it, and the ledger says who it was."""
    faulty.yard.run(lane.proxy.refuse())
    before, name = faulty.sound.asked, faulty.gateway.name()

    answer = faulty.gateway.ask(lane.backed, stream=stream, name=name)

    assert (200, 0, before + 1) == (answer.status, lane.asked, faulty.sound.asked)
    entry = faulty.gateway.entry_of(name)
    assert ("ok", faulty.sound.provider, 3) == (entry["outcome"], entry["provider"], entry["attempts"])


# --- U1, U11: the breaker ---------------------------------------------------------------------------------------------


@confirms("ADR-0039.R4", "ADR-0039.R5", "ADR-0039.R9")
def test_a_breaker_opens_lets_one_probe_pass_and_closes(faulty: FaultyHouse, lane: Lane) -> None:
    """Five failures open it: then 503 without a connection; once its time is over one of many is asked, and it closes.

    The probe is slow, so that the others come while it is out; nothing of this reaches the upstream twice.
    """
    gateway, proxy = faulty.gateway, lane.proxy
    proxy.reset_at_once = True
    failed = [gateway.ask(lane.quick).status for _ in range(3)]  # two attempts each, the last one opens it
    assert [502, 502] == failed[:2]
    assert failed[2] in {502, 503}
    until(lambda: state_of(gateway, 1) == ["open"])
    at_open = proxy.connections
    assert FAILURES == at_open

    names = [gateway.name() for _ in range(20)]
    refused = [gateway.ask(lane.quick, name=name) for name in names]
    assert ({503}, at_open) == ({answer.status for answer in refused}, proxy.connections)
    waits = [int(answer.headers["retry-after"]) for answer in refused]
    assert 1 <= min(waits) <= max(waits) <= 5
    assert sorted(gateway.event_of(name)["duration_ms"] for name in names)[10] <= 5

    proxy.reset_at_once = False
    lane.sink.tell([Wait(1.0), *whole(completion())])
    until(lambda: gateway.ask(lane.calm).status == 200 or lane.asked > 0)
    assert (1, at_open + 1) == (lane.asked, proxy.connections)
    assert ["open", "half_open", "closed"] == state_of(gateway, 3)
    assert 200 == gateway.ask(lane.quick).status


@confirms("ADR-0039.R5")
def test_of_many_that_come_at_once_one_is_the_probe(faulty: FaultyHouse, lane: Lane) -> None:
    """While the probe is out everybody else is refused, and when it fails the breaker opens for twice as long."""
    gateway, proxy = faulty.gateway, lane.proxy
    proxy.reset_at_once = True
    for _ in range(3):
        gateway.ask(lane.quick)
    proxy.reset_at_once, proxy.black_hole = False, True  # a probe takes its second, and then fails
    before = proxy.connections

    over = threading.Event()

    def statuses_until_one_probed(_: int) -> set[int]:
        statuses: set[int] = set()
        while not over.is_set():
            over.wait(0.02)
            statuses.add(gateway.ask(lane.quick).status)
            if 504 in statuses:
                over.set()
        return statuses

    with ThreadPoolExecutor(4) as callers:
        met = set().union(*callers.map(statuses_until_one_probed, range(4)))

    assert (met, before + 1) == ({503, 504}, proxy.connections)
    assert 5 < int(gateway.ask(lane.quick).headers["retry-after"]) <= 10


# --- U2: no answer ----------------------------------------------------------------------------------------------------


@both_forms
def test_a_silent_upstream_is_504_at_its_deadline(faulty: FaultyHouse, lane: Lane, stream: bool) -> None:  # noqa: FBT001
    """Who accepts and says nothing is given up after the second that the target allows, within 10 %, and let go.

    What a busy machine adds is not the gateway's: of three times the shortest counts, and none is too short.
    """
    lane.proxy.black_hole = True
    names = [faulty.gateway.name() for _ in range(3)]

    answers = [faulty.gateway.ask(lane.quick, stream=stream, name=name) for name in names]

    assert [(504, "upstream_timeout")] * 3 == [(one.status, error_of(one.body)["code"]) for one in answers]
    events = [faulty.gateway.event_of(name) for name in names]
    assert [1] * 3 == [event["attempts"] for event in events]
    assert 950 <= min(event["duration_ms"] for event in events) <= 1100
    until(lambda: lane.proxy.open == 0, 1.0)


def test_a_silent_upstream_does_not_hold_up_the_next_one(faulty: FaultyHouse, lane: Lane) -> None:
    """After the deadline of the first target the second one is asked."""
    lane.proxy.black_hole = True
    name = faulty.gateway.name()

    assert 200 == faulty.gateway.ask(lane.backed, name=name).status
    assert faulty.sound.provider == faulty.gateway.entry_of(name)["provider"]


# --- U3: reset before an answer ---------------------------------------------------------------------------------------


@confirms("ADR-0039.R2")
@both_forms
@pytest.mark.parametrize(("path", "unavailable"), [(CHAT, 502), (CLIENT, 503)])
def test_a_reset_before_the_answer_is_repeated_once(
    faulty: FaultyHouse,
    lane: Lane,
    path: str,
    unavailable: int,
    stream: bool,  # noqa: FBT001
) -> None:
    """It is asked twice, then it is unavailable; where the second attempt goes well, nobody notices."""
    gateway, name, other = faulty.gateway, faulty.gateway.name(), faulty.gateway.name()
    lane.sink.tell(*[[End(reset=True)]] * 3)

    failed = gateway.ask(lane.quick, path=path, stream=stream, name=name)
    assert (unavailable, 2) == (failed.status, lane.asked)
    repeated = gateway.ask(lane.quick, path=path, stream=stream, name=other)
    assert (200, 4) == (repeated.status, lane.asked)

    lost, entry = gateway.entry_of(name), gateway.entry_of(other)
    assert ("upstream_unavailable", 2, 0) == tuple(lost[one] for one in ("outcome", "attempts", "output_tokens"))
    assert ("ok", 2, 3, 2) == tuple(entry[one] for one in ("outcome", "attempts", "input_tokens", "output_tokens"))


@confirms("ADR-0039.R2")
def test_retries_have_a_budget(faulty: FaultyHouse, lane: Lane) -> None:
    """Every second request is reset for a long time: no more retries than a tenth of them and what was saved."""
    gateway, requests, flaky = faulty.gateway, 60, iter(range(1_000_000))
    once = whole(completion(), connection="close")  # a connection that is kept may be stale, which is no retry
    lane.sink.answer = lambda _: [End(reset=True)] if next(flaky) % 2 == 0 else once

    statuses = [gateway.ask(lane.quick).status for _ in range(requests)]

    assert {200, 502} == set(statuses)
    retries = lane.asked - requests
    # Ten are saved, one in ten requests is earned, and one in ten seconds, of which this takes a few.
    assert 10 <= retries <= 10 + requests // 10 + 3
