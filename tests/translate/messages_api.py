"""The Messages API as far as chat completions reach it: what a request must be, and scripts of its answers.

Laws of this file:
- It shares no code with what it judges. The forms are those of Anthropic's SDK 2.14 (API version 2026-10-21).
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import attrs
import jsonschema_rs
import orjson
from hypothesis import strategies as st

Document = dict[str, Any]


def closed(required: Document, optional: Document | None = None) -> Document:
    """Return the schema of an object with these members and no others."""
    members = required | (optional or {})
    return {"type": "object", "required": [*required], "properties": members, "additionalProperties": False}


def const(word: str) -> Document:
    """Return the schema of one word."""
    return {"const": word}


STRING: Final = {"type": "string"}
VISIBLE: Final = {"type": "string", "pattern": "\\S"}
OBJECT: Final = {"type": "object"}
TEXT: Final = closed({"type": const("text"), "text": VISIBLE})
BASE64: Final = {"type": const("base64"), "data": STRING}
IMAGE: Final = closed(
    {
        "type": const("image"),
        "source": {
            "oneOf": [
                closed(BASE64 | {"media_type": {"enum": ["image/jpeg", "image/png", "image/gif", "image/webp"]}}),
                closed({"type": const("url"), "url": {"type": "string", "pattern": "^(?i:https?):"}}),
            ]
        },
    }
)
PDF: Final = closed(
    {"type": const("document"), "source": closed(BASE64 | {"media_type": const("application/pdf")})},
    {"title": STRING},
)
ID: Final = {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"}
TOOL_USE: Final = closed({"type": const("tool_use"), "id": ID, "name": STRING, "input": OBJECT})
TOOL_RESULT: Final = closed(
    {"type": const("tool_result"), "tool_use_id": ID}, {"content": {"type": "array", "items": TEXT, "minItems": 1}}
)
TURN: Final = {
    "oneOf": [
        closed({"role": const(role), "content": {"type": "array", "minItems": 1, "items": {"oneOf": blocks}}})
        for role, blocks in (("user", [TEXT, IMAGE, PDF, TOOL_RESULT]), ("assistant", [TEXT, TOOL_USE]))
    ]
}
SERIAL: Final = {"disable_parallel_tool_use": {"const": True}}
REQUEST: Final = closed(
    {
        "model": STRING,
        "max_tokens": {"type": "integer", "minimum": 1},
        "messages": {"type": "array", "minItems": 1, "items": TURN},
    },
    {
        "stream": {"const": True},
        "system": {"type": "array", "minItems": 1, "items": TEXT},
        "metadata": closed({"user_id": {"type": "string", "maxLength": 256}}),
        "output_config": closed({"format": closed({"type": const("json_schema"), "schema": OBJECT})}),
        "stop_sequences": {"type": "array", "minItems": 1, "items": VISIBLE},
        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "tools": {
            "type": "array",
            "minItems": 1,
            "items": closed({"name": STRING, "input_schema": OBJECT | {"required": ["type"]}}, {"description": STRING}),
        },
        "tool_choice": {
            "oneOf": [
                closed({"type": const("none")}),
                closed({"type": const("auto")}, SERIAL),
                closed({"type": const("any")}, SERIAL),
                closed({"type": const("tool"), "name": STRING}, SERIAL),
            ]
        },
    },
)
_VALIDATOR: Final = jsonschema_rs.Draft202012Validator(REQUEST)


def broken_request_laws(request: Mapping[str, Any]) -> list[str]:
    """Return what the Messages API would refuse in *request*."""
    errors = [str(error) for error in _VALIDATOR.iter_errors(request)]
    roles = [turn["role"] for turn in request["messages"]]
    if any(one == other for one, other in pairwise(roles)):
        errors.append("turns alternate")
    blocks = [block for turn in request["messages"] for block in turn["content"]]
    if any(block["type"] == "tool_use" for block in blocks) and "tools" not in request:
        errors.append("who speaks of tools defines them")
    if "tool_choice" in request and "tools" not in request:
        errors.append("there is nothing to choose")
    if "temperature" in request and "top_p" in request:
        errors.append("temperature or top_p")
    last = request["messages"][-1]
    if last["role"] == "assistant" and last["content"][-1].get("text", "x")[-1].isspace():
        errors.append("what is gone on with does not end in white space")
    return errors


@attrs.frozen(kw_only=True)
class Block:
    """A block of an answer: its *kind*, its text in *pieces*, or the *input* of a tool."""

    kind: str
    pieces: list[str]
    input: Document
    name: str
    cut: int
    stated_early: bool


@attrs.frozen(kw_only=True)
class Answer:
    """A message: its blocks, why it stopped, and what it took."""

    blocks: list[Block]
    reason: str
    taken: int
    given_: int
    cached: int
    written: int
    thought: int
    pings: bool


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=4),
    lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=3), one, max_size=2),
    max_leaves=5,
)

BLOCKS: Final = st.builds(
    Block,
    kind=st.sampled_from(["text", "text", "tool_use", "tool_use", "thinking", "redacted_thinking", "server_tool_use"]),
    pieces=st.lists(st.text(max_size=5), max_size=4),
    input=st.dictionaries(st.text(max_size=4), _JSON, max_size=3),
    name=st.sampled_from(["get_weather", "f", "a-b_C"]),
    cut=st.integers(1, 7),
    stated_early=st.booleans(),
)

REASONS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

ANSWERS: Final = st.builds(
    Answer,
    blocks=st.lists(BLOCKS, max_size=5),
    reason=st.sampled_from(sorted(REASONS)),
    taken=st.integers(0, 5000),
    given_=st.integers(0, 5000),
    cached=st.integers(0, 500),
    written=st.integers(0, 500),
    thought=st.integers(0, 6000),
    pings=st.booleans(),
)


def _id(place: int) -> str:
    return f"toolu_0{place}XyZ"


def message(answer: Answer) -> Document:
    """Return the *answer* as a whole message."""
    return {
        "id": "msg_canary",
        "type": "message",
        "role": "assistant",
        "model": "canary-model",
        "content": [_whole(block, place) for place, block in enumerate(answer.blocks)],
        "stop_reason": answer.reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.taken,
            "cache_creation_input_tokens": answer.written,
            "cache_read_input_tokens": answer.cached,
            "output_tokens": answer.given_,
            "output_tokens_details": {"thinking_tokens": answer.thought},
            "service_tier": "standard",
        },
    }


def _whole(block: Block, place: int) -> Document:
    match block.kind:
        case "text":
            return {"type": "text", "text": "".join(block.pieces), "citations": None}
        case "thinking":
            return {"type": "thinking", "thinking": "".join(block.pieces), "signature": "canary"}
        case "redacted_thinking":
            return {"type": "redacted_thinking", "data": "canary"}
        case _:
            return {"type": block.kind, "id": _id(place), "name": block.name, "input": block.input}


def events(answer: Answer) -> Iterator[Document]:
    """Yield the *answer* as the data of the events of a stream."""
    whole = message(answer)
    usage = {**whole["usage"], "output_tokens": min(1, answer.given_)}
    del usage["output_tokens_details"]
    yield {
        "type": "message_start",
        "message": whole | {"content": [], "stop_reason": None, "usage": usage},
    }
    for index, block in enumerate(answer.blocks):
        if answer.pings:
            yield {"type": "ping"}
        yield {"type": "content_block_start", "index": index, "content_block": _opening(block, index)}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    details = {"output_tokens_details": {"thinking_tokens": answer.thought}, "input_tokens": None}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": answer.reason, "stop_sequence": None},
        "usage": {"output_tokens": answer.given_} | details,
    }
    yield {"type": "message_stop"}


def _opening(block: Block, index: int) -> Document:
    whole = _whole(block, index)
    match block.kind:
        case "text":
            return whole | {"text": ""}
        case "thinking":
            return whole | {"thinking": "", "signature": ""}
        case "tool_use" if not block.stated_early:
            return whole | {"input": {}}
        case _:
            return whole


def _deltas(block: Block) -> Iterator[Document]:
    match block.kind:
        case "text":
            yield from ({"type": "text_delta", "text": piece} for piece in block.pieces)
            yield {"type": "citations_delta", "citation": {"type": "char_location"}}
        case "thinking":
            yield from ({"type": "thinking_delta", "thinking": piece} for piece in block.pieces)
            yield {"type": "signature_delta", "signature": "canary"}
        case "tool_use" if block.stated_early:
            return
        case "redacted_thinking":
            return
        case _:
            # With spaces, as Anthropic writes it, so that the pieces are not what anybody would write of the whole.
            text = orjson.dumps(block.input, option=orjson.OPT_INDENT_2).decode() if block.input else ""
            yield {"type": "input_json_delta", "partial_json": ""}
            for at in range(0, len(text), block.cut):
                yield {"type": "input_json_delta", "partial_json": text[at : at + block.cut]}
