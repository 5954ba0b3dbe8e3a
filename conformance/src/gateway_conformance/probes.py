"""Provokes every documented kind of refusal, and every success, and compares the whole answer with the contract.

Laws of this file:
- A documented kind that nothing provokes is a failure (ADR-0016.R4). `UNPROVOKED` is the one exception, and it is
  checked: such a kind must be documented outside the operations, and must never be seen.
- A kind that cannot be provoked from here, for want of a statement or of a socket, is listed by name as not judged.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import attrs

from gateway_conformance.answers import allow_of, mismatches, require, require_bytes, require_success
from gateway_conformance.calls import FAULTS, Fault, request_with, valid_request
from gateway_conformance.exchange import PATIENCE_WITHOUT_BODY, Request
from gateway_conformance.promises import Operation
from gateway_conformance.rules import NotJudged, RuleBroken
from gateway_conformance.situations import SITUATIONS, after_the_address_limit
from gateway_conformance.target import Target

DOCUMENT: Final = "/openapi.json"
"""Where a mount publishes its document."""

UNPROVOKED: Final = frozenset({"internal_error"})
"""Kinds that stand for a fault of the gateway: nothing that a caller sends may lead to one."""

STAGED: Final = frozenset({"model_not_llm", "model_not_embedding", "guardrail_block"})
"""Kinds that a request provokes by naming a model that the operator has set up for it."""

OUTSIDE: Final = "outside any operation"

UNKNOWN_PATHS: Final = (
    "/no-such-path",
    "/v1",
    "/v1/chat/completions/",
    "/v1/chat/completions/more",
    "/V1/chat/completions",
)
"""Paths that no document here has: unknown, cut short, with a slash or a segment too many, in the wrong case."""

NO_HTTP: Final = (b"NOT HTTP\r\n\r\n", b"BREW %b HTTP/1.1\r\nHost: x\r\n\r\n")
"""What has no path that anybody could read: no request line, and by ADR-0011 a method that is not registered."""

MALFORMED: Final = (
    b"GET %b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nBroken Header\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nContent-Length: many\r\n\r\n",
)
"""What is no HTTP behind a path: a header line without a colon, a length that is no number."""

OTHER_HOSTS: Final = (
    b"GET %b HTTP/1.1\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x/?\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x y\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x, y\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: a@x\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x:port\r\n\r\n",
    b"GET %b HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n",
)
"""No host, two of them, and what is none (RFC 9110, section 7.2)."""

OTHER_EXPECTATIONS: Final = (
    b"GET %b HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue, more\r\nContent-Length: 9\r\n\r\n",
)
"""Expectations that nobody has defined (RFC 9110, section 10.1.1)."""

HEADERS: Final = 100
HEAD_BYTES: Final = 32 * 1024
"""What a head may have (ADR-0034.R2)."""

TOO_LARGE: Final = (
    b"GET %b HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * HEADERS + b"\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX: " + b"y" * HEAD_BYTES + b"\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (64 * HEAD_BYTES),
)
"""One header too many, one that is too large, and one that has no end."""

ENDLESS: Final = b"GET %b?" + b"y" * (2 * HEAD_BYTES)
"""A request line that is too large: the path has no end, so that it is none of any mount."""

UNENDED: Final = b"GET %b HTTP/1.1\r\nHost: x\r\nX-Slow: "
"""A head that does not end."""


def placed(target: Target, *messages: bytes) -> Iterator[bytes]:
    """Yield *messages* for a path of the target that everybody may ask for."""
    path = f"{target.prefix}{DOCUMENT}".encode()
    yield from (message.replace(b"%b", path) for message in messages)


def no_requests(target: Target) -> Iterator[bytes]:
    """Yield what is no HTTP, and is answered in the shape of this mount: all of it where this one is the outermost."""
    yield from placed(target, *MALFORMED, *(NO_HTTP if target.outermost else ()))


@attrs.frozen(kw_only=True)
class Seen:
    """A documented answer that was provoked; *where* is an operation's label, or `OUTSIDE`."""

    where: str
    status: int
    kind: str | None


@attrs.frozen(kw_only=True)
class Unjudged:
    """A documented kind that could not be provoked from here, and why; *where* as in `Seen`."""

    where: str
    kind: str
    reason: str


Outcome = Seen | Unjudged


def provoke(target: Target) -> Iterator[Outcome]:
    """Provoke everything that the target documents, and yield what was seen, and what could not be.

    Raises:
        RuleBroken: an answer is not what the contract says, or a kind cannot be provoked.
    """
    for operation in target.promises.operations:
        for name in sorted(operation.kinds):
            yield from _judged(name, operation.label, _refusals(target, operation, name))
        yield from _successes(target, operation)
    yield from _outside(target)


def _judged(name: str, where: str, provoked: Iterator[Seen]) -> Iterator[Outcome]:
    """Yield what was *provoked* of the kind *name*, which must be something, or why it cannot be."""
    seen: list[Seen] = []
    try:
        seen.extend(provoked)
    except NotJudged as reason:
        yield Unjudged(where=where, kind=name, reason=str(reason))
        return
    if not seen:
        expected = f"a probe that provokes {name!r} ({where})"
        raise RuleBroken(rule="ADR-0016.R4", expected=expected, actual="none", curl="(nothing was sent)")
    yield from seen


def _refusals(target: Target, operation: Operation, name: str) -> Iterator[Seen]:
    if name in SITUATIONS:
        with SITUATIONS[name](target, operation) as brought:
            yield _refused(brought.target, operation, brought.fault)
        return
    if name == "identity_unavailable" and target.callers.uncheckable_token is None:
        lacking = "a token of which nobody can say whose it is"
        raise NotJudged(lacking)
    if name in STAGED and not target.is_staged(name, operation):
        lacking = f"a model that brings about {name}"
        raise NotJudged(lacking)
    for fault in FAULTS[name](target, operation) if name in FAULTS else ():
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


def _outside(target: Target) -> Iterator[Outcome]:
    documented = {name for answer in target.promises.anywhere for name in answer.kinds}
    for name in sorted(documented - UNPROVOKED):
        yield from _judged(name, OUTSIDE, _OUTSIDE[name](target) if name in _OUTSIDE else iter(()))
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


def _address_limited(target: Target) -> Iterator[Seen]:
    with after_the_address_limit(target) as brought:
        for _, path in concrete_paths(target):
            response = require(brought.target, Request(method="GET", path=path), "address_limited")
            yield Seen(where=OUTSIDE, status=response.status, kind="address_limited")


def _malformed_http(target: Target) -> Iterator[Seen]:
    yield from _answered(target, "malformed_http", no_requests(target))


def _sent(name: str, *messages: bytes) -> Callable[[Target], Iterator[Seen]]:
    """Return what provokes the kind *name* by each of the *messages*."""
    return lambda target: _answered(target, name, placed(target, *messages))


def _answered(target: Target, name: str, messages: Iterable[bytes]) -> Iterator[Seen]:
    for sent in messages:
        response = require_bytes(target, sent, name)
        yield Seen(where=OUTSIDE, status=response.status, kind=name)


def _request_timeout(target: Target) -> Iterator[Seen]:
    patience = deadline(target) + PATIENCE_WITHOUT_BODY
    for sent in placed(target, UNENDED):
        response = require_bytes(target, sent, "request_timeout", patience=patience)
        yield Seen(where=OUTSIDE, status=response.status, kind="request_timeout")


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
    "address_limited": _address_limited,
    "malformed_http": _malformed_http,
    "invalid_host": _sent("invalid_host", *OTHER_HOSTS),
    "expectation_failed": _sent("expectation_failed", *OTHER_EXPECTATIONS),
    "headers_too_large": _sent("headers_too_large", *TOO_LARGE),
    "request_timeout": _request_timeout,
}
"""How each refusal outside any operation is provoked."""


def require_outermost(target: Target) -> None:
    """Return if what has no path is answered in the shape of this mount.

    Raises:
        NotJudged: another mount stands outside this one.
    """
    if not target.outermost:
        lacking = "a mount that is the outermost: what has no path is answered in that one's shape (ADR-0006.R1)"
        raise NotJudged(lacking)


def deadline(target: Target) -> float:
    """Return how many seconds a head, or a pause in a body, may take.

    Raises:
        NotJudged: nobody has stated it.
    """
    if target.stated.deadline is None:
        lacking = "how long a head may take"
        raise NotJudged(lacking)
    return target.stated.deadline


def concrete_paths(target: Target) -> Iterator[tuple[str, str]]:
    """Yield every path of the document, and the same with values that exist in place of its parameters."""
    for template, served in target.promises.paths.items():
        yield template, valid_request(target, served[0]).path
