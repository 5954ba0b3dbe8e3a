"""One operation of the effective contract, compiled.

Laws of this file:
- Everything here was read from the document; nothing is read from it again while requests are served.
- What an operation does not state, it does not do: no body means none is read, no security means nobody is asked.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import orjson

from dragoman.contract.mould import Mould, mould_of
from dragoman.contract.projection import Projection
from dragoman.contract.refusals import Answer, Refusals
from dragoman.contract.traits import Traits
from dragoman.contract.validation import Problem, Schema


def _boolean(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _number(text: str) -> object:
    """Return the JSON number in *text*, or the text itself, which then breaks its schema."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if type(value) in (int, float) else text


DECODERS: Final[Mapping[str, Callable[[str], object]]] = {
    "string": str,
    "boolean": _boolean,
    "integer": _number,
    "number": _number,
}
"""How the text of a parameter becomes a value, by the `type` of its schema."""


@attrs.frozen(kw_only=True)
class Parameter:
    """A parameter in the `path`, `query` or `header`.

    *name* is as it is spelt in the contract. *fallible* is False where no request can break it.
    """

    name: str
    location: str
    required: bool
    fallible: bool
    decode: Callable[[str], object]
    schema: Schema

    def problem(self, text: str | None) -> Problem | None:
        """Return what is wrong with *text*, the value as it was sent, or None for an absent one."""
        if text is not None:
            return self.schema.problem(self.decode(text), name=self.name)
        if not self.required:
            return None
        reason = f"Missing required parameter: '{self.name}'."
        return Problem(param=self.name, code="missing_required_parameter", reason=reason)


@attrs.frozen(kw_only=True)
class Body:
    """A JSON request body: its compiled *schema*, and its *declared* top-level members."""

    schema: Schema
    declared: frozenset[str]


@attrs.frozen(kw_only=True)
class Form:
    """What a body, or one event of a stream, must be: *project* cuts it down to what is declared, *accepts* judges.

    *free* is whether a piece of text in it may be any text.
    """

    project: Projection | None
    accepts: Callable[[object], bool]
    free: bool = False

    def cut(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what may leave of *value*, which the gateway made."""
        return value if self.project is None else self.project(value)

    def kept(self, value: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what may leave of *value*, which somebody else made, or None where that breaks the contract."""
        cut = self.cut(value)
        return cut if self.accepts(cut) else None

    def mould(self, value: Mapping[str, Any]) -> Mould | None:
        """Return what may leave of *value* with any text where `HOLE` stands, or None where that must be judged."""
        kept = self.kept(value) if self.free else None
        return None if kept is None else mould_of(kept)


@attrs.frozen(kw_only=True)
class Success:
    """The answer of an operation that goes well: how its *body* looks as JSON, and each *event* of it as a stream."""

    answer: Answer
    body: Form
    event: Form | None = None


@attrs.frozen(kw_only=True)
class Operation:
    """One method of one path.

    *name* is its `x-operation`, which names the handler. *phase* is None where nothing is forwarded. *scopes* is None
    where no credential is asked. *path* holds `{parameters}`, and *spacious* ones may hold slashes. *success* is None
    where the live phase has none.
    """

    id: str
    name: str
    path: str
    method: str
    phase: int | None
    adrs: tuple[str, ...]
    scopes: frozenset[str] | None
    traits: Traits
    parameters: tuple[Parameter, ...]
    spacious: frozenset[str]
    body: Body | None
    success: Success | None
    refusals: Refusals
    judged: tuple[Parameter, ...] = attrs.field(init=False, eq=False, repr=False)
    """The parameters that a request can break."""

    @judged.default
    def _judged(self) -> tuple[Parameter, ...]:
        return tuple(parameter for parameter in self.parameters if parameter.fallible)
