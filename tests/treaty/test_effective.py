"""The effective document: phases, flags, mount, and nothing that is not live."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from gateway_conformance.rules import confirms

from treaty import TreatyError, effective, operations, problems, resolve

if TYPE_CHECKING:
    from treaty import Document


def statuses(document: Document, name: str) -> set[str]:
    """Return the statuses that the operations of this name document."""
    return {status for route in operations(document) if route.name == name for status in route.operation["responses"]}


def kinds(document: Document, path: str, method: str, status: str) -> list[str]:
    """Return the names of the JSON examples that the operation shows under the status."""
    response = resolve(document, document["paths"][path][method]["responses"][status])
    return list(response["content"]["application/json"]["examples"])


@confirms("ADR-0003.R1")
@pytest.mark.parametrize(("phase", "expected"), [(1, {"400", "501"}), (2, {"200", "400"})])
def test_a_phase_shows_its_own_statuses_only(small: Document, phase: int, expected: set[str]) -> None:
    """Phase 1 documents 501 and no success, Phase 2 the reverse, and the operation says which it is."""
    live = effective(small, phases={"chat": phase, "embed": phase})

    assert expected == statuses(live, "chat") == statuses(live, "embed")
    assert [phase, phase, None] == [route.operation.get("x-phase") for route in operations(live)]
    assert {"200", "400"} == statuses(live, "model")
    assert [] == problems(live)


def test_phase_one_is_what_nobody_asks_for(small: Document) -> None:
    """Without flags every forwarding operation is in Phase 1."""
    assert effective(small, phases={"chat": 1, "embed": 1}) == effective(small)


@confirms("ADR-0003.R5")
def test_operations_in_different_phases_share_a_response_without_sharing_its_marks(small: Document) -> None:
    """Each operation shows of a shared component only what is live in its own phase."""
    live = effective(small, phases={"chat": 2})

    assert ["invalid_request", "too_many_tokens"] == kinds(live, "/chat", "post", "400")
    assert ["invalid_request"] == kinds(live, "/embed", "post", "400")
    assert ["invalid_request"] == kinds(live, "/models/{model}", "get", "400")
    chat, embed, model = (
        live["paths"][path][method]["responses"]["400"]
        for path, method in (("/chat", "post"), ("/embed", "post"), ("/models/{model}", "get"))
    )
    assert "#/components/responses/Refused" == chat["$ref"]
    assert ("The text is no text.", ["x-should-retry"]) == (embed["description"], list(embed["headers"]))
    assert ("Refused.", []) == (model["description"], list(model["headers"]))
    assert [] == problems(live)


def test_marks_do_not_survive(small: Document) -> None:
    """Of what stays in a document, only operations carry an `x-phase`."""
    for phases in ({}, {"chat": 2}, {"embed": 2}, {"chat": 2, "embed": 2}):
        live = effective(small, phases=phases)
        for route in operations(live):
            route.operation.pop("x-phase", None)

        assert "x-phase" not in str(live)


def test_marked_parts_of_an_inline_response_are_filtered(small: Document) -> None:
    """A media type, an example and a header may be marked where they stand, also in a chain or a callback."""
    small["components"]["responses"]["Alias"] = {"$ref": "#/components/responses/Refused"}
    small["paths"]["/embed"]["post"]["responses"]["400"] = {"$ref": "#/components/responses/Alias"}
    small["paths"]["/chat"]["post"]["callbacks"] = {
        "later": {"{$url}": {"post": {"responses": {"200": {"description": "d", "x-phase": 1}}}}}
    }
    small["paths"]["/models/{model}"]["get"]["responses"]["200"] = {
        "description": "d",
        "headers": {"X-One": {"x-phase": 1, "schema": True}, "X-Two": {"schema": True}},
        "content": {
            "text/plain": {"x-phase": 2},
            "application/json": {
                "examples": {
                    "a": {"x-phase": 1, "value": {"x-phase": 1}},
                    "b": {"value": {"x-phase": 1, "$ref": "#/nowhere"}},
                }
            },
        },
    }

    live = effective(small, phases={"chat": 2})

    expected = {
        "description": "d",
        "headers": {"X-Two": {"schema": True}},
        "content": {"application/json": {"examples": {"b": {"value": {"x-phase": 1, "$ref": "#/nowhere"}}}}},
    }
    assert expected == live["paths"]["/models/{model}"]["get"]["responses"]["200"]
    assert ["invalid_request"] == kinds(live, "/embed", "post", "400")
    callback = live["paths"]["/chat"]["post"]["callbacks"]["later"]["{$url}"]
    assert {} == callback["post"]["responses"]


def test_a_marked_part_below_a_component_is_inlined_where_it_is_used(small: Document) -> None:
    """A reference to a part of a component is replaced by what is live of it."""
    media = "#/components/responses/Refused/content/application~1json"
    small["paths"]["/embed"]["post"]["responses"]["400"] = {
        "description": "d",
        "content": {"application/json": {"$ref": media}},
    }

    live = effective(small)

    content = live["paths"]["/embed"]["post"]["responses"]["400"]["content"]
    assert ["invalid_request"] == list(content["application/json"]["examples"])


@confirms("ADR-0003.R2")
def test_an_operation_that_is_off_is_absent(small: Document) -> None:
    """Neither its path nor what only it referred to is left."""
    live = effective(small, off={"chat", "model"})

    assert ["/embed"] == list(live["paths"])
    assert "Question" not in live["components"]["schemas"]
    assert "securitySchemes" not in live["components"]
    assert "Trace" not in str(live["components"])
    assert [] == problems(live)


def test_a_path_keeps_the_operations_that_are_on(small: Document) -> None:
    """Turning one method off leaves the others of its path, also where the path item is shared."""
    small["components"]["pathItems"] = {"Embed": small["paths"]["/embed"]}
    small["paths"]["/embed"] = {"$ref": "#/components/pathItems/Embed"}
    small["components"]["pathItems"]["Embed"]["get"] = {"x-operation": "list", "responses": {}}

    live = effective(small, off=["embed"])

    assert {"get": {"x-operation": "list", "responses": {}}} == live["paths"]["/embed"]


def test_methods_of_any_name_are_filtered(small: Document) -> None:
    """An operation of `additionalOperations` is live or off as any other, and keeps its path alone."""
    purge = {"x-operation": "purge", "responses": {"200": {"description": "d", "x-phase": 2}}}
    small["paths"] = {"/a": {"additionalOperations": {"PURGE": purge}}, "/b": {"get": {"x-operation": "b"}}}

    assert {"/a": {"additionalOperations": {"PURGE": {"x-operation": "purge", "responses": {}}}}} == effective(
        small, off={"b"}
    )["paths"]
    assert {"/b": {"get": {"x-operation": "b"}}} == effective(small, off={"purge"})["paths"]


def test_a_percent_encoded_reference_is_the_same_reference(small: Document) -> None:
    """A component that is referred to in two spellings shows one version of itself."""
    small["paths"]["/chat"]["post"]["responses"]["400"] = {"$ref": "#/components/responses/%52efused"}

    live = effective(small, phases={"chat": 2, "embed": 2})

    assert {"$ref": "#/components/responses/%52efused"} == live["paths"]["/chat"]["post"]["responses"]["400"]
    assert "too_many_tokens" in kinds(live, "/chat", "post", "400")
    assert "x-phase" not in str(live["components"])


def test_the_mount_is_the_only_server(small: Document) -> None:
    """The document says under which prefix it is served, and its paths are without it."""
    live = effective(small, mount="/ibex")

    assert [{"url": "/ibex"}] == live["servers"]
    assert list(small["paths"]) == list(live["paths"])
    assert list(small) == list(live)


def test_answers_outside_any_operation_stay(small: Document) -> None:
    """A response marked `x-anywhere` is kept with all that it refers to, without what is marked."""
    small["components"]["responses"]["Lost"]["headers"] = {"x-should-retry": {"$ref": "#/components/headers/Retry"}}

    live = effective(small, off={"chat", "embed", "model"})

    assert {} == live["paths"]
    assert ["Lost"] == list(live["components"]["responses"])
    assert {} == live["components"]["responses"]["Lost"]["headers"]
    assert ["unknown_url"] == list(live["components"]["examples"])


def test_the_document_is_left_alone(small: Document) -> None:
    """Making one effective document does not change what the next one is made from."""
    before = copy.deepcopy(small)

    effective(small, phases={"chat": 2}, off={"model"})["components"]["schemas"]["Error"].clear()

    assert before == small
    assert {"paths": {}, "servers": [{"url": "/"}]} == effective({"paths": {}})


@pytest.mark.parametrize(
    ("phases", "off", "expected"),
    [
        ({"chta": 2}, (), "no operation is called 'chta'; did you mean 'chat'?"),
        ({}, ("modle",), "no operation is called 'modle'; did you mean 'model'?"),
        ({}, ("zzz",), "no operation is called 'zzz'; known: chat, embed, model"),
        ({"chat": 3}, (), "operation 'chat' has no phase 3: its x-phase is [1, 2]"),
        ({"model": 1}, (), "operation 'model' has no phase 1: its x-phase is None"),
    ],
)
def test_a_flag_that_nothing_has_is_refused(
    small: Document, phases: dict[str, int], off: tuple[str, ...], expected: str
) -> None:
    """A misspelt operation and a phase that it has not are named."""
    with pytest.raises(TreatyError) as refusal:
        effective(small, phases=phases, off=off)

    assert expected == str(refusal.value)


@pytest.mark.parametrize("marked", [[2], 1])
def test_an_operation_must_have_the_phase_it_would_be_in(small: Document, marked: object) -> None:
    """An operation that cannot be in Phase 1 must be given its phase; a number is no list."""
    small["paths"]["/chat"]["post"]["x-phase"] = marked

    with pytest.raises(TreatyError, match="operation 'chat' has no phase 1"):
        effective(small)
