"""What arrives alone of a streamed answer may go another way than to who waits for it (ADR-0047)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from gateway_conformance.rules import confirms

from dragoman.ports import Divertible, UpstreamError
from engines import GROUNDS, HELLO, LONG, openai
from sink import Document, Wait, event, sinking, stream

GROUND = GROUNDS["http1-uvloop"]


def diverted(*parts: bytes | Document | Wait, quirks: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return what is taken of a stream by whoever takes every other chunk, and what comes to who waits for them."""
    taken: list[str] = []
    offered: list[str] = []

    def take(chunk: Mapping[str, Any]) -> bool:
        offered.append(chunk["id"])
        if len(offered) % 2:
            taken.append(chunk["id"])
        return bool(len(offered) % 2)

    async def ask() -> list[str]:
        reply = stream(*parts, pause=0.02)
        async with sinking(lambda _: reply) as sink, openai(GROUND, sink.url(), *quirks) as upstream:
            opened = await upstream.chat_stream(HELLO, model="real", timeouts=LONG)
            assert isinstance(opened, Divertible)
            opened.divert(take)
            came = [one["id"] async for batch in opened for one in batch]
            await opened.aclose()
        return came

    return taken, GROUND.run(ask())


def named(name: str, **more: Any) -> Document:  # noqa: ANN401 - members of a chunk
    """Return a chunk with this id."""
    return {"id": name, "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], **more}


@confirms("ADR-0047.R4")
def test_what_arrives_alone_may_be_taken_before_who_waits_for_it() -> None:
    """Each later chunk is offered once, and comes as ever where it is refused; none is lost or doubled."""
    assert (["b", "d"], ["a", "c", "e"]) == diverted(*(named(name) for name in "abcde"))


@confirms("ADR-0047.R4")
@pytest.mark.parametrize(
    "odd",
    [
        event(named("b")) + event(named("c")),
        event(named("b"))[:9] + b"\n\n" + event(named("c")),
        b": a comment\n\n" + event(named("b")),
        event(named("b")).replace(b"\n", b"\r\n"),
        b"event: message\n" + event(named("b")),
        b"id: 1\n" + event(named("b")),
        b"\n",
    ],
    ids=["two", "no JSON", "comment", "CRLF", "named", "numbered", "empty"],
)
def test_what_is_no_single_event_in_one_line_is_offered_to_nobody(odd: bytes) -> None:
    """Such bytes are read with care, and nothing of them is taken."""
    taken, came = _careful(odd)

    assert taken == []
    assert came[0] == "a"


def _careful(odd: bytes) -> tuple[list[str], list[str]]:
    try:
        return diverted(named("a"), odd)
    except UpstreamError:  # it was garbled, which is told to who waits
        return [], ["a"]


def test_a_stream_whose_end_depends_on_its_chunks_is_not_diverted() -> None:
    """Where there is no sentinel every chunk has to be looked at."""
    finished = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    assert ([], ["a", "b", "c"]) == diverted(named("a"), named("b"), finished, quirks=["no_done"])


def test_an_error_is_not_taken_for_a_chunk() -> None:
    """An error that arrives alone is raised where it always is."""
    with pytest.raises(UpstreamError):
        diverted(named("a"), {"id": "b", "error": {"message": "no"}})
