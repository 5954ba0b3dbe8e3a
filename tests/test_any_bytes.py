"""No bytes of a caller are a fault of ours: whatever is sent, the answer is one that the contract knows."""

from typing import Final

from gateway_conformance.rules import confirms
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import TOKEN, build_house, effective
from wire import CHAT, Headers, ask

HOUSE: Final = build_house({"/": effective(), "/ibex": effective("ibex", mount="/ibex")})

NAMES: Final = (
    "authorization",
    "content-type",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "x-agent-id",
    "x-ibex-agent-id",
    "x-request-id",
    "traceparent",
    "cookie",
    "host",
    "accept",
    "expect",
    "range",
    "if-modified-since",
    "x-forwarded-for",
    "forwarded",
)
PATHS: Final = (CHAT, "/v1/models", "/v1/models/x", f"/ibex{CHAT}", "/openapi.json", "/healthz")
TEMPLATES: Final = ("/{}", "/v1/models/{}", "/v1/orgs/{}/chat/completions", "/ibex/{}", "{}", "//{}")

paths = st.sampled_from(PATHS) | st.builds(str.format, st.sampled_from(TEMPLATES), st.text())
ascii_bytes = st.text(st.characters(codec="ascii"), max_size=30).map(str.encode)
queries = ascii_bytes | st.sampled_from([b"a=1&a=2", b"%", b"%ff=%ff", b"a[]=1", b"=", b"&&"])
"""Servers take other bytes in a query for malformed HTTP (RFC 3986, section 2)."""
values = st.binary(max_size=60) | ascii_bytes
header_maps = st.dictionaries(st.sampled_from(NAMES), values, max_size=4)
methods = st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "BREW", "", "get", "\x00"])
OUR_TOKEN: Final = f"Bearer {TOKEN}".encode()


def check(method: str, path: str, query: bytes, headers: Headers, body: bytes) -> None:
    """Send a request, and assert that its answer is no fault of ours and has its ids and its one event."""
    HOUSE.log.requests.clear()

    answer = ask(HOUSE.app, method, path, query=query, headers=headers, body=body)

    assert [] == HOUSE.log.failures
    assert answer.status in {200, 204, 400, 401, 403, 404, 405, 413, 415, 501}
    assert all(answer.header(name) for name in ("x-request-id", "x-trace-id", "x-response-time"))
    assert answer.status == HOUSE.log.event["status"]


@confirms("ADR-0004.R7", "ADR-0013.R1", "ADR-0015.R1")
@settings(max_examples=400)
@given(methods, paths, queries, header_maps, st.binary(max_size=50))
@with_example("GET", "/v1/models", b"", {"authorization": b"Bearer \xff"}, b"")
@with_example("GET", "*", b"", {}, b"")
@with_example("GET", "", b"", {}, b"")
def test_a_strangers_bytes_are_no_fault_of_ours(
    method: str, path: str, query: bytes, headers: Headers, body: bytes
) -> None:
    """Any method, path, query, headers and body of a stranger get an answer of the contract, and never a 500."""
    check(method, path, query, headers, body)


@confirms("ADR-0004.R7", "ADR-0009.R2")
@settings(max_examples=200)
@given(values)
def test_any_bytes_as_a_token_are_refused(token: bytes) -> None:
    """Any bytes in place of a token are an invalid credential."""
    HOUSE.log.requests.clear()

    answer = ask(HOUSE.app, "POST", CHAT, headers={"authorization": b"Bearer " + token})

    assert (401, "invalid_credential") == (answer.status, HOUSE.log.event["refusal"])


@confirms("ADR-0004.R7")
@settings(max_examples=300)
@given(st.sampled_from(PATHS), queries, header_maps, st.binary(max_size=80))
@with_example(CHAT, b"", {"content-type": b"application/json; charset*=x'\xff'%ff"}, b"{}")
@with_example(CHAT, b"", {"content-type": b'application/json; charset="\xff"'}, b"{}")
@with_example(CHAT, b"", {"content-type": b"application/json", "content-length": b"\xb2"}, b"{}")
def test_the_bytes_of_who_may_pass_are_no_fault_of_ours(path: str, query: bytes, headers: Headers, body: bytes) -> None:
    """Any bytes of somebody with a key get an answer of the contract, too."""
    for method in ("GET", "POST"):
        check(method, path, query, {**headers, "authorization": OUR_TOKEN}, body)
