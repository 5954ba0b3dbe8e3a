"""What a change of a document takes away from those who rely on it (ADR-0027).

It compares place by place: what is gone, what has become required, and bounds that have become tighter. A component
under another name is a removed one. It errs on the side of telling: whoever made the change says why it is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treaty.document import pointer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treaty.document import Document, Node

_KEPT: Final = frozenset({"paths", "responses", "content", "properties", "schemas", "headers", "examples"})
"""Maps whose members somebody relies on by name."""

_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_LISTS: Final = {"enum": "no longer takes", "type": "is no longer"}
_UPPER: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_LOWER: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_SHAPES: Final = frozenset({"pattern", "format", "const"})


def narrowings(before: Document, after: Document) -> list[str]:
    """Return a sentence with a JSON pointer for each thing that *after* takes away from *before*."""
    return list(_compare(before, after, ()))


def _compare(before: Node, after: Node, at: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _removed(before, after, at)
        yield from _tightened(before, after, at)
        for name in before.keys() & after.keys():
            yield from _compare(before[name], after[name], (*at, name))
    elif isinstance(before, list) and isinstance(after, list) and at[-1] not in {"required", *_LISTS}:
        for index, (old, new) in enumerate(zip(before, after, strict=False)):
            yield from _compare(old, new, (*at, index))


def _removed(before: Document, after: Document, at: tuple[str | int, ...]) -> Iterator[str]:
    relied_on = bool(at) and at[-1] in _KEPT
    for name in before.keys() - after.keys():
        if relied_on or name in _METHODS:
            yield f"{pointer(*at, name)} is gone"


def _tightened(before: Document, after: Document, at: tuple[str | int, ...]) -> Iterator[str]:
    place = pointer(*at)
    for name in _gained(before.get("required"), after.get("required")):
        yield f"{place} now requires {name!r}"
    if after.get("required") is True and before.get("required") is not True:
        yield f"{place} is now required"
    for keyword, verb in _LISTS.items():
        for value in _gained(after.get(keyword), before.get(keyword)) if keyword in after else ():
            yield f"{place} {verb} {value!r}"
    for keyword in after:
        if _is_tighter(keyword, before.get(keyword), after[keyword]):
            yield f"{place} has a tighter {keyword}: {after[keyword]!r}"
    if after.get("additionalProperties") is False and before.get("additionalProperties") is not False:
        yield f"{place} takes no other members now"


def _gained(before: Any, after: Any) -> list[Any]:  # noqa: ANN401 - a list, one value, or nothing
    """Return what stands in *after* and not in *before*; a single value counts as a list of one."""
    old, new = ([] if one is None or isinstance(one, bool) else one for one in (before, after))
    old, new = (one if isinstance(one, list) else [one] for one in (old, new))
    return [value for value in new if value not in old]


def _is_tighter(keyword: str, before: Node, after: Node) -> bool:
    if keyword in _SHAPES:
        return isinstance(after, str) and before != after
    if keyword not in _UPPER | _LOWER or not isinstance(after, int | float):
        return False
    if not isinstance(before, int | float):
        return True
    return after < before if keyword in _UPPER else after > before
