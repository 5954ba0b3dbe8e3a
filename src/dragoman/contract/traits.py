"""Traits: what a dialect does that no schema can say (ADR-0005).

Laws of this file:
- The vocabulary is closed: it is the fields of `Traits` and what `_READERS` accepts, and nothing else passes start-up.
- An operation's own trait wins over the document's, member by member.
"""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import attrs

from treaty import TreatyError


@attrs.frozen(kw_only=True)
class Traits:
    """The traits of one operation.

    *agent_headers* are the header parameters that may name the agent, in order of precedence; *organization_parameter*
    is the path parameter that must be the caller's organisation; *body_limit* is in bytes.
    """

    agent_headers: tuple[str, ...] = ()
    organization_parameter: str | None = None
    forward_unknown_keys: bool = True
    body_limit: int = 8 * 1024 * 1024


def read_traits(document: Mapping[str, Any], operation: Mapping[str, Any], *, where: str) -> Traits:
    """Return the traits of *operation*; *where* names it in errors.

    Raises:
        TreatyError: for an unknown trait or value, naming it and what is accepted (ADR-0005.R1).
    """
    stated = {**document.get("x-dragoman", {}), **operation.get("x-dragoman", {})}
    fields: dict[str, Any] = {}
    for name, value in stated.items():
        if name not in _READERS:
            near = get_close_matches(name, _READERS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"{where}: unknown trait {name!r}; known are {', '.join(sorted(_READERS))}{hint}"
            raise TreatyError(message)
        fields |= _READERS[name](value, f"{where}: trait {name!r}")
    return Traits(**fields)


def _refuse(where: str, value: object, accepted: str) -> TreatyError:
    return TreatyError(f"{where}: {value!r} is not accepted; it must be {accepted}")


def _member(value: object, name: str, where: str, accepted: str) -> object:
    """Return the one member *name* of the map *value*."""
    if not isinstance(value, Mapping) or set(value) != {name}:
        raise _refuse(where, value, accepted)
    return value[name]


def _agent(value: object, where: str) -> dict[str, Any]:
    accepted = "{from: [{header: NAME}, ...]}"
    sources = _member(value, "from", where, accepted)
    if not isinstance(sources, Sequence) or isinstance(sources, str) or not sources:
        raise _refuse(where, value, accepted)
    headers = tuple(_member(source, "header", where, accepted) for source in sources)
    if not all(isinstance(header, str) for header in headers):
        raise _refuse(where, value, accepted)
    return {"agent_headers": headers}


def _organization(value: object, where: str) -> dict[str, Any]:
    accepted = "{path: PARAMETER}"
    parameter = _member(value, "path", where, accepted)
    if not isinstance(parameter, str):
        raise _refuse(where, value, accepted)
    return {"organization_parameter": parameter}


def _unknown_keys(value: object, where: str) -> dict[str, Any]:
    if value not in ("forward", "drop"):
        raise _refuse(where, value, "forward or drop")
    return {"forward_unknown_keys": value == "forward"}


def _body_limit(value: object, where: str) -> dict[str, Any]:
    if type(value) is not int or value < 1:
        raise _refuse(where, value, "a number of bytes, at least 1")
    return {"body_limit": value}


_READERS: Final[Mapping[str, Callable[[object, str], dict[str, Any]]]] = {
    "agent": _agent,
    "organization": _organization,
    "unknown-keys": _unknown_keys,
    "body-limit": _body_limit,
}
