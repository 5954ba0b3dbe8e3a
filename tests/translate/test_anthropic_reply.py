"""Answers of the Messages API as chat completions, whole and in chunks."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
import pytest
from chunk_laws import ENVELOPE, broken_laws, form_errors
from chunk_scripts import GARBAGE, nearly
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st
from messages_api import ANSWERS, REASONS, Answer, events, message

from dragoman.model import Usage
from dragoman.translate.anthropic import MessageStream, chat_completion
from dragoman.translate.anthropic.reply import STOPPED
from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import assemble, completion
from dragoman.translate.grammar import GrammarError, Reason
from dragoman.translate.sse import EventReader, frame

Document = dict[str, Any]

START: Final = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}
TEXT: Final = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TOOL: Final = {
    "type": "content_block_start",
    "index": 1,
    "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
}
STOP: Final = {"type": "message_stop"}


def delta(index: object, kind: str, **members: object) -> Document:
    """Return an event that adds to block *index*."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


def end(index: object) -> Document:
    """Return the event that ends block *index*."""
    return {"type": "content_block_stop", "index": index}


def stopped(reason: object = "end_turn", **usage: object) -> Document:
    """Return the event with the stop *reason*."""
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def fed(documents: Iterable[object]) -> tuple[list[Document], MessageStream]:
    """Return the chunks that come out for *documents*."""
    stream = MessageStream()
    return [chunk for one in documents if (chunk := stream.feed(one)) is not None], stream


def reason_of(*documents: object) -> Reason:
    """Return why these events are no message."""
    with pytest.raises(GrammarError) as caught:
        fed(documents)
    return caught.value.reason


def run(documents: Iterable[object]) -> tuple[list[Document], ChatStream]:
    """Return what goes out for the events of a message, through the same grammar as everybody's."""
    chat = ChatStream(**ENVELOPE, include_usage=True)
    out = [chunk for one in fed(documents)[0] if (chunk := chat.feed(one)) is not None]
    last = chat.end()
    assert last is not None
    return [*out, last], chat


def with_read_arguments(document: Document) -> Document:
    """Return a completion whose arguments are read, so that white space in them does not count."""
    for choice in document["choices"]:
        for call in choice["message"].get("tool_calls", ()):
            call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    return document


@confirms("ADR-0036.R14")
@given(ANSWERS)
def test_an_answer_is_the_same_whole_and_streamed(answer: Answer) -> None:
    """Message, calls, finish reason and usage, for any script of Anthropic's."""
    whole = completion(chat_completion(message(answer)), **ENVELOPE)
    chunks, chat = run(events(answer))

    assert with_read_arguments(whole.document) == with_read_arguments(assemble(chunks))
    assert whole.usage == chat.usage
    assert [] == broken_laws(chunks, include_usage=True)
    assert [] == form_errors(completion(chat_completion(message(answer)), **ENVELOPE).document, "ChatCompletion")


@given(ANSWERS)
def test_what_was_said_is_what_arrives(answer: Answer) -> None:
    """Texts joined, calls in order, the reason in OpenAI's word, tokens of the cache among the input."""
    whole = completion(chat_completion(message(answer)), **ENVELOPE)
    (choice,) = whole.document["choices"]
    texts = [block for block in answer.blocks if block.kind == "text"]
    calls = [block for block in answer.blocks if block.kind == "tool_use"]

    assert ("".join("".join(one.pieces) for one in texts) if texts else None) == choice["message"]["content"]
    assert [(one.name, one.input) for one in calls] == [
        (one["function"]["name"], orjson.loads(one["function"]["arguments"]))
        for one in choice["message"].get("tool_calls", ())
    ]
    assert REASONS[answer.reason] == choice["finish_reason"]
    assert whole.usage == Usage(
        input_tokens=answer.taken + answer.cached + answer.written,
        output_tokens=answer.given_,
        cached_tokens=answer.cached,
        reasoning_tokens=min(answer.thought, answer.given_),
    )


@given(ANSWERS)
def test_nothing_tells_who_answers(answer: Answer) -> None:
    """Neither ids nor hidden reasoning nor names of models."""
    out = b"".join(map(frame, run(events(answer))[0])) + frame(
        completion(chat_completion(message(answer)), **ENVELOPE).document
    )

    assert not [word for word in (b"canary", b"toolu_", b"msg_", b"server_tool") if word in out]


@confirms("ADR-0036.R9")
@given(ANSWERS, st.data())
def test_a_stream_that_is_cut_never_looks_whole(answer: Answer, data: st.DataObject) -> None:
    """Without its last event a message has not finished; without its stop reason it is no answer either."""
    script = list(events(answer))
    cut = script[: data.draw(st.integers(0, len(script) - 1))]
    chunks, stream = fed(cut)
    chat = ChatStream(**ENVELOPE, include_usage=True)
    for chunk in chunks:
        chat.feed(chunk)

    assert not stream.finished
    assert chat.finished == (cut[-1:] == script[-2:-1])


@confirms("ADR-0036.R10")
@given(ANSWERS, st.data())
def test_what_is_no_message_is_named(answer: Answer, data: st.DataObject) -> None:
    """Whatever is changed in an answer, whole or streamed, nothing but a grammar error is raised."""
    changed = data.draw(nearly(message(answer)))
    try:
        document = completion(chat_completion(changed), **ENVELOPE).document
    except GrammarError:
        pass
    else:
        assert [] == form_errors(document, "ChatCompletion")

    script: list[object] = [*events(answer)]
    place = data.draw(st.integers(0, len(script) - 1))
    script[place] = data.draw(nearly(script[place]))
    try:
        chunks, _ = run(script)
    except GrammarError:
        return
    assert [] == broken_laws(chunks, include_usage=True)


@confirms("ADR-0036.R10")
@given(st.lists(GARBAGE, max_size=3))
def test_garbage_raises_nothing_but_a_grammar_error(documents: list[object]) -> None:
    """JSON of any shape, as a message or as an event behind a good beginning."""
    for document in documents:
        with suppress(GrammarError):
            chat_completion(document)
        with suppress(GrammarError):
            fed([START, TEXT, TOOL, document])


def test_a_stream_as_anthropic_documents_it() -> None:
    """Names of events, pings, partial JSON, cumulative usage: from bytes to chunks."""
    raw = b"""event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],\
"model":"claude","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":472,"output_tokens":2}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Okay"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_01T1x",\
"name":"get_weather","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\\"location\\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":" \\"Oslo\\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}

event: message_stop
data: {"type":"message_stop"}

"""
    chunks, chat = run(orjson.loads(event.data) for event in EventReader().feed(raw))

    assert [
        {"role": "assistant"},
        {"content": ""},
        {"content": "Okay"},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_01T1x",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"location":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ' "Oslo"}'}}]},
        {},
    ] == [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert "tool_calls" == chunks[-2]["choices"][0]["finish_reason"]
    assert Usage(input_tokens=472, output_tokens=89) == chat.usage


def test_a_tool_that_takes_nothing_is_called_with_an_empty_object() -> None:
    """Nothing is streamed for it, and an empty text is no JSON; what was stated at once is what it is called with."""
    stated = TOOL | {"content_block": {"type": "tool_use", "id": "x", "name": "f", "input": {"a": 1}}}

    assert ['""', '"{}"', '""', '"{\\"a\\":1}"'] == [
        orjson.dumps(chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]).decode()
        for first in (TOOL, stated)
        for chunk in fed([START, first, end(1)])[0][1:]
    ]


def test_calls_are_numbered_among_themselves() -> None:
    """Whatever the numbers of their blocks, and also where their pieces come in turns."""
    other = TOOL | {"index": 4, "content_block": {"type": "tool_use", "id": "toolu_2", "name": "g"}}
    pieces = [delta(4, "input_json_delta", partial_json="{"), delta(1, "input_json_delta", partial_json="[")]
    chunks, _ = fed([START, TEXT, end(0), TOOL, other, *pieces])

    assert [(0, ""), (1, ""), (1, "{"), (0, "[")] == [
        (call["index"], call["function"]["arguments"])
        for chunk in chunks
        for call in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]


def test_usage_is_known_from_the_start_and_adds_up() -> None:
    """A stream that is cut has used its input; a later zero takes nothing back."""
    chat = ChatStream(**ENVELOPE, include_usage=False)
    told = []
    for chunk in fed([START, stopped(None, input_tokens=0, output_tokens=9), stopped()])[0]:
        chat.feed(chunk)
        told.append(chat.usage)

    assert [Usage(input_tokens=25, output_tokens=count) for count in (1, 9, 9)] == told


@pytest.mark.parametrize("usage", [None, [], {}, {"input_tokens": 1}, {"input_tokens": "1", "output_tokens": -1}])
def test_usage_that_is_not_stated_is_none(usage: object) -> None:
    """Whole and streamed."""
    whole = {"content": [], "stop_reason": "end_turn", "usage": usage}
    chunks, _ = fed([{"type": "message_start", "message": {"usage": usage}}, stopped()])

    assert "usage" not in chat_completion(whole)
    assert not any("usage" in chunk for chunk in chunks)


def test_events_of_the_future_are_passed_over() -> None:
    """New kinds of events, blocks and deltas may come at any time, says their author."""
    block = {"type": "content_block_start", "index": 2, "content_block": {"type": "hologram"}}
    script = [{"type": "news"}, START, TEXT, block, {"type": "ping"}]
    script += [delta(2, "hologram_delta"), delta(2, "text_delta", text="x"), delta(0, "smell_delta"), end(2), end(0)]
    chunks, stream = fed([*script, stopped(), STOP, {"type": "news"}])

    assert 3 == len(chunks)
    assert stream.finished


@pytest.mark.parametrize(("word", "reason"), STOPPED.items())
def test_stop_reasons_are_translated(word: str, reason: str) -> None:
    """The table is the one that is documented."""
    whole = chat_completion({"content": [], "stop_reason": word})

    assert reason == whole["choices"][0]["finish_reason"] == REASONS[word]
    assert STOPPED.keys() == REASONS.keys()


@confirms("ADR-0036.R9")
def test_an_error_is_an_error() -> None:
    """In place of an answer, and in the middle of one."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    assert Reason.FAILED is reason_of(error)
    assert Reason.FAILED is reason_of(START, TEXT, error)
    with pytest.raises(GrammarError) as caught:
        chat_completion(error)
    assert Reason.FAILED is caught.value.reason


DEEP: Final[list[Any]] = []
for _ in range(300):
    DEEP[:] = [[*DEEP]]

GARBLED: Final[Mapping[str, list[object]]] = {
    "no object": [START, "data"],
    "no type": [START, {}],
    "type a number": [START, {"type": 1}],
    "a delta first": [delta(0, "text_delta", text="a")],
    "a block first": [TEXT],
    "two beginnings": [START, START],
    "behind the end": [START, STOP, TEXT],
    "a delta behind the end": [START, TEXT, STOP, delta(0, "text_delta", text="a")],
    "two ends": [START, STOP, STOP],
    "no message": [{"type": "message_start"}],
    "a block twice": [START, TEXT, TEXT],
    "a block without index": [START, TEXT | {"index": None}],
    "a block without form": [START, TEXT | {"content_block": None}],
    "a block without type": [START, TEXT | {"content_block": {"type": 1}}],
    "a text that is none": [START, TEXT | {"content_block": {"type": "text", "text": 1}}],
    "a call without id": [START, TOOL | {"content_block": {"type": "tool_use", "name": "f"}}],
    "a call without name": [START, TOOL | {"content_block": {"type": "tool_use", "id": "a"}}],
    "a call of a text": [START, TOOL | {"content_block": {"type": "tool_use", "id": "a", "name": "f", "input": "x"}}],
    "a call too deep": [
        START,
        TOOL | {"content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {"a": DEEP}}},
    ],
    "no delta": [START, TEXT, {"type": "content_block_delta", "index": 0}],
    "a delta without block": [START, TEXT, delta(1, "text_delta", text="a")],
    "a delta without index": [START, TEXT, delta([], "text_delta", text="a")],
    "a delta behind its block": [START, TEXT, end(0), delta(0, "text_delta", text="a")],
    "a piece that is none": [START, TEXT, delta(0, "text_delta", text=1)],
    "a text in a call": [START, TOOL, delta(1, "text_delta", text="a")],
    "JSON in a text": [START, TEXT, delta(0, "input_json_delta", partial_json="{")],
    "JSON that is no text": [START, TOOL, delta(1, "input_json_delta", partial_json={})],
    "the end of no block": [START, end(0)],
    "the end of a list": [START, TEXT, end([])],
    "two ends of a block": [START, TEXT, end(0), end(0)],
    "a stop reason unknown": [START, stopped("because")],
    "a stop reason of another type": [START, stopped(1)],
    "no stop reason": [START, {"type": "message_delta"}],
}


@confirms("ADR-0036.R10")
@pytest.mark.parametrize("script", GARBLED.values(), ids=GARBLED)
def test_what_is_out_of_order_is_named(script: list[object]) -> None:
    """It is the upstream's fault, and never a crash of ours."""
    assert Reason.GARBLED is reason_of(*script)


@confirms("ADR-0036.R10")
@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"content": None, "stop_reason": "end_turn"},
        {"content": [None], "stop_reason": "end_turn"},
        {"content": [{"type": 1}], "stop_reason": "end_turn"},
        {"content": [{"type": "text", "text": 1}], "stop_reason": "end_turn"},
        {"content": [{"type": "tool_use", "id": "a", "name": "f", "input": "x"}], "stop_reason": "tool_use"},
        {"content": [{"type": "tool_use", "id": 1, "name": "f"}], "stop_reason": "tool_use"},
        {"content": [], "stop_reason": None},
        {"content": [], "stop_reason": "because"},
    ],
)
def test_what_is_no_whole_message_is_named(document: object) -> None:
    """It is the upstream's fault, and never a crash of ours."""
    with pytest.raises(GrammarError) as caught:
        chat_completion(document)
    assert Reason.GARBLED is caught.value.reason
