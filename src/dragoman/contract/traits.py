"""Traits: what a dialect does that no schema can say (ADR-0005).

Laws of this file:
- The vocabulary is closed: it is the fields of `Traits` and what `_READERS` accepts, and nothing else passes start-up.
- An operation's own trait wins over the document's, member by member.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

import attrs

from treaty import TreatyError

Reader = Callable[[object, str], dict[str, Any]]
"""Reads the value of a trait, said at a place, into fields of `Traits`."""


LIMIT_SCOPES: Final = ("address", "failed-logins", "organization", "key", "alias")
"""What a limit may count: the requests of a subject, or the wrong credentials from an address (ADR-0032)."""


@attrs.frozen(kw_only=True)
class Traits:
    """The traits of one operation.

    - *agent_headers*: the header parameters that may name the agent, in order of precedence. After them
      *agent_prefixes*: what stands before an agent's name in `model`; and *default_agent*: who it is otherwise.
    - *organization_parameter*: the path parameter that must be the caller's organisation.
    - *id_prefix*: what request ids begin with; *correlation_member*: the member of a body with the caller's own.
    - *forward_unknown_keys*, *keep_non_text*: whether undeclared members, and parts that are no text, go on.
    - *body_limit*: in bytes.
    - *asks_service*: whether the dialect's own text has an identity service asked, so that its mounts do (ADR-0031).
    - *limits_by*: the scopes of the limits that the dialect knows, of `LIMIT_SCOPES`.
    - *pass_unknown_model*: whether a model that is no alias is passed on by the alias `*`.
    - *zero_usage*: whether callers are told that every exchange took nothing.
    - *default_model*: the alias that the mount is known for, and that is meant where `model` names an agent.
    - *switch*: the dotted name of the endpoint in a settings file; it is off by default where *default_off*.
    """

    agent_headers: tuple[str, ...] = ()
    agent_prefixes: tuple[str, ...] = ()
    default_agent: str | None = None
    correlation_member: str | None = None
    id_prefix: str = ""
    keep_non_text: bool = True
    pass_unknown_model: bool = False
    zero_usage: bool = False
    default_model: str | None = None
    switch: str | None = None
    default_off: bool = False
    organization_parameter: str | None = None
    forward_unknown_keys: bool = True
    body_limit: int = 8 * 1024 * 1024
    asks_service: bool = False
    limits_by: frozenset[str] = frozenset()


def read_traits(document: Mapping[str, Any], operation: Mapping[str, Any], *, where: str) -> Traits:
    """Return the traits of *operation*; *where* names it in errors.

    Raises:
        TreatyError: for an unknown trait or value, naming it and what is accepted (ADR-0005.R1).
    """
    own = operation.get("x-dragoman", {})
    for name in _OF_DOCUMENTS & set(own):
        message = f"{where}: the trait {name!r} is one of documents, and not of an operation"
        raise TreatyError(message)
    stated = {**document.get("x-dragoman", {}), **own}
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


def _agent(value: object, where: str) -> dict[str, Any]:
    default: str | None
    accepted = "{from: [{header: NAME}, ..., {model: [PREFIX, ...]}], default: NAME}"
    match value:
        case {"from": [_, *_] as sources, "default": str(default), **rest} if not rest:
            pass
        case {"from": [_, *_] as sources, **rest} if not rest:
            default = None
        case _:
            raise _refuse(where, value, accepted)
    headers: list[str] = []
    prefixes: list[str] = []
    for source in sources:
        match source:
            case {"header": str(header), **more} if not more and not prefixes:
                headers.append(header)
            case {"model": [*found], **more} if not more and found and all(isinstance(one, str) for one in found):
                prefixes += found
            case _:
                raise _refuse(where, source, "one of the sources in " + accepted)
    return {"agent_headers": tuple(headers), "agent_prefixes": tuple(prefixes), "default_agent": default}


def _request_id(value: object, where: str) -> dict[str, Any]:
    match value:
        case {"prefix": str(prefix), "body-member": str(member), **rest} if not rest:
            return {"id_prefix": prefix, "correlation_member": member}
        case _:
            raise _refuse(where, value, "{prefix: TEXT, body-member: NAME}")


def _organization(value: object, where: str) -> dict[str, Any]:
    match value:
        case {"path": str(parameter), **rest} if not rest:
            return {"organization_parameter": parameter}
        case _:
            raise _refuse(where, value, "{path: PARAMETER}")


def _choice(field: str, choices: Mapping[object, object]) -> Reader:
    def read(value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, str | bool) or value not in choices:
            raise _refuse(where, value, " or ".join(map(str, choices)))
        return {field: choices[value]}

    return read


def _text(field: str) -> Reader:
    def read(value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, str) or not value:
            raise _refuse(where, value, "a text")
        return {field: value}

    return read


def _body_limit(value: object, where: str) -> dict[str, Any]:
    if type(value) is not int or value < 1:
        raise _refuse(where, value, "a number of bytes, at least 1")
    return {"body_limit": value}


def _limits_by(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, list) or not all(scope in LIMIT_SCOPES for scope in value):
        raise _refuse(where, value, f"a list of {', '.join(LIMIT_SCOPES)}")
    return {"limits_by": frozenset(value)}


_READERS: Final[Mapping[str, Reader]] = {
    "agent": _agent,
    "organization": _organization,
    "request-id": _request_id,
    "unknown-keys": _choice("forward_unknown_keys", {"forward": True, "drop": False}),
    "non-text": _choice("keep_non_text", {"forward": True, "drop": False}),
    "unknown-model": _choice("pass_unknown_model", {"refuse": False, "pass": True}),
    "usage": _choice("zero_usage", {"real": False, "zero": True}),
    "body-limit": _body_limit,
    "identity": _choice("asks_service", {"service": True}),
    "limits-by": _limits_by,
    "default-model": _text("default_model"),
    "default-off": _choice("default_off", {True: True}),
    "switch": _text("switch"),
}

_OF_DOCUMENTS: Final = frozenset({"identity"})
"""The traits that a mount has, and not an operation."""
