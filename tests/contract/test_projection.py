"""Bodies that the gateway makes are cut down to what the contract declares."""

import pytest
from gateway_conformance.rules import confirms

from dragoman.contract.projection import build_projection
from treaty import Document, TreatyError

DOCUMENT: Document = {"components": {"schemas": {"Name": {"type": "string"}}}}


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

    projected = build_projection(DOCUMENT, schema, where="here")(made)

    assert '{"id": "x", "tags": [{"b": 2, "a": 1}]}' == str(projected).replace("'", '"')


def test_a_value_without_declared_members_leaves_whole() -> None:
    """A schema that declares neither members nor items lets a value through as it is."""
    assert {"any": [1]} == build_projection(DOCUMENT, {"type": "object"}, where="here")({"any": [1]})


@confirms("ADR-0001.R5")
@pytest.mark.parametrize("union", ["oneOf", "anyOf", "allOf"])
def test_a_schema_that_cannot_be_followed_is_refused(union: str) -> None:
    """A union in a schema of a made body is refused at start, with the place where it stands."""
    schema: Document = {"properties": {"list": {"items": {union: [{}]}}}}

    with pytest.raises(TreatyError) as caught:
        build_projection(DOCUMENT, schema, where="GET /x, response 200")

    expected = f"GET /x, response 200.list[]: a body that the gateway makes needs a schema without {union!r}"
    assert expected == str(caught.value)
