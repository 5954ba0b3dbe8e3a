"""The contract is the program: a copy of it is changed, and the app made from the copy keeps the change (ADR-0001).

Laws of this file:
- A change is a change of the document alone; everything else is the gateway as it is packaged.
- The changed copy is a sound contract (`treaty.problems` finds nothing), or start-up names what is wrong with it.
"""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.contract.source import Source
from dragoman.errors import Kind
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler
from fakes import REQUEST_ID, TOKEN, House, build_house, example
from treaty import Document, TreatyError, effective, operations, problems
from wire import CHAT, VALID, ask, get, post

CANONICAL: Final = Source().canonical
NEW_PATH: Final = "/v3/talk"


def canonical() -> Document:
    """Return a copy of the packaged contract, with all phases."""
    return deepcopy(CANONICAL)


def serve(document: Document, *, handlers: Mapping[str, Handler] = HANDLERS) -> House:
    """Return a gateway that serves the changed *document* in Phase 1."""
    return build_house({"/": effective(document)}, handlers=handlers)


def refused(document: Document, *, handlers: Mapping[str, Handler] = HANDLERS) -> str:
    """Return what start-up says of the changed *document*."""
    with pytest.raises(TreatyError) as caught:
        serve(document, handlers=handlers)
    return str(caught.value)


def chat_of(document: Document) -> Document:
    """Return the operation that serves `CHAT`."""
    operation: Document = document["paths"][CHAT]["post"]
    return operation


def with_new_path() -> Document:
    """Return a contract with one more path, whose requests name a cost centre."""
    document = canonical()
    item = deepcopy(document["paths"][CHAT])
    header = {
        "name": "X-Cost-Centre",
        "in": "header",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]{4}$"},
    }
    item["post"] |= {"operationId": "talk", "parameters": [*item["post"]["parameters"], header]}
    document["paths"][NEW_PATH] = item
    return document


@confirms("ADR-0001.R1")
def test_an_added_path_is_served() -> None:
    """A path that the contract gained is answered as the operation it names, and was unknown before."""
    sent = {"x-cost-centre": "4711"}
    before, after = (
        post(serve(document).app, VALID, path=NEW_PATH, headers=sent) for document in (canonical(), with_new_path())
    )

    assert (404, 501) == (before.status, after.status)
    assert example(CANONICAL, "provider_not_configured") == after.json()


@confirms("ADR-0001.R1", "ADR-0007.R5")
@pytest.mark.parametrize(
    ("sent", "code"), [({}, "missing_required_parameter"), ({"x-cost-centre": "many"}, "invalid_value")]
)
def test_a_required_header_is_enforced(sent: dict[str, str], code: str) -> None:
    """A header that the contract requires is refused by name when it is missing or breaks its schema."""
    answer = post(serve(with_new_path()).app, VALID, path=NEW_PATH, headers=sent)

    error = answer.json()["error"]
    assert (400, "X-Cost-Centre", code) == (answer.status, error["param"], error["code"])


@confirms("ADR-0001.R1", "ADR-0007.R5", "ADR-0007.R6")
@pytest.mark.parametrize(
    ("query", "status"),
    [(b"", 200), (b"limit=7", 200), (b"limit=seven", 400), (b"limit=x&limit=7", 200), (b"limit=7&limit=", 400)],
)
def test_an_added_query_parameter_is_enforced(query: bytes, status: int) -> None:
    """A query parameter that the contract gained must keep its schema; of a repeated one the last counts."""
    document = canonical()
    parameters = document["paths"]["/v1/models"]["get"]["parameters"]
    parameters.append({"name": "limit", "in": "query", "schema": {"type": "integer"}})

    headers = {"authorization": f"Bearer {TOKEN}"}
    assert status == ask(serve(document).app, "GET", "/v1/models", query=query, headers=headers).status


@confirms("ADR-0001.R1")
def test_an_added_path_is_published_and_routed() -> None:
    """The path stands in the published document, its methods in Allow, and its route in the log."""
    house = serve(with_new_path())

    published = get(house.app, "/openapi.json", token=None).json()
    options = ask(house.app, "OPTIONS", NEW_PATH)

    assert "X-Cost-Centre" in json.dumps(published["paths"][NEW_PATH])
    assert "OPTIONS, POST" == options.header("allow")
    assert NEW_PATH == house.log.requests[-1]["route"]


@confirms("ADR-0001.R1", "ADR-0013.R4")
def test_a_tighter_bound_is_enforced() -> None:
    """A smaller maxLength refuses what passed before, and its number stands in the sentence."""
    document = canonical()
    document["components"]["schemas"]["ModelName"]["maxLength"] = 5

    answer = post(serve(document).app, VALID)

    sentence = "Invalid 'model': string too long. Expected a string with maximum length 5."
    assert (400, sentence) == (answer.status, answer.json()["error"]["message"])
    assert 501 == post(serve(document).app, {**VALID, "model": "gpt-5"}).status


def with_other_error() -> Document:
    """Return a contract whose 404 of an unknown model has other members, another sentence and another status."""
    document = canonical()
    schema = {
        "type": "object",
        "required": ["reason", "ticket"],
        "properties": {"reason": {"type": "string"}, "ticket": {"type": "string"}, "final": {"type": "boolean"}},
        "additionalProperties": False,
    }
    document["components"]["examples"]["model_not_found"] = {
        "summary": "No such model.",
        "value": {"final": True, "reason": "Quote one: there is none.", "ticket": "one"},
        "x-fill": {"ticket": "request_id", "reason": "Quote {request_id}: there is none."},
    }
    for name in ("ModelNotFound", "UnknownModel"):
        document["components"]["responses"][name]["content"]["application/json"]["schema"] = schema
    responses = document["paths"]["/v1/models/{model}"]["get"]["responses"]
    responses["410"] = responses.pop("404")
    return document


@confirms("ADR-0001.R1", "ADR-0004.R4")
def test_a_changed_error_is_answered() -> None:
    """Another status, other members and another sentence are answered as the example has them."""
    answer = get(serve(with_other_error()).app, "/v1/models/none")

    expected = f'{{"final":true,"reason":"Quote {REQUEST_ID}: there is none.","ticket":"{REQUEST_ID}"}}'
    assert (410, expected) == (answer.status, answer.body.decode())


@confirms("ADR-0001.R1")
def test_a_kind_under_another_status_is_answered_there() -> None:
    """A schema error that the contract moves from 400 to 409 gets 409, and the other kinds keep their 400."""
    document = canonical()
    bad = document["components"]["responses"]["InvalidRequest"]
    unfit = deepcopy(bad)
    example_of = unfit["content"]["application/json"]["examples"]
    unfit["content"]["application/json"]["examples"] = {"invalid_request": example_of.pop("invalid_request")}
    del bad["content"]["application/json"]["examples"]["invalid_request"]
    document["components"]["responses"]["Unfit"] = unfit
    for route in operations(document):
        if "requestBody" in route.operation:
            route.operation["responses"]["409"] = {"$ref": "#/components/responses/Unfit"}

    app = serve(document).app

    assert [409, 400] == [post(app, body).status for body in (b"{}", b"{")]
    assert [] == problems(document)


@confirms("ADR-0001.R1")
def test_an_added_response_header_is_sent() -> None:
    """A constant header that the contract adds to an answer is sent with it, and with no other."""
    document = canonical()
    forbidden = document["components"]["responses"]["Unauthenticated"]
    forbidden["headers"]["X-Help"] = {"required": True, "schema": {"type": "string", "const": "ask ops"}}

    app = serve(document).app

    assert ["ask ops", None] == [
        post(app, VALID, token=token).header("x-help") for token in ("wrong", "token-of-our-own")
    ]


@confirms("ADR-0001.R1", "ADR-0005.R3")
def test_a_changed_trait_is_obeyed() -> None:
    """A smaller body limit of one operation is kept there and not elsewhere, and its number stands in the sentence."""
    document = canonical()
    chat_of(document)["x-dragoman"] = {"body-limit": 10}

    house = serve(document)
    small, large = (post(house.app, VALID, path=path) for path in (CHAT, f"/proxy{CHAT}"))

    assert (413, 501) == (small.status, large.status)
    assert "The request body is larger than the limit of 10 bytes." == small.json()["error"]["message"]


@confirms("ADR-0001.R5")
def test_a_changed_response_schema_cuts_what_is_made() -> None:
    """Of a made body only the members that the schema declares leave, in the order of the schema."""
    document = canonical()
    model = document["components"]["schemas"]["Model"]
    kept = ("object", "description", "id")
    model["properties"] = {name: model["properties"][name] for name in kept}
    model["required"] = ["id"]

    answer = get(serve(document).app, "/v1/models/general")

    assert b'{"object":"model","description":"Everyday work.","id":"general"}' == answer.body


@confirms("ADR-0001.R1", "ADR-0003.R2")
def test_a_removed_path_is_unknown() -> None:
    """A path that the contract lost is answered as any other unknown URL."""
    document = canonical()
    del document["paths"]["/v1/responses"]
    app = serve(document).app

    gone, never = (post(app, VALID, path=path) for path in ("/v1/responses", "/v1/never"))

    assert (404, never.json()) == (gone.status, gone.json())


def test_the_changed_contracts_are_sound() -> None:
    """What the tests above serve are contracts that `contract check` would accept."""
    assert [] == problems(with_new_path())
    assert [] == problems(with_other_error())


# --- What does not fit together is refused before anything is served --------------------------------------------------


@attrs.frozen(kw_only=True)
class Broken:
    """A change that must be refused, and what is said of it."""

    change: Callable[[Document], object]
    said: str


def change_response(name: str, **changes: Any) -> Callable[[Document], object]:  # noqa: ANN401 - parts of a document
    """Return a change of one response component."""
    return lambda document: document["components"]["responses"][name].update(changes)


def add_example(response: str, kind: str) -> Callable[[Document], object]:
    """Return a change that lists *kind* in one response more."""

    def change(document: Document) -> None:
        media = document["components"]["responses"][response]["content"]["application/json"]
        media["examples"][kind] = {"$ref": f"#/components/examples/{kind}"}

    return change


def drop_example(response: str, kind: str) -> Callable[[Document], object]:
    """Return a change that lists *kind* in one response less."""

    def change(document: Document) -> None:
        del document["components"]["responses"][response]["content"]["application/json"]["examples"][kind]

    return change


def rename_kind(document: Document) -> None:
    """List an example with x-fill under a name that no kind has."""
    document["components"]["examples"]["on_fire"] = document["components"]["examples"]["model_not_found"]
    add_example("ModelNotFound", "on_fire")(document)


REFUSED: Final = {
    "operation without handler": Broken(
        change=lambda document: chat_of(document).update({"x-operation": "chatter"}),
        said="POST /v1/chat/completions: no handler for the x-operation 'chatter'",
    ),
    "forwarding without phases": Broken(
        change=lambda document: document["paths"]["/v1/responses"]["post"].pop("x-phase"),
        said="POST /v1/responses: 'responses' cannot forward, so its phase must be 1",
    ),
    "kind missing": Broken(
        change=drop_example("InvalidRequest", "invalid_json"),
        said="POST /v1/chat/completions: no response lists invalid_json",
    ),
    "kind idle": Broken(
        change=add_example("InvalidParameter", "invalid_json"),
        said="GET /v1/models: it can never be refused with invalid_json",
    ),
    "kind twice": Broken(
        change=add_example("Unauthenticated", "invalid_json"),
        said="POST /v1/chat/completions: kind 'invalid_json' is listed under 400 and 401; list it once",
    ),
    "kind unknown": Broken(
        change=rename_kind,
        said="GET /v1/models/{model}: example 'on_fire' has x-fill but is no kind of refusal that the gateway knows",
    ),
    "kind missing outside operations": Broken(
        change=lambda document: document["components"]["responses"].pop("UnknownUrl"),
        said="Dragoman: no x-anywhere response carries 'unknown_url'",
    ),
    "OPTIONS missing": Broken(
        change=lambda document: document["components"]["responses"].pop("Options"),
        said="Dragoman: no x-anywhere response without a body has the status 204",
    ),
    "trait unknown": Broken(
        change=lambda document: document["x-dragoman"].update({"body-limt": 1}),
        said="POST /v1/chat/completions: unknown trait 'body-limt'; "
        "known are agent, body-limit, default-model, default-off, identity, limits-by, non-text, organization, "
        "request-id, switch, unknown-keys, unknown-model, usage; did you mean 'body-limit'?",
    ),
    "method not served": Broken(
        change=lambda document: document["paths"]["/livez"].update({"trace": document["paths"]["/livez"].pop("get")}),
        said="TRACE /livez: the method cannot be served; use one of GET, POST, PUT, PATCH, DELETE",
    ),
    "path that cannot be routed": Broken(
        change=lambda document: document["paths"].update({"/live z": document["paths"].pop("/livez")}),
        said="/live z: no route can be made of this path: URI templates may not include whitespace.",
    ),
    "document that is unsound": Broken(
        change=lambda document: document["paths"]["/livez"]["get"].pop("x-adr"),
        said="GET /livez: cannot be served as it is written (KeyError: 'x-adr'); see `contract check`",
    ),
    "agent header that nobody declares": Broken(
        change=lambda document: document["x-dragoman"].update({"agent": {"from": [{"header": "X-Nobody"}]}}),
        said="the document's traits: 'agent' names the header 'X-Nobody', which no operation has as a parameter",
    ),
    "keyword not enforced": Broken(
        change=lambda document: document["components"]["schemas"]["ModelName"].update({"if": {}}),
        said="POST /v1/chat/completions, request body: the schema uses 'if', which is not enforced",
    ),
    "format not enforced": Broken(
        change=lambda document: document["components"]["schemas"]["ModelName"].update({"format": "email"}),
        said="POST /v1/chat/completions, request body: the schema uses the format 'email', "
        "which is not enforced; use a pattern",
    ),
    "header that nobody can send": Broken(
        change=change_response("Unauthenticated", headers={"X-Odd": {"schema": {"type": "string"}}}),
        said="POST /v1/chat/completions, response 401: header X-Odd needs a string `const` in its schema, or `x-fill`, "
        "to be sent",
    ),
}


@confirms("ADR-0001.R2", "ADR-0001.R3", "ADR-0001.R5", "ADR-0004.R1", "ADR-0004.R3", "ADR-0005.R1")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_by_name(name: str) -> None:
    """A contract that the gateway could not keep is refused at start, and the refusal names the culprit."""
    document = canonical()
    REFUSED[name].change(document)

    assert REFUSED[name].said == refused(document)


@confirms("ADR-0004.R1")
def test_every_kind_is_an_example_and_every_filled_example_a_kind() -> None:
    """Code and contract have the same kinds of refusal."""
    filled = {name for name, stated in CANONICAL["components"]["examples"].items() if "x-fill" in stated}

    assert {kind.value for kind in Kind} == filled
