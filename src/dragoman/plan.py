"""What an apply changes: step by step, each with the members that differ (ADR-0040).

Laws of this file:
- A plan says what happens, in the order in which it happens; it is made of texts and numbers that may be shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, Literal, TypeGuard

import attrs

Sign = Literal["+", "~", "-"]
NEW: Final[Sign] = "+"
CHANGED: Final[Sign] = "~"
REMOVED: Final[Sign] = "-"


@attrs.frozen(kw_only=True)
class Difference:
    """One member, by its dotted name, and what it was and is; None where it is not stated."""

    member: str
    old: Any
    new: Any


@attrs.frozen(kw_only=True)
class Named:
    """A thing: what *kind* it is of, and its *name*."""

    kind: str
    name: str


@attrs.frozen(kw_only=True)
class Step:
    """A thing that is made, changed or revoked. *ending* is how many keys end with it."""

    sign: Sign
    thing: Named
    differences: tuple[Difference, ...] = ()
    ending: int = 0


@attrs.frozen(kw_only=True)
class Plan:
    """The *steps*, and what is in force and was not declared, which stays: *staying*."""

    steps: tuple[Step, ...]
    staying: tuple[Named, ...]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return how *new* differs from *old*: of tables and lists of tables, member by member."""
    return tuple(_differences(old, new, ""))


def _differences(old: object, new: object, at: str) -> Iterator[Difference]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            yield from _differences(old.get(name), new.get(name), f"{at}.{name}" if at else name)
    elif _are_tables(old) and _are_tables(new):
        for index, (before, after) in enumerate(zip_longest(old, new)):
            yield from _differences(before, after, f"{at}[{index}]")
    else:
        yield Difference(member=at, old=old, new=new)


def _are_tables(value: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)
