"""Answers of upstreams that are a part of the gateway: chunks, pauses and faults, one step after the other.

Laws of this file:
- An answer is the same whole and streamed: the whole one is put together from the chunks.
- Deadlines count as they do for a server: the first byte of a whole answer is its last one.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import attrs

from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError
from dragoman.translate.completion import assemble

Document = Mapping[str, Any]

_ENVELOPE: Final[Document] = {"id": "chatcmpl-dragoman", "object": "chat.completion.chunk", "created": 0}


@attrs.frozen
class Pause:
    """Nothing comes for some *seconds*."""

    seconds: float


Step = Document | Pause | UpstreamError
"""A chunk, a pause, or how the answer fails."""


@attrs.frozen(kw_only=True)
class Choice:
    """One answer: what it adds to the message, piece by piece, and why it ends."""

    deltas: Sequence[Document]
    finish: str = "stop"


def chunks_of(choices: Iterable[Choice], *, model: str, usage: Document) -> list[Step]:
    """Return the chunks that say *choices*, one after the other, and then *usage*."""

    def chunk(index: int, delta: Document, finish: str | None = None) -> Document:
        piece = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**_ENVELOPE, "model": model, "choices": [piece]}

    steps: list[Step] = []
    for index, choice in enumerate(choices):
        steps.append(chunk(index, {"role": "assistant"}))
        steps += [chunk(index, delta) for delta in choice.deltas]
        steps.append(chunk(index, {}, choice.finish))
    return [*steps, {**_ENVELOPE, "model": model, "choices": [], "usage": usage}]


async def whole_of(steps: Iterable[Step], timeouts: Timeouts) -> Document:
    """Return the completion that *steps* are, when all of them are over."""
    left = min(timeouts.first_byte, timeouts.total)
    chunks: list[Document] = []
    for step in steps:
        match step:
            case Pause(seconds):
                await _pause(seconds, left)
                left -= seconds
            case UpstreamError():
                raise step
            case _:
                chunks.append(step)
    await asyncio.sleep(0)
    return assemble(chunks)


class SteppedChunks:
    """Fits the port `Chunks`: a chunk at a time, as *steps* say."""

    def __init__(self, steps: Iterable[Step], timeouts: Timeouts) -> None:
        """Take *steps*; the clock runs from now on."""
        self._steps: Iterator[Step] | None = iter(steps)
        self._timeouts = timeouts
        self._left = timeouts.total
        self._first: list[Document] | None = None

    async def begin(self) -> Self:
        """Return this, when its first chunk is there."""
        self._first = [await self._chunk(self._timeouts.first_byte)]
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Document]:
        """Return the next chunk."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        await asyncio.sleep(0)
        return [await self._chunk(self._timeouts.idle)]

    async def aclose(self) -> None:
        """Give nothing more."""
        self._steps = self._first = None

    async def _chunk(self, patience: float) -> Document:
        """Return the next chunk, if it comes within *patience*, in seconds."""
        for step in self._steps or ():
            match step:
                case Pause(seconds):
                    await _pause(seconds, min(patience, self._left))
                    patience -= seconds
                    self._left -= seconds
                case UpstreamError():
                    self._steps = None
                    raise step
                case _:
                    return step
        raise StopAsyncIteration


async def _pause(seconds: float, patience: float) -> None:
    if seconds > patience:
        await asyncio.sleep(max(0.0, patience))
        raise UpstreamError(Fault.TIMEOUT)
    await asyncio.sleep(seconds)
