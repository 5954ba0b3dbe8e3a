"""One mount: a Falcon app made from one compiled contract.

Laws of this file:
- Falcon reads the head of a request and finds its responder, and nothing else of it is used: bodies, errors and OPTIONS
  are ours, from the contract (ADR-0006).

PERF: what Falcon's app does around that takes longer than the pipeline takes for a schema, and its answer is not used.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, assert_never, cast

import attrs
import falcon
import falcon.asgi
import orjson
from falcon.routing import CompiledRouter

from dragoman.contract import Contract, Operation
from dragoman.errors import Kind, Refusal
from dragoman.operations.handler import Forwarded, Made, Rendered, Reply, Streamed
from dragoman.pipeline import Call, Pipeline, Route
from dragoman.ports import EventLog
from dragoman.web.context import Presented, RequestContext, Scope
from dragoman.web.failure import failure_fields
from dragoman.web.presentation import present, present_refusal
from treaty import TreatyError

Responder = Callable[..., Awaitable[Presented]]

OPTIONS_STATUS: Final = 204
"""The status of the `x-anywhere` answer to OPTIONS (ADR-0011.R2)."""


class _Resource:
    """The methods of one path, as attributes named as Falcon looks for them."""


@attrs.frozen(kw_only=True)
class _Path:
    """A path as the contract spells it, and the methods that `Allow` lists for it."""

    spelling: str
    allowed: Sequence[str]


class Mount:
    """Serves the routes of one contract."""

    def __init__(self, contract: Contract, routes: Sequence[Route], pipeline: Pipeline, log: EventLog) -> None:
        """Take the *contract*, its *routes* bound to handlers, and the *pipeline* that answers them."""
        self._contract = contract
        self.id_prefix = contract.traits.id_prefix
        self._pipeline = pipeline
        self._log = log
        self._router = CompiledRouter()
        self._app: falcon.asgi.App[Any, Any] = falcon.asgi.App(router=self._router)
        self._paths: dict[str, _Path] = {}  # by Falcon's template
        self._operations = {route.operation.path: route.operation for route in routes if route.operation.phase}
        for path in dict.fromkeys(route.operation.path for route in routes):
            self._add_path([route for route in routes if route.operation.path == path])

    def _add_path(self, routes: Sequence[Route]) -> None:
        resource = _Resource()
        methods = {route.operation.method: route for route in routes}
        head = {"HEAD"} if "GET" in methods else set()
        path = _Path(spelling=routes[0].operation.path, allowed=sorted({*methods, *head, "OPTIONS"}))
        for method, route in methods.items():
            setattr(resource, f"on_{method.lower()}", self._responder(route, path))
        if head:
            resource.on_head = self._responder(methods["GET"], path)  # type: ignore[attr-defined]
        resource.on_options = self._options(path)  # type: ignore[attr-defined]
        template = falcon_template(routes[0].operation)
        self._paths[template] = path
        try:
            self._app.add_route(template, resource, compile=True)
        except ValueError as error:
            message = f"{path.spelling}: no route can be made of this path: {error}"
            raise TreatyError(message) from error

    def _responder(self, route: Route, path: _Path) -> Responder:
        operation = route.operation

        async def respond(req: falcon.asgi.Request, context: RequestContext, /, **fields: str) -> Presented:
            event = context.event
            if fields and not all(fields.values()):  # an empty path parameter is another URL, as a missing segment is
                return self._refused(Refusal(Kind.UNKNOWN_URL), context)
            event.route, event.operation, event.phase = operation.path, operation.name, operation.phase
            call = Call(
                path=fields,
                query=_query(req),
                headers=req.headers_lower,
                address=context.address,
                event=event,
                met=context.met,
                met_tokens=context.met_tokens,
                elapsed_ms=context.elapsed_ms,
                read=context.read,
                on_end=context.endings.append,
                on_forward=context.begin_watch,
            )
            try:
                reply = await self._pipeline.answer(route, call)
            except Refusal as refusal:
                answer = operation.refusals.get(refusal.kind) or self._contract.anywhere[refusal.kind]
                return present_refusal(refusal, answer, context, allow=path.allowed)
            return _present_reply(operation, reply, context, path.allowed)

        return respond

    async def answer(self, scope: Scope, context: RequestContext) -> Presented:
        """Return the answer to the request of *scope*, whose path is relative to this mount."""
        req = falcon.asgi.Request(cast("dict[str, Any]", scope), context.receive, options=self._app.req_options)
        found = self._router.find(req.path, req)
        if found is None:
            return self._refused(Refusal(Kind.UNKNOWN_URL), context)
        _, responders, fields, template = found
        path = self._paths[template or ""]
        if req.method not in path.allowed:
            context.event.route = path.spelling
            return self._refused(Refusal(Kind.METHOD_NOT_ALLOWED), context, allow=path.allowed)
        respond = cast("Responder", responders[req.method])
        return await respond(req, context, **fields)

    def _options(self, path: _Path) -> Responder:
        answer = self._contract.bodiless[OPTIONS_STATUS]

        async def respond(_: falcon.asgi.Request, context: RequestContext, /, **__: str) -> Presented:
            context.event.route = path.spelling
            return present(answer, context, body=None, allow=path.allowed)

        return respond

    def fail(self, error: Exception, context: RequestContext) -> Presented:
        """Log a fault of ours, and return the answer to it: the contract's 500, with nothing of the fault in it."""
        self._log.failure(failure_fields(error, context.event))
        return self.refuse(Kind.INTERNAL_ERROR, context)

    def worded(self, context: RequestContext, error: Exception) -> bytes:
        """Return the body of the error event that ends a stream with *error*, in the words of the contract."""
        if not isinstance(error, Refusal):
            return self.fail(error, context).body or b""
        operation = self._operations[context.event.route or ""]
        answer = operation.refusals.get(error.kind) or self._contract.anywhere[error.kind]
        return present_refusal(error, answer, context).body or b""

    async def admit(self, context: RequestContext) -> Presented | None:
        """Return the refusal of a request whose address has used up its limit (ADR-0032.R3), or None."""
        try:
            await self._pipeline.limits.admit_address(self._contract.traits, context.address, context.met)
        except Refusal as refusal:
            return self._refused(refusal, context)
        return None

    def refuse(self, kind: Kind, context: RequestContext) -> Presented:
        """Return the answer to a refusal outside any operation, in the shape of this mount."""
        return self._refused(Refusal(kind), context)

    def _refused(self, refusal: Refusal, context: RequestContext, *, allow: Sequence[str] = ()) -> Presented:
        return present_refusal(refusal, self._contract.anywhere[refusal.kind], context, allow=allow)


def falcon_template(operation: Operation) -> str:
    """Return the path of *operation* as Falcon spells it: a parameter that may hold slashes needs a converter."""
    template = operation.path
    for name in operation.spacious:
        template = template.replace(f"{{{name}}}", f"{{{name}:path}}")
    return template


def _present_reply(operation: Operation, reply: Reply, context: RequestContext, allowed: Sequence[str]) -> Presented:
    if operation.success is None:
        message = f"{operation.id} replied, but its contract has no success in this phase"
        raise AssertionError(message)
    match reply:
        case Rendered(content=body, media_type=media_type):
            presented = present(operation.success.answer, context, body=body, allow=allowed)
            return attrs.evolve(presented, media_type=media_type)
        case Made(value=value):
            body = orjson.dumps(operation.success.body.cut(value))
            return present(operation.success.answer, context, body=body, allow=allowed)
        case Forwarded(value=value):
            return present(operation.success.answer, context, body=orjson.dumps(value), allow=allowed)
        case Streamed(events=events):
            return present(operation.success.answer, context, body=None, allow=allowed, events=events)
        case _:
            assert_never(reply)


def _query(req: falcon.asgi.Request) -> dict[str, str]:
    """Return the query parameters; of a repeated one the last wins, as with the keys of a body (ADR-0007)."""
    if not req.query_string:
        return {}
    return {name: value if isinstance(value, str) else value[-1] for name, value in req.params.items()}
