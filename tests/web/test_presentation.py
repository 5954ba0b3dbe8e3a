"""An answer has the contract's status, headers and body, filled for one request."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.contract import Answer, HeaderRule
from dragoman.contract.refusals import HEADER_SOURCES
from dragoman.errors import Kind, Refusal
from dragoman.model import SECOND, Quota, rate_of
from dragoman.ports import Sink
from dragoman.web.context import Presented, RequestContext, open_context
from dragoman.web.presentation import duration, present, present_refusal, timestamp
from fakes import NOW, REQUEST_ID, TRACE_ID, fixed_sources
from treaty import Template


async def nothing() -> dict[str, object]:
    """Be an ASGI `receive` that is not asked."""
    raise AssertionError


def context(*headers: tuple[bytes, bytes]) -> RequestContext:
    """Return the context of a request with these headers."""
    return open_context(fixed_sources(), {"headers": list(headers)}, nothing)


def presented(source: str, *headers: tuple[bytes, bytes], of: RequestContext | None = None) -> list[tuple[str, str]]:
    """Return the headers of an answer with one header that is computed from *source*."""
    answer = Answer(status=204, headers=(HeaderRule(name="x-value", source=source),))
    return text_of(present(answer, of or context(*headers), body=None, allow=["GET", "HEAD"]).headers)


def text_of(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return *headers* as text."""
    return [(name.decode("ascii"), value.decode("ascii")) for name, value in headers]


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


class Streaming:
    """Fits `Events`."""

    async def piece(self) -> bytes:
        """Say nothing."""
        return b""

    def divert(self, sink: Sink) -> None:
        """Let nothing go another way."""

    async def aclose(self) -> None:
        """Have nothing to close."""


@confirms("ADR-0043.R8")
def test_a_stream_says_that_nobody_may_hold_it_back() -> None:
    """What keeps proxies from storing and buffering is said of a stream, and of nothing that is whole."""
    rules = tuple(HeaderRule(name=source, source=source) for source in ("stream_cache", "stream_buffering"))
    answer = Answer(status=200, headers=rules)

    streamed = present(answer, context(), body=None, events=Streaming())
    whole = present(answer, context(), body=b"{}")

    assert [("stream_cache", "no-cache"), ("stream_buffering", "no")] == text_of(streamed.headers)
    assert ("text/event-stream", []) == (streamed.media_type, whole.headers)


def test_every_source_that_a_contract_may_name_has_a_value() -> None:
    """What a header may be computed from, and what it is computed from, are the same."""
    asked = context()
    asked.closing = True
    asked.met.append(quota())
    asked.met_tokens.append(quota())
    rules = tuple(HeaderRule(name=source, source=source) for source in HEADER_SOURCES)

    streamed = Streaming()
    told = present(Answer(status=429, headers=rules), asked, body=None, allow=["GET"], retry_after=1, events=streamed)

    assert HEADER_SOURCES == {name for name, value in text_of(told.headers) if value}


@confirms("ADR-0010.R4")
def test_a_connection_is_closed_where_a_body_was_not_read() -> None:
    """The header Connection says close when a body is pending, and is not sent otherwise."""
    assert [("x-value", "close")] == presented("connection", (b"content-length", b"9"))
    assert [] == presented("connection")


@confirms("ADR-0033.R2")
def test_a_connection_that_ends_with_its_answer_says_so() -> None:
    """The header Connection says close where the gateway is about to end."""
    ending = context()
    ending.closing = True

    assert [("x-value", "close")] == presented("connection", of=ending)


LIMIT_SOURCES = ("limit", "remaining", "reset")
STANDARD_SOURCES = ("ratelimit", "ratelimit_policy")


def quota(*, scope: str = "key", rate: str = "600/m", remaining: int = 9, reset: int = 1) -> Quota:
    """Return a quota; *reset* is in nanoseconds."""
    return Quota(scope=scope, rate=rate_of(rate), limited=False, remaining=remaining, reset=reset, retry=0)


def limits_told(*met: Quota) -> list[str]:
    """Return the five headers of limits, as far as they are sent, of a request that *met* these."""
    asked = context()
    asked.met.extend(met)
    sources = (*(f"ratelimit_{source}" for source in LIMIT_SOURCES), *STANDARD_SOURCES)
    return [value for source in sources for _, value in presented(source, of=asked)]


@confirms("ADR-0032.R2")
@pytest.mark.parametrize(
    ("met", "told"),
    [
        (quota(), ["600", "9", "1ms", '"key";r=9;t=1', '"key";q=600;w=60']),
        (
            quota(scope="address", rate="20/s burst 40", remaining=0, reset=2 * SECOND),
            ["40", "0", "2s", '"address";r=0;t=2', '"address";q=40;w=2'],
        ),
        (
            quota(scope="alias", rate="7/m burst 1", remaining=1, reset=SECOND + 1),
            ["1", "1", "1.001s", '"alias";r=1;t=2', '"alias";q=1;w=9'],
        ),
        (
            quota(scope="organization", rate="1/d", remaining=0, reset=86400 * SECOND),
            ["1", "0", "24h0m0s", '"organization";r=0;t=86400', '"organization";q=1;w=86400'],
        ),
        (quota(rate="1000/s burst 1"), ["1", "9", "1ms", '"key";r=9;t=1', '"key";q=1;w=1']),
        (
            quota(rate="1/d burst 999999999", remaining=0, reset=999_999_999 * 86400 * SECOND),
            ["999999999", "0", "23999999976h0m0s", '"key";r=0;t=86399999913600', '"key";q=999999999;w=86399999913600'],
        ),
    ],
)
def test_a_limit_is_told_as_openai_and_the_draft_write_it(met: Quota, told: list[str]) -> None:
    """The bucket is the limit, and the time until it is full the reset: a duration, and seconds rounded up."""
    assert told == limits_told(met)


@confirms("ADR-0032.R2")
def test_of_several_limits_the_tightest_is_told() -> None:
    """All five headers speak of the limit with the fewest requests left."""
    loose, tight = quota(), quota(scope="alias", rate="5/h", remaining=2, reset=7 * SECOND)

    assert limits_told(tight) == limits_told(loose, tight, loose)


@confirms("ADR-0032.R2")
def test_without_a_limit_none_is_told() -> None:
    """A request that met no limit has none of the five headers."""
    assert [] == limits_told()


def tokens_told(*met: Quota, requests: Sequence[Quota] = ()) -> list[str]:
    """Return the three headers of tokens, as far as they are sent, of a request that *met* these."""
    asked = context()
    asked.met.extend(requests)
    asked.met_tokens.extend(met)
    sources = ("ratelimit_limit_tokens", "ratelimit_remaining_tokens", "ratelimit_reset_tokens")
    return [value for source in sources for _, value in presented(source, of=asked)]


@confirms("ADR-0041.R6")
def test_of_the_limits_of_tokens_the_tightest_is_told() -> None:
    """The three headers of tokens speak of the one with the fewest left, and never of a limit of requests."""
    loose, tight = (
        quota(rate="90000/m", remaining=80000, reset=SECOND),
        quota(rate="7/m", remaining=2, reset=7 * SECOND),
    )
    requests = [quota(remaining=1)]

    assert ["7", "2", "7s"] == tokens_told(loose, tight, loose, requests=requests)
    assert ["90000", "80000", "1s"] == tokens_told(loose, requests=requests)
    assert [] == tokens_told(requests=requests)


# draft-ietf-httpapi-ratelimit-headers-11: items of RFC 9651, a String with Integer parameters of at most 15 digits.
INTEGER = "(0|[1-9][0-9]{0,14})"


@confirms("ADR-0032.R2")
@given(
    scope=st.sampled_from(["address", "organization", "key", "alias"]),
    count=st.integers(1, 999_999_999),
    unit=st.sampled_from("smhd"),
    burst=st.integers(1, 999_999_999),
    remaining=st.integers(0, 999_999_999),
    data=st.data(),
)
def test_the_standard_headers_have_the_drafts_syntax(  # noqa: PLR0913 - the parts of a quota
    *, scope: str, count: int, unit: str, burst: int, remaining: int, data: st.DataObject
) -> None:
    """Whatever the rate, both fields are a string with parameters that are integers, and a window is at least 1."""
    rate = rate_of(f"{count}/{unit} burst {burst}")
    reset = data.draw(st.integers(1, burst * rate.period // count + 1))
    met = Quota(scope=scope, rate=rate, limited=False, remaining=remaining, reset=reset, retry=0)

    *_, limit, policy = limits_told(met)

    assert re.fullmatch(f'"{scope}";r={INTEGER};t={INTEGER}', limit, re.ASCII)
    assert re.fullmatch(f'"{scope}";q={INTEGER};w={INTEGER}', policy, re.ASCII)
    assert not policy.endswith("w=0")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (1_000_000, "1ms"),
        (1_000_001, "2ms"),
        (12_000_000, "12ms"),
        (999_000_000, "999ms"),
        (999_000_001, "1s"),
        (SECOND, "1s"),
        (SECOND + 1, "1.001s"),
        (1_500_000_000, "1.5s"),
        (8_640_000_000, "8.64s"),
        (10 * SECOND, "10s"),
        (59_999_000_000, "59.999s"),
        (59_999_000_001, "1m0s"),
        (60 * SECOND, "1m0s"),
        (60 * SECOND + 1, "1m0.001s"),
        (119_999_999_999, "2m0s"),
        (360 * SECOND, "6m0s"),
        (3599 * SECOND, "59m59s"),
        (3_599_999_000_000, "59m59.999s"),
        (3_599_999_000_001, "1h0m0s"),
        (3600 * SECOND, "1h0m0s"),
        (3601 * SECOND, "1h0m1s"),
        (86400 * SECOND, "24h0m0s"),
        (90_061_010_000_000, "25h1m1.01s"),
    ],
)
def test_a_duration_is_written_as_openai_does(nanoseconds: int, text: str) -> None:
    """Milliseconds below a second, and then hours, minutes and seconds, rounded up to milliseconds."""
    assert text == duration(nanoseconds)


DURATION = re.compile(
    r"(?P<ms>[0-9]{1,3})ms|((?P<h>[1-9][0-9]*)h)?((?P<m>[0-9]|[1-5][0-9])m)?(?P<s>[0-9]|[1-5][0-9])(\.(?P<f>\d{0,2}[1-9]))?s",
    re.ASCII,
)


@given(st.integers(0, 10**9) | st.integers(0, 10**14) | st.integers(0, 10**24))
def test_a_duration_is_never_too_short_and_never_60_seconds(nanoseconds: int) -> None:
    """What is written is the duration rounded up to milliseconds; no part of it is 60, and no zero ends a fraction."""
    found = DURATION.fullmatch(duration(nanoseconds))
    assert found is not None

    whole = (int(found["h"] or 0) * 60 + int(found["m"] or 0)) * 60 + int(found["s"] or 0)
    told = int(found["ms"] or 0) + whole * 1000 + int((found["f"] or "").ljust(3, "0"))

    assert found["h"] is None or found["m"] is not None
    assert 0 <= told * 1_000_000 - nanoseconds < 1_000_000


@confirms("ADR-0032.R5")
def test_a_refusal_that_knows_when_says_it_in_retry_after() -> None:
    """The header has the seconds of the refusal; an answer that knows none has no such header."""
    answer = Answer(status=429, headers=(HeaderRule(name="retry-after", source="retry_after"),))

    told = [
        text_of(present_refusal(refusal, answer, context()).headers)
        for refusal in (Refusal(Kind.TOO_MANY_FAILED_LOGINS, retry_after=7), Refusal(Kind.UNKNOWN_URL))
    ]

    assert [[("retry-after", "7")], []] == told


def test_a_constant_is_sent_as_it_stands() -> None:
    """A header with a constant is sent, and the body is the one that is given."""
    answer = Answer(status=200, headers=(HeaderRule(name="x-final", constant="yes"),))

    expected = Presented(status=200, headers=[(b"x-final", b"yes")], body=b"{}")
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
