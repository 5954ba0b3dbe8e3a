"""An answer of the Messages API, whole or in events -> a chat completion, whole or in chunks.

Laws of this file:
- What comes is untrusted: whatever is not of its form raises `GrammarError`.
- What is made has OpenAI's form but for `id`, `model` and `created`, which nobody should learn; it still has to pass
  `completion` or `ChatStream`.
- Blocks and deltas of kinds that are not known here are passed over, as their authors ask; so is hidden reasoning.
"""

import enum
from collections.abc import Mapping
from typing import Final

import attrs
import orjson

from dragoman.translate.grammar import reject
from dragoman.translate.shapes import Document, array_of, count_of, object_of, text_of
from dragoman.translate.vocabulary import require_no_error

STOPPED: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reason -> finish reason."""


def chat_completion(message: object) -> Document:
    """Return the chat completion that says what *message* says.

    Raises:
        GrammarError: for what is no message.
    """
    message = object_of(message, "message")
    require_no_error(message)
    texts: list[str] = []
    calls: list[Document] = []
    for block in array_of(message.get("content"), "content"):
        block = object_of(block, "block")  # noqa: PLW2901 - the same, known to be an object
        match block.get("type"):
            case "text":
                texts.append(text_of(block.get("text"), "text"))
            case "tool_use":
                calls.append(_call(block, arguments=_json(block.get("input"))))
            case kind:
                text_of(kind, "block: type")
    said: Document = {"role": "assistant", "content": "".join(texts) if texts else None}
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "finish_reason": _finish_reason(message.get("stop_reason"))}
    whole: Document = {"object": "chat.completion", "choices": [choice]}
    usage = _usage(_counts(message.get("usage")))
    return whole if usage is None else whole | {"usage": usage}


class State(enum.Enum):
    """How far a stream of events is."""

    AWAITED = "awaited"
    OPEN = "open"
    STOPPED = "stopped"


ORDER: Final[Mapping[str, tuple[State, State]]] = {
    "message_start": (State.AWAITED, State.OPEN),
    "content_block_start": (State.OPEN, State.OPEN),
    "content_block_delta": (State.OPEN, State.OPEN),
    "content_block_stop": (State.OPEN, State.OPEN),
    "message_delta": (State.OPEN, State.OPEN),
    "message_stop": (State.OPEN, State.STOPPED),
}
"""Event -> where it may come, and where the stream is then. Any other event may come anywhere, and says nothing."""


@attrs.define(kw_only=True)
class _Block:
    """A block that has begun: its *kind*, and of a tool call its *index* and *input* as long as no piece came."""

    kind: str
    index: int = 0
    input: str | None = None


@attrs.define(kw_only=True)
class MessageStream:
    """One streamed message, whose events are read into chunks of a chat completion."""

    _state: State = attrs.field(default=State.AWAITED, init=False)
    _blocks: dict[int, _Block] = attrs.field(factory=dict, init=False)
    _calls: int = attrs.field(default=0, init=False)
    _counts: dict[str, int] = attrs.field(factory=dict, init=False)

    @property
    def finished(self) -> bool:
        """Whether the message has been stopped: a stream that ends before is cut."""
        return self._state is State.STOPPED

    def feed(self, event: object) -> Document | None:
        """Return the chunk that says what the data of an *event* says, or None where it says nothing.

        Raises:
            GrammarError: for what is no event, or none that can come here.
        """
        event = object_of(event, "event")
        kind = event.get("type")
        if kind == "content_block_delta" and self._state is State.OPEN:  # PERF: nearly all of them
            return self._delta(event)
        require_no_error(event)
        kind = text_of(kind, "event: type") or reject("event: type")
        return self._advance(kind, event) if kind in ORDER else None

    def _advance(self, kind: str, event: Document) -> Document | None:
        before, self._state = self._state, ORDER[kind][1]
        if before is not ORDER[kind][0]:
            reject(f"{kind}: out of order")
        match kind:
            case "message_start":
                return self._message_start(event)
            case "content_block_start":
                return self._block_start(event)
            case "content_block_stop":
                return self._block_stop(event)
            case "message_delta":
                return self._message_delta(event)
            case _:
                return None

    def _message_start(self, event: Document) -> Document:
        message = object_of(event.get("message"), "message_start: message")
        self._note(message.get("usage"))
        return self._with_usage(_chunk({"role": "assistant"}))

    def _block_start(self, event: Document) -> Document | None:
        index, stated = count_of(event.get("index")), object_of(event.get("content_block"), "block")
        if index is None or index in self._blocks:
            reject("block: index")
        block = self._blocks[index] = _Block(kind=text_of(stated.get("type"), "block: type"))
        match block.kind:
            case "text":
                return _chunk({"content": text_of(stated.get("text"), "text")})
            case "tool_use":
                block.index, block.input = self._calls, _json(stated.get("input"))
                self._calls += 1
                return _chunk({"tool_calls": [{"index": block.index, **_call(stated, arguments="")}]})
            case _:
                return None

    def _delta(self, event: Document) -> Document | None:
        index, stated = event.get("index"), object_of(event.get("delta"), "delta")
        block = self._blocks.get(index) if type(index) is int else None
        if block is None:
            reject("a delta without a block")
        match block.kind, stated.get("type"):
            case "text", "text_delta":
                return _chunk({"content": text_of(stated.get("text"), "text")})
            case "tool_use", "input_json_delta":
                piece = text_of(stated.get("partial_json"), "partial_json")
                if piece:
                    block.input = None
                return _arguments(block, piece) if piece else None
            case ("text", "input_json_delta") | ("tool_use", "text_delta"):
                return reject("a delta of another kind than its block")
            case _:
                return None

    def _block_stop(self, event: Document) -> Document | None:
        index = event.get("index")
        block = self._blocks.pop(index, None) if type(index) is int else None
        if block is None:
            reject("the end of a block that has not begun")
        if block.input is None:
            return None
        return _arguments(block, block.input)  # a tool that takes nothing is called with no piece at all

    def _message_delta(self, event: Document) -> Document:
        self._note(event.get("usage"))
        reason = object_of(event.get("delta"), "message_delta: delta").get("stop_reason")
        if reason is None:
            return self._with_usage({"choices": []})
        return self._with_usage(_chunk({}, _finish_reason(reason)))

    def _note(self, usage: object) -> None:
        for name, count in _counts(usage).items():
            self._counts[name] = max(count, self._counts.get(name, 0))  # they add up over the stream

    def _with_usage(self, chunk: Document) -> Document:
        usage = _usage(self._counts)
        return chunk if usage is None else chunk | {"usage": usage}


def _chunk(delta: Document, finish_reason: str | None = None) -> Document:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _arguments(block: _Block, text: str) -> Document:
    return _chunk({"tool_calls": [{"index": block.index, "function": {"arguments": text}}]})


def _call(block: Document, *, arguments: str) -> Document:
    """Return a tool call; its id is not to be recognised, and an upstream takes any id if it is the same again."""
    id_, name = text_of(block.get("id"), "tool use: id"), text_of(block.get("name"), "tool use: name")
    if not id_ or not name:
        reject("a tool use without id or name")
    return {
        "id": f"call_{id_.removeprefix('toolu_')}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _finish_reason(stated: object) -> str:
    word = text_of(stated, "stop reason")
    return STOPPED[word] if word in STOPPED else reject("stop reason")


def _json(value: object) -> str:
    """Return the input of a tool as text; null is an empty one."""
    try:
        return orjson.dumps({} if value is None else object_of(value, "tool use: input")).decode()
    except orjson.JSONEncodeError:
        return reject("tool use: input")  # deeper than can be written


def _counts(usage: object) -> dict[str, int]:
    """Return what *usage* counts, as far as that can be true; nothing where it is none."""
    if type(usage) is not dict:
        return {}
    details = usage.get("output_tokens_details")
    named = usage | {"thinking_tokens": details.get("thinking_tokens") if type(details) is dict else None}
    places = (
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "thinking_tokens",
    )
    return {name: named[name] for name in places if count_of(named.get(name)) is not None}


def _usage(counts: Mapping[str, int]) -> Document | None:
    """Return the usage as OpenAI words it: what was written to the cache and read from it is input too."""
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    written, read = counts.get("cache_creation_input_tokens", 0), counts.get("cache_read_input_tokens", 0)
    taken, given = counts["input_tokens"] + written + read, counts["output_tokens"]
    return {
        "prompt_tokens": taken,
        "completion_tokens": given,
        "total_tokens": taken + given,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": min(counts.get("thinking_tokens", 0), given)},
    }
