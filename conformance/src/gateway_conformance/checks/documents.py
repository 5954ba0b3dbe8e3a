"""What a published document must be in itself, and whether it is the one that is served."""

from collections import Counter

from gateway_conformance.answers import require_success
from gateway_conformance.calls import valid_request
from gateway_conformance.exchange import Request
from gateway_conformance.probes import DOCUMENT
from gateway_conformance.rules import RuleBroken, confirms
from gateway_conformance.target import Target


@confirms("ADR-0004.R3")
def a_kind_stands_under_one_status(target: Target) -> None:
    """No operation lists a kind of refusal under two statuses, and no kind outside them stands twice."""
    groups = {operation.label: operation.answers.values() for operation in target.promises.operations}
    groups["outside any operation"] = {answer.status: answer for answer in target.promises.anywhere}.values()
    for where, answers in groups.items():
        counted = Counter(name for answer in answers for name in answer.kinds)
        doubled = [name for name, count in counted.items() if count > 1]
        if doubled:
            expected = f"every kind under one status of {where}"
            raise RuleBroken(rule="ADR-0004.R3", expected=expected, actual=doubled, curl=_curl(target))


@confirms("ADR-0003.R1")
def the_document_shows_the_live_phase(target: Target) -> None:
    """An operation in Phase 1 documents 501 and no 2xx, one in Phase 2 the reverse; and so it answers."""
    for operation in target.promises.operations:
        statuses = set(operation.answers)
        succeeds = any(status // 100 == 2 for status in statuses)
        expected = {1: (True, False), 2: (False, True), None: (False, True)}[operation.phase]
        if (501 in statuses, succeeds) != expected:
            wanted = f"501 and 2xx documented on {operation.label}: {expected}"
            raise RuleBroken(rule="ADR-0003.R1", expected=wanted, actual=sorted(statuses), curl=_curl(target))
        require_success(target, valid_request(target, operation), operation, rule="ADR-0003.R1")


@confirms("ADR-0001.R1")
def what_is_documented_is_served(target: Target) -> None:
    """Every documented path and method is answered by its operation and not from outside all operations."""
    for operation in target.promises.operations:
        require_success(target, valid_request(target, operation), operation, rule="ADR-0001.R1")


def _curl(target: Target) -> str:
    return target.curl(Request(method="GET", path=DOCUMENT))
