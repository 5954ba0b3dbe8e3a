"""The provider `echo`: answers inside the gateway, the same to the same request, with what it was asked (ADR-0038).

Laws of this file:
- It takes whatever the contract takes, and never looks into images, recordings and files.
- A token is a word with the blanks before it; a part that is no text is one token. What it streams are its tokens.
"""

import asyncio
import base64
import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import shake_256
from typing import Any, Final

import orjson

from dragoman.adapters.upstream.minimal import minimal
from dragoman.adapters.upstream.stepped import Choice, Document, Step, SteppedChunks, chunks_of, whole_of
from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError

DIMENSIONS: Final = 256
"""How many an embedding has, unless it is said."""

MOST_DIMENSIONS: Final = 4096

_WORD: Final = re.compile(r"\s*\S+|\s+")


class EchoUpstream:
    """Fits the port `Upstream`."""

    async def chat(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a whole chat completion."""
        return await whole_of(echoed(document, model), timeouts)

    async def chat_stream(self, document: Document, *, model: str, timeouts: Timeouts) -> SteppedChunks:
        """Return a chat completion word by word."""
        return await SteppedChunks(echoed(document, model), timeouts).begin()

    async def embed(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a unit vector for each input, the same for the same one."""
        del timeouts
        await asyncio.sleep(0)
        return embedded(document, model)


def words(text: str) -> list[str]:
    """Return the tokens of *text*; joined they are it again."""
    return _WORD.findall(text)


def echoed(document: Document, model: str) -> list[Step]:
    """Return the chunks of the answer to *document*."""
    choice = _choice(document)
    number = document.get("n") or 1
    said = sum(len(words(text)) for delta in choice.deltas for text in _texts(delta))
    prompt = sum(_tokens(message) for message in document["messages"])
    return chunks_of([choice] * number, model=model, usage=usage(prompt, said * number))


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


def _texts(value: object) -> Iterator[str]:
    """Yield what a delta says: contents, arguments and inputs."""
    match value:
        case {"content": str(text)} | {"arguments": str(text)} | {"input": str(text)}:
            yield text
        case {"tool_calls": [call]}:
            yield from _texts(call.get(call.get("type", "function")))
        case {"function_call": call}:
            yield from _texts(call)


# --- What is asked ----------------------------------------------------------------------------------------------------


def _parts(message: Mapping[str, Any]) -> Sequence[Any]:
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
    texts = [text for text in texts if text] or [text for message in messages if (text := _text(message))]
    return texts[-1] if texts else ""


# --- What is answered -------------------------------------------------------------------------------------------------


def _choice(document: Document) -> Choice:
    called = _called(document)
    if called is not None:
        return called
    text = _formatted(document)
    ends = document.get("stop")
    for end in [ends] if isinstance(ends, str) else ends or ():
        text = text.partition(end)[0] if end else text
    tokens = words(text)
    limit = document.get("max_completion_tokens") or document.get("max_tokens")
    if limit is not None and limit < len(tokens):
        return spoken(tokens[:limit], finish="length")
    return spoken(tokens)


def spoken(tokens: Iterable[str], *, finish: str = "stop") -> Choice:
    """Return the choice that says *tokens*."""
    return Choice(deltas=[{"content": token} for token in tokens] or [{"content": ""}], finish=finish)


def _formatted(document: Document) -> str:
    """Return what is echoed, in the form that is asked for."""
    asked = _asked(document["messages"])
    match document.get("response_format"):
        case {"type": "json_object"}:
            return orjson.dumps({"echo": asked}).decode()
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return orjson.dumps(minimal(schema)).decode()
        case {"type": "json_schema"}:
            return "{}"
        case _:
            return asked


def _called(document: Document) -> Choice | None:
    """Return the call of a tool, if one must be called: the first one, or the one that is named."""
    tools: Sequence[Mapping[str, Any]] = document.get("tools") or []
    choice = document.get("tool_choice")
    match document.get("function_call"):
        case {"name": str(name)}:
            schema = _schema_of(name, document.get("functions") or ())
            call = {"name": name, "arguments": orjson.dumps(minimal(schema)).decode()}
            return Choice(deltas=[{"function_call": call}], finish="function_call")
    match choice:
        case {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [first, *_]}}:
            choice = first
        case "required" if tools:
            choice = tools[0]
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            schema = _schema_of(name, [tool["function"] for tool in tools if tool.get("type") == "function"])
            return calling([function_call(0, name, minimal(schema))])
        case {"type": "custom", "custom": {"name": str(name)}}:
            custom = {"name": name, "input": _asked(document["messages"])}
            return calling([{"index": 0, "id": "call_dragoman_0", "type": "custom", "custom": custom}])
        case _:
            return None


def calling(calls: Iterable[Document]) -> Choice:
    """Return the choice that makes *calls*, each in one piece."""
    return Choice(deltas=[{"tool_calls": [call]} for call in calls], finish="tool_calls")


def function_call(index: int, name: str, arguments: object) -> Document:
    """Return the call of a function."""
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    return {"index": index, "id": f"call_dragoman_{index}", "type": "function", "function": function}


def _schema_of(name: str, functions: Iterable[Mapping[str, Any]]) -> object:
    """Return the schema of the arguments of the function of this *name*; it takes none where nothing is said."""
    return next(
        (one["parameters"] for one in functions if one["name"] == name and "parameters" in one), {"type": "object"}
    )


# --- Embeddings -------------------------------------------------------------------------------------------------------


def embedded(document: Document, model: str) -> Document:
    """Return the embeddings of every input of *document*."""
    dimensions = document.get("dimensions") or DIMENSIONS
    if dimensions > MOST_DIMENSIONS:
        raise UpstreamError(Fault.REJECTED, status=400, code="integer_above_max_value", param="dimensions")
    inputs = _inputs(document["input"])
    encode = _in_base64 if document.get("encoding_format") == "base64" else list
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
    if isinstance(stated, str) or (stated and isinstance(stated[0], int)):
        return [stated]
    return list(stated)


def _vector(one: str | list[int], dimensions: int) -> list[float]:
    """Return the unit vector of an input."""
    seed = one.encode() if isinstance(one, str) else orjson.dumps(one)
    drawn = struct.unpack(f"<{dimensions}i", shake_256(seed).digest(4 * dimensions))
    length = math.hypot(*drawn)
    return [number / length for number in drawn] if length else [1.0, *[0.0] * (dimensions - 1)]


def _in_base64(vector: Sequence[float]) -> str:
    """Return *vector* as OpenAI packs it: 32-bit floats, the lowest byte first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
