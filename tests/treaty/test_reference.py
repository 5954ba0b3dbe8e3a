"""References, operations, and what is used at all."""

from __future__ import annotations

import pytest

from treaty import Route, TreatyError, operations, resolve
from treaty.document import pointer, steps
from treaty.reference import pruned, unused


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("#/a~1b/c~0d", {"x": 1}),
        ("#/a%7E1b/c~0d/x", 1),
        ("#/list/1", "two"),
        ("#/chain", "two"),
        ("#/list/1/", None),
    ],
)
def test_a_reference_is_followed_to_its_end(reference: str, expected: object) -> None:
    """Pointers are unescaped (RFC 6901) and percent-decoded, and chains of references followed."""
    document = {"a/b": {"c~d": {"x": 1}}, "list": ["one", "two"], "chain": {"$ref": "#/list/1"}}
    if expected is None:
        with pytest.raises(TreatyError, match="leads nowhere"):
            resolve(document, {"$ref": reference})
    else:
        assert expected == resolve(document, {"$ref": reference})


def test_what_is_no_reference_is_itself() -> None:
    """A node without a textual `$ref` is returned as it is."""
    node = {"$ref": {"type": "string"}}

    assert node is resolve({}, node)
    assert 3 == resolve({}, 3)
    assert {} == resolve({}, {"$ref": "#"})


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("#/components/modles", "leads nowhere at 'modles'; did you mean 'models'?"),
        ("#/components/zzz", "leads nowhere at 'zzz'; known: circle, list, models"),
        ("#/components/list/7", "leads nowhere at '7'"),
        ("#/components/list/one", "leads nowhere at 'one'"),
        ("other.yaml#/a", "leaves the document"),
        ("#a", "leaves the document"),
        ("#/components/circle", "leads back to itself"),
    ],
)
def test_a_reference_to_nowhere_is_named(reference: str, expected: str) -> None:
    """The complaint shows the step that fails and the nearest name there is."""
    document = {"components": {"models": {}, "list": [1], "circle": {"$ref": "#/components/circle"}}}

    with pytest.raises(TreatyError) as refusal:
        resolve(document, {"$ref": reference})

    assert expected in str(refusal.value)


def test_a_pointer_and_its_steps_are_each_others_inverse() -> None:
    """What a pointer escapes its steps unescape."""
    assert "#/paths/~1v1~1a~0b/0" == pointer("paths", "/v1/a~b", 0)
    assert ("paths", "/v1/a~b", "0") == steps(pointer("paths", "/v1/a~b", 0))
    assert () == steps("#") == steps("other.yaml#/a") == steps("#anchor")


def test_operations_come_with_their_place_and_parameters() -> None:
    """Path items and parameters are resolved; the operation's parameter wins over the path's."""
    own = {"name": "n", "in": "query", "required": True}
    shared = {"name": "n", "in": "query"}
    header = {"name": "n", "in": "header"}
    post, purge = {"operationId": "p", "x-operation": "chat", "parameters": [own]}, {"operationId": "q"}
    item = {
        "summary": "s",
        "parameters": [shared, {"$ref": "#/components/parameters/N"}],
        "post": post,
        "additionalOperations": {"PURGE": purge},
    }
    document = {
        "paths": {"x-note": {}, "/a": {"$ref": "#/components/pathItems/A"}},
        "components": {"pathItems": {"A": item}, "parameters": {"N": header}},
    }

    found = list(operations(document))

    assert [
        Route(path="/a", method="POST", pointer="#/paths/~1a/post", operation=post, parameters=(own, header)),
        Route(
            path="/a",
            method="PURGE",
            pointer="#/paths/~1a/additionalOperations/PURGE",
            operation=purge,
            parameters=(shared, header),
        ),
    ] == found
    assert ["chat", None] == [route.name for route in found]
    assert [] == list(operations({}))


def test_only_what_something_live_reaches_is_used() -> None:
    """References, discriminators, security requirements and answers outside operations all count."""
    document = {
        "openapi": "3.2.0",
        "security": [{"key": []}],
        "paths": {
            "/a": {"get": {"security": [{"oauth": ["s"]}], "responses": {"200": {"$ref": "#/components/responses/Ok"}}}}
        },
        "components": {
            "securitySchemes": {"key": {}, "oauth": {}, "basic": {}},
            "responses": {
                "Ok": {"content": {"a/b": {"schema": {"$ref": "#/components/schemas/A/properties/b"}}}},
                "Lost": {"x-anywhere": 404, "headers": {"X": {"$ref": "#/components/headers/X"}}},
                "Spare": {},
            },
            "headers": {"X": {"schema": {"$ref": "#/components/schemas/Text"}}, "Y": {}},
            "schemas": {
                "A": {"properties": {"b": {}}, "discriminator": {"mapping": {"c": "C"}, "defaultMapping": "D"}},
                "C": {"items": {"$ref": "#/components/schemas/A"}},
                "D": {"$ref": "other.yaml#/components/schemas/E"},
                "E": {"example": {"$ref": "#/components/schemas/Spare"}},
                "Text": {},
                "Spare": {"$ref": "#/components/schemas/Spare"},
            },
            "examples": {"only": {"value": {"$ref": "#/components/schemas/Spare"}}},
        },
    }

    assert [
        "#/components/schemas/E",
        "#/components/schemas/Spare",
        "#/components/responses/Spare",
        "#/components/examples/only",
        "#/components/headers/Y",
        "#/components/securitySchemes/basic",
    ] == unused(document)
    kept = pruned(document)
    assert [] == unused(kept)
    assert ["securitySchemes", "responses", "headers", "schemas"] == list(kept["components"])
    assert kept["paths"] == document["paths"]
    assert kept["paths"] is not document["paths"]


def test_a_document_whose_components_are_all_unused_has_none() -> None:
    """An empty group is no group, and no groups are no components."""
    assert {"paths": {}} == pruned({"paths": {}, "components": {"schemas": {"A": {}}}})
