"""Judge every sample value of a document by its schema, which OpenAPI validators do not do.

Samples are the examples of media types, parameters and headers, and the defaults and examples of
schemas. A value of a stream is judged only when it is the whole stream, as an array of events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import attrs
from jsonschema_rs import Draft202012Validator, Registry

from treaty.document import Document, Node, pointer
from treaty.reference import resolve
from treaty.shape import Place, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema_rs import ValidationError

_BASE: Final = "urn:contract:document"
_META: Final = "https://json-schema.org/draft/2020-12/schema"
_LONGEST: Final = 200  # characters of a validator's message: it may quote a whole body


@attrs.frozen(kw_only=True)
class _Sample:
    """A value, and the pointer of the schema that it must fit."""

    at: str
    schema: str
    value: Node


def broken_schemas(document: Document) -> Iterator[str]:
    """Yield a sentence for every place where a schema is no JSON Schema (2020-12)."""
    meta = Draft202012Validator({"$ref": _META}, validate_formats=True)
    outermost = "-"
    for place in walk(document):
        if place.kind == "schema" and not place.pointer.startswith(outermost):
            outermost = f"{place.pointer}/"
            for error in meta.iter_errors(place.node):
                below = pointer(*error.instance_path)[1:]
                yield f"{place.pointer}{below}: {_shortened(error.message)}"


def misfits(document: Document) -> Iterator[str]:
    """Yield a sentence for every sample value that does not fit its schema.

    The document's references must be sound and its schemas valid.
    """
    registry = Registry([(_BASE, document)])
    for place in walk(document):
        if not isinstance(place.node, dict) or place.is_reference:
            continue
        for sample in _samples(document, place):
            schema = {"$ref": _BASE + quote(sample.schema, safe="#/~")}
            validator = Draft202012Validator(schema, registry=registry, validate_formats=True)
            for error in validator.iter_errors(sample.value):
                yield f"{sample.at}: does not fit {sample.schema}: {_reason(error)}"


def _samples(document: Document, place: Place) -> Iterator[_Sample]:
    """Yield the values at this place, each with the schema that stands beside it."""
    node, at = place.node, place.pointer
    if place.kind == "schema":
        for name in node.keys() & {"default", "example"}:
            yield _Sample(at=f"{at}/{name}", schema=at, value=node[name])
        for index, value in enumerate(node.get("examples", [])):
            yield _Sample(at=f"{at}/examples/{index}", schema=at, value=value)
        return
    if place.kind not in {"mediaType", "parameter", "header"}:
        return
    for below, value in _examples(document, node):
        if _is_stream(place) and not isinstance(value, list):
            continue
        if "schema" in node:
            yield _Sample(at=at + below, schema=f"{at}/schema", value=value)
        if "itemSchema" in node:
            for index, event in enumerate(value):
                yield _Sample(at=f"{at}{below}/{index}", schema=f"{at}/itemSchema", value=event)


def _examples(document: Document, node: Document) -> Iterator[tuple[str, Node]]:
    """Yield the pointer from *node* and the value of its example and of each of its examples."""
    if "example" in node:
        yield "/example", node["example"]
    for name, entry in node.get("examples", {}).items():
        example = resolve(document, entry)
        for member in ("value", "dataValue"):
            if member in example:
                yield pointer("examples", name)[1:], example[member]


def _is_stream(place: Place) -> bool:
    """Whether the media type is a sequence, which a text example shows as it is on the wire."""
    return "itemSchema" in place.node or place.pointer.endswith("/text~1event-stream")


def _reason(error: ValidationError) -> str:
    """Return where and why, of a union the branch with the fewest complaints."""
    while branches := [branch for branch in getattr(error.kind, "context", []) if branch]:
        error = min(branches, key=len)[0]
    return f"at {pointer(*error.instance_path)}: {_shortened(error.message)}"


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]} [...]"
