"""An answer has the contract's status, headers and body, filled for one request."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from gateway_conformance.rules import confirms

from dragoman.contract import Answer, HeaderRule
from dragoman.errors import Kind, Refusal
from dragoman.web.context import RequestContext, open_context
from dragoman.web.presentation import Presented, present, present_refusal, timestamp
from fakes import NOW, REQUEST_ID, TRACE_ID, fixed_sources
from treaty import Template


async def nothing() -> dict[str, object]:
    """Be an ASGI `receive` that is not asked."""
    raise AssertionError


def context(*headers: tuple[bytes, bytes]) -> RequestContext:
    """Return the context of a request with these headers."""
    return open_context(fixed_sources(), {"headers": list(headers)}, nothing)


def presented(source: str, *headers: tuple[bytes, bytes]) -> list[tuple[str, str]]:
    """Return the headers of an answer with one header that is computed from *source*."""
    answer = Answer(status=204, headers=(HeaderRule(name="x-value", source=source),))
    return list(present(answer, context(*headers), body=None, allow=["GET", "HEAD"]).headers)


@confirms("ADR-0013.R1")
@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("request_id", REQUEST_ID),
        ("trace_id", TRACE_ID),
        ("response_time", "1.000"),
        ("allow", "GET, HEAD"),
    ],
)
def test_a_header_is_computed_from_its_source(source: str, value: str) -> None:
    """Each source of a header gives its value."""
    assert [("x-value", value)] == presented(source)


@confirms("ADR-0010.R4")
def test_a_connection_is_closed_where_a_body_was_not_read() -> None:
    """The header Connection says close when a body is pending, and is not sent otherwise."""
    assert [("x-value", "close")] == presented("connection", (b"content-length", b"9"))
    assert [] == presented("connection")


def test_a_constant_is_sent_as_it_stands() -> None:
    """A header with a constant is sent, and the body is the one that is given."""
    answer = Answer(status=200, headers=(HeaderRule(name="x-final", constant="yes"),))

    expected = Presented(status=200, headers=[("x-final", "yes")], body=b"{}")
    assert expected == present(answer, context(), body=b"{}")


@confirms("ADR-0004.R4")
def test_a_refusal_is_filled_in_the_order_of_its_example() -> None:
    """The members of the body and their order are the example's, with what the refusal and the request know."""
    value = {"fault": {"said": "Over 1.", "at": "then", "id": "one"}, "more": [1]}
    fill = {"fault.id": "request_id", "fault.at": "now", "fault.said": "Over {limit}."}
    answer = Answer(status=413, headers=(), body=Template.compile(value, fill))
    asked = context()

    actual = present_refusal(Refusal(Kind.BODY_TOO_LARGE, limit=7), answer, asked)

    body = f'{{"fault":{{"said":"Over 7.","at":"{timestamp(NOW)}","id":"{REQUEST_ID}"}},"more":[1]}}'
    assert (413, body.encode(), "body_too_large") == (actual.status, actual.body, asked.event.refusal)


def test_a_refusal_may_have_no_body() -> None:
    """An answer without an example has no body."""
    assert present_refusal(Refusal(Kind.UNKNOWN_URL), Answer(status=404, headers=()), context()).body is None


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 6, 14, 12, tzinfo=UTC), "2026-06-14T12:00:00.000Z"),
        (datetime(2026, 6, 14, 12, 0, 0, 123999, tzinfo=UTC), "2026-06-14T12:00:00.123Z"),
        (datetime(2026, 6, 14, 14, tzinfo=timezone(timedelta(hours=2))), "2026-06-14T12:00:00.000Z"),
    ],
)
def test_moments_are_rfc_3339_in_utc_with_milliseconds(moment: datetime, text: str) -> None:
    """A moment in any zone is told in UTC, cut to milliseconds."""
    assert text == timestamp(moment)
