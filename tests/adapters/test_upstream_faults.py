"""What networks and servers do to a call, over a TCP proxy that does it, on every engine."""

import asyncio
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from gateway_conformance.rules import confirms

from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError
from engines import HELLO, LONG, Ground, fault, on_every_engine, openai, until
from process import LOOPBACK, free_port
from scenes import SHORT, Ask, ask_stream, ask_whole, in_both_forms, received, scene, timed
from sink import (
    LAST,
    STREAMED,
    End,
    Reply,
    Wait,
    chunk,
    chunks,
    event,
    head,
    piece,
    stream,
    whole,
)

# --- U1: no connection ------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R2")
@on_every_engine
@in_both_forms
def test_a_refused_connection_is_unreachable_at_once(ground: Ground, ask: Ask) -> None:
    """Where nobody listens there is no provider, and nobody waits to learn it."""

    async def test() -> tuple[UpstreamError, float]:
        async with openai(ground, f"http://{LOOPBACK}:{free_port()}/v1") as upstream:
            return await timed(ask(upstream, LONG))

    raised, after = ground.run(test())
    assert Fault.UNREACHABLE is raised.fault
    assert after < 0.6 * LONG.connect


@on_every_engine
def test_a_provider_that_comes_back_is_used_again(ground: Ground) -> None:
    """A refused connection leaves nothing behind: when the provider listens again, the next request gets through."""

    async def test() -> tuple[Fault, int]:
        async with scene(ground) as on:
            await on.proxy.refuse()
            raised = await fault(ask_whole(on.upstream))
            await on.proxy.listen()
            await ask_whole(on.upstream)
            return raised.fault, on.attempts

    assert (Fault.UNREACHABLE, 1) == ground.run(test())


@confirms("ADR-0038.R2")
@on_every_engine
def test_a_name_that_nobody_knows_is_unreachable(ground: Ground) -> None:
    """A host without an address is no provider (RFC 6761: `invalid` has none)."""

    async def test() -> Fault:
        async with openai(ground, "http://provider.invalid/v1") as upstream:
            return (await fault(ask_whole(upstream))).fault

    assert Fault.UNREACHABLE is ground.run(test())


# --- U2: no answer ----------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R3")
@on_every_engine
@in_both_forms
def test_a_provider_that_never_answers_is_given_up_in_time(ground: Ground, ask: Ask) -> None:
    """Who accepts and says nothing gets the first-byte deadline, and then loses the connection."""

    async def test() -> tuple[UpstreamError, float]:
        async with scene(ground) as on:
            on.proxy.black_hole = True
            told = await timed(ask(on.upstream, SHORT))
            await until(lambda: on.proxy.open == 0)
            return told

    raised, after = ground.run(test())
    assert Fault.TIMEOUT is raised.fault
    assert 0.36 <= after < 3.0


@confirms("ADR-0038.R3")
@on_every_engine
def test_a_head_is_no_first_byte_of_a_stream(ground: Ground) -> None:
    """A stream begins with its first chunk: neither its head nor its comments put off the first-byte deadline."""
    silent = [STREAMED, *[step for _ in range(40) for step in (piece(b": waiting\n\n"), Wait(0.05))]]

    async def test() -> tuple[UpstreamError, float]:
        async with scene(ground) as on:
            on.sink.tell(silent)
            told = await timed(ask_stream(on.upstream, SHORT))
            await until(lambda: on.sink.open == 0)
            return told

    raised, after = ground.run(test())
    assert Fault.TIMEOUT is raised.fault
    assert 0.36 <= after < 3.0


@confirms("ADR-0038.R3")
@on_every_engine
def test_a_stream_that_falls_silent_is_given_up_in_time(ground: Ground) -> None:
    """Between two pieces of an answer the idle deadline counts; comments are signs of life."""
    first, second, *_ = chunks()
    alive = [step for _ in range(4) for step in (Wait(0.2), b": alive\n\n")]

    async def test() -> tuple[int, Fault | None]:
        async with scene(ground) as on:
            on.sink.tell(stream(first, *alive, second, Wait(None)))
            opened = await on.upstream.chat_stream(HELLO, model="m", timeouts=SHORT)
            came, raised = await received(opened)
            await until(lambda: on.sink.open == 0)
            return len(came), raised

    assert (2, Fault.TIMEOUT) == ground.run(test())


@confirms("ADR-0038.R3")
@on_every_engine
@in_both_forms
def test_an_answer_that_drips_is_given_up_in_the_end(ground: Ground, ask: Ask) -> None:
    """However alive it looks, an answer has a total deadline."""
    dripping = [
        STREAMED,
        piece(event(chunks()[0])),
        *[step for _ in range(60) for step in (piece(b": \n\n"), Wait(0.05))],
    ]
    plain = [head(content_length="1000"), *[step for _ in range(60) for step in (b" ", Wait(0.05))]]

    async def test() -> tuple[UpstreamError, float]:
        async with scene(ground) as on:
            on.sink.tell(dripping if ask is ask_stream else plain)
            told = await timed(ask(on.upstream, Timeouts(total=0.5)))
            await until(lambda: on.sink.open == 0)
            return told

    raised, after = ground.run(test())
    assert Fault.TIMEOUT is raised.fault
    assert 0.45 <= after < 3.0


@on_every_engine
def test_time_that_the_reader_takes_is_not_the_providers(ground: Ground) -> None:
    """Who reads slowly does not make a provider late: what has come is there however long nobody took it."""

    async def test() -> int:
        async with scene(ground) as on:
            on.sink.tell(stream(*chunks(), pause=0.02))
            opened = await on.upstream.chat_stream(HELLO, model="m", timeouts=SHORT)
            await asyncio.sleep(1.0)
            came, raised = await received(opened)
            assert raised is None
            return len(came)

    assert len(chunks()) == ground.run(test())


# --- U3: reset before an answer ---------------------------------------------------------------------------------------


@confirms("ADR-0038.R2")
@on_every_engine
@in_both_forms
@pytest.mark.parametrize("reply", [[End(reset=True)], [End()], [b"HTTP/1.1 200", End(reset=True)]], ids=str)
def test_a_reset_before_the_answer_is_unreachable(ground: Ground, ask: Ask, reply: Reply) -> None:
    """A connection that ends before there is an answer is a fault of its own, after one attempt."""

    async def test() -> tuple[Fault, int]:
        async with scene(ground) as on:
            on.sink.tell(reply, reply, reply)
            raised = await fault(ask(on.upstream, LONG))
            return raised.fault, on.attempts

    assert (Fault.UNREACHABLE, 1) == ground.run(test())


@on_every_engine
def test_a_connection_that_is_reset_when_it_is_made_is_unreachable(ground: Ground) -> None:
    """A provider that resets whoever connects is not there."""

    async def test() -> Fault:
        async with scene(ground) as on:
            on.proxy.reset_at_once = True
            return (await fault(ask_whole(on.upstream))).fault

    assert Fault.UNREACHABLE is ground.run(test())


# --- U4: cut in the middle --------------------------------------------------------------------------------------------


@confirms("ADR-0038.R12")
@on_every_engine
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_stream_that_is_cut_gives_what_came_and_then_the_fault(ground: Ground, reset: bool) -> None:  # noqa: FBT001
    """Everything that was received is there, and then it is cut; nobody asks again."""
    first, second, *_ = chunks()

    async def test() -> tuple[Sequence[object], Fault | None, int]:
        async with scene(ground) as on:
            on.sink.tell(stream(first, second, Wait(0.1), End(reset=reset)))
            came, raised = await received(await on.upstream.chat_stream(HELLO, model="m", timeouts=LONG))
            return came, raised, on.attempts

    assert ([first, second], Fault.CUT, 1) == ground.run(test())


@confirms("ADR-0038.R12")
@on_every_engine
def test_a_stream_that_ends_without_its_end_is_cut(ground: Ground) -> None:
    """A body that ends as HTTP bodies do, with every choice finished, is no whole stream without `[DONE]`."""

    async def test() -> tuple[int, Fault | None]:
        async with scene(ground) as on:
            on.sink.tell(stream(*chunks(), end=b""))
            came, raised = await received(await on.upstream.chat_stream(HELLO, model="m", timeouts=LONG))
            return len(came), raised

    assert (len(chunks()), Fault.CUT) == ground.run(test())


@confirms("ADR-0038.R12")
@on_every_engine
def test_a_stream_cut_at_any_byte_never_looks_whole(ground: Ground) -> None:
    """Wherever the connection breaks, no part of an event is given, and the end is never taken for `[DONE]`."""
    sent = [chunk({"role": "assistant", "content": "é"}), chunk({"content": "日本"}), chunk({}, "stop")]
    reply = stream(*sent)
    size = sum(len(step) for step in reply if isinstance(step, bytes))
    sentinel = len(piece(b"data: [DONE]\n\n") + LAST)

    async def test() -> None:
        async with scene(ground) as on:
            for at in range(len(STREAMED) + 1, size - sentinel + 8, 9):
                on.sink.tell(reply)
                on.proxy.cut_after = at
                opened = on.upstream.chat_stream(HELLO, model="m", timeouts=LONG)
                try:
                    came, raised = await received(await opened)
                except UpstreamError as error:
                    came, raised = [], error.fault
                assert raised in {Fault.CUT, Fault.GARBLED}, at
                assert sent[: len(came)] == came, at

    ground.run(test())


@confirms("ADR-0038.R2")
@on_every_engine
def test_a_whole_answer_that_is_cut_is_cut(ground: Ground) -> None:
    """Half of a JSON document is no answer."""

    async def test() -> Fault:
        async with scene(ground) as on:
            on.proxy.cut_after = 150
            return (await fault(ask_whole(on.upstream))).fault

    assert Fault.CUT is ground.run(test())


# --- U5: garbage ------------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R2")
@on_every_engine
@in_both_forms
@pytest.mark.parametrize(
    "reply",
    [
        whole(b"<html>502 Bad Gateway</html>", content_type="text/html"),
        whole(b'{"choices": [', content_type="application/json"),
        whole(b"[]"),
        whole(b"null"),
        whole(b""),
        whole(b"\xff\xfe"),
        whole({"choices": []}),
        whole(b"\x1f\x8b\x08\x00", content_encoding="gzip"),
        stream(b"data: <html>\n\n"),
        stream(b"data: [1]\n\n"),
        stream(),
        stream(b": nothing\n\n", end=b""),
        [head(204)],
    ],
    ids=lambda reply: repr(reply[0][-40:]),
)
def test_what_is_no_answer_is_garbled(ground: Ground, ask: Ask, reply: Reply) -> None:
    """HTML, broken JSON, another document, an encoding that was not asked for, an empty stream: none is an answer."""

    async def test() -> Fault:
        async with scene(ground) as on:
            on.sink.tell(reply)
            return (await fault(ask(on.upstream, LONG))).fault

    assert Fault.GARBLED is ground.run(test())


@on_every_engine
def test_bytes_of_nobody_are_garbled(ground: Ground) -> None:
    """Whatever is in the way and answers in another protocol is no provider."""

    async def test() -> Fault:
        async with scene(ground) as on:
            on.proxy.garbage = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
            return (await fault(ask_whole(on.upstream))).fault

    assert Fault.GARBLED is ground.run(test())


@confirms("ADR-0038.R12")
@on_every_engine
def test_garbage_in_a_stream_comes_after_what_was_sound(ground: Ground) -> None:
    """Chunks in front of garbage are given, even where both come in one packet."""
    first, second, *_ = chunks()

    async def test() -> tuple[Sequence[object], Fault | None]:
        async with scene(ground) as on:
            on.sink.tell(stream(event(first) + event(second) + b"data: {broken\n\n"))
            came, raised = await received(await on.upstream.chat_stream(HELLO, model="m", timeouts=LONG))
            return came, raised

    assert ([first, second], Fault.GARBLED) == ground.run(test())


@on_every_engine
def test_a_stream_is_the_same_byte_by_byte(ground: Ground) -> None:
    """A provider that sends single bytes, in single chunks, says the same."""
    text = b"".join(event(one) for one in chunks("é 日本 👍")) + b"data: [DONE]\r\n\r\n"
    reply = [STREAMED, *[piece(text[at : at + 1]) for at in range(len(text))], LAST]

    async def test() -> list[Mapping[str, Any]]:
        async with scene(ground) as on:
            on.sink.tell(reply)
            return await ask_stream(on.upstream)

    assert chunks("é 日本 👍") == ground.run(test())


# --- U6: without end --------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R8")
@on_every_engine
def test_an_event_without_end_is_given_up(ground: Ground) -> None:
    """A line of 100 MB is given up when it is longer than any event, and takes no memory to speak of."""
    endless = [STREAMED, piece(event(chunks()[0])), *[piece(b"x" * 65536)] * 1600]

    async def test() -> tuple[int, Fault | None, int, int]:
        async with scene(ground) as on:
            on.sink.tell(endless)
            opened = await on.upstream.chat_stream(HELLO, model="m", timeouts=LONG)
            tracemalloc.start()
            came, raised = await received(opened)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            await until(lambda: on.proxy.open == 0)
            return len(came), raised, on.sink.sent, peak

    came, raised, sent, peak = ground.run(test())
    assert (1, Fault.TOO_LARGE) == (came, raised)
    assert sent < 60_000_000
    assert peak < 8 * 1024 * 1024


@confirms("ADR-0038.R8")
@on_every_engine
def test_an_answer_without_end_is_given_up(ground: Ground) -> None:
    """A whole answer is given up at its limit."""
    endless = [head(content_type="application/json"), *[b" " * 65536] * 1600]

    async def test() -> Fault:
        async with scene(ground) as on:
            on.sink.tell(endless)
            raised = await fault(ask_whole(on.upstream))
            await until(lambda: on.proxy.open == 0)
            return raised.fault

    assert Fault.TOO_LARGE is ground.run(test())
