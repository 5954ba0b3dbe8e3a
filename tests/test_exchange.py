"""One forwarded exchange: what goes to the upstream, what comes back, and what is settled."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.app import Guard
from dragoman.model import NOBODY, Provider, Usage, rate_of
from dragoman.ports import Fault, UpstreamError
from fakes import NOW, OWN, PRINCIPAL, REQUEST_ID, TOKEN, FakeIdentity, Said, effective, example
from forwarding import (
    ASKED,
    DOWN,
    EMBEDDING,
    EVERYTHING,
    GENERAL,
    MODEL,
    PROVIDER,
    SECOND_TARGET,
    TARGET,
    USAGE,
    Forwarder,
    build_forwarder,
    chunk,
    completion,
    events_of,
    streamed,
)
from wire import CHAT, Answer, post

ID = f"chatcmpl-{REQUEST_ID}"
STREAM: Mapping[str, Any] = {**ASKED, "stream": True}
WITH_USAGE: Mapping[str, Any] = {**STREAM, "stream_options": {"include_usage": True}}
CANARIES = ("canary", PROVIDER, MODEL)


def chunks_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the chunks of a stream that ended well."""
    *chunks, end = events_of(answer.body)
    assert "[DONE]" == end
    return [json.loads(one) for one in chunks]


@confirms("ADR-0043.R2")
def test_a_whole_answer_is_the_gateways_own() -> None:
    """Id, time and model are the gateway's, and nothing that the contract does not declare is in it."""
    answer = post(build_forwarder(completion()).house.app, ASKED)

    assert 200 == answer.status
    assert {
        "id": ID,
        "object": "chat.completion",
        "created": int(NOW.timestamp()),
        "model": "general",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
        "usage": USAGE,
    } == answer.json()


def test_the_upstream_gets_the_request_as_it_came_and_its_own_model() -> None:
    """The client's own object goes on, unknown members included; the model is the target's."""
    forwarder = build_forwarder(completion())
    request = {**ASKED, "temperature": 0.5, "something_new": {"deep": [1]}}

    post(forwarder.house.app, request)

    assert [(MODEL, request)] == forwarder.upstream.asked


@confirms("ADR-0043.R1")
@pytest.mark.parametrize(
    ("model", "kind"),
    [("unknown", "model_not_found"), ("*", "model_not_found"), ("vectors", "model_not_llm")],
)
def test_a_model_that_is_none_for_the_caller_is_refused(model: str, kind: str) -> None:
    """An unknown model, the name of the catch-all and an alias of another category are refused; nobody is asked."""
    aliases = {OWN: (GENERAL, EMBEDDING, EVERYTHING)}
    forwarder = build_forwarder(completion(), aliases=aliases)

    answer = post(forwarder.house.app, {**ASKED, "model": model})

    assert example(effective(phases={"chat": 2}), kind) == answer.json()
    assert ([], []) == (forwarder.upstream.asked, forwarder.ledger.entries)


@confirms("ADR-0043.R1")
def test_where_unknown_models_are_passed_on_the_catch_all_answers_under_the_name_that_was_sent() -> None:
    """The upstream gets the client's model, and so does the client; the ledger has the alias."""
    forwarder = build_forwarder(completion(), aliases={NOBODY: (EVERYTHING,)}, dialect="relay")

    answer = post(forwarder.house.app, {**ASKED, "model": "gpt-new"}, token=None)

    assert (200, "gpt-new") == (answer.status, answer.json()["model"])
    assert ["gpt-new"] == [model for model, _ in forwarder.upstream.asked]
    assert ["*"] == [entry.alias for entry in forwarder.ledger.entries]


def test_where_unknown_models_are_passed_on_and_nobody_takes_them_the_upstream_is_unavailable() -> None:
    """Without a catch-all there is nobody behind the model."""
    answer = post(build_forwarder(completion(), aliases={}, dialect="relay").house.app, ASKED, token=None)

    assert (502, "upstream_unavailable") == (answer.status, answer.json()["error"]["code"])


def test_where_the_model_names_an_agent_the_dialects_own_alias_answers() -> None:
    """A model of the form that names an agent stands for the alias that the mount is known for."""
    fased = attrs.evolve(GENERAL, id="fased")
    forwarder = build_forwarder(completion(), aliases={OWN: (fased,)}, dialect="fased")

    answer = post(forwarder.house.app, {**ASKED, "model": "fased:beta"})

    assert (200, "fased") == (answer.status, answer.json()["model"])
    assert {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0} == answer.json()["usage"]


@confirms("ADR-0043.R7")
def test_where_usage_is_told_as_zero_the_ledger_counts() -> None:
    """A dialect that tells no usage tells zeros, whole and streamed; what was used is in the ledger."""
    fased = attrs.evolve(GENERAL, id="fased")
    forwarder = build_forwarder(completion(), streamed("Hi"), aliases={OWN: (fased,)}, dialect="fased")

    whole = post(forwarder.house.app, {**ASKED, "model": "fased"}).json()
    stream = chunks_of(post(forwarder.house.app, {**WITH_USAGE, "model": "fased"}))

    assert [0, 0] == [whole["usage"]["total_tokens"], stream[-1]["usage"]["total_tokens"]]
    assert [14, 14] == [entry.usage.total_tokens for entry in forwarder.ledger.entries]


@confirms("ADR-0043.R7")
def test_usage_that_the_upstream_does_not_tell_is_estimated() -> None:
    """Where the upstream says nothing the answer has an estimate, and the ledger says that it is one."""
    silent = completion("x" * 40)
    del silent["usage"]
    forwarder = build_forwarder(silent, streamed("x" * 40)[:-1])

    whole = post(forwarder.house.app, ASKED).json()["usage"]
    stream = chunks_of(post(forwarder.house.app, WITH_USAGE))[-1]["usage"]

    assert [10, 10] == [whole["completion_tokens"], stream["completion_tokens"]]
    assert [(True, 10), (True, 10)] == [(one.estimated, one.usage.output_tokens) for one in forwarder.ledger.entries]


@confirms("ADR-0043.R3")
def test_the_ledger_has_who_asked_what_it_took_and_who_answered() -> None:
    """An entry has organisation, key, alias, usage, cost and target; the log has the tokens, and not the target."""
    forwarder = build_forwarder(completion())

    post(forwarder.house.app, ASKED)

    [entry] = forwarder.ledger.entries
    assert (OWN, PRINCIPAL.key, "general", "chat", "ok", False) == (
        entry.organization,
        entry.key,
        entry.alias,
        entry.operation,
        entry.outcome,
        entry.stream,
    )
    assert (Usage(input_tokens=10, output_tokens=4), False, 10 * 2_500_000 + 4 * 10_000_000) == (
        entry.usage,
        entry.estimated,
        entry.cost,
    )
    assert (PROVIDER, MODEL, 1) == (entry.provider, entry.upstream_model, entry.attempts)
    event = forwarder.house.log.event
    assert (10, 4, 1) == (event["input_tokens"], event["output_tokens"], event["attempts"])
    assert not [name for name in CANARIES if name in forwarder.house.log.text]
    assert [("general", entry.usage)] == forwarder.meter.spending


@confirms("ADR-0043.R2")
def test_a_stream_is_the_gateways_own_and_ends_with_its_end() -> None:
    """Every chunk has the gateway's id, time and model; the role is first, the end last, and usage only when asked."""
    answer = post(build_forwarder(streamed("Hello", " there")).house.app, STREAM)
    chunks = chunks_of(answer)

    assert (200, "text/event-stream") == (answer.status, answer.header("content-type"))
    assert {(ID, int(NOW.timestamp()), "general")} == {(one["id"], one["created"], one["model"]) for one in chunks}
    assert [
        {"role": "assistant", "content": ""},
        {"content": "Hello"},
        {"content": " there"},
        {},
    ] == [one["choices"][0]["delta"] for one in chunks]
    assert not [name for name in CANARIES if name.encode() in answer.body]


@confirms("ADR-0043.R3")
def test_a_stream_is_in_the_ledger_before_its_end_goes_out() -> None:
    """When the last event is sent the entry is there."""
    forwarder = build_forwarder(streamed("Hi"))
    seen: list[tuple[bytes, int]] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        seen.append((message.get("body", b""), len(forwarder.ledger.entries)))

    drive(forwarder, STREAM, send)

    assert [1] == [entries for body, entries in seen if b"[DONE]" in body]
    assert {0} == {entries for body, entries in seen if b"delta" in body and b"[DONE]" not in body}


@confirms("ADR-0043.R4")
@pytest.mark.parametrize("sound", [0, 2])
def test_what_comes_together_with_garbage_goes_out_before_the_error(sound: int) -> None:
    """Chunks that were sound are not lost because one behind them, which arrived with it, is none."""
    texts = ["a", "b"][:sound]
    packet = [*[chunk({"content": text}) for text in texts], chunk({"content": 5})]
    forwarder = build_forwarder([[chunk({"role": "assistant", "content": ""})], packet])

    first, *chunks, error = events_of(post(forwarder.house.app, STREAM).body)

    assert "chunk" in first
    assert texts == [json.loads(one)["choices"][0]["delta"]["content"] for one in chunks]
    assert "upstream_unavailable" == json.loads(error)["error"]["code"]


@pytest.mark.parametrize("error", [UpstreamError(Fault.CUT), UpstreamError(Fault.FAILED), UpstreamError(Fault.GARBLED)])
@confirms("ADR-0043.R4")
def test_a_stream_that_breaks_ends_with_one_error_event(error: UpstreamError) -> None:
    """What came is passed on, then the body of the refusal is one event, and no end follows."""
    forwarder = build_forwarder([*streamed("Hello")[:2], error])

    answer = post(forwarder.house.app, STREAM)

    *chunks, last = events_of(answer.body)
    assert ["", "Hello"] == [json.loads(one)["choices"][0]["delta"]["content"] for one in chunks]
    assert filled("upstream_unavailable") == json.loads(last)
    assert ["upstream_unavailable"] == [event["refusal"] for event in forwarder.house.log.requests]
    assert ([error.fault.value], [1]) == (
        [entry.outcome for entry in forwarder.ledger.entries],
        [stream.closed for stream in forwarder.upstream.streams],
    )


@confirms("ADR-0043.R4")
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([[chunk({"content": "a"})], UpstreamError(Fault.TIMEOUT)], "upstream_timeout"),
        ([[chunk({"content": "a"})]], "upstream_unavailable"),
        ([[chunk({"content": "a"})], [{"error": {"message": "canary"}}]], "upstream_unavailable"),
        ([[chunk({"content": "a"})], [{"choices": "canary"}]], "upstream_unavailable"),
        ([[chunk({"content": "a"}, logprobs=1)], RuntimeError("canary")], "internal_error"),
    ],
)
def test_whatever_ends_a_stream_early_is_told_by_its_kind(said: list[Any], kind: str) -> None:
    """A timeout, an end without a finish reason, an error in the stream, garbage and a fault of ours are one event."""
    forwarder = build_forwarder(said)

    answer = post(forwarder.house.app, STREAM)

    *_, last = events_of(answer.body)
    assert filled(kind) == json.loads(last)
    assert not [name for name in CANARIES if name.encode() in answer.body or name in forwarder.house.log.text]
    assert 1 == len(forwarder.ledger.entries)


@confirms("ADR-0043.R9")
def test_an_answer_that_breaks_the_contract_goes_to_nobody_and_the_next_target_is_asked() -> None:
    """An upstream whose answer is none, or breaks the contract, has failed; another one answers."""
    both = attrs.evolve(GENERAL, targets=(TARGET, SECOND_TARGET))
    broken = completion()
    broken["choices"][0]["message"]["audio"] = {"id": 7}
    answers: list[dict[str, Any]] = [{"choices": []}, broken]
    for wrong in answers:
        forwarder = build_forwarder(wrong, second=[completion("second")], aliases={OWN: (both,)})

        answer = post(forwarder.house.app, ASKED)

        assert "second" == answer.json()["choices"][0]["message"]["content"]
        assert [("second-canary", 2)] == [(one.provider, one.attempts) for one in forwarder.ledger.entries]


@confirms("ADR-0043.R9")
def test_a_chunk_that_breaks_the_contract_ends_the_stream() -> None:
    """A chunk that is none, or that the contract of the mount does not allow, is not passed on."""
    strict = effective(phases={"chat": 2})
    text = strict["components"]["schemas"]["ChatDelta"]["properties"]["content"]
    text["maxLength"] = 5
    first = chunk({"role": "assistant", "content": ""})
    apart: list[Said] = [[first], [chunk({"content": "short"})], [chunk({"content": "too long"})]]
    together: list[Said] = [[first, chunk({"content": "short"}), chunk({"content": "too long"})]]
    garbled: list[Said] = [[first, chunk({"content": "short"}), chunk({"audio": {"id": 7}})]]
    strictly = [build_forwarder(said, document=strict) for said in (apart, together)]
    for forwarder in (*strictly, build_forwarder(garbled)):
        *_, before, last = events_of(post(forwarder.house.app, STREAM).body)

        assert "short" == json.loads(before)["choices"][0]["delta"]["content"]
        assert filled("upstream_unavailable") == json.loads(last)
        assert ["garbled"] == [entry.outcome for entry in forwarder.ledger.entries]


def test_a_fault_of_ours_is_in_the_ledger_as_one() -> None:
    """What the gateway itself fails with, whole or in a stream, is settled, and told as the contract's 500."""
    whole = build_forwarder(RuntimeError("canary"))
    stream = build_forwarder([[chunk({"content": "a"})], RuntimeError("canary")])

    answers = [post(whole.house.app, ASKED), post(stream.house.app, STREAM)]

    assert [500, 200] == [answer.status for answer in answers]
    for forwarder in (whole, stream):
        assert ["internal_error"] == [entry.outcome for entry in forwarder.ledger.entries]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (DOWN, 502, "upstream_unavailable"),
        (UpstreamError(Fault.TIMEOUT), 504, "upstream_timeout"),
        (UpstreamError(Fault.LIMITED, status=429, retry_after=7), 429, "rate_limited"),
        (UpstreamError(Fault.DENIED, status=401), 502, "upstream_unavailable"),
        (UpstreamError(Fault.FAILED, status=503, retry_after=3), 503, "circuit_open"),
    ],
)
def test_where_nobody_answers_the_caller_is_told_so(error: UpstreamError, status: int, kind: str) -> None:
    """Each way of not answering has its kind, with `Retry-After` where it is known; it is in the ledger."""
    forwarder = build_forwarder(error)

    answer = post(forwarder.house.app, ASKED)

    assert (status, kind) == (answer.status, forwarder.house.log.event["refusal"])
    assert (error.retry_after is not None) == (answer.header("retry-after") is not None)
    assert [kind] == [entry.outcome for entry in forwarder.ledger.entries]


def test_a_request_that_the_upstream_rejects_is_the_callers_to_mend() -> None:
    """It is told as one that breaks the contract, with the code and the place, and no word of the upstream's."""
    rejected = UpstreamError(Fault.REJECTED, status=400, code="context_length_exceeded", param="messages")
    said = (
        (rejected, "context_length_exceeded", "messages"),
        (UpstreamError(Fault.REJECTED), "invalid_request", None),
    )
    for error, code, param in said:
        answer = post(build_forwarder(error).house.app, ASKED)

        told = answer.json()["error"]
        assert (400, code, param, "The model did not accept the request.") == (
            answer.status,
            told["code"],
            told["param"],
            told["message"],
        )


def test_a_full_provider_is_an_overload() -> None:
    """Where every provider has as many requests in work as it may have the gateway is overloaded."""
    forwarder = build_forwarder(completion())
    forwarder.router.provide([Provider(name=PROVIDER, kind="openai", capacity=0)])

    answer = post(forwarder.house.app, ASKED)

    assert (503, "overloaded") == (answer.status, forwarder.house.log.event["refusal"])
    assert [] == forwarder.upstream.asked


def test_a_target_without_a_provider_is_unreachable() -> None:
    """A target whose provider is not in force has failed, like one that cannot be reached."""
    lost = attrs.evolve(GENERAL, targets=(attrs.evolve(TARGET, provider="gone"),))

    answer = post(build_forwarder(completion(), aliases={OWN: (lost,)}).house.app, ASKED)

    assert 502 == answer.status


@confirms("ADR-0043.R3")
def test_what_was_reserved_is_settled_with_what_was_used() -> None:
    """A request takes from its limit what it used, not what it might have used: ten of 14 tokens fit into 1,200."""
    identity = FakeIdentity(keys={TOKEN: attrs.evolve(PRINCIPAL, key_token_rate=rate_of("1200/d"))})
    forwarder = build_forwarder(completion(), identity=identity)

    assert [200] * 10 == [post(forwarder.house.app, ASKED).status for _ in range(10)]


@confirms("ADR-0043.R3")
def test_who_is_refused_before_anybody_was_asked_has_used_nothing() -> None:
    """Where no target could be asked what was reserved is let go."""
    identity = FakeIdentity(keys={TOKEN: attrs.evolve(PRINCIPAL, key_token_rate=rate_of("1200/d"))})
    forwarder = build_forwarder(completion(), identity=identity)
    forwarder.router.provide([Provider(name=PROVIDER, kind="openai", capacity=0)])

    answers = [post(forwarder.house.app, ASKED).status for _ in range(3)]

    assert [503, 503, 503] == answers
    assert {(0, False)} == {(entry.usage.total_tokens, entry.estimated) for entry in forwarder.ledger.entries}


def test_a_request_over_its_limit_of_tokens_asks_nobody() -> None:
    """Whoever has no tokens left is refused before an upstream is asked, and nothing is in the ledger."""
    forwarder = build_forwarder(completion(), guard=Guard(token_rates={"key": rate_of("14/d")}))

    first, second = (post(forwarder.house.app, ASKED).status for _ in range(2))

    assert (200, 429) == (first, second)
    assert 1 == len(forwarder.ledger.entries)


def test_embeddings_are_the_gateways_own() -> None:
    """The vectors come in their order, with the alias for the model and the usage of the upstream."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8], "canary": 1}]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    forwarder = build_forwarder({"object": "list", "data": data, "model": MODEL, "usage": usage, "provider": PROVIDER})

    answer = post(forwarder.house.app, {"model": "vectors", "input": "text"}, path="/v1/embeddings")

    vectors = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
    assert {"object": "list", "data": vectors, "model": "vectors", "usage": usage} == answer.json()
    assert [("embeddings", 5)] == [(one.operation, one.usage.input_tokens) for one in forwarder.ledger.entries]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"object": "list", "data": [{"index": 0, "embedding": [1.0]}]}, 200),
        ({"data": [{"index": 0, "embedding": "AACAPw=="}], "usage": {"prompt_tokens": 1}}, 200),
        ({"data": [{"index": "0", "embedding": [1.0]}]}, 502),
        ({"data": [{"index": 0, "embedding": ["a"]}]}, 502),
        ({"data": [{"index": 0, "embedding": 7}]}, 502),
        ({"data": {}}, 502),
        ({"error": {"message": "canary"}}, 502),
        (DOWN, 502),
    ],
)
def test_what_is_no_list_of_embeddings_goes_to_nobody(answer: Any, status: int) -> None:  # noqa: ANN401 - any JSON
    """Vectors of numbers or base64 pass, with or without usage; anything else is a failure of the upstream."""
    forwarder = build_forwarder(answer)

    told = post(forwarder.house.app, {"model": "vectors", "input": "text"}, path="/v1/embeddings")

    assert (status, status == 200) == (told.status, "data" in told.json())


def test_a_language_model_makes_no_embeddings() -> None:
    """An alias of another category is refused."""
    answer = post(build_forwarder(completion()).house.app, {"model": "general", "input": "text"}, path="/v1/embeddings")

    assert (422, "model_not_embedding") == (answer.status, answer.json()["error"]["code"])


@confirms("ADR-0043.R5")
def test_a_caller_who_leaves_closes_the_upstream_and_is_settled() -> None:
    """Who leaves in the middle of a stream has his upstream closed, and an entry with what he got."""
    forwarder = build_forwarder([*streamed("x" * 400)[:2], 60.0])
    sent: list[bytes] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        sent.append(message.get("body", b""))

    drive(forwarder, STREAM, send, leaves=True)

    assert [1] == [stream.closed for stream in forwarder.upstream.streams]
    [entry] = forwarder.ledger.entries
    assert ("left", 100, True) == (entry.outcome, entry.usage.output_tokens, entry.estimated)
    assert (True, 200) == (forwarder.house.log.event["left"], forwarder.house.log.event["status"])
    assert not [piece for piece in sent if b"error" in piece]


@confirms("ADR-0043.R5")
def test_a_caller_who_leaves_before_the_answer_begins_is_settled() -> None:
    """Who leaves while the upstream is silent is cancelled; his entry says so, and no status is sent."""
    forwarder = build_forwarder(60.0)

    async def send(_: Any) -> None:  # noqa: ANN401 - an ASGI message
        raise AssertionError

    drive(forwarder, ASKED, send, leaves=True)

    assert ["left"] == [entry.outcome for entry in forwarder.ledger.entries]
    assert True is forwarder.house.log.event["left"]


def drive(forwarder: Forwarder, document: Mapping[str, Any], send: Any, *, leaves: bool = False) -> None:  # noqa: ANN401
    """Send *document*; a caller who *leaves* does so 0.1 s after his request."""
    body = json.dumps(document).encode()
    headers = [
        (b"authorization", f"Bearer {TOKEN}".encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.1", 50000),
        "server": ("gateway.test", 80),
    }
    told = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        if told:
            return told.pop()
        await asyncio.sleep(0.1 if leaves else 60)
        return {"type": "http.disconnect"}

    asyncio.run(asyncio.wait_for(forwarder.house.app(scope, receive, send), 10))


def filled(kind: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return the body of the refusal *kind*, as the contract has it."""
    return example(effective(phases={"chat": 2}), kind)
