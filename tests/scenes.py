"""A provider, a proxy before it that breaks connections, and who asks: what the tests of faults have in common."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import pytest

from dragoman.adapters.upstream.openai import OpenAIUpstream
from dragoman.model import Timeouts
from dragoman.ports import Chunks, Fault, UpstreamError
from engines import HELLO, LONG, Ground, fault, openai
from fault_proxy import FaultProxy, fault_proxy
from process import LOOPBACK
from sink import Sink, sinking

SHORT: Final = Timeouts(connect=0.4, first_byte=0.4, idle=0.4, total=30.0)

Ask = Callable[[OpenAIUpstream, Timeouts], Awaitable[object]]


async def ask_whole(upstream: OpenAIUpstream, timeouts: Timeouts = LONG) -> Mapping[str, Any]:
    """Ask for a whole answer."""
    return await upstream.chat(HELLO, model="m", timeouts=timeouts)


async def ask_stream(upstream: OpenAIUpstream, timeouts: Timeouts = LONG) -> list[Mapping[str, Any]]:
    """Ask for a stream, and read it to its end."""
    opened = await upstream.chat_stream(HELLO, model="m", timeouts=timeouts)
    try:
        return [one async for batch in opened for one in batch]
    finally:
        await opened.aclose()


in_both_forms: Final = pytest.mark.parametrize("ask", [ask_whole, ask_stream], ids=["whole", "stream"])


@attrs.frozen
class Scene:
    """A provider, the proxy before it, and the upstream that is asked."""

    sink: Sink
    proxy: FaultProxy
    upstream: OpenAIUpstream

    @property
    def attempts(self) -> int:
        """How many requests have arrived."""
        return len(self.sink.requests)


@asynccontextmanager
async def scene(ground: Ground, *quirks: str) -> AsyncIterator[Scene]:
    """Put a proxy between an upstream and its provider until the end of the block."""
    async with (
        sinking() as sink,
        fault_proxy(sink.port) as proxy,
        openai(ground, f"http://{LOOPBACK}:{proxy.port}/v1", *quirks) as upstream,
    ):
        yield Scene(sink, proxy, upstream)


async def timed(asked: Awaitable[object]) -> tuple[UpstreamError, float]:
    """Return how *asked* fails, and after how many seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    raised = await fault(asked)
    return raised, loop.time() - began


async def received(opened: Chunks) -> tuple[list[Mapping[str, Any]], Fault | None]:
    """Return what came of a stream, and its fault, if it has one; it is closed then."""
    came: list[Mapping[str, Any]] = []
    try:
        async for batch in opened:
            came += batch
    except UpstreamError as error:
        return came, error.fault
    else:
        return came, None
    finally:
        await opened.aclose()
