"""The provider `scripted`: the model name says how it behaves, and misbehaves (ADR-0038).

It is for tests, ours and those of whoever runs a gateway: an alias whose target is `limited:7` of a provider of this
kind is answered 429, with `Retry-After: 7`, as if its provider were over its limit.

Laws of this file:
- A behaviour is a function of the request and of what stands behind the colon of its name; nothing is kept between two
  requests.
- Until it misbehaves it says what `echo` says.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from dragoman.adapters.upstream.echo import echoed, embedded, spoken, usage, words
from dragoman.adapters.upstream.stepped import (
    Choice,
    Document,
    Pause,
    Step,
    SteppedChunks,
    chunks_of,
    whole_of,
)
from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError

_FOREVER: Final = float("inf")
_LONGEST: Final = 3600.0
_MOST: Final = 1_000_000


@attrs.frozen(kw_only=True)
class Call:
    """What a behaviour is made from: the request, and the *argument* behind the colon, if there is one."""

    document: Document
    model: str
    argument: str | None

    @property
    def steps(self) -> list[Step]:
        """What `echo` would say."""
        return echoed(self.document, self.model)

    def says(self, choice: Choice) -> list[Step]:
        """Return the chunks that say *choice*."""
        return chunks_of([choice], model=self.model, usage=usage(1, len(choice.deltas)))

    def seconds(self, otherwise: float) -> float:
        """Return the argument as seconds."""
        return min(float(self.argument or otherwise), _LONGEST)

    def number(self, otherwise: int) -> int:
        """Return the argument as a number."""
        return min(int(self.argument or otherwise), _MOST)

    def until(self, otherwise: int, fault: UpstreamError | Pause) -> list[Step]:
        """Return so many chunks as the argument says, and then the *fault*."""
        return [*self.steps[: self.number(otherwise)], fault]


def _ok(call: Call) -> list[Step]:
    """Answers as `echo` does."""
    return call.steps


def _slow_first_byte(call: Call) -> list[Step]:
    """Waits before it answers; the argument is in seconds, 1 unless it is said."""
    return [Pause(call.seconds(1.0)), *call.steps]


def _slow_stream(call: Call) -> list[Step]:
    """Waits before each chunk but the first; the argument is in seconds, 0.1 unless it is said."""
    first, *rest = call.steps
    pause = Pause(call.seconds(0.1))
    return [first, *(step for chunk in rest for step in (pause, chunk))]


def _long(call: Call) -> list[Step]:
    """Says so many words as the argument says, 1000 unless it does."""
    return call.says(spoken(["word", *[" word"] * (call.number(1000) - 1)]))


def _cut(call: Call) -> list[Step]:
    """Breaks off after so many chunks as the argument says, 2 unless it does."""
    return call.until(2, UpstreamError(Fault.CUT, status=200))


def _garbage(call: Call) -> list[Step]:
    """Sends what is no answer after so many chunks as the argument says, 0 unless it does."""
    return call.until(0, UpstreamError(Fault.GARBLED, status=200))


def _huge_event(call: Call) -> list[Step]:
    """Sends more than is read after so many chunks as the argument says, 1 unless it does."""
    return call.until(1, UpstreamError(Fault.TOO_LARGE, status=200))


def _error_event(call: Call) -> list[Step]:
    """Tells of an error inside its stream after so many chunks as the argument says, 1 unless it does."""
    return call.until(1, UpstreamError(Fault.FAILED))


def _hang(call: Call) -> list[Step]:
    """Says nothing more after so many chunks as the argument says, 0 unless it does."""
    return call.until(0, Pause(_FOREVER))


def _reset(_: Call) -> list[Step]:
    """Resets the connection before it answers."""
    return [UpstreamError(Fault.UNREACHABLE)]


def _limited(call: Call) -> list[Step]:
    """Is over its limit: 429; the argument is its `Retry-After` in seconds, 1 unless it is said."""
    return [UpstreamError(Fault.LIMITED, status=429, retry_after=call.seconds(1.0))]


def _unavailable(call: Call) -> list[Step]:
    """Fails; the argument is its status, 503 unless it is said."""
    return [UpstreamError(Fault.FAILED, status=call.number(503))]


def _denied(call: Call) -> list[Step]:
    """Does not accept the gateway's key; the argument is its status, 401 unless it is said."""
    return [UpstreamError(Fault.DENIED, status=call.number(401))]


def _rejected(call: Call) -> list[Step]:
    """Does not accept the request: 400; the argument is its code, `context_length_exceeded` unless it is said."""
    code = call.argument or "context_length_exceeded"
    return [UpstreamError(Fault.REJECTED, status=400, code=code, param="messages")]


def _tool_call(call: Call) -> list[Step]:
    """Calls a tool, with its arguments in pieces."""
    function = {"name": "get_weather", "arguments": ""}
    begun = {"index": 0, "id": "call_dragoman_0", "type": "function", "function": function}
    pieces = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"ci', 'ty":', '"Paris"}')]
    return call.says(_fragmented([begun, *pieces]))


def _parallel_tools(call: Call) -> list[Step]:
    """Calls two tools, with the pieces of their arguments among each other."""
    cities = ("Paris", "Oslo")
    begun = [
        {"index": index, "id": f"call_dragoman_{index}", "type": "function", "function": named}
        for index, named in enumerate([{"name": "get_weather", "arguments": ""}] * len(cities))
    ]
    texts = [[f'{{"city":"{city}', '"}'] for city in cities]
    pieces = [
        {"index": index, "function": {"arguments": texts[index][part]}} for part in range(2) for index in range(2)
    ]
    return call.says(_fragmented([*begun, *pieces]))


def _fragmented(fragments: list[Document]) -> Choice:
    return Choice(deltas=[{"tool_calls": [fragment]} for fragment in fragments], finish="tool_calls")


def _json(call: Call) -> list[Step]:
    """Says a JSON object."""
    return call.says(spoken(words('{"answer": 42, "sure": true}')))


def _no_usage(call: Call) -> list[Step]:
    """Says nothing of its usage."""
    return call.steps[:-1]


def _empty(call: Call) -> list[Step]:
    """Says nothing at all, and finishes."""
    return call.says(spoken([]))


def _refusal(call: Call) -> list[Step]:
    """Refuses to answer, in the member that is there for it."""
    return call.says(Choice(deltas=[{"refusal": word} for word in words("I cannot help with that.")]))


def _length(call: Call) -> list[Step]:
    """Has no room for more."""
    return call.says(spoken(words("This is as far as"), finish="length"))


def _filtered(call: Call) -> list[Step]:
    """Is kept from going on by a filter of its own."""
    return call.says(spoken(words("This is where"), finish="content_filter"))


BEHAVIOURS: Final[Mapping[str, Callable[[Call], list[Step]]]] = {
    "ok": _ok,
    "slow-first-byte": _slow_first_byte,
    "slow-stream": _slow_stream,
    "long": _long,
    "cut": _cut,
    "garbage": _garbage,
    "huge-event": _huge_event,
    "error-event": _error_event,
    "hang": _hang,
    "reset": _reset,
    "limited": _limited,
    "unavailable": _unavailable,
    "denied": _denied,
    "rejected": _rejected,
    "tool-call": _tool_call,
    "parallel-tools": _parallel_tools,
    "json": _json,
    "no-usage": _no_usage,
    "empty": _empty,
    "refusal": _refusal,
    "length": _length,
    "filtered": _filtered,
}
"""Model name -> how it behaves."""


class ScriptedUpstream:
    """Fits the port `Upstream`."""

    async def chat(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a whole chat completion, or fail as *model* says."""
        return await whole_of(_script(document, model), timeouts)

    async def chat_stream(self, document: Document, *, model: str, timeouts: Timeouts) -> SteppedChunks:
        """Return a chat completion in chunks, or fail as *model* says."""
        return await SteppedChunks(_script(document, model), timeouts).begin()

    async def embed(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a list of embeddings, or fail as *model* says."""
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": ""}]}
        await whole_of(_script(asked, model), timeouts)
        return embedded(document, model)


def _script(document: Document, model: str) -> list[Step]:
    """Return what the behaviour named *model* does with *document*."""
    name, colon, argument = model.partition(":")
    behaviour = BEHAVIOURS.get(name)
    if behaviour is not None:
        try:
            return behaviour(Call(document=document, model=model, argument=argument if colon else None))
        except ValueError:
            pass  # the argument is none of the kind
    raise UpstreamError(Fault.REJECTED, status=404)
