"""What serves an operation: a record for its body, and an answer.

Laws of this file:
- A handler returns what it has to say; status, headers and which members leave are the contract's business.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from dragoman.errors import Kind
from dragoman.exchange import ChatEvents, Exchange
from dragoman.gate.admitted import Admitted
from dragoman.model import ModelRequest
from dragoman.ports import Catalogue


@attrs.frozen(kw_only=True)
class Made:
    """A body that the gateway made; what the contract does not declare of it will not leave."""

    value: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Forwarded:
    """A body that an exchange made; it was cut to what the contract declares, and judged."""

    value: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Streamed:
    """An answer that goes out while it is made."""

    events: ChatEvents


@attrs.frozen(kw_only=True)
class Rendered:
    """A body that was rendered at start, and goes out as it is."""

    content: bytes
    media_type: str = "application/json"


Reply = Made | Forwarded | Streamed | Rendered


@attrs.frozen(kw_only=True)
class Services:
    """What the answers of one mount are made from.

    *published* is the mount's contract, rendered; *pages* holds the files of the docs page by name; *uptime* gives the
    seconds since the gateway started, and *ready* whether it takes new requests. What forwards does so by *exchange*.
    """

    catalogue: Catalogue
    exchange: Exchange
    published: bytes
    pages: Mapping[str, Rendered]
    uptime: Callable[[], float]
    ready: Callable[[], bool]


Answering = Callable[[Admitted, Services], Awaitable[Reply]]


@attrs.frozen(kw_only=True)
class Handler:
    """What an `x-operation` stands for.

    *request* is the record that a body becomes; *answer* is None where nothing can forward: only Phase 1 is served.
    *refusals* are the kinds that *answer* may raise.
    """

    request: type[ModelRequest] | None = None
    answer: Answering | None = None
    refusals: frozenset[Kind] = frozenset()
