"""The least that fits a JSON Schema: what a model that understands nothing answers, so that a caller can read it.

Laws of this file:
- Whatever a caller calls a schema, a JSON value comes out, and soon: there is a bound to its depth and to its size.
- It is honest about its limits: patterns and conditions are not solved, and then the value does not fit.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

_DEPTH: Final = 16
"""How deep a value may become: references may lead in circles."""

_VALUES: Final = 1000
"""How many values there may be inside of one: circles may branch."""

_LENGTH: Final = 4096
"""How long a text may become to reach its least length."""

_EXACT: Final = 2**53
"""Beyond it, readers of JSON lose digits."""

TEXTS: Final[Mapping[str, str]] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "duration": "PT0S",
    "email": "echo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "00:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""A text for each format that has one."""

_IMPLIED: Final = (("properties", "object"), ("required", "object"), ("items", "array"), ("prefixItems", "array"))
"""What a schema that names no type is about, by its first keyword that is there."""

_CONSTANT: Final[Mapping[str, Any]] = {"boolean": False, "null": None}
_TEXT: Final[Mapping[str, Any]] = {"type": "string"}


def minimal(schema: object) -> Any:  # noqa: ANN401 - a JSON value
    """Return a small value that fits *schema*."""
    return _Maker(root=schema).value(schema, _DEPTH)


@attrs.define(kw_only=True)
class _Maker:
    """Makes values for the parts of *root*, so many more as are *left*."""

    root: object
    left: int = _VALUES

    def value(self, schema: object, depth: int) -> Any:  # noqa: ANN401 - a JSON value
        """Return a value for *schema* that is at most *depth* deep."""
        self.left -= 1
        if not isinstance(schema, dict) or depth < 0 or self.left < 0:
            return {} if schema is True else None
        if "const" in schema:
            return schema["const"]
        if _is_filled(schema.get("enum")):
            return schema["enum"][0]
        for name in ("allOf", "anyOf", "oneOf"):
            if _is_filled(schema.get(name)):
                rest = {key: value for key, value in schema.items() if key != name}
                parts = schema[name] if name == "allOf" else [_easiest(schema[name])]
                return self.value(self._merged([rest, *parts]), depth - 1)
        if isinstance(schema.get("$ref"), str):
            return self.value(self._referenced(schema["$ref"]), depth - 1)
        return self._of_type(_type_of(schema), schema, depth)

    def _merged(self, schemas: list[Any]) -> dict[str, Any]:
        """Return one schema that says what all *schemas* say, as far as one does not gainsay the other."""
        merged: dict[str, Any] = {}
        for schema in schemas:
            stated = schema
            if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
                found = self._referenced(schema["$ref"])
                stated = {**(found if isinstance(found, dict) else {}), **schema}
                del stated["$ref"]
            for name, value in stated.items() if isinstance(stated, dict) else ():
                known = merged.get(name)
                if name == "properties" and isinstance(known, dict) and isinstance(value, dict):
                    merged[name] = {**known, **value}
                elif name == "required" and isinstance(known, list) and isinstance(value, list):
                    merged[name] = [*known, *value]
                else:
                    merged[name] = value
        return merged

    def _referenced(self, reference: str) -> object:
        """Return what a local *reference* leads to; nothing is fetched."""
        found = self.root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def _of_type(self, kind: object, schema: Mapping[str, Any], depth: int) -> Any:  # noqa: ANN401 - a JSON value
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                text = TEXTS.get(str(schema.get("format")), "")
                return text + "x" * min(max(0, _count(schema.get("minLength")) - len(text)), _LENGTH)
            case "integer" | "number":
                return _number(schema)
            case _:
                return _CONSTANT.get(kind, {}) if isinstance(kind, str) else {}

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required, properties = schema.get("required"), schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        made = {}
        for name in required if isinstance(required, list) else ():
            if isinstance(name, str) and self.left > 0:
                made[name] = self.value(known.get(name, _TEXT), depth - 1)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least, first = _count(schema.get("minItems")), schema.get("prefixItems")
        made = [self.value(one, depth - 1) for one in first if self.left > 0] if isinstance(first, list) else []
        while len(made) < least and self.left > 0:
            made.append(self.value(schema.get("items", _TEXT), depth - 1))
        return made


def _is_filled(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _easiest(schemas: list[Any]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the one that ends soonest: null, where it is among them, ends references that lead in circles."""
    return next((one for one in schemas if isinstance(one, dict) and one.get("type") == "null"), schemas[0])


def _type_of(schema: Mapping[str, Any]) -> object:
    stated = schema.get("type")
    if isinstance(stated, list):
        return "null" if "null" in stated else (stated[0] if stated else None)
    if stated is None:
        return next((implied for name, implied in _IMPLIED if name in schema), None)
    return stated


def _number(schema: Mapping[str, Any]) -> int | float:
    """Return the number nearest to zero that is in the range, and a multiple where one is asked for."""
    step = _stated(schema, "multipleOf") or 1
    step = step if step > 0 else 1
    lowest, highest = _stated(schema, "minimum"), _stated(schema, "maximum")
    above, below = _stated(schema, "exclusiveMinimum"), _stated(schema, "exclusiveMaximum")
    found: int | float = 0
    try:
        if above is not None and above >= 0:
            found = (above // step + 1) * step
        elif below is not None and below <= 0:
            found = (-(-below // step) - 1) * step
        if lowest is not None and lowest > found:
            found = -(-lowest // step) * step
        elif highest is not None and highest < found:
            found = highest // step * step
    except (OverflowError, ValueError):  # a quotient that no float holds
        return 0
    if not math.isfinite(found) or abs(found) > _EXACT:
        return 0
    return int(found) if found == int(found) else found


def _stated(schema: Mapping[str, Any], name: str) -> int | float | None:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
