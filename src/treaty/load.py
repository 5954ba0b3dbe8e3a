"""Read a YAML or JSON file into a document, refusing what JSON cannot say.

YAML 1.2 decides what an unquoted scalar is: null, booleans, decimal numbers, and all else is text,
so `on`, `no` and `2026-06-14` stay what they look like. Keys are text and each stands once: an
unquoted status is refused rather than guessed. Every complaint names the file and the line.
"""

from __future__ import annotations

import re
from collections import defaultdict
from math import isfinite
from typing import TYPE_CHECKING

import attrs
import yaml

from treaty.errors import TreatyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from treaty.document import Document, Node

# YAML 1.2.2, section 10.3.2, without octal and hexadecimal numbers, which nobody expects in a
# contract, and without .inf and .nan, which JSON has not.
_PLAIN: tuple[tuple[str, str, str], ...] = (
    ("null", r"null|Null|NULL|~", "nN~"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
)


def load(path: Path) -> Document:
    """Return the document in the file at *path*.

    Raises:
        TreatyError: the file is missing, is no YAML, holds what JSON cannot say, or is no object.
    """
    try:
        root = _composed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read: {error}"
        raise TreatyError(message) from error
    except yaml.YAMLError as error:
        message = f"{path}: is not YAML: {' '.join(str(error).split())}"
        raise TreatyError(message) from error
    document = None if root is None else _Builder(path=path).value(root)
    if not isinstance(document, dict):
        message = f"{path}: must hold one object at its top"
        raise TreatyError(message)
    return document


def _composed(text: str) -> yaml.Node | None:
    """Return the node tree of *text* with the scalars tagged as YAML 1.2 reads them."""
    # libyaml is ten times faster; wheels of PyYAML carry it, other builds may not.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    loader.yaml_implicit_resolvers = _RESOLVERS
    root: yaml.Node | None = loader.get_single_node()
    return root


def _resolvers() -> Mapping[str, list[tuple[str, re.Pattern[str]]]]:
    """Return what PyYAML wants: first character -> the tags to try, in order."""
    table = defaultdict(list)
    table[""].append(("tag:yaml.org,2002:null", re.compile("")))
    for name, pattern, starts in _PLAIN:
        for start in starts:
            table[start].append((f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z")))
    return dict(table)


_RESOLVERS = _resolvers()


def _finite(text: str) -> float:
    """Return the number in *text*; ValueError when it is too large for JSON's readers."""
    if not isfinite(number := float(text)):
        raise ValueError(text)
    return number


_SCALARS: Mapping[str, Callable[[str], Node]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": _finite,
    "tag:yaml.org,2002:str": str,
}


@attrs.frozen(kw_only=True)
class _Builder:
    """Builds values from nodes; an alias becomes a copy, so that no value stands in two places."""

    path: Path
    _open: list[yaml.Node] = attrs.field(factory=list)

    def value(self, node: yaml.Node) -> Node:
        if node in self._open:
            raise self._refusal(node, "an alias stands inside what it names; write it out")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._members(node)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item) for item in node.value]
            return self._scalar(node)
        finally:
            self._open.pop()

    def _members(self, node: yaml.MappingNode) -> Document:
        members: Document = {}
        for key_node, value_node in node.value:
            key = self.value(key_node)
            if not isinstance(key, str):
                raise self._refusal(key_node, f"key {key!r} is not text; quote it")
            if key in members:
                raise self._refusal(key_node, f"key {key!r} stands twice; remove one")
            members[key] = self.value(value_node)
        return members

    def _scalar(self, node: yaml.Node) -> Node:
        try:
            return _SCALARS[node.tag](node.value)
        except (KeyError, ValueError):
            raise self._refusal(node, f"{node.value!r} ({node.tag}) is no JSON value") from None

    def _refusal(self, node: yaml.Node, reason: str) -> TreatyError:
        return TreatyError(f"{self.path}, line {node.start_mark.line + 1}: {reason}")
