"""Bodies that the gateway makes are cut down to what the contract declares."""

import pytest
from gateway_conformance.rules import confirms

from dragoman.contract.projection import build_projection
from treaty import Document

DOCUMENT: Document = {"components": {"schemas": {"Name": {"type": "string"}}}}


def cut(schema: Document, value: object) -> object:
    """Return what leaves of *value* by *schema*."""
    project = build_projection(DOCUMENT, schema)
    return value if project is None else project(value)


@confirms("ADR-0001.R5")
def test_only_declared_members_leave_in_the_declared_order() -> None:
    """Members that the schema does not declare are left out at every depth, and the schema gives the order."""
    schema: Document = {
        "properties": {
            "id": {"$ref": "#/components/schemas/Name"},
            "tags": {"items": {"properties": {"b": {}, "a": {}}}},
            "missing": {},
        }
    }
    made = {"secret": 1, "tags": [{"a": 1, "b": 2, "secret": 3}], "id": "x"}

    assert '{"id": "x", "tags": [{"b": 2, "a": 1}]}' == str(cut(schema, made)).replace("'", '"')


@pytest.mark.parametrize("schema", [{"type": "object"}, {"items": {"type": "string"}}, {"items": {}}])
def test_a_value_without_declared_members_leaves_whole(schema: Document) -> None:
    """A schema that declares members nowhere lets a value through as it is, and nothing is called for it."""
    assert build_projection(DOCUMENT, schema) is None


@confirms("ADR-0001.R5")
@pytest.mark.parametrize("union", ["oneOf", "anyOf", "allOf"])
def test_in_a_union_what_any_branch_declares_may_leave(union: str) -> None:
    """The members of all branches leave, those of no branch do not; an array of a branch is followed too."""
    member: Document = {"properties": {"x": {}}}
    schema: Document = {"properties": {"a": {}}, union: [{"properties": {"b": member}}, {"items": member}]}

    assert {"a": 1, "b": {"x": 2}} == cut(schema, {"a": 1, "b": {"x": 2, "y": 3}, "c": 4})
    assert [{"x": 2}, 5] == cut(schema, [{"x": 2, "y": 3}, 5])


@pytest.mark.parametrize("value", ["text", 1, None, True])
def test_what_is_of_another_type_passes_as_it_is(value: object) -> None:
    """The projection judges nothing: that is the validator's business."""
    assert value == cut({"properties": {"a": {}}}, value)
    assert value == cut({"items": {"properties": {"a": {}}}}, value)


@confirms("ADR-0043.R10")
def test_a_null_of_what_may_be_absent_and_is_never_null_stays_away() -> None:
    """A null leaves only where the contract knows it, or where its absence would break it as well."""
    text, either, member = {"type": "string"}, {"type": ["string", "null"]}, {"$ref": "#/components/schemas/Name"}
    schema: Document = {
        "properties": {"text": text, "named": member, "either": either, "any": {}, "needed": text},
        "anyOf": [{"required": ["needed"]}, {"properties": {"text": {"type": "integer"}}}],
    }
    made = dict.fromkeys(("text", "named", "either", "any", "needed"))

    assert {"either": None, "any": None, "needed": None} == cut(schema, made)
    assert {"text": "", "named": "x"} == cut(schema, {"text": "", "named": "x"})
