"""What a run must have seen before it proves anything (ADR-0016).

Laws of this file:
- A floor is checked on records only, so that a test can show a run that falls below it.
- What could not be judged from here is no floor; `unjudged` lists it, and whoever reports a run reports that too.
"""

from collections.abc import Collection, Iterator
from typing import Final

from gateway_conformance.engine import Observation, Run
from gateway_conformance.probes import OUTSIDE, UNPROVOKED, Outcome, Seen, Unjudged
from gateway_conformance.promises import Operation
from gateway_conformance.rules import RuleBroken
from gateway_conformance.target import Target

POSITIVE: Final = 20
"""How many positive cases must reach the success of the live phase, per operation (ADR-0016.R2)."""

NEGATIVE: Final = 20
"""How many negative cases the schema check must refuse, per operation with a body (ADR-0016.R2)."""


def missed(target: Target, run: Run, provoked: Collection[Outcome]) -> Iterator[RuleBroken]:
    """Yield every floor below which *run*, with what the probes *provoked*, stays."""
    for operation in target.promises.operations:
        own = [one for one in run.observations if one.operation == operation.label]
        yield from _unseen_statuses(operation, own, provoked)
        yield from _too_few(operation, own)
        yield from _unseen_kinds(operation.label, operation.kinds, provoked)
    yield from _outside(target, run, provoked)
    yield from _strays(target, run)


def unjudged(provoked: Collection[Outcome]) -> list[Unjudged]:
    """Return what of a document the probes could not provoke from where they stand."""
    return [one for one in provoked if isinstance(one, Unjudged)]


def _seen(provoked: Collection[Outcome], where: str) -> list[Seen]:
    return [one for one in provoked if isinstance(one, Seen) and one.where == where]


def _left_out(provoked: Collection[Outcome], where: str) -> set[str]:
    """Return the kinds that could not be judged *where* they are documented."""
    return {one.kind for one in unjudged(provoked) if one.where == where}


def _unseen_statuses(
    operation: Operation, own: list[Observation], provoked: Collection[Outcome]
) -> Iterator[RuleBroken]:
    seen = {one.status for one in own} | {one.status for one in _seen(provoked, operation.label)}
    left_out = _left_out(provoked, operation.label)
    for status, answer in sorted(operation.answers.items()):
        judged = not answer.kinds or answer.kinds.keys() - left_out
        if judged and status not in seen:
            yield _below("ADR-0016.R1", f"{operation.label} answered {status} at least once", "never")


def _too_few(operation: Operation, own: list[Observation]) -> Iterator[RuleBroken]:
    reached = sum(one.mode == "positive" and one.known_model and one.status in operation.success for one in own)
    if reached < POSITIVE:
        expected = f"{POSITIVE} positive cases of {operation.label} with {sorted(operation.success)}"
        yield _below("ADR-0016.R2", expected, str(reached))
    refused = sum(one.mode == "negative" and one.negative_body and "invalid_request" in one.kinds for one in own)
    if operation.schema is not None and refused < NEGATIVE:
        yield _below(
            "ADR-0016.R2", f"{NEGATIVE} negative cases of {operation.label} refused by the schema", str(refused)
        )


def _unseen_kinds(where: str, kinds: Collection[str], provoked: Collection[Outcome]) -> Iterator[RuleBroken]:
    seen = {one.kind for one in _seen(provoked, where)}
    for kind in sorted(set(kinds) - _left_out(provoked, where)):
        if kind not in seen:
            yield _below("ADR-0016.R4", f"{kind} provoked ({where})", "never")


def _outside(target: Target, run: Run, provoked: Collection[Outcome]) -> Iterator[RuleBroken]:
    documented = {name for answer in target.promises.anywhere for name in answer.kinds}
    yield from _unseen_kinds(OUTSIDE, documented - UNPROVOKED, provoked)
    for name in sorted(UNPROVOKED - documented):
        yield _below("ADR-0004.R7", f"{name} documented outside the operations", "not documented")
    faults = {one.status for one in run.observations if one.status == _status(target, UNPROVOKED)}
    if faults:
        yield _below("ADR-0004.R7", "no fault of the gateway in the whole run", f"{faults}")


def _status(target: Target, kinds: Collection[str]) -> int | None:
    return next((answer.status for answer in target.promises.anywhere if answer.kinds.keys() & set(kinds)), None)


def _strays(target: Target, run: Run) -> Iterator[RuleBroken]:
    for path in sorted({one.path for one in run.observations if not one.path.startswith(f"{target.prefix}/")}):
        yield _below("ADR-0016.R3", f"every request below {target.mount}", path)


def _below(rule: str, expected: str, actual: str) -> RuleBroken:
    return RuleBroken(rule=rule, expected=expected, actual=actual, curl="(counted over the whole run)")
