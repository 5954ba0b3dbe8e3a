"""Compares an answer with what the contract says about it.

Laws of this file:
- The whole answer counts: status, media type, headers, and every member of a refusal's body in its order.
- Only what `x-fill` names may differ from the example, and what fills it must have the form that ADR-0004 gives it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from gateway_conformance.exchange import PATIENCE, PATIENCE_WITHOUT_BODY, Request
from gateway_conformance.frames import transcript
from gateway_conformance.lines import SHOWN, Response
from gateway_conformance.promises import STREAM, Answer, Kind, Operation, Promises, allowed_methods
from gateway_conformance.rules import RuleBroken
from gateway_conformance.target import Target

HEADER_RULES: Final[Mapping[str, str]] = {
    "x-request-id": "ADR-0013.R1",
    "x-trace-id": "ADR-0013.R1",
    "x-response-time": "ADR-0013.R1",
    "x-should-retry": "ADR-0014.R1",
    "www-authenticate": "ADR-0009.R1",
    "connection": "ADR-0010.R4",
    "allow": "ADR-0011.R3",
    "retry-after": "ADR-0032.R2",
    "x-ratelimit-limit-requests": "ADR-0032.R2",
    "x-ratelimit-remaining-requests": "ADR-0032.R2",
    "x-ratelimit-reset-requests": "ADR-0032.R2",
    "ratelimit": "ADR-0032.R2",
    "ratelimit-policy": "ADR-0032.R2",
    "x-ratelimit-limit-tokens": "ADR-0041.R6",
    "x-ratelimit-remaining-tokens": "ADR-0041.R6",
    "x-ratelimit-reset-tokens": "ADR-0041.R6",
}
"""The rule that asks for a header; ADR-0004.R1 for any other, since the contract is what asks for it."""

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SHOWN: Final[Mapping[str, re.Pattern[str]]] = {
    "request_id": re.compile(r"[A-Za-z0-9._-]{1,128}"),
    "now": _TIMESTAMP,
    "reason": re.compile(r"[^\r\n]{1,500}"),
    "code": re.compile(r"[A-Za-z0-9_]{1,64}"),
    "param": re.compile(r"[^\r\n]{1,300}"),
    "guardrail_key": re.compile(r"[A-Za-z0-9._-]{1,128}"),
    "action": re.compile(r"block"),
}
"""The form of what fills a member, by argument; `param` may be null as well, and `findings` are a list."""

_FINDING: Final = {"category": str, "message": str}
"""The members of a finding: what was found is not among them."""

RATE_LIMIT: Final = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "ratelimit",
    "ratelimit-policy",
)
"""The headers that tell of a limit (ADR-0032)."""

TOKEN_LIMIT: Final = ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")
"""The headers that tell of a limit of tokens (ADR-0041)."""

PER_REQUEST: Final = frozenset(
    {"x-request-id", "x-trace-id", "x-response-time", "date", "content-length", *RATE_LIMIT, *TOKEN_LIMIT}
)
"""Headers in which two answers to the same question may differ; the length does where a client's own id is echoed."""

_MISSING: Final = object()


@attrs.frozen(kw_only=True)
class Mismatch:
    """One way in which an answer is not what the contract says."""

    rule: str
    expected: str
    actual: str


def mismatches(
    answer: Answer, kind: Kind | None, response: Response, known: Mapping[str, object]
) -> Iterator[Mismatch]:
    """Yield every way in which *response* is not the documented *answer*, of this *kind* where it is a refusal.

    *known* are arguments whose value is certain, such as `param`; those that are not known are taken from the answer.
    """
    if response.status != answer.status:
        yield Mismatch(rule="ADR-0004.R1", expected=f"status {answer.status}", actual=str(response))
        return
    yield from _media_type(answer, response)
    yield from _headers(answer, response, known)
    if kind is not None:
        yield from _body(kind, response, known)


def require(  # noqa: PLR0913 - what is sent, what must come, and under which rule
    target: Target,
    request: Request,
    name: str,
    operation: Operation | None = None,
    *,
    rule: str | None = None,
    known: Mapping[str, object] | None = None,
) -> Response:
    """Send *request* and return the answer, which must be the refusal *name* of *operation*, or of no operation.

    Raises:
        RuleBroken: it is something else; *rule* is named where it is another refusal or none, else the kind's own rule.
    """
    __tracebackhide__ = True
    response = target.send(request)
    expectation = _Expectation(target=target, name=name, operation=operation, rule=rule, known=known or {})
    expectation.check(response, target.curl(request))
    return response


def require_bytes(
    target: Target, sent: bytes, name: str, *, rule: str | None = None, patience: float = PATIENCE_WITHOUT_BODY
) -> Response:
    """Send bytes that need not be HTTP and return the answer, which must be the refusal *name* of no operation.

    It may take *patience* seconds.

    Raises:
        RuleBroken: it is something else.
    """
    __tracebackhide__ = True
    response = asked(target, sent, patience=patience)
    expectation = _Expectation(target=target, name=name, operation=None, rule=rule, known={})
    expectation.check(response, as_printf(target, sent))
    return response


def asked(target: Target, sent: bytes, *, patience: float = PATIENCE_WITHOUT_BODY) -> Response:
    """Send bytes over a connection of their own, and return the first answer, which may take *patience* seconds."""
    with target.transport.connect() as line:
        line.send(sent, patience=PATIENCE)
        return line.answer(patience=patience)


def as_printf(target: Target, sent: bytes) -> str:
    """Return a line for a shell that sends the bytes, cut where they are many."""
    shown = repr(sent) if len(sent) <= SHOWN else f"{sent[:SHOWN]!r}... ({len(sent)} bytes)"
    return f"printf {shown} | nc {target.transport.origin.removeprefix('http://')}"


def require_success(target: Target, request: Request, operation: Operation, *, rule: str) -> Response:
    """Send *request* and return the answer, which must be the success of *operation* in its phase.

    Raises:
        RuleBroken: it is refused, or not answered as documented.
    """
    __tracebackhide__ = True
    response, curl = target.send(request), target.curl(request)
    if response.status not in operation.success:
        raise RuleBroken(rule=rule, expected=f"{sorted(operation.success)}", actual=response, curl=curl)
    wrong = undocumented((operation.answers[response.status],), response)
    if wrong is not None:
        raise RuleBroken(rule=wrong.rule, expected=wrong.expected, actual=wrong.actual, curl=curl)
    return response


def undocumented(answers: Sequence[Answer], response: Response) -> Mismatch | None:
    """Return why *response* is none of the documented *answers*; None when it is one."""
    first = None
    for answer in answers:
        for kind in (answer.kinds.values() or (None,)) if answer.status == response.status else ():
            wrong = next(mismatches(answer, kind, response, {}), None)
            if wrong is None:
                return None
            first = first or wrong
    statuses = sorted({answer.status for answer in answers})
    return first or Mismatch(rule="ADR-0001.R1", expected=f"a status of {statuses}", actual=str(response))


@attrs.frozen(kw_only=True)
class _Expectation:
    """The refusal *name* of *operation*, or of none. *known* are arguments that the body must show."""

    target: Target
    name: str
    operation: Operation | None
    rule: str | None
    known: Mapping[str, object]

    def check(self, response: Response, curl: str) -> None:
        """Raise `RuleBroken` when *response* is anything else; *curl* shows what was sent."""
        __tracebackhide__ = True
        promises, operation = self.target.promises, self.operation
        found = promises.anywhere_kind(self.name) if operation is None else operation.kind(self.name)
        if found is None:
            raise RuleBroken(rule="ADR-0004.R1", expected=f"a documented kind {self.name!r}", actual="none", curl=curl)
        answer, kind = found
        limit = {} if operation is None else {"limit": operation.body_limit}
        wrong = next(mismatches(answer, kind, response, limit | dict(self.known)), None)
        if self.name not in recognised(promises, operation, response):
            # Another documented refusal, or none: the check that was due did not answer.
            worded = wrong is not None and answer.status == response.status and not self._another(response)
            rule = wrong.rule if wrong is not None and worded else self.rule or KIND_RULES.get(self.name, "ADR-0004.R1")
            expected = wrong.expected if wrong is not None and worded else f"{answer.status} {self.name}"
            raise RuleBroken(rule=rule, expected=expected, actual=response, curl=curl)
        if wrong is not None:
            raise RuleBroken(rule=wrong.rule, expected=wrong.expected, actual=wrong.actual, curl=curl)

    def _another(self, response: Response) -> bool:
        promises = self.target.promises
        return bool(recognised(promises, self.operation, response) or recognised(promises, None, response))


KIND_RULES: Final[Mapping[str, str]] = {
    "malformed_http": "ADR-0006.R3",
    "invalid_host": "ADR-0034.R3",
    "request_timeout": "ADR-0034.R1",
    "expectation_failed": "ADR-0034.R10",
    "headers_too_large": "ADR-0034.R2",
    "address_limited": "ADR-0032.R3",
    "overloaded": "ADR-0033.R1",
    "not_ready": "ADR-0033.R2",
    "too_many_failed_logins": "ADR-0032.R5",
    "caller_limited": "ADR-0032.R3",
    "rate_limited": "ADR-0032.R3",
    "identity_unavailable": "ADR-0031.R1",
    "unknown_url": "ADR-0008.R1",
    "method_not_allowed": "ADR-0011.R3",
    "missing_credential": "ADR-0009.R1",
    "invalid_credential": "ADR-0009.R1",
    "invalid_parameter": "ADR-0007.R5",
    "insufficient_scope": "ADR-0009.R3",
    "organization_mismatch": "ADR-0009.R4",
    "agent_not_allowed": "ADR-0009.R5",
    "unsupported_media_type": "ADR-0010.R1",
    "unsupported_charset": "ADR-0010.R1",
    "unsupported_encoding": "ADR-0010.R2",
    "body_too_large": "ADR-0010.R3",
    "invalid_json": "ADR-0007.R4",
    "invalid_request": "ADR-0007.R1",
    "model_not_found": "ADR-0013.R5",
    "model_not_llm": "ADR-0043.R1",
    "model_not_embedding": "ADR-0043.R1",
    "guardrail_block": "ADR-0045.R10",
    "upstream_unavailable": "ADR-0045.R10",
    "upstream_timeout": "ADR-0045.R10",
    "circuit_open": "ADR-0045.R10",
    "provider_not_configured": "ADR-0012.R3",
}
"""The rule that says when a kind of refusal is due."""


def recognised(promises: Promises, operation: Operation | None, response: Response) -> frozenset[str]:
    """Return the names of the documented refusals that *response* may be, by its status and body.

    A kind whose sentence is filled in fits many bodies, so it is meant only where no kind fits word for word.
    """
    answers = promises.anywhere if operation is None else tuple(operation.answers.values())
    names = {
        kind.name
        for answer in answers
        if answer.status == response.status
        for kind in answer.kinds.values()
        if not any(_body(kind, response, {}))
    }
    exact = {name for name in names if not _is_open(promises, operation, name)}
    names = exact or names
    if operation is not None and {"invalid_parameter", "invalid_request"} <= names:
        # Where the dialect words both alike, `param` tells them apart, unless the body has a member of that name too.
        names.discard(_unlikely(promises, operation, response))
    return frozenset(names)


def _is_open(promises: Promises, operation: Operation | None, name: str) -> bool:
    found = promises.anywhere_kind(name) if operation is None else operation.kind(name)
    return found is not None and "reason" in found[1].fill.values()


def _unlikely(promises: Promises, operation: Operation, response: Response) -> str:
    param = response.json()["error"].get("param")
    declared = {one["name"] for one in operation.parameters}
    members = promises.resolve(operation.schema or {}).get("properties", {})
    if param not in declared:
        return "invalid_parameter"
    return "" if param in members else "invalid_request"


def _media_type(answer: Answer, response: Response) -> Iterator[Mismatch]:
    stated = response.header("content-type")
    if not answer.media_types:
        if response.body:
            yield Mismatch(rule="ADR-0011.R2", expected="no body", actual=str(response))
    elif stated is None or stated.partition(";")[0] not in answer.media_types:
        yield Mismatch(
            rule="ADR-0004.R4",
            expected=f"content-type {' or '.join(answer.media_types)}",
            actual=f"content-type {stated}",
        )


def _headers(answer: Answer, response: Response, known: Mapping[str, object]) -> Iterator[Mismatch]:
    for name, stated in answer.headers.items():
        rule = HEADER_RULES.get(name, "ADR-0004.R1")
        value = response.header(name)
        if value is None:
            if stated.required:
                yield Mismatch(rule=rule, expected=f"one header {name}", actual=f"{response.headers}")
        elif not stated.takes(value):
            yield Mismatch(rule=rule, expected=f"header {name} as {stated.schema}", actual=f"{name}: {value}")
        elif stated.fill is not None and stated.fill in known and value != known[stated.fill]:
            yield Mismatch(rule=rule, expected=f"{name}: {known[stated.fill]}", actual=f"{name}: {value}")


def _body(kind: Kind, response: Response, known: Mapping[str, object]) -> Iterator[Mismatch]:
    """Yield the first way in which the body is not the kind's example, filled."""
    actual = response.json()
    shown = {text: _look_up(actual, path) for path, text in kind.fill.items() if text.isidentifier()}
    for name, value in shown.items():
        if not _well_formed(name, value):
            yield Mismatch(rule="ADR-0004.R4", expected=f"{kind.name} with {name!r} filled in", actual=str(response))
            return
    own_id = response.header("x-request-id")
    if shown.get("request_id", own_id) != own_id:
        yield Mismatch(
            rule="ADR-0013.R2",
            expected=f"request id {own_id} as in the header",
            actual=f"{shown['request_id']} in the body",
        )
        return
    arguments = _templated(kind, actual) | shown | dict(known)
    expected = kind.template.fill(arguments)
    if list(_members(expected)) != list(_members(actual)):
        yield Mismatch(rule="ADR-0004.R4", expected=_as_text(expected), actual=str(response))


def _as_text(body: object) -> str:
    """Return *body* as a failure shows it."""
    return json.dumps(body, ensure_ascii=False)


def _templated(kind: Kind, actual: object) -> dict[str, object]:
    """Return the arguments that the sentences of *actual* show, or the sample ones where they show none."""
    arguments = dict(kind.template.sample())
    for path, text in kind.fill.items():
        value = _look_up(actual, path)
        if text.isidentifier() or not isinstance(value, str):
            continue
        pieces = re.split(r"\{(\w+)\}", text)
        pattern = "".join(f"(?P<{piece}>.+?)" if index % 2 else re.escape(piece) for index, piece in enumerate(pieces))
        found = re.fullmatch(pattern, value)
        arguments |= found.groupdict() if found else {}
    return arguments


def _well_formed(name: str, value: object) -> bool:
    if name == "param" and value is None:
        return True
    if name == "findings":
        return isinstance(value, list) and bool(value) and all(map(_is_finding, value))
    return isinstance(value, str) and _SHOWN.get(name, re.compile(".*")).fullmatch(value) is not None


def _is_finding(value: object) -> bool:
    typed = isinstance(value, dict) and {name: type(member) for name, member in value.items()}
    return typed == _FINDING


def _look_up(body: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    for member in path.split("."):
        if not isinstance(body, dict) or member not in body:
            return _MISSING
        body = body[member]
    return body


def _members(body: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and the value of every member, in order; what is in an array counts as one value."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield from _members(value, f"{path}.{name}")
        yield path, len(body)
    else:
        yield path, body


def comparable(response: Response) -> tuple[object, ...]:
    """Return what of *response* must be the same in another answer to the same question."""
    own_id = (response.header("x-request-id") or "").rpartition("_")[2]
    headers = sorted(pair for pair in response.headers if pair[0] not in PER_REQUEST)
    if (response.header("content-type") or "").startswith(STREAM):
        events = (event.data for event in transcript(response.body).events)
        return response.status, headers, [_comparable_body(event.encode(), own_id) for event in events]
    return response.status, headers, _comparable_body(response.body, own_id)


def _comparable_body(body: bytes, own_id: str) -> object:
    try:
        document = json.loads(body)
    except ValueError:
        return body
    return list(_members(_without_request(document, own_id)))


def _without_request(value: Any, own_id: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return *value*, with a word in place of what is the id or the time of one request."""
    match value:
        case dict():
            return {name: _without_request(one, own_id) for name, one in value.items()} | (
                {"created": "its time"} if "created" in value else {}
            )
        case list():
            return [_without_request(one, own_id) for one in value]
        case str() if _TIMESTAMP.fullmatch(value):
            return "its time"
        case str() if own_id:
            return value.replace(own_id, "its id")
        case _:
            return value


def allow_of(target: Target, path: str) -> str:
    """Return the `Allow` that *path* of the target's document has."""
    return allowed_methods(target.promises.paths[path])
