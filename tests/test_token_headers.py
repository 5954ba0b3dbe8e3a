"""What the headers of an answer say of tokens: what is left behind the reservation, on every answer that made one."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.app import Guard
from dragoman.gate.usage import OUTPUT_TOKENS
from dragoman.model import Guardrail, Rate, rate_of
from dragoman.ports import Fault, UpstreamError
from fakes import KEYS, OWN, PRINCIPAL, TOKEN, FakeIdentity, build_house
from forwarding import ASKED, EMBEDDING, GENERAL, build_forwarder, completion, streamed
from wire import Answer, get, post

NAMES: Final = ("limit", "remaining", "reset")
DAILY: Final = rate_of("100000/d")
"""So slow that nothing comes back while a test runs."""
MODELS: Final = "/v1/models"
BLOCKING: Final = Guardrail(key="words", action="block", stages=frozenset({"input"}), keywords=("hello", "hi"))


def told(answer: Answer, unit: str = "tokens") -> tuple[str | None, ...]:
    """Return limit, remaining and reset of a unit."""
    return tuple(answer.header(f"x-ratelimit-{name}-{unit}") for name in NAMES)


def left(answer: Answer) -> int:
    """Return how many tokens are left."""
    return int(answer.header("x-ratelimit-remaining-tokens") or -1)


BOUNDED: Final = {**ASKED, "max_tokens": 50}


@confirms("ADR-0041.R6")
def test_every_answer_of_a_request_that_reserved_tells_what_is_left() -> None:
    """Whole, as a stream, and where the upstream fails: each holds what it may use; then it is settled."""
    forwarder = build_forwarder(
        completion(),
        streamed("Hi"),
        UpstreamError(Fault.TIMEOUT),
        UpstreamError(Fault.REJECTED, status=400),
        completion(),
        guard=Guard(token_rates={"key": DAILY}),
    )
    app = forwarder.house.app

    answers = [post(app, {**BOUNDED, "stream": stream}) for stream in (False, True, False, False, False)]

    assert {"100000"} == {told(answer)[0] for answer in answers}
    assert 5 == len(forwarder.ledger.entries)
    used = [0, *accumulate(entry.usage.total_tokens for entry in forwarder.ledger.entries)]
    held = [100_000 - before - left(answer) for before, answer in zip(used, answers, strict=False)]
    assert len(set(held)) == 1, held
    assert 50 < held[0] < 50 + 40
    assert {200} < {answer.status for answer in answers}


@confirms("ADR-0041.R6")
def test_a_request_that_is_refused_is_told_what_is_left_without_it() -> None:
    """Of a limit that has no room for a request is told what there is, and when it comes."""
    forwarder = build_forwarder(completion(), guard=Guard(token_rates={"key": rate_of("40/d")}))
    app = forwarder.house.app

    first, second = (post(app, BOUNDED) for _ in range(2))

    assert (200, "40", "0") == (first.status, *told(first)[:2])
    assert (429, "40", "26") == (second.status, *told(second)[:2])
    assert int(second.header("retry-after") or 0) > 1000


@confirms("ADR-0041.R6")
@pytest.mark.parametrize(
    ("model", "path", "document"),
    [("vectors", "/v1/embeddings", {"input": "text"}), ("general", "/v1/chat/completions", dict(ASKED))],
)
def test_the_tightest_limit_is_told(model: str, path: str, document: Mapping[str, Any]) -> None:
    """Of key, organisation and alias the one with the fewest tokens left; requests have their own headers."""
    vectors = {"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}
    alias = {OWN: [attrs.evolve(one, token_rate=rate_of("5000/d")) for one in (GENERAL, EMBEDDING)]}
    guard = Guard(rates={"key": rate_of("9/d")}, token_rates={"key": DAILY, "organization": rate_of("7000/d")})
    forwarder = build_forwarder(vectors if model == "vectors" else completion(), aliases=alias, guard=guard)

    answer = post(forwarder.house.app, {**document, "model": model}, path=path)

    assert 200 == answer.status
    assert ("9", "8") == told(answer, "requests")[:2]
    assert "5000" == told(answer)[0]
    assert 5000 - OUTPUT_TOKENS - 100 < left(answer) < 5000


@confirms("ADR-0041.R6")
def test_the_day_of_a_key_is_told_with_the_limits() -> None:
    """The requests of a day stand among those of requests, its tokens among those of tokens."""
    bounded = attrs.evolve(PRINCIPAL, daily_requests=3, daily_tokens=3000)
    forwarder = build_forwarder(completion(), identity=FakeIdentity(keys={**KEYS, TOKEN: bounded}))
    app = forwarder.house.app

    answers = [post(app, BOUNDED) for _ in range(4)]

    assert [("3", "2"), ("3", "1"), ("3", "0"), ("3", "0")] == [told(answer, "requests")[:2] for answer in answers]
    assert [200, 200, 200, 429] == [answer.status for answer in answers]
    assert '"daily";q=3;w=86400' == answers[3].header("ratelimit-policy")
    assert [True, True, True, False] == [told(answer)[0] == "3000" for answer in answers]
    assert "43200" == answers[3].header("retry-after")  # it is noon


def test_what_was_blocked_has_reserved_and_used_nothing() -> None:
    """A request that a guardrail blocks tells what is left behind its reservation, which it gets back."""
    watched = {OWN: (attrs.evolve(GENERAL, guardrails=("words",)),)}
    forwarder = build_forwarder(
        completion(), aliases=watched, guardrails={"words": BLOCKING}, guard=Guard(token_rates={"key": DAILY})
    )
    app = forwarder.house.app
    asked = {**BOUNDED, "messages": [{"role": "user", "content": "hello"}]}

    first, second = (post(app, asked) for _ in range(2))

    assert (400, "guardrail_block") == (first.status, forwarder.house.log.requests[0]["refusal"])
    assert left(first) == left(second) < 100_000 - 50


@pytest.mark.parametrize("token_rates", [{}, {"key": DAILY}])
def test_who_reserves_nothing_is_told_nothing(token_rates: Mapping[str, Rate]) -> None:
    """Without a limit of tokens, and where none are used, no answer has the headers."""
    forwarder = build_forwarder(completion(), guard=Guard(token_rates=token_rates))

    answers: Sequence[Answer] = [
        get(forwarder.house.app, MODELS),
        post(forwarder.house.app, {**ASKED, "model": "unknown"}),
        *([] if token_rates else [post(forwarder.house.app, ASKED)]),
    ]

    assert {(None, None, None)} == {told(answer) for answer in answers}


def test_phase_1_reserves_nothing() -> None:
    """Where nothing is forwarded no token is held, whatever the limits are."""
    house = build_house(guard=Guard(token_rates={"key": rate_of("1/d")}))

    assert [501] * 3 == [post(house.app, ASKED).status for _ in range(3)]
