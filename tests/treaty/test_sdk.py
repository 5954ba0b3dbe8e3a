"""The document for client generators: both phases, in words that they understand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway_conformance.rules import confirms

from treaty import operations, problems, sdk
from treaty.shape import walk

if TYPE_CHECKING:
    from treaty import Document


@confirms("ADR-0003.R3")
def test_the_document_is_valid_3_1_with_the_responses_of_both_phases(small: Document) -> None:
    """A client generated from it knows the answers of Phase 1 and of Phase 2."""
    derived = sdk(small)

    assert "3.1.0" == derived["openapi"]
    assert [] == problems(derived)
    assert [{"200", "400", "501"}, {"200", "400", "501"}, {"200", "400"}] == [
        set(route.operation["responses"]) for route in operations(derived)
    ]


@confirms("ADR-0003.R3")
def test_json_comes_first_and_streams_not_at_all(small: Document) -> None:
    """Generators take the first media type and parse an event stream as JSON."""
    content = small["paths"]["/models/{model}"]["get"]["responses"]["200"]["content"]
    small["paths"]["/models/{model}"]["get"]["responses"]["200"]["content"] = {
        "text/plain": {},
        "application/jsonl": {"itemSchema": {}},
        "text/event-stream": {"schema": {}},
        **content,
    }

    derived = sdk(small)

    model = derived["paths"]["/models/{model}"]["get"]["responses"]["200"]
    assert ["application/json", "text/plain"] == list(model["content"])
    assert ["application/json"] == list(derived["components"]["responses"]["Answer"]["content"])
    assert "Event" not in derived["components"]["schemas"]


@confirms("ADR-0003.R3")
def test_no_schema_is_a_boolean(small: Document) -> None:
    """Anything and nothing are written as objects; only `additionalProperties` may say true or false."""
    derived = sdk(small)

    booleans = {place.pointer for place in walk(derived) if isinstance(place.node, bool)}
    assert {"#/components/schemas/Question/additionalProperties"} == booleans
    assert {} == derived["components"]["schemas"]["Question"]["properties"]["anything"]
    assert {"not": {}} == derived["components"]["schemas"]["Pause"]["properties"]["nothing"]


def test_what_only_the_gateway_reads_is_left_out(small: Document) -> None:
    """No extension survives, and neither does what only an extension kept alive."""
    derived = sdk(small)

    extensions = {
        name for place in walk(derived) if isinstance(place.node, dict) for name in place.node if name.startswith("x-")
    }
    assert set() == extensions
    assert {"Answer", "Refused", "NotYet"} == derived["components"]["responses"].keys()
    assert ["x-should-retry"] == list(derived["components"]["responses"]["NotYet"]["headers"])


def test_words_of_3_2_are_left_out_or_said_in_older_ones() -> None:
    """What 3.1 does not know goes; a summary becomes the description, a data value the value."""
    document = {
        "openapi": "3.2.0",
        "$self": "https://example.org/api",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "/", "name": "n"}],
        "tags": [{"name": "t", "summary": "s", "kind": "nav"}],
        "paths": {
            "/a/{b}": {
                "query": {"responses": {}},
                "additionalOperations": {"PURGE": {"responses": {}}},
                "post": {
                    "parameters": [
                        {"name": "b", "in": "path", "required": True, "allowReserved": True, "schema": {}},
                        {"name": "q", "in": "query", "allowReserved": True, "schema": {}},
                        {"name": "all", "in": "querystring", "content": {"a/b": {}}},
                        {"$ref": "#/components/parameters/Whole"},
                    ],
                    "requestBody": {"content": {"application/json": {"$ref": "#/components/mediaTypes/Json"}}},
                    "responses": {"200": {"summary": "Fine"}, "204": {}, "202": {"description": "d", "summary": "s"}},
                },
            }
        },
        "components": {
            "parameters": {"Whole": {"name": "all", "in": "querystring", "content": {"a/b": {}}}},
            "mediaTypes": {"Json": {"schema": {}, "examples": {"one": {"dataValue": 1, "serializedValue": "1"}}}},
        },
    }

    derived = sdk(document)

    post = derived["paths"]["/a/{b}"]["post"]
    assert ["openapi", "info", "servers", "tags", "paths"] == list(derived)
    assert ([{"url": "/"}], [{"name": "t"}]) == (derived["servers"], derived["tags"])
    assert ["post"] == list(derived["paths"]["/a/{b}"])
    assert [("b", False), ("q", True)] == [(entry["name"], "allowReserved" in entry) for entry in post["parameters"]]
    assert {"schema": {}, "examples": {"one": {"value": 1}}} == post["requestBody"]["content"]["application/json"]
    assert [{"description": "Fine"}, {"description": ""}, {"description": "d"}] == list(post["responses"].values())


def test_null_moves_from_components_to_references() -> None:
    """A component that may be null becomes one that may not; each reference to it says null instead."""
    document: Document = {
        "openapi": "3.2.0",
        "paths": {
            "/a": {
                "post": {
                    "requestBody": {
                        "content": {
                            "a/b": {"schema": {"$ref": "#/components/schemas/Maybe"}},
                            "c/d": {"schema": {"$ref": "#/components/schemas/Word"}},
                        }
                    }
                }
            }
        },
        "components": {
            "schemas": {
                "Maybe": {
                    "type": ["object", "null"],
                    "properties": {
                        "again": {"description": "d", "$ref": "#/components/schemas/Many"},
                        "both": {"anyOf": [{}], "$ref": "#/components/schemas/Maybe"},
                    },
                },
                "Many": {"type": ["object", "array", "null"]},
                "Word": {"type": ["string", "null"]},
            }
        },
    }

    derived = sdk(document)

    null = {"type": "null"}
    maybe, many, word = (derived["components"]["schemas"][name] for name in ("Maybe", "Many", "Word"))
    assert ("object", ["object", "array"], ["string", "null"]) == (maybe["type"], many["type"], word["type"])
    assert {
        "again": {"description": "d", "anyOf": [{"$ref": "#/components/schemas/Many"}, null]},
        "both": {"anyOf": [{}], "allOf": [{"anyOf": [{"$ref": "#/components/schemas/Maybe"}, null]}]},
    } == maybe["properties"]
    content = derived["paths"]["/a"]["post"]["requestBody"]["content"]
    assert {"anyOf": [{"$ref": "#/components/schemas/Maybe"}, null]} == content["a/b"]["schema"]
    assert {"$ref": "#/components/schemas/Word"} == content["c/d"]["schema"]
    assert ["object", "null"] == document["components"]["schemas"]["Maybe"]["type"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"type": ["array", "null"]}, {"type": ["array", "null"], "items": {}}),
        ({"type": "array", "items": False}, {"type": "array", "items": {"not": {}}}),
    ],
)
def test_an_array_says_what_it_holds(small: Document, schema: Document, expected: Document) -> None:
    """Generators leave out an array without `items`; anything is what it may hold."""
    small["components"]["schemas"]["Model"]["properties"]["list"] = schema

    assert expected == sdk(small)["components"]["schemas"]["Model"]["properties"]["list"]


def test_deriving_leaves_the_contract_alone(small: Document) -> None:
    """Two derivations of one contract are equal, and the contract is still sound."""
    first = sdk(small)
    first["components"]["schemas"].clear()

    assert sdk(small) == sdk(small)
    assert [] == problems(small)
