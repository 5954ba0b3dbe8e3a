"""The provider `scripted`: the model name says how it behaves, and misbehaves (ADR-0038).

It is for tests, ours and those of whoever runs a gateway: an alias whose target is `limited:7` of a provider of this
kind is answered as if that provider were over its limit, and asked to be left alone for seven seconds.

Laws of this file:
- A behaviour is a function of the request and of what stands behind the colon of its name; nothing is kept between two
  requests.
- Until it misbehaves it says what `echo` says.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from dragoman.adapters.upstream.echo import echoed, embedded, spent, spoken, usage, words
from dragoman.adapters.upstream.played import FOREVER, Choice, Document, PlayedChunks, Reply, Script
from dragoman.model import Timeouts
from dragoman.ports import Fault, UpstreamError

_LONGEST: Final = 3600.0
_MOST: Final = 100_000
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_WORD: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)


class _UnknownBehaviourError(Exception):
    """A model name that says nothing."""


@attrs.frozen(kw_only=True)
class Call:
    """What a behaviour is made from: the request, and the *argument* behind the colon, if there is one."""

    document: Document
    model: str
    argument: str | None

    def reply(self) -> Reply:
        """Return what `echo` would say."""
        return echoed(self.document, self.model)

    def says(self, choice: Choice) -> Script:
        """Return what says *choice*."""
        return Script(reply=Reply(model=self.model, choices=[choice], usage=usage(1, spent(choice))))

    def seconds(self, otherwise: float) -> float:
        """Return the argument as seconds."""
        return min(float(self._stated(_SECONDS) or otherwise), _LONGEST)

    def number(self, otherwise: int) -> int:
        """Return the argument as a number."""
        return min(int(self._stated(_NUMBER) or otherwise), _MOST)

    def word(self, otherwise: str) -> str:
        """Return the argument as a word."""
        return self._stated(_WORD) or otherwise

    def fails(self, fault: Fault, *, after: int = 0, **told: Any) -> Script:  # noqa: ANN401 - of `UpstreamError`
        """Return what fails *after* so many chunks."""
        return Script(reply=self.reply(), breaks=after, fault=fault, told=told)

    def _stated(self, form: re.Pattern[str]) -> str | None:
        if self.argument is not None and not form.fullmatch(self.argument):
            raise _UnknownBehaviourError
        return self.argument


def _ok(call: Call) -> Script:
    """Answers as `echo` does."""
    return Script(reply=call.reply())


def _slow_first_byte(call: Call) -> Script:
    """Waits before it answers: a second, or so many as the argument says."""
    return Script(reply=call.reply(), delay=call.seconds(1.0))


def _slow_stream(call: Call) -> Script:
    """Waits before each chunk but the first: a tenth of a second, or so many seconds as the argument says."""
    return Script(reply=call.reply(), pause=call.seconds(0.1))


def _long(call: Call) -> Script:
    """Says a thousand words, or so many as the argument says."""
    return call.says(spoken(["word", *[" word"] * (call.number(1000) - 1)]))


def _cut(call: Call) -> Script:
    """Breaks off after two chunks, or so many as the argument says."""
    return call.fails(Fault.CUT, after=call.number(2), status=200)


def _garbage(call: Call) -> Script:
    """Sends what is no answer, at once, or after so many chunks as the argument says."""
    return call.fails(Fault.GARBLED, after=call.number(0), status=200)


def _huge_event(call: Call) -> Script:
    """Sends more than is read, after one chunk, or so many as the argument says."""
    return call.fails(Fault.TOO_LARGE, after=call.number(1), status=200)


def _error_event(call: Call) -> Script:
    """Tells of an error inside of its stream, after one chunk, or so many as the argument says."""
    return call.fails(Fault.FAILED, after=call.number(1))


def _hang(call: Call) -> Script:
    """Says nothing more, from the beginning, or after so many chunks as the argument says."""
    return Script(reply=call.reply(), breaks=call.number(0), stall=FOREVER, fault=Fault.TIMEOUT)


def _reset(call: Call) -> Script:
    """Resets the connection before it answers."""
    return call.fails(Fault.UNREACHABLE)


def _limited(call: Call) -> Script:
    """Is over its limit: 429, and asks to wait for a second, or so many as the argument says."""
    return call.fails(Fault.LIMITED, status=429, retry_after=call.seconds(1.0))


def _unavailable(call: Call) -> Script:
    """Fails with 503, or the status that the argument says."""
    return call.fails(Fault.FAILED, status=call.number(503))


def _denied(call: Call) -> Script:
    """Does not accept the gateway's own key: 401, or the status that the argument says."""
    return call.fails(Fault.DENIED, status=call.number(401))


def _rejected(call: Call) -> Script:
    """Does not accept the request: 400 with the code `context_length_exceeded`, or the one that the argument says."""
    return call.fails(Fault.REJECTED, status=400, code=call.word("context_length_exceeded"), param="messages")


def _tool_call(call: Call) -> Script:
    """Calls `get_weather`, or the function that the argument names, with its arguments in pieces."""
    begun = _begun(0, call.word("get_weather"))
    return call.says(_calling([begun, *(_argued(0, text) for text in ('{"ci', 'ty":', '"Paris"}'))]))


def _parallel_tools(call: Call) -> Script:
    """Calls `get_weather` twice at once, with the pieces of the arguments among each other."""
    begun = [_begun(0, "get_weather"), _begun(1, "get_weather")]
    pieces = [_argued(0, '{"city":"Pa'), _argued(1, '{"city":"Os'), _argued(0, 'ris"}'), _argued(1, 'lo"}')]
    return call.says(_calling([*begun, *pieces]))


def _begun(index: int, name: str) -> Document:
    called = {"name": name, "arguments": ""}
    return {"index": index, "id": f"call_dragoman_{index}", "type": "function", "function": called}


def _argued(index: int, text: str) -> Document:
    return {"index": index, "function": {"arguments": text}}


def _calling(fragments: Sequence[Document]) -> Choice:
    return Choice(deltas=[{"tool_calls": [fragment]} for fragment in fragments], finish="tool_calls")


def _json(call: Call) -> Script:
    """Says a JSON object."""
    return call.says(spoken(words('{"answer": 42, "sure": true}')))


def _no_usage(call: Call) -> Script:
    """Says nothing of its usage."""
    return Script(reply=attrs.evolve(call.reply(), usage=None))


def _empty(call: Call) -> Script:
    """Says nothing at all, and finishes."""
    return call.says(spoken([]))


def _refusal(call: Call) -> Script:
    """Refuses to answer, in the member that is there for it."""
    return call.says(Choice(deltas=[{"refusal": word} for word in words("I cannot help with that.")]))


def _length(call: Call) -> Script:
    """Has no room for more."""
    return call.says(spoken(words("This is as far as"), finish="length"))


def _filtered(call: Call) -> Script:
    """Is kept from going on by a filter of its own."""
    return call.says(spoken(words("This is where"), finish="content_filter"))


BEHAVIOURS: Final[Mapping[str, Callable[[Call], Script]]] = {
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
"""Model name, up to its colon -> how it behaves."""


class ScriptedUpstream:
    """Fits the port `Upstream`."""

    async def chat(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a whole chat completion, or fail as *model* says."""
        return await _script(document, model).whole(timeouts)

    async def chat_stream(self, document: Document, *, model: str, timeouts: Timeouts) -> PlayedChunks:
        """Return a chat completion in chunks, or fail as *model* says."""
        return await _script(document, model).stream(timeouts)

    async def embed(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a list of embeddings, or fail as *model* says."""
        await _script({"messages": []}, model).whole(timeouts)
        return embedded(document, model)


def _script(document: Document, model: str) -> Script:
    """Return what the behaviour that *model* names does with *document*."""
    name, colon, argument = model.partition(":")
    behaviour = BEHAVIOURS.get(name)
    try:
        if behaviour is not None:
            return behaviour(Call(document=document, model=model, argument=argument if colon else None))
    except _UnknownBehaviourError:
        pass  # the argument is none of its kind
    raise UpstreamError(Fault.REJECTED, status=404)
