"""The least that fits a JSON Schema: what a model that understands nothing answers, so that a caller can read it.

Laws of this file:
- Whatever a caller calls a schema, a JSON value comes out, and soon: references end at some depth.
- It is honest about its limits: patterns and conditions are not solved, and then the value does not fit.
"""

from collections.abc import Mapping
from typing import Any, Final

_DEPTH: Final = 12
"""How deep a value may become: references may lead in circles."""

_ITEMS: Final = 64
"""The most items, and the most repetitions of a text, that are made to reach a minimum."""

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


def minimal(schema: object) -> Any:  # noqa: ANN401 - a JSON value
    """Return a small value that fits *schema*."""
    return _made(schema, schema, _DEPTH)


def _made(schema: object, root: object, depth: int) -> Any:  # noqa: ANN401 - a JSON value
    if not isinstance(schema, dict) or depth < 0:
        return {} if isinstance(schema, bool) else None
    if "const" in schema:
        return schema["const"]
    for name in ("enum", "examples"):
        if isinstance(schema.get(name), list) and schema[name]:
            return schema[name][0]
    if "default" in schema:
        return schema["default"]
    for name in ("allOf", "anyOf", "oneOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            rest = {key: value for key, value in schema.items() if key != name}
            parts = schema[name] if name == "allOf" else [_easiest(schema[name])]
            return _made(_merged([rest, *parts], root), root, depth - 1)
    if isinstance(schema.get("$ref"), str):
        return _made(_referenced(schema["$ref"], root), root, depth - 1)
    return _of_type(_type_of(schema), schema, root, depth)


def _easiest(schemas: list[Any]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the one that ends soonest: null, where it is among them, ends references that lead in circles."""
    return next((one for one in schemas if isinstance(one, dict) and one.get("type") == "null"), schemas[0])


def _merged(schemas: list[Any], root: object) -> dict[str, Any]:
    """Return one schema that says what all *schemas* say, as far as they do not say it twice."""
    merged: dict[str, Any] = {}
    for schema in schemas:
        if not isinstance(schema, dict):
            continue
        stated = schema
        if isinstance(schema.get("$ref"), str) and isinstance(found := _referenced(schema["$ref"], root), dict):
            stated = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
        for name, value in stated.items():
            known = merged.get(name)
            if name == "properties" and isinstance(known, dict) and isinstance(value, dict):
                merged[name] = {**known, **value}
            elif name == "required" and isinstance(known, list) and isinstance(value, list):
                merged[name] = [*known, *value]
            else:
                merged[name] = value
    return merged


def _referenced(reference: str, root: object) -> object:
    """Return what a local *reference* leads to; nothing is fetched."""
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _type_of(schema: Mapping[str, Any]) -> object:
    stated = schema.get("type")
    if isinstance(stated, list):
        return "null" if "null" in stated else (stated[0] if stated else None)
    if stated is None:
        for name, implied in (("properties", "object"), ("required", "object"), ("items", "array")):
            if name in schema:
                return implied
    return stated


def _of_type(kind: object, schema: Mapping[str, Any], root: object, depth: int) -> Any:  # noqa: ANN401 - a JSON value
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            count = min(_whole(schema.get("minItems")), _ITEMS)
            prefix = schema.get("prefixItems")
            firsts = [_made(one, root, depth - 1) for one in prefix] if isinstance(prefix, list) else []
            rest = max(0, count - len(firsts))
            return firsts + [_made(schema.get("items", {"type": "string"}), root, depth - 1) for _ in range(rest)]
        case "string":
            text = TEXTS.get(str(schema.get("format")), "")
            return text + "x" * min(max(0, _whole(schema.get("minLength")) - len(text)), _ITEMS * _ITEMS)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return {}


def _object(schema: Mapping[str, Any], root: object, depth: int) -> dict[str, Any]:
    required, properties = schema.get("required"), schema.get("properties")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    known = properties if isinstance(properties, dict) else {}
    return {name: _made(known.get(name, {"type": "string"}), root, depth - 1) for name in names}


def _number(schema: Mapping[str, Any]) -> int | float:
    """Return the number nearest to zero that is in the range, and a multiple where one is asked for."""
    step = schema.get("multipleOf")
    step = step if _is_number(step) and step > 0 else 1
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if _is_number(lowest) and lowest > 0:
        return -(-lowest // step) * step
    if _is_number(above) and above >= 0:
        return (above // step + 1) * step
    if _is_number(highest) and highest < 0:
        return highest // step * step
    if _is_number(below) and below <= 0:
        return (-(-below // step) - 1) * step
    return 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
