"""Tool calls, whole and in fragments.

Laws of this file:
- A call that goes out is complete: its first fragment has index, id, type and name, and later ones only add text.
- Calls are numbered here, from zero and without gaps, in the order in which they begin.
"""

from typing import Final

import attrs

from dragoman.translate.grammar import reject
from dragoman.translate.shapes import Document, array_of, count_of, object_of, text_of

TEXTS: Final = {"function": "arguments", "custom": "input"}
"""Kind of tool -> the member that holds what it is called with."""


@attrs.frozen(kw_only=True)
class _Call:
    """A call that has begun: its *index* here, its *kind*, and the *id* that the upstream gave it, if it did."""

    index: int
    kind: str
    id: str | None


@attrs.define(kw_only=True)
class _Fragment:
    """What an upstream has said of a call in one chunk; None for what it left open."""

    index: int | None
    id: str | None
    kind: str
    name: str | None
    text: str


@attrs.define(kw_only=True)
class Calls:
    """The tool calls of one *choice* in the stream *id*, and the older function call, of which there is but one.

    *text_length* counts the characters that they are called with.
    """

    id: str
    choice: int
    text_length: int = attrs.field(default=0, init=False)
    _begun: list[_Call] = attrs.field(factory=list, init=False)
    _by_index: dict[int, _Call] = attrs.field(factory=dict, init=False)
    _by_id: dict[str, _Call] = attrs.field(factory=dict, init=False)
    _function_named: bool = attrs.field(default=False, init=False)

    def feed(self, stated: object) -> list[Document]:
        """Return the fragments that go out for those *stated* in one chunk.

        Raises:
            GrammarError: for what are no fragments, or go on with a call that has not begun.
        """
        stated = array_of(stated, "tool calls")
        return [one for fragment in stated if (one := self._feed_one(_fragment_of(fragment))) is not None]

    def feed_function(self, stated: object) -> Document | None:
        """Return what goes out for a piece of the function call."""
        stated = object_of(stated, "function call")
        if not self._function_named:
            self._function_named = True
            call = whole_function(stated)
        else:
            call = {"arguments": text_of(stated.get("arguments"), "function call: arguments")}
        self.text_length += len(call["arguments"])
        return call if "name" in call or call["arguments"] else None

    def _feed_one(self, fragment: _Fragment) -> Document | None:
        self.text_length += len(fragment.text)
        call = self._call_of(fragment)
        if call is not None:
            if not fragment.text:
                return None
            if fragment.kind != call.kind:
                reject("tool call: type")
            return {"index": call.index, call.kind: {TEXTS[call.kind]: fragment.text}}
        if fragment.name is None:
            reject("a tool call without a name")
        call = self._begin(fragment)
        return {
            "index": call.index,
            "id": call.id or call_id(self.id, self.choice, call.index),
            "type": call.kind,
            call.kind: {"name": fragment.name, TEXTS[call.kind]: fragment.text},
        }

    def _call_of(self, fragment: _Fragment) -> _Call | None:
        """Return the call that *fragment* goes on with; None where it begins one.

        Some upstreams send no index, and some the same one for every call, each of them with an id and a name of its
        own. An id that changes without a name says nothing: some make a new one for every fragment.
        """
        if fragment.index is not None:
            call = self._by_index.get(fragment.index)
            is_other = call is not None and fragment.id is not None and call.id not in {None, fragment.id}
            return None if is_other and fragment.name is not None else call
        if fragment.id in self._by_id:
            return self._by_id[fragment.id]
        return self._begun[-1] if self._begun and fragment.name is None else None

    def _begin(self, fragment: _Fragment) -> _Call:
        call = _Call(index=len(self._begun), kind=fragment.kind, id=fragment.id)
        self._begun.append(call)
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        if fragment.id is not None:
            self._by_id[fragment.id] = call
        return call


def whole_calls(stated: object, *, id_: str, choice: int) -> list[Document]:
    """Return the *stated* calls of a message, in the completion *id_*.

    Raises:
        GrammarError: for what are no calls, or not whole ones.
    """
    calls = []
    for at, one in enumerate(array_of(stated, "tool calls")):
        fragment = _fragment_of(one)
        if fragment.name is None:
            reject("a tool call without a name")
        body = {"name": fragment.name, TEXTS[fragment.kind]: fragment.text}
        own = fragment.id or call_id(id_, choice, at)
        calls.append({"id": own, "type": fragment.kind, fragment.kind: body})
    return calls


def whole_function(stated: object) -> Document:
    """Return the *stated* function call of a message."""
    stated = object_of(stated, "function call")
    return {
        "name": text_of(stated.get("name"), "function call: name") or reject("a function call without a name"),
        "arguments": text_of(stated.get("arguments"), "function call: arguments"),
    }


def call_id(id_: str, choice: int, call: int) -> str:
    """Return the id for a call to which the upstream has given none, in the completion *id_*."""
    return f"call_{id_}_{choice}_{call}"


def _fragment_of(stated: object) -> _Fragment:
    stated = object_of(stated, "tool call")
    index = stated.get("index")
    if index is not None and count_of(index) is None:
        reject("tool call: index")
    kind = text_of(stated.get("type"), "tool call: type") or ("custom" if "custom" in stated else "function")
    if kind not in TEXTS:
        reject("tool call: type")
    body = stated.get(kind)
    body = {} if body is None else object_of(body, f"tool call: {kind}")
    return _Fragment(
        index=index,
        id=text_of(stated.get("id"), "tool call: id") or None,
        kind=kind,
        name=text_of(body.get("name"), "tool call: name") or None,
        text=text_of(body.get(TEXTS[kind]), "tool call: text"),
    )
