"""Compiles an effective document into the operations that the gateway serves.

Laws of this file:
- It runs at start, never while requests are served.
- It raises `TreatyError`, naming the operation, for whatever the gateway could not keep.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import orjson
from jsonschema_rs import Draft202012Validator, ValidationError

from dragoman.contract.mould import PIECE, ignores_text
from dragoman.contract.operation import DECODERS, Body, Form, Operation, Parameter, Success
from dragoman.contract.projection import build_projection
from dragoman.contract.refusals import Answer, Refusals, read_anywhere, read_headers, read_refusals
from dragoman.contract.traits import Traits, read_traits
from dragoman.contract.validation import ENFORCED, Schema
from treaty import Document, Route, TreatyError, operations, resolve

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""What can be served: HEAD and OPTIONS are answered from the contract, others no router knows (ADR-0011)."""


@attrs.frozen(kw_only=True)
class Contract:
    """An effective contract, compiled.

    *published* is the document as `GET <mount>/openapi.json` serves it. *anywhere* holds the refusals outside any
    operation and *bodiless* the answers outside any operation that have no body, by status. *traits* are those that
    the document states for all.
    """

    mount: str
    title: str
    traits: Traits
    operations: tuple[Operation, ...]
    anywhere: Refusals
    bodiless: Mapping[int, Answer]
    published: bytes


def compile_contract(document: Document) -> Contract:
    """Return the compiled contract of an effective *document*.

    Raises:
        TreatyError: naming the operation and what about it cannot be kept.
    """
    with _named("the document"):
        anywhere, bodiless = read_anywhere(document)
    compiled = tuple(_compile(document, route) for route in operations(document))
    _require_agent_headers(document, compiled)
    return Contract(
        mount=document["servers"][0]["url"],
        title=document["info"]["title"],
        traits=read_traits(document, {}, where=document["info"]["title"]),
        operations=compiled,
        anywhere=anywhere,
        bodiless=bodiless,
        published=orjson.dumps(document),
    )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn what an unsound document does to this reader into an error that names the place."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
        message = f"{where}: cannot be served as it is written ({type(error).__name__}: {error}); see `contract check`"
        raise TreatyError(message) from error


def _compile(document: Document, route: Route) -> Operation:
    where = f"{route.method} {route.path}"
    if route.method not in METHODS:
        message = f"{where}: the method cannot be served; use one of {', '.join(METHODS)}"
        raise TreatyError(message)
    with _named(where):
        return _Compiler(document=document, route=route).operation()


def _require_agent_headers(document: Document, compiled: Collection[Operation]) -> None:
    """Refuse a header that the document's trait `agent` names and no operation declares.

    Where whatever takes a body is switched off, nothing is left that could declare one.
    """
    if all(operation.body is None for operation in compiled):
        return
    where = "the document's traits"
    used = {name for operation in compiled for name in operation.traits.agent_headers}
    for name in read_traits(document, {}, where=where).agent_headers:
        if name not in used:
            message = f"{where}: 'agent' names the header {name!r}, which no operation has as a parameter"
            raise TreatyError(message)


@attrs.frozen(kw_only=True)
class _Compiler:
    """Compiles one operation."""

    document: Document
    route: Route

    @property
    def where(self) -> str:
        return f"{self.route.method} {self.route.path}"

    def operation(self) -> Operation:
        stated = self.route.operation
        parameters = tuple(self._parameters())
        traits = read_traits(self.document, stated, where=self.where)
        traits = self._applicable(traits, {(parameter.location, parameter.name) for parameter in parameters})
        return Operation(
            id=stated["operationId"],
            name=stated["x-operation"],
            path=self.route.path,
            method=self.route.method,
            phase=stated.get("x-phase"),
            adrs=tuple(stated["x-adr"]),
            scopes=self._scopes(),
            traits=traits,
            parameters=parameters,
            spacious=frozenset(one["name"] for one in self.route.parameters if one.get("allowReserved")),
            body=self._body(),
            success=self._success(),
            refusals=read_refusals(self.document, stated["responses"], where=self.where),
        )

    def _parameters(self) -> Iterator[Parameter]:
        for stated in self.route.parameters:
            name = stated["name"]
            where = f"{self.where}, parameter {name!r}"
            schema = resolve(self.document, stated["schema"])
            kind, required = schema.get("type"), stated.get("required", False)
            if kind not in DECODERS or stated["in"] == "cookie":
                message = f"{where}: a parameter in {stated['in']!r} of type {kind!r} cannot be read"
                raise TreatyError(message)
            yield Parameter(
                name=name,
                location=stated["in"],
                required=required,
                fallible=(required and stated["in"] != "path") or kind != "string" or set(schema) & ENFORCED > {"type"},
                decode=DECODERS[kind],
                schema=Schema(self.document, stated["schema"], where=where),
            )

    def _applicable(self, traits: Traits, declared: set[tuple[str, str]]) -> Traits:
        """Return *traits* for this operation: what its own ones name must be declared, the document's may be absent."""
        own = self.route.operation.get("x-dragoman", {})
        spelt = {name.lower() for location, name in declared if location == "header"}
        missing = [name for name in traits.agent_headers if name.lower() not in spelt]
        if missing and "agent" in own:
            message = (
                f"{self.where}: trait 'agent' names the header {missing[0]!r}, which is no parameter of the operation"
            )
            raise TreatyError(message)
        organization = traits.organization_parameter
        if organization is not None and ("path", organization) not in declared:
            message = f"{self.where}: trait 'organization' names {organization!r}, which is no path parameter"
            raise TreatyError(message)
        headers = tuple(name for name in traits.agent_headers if name not in missing)
        return attrs.evolve(traits, agent_headers=headers)

    def _scopes(self) -> frozenset[str] | None:
        """Return the scopes of the one security requirement, or None when no credential is asked."""
        requirements = self.route.operation.get("security", self.document.get("security", []))
        if not requirements:
            return None
        schemes = self.document["components"]["securitySchemes"]
        if len(requirements) > 1 or any(schemes[name].get("scheme") != "bearer" for name in requirements[0]):
            message = f"{self.where}: `security` must be empty or one requirement of an http bearer scheme"
            raise TreatyError(message)
        return frozenset(scope for scopes in requirements[0].values() for scope in scopes)

    def _body(self) -> Body | None:
        stated = self.route.operation.get("requestBody")
        if stated is None:
            return None
        body = resolve(self.document, stated)
        if set(body["content"]) != {JSON} or not body.get("required"):
            message = f"{self.where}: the request body must be required and {JSON}"
            raise TreatyError(message)
        schema = body["content"][JSON]["schema"]
        return Body(
            schema=Schema(self.document, schema, where=f"{self.where}, request body"),
            declared=frozenset(resolve(self.document, schema).get("properties", {})),
        )

    def _success(self) -> Success | None:
        """Return the one answer with a 2xx status, when the live phase has it."""
        found = [status for status in self.route.operation["responses"] if status.startswith("2")]
        if not found:
            return None
        if len(found) > 1:
            message = f"{self.where}: two successes, {' and '.join(found)}; one can be served"
            raise TreatyError(message)
        where = f"{self.where}, response {found[0]}"
        response = resolve(self.document, self.route.operation["responses"][found[0]])
        headers = read_headers(self.document, response, where=where)
        streamed = response["content"].get(EVENT_STREAM, {}).get("itemSchema")
        return Success(
            answer=Answer(status=int(found[0]), headers=headers),
            body=self._form(response["content"].get(JSON, {}).get("schema", {})),
            event=None if streamed is None else self._form(_content_schema(self.document, streamed)),
        )

    def _form(self, schema: Mapping[str, Any]) -> Form:
        root = {"allOf": [schema], "components": {"schemas": self.document.get("components", {}).get("schemas", {})}}
        validator = Draft202012Validator(root)
        return Form(
            project=build_projection(self.document, schema),
            accepts=validator.is_valid,
            free=ignores_text(self.document, schema, PIECE),
        )


def _content_schema(document: Document, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the JSON in the data of an *event* must be; the end of the stream is none."""
    stated = resolve(document, event)
    for branch in (stated, *stated.get("oneOf", ())):
        data = branch.get("properties", {}).get("data", {})
        if data.get("contentMediaType") == JSON:
            schema: Mapping[str, Any] = data["contentSchema"]
            return schema
    return {}
