"""Whole requests and answers before guardrails: what is looked at, what is changed, and what stays as it is."""

import copy
import json
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms
from guards import CARD, EMAIL, EVERYTHING, categories, guard, screen
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.guardrails import Blocked, Screened, screen_input, screen_output
from dragoman.guardrails.arguments import MOST as MOST_VALUES
from dragoman.guardrails.document import MOST as MOST_TEXTS

MASKING: Final = screen(guard("mask", detectors=EVERYTHING, keywords=("secret",)))
NUMBER: Final = CARD.replace(" ", "")
SAFE: Final = screen(guard("mask", detectors=EVERYTHING), stage="output")


def user(content: object) -> dict[str, Any]:
    """Return a request with one message of this *content*."""
    return {"model": "general", "messages": [{"role": "user", "content": content}]}


def part(text: str) -> dict[str, str]:
    """Return a part of a message."""
    return {"type": "text", "text": text}


def called(arguments: str) -> dict[str, Any]:
    """Return a request in which a tool was called with *arguments*."""
    function = {"name": "send", "arguments": arguments}
    return {"messages": [{"role": "assistant", "tool_calls": [{"id": "call_1", "function": function}]}]}


MASKED: Final = [
    (user(f"to {EMAIL}"), user("to [EMAIL]")),
    (user([part("to "), part(EMAIL)]), user([part("to "), part("[EMAIL]")])),
    (user(["to ", EMAIL]), user(["to ", "[EMAIL]"])),
    (
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": CARD}]},
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": "[CARD]"}]},
    ),
    ({"messages": [{"role": "user", "name": "secret"}]}, {"messages": [{"role": "user", "name": "[KEYWORD]"}]}),
    (
        {"messages": [{"content": [{"type": "refusal", "refusal": EMAIL}]}]},
        {"messages": [{"content": [{"type": "refusal", "refusal": "[EMAIL]"}]}]},
    ),
    (called(f'{{"to": "{EMAIL}"}}'), called('{"to": "[EMAIL]"}')),
    (
        {"messages": [{"function_call": {"name": "f", "arguments": EMAIL}}]},
        {"messages": [{"function_call": {"name": "f", "arguments": "[EMAIL]"}}]},
    ),
    (
        {"messages": [{"tool_calls": [{"custom": {"name": "f", "input": EMAIL}}]}]},
        {"messages": [{"tool_calls": [{"custom": {"name": "f", "input": "[EMAIL]"}}]}]},
    ),
    ({"input": EMAIL}, {"input": "[EMAIL]"}),
    ({"x": {"status": EMAIL, "id": CARD}}, {"x": {"status": "[EMAIL]", "id": "[CARD]"}}),
    ({"input": ["a", EMAIL]}, {"input": ["a", "[EMAIL]"]}),
    ({"user": EMAIL, "metadata": {"a": CARD}}, {"user": "[EMAIL]", "metadata": {"a": "[CARD]"}}),
    ({"unknown": {"deep": [[{"er": EMAIL}]]}}, {"unknown": {"deep": [[{"er": "[EMAIL]"}]]}}),
    (
        {"tools": [{"type": "function", "function": {"name": "secret", "description": EMAIL}}]},
        {"tools": [{"type": "function", "function": {"name": "secret", "description": "[EMAIL]"}}]},
    ),
    (
        {"function": {"parameters": {"properties": {"name": {"description": EMAIL}}}}},
        {"function": {"parameters": {"properties": {"name": {"description": "[EMAIL]"}}}}},
    ),
    (
        {"properties": {"image": {"type": "string", "default": EMAIL}}},
        {"properties": {"image": {"type": "string", "default": "[EMAIL]"}}},
    ),
    ({"metadata": {"file": EMAIL, "data": EMAIL}}, {"metadata": {"file": "[EMAIL]", "data": "[EMAIL]"}}),
]


@confirms("ADR-0037.R5")
@pytest.mark.parametrize(("document", "expected"), MASKED)
def test_every_text_of_a_request_is_looked_at(document: dict[str, Any], expected: dict[str, Any]) -> None:
    """Wherever it stands, known or unknown; and what came stays as it came."""
    before = copy.deepcopy(document)
    screened = screen_input(MASKING, document)

    assert expected == screened.document
    assert before == document
    with pytest.raises(Blocked):
        screen_input(screen(guard("block", detectors=EVERYTHING, keywords=("secret",))), document)


@pytest.mark.parametrize(
    "document",
    [
        {"model": "secret", "id": NUMBER, "service_tier": "secret", "tool_choice": "secret", "object": "a/b.c:d-e"},
        {
            "tools": [{"type": "function", "function": {"name": "secret"}}],
            "tool_choice": {"function": {"name": "secret"}},
        },
        {"input": [{"type": "function_call", "call_id": NUMBER, "name": "secret", "arguments": "{}"}]},
        {"messages": [{"role": "secret", "tool_call_id": NUMBER, "content": None}]},
        {"temperature": 1, "stop": None, "n": 2, "stream": True, "messages": [], "metadata": {}, "user": "", "x": [""]},
    ],
)
def test_names_of_the_protocol_are_no_texts(document: dict[str, Any]) -> None:
    """Ids, kinds and the names of functions have to stay what they are."""
    assert Screened(document=document) == screen_input(MASKING, document)


@confirms("ADR-0037.R5")
def test_only_what_lies_on_the_way_to_a_change_is_new() -> None:
    """Everything else of a masked document is the client's own object; without a change all of it is."""
    messages = [{"content": EMAIL}, {"content": "hi"}]
    document = {"model": "general", "messages": messages, "metadata": {"a": "b"}}
    masked = screen_input(MASKING, document).document
    clean = user("nothing here")

    assert masked["messages"][1] is messages[1]
    assert masked["metadata"] is document["metadata"]
    assert clean is screen_input(MASKING, clean).document
    assert document is screen_input(screen(guard("flag", detectors=("email",))), document).document


@confirms("ADR-0037.R5")
@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (["mail bob@exam", "ple.com now"], ["mail [EMAIL]", " now"]),
        (["4111 ", "1111 ", "1111 1111", " ok"], ["[CARD]", "", "", " ok"]),
        ([EMAIL, EMAIL], ["[EMAIL]", ""]),
        (["a:", EMAIL, ", b"], ["a:", "[EMAIL]", ", b"]),
        (["to", EMAIL], ["[EMAIL]", ""]),
        (["é\ud83d", f"{EMAIL}"], ["é\ud83d", "[EMAIL]"]),
        ([f"{EMAIL}", "pany"], ["[EMAIL]", ""]),
        (["no", "thing"], ["no", "thing"]),
    ],
)
def test_the_texts_of_one_message_are_also_looked_at_as_one(texts: list[str], left: list[str]) -> None:
    """What lies across parts is masked in all of them; images between them do not part them."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    screened = screen_input(MASKING, user([image, *map(part, texts)]))

    assert user([image, *map(part, left)]) == screened.document
    assert 1 == screened.not_scanned


def test_texts_in_a_row_are_parts_of_a_message_too() -> None:
    """Some clients send a list of texts."""
    assert user(["to [EMAIL]", ""]) == screen_input(MASKING, user(["to bob@exam", "ple.com"])).document


def test_a_message_with_nothing_in_it_is_the_same_object_beside_another_one() -> None:
    """Only the message in which something was found is new."""
    messages = [{"content": [part("a"), part("b")]}, {"content": EMAIL}]
    screened = screen_input(MASKING, {"messages": messages})

    assert messages[0] is screened.document["messages"][0]
    assert [{"content": "[EMAIL]"}] == screened.document["messages"][1:]


def test_messages_are_not_read_as_one() -> None:
    """What one message begins no other one ends."""
    document = {"messages": [{"content": "bob@exam"}, {"content": "ple.com"}]}

    assert document is screen_input(MASKING, document).document


@pytest.mark.parametrize(
    ("wanted", "texts", "left"),
    [
        ({"max_chars": 5}, ["abc", "def"], ["abc", "de[TOO_LONG]"]),
        ({"max_chars": 5}, ["abcdefg", "h", "i"], ["abcde[TOO_LONG]", "", ""]),
        ({"max_chars": 6}, ["abc", "def"], ["abc", "def"]),
        ({"patterns": {"a": "^b.$"}}, ["a", "bc"], ["a", "[A]"]),
        ({"patterns": {"a": "^ab$"}}, ["a", "b"], ["[A]", ""]),
    ],
)
def test_limits_and_anchors_know_where_a_message_ends(
    wanted: dict[str, Any], texts: list[str], left: list[str]
) -> None:
    """A message has a length, a beginning and an end, and so has each of its parts."""
    assert user([*map(part, left)]) == screen_input(screen(guard(**wanted)), user([*map(part, texts)])).document


# --- Arguments of calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ('{"to": "bob\\u0040example.com", "n": 1}', '{"to": "[EMAIL]", "n": 1}'),
        ('{"text": "line\\nbob@example.com\\n"}', '{"text":"line\\n[EMAIL]\\n"}'),
        ('{"card": 4111111111111111}', '{"card": "[CARD]"}'),
        ('{"bob@example.com": [true, null, -1.5e3]}', '{"[EMAIL]": [true, null, -1.5e3]}'),
        ('{"a": "bob@example.com", "a": "x"}', '{"a": "[EMAIL]", "a": "x"}'),
        ('{"a": "secr", "b": "et"}', '{"a": "secr", "b": "et"}'),
        ('{"a": "\\u00fcber secret"}', '{"a": "über [KEYWORD]"}'),
        ('{"to": "bob@example.com', '{"to": "[EMAIL]'),
        ("bob@example.com", "[EMAIL]"),
        ('"bob@example.com"', '"[EMAIL]"'),
        ('{"a": "\\n", "b": "secrets"}', '{"a": "\\n", "b": "secrets"}'),
        ("", ""),
    ],
)
def test_arguments_are_looked_at_as_what_they_say(arguments: str, left: str) -> None:
    """Each string and number alone, without escapes; what is masked stays JSON, the rest as it was written."""
    masked = screen_input(MASKING, called(arguments)).document
    said = masked["messages"][0]["tool_calls"][0]["function"]["arguments"]

    assert left.replace(" ", "") == said.replace(" ", "")
    assert arguments != left or arguments is said


@given(st.recursive(st.text('a\\"\n@é', max_size=4) | st.integers(), lambda inner: st.lists(inner, max_size=3)))
@settings(max_examples=100, deadline=None)
def test_arguments_stay_json(value: object) -> None:
    """Whatever is masked in them."""
    made = screen(guard("mask", patterns={"x": "[a@0-9]+"}))
    masked = screen_input(made, called(json.dumps({"a": value}))).document

    json.loads(masked["messages"][0]["tool_calls"][0]["function"]["arguments"])


def test_a_pattern_knows_where_a_string_of_arguments_begins() -> None:
    """An anchor is that of the string."""
    made = screen(guard("mask", patterns={"a": "^foo$"}))

    assert called('["[A]","foo bar"]') == screen_input(made, called('["foo","foo bar"]')).document


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def test_a_block_tells_all_that_its_guardrail_has_found() -> None:
    """In all texts of the document, each category once; what others found is not told."""
    made = screen(
        guard("flag", key="a", detectors=EVERYTHING),
        guard("block", key="b", detectors=("email", "card")),
        guard("block", key="c", detectors=("ip_address",)),
    )
    document = {"messages": [{"content": "8.8.4.4"}, {"content": EMAIL}, {"content": CARD}, {"content": EMAIL}]}

    with pytest.raises(Blocked) as raised:
        screen_input(made, {"messages": document["messages"][1:]})
    with pytest.raises(Blocked) as first:
        screen_input(made, document)

    assert "b" == raised.value.guardrail_key
    assert ["email", "card"] == [finding.category for finding in raised.value.findings]
    assert ("c", ["ip_address"]) == (first.value.guardrail_key, [one.category for one in first.value.findings])


def test_flags_are_told_once_for_a_document() -> None:
    """What is flagged passes, and each category is told once."""
    made = screen(guard("flag", detectors=("email", "card"), max_chars=20))
    document = {"messages": [{"content": EMAIL}, {"content": EMAIL}, {"content": f"{CARD} and more"}]}
    screened = screen_input(made, document)

    assert {"guard": ["email", "card", "too_long"]} == categories(screened.verdicts)
    assert document is screened.document


@confirms("ADR-0037.R11")
@pytest.mark.parametrize(
    ("document", "count"),
    [
        (user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]), 1),
        (user([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, part("hi")]), 1),
        (user([{"type": "file", "file": {"file_data": "AAAA"}}, {"type": "input_image", "image_url": "http://a"}]), 2),
        ({"input": [1, 2, 3]}, 1),
        ({"input": [[1, 2], [3]]}, 2),
        ({"choices": [{"message": {"audio": {"id": "a", "data": "AAAA", "transcript": "hi"}}}]}, 1),
        (user([{"type": "image_url", "text": "hi"}]), 0),
        (user("hi"), 0),
    ],
)
def test_what_is_no_text_is_counted(document: dict[str, Any], count: int) -> None:
    """Media and tokens pass, and it is said that nobody has looked at them."""
    assert count == screen_input(MASKING, document).not_scanned


def test_a_text_beside_a_medium_is_looked_at() -> None:
    """A part that says that it is an image may still have a text."""
    document = user([{"type": "image_url", "image_url": {"url": "data:,"}, "text": EMAIL}])

    assert "[EMAIL]" == screen_input(MASKING, document).document["messages"][0]["content"][0]["text"]


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_every_choice_of_an_answer_is_looked_at() -> None:
    """Content, refusals, reasoning and calls; usage and ids stay."""
    answer = {
        "id": "chatcmpl-4111111111111111",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": EMAIL, "refusal": None}, "finish_reason": "stop"},
            {"index": 1, "message": {"content": None, "refusal": CARD, "reasoning_content": EMAIL}},
            {"index": 2, "message": {"tool_calls": [{"function": {"name": "f", "arguments": f'["{EMAIL}"]'}}]}},
        ],
        "usage": {"total_tokens": 3},
    }
    choices = screen_output(SAFE, answer).document["choices"]

    assert "[EMAIL]" == choices[0]["message"]["content"]
    assert ("[CARD]", "[EMAIL]") == (choices[1]["message"]["refusal"], choices[1]["message"]["reasoning_content"])
    assert '["[EMAIL]"]' == choices[2]["message"]["tool_calls"][0]["function"]["arguments"]


@pytest.mark.parametrize(("action", "kept"), [("mask", False), ("block", False), ("flag", True)])
def test_an_answer_that_may_be_masked_does_not_repeat_its_tokens(action: str, kept: bool) -> None:  # noqa: FBT001
    """Where something may be masked or blocked, `logprobs` is null, found or not; flags change nothing."""
    logprobs = {"content": [{"token": EMAIL}]}
    answer = {"choices": [{"message": {"content": "hi"}, "logprobs": logprobs}, {"logprobs": None}, "odd"]}
    screened = screen_output(screen(guard(action, detectors=("email",))), answer)

    assert (logprobs if kept else None) == screened.document["choices"][0]["logprobs"]
    assert (answer is screened.document) is kept


@pytest.mark.parametrize("answer", [{}, {"choices": None}, {"choices": []}, {"data": [{"embedding": [0.1]}]}])
def test_an_answer_without_texts_is_the_same_object(answer: dict[str, Any]) -> None:
    """There is nothing to look at."""
    assert answer is screen_output(SAFE, answer).document


# --- Bounded work, and failing engines --------------------------------------------------------------------------------


@attrs.frozen
class Silent:
    """A sieve that has run out of memory."""

    def Match(self, _: bytes) -> None:  # noqa: N802 - RE2's name
        """Find nothing, not even what is everywhere."""


@confirms("ADR-0037.R7")
def test_a_document_that_nobody_can_look_at_is_blocked_or_flagged() -> None:
    """As its guardrails say."""
    blocking = attrs.evolve(screen(guard("mask", detectors=("email",))), sieve=Silent())
    flagging = attrs.evolve(screen(guard("flag", detectors=("email",))), sieve=Silent())

    with pytest.raises(Blocked) as raised:
        screen_input(blocking, user("hi"))

    assert ["guardrail_unavailable"] == [finding.category for finding in raised.value.findings]
    assert {"guard": ["guardrail_unavailable"]} == categories(screen_input(flagging, user("hi")).verdicts)


TOO_MANY: Final = [
    {"messages": [{"content": EMAIL}] * (MOST_TEXTS + 1)},
    called(json.dumps(["\n"] * MOST_VALUES + [EMAIL])),
]


@confirms("ADR-0037.R10")
@pytest.mark.parametrize("document", TOO_MANY)
def test_more_texts_than_can_be_looked_at_do_not_pass_unseen(document: dict[str, Any]) -> None:
    """They count as an engine that failed."""
    with pytest.raises(Blocked) as raised:
        screen_input(MASKING, document)
    flagged = screen_input(screen(guard("flag", detectors=("email",))), document)

    assert ["guardrail_unavailable"] == [finding.category for finding in raised.value.findings]
    assert "guardrail_unavailable" in categories(flagged.verdicts)["guard"]
    assert document is flagged.document


def test_many_texts_with_nothing_in_them_pass() -> None:
    """One look shows that there is nothing in them, however many there are."""
    document = {"messages": [{"content": "hi"}] * (MOST_TEXTS + 1)}

    assert document is screen_input(MASKING, document).document


def test_a_document_may_nest_as_deeply_as_it_likes() -> None:
    """Nothing recurses."""
    document: dict[str, Any] = {"content": EMAIL}
    for _ in range(5000):
        document = {"a": [document]}
    inner = screen_input(MASKING, document).document
    for _ in range(5000):
        inner = inner["a"][0]

    assert {"content": "[EMAIL]"} == inner
