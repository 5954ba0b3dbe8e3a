"""The provider `scripted`: each model name behaves as the table of ADR-0038 says."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.upstream.scripted import BEHAVIOURS, ScriptedUpstream
from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError
from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import assemble, completion
from engines import LONG

Document = Mapping[str, Any]

RECORD: Final = next((Path(__file__).parents[2] / "adr").glob("0038-*.md")).read_text(encoding="utf-8")
ASKED: Final[Document] = {"model": "general", "messages": [{"role": "user", "content": "one two three"}]}
SHORT: Final = Timeouts(first_byte=0.1, idle=0.1, total=1.0)
WHOLE: Final = 6
"""How many chunks `echo` says ASKED in: a role, three words, the end, the usage."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What came: a whole answer or *chunks*, the *error* that ended it, and how long that took, in seconds."""

    whole: Document | None = None
    chunks: tuple[Document, ...] = ()
    error: UpstreamError | None = None
    seconds: float = 0.0

    @property
    def fault(self) -> Fault | None:
        """How it failed, if it did."""
        return None if self.error is None else self.error.fault


def whole(model: str, timeouts: Timeouts = LONG) -> Outcome:
    """Return what a whole answer of *model* is."""

    async def ask() -> Outcome:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            made = await ScriptedUpstream().chat(ASKED, model=model, timeouts=timeouts)
        except UpstreamError as error:
            return Outcome(error=error, seconds=loop.time() - began)
        return Outcome(whole=made, seconds=loop.time() - began)

    return asyncio.run(ask())


def streamed(model: str, timeouts: Timeouts = LONG) -> Outcome:
    """Return what a stream of *model* is."""

    async def ask() -> Outcome:
        loop = asyncio.get_running_loop()
        began = loop.time()
        came: list[Document] = []
        try:
            opened = await ScriptedUpstream().chat_stream(ASKED, model=model, timeouts=timeouts)
            async for batch in opened:
                came += batch
        except UpstreamError as error:
            return Outcome(chunks=tuple(came), error=error, seconds=loop.time() - began)
        await opened.aclose()
        assert [] == [one async for one in opened]
        return Outcome(chunks=tuple(came), seconds=loop.time() - began)

    return asyncio.run(ask())


def agreed(model: str) -> Document:
    """Return the answer of *model*, which is the same whole and streamed."""
    stream = ChatStream(id="chatcmpl-own", created=1, model="general", include_usage=True)
    sent = [chunk for one in streamed(model).chunks if (chunk := stream.feed(one)) is not None]
    end = stream.end()
    assert end is not None
    made = completion(whole(model).whole, id="chatcmpl-own", created=1, model="general").document
    assert {"usage": end["usage"], **made} == assemble([*sent, end])
    return made


@confirms("ADR-0038.R18")
def test_the_record_tells_every_behaviour() -> None:
    """The table of the decision record has each name, in order, with the words of the code."""
    told = re.findall(r"^\| `([a-z-]+)` \| (.+?) \|$", RECORD, re.MULTILINE)

    assert [(name, made.__doc__) for name, made in BEHAVIOURS.items()] == told


@confirms("ADR-0038.R18")
@pytest.mark.parametrize(
    ("model", "content", "finish"),
    [
        ("ok", "one two three", "stop"),
        ("slow-first-byte:0.01", "one two three", "stop"),
        ("slow-stream:0.001", "one two three", "stop"),
        ("long:3", "word word word", "stop"),
        ("json", '{"answer": 42, "sure": true}', "stop"),
        ("no-usage", "one two three", "stop"),
        ("empty", "", "stop"),
        ("refusal", None, "stop"),
        ("length", "This is as far as", "length"),
        ("filtered", "This is where", "content_filter"),
    ],
)
def test_what_answers_answers_the_same_in_both_forms(model: str, content: str | None, finish: str) -> None:
    """Whole and streamed are one answer."""
    choice = agreed(model)["choices"][0]

    assert (content, finish) == (choice["message"]["content"], choice["finish_reason"])


@confirms("ADR-0038.R18")
@pytest.mark.parametrize(
    ("model", "calls"),
    [
        ("tool-call", [("get_weather", '{"city":"Paris"}')]),
        ("tool-call:get_time", [("get_time", '{"city":"Paris"}')]),
        ("parallel-tools", [("get_weather", '{"city":"Paris"}'), ("get_weather", '{"city":"Oslo"}')]),
    ],
)
def test_what_calls_tools_calls_them_in_both_forms(model: str, calls: list[tuple[str, str]]) -> None:
    """Fragments are the calls of the whole answer."""
    choice = agreed(model)["choices"][0]
    made = [(one["function"]["name"], one["function"]["arguments"]) for one in choice["message"]["tool_calls"]]

    assert (calls, "tool_calls") == (made, choice["finish_reason"])


def test_some_answers_say_less() -> None:
    """One has no usage, one a refusal in place of a content."""
    assert "usage" not in (whole("no-usage").whole or {})
    assert WHOLE - 1 == len(streamed("no-usage").chunks)
    assert "I cannot help with that." == agreed("refusal")["choices"][0]["message"]["refusal"]


FAULTS: Final[list[tuple[str, int, Fault, dict[str, Any]]]] = [
    ("cut", 2, Fault.CUT, {"status": 200}),
    ("cut:0", 0, Fault.CUT, {"status": 200}),
    ("cut:4", 4, Fault.CUT, {"status": 200}),
    ("cut:99", WHOLE, Fault.CUT, {"status": 200}),
    ("garbage", 0, Fault.GARBLED, {"status": 200}),
    ("garbage:3", 3, Fault.GARBLED, {"status": 200}),
    ("huge-event", 1, Fault.TOO_LARGE, {"status": 200}),
    ("error-event", 1, Fault.FAILED, {"status": None}),
    ("error-event:2", 2, Fault.FAILED, {"status": None}),
    ("reset", 0, Fault.UNREACHABLE, {"status": None}),
    ("limited", 0, Fault.LIMITED, {"status": 429, "retry_after": 1.0}),
    ("limited:7.5", 0, Fault.LIMITED, {"status": 429, "retry_after": 7.5}),
    ("limited:999999999", 0, Fault.LIMITED, {"status": 429, "retry_after": 3600.0}),
    ("unavailable", 0, Fault.FAILED, {"status": 503}),
    ("unavailable:500", 0, Fault.FAILED, {"status": 500}),
    ("denied", 0, Fault.DENIED, {"status": 401}),
    ("denied:403", 0, Fault.DENIED, {"status": 403}),
    ("rejected", 0, Fault.REJECTED, {"status": 400, "code": "context_length_exceeded", "param": "messages"}),
    ("rejected:invalid_value", 0, Fault.REJECTED, {"status": 400, "code": "invalid_value", "param": "messages"}),
]


@confirms("ADR-0038.R18")
@pytest.mark.parametrize(("model", "count", "expected", "told"), FAULTS, ids=[one[0] for one in FAULTS])
def test_what_fails_fails_in_both_forms(model: str, count: int, expected: Fault, told: dict[str, Any]) -> None:
    """A stream gives so many chunks before it fails; a whole answer fails at once, and alike."""
    in_chunks, at_once = streamed(model), whole(model)

    assert (count, expected, expected) == (len(in_chunks.chunks), in_chunks.fault, at_once.fault)
    for outcome in (in_chunks, at_once):
        assert told == {name: getattr(outcome.error, name) for name in told}


@confirms("ADR-0038.R3")
@pytest.mark.parametrize(
    ("model", "count"), [("hang", 0), ("hang:2", 2), ("slow-first-byte:5", 0), ("slow-stream:5", 1)]
)
def test_deadlines_count_inside_of_the_gateway_too(model: str, count: int) -> None:
    """What takes too long is given up when a server would be."""
    in_chunks, at_once = streamed(model, SHORT), whole(model, SHORT)

    assert (count, Fault.TIMEOUT, Fault.TIMEOUT) == (len(in_chunks.chunks), in_chunks.fault, at_once.fault)
    assert all(0.05 <= outcome.seconds < 2.0 for outcome in (in_chunks, at_once))


def test_a_total_deadline_counts_pauses_together() -> None:
    """Pauses that are short enough each are too long in the end."""
    timeouts = Timeouts(first_byte=1.0, idle=1.0, total=0.2)

    assert Fault.TIMEOUT is streamed("slow-stream:0.06", timeouts).fault
    assert Fault.TIMEOUT is whole("slow-stream:0.06", timeouts).fault


@confirms("ADR-0038.R18")
@pytest.mark.parametrize(
    "model", ["", "gpt-4o", "OK", "cut:", "cut:-1", "cut:two", "limited:1e9", "slow-stream:inf", "rejected:No Code!"]
)
def test_a_name_that_says_nothing_is_rejected(model: str) -> None:
    """Unknown names, and arguments that are none of their kind, are a model that this provider does not have."""
    for outcome in (streamed(model), whole(model)):
        assert outcome.error is not None
        assert (Fault.REJECTED, 404, None) == (outcome.fault, outcome.error.status, outcome.error.code)


def test_a_closed_stream_gives_nothing_more() -> None:
    """Whoever closes has read enough."""

    async def ask() -> list[object]:
        opened = await ScriptedUpstream().chat_stream(ASKED, model="ok", timeouts=LONG)
        await opened.aclose()
        return [one async for one in opened]

    assert [] == asyncio.run(ask())


def test_embeddings_fail_by_the_same_names() -> None:
    """What fails a chat fails an embedding; what does not gives one."""

    async def ask(model: str) -> object:
        try:
            return len((await ScriptedUpstream().embed({"input": "a"}, model=model, timeouts=SHORT))["data"])
        except UpstreamError as error:
            return error.fault

    assert [1, Fault.LIMITED, Fault.TIMEOUT, Fault.REJECTED] == [
        asyncio.run(ask(model)) for model in ("ok", "limited", "hang", "unheard-of")
    ]
