"""Nobody can say who is calling (ADR-0031): then nobody passes, and nobody is told that his key is wrong.

Laws of this file:
- What is switched off is an identity of the tight gateway, and it is switched on again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway_conformance.answers import require, require_success
from gateway_conformance.calls import FAULTS, request_with, valid_request
from gateway_conformance.checks.callers import nearly_right, secured
from gateway_conformance.checks.room import require_retry
from gateway_conformance.promises import Operation
from gateway_conformance.rules import NotApplicable, NotJudged, confirms
from gateway_conformance.target import Outage, Target

SURVIVAL: Final = 60
"""Seconds for which a confirmed identity may be used when nobody can confirm it again (ADR-0031.R2)."""

REVOCATION: Final = 2
"""Seconds after which a revoked key is refused (ADR-0029.R1, ADR-0031)."""

RECOVERY: Final = 5
"""Seconds after which everything is as it was before (ADR-0031.R4)."""

UNAVAILABLE: Final = "identity_unavailable"


@confirms("ADR-0031.R1")
def who_cannot_be_checked_is_asked_to_come_back(target: Target) -> None:
    """A key of which nobody can say whose it is gets 503 with `Retry-After` on each operation, each time."""
    if target.callers.uncheckable_token is None:
        lacking = "a token of which nobody can say whose it is"
        raise NotJudged(lacking)
    for operation in _asking(target):
        for fault in FAULTS[UNAVAILABLE](target, operation):
            request = request_with(target, operation, fault)
            for _ in range(2):
                answer = require(target, request, UNAVAILABLE, operation, rule="ADR-0031.R1")
                require_retry(answer, target.curl(request), rule="ADR-0031.R1")


@confirms("ADR-0031.R1", "ADR-0031.R4")
def an_outage_lets_nobody_in_and_shuts_nobody_out(target: Target) -> None:
    """While nobody can be asked, a key that was never confirmed gets 503, right or wrong; afterwards it passes."""
    for operation in _asking(target):
        caller = target.newcomer()
        right = valid_request(caller, operation)
        with _outage(target):
            for token in (caller.callers.token, *nearly_right(caller.callers.token)):
                request = right.having("Authorization", f"Bearer {token}")
                answer = require(caller, request, UNAVAILABLE, operation, rule="ADR-0031.R1")
                require_retry(answer, caller.curl(request), rule="ADR-0031.R1")
        require_success(caller, right, operation, rule="ADR-0031.R4")


@confirms("ADR-0031.R1", "ADR-0031.R2", "ADR-0031.R4")
def a_confirmed_identity_ends_within_a_minute(target: Target) -> None:
    """A key that was confirmed passes, or gets 503, while nobody can be asked, and after 60 s it does not pass."""
    for operation in _asking(target):
        caller = target.newcomer()
        request = valid_request(caller, operation)
        require_success(caller, request, operation, rule="ADR-0031.R4")
        with _outage(target):
            for passed in (0, 1, 1, SURVIVAL // 2):
                target.wait(passed)
                answer = caller.send(request)
                if answer.status not in operation.success:
                    require(caller, request, UNAVAILABLE, operation, rule="ADR-0031.R1")
            target.wait(SURVIVAL)
            require(caller, request, UNAVAILABLE, operation, rule="ADR-0031.R2")
        target.wait(RECOVERY)
        require_success(caller, request, operation, rule="ADR-0031.R4")


@confirms("ADR-0030.R4", "ADR-0031.R2")
def a_revoked_key_is_refused_soon(target: Target) -> None:
    """Two seconds after it was revoked a key does not pass, although it had passed before, and nothing revives it."""
    outage = _stated(target)
    for operation in _asking(target):
        caller = target.newcomer()
        request = valid_request(caller, operation)
        require_success(caller, request, operation, rule="ADR-0030.R4")
        outage.revoke(caller.callers.token)
        target.wait(REVOCATION)
        require(caller, request, "invalid_credential", operation, rule="ADR-0030.R4")
        with _outage(target):
            target.wait(REVOCATION)
            require(caller, request, UNAVAILABLE, operation, rule="ADR-0031.R2")
        target.wait(REVOCATION)
        require(caller, request, "invalid_credential", operation, rule="ADR-0030.R4")


def _asking(target: Target) -> list[Operation]:
    found = list(secured(target))
    if not found:
        reason = "nobody is asked who he is"
        raise NotApplicable(reason)
    return found


def _stated(target: Target) -> Outage:
    if target.stated.outage is None:
        lacking = "how identities are switched off"
        raise NotJudged(lacking)
    return target.stated.outage


@contextmanager
def _outage(target: Target) -> Iterator[None]:
    """Switch identities off for the block."""
    outage = _stated(target)
    outage.begin()
    try:
        yield
    finally:
        outage.end()
