"""Apply an OpenAPI Overlay 1.1, more strictly than the specification asks (ADR-0002).

A dialect is part of the program, so silence is an error here: a target that matches nothing, a
field that nobody knows, an action that does two things. A target is an RFC 9535 query and no more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import attrs
from jsonpath import JSONPathEnvironment
from jsonpath.exceptions import JSONPathError

from treaty.document import Document, Node, clone, hint
from treaty.errors import TreatyError
from treaty.load import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_JSONPATH: Final = JSONPathEnvironment(strict=True)
_VERSION: Final = re.compile(r"1\.1\.[0-9]+")
_VERBS: Final = ("update", "remove", "copy")


@attrs.frozen(kw_only=True)
class Action:
    """One edit of the nodes that *target* selects.

    `operand` is the value to merge in (update), the query for it (copy), or True (remove).
    """

    target: str
    verb: Literal["update", "remove", "copy"]
    operand: Node


@attrs.frozen(kw_only=True)
class Overlay:
    """A titled list of edits; each is applied to what the one before it left."""

    title: str
    actions: tuple[Action, ...]


@attrs.frozen(kw_only=True)
class _Spot:
    """A selected node, and the object or array that holds it under `key` (None: it is the root)."""

    holder: Node
    key: str | int
    node: Node


def load_overlay(path: Path) -> Overlay:
    """Return the overlay in the file at *path*.

    Raises:
        TreatyError: the file is no Overlay 1.1, has a field that Overlay 1.1 does not know, or an
            action that does not do exactly one thing to what one RFC 9535 query selects.
    """
    text = load(path)
    _known(text, ("overlay", "info", "extends", "actions"), at=f"{path}")
    if not _VERSION.fullmatch(str(text.get("overlay"))):
        message = f"{path}: overlay version {text.get('overlay')!r} is not 1.1.x; write 1.1.0"
        raise TreatyError(message)
    info = text.get("info")
    if not isinstance(info, dict) or not {"title", "version"} <= info.keys():
        message = f"{path}: info must have a title and a version"
        raise TreatyError(message)
    _known(info, ("title", "version", "description"), at=f"{path}, info")
    actions = text.get("actions")
    if not isinstance(actions, list) or not actions:
        message = f"{path}: actions must be a list of at least one action"
        raise TreatyError(message)
    return Overlay(
        title=str(info["title"]),
        actions=tuple(_action(entry, at=f"{path}, action {number}") for number, entry in enumerate(actions, 1)),
    )


def apply(document: Document, overlay: Overlay) -> Document:
    """Return a copy of *document* after every action of *overlay*, in their order.

    Raises:
        TreatyError: an action selects nothing, or what it selects cannot take the edit; the text
            has the overlay's title, the number of the action (from 1) and its target.
    """
    edited: Document = clone(document)
    for number, action in enumerate(overlay.actions, 1):
        try:
            _perform(edited, action)
        except TreatyError as reason:
            where = f"overlay {overlay.title!r}, action {number}, target {action.target}"
            message = f"{where}: {reason}"
            raise TreatyError(message) from reason
    return edited


def _action(entry: Node, *, at: str) -> Action:
    if not isinstance(entry, dict) or not isinstance(entry.get("target"), str):
        message = f"{at}: an action must have a target, which is text"
        raise TreatyError(message)
    _known(entry, ("target", "description", *_VERBS), at=at)
    match [verb for verb in _VERBS if verb in entry]:
        case ["update" | "remove" | "copy" as verb]:
            action = Action(target=entry["target"], verb=verb, operand=entry[verb])
        case verbs:
            message = f"{at}: needs exactly one of update, remove and copy, and has {len(verbs)}"
            raise TreatyError(message)
    if action.verb == "remove" and action.operand is not True:
        message = f"{at}: remove must be true; leave the action out instead"
        raise TreatyError(message)
    for query in (action.target, *([action.operand] if action.verb == "copy" else [])):
        try:
            _JSONPATH.compile(query)
        except (JSONPathError, TypeError) as error:
            # The library cannot always print its own error, so its first argument has to do.
            message = f"{at}: {query!r} is not an RFC 9535 query: {error.args[0]}"
            raise TreatyError(message) from error
    return action


def _known(entry: Document, fields: Sequence[str], *, at: str) -> None:
    """Refuse a field of *entry* that Overlay 1.1 does not know; `x-` fields are anybody's."""
    for name in entry:
        if name not in fields and not name.startswith("x-"):
            message = f"{at}: unknown field {name!r}{hint(name, fields)}"
            raise TreatyError(message)


def _perform(document: Document, action: Action) -> None:
    spots = _selected(document, action.target)
    if not spots:
        message = "matches nothing; correct the target or drop the action"
        raise TreatyError(message)
    if action.verb == "remove":
        _remove(spots)
    else:
        _update(spots, _only(document, action.operand) if action.verb == "copy" else action.operand)


def _only(document: Document, query: str) -> Node:
    """Return a copy of the one node that *query* selects."""
    sources = _selected(document, query)
    if len(sources) != 1:
        message = f"copy {query} must select one node and selects {len(sources)}"
        raise TreatyError(message)
    return clone(sources[0].node)


def _selected(document: Document, query: str) -> list[_Spot]:
    """Return the nodes that *query* selects, each once."""
    matches = {match.parts: match for match in _JSONPATH.finditer(query, document)}
    return [
        _Spot(
            holder=match.parent.obj if match.parent else None,
            key=parts[-1] if parts else "",
            node=match.obj,
        )
        for parts, match in matches.items()
    ]


def _remove(spots: Sequence[_Spot]) -> None:
    """Take the nodes out of what holds them, last index first, so that no index moves under us."""
    if any(spot.holder is None for spot in spots):
        message = "remove would leave no document; name what is below the root"
        raise TreatyError(message)
    indexes_last_first = sorted(spots, key=lambda spot: spot.key if isinstance(spot.key, int) else -1, reverse=True)
    for spot in indexes_last_first:
        del spot.holder[spot.key]


def _update(spots: Sequence[_Spot], value: Node) -> None:
    """Merge a copy of *value* into each node (Overlay 1.1.0, Action Object)."""
    if len(kinds := {_kind(spot.node) for spot in spots}) > 1:
        message = f"selects {' and '.join(sorted(kinds))}; update one kind of node per action"
        raise TreatyError(message)
    for spot in spots:
        if isinstance(spot.node, list) and not isinstance(value, list):
            spot.node.append(clone(value))
        elif isinstance(merged := _merged(spot.node, value), (dict, list)):
            continue
        else:
            spot.holder[spot.key] = merged


def _merged(node: Node, value: Node) -> Node:
    """Merge a copy of *value* into *node*, in place where there is a place; return the result."""
    if isinstance(node, dict) and isinstance(value, dict):
        for name, entry in value.items():
            node[name] = _merged(node[name], entry) if name in node else clone(entry)
    elif isinstance(node, list) and isinstance(value, list):
        node.extend(clone(value))
    elif isinstance(node, (dict, list)) or isinstance(value, (dict, list)):
        message = f"{_kind(value)} cannot be merged into {_kind(node)}; remove it first"
        raise TreatyError(message)
    else:
        return value
    return node


def _kind(node: Node) -> str:
    match node:
        case dict():
            return "an object"
        case list():
            return "an array"
        case _:
            return "a plain value"
