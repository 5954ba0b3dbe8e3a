"""What ADR-0019 adds to the general rules: the text of the system `ibex`, to the letter."""

import json
from typing import Any, Final

import pytest
from gateway_conformance.answers import require, require_success
from gateway_conformance.calls import Fault, faults, request_with, valid_request
from gateway_conformance.exchange import Request
from gateway_conformance.promises import rendered
from gateway_conformance.rules import confirms
from gateway_conformance.target import Target

from courts import Court
from gateways import CALLERS

MEMBERS: Final = ["code", "message", "request_id", "timestamp"]
CODE: Final = "PROVIDER_NOT_CONFIGURED"
MESSAGE: Final = "No LLM provider is configured for this request"
BODY: Final = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}'
"""The example request of the text, and what it expects."""


@pytest.fixture(scope="module")
def ibex(inside: Court) -> Target:
    """The dialect, in this process."""
    return inside.target("/ibex")


def the_request_of_the_text(*, agent_header: str = "X-IBEX-Agent-ID") -> Request:
    """Return the example request, with the caller's own key and agent."""
    return Request(
        method="POST",
        path="/v1/chat/completions",
        headers=(
            ("Authorization", f"Bearer {CALLERS.token}"),
            (agent_header, CALLERS.agent),
            ("Content-Type", "application/json"),
        ),
        body=BODY,
    )


def error_of(target: Target, request: Request) -> dict[str, Any]:
    """Return the error that *request* gets, after looking that nothing stands beside it."""
    body = json.loads(target.send(request).body)
    assert ["error"] == list(body)
    error: dict[str, Any] = body["error"]
    return error


@confirms("ADR-0019.R1")
def test_every_error_has_the_four_members_in_order(ibex: Target) -> None:
    """Whatever goes wrong, in an operation or outside, the error has the four members of the text in their order."""
    for operation in ibex.promises.operations:
        for fault in faults(ibex, operation):
            assert MEMBERS == list(error_of(ibex, request_with(ibex, operation, fault))), fault
    for method, path in (("GET", "/nowhere"), ("DELETE", "/v1/chat/completions"), ("BREW", "/openapi.json")):
        assert MEMBERS == list(error_of(ibex, Request(method=method, path=path)))


@confirms("ADR-0019.R2")
@pytest.mark.parametrize("agent", [None, "", "no-uuid", f"{{{CALLERS.agent}}}", CALLERS.agent[:-1]])
def test_the_agent_header_is_required(ibex: Target, agent: str | None) -> None:
    """Without the agent header, or with one that is no UUID, each operation with an agent answers 400."""
    served = [operation for operation in ibex.promises.operations if operation.agent_headers]
    assert served
    for operation in served:
        fault = Fault(kind="invalid_parameter", headers={"X-IBEX-Agent-ID": agent})
        response = require(ibex, request_with(ibex, operation, fault), fault.kind, operation, rule="ADR-0019.R2")

        assert 400 == response.status


@confirms("ADR-0019.R3")
def test_a_thousand_messages_pass_and_one_more_does_not(ibex: Target) -> None:
    """Exactly 1000 messages pass, 1001 and none do not, and no content but a string does."""
    message = {"role": "user", "content": "hello"}
    for operation in ibex.promises.operations:
        if operation.schema is None:
            continue
        body: dict[str, Any] = {"model": "gpt-4o", "messages": [message] * 1000}
        require_success(ibex, valid_request(ibex, operation, body), operation, rule="ADR-0019.R3")
        for count in (0, 1001):
            wrong = Fault(kind="invalid_request", body=rendered({**body, "messages": [message] * count}))
            require(ibex, request_with(ibex, operation, wrong), wrong.kind, operation, rule="ADR-0019.R3")
        for content in (None, 5, [{"type": "text", "text": "hello"}], {"text": "hello"}):
            wrong = Fault(
                kind="invalid_request", body=rendered({**body, "messages": [{**message, "content": content}]})
            )
            require(ibex, request_with(ibex, operation, wrong), wrong.kind, operation, rule="ADR-0019.R3")


@confirms("ADR-0019.R4")
def test_the_request_of_the_text_gets_the_answer_of_the_text(ibex: Target) -> None:
    """The example request gets 501 with exactly the four members, and the code and the sentence of the text."""
    request = the_request_of_the_text()
    error = error_of(ibex, request)

    assert 501 == ibex.send(request).status
    assert MEMBERS == list(error)
    assert (CODE, MESSAGE) == (error["code"], error["message"])


@confirms("ADR-0019.R4")
def test_the_request_of_the_text_works_on_the_canonical_contract(root: Target) -> None:
    """The example request gets the same four members, among the canonical six, with either agent header."""
    for header in ("X-IBEX-Agent-ID", "X-Agent-ID"):
        request = the_request_of_the_text(agent_header=header)
        error = error_of(root, request)

        assert 501 == root.send(request).status
        assert set(MEMBERS) <= set(error)
        assert 6 == len(error)
        assert (CODE, MESSAGE) == (error["code"], error["message"])
