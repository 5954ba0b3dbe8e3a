"""What becomes of a whole answer of an upstream, case by case."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
from chunk_laws import ENVELOPE
from gateway_conformance.rules import confirms

from dragoman.model import Usage
from dragoman.translate.completion import Completion, assemble, completion
from dragoman.translate.grammar import GrammarError, Reason

Document = dict[str, Any]


def answer(message: object, **stated: object) -> Document:
    """Return a completion with one choice, which says *message*."""
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"} | stated]}


def read(document: object) -> Completion:
    """Return what becomes of *document*."""
    return completion(document, **ENVELOPE)


def message_of(message: object) -> Document:
    """Return the message that goes out for *message*."""
    said: Document = read(answer(message)).document["choices"][0]["message"]
    return said


@confirms("ADR-0036.R6")
def test_a_completion_goes_out_in_an_envelope_of_our_own() -> None:
    """With what the contract declares, and nothing else of the upstream's."""
    theirs = answer({"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}, logprobs=None, stop_reason=None)
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    theirs |= {"id": "theirs", "model": "secret", "created": 1, "system_fingerprint": "fp", "service_tier": "default"}

    assert Completion(
        document={
            **ENVELOPE,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": usage,
            "service_tier": "default",
        },
        usage=Usage(input_tokens=1, output_tokens=2),
        text_length=2,
    ) == read(theirs | {"usage": usage})


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -1}, {"prompt_tokens": -1, "completion_tokens": -1, "total_tokens": -2}]
)
def test_usage_that_is_not_stated_is_none(usage: object) -> None:
    """It is not told either: whoever counts tells it."""
    whole = read(answer({"content": "Hi"}) | {"usage": usage})

    assert whole.usage is None
    assert "usage" not in whole.document


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({}, {"content": None}),
        ({"role": "model", "content": None}, {"content": None}),
        ({"content": "a", "refusal": None, "audio": None}, {"content": "a", "refusal": None, "audio": None}),
        ({"content": "", "refusal": "no"}, {"content": "", "refusal": "no"}),
        ({"tool_calls": [], "function_call": None}, {"content": None}),
        ({"tool_calls": None, "annotations": []}, {"content": None, "annotations": []}),
        (
            {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_chatcmpl-own_0_0",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                    }
                ],
            },
        ),
        (
            {"tool_calls": [{"id": "a", "index": 3, "custom": {"name": "f", "input": None, "x": 1}, "x": 1}]},
            {"content": None, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": ""}}]},
        ),
        (
            {"function_call": {"name": "f", "arguments": "{}", "x": 1}},
            {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        ),
        (
            {"audio": {"id": "a", "expires_at": 1, "data": "AA", "transcript": "Hi", "x": 1}},
            {"content": None, "audio": {"id": "a", "expires_at": 1, "data": "AA", "transcript": "Hi"}},
        ),
    ],
)
def test_a_message_is_the_assistant_s_and_complete(stated: Document, told: Document) -> None:
    """Role and content are there, calls have their ids, and members of others are not there."""
    assert {"role": "assistant", **told} == message_of(stated)


def test_the_length_of_an_answer_is_counted() -> None:
    """Texts, refusals, and what tools and functions are called with, of all choices."""
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"custom": {"name": "f", "input": "x"}}]
    message = {"content": "abc", "refusal": "d", "tool_calls": calls}
    other = {"index": 1, "message": {"function_call": {"name": "f", "arguments": "{"}}, "finish_reason": "stop"}
    document = answer(message)
    document["choices"].append(other)

    assert 8 == read(document).text_length


def test_choices_keep_their_order() -> None:
    """An index that is missing is the place."""
    one = answer({"content": "a"})["choices"][0]
    del one["index"]

    assert [0, 1] == [choice["index"] for choice in read({"choices": [one, one]}).document["choices"]]


@confirms("ADR-0036.R9")
@pytest.mark.parametrize(
    "document",
    [{"error": {"message": "no"}}, {"object": "error"}, answer({"content": "Hal"}, finish_reason="error")],
)
def test_an_error_in_place_of_an_answer_is_an_error(document: object) -> None:
    """Whatever the status was that it came with."""
    with pytest.raises(GrammarError) as caught:
        read(document)
    assert Reason.FAILED is caught.value.reason


GARBLED: Final[Mapping[str, object]] = {
    "null": None,
    "list": [],
    "empty": {},
    "no choice": {"choices": []},
    "choices an object": {"choices": {}},
    "choice text": {"choices": ["a"]},
    "choices alike": {"choices": answer({"content": "a"})["choices"] * 2},
    "index": answer({"content": "a"}, index=128),
    "no message": answer(None),
    "message text": answer("a"),
    "content a list": answer({"content": []}),
    "refusal a number": answer({"refusal": 1}),
    "recording in part": answer({"audio": {"id": "a"}}),
    "finish reason null": answer({"content": "a"}, finish_reason=None),
    "finish reason unknown": answer({"content": "a"}, finish_reason="because"),
    "logprobs text": answer({"content": "a"}, logprobs="a"),
    "calls an object": answer({"tool_calls": {}}),
    "call null": answer({"tool_calls": [None]}),
    "call without name": answer({"tool_calls": [{"id": "a", "function": {"arguments": "{}"}}]}),
    "function call text": answer({"function_call": "f"}),
    "function call without name": answer({"function_call": {"name": ""}}),
}


@confirms("ADR-0036.R10")
@pytest.mark.parametrize("document", GARBLED.values(), ids=GARBLED)
def test_what_is_no_completion_is_named(document: object) -> None:
    """It is the upstream's fault, and never a crash of ours."""
    with pytest.raises(GrammarError) as caught:
        read(document)
    assert Reason.GARBLED is caught.value.reason


def test_a_recording_is_put_together() -> None:
    """Its sound and its transcript are appended; null says that there is none yet, or none at all."""

    def whole(*pieces: Document | None) -> Document:
        chunks = [
            {**ENVELOPE, "choices": [{"index": 0, "delta": {"audio": one}, "finish_reason": None}]} for one in pieces
        ]
        message: Document = assemble(chunks)["choices"][0]["message"]
        return message

    assert {"content": None, "audio": {"id": "a", "data": "AABB", "transcript": "Hi", "expires_at": 9}} == whole(
        None, {"id": "a", "data": "AA"}, {"data": "BB", "transcript": "H"}, {"transcript": "i"}, {"expires_at": 9}, None
    )
    assert {"content": None, "audio": None} == whole(None)
