"""Limits (ADR-0032): that they bite, whose they are, what is said of them, and where in the order they stand.

Laws of this file:
- What is used up is used up on the tight gateway, by callers and from addresses that have used up nothing.
- Whoever judges counts for himself, and compares the gateway's headers with that.
"""

import re
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Final

import attrs

from gateway_conformance.answers import RATE_LIMIT, require, require_success
from gateway_conformance.calls import Fault, faults, request_with, valid_request
from gateway_conformance.checks.callers import secured
from gateway_conformance.checks.headers import every_sort_of_request
from gateway_conformance.exchange import Request
from gateway_conformance.lines import Response
from gateway_conformance.probes import UNKNOWN_PATHS, concrete_paths
from gateway_conformance.promises import Operation
from gateway_conformance.rules import NotApplicable, NotJudged, RuleBroken, confirms
from gateway_conformance.situations import (
    BEFORE,
    SITUATIONS,
    UNREMARKABLE,
    Brought,
    after_the_address_limit,
    answers_first,
    caller_scopes,
    for_the_alias,
    met,
    scarce_alias,
)
from gateway_conformance.target import Limit, Target

LIMITED: Final = 429

FORGED: Final = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")
"""Headers by which proxies tell who is behind them, and anybody tells what he likes."""

TOLERANCE: Final = 60.0
"""Seconds that may have passed, by the gateway's clock, since the first of some requests: no limit here is so short."""

_DURATION: Final = re.compile(r"(?:(?P<ms>\d+)ms|(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?P<s>\d+(?:\.\d+)?)s)")


def require_limited_by(target: Target, scope: str) -> None:
    """Return if the gateway limits subjects of *scope*.

    Raises:
        NotApplicable: it does not.
    """
    if scope not in target.promises.limits_by:
        reason = f"nobody is limited by {scope}"
        raise NotApplicable(reason)


@confirms("ADR-0032.R1", "ADR-0032.R3")
def an_address_gets_what_is_stated_and_no_more(target: Target) -> None:
    """So many requests of an address pass, whatever they ask for, and the next one does not; other addresses do."""
    require_limited_by(target, "address")
    caller = target.newcomer().staying()
    for _ in range(target.limit("address").requests):
        require(caller, UNREMARKABLE, "unknown_url", rule="ADR-0032.R1")
    require(caller, UNREMARKABLE, "address_limited", rule="ADR-0032.R1")
    require(caller.staying(), UNREMARKABLE, "unknown_url", rule="ADR-0032.R1")


@confirms("ADR-0032.R3")
def an_address_is_limited_before_its_path_is_looked_at(target: Target) -> None:
    """Over the limit of its address nothing else about a request matters: path, method, credential or body."""
    require_limited_by(target, "address")
    with after_the_address_limit(target) as brought:
        caller = brought.target
        asked = [Request(method="GET", path=path) for path in UNKNOWN_PATHS]
        asked += [Request(method=method, path=path) for _, path in concrete_paths(target) for method in ("PUT", "GET")]
        for operation in target.promises.operations:
            asked += [request_with(caller, operation, fault) for fault in faults(caller, operation)]
        for request in asked:
            require(caller, request, "address_limited", rule="ADR-0032.R3")


@confirms("ADR-0032.R1")
def a_key_gets_what_is_stated_and_no_more(target: Target) -> None:
    """So many requests of a key pass, over all operations, and the next does not; a colleague's key is unaffected."""
    require_limited_by(target, "key")
    operations, caller = _listing(target, "caller_limited"), target.newcomer()
    for number in range(target.limit("key").requests):
        operation = operations[number % len(operations)]
        require_success(caller, valid_request(caller, operation), operation, rule="ADR-0032.R1")
    for operation in operations:
        require(caller, valid_request(caller, operation), "caller_limited", operation, rule="ADR-0032.R1")
    colleague = _colleague(caller)
    require_success(colleague, valid_request(colleague, operations[0]), operations[0], rule="ADR-0032.R1")


@confirms("ADR-0032.R1")
def an_organization_gets_what_is_stated_and_no_more(target: Target) -> None:
    """So many requests of two keys of an organisation pass together, and the next of neither; others are unaffected."""
    require_limited_by(target, "organization")
    limit, operation = target.limit("organization"), _listing(target, "caller_limited")[0]
    if "key" in target.promises.limits_by and 2 * target.limit("key").requests <= limit.requests:
        lacking = "a limit by organization that two keys can reach"
        raise NotJudged(lacking)
    caller, other = target.newcomer(), target.newcomer()
    both = (caller, _colleague(caller))
    for number in range(limit.requests):
        one = both[number % 2]
        require_success(one, valid_request(one, operation), operation, rule="ADR-0032.R1")
    for one in both:
        require(one, valid_request(one, operation), "caller_limited", operation, rule="ADR-0032.R1")
    require_success(other, valid_request(other, operation), operation, rule="ADR-0032.R1")


@confirms("ADR-0032.R1")
def an_alias_gets_what_is_stated_and_no_more(target: Target) -> None:
    """So many requests for an alias pass, over all operations, and the next does not; another organisation's do."""
    require_limited_by(target, "alias")
    listing = _listing(target, "rate_limited")
    if not listing:
        reason = "no operation names a model"
        raise NotApplicable(reason)
    for alias in sorted({scarce_alias(target, operation) for operation in listing}):
        _require_an_end(target, [one for one in listing if scarce_alias(target, one) == alias])


def _require_an_end(target: Target, operations: list[Operation]) -> None:
    """Require that *operations*, which take the same alias, have its one limit."""
    caller, other = target.newcomer(), target.newcomer()
    for number in range(target.limit("alias").requests):
        operation = operations[number % len(operations)]
        request = request_with(caller, operation, for_the_alias(caller, operation))
        require_success(caller, request, operation, rule="ADR-0032.R1")
    for operation in operations:
        fault = for_the_alias(caller, operation)
        request = request_with(caller, operation, fault)
        require(caller, request, fault.kind, operation, rule="ADR-0032.R1", known=fault.known)
    request = request_with(other, operations[0], for_the_alias(other, operations[0]))
    require_success(other, request, operations[0], rule="ADR-0032.R1")


@confirms("ADR-0032.R1")
def what_is_used_up_comes_back(target: Target) -> None:
    """After the time in `Retry-After` one request passes, and one more does not."""
    states = _limiting(target)
    if not states:
        reason = "no operation is limited"
        raise NotApplicable(reason)
    for name in states:
        operation = _listing(target, name)[0]
        with SITUATIONS[name](target, operation) as brought:
            _require_back(brought, operation)


def _require_back(brought: Brought, operation: Operation) -> None:
    """Require that after `Retry-After` one request passes, or may guess a credential, and that the next does not."""
    target, state = brought.target, brought.fault
    request = request_with(target, operation, state)
    refused = require(target, request, state.kind, operation, rule="ADR-0032.R1", known=state.known)
    target.wait(float(refused.header("retry-after") or 0))
    if state.kind == "too_many_failed_logins":  # who guesses right is not counted, so that he guesses wrong again
        wrong = request.having("Authorization", "Bearer nobody")
        require(target, wrong, "invalid_credential", operation, rule="ADR-0032.R1")
    else:
        require_success(target, request, operation, rule="ADR-0032.R1")
    require(target, request, state.kind, operation, rule="ADR-0032.R1", known=state.known)


@confirms("ADR-0032.R5")
def failed_logins_end_at_their_number(target: Target) -> None:
    """After so many wrong credentials an address gets 429, right or wrong; nobody else does, and asking is no guess."""
    require_limited_by(target, "failed-logins")
    limit = target.limit("failed-logins")
    for operation in secured(target):
        caller = target.newcomer().staying()
        right = valid_request(caller, operation)
        wrong, none = right.having("Authorization", "Bearer nobody"), right.without("Authorization")
        for _ in range(limit.requests):
            require(caller, none, "missing_credential", operation, rule="ADR-0032.R5")
            require(caller, wrong, "invalid_credential", operation, rule="ADR-0032.R5")
        for request in (right, wrong, none):
            require(caller, request, "too_many_failed_logins", operation, rule="ADR-0032.R5")
        for unguarded in target.promises.operations:
            if unguarded.scopes is None:
                require_success(caller, valid_request(caller, unguarded), unguarded, rule="ADR-0032.R5")
        require_success(caller.staying(), right, operation, rule="ADR-0032.R5")


@confirms("ADR-0032.R4", "ADR-0032.R5")
def no_header_changes_whose_limit_counts(target: Target) -> None:
    """Whatever a caller says of where he is, his own address is counted, and the one that he names is not."""
    for scope in ("failed-logins", "address"):
        if scope not in target.promises.limits_by:
            continue
        caller, victim = (target.newcomer().staying() for _ in range(2))
        named = target.unused_address()
        for number in range(target.limit(scope).requests):
            _require_passed(caller, _forging(_counted(caller, scope), number, named), scope)
        for number in range(len(FORGED)):
            request = _forging(_counted(caller, scope), number, named)
            answer = caller.send(request)
            if answer.status != LIMITED:
                expected = f"{LIMITED}: {scope} is used up, whatever {FORGED[number]} says"
                raise RuleBroken(rule="ADR-0032.R4", expected=expected, actual=answer, curl=caller.curl(request))
        for free in (victim, victim.staying(named)):
            _require_passed(free, _counted(free, scope), scope)
    if not target.promises.limits_by & {"failed-logins", "address"}:
        reason = "nobody is limited by his address"
        raise NotApplicable(reason)


def _forging(request: Request, number: int, named: str) -> Request:
    """Return *request* with headers that name another address; the first of them is another one each time."""
    header = FORGED[number % len(FORGED)]
    elsewhere = f"198.51.100.{number}" if number % 2 else named
    value = f"for={elsewhere}" if header == "Forwarded" else f"{elsewhere}, 203.0.113.{number}"
    return request.having(header, value)


def _counted(target: Target, scope: str) -> Request:
    """Return a request that counts for its address."""
    if scope == "address":
        return UNREMARKABLE
    return valid_request(target, next(secured(target))).having("Authorization", "Bearer nobody")


def _require_passed(target: Target, request: Request, scope: str) -> None:
    answer = target.send(request)
    if answer.status == LIMITED:
        expected = f"no limit by {scope} yet"
        raise RuleBroken(rule="ADR-0032.R4", expected=expected, actual=answer, curl=target.curl(request))


@confirms("ADR-0032.R2")
def headers_agree_with_the_counter(target: Target) -> None:
    """Each answer tells the tightest limit that its request met: how much, how much is left, and when all is back."""
    asked = [(operation, limits) for operation in target.promises.operations if (limits := met(target, operation))]
    if not asked:
        reason = "no header tells of a limit"
        raise NotApplicable(reason)
    for operation, limits in asked:
        caller = target.newcomer()
        fault = for_the_alias(caller, operation) if "alias" in limits else Fault(kind="")
        request = request_with(caller, operation, fault)
        if set(limits) == {"address"}:  # of nothing else is anything used up, so that he stays
            caller = caller.staying()
        smallest = min(limit.requests for limit in limits.values())
        for number in range(1, smallest + 2):  # the last one is refused
            used = {scope: min(number, limit.requests) for scope, limit in limits.items()}
            if set(limits) != {"address"} and "address" in used:
                used["address"] = 1  # he is at another one each time
            _require_told(caller, request, caller.send(request), limits, used)


def _require_told(
    target: Target, request: Request, answer: Response, limits: Mapping[str, Limit], used: Mapping[str, int]
) -> None:
    """Require that *answer* tells of the tightest of *limits*, of each of which so much is *used*."""
    left = {scope: limit.requests - used[scope] for scope, limit in limits.items()}
    tightest = [scope for scope in limits if left[scope] == min(left.values())]
    wrong = [_untold(answer, scope, limits[scope], used[scope]) for scope in tightest]
    if all(wrong):
        shown = {name: answer.header(name) for name in (*RATE_LIMIT, "retry-after")}
        expected, actual = f"{answer.status} with {wrong[0]}", f"{answer.status} with {shown}"
        raise RuleBroken(rule="ADR-0032.R2", expected=expected, actual=actual, curl=target.curl(request))


def _untold(answer: Response, scope: str, limit: Limit, used: int) -> str | None:
    """Return what *answer* should have told of the *limit* of a *scope*, or None when it did."""
    left, full = limit.requests - used, used * limit.seconds / limit.requests
    shown = {name: answer.header(name) or "" for name in RATE_LIMIT}
    counts = (str(limit.requests), str(left))
    policy = f'"{scope}";q={limit.requests};w={limit.seconds}'
    reset = seconds_of(shown["x-ratelimit-reset-requests"])
    told = re.fullmatch(rf'"{scope}";r={left};t=([0-9]+)', shown["ratelimit"])
    if (
        counts == (shown["x-ratelimit-limit-requests"], shown["x-ratelimit-remaining-requests"])
        and policy == shown["ratelimit-policy"]
        and reset is not None
        and full - TOLERANCE <= reset <= full + 0.001
        and told is not None
        and int(told[1]) in {ceil(reset), ceil(reset) - 1}  # a duration is rounded up to milliseconds before
    ):
        return None
    return f'{scope}: limit {limit.requests}, remaining {left}, reset {full} s, "{policy}"'


def seconds_of(text: str) -> float | None:
    """Return how many seconds a duration as OpenAI writes it lasts, or None when *text* is none."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    if found["ms"]:
        return int(found["ms"]) / 1000
    return 3600 * int(found["h"] or 0) + 60 * int(found["m"] or 0) + float(found["s"])


@confirms("ADR-0032.R2")
def headers_tell_of_limits_that_were_met_only(target: Target) -> None:
    """Where addresses are limited each answer has the headers; elsewhere none that was given before any limit has."""
    if "address" in target.promises.limits_by:
        for request in every_sort_of_request(target):
            _require_headers(target, request, set(RATE_LIMIT))
    else:
        for request in _meeting_no_limit(target):
            _require_headers(target, request, set())


def _require_headers(target: Target, request: Request, expected: set[str]) -> None:
    answer = target.send(request)
    actual = {name for name in RATE_LIMIT if answer.header(name) is not None}
    if actual != expected:
        expected_text = f"{sorted(expected) or 'no header of a limit'} on {answer.status}"
        raise RuleBroken(rule="ADR-0032.R2", expected=expected_text, actual=sorted(actual), curl=target.curl(request))


def _meeting_no_limit(target: Target) -> Iterator[Request]:
    """Yield requests that are answered before any limit is asked, but that of failed logins."""
    for operation in target.promises.operations:
        counted = [name for name in _limiting(target) if name != "too_many_failed_logins"]
        first = next((name for name in counted if name in operation.kinds), None)
        if first is None:
            yield valid_request(target, operation)
        for fault in faults(target, operation):
            if first is None or not answers_first(first, fault):
                yield request_with(target, operation, fault)
    yield from (Request(method="GET", path=path) for path in UNKNOWN_PATHS)
    for _, path in concrete_paths(target):
        yield from (Request(method=method, path=path) for method in ("DELETE", "OPTIONS"))


@confirms("ADR-0032.R2", "ADR-0032.R5")
def who_has_used_up_a_limit_is_told_when_to_come_back(target: Target) -> None:
    """Each refusal by a limit has `Retry-After`: whole seconds, at least one, until the next request passes."""
    states = _limiting(target)
    if not states and "address" not in target.promises.limits_by:
        reason = "nobody is limited"
        raise NotApplicable(reason)
    for name in states:
        operation = _listing(target, name)[0]
        with SITUATIONS[name](target, operation) as brought:
            request = request_with(brought.target, operation, brought.fault)
            answer = require(brought.target, request, name, operation, known=brought.fault.known)
            _require_retry(brought.target, request, answer, _due(target, _scope(target, name)))
    if "address" in target.promises.limits_by:
        with after_the_address_limit(target) as brought:
            answer = require(brought.target, UNREMARKABLE, "address_limited")
            _require_retry(brought.target, UNREMARKABLE, answer, _due(target, "address"))


_COUNTED: Final = ("caller_limited", "rate_limited", "too_many_failed_logins")
"""The refusals for a limit that the gateway counts; that of an alias stands for one of its provider as well."""


def _limiting(target: Target) -> list[str]:
    """Return the refusals that stand for a limit which the gateway has."""
    kinds = {name for operation in target.promises.operations for name in operation.kinds}
    counted = [name for name in _COUNTED if name in kinds]
    return [name for name in counted if name != "rate_limited" or "alias" in target.promises.limits_by]


def _scope(target: Target, name: str) -> str:
    """Return the scope whose limit the refusal *name* stands for; of several the one that is reached first."""
    scopes = {
        "too_many_failed_logins": ("failed-logins",),
        "caller_limited": caller_scopes(target),
        "rate_limited": ("alias",),
    }
    return min(scopes[name], key=lambda scope: target.limit(scope).requests)


def _due(target: Target, scope: str) -> float:
    """Return after how many seconds a limit that was just used up admits one request."""
    limit = target.limit(scope)
    return limit.seconds / limit.requests


def _require_retry(target: Target, request: Request, answer: Response, due: float) -> None:
    shown = answer.header("retry-after") or ""
    if not re.fullmatch("[1-9][0-9]*", shown) or not due - TOLERANCE <= int(shown) <= ceil(due):
        expected = f"Retry-After: {ceil(due)}, or little less, on {answer.status}"
        raise RuleBroken(rule="ADR-0032.R5", expected=expected, actual=answer.headers, curl=target.curl(request))


STATE_RULES: Final = {
    "overloaded": "ADR-0033.R1",
    "upstream_unavailable": "ADR-0045.R10",
    "upstream_timeout": "ADR-0045.R10",
    "circuit_open": "ADR-0045.R10",
}
"""The rule that gives the refusal for a state its place, where it is no limit."""


@confirms("ADR-0032.R3", "ADR-0033.R1", "ADR-0045.R10")
def states_are_answered_in_their_place(target: Target) -> None:
    """A full gateway and failed logins come before the credential, a key's limit before the media type, an alias late.

    What is behind a model fails last of all. Each is tried with every fault that one request can have.
    """
    asked = [
        (operation, name) for operation in target.promises.operations for name in BEFORE if name in operation.kinds
    ]
    for operation, name in asked:
        with SITUATIONS[name](target, operation) as brought:
            for fault in faults(brought.target, operation):
                if fault.touched & brought.fault.touched:
                    continue  # one of them would not be in the request
                request = request_with(brought.target, operation, brought.fault, fault)
                first = brought.fault if answers_first(name, fault) else fault
                rule = STATE_RULES.get(name, "ADR-0032.R3")
                require(brought.target, request, first.kind, operation, rule=rule, known=first.known)


def _listing(target: Target, name: str) -> list[Operation]:
    """Return the operations that list the refusal *name*."""
    return [operation for operation in target.promises.operations if name in operation.kinds]


def _colleague(target: Target) -> Target:
    """Return the target for another key of the same organisation.

    Raises:
        NotJudged: nobody has stated one.
    """
    token = target.callers.colleague_token
    if token is None:
        lacking = "another key of the same organisation"
        raise NotJudged(lacking)
    return attrs.evolve(target, callers=attrs.evolve(target.callers, token=token))
