"""Where the texts of a document are, and how another document is made with some of them changed (ADR-0037).

Laws of this file:
- Every text of a document is one that a guardrail looks at, but for those named here: what is unknown is a text.
- A document is a tree of dicts and lists, as JSON makes it. It is never changed: of a changed copy only what lies on
  the way to a change is new.
- Nothing here recurses: a document may nest as deeply as it likes.
"""

import string
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

NAMES: Final = frozenset(
    {
        "call_id",
        "encoding_format",
        "encrypted_content",
        "finish_reason",
        "id",
        "item_id",
        "model",
        "object",
        "previous_response_id",
        "reasoning_effort",
        "role",
        "service_tier",
        "status",
        "system_fingerprint",
        "tool_call_id",
        "tool_choice",
        "type",
        "verbosity",
    }
)
"""Members that name something of the protocol: ids, kinds and choices."""

_SIGNS: Final = frozenset(string.ascii_letters + string.digits + "_-.:/+=")
"""Of these a name is made; what has others, such as spaces, is looked at in spite of its member."""

NAMED: Final = frozenset({"custom", "function", "function_call", "functions", "json_schema", "tools"})
"""Members whose own `name` is that of a function or a schema, which has to be the same wherever it stands."""

MEDIA: Final = frozenset(
    {"audio_url", "file", "file_data", "file_url", "image", "image_url", "input_audio", "video", "video_url"}
)
"""Members of a typed part that hold, or point to, what is no text."""

_AMBIGUOUS: Final = MEDIA | {"data", "name"}
"""Members that are texts, or not, as the members around them say."""

LOGPROBS: Final = "logprobs"
"""The member that repeats a text token by token."""


@attrs.define
class Place:
    """A *text*, which is the *key* of *container*. *is_json* says that it is JSON itself: the arguments of a call."""

    container: Any = attrs.field(repr=False)
    key: Any = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    is_json: bool = False


@attrs.define
class Texts:
    """The *places* of a document's texts; *messages* are those that are read as one, being parts of one message.

    *not_scanned* counts what is no text: media, and tokens instead of texts.
    """

    places: list[Place] = attrs.field(factory=list, repr=False)
    messages: list[list[Place]] = attrs.field(factory=list, repr=False)
    not_scanned: int = 0


def is_name(member: str, text: str) -> bool:
    """Whether the *text* of a *member* is a name of the protocol, and not something that was said."""
    return member in NAMES and (text.isidentifier() or _SIGNS.issuperset(text))


def texts_of(document: object) -> Texts:
    """Return the texts of *document*: those of a container before those of the containers in it."""
    texts = Texts()
    pending: list[tuple[Any, object]] = [(document, "")]
    while pending:
        container, inside = pending.pop()
        below: list[tuple[Any, object]] = []
        if type(container) is dict:
            _read_object(container, inside, texts, below)
        else:
            _read_list(container, inside, texts, below)
        below.reverse()
        pending += below
    return texts


def _read_object(container: dict[str, Any], inside: object, texts: Texts, below: list[tuple[Any, object]]) -> None:
    for key, value in container.items():
        kind = type(value)
        if kind is str:
            if not value or (key in NAMES and is_name(key, value)):
                continue
            if key in _AMBIGUOUS and _is_no_text(container, key, inside, texts):
                continue
            texts.places.append(Place(container, key, value, key == "arguments"))
        elif kind is dict or kind is list:
            if key == LOGPROBS or (key in _AMBIGUOUS and _is_no_text(container, key, inside, texts)):
                continue
            below.append((value, key))


def _is_no_text(container: Mapping[str, Any], key: str, inside: object, texts: Texts) -> bool:
    """Whether a member of *container*, which itself is the member *inside* of another one, is a name or a medium."""
    if key == "name":
        return type(container[key]) is str and (inside in NAMED or "call_id" in container)
    if inside == "audio" if key == "data" else type(container.get("type")) is str:
        texts.not_scanned += 1
        return True
    return False


def _read_list(container: list[Any], inside: object, texts: Texts, below: list[tuple[Any, object]]) -> None:
    parts: list[Place] = []
    for number, value in enumerate(container):
        kind = type(value)
        if kind is str:
            if value:
                texts.places.append(Place(container, number, value))
                if inside == "content":
                    parts.append(texts.places[-1])
        elif kind is dict or kind is list:
            below.append((value, inside))
            if inside == "content" and kind is dict:
                parts += [Place(value, key, value[key]) for key in ("text", "refusal") if type(value.get(key)) is str]
        elif inside == "input":  # tokens, which only the model can read
            texts.not_scanned += 1
            return
    if len(parts) > 1:
        texts.messages.append(parts)


def changed(document: Any, changes: Iterable[Place]) -> Any:  # noqa: ANN401 - a document of JSON
    """Return *document* with the texts of *changes* at their places; the same object where there are none."""
    copies: dict[int, Any] = {}
    above: dict[int, Place] | None = None
    for change in changes:
        above = _containers(document) if above is None else above
        container, key, value = change.container, change.key, change.text
        while id(container) not in copies:
            copies[id(container)] = copy = container.copy()
            copy[key] = value
            place = above.get(id(container))
            if place is None:
                break
            container, key, value = place.container, place.key, copy
        else:
            copies[id(container)][key] = value
    return copies.get(id(document), document)


def _containers(document: object) -> dict[int, Place]:
    """Return where each container of *document* stands in it, by its identity."""
    above: dict[int, Place] = {}
    pending = [document]
    while pending:
        container: Any = pending.pop()
        members: Iterable[tuple[Any, Any]] = container.items() if type(container) is dict else enumerate(container)
        for key, value in members:
            if type(value) in {dict, list}:
                above[id(value)] = Place(container, key, "")
                pending.append(value)
    return above
