"""How a streamed answer goes out: signs of life, the failure that ends it, and who leaves meanwhile."""

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.ports import Sink
from dragoman.web.context import Watch
from dragoman.web.streaming import send_events


@attrs.define
class Scripted:
    """Fits `Events`: says its pieces, waits, or raises."""

    said: list[bytes | float | Exception]

    async def piece(self) -> bytes:
        """Say what is there."""
        while self.said:
            one = self.said.pop(0)
            if isinstance(one, Exception):
                raise one
            if isinstance(one, bytes):
                return one
            await asyncio.sleep(one)
        return b""

    def divert(self, sink: Sink) -> None:
        """Let nothing go another way."""

    async def aclose(self) -> None:
        """Have nothing to close."""


def sent(*said: bytes | float | Exception, quiet: float = 60.0, stall: float = 0.0) -> list[tuple[bytes, bool]]:
    """Return each piece that goes out, and whether more is to come; a caller who stalls takes so many seconds each."""
    out: list[tuple[bytes, bool]] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        await asyncio.sleep(stall)
        out.append((message["body"], message.get("more_body", False)))

    asyncio.run(send_events(Scripted(list(said)), send, worded=lambda error: repr(error).encode(), quiet=quiet))
    return out


def test_pieces_go_out_as_they_come() -> None:
    """Each piece is a message of its own, and the last message is empty."""
    assert [(b"a", True), (b"b", True), (b"", False)] == sent(b"a", b"b")


@confirms("ADR-0043.R4")
def test_what_fails_is_the_last_event() -> None:
    """The error is worded as one event, and the stream ends behind it."""
    assert [(b"a", True), (b"data: ValueError('x')\n\n", True), (b"", False)] == sent(b"a", ValueError("x"))


def test_who_has_left_is_told_nothing() -> None:
    """Where the caller cannot be reached nothing is worded."""
    with pytest.raises(ConnectionResetError):
        sent(b"a", ConnectionResetError())


@confirms("ADR-0043.R6")
def test_a_silent_stream_shows_that_it_lives() -> None:
    """Comments go out while nothing comes, again and again, and none when something does."""
    out = [body for body, _ in sent(b"a", 0.35, b"b", quiet=0.1)]

    assert (b"a", b"b", b"") == (out[0], out[-2], out[-1])
    assert {b": ping\n\n"} == set(out[1:-2])
    assert len(out) > len("aab")


@confirms("ADR-0043.R6")
def test_what_is_not_silent_needs_no_sign_of_life() -> None:
    """A stream whose events come in time has nothing else in it, and neither has one whose reader is slow."""
    assert [b"a", b"b", b"c", b""] == [body for body, _ in sent(b"a", 0.06, b"b", 0.06, b"c", quiet=0.1)]
    assert [b"a", b"b", b""] == [body for body, _ in sent(b"a", b"b", quiet=0.1, stall=0.25)]


@confirms("ADR-0043.R5")
def test_a_watch_cancels_the_task_of_who_leaves() -> None:
    """The task that began the watch is cancelled when its caller leaves, whatever came of him before."""
    told = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        return told.pop(0)

    async def serve() -> bool:
        watch = Watch(receive)
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return watch.left
        return False

    assert True is asyncio.run(serve())


def test_a_watch_that_is_stopped_cancels_nothing() -> None:
    """Neither before it looks nor while it does anything is cancelled any more."""

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        await asyncio.sleep(0.2)
        return {"type": "http.disconnect"}

    async def serve(seconds: float) -> str:
        watch = Watch(receive)
        await asyncio.sleep(seconds)
        watch.stop()
        await asyncio.sleep(0.3)
        return "served"

    assert ["served"] * 3 == [asyncio.run(serve(seconds)) for seconds in (0.0, 0.07, 0.15)]


@confirms("ADR-0043.R5")
def test_watches_of_one_loop_share_a_timer_and_nothing_else() -> None:
    """Each of several requests is cancelled when its own caller leaves, whenever it began."""
    gone: dict[str, asyncio.Event] = {}

    async def serve(name: str, begins: float) -> str:
        async def receive() -> Any:  # noqa: ANN401 - an ASGI message
            await gone[name].wait()
            return {"type": "http.disconnect"}

        await asyncio.sleep(begins)
        watch = Watch(receive)
        try:
            await asyncio.sleep(0.4)
        except asyncio.CancelledError:
            return "left" if watch.left else "cancelled"
        finally:
            watch.stop()
        return "served"

    async def serve_all() -> Sequence[str]:
        gone.update({name: asyncio.Event() for name in "abc"})
        gone["a"].set()
        gone["c"].set()
        served = await asyncio.gather(serve("a", 0), serve("b", 0.03), serve("c", 0.2))
        await asyncio.sleep(0.2)  # until nobody is waited for any more
        return [*served, await serve("c", 0)]

    assert ["left", "served", "left", "left"] == asyncio.run(serve_all())
