"""What is known of a request before its route: ids, the body on demand, and nothing else of the caller's."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import pytest
from gateway_conformance.rules import confirms

from dragoman.errors import Kind, Refusal
from dragoman.web.context import RequestContext, open_context
from fakes import REQUEST_ID, TRACE_ID, fixed_sources

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def receiver(*messages: dict[str, Any]) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
    """Return an ASGI `receive` that gives *messages*, one a call."""
    waiting = list(messages)

    async def receive() -> MutableMapping[str, Any]:
        return waiting.pop(0)

    return receive


def opened(*headers: tuple[bytes, bytes], messages: Sequence[dict[str, Any]] = ()) -> RequestContext:
    """Return the context of a request with these headers, whose body comes in *messages*."""
    return open_context(fixed_sources(), {"headers": list(headers)}, receiver(*messages))


@confirms("ADR-0013.R2", "ADR-0015.R2")
@pytest.mark.parametrize("sent", ["a", "checkout-7f3a", "A.b_c-9", "x" * 128])
def test_a_valid_request_id_is_the_callers(sent: str) -> None:
    """A valid id of the caller's is the one of the answer, and the event holds both."""
    context = opened((b"x-request-id", sent.encode()))

    ids = (context.request_id, context.event.request_id, context.event.caller_request_id)
    assert (sent, REQUEST_ID, sent) == ids


@confirms("ADR-0013.R2")
@pytest.mark.parametrize("sent", [b"", b"x" * 129, b"a b", b"a/b", b"a\n", "é".encode(), b"\xff"])
def test_an_invalid_request_id_is_replaced(sent: bytes) -> None:
    """An id outside the alphabet or the length is not used anywhere."""
    context = opened((b"x-request-id", sent))

    ids = (context.request_id, context.event.request_id, context.event.caller_request_id)
    assert (REQUEST_ID, REQUEST_ID, None) == ids


@confirms("ADR-0013.R3")
@pytest.mark.parametrize("sent", [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-00-later"])
def test_the_trace_id_is_that_of_a_valid_traceparent(sent: str) -> None:
    """The trace id of a valid traceparent is used; later versions may append fields."""
    assert TRACE == opened((b"traceparent", sent.encode())).event.trace_id


@confirms("ADR-0013.R3")
@pytest.mark.parametrize(
    "sent",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-later",
        f"00-{TRACE}-{SPAN}-01later",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_replaced(sent: str) -> None:
    """A traceparent that W3C Trace Context calls invalid gives no trace id."""
    assert TRACE_ID == opened((b"traceparent", sent.encode())).event.trace_id


@pytest.mark.parametrize(
    ("headers", "pending"),
    [
        ([], False),
        ([(b"content-length", b"0")], False),
        ([(b"content-length", b"1")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"accept", b"*/*")], False),
    ],
)
def test_a_body_is_pending_where_one_is_declared(headers: list[tuple[bytes, bytes]], pending: bool) -> None:  # noqa: FBT001
    """A request with a length, or in chunks, has a body that nobody has read yet."""
    assert pending is opened(*headers).body_pending


def piece(body: bytes, *, more: bool) -> dict[str, Any]:
    """Return an ASGI message with a piece of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_pieces_is_joined() -> None:
    """The pieces are read until the last, and then no body is pending."""
    messages = [
        piece(b"ab", more=True),
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b"c"},
    ]
    context = opened((b"transfer-encoding", b"chunked"), messages=messages)

    body = asyncio.run(context.read(3))

    assert (b"abc", False) == (body, context.body_pending)


def refused(context: RequestContext, limit: int) -> Refusal:
    """Return the refusal with which reading ends."""
    with pytest.raises(Refusal) as caught:
        asyncio.run(context.read(limit))
    return caught.value


@confirms("ADR-0010.R3", "ADR-0010.R4")
def test_one_byte_too_many_ends_the_reading() -> None:
    """As soon as there are more bytes than the limit the body is refused, and the rest of it stays unread."""
    context = opened((b"content-length", b"9"), messages=[piece(b"abc", more=True), piece(b"d", more=True)])

    refusal = refused(context, 3)

    assert (Kind.BODY_TOO_LARGE, {"limit": 3}, True) == (refusal.kind, refusal.arguments, context.body_pending)


def test_half_a_document_is_none() -> None:
    """A caller who leaves before the end has sent no document."""
    context = opened((b"content-length", b"9"), messages=[piece(b"abc", more=True), {"type": "http.disconnect"}])

    assert (Kind.INVALID_JSON, True) == (refused(context, 9).kind, context.body_pending)


def address_of(scope: dict[str, Any], *fields: bytes, hops: int = 0) -> str:
    """Return whose limits count for a request of *scope* with an X-Forwarded-For of each of *fields*."""
    headers = [(b"x-forwarded-for", field) for field in fields]
    return open_context(fixed_sources(), {"headers": headers, **scope}, receiver(), trusted_hops=hops).address


@confirms("ADR-0032.R4")
@pytest.mark.parametrize(
    ("fields", "hops", "address"),
    [
        ([b"203.0.113.1"], 0, "192.0.2.1"),
        ([], 1, "192.0.2.1"),
        ([b""], 1, "192.0.2.1"),
        ([b"203.0.113.1"], 1, "203.0.113.1"),
        ([b"203.0.113.1, 203.0.113.2"], 1, "203.0.113.2"),
        ([b"203.0.113.1", b"203.0.113.2"], 1, "203.0.113.2"),
        ([b"203.0.113.1", b"203.0.113.2"], 2, "203.0.113.1"),
        ([b"203.0.113.1, 203.0.113.2", b"203.0.113.3"], 2, "203.0.113.2"),
        ([b"203.0.113.1", b"203.0.113.2"], 3, "192.0.2.1"),
        ([b"\xff\xfe"], 1, "192.0.2.1"),
        ([b"203.0.113.1,"], 1, "192.0.2.1"),
    ],
)
def test_the_address_is_the_peer_or_what_trusted_proxies_say(fields: list[bytes], hops: int, address: str) -> None:
    """Over all fields of the name, in their order, each trusted proxy has added one entry."""
    assert address == address_of({"client": ("192.0.2.1", 50000)}, *fields, hops=hops)


@pytest.mark.parametrize("scope", [{}, {"client": None}])
def test_who_has_no_address_is_local(scope: dict[str, Any]) -> None:
    """The peer of a socket without addresses is one caller, unless a trusted proxy says who is behind him."""
    assert ["local", "203.0.113.1"] == [address_of(scope, b"203.0.113.1", hops=hops) for hops in (0, 1)]


def test_a_new_context_has_met_no_limit() -> None:
    """No limit is met, nothing waits for the end, and the connection is kept, until somebody says otherwise."""
    first, second = opened(), opened()
    first.endings.append(lambda: None)

    assert ([], [], False) == (second.met, second.endings, second.closing)


def test_the_time_since_arrival_is_in_milliseconds() -> None:
    """The stopwatch starts when the context is opened."""
    ticks = iter([1.0, 1.25])
    context = open_context(fixed_sources(lambda: next(ticks)), {"headers": []}, receiver())

    assert 250.0 == context.elapsed_ms()
