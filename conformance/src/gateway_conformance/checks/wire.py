"""What comes over a socket and is no plain request (ADR-0034).

Laws of this file:
- Bytes are sent as they are written here, and every answer on a connection is read, to its end.
- What is wrong is sent for a path that everybody may ask for, so that nothing else can be the reason of a refusal.
"""

import itertools
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

import attrs

from gateway_conformance.answers import as_printf, asked, recognised, require_bytes
from gateway_conformance.calls import valid_request
from gateway_conformance.checks.bodies import with_body
from gateway_conformance.checks.callers import secured
from gateway_conformance.exchange import PATIENCE, PATIENCE_WITHOUT_BODY, Request
from gateway_conformance.lines import INTERIM, NO_ANSWER, Line, Response
from gateway_conformance.probes import (
    ENDLESS,
    HEAD_BYTES,
    HEADERS,
    MALFORMED,
    OTHER_EXPECTATIONS,
    OTHER_HOSTS,
    TOO_LARGE,
    UNENDED,
    deadline,
    placed,
    require_outermost,
)
from gateway_conformance.promises import Operation
from gateway_conformance.rules import NotApplicable, RuleBroken, confirms
from gateway_conformance.target import Target

OK: Final = 200

HOSTS: Final = (
    b"GET %b HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: gateway.test:8080\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    b"GET %b HTTP/1.1\r\nhost:gateway.test\r\n\r\n",
    b"GET %b HTTP/1.0\r\n\r\n",
)
"""One host, spelt as it may be, and none in a version that has none."""

TWO_READINGS: Final = (
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello",
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello",
    b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX-Folded: one\r\n two\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX-Bare: one\nX-Line: two\r\n\r\n",
    b"GET %b HTTP/1.1\nHost: x\n\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX-Nul: a\x00b\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX-Control: a\x01b\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX-Return: a\rb\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost: x\r\nX-Space : a\r\n\r\n",
    b"GET %b HTTP/1.1\r\nHost : x\r\n\r\n",
)
"""What two readers read in two ways (RFC 9112, sections 2.2, 5 and 6)."""

BROKEN_CHUNKS: Final = (b"no length\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n")
"""A body in chunks without a length, with a wrong one, and with one that is none (RFC 9112, section 7.1)."""

UPGRADES: Final = (
    (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")),
    (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),
    (("Connection", "keep-alive, Upgrade"), ("Upgrade", "TLS/1.0")),
)
"""Offers that clients make with every request (RFC 9110, section 7.8; RFC 7540, section 3.2)."""

ELSEWHERE: Final = (
    "//elsewhere.example%b",
    "/%b",
    "/.%b",
    "/nowhere/..%b",
    "/nowhere/%%2e%%2e%b",
    "/openapi.json/..%b",
    "/%%2e%b",
    "%b/",
    "%b/.",
    "%b//",
    "%b;public",
    "%b%%00",
    "%b%%2f",
    "%b?/openapi.json",
    "http://elsewhere.example%b",
    "http://gateway.test/openapi.json/..%b",
    "HTTP://GATEWAY.TEST%b",
)
"""Targets that lead to a path, or to none, by way of something else; `%b` stands for the path."""

REWRITING: Final = (
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Forwarded-Prefix",
    "X-Forwarded-Host",
    "X-HTTP-Method-Override",
)
"""Headers by which some servers let a caller say what he asks for."""


def _require_ok(target: Target, sent: bytes, *, rule: str) -> None:
    """Require that *sent* is answered as a request."""
    answer = asked(target, sent)
    if answer.status != OK:
        raise RuleBroken(rule=rule, expected=str(OK), actual=answer, curl=as_printf(target, sent))


def _written(request: Request, *, host: str = "gateway.test") -> bytes:
    return request.framed().head(host) + request.body


@confirms("ADR-0034.R2")
def a_head_has_its_headers_and_its_bytes_and_no_more(target: Target) -> None:
    """100 headers pass and 101 do not; 32 KiB pass and one byte more does not; what does not end is not waited for."""
    for count, kind in ((HEADERS, None), (HEADERS + 1, "headers_too_large")):
        [sent] = placed(target, b"GET %b HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * (count - 1) + b"\r\n")
        _require_either(target, sent, kind)
    for size, kind in ((HEAD_BYTES, None), (HEAD_BYTES + 1, "headers_too_large")):
        [short] = placed(target, b"GET %b HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n")
        _require_either(target, short.replace(b"X: ", b"X: " + b"y" * (size - len(short))), kind)
    for sent in placed(target, *TOO_LARGE, *((ENDLESS,) if target.outermost else ())):
        require_bytes(target, sent, "headers_too_large", rule="ADR-0034.R2")


def _require_either(target: Target, sent: bytes, kind: str | None) -> None:
    if kind is None:
        _require_ok(target, sent, rule="ADR-0034.R2")
    else:
        require_bytes(target, sent, kind, rule="ADR-0034.R2")


@confirms("ADR-0034.R3")
def a_request_is_for_exactly_one_host(target: Target) -> None:
    """One host, however it is spelt, passes, and so does none in HTTP/1.0; everything else is refused."""
    for sent in placed(target, *HOSTS):
        _require_ok(target, sent, rule="ADR-0034.R3")
    for sent in placed(target, *OTHER_HOSTS):
        require_bytes(target, sent, "invalid_host", rule="ADR-0034.R3")


@confirms("ADR-0034.R4", "ADR-0006.R3")
def what_has_two_readings_is_refused(target: Target) -> None:
    """A message whose end or whose headers two servers would see in two places gets one 400, and nothing behind it."""
    require_outermost(target)
    [behind] = placed(target, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n")
    for sent in placed(target, *TWO_READINGS):
        require_bytes(target, sent, "malformed_http", rule="ADR-0034.R4")
        answers, ended = everything(target, sent + behind)
        if [answer.status for answer in answers] != [400] or not ended:
            expected, actual = "one answer, 400, and the end of the connection", f"{answers}, ended: {ended}"
            raise RuleBroken(
                rule="ADR-0034.R4", expected=expected, actual=actual, curl=as_printf(target, sent + behind)
            )


def everything(target: Target, sent: bytes) -> tuple[list[Response], bool]:
    """Send bytes and return all answers, and whether the connection ended behind them."""
    with target.transport.connect() as line:
        line.send(sent, patience=PATIENCE)
        answers = list(itertools.takewhile(lambda one: one is not NO_ANSWER, _all(line)))
        return answers, line.ended


def _all(line: Line) -> Iterable[Response]:
    while True:
        yield line.answer(patience=PATIENCE_WITHOUT_BODY)


@confirms("ADR-0034.R5", "ADR-0006.R2")
def every_request_has_one_answer(target: Target) -> None:
    """Requests that come in a row are answered in a row; what is wrong behind or within one takes no answer away."""
    [one] = placed(target, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n")
    [last] = placed(target, b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    [broken, *_] = placed(target, *MALFORMED)
    cases = [(one + one + last, [OK, OK, OK]), (one + broken, [OK, 400]), (one + one + broken + last, [OK, OK, 400])]
    for operation in with_body(target):
        head = valid_request(target, operation).having("Transfer-Encoding", "chunked")
        cases += [(target.located(head).head("x") + body + last, [400]) for body in BROKEN_CHUNKS]
    for sent, statuses in cases:
        answers, ended = everything(target, sent)
        if [answer.status for answer in answers] != statuses or not ended:
            expected, actual = f"{statuses} and the end", f"{[str(one) for one in answers]}, ended: {ended}"
            raise RuleBroken(rule="ADR-0034.R5", expected=expected, actual=actual, curl=as_printf(target, sent))
        for answer in answers:
            if answer.status != OK and "malformed_http" not in recognised(target.promises, None, answer):
                expected, curl = "malformed_http in the contract's shape", as_printf(target, sent)
                raise RuleBroken(rule="ADR-0034.R5", expected=expected, actual=answer, curl=curl)


@confirms("ADR-0034.R1")
def who_is_too_slow_is_not_waited_for(target: Target) -> None:
    """A connection without a word, a head that stalls or drips, and a body that stalls: 408, or the end, in time."""
    seconds = deadline(target)
    [stalled] = placed(target, UNENDED)
    cases = [b"", stalled, *([stalled[:1]] if target.outermost else [])]
    for operation in with_body(target):
        request = valid_request(target, operation)
        whole = _written(target.located(request))
        cases += [whole[:-1], whole[: -len(request.body)]]
    with ExitStack() as stack:
        lines = [stack.enter_context(target.transport.connect()) for _ in cases]
        dripping = stack.enter_context(target.transport.connect())
        for line, sent in zip(lines, cases, strict=True):
            line.send(sent, patience=PATIENCE)
        dripping.send(stalled, patience=PATIENCE)
        dripped = NO_ANSWER
        for _ in range(2 * _DROPS):  # the deadline is that of the head, and not of a pause in it
            dripping.send(b"y", patience=PATIENCE)
            dripped = dripping.answer(patience=seconds / _DROPS)
            if dripped is not NO_ANSWER or dripping.ended:
                break
        _require_late(target, dripping, dripped, stalled)
        for line, sent in zip(lines, cases, strict=True):
            _require_late(target, line, line.answer(patience=PATIENCE_WITHOUT_BODY), sent)


_DROPS: Final = 8
"""How many bytes drip within the deadline."""


def _require_late(target: Target, line: Line, answer: Response, sent: bytes) -> None:
    late = "request_timeout" in recognised(target.promises, None, answer)
    if not late and not (answer is NO_ANSWER and line.ended):
        expected = "408 request_timeout, or the end of the connection"
        raise RuleBroken(rule="ADR-0034.R1", expected=expected, actual=answer, curl=as_printf(target, sent))


@confirms("ADR-0034.R10")
def an_expectation_is_met_or_refused(target: Target) -> None:
    """`100 Continue` comes when the body is wanted, and so never to who is refused; no other expectation is met."""
    for sent in placed(target, *OTHER_EXPECTATIONS):
        require_bytes(target, sent, "expectation_failed", rule="ADR-0034.R10")
    for operation in with_body(target):
        caller = target.located(valid_request(target, operation)).framed().having("Expect", "100-continue")
        interim = asked(target, caller.head("x"))
        with target.transport.hold(target.located(valid_request(target, operation))) as finish:
            answer = finish()
        refused = [caller.having("Content-Type", "text/plain")]
        refused += [] if operation.scopes is None else [caller.without("Authorization")]
        for request in refused:
            first = asked(target, request.head("x"))
            if first.status in {0, INTERIM} or first.status in operation.success:
                curl = as_printf(target, request.head("x"))
                raise RuleBroken(rule="ADR-0034.R10", expected="a refusal at once", actual=first, curl=curl)
        if interim.status != INTERIM or answer.status not in operation.success:
            expected, actual = f"{INTERIM}, then {sorted(operation.success)}", f"{interim}, then {answer}"
            raise RuleBroken(
                rule="ADR-0034.R10", expected=expected, actual=actual, curl=as_printf(target, caller.head("x"))
            )


@confirms("ADR-0034.R11")
def an_upgrade_is_not_taken(target: Target) -> None:
    """A request that offers another protocol is answered as one that does not, with its body and without."""
    for operation in target.promises.operations:
        request = target.located(valid_request(target, operation))
        for offer in UPGRADES:
            sent = _written(attrs.evolve(request, headers=(*request.headers, *offer)))
            answer = asked(target, sent, patience=PATIENCE)
            if answer.status not in operation.success:
                expected, curl = f"{sorted(operation.success)}", as_printf(target, sent)
                raise RuleBroken(rule="ADR-0034.R11", expected=expected, actual=answer, curl=curl)


@confirms("ADR-0034.R9")
def the_path_that_is_served_decides(target: Target) -> None:
    """However a caller spells where he wants to go, and whatever host he names, without a key he gets nothing."""
    guarded = list(secured(target))
    if not guarded:
        reason = "nobody is asked who he is"
        raise NotApplicable(reason)
    for operation in guarded:
        known = target.located(valid_request(target, operation))
        _require_passed(target, operation, attrs.evolve(known, path=f"http://elsewhere.example{known.path}"))
        stranger = known.without("Authorization")
        spelt = [attrs.evolve(stranger, path=one.replace("%b", known.path).replace("%%", "%")) for one in ELSEWHERE]
        spelt += [stranger.having(name, f"{target.prefix}/openapi.json") for name in REWRITING]
        for request in spelt:
            for host in ("gateway.test", "localhost", "127.0.0.1"):
                sent = _written(request, host=host)
                answer = asked(target, sent)
                if answer.status // 100 != 4:
                    expected, curl = "a refusal", as_printf(target, sent)
                    raise RuleBroken(rule="ADR-0034.R9", expected=expected, actual=answer, curl=curl)


def _require_passed(target: Target, operation: Operation, request: Request) -> None:
    sent = _written(request)
    answer = asked(target, sent)
    if answer.status not in operation.success:
        expected, curl = f"{sorted(operation.success)}", as_printf(target, sent)
        raise RuleBroken(rule="ADR-0034.R9", expected=expected, actual=answer, curl=curl)
