"""An effective document becomes operations, and what the gateway could not keep is refused by name."""

from typing import Any

import orjson
import pytest
from gateway_conformance.rules import confirms

from documents import error, response, tiny
from dragoman.contract import HeaderRule, Operation
from dragoman.contract.compiler import compile_contract
from treaty import Document, TreatyError

TEXT = {"type": "string"}


def compiled(**stated: Any) -> Operation:  # noqa: ANN401 - members of an operation
    """Return the compiled operation that states *stated*."""
    return compile_contract(tiny(**stated)).operations[0]


def refused(**stated: Any) -> str:  # noqa: ANN401 - members of an operation
    """Return what is said of an operation that states *stated*."""
    with pytest.raises(TreatyError) as caught:
        compile_contract(tiny(**stated))
    return str(caught.value)


def query(schema: Document, *, required: bool = False) -> Document:
    """Return a query parameter."""
    return {"name": "q", "in": "query", "required": required, "schema": schema}


def test_a_contract_knows_its_mount_and_publishes_its_document() -> None:
    """The mount is the document's server, and the published contract is the document itself."""
    document = tiny() | {"servers": [{"url": "/api"}]}

    contract = compile_contract(document)

    assert ("/api", "Things", document) == (contract.mount, contract.title, orjson.loads(contract.published))


def test_an_operation_is_what_the_document_states() -> None:
    """Ids, names, decisions and the live phase are the document's."""
    operation = compiled(**{"x-phase": 1})

    expected = ("makeThing", "thing", "POST", "/things", 1, ("ADR-0001",))
    actual = (operation.id, operation.name, operation.method, operation.path, operation.phase, operation.adrs)
    assert expected == actual


@confirms("ADR-0001.R2")
@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ({"in": "query", "schema": {"type": "array"}}, "in 'query' of type 'array'"),
        ({"in": "cookie", "schema": TEXT}, "in 'cookie' of type 'string'"),
        ({"in": "header", "schema": {}}, "in 'header' of type None"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_refused(parameter: Document, said: str) -> None:
    """A parameter in a cookie, or of a type that no text spells, is refused by name."""
    expected = f"POST /things, parameter 'q': a parameter {said} cannot be read"

    assert expected == refused(parameters=[{"name": "q"} | parameter])


@pytest.mark.parametrize(
    ("schema", "required", "fallible"),
    [
        (TEXT, False, False),
        (TEXT | {"description": "Any text."}, False, False),
        (TEXT, True, True),
        (TEXT | {"maxLength": 1}, False, True),
        ({"type": "integer"}, False, True),
    ],
)
def test_a_parameter_is_fallible_where_some_request_breaks_it(
    schema: Document,
    required: bool,  # noqa: FBT001 - a column of the table
    fallible: bool,  # noqa: FBT001
) -> None:
    """Only an optional text without bounds cannot be wrong."""
    assert [fallible] == [one.fallible for one in compiled(parameters=[query(schema, required=required)]).parameters]


def test_a_path_parameter_is_never_missing() -> None:
    """A required text in the path cannot be wrong: without it the URL is another one."""
    stated = {"name": "id", "in": "path", "required": True, "schema": TEXT}

    [operation] = compile_contract(tiny("/things/{id}", parameters=[stated])).operations

    assert [False] == [parameter.fallible for parameter in operation.parameters]


def test_reserved_characters_make_a_parameter_spacious() -> None:
    """A path parameter with allowReserved may hold slashes, and no other may."""
    stated = {"in": "path", "required": True, "schema": TEXT}
    parameters = [stated | {"name": "a", "allowReserved": True}, stated | {"name": "b"}]

    [operation] = compile_contract(tiny("/things/{b}/{a}", parameters=parameters)).operations

    assert frozenset({"a"}) == operation.spacious


@pytest.mark.parametrize(
    ("security", "scopes"),
    [
        ([], None),
        ([{"bearer": []}], frozenset()),
        ([{"bearer": ["read", "write"]}], frozenset({"read", "write"})),
    ],
)
def test_scopes_are_those_of_the_security_requirement(
    security: list[dict[str, list[str]]], scopes: frozenset[str] | None
) -> None:
    """No requirement asks nobody; one without scopes asks for a key, and one with scopes for a key that has them."""
    assert scopes == compiled(security=security).scopes


def test_the_documents_security_applies_where_an_operation_states_none() -> None:
    """An operation without `security` has the document's."""
    contract = compile_contract(tiny() | {"security": [{"bearer": ["read"]}]})

    assert frozenset({"read"}) == contract.operations[0].scopes


@confirms("ADR-0001.R2")
@pytest.mark.parametrize("security", [[{"bearer": []}, {"bearer": ["read"]}], [{"basic": []}]])
def test_security_that_is_not_one_bearer_scheme_is_refused(security: list[Document]) -> None:
    """Alternatives and schemes other than bearer are refused: they could not be kept."""
    expected = "POST /things: `security` must be empty or one requirement of an http bearer scheme"

    assert expected == refused(security=security)


def test_a_body_knows_its_declared_members() -> None:
    """The declared members of a body are those of its schema, also behind a reference."""
    document = tiny(
        requestBody={"$ref": "#/components/requestBodies/Thing"},
    )
    document["components"] |= {
        "requestBodies": {
            "Thing": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/T"}}}}
        },
        "schemas": {"T": {"type": "object", "properties": {"b": {}, "a": {}}}},
    }

    body = compile_contract(document).operations[0].body

    assert body is not None
    assert frozenset({"a", "b"}) == body.declared


@confirms("ADR-0001.R2")
@pytest.mark.parametrize(
    "body",
    [
        {"content": {"application/json": {"schema": {}}}},
        {"required": True, "content": {"text/plain": {"schema": {}}}},
        {"required": True, "content": {"application/json": {"schema": {}}, "text/plain": {"schema": {}}}},
    ],
)
def test_a_body_that_cannot_be_read_is_refused(body: Document) -> None:
    """A request body that is optional, or not JSON alone, is refused."""
    assert "POST /things: the request body must be required and application/json" == refused(requestBody=body)


def test_the_success_is_the_one_answer_with_a_2xx_status() -> None:
    """An operation without phases answers with its 2xx status, its headers and the members of its schema."""
    made = response() | {"headers": {"X-Final": {"schema": {"const": "yes"}}}}
    made["content"]["application/json"]["schema"] = {"properties": {"id": {}}}

    success = compiled(responses={"201": made, "400": response(invalid_json=error())}).success

    assert success is not None
    assert (201, (HeaderRule(name="x-final", constant="yes"),)) == (success.answer.status, success.answer.headers)
    assert {"id": 1} == success.body.cut({"secret": 2, "id": 1})


def test_an_operation_without_a_2xx_makes_nothing() -> None:
    """Where the live phase has no 2xx, as in Phase 1, there is no success."""
    assert compiled(responses={"400": {"description": "No."}}).success is None


@confirms("ADR-0043.R9")
def test_what_somebody_else_made_is_cut_and_judged() -> None:
    """A body, and the JSON in the data of an event, leave as far as they are declared, or not where they are wrong."""
    streamed = response()
    form = {"required": ["id"], "properties": {"id": {"type": "integer"}}}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": form}
    end = {"properties": {"data": {"const": "[DONE]"}}}
    streamed["content"] = {
        "application/json": {"schema": form},
        "text/event-stream": {"itemSchema": {"oneOf": [end, {"properties": {"data": data}}]}},
    }

    success = compiled(responses={"200": streamed}).success

    assert success is not None
    assert success.event is not None
    for kept in (success.body.kept, success.event.kept):
        assert ({"id": 1}, None, None) == (kept({"id": 1, "secret": 2}), kept({"id": "1"}), kept({"secret": 2}))


def test_events_whose_data_is_no_json_are_not_judged() -> None:
    """An event stream that says nothing of JSON lets any event leave whole."""
    streamed = response() | {"content": {"text/event-stream": {"itemSchema": {"properties": {"data": {}}}}}}

    success = compiled(responses={"200": streamed}).success

    assert success is not None
    assert success.event is not None
    assert {"any": 1} == success.event.kept({"any": 1})


@confirms("ADR-0001.R2")
def test_two_successes_are_refused() -> None:
    """An operation with two 2xx answers is refused with both statuses: one can be served."""
    expected = "POST /things: two successes, 200 and 201; one can be served"

    assert expected == refused(responses={"200": response(), "201": response()})


@confirms("ADR-0001.R3")
@pytest.mark.parametrize(
    ("stated", "where"),
    [
        (
            {"requestBody": {"required": True, "content": {"application/json": {"schema": {"if": {}}}}}},
            "POST /things, request body",
        ),
        ({"parameters": [query(TEXT | {"if": {}})]}, "POST /things, parameter 'q'"),
    ],
)
def test_an_unenforced_keyword_is_refused_with_its_place(stated: Document, where: str) -> None:
    """A request schema with a keyword that validators would not enforce is refused, in bodies and in parameters."""
    assert f"{where}: the schema uses 'if', which is not enforced" == refused(**stated)
