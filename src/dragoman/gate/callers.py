"""Who is calling, and whether he may (ADR-0009).

Laws of this file:
- What does not exist and what belongs to somebody else get the same refusal.
- No text of a credential is kept, logged or answered.
"""

from collections.abc import Mapping
from typing import Final

from dragoman.contract import Operation
from dragoman.errors import Kind, Refusal
from dragoman.gate.limits import Limits
from dragoman.model import Agent, Principal
from dragoman.ports import Identity, IdentityUnavailableError

_RETRY_AFTER: Final = 1
"""Seconds: whether the identity can be asked again is known after one second (ADR-0031)."""


def bearer_token(headers: Mapping[str, str]) -> str:
    """Return the token of `Authorization: Bearer`; the scheme's case does not matter (RFC 9110, section 11.1)."""
    authorization = headers.get("authorization")
    if authorization is None:
        raise Refusal(Kind.MISSING_CREDENTIAL)
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal(Kind.INVALID_CREDENTIAL)
    return token


async def log_in(
    identity: Identity, limits: Limits, operation: Operation, *, headers: Mapping[str, str], address: str
) -> Principal | None:
    """Return who is calling, or None where the operation asks nobody; a wrong credential counts for its *address*."""
    if operation.scopes is None:
        return None
    await limits.admit_login(operation, address)
    failures = limits.failures
    try:
        principal = await _authenticate(identity, headers)
    except Refusal as refusal:
        if refusal.kind is Kind.INVALID_CREDENTIAL:
            await limits.note_failed_login(operation, address)
        raise
    if limits.failures != failures:  # others have failed while the identity was asked
        await limits.admit_login(operation, address)
    return principal


async def _authenticate(identity: Identity, headers: Mapping[str, str]) -> Principal:
    token = bearer_token(headers)
    try:
        principal = await identity.principal(token)
    except IdentityUnavailableError:
        raise _unavailable() from None
    if principal is None:
        raise Refusal(Kind.INVALID_CREDENTIAL)
    return principal


def _unavailable() -> Refusal:
    return Refusal(Kind.IDENTITY_UNAVAILABLE, retry_after=_RETRY_AFTER)


def require_scopes(operation: Operation, principal: Principal | None) -> None:
    """Refuse a key that lacks a scope of the operation."""
    if principal is not None and operation.scopes is not None and not operation.scopes <= principal.scopes:
        raise Refusal(Kind.INSUFFICIENT_SCOPE)


def require_own_organization(operation: Operation, principal: Principal | None, path: Mapping[str, str]) -> None:
    """Refuse an organisation in the path that is not the caller's, whether it exists or not."""
    parameter = operation.traits.organization_parameter
    if principal is not None and parameter is not None and path[parameter].lower() != principal.organization:
        raise Refusal(Kind.ORGANIZATION_MISMATCH)


async def verify_agent(
    identity: Identity, operation: Operation, principal: Principal | None, headers: Mapping[str, str]
) -> Agent | None:
    """Return the agent that a header names, or None where none does; also an optional one must be the caller's."""
    names = operation.traits.agent_headers
    named = next((headers[name] for name in map(str.lower, names) if name in headers), None) if names else None
    return None if named is None else await _own_agent(identity, principal, named)


async def choose_agent(
    identity: Identity, operation: Operation, principal: Principal | None, model: str
) -> Agent | None:
    """Return the agent that *model* names after a prefix of the dialect, else the dialect's default, else None."""
    traits = operation.traits
    if not traits.agent_prefixes and traits.default_agent is None:
        return None
    prefixes = (prefix for prefix in traits.agent_prefixes if model.startswith(prefix))
    named = next((model.removeprefix(prefix) for prefix in prefixes), traits.default_agent)
    return None if named is None else await _own_agent(identity, principal, named)


async def _own_agent(identity: Identity, principal: Principal | None, named: str) -> Agent | None:
    if principal is None:
        return None
    try:
        agent = await identity.agent(principal.organization, named)
    except IdentityUnavailableError:
        raise _unavailable() from None
    if agent is None:
        raise Refusal(Kind.AGENT_NOT_ALLOWED)
    return agent
