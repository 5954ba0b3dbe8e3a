"""The path of a request, from its credential to its answer.

This is the product in one function: `answer` reads in the order of ADR-0008, the first failing step answers, and what a
refusal looks like is the contract's business. Transport, route and method were decided before (`web`).
"""

from collections.abc import Awaitable, Callable, Mapping

import attrs

from dragoman.contract import Body, Operation
from dragoman.errors import Kind, Refusal
from dragoman.gate.admitted import Admitted
from dragoman.gate.callers import choose_agent, log_in, require_own_organization, require_scopes, verify_agent
from dragoman.gate.contents import BODY_REFUSALS, check_content, check_document, check_parameters, kept, parse
from dragoman.gate.limits import Limits, limit_refusals
from dragoman.gate.room import Room
from dragoman.model import (
    CATCH_ALL,
    NOBODY,
    Alias,
    ModelRequest,
    Principal,
    Quota,
    RequestEvent,
    structure,
    valid_request_id,
)
from dragoman.operations.handler import Answering, Handler, Reply, Services
from dragoman.ports import Identity


@attrs.frozen(kw_only=True)
class Call:
    """A request as the web hands it over. Headers are named in lower case.

    *read* returns the body, and takes the most bytes it may have; it raises the refusals `body_too_large` and
    `request_timeout`. *address* is whose limits count; *met* gathers the limits that the request met, and *met_tokens*
    those of tokens. *on_end* takes what shall be called when the answer has ended; after *on_forward* the request is
    cancelled when its caller leaves.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    address: str
    event: RequestEvent
    met: list[Quota]
    met_tokens: list[Quota]
    elapsed_ms: Callable[[], float]
    read: Callable[[int], Awaitable[bytes]]
    on_end: Callable[[Callable[[], None]], None]
    on_forward: Callable[[], None]


@attrs.frozen(kw_only=True)
class Route:
    """An operation and what serves it.

    *record* is what its body becomes, where it names a model. *answer* is None in Phase 1: nothing is bound that could
    forward. *refusals* are the kinds that *answer* may raise.
    """

    operation: Operation
    record: type[ModelRequest] | None
    answer: Answering | None
    refusals: frozenset[Kind]


def bind(operation: Operation, handler: Handler) -> Route:
    """Return the route of *operation*; what is bound to it is decided by its phase, here and once."""
    if operation.phase == 1:
        return Route(operation=operation, record=handler.request, answer=None, refusals=frozenset())
    refusals = handler.refusals
    if operation.traits.pass_unknown_model:
        refusals -= {Kind.MODEL_NOT_FOUND}
    return Route(operation=operation, record=handler.request, answer=handler.answer, refusals=refusals)


def possible_refusals(route: Route) -> frozenset[Kind]:
    """Return every kind that *route* may be refused with, which its contract must list, and no other."""
    operation, kinds = route.operation, set(route.refusals)
    kinds |= limit_refusals(operation, names_a_model=route.record is not None)
    if operation.phase is not None:
        kinds.add(Kind.OVERLOADED)
    if operation.scopes is not None:
        kinds |= {Kind.MISSING_CREDENTIAL, Kind.INVALID_CREDENTIAL, Kind.IDENTITY_UNAVAILABLE}
    if operation.scopes:
        kinds.add(Kind.INSUFFICIENT_SCOPE)
    if operation.judged:
        kinds.add(Kind.INVALID_PARAMETER)
    if operation.traits.organization_parameter is not None:
        kinds.add(Kind.ORGANIZATION_MISMATCH)
    if _may_name_an_agent(route):
        kinds.add(Kind.AGENT_NOT_ALLOWED)
    if operation.body is not None:
        kinds |= BODY_REFUSALS
    if route.answer is None:
        kinds.add(Kind.PROVIDER_NOT_CONFIGURED)
    return frozenset(kinds)


def _may_name_an_agent(route: Route) -> bool:
    traits = route.operation.traits
    in_body = route.record is not None and bool(traits.agent_prefixes or traits.default_agent)
    return bool(traits.agent_headers) or in_body


@attrs.frozen(kw_only=True)
class Pipeline:
    """The steps, and what they ask."""

    identity: Identity
    limits: Limits
    room: Room
    services: Services

    async def answer(self, route: Route, call: Call) -> Reply:
        """Return the reply to *call*, or raise the `Refusal` of the first step that fails."""
        operation, event = route.operation, call.event

        self.room.enter(operation, call.on_end)
        principal = await log_in(self.identity, self.limits, operation, headers=call.headers, address=call.address)
        if principal is not None:
            event.org_id, event.key_id = principal.organization, principal.key

        check_parameters(operation, path=call.path, query=call.query, headers=call.headers)
        require_scopes(operation, principal)
        require_own_organization(operation, principal, call.path)
        agent = await verify_agent(self.identity, operation, principal, call.headers)
        event.agent_id = None if agent is None else agent.id
        await self.limits.admit_caller(operation, principal, call.met)

        admitted = Admitted(
            operation=operation,
            path=call.path,
            event=event,
            met=call.met,
            met_tokens=call.met_tokens,
            elapsed_ms=call.elapsed_ms,
            principal=principal,
            agent=agent,
        )
        if operation.body is not None:
            await self._read_body(route, operation.body, call, admitted)

        if route.answer is None:
            raise Refusal(Kind.PROVIDER_NOT_CONFIGURED)
        if operation.phase is not None:
            call.on_forward()
        return await route.answer(admitted, self.services)

    async def _read_body(self, route: Route, body: Body, call: Call, admitted: Admitted) -> None:
        """Add the request of the body to *admitted*: headers decide first, then the cap, then JSON, then the schema.

        The request is structured from all of the document; what goes on of it is what the dialect keeps.
        """
        operation, event = route.operation, call.event

        check_content(operation, call.headers)
        content = await call.read(operation.traits.body_limit)
        event.request_bytes = len(content)
        document = parse(content)
        _note_correlation(operation, document, event)
        check_document(body, document)
        admitted.document = kept(operation, document)
        if route.record is None:
            return

        request = structure(document, route.record)
        # Metadata only, never content (ADR-0012).
        event.model, event.message_count, event.stream = request.model, request.message_count, bool(request.stream)
        admitted.request = request

        admitted.agent = admitted.agent or await choose_agent(
            self.identity, operation, admitted.principal, request.model
        )
        event.agent_id = None if admitted.agent is None else admitted.agent.id
        admitted.alias = await self._alias(operation, admitted.principal, request.model)
        if admitted.alias is not None:
            await self.limits.admit_alias(operation, admitted.principal, admitted.alias, call.met)

    async def _alias(self, operation: Operation, principal: Principal | None, model: str) -> Alias | None:
        """Return what *model* stands for; where the dialect passes on what it does not know, that is the catch-all.

        In Phase 1 it counts for limits only, so that nothing is told of it.
        """
        traits, catalogue = operation.traits, self.services.catalogue
        organization = NOBODY if principal is None else principal.organization
        if traits.default_model is not None and model.startswith(traits.agent_prefixes):
            model = traits.default_model  # what was sent names an agent
        alias = None if model == CATCH_ALL else await catalogue.alias(organization, model)
        if alias is None and operation.traits.pass_unknown_model:
            return await catalogue.alias(organization, CATCH_ALL)
        return alias


def _note_correlation(operation: Operation, document: object, event: RequestEvent) -> None:
    """Take the caller's own request id from the member of the body that the dialect has for it, if it is there."""
    member = operation.traits.correlation_member
    if member is not None and isinstance(document, dict):
        event.caller_request_id = valid_request_id(document.get(member)) or event.caller_request_id
