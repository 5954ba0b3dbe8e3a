"""Upstreams, as Hypothesis thinks of them: answers, each worded whole and as a stream in many manners.

Laws of this file:
- The two wordings of an answer say the same.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
from hypothesis import strategies as st

Document = dict[str, Any]

REASONS: Final = ("stop", "length", "tool_calls", "content_filter", "end_turn", "EOS", "tool_use", "max_tokens")

TEXT: Final = st.text(max_size=6)
TEXTS: Final = st.lists(TEXT, max_size=4)


@attrs.frozen(kw_only=True)
class Call:
    """A tool call in *pieces*; without an id the upstream gives none."""

    id: str | None
    kind: str
    name: str
    pieces: list[str]

    @property
    def member(self) -> str:
        """Name the member with the text."""
        return "arguments" if self.kind == "function" else "input"


@attrs.frozen(kw_only=True)
class Choice:
    """One answer: the pieces of its texts, None for one that is null, its calls, and its finish reason."""

    content: list[str] | None
    refusal: list[str] | None
    calls: list[Call]
    function: tuple[str, list[str]] | None
    citations: list[Document]
    tokens: list[Document] | None
    reason: str


@attrs.frozen(kw_only=True)
class Manner:
    """How an upstream words a stream: where it says the role and the usage, and what it adds or leaves out."""

    role: str
    usage: str
    names_index: bool
    repeats_call_head: bool
    repeats_finish: bool
    finishes_with_last: bool
    extras: bool
    reasoning: bool
    splits_choices: bool


@attrs.frozen(kw_only=True)
class Script:
    """An answer of an upstream, the *usage* that it states, if it does, and its manner."""

    choices: list[Choice]
    usage: Document | None
    tier: str | None
    manner: Manner


def _calls() -> st.SearchStrategy[Call]:
    name = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
    return st.builds(
        Call,
        id=st.none() | st.uuids().map(lambda one: f"call_{one.hex[:8]}"),
        kind=st.sampled_from(["function", "function", "custom"]),
        name=name,
        pieces=st.lists(TEXT, max_size=3),
    )


COUNT: Final = st.integers(0, 100_000)

USAGES: Final = st.none() | st.builds(
    lambda taken, given, cached, reasoning: {
        "prompt_tokens": taken,
        "completion_tokens": given,
        "total_tokens": taken + given,
        "prompt_tokens_details": {"cached_tokens": min(cached, taken), "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": min(reasoning, given), "accepted_prediction_tokens": 0},
    },
    COUNT,
    COUNT,
    COUNT,
    COUNT,
)

CITATIONS: Final = st.builds(
    lambda url: {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 3, "url": url, "title": "t"}},
    TEXT,
)

TOKENS: Final = st.builds(
    lambda token: {"token": token, "logprob": -0.5, "bytes": [1], "top_logprobs": []},
    TEXT,
)

CHOICES: Final = st.builds(
    Choice,
    content=st.none() | TEXTS.filter(bool),
    refusal=st.none() | TEXTS.filter(bool),
    calls=st.lists(_calls(), max_size=3),
    function=st.none() | st.tuples(st.just("f"), TEXTS),
    citations=st.lists(CITATIONS, max_size=2),
    tokens=st.none() | st.lists(TOKENS, min_size=1, max_size=3),
    reason=st.sampled_from(REASONS),
)

MANNERS: Final = st.builds(
    Manner,
    role=st.sampled_from(["first", "each", "never", "alone"]),
    usage=st.sampled_from(["own", "last", "each", "twice"]),
    names_index=st.booleans(),
    repeats_call_head=st.booleans(),
    repeats_finish=st.booleans(),
    finishes_with_last=st.booleans(),
    extras=st.booleans(),
    reasoning=st.booleans(),
    splits_choices=st.booleans(),
)

SCRIPTS: Final = st.builds(
    Script,
    choices=st.lists(CHOICES, min_size=1, max_size=3),
    usage=USAGES,
    tier=st.sampled_from([None, "default", "on_demand"]),
    manner=MANNERS,
)


def whole(script: Script) -> Document:
    """Return the *script* as a chat completion."""
    choices = []
    for index, choice in enumerate(script.choices):
        message: Document = {
            "role": "assistant",
            "content": None if choice.content is None else "".join(choice.content),
            "refusal": None if choice.refusal is None else "".join(choice.refusal),
            "annotations": choice.citations,
        }
        if choice.calls or script.manner.extras:
            message["tool_calls"] = [_whole_call(call) for call in choice.calls]
        if choice.function is not None:
            message["function_call"] = {"name": choice.function[0], "arguments": "".join(choice.function[1])}
        stated: Document = {"index": index, "message": message, "finish_reason": choice.reason}
        if choice.tokens is not None:
            stated["logprobs"] = {"content": choice.tokens, "refusal": None}
        choices.append(stated)
    return _envelope(script, "chat.completion") | {"choices": choices, "usage": script.usage}


def _whole_call(call: Call) -> Document:
    body = {"name": call.name, call.member: "".join(call.pieces)}
    return ({} if call.id is None else {"id": call.id}) | {"type": call.kind, call.kind: body}


def stream(script: Script) -> list[Document]:
    """Return the *script* as chunks in its manner, those of several choices in turns."""
    manner = script.manner
    rows = [list(_pieces(script, index)) for index in range(len(script.choices))]
    chunks: list[Document] = []
    while any(rows):
        pieces = [row.pop(0) for row in rows if row]
        if manner.splits_choices:
            chunks += [_envelope(script, "chat.completion.chunk") | {"choices": [piece]} for piece in pieces]
        else:
            chunks.append(_envelope(script, "chat.completion.chunk") | {"choices": pieces})
    if script.usage is None:
        return chunks
    if manner.usage in {"each", "twice"}:
        for place, chunk in enumerate(chunks):
            chunk["usage"] = script.usage | {"completion_tokens": 0, "total_tokens": place}
    if manner.usage in {"last", "each"}:
        chunks[-1]["usage"] = script.usage
    else:
        chunks.append(_envelope(script, "chat.completion.chunk") | {"choices": [], "usage": script.usage})
    return chunks


def _envelope(script: Script, kind: str) -> Document:
    envelope: Document = {"id": "cmpl-theirs", "object": kind, "created": 7, "model": "secret-model-9"}
    if script.tier is not None:
        envelope["service_tier"] = script.tier
    if script.manner.extras:
        envelope |= {"provider": "canary", "system_fingerprint": "fp_canary", "x_canary": {"canary": ["canary"]}}
    return envelope


def _pieces(script: Script, index: int) -> Iterator[Document]:
    choice, manner = script.choices[index], script.manner
    deltas = list(_deltas(choice, manner))
    if manner.role == "alone":
        deltas.insert(0, {"role": "assistant"})
    for place, delta in enumerate(deltas):
        role = {"role": "assistant"} if manner.role == "each" or (manner.role == "first" and place == 0) else {}
        piece = {"index": index, "delta": role | delta, "finish_reason": None}
        if place == 0 and choice.tokens is not None:
            piece["logprobs"] = {"content": choice.tokens[:1], "refusal": None}
        elif manner.extras:
            piece["logprobs"] = None
        if place == 1 and choice.tokens is not None:
            piece["logprobs"] = {"content": choice.tokens[1:], "refusal": None}
        if place == len(deltas) - 1 and manner.finishes_with_last:
            piece["finish_reason"] = choice.reason
        yield piece
    if not manner.finishes_with_last or manner.repeats_finish:
        yield {"index": index, "delta": {}, "finish_reason": choice.reason}
    if manner.repeats_finish:
        yield {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}


def _deltas(choice: Choice, manner: Manner) -> Iterator[Document]:
    yield {"content": None if choice.content is None else "", "refusal": None, "annotations": []}
    if choice.tokens is not None:
        yield {}  # which brings the rest of them
    if manner.reasoning:
        yield {"content": None, "reasoning_content": "hidden"}
        yield {"reasoning": "hidden"}
    yield from ({"content": text} for text in choice.content or ())
    yield from ({"refusal": text} for text in choice.refusal or ())
    yield from ({"annotations": [one]} for one in choice.citations)
    for index, call in enumerate(choice.calls):
        for fragment in _fragments(call, manner):
            yield {"tool_calls": [({"index": index} if manner.names_index else {}) | fragment]}
    if choice.function is not None:
        name, pieces = choice.function
        yield {"function_call": {"name": name, "arguments": ""}}
        for piece in pieces:
            yield {"function_call": {"arguments": piece}}


def _fragments(call: Call, manner: Manner) -> Iterator[Document]:
    named = {} if call.id is None else {"id": call.id}
    head = named | {"type": call.kind}
    repeats = manner.repeats_call_head and call.id is not None
    yield head | {call.kind: {"name": call.name, call.member: ""}}
    for piece in call.pieces:
        body = {call.member: piece}
        yield (head | {call.kind: {"name": call.name} | body}) if repeats else {call.kind: body}


MEMBERS: Final = [
    "index",
    "id",
    "type",
    "function",
    "custom",
    "name",
    "arguments",
    "input",
    "choices",
    "delta",
    "message",
    "finish_reason",
    "content",
    "refusal",
    "role",
    "usage",
    "tool_calls",
    "function_call",
    "logprobs",
    "token",
    "logprob",
    "bytes",
    "top_logprobs",
    "annotations",
    "url_citation",
    "audio",
    "data",
    "error",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "cached_tokens",
    "service_tier",
    "obfuscation",
    "content_block",
    "text",
    "thinking",
    "partial_json",
    "stop_reason",
    "input_tokens",
    "output_tokens",
    "output_tokens_details",
    "object",
]
"""Names that mean something somewhere, so that garbage gets past the first door."""

WORDS: Final = [
    "stop",
    "end_turn",
    "tool_use",
    "text",
    "text_delta",
    "input_json_delta",
    "thinking",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "function",
    "custom",
    "assistant",
    "default",
    "error",
]

GARBAGE: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=3),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), one, max_size=4),
    max_leaves=25,
)
"""JSON of any shape, of words that are understood."""


@st.composite
def nearly(draw: st.DrawFn, document: object) -> object:
    """Draw *document* with one place in it turned into garbage."""
    if isinstance(document, Mapping) and document and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(document)))
        return {**document, name: draw(nearly(document[name]))}
    if isinstance(document, list) and document and draw(st.booleans()):
        place = draw(st.integers(0, len(document) - 1))
        return [*document[:place], draw(nearly(document[place])), *document[place + 1 :]]
    return draw(GARBAGE)


@st.composite
def nearly_streams(draw: st.DrawFn) -> list[Any]:
    """Draw the chunks of a script with a few places changed, left out, or in another order."""
    chunks: list[Any] = stream(draw(SCRIPTS))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(chunks) - 1))
        match draw(st.sampled_from(["change", "drop", "repeat", "insert"])):
            case "change":
                chunks[place] = draw(nearly(chunks[place]))
            case "drop" if len(chunks) > 1:
                del chunks[place]
            case "repeat":
                chunks.insert(place, chunks[place])
            case _:
                chunks.insert(place, draw(GARBAGE))
    return chunks
