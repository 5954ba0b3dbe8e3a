"""Guardrails that ask a webhook: what it is asked, and what follows from its answer."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms
from guards import EMAIL, categories, guard, screen

from dragoman.guardrails import (
    Blocked,
    Screen,
    Screened,
    StreamScreen,
    WebhookUnavailableError,
    ask_webhooks,
    end_stream,
    screen_input,
)
from dragoman.model import Finding

URL: Final = "https://guard.example/v1"
FOUND: Final = {"findings": [{"category": "insult", "message": "you said: oaf"}]}
UNAVAILABLE: Final = ["guardrail_unavailable"]


@attrs.define
class FakeWebhook:
    """Fits the port `Webhook`; gives the *answers* in their turn, and keeps what it was asked."""

    answers: list[object]
    asked: list[tuple[str, Mapping[str, Any]]] = attrs.field(factory=list)

    async def ask(self, url: str, question: Mapping[str, Any]) -> object:
        """Answer, or fail where no answer is left."""
        self.asked.append((url, question))
        if not self.answers:
            raise WebhookUnavailableError
        return self.answers.pop(0)


def asking(action: str = "block", **wanted: Any) -> Screen:  # noqa: ANN401 - members of a guardrail
    """Return a screen of a guardrail that asks."""
    return screen(guard(action, webhook=URL, **wanted))


def user(*texts: str) -> dict[str, Any]:
    """Return a request with these messages."""
    return {"model": "general", "messages": [{"role": "user", "content": text} for text in texts]}


def asked(made: Screen, document: object, *answers: object) -> Screened:
    """Return what becomes of *document* when the webhook gives *answers*."""
    return asyncio.run(ask_webhooks(made, screen_input(made, document), FakeWebhook([*answers])))


@confirms("ADR-0037.R9")
def test_a_webhook_is_asked_about_texts_at_its_own_address() -> None:
    """It gets the guardrail's key, the stage and the texts, in which everything else is masked already."""
    webhook = FakeWebhook([{"findings": []}])
    made = asking("mask", detectors=("email",))
    screened = screen_input(made, user("hi", f"to {EMAIL}"))
    seen = asyncio.run(ask_webhooks(made, screened, webhook))

    assert [(URL, {"guardrail": "guard", "stage": "input", "texts": ["hi", "to [EMAIL]"]})] == webhook.asked
    assert user("hi", "to [EMAIL]") == seen.document
    assert {"guard": ["email"]} == categories(seen.verdicts)


def test_an_answer_without_findings_lets_pass() -> None:
    """The document is the same object, whatever else is answered."""
    document = user("hi")

    assert document is asked(asking(), document, {"findings": [], "texts": ["no"], "more": 1}).document


def test_findings_block_where_the_guardrail_blocks() -> None:
    """The categories are told, and no other word of the answer."""
    with pytest.raises(Blocked) as raised:
        asked(asking(), user("hi"), FOUND)

    assert "guard" == raised.value.guardrail_key
    assert (Finding(category="insult", message="Content not allowed"),) == raised.value.findings


def test_findings_are_reported_where_the_guardrail_flags() -> None:
    """Each category once; the document is the same object."""
    document = user("hi")
    seen = asked(asking("flag"), document, {"findings": [*FOUND["findings"], *FOUND["findings"]], "texts": ["no"]})

    assert {"guard": ["insult"]} == categories(seen.verdicts)
    assert document is seen.document


def test_texts_of_the_answer_go_on_where_the_guardrail_masks() -> None:
    """Only those that were changed are new."""
    document = user("you oaf", "hi")
    seen = asked(asking("mask"), document, {**FOUND, "texts": ["you [INSULT]", "hi"]})

    assert user("you [INSULT]", "hi") == seen.document
    assert document["messages"][1] is seen.document["messages"][1]
    assert {"guard": ["insult"]} == categories(seen.verdicts)


def test_what_cannot_be_masked_is_blocked() -> None:
    """A webhook that finds something and gives no texts has not said how to go on."""
    with pytest.raises(Blocked) as raised:
        asked(asking("mask"), user("hi"), FOUND)

    assert ["insult"] == [finding.category for finding in raised.value.findings]


def test_findings_of_one_guardrail_are_one_verdict() -> None:
    """Whether it has found them itself or its webhook has."""
    seen = asked(asking("flag", detectors=("email",)), user(EMAIL), FOUND)

    assert {"guard": ["email", "insult"]} == categories(seen.verdicts)
    assert 1 == len(seen.verdicts)


def test_webhooks_are_asked_in_their_turn() -> None:
    """Each about what the one before has left; who watches another stage is not asked."""
    made = screen(
        guard("mask", key="a", webhook="https://a.example"),
        guard("flag", key="b", webhook="https://b.example"),
        guard("block", key="c", webhook="https://c.example", stages=frozenset({"output"})),
        guard("flag", key="d", keywords=("x",)),
    )
    webhook = FakeWebhook([{**FOUND, "texts": ["you [INSULT]"]}, {"findings": []}])
    asyncio.run(ask_webhooks(made, screen_input(made, user("you oaf")), webhook))

    assert ["https://a.example", "https://b.example"] == [url for url, _ in webhook.asked]
    assert [["you oaf"], ["you [INSULT]"]] == [question["texts"] for _, question in webhook.asked]


def test_nobody_is_asked_about_nothing() -> None:
    """A document without texts asks nobody."""
    webhook = FakeWebhook([])
    made = asking()
    asyncio.run(ask_webhooks(made, screen_input(made, {"input": [1]}), webhook))

    assert [] == webhook.asked


NO_ANSWERS: Final[list[object]] = [
    None,
    [],
    "ok",
    {},
    {"findings": None},
    {"findings": {}},
    {"findings": ["insult"]},
    {"findings": [{"category": "An insult: oaf"}]},
    {"findings": [{"category": "x" * 65}]},
    {"findings": [{"category": None}]},
    {"findings": [{"message": "oaf"}]},
    {"findings": FOUND["findings"] * 101},
    {"findings": [], "texts": "no"},
    {**FOUND, "texts": []},
    {**FOUND, "texts": ["a", "b"]},
    {**FOUND, "texts": [1]},
]


@confirms("ADR-0037.R7", "ADR-0037.R9")
@pytest.mark.parametrize("answers", [[], *([one] for one in NO_ANSWERS)])
def test_what_is_no_answer_closes_what_blocks_and_masks(answers: list[object]) -> None:
    """An answer that is not in form counts as none; what only flags passes, and says so."""
    for action in ("block", "mask"):
        with pytest.raises(Blocked) as raised:
            asked(asking(action), user("hi"), *answers)
        assert UNAVAILABLE == [finding.category for finding in raised.value.findings]
    seen = asked(asking("flag"), user("hi"), *answers)

    assert {"guard": UNAVAILABLE} == categories(seen.verdicts)
    assert user("hi") == seen.document


# --- Streams ----------------------------------------------------------------------------------------------------------


def chunk(delta: dict[str, Any], index: int = 0) -> dict[str, Any]:
    """Return a chunk of an answer."""
    return {"id": "chatcmpl-1", "choices": [{"index": index, "delta": delta, "finish_reason": None}]}


END: Final = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE: Final = {"id": "chatcmpl-1", "choices": [], "usage": {"total_tokens": 1}}
CALLED: Final = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": '["oaf"]'}}
CHUNKS: Final = [
    chunk({"role": "assistant", "content": "you"}),
    chunk({"content": " o"}),
    chunk({"content": "hi"}, 1),
    chunk({"content": "af"}),
    chunk({"tool_calls": [CALLED], "audio": {"transcript": "hm"}}),
    END,
    USAGE,
]


def streamed(made: Screen, *answers: object) -> tuple[Screened, FakeWebhook]:
    """Return what becomes of a streamed answer, and who was asked."""
    stream, webhook = StreamScreen(made), FakeWebhook([*answers])
    assert [] == [one for came in CHUNKS for one in stream.feed(came)]
    return asyncio.run(end_stream(stream, webhook)), webhook


def contents(chunks: Sequence[Mapping[str, Any]]) -> list[object]:
    """Return the contents of the first choice in *chunks*."""
    return [one["delta"].get("content") for came in chunks for one in came["choices"] if one["index"] == 0]


def test_a_streamed_answer_is_kept_until_its_webhook_has_answered() -> None:
    """It is asked about whole texts, and what is not changed leaves as it would have before."""
    made = screen(guard("block", webhook=URL), stage="output")
    seen, webhook = streamed(made, {"findings": []})
    question = {"guardrail": "guard", "stage": "output", "texts": ["you oaf", "hi", "hm", '["oaf"]']}

    assert [(URL, question)] == webhook.asked
    assert CHUNKS[:4] == seen.document[:4]
    assert [END, USAGE] == seen.document[-2:]
    assert 1 == seen.not_scanned


def test_a_webhook_that_only_flags_delays_nothing() -> None:
    """The chunks leave as they come; it is asked when the answer is over, and what it has found is told."""
    made = screen(guard("flag", webhook=URL, keywords=("oaf",)), stage="output")
    stream, webhook = StreamScreen(made), FakeWebhook([FOUND])

    assert CHUNKS == [one for came in CHUNKS for one in stream.feed(came)]
    seen = asyncio.run(end_stream(stream, webhook))

    assert [["you oaf", "hi", '["oaf"]', "hm"]] == [question["texts"] for _, question in webhook.asked]
    assert [] == seen.document
    assert {"guard": ["keyword", "insult"]} == categories(seen.verdicts)


def test_a_text_of_a_stream_that_is_changed_stands_in_its_first_piece() -> None:
    """The others are empty, and the chunks of other texts are the same objects."""
    made = screen(guard("mask", webhook=URL), stage="output")
    texts = ["you [INSULT]", "hi", "hm", '["[INSULT]"]']
    seen, _ = streamed(made, {**FOUND, "texts": texts})
    chunks = seen.document
    calls = [one for came in chunks for choice in came["choices"] for one in choice["delta"].get("tool_calls", [])]

    assert ["you [INSULT]"] == [text for text in contents(chunks) if text]
    assert '["[INSULT]"]' == "".join(call["function"]["arguments"] for call in calls)
    assert USAGE is chunks[-1]
    assert {"guard": ["insult"]} == categories(seen.verdicts)


def test_a_streamed_answer_is_blocked_before_any_of_it_has_left() -> None:
    """As a whole one is."""
    with pytest.raises(Blocked):
        streamed(screen(guard("block", webhook=URL), stage="output"), FOUND)


def test_chunks_without_texts_ask_nobody() -> None:
    """There is nothing to ask about."""
    webhook = FakeWebhook([])
    stream = StreamScreen(screen(guard("block", webhook=URL), stage="output"))
    came: list[dict[str, Any]] = [{"choices": [{"delta": None}]}, {"usage": {}}]
    assert [(), ()] == [stream.feed(one) for one in came]

    assert came == asyncio.run(end_stream(stream, webhook)).document
    assert [] == webhook.asked
