"""Walking a document: every object with its kind and place, and no plain value."""

from __future__ import annotations

from treaty.shape import Place, walk


def test_every_object_is_met_with_its_kind_and_place() -> None:
    """Maps, lists and single objects are followed; examples, defaults and references are not."""
    document = {
        "x-note": {"paths": {}},
        "paths": {
            "x-note": {},
            "/a": {
                "parameters": [{"$ref": "#/components/parameters/P", "schema": {}}],
                "get": {"responses": {"200": {"headers": {"x-id": {"example": {"schema": {}}}}}}},
            },
        },
        "components": {"schemas": {"default": {"default": {"not": {}}, "not": True}}},
    }

    assert [
        ("#", "openapi"),
        ("#/paths", "paths"),
        ("#/paths/~1a", "pathItem"),
        ("#/paths/~1a/parameters/0", "parameter"),
        ("#/paths/~1a/get", "operation"),
        ("#/paths/~1a/get/responses", "responses"),
        ("#/paths/~1a/get/responses/200", "response"),
        ("#/paths/~1a/get/responses/200/headers/x-id", "header"),
        ("#/components", "components"),
        ("#/components/schemas/default", "schema"),
        ("#/components/schemas/default/not", "schema"),
    ] == [(place.pointer, place.kind) for place in walk(document)]


def test_a_value_of_the_wrong_type_does_not_stop_the_walk() -> None:
    """What should be a map or a list and is none is passed over; what should be an object is met."""
    operation = {"parameters": {}, "callbacks": [], "responses": 3}

    assert [
        Place(pointer="#", kind="operation", node=operation),
        Place(pointer="#/responses", kind="responses", node=3),
    ] == list(walk(operation, kind="operation"))
