"""Compiled schemas, and what they say to a caller.

Laws of this file:
- jsonschema-rs decides; the sentences are ours, in the style and with the codes of OpenAI (ADR-0007).
- No sentence repeats what the caller sent: values are told by their JSON type, limits come from the schema, and a key
  that the schema does not declare is shown as `*` (ADR-0004.R6).
- In a union the branch is explained that the caller meant (ADR-0007.R2).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import attrs
import jsonschema_rs
from jsonschema_rs import ValidationError, ValidationErrorKind

from treaty import Document, TreatyError, resolve

ENFORCED: Final = frozenset(
    {
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "oneOf",
        "anyOf",
        "allOf",
        "not",
        "$ref",
    }
)
"""Keywords that a request schema may constrain with."""

ANNOTATIONS: Final = frozenset(
    {
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
        "discriminator",
        "x-adr",
    }
)
"""Keywords that a request schema may carry and that constrain nothing."""

FORMATS: Final = frozenset({"uuid"})
"""Formats that a request schema may use; others are refused at start: validators do not check them alike."""

_SUBSCHEMAS: Final = ("additionalProperties", "propertyNames", "items", "not")
_SUBSCHEMA_LISTS: Final = ("oneOf", "anyOf", "allOf")


@attrs.frozen(kw_only=True)
class Problem:
    """Why an instance breaks its schema: where (*param*, empty for the whole), OpenAI's *code*, and a sentence."""

    param: str
    code: str
    reason: str


class Schema:
    """A compiled schema. Compiling takes milliseconds and happens at start; asking takes microseconds."""

    def __init__(self, document: Document, schema: Mapping[str, Any], *, where: str) -> None:
        """Compile *schema*, whose references are local to *document*; *where* names it in errors.

        Raises:
            TreatyError: for a keyword or format that is not enforced (ADR-0001.R3).
        """
        closure = list(_closure(document, schema))
        for part in closure:
            _refuse_unenforced(part, where)
        root = {"allOf": [schema], "components": {"schemas": document.get("components", {}).get("schemas", {})}}
        self._validator = jsonschema_rs.Draft202012Validator(root, mask="(hidden)", validate_formats=True)
        self._declared = frozenset(name for part in closure for name in part.get("properties", {}))

    def problem(self, instance: object, *, name: str = "") -> Problem | None:
        """Return the first problem of *instance*, or None; *name* stands for the instance itself in the path."""
        if self._validator.is_valid(instance):
            return None
        error = next(iter(self._validator.iter_errors(instance)))
        return _Explanation(instance=instance, declared=self._declared, name=name).of(error)


def _closure(document: Document, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield *schema* and every schema that it reaches, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if "$ref" in part:
            waiting.append(resolve(document, {"$ref": part["$ref"]}))
        waiting += part.get("properties", {}).values()
        waiting += [part[keyword] for keyword in _SUBSCHEMAS if keyword in part]
        waiting += [branch for keyword in _SUBSCHEMA_LISTS for branch in part.get(keyword, ())]


def _refuse_unenforced(part: Mapping[str, Any], where: str) -> None:
    for keyword in part:
        if keyword not in ENFORCED | ANNOTATIONS:
            near = get_close_matches(keyword, ENFORCED | ANNOTATIONS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"{where}: the schema uses {keyword!r}, which is not enforced{hint}"
            raise TreatyError(message)
    if part.get("format", "uuid") not in FORMATS:
        message = f"{where}: the schema uses the format {part['format']!r}, which is not enforced; use a pattern"
        raise TreatyError(message)


_JSON_TYPES: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}
_SCHEMA_TYPES: Final = {
    "string": "a string",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "array": "an array",
    "object": "an object",
    "null": "null",
}

Path = Sequence[str | int]


@attrs.frozen(kw_only=True)
class _Explanation:
    """Turns the errors of one instance into a problem."""

    instance: object
    declared: frozenset[str]
    name: str

    def of(self, error: ValidationError) -> Problem:  # noqa: PLR0911 - one line a kind of error
        match error.kind:
            case ValidationErrorKind.OneOfNotValid() | ValidationErrorKind.AnyOf():
                return self._of_union(error)
            case ValidationErrorKind.Required():
                return self._missing(error.instance_path, error.kind.property)
            case ValidationErrorKind.Type():
                return self._wrong_type(error, error.kind.types)
            case ValidationErrorKind.Enum():
                return self._not_among(error.instance_path, error.kind.options)
            case ValidationErrorKind.Constant():
                return self._not_among(error.instance_path, [error.kind.expected_value])
            case ValidationErrorKind.FalseSchema() | ValidationErrorKind.AdditionalProperties():
                return self._unknown(error.instance_path)
            case _:
                return self._out_of_bounds(error)

    def _of_union(self, error: ValidationError) -> Problem:
        """Explain the branch that the caller meant: its type fits, and its discriminating constant matches."""
        at = error.instance_path
        branches: list[list[ValidationError]] = error.kind.context  # type: ignore[attr-defined]  # both unions have it
        typed = [branch for branch in branches if not _types_wanted(branch, at)]
        if not typed:
            return self._wrong_type(error, [name for branch in branches for name in _types_wanted(branch, at)])
        tagged = [branch for branch in typed if not _wrong_tags(branch, at)]
        if not tagged:
            tags = [tag for branch in typed for tag in _wrong_tags(branch, at)]
            return self._not_among([*at, tags[0].member], [tag.expected for tag in tags])
        # A branch that fails in its depth was entered: it is meant rather than one that fails at its door. Of those
        # that fail equally deep it is the one that fails least: for numbers with a text among them, that of numbers.
        meant = max(tagged, key=lambda branch: (max(len(one.instance_path) for one in branch), -len(branch)))
        return self.of(meant[0])

    def _path(self, path: Path) -> str:
        """Return *path* in OpenAI's style: `messages[0].content`."""
        text, instance = self.name, self.instance
        for step in path:
            if isinstance(instance, list):
                text += f"[{step}]"
            else:
                shown = str(step) if step in self.declared else "*"
                text += f".{shown}" if text else shown
            instance = _member(instance, step)
        return text

    def _problem(self, path: Path, code: str, template: str) -> Problem:
        param = self._path(path)
        return Problem(param=param, code=code, reason=template.format(place=f"'{param}'" if param else "the body"))

    def _missing(self, path: Path, member: str) -> Problem:
        return self._problem([*path, member], "missing_required_parameter", "Missing required parameter: {place}.")

    def _unknown(self, path: Path) -> Problem:
        return self._problem(path, "unknown_parameter", "Unknown parameter in {place}.")

    def _wrong_type(self, error: ValidationError, types: Iterable[str]) -> Problem:
        expected = _listed([_SCHEMA_TYPES[name] for name in dict.fromkeys(types)])
        got = _JSON_TYPES[type(error.instance)]
        template = f"Invalid type for {{place}}: expected {expected}, but got {got} instead."
        return self._problem(error.instance_path, "invalid_type", template)

    def _not_among(self, path: Path, options: Iterable[object]) -> Problem:
        shown = _listed([f"'{option}'" if isinstance(option, str) else json.dumps(option) for option in options])
        return self._problem(path, "invalid_value", f"Invalid value for {{place}}: expected {_verbatim(shown)}.")

    def _out_of_bounds(self, error: ValidationError) -> Problem:
        rule = _BOUNDS.get(type(error.kind))
        if rule is None:
            return self._problem(error.instance_path, "invalid_value", "Invalid value for {place}.")
        code, template = rule(error.kind, error.instance)
        return self._problem(error.instance_path, code, template)


def _member(instance: Any, step: str | int) -> Any:  # noqa: ANN401 - JSON values
    """Return the member of *instance* that *step* leads to, or None where the path does not say which.

    The validator gives a key of digits as a number, without leading zeros, and leaves an empty key out.
    """
    if isinstance(instance, dict):
        return instance.get(str(step))
    return instance[step] if isinstance(instance, list) and isinstance(step, int) and step < len(instance) else None


def _types_wanted(branch: Iterable[ValidationError], path: Path) -> list[str]:
    """Return the types that *branch* wants of the union's own instance at *path*; empty when the type fits."""
    found = [one.kind for one in branch if len(one.instance_path) == len(path)]
    return [name for kind in found if isinstance(kind, ValidationErrorKind.Type) for name in kind.types]


@attrs.frozen(kw_only=True)
class _Tag:
    """A discriminating constant: the member it stands in, and what a branch expects there."""

    member: str | int
    expected: object


def _wrong_tags(branch: Iterable[ValidationError], path: Path) -> list[_Tag]:
    """Return the constants of *branch* that the union's own instance at *path* does not have in its members."""
    found = [(one.kind, one.instance_path) for one in branch if len(one.instance_path) == len(path) + 1]
    return [
        _Tag(member=at[-1], expected=kind.expected_value)
        for kind, at in found
        if isinstance(kind, ValidationErrorKind.Constant)
    ]


def _verbatim(text: str) -> str:
    """Return *text* so that it survives being formatted."""
    return text.replace("{", "{{").replace("}", "}}")


def _listed(options: Sequence[str]) -> str:
    if len(options) == 1:
        return options[0]
    return f"{', '.join(options[:-1])} or {options[-1]}"


def _number(value: object) -> str:
    return "integer" if isinstance(value, int) else "decimal"


Bound = Callable[[Any, Any], tuple[str, str]]

_BOUNDS: Final[Mapping[type, Bound]] = {
    ValidationErrorKind.Minimum: lambda kind, value: (
        f"{_number(value)}_below_min_value",
        f"Invalid {{place}}: expected a value >= {kind.limit}.",
    ),
    ValidationErrorKind.Maximum: lambda kind, value: (
        f"{_number(value)}_above_max_value",
        f"Invalid {{place}}: expected a value <= {kind.limit}.",
    ),
    ValidationErrorKind.ExclusiveMinimum: lambda kind, value: (
        f"{_number(value)}_below_min_value",
        f"Invalid {{place}}: expected a value > {kind.limit}.",
    ),
    ValidationErrorKind.ExclusiveMaximum: lambda kind, value: (
        f"{_number(value)}_above_max_value",
        f"Invalid {{place}}: expected a value < {kind.limit}.",
    ),
    ValidationErrorKind.MinLength: lambda kind, _: (
        "string_below_min_length",
        f"Invalid {{place}}: string too short. Expected a string with minimum length {kind.limit}.",
    ),
    ValidationErrorKind.MaxLength: lambda kind, _: (
        "string_above_max_length",
        f"Invalid {{place}}: string too long. Expected a string with maximum length {kind.limit}.",
    ),
    ValidationErrorKind.MinItems: lambda kind, value: (
        (
            "array_below_min_length",
            f"Invalid {{place}}: array too short. Expected an array with minimum length {kind.limit}.",
        )
        if value
        else ("empty_array", f"Invalid {{place}}: empty array. Expected an array with minimum length {kind.limit}.")
    ),
    ValidationErrorKind.MaxItems: lambda kind, _: (
        "array_above_max_length",
        f"Invalid {{place}}: array too long. Expected an array with maximum length {kind.limit}.",
    ),
    ValidationErrorKind.MinProperties: lambda kind, _: (
        "object_below_min_properties",
        f"Invalid {{place}}: expected an object with at least {kind.limit} members.",
    ),
    ValidationErrorKind.MaxProperties: lambda kind, _: (
        "object_above_max_properties",
        f"Invalid {{place}}: expected an object with at most {kind.limit} members.",
    ),
    ValidationErrorKind.Pattern: lambda kind, _: (
        "invalid_value",
        f"Invalid {{place}}: expected a string that matches the pattern '{_verbatim(kind.pattern)}'.",
    ),
    ValidationErrorKind.Format: lambda kind, _: (
        "invalid_value",
        f"Invalid value for {{place}}: expected a {kind.format}.",
    ),
}
