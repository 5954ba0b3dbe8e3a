"""The engines that are tested, each in the loops that it must work in; and what stands behind them.

Laws of this file:
- Every engine passes every test: what is not true of one of them is no promise.
- A connection, a task or a socket that is left behind fails a test: everything is closed in the loop that it was of.
"""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import attrs
import pytest
import uvloop

from dragoman.adapters.upstream.engine import Engine, EngineOf, place_of
from dragoman.adapters.upstream.http1 import Http1Engine
from dragoman.adapters.upstream.httpx_engine import HttpxEngine
from dragoman.adapters.upstream.openai import OpenAIUpstream
from dragoman.adapters.upstream.quirks import all_of
from dragoman.model import Timeouts
from dragoman.ports import UpstreamError

T = TypeVar("T")

NOW: Final = datetime(2026, 6, 14, 12, 0, tzinfo=UTC)
LONG: Final = Timeouts()
"""Deadlines that no test waits for."""

HELLO: Final = {"model": "general", "messages": [{"role": "user", "content": "hello"}]}


@attrs.frozen(kw_only=True)
class Ground:
    """An engine, and the loop that it runs in."""

    engine_of: EngineOf
    loop: Callable[[], asyncio.AbstractEventLoop]

    def run(self, test: Coroutine[Any, Any, T]) -> T:
        """Run *test* in a loop of its own; what it leaves open is an error, as every warning is."""
        with asyncio.Runner(loop_factory=self.loop, debug=False) as runner:
            outcome = runner.run(test)
        gc.collect(1)  # what a test made is young
        return outcome


GROUNDS: Final = {
    "http1-uvloop": Ground(engine_of=Http1Engine, loop=uvloop.new_event_loop),
    "http1-asyncio": Ground(engine_of=Http1Engine, loop=asyncio.SelectorEventLoop),
    "httpx-uvloop": Ground(engine_of=HttpxEngine, loop=uvloop.new_event_loop),
}

on_every_engine: Final = pytest.mark.parametrize("ground", GROUNDS.values(), ids=GROUNDS)

on_http1: Final = pytest.mark.parametrize(
    "ground", [pytest.param(ground, id=name) for name, ground in GROUNDS.items() if ground.engine_of is Http1Engine]
)
"""For what httpx does otherwise; each test that is marked so says what that is."""


@asynccontextmanager
async def engine(
    ground: Ground, base_url: str, tls: ssl.SSLContext | None = None, *, capacity: int = 256
) -> AsyncIterator[Engine]:
    """Send to *base_url* until the end of the block."""
    headers = {"authorization": "Bearer upstream-key", "accept-encoding": "identity", "user-agent": "dragoman/0"}
    made = ground.engine_of(place_of(base_url, headers=headers, private=True, capacity=capacity), tls)
    try:
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def openai(ground: Ground, base_url: str, *quirks: str) -> AsyncIterator[OpenAIUpstream]:
    """Ask the server at *base_url* until the end of the block."""
    async with engine(ground, base_url) as made:
        yield OpenAIUpstream(engine=made, quirk=all_of(quirks), now=lambda: NOW)


async def fault(asked: Awaitable[object]) -> UpstreamError:
    """Return how *asked* fails."""
    with pytest.raises(UpstreamError) as raised:
        await asked
    return raised.value


async def until(true: Callable[[], bool], patience: float = 1.0) -> float:
    """Return after how many seconds it is *true*; fail when *patience* is over."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not true():
        assert loop.time() - began < patience, "it has not become true"
        await asyncio.sleep(0.002)
    return loop.time() - began
