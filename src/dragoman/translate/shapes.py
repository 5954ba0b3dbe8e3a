"""Cuts what an upstream sent down to a known shape, so that what it holds is known to the last member.

Laws of this file:
- A shape is data. What it names is required or may be there; whatever else was sent is left out.
- What does not fit is an error of the upstream's (`GrammarError`), never one of ours.
- The work goes as deep as the shape does, never as deep as what was sent.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from dragoman.translate.grammar import reject

Document = dict[str, Any]

Kinds = frozenset[type]
"""A shape of plain values: the exact types that they may have."""

TEXT: Final[Kinds] = frozenset({str})
TEXT_OR_NULL: Final[Kinds] = frozenset({str, type(None)})
NUMBER: Final[Kinds] = frozenset({int, float})
COUNT: Final[Kinds] = frozenset({int})
"""A whole number that is not negative, and that every reader of JSON keeps whole."""

MOST: Final = 2**53 - 1
"""The largest number that JSON readers keep whole (RFC 8259, section 6)."""


@attrs.frozen(kw_only=True)
class Members:
    """The shape of an object: what it *needs*, what is null where it is *unsaid*, and what it may *have* besides.

    The object itself may be null where that is *nullable*.
    """

    needs: Mapping[str, "Shape"] = MappingProxyType({})
    unsaid: Mapping[str, "Shape"] = MappingProxyType({})
    has: Mapping[str, "Shape"] = MappingProxyType({})
    nullable: bool = False


@attrs.frozen(kw_only=True)
class Each:
    """The shape of an array whose items are *of* one shape; null where *nullable*."""

    of: "Shape"
    nullable: bool = False


Shape = Kinds | Members | Each


def count_of(value: object) -> int | None:
    """Return *value* if it is a whole number from 0 on that every reader keeps whole."""
    return value if type(value) is int and 0 <= value <= MOST else None


def object_of(value: object, what: str) -> Document:
    """Return *value*, seen as *what*, which must be an object."""
    return value if type(value) is dict else reject(what)


def array_of(value: object, what: str) -> list[Any]:
    """Return *value*, seen as *what*, which must be an array."""
    return value if type(value) is list else reject(what)


def text_of(value: object, what: str) -> str:
    """Return *value*, seen as *what*, which must be a text; the empty one where it is null."""
    if value is None:
        return ""
    return value if type(value) is str else reject(what)


def fitted(value: object, shape: Shape, *, what: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return a copy of *value*, which was seen as *what*, with nothing in it but what *shape* names.

    A member that an object may have, and has as null without the shape's leave, is left out as if it was not sent.

    Raises:
        GrammarError: for what does not fit.
    """
    if isinstance(shape, frozenset):
        if type(value) not in shape or (shape is COUNT and count_of(value) is None):
            reject(what)
        return value
    if value is None and shape.nullable:
        return None
    if isinstance(shape, Each):
        return [fitted(one, shape.of, what=what) for one in array_of(value, what)]
    return _fitted_members(object_of(value, what), shape)


def _fitted_members(value: Mapping[str, object], shape: Members) -> dict[str, Any]:
    copy = {}
    for name, member in shape.needs.items():
        if name not in value:
            reject(f"no {name}")
        copy[name] = fitted(value[name], member, what=name)
    for name, member in shape.unsaid.items():
        copy[name] = fitted(value.get(name), member, what=name)
    for name, member in shape.has.items():
        if name in value and (value[name] is not None or _takes_null(member)):
            copy[name] = fitted(value[name], member, what=name)
    return copy


def _takes_null(shape: Shape) -> bool:
    return type(None) in shape if isinstance(shape, frozenset) else shape.nullable
