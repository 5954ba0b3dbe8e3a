"""Who may pass (ADR-0009): keys, scopes, organisations, agents.

Laws of this file:
- Everything is tried on every operation that asks for it: a check that one path forgets is a hole in all.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from gateway_conformance.answers import comparable, require, require_success
from gateway_conformance.calls import Fault, agent_fault, request_with, valid_request
from gateway_conformance.promises import Operation
from gateway_conformance.rules import RuleBroken, confirms
from gateway_conformance.target import Target

NOBODY: Final = "018f3a5e-0000-7000-8000-000000000000"
"""A well-formed id of no organisation and no agent."""


def secured(target: Target) -> Iterator[Operation]:
    """Yield the operations that ask for a credential."""
    yield from (operation for operation in target.promises.operations if operation.scopes is not None)


def unusable_credentials(token: str) -> tuple[str, ...]:
    """Return values of `Authorization` that hold a right *token*, or nothing, in no usable way."""
    return (
        "",
        "Bearer",
        token,
        f"Bearer{token}",
        f"Basic {token}",
        f"Token {token}",
        f"Bearer {token} {token}",
        f"Bearer {token}, Bearer {token}",
        f'Bearer "{token}"',
        f"Bearer token={token}",
    )


def nearly_right(token: str) -> tuple[str, ...]:
    """Return tokens that are right but for a little."""
    middle = len(token) // 2
    other = "B" if token[middle] == "A" else "A"
    return (
        token[:-1],
        token[1:],
        token[:8],
        token[:middle],
        token + "A",
        token + token,
        token[:middle] + other + token[middle + 1 :],
        token[:-1] + ("B" if token[-1] == "A" else "A"),
        token.swapcase(),
        token.upper(),
        token[::-1],
        token[: middle + 1] + token[: middle + 1],
        token + "%00",
        token + "\u00e9",
        "null",
        "*",
    )


@confirms("ADR-0009.R1")
def every_credential_but_a_bearer_token_is_refused(target: Target) -> None:
    """Without a credential one refusal, with an unusable one the other, and the scheme's case does not matter."""
    for operation in secured(target):
        missing = Fault(kind="missing_credential", headers={"Authorization": None})
        require(target, request_with(target, operation, missing), missing.kind, operation)
        for value in unusable_credentials(target.callers.token):
            unusable = Fault(kind="invalid_credential", headers={"Authorization": value})
            require(target, request_with(target, operation, unusable), unusable.kind, operation)
        for scheme in ("bearer", "BEARER", "bEARer"):
            usable = Fault(kind="", headers={"Authorization": f"{scheme} {target.callers.token}"})
            require_success(target, request_with(target, operation, usable), operation, rule="ADR-0009.R1")


@confirms("ADR-0009.R1")
def two_credentials_are_none(target: Target) -> None:
    """A right credential beside a wrong one, in either order, is not a right one: nobody can say which is meant."""
    for operation in secured(target):
        request = valid_request(target, operation)
        right = ("Authorization", f"Bearer {target.callers.token}")
        wrong = ("Authorization", "Bearer nobody")
        for doubled in ((right, wrong), (wrong, right)):
            headers = (*request.without("Authorization").headers, *doubled)
            sent = attrs.evolve(request, headers=headers)
            require(target, sent, "invalid_credential", operation, rule="ADR-0009.R1")


@confirms("ADR-0009.R2")
def only_the_exact_token_passes(target: Target) -> None:
    """Not a prefix, not a longer token, not one letter changed, on no operation: 501 or not, nobody else gets there."""
    for operation in secured(target):
        for token in nearly_right(target.callers.token):
            fault = Fault(kind="invalid_credential", headers={"Authorization": f"Bearer {token}"})
            require(target, request_with(target, operation, fault), fault.kind, operation, rule="ADR-0009.R2")
        require_success(target, valid_request(target, operation), operation, rule="ADR-0009.R2")


@confirms("ADR-0009.R3")
def a_key_without_the_scope_is_refused(target: Target) -> None:
    """A valid key that lacks the operation's scope is refused on each operation that needs one."""
    for operation in secured(target):
        if operation.scopes:
            headers = {"Authorization": f"Bearer {target.callers.unscoped_token}"}
            fault = Fault(kind="insufficient_scope", headers=headers)
            require(target, request_with(target, operation, fault), fault.kind, operation, rule="ADR-0009.R3")


@confirms("ADR-0009.R4")
def another_organization_is_refused_whether_it_exists_or_not(target: Target) -> None:
    """A foreign organisation and an unknown one get the same answer."""
    for operation in target.promises.operations:
        if operation.organization is None:
            continue
        faults = [
            Fault(kind="organization_mismatch", path={operation.organization: organization})
            for organization in (target.callers.foreign_organization, NOBODY)
        ]
        _require_alike(target, operation, faults, rule="ADR-0009.R4")


@confirms("ADR-0009.R5")
def another_agent_is_refused_whether_it_exists_or_not(target: Target) -> None:
    """An agent of another organisation and an unknown one get the same answer."""
    for operation in target.promises.operations:
        for name in operation.agent_headers:
            faults = [agent_fault(operation, name, agent) for agent in (target.callers.foreign_agent, NOBODY)]
            _require_alike(target, operation, faults, rule="ADR-0009.R5")


@confirms("ADR-0009.R6")
def an_agent_header_is_verified_where_it_is_optional_too(target: Target) -> None:
    """Where the header may be left out, that passes; when it is sent, it must name an agent, once."""
    for operation in target.promises.operations:
        required = {one["name"].lower() for one in operation.parameters if one.get("required")}
        for name in operation.agent_headers:
            if name.lower() not in required:
                absent = Fault(kind="", headers={name: None})
                require_success(target, request_with(target, operation, absent), operation, rule="ADR-0009.R6")
            foreign = agent_fault(operation, name, target.callers.foreign_agent)
            require(target, request_with(target, operation, foreign), foreign.kind, operation, rule="ADR-0009.R6")
            _require_one_agent(target, operation, name)


def _require_one_agent(target: Target, operation: Operation, name: str) -> None:
    """Refuse, in whatever documented way, an agent of the caller's beside somebody else's."""
    others: dict[str, str | None] = {other: None for other in operation.agent_headers if other != name}
    request = request_with(target, operation, Fault(kind="", headers=others))
    agents = (target.callers.agent, target.callers.foreign_agent)
    for doubled in (agents, agents[::-1]):
        pairs = tuple((name, agent) for agent in doubled)
        sent = attrs.evolve(request, headers=(*request.without(name).headers, *pairs))
        response = target.send(sent)
        if response.status // 100 != 4:
            raise RuleBroken(rule="ADR-0009.R6", expected="a refusal", actual=response, curl=target.curl(sent))


def _require_alike(target: Target, operation: Operation, faults: list[Fault], *, rule: str) -> None:
    """Require that each of *faults* is refused, and all with the same answer."""
    requests = [request_with(target, operation, fault) for fault in faults]
    answers = [
        require(target, request, fault.kind, operation, rule=rule)
        for fault, request in zip(faults, requests, strict=True)
    ]
    first, *others = [comparable(answer) for answer in answers]
    for other, request in zip(others, requests[1:], strict=True):
        if other != first:
            raise RuleBroken(rule=rule, expected=first, actual=other, curl=target.curl(request))
