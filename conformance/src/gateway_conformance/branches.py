"""What the contract's examples show of its request schemas: the branches of unions they take, the members they have.

Laws of this file:
- A union is a `oneOf`, an `anyOf`, or a list of types; `null` in such a list is no branch of its own.
- A branch is named by its place in the document, so that a failure can be looked up.
"""

from collections.abc import Iterator
from typing import Any, Final

import attrs
import jsonschema_rs

from gateway_conformance.promises import Promises
from treaty import Document

_TYPES: Final[dict[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

Step = str | int
"""The name of a member, or the index of an item."""

Part = tuple[str, Document]
"""A schema and the place where it stands."""


def uncovered(promises: Promises) -> list[str]:
    """Return the branches that no example of any operation takes, sorted."""
    reading = Reading(promises=promises)
    every: set[str] = set()
    for operation in promises.operations:
        root = _place(operation.schema or {}, operation.id)
        every |= {branch for part in _reachable(promises, root) for branch in _branches(part)}
        for example in operation.examples.values():
            reading.visit(root, example)
    return sorted(every - reading.branches)


def declared_members(promises: Promises, schema: Document, value: object) -> frozenset[tuple[Step, ...]]:
    """Return the steps to each member of *value*, which keeps *schema*, whose name the schema declares."""
    reading = Reading(promises=promises)
    reading.visit(_place(schema, ""), value)
    return frozenset(reading.declared)


def _place(schema: Document, otherwise: str) -> Part:
    return schema.get("$ref", otherwise), schema


def _branches(part: Part) -> Iterator[str]:
    place, schema = part
    for keyword in ("oneOf", "anyOf"):
        yield from (f"{place}/{keyword}/{index}" for index in range(len(schema.get(keyword, []))))
    yield from (f"{place}/type/{name}" for name in _type_union(schema))


def _type_union(schema: Document) -> list[str]:
    """Return the types among which a value may choose, when there are several besides null."""
    stated = schema.get("type", [])
    names = [name for name in stated if name != "null"] if isinstance(stated, list) else []
    return names if len(names) > 1 else []


def _children(part: Part) -> Iterator[Part]:
    """Yield the schemas directly within *part*."""
    place, schema = part
    for keyword in ("oneOf", "anyOf", "allOf"):
        for index, child in enumerate(schema.get(keyword, [])):
            yield _place(child, f"{place}/{keyword}/{index}")
    for name, child in schema.get("properties", {}).items():
        yield _place(child, f"{place}/properties/{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield _place(schema[keyword], f"{place}/{keyword}")


def _reachable(promises: Promises, root: Part) -> Iterator[Part]:
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        place, schema = waiting.pop()
        if place not in seen:
            seen.add(place)
            part = place, promises.resolve(schema)
            yield part
            waiting.extend(_children(part))


@attrs.frozen(kw_only=True)
class Reading:
    """What values that keep their schemas show: the *branches* they take, and the steps to *declared* members."""

    promises: Promises
    branches: set[str] = attrs.field(factory=set)
    declared: set[tuple[Step, ...]] = attrs.field(factory=set)
    _validators: dict[str, jsonschema_rs.Draft202012Validator] = attrs.field(factory=dict)

    def visit(self, part: Part, value: Any, steps: tuple[Step, ...] = ()) -> None:  # noqa: ANN401 - any JSON value
        """Note what *value*, found at *steps* and keeping the schema *part*, shows there and below."""
        place, schema = part[0], self.promises.resolve(part[1])
        if _TYPES.get(type(value)) in _type_union(schema):
            self.branches.add(f"{place}/type/{_TYPES[type(value)]}")
        for index, child in enumerate(schema.get("allOf", [])):
            self.visit(_place(child, f"{place}/allOf/{index}"), value, steps)
        for keyword in ("oneOf", "anyOf"):
            for index, child in enumerate(schema.get(keyword, [])):
                branch = f"{place}/{keyword}/{index}"
                if self._takes(branch, child, value):
                    self.branches.add(branch)
                    self.visit(_place(child, branch), value, steps)
        self._visit_below(place, schema, value, steps)

    def _takes(self, branch: str, schema: Document, value: object) -> bool:
        if branch not in self._validators:
            self._validators[branch] = jsonschema_rs.Draft202012Validator(self.promises.closed(schema))
        return self._validators[branch].is_valid(value)

    def _visit_below(self, place: str, schema: Document, value: Any, steps: tuple[Step, ...]) -> None:  # noqa: ANN401
        if isinstance(value, dict):
            properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
            for name, child in value.items():
                if name in properties:
                    self.declared.add((*steps, name))
                    self.visit(_place(properties[name], f"{place}/properties/{name}"), child, (*steps, name))
                elif isinstance(rest, dict):
                    self.visit(_place(rest, f"{place}/additionalProperties"), child, (*steps, name))
        elif isinstance(value, list) and isinstance(schema.get("items"), dict):
            for index, item in enumerate(value):
                self.visit(_place(schema["items"], f"{place}/items"), item, (*steps, index))
