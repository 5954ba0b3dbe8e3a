"""The judge's own grammar of streams: that each law bites, how OpenAI keeps it, and that no gateway's reader differs.

Laws of this file:
- A rule that OpenAI's recorded streams break is named here as stricter than OpenAI, with the reason.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import yaml
from gateway_conformance.frames import Frame, Reader, Transcript, transcript
from gateway_conformance.grammar import (
    ENDING,
    ENVELOPE,
    FAILURE,
    FINISH,
    FRAMES,
    LAWS,
    MODEL,
    ROLE,
    TOOL_CALLS,
    USAGE,
    Asked,
    read,
    violations,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import assemble
from dragoman.translate.sse import DONE, EventReader, frame

CASSETTES: Final = Path(__file__).parent.parent.parent / "shared" / "reference" / "openai-cassettes"

STRICTER_THAN_OPENAI: Final = {
    MODEL: "OpenAI names the dated snapshot that answered; a gateway names the alias, or it tells who is behind it",
}
"""The laws that OpenAI's own streams break, and why a gateway has to keep them all the same."""

Chunk = dict[str, Any]


def chunk(*choices: Chunk, **members: object) -> Chunk:
    """Return a chunk with these *choices*, and with *members* changed."""
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "general"}
    return {**envelope, "choices": list(choices), **members}


def said(index: int = 0, reason: str | None = None, **delta: object) -> Chunk:
    """Return a choice of a chunk with this *delta*."""
    return {"index": index, "delta": delta, "finish_reason": reason}


def call(index: int, text: str, **begun: object) -> Chunk:
    """Return a fragment of a tool call; *begun* holds what only its first one has."""
    name = {"name": begun.pop("name")} if "name" in begun else {}
    return {"index": index, **begun, "function": {**name, "arguments": text}}


FIRST: Final = chunk(said(role="assistant", content=""))
TEXT: Final = chunk(said(content="Hello."))
LAST: Final = chunk(said(reason="stop"))
COUNTED: Final = chunk(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
BEGUN: Final = {"id": "call_1", "type": "function", "name": "look_up"}
ERROR: Final = {"error": {"message": "It failed.", "type": "server_error"}}

PLAIN: Final = Asked(model="general")
COUNTING: Final = Asked(model="general", usage=True)


def stream(*events: Chunk | str) -> bytes:
    """Return the bytes of a stream with these *events*."""
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return b"".join(f"data: {text}\n\n".encode() for text in texts)


def counting(*events: Chunk) -> bytes:
    """Return a stream whose chunks have no usage yet, and whose last one, before its end, has."""
    return stream(*({"usage": None, **event} for event in events), COUNTED, "[DONE]")


GOOD: Final = {
    "text": (PLAIN, stream(FIRST, TEXT, LAST, "[DONE]")),
    "role and text at once": (PLAIN, stream(chunk(said(role="assistant", content="Hello.")), LAST, "[DONE]")),
    "everything at once": (PLAIN, stream(chunk(said(role="assistant", reason="stop", content="Hello.")), "[DONE]")),
    "usage": (COUNTING, counting(FIRST, TEXT, LAST)),
    "comments": (PLAIN, b": ping\n\n" + stream(FIRST) + b": ping\n\n:\n\n" + stream(TEXT, LAST, "[DONE]")),
    "two choices": (
        PLAIN,
        stream(
            chunk(said(role="assistant"), said(1, role="assistant")),
            chunk(said(1, content="b")),
            chunk(said(reason="stop")),
            chunk(said(1, reason="length")),
            "[DONE]",
        ),
    ),
    "two calls": (
        PLAIN,
        stream(
            chunk(said(role="assistant", tool_calls=[call(0, "", **BEGUN)])),
            chunk(said(tool_calls=[call(0, "{}"), call(1, "", id="call_2", type="function", name="sum")])),
            chunk(said(tool_calls=[call(1, "[]")])),
            chunk(said(reason="tool_calls")),
            "[DONE]",
        ),
    ),
    "a custom tool": (
        PLAIN,
        stream(
            chunk(
                said(
                    role="assistant",
                    tool_calls=[{"index": 0, "id": "c", "type": "custom", "custom": {"name": "sh", "input": "l"}}],
                )
            ),
            chunk(said(tool_calls=[{"index": 0, "custom": {"input": "s"}}])),
            chunk(said(reason="tool_calls")),
            "[DONE]",
        ),
    ),
    "a failure": (PLAIN, stream(FIRST, TEXT, ERROR)),
    "a failure behind the usage": (COUNTING, stream({**FIRST, "usage": None}, COUNTED, ERROR)),
    "carriage returns": (PLAIN, stream(FIRST, TEXT, LAST, "[DONE]").replace(b"\n", b"\r\n")),
    "a byte order mark": (PLAIN, b"\xef\xbb\xbf" + stream(FIRST, TEXT, LAST, "[DONE]")),
}
"""Streams that keep every law, and what they were asked for."""

BAD: Final = {
    "an id": (FRAMES, PLAIN, b"id: 1\n" + stream(FIRST, TEXT, LAST, "[DONE]")),
    "a retry": (FRAMES, PLAIN, b"retry: 1\n\n" + stream(FIRST, TEXT, LAST, "[DONE]")),
    "a name": (FRAMES, PLAIN, b"event: message\n" + stream(FIRST, TEXT, LAST, "[DONE]")),
    "no JSON": (FRAMES, PLAIN, stream(FIRST, "hello", LAST, "[DONE]")),
    "two blanks": (FRAMES, PLAIN, stream(FIRST, LAST, "[DONE]") + b"data:  [DONE]\n\n"),
    "no chunk": (FRAMES, PLAIN, stream(FIRST, {"object": "chat.completion"}, LAST, "[DONE]")),
    "no delta": (FRAMES, PLAIN, stream(FIRST, chunk({"index": 0, "message": {}}), LAST, "[DONE]")),
    "no index": (FRAMES, PLAIN, stream(FIRST, chunk({"delta": {}, "finish_reason": None}), LAST, "[DONE]")),
    "half an event": (FRAMES, PLAIN, stream(FIRST, TEXT, LAST, "[DONE]") + b"data: {"),
    "no sentinel": (ENDING, PLAIN, stream(FIRST, TEXT, LAST)),
    "cut": (ENDING, PLAIN, stream(FIRST, TEXT)),
    "nothing": (ENDING, PLAIN, b""),
    "two sentinels": (ENDING, PLAIN, stream(FIRST, TEXT, LAST, "[DONE]", "[DONE]")),
    "a chunk behind the sentinel": (ENDING, PLAIN, stream(FIRST, TEXT, LAST, "[DONE]", LAST)),
    "an error behind the sentinel": (ENDING, PLAIN, stream(FIRST, TEXT, LAST, "[DONE]", ERROR)),
    "no role": (ROLE, PLAIN, stream(TEXT, LAST, "[DONE]")),
    "another role": (ROLE, PLAIN, stream(chunk(said(role="user", content="")), LAST, "[DONE]")),
    "no role of the second choice": (
        ROLE,
        PLAIN,
        stream(FIRST, chunk(said(1, reason="stop", content="b")), LAST, "[DONE]"),
    ),
    "no finish": (FINISH, PLAIN, stream(FIRST, TEXT, "[DONE]")),
    "two finishes": (FINISH, PLAIN, stream(FIRST, TEXT, LAST, LAST, "[DONE]")),
    "a text behind the finish": (FINISH, PLAIN, stream(FIRST, LAST, TEXT, "[DONE]")),
    "no choice": (FINISH, PLAIN, stream("[DONE]")),
    "a call without an id": (
        TOOL_CALLS,
        PLAIN,
        stream(chunk(said(role="assistant", tool_calls=[call(0, "", type="function", name="f")])), LAST, "[DONE]"),
    ),
    "a call without a type": (
        TOOL_CALLS,
        PLAIN,
        stream(chunk(said(role="assistant", tool_calls=[call(0, "", id="c", name="f")])), LAST, "[DONE]"),
    ),
    "a call without a name": (
        TOOL_CALLS,
        PLAIN,
        stream(chunk(said(role="assistant", tool_calls=[call(0, "", id="c", type="function")])), LAST, "[DONE]"),
    ),
    "a call without an index": (
        TOOL_CALLS,
        PLAIN,
        stream(chunk(said(role="assistant", tool_calls=[{**call(0, "", **BEGUN), "index": None}])), LAST, "[DONE]"),
    ),
    "a call that leaves one out": (
        TOOL_CALLS,
        PLAIN,
        stream(chunk(said(role="assistant", tool_calls=[call(1, "", **BEGUN)])), LAST, "[DONE]"),
    ),
    "a call that changes its id": (
        TOOL_CALLS,
        PLAIN,
        stream(
            chunk(said(role="assistant", tool_calls=[call(0, "", **BEGUN), call(0, "{}", id="call_2")])), LAST, "[DONE]"
        ),
    ),
    "a call that changes its name": (
        TOOL_CALLS,
        PLAIN,
        stream(chunk(said(role="assistant", tool_calls=[call(0, "", **BEGUN), call(0, "", name="g")])), LAST, "[DONE]"),
    ),
    "usage that nobody asked for": (USAGE, PLAIN, stream(FIRST, TEXT, LAST, COUNTED, "[DONE]")),
    "null that nobody asked for": (USAGE, PLAIN, stream({**FIRST, "usage": None}, TEXT, LAST, "[DONE]")),
    "no usage": (USAGE, COUNTING, stream(*({"usage": None, **one} for one in (FIRST, TEXT, LAST)), "[DONE]")),
    "a usage that is null": (
        USAGE,
        COUNTING,
        counting(FIRST, LAST).replace(b'{"prompt', b'[{"p').replace(b"2}}", b"2}]}"),
    ),
    "usage in every chunk": (USAGE, COUNTING, stream(FIRST, TEXT, LAST, COUNTED, "[DONE]")),
    "usage beside choices": (
        USAGE,
        COUNTING,
        stream({**FIRST, "usage": None}, {**LAST, "usage": COUNTED["usage"]}, COUNTED, "[DONE]"),
    ),
    "usage twice": (
        USAGE,
        COUNTING,
        stream({**FIRST, "usage": None}, {**LAST, "usage": None}, COUNTED, COUNTED, "[DONE]"),
    ),
    "a chunk behind the usage": (
        USAGE,
        COUNTING,
        stream({**FIRST, "usage": None}, {**LAST, "usage": None}, COUNTED, {**TEXT, "usage": None}, "[DONE]"),
    ),
    "another id": (ENVELOPE, PLAIN, stream(FIRST, {**TEXT, "id": "chatcmpl-2"}, LAST, "[DONE]")),
    "another time": (ENVELOPE, PLAIN, stream(FIRST, TEXT, {**LAST, "created": 2}, "[DONE]")),
    "another object": (ENVELOPE, PLAIN, stream(*({**one, "object": "chunk"} for one in (FIRST, LAST)), "[DONE]")),
    "a model less": (ENVELOPE, Asked(), stream(FIRST, {k: v for k, v in LAST.items() if k != "model"}, "[DONE]")),
    "another model": (MODEL, PLAIN, stream(*({**one, "model": "gpt-4o"} for one in (FIRST, LAST)), "[DONE]")),
    "a sentinel behind an error": (FAILURE, PLAIN, stream(FIRST, ERROR, "[DONE]")),
    "a chunk behind an error": (FAILURE, PLAIN, stream(FIRST, ERROR, TEXT)),
    "two errors": (FAILURE, PLAIN, stream(FIRST, ERROR, ERROR)),
}
"""Streams that break one law each, and which."""


@pytest.mark.parametrize("name", GOOD)
def test_a_good_stream_breaks_no_law(name: str) -> None:
    """A stream that keeps every law is complained about by none."""
    asked, body = GOOD[name]

    assert [] == list(violations(transcript(body), asked))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_stream_breaks_the_law_that_it_breaks(name: str) -> None:
    """A stream with one slip is complained about under one rule, and no other."""
    rule, asked, body = BAD[name]

    assert {rule} == {violation.rule for violation in violations(transcript(body), asked)}


def test_each_law_has_a_stream_that_breaks_it() -> None:
    """No law of the grammar is without a stream that it complains about."""
    assert set(LAWS) == {rule for rule, _, _ in BAD.values()}


def test_only_what_a_contract_declares_is_looked_at() -> None:
    """Chunks that have no model, no time and no finish reason by their contract are none that lack one."""
    bare = [{"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}]
    members = frozenset({"id", "object", "choices"})

    asked = Asked(model="gpt-4", members=members, choice_members=frozenset({"index", "delta"}))
    assert [] == list(violations(transcript(stream(*bare, "[DONE]")), asked))


@pytest.mark.parametrize("name", GOOD)
def test_what_a_stream_tells_is_put_together(name: str) -> None:
    """Texts are appended, fragments of calls joined, and each choice has its own."""
    asked, body = GOOD[name]
    reading = read(transcript(body), asked)

    told = {
        "two choices": {
            0: {"role": "assistant", "finish_reason": "stop"},
            1: {"role": "assistant", "content": "b", "finish_reason": "length"},
        },
        "two calls": {
            0: {
                "role": "assistant",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}},
                    {"id": "call_2", "type": "function", "function": {"name": "sum", "arguments": "[]"}},
                ],
                "finish_reason": "tool_calls",
            }
        },
        "a custom tool": {
            0: {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}],
                "finish_reason": "tool_calls",
            }
        },
    }
    unfinished = {0: {"role": "assistant", "content": "Hello.", "finish_reason": None}}
    told |= {"a failure": unfinished, "a failure behind the usage": {0: {**unfinished[0], "content": ""}}}
    hello = {0: {"role": "assistant", "content": "Hello.", "finish_reason": "stop"}}

    assert told.get(name, hello) == {index: choice.message() for index, choice in reading.choices.items()}


def recorded() -> Iterator[tuple[str, Chunk, str]]:
    """Yield OpenAI's recorded streams: the name of the file, the request, and the body of the answer."""
    for path in sorted(CASSETTES.glob("chat-*.yaml")):
        for interaction in yaml.safe_load(path.read_text())["interactions"]:
            body = interaction["response"].get("body", "")
            if body.startswith("data: "):
                yield path.stem, json.loads(interaction["request"]["body"]), body


def test_openai_keeps_the_laws() -> None:
    """OpenAI's recorded streams break no law that is not declared to be stricter, and each that is."""
    streams = list(recorded())
    if not streams:
        pytest.skip("OpenAI's recorded streams are not beside this checkout, so the grammar was not calibrated")
    broken: set[str] = set()
    for name, request, body in streams:
        options = request.get("stream_options") or {}
        asked = Asked(model=request["model"], usage=bool(options.get("include_usage")))
        found = list(violations(transcript(body.encode()), asked))
        undeclared = [one for one in found if one.rule not in STRICTER_THAN_OPENAI]
        assert [] == undeclared, name
        broken |= {one.rule for one in found}

    assert set(STRICTER_THAN_OPENAI) == broken
    assert 3 == len(streams)


def cuts(body: bytes) -> Iterator[Sequence[bytes]]:
    """Yield *body* whole, byte by byte, and in two pieces."""
    yield [body]
    yield [body[at : at + 1] for at in range(len(body))]
    yield from ([body[:at], body[at:]] for at in (1, len(body) // 2, len(body) - 1))


def judged(pieces: Sequence[bytes]) -> tuple[list[Frame], bool]:
    """Return the events that the judge reads in *pieces*, and whether something is left over."""
    reader = Reader()
    frames = [one for piece in pieces for one in reader.feed(piece)]
    return [one for one in frames if not one.is_comment], reader.unended


def gateways(pieces: Sequence[bytes]) -> tuple[list[tuple[str, str]], bool]:
    """Return the same as the gateway reads it: name and data of each event."""
    reader = EventReader()
    events = [one for piece in pieces for one in reader.feed(piece)]
    return [(one.name, one.data.decode("utf-8", "replace")) for one in events], reader.pending


def understood(frames: list[Frame]) -> list[tuple[str, str]]:
    """Return name and data of each frame that a browser takes for an event."""
    with_data = (one for one in frames if "data" in one.names)
    return [
        (next((value for name, value in reversed(one.fields) if name == "event"), "") or "message", one.data)
        for one in with_data
    ]


BODIES: Final = [body for _, body in GOOD.values()] + [body for _, _, body in BAD.values()]


@pytest.mark.parametrize("body", [*BODIES, *(body[: len(body) // 2] for body in BODIES if body)])
def test_judge_and_gateway_read_the_same_stream(body: bytes) -> None:
    """Whole, byte by byte and cut short, both readers find the same events, and both see when one has not ended."""
    for pieces in cuts(body):
        frames, unended = judged(pieces)
        events, pending = gateways(pieces)

        assert events == understood(frames)
        assert pending or not unended or not understood_rest(body)


def understood_rest(body: bytes) -> bool:
    """Whether what is left over at the end of *body* is more than the half of a line end."""
    return transcript(body).cut


TEXTS: Final = st.text(st.sampled_from("ab \n{}[]:\u00e9\U0001f600"), max_size=6)
LINES: Final = st.lists(
    st.one_of(
        st.sampled_from(["", "", "data", "data: [DONE]", "data:  x", "event: e", "id: 1", ": ping", ":", "x"]),
        TEXTS.map(lambda text: f"data: {json.dumps(text)}"),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(lines=LINES, ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=12, max_size=12))
def test_judge_and_gateway_read_any_lines_alike(lines: list[str], ends: list[str]) -> None:
    """Whatever the lines are and however they end, both readers find the same events, in whatever pieces."""
    body = "".join(line + end for line, end in zip(lines, ends, strict=False)).encode() + b"\n"
    whole = understood([one for one in transcript(body).frames if not one.is_comment])

    for pieces in cuts(body):
        frames, _ = judged(pieces)
        assert whole == understood(frames)
        assert whole == gateways(pieces)[0]


REASONS: Final = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


@st.composite
def scripts(draw: st.DrawFn) -> list[Chunk]:
    """Return the chunks of some upstream, which need not keep to anything but the order of what it says."""
    count = draw(st.integers(1, 3))
    moves = draw(
        st.lists(st.tuples(st.integers(0, count - 1), st.sampled_from(["text", "role", "call", "more"]), TEXTS))
    )
    chunks, calls = [], dict.fromkeys(range(count), 0)
    for index, move, text in moves:
        match move:
            case "text":
                delta: Chunk = {"content": text}
            case "role":
                delta = {"role": "assistant", "content": draw(st.sampled_from(["", None]))}
            case "call":
                delta = {"tool_calls": [call(calls[index], text, id=f"c{calls[index]}", type="function", name="f")]}
                calls[index] += 1
            case _:
                delta = {"tool_calls": [call(calls[index] - 1, text)]} if calls[index] else {"content": text}
        members: Chunk = {"choices": [said(index, **delta)]}
        if draw(st.booleans()):
            members["model"] = "an upstream's own"
        chunks.append(members)
    chunks += [{"choices": [said(index, reason=draw(REASONS))]} for index in range(count)]
    if draw(st.booleans()):
        chunks.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
    return chunks


@settings(max_examples=100, deadline=None)
@given(script=scripts(), usage=st.booleans())
def test_the_judge_finds_nothing_in_what_the_gateway_says(script: list[Chunk], usage: bool) -> None:  # noqa: FBT001
    """Whatever an upstream says, what the gateway makes of it breaks no law, and tells both of them the same."""
    speaking = ChatStream(id="chatcmpl-1", created=1, model="general", include_usage=usage)
    passed = [one for one in map(speaking.feed, script) if one is not None]
    last = speaking.end()
    passed += [] if last is None else [last]
    body = b"".join(map(frame, passed)) + DONE
    asked = Asked(model="general", usage=usage)

    reading = read(transcript(body), asked)

    assert [] == reading.violations
    whole = assemble(passed)
    assert whole.get("usage") == reading.usage
    assert len(whole["choices"]) == len(reading.choices)
    for choice in whole["choices"]:
        told = reading.choices[choice["index"]].message()
        assert choice["finish_reason"] == told["finish_reason"]
        assert (choice["message"]["content"] or "") == told.get("content", "")
        assert choice["message"].get("tool_calls", []) == told.get("tool_calls", [])


def test_a_cut_stream_is_never_taken_for_a_finished_one() -> None:
    """However much of a stream is missing at its end, the judge says so."""
    for asked, body in (GOOD["text"], GOOD["usage"], GOOD["two calls"]):
        for end in range(len(body) - 1):
            found = {one.rule for one in violations(transcript(body[:end]), asked)}

            assert ENDING in found, body[:end]
        assert [] == list(violations(attrs.evolve(transcript(body[:-1] + b"\n")), asked))


def test_a_transcript_knows_its_comments() -> None:
    """A comment is no event, and is kept."""
    read_ = transcript(b": ping\n\ndata: x\n\n")

    assert Transcript(frames=(Frame(fields=(("", "ping"),)), Frame(fields=(("data", "x"),)))) == read_
    assert 1 == len(read_.events)
