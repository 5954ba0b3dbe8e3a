"""U7 and U8 over the whole gateway, and that nobody learns who is behind it, whatever goes wrong (ADR-0043)."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import sleep
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from lanes import CHAT, CLIENT, KEY, MODEL, PROVIDER, FaultyHouse, Lane, disclosed, errors_in, events_in
from process import LOOPBACK
from sink import End, Received, Reply, Wait, chunks, completion, sound, stream, whole

# --- U7: limited, and back later --------------------------------------------------------------------------------------


def in_seconds(seconds: float) -> str:
    """Return the date that is so many *seconds* from now, as HTTP writes it."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def told(status: int, **headers: str) -> Reply:
    """Return an error that says who it is."""
    return whole({"error": {"message": f"{PROVIDER}: {MODEL} is busy", "type": "requests"}}, status, **headers)


@attrs.frozen(kw_only=True)
class Asked:
    """How an upstream asks to wait, and what the caller may be told: *least* to *most* seconds."""

    headers: Callable[[], dict[str, str]]
    least: int
    most: int


FORMS: Final = {
    "seconds": Asked(headers=lambda: {"retry_after": "20"}, least=15, most=20),
    "date": Asked(headers=lambda: {"retry_after": in_seconds(20)}, least=10, most=21),
    "milliseconds": Asked(headers=lambda: {"retry_after_ms": "20500"}, least=15, most=21),
    "absurd": Asked(headers=lambda: {"retry_after": "1000000000"}, least=50, most=60),
    "past": Asked(headers=lambda: {"retry_after": in_seconds(-3600)}, least=1, most=1),
    "nonsense": Asked(headers=lambda: {"retry_after": "-1e999; soon"}, least=1, most=1),
    "nothing": Asked(headers=dict, least=1, most=1),
}


@confirms("ADR-0039.R6", "ADR-0039.R9")
@pytest.mark.parametrize("form", FORMS)
def test_429_is_passed_on_with_its_wait(faulty: FaultyHouse, lane: Lane, form: str) -> None:
    """It is our 429, after one attempt, with whole seconds within 1 and 60; who comes meanwhile asks nobody."""
    asked = FORMS[form]
    lane.sink.answer = lambda _: told(429, **asked.headers())

    first = faulty.gateway.ask(lane.quick)

    assert (429, 1) == (first.status, lane.asked)
    assert "rate_limit_exceeded" == json.loads(first.body)["error"]["code"]
    assert asked.least <= int(first.headers["retry-after"]) <= asked.most
    if asked.least > 1:
        second = faulty.gateway.ask(lane.quick, stream=True)
        assert (429, 1) == (second.status, lane.asked)
        assert int(second.headers["retry-after"]) <= int(first.headers["retry-after"])


@pytest.mark.parametrize("form", ["seconds", "date", "absurd"])
def test_503_with_a_wait_is_passed_on(faulty: FaultyHouse, lane: Lane, form: str) -> None:
    """An upstream that says when it is back is asked once, and is left alone until then."""
    asked = FORMS[form]
    lane.sink.answer = lambda _: told(503, **asked.headers())

    answers = [faulty.gateway.ask(lane.quick) for _ in range(3)]

    assert ([503] * 3, 1) == ([answer.status for answer in answers], lane.asked)
    assert asked.least <= int(answers[0].headers["retry-after"]) <= asked.most


def test_503_without_a_wait_is_a_failure(faulty: FaultyHouse, lane: Lane) -> None:
    """It is repeated once, and then it is 502."""
    lane.sink.answer = lambda _: told(503)

    assert (502, 2) == (faulty.gateway.ask(lane.quick).status, lane.asked)


@confirms("ADR-0039.R6")
def test_429_does_not_open_the_breaker(faulty: FaultyHouse, lane: Lane) -> None:
    """Eight of them in a row, in two waves, and the next request that may go out is answered."""
    lane.sink.answer = lambda _: [Wait(0.3), *told(429, retry_after="0")]
    before = faulty.gateway.served.log.read_text().count('"open"')
    with ThreadPoolExecutor(4) as callers:
        for _ in range(2):
            statuses = list(callers.map(lambda _: faulty.gateway.ask(lane.calm).status, range(4)))
            assert [429] * 4 == statuses
            sleep(1.2)  # the second that it rests
    assert lane.asked > 5
    lane.sink.answer = sound

    assert 200 == faulty.gateway.ask(lane.quick).status
    assert before == faulty.gateway.served.log.read_text().count('"open"')


# --- U8: our own credential -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_credential_that_is_not_accepted_is_502(
    faulty: FaultyHouse,
    lane: Lane,
    status: int,
    streamed: bool,  # noqa: FBT001
) -> None:
    """The caller is not told that a key is wrong, which is not his; it is asked once, with the configured key."""
    lane.sink.tell(told(status, www_authenticate=f'Bearer realm="{PROVIDER}"'))

    answer = faulty.gateway.ask(lane.quick, stream=streamed)

    assert (502, 1) == (answer.status, lane.asked)
    assert "upstream_unavailable" == json.loads(answer.body)["error"]["code"]
    assert "www-authenticate" not in answer.headers
    assert f"Bearer {KEY}" == lane.sink.requests[0].headers["authorization"]


# --- Whoever answers is told to nobody --------------------------------------------------------------------------------


def canary(received: Received) -> str:
    """Return a text that says all that nobody may be told."""
    return f"{PROVIDER} {MODEL} {KEY} http://{received.headers['host']} {LOOPBACK}"


def _rejecting(status: int) -> Callable[[Received], Reply]:
    def answer(received: Received) -> Reply:
        text = canary(received)
        error = {"message": text, "type": PROVIDER, "code": PROVIDER, "param": text, "metadata": {"provider": text}}
        headers = {"server": PROVIDER, "x_request_id": MODEL, "openai_organization": KEY, "set_cookie": f"{KEY}=1"}
        return whole({"error": error, "provider": text}, status, **headers)

    return answer


def _sound_and_talkative(received: Received) -> Reply:
    more: dict[str, Any] = {
        "provider": PROVIDER,
        "system_fingerprint": MODEL,
        "service_tier": KEY,
        "x_groq": {"id": KEY},
    }
    if received.document.get("stream"):
        return stream(*[{**one, **more, "id": PROVIDER, "model": MODEL} for one in chunks()])
    return whole({**completion(model=MODEL), **more}, server=PROVIDER, location=f"http://{received.headers['host']}/")


def _broken(received: Received) -> Reply:
    return stream(chunks()[0], Wait(0.02), {"error": {"message": canary(received), "code": PROVIDER}})


FAULTS: Final[dict[str, Callable[[Received], Reply]]] = {
    "sound": _sound_and_talkative,
    **{str(status): _rejecting(status) for status in (302, 400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 529)},
    "error in success": lambda received: whole({"error": {"message": canary(received), "code": "insufficient_quota"}}),
    "html": lambda received: whole(f"<html>{canary(received)}</html>".encode(), content_type="text/html"),
    "broken": _broken,
    "cut": lambda _: stream(*chunks()[:2], Wait(0.02), End(reset=True)),
    "reset": lambda _: [End(reset=True)],
    "no http": lambda received: [canary(received).encode() + b"\r\n\r\n", End()],
}


@confirms("ADR-0038.R2")
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_tells_who_is_behind(faulty: FaultyHouse, lane: Lane, fault: str) -> None:
    """Names, models, keys and addresses of the configuration are in no body, header, error event or log line.

    What callers see is searched by the fixture, too; here that there was something to be told.
    """
    gateway, before = faulty.gateway, len(faulty.gateway.told)
    lane.sink.answer = FAULTS[fault]
    said = b""
    for path in (CHAT, CLIENT):
        for streamed in (False, True):
            answer = gateway.ask(lane.quick, path=path, stream=streamed)
            assert 500 != answer.status
            said += answer.body
    said += gateway.ask(lane.quick, path="/v1/embeddings", input="hello").body

    assert (before + 5, []) == (len(gateway.told), disclosed(b"".join(gateway.told[before:]), faulty.lanes))
    assert [lane.model] * lane.asked == [one.document["model"] for one in lane.sink.requests]
    assert lane.asked >= 1
    assert lane.quick.encode() in said or b'"error"' in said


def test_a_list_of_models_tells_aliases_only(faulty: FaultyHouse) -> None:
    """`/v1/models` has every alias, and nobody who answers for it."""
    answer = faulty.gateway.get("/v1/models")

    listed = json.loads(answer.body)["data"]
    assert {lane.quick for lane in faulty.lanes} <= {one["id"] for one in listed}
    assert [] == disclosed(answer.body, faulty.lanes)


def test_metrics_tell_aliases_only(faulty: FaultyHouse, lane: Lane) -> None:
    """`/metrics` counts by alias, after answers and after failures."""
    lane.sink.tell(*[[End(reset=True)]] * 2)
    assert [502, 200] == [faulty.gateway.ask(lane.quick).status for _ in range(2)]

    answer = faulty.gateway.get("/metrics")

    assert (200, True) == (answer.status, lane.quick.encode() in answer.body)
    assert [] == disclosed(answer.body, faulty.lanes)


def test_an_error_event_has_the_body_of_its_kind(faulty: FaultyHouse, lane: Lane) -> None:
    """After the first byte the error is the one that would have been a 502."""
    lane.sink.tell([End(reset=True)], [End(reset=True)], stream(chunks()[0], Wait(0.02), End(reset=True)))
    refused = json.loads(faulty.gateway.ask(lane.quick).body)["error"]

    answer = faulty.gateway.ask(lane.quick, stream=True)

    [error] = errors_in(answer.body)
    own = {"request_id", "timestamp"}
    assert refused.keys() == error.keys()
    assert [refused[name] for name in refused if name not in own] == [error[name] for name in error if name not in own]
    assert 2 == len(events_in(answer.body))
