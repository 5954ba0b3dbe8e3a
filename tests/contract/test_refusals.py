"""Refusals and headers are read from the contract, and what cannot be kept is refused with its place."""

import pytest
from gateway_conformance.rules import confirms

from documents import error, response
from dragoman.contract.refusals import HeaderRule, read_anywhere, read_headers, read_refusals
from dragoman.errors import Kind
from treaty import Document, TreatyError

HERE = "POST /things"


def refused(responses: Document) -> str:
    """Return what is said of *responses*."""
    with pytest.raises(TreatyError) as caught:
        read_refusals({}, responses, where=HERE)
    return str(caught.value)


def test_headers_have_a_constant_or_a_source() -> None:
    """A header with a const is sent as it stands, one with x-fill is computed, and names are in lower case."""
    document = {"components": {"headers": {"Id": {"x-fill": "request_id", "schema": {"type": "string"}}}}}
    stated = {"X-Id": {"$ref": "#/components/headers/Id"}, "X-Final": {"schema": {"const": "yes"}}}

    rules = read_headers(document, {"headers": stated}, where=HERE)

    expected = (HeaderRule(name="x-id", source="request_id"), HeaderRule(name="x-final", constant="yes"))
    assert expected == rules


def test_a_response_without_headers_has_no_rules() -> None:
    """Nothing is sent that the contract does not state."""
    assert () == read_headers({}, {}, where=HERE)


@confirms("ADR-0001.R2")
@pytest.mark.parametrize("header", [{}, {"schema": {"type": "string"}}, {"schema": {"const": 1}}])
def test_a_header_that_nobody_can_send_is_refused(header: Document) -> None:
    """A response header with neither a text const nor x-fill is refused by name."""
    with pytest.raises(TreatyError) as caught:
        read_headers({}, {"headers": {"X-Odd": header}}, where=HERE)

    expected = f"{HERE}: header X-Odd needs a string `const` in its schema, or `x-fill`, to be sent"
    assert expected == str(caught.value)


def test_a_header_with_an_unknown_source_is_refused() -> None:
    """A response header that is to be computed from something unknown is refused with all that is known."""
    with pytest.raises(TreatyError) as caught:
        read_headers({}, {"headers": {"X-Odd": {"x-fill": "moon"}}}, where=HERE)

    known = (
        "allow, connection, ratelimit, ratelimit_limit, ratelimit_limit_tokens, ratelimit_policy, "
        "ratelimit_remaining, ratelimit_remaining_tokens, ratelimit_reset, ratelimit_reset_tokens, request_id, "
        "response_time, retry_after, stream_buffering, stream_cache, trace_id"
    )
    assert f"{HERE}: header X-Odd: unknown x-fill 'moon'; known are {known}" == str(caught.value)


def retrying(*, required: bool) -> Document:
    """Return the header Retry-After of a response."""
    return {"headers": {"Retry-After": {"x-fill": "retry_after", "required": required, "schema": {"type": "integer"}}}}


def test_a_header_may_be_required() -> None:
    """Whether a header can lack is the contract's, and it can unless it is said."""
    stated = retrying(required=True)["headers"] | {"X-Id": {"x-fill": "request_id"}}

    rules = read_headers({}, {"headers": stated}, where=HERE)

    expected = (
        HeaderRule(name="retry-after", source="retry_after", required=True),
        HeaderRule(name="x-id", source="request_id"),
    )
    assert expected == rules


@pytest.mark.parametrize(("kind", "required"), [("overloaded", True), ("overloaded", False), ("unknown_url", False)])
def test_a_refusal_may_say_when_to_come_again(kind: str, required: bool) -> None:  # noqa: FBT001 - as parametrised
    """Retry-After may be required of a kind that knows when, and may be stated of any other."""
    table = read_refusals({}, {"503": response(**{kind: error()}) | retrying(required=required)}, where=HERE)

    assert [Kind(kind)] == list(table)


@confirms("ADR-0001.R2", "ADR-0032.R5")
def test_a_promise_to_say_when_that_nobody_can_keep_is_refused() -> None:
    """A required Retry-After beside a kind that does not know when is refused with the response and the kind."""
    kinds = response(overloaded=error(), upstream_unavailable=error())
    expected = (
        f"{HERE}, response 503: Retry-After is required, but nobody knows when to repeat what was upstream_unavailable"
    )

    assert expected == refused({"503": kinds | retrying(required=True)})


def test_examples_with_x_fill_are_kinds() -> None:
    """Of a response's examples those with x-fill are refusals, under the response's status."""
    document = {"components": {"examples": {"agent_not_allowed": error()}}}
    reference = {"$ref": "#/components/examples/agent_not_allowed"}

    table = read_refusals(document, {"403": response(agent_not_allowed=reference, sample={"value": 1})}, where=HERE)

    assert {Kind.AGENT_NOT_ALLOWED: 403} == {kind: answer.status for kind, answer in table.items()}


@confirms("ADR-0004.R1")
def test_an_example_that_is_no_kind_is_refused() -> None:
    """An example with x-fill whose name is none of the gateway's kinds is refused by name."""
    expected = f"{HERE}: example 'on_fire' has x-fill but is no kind of refusal that the gateway knows"

    assert expected == refused({"400": response(on_fire=error())})


@confirms("ADR-0004.R3")
def test_a_kind_under_two_statuses_is_refused() -> None:
    """A kind that an operation lists under two statuses is refused, with both."""
    responses = {"400": response(invalid_json=error()), "422": response(invalid_json=error())}

    assert f"{HERE}: kind 'invalid_json' is listed under 400 and 422; list it once" == refused(responses)


def test_a_member_filled_from_an_unknown_argument_is_refused() -> None:
    """An example that is filled from what its kind does not know is refused, with what the kind knows."""
    example = error("Over 10 by 2.", message="Over {limit} by {excess}.")
    expected = f"{HERE}: example 'body_too_large' fills from excess; known are limit, now, request_id"

    assert expected == refused({"413": response(body_too_large=example)})


def test_answers_outside_any_operation_are_found() -> None:
    """Of the responses marked x-anywhere those with a body give kinds, and those without are kept by status."""
    responses = {
        "Lost": response(unknown_url=error()) | {"x-anywhere": 404},
        "Methods": {"description": "Allow.", "x-anywhere": 204, "headers": {"Allow": {"x-fill": "allow"}}},
        "Elsewhere": response(invalid_json=error()),
    }

    table, bodiless = read_anywhere({"components": {"responses": responses}})

    assert [Kind.UNKNOWN_URL] == list(table)
    assert {204: (HeaderRule(name="allow", source="allow"),)} == {
        status: answer.headers for status, answer in bodiless.items()
    }


def test_a_document_without_components_has_nothing_outside_its_operations() -> None:
    """Reading the answers outside any operation of an empty document gives none."""
    assert ({}, {}) == read_anywhere({})
