"""Fill an example with the values of one request (ADR-0004).

`x-fill` names members of the example's value by a dotted path (`error.request_id`) and says what
each is set to: a word is the name of an argument, which goes in as it is; a text with braces is a
template over arguments. The members of a body, and their order, are always those of the value.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING, Any

import attrs

from treaty.document import Document, Node, hint
from treaty.errors import TreatyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@attrs.frozen(kw_only=True)
class _Filling:
    """One member to set: `text` is its template; without one it becomes the argument `name`."""

    path: tuple[str, ...]
    name: str
    text: str | None


@attrs.frozen(kw_only=True)
class _Step:
    """A member of the object that was copied as number `level`; the value itself is number 0."""

    level: int
    member: str


@attrs.frozen(kw_only=True)
class Template:
    """An example's value with what is filled in; `Template.compile` makes one.

    `arguments` are the names that `fill` needs.
    """

    value: Document
    arguments: frozenset[str]
    _sample: Mapping[str, Any]
    _copied: tuple[_Step, ...]  # the objects on the way to filled members, outermost first
    _filled: tuple[tuple[_Step, _Filling], ...]

    @classmethod
    def compile(cls, value: Node, x_fill: Node) -> Template:
        """Return the template of an example's `value` and its `x-fill`.

        Raises:
            TreatyError: a path is not in the value, a filling is neither a word nor a template, or
                the value is none that the fillings could give.
        """
        if not isinstance(value, dict) or not isinstance(x_fill, dict):
            message = "x-fill must be an object that names members of an object"
            raise TreatyError(message)
        fillings = [_filling(path, text) for path, text in x_fill.items()]
        paths = {filling.path for filling in fillings}
        levels: dict[tuple[str, ...], int] = {(): 0}
        copied = []
        for path in sorted(paths, key=len):
            _look_up(value, path)
            for depth in range(1, len(path)):
                if path[:depth] in paths:
                    message = f"x-fill sets {'.'.join(path)!r} and a member around it; keep one"
                    raise TreatyError(message)
                if path[:depth] not in levels:
                    copied.append(_Step(level=levels[path[: depth - 1]], member=path[depth - 1]))
                    levels[path[:depth]] = len(copied)
        sample = _sample(value, fillings)
        return cls(
            value=value,
            arguments=frozenset(sample),
            sample=sample,
            copied=tuple(copied),
            filled=tuple(
                (_Step(level=levels[filling.path[:-1]], member=filling.path[-1]), filling) for filling in fillings
            ),
        )

    def fill(self, arguments: Mapping[str, Any]) -> Document:
        """Return the body for these arguments, whose names must include `self.arguments`.

        What holds no filled member is the template's own, so do not write to the body.
        """
        objects = [self.value.copy()]
        for step in self._copied:
            inner = objects[step.level][step.member].copy()
            objects[step.level][step.member] = inner
            objects.append(inner)
        for step, filling in self._filled:
            text = filling.text
            objects[step.level][step.member] = arguments[filling.name] if text is None else text.format_map(arguments)
        return objects[0]

    def sample(self) -> dict[str, Any]:
        """Return the arguments that give back the value: `fill(sample()) == value`."""
        return dict(self._sample)


def _filling(path: str, text: Node) -> _Filling:
    parts = tuple(path.split("."))
    if isinstance(text, str) and text.isidentifier():
        return _Filling(path=parts, name=text, text=None)
    if not isinstance(text, str) or not any(name for _, name in _pieces(text)):
        message = f"x-fill of {path!r} must be an argument's name or a text with {{argument}}"
        raise TreatyError(message)
    return _Filling(path=parts, name="", text=text)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield the literal text before each argument of a template, and the argument ("" at the end).

    Only `{word}` is taken: `str.format` could otherwise reach into the arguments.
    """
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        message = f"x-fill {text!r}: {error}; write a brace that is text twice"
        raise TreatyError(message) from error
    for literal, name, spec, conversion in pieces:
        if name is not None and (not name.isidentifier() or spec or conversion):
            message = f"x-fill {text!r}: only {{word}} is known between braces"
            raise TreatyError(message)
        yield literal, name or ""


def _look_up(value: Document, path: tuple[str, ...]) -> Node:
    node: Node = value
    for member in path:
        if not isinstance(node, dict) or member not in node:
            known = node if isinstance(node, dict) else ()
            message = f"x-fill names {'.'.join(path)!r}, but the value has no {member!r} there"
            raise TreatyError(message + hint(member, known))
        node = node[member]
    return node


def _sample(value: Document, fillings: list[_Filling]) -> dict[str, Any]:
    """Return the arguments that the value shows, the plain ones first: they help templates."""
    found: dict[str, Any] = {}
    for filling in sorted(fillings, key=lambda filling: filling.text is not None):
        shown = _look_up(value, filling.path)
        if filling.text is None:
            if found.setdefault(filling.name, shown) != shown:
                message = f"the value shows {filling.name!r} as {found[filling.name]!r} and {shown!r}"
                raise TreatyError(message)
            continue
        pattern = _pattern(filling.text, found)
        if not isinstance(shown, str) or not (match := re.fullmatch(pattern, shown, re.DOTALL)):
            message = f"the value shows {shown!r}, which {filling.text!r} cannot give"
            raise TreatyError(message)
        found |= match.groupdict()
    return found


def _pattern(text: str, found: Mapping[str, Any]) -> str:
    """Return the expression that a filled template matches, its unknown arguments being groups."""
    pattern, groups = "", set()
    for literal, name in _pieces(text):
        pattern += re.escape(literal)
        if name in found:
            pattern += re.escape(str(found[name]))
        elif name in groups:
            pattern += f"(?P={name})"
        elif name:
            groups.add(name)
            pattern += f"(?P<{name}>.+?)"
    return pattern
