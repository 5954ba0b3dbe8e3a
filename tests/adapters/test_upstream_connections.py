"""Who leaves, what is stale, and many at once: that no connection is left behind, used too long, or mixed up."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.upstream.http1 import Http1Engine
from dragoman.adapters.upstream.openai import OpenAIUpstream
from dragoman.ports import Fault
from engines import HELLO, LONG, Ground, fault, on_every_engine, openai, until
from scenes import Ask, Scene, ask_stream, ask_whole, received, scene
from sink import (
    STREAMED,
    End,
    Received,
    Reply,
    Wait,
    chunk,
    chunks,
    event,
    head,
    piece,
    sinking,
    stream,
    whole,
)

# --- U9: the caller leaves --------------------------------------------------------------------------------------------


async def begun(on: Scene, task: "asyncio.Task[object]") -> None:
    """Return when the request of *task* has arrived, and half a moment is over."""
    await until(lambda: on.attempts > 0 or on.proxy.black_hole)
    await until(lambda: on.proxy.open > 0)
    await asyncio.sleep(0.02)
    assert not task.done()


WAITS: Final[Mapping[str, tuple[Ask, Reply]]] = {
    "for-the-head": (ask_whole, [Wait(None)]),
    "for-the-head-of-a-stream": (ask_stream, [Wait(None)]),
    "for-the-body": (ask_whole, [head(content_length="10"), b"{", Wait(None)]),
    "for-the-first-chunk": (ask_stream, [STREAMED, piece(b": x\n\n"), Wait(None)]),
    "for-a-later-chunk": (ask_stream, [STREAMED, piece(event(chunks()[0])), Wait(None)]),
    "for-the-body-of-an-error": (ask_whole, [head(400, content_length="10"), b"{", Wait(None)]),
}


@confirms("ADR-0038.R4")
@on_every_engine
@pytest.mark.parametrize(("ask", "reply"), WAITS.values(), ids=WAITS)
def test_a_task_that_is_cancelled_closes_its_connection(ground: Ground, ask: Ask, reply: Reply) -> None:
    """Whatever it waited for, the provider sees the end within a second, and the next request gets its own answer."""

    async def test() -> tuple[float, Mapping[str, Any]]:
        async with scene(ground) as on:
            on.sink.tell(reply)
            task: asyncio.Task[object] = asyncio.ensure_future(ask(on.upstream, LONG))
            await begun(on, task)
            task.cancel()
            after = await until(lambda: on.sink.open == 0)
            assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError
            return after, await ask_whole(on.upstream)

    after, answer = ground.run(test())
    assert after < 1.0
    assert "hello" == answer["choices"][0]["message"]["content"]


@confirms("ADR-0038.R4")
@on_every_engine
def test_a_hundred_that_leave_leave_nothing(ground: Ground) -> None:
    """A hundred tasks, cancelled while they wait and while they stream, leave no connection open after a second."""
    half = stream(chunks()[0], Wait(None))

    async def test() -> int:
        async with scene(ground) as on:
            on.sink.answer = lambda received: half if received.document.get("stream") else [Wait(None)]
            asks = [ask_whole, ask_stream] * 50
            tasks = [asyncio.ensure_future(ask(on.upstream, LONG)) for ask in asks]
            await until(lambda: on.attempts == 100, 10.0)
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await until(lambda: on.sink.open == 0 and on.proxy.open == 0)
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            return sum(isinstance(one, asyncio.CancelledError) for one in ended)

    assert 100 == ground.run(test())


@confirms("ADR-0038.R4")
@on_every_engine
def test_a_stream_that_is_closed_closes_its_connection(ground: Ground) -> None:
    """Who stops reading and closes is seen by the provider within a second; closing twice is no more than once."""

    async def test() -> float:
        async with scene(ground) as on:
            on.sink.tell(stream(*chunks(), Wait(None)))
            opened = await on.upstream.chat_stream(HELLO, model="m", timeouts=LONG)
            await opened.aclose()
            after = await until(lambda: on.sink.open == 0)
            await opened.aclose()
            assert Fault.CUT is (await fault(anext(aiter(opened)))).fault
            return after

    assert ground.run(test()) < 1.0


@confirms("ADR-0038.R4")
@on_every_engine
def test_a_task_may_be_cancelled_at_any_moment(ground: Ground) -> None:
    """Wherever tasks are when they are cancelled, nobody gets another one's answer, and nothing is left in the end."""

    def mirrored(received: Received) -> Reply:
        mark = received.document["model"]
        return [
            Wait(0.002),
            STREAMED,
            piece(event(chunk({"content": mark}))),
            Wait(0.002),
            *stream(chunk({}, "stop"))[1:],
        ]

    async def one(upstream: OpenAIUpstream, mark: str) -> str | None:
        opened = await upstream.chat_stream(HELLO, model=mark, timeouts=LONG)
        came, raised = await received(opened)
        assert raised is None
        content: str | None = came[0]["choices"][0]["delta"]["content"]
        return content

    async def test() -> int:
        async with sinking(mirrored) as sink:
            async with openai(ground, sink.url()) as upstream:
                answered = 0
                for number in range(120):
                    pair = [asyncio.ensure_future(one(upstream, f"m{number}{side}")) for side in "ab"]
                    await asyncio.sleep(number % 40 / 4000)
                    pair[0].cancel()
                    left, stayed = await asyncio.gather(*pair, return_exceptions=True)
                    assert f"m{number}b" == stayed
                    assert left == f"m{number}a" or isinstance(left, asyncio.CancelledError)
                    answered += left == f"m{number}a"
            await until(lambda: sink.open == 0)
            return answered

    assert ground.run(test()) < 120


# --- U10: kept connections that are stale -----------------------------------------------------------------------------


@confirms("ADR-0038.R5")
@on_every_engine
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_kept_connection_that_was_closed_costs_nobody_anything(ground: Ground, reset: bool) -> None:  # noqa: FBT001
    """A provider that ends connections when the next request is on its way shows in none of a thousand.

    Through httpx, which takes ten times as long, in none of two hundred.
    """
    count = 1000 if ground.engine_of is Http1Engine else 200

    def ends(received: Received) -> Reply:
        return whole({"choices": [received.document["model"]]}) if received.nth <= 2 else [End(reset=reset)]

    async def test() -> tuple[list[object], int]:
        async with sinking(ends) as sink, openai(ground, sink.url()) as upstream:
            told = [await upstream.chat(HELLO, model=str(number), timeouts=LONG) for number in range(count)]
            return [one["choices"][0] for one in told], sink.connections

    told, connections = ground.run(test())
    assert [str(number) for number in range(count)] == told
    assert count / 2 == connections


@confirms("ADR-0038.R5")
@on_every_engine
def test_connections_that_were_closed_while_idle_are_not_used(ground: Ground) -> None:
    """A provider that closes idle connections soon costs no request anything, at no moment."""

    async def test() -> int:
        closing = [*whole({"choices": [1]}), Wait(0.005), End()]
        async with sinking(lambda _: closing) as sink, openai(ground, sink.url()) as upstream:
            for number in range(150):
                await ask_whole(upstream)
                await asyncio.sleep(number % 9 / 1000)
            return len(sink.requests)

    assert 150 <= ground.run(test())


@confirms("ADR-0038.R5")
@on_every_engine
def test_a_request_is_sent_at_most_once_more(ground: Ground) -> None:
    """Where the new connection is closed too, that is that; and where something came, nothing is sent again."""

    async def test() -> list[tuple[Fault, int]]:
        seen = []
        replies: list[Reply] = [[End()], [b"HTTP/1.1 ", End()]]
        for reply in replies:
            async with scene(ground) as on:
                await ask_whole(on.upstream)
                on.sink.tell(reply, reply, reply)
                raised = await fault(ask_whole(on.upstream))
                seen.append((raised.fault, on.attempts - 1))
        return seen

    silent, spoken = ground.run(test())
    assert (Fault.UNREACHABLE, 2) == silent
    # httpx does not tell whether anything has come.
    assert spoken in {(Fault.UNREACHABLE, 1), (Fault.UNREACHABLE, 2)}


# --- Many at once -----------------------------------------------------------------------------------------------------


@on_every_engine
def test_sixty_four_streams_at_once_are_sixty_four_streams(ground: Ground) -> None:
    """Streams do not wait for each other, and no piece of one is in another."""

    def told(received: Received) -> Reply:
        mark = orjson.loads(received.body)["model"]
        return stream(*[chunk({"content": mark}) for _ in range(20)], chunk({}, "stop"), pause=0.01)

    async def one(upstream: OpenAIUpstream, mark: str) -> list[str | None]:
        opened = await upstream.chat_stream(HELLO, model=mark, timeouts=LONG)
        came, raised = await received(opened)
        assert raised is None
        return [piece["choices"][0]["delta"].get("content") for piece in came]

    async def test() -> list[list[str | None]]:
        async with scene(ground) as on:
            on.sink.answer = told
            return await asyncio.gather(*(one(on.upstream, f"m{number}") for number in range(64)))

    assert [[f"m{number}"] * 20 + [None] for number in range(64)] == ground.run(test())
