"""How much is in work at once, and the end of a process (ADR-0033)."""

import re

from gateway_conformance.answers import require, require_success
from gateway_conformance.calls import request_with, valid_request
from gateway_conformance.lines import Response
from gateway_conformance.rules import NotApplicable, RuleBroken, confirms
from gateway_conformance.situations import while_draining, without_room
from gateway_conformance.target import Target


@confirms("ADR-0033.R1")
def a_full_gateway_says_so_and_still_lives(target: Target) -> None:
    """One request too many gets 503 with `Retry-After`; what needs no room is answered, and room comes back.

    Those that have room are answered whole (`without_room` sees to that).
    """
    operation = next((one for one in target.promises.operations if "overloaded" in one.kinds), None)
    if operation is None:
        reason = "no operation needs room"
        raise NotApplicable(reason)
    with without_room(target, operation) as brought:
        for one in target.promises.operations:
            request = valid_request(brought.target, one)
            if "overloaded" in one.kinds:
                answer = require(brought.target, request, "overloaded", one, rule="ADR-0033.R1")
                require_retry(answer, target.curl(request), rule="ADR-0033.R1")
            else:
                require_success(brought.target, request, one, rule="ADR-0033.R1")
    after = target.newcomer()
    for _ in range(target.tight.places + 1):
        require_success(after, valid_request(after, operation), operation, rule="ADR-0033.R1")


@confirms("ADR-0033.R2")
def a_draining_gateway_is_not_ready_and_answers(target: Target) -> None:
    """Who has been told to end says that he is not ready, answers everything else, and ends each connection."""
    for operation in target.promises.operations:
        with while_draining(target, operation) as brought:
            request = request_with(brought.target, operation)
            if "not_ready" in operation.kinds:
                answer = require(brought.target, request, "not_ready", operation, rule="ADR-0033.R2")
                require_retry(answer, target.curl(request), rule="ADR-0033.R2")
            else:
                answer = require_success(brought.target, request, operation, rule="ADR-0033.R2")
            if answer.header("connection") != "close":
                expected, curl = "Connection: close", brought.target.curl(request)
                raise RuleBroken(rule="ADR-0033.R2", expected=expected, actual=answer.headers, curl=curl)


def require_retry(answer: Response, curl: str, *, rule: str) -> None:
    """Require that *answer* says after how many seconds the request may be sent again (RFC 9110, section 10.2.3)."""
    if not re.fullmatch("[1-9][0-9]*", answer.header("retry-after") or ""):
        expected = f"Retry-After in whole seconds, at least 1, on {answer.status}"
        raise RuleBroken(rule=rule, expected=expected, actual=answer.headers, curl=curl)
