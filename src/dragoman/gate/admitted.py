"""A request that passed every check, as operations and exchanges get it."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from dragoman.contract import Operation
from dragoman.model import Agent, Alias, ModelRequest, Principal, Quota, RequestEvent


@attrs.define(kw_only=True)  # PERF: what is frozen takes three times as long to make, and one is made for every request
class Admitted:
    """A request that may be answered, and what is noted on the way.

    *document* is the body as it goes on, without the keys that the dialect drops. *alias* is what its model stands for,
    None where that is nothing that the caller may use. *event* is its one log event. *met*
    gathers the limits of requests that it met, and *met_tokens* those of tokens; *elapsed_ms* is since it arrived.
    """

    operation: Operation
    path: Mapping[str, str]
    event: RequestEvent
    met: list[Quota]
    met_tokens: list[Quota]
    elapsed_ms: Callable[[], float]
    principal: Principal | None = None
    agent: Agent | None = None
    request: ModelRequest | None = None
    alias: Alias | None = None
    document: Mapping[str, Any] | None = None
