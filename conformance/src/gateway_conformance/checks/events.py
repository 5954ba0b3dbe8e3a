"""What a gateway writes down (ADR-0015): one event for each request, listed fields, and no text of a caller.

Laws of this file:
- A line is looked at whole, and not only in the fields that one expects something in.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeVar

import attrs

from gateway_conformance.answers import as_printf, asked
from gateway_conformance.calls import Fault, example_of, faults, request_with, valid_request
from gateway_conformance.checks.bodies import with_body
from gateway_conformance.checks.callers import nearly_right, secured
from gateway_conformance.checks.headers import every_sort_of_request, own_id
from gateway_conformance.checks.schemas import changed, leaves
from gateway_conformance.exchange import Request
from gateway_conformance.lines import Response
from gateway_conformance.probes import OTHER_EXPECTATIONS, OTHER_HOSTS, TOO_LARGE, no_requests, placed
from gateway_conformance.promises import Operation, rendered
from gateway_conformance.rules import NotJudged, RuleBroken, confirms
from gateway_conformance.target import Log, Target

CANARY: Final = "CANARYe91b"
"""A text that occurs in nothing but what these checks send."""

TRIES: Final = 1000
"""How often the log is looked into for an event that must come; each time something is asked, so that time passes."""

READABLE: Final = frozenset({"model"})
"""Members of a body whose text may be logged (ADR-0015.R3)."""


T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Told:
    """The answers to some requests, in their order, and the lines that were logged meanwhile."""

    answers: list[Response]
    lines: list[str]

    def events(self) -> list[dict[str, Any]]:
        """Return the lines as the JSON that they are."""
        return [json.loads(line) for line in self.lines]


def told(target: Target, requests: Iterable[Request]) -> Told:
    """Send *requests*, and return what was answered and what was logged.

    Raises:
        NotJudged: nobody has stated where the log is.
        RuleBroken: an event did not come.
    """
    answers, lines = written_during(target, lambda: [target.send(request) for request in requests])
    return Told(answers=answers, lines=lines)


def written_during(target: Target, action: Callable[[], T]) -> tuple[T, list[str]]:
    """Return what *action*, which sends something, returns, and the lines that were logged of it.

    Raises:
        NotJudged: nobody has stated where the log is.
        RuleBroken: an event did not come.
    """
    log = _log(target)
    log.lines()
    returned = action()
    last = f"last-{secrets.token_hex(8)}"
    settling = Request(method="GET", path="/no-such-path", headers=(("X-Request-ID", last),))
    target.send(settling)
    lines: list[str] = []
    for _ in range(TRIES):
        lines += log.lines()
        if any(last in line for line in lines):
            # Events are written in the order in which their answers end.
            return returned, [line for line in lines if "last-" not in line]
        target.send(attrs.evolve(settling, headers=(("X-Request-ID", "last-again"),)))
    raise RuleBroken(rule="ADR-0015.R1", expected="an event", actual="none", curl=target.curl(settling))


def _log(target: Target) -> Log:
    if target.stated.log is None:
        lacking = "where the log is"
        raise NotJudged(lacking)
    return target.stated.log


@confirms("ADR-0015.R1", "ADR-0015.R2")
def every_request_leaves_one_event(target: Target) -> None:
    """Each request, whatever it is answered, has one event, with the gateway's id, and with the caller's own."""
    plain = [request.without("X-Request-ID") for request in every_sort_of_request(target)]
    requests = plain + [request.having("X-Request-ID", f"own-{number}") for number, request in enumerate(plain)]
    seen = told(target, requests)
    # A line without an id is of no request: that something became bad, or good again.
    lines = [set(map(str, event.values())) for event in seen.events()]
    written = [values for values in lines if any(own_id(target).fullmatch(value) for value in values)]
    for request, answer in zip(requests, seen.answers, strict=True):
        own = answer.header("x-request-id") or "none"
        of_it = [values for values in written if own in values]
        if len(of_it) != 1:
            expected = f"one event with {own}, and the gateway's own id in it"
            raise RuleBroken(rule="ADR-0015.R1", expected=expected, actual=of_it, curl=target.curl(request))
    if len(written) != len(requests):
        expected, curl = f"{len(requests)} events", target.curl(requests[0])
        raise RuleBroken(rule="ADR-0015.R1", expected=expected, actual=len(written), curl=curl)


@confirms("ADR-0015.R1", "ADR-0034.R5")
def what_is_no_request_leaves_one_event_too(target: Target) -> None:
    """What is no HTTP, or not for one host, or too large, has one event too, with the id that its answer has."""
    for sent in (*no_requests(target), *placed(target, *OTHER_HOSTS, *OTHER_EXPECTATIONS, *TOO_LARGE)):
        answer, lines = written_during(target, partial(asked, target, sent))
        own = answer.header("x-request-id") or "none"
        if [own in line for line in lines] != [True]:
            expected, curl = f"one event with {own}", as_printf(target, sent)
            raise RuleBroken(rule="ADR-0015.R1", expected=expected, actual=lines, curl=curl)


@confirms("ADR-0015.R1", "ADR-0015.R3")
def an_event_has_listed_fields_only(target: Target) -> None:
    """Each line is a JSON object whose members are on the list of those that may be logged."""
    fields = _log(target).fields
    for request in every_sort_of_request(target):
        for event in told(target, [request]).events():
            unlisted = sorted(event.keys() - fields)
            if unlisted:
                curl = target.curl(request)
                raise RuleBroken(rule="ADR-0015.R3", expected="listed fields only", actual=unlisted, curl=curl)


@confirms("ADR-0015.R3")
def no_content_is_logged(target: Target) -> None:
    """Nothing that stands in a body, as a text or as a key, good or bad, occurs in the log."""
    for operation in with_body(target):
        for body in _bodies(target, operation):
            request = request_with(target, operation, Fault(kind="", body=body))
            _require_silence(target, [request], CANARY)


def _bodies(target: Target, operation: Operation) -> Iterator[bytes]:
    """Yield the examples with a canary in place of each text, and bodies that are none."""
    example = example_of(operation)
    unspoken = READABLE | {target.promises.correlation_member}
    for steps in leaves(example):
        if steps[0] not in unspoken:
            yield rendered(changed(example, steps, lambda holder, step: holder.__setitem__(step, CANARY)))
    yield rendered({**example, CANARY: {CANARY: [CANARY]}})
    yield from (f'{{"{CANARY}": '.encode(), CANARY.encode(), f'"{CANARY}"'.encode(), rendered([CANARY]))


@confirms("ADR-0015.R3", "ADR-0030.R1")
def no_credential_is_logged(target: Target) -> None:
    """Neither a right key occurs in the log, nor a wrong one, nor one in the wrong place, nor the half of one."""
    callers = target.callers
    for operation in secured(target):
        valid = valid_request(target, operation)
        tokens = (callers.token, callers.unscoped_token, callers.uncheckable_token or CANARY, CANARY)
        for token in tokens:
            half = token[: len(token) // 2], token[len(token) // 2 :]
            requests = [
                valid.having(name, f"Bearer {token}") for name in ("Authorization", "X-Authorization", "Cookie")
            ]
            requests += [valid.having("Authorization", value) for value in (token, f"Basic {token}", f"Bearer{token}")]
            requests.append(attrs.evolve(valid, path=f"{valid.path}?api_key={token}"))
            _require_silence(target, requests, *half)
        guesses = [valid.having("Authorization", f"Bearer {token}") for token in nearly_right(callers.token)]
        _require_silence(target, guesses, callers.token[2 : len(callers.token) // 2 - 1])


@confirms("ADR-0015.R3")
def no_header_query_or_path_is_logged(target: Target) -> None:
    """Nothing else that a caller writes occurs in the log: no path, no query, and no header, known or not."""
    outside = [
        Request(method="GET", path=f"/{CANARY}"),
        Request(method="POST", path=f"/v1/{CANARY}?{CANARY}={CANARY}", body=CANARY.encode()),
        Request(method="GET", path="/no-such-path", headers=((f"X-{CANARY}", CANARY),)),
    ]
    _require_silence(target, outside, CANARY)
    for operation in target.promises.operations:
        valid = valid_request(target, operation)
        requests = [attrs.evolve(valid, path=f"{valid.path}?{CANARY}={CANARY}")]
        names = {"Cookie", "User-Agent", "traceparent", "Accept", "X-Request-ID", f"X-{CANARY}", *dict(valid.headers)}
        requests += [valid.having(name, f"{CANARY} {CANARY}") for name in sorted(names)]
        requests += [request_with(target, operation, Fault(kind="", path={name: CANARY})) for name in _names(operation)]
        requests += [
            request_with(target, operation, fault).having("User-Agent", CANARY) for fault in faults(target, operation)
        ]
        _require_silence(target, requests, CANARY)


def _names(operation: Operation) -> Iterator[str]:
    yield from (parameter["name"] for parameter in operation.parameters if parameter["in"] == "path")


def _require_silence(target: Target, requests: list[Request], *texts: str) -> None:
    """Require that none of *texts* is logged while *requests* are answered."""
    spoken = _spoken(told(target, requests).lines, texts)
    if spoken is None:
        return
    for request in requests:  # which of them it was
        if _spoken(told(target, [request]).lines, texts) is not None:
            raise RuleBroken(rule="ADR-0015.R3", expected="none of it", actual=spoken, curl=target.curl(request))
    raise RuleBroken(rule="ADR-0015.R3", expected="none of it", actual=spoken, curl=target.curl(requests[0]))


def _spoken(lines: list[str], texts: Iterable[str]) -> str | None:
    return next((line for line in lines if any(text.lower() in line.lower() for text in texts)), None)
