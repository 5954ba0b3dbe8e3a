"""Answers of upstreams that are a part of the gateway: what is said, and what goes wrong on the way.

Laws of this file:
- An answer says the same whole and streamed.
- Deadlines count as they do for a server: the first byte of a whole answer comes when all of it is ready.
- Chunks are made when they are taken, so that a long answer takes no room.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Self

import attrs

from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError

Document = Mapping[str, Any]

_ID: Final = "chatcmpl-dragoman"

FOREVER: Final = float("inf")
"""For ever, in seconds."""

_TEXTS: Final = frozenset({"content", "refusal", "arguments", "input"})
"""Members of a message that come in pieces."""


@attrs.frozen(kw_only=True)
class Choice:
    """One of the answers: the *deltas* that say it, and why it ends."""

    deltas: Sequence[Document]
    finish: str = "stop"

    def message(self) -> Document:
        """Return the message that the deltas say."""
        texts: dict[str, list[str]] = {}
        calls: dict[int, list[Document]] = {}
        message: dict[str, Any] = {"role": "assistant", "content": None}
        for delta in self.deltas:
            for name, said in delta.items():
                if name == "tool_calls":
                    for fragment in said:
                        calls.setdefault(fragment["index"], []).append(fragment)
                elif name in _TEXTS:
                    texts.setdefault(name, []).append(said)
                else:
                    message[name] = said
        message |= {name: "".join(pieces) for name, pieces in texts.items()}
        if calls:
            message["tool_calls"] = [_call(fragments) for fragments in calls.values()]
        return message


def _call(fragments: Sequence[Document]) -> Document:
    """Return the call that *fragments* are; the first one has its name."""
    first = fragments[0]
    kind = first["type"]
    called = dict(first[kind])
    for name in _TEXTS & called.keys():
        called[name] = "".join(fragment[kind][name] for fragment in fragments)
    return {"id": first["id"], "type": kind, kind: called}


@attrs.frozen(kw_only=True)
class Reply:
    """A whole answer: its choices, and the usage, None where none is told."""

    model: str
    choices: Sequence[Choice]
    usage: Document | None

    def __len__(self) -> int:
        """How many chunks say it."""
        return sum(len(choice.deltas) + 2 for choice in self.choices) + (self.usage is not None)

    def whole(self) -> Document:
        """Return it as a completion."""
        choices = [
            {"index": index, "message": choice.message(), "logprobs": None, "finish_reason": choice.finish}
            for index, choice in enumerate(self.choices)
        ]
        whole = {"id": _ID, "object": "chat.completion", "created": 0, "model": self.model, "choices": choices}
        return whole if self.usage is None else {**whole, "usage": self.usage}

    def chunks(self) -> Iterator[Document]:
        """Yield it as chunks, one choice after the other."""
        for index, choice in enumerate(self.choices):
            yield self._chunk(_piece(index, {"role": "assistant"}))
            for delta in choice.deltas:
                yield self._chunk(_piece(index, delta))
            yield self._chunk(_piece(index, {}, choice.finish))
        if self.usage is not None:
            yield {**self._chunk(), "usage": self.usage}

    def _chunk(self, *pieces: Document) -> Document:
        made = {"id": _ID, "object": "chat.completion.chunk", "created": 0, "model": self.model}
        return {**made, "choices": list(pieces)}


def _piece(index: int, delta: Document, finish: str | None = None) -> Document:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


@attrs.frozen(kw_only=True)
class Script:
    """How *reply* is given.

    Before its first chunk there is a *delay*, before each other one a *pause*, in seconds. After so many chunks as
    *breaks* says, if it does, nothing comes for the time of a *stall*, and then the *fault*.
    """

    reply: Reply
    delay: float = 0.0
    pause: float = 0.0
    breaks: int | None = None
    stall: float = 0.0
    fault: Fault = Fault.CUT
    told: Mapping[str, Any] = attrs.field(factory=dict)
    """What else is known of the fault."""

    async def whole(self, timeouts: Timeouts) -> Document:
        """Return the whole reply, after all the time that it takes."""
        count = len(self.reply)
        given = count if self.breaks is None else min(self.breaks, count)
        duration = self.delay + self.pause * max(0, given - 1) + (0.0 if self.breaks is None else self.stall)
        await _wait(duration, min(timeouts.first_byte, timeouts.total))
        self.require_sound()
        return self.reply.whole()

    def require_sound(self) -> None:
        """Raise the fault, if there is one."""
        if self.breaks is not None:
            raise UpstreamError(self.fault, **self.told)

    async def stream(self, timeouts: Timeouts) -> "PlayedChunks":
        """Return the chunks of the reply, as soon as the first one is there."""
        return await PlayedChunks(self, timeouts).begin()


class PlayedChunks:
    """Fits the port `Chunks`: what a *script* gives, a chunk at a time."""

    def __init__(self, script: Script, timeouts: Timeouts) -> None:
        """Give what *script* says; the clock runs from now on."""
        self._script = script
        self._timeouts = timeouts
        self._left = timeouts.total
        self._chunks: Iterable[Document] = iter(islice(script.reply.chunks(), script.breaks))
        self._first: Document | None = None

    async def begin(self) -> Self:
        """Return this, when its first chunk is there."""
        await self._wait(self._script.delay, self._timeouts.first_byte)
        self._first = await self._next(self._timeouts.first_byte - self._script.delay)
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Document]:
        """Return the next chunk."""
        if self._first is not None:
            first, self._first = self._first, None
            return [first]
        await self._wait(self._script.pause, self._timeouts.idle)
        return [await self._next(self._timeouts.idle - self._script.pause)]

    async def aclose(self) -> None:
        """Give nothing more."""
        self._chunks, self._first = (), None

    async def _next(self, patience: float) -> Document:
        for chunk in self._chunks:
            return chunk
        if self._script.breaks is not None:
            await self._wait(self._script.stall, patience)
            self._script.require_sound()
        raise StopAsyncIteration

    async def _wait(self, seconds: float, patience: float) -> None:
        await _wait(seconds, min(patience, self._left))
        self._left -= seconds


async def _wait(seconds: float, patience: float) -> None:
    """Wait for *seconds*, or fail when *patience* ends before."""
    if seconds > patience:
        await asyncio.sleep(max(0.0, patience))
        raise UpstreamError(Fault.TIMEOUT)
    await asyncio.sleep(seconds)
