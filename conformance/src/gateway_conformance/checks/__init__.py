"""The rules that no schema can say, one function each: `check(target)` returns, or raises `RuleBroken`.

Laws of this package:
- A check says by `@confirms` which rules it proves, and every check that does is in `CHECKS`.
- What a check sends is made from the target's document, so it holds for any dialect; where a document has nothing to
  ask, it raises `NotApplicable` and says why.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Final

from gateway_conformance.checks import (
    bodies,
    callers,
    chat,
    documents,
    events,
    forwarding,
    headers,
    identities,
    limits,
    methods,
    order,
    room,
    schemas,
    streams,
    wire,
)
from gateway_conformance.rules import confirmed_by
from gateway_conformance.target import Target

Check = Callable[[Target], None]


def _checks(module: ModuleType) -> tuple[Check, ...]:
    own = [one for one in vars(module).values() if callable(one) and one.__module__ == module.__name__]
    return tuple(one for one in own if confirmed_by(one))


CHECKS: Final[tuple[Check, ...]] = tuple(
    check
    for module in (
        documents,
        order,
        callers,
        schemas,
        bodies,
        methods,
        chat,
        streams,
        forwarding,
        headers,
        limits,
        room,
        identities,
        events,
        wire,
    )
    for check in _checks(module)
)
"""Every check, in the order in which they are best read."""
