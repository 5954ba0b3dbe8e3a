"""The headers that every answer carries (ADR-0013), whatever it answers.

Laws of this file:
- The forms are written here once more, and not read from the document: a contract that forgot one would be wrong too.
"""

import re
from collections.abc import Iterator
from typing import Final

import attrs

from gateway_conformance.answers import as_printf, asked
from gateway_conformance.calls import faults, request_with, valid_request
from gateway_conformance.exchange import Request
from gateway_conformance.lines import Response
from gateway_conformance.probes import (
    OTHER_EXPECTATIONS,
    OTHER_HOSTS,
    TOO_LARGE,
    UNKNOWN_PATHS,
    concrete_paths,
    no_requests,
    placed,
)
from gateway_conformance.rules import RuleBroken, confirms
from gateway_conformance.target import Target

UUID7: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
"""A UUIDv7 (RFC 9562, section 5.7); what the dialect puts before it, its document says."""

FORMS: Final = {
    "x-trace-id": re.compile(r"(?!0{32})[0-9a-f]{32}"),
    "x-response-time": re.compile(r"\d+\.\d{3}"),
}
"""A trace id (W3C Trace Context, section 3.2.2.3), milliseconds."""

VALID_IDS: Final = ("a", "checkout-7f3a", "A.b_c-9", "7", "x" * 128)
INVALID_IDS: Final = ("", "x" * 129, "a b", "a/b", "a,b", "a;b", '"a"', "a:b", "a\tb", "\u00e9", "<script>", "%41")

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
VALID_PARENTS: Final = (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what-comes-later")
INVALID_PARENTS: Final = (
    "",
    TRACE,
    f"00-{TRACE}-{SPAN}",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-1",
    f"00_{TRACE}_{SPAN}_01",
    f"00-{TRACE}-{SPAN}-01-more",
)
"""W3C Trace Context, section 3.2: version ff, capitals and ids of zeros are invalid; version 00 has four fields."""


def every_sort_of_request(target: Target) -> Iterator[Request]:
    """Yield a request for every sort of answer: successes, each refusal of each operation, and what is outside them."""
    for operation in target.promises.operations:
        yield valid_request(target, operation)
        yield from (request_with(target, operation, fault) for fault in faults(target, operation))
    yield from _outside(target)


def _outside(target: Target) -> Iterator[Request]:
    """Yield requests that no operation declares."""
    yield from (Request(method="GET", path=path) for path in UNKNOWN_PATHS)
    for _, path in concrete_paths(target):
        yield from (Request(method=method, path=path) for method in ("DELETE", "OPTIONS", "HEAD", "PROPFIND"))


@confirms("ADR-0013.R1")
def every_answer_is_traceable(target: Target) -> None:
    """Success or refusal, in an operation or outside: the three headers are there, once each, in their form."""
    for request in every_sort_of_request(target):
        _require_forms(target, target.send(request), target.curl(request))


@confirms("ADR-0013.R1", "ADR-0006.R3")
def the_answer_to_no_http_is_traceable_too(target: Target) -> None:
    """What is answered to bytes that are no HTTP has the same three headers."""
    for sent in (*no_requests(target), *placed(target, *OTHER_HOSTS, *OTHER_EXPECTATIONS, *TOO_LARGE)):
        _require_forms(target, asked(target, sent), as_printf(target, sent))


@confirms("ADR-0001.R1", "ADR-0004.R1")
def every_status_is_documented(target: Target) -> None:
    """Whatever is asked, the status is one that the operation lists, or that the contract has outside all of them."""
    outside = {answer.status for answer in target.promises.anywhere}
    for operation in target.promises.operations:
        sent = [
            valid_request(target, operation),
            *(request_with(target, operation, one) for one in faults(target, operation)),
        ]
        for request in sent:
            _require_listed(target, request, set(operation.answers) | outside)
    for request in _outside(target):
        listed = {operation.path: set(operation.answers) for operation in target.promises.operations}
        _require_listed(target, request, outside.union(*listed.values()) if request.method == "HEAD" else outside)


def _require_listed(target: Target, request: Request, listed: set[int]) -> None:
    response = target.send(request)
    if response.status not in listed:
        expected, curl = f"a status of {sorted(listed)}", target.curl(request)
        raise RuleBroken(rule="ADR-0001.R1", expected=expected, actual=response, curl=curl)


def own_id(target: Target) -> re.Pattern[str]:
    """Return the form of the request ids that the gateway makes on this mount."""
    return re.compile(re.escape(target.promises.id_prefix) + UUID7)


def _require_forms(target: Target, response: Response, curl: str) -> None:
    for name, form in {"x-request-id": own_id(target), **FORMS}.items():
        value = response.header(name)
        if value is None or not form.fullmatch(value):
            expected = f"one {name} as {form.pattern} on {response.status}"
            raise RuleBroken(rule="ADR-0013.R1", expected=expected, actual=response.headers, curl=curl)


@confirms("ADR-0013.R2")
def a_valid_request_id_of_the_caller_is_used(target: Target) -> None:
    """The caller's own valid id is in the header and in the body; an invalid one is replaced, and not repeated."""
    for request in _one_of_each(target):
        for own in VALID_IDS:
            sent = request.having("X-Request-ID", own)
            _require_id(target, sent, re.compile(re.escape(own)))
        for own in INVALID_IDS:
            sent = request.having("X-Request-ID", own)
            _require_id(target, sent, own_id(target))


def _require_id(target: Target, request: Request, form: re.Pattern[str]) -> None:
    response = target.send(request)
    shown = response.header("x-request-id") or ""
    silent = response.status < 400 or not response.body or not target.promises.shows_request_id
    inside = silent or shown.encode() in response.body
    if not form.fullmatch(shown) or not inside:
        expected = f"request id as {form.pattern}, in header and body alike"
        actual = f"{shown} in the header of {response}"
        raise RuleBroken(rule="ADR-0013.R2", expected=expected, actual=actual, curl=target.curl(request))


@confirms("ADR-0013.R2")
def request_ids_are_unique(target: Target) -> None:
    """Two requests without an id of their own get two."""
    for request in _one_of_each(target):
        first, second = (target.send(request).header("x-request-id") for _ in range(2))
        if first == second:
            expected, curl = "another id on each answer", target.curl(request)
            raise RuleBroken(rule="ADR-0013.R2", expected=expected, actual=f"{first} twice", curl=curl)


@confirms("ADR-0013.R3")
def the_trace_of_the_caller_is_kept(target: Target) -> None:
    """A valid `traceparent` gives the trace id; an invalid one gives a new id, which is another each time."""
    for request in _one_of_each(target):
        for parent in VALID_PARENTS:
            sent = request.having("traceparent", parent)
            shown = target.send(sent).header("x-trace-id")
            if shown != TRACE:
                raise RuleBroken(rule="ADR-0013.R3", expected=TRACE, actual=shown, curl=target.curl(sent))
        for parent in INVALID_PARENTS:
            sent = request.having("traceparent", parent)
            shown = target.send(sent).header("x-trace-id") or ""
            again = target.send(sent).header("x-trace-id")
            if not FORMS["x-trace-id"].fullmatch(shown) or shown in {TRACE, again}:
                expected = "32 random hex digits"
                raise RuleBroken(rule="ADR-0013.R3", expected=expected, actual=shown, curl=target.curl(sent))


def _one_of_each(target: Target) -> Iterator[Request]:
    """Yield a success of each operation, a refusal, an unknown path, a wrong method and OPTIONS."""
    valid = [valid_request(target, operation) for operation in target.promises.operations]
    yield from valid
    yield valid[0].without("Authorization")
    yield Request(method="GET", path=UNKNOWN_PATHS[0])
    yield attrs.evolve(valid[0], method="DELETE")
    yield attrs.evolve(valid[0], method="OPTIONS")
