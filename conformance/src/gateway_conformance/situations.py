"""States of a gateway that no single request brings about: a limit that is used up, no room, the end of a process.

What is behind a model belongs to them: who asks it cannot bring about that it fails.

Laws of this file:
- A limit is used up on the `Tight` gateway that the operator has stated, by a caller and from an address that nobody
  has used before: what one check has used up is not missing to the next.
- Who brings a state about ends it, as far as it can be ended.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

import attrs

from gateway_conformance.answers import recognised
from gateway_conformance.calls import FAULTS, Fault, body_for, request_with, valid_request
from gateway_conformance.exchange import NotHeldError, Request
from gateway_conformance.lines import Response
from gateway_conformance.promises import Operation
from gateway_conformance.rules import NotJudged, RuleBroken
from gateway_conformance.target import Limit, Target


@attrs.frozen(kw_only=True)
class Brought:
    """A state that was brought about: a request with *fault* in it is refused by *target* for the state."""

    target: Target
    fault: Fault


Situation = Callable[[Target, Operation], AbstractContextManager[Brought]]


@contextmanager
def without_room(target: Target, operation: Operation) -> Iterator[Brought]:
    """As many requests are in work as the gateway takes: their bodies are wanted, and come at the end."""
    holder, places = target.newcomer(), target.tight.places
    request = valid_request(holder, operation)
    with ExitStack() as stack:
        held = [_held(stack, holder, request, f"room for {places} requests, and not for {n}") for n in range(places)]
        yield Brought(target=target.newcomer(), fault=Fault(kind="overloaded"))
        for finish in held:
            answer = finish()
            if answer.status not in operation.success:
                expected, curl = f"{sorted(operation.success)} for who has room", holder.curl(request)
                raise RuleBroken(rule="ADR-0033.R1", expected=expected, actual=answer, curl=curl)


def _held(stack: ExitStack, holder: Target, request: Request, expected: str) -> Callable[[], Response]:
    """Keep *request* in work until the end of *stack*, and return what ends it before."""
    try:
        return stack.enter_context(holder.transport.hold(holder.located(request)))
    except NotHeldError as answered:
        curl = holder.curl(request)
        raise RuleBroken(rule="ADR-0033.R1", expected=expected, actual=answered, curl=curl) from answered


@contextmanager
def after_failed_logins(target: Target, operation: Operation) -> Iterator[Brought]:
    """As many wrong credentials came from one address as may come from one."""
    limit = target.limit("failed-logins")
    caller = target.newcomer().staying()
    wrong = valid_request(caller, operation).having("Authorization", "Bearer nobody")
    for _ in range(limit.requests):
        caller.send(wrong)
    yield Brought(target=caller, fault=Fault(kind="too_many_failed_logins"))


@contextmanager
def after_the_callers_limit(target: Target, operation: Operation) -> Iterator[Brought]:
    """A key has sent as many requests as it may, or as its organisation may."""
    caller = target.newcomer()
    request = valid_request(caller, operation)
    for _ in range(min(target.limit(scope).requests for scope in caller_scopes(target))):
        caller.send(request)
    yield Brought(target=caller, fault=Fault(kind="caller_limited"))


@contextmanager
def after_the_alias_limit(target: Target, operation: Operation) -> Iterator[Brought]:
    """An organisation has sent as many requests for a model as it may, or, where none are counted, its provider has."""
    if "alias" not in target.promises.limits_by:
        yield behind_the_model(target, operation, "rate_limited")
        return
    limit = target.limit("alias")
    caller = target.newcomer()
    fault = for_the_alias(caller, operation)
    for _ in range(limit.requests):
        caller.send(request_with(caller, operation, fault))
    yield Brought(target=caller, fault=fault)


def for_the_alias(target: Target, operation: Operation) -> Fault:
    """Return what makes a request one for the model whose limit can be reached."""
    model = scarce_alias(target, operation)
    return Fault(kind="rate_limited", body=body_for(operation, model), known={"alias": model})


def scarce_alias(target: Target, operation: Operation) -> str:
    """Return the alias whose limit can be reached, of the category that *operation* takes."""
    return target.tight.embedding_alias if operation.takes_embedding_models else target.tight.alias


def behind_the_model(target: Target, operation: Operation, kind: str) -> Brought:
    """Return what makes a request one for a model that fails with *kind*."""
    model = target.staged(kind, operation)
    return Brought(target=target, fault=Fault(kind=kind, body=body_for(operation, model), known={"alias": model}))


def _failing(kind: str) -> Situation:
    """Return the situation that what is behind a model fails with *kind*."""

    @contextmanager
    def fail(target: Target, operation: Operation) -> Iterator[Brought]:
        yield behind_the_model(target, operation, kind)

    return fail


@contextmanager
def while_left_alone(target: Target, operation: Operation) -> Iterator[Brought]:
    """What is behind a model has failed so often that it is asked no more."""
    brought = behind_the_model(target, operation, "circuit_open")
    request = request_with(target, operation, brought.fault)
    for _ in range(OFTEN):
        if "circuit_open" in recognised(target.promises, operation, target.send(request)):
            break
    yield brought


@contextmanager
def while_draining(target: Target, _: Operation) -> Iterator[Brought]:
    """The gateway has been told to end."""
    if target.stated.draining is None:
        lacking = "a gateway that has been told to end"
        raise NotJudged(lacking)
    yield Brought(target=attrs.evolve(target, transport=target.stated.draining), fault=Fault(kind="not_ready"))


OFTEN: Final = 20
"""How often what is behind a model may fail before it is left alone."""

SITUATIONS: Final[Mapping[str, Situation]] = {
    "overloaded": without_room,
    "too_many_failed_logins": after_failed_logins,
    "caller_limited": after_the_callers_limit,
    "rate_limited": after_the_alias_limit,
    "not_ready": while_draining,
    "upstream_unavailable": _failing("upstream_unavailable"),
    "upstream_timeout": _failing("upstream_timeout"),
    "circuit_open": while_left_alone,
}
"""How each refusal of an operation that stands for a state is provoked."""

BEFORE: Final[Mapping[str, str | None]] = {
    "overloaded": "missing_credential",
    "too_many_failed_logins": "missing_credential",
    "caller_limited": "unsupported_media_type",
    "rate_limited": "provider_not_configured",
    "upstream_unavailable": None,
    "upstream_timeout": None,
    "circuit_open": None,
}
"""The first of the kinds in `FAULTS` that a refusal for a state comes before (ADR-0032.R3, ADR-0033); None for none."""


def answers_first(state: str, fault: Fault) -> bool:
    """Whether the refusal for a *state* is due before that of a *fault* of the request."""
    ranks, first = list(FAULTS), BEFORE[state]
    return first is not None and ranks.index(fault.kind) >= ranks.index(first)


@contextmanager
def after_the_address_limit(target: Target) -> Iterator[Brought]:
    """As many requests came from one address as may come from one."""
    limit = target.limit("address")
    caller = target.newcomer().staying()
    for _ in range(limit.requests):
        caller.send(UNREMARKABLE)
    yield Brought(target=caller, fault=Fault(kind="address_limited"))


UNREMARKABLE: Final = Request(method="GET", path="/no-such-path")
"""A request that costs nothing but what every request costs."""


def caller_scopes(target: Target) -> tuple[str, ...]:
    """Return the scopes by which the gateway limits callers whom it knows, in the order in which they count."""
    return tuple(scope for scope in ("organization", "key") if scope in target.promises.limits_by)


def met(target: Target, operation: Operation) -> Mapping[str, Limit]:
    """Return the limits that a valid request of *operation*, for a model of the caller's, meets on the tight gateway.

    Failed logins are none of them: no header tells of these.
    """
    scopes = [scope for scope in ("address",) if scope in target.promises.limits_by]
    if "caller_limited" in operation.kinds:
        scopes += caller_scopes(target)
    if "rate_limited" in operation.kinds and "alias" in target.promises.limits_by:
        scopes += ["alias"]
    return {scope: target.limit(scope) for scope in scopes}
