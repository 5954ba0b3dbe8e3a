"""The provider `echo`: answers inside the gateway, the same to the same request, with what it was asked (ADR-0038).

Laws of this file:
- It takes whatever the contract takes, and never looks into images, recordings and files.
- A token is a word with the blanks before it; a part that is no text is one token. What it streams are its tokens.
- It says no more than `MOST_TOKENS` and `MOST_CHARACTERS`, whatever it was asked, and is cut off there as models are.
"""

import asyncio
import base64
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import shake_256
from typing import Any, Final

import orjson

from dragoman.adapters.upstream.minimal import minimal
from dragoman.adapters.upstream.played import Choice, Document, PlayedChunks, Reply, Script
from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError

MOST_TOKENS: Final = 4096
"""The most tokens of one choice."""

MOST_CHARACTERS: Final = 32 * 1024
"""The most characters that are echoed: a word may be of any length."""

DIMENSIONS: Final = 256
"""How many an embedding has, unless it is said."""

MOST_DIMENSIONS: Final = 65_536
"""The most that the contract takes."""

MOST_NUMBERS: Final = 1 << 22
"""The most numbers of all embeddings of an answer: some tens of megabytes."""

_WORD: Final = re.compile(r"\s*\S+|\s+")


class EchoUpstream:
    """Fits the port `Upstream`."""

    async def chat(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a whole chat completion."""
        return await Script(reply=echoed(document, model)).whole(timeouts)

    async def chat_stream(self, document: Document, *, model: str, timeouts: Timeouts) -> PlayedChunks:
        """Return a chat completion word by word."""
        return await Script(reply=echoed(document, model)).stream(timeouts)

    async def embed(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a unit vector for each input, the same for the same one."""
        del timeouts
        await asyncio.sleep(0)
        return embedded(document, model)


def words(text: str) -> list[str]:
    """Return the tokens of *text*; joined they are it again."""
    return _WORD.findall(text)


def echoed(document: Document, model: str) -> Reply:
    """Return the answer to *document*."""
    choice = _choice(document)
    number = int(document.get("n") or 1)  # 2.0 is an integer to JSON Schema
    prompt = sum(_tokens(message) for message in document["messages"])
    return Reply(model=model, choices=[choice] * number, usage=usage(prompt, spent(choice) * number))


def spent(choice: Choice) -> int:
    """Return how many tokens *choice* takes."""
    message = choice.message()
    texts = [message["content"] or "", message.get("refusal") or ""]
    called = [call[call["type"]] for call in message.get("tool_calls", ())]
    if "function_call" in message:
        called.append(message["function_call"])
    return sum(
        len(words(text)) for text in [*texts, *(one.get("arguments") or one.get("input") or "" for one in called)]
    )


def usage(prompt: int, said: int) -> Document:
    """Return the usage of an exchange, in tokens."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


# --- What is asked ----------------------------------------------------------------------------------------------------


def _parts(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the content of *message* as parts."""
    content = message.get("content")
    return content if isinstance(content, list) else [] if content is None else [{"type": "text", "text": content}]


def _text(message: Mapping[str, Any]) -> str:
    return " ".join(part["text"] for part in _parts(message) if part.get("type") == "text")


def _tokens(message: Mapping[str, Any]) -> int:
    return sum(len(words(part["text"])) if part.get("type") == "text" else 1 for part in _parts(message))


def _asked(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the last text that a user said; the last one of anybody's where no user said one."""
    texts = [_text(message) for message in messages if message.get("role") == "user"]
    said = [text for text in texts if text] or [text for message in messages if (text := _text(message))]
    return said[-1][:MOST_CHARACTERS] if said else ""


# --- What is answered -------------------------------------------------------------------------------------------------


def _choice(document: Document) -> Choice:
    call = _called(document)
    if call is not None:
        return call
    text = _formatted(document)
    ends = document.get("stop")
    for end in [ends] if isinstance(ends, str) else ends or ():
        text = text.partition(end)[0] if end else text
    tokens = words(text)
    limit = min(int(document.get("max_completion_tokens") or document.get("max_tokens") or MOST_TOKENS), MOST_TOKENS)
    return spoken(tokens[:limit], finish="length" if limit < len(tokens) else "stop")


def spoken(tokens: Sequence[str], *, finish: str = "stop") -> Choice:
    """Return the choice that says *tokens*."""
    return Choice(deltas=[{"content": token} for token in tokens] or [{"content": ""}], finish=finish)


def _formatted(document: Document) -> str:
    """Return what is echoed, in the form that is asked for."""
    asked = _asked(document["messages"])
    match document.get("response_format"):
        case {"type": "json_object"}:
            return orjson.dumps({"echo": asked}).decode()
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return orjson.dumps(minimal(schema)).decode()
        case {"type": "json_schema"}:
            return "{}"
        case _:
            return asked


def _called(document: Document) -> Choice | None:
    """Return the call of a tool, if one must be called: the first one, or the one that is named."""
    match document.get("function_call"):
        case {"name": str(name)}:
            arguments = minimal(_schema_of(name, document.get("functions") or ()))
            call = {"name": name, "arguments": orjson.dumps(arguments).decode()}
            return Choice(deltas=[{"function_call": call}], finish="function_call")
        case _:
            pass
    tools: Sequence[Mapping[str, Any]] = document.get("tools") or ()
    chosen = document.get("tool_choice")
    match chosen:
        case {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [first, *_]}}:
            chosen = first
        case "required" if tools:
            chosen = tools[0]
        case _:
            pass
    match chosen:
        case {"type": "function", "function": {"name": str(name)}}:
            schema = _schema_of(name, [tool["function"] for tool in tools if tool["type"] == "function"])
            function = {"name": name, "arguments": orjson.dumps(minimal(schema)).decode()}
            return called("function", function)
        case {"type": "custom", "custom": {"name": str(name)}} if name:
            return called("custom", {"name": name, "input": _asked(document["messages"])})
        case _:
            return None


def called(kind: str, tool: Document) -> Choice:
    """Return the choice that calls one *tool* of this *kind*, in one piece."""
    call = {"index": 0, "id": "call_dragoman_0", "type": kind, kind: tool}
    return Choice(deltas=[{"tool_calls": [call]}], finish="tool_calls")


def _schema_of(name: str, functions: Iterable[Mapping[str, Any]]) -> object:
    """Return the schema of the arguments of the function of this *name*; it takes none where nothing is said."""
    return next((one["parameters"] for one in functions if one["name"] == name and "parameters" in one), {})


# --- Embeddings -------------------------------------------------------------------------------------------------------


def embedded(document: Document, model: str) -> Document:
    """Return the embeddings of every input of *document*."""
    dimensions = int(document.get("dimensions") or DIMENSIONS)
    inputs = _inputs(document["input"])
    if dimensions > MOST_DIMENSIONS or len(inputs) * dimensions > MOST_NUMBERS:
        raise UpstreamError(Fault.REJECTED, status=400, code="integer_above_max_value", param="dimensions")
    encode: Callable[[list[float]], object] = _in_base64 if document.get("encoding_format") == "base64" else list
    prompt = sum(len(words(one)) if isinstance(one, str) else len(one) for one in inputs)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(_vector(one, dimensions))}
            for index, one in enumerate(inputs)
        ],
        "model": model,
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
    }


def _inputs(stated: Any) -> list[str | list[int]]:  # noqa: ANN401 - as the contract lets it be
    """Return the inputs of a request: a text, texts, tokens, or lists of tokens."""
    return [stated] if isinstance(stated, str) or (stated and isinstance(stated[0], int | float)) else list(stated)


def _vector(one: str | list[int], dimensions: int) -> list[float]:
    """Return the unit vector of an input."""
    seed = one.encode() if isinstance(one, str) else orjson.dumps(one)
    drawn = struct.unpack(f"<{dimensions}i", shake_256(seed).digest(4 * dimensions))
    length = math.hypot(*drawn)
    return [number / length for number in drawn] if length else [1.0, *[0.0] * (dimensions - 1)]


def _in_base64(vector: list[float]) -> str:
    """Return *vector* as OpenAI packs it: 32-bit floats, the lowest byte first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
