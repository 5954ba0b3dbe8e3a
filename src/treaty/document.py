"""What a document is, and the small moves that the rest of this package makes on one.

A document is a JSON value: its keys are text, it has no cycle, and no object in it stands in two
places. Whatever takes a document leaves it alone and returns a new one.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

_FEW: Final = 12  # words that still fit a sentence

Document: TypeAlias = dict[str, Any]
Node: TypeAlias = Any  # some JSON value in a document


def clone(node: Node) -> Node:
    """Return a copy that shares nothing mutable, neither with *node* nor within itself."""
    if isinstance(node, dict):
        return {key: clone(value) for key, value in node.items()}
    if isinstance(node, list):
        return [clone(item) for item in node]
    return node


def pointer(*steps: str | int) -> str:
    """Return `#/a/b` for the members and indexes that lead to a node (RFC 6901, section 3)."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return "/".join(("#", *escaped))


def steps(reference: str) -> tuple[str, ...]:
    """Return the members and indexes, as text, that `#/a/b` names; none of what is no pointer."""
    first, *tokens = unquote(reference).split("/")
    if first != "#":
        return ()  # another document, or an anchor
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def hint(name: str, known: Iterable[str]) -> str:
    """Return what ends a complaint about *name*: the nearest known word, or the few there are."""
    words = sorted(known)
    if close := get_close_matches(name, words, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(words)}" if 0 < len(words) <= _FEW else ""
