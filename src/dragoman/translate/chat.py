"""A streamed chat completion: the chunks of an upstream in, the chunks for whoever asked out (ADR-0036).

Laws of this file:
- What goes out obeys the grammar, whatever came in; where that cannot be, `GrammarError` is raised.
- Every chunk is made here. Of what an upstream sends only what the contract declares is in it, and never its name for
  itself, its model or the answer.
- Nothing is held back: what a chunk says goes out when it is read, but for usage, which comes at the end.
"""

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from dragoman.model import Usage
from dragoman.translate.calls import Calls
from dragoman.translate.grammar import Reason, reject
from dragoman.translate.shapes import Document, array_of, count_of, fitted, object_of
from dragoman.translate.usage import usage_document, usage_of
from dragoman.translate.vocabulary import (
    CHOICES,
    DELTA,
    LOGPROBS,
    SERVICE_TIERS,
    citations_of,
    finish_reason,
    require_no_error,
)


class State(enum.Enum):
    """How far a choice is."""

    SILENT = "silent"
    """Nobody has heard of it: what comes first says who speaks."""
    SPEAKING = "speaking"
    FINISHED = "finished"
    """Its finish reason is said. Nothing follows."""


class Move(enum.Enum):
    """What a chunk does to a choice."""

    SAY = "say"
    FINISH = "finish"


TRANSITIONS: Final[Mapping[State, Mapping[Move, State]]] = {
    State.SILENT: {Move.SAY: State.SPEAKING, Move.FINISH: State.FINISHED},
    State.SPEAKING: {Move.SAY: State.SPEAKING, Move.FINISH: State.FINISHED},
    State.FINISHED: {},
}


_PIECE: Final = frozenset({"role", "content"})
"""What the delta of a piece of text has; some upstreams say in each of them who speaks."""

_KEPT: Final = frozenset({"service_tier", "obfuscation"})
"""What goes on of a chunk beside its choices and its usage."""


@attrs.define(kw_only=True)
class _Choice:
    """One of the answers: how far it is, and what it calls."""

    index: int
    calls: Calls
    state: State = State.SILENT


@attrs.define(kw_only=True)
class ChatStream:
    """One streamed chat completion.

    Its chunks carry *id*, *created* and *model*, which is the alias. With *include_usage* each has the member `usage`,
    which is null but in the last one.
    """

    id: str
    created: int
    model: str
    include_usage: bool
    usage: Usage | None = attrs.field(default=None, init=False)
    """The last usage that the upstream has stated, in whichever chunk; None where it has stated none."""
    _spoken: int = attrs.field(default=0, init=False)
    _stated: object = attrs.field(default=None, init=False)
    _choices: dict[int, _Choice] = attrs.field(factory=dict, init=False)
    _envelope: Document = attrs.field(init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Make what all chunks have in common."""
        self._envelope = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }
        if self.include_usage:
            self._envelope["usage"] = None

    @property
    def finished(self) -> bool:
        """Whether there are choices, and all of them have said their finish reason."""
        return bool(self._choices) and all(one.state is State.FINISHED for one in self._choices.values())

    @property
    def text_length(self) -> int:
        """How many characters there were: texts, refusals, and what tools are called with."""
        return self._spoken + sum(one.calls.text_length for one in self._choices.values())

    def feed(self, document: object) -> Document | None:
        """Return the chunk that goes out for one of the upstream's, or None where it says nothing that does.

        Raises:
            GrammarError: for what is no chunk, or none that can come here.
        """
        piece = self._piece_of_text(document)
        if piece is None or type(document) is not dict:
            return self._read(document)
        self.said(piece[1])
        chunk = self.chunk(*piece)
        if not _KEPT.isdisjoint(document):
            _keep(chunk, document)
        return chunk

    def piece(self, document: Mapping[str, object]) -> tuple[int, str] | None:
        """Return the index of a choice and a piece of its text, if nothing else goes on of *document*, else None.

        Who lets it go out says so, in `said`, and does not `feed` it.
        """
        return self._piece_of_text(document) if _KEPT.isdisjoint(document) else None

    def said(self, text: str) -> None:
        """Count a piece of *text* that goes out."""
        self._spoken += len(text)

    def _piece_of_text(self, document: object) -> tuple[int, str] | None:
        """Return the index and the text of a choice that speaks, where nothing else has to be looked at, else None.

        PERF: nearly every chunk is of this kind; `_read`, which could do it too, takes several times as long.
        """
        if type(document) is not dict or document.get("usage") is not None or "error" in document:
            return None
        choices = document.get("choices")
        stated = choices[0] if type(choices) is list and len(choices) == 1 else None
        if type(stated) is dict and stated.get("finish_reason") is None and stated.get("logprobs") is None:
            delta, index = stated.get("delta"), stated.get("index")
            if type(delta) is dict and type(index) is int and delta.keys() <= _PIECE:
                content, choice = delta.get("content"), self._choices.get(index)
                if type(content) is str and choice is not None and choice.state is State.SPEAKING:
                    return index, content
        return None

    def chunk(self, index: int, text: str) -> Document:
        """Return the chunk that goes out for a piece of *text* of the choice with this *index*."""
        return {**self._envelope, "choices": [{"index": index, "delta": {"content": text}, "finish_reason": None}]}

    def end(self, *, estimate: Usage | None = None) -> Document | None:
        """Return the chunk with the usage, if it was asked for; the *estimate* where the upstream has stated none.

        Raises:
            GrammarError: CUT where a choice is not finished, or where there is none.
        """
        self._ended = True
        if not self.finished:
            reject("a choice without a finish reason" if self._choices else "no choice", Reason.CUT)
        if not self.include_usage:
            return None
        usage = self.usage or estimate or Usage()
        return {**self._envelope, "choices": [], "usage": usage_document(usage, self._stated)}

    def _read(self, document: object) -> Document | None:
        document = object_of(document, "chunk")
        require_no_error(document)
        if self._ended:
            reject("a chunk after the end")
        stated, choices = document.get("usage"), document.get("choices")
        usage = usage_of(stated)
        if usage is not None:
            self.usage, self._stated = usage, stated
            choices = [] if choices is None else choices
        read = [self._read_choice(one, place) for place, one in enumerate(array_of(choices, "choices"))]
        said = [one for one in read if one is not None]
        if not said:
            return None
        chunk = {**self._envelope, "choices": said}
        _keep(chunk, document)
        return chunk

    def _read_choice(self, stated: object, place: int) -> Document | None:
        stated = object_of(stated, "choice")
        index = choice_index(stated, place)
        choice = self._choices.get(index) or _Choice(index=index, calls=Calls(id=self.id, choice=index))
        reason, delta = finish_reason(stated.get("finish_reason")), stated.get("delta")
        delta = {} if delta is None and reason is not None else object_of(delta, "delta")
        said = self._read_delta(delta, choice)
        moves = TRANSITIONS[choice.state]
        if not moves and any(said.values()):
            reject("a finished choice goes on")
        if not moves:
            return None  # its finish reason again, or an empty delta beside the usage
        read: Document = {"index": index, "delta": said, "finish_reason": reason}
        if stated.get("logprobs") is not None:
            read["logprobs"] = fitted(stated["logprobs"], LOGPROBS, what="logprobs")
        if choice.state is State.SILENT:
            self._choices[index] = choice
            read["delta"] = {"role": "assistant", **said}
        elif reason is None and "logprobs" not in read and all(value is None for value in said.values()):
            return None  # hidden reasoning, or a sign of life
        choice.state = moves[Move.SAY if reason is None else Move.FINISH]
        return read

    def _read_delta(self, delta: Document, choice: _Choice) -> Document:
        said: Document = fitted(delta, DELTA, what="delta")
        self._spoken += len(said.get("content") or "") + len(said.get("refusal") or "")
        citations = citations_of(delta.get("annotations"))
        if citations is not None:
            said["annotations"] = citations
        calls, function = delta.get("tool_calls"), delta.get("function_call")
        if calls is not None:
            fragments = choice.calls.feed(calls)
            if fragments:
                said["tool_calls"] = fragments
        if function is not None:
            fragment = choice.calls.feed_function(function)
            if fragment is not None:
                said["function_call"] = fragment
        return said


def choice_index(stated: Mapping[str, object], place: int) -> int:
    """Return the index of a choice that stands at this *place* of its list, which is its index if it says nothing."""
    index = stated.get("index")
    index = place if index is None else count_of(index)
    return index if index is not None and index < CHOICES else reject("choice: index")


def service_tier(document: Mapping[str, object]) -> str | None:
    """Return the service tier that an upstream has stated, if it is one of OpenAI's."""
    tier = document.get("service_tier")
    return tier if type(tier) is str and tier in SERVICE_TIERS else None


def _keep(chunk: Document, document: Document) -> None:
    tier, padding = service_tier(document), document.get("obfuscation")
    if tier is not None:
        chunk["service_tier"] = tier
    if type(padding) is str:
        chunk["obfuscation"] = padding
