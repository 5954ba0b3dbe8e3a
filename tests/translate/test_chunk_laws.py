"""The judge of the streams is judged: each law that it knows, it sees broken."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from chunk_laws import ENVELOPE, broken_laws

Document = dict[str, Any]
USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def chunk(delta: Document, finish_reason: str | None = None, **stated: object) -> Document:
    """Return a chunk as it goes out to whoever has asked for usage."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {**ENVELOPE, "object": "chat.completion.chunk", "choices": [choice], "usage": None} | stated


def call(**fragment: object) -> Document:
    """Return a delta with one *fragment* of a tool call."""
    return {"tool_calls": [{"index": 0} | fragment]}


def good() -> list[Document]:
    """Return a stream that breaks no law."""
    return [
        chunk({"role": "assistant", "content": "a"}),
        chunk(call(id="i", type="function", function={"name": "f", "arguments": ""})),
        chunk(call(function={"arguments": "{}"})),
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({}, "stop"),
        chunk({}, choices=[], usage=USAGE),
    ]


BREAKS: Final[Mapping[str, Callable[[list[Document]], None]]] = {
    "not ours": lambda chunks: chunks[1].update(id="theirs"),
    "required": lambda chunks: chunks[1].pop("object"),
    "undeclared: $.provider": lambda chunks: chunks[1].update(provider="x"),
    "undeclared: $.choices[0].delta.reasoning": lambda chunks: chunks[4]["choices"][0]["delta"].update(reasoning="x"),
    "no other, says that the assistant": lambda chunks: chunks[1]["choices"][0]["delta"].update(role="assistant"),
    "the first delta": lambda chunks: chunks[0]["choices"][0]["delta"].pop("role"),
    "has a finish reason": lambda chunks: chunks[4]["choices"][0].update(finish_reason=None),
    "the last piece": lambda chunks: chunks[0]["choices"][0].update(finish_reason="stop"),
    "calls are numbered": lambda chunks: chunks[2]["choices"][0]["delta"]["tool_calls"][0].update(index=2),
    "the first fragment": lambda chunks: chunks[1]["choices"][0]["delta"]["tool_calls"][0].pop("id"),
    "a later fragment": lambda chunks: chunks[2]["choices"][0]["delta"]["tool_calls"][0].update(id="i"),
    "function call": lambda chunks: chunks[3]["choices"][0]["delta"]["function_call"].pop("name"),
    "usage is null": lambda chunks: chunks[1].pop("usage"),
    "choices are not empty": lambda chunks: chunks[2].update(choices=[]),
    "the last chunk has the usage": lambda chunks: chunks.__delitem__(-1),
    "there is no choice": lambda chunks: chunks.__delitem__(slice(0, 5)),
}


def test_a_good_stream_breaks_no_law() -> None:
    """Whole, and as far as it has come."""
    chunks = good()

    assert [] == broken_laws(chunks, include_usage=True)
    assert [] == broken_laws(chunks[:3], include_usage=True, ended=False)


@pytest.mark.parametrize("law", BREAKS)
def test_a_broken_law_is_seen(law: str) -> None:
    """A stream that breaks one is told so."""
    chunks = good()
    BREAKS[law](chunks)

    assert [one for one in broken_laws(chunks, include_usage=True) if law in one]


def test_usage_that_nobody_asked_for_is_seen() -> None:
    """The member may not even be null, and no chunk may be empty."""
    assert ["usage was not asked for", "a chunk says nothing"] == broken_laws(good(), include_usage=False)
