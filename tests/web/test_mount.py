"""One mount: methods, unknown URLs, replies, and faults of ours."""

from collections.abc import Mapping
from typing import Any

import attrs
import falcon
import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.contract import compile_contract
from dragoman.errors import Kind, Refusal
from dragoman.gate.admitted import Admitted
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler, Made, Reply, Services
from dragoman.web.mount import falcon_template
from fakes import House, build_house, effective, example
from treaty import operations
from wire import CHAT, VALID, ask, get, post

CANONICAL = effective()


@confirms("ADR-0011.R2")
@pytest.mark.parametrize(
    ("path", "allow"),
    [(CHAT, "OPTIONS, POST"), ("/v1/models", "GET, HEAD, OPTIONS"), ("/v1/models/a/b", "GET, HEAD, OPTIONS")],
)
def test_options_answers_with_the_methods(house: House, path: str, allow: str) -> None:
    """OPTIONS of a known route answers 204 with its methods and no body, and asks for no credential."""
    answer = ask(house.app, "OPTIONS", path)

    assert (204, allow, b"") == (answer.status, answer.header("allow"), answer.body)
    assert answer.header("content-type") is None


@confirms("ADR-0011.R3")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "TRACE", "CONNECT", "BREW", "post", "QUERY", ""])
def test_an_undeclared_method_is_not_allowed(house: House, method: str) -> None:
    """A method that the path has not, known to HTTP libraries or not, gets 405 with the methods it has."""
    answer = ask(house.app, method, CHAT)

    expected = (405, "OPTIONS, POST", example(CANONICAL, "method_not_allowed"))
    assert expected == (answer.status, answer.header("allow"), answer.json())


@confirms("ADR-0011.R1")
@pytest.mark.parametrize("path", ["/healthz", "/v1/models/general", "/v1/models/unknown"])
def test_head_answers_as_get_without_a_body(house: House, path: str) -> None:
    """HEAD has the status and the headers of GET, its content-length too, and no body."""
    headers = {"authorization": "Bearer token-of-our-own"}
    got, head = (ask(house.app, method, path, headers=headers) for method in ("GET", "HEAD"))

    assert (got.status, sorted(got.headers), b"") == (head.status, sorted(head.headers), head.body)


@confirms("ADR-0008.R1")
@pytest.mark.parametrize("path", ["/v1/models/", "/v1/orgs//chat/completions", "/v1/chat/completions/", "/v1//models"])
def test_an_empty_segment_makes_another_url(house: House, path: str) -> None:
    """A path with an empty segment is unknown, whether the segment is a parameter or not."""
    method = "GET" if "models" in path else "POST"
    answer = ask(house.app, method, path)

    assert (404, example(CANONICAL, "unknown_url")) == (answer.status, answer.json())


@confirms("ADR-0015.R1")
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("OPTIONS", 204), ("BREW", 405)])
def test_the_event_names_the_route_as_the_contract_spells_it(house: House, method: str, status: int) -> None:
    """Whatever the method, the route in the event is the contract's path."""
    ask(house.app, method, "/v1/models/general", headers={"authorization": "Bearer token-of-our-own"})

    assert ("/v1/models/{model}", status) == (house.log.event["route"], house.log.event["status"])


@confirms("ADR-0011.R4")
@pytest.mark.parametrize("method", ["OPTIONS", "POST", "GET"])
def test_cross_origin_access_is_not_offered(house: House, method: str) -> None:
    """No answer has an Access-Control header, also where a browser asks for one."""
    sent = {"origin": "https://example.test", "access-control-request-method": "POST"}

    answer = ask(house.app, method, CHAT, headers=sent)

    assert [] == [name for name, _ in answer.headers if name.startswith("access-control")]


def test_a_spacious_parameter_is_spelt_for_falcon() -> None:
    """A path parameter that may hold slashes gets Falcon's converter for paths."""
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in ("a", "b")]
    parameters[1]["allowReserved"] = True
    [operation] = compile_contract(tiny("/x/{a}/{b}", parameters=parameters)).operations

    assert "/x/{a}/{b:path}" == falcon_template(operation)


def serving(handler: Handler, *, name: str = "health", document: Mapping[str, Any] | None = None) -> House:
    """Return a gateway in which *handler* serves the operation *name*."""
    return build_house({"/": dict(document or CANONICAL)}, handlers={**HANDLERS, name: handler})


@attrs.frozen(kw_only=True)
class Raising:
    """Fits `Answering`, and raises *error*."""

    error: Exception

    async def __call__(self, _: Admitted, __: Services) -> Reply:
        """Raise the error."""
        raise self.error


@confirms("ADR-0004.R7")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("canary"),
        KeyError("canary"),
        RecursionError("canary"),
        falcon.HTTPBadRequest(title="canary", description="canary"),
        falcon.HTTPServiceUnavailable(description="canary"),
        Refusal(Kind.MODEL_NOT_FOUND),
        ExceptionGroup("canary", [ValueError("canary")]),
    ],
)
def test_a_fault_of_ours_is_the_contracts_500(error: Exception) -> None:
    """What an operation raises that its contract does not list becomes the 500, with nothing of it in the answer."""
    house = serving(Handler(answer=Raising(error=error)))

    answer = get(house.app, "/healthz", token=None)

    assert (500, example(CANONICAL, "internal_error")) == (answer.status, answer.json())
    assert "canary" not in f"{answer.headers}{house.log.text}"
    assert ("internal_error", 1) == (house.log.event["refusal"], len(house.log.failures))


def test_a_refusal_that_the_handler_states_is_answered() -> None:
    """A kind that a handler may raise is answered as its contract words it."""
    document = effective()
    document["paths"]["/healthz"]["get"]["responses"]["404"] = {"$ref": "#/components/responses/ModelNotFound"}
    refusals = frozenset({Kind.MODEL_NOT_FOUND})
    house = serving(Handler(answer=Raising(error=Refusal(Kind.MODEL_NOT_FOUND)), refusals=refusals), document=document)

    answer = get(house.app, "/healthz", token=None)

    assert (404, example(CANONICAL, "model_not_found")) == (answer.status, answer.json())


def test_a_reply_without_a_success_in_the_contract_is_a_fault_of_ours() -> None:
    """An operation that replies in a phase whose contract has no such success gets the 500."""

    async def answer(_: Admitted, __: Services) -> Reply:
        return Made(value={})

    handler = Handler(request=HANDLERS["chat"].request, answer=answer)
    document = effective()
    for route in operations(document):
        if route.name == "chat":
            del route.operation["x-phase"], route.operation["responses"]["501"]
            route.operation["responses"]["503"] = {"$ref": "#/components/responses/IdentityUnavailable"}
    house = serving(handler, name="chat", document=document)

    reply = post(house.app, VALID)

    assert (500, example(CANONICAL, "internal_error")) == (reply.status, reply.json())
    assert "builtins.AssertionError" == house.log.failures[0]["error"]


@confirms("ADR-0004.R7")
def test_a_reply_of_an_unknown_form_is_a_fault_of_ours() -> None:
    """What a handler returns is a reply or the contract's 500: nothing else leaves."""

    async def answer(_: Admitted, __: Services) -> Reply:
        return "canary"  # type: ignore[return-value]

    house = serving(Handler(answer=answer))

    reply = get(house.app, "/healthz", token=None)

    assert (500, example(CANONICAL, "internal_error")) == (reply.status, reply.json())
    assert "canary" not in house.log.text
