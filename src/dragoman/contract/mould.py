"""A document that is judged once, with a hole that any text may fill (ADR-0047).

Laws of this file:
- There is a mould only where the schema asks nothing of the text but that it is one: whatever fills it, the document is
  what it would be if it had been cut down and judged with that text in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from treaty import Document, referred

HOLE: Final = "\0hole\0"
"""What stands in a document in the place of the text."""

_HOLE: Final = orjson.dumps(HOLE)

PIECE: Final = ("choices", "[]", "delta", "content")
"""Where a piece of an answer stands in an event of a chat completion."""

_UNIONS: Final = frozenset({"oneOf", "anyOf", "allOf"})

_TELLING: Final = _UNIONS | {"type", "title", "description", "examples", "default", "deprecated"}
"""The keywords that ask nothing of a text but that it is one, unless a branch of a union does."""

_REFERRING: Final = (_TELLING - _UNIONS - {"type"}) | {"$ref"}

_AROUND: Final = _TELLING | {"properties", "required", "additionalProperties", "items", "minItems", "maxItems"}
"""The keywords of an object or an array that say nothing of the texts inside, unless the schemas in them do."""


@attrs.frozen
class Mould:
    """What stands *before* and *after* the text, as JSON."""

    before: bytes
    after: bytes

    def filled(self, text: str) -> bytes:
        """Return the JSON document with *text* in it."""
        return self.before + orjson.dumps(text) + self.after


def mould_of(document: Mapping[str, Any]) -> Mould | None:
    """Return the mould of *document*, in which `HOLE` stands; None where it stands there more than once."""
    parts = orjson.dumps(document).split(_HOLE)
    return Mould(*parts) if len(parts) == 2 else None  # noqa: PLR2004 - before and after


def ignores_text(document: Document, schema: Mapping[str, Any], place: Sequence[str]) -> bool:
    """Whether *schema* judges alike, whatever text stands at *place*: members by name, items of arrays as `[]`."""
    *referring, last = referred(document, dict(schema))
    if any(isinstance(one, dict) and not one.keys() <= _REFERRING for one in referring):
        return False  # what stands beside a reference counts as well
    if not isinstance(last, dict):
        return True
    schema = last
    if not all(
        ignores_text(document, branch, place)
        for union in _UNIONS
        for branch in schema.get(union, ())
        if isinstance(branch, dict)
    ):
        return False
    if not schema.keys() <= (_AROUND if place else _TELLING):
        return False
    if not place:
        return True
    name, *rest = place
    if name == "[]":
        inner = schema.get("items", True)
    else:
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
    return isinstance(inner, bool) or ignores_text(document, inner, rest)
