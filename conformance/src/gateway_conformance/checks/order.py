"""The order of the checks (ADR-0008): two things are wrong at once, and the earlier one answers.

Laws of this file:
- Every pair of faults that can stand in one request is tried, on every operation, not only neighbours.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from gateway_conformance.answers import allow_of, require
from gateway_conformance.calls import FAULTS, Fault, faults, request_with
from gateway_conformance.exchange import Request
from gateway_conformance.probes import UNKNOWN_PATHS, concrete_paths
from gateway_conformance.promises import Operation
from gateway_conformance.rules import confirms
from gateway_conformance.target import Target

CREDENTIAL: Final = frozenset({"missing_credential", "invalid_credential", "identity_unavailable"})
PARAMETER: Final = frozenset({"invalid_parameter"})
CALLER: Final = frozenset({"insufficient_scope", "organization_mismatch", "agent_not_allowed"})
CONTENT: Final = frozenset({"unsupported_media_type", "unsupported_charset", "unsupported_encoding"})
LENGTH: Final = frozenset({"body_too_large"})
BODY: Final = frozenset({"invalid_json", "invalid_request"})

STRANGE_METHODS: Final = ("DELETE", "PUT", "PROPFIND")


def pairs(target: Target, operation: Operation, first: frozenset[str]) -> Iterator[tuple[Fault, Fault]]:
    """Yield the pairs of faults that fit into one request of *operation*, the first being of the kinds *first*."""
    ranks = list(FAULTS)
    for one, other in combinations(faults(target, operation), 2):
        earlier, later = sorted((one, other), key=lambda fault: ranks.index(fault.kind))
        if earlier.kind in first and earlier.kind != later.kind and not earlier.touched & later.touched:
            yield earlier, later


def _require_order(target: Target, first: frozenset[str], rule: str) -> None:
    for operation in target.promises.operations:
        for earlier, later in pairs(target, operation, first):
            request = request_with(target, operation, earlier, later)
            require(target, request, earlier.kind, operation, rule=rule, known=earlier.known)


@confirms("ADR-0008.R1")
def unknown_route_before_method_and_both_before_the_credential(target: Target) -> None:
    """Without a credential, an unknown path answers as such for any method, and a known one names its methods."""
    for method in STRANGE_METHODS:
        for path in UNKNOWN_PATHS:
            require(target, Request(method=method, path=path), "unknown_url", rule="ADR-0008.R1")
        for template, path in concrete_paths(target):
            for headers in ((), (("Authorization", "Bearer nobody"),)):
                request = Request(method=method, path=path, headers=headers)
                known = {"allow": allow_of(target, template)}
                require(target, request, "method_not_allowed", rule="ADR-0008.R1", known=known)


@confirms("ADR-0008.R2")
def credential_before_everything_else(target: Target) -> None:
    """A stranger learns nothing but that he is one, whatever else is wrong with his request."""
    _require_order(target, CREDENTIAL, "ADR-0008.R2")


@confirms("ADR-0008.R2", "ADR-0010.R4")
def credential_before_the_body_arrives(target: Target) -> None:
    """A stranger is answered while his body is still on its way, and the answer says that the connection ends."""
    for operation in target.promises.operations:
        if operation.schema is None or operation.scopes is None:
            continue
        for fault in faults(target, operation):
            if fault.kind in CREDENTIAL:
                waiting = Fault(kind="", headers={"Content-Length": "1000"}, withheld=True)
                request = request_with(target, operation, fault, waiting)
                require(target, request, fault.kind, operation, rule="ADR-0008.R2")


@confirms("ADR-0008.R3")
def parameters_before_scope_organization_and_agent(target: Target) -> None:
    """A malformed parameter answers before it is looked at who may do what."""
    _require_order(target, PARAMETER, "ADR-0008.R3")


@confirms("ADR-0008.R4")
def scope_before_organization_before_agent_before_content(target: Target) -> None:
    """What the key may do, then where, then for whom; the body's headers come after that."""
    _require_order(target, CALLER, "ADR-0008.R4")


@confirms("ADR-0008.R5")
def content_headers_before_length_before_the_body(target: Target) -> None:
    """Media type, charset and encoding answer before the declared length, and all before the body is read."""
    _require_order(target, CONTENT, "ADR-0008.R5")
    _require_order(target, LENGTH, "ADR-0008.R5")


@confirms("ADR-0008.R6")
def cap_before_json_before_schema_before_phase(target: Target) -> None:
    """Too much is too much, whatever it says; what is no JSON breaks no schema; what breaks the schema is not 501."""
    _require_order(target, BODY, "ADR-0008.R6")
    for operation in target.promises.operations:
        if operation.schema is None:
            continue
        no_json = Fault(kind="invalid_json", body=b'{"model": 5, "messages": 7')
        require(target, request_with(target, operation, no_json), "invalid_json", operation, rule="ADR-0008.R6")
        request = request_with(target, operation, Fault(kind="", body=b"{" * (operation.body_limit + 1)))
        endless = Request(
            method=request.method, path=request.path, headers=request.headers, body=request.body, chunked=True
        )
        require(target, endless, "body_too_large", operation, rule="ADR-0008.R6")
