"""Valid requests, and the single faults that can be put into one.

Laws of this file:
- A valid request is made from the contract's own examples, with the caller's key, organisation and agent.
- A `Fault` is one thing wrong; two faults that touch different parts of a request can be put into the same one.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import attrs
import jsonschema_rs

from gateway_conformance.exchange import Request
from gateway_conformance.promises import JSON, Operation, Promises, rendered
from gateway_conformance.target import Target
from treaty import Document

NO_MODEL: Final = "no-such/model"
"""A model that there is not."""

PADDING: Final = b" "
"""What a body is made longer with: white space around a JSON document means nothing (RFC 8259, section 2)."""


@attrs.frozen(kw_only=True)
class Call:
    """A request before it is written: *path* values by parameter, *headers* by name, and the *body*."""

    path: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    withheld: bool = False


@attrs.frozen(kw_only=True)
class Fault:
    """One thing wrong, which provokes *kind*. None removes a header; *known* are arguments that the answer shows."""

    kind: str
    headers: Mapping[str, str | None] = attrs.field(factory=dict)
    path: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    withheld: bool = False
    known: Mapping[str, object] = attrs.field(factory=dict)

    @property
    def touched(self) -> frozenset[str]:
        """The parts of a request that the fault needs for itself."""
        headers = {f"header {name.lower()}" for name in self.headers}
        paths = {f"path {name}" for name in self.path}
        return frozenset(headers | paths | ({"body"} if self.body is not None else set()))

    def put_into(self, call: Call) -> Call:
        """Return *call* with this wrong."""
        lowered = {name.lower() for name in self.headers}
        kept = {name: value for name, value in call.headers.items() if name.lower() not in lowered}
        added = {name: value for name, value in self.headers.items() if value is not None}
        return attrs.evolve(
            call,
            headers=kept | added,
            path={**call.path, **self.path},
            body=call.body if self.body is None else self.body,
            withheld=call.withheld or self.withheld,
        )


def valid_call(target: Target, operation: Operation, example: object = None) -> Call:
    """Return a call that passes every check; *example* is its body, else the contract's first one."""
    callers = target.callers
    headers = {}
    if operation.scopes is not None:
        headers["Authorization"] = f"Bearer {callers.token}"
    for name in operation.agent_headers[:1]:  # the first one counts; with another agent in the second it still does
        headers[name] = callers.agent
    body = b""
    if operation.schema is not None:
        headers["Content-Type"] = JSON
        body = rendered(next(iter(operation.examples.values())) if example is None else example)
    path = {one["name"]: path_value(target, operation, one) for one in operation.parameters if one["in"] == "path"}
    return Call(path=path, headers=headers, body=body)


def path_value(target: Target, operation: Operation, parameter: Document) -> str:
    """Return a value that exists for a path parameter."""
    name: str = parameter["name"]
    return target.callers.organization if name == operation.organization else target.callers.values[name]


def written(operation: Operation, call: Call) -> Request:
    """Return the request that *call* is, of *operation*."""
    path = operation.path
    for name, value in call.path.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return Request(
        method=operation.method, path=path, headers=tuple(call.headers.items()), body=call.body, withheld=call.withheld
    )


def valid_request(target: Target, operation: Operation, example: object = None) -> Request:
    """Return a request of *operation* that passes every check."""
    return written(operation, valid_call(target, operation, example))


def request_with(target: Target, operation: Operation, *faults: Fault) -> Request:
    """Return a request of *operation* with all *faults* in it, and nothing else wrong."""
    call = valid_call(target, operation)
    for fault in faults:
        call = fault.put_into(call)
    return written(operation, call)


def faults(target: Target, operation: Operation) -> tuple[Fault, ...]:
    """Return the faults that *operation* has a documented refusal for, in the order in which it must be answered."""
    documented = operation.kinds
    return tuple(fault for kind, make in FAULTS.items() if kind in documented for fault in make(target, operation))


# --- One function a kind ---------------------------------------------------------------------------------------------


def _missing_credential(_: Target, __: Operation) -> Iterator[Fault]:
    yield Fault(kind="missing_credential", headers={"Authorization": None})


def _invalid_credential(target: Target, _: Operation) -> Iterator[Fault]:
    yield Fault(kind="invalid_credential", headers={"Authorization": f"Bearer {target.callers.token[:-1]}"})


def _identity_unavailable(target: Target, _: Operation) -> Iterator[Fault]:
    if target.callers.uncheckable_token is not None:
        headers = {"Authorization": f"Bearer {target.callers.uncheckable_token}"}
        yield Fault(kind="identity_unavailable", headers=headers)


def _invalid_parameter(target: Target, operation: Operation) -> Iterator[Fault]:
    """Break every parameter that can be broken: leave it out where it is required, and break its schema."""
    for parameter in operation.parameters:
        name, known = parameter["name"], {"param": parameter["name"]}
        broken = breaking_text(target.promises, parameter["schema"])
        if parameter["in"] == "header":
            if parameter.get("required"):
                yield Fault(kind="invalid_parameter", headers={name: None}, known=known)
            if broken is not None:
                yield Fault(kind="invalid_parameter", headers={name: broken}, known=known)
        elif parameter["in"] == "path" and broken is not None:
            yield Fault(kind="invalid_parameter", path={name: broken}, known=known)


def _insufficient_scope(target: Target, _: Operation) -> Iterator[Fault]:
    yield Fault(kind="insufficient_scope", headers={"Authorization": f"Bearer {target.callers.unscoped_token}"})


def _organization_mismatch(target: Target, operation: Operation) -> Iterator[Fault]:
    if operation.organization is not None:
        path = {operation.organization: target.callers.foreign_organization}
        yield Fault(kind="organization_mismatch", path=path)


def _agent_not_allowed(target: Target, operation: Operation) -> Iterator[Fault]:
    for name in operation.agent_headers:
        yield agent_fault(operation, name, target.callers.foreign_agent)


def agent_fault(operation: Operation, header: str, agent: str) -> Fault:
    """Return the fault of naming *agent*, who is not the caller's, in *header*, and in no other one."""
    others: dict[str, str | None] = {other: None for other in operation.agent_headers if other != header}
    return Fault(kind="agent_not_allowed", headers={**others, header: agent})


def _unsupported_media_type(_: Target, __: Operation) -> Iterator[Fault]:
    yield Fault(kind="unsupported_media_type", headers={"Content-Type": "text/plain"})


def _unsupported_charset(_: Target, __: Operation) -> Iterator[Fault]:
    yield Fault(kind="unsupported_charset", headers={"Content-Type": f"{JSON}; charset=utf-16"})


def _unsupported_encoding(_: Target, __: Operation) -> Iterator[Fault]:
    yield Fault(kind="unsupported_encoding", headers={"Content-Encoding": "gzip"})


def _body_too_large(_: Target, operation: Operation) -> Iterator[Fault]:
    """Declare one byte too many and send none: the answer must not wait for the body (ADR-0008.R5)."""
    length = str(operation.body_limit + 1)
    yield Fault(kind="body_too_large", headers={"Content-Length": length}, withheld=True)


def _invalid_json(_: Target, __: Operation) -> Iterator[Fault]:
    yield Fault(kind="invalid_json", body=b'{"model": ')


def _invalid_request(target: Target, operation: Operation) -> Iterator[Fault]:
    """Leave out each required member of the first example."""
    schema = target.promises.resolve(operation.schema)
    example: Mapping[str, Any] = next(iter(operation.examples.values()))
    for name in schema.get("required", []):
        body = rendered({key: value for key, value in example.items() if key != name})
        yield Fault(kind="invalid_request", body=body, known={"param": name})


def _model_not_found(target: Target, operation: Operation) -> Iterator[Fault]:
    for parameter in operation.parameters:
        if parameter["in"] == "path" and parameter["name"] == "model":
            yield Fault(kind="model_not_found", path={"model": NO_MODEL})
    if "model" in target.promises.members(operation.schema):
        yield Fault(kind="model_not_found", body=body_for(operation, NO_MODEL))


def _of_another_category(kind: str) -> "Maker":
    """Return what names a model that the operator has set up, and that is of a category for other operations."""

    def make(target: Target, operation: Operation) -> Iterator[Fault]:
        if target.is_staged(kind, operation):
            yield Fault(kind=kind, body=body_for(operation, target.staged(kind, operation)))

    return make


def _guardrail_block(target: Target, operation: Operation) -> Iterator[Fault]:
    """Say what the guardrail of a model blocks."""
    if target.stated.staged is not None and target.is_staged("guardrail_block", operation):
        said = saying(operation, target.stated.staged.blocked_text)
        body = rendered({**said, "model": target.staged("guardrail_block", operation)})
        yield Fault(kind="guardrail_block", body=body)


def body_for(operation: Operation, model: str) -> bytes:
    """Return a valid body that asks for *model*."""
    return rendered({**example_of(operation), "model": model})


def saying(operation: Operation, text: str) -> dict[str, Any]:
    """Return the contract's first example of a body, with *text* for its content, and nothing else said."""
    example = example_of(operation)
    if "messages" in example:
        return {**example, "messages": [{"role": "user", "content": text}]}
    return {**example, "input": text}


def _provider_not_configured(_: Target, __: Operation) -> Iterator[Fault]:
    yield Fault(kind="provider_not_configured")


Maker = Callable[[Target, Operation], Iterator[Fault]]

FAULTS: Final[Mapping[str, Maker]] = {
    "missing_credential": _missing_credential,
    "invalid_credential": _invalid_credential,
    "identity_unavailable": _identity_unavailable,
    "invalid_parameter": _invalid_parameter,
    "insufficient_scope": _insufficient_scope,
    "organization_mismatch": _organization_mismatch,
    "agent_not_allowed": _agent_not_allowed,
    "unsupported_media_type": _unsupported_media_type,
    "unsupported_charset": _unsupported_charset,
    "unsupported_encoding": _unsupported_encoding,
    "body_too_large": _body_too_large,
    "invalid_json": _invalid_json,
    "invalid_request": _invalid_request,
    "provider_not_configured": _provider_not_configured,
    "model_not_found": _model_not_found,
    "model_not_llm": _of_another_category("model_not_llm"),
    "model_not_embedding": _of_another_category("model_not_embedding"),
    "guardrail_block": _guardrail_block,
}
"""How each refusal of an operation that a request alone can provoke is provoked, in the order of the checks (ADR-0008).

A refusal that stands for a state of the gateway is in `situations`.
"""


def breaking_text(promises: Promises, schema: Document) -> str | None:
    """Return a text that breaks the *schema* of a parameter, or None when every text keeps it."""
    limit = promises.resolve(schema).get("maxLength", 0)
    validator = jsonschema_rs.validator_for(promises.closed(schema), validate_formats=True)
    candidates = ("no-uuid-but-text", "x" * (limit + 1), "~", "")
    return next((text for text in candidates if not validator.is_valid(text)), None)


def padded(body: bytes, length: int) -> bytes:
    """Return *body* made *length* bytes long without changing what it says."""
    return body + PADDING * (length - len(body))


def example_of(operation: Operation) -> dict[str, Any]:
    """Return a copy of the contract's first example of a body."""
    copy: dict[str, Any] = json.loads(rendered(next(iter(operation.examples.values()))))
    return copy
