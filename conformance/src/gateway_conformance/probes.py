"""Provokes every documented kind of refusal, and every success, and compares the whole answer with the contract.

Laws of this file:
- A documented kind that nothing provokes is a failure (ADR-0016.R4). `UNPROVOKED` is the one exception, and it is
  checked: such a kind must be documented outside the operations, and must never be seen.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from gateway_conformance.answers import allow_of, mismatches, require, require_bytes, require_success
from gateway_conformance.calls import FAULTS, Fault, request_with, valid_request
from gateway_conformance.exchange import Request
from gateway_conformance.promises import Operation
from gateway_conformance.rules import RuleBroken
from gateway_conformance.target import Target

UNPROVOKED: Final = frozenset({"internal_error"})
"""Kinds that stand for a fault of the gateway: nothing that a caller sends may lead to one."""

OUTSIDE: Final = "outside any operation"

UNKNOWN_PATHS: Final = (
    "/no-such-path",
    "/v1",
    "/v1/chat/completions/",
    "/v1/chat/completions/more",
    "/V1/chat/completions",
)
"""Paths that no document here has: unknown, cut short, with a slash or a segment too many, in the wrong case."""

MALFORMED: Final = (
    b"NOT HTTP\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nBroken Header\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    b"BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
)
"""What is no HTTP: no request line, a header line without a colon, a length that is no number, and by ADR-0011 a method
that is not registered."""


@attrs.frozen(kw_only=True)
class Seen:
    """A documented answer that was provoked; *where* is an operation's label, or `OUTSIDE`."""

    where: str
    status: int
    kind: str | None


def provoke(target: Target) -> Iterator[Seen]:
    """Provoke everything that the target documents, and yield what was seen.

    Raises:
        RuleBroken: an answer is not what the contract says, or a kind cannot be provoked.
    """
    for operation in target.promises.operations:
        yield from _refusals(target, operation)
        yield from _successes(target, operation)
    yield from _outside(target)


def _refusals(target: Target, operation: Operation) -> Iterator[Seen]:
    for name in sorted(operation.kinds):
        make = FAULTS.get(name)
        provoking = [] if make is None else list(make(target, operation))
        if not provoking:
            raise unprovokable(name, operation.label)
        for fault in provoking:
            yield _refused(target, operation, fault)


def _refused(target: Target, operation: Operation, fault: Fault) -> Seen:
    request = request_with(target, operation, fault)
    response = require(target, request, fault.kind, operation, known=fault.known)
    return Seen(where=operation.label, status=response.status, kind=fault.kind)


def _successes(target: Target, operation: Operation) -> Iterator[Seen]:
    """Send each example of a body, or one request where there is none; in Phase 1 the success is a refusal."""
    for example in operation.examples.values() or [None]:
        request = valid_request(target, operation, example)
        rule = "ADR-0012.R2" if operation.phase else "ADR-0001.R1"
        response = require_success(target, request, operation, rule=rule)
        yield Seen(where=operation.label, status=response.status, kind=None)


def _outside(target: Target) -> Iterator[Seen]:
    documented = {name for answer in target.promises.anywhere for name in answer.kinds}
    for name in sorted(documented - UNPROVOKED):
        if name not in _OUTSIDE:
            raise unprovokable(name, OUTSIDE)
        yield from _OUTSIDE[name](target)
    yield from _options(target)


def _unknown_url(target: Target) -> Iterator[Seen]:
    for path in UNKNOWN_PATHS:
        response = require(target, Request(method="GET", path=path), "unknown_url")
        yield Seen(where=OUTSIDE, status=response.status, kind="unknown_url")


def _method_not_allowed(target: Target) -> Iterator[Seen]:
    for template, path in concrete_paths(target):
        request = Request(method="DELETE", path=path)
        response = require(target, request, "method_not_allowed", known={"allow": allow_of(target, template)})
        yield Seen(where=OUTSIDE, status=response.status, kind="method_not_allowed")


def _malformed_http(target: Target) -> Iterator[Seen]:
    if can_be_malformed(target):
        for sent in MALFORMED:
            response = require_bytes(target, sent, "malformed_http")
            yield Seen(where=OUTSIDE, status=response.status, kind="malformed_http")


def _options(target: Target) -> Iterator[Seen]:
    bodiless = [answer for answer in target.promises.anywhere if not answer.kinds]
    for answer in bodiless:
        for template, path in concrete_paths(target):
            request = Request(method="OPTIONS", path=path)
            response = target.send(request)
            for one in mismatches(answer, None, response, {"allow": allow_of(target, template)}):
                raise RuleBroken(rule=one.rule, expected=one.expected, actual=one.actual, curl=target.curl(request))
            yield Seen(where=OUTSIDE, status=response.status, kind=None)


_OUTSIDE: Final[Mapping[str, Callable[[Target], Iterator[Seen]]]] = {
    "unknown_url": _unknown_url,
    "method_not_allowed": _method_not_allowed,
    "malformed_http": _malformed_http,
}
"""How each refusal outside any operation is provoked."""


def can_be_malformed(target: Target) -> bool:
    """Whether bytes that are no HTTP can be sent, and this mount is the one whose shape the answer has."""
    return target.transport.app is None and target.outermost


def concrete_paths(target: Target) -> Iterator[tuple[str, str]]:
    """Yield every path of the document, and the same with values that exist in place of its parameters."""
    for template, served in target.promises.paths.items():
        yield template, valid_request(target, served[0]).path


def unprovokable(name: str, where: str) -> RuleBroken:
    """Return the failure for a documented kind that nothing provokes."""
    expected = f"a probe that provokes {name!r} ({where})"
    return RuleBroken(rule="ADR-0016.R4", expected=expected, actual="none", curl="(nothing was sent)")
