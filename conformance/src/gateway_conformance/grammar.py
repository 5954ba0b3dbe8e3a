"""The judge's own grammar of a streamed chat completion: what may follow what, as tables (ADR-0045).

Laws of this file:
- It shares no line with any gateway, like the reader of `frames`.
- One pass over a stream finds every law that it breaks, each under its rule; nothing is raised.
- Whatever a member holds, the pass goes on: what is no chunk is told as such, and not understood.
"""

import enum
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from gateway_conformance.frames import END, Frame, Transcript

FRAMES: Final = "ADR-0045.R1"
ENDING: Final = "ADR-0045.R2"
ROLE: Final = "ADR-0045.R3"
FINISH: Final = "ADR-0045.R4"
TOOL_CALLS: Final = "ADR-0045.R5"
USAGE: Final = "ADR-0045.R6"
ENVELOPE: Final = "ADR-0045.R7"
MODEL: Final = "ADR-0045.R8"
FAILURE: Final = "ADR-0045.R9"

LAWS: Final = (FRAMES, ENDING, ROLE, FINISH, TOOL_CALLS, USAGE, ENVELOPE, MODEL, FAILURE)
"""The rules that a stream can break by itself."""

CHUNK: Final = "chat.completion.chunk"

_TEXTS: Final = {"function": "arguments", "custom": "input"}
"""Type of a tool call -> the member that holds what it is called with."""


class Move(enum.Enum):
    """What an event is."""

    CHUNK = "a chunk"
    USAGE = "the chunk with the usage"
    DONE = "[DONE]"
    ERROR = "an error"


class Stage(enum.Enum):
    """How far a stream is."""

    OPEN = "open"
    COUNTED = "behind its usage"
    DONE = "behind [DONE]"
    FAILED = "behind its error"


STAGES: Final[Mapping[Stage, Mapping[Move, Stage]]] = {
    Stage.OPEN: {
        Move.CHUNK: Stage.OPEN,
        Move.USAGE: Stage.COUNTED,
        Move.DONE: Stage.DONE,
        Move.ERROR: Stage.FAILED,
    },
    Stage.COUNTED: {Move.DONE: Stage.DONE, Move.ERROR: Stage.FAILED},
    Stage.DONE: {},
    Stage.FAILED: {},
}
"""What may follow, by how far the stream is."""

TRESPASSES: Final[Mapping[Stage, str]] = {Stage.COUNTED: USAGE, Stage.DONE: ENDING, Stage.FAILED: FAILURE}
"""The rule that is broken by what may not follow."""


class Speech(enum.Enum):
    """How far a choice is."""

    SILENT = "silent"
    SPEAKING = "speaking"
    FINISHED = "finished"


SPEECHES: Final[Mapping[tuple[Speech, bool], Speech | str]] = {
    (Speech.SILENT, False): Speech.SPEAKING,
    (Speech.SILENT, True): Speech.FINISHED,
    (Speech.SPEAKING, False): Speech.SPEAKING,
    (Speech.SPEAKING, True): Speech.FINISHED,
    (Speech.FINISHED, False): "goes on behind its finish_reason",
    (Speech.FINISHED, True): "has a second finish_reason",
}
"""How far a choice is, and whether it is finished now -> how far it is then, or what is wrong."""


@attrs.frozen(kw_only=True)
class Violation:
    """A *rule* that was broken, and by *what*."""

    rule: str
    what: str


@attrs.frozen(kw_only=True)
class Asked:
    """What a stream was asked for: the *model* that its chunks must name, None where that is not looked at.

    Of the members of a chunk, and of a choice, only those are looked at that its contract declares. *usage* is whether
    it was asked for.
    """

    model: str | None = None
    usage: bool = False
    members: frozenset[str] = frozenset({"id", "object", "created", "model", "choices", "usage"})
    choice_members: frozenset[str] = frozenset({"index", "delta", "finish_reason"})


@attrs.define(kw_only=True)
class Choice:
    """What was said of one choice: how far it is, its texts, its tool calls, and why it ended."""

    speech: Speech = Speech.SILENT
    role: object = None
    texts: dict[str, str] = attrs.field(factory=dict)
    calls: list[dict[str, Any]] = attrs.field(factory=list)
    reason: object = None

    def message(self) -> dict[str, Any]:
        """Return what was put together: as much of a whole answer's message as a stream says, and why it ended."""
        calls = {"tool_calls": self.calls} if self.calls else {}
        return {"role": self.role, **self.texts, **calls, "finish_reason": self.reason}


@attrs.define(kw_only=True)
class Reading:
    """One pass over a stream. Afterwards it holds what was told, and every law that was broken."""

    asked: Asked
    stage: Stage = Stage.OPEN
    choices: dict[int, Choice] = attrs.field(factory=dict)
    usage: object = None
    error: Any = None
    violations: list[Violation] = attrs.field(factory=list)
    _envelope: dict[str, Any] | None = None

    def read(self, stream: Transcript) -> None:
        """Read the whole *stream*."""
        for frame in stream.events:
            self._event(frame)
        if stream.cut:
            self._complain(FRAMES, "the stream ends within an event")
        if self.stage in {Stage.OPEN, Stage.COUNTED}:
            self._complain(ENDING, "the stream ends with neither [DONE] nor an error")
        if self.stage is Stage.DONE:
            self._finished()

    def _complain(self, rule: str, what: str) -> None:
        self.violations.append(Violation(rule=rule, what=what))

    def _event(self, frame: Frame) -> None:
        others = sorted(frame.names - {"data"})
        if others:
            self._complain(FRAMES, f"an event with the field {others[0]!r}")
        document = _document(frame.data)
        move = _move(frame.data, document)
        if move is None:
            self._complain(FRAMES, f"an event that is no chunk, no error and no [DONE]: {frame.data[:80]!r}")
            return
        following = STAGES[self.stage].get(move)
        if following is None:
            self._complain(TRESPASSES[self.stage], f"{move.value} {self.stage.value}")
            return
        self.stage = following
        match move:
            case Move.CHUNK | Move.USAGE:
                self._chunk(document)
            case Move.ERROR:
                self.error = document
            case Move.DONE:
                pass

    def _chunk(self, chunk: Mapping[str, Any]) -> None:
        self._same(chunk)
        self._counted(chunk)
        for place, stated in enumerate(chunk["choices"]):
            if isinstance(stated, dict) and isinstance(stated.get("delta"), dict):
                self._choice(stated, place)
            else:
                self._complain(FRAMES, f"a choice without a delta: {json.dumps(stated)[:80]}")

    def _same(self, chunk: Mapping[str, Any]) -> None:
        """Compare what all chunks have in common."""
        names = [name for name in ("id", "object", "created", "model") if name in self.asked.members]
        envelope: dict[str, Any] = {name: chunk.get(name) for name in names}
        for name, value in envelope.items():
            first = envelope if self._envelope is None else self._envelope
            if name not in chunk or value != first[name]:
                self._complain(ENVELOPE, f"{name} is {json.dumps(value)}, and was {json.dumps(first[name])}")
        if envelope.get("object", CHUNK) != CHUNK:
            self._complain(ENVELOPE, f"object is {json.dumps(envelope['object'])}")
        if self.asked.model is not None and envelope.get("model", self.asked.model) != self.asked.model:
            self._complain(MODEL, f"model is {json.dumps(envelope['model'])}, and {self.asked.model!r} was asked for")
        self._envelope = self._envelope or envelope

    def _counted(self, chunk: Mapping[str, Any]) -> None:
        """Look for the usage where it must be, and must not be."""
        usage = chunk.get("usage")
        if not self.asked.usage:
            if usage is not None or "usage" in chunk:
                self._complain(USAGE, "a member usage that was not asked for")
        elif chunk["choices"]:
            if usage is not None or "usage" not in chunk:
                self._complain(USAGE, "a chunk with choices whose usage is not null")
        elif not isinstance(usage, dict):
            self._complain(USAGE, "a chunk without choices and without usage")
        else:
            self.usage = usage

    def _choice(self, stated: Mapping[str, Any], place: int) -> None:
        index, delta, reason = stated.get("index", place), stated["delta"], stated.get("finish_reason")
        if "index" in self.asked.choice_members and ("index" not in stated or _count(index) is None):
            self._complain(FRAMES, f"a choice with the index {json.dumps(index)}")
            return
        choice = self.choices.setdefault(index, Choice())
        if choice.speech is Speech.SILENT:
            choice.role = delta.get("role")
            if choice.role != "assistant":
                self._complain(ROLE, f"the first delta of choice {index} has the role {json.dumps(choice.role)}")
        following = SPEECHES[choice.speech, reason is not None]
        if isinstance(following, str):
            self._complain(FINISH, f"choice {index} {following}")
            return
        choice.speech, choice.reason = following, reason
        for name in ("content", "refusal"):
            if isinstance(delta.get(name), str):
                choice.texts[name] = choice.texts.get(name, "") + delta[name]
        for fragment in delta.get("tool_calls") or ():
            self._fragment(choice, fragment)

    def _fragment(self, choice: Choice, fragment: object) -> None:
        """Take one fragment of a tool call: the first of an index brings id, type and name, others more of the text."""
        index = _count(fragment.get("index")) if isinstance(fragment, dict) else None
        if not isinstance(fragment, dict) or index is None or index > len(choice.calls):
            self._complain(TOOL_CALLS, f"a fragment that begins or continues no call: {json.dumps(fragment)[:120]}")
            return
        if index == len(choice.calls):
            kind = fragment.get("type")
            body = fragment.get(kind) if kind in _TEXTS else None
            named = isinstance(body, dict) and isinstance(body.get("name"), str) and body["name"]
            if not isinstance(fragment.get("id"), str) or not fragment["id"] or not named:
                self._complain(TOOL_CALLS, f"the first fragment of call {index} lacks id, type or name: {fragment}")
            choice.calls.append({"id": fragment.get("id"), "type": kind, str(kind): {"name": (body or {}).get("name")}})
        self._lengthen(choice.calls[index], fragment)

    def _lengthen(self, call: dict[str, Any], fragment: Mapping[str, Any]) -> None:
        kind = str(call["type"])
        body = fragment.get(kind)
        known: dict[str, Any] = call[kind]
        for name, before, now in (
            ("id", call["id"], fragment.get("id")),
            ("type", call["type"], fragment.get("type")),
            ("name", known.get("name"), (body or {}).get("name")),
        ):
            if now is not None and now != before:
                self._complain(TOOL_CALLS, f"call {fragment['index']} has another {name} than it began with")
        text = _TEXTS.get(kind, "")
        if isinstance(body, dict) and isinstance(body.get(text), str):
            known[text] = known.get(text, "") + body[text]

    def _finished(self) -> None:
        """Look for what a stream that ended well must have had."""
        if not self.choices:
            self._complain(FINISH, "no choice before [DONE]")
        if "finish_reason" in self.asked.choice_members:
            for index, choice in self.choices.items():
                if choice.speech is not Speech.FINISHED:
                    self._complain(FINISH, f"choice {index} has no finish_reason")
        if self.asked.usage and self.usage is None:
            self._complain(USAGE, "no chunk with the usage, which was asked for")


def read(stream: Transcript, asked: Asked) -> Reading:
    """Return what *stream* tells, and which laws it breaks."""
    reading = Reading(asked=asked)
    reading.read(stream)
    return reading


def violations(stream: Transcript, asked: Asked) -> Iterator[Violation]:
    """Yield the laws that *stream* breaks."""
    yield from read(stream, asked).violations


def _document(data: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(data)
    except ValueError:
        return None


def _move(data: str, document: object) -> Move | None:
    if data == END:
        return Move.DONE
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("error"), dict):
        return Move.ERROR
    choices = document.get("choices")
    if not isinstance(choices, list):
        return None
    return Move.CHUNK if choices else Move.USAGE


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
