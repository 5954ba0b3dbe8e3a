"""Schemas decide, and what they say to a caller is ours: table-driven over every kind of error."""

from typing import Any

import pytest
from gateway_conformance.rules import confirms

from dragoman.contract import Problem
from dragoman.contract.validation import Schema
from treaty import Document, TreatyError

COMPONENTS: Document = {
    "components": {
        "schemas": {
            "Cat": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
            },
            "Dog": {
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"const": "dog"}, "name": {"type": "string"}},
            },
            "Tree": {
                "type": "object",
                "properties": {"branches": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
            },
        }
    }
}
PET = {"oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]}


def problem(schema: Document, instance: object, *, name: str = "x") -> Problem | None:
    """Return what is wrong with *instance*."""
    return Schema(COMPONENTS, schema, where="here").problem(instance, name=name)


def said(schema: Document, instance: object, *, name: str = "x") -> tuple[str, str, str]:
    """Return where, with which code and with which sentence *instance* is refused."""
    found = problem(schema, instance, name=name)
    assert found is not None
    return found.param, found.code, found.reason


@confirms("ADR-0007.R1", "ADR-0007.R6")
@pytest.mark.parametrize(
    ("wanted", "instance", "told"),
    [
        ("string", 1, "a string, but got an integer"),
        ("string", None, "a string, but got null"),
        ("integer", "1", "an integer, but got a string"),
        ("boolean", "false", "a boolean, but got a string"),
        ("number", True, "a number, but got a boolean"),
        ("object", [], "an object, but got an array"),
        ("array", {}, "an array, but got an object"),
        ("null", 1.5, "null, but got a number"),
        (["string", "array"], 1, "a string or an array, but got an integer"),
    ],
)
def test_a_wrong_type_is_told_by_its_name(wanted: object, instance: object, told: str) -> None:
    """A value of another type is told by the JSON types: the ones that are accepted, and the one that came."""
    expected = ("x", "invalid_type", f"Invalid type for 'x': expected {told} instead.")

    assert expected == said({"type": wanted}, instance)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"enum": ["a", "b"]}, "'a' or 'b'"),
        ({"enum": ["a", None, True, 1]}, "'a', null, true or 1"),
        ({"const": "a"}, "'a'"),
        ({"const": "{a}"}, "'{a}'"),
    ],
)
def test_a_value_that_is_none_of_a_few_is_told_all_of_them(schema: Document, told: str) -> None:
    """Where only a few values are accepted, they are listed as JSON spells them."""
    assert ("x", "invalid_value", f"Invalid value for 'x': expected {told}.") == said(schema, "c")


MEMBERS = {"type": "object", "properties": {"a": {"type": "string"}}}
SHORT = "too short. Expected a string with minimum length 2."
LONG = "too long. Expected a string with maximum length 2."
FEW = "Expected an array with minimum length"


@confirms("ADR-0007.R1")
@pytest.mark.parametrize(
    ("schema", "instance", "code", "reason"),
    [
        ({"minimum": 1}, 0, "integer_below_min_value", "Invalid 'x': expected a value >= 1."),
        ({"minimum": 1}, 0.5, "decimal_below_min_value", "Invalid 'x': expected a value >= 1."),
        ({"maximum": 2}, 3, "integer_above_max_value", "Invalid 'x': expected a value <= 2."),
        ({"exclusiveMinimum": 1}, 1, "integer_below_min_value", "Invalid 'x': expected a value > 1."),
        ({"exclusiveMaximum": 2}, 2.0, "decimal_above_max_value", "Invalid 'x': expected a value < 2."),
        ({"minLength": 2}, "a", "string_below_min_length", f"Invalid 'x': string {SHORT}"),
        ({"maxLength": 2}, "abc", "string_above_max_length", f"Invalid 'x': string {LONG}"),
        ({"minItems": 1}, [], "empty_array", f"Invalid 'x': empty array. {FEW} 1."),
        ({"minItems": 2}, [1], "array_below_min_length", f"Invalid 'x': array too short. {FEW} 2."),
        (
            {"maxItems": 1},
            [1, 2],
            "array_above_max_length",
            "Invalid 'x': array too long. Expected an array with maximum length 1.",
        ),
        (
            {"minProperties": 1},
            {},
            "object_below_min_properties",
            "Invalid 'x': expected an object with at least 1 members.",
        ),
        (
            {"maxProperties": 0},
            {"k": 1},
            "object_above_max_properties",
            "Invalid 'x': expected an object with at most 0 members.",
        ),
        (
            {"pattern": "^a{2}$"},
            "b",
            "invalid_value",
            "Invalid 'x': expected a string that matches the pattern '^a{2}$'.",
        ),
        ({"format": "uuid"}, "b", "invalid_value", "Invalid value for 'x': expected a uuid."),
        ({"multipleOf": 5}, 7, "invalid_value", "Invalid value for 'x'."),
        ({"uniqueItems": True}, [1, 1], "invalid_value", "Invalid value for 'x'."),
        ({"propertyNames": {"maxLength": 1}}, {"kk": 1}, "invalid_value", "Invalid value for 'x'."),
        ({"not": {"type": "string"}}, "a", "invalid_value", "Invalid value for 'x'."),
        ({"oneOf": [{}, {}]}, "a", "invalid_value", "Invalid value for 'x'."),
        (MEMBERS | {"additionalProperties": False}, {"b": 1}, "unknown_parameter", "Unknown parameter in 'x'."),
    ],
)
def test_every_keyword_has_a_code_and_a_sentence(schema: Document, instance: object, code: str, reason: str) -> None:
    """Each keyword answers with OpenAI's code and a sentence made from the schema's limit."""
    assert ("x", code, reason) == said(schema, instance)


def test_a_missing_member_is_named_by_its_path() -> None:
    """A required member that is missing is named as if it were there."""
    schema = {"properties": {"a": {"items": {"required": ["b"], "properties": {"b": {}}}}}}

    expected = ("a[1].b", "missing_required_parameter", "Missing required parameter: 'a[1].b'.")
    assert expected == said(schema, {"a": [{"b": 1}, {}]}, name="")


def test_a_member_that_must_not_be_there_is_unknown() -> None:
    """A member whose schema is false is refused as unknown, where it stands."""
    param, code, _ = said({"properties": {"a": {"properties": {"b": False}}}}, {"a": {"b": 1}}, name="")

    assert ("a.b", "unknown_parameter") == (param, code)


def test_the_whole_body_is_called_so() -> None:
    """A body that is wrong as a whole has an empty path, and the sentence speaks of the body."""
    expected = ("", "invalid_type", "Invalid type for the body: expected an object, but got an array instead.")

    assert expected == said({"type": "object"}, [], name="")


def test_what_fits_has_no_problem() -> None:
    """An instance that keeps its schema has no problem, however deep the schema refers to itself."""
    assert problem({"$ref": "#/components/schemas/Tree"}, {"branches": [{"branches": []}]}) is None


def test_a_schema_that_refers_to_itself_explains_its_depth() -> None:
    """In a recursive schema the path leads to the depth where the error is."""
    param, _, _ = said({"$ref": "#/components/schemas/Tree"}, {"branches": [{"branches": 1}]}, name="")

    assert "branches[0].branches" == param


SHORT_TEXT_OR_INTEGER = {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}]}
PETS_OR_TEXT = {"oneOf": [{"type": "array", "items": PET}, {"type": "string"}]}
A_OR_DEEP_B = {"anyOf": [{"required": ["a"]}, {"properties": {"b": {"properties": {"c": {"type": "string"}}}}}]}
TEXTS_OR_NUMBERS = {"oneOf": [{"type": "array", "items": {"type": name}} for name in ("string", "integer")]}
PET_OR_TEXT = {"oneOf": [PET, {"type": "string"}]}
NOT_INTEGER = "expected an integer, but got"
NOT_TEXT = "expected a string, but got an integer instead."


@confirms("ADR-0007.R2")
@pytest.mark.parametrize(
    ("schema", "instance", "param", "reason"),
    [
        (PET, {"kind": "cat", "lives": "9"}, "x.lives", f"Invalid type for 'x.lives': {NOT_INTEGER} a string instead."),
        (PET, {"kind": "cat", "lives": []}, "x.lives", f"Invalid type for 'x.lives': {NOT_INTEGER} an array instead."),
        (PET, {"kind": "dog", "lives": "9", "name": 1}, "x.name", f"Invalid type for 'x.name': {NOT_TEXT}"),
        (PET, {"kind": "cow"}, "x.kind", "Invalid value for 'x.kind': expected 'cat' or 'dog'."),
        (PET, {}, "x.kind", "Missing required parameter: 'x.kind'."),
        (PET, "cat", "x", "Invalid type for 'x': expected an object, but got a string instead."),
        (SHORT_TEXT_OR_INTEGER, "abc", "x", f"Invalid 'x': string {LONG}"),
        (
            SHORT_TEXT_OR_INTEGER,
            [],
            "x",
            "Invalid type for 'x': expected a string or an integer, but got an array instead.",
        ),
        (A_OR_DEEP_B, {"b": {"c": 1}}, "x.b.c", f"Invalid type for 'x.b.c': {NOT_TEXT}"),
        (TEXTS_OR_NUMBERS, [1, "2", 3], "x[1]", f"Invalid type for 'x[1]': {NOT_INTEGER} a string instead."),
        (TEXTS_OR_NUMBERS, ["1", 2, "3"], "x[1]", f"Invalid type for 'x[1]': {NOT_TEXT}"),
        (PET_OR_TEXT, {"kind": "cow"}, "x.kind", "Invalid value for 'x.kind': expected 'cat' or 'dog'."),
        (PETS_OR_TEXT, [{"kind": "dog", "name": 1}], "x[0].name", f"Invalid type for 'x[0].name': {NOT_TEXT}"),
        ({"allOf": [{"required": ["a"], "properties": {"a": {}}}]}, {}, "x.a", "Missing required parameter: 'x.a'."),
    ],
)
def test_the_branch_that_was_meant_is_explained(schema: Document, instance: object, param: str, reason: str) -> None:
    """In a union the branch answers whose constant matches, or whose type does; else the choices are listed."""
    actual, _, sentence = said(schema, instance)

    assert (param, reason) == (actual, sentence)


@confirms("ADR-0004.R6")
@pytest.mark.parametrize("key", ["secret", "1234", "0012", "+7", "", "{place}", "a.b", "a[0]", "*"])
@pytest.mark.parametrize("value", ["text", 7, None, [1], {"n": 7}])
def test_a_key_of_the_caller_is_a_star(key: str, value: object) -> None:
    """The path to a member that the schema does not declare shows a star, or ends before it, and tells its type."""
    types: dict[type, str] = {
        str: "a string",
        int: "an integer",
        type(None): "null",
        list: "an array",
        dict: "an object",
    }
    schema = {"additionalProperties": {"type": "boolean"}}

    param, code, reason = said(schema, {key: value})

    assert param in {"x.*", "x"}
    assert "invalid_type" == code
    assert f"Invalid type for '{param}': expected a boolean, but got {types[type(value)]} instead." == reason


@confirms("ADR-0004.R6")
@pytest.mark.parametrize("key", ["secret", "1234", "0012", "+7", ""])
def test_what_stands_below_a_key_of_the_caller_is_explained(key: str) -> None:
    """An error below an undeclared member is explained without the member's name."""
    schema = {"additionalProperties": {"properties": {"a": {"items": {"type": "string"}}}}}

    _, code, reason = said(schema, {key: {"a": [1]}}, name="")

    assert "invalid_type" == code
    assert reason.endswith("expected a string, but got an integer instead.")
    assert not key or key not in reason


def refused(schema: Any) -> str:  # noqa: ANN401 - anything but a schema too
    """Return what is said of *schema*."""
    with pytest.raises(TreatyError) as caught:
        Schema(COMPONENTS, schema, where="here")
    return str(caught.value)


@confirms("ADR-0001.R3")
@pytest.mark.parametrize(
    "keyword",
    ["contains", "if", "patternProperties", "prefixItems", "unevaluatedProperties", "contentEncoding"],
)
@pytest.mark.parametrize(
    "around",
    [
        lambda schema: schema,
        lambda schema: {"properties": {"a": schema}},
        lambda schema: {"items": schema},
        lambda schema: {"additionalProperties": schema},
        lambda schema: {"propertyNames": schema},
        lambda schema: {"not": schema},
        lambda schema: {"oneOf": [{}, schema]},
        lambda schema: {"anyOf": [schema]},
        lambda schema: {"allOf": [schema]},
    ],
)
def test_a_keyword_that_is_not_enforced_is_refused(keyword: str, around: Any) -> None:  # noqa: ANN401 - a function
    """A keyword outside the list is refused at every depth, by name."""
    assert f"here: the schema uses {keyword!r}, which is not enforced" in refused(around({keyword: {}}))


@confirms("ADR-0001.R3")
def test_a_misspelt_keyword_is_refused_with_the_nearest() -> None:
    """A misspelt keyword is refused, and the refusal says which was meant."""
    expected = "here: the schema uses 'maxLenght', which is not enforced; did you mean 'maxLength'?"

    assert expected == refused({"maxLenght": 1})


@confirms("ADR-0001.R3")
def test_a_format_that_is_not_enforced_is_refused() -> None:
    """A format outside the list is refused by name, with the way out."""
    expected = "here: the schema uses the format 'date-time', which is not enforced; use a pattern"

    assert expected == refused({"properties": {"a": {"type": "string", "format": "date-time"}}})


@confirms("ADR-0001.R3")
def test_a_keyword_behind_a_reference_is_refused() -> None:
    """What a schema refers to is held to the same list, through references too."""
    document = {
        "components": {
            "schemas": {"A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}}, "B": {"contains": {}}}
        }
    }

    with pytest.raises(TreatyError, match="'contains'"):
        Schema(document, {"$ref": "#/components/schemas/A"}, where="here")


def test_annotations_and_boolean_schemas_are_accepted() -> None:
    """What constrains nothing may stand in a schema, and so may true and false."""
    schema = {"title": "T", "description": "D", "example": 1, "deprecated": True, "properties": {"a": True, "b": False}}

    assert problem(schema, {"a": 1}) is None
