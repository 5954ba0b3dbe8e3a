"""A streamed answer, on its way through a screen, chunk by chunk (ADR-0037).

Laws of this file:
- What comes out of a stream, put together, is what `screen_output` makes of the whole answer.
- Texts go out as soon as they are certain, each choice and each member on its own. The arguments of calls are kept
  until their choice ends: what they say is only known then, and nobody can use them before.
- The end of a choice comes behind all its texts.
- Documents that come in are never changed; one that need not be changed goes out itself.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from dragoman.guardrails.arguments import mask_arguments
from dragoman.guardrails.document import mask_document
from dragoman.guardrails.screen import Screen
from dragoman.guardrails.texts import LOGPROBS, is_name
from dragoman.guardrails.verdict import Tally, Verdict
from dragoman.guardrails.window import Window, mask

Document = Mapping[str, Any]

_OF_CHUNK: Final = frozenset(
    {"choices", "created", "id", "model", "object", "obfuscation", "service_tier", "system_fingerprint", "usage"}
)
"""Members of a chunk that are no texts."""

_OF_CHOICE: Final = frozenset({"delta", "finish_reason", "index", LOGPROBS})

_CALLS: Final = {"function": "arguments", "custom": "input"}
"""Kind of a call -> the member that holds what it is called with."""


@attrs.define
class _Call:
    """What a call of this *kind* is called with, as far as it has come."""

    kind: str
    pieces: list[str] = attrs.field(factory=list, repr=False)


class StreamScreen:
    """What the chunks of one answer go through.

    Where webhooks watch, *seen* keeps what they are asked about (`end_stream`), and nothing leaves before they have
    answered, unless all that watches only flags.
    """

    def __init__(self, screen: Screen) -> None:
        """Take a screen for the output."""
        self.screen = screen
        self.seen: list[Document] = []
        self._tally = Tally()
        self._choices: dict[object, _Choice] = {}
        self._last: Document = {}

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What was found so far."""
        return self.screen.verdicts(self._tally)

    @property
    def not_scanned(self) -> int:
        """How much of what came was no text."""
        return self._tally.not_scanned

    def feed(self, chunk: Document) -> Sequence[Document]:
        """Return the chunks that may go out now that *chunk* has come.

        Raises:
            Blocked: the answer must not go on; what was held is gone.
        """
        self._last = chunk
        passing = self._pass(chunk)
        if not self.screen.webhooks:
            return passing
        self.seen += passing
        return () if self.screen.holds else passing

    def end(self) -> Sequence[Document]:
        """Return what is left, where the answer ends without the end of each choice.

        Raises:
            Blocked: see `feed`.
        """
        return [self._alone(index, delta) for index, choice in self._choices.items() if (delta := choice.end())]

    def _pass(self, chunk: Document) -> list[Document]:
        choices = chunk.get("choices")
        if not chunk.keys() <= _OF_CHUNK:
            chunk = self._mask_others(chunk, _OF_CHUNK)
        if not choices or type(choices) is not list:
            return [chunk]
        before: list[Document] = []
        passing: list[Document] = []
        for choice in choices:
            passing += self._pass_choice(choice, before)
        if len(passing) == len(choices) and all(map(operator.is_, passing, choices)):  # PERF: nothing is held
            return [*before, chunk]
        if passing or chunk.get("usage") is not None:
            return [*before, {**chunk, "choices": passing}]
        return before

    def _pass_choice(self, choice: Document, before: list[Document]) -> Sequence[Document]:
        """Return what of *choice* may go out, if anything; what has to go before it is added to *before*."""
        if not choice.keys() <= _OF_CHOICE:
            choice = self._mask_others(choice, _OF_CHOICE)
        if self.screen.holds and choice.get(LOGPROBS) is not None:
            choice = {**choice, LOGPROBS: None}
        delta = choice.get("delta")
        index = choice.get("index", 0)
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(self.screen, self._tally)
        passing = state.feed(delta) if delta else delta
        if choice.get("finish_reason") is None:
            if passing == delta:
                return (choice,)
            return ({**choice, "delta": passing},) if passing else ()
        rest = _joined(passing or {}, state.end())
        if rest == (delta or {}):
            return (choice,)
        if rest:
            before.append(self._alone(index, rest))
        return ({**choice, "delta": {}},)

    def _mask_others(self, document: Document, known: frozenset[str]) -> Document:
        """Return *document* with its members that are not *known* masked, which come whole."""
        others = {member: value for member, value in document.items() if member not in known}
        masked = mask_document(self.screen, others, self._tally)
        return document if masked is others else {**document, **masked}

    def _alone(self, index: object, delta: Document) -> Document:
        """Return a chunk of the answer that has *delta* only."""
        chunk = {member: self._last[member] for member in self._last if member in _OF_CHUNK}
        if "usage" in chunk:
            chunk["usage"] = None
        return {**chunk, "choices": [{"index": index, "delta": delta, "finish_reason": None}]}


def _joined(first: Document, second: Document) -> Document:
    """Return two deltas as one."""
    joined = dict(first)
    for member, value in second.items():
        before = joined.get(member)
        if not before:
            joined[member] = value
        elif type(value) is dict:
            joined[member] = {**before, **value}
        else:
            joined[member] = before + value
    return joined


class _Choice:
    """The texts of one choice."""

    def __init__(self, screen: Screen, tally: Tally) -> None:
        self._screen = screen
        self._tally = tally
        self._windows: dict[str, Window] = {}
        self._calls: dict[object, _Call] = {}
        self._called: _Call | None = None
        self._odd: set[str] = set()

    def feed(self, delta: Document) -> Document:
        """Return what of *delta* may go out."""
        passing: dict[str, Any] = {}
        for member, value in delta.items():
            if type(value) is str and value and not is_name(member, value):
                window = self._windows.get(member)
                if window is None:
                    window = self._windows[member] = Window(self._screen, self._tally)
                if text := window.feed(value):
                    passing[member] = text
            elif member == "tool_calls" and type(value) is list:
                if calls := [bare for number, call in enumerate(value) if (bare := self._keep(call, number))]:
                    passing[member] = calls
            elif member == "function_call" and type(value) is dict:
                if called := self._keep_called(value):
                    passing[member] = called
            elif type(value) is dict or type(value) is list:
                passing[member] = self._mask_odd(member, value)
            else:
                passing[member] = value
        return passing

    def end(self) -> Document:
        """Return the delta that is left, and begin anew."""
        rest: dict[str, Any] = {member: text for member, window in self._windows.items() if (text := window.end())}
        calls = [
            {"index": index, call.kind: {_CALLS[call.kind]: text}}
            for index, call in self._calls.items()
            if (text := self._said(call))
        ]
        if calls:
            rest["tool_calls"] = calls
        if self._called is not None and (text := self._said(self._called)):
            rest["function_call"] = {"arguments": text}
        self._windows.clear()
        self._calls.clear()
        self._called = None
        return rest if self._screen.holds else {}

    def _keep(self, fragment: Document, number: int) -> Document | None:
        """Keep what a call is called with, and return the rest of its *fragment*, if that tells anything."""
        kind = next((kind for kind in _CALLS if type(fragment.get(kind)) is dict), None)
        if kind is None:
            masked: Document = self._mask_odd("tool_calls", fragment)
            return masked
        body, member = fragment[kind], _CALLS[kind]
        index = fragment.get("index", number)
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _Call(kind)
        if not self._is_kept(body.get(member), call):
            return fragment
        told = [value for key, value in fragment.items() if key not in {"index", "type", kind}]
        told += [value for key, value in body.items() if key != member]
        return {**fragment, kind: {**body, member: ""}} if any(told) else None

    def _keep_called(self, body: Document) -> Document:
        """Do the same with a call of the older kind, of which a choice has one."""
        if self._called is None:
            self._called = _Call("function")
        if not self._is_kept(body.get("arguments"), self._called):
            return body
        return {**body, "arguments": ""} if body.get("name") else {}

    def _is_kept(self, text: object, call: _Call) -> bool:
        """Whether *text*, if it is one, is kept with its *call*. What is only looked at goes on, too."""
        if type(text) is not str or not text:
            return False
        call.pieces.append(text)
        return self._screen.holds

    def _said(self, call: _Call) -> str:
        text = "".join(call.pieces)
        return (mask_arguments if call.kind == "function" else mask)(self._screen, text, self._tally)

    def _mask_odd(self, member: str, value: Any) -> Any:  # noqa: ANN401 - a document of JSON
        """Return *value*, of a form that is not known, masked by itself: how it goes on nobody knows, so it counts."""
        if member not in self._odd:
            self._odd.add(member)
            self._tally.not_scanned += 1
        return mask_document(self._screen, {member: value}, self._tally)[member]
