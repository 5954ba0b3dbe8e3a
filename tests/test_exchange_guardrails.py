"""Guardrails in an exchange: what is blocked, masked or flagged on the way in and out, whole and streamed."""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.model import Guardrail
from fakes import OWN, FakeWebhook, effective, example
from forwarding import ASKED, EMBEDDING, GENERAL, Forwarder, build_forwarder, completion, events_of, streamed
from wire import CHAT, post

MAIL = "ada@example.org"
STREAM: Mapping[str, Any] = {**ASKED, "stream": True}


def request(text: str, **more: object) -> dict[str, Any]:
    """Return a request that says *text*."""
    return {**ASKED, "messages": [{"role": "user", "content": text}], **more}


def watched(
    *answers: Any,  # noqa: ANN401 - of an upstream
    action: str = "block",
    stages: tuple[str, ...] = ("input", "output"),
    url: str | None = None,
    webhook: FakeWebhook | None = None,
    dialect: str = "dragoman",
) -> Forwarder:
    """Return a gateway whose alias is watched by one guardrail for mail addresses, or one that asks at *url*."""
    guardrail = Guardrail(
        key="pii-checker",
        action=action,
        stages=frozenset(stages),
        detectors=() if url else ("email",),
        webhook=url,
    )
    alias, vectors = (attrs.evolve(one, guardrails=("pii-checker",)) for one in (GENERAL, EMBEDDING))
    return build_forwarder(
        *answers,
        aliases={OWN: (alias, vectors)},
        guardrails={"pii-checker": guardrail},
        webhook=webhook,
        dialect=dialect,
    )


def texts(body: bytes) -> str:
    """Return the text of a stream that ended well."""
    *chunks, end = events_of(body)
    assert "[DONE]" == end
    deltas = [choice["delta"] for one in chunks for choice in json.loads(one)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@confirms("ADR-0037.R1")
@pytest.mark.parametrize("document", [request(f"Mail {MAIL}."), request(f"Mail {MAIL}.", stream=True)])
def test_what_is_blocked_on_the_way_in_reaches_nobody(document: Mapping[str, Any]) -> None:
    """The refusal has the guardrail's key, its action and what was found; no upstream is asked, and no text told."""
    forwarder = watched(completion())

    answer = post(forwarder.house.app, document)

    told = answer.json()["error"]
    assert (400, "pii-checker", "block") == (answer.status, told["guardrail_key"], told["action"])
    assert [{"category": "email", "message": "PII detected"}] == told["findings"]
    assert ([], ["guardrail_block"]) == (forwarder.upstream.asked, [one.outcome for one in forwarder.ledger.entries])
    assert "pii-checker:email" == forwarder.house.log.event["guardrails"]
    assert MAIL not in forwarder.house.log.text + answer.body.decode()


def test_what_is_masked_on_the_way_in_is_what_the_upstream_gets() -> None:
    """The upstream gets the masked text, and everything else as it came."""
    forwarder = watched(completion(), action="mask", stages=("input",))

    answer = post(forwarder.house.app, request(f"Mail {MAIL}.", temperature=0.5))

    assert 200 == answer.status
    assert [request("Mail [EMAIL].", temperature=0.5)] == [document for _, document in forwarder.upstream.asked]


def test_what_is_flagged_passes_and_is_noted() -> None:
    """Flagged texts pass both ways; the event names the guardrail and the category each time."""
    forwarder = watched(completion(f"It is {MAIL}."), action="flag")

    answer = post(forwarder.house.app, request(f"Mail {MAIL}."))

    assert f"It is {MAIL}." == answer.json()["choices"][0]["message"]["content"]
    assert "pii-checker:email,pii-checker:email" == forwarder.house.log.event["guardrails"]


@pytest.mark.parametrize(("action", "status", "told"), [("block", 400, None), ("mask", 200, "It is [EMAIL].")])
def test_a_whole_answer_is_looked_at(action: str, status: int, told: str | None) -> None:
    """An answer that is blocked does not leave, one that is masked leaves masked, and both are paid for."""
    forwarder = watched(completion(f"It is {MAIL}."), action=action)

    answer = post(forwarder.house.app, ASKED)

    assert status == answer.status
    assert told == (answer.json()["choices"][0]["message"]["content"] if told else None)
    assert [14] == [entry.usage.total_tokens for entry in forwarder.ledger.entries]
    assert MAIL not in answer.body.decode()


def test_a_stream_is_masked_across_its_chunks() -> None:
    """What straddles chunks is masked, and everything around it leaves."""
    forwarder = watched(streamed("It is a", "da@exam", "ple.or", "g, you know."), action="mask")

    answer = post(forwarder.house.app, STREAM)

    assert "It is [EMAIL], you know." == texts(answer.body)


@confirms("ADR-0043.R4")
def test_a_stream_that_is_blocked_ends_with_the_refusal() -> None:
    """Nothing of what is blocked leaves; the refusal is the last event, and the upstream is closed."""
    forwarder = watched(streamed("It is a", "da@exam", "ple.org", " and so on", " and on"))

    answer = post(forwarder.house.app, STREAM)

    *chunks, last = events_of(answer.body)
    expected = example(effective(phases={"chat": 2}), "guardrail_block")["error"]
    told = json.loads(last)["error"]
    assert (expected["code"], "pii-checker") == (told["code"], told["guardrail_key"])
    assert "@" not in "".join(chunks)
    assert [1] == [stream.closed for stream in forwarder.upstream.streams]
    assert ["guardrail_block"] == [entry.outcome for entry in forwarder.ledger.entries]


@pytest.mark.parametrize(("dialect", "path"), [("client", "/api/client/v1/chat/completions"), ("tenant", CHAT)])
def test_each_dialect_words_what_is_blocked(dialect: str, path: str) -> None:
    """`client` answers 400 with the findings, `tenant` 403 without."""
    forwarder = watched(completion(), dialect=dialect)

    answer = post(forwarder.house.app, request(f"Mail {MAIL}."), path=path)

    expected = example(effective(dialect, phases={"chat": 2}), "guardrail_block")
    assert (400 if dialect == "client" else 403, expected) == (answer.status, answer.json())


def test_texts_that_are_to_be_embedded_are_looked_at() -> None:
    """What is blocked is not embedded."""
    answer = post(watched({}).house.app, {"model": "vectors", "input": [f"Mail {MAIL}."]}, path="/v1/embeddings")

    assert (400, "content_blocked") == (answer.status, answer.json()["error"]["code"])


def test_a_webhook_is_asked_about_whole_texts_in_both_directions() -> None:
    """It is asked about the request and about the answer, whole and streamed, and what it allows passes."""
    for answers, document in ((completion(), ASKED), (streamed("Hel", "lo"), STREAM)):
        webhook = FakeWebhook(answer={"findings": []})
        forwarder = watched(answers, url="https://guard.test/ask", webhook=webhook)

        answer = post(forwarder.house.app, document)

        assert 200 == answer.status
        assert ["https://guard.test/ask"] * 2 == [url for url, _ in webhook.asked]
        assert "Hel" in answer.body.decode()


@pytest.mark.parametrize(("document", "answers"), [(ASKED, completion()), (STREAM, streamed("Hel", "lo"))])
def test_a_webhook_that_answers_nonsense_closes(document: Mapping[str, Any], answers: Any) -> None:  # noqa: ANN401
    """Where nobody knows what a text holds it is blocked, on its way out too; a stream ends with the refusal."""
    forwarder = watched(answers, url="https://guard.test/ask", stages=("output",), webhook=FakeWebhook(answer=7))

    answer = post(forwarder.house.app, document)

    assert b"guardrail_unavailable" in answer.body
    assert b"[DONE]" not in answer.body
