"""Which statuses the generated cases may get, per operation and phase; all read from the effective document.

Laws of this file:
- Positive data reaches the success of the live phase and nothing else: 501 in Phase 1 (ADR-0014), 2xx in Phase 2 and
  for operations without a phase. 401, 403 and 429 are not among them: the caller is known, and may.
- Negative data gets the operation's 400, or 415 where there is no body at all. 401, 403 and 5xx are not among them: a
  gateway that refuses everybody, or answers 501 to everything, would pass otherwise.
- A body that names a model, where one can be unknown, is generated with whatever name. All but those that are about
  the name get one that exists, and must succeed; for the others the documented 404 is an acceptance (ADR-0045.R17).
- A path parameter that names a thing is tried twice. *Pinned* to a thing that exists, positive data must get the
  success. *Free*, nearly every valid name misses, so the documented 404 is an acceptance too; and a negative name may
  be another path altogether (`/v1/models/`), which is the 404 outside any operation.
- The caller's organisation and agent are pinned always: what else is sent there is refused by other checks than the
  schema, and these have tests of their own (ADR-0009). So has the credential.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from gateway_conformance.calls import path_value
from gateway_conformance.promises import Operation
from gateway_conformance.target import Target
from treaty import Document, operations

MAX_STREAM_EVENTS: Final = 5000
"""Schemathesis stops reading a stream after 20 events otherwise, and a missing `[DONE]` goes unseen."""

MAX_EXAMPLES: Final = 30
"""Fuzzed cases per operation; an operation without any input still gets its 20 positive ones (ADR-0016)."""

REFUSED: Final = frozenset({400, 415})
"""What negative data may get: bad data is 400, and no body at all has no media type, which is 415 (ADR-0010.R1)."""

NOT_FOUND: Final = 404


@attrs.frozen(kw_only=True)
class Plan:
    """One run of the engine: the operations that it asks, and which path parameters it leaves free."""

    name: str
    operations: tuple[Operation, ...]
    pins: Mapping[str, str]
    free: bool


def plans(target: Target) -> tuple[Plan, ...]:
    """Return the runs that judge *target*: all operations pinned, and those with free names once more."""
    served = target.promises.operations
    naming = tuple(operation for operation in served if names_of(operation))
    agents = {f"header.{name}": target.callers.agent for operation in served for name in operation.agent_headers}
    organizations = {f"path.{one.organization}": target.callers.organization for one in served if one.organization}
    names = {
        f"path.{one['name']}": path_value(target, operation, one)
        for operation in naming
        for one in operation.parameters
        if one["in"] == "path"
    }
    pinned = Plan(name="pinned", operations=served, pins=agents | organizations | names, free=False)
    free = Plan(name="free", operations=naming, pins=agents | organizations, free=True)
    return (pinned, free) if naming else (pinned,)


def names_of(operation: Operation) -> tuple[str, ...]:
    """Return the path parameters of *operation* that name a thing, and so can miss."""
    return tuple(
        one["name"] for one in operation.parameters if one["in"] == "path" and one["name"] != operation.organization
    )


def without_names(target: Target, plan: Plan) -> Document:
    """Return the document that *plan* generates from: a free one shows no name that exists, or only that is tried."""
    document: Document = json.loads(json.dumps(target.promises.document))
    free = {name for operation in plan.operations for name in names_of(operation)} if plan.free else set()
    for route in operations(document):
        for parameter in route.parameters:
            if parameter["in"] == "path" and parameter["name"] in free:
                parameter.pop("example", None)
                parameter.pop("examples", None)
    return document


def configuration(
    target: Target, plan: Plan, *, max_examples: int = MAX_EXAMPLES, alike: bool = False
) -> dict[str, Any]:
    """Return the configuration of Schemathesis for *plan*, as its schema has it; *alike* as `judge` takes it."""
    repeated = repeating(target) if alike else frozenset()
    schemes = target.promises.document.get("components", {}).get("securitySchemes", {})
    return {
        "max-stream-events": MAX_STREAM_EVENTS,
        "continue-on-failure": True,
        "cache": {"enabled": False},
        # The judge takes nothing from the judged, so it does not read the program's constants either.
        "analysis": {"constants": {"enabled": False}},
        "output": {"sanitization": {"enabled": False}},
        "generation": {
            "deterministic": True,
            "database": "none",
            "max-examples": max_examples,
            "with-security-parameters": False,
        },
        "auth": {"openapi": {name: {"bearer": target.callers.token} for name in schemes}} if schemes else {},
        "parameters": dict(plan.pins),
        "operations": [
            {
                "include-operation-id": operation.id,
                "checks": checks(operation, free=plan.free and operation in plan.operations),
                **(FOR_THE_FLOORS if operation.id in repeated else {}),
            }
            for operation in target.promises.operations
        ],
    }


FOR_THE_FLOORS: Final = {
    "phases": {"coverage": {"enabled": False}},
    "generation": {"mode": "negative", "max-examples": 60},
}
"""How an operation is asked on one more path: its examples, and as much that is wrong as the floors want."""


def repeating(target: Target) -> frozenset[str]:
    """Return the ids of the operations that an earlier one is the same as, but for its path."""
    first = {operation.name: operation.id for operation in reversed(target.promises.operations)}
    return frozenset(one.id for one in target.promises.operations if one.id != first[one.name])


def checks(operation: Operation, *, free: bool) -> dict[str, Any]:
    """Return which statuses each check of Schemathesis accepts for *operation*; *free* as in `Plan`."""
    refused = REFUSED & set(operation.answers)
    missed = {NOT_FOUND} if free else set()
    # The 501 of Phase 1 is the one documented 5xx (ADR-0014); every other is a fault.
    failed = [str(status) for status in operation.success if status >= 500]
    return {
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", *failed]},
        "positive_data_acceptance": {"expected-statuses": _texts(operation.success | missed | _misses(operation))},
        "negative_data_rejection": {"expected-statuses": _texts(refused | missed)},
        "missing_required_header": {"expected-statuses": _texts(refused)},
    }


def names_a_model(operation: Operation) -> bool:
    """Whether the body of *operation* names a model, which can be unknown."""
    return operation.schema is not None and "model_not_found" in operation.kinds


def _misses(operation: Operation) -> set[int]:
    """Return the status of a valid body that names an unknown model."""
    found = operation.kind("model_not_found") if names_a_model(operation) else None
    return set() if found is None else {found[0].status}


def _texts(statuses: set[int] | frozenset[int]) -> list[str]:
    return [str(status) for status in sorted(statuses)]
