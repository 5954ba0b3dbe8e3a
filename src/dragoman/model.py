"""The nouns, and the one strict converter.

Laws of this file:
- Records are frozen and hold only what the gateway acts on; the document a caller sent stays beside them, untouched.
- The converter never coerces and never validates: the contract's schema has decided before (ADR-0007).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NewType, TypeVar, get_origin

import attrs
import cattrs

OrganizationId = NewType("OrganizationId", str)
KeyId = NewType("KeyId", str)
AgentId = NewType("AgentId", str)

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Principal:
    """Who is calling: a key of an organisation, and what the key may do."""

    organization: OrganizationId
    key: KeyId
    scopes: frozenset[str]


@attrs.frozen(kw_only=True)
class Agent:
    """Who acts for a principal: a uuid, and a name that is unique in its organisation."""

    id: AgentId
    name: str
    organization: OrganizationId


@attrs.frozen(kw_only=True)
class Alias:
    """A model name that an organisation may send.

    *category* is what it can do: `llm` or `embedding`. *created* is in Unix seconds. *visible_to* holds the
    organisations that may use it; None means all.
    """

    id: str
    display_name: str
    description: str
    category: str
    created: int
    visible_to: frozenset[OrganizationId] | None = None


@attrs.frozen(kw_only=True)
class ChatRequest:
    """The fields of a chat completion request that the gateway acts on."""

    model: str
    messages: list[Any]
    stream: bool | None = None

    @property
    def message_count(self) -> int:
        """How many messages there are: metadata that may be logged."""
        return len(self.messages)


@attrs.frozen(kw_only=True)
class ResponsesRequest:
    """The fields of a Responses API request that the gateway acts on."""

    model: str
    input: Any = None
    messages: list[Any] | None = None
    stream: bool | None = None

    @property
    def message_count(self) -> int:
        """How many items there are: metadata that may be logged. A plain text counts as one."""
        items = self.input if self.messages is None else self.messages
        if isinstance(items, list):
            return len(items)
        return 0 if items is None else 1


ModelRequest = ChatRequest | ResponsesRequest
"""A request that names a model: what a body becomes."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def valid_request_id(stated: object) -> str | None:
    """Return the request id that a caller *stated*, or None when it has not the form of one (ADR-0013)."""
    return stated if isinstance(stated, str) and _REQUEST_ID.fullmatch(stated) else None


@attrs.define(kw_only=True)
class RequestEvent:
    """The one log event of a request (ADR-0015): every field that may be logged, and no other.

    *duration_ms* runs from arrival to the end of the answer. Fields that were not reached stay None.
    """

    request_id: str
    trace_id: str
    caller_request_id: str | None = None
    mount: str | None = None
    method: str | None = None
    route: str | None = None
    operation: str | None = None
    phase: int | None = None
    status: int | None = None
    refusal: str | None = None
    org_id: str | None = None
    key_id: str | None = None
    agent_id: str | None = None
    model: str | None = None
    message_count: int | None = None
    stream: bool | None = None
    request_bytes: int | None = None
    duration_ms: float | None = None


def _exactly(accepted: type[T]) -> Callable[[object, object], T]:
    """Return a structure hook that passes values of exactly the *accepted* type and nothing else."""

    def hook(value: object, _: object) -> T:
        if type(value) is accepted:
            return value
        message = f"expected {accepted.__name__}, got {type(value).__name__}"
        raise TypeError(message)

    return hook


def _is_list(kind: Any) -> bool:  # noqa: ANN401 - cattrs asks for every type there is
    return get_origin(kind) is list


def _build_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for scalar in (str, int, float, bool):
        converter.register_structure_hook(scalar, _exactly(scalar))
    converter.register_structure_hook_func(_is_list, _exactly(list))
    return converter


_converter: Final = _build_converter()


def structure(document: Mapping[str, Any], record: type[T]) -> T:
    """Return *document*, which the contract's schema has accepted, as a *record*; other members are left out."""
    return _converter.structure(document, record)
