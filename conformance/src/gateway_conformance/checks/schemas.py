"""What a wrong member is told (ADR-0007), and what it is not (ADR-0004.R6).

Laws of this file:
- The faults are made from the contract's examples: every leaf of each is made wrong, every member left out.
- Whether a body is wrong is decided by the published schema, compiled here once more.
"""

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import attrs
import jsonschema_rs

from gateway_conformance.answers import require
from gateway_conformance.branches import Step, declared_members
from gateway_conformance.calls import Call, Fault, example_of, request_with, valid_call, written
from gateway_conformance.checks.bodies import with_body
from gateway_conformance.exchange import Request
from gateway_conformance.promises import Operation, rendered
from gateway_conformance.rules import RuleBroken, confirms
from gateway_conformance.target import Target

WRONG: Final = (7, True, "wrong")
"""Values that stand for a wrong type; the first one that the schema refuses is sent."""

CANARY: Final = "CANARY7f3a"
"""A text that occurs in nothing but what the suite sends."""

COERCIBLE: Final[tuple[object, ...]] = ("false", "true", "1", "1.5", "null", 1, 0, 1.5, True, [])
"""Values that a careless converter turns into another type (ADR-0007)."""

BROKEN_IDS: Final = (
    "",
    "no-uuid",
    "{0f8fad5b-d9cb-469f-a165-70867728950e}",
    "0f8fad5bd9cb469fa16570867728950e",
    "null",
)
"""Texts that are no UUID in the form of RFC 9562, section 4."""


@attrs.frozen(kw_only=True)
class Wrong:
    """A wrong body, and the member that is wrong in it, as OpenAI writes paths."""

    body: Any
    path: str


def written_path(steps: tuple[Step, ...], declared: Collection[tuple[Step, ...]]) -> str:
    """Return `messages[0].content` for the steps that lead to a member.

    A key of the caller's own invention may not be repeated (ADR-0004.R6), and is written `*`.
    """
    text = ""
    for index, step in enumerate(steps):
        name = step if steps[: index + 1] in declared else "*"
        text += f"[{step}]" if isinstance(step, int) else f".{name}"
    return text.removeprefix(".")


def leaves(value: Any, steps: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:  # noqa: ANN401 - any JSON value
    """Yield the steps to every leaf of *value*."""
    if isinstance(value, dict | list):
        for step, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(child, (*steps, step))
    else:
        yield steps


def changed(body: Any, steps: tuple[Step, ...], change: Callable[[Any, Step], None]) -> Any:  # noqa: ANN401
    """Return a copy of *body* in which *change* was made to the holder of the member at *steps*."""
    copy = json.loads(json.dumps(body))
    holder = copy
    for step in steps[:-1]:
        holder = holder[step]
    change(holder, steps[-1])
    return copy


def _set(value: object) -> Callable[[Any, Step], None]:
    return lambda holder, step: holder.__setitem__(step, value)


def _remove(holder: Any, step: Step) -> None:  # noqa: ANN401 - an object or an array
    del holder[step]


def validator(target: Target, operation: Operation) -> jsonschema_rs.Draft202012Validator:
    """Return the published request schema of *operation*, compiled."""
    closed = target.promises.closed(operation.schema or {})
    return jsonschema_rs.Draft202012Validator(closed, validate_formats=True)


def wrong_types(target: Target, operation: Operation) -> Iterator[Wrong]:
    """Yield, for each leaf of each example, a body with a value of another type there."""
    schema = validator(target, operation)
    for example in operation.examples.values():
        declared = declared_members(target.promises, operation.schema or {}, example)
        for steps in leaves(example):
            bodies = (changed(example, steps, _set(value)) for value in WRONG)
            body = next((one for one in bodies if not schema.is_valid(one)), None)
            if body is not None:
                yield Wrong(body=body, path=written_path(steps, declared))


def missing_members(target: Target, operation: Operation) -> Iterator[Wrong]:
    """Yield, for each member of each object in each example that may not be left out, a body without it."""
    schema = validator(target, operation)
    for example in operation.examples.values():
        declared = declared_members(target.promises, operation.schema or {}, example)
        for steps in dict.fromkeys(part[: index + 1] for part in leaves(example) for index in range(len(part))):
            body = changed(example, steps, _remove)
            if isinstance(steps[-1], str) and not schema.is_valid(body):
                yield Wrong(body=body, path=written_path(steps, declared))


def _require_named(target: Target, operation: Operation, wrong: Wrong, *, rule: str) -> None:
    """Require that *wrong* is refused by the schema, and that the answer names the member."""
    request = request_with(target, operation, Fault(kind="", body=rendered(wrong.body)))
    response = require(target, request, "invalid_request", operation, rule=rule)
    shown, told = response.json()["error"], operation.arguments("invalid_request")
    named = shown["param"] == wrong.path if "param" in told else f"'{wrong.path}'" in shown["message"]
    if not named and told & {"param", "reason"}:  # a dialect may have one sentence for whatever broke
        expected = f"param {wrong.path}"
        raise RuleBroken(rule=rule, expected=expected, actual=response, curl=target.curl(request))


@confirms("ADR-0007.R1", "ADR-0007.R2")
def a_wrong_type_is_named_where_it_stands(target: Target) -> None:
    """Each leaf of each example, made wrong, is named by its own path, also deep within unions."""
    for operation in with_body(target):
        for wrong in wrong_types(target, operation):
            _require_named(target, operation, wrong, rule=_rule(wrong.path))


@confirms("ADR-0007.R1", "ADR-0007.R2")
def a_missing_member_is_named_where_it_should_stand(target: Target) -> None:
    """Each member that may not be left out is named by its own path when it is, also deep within unions."""
    for operation in with_body(target):
        for wrong in missing_members(target, operation):
            _require_named(target, operation, wrong, rule=_rule(wrong.path))


def _rule(path: str) -> str:
    """Return the rule for a member: below the top level it stands in a union of the contract nearly everywhere."""
    return "ADR-0007.R2" if "." in path else "ADR-0007.R1"


@confirms("ADR-0007.R6")
def scalars_are_not_coerced(target: Target) -> None:
    """No text passes for a number or a truth value, and no number for a text, in any member of the schema."""
    for operation in with_body(target):
        schema, example = validator(target, operation), example_of(operation)
        for name in target.promises.resolve(operation.schema).get("properties", {}):
            for value in COERCIBLE:
                body = {**example, name: value}
                if not schema.is_valid(body):
                    fault = Fault(kind="invalid_request", body=rendered(body))
                    require(target, request_with(target, operation, fault), fault.kind, operation, rule="ADR-0007.R6")


@confirms("ADR-0007.R5")
def a_broken_parameter_is_named(target: Target) -> None:
    """Each value that a parameter's schema refuses gets `invalid_parameter` with its name, on every operation."""
    for operation in target.promises.operations:
        for parameter in operation.parameters:
            schema = jsonschema_rs.validator_for(target.promises.closed(parameter["schema"]), validate_formats=True)
            # An empty path parameter is another path.
            texts = [text for text in BROKEN_IDS if text or parameter["in"] == "header"]
            for text in (one for one in texts if not schema.is_valid(one)):
                name = parameter["name"]
                headers, path = ({name: text}, {}) if parameter["in"] == "header" else ({}, {name: text})
                fault = Fault(kind="invalid_parameter", headers=headers, path=path, known={"param": name})
                request = request_with(target, operation, fault)
                require(target, request, fault.kind, operation, rule="ADR-0007.R5", known=fault.known)


@confirms("ADR-0004.R6", "ADR-0034.R8")
def an_answer_repeats_nothing_that_was_sent(target: Target) -> None:
    """Whatever the caller sends in a path, a header or a body, refused or not, no answer shows it to him again.

    What is behind a model may, and does.
    """
    forwarding = {
        written(one, valid_call(target, one)).path: one for one in target.promises.operations if one.phase == 2
    }
    for request in _with_canaries(target):
        response = target.send(request)
        if request.path in forwarding and response.status in forwarding[request.path].success:
            continue
        shown = [value for _, value in response.headers if CANARY.lower() in value.lower()]
        if shown or CANARY.lower().encode() in response.body.lower():
            expected, curl = f"no {CANARY} in the answer", target.curl(request)
            raise RuleBroken(rule="ADR-0004.R6", expected=expected, actual=shown or response, curl=curl)


def _with_canaries(target: Target) -> Iterator[Request]:
    yield Request(method="GET", path=f"/{CANARY}")
    yield Request(method="GET", path=f"/v1/{CANARY}?{CANARY}={CANARY}")
    for operation in target.promises.operations:
        call = valid_call(target, operation)
        yield attrs.evolve(written(operation, call), method=CANARY)
        for name in {"Cookie", "X-Request-ID", "traceparent", "Accept", "Host"} | call.headers.keys():
            for value in (f"Bearer {CANARY}", f"{CANARY}/{CANARY}", f"application/json; charset={CANARY}"):
                yield written(operation, Fault(kind="", headers={name: value}).put_into(call))
        for name in call.path:
            yield written(operation, Fault(kind="", path={name: CANARY}).put_into(call))
        if operation.schema is not None:
            yield from _bodies_with_canaries(target, operation, call)


def _bodies_with_canaries(target: Target, operation: Operation, call: Call) -> Iterator[Request]:
    example = example_of(operation)
    properties = target.promises.resolve(operation.schema).get("properties", {})
    values = (
        CANARY,
        [CANARY],
        {CANARY: CANARY},
        {CANARY * 9: 5},
        [{CANARY: CANARY}],
        {"type": CANARY},
        [{"role": CANARY}],
    )
    echoed = target.promises.correlation_member  # the caller's own id: what is valid of it is meant to come back
    bodies = [rendered({**example, name: value}) for name in properties if name != echoed for value in values]
    bodies += [CANARY.encode(), f'"{CANARY}"'.encode(), f'{{"{CANARY}": '.encode(), rendered({CANARY: CANARY})]
    for steps in leaves(example):
        if steps[0] == echoed:
            continue
        bodies.append(rendered(changed(example, steps, _set({CANARY: CANARY}))))
        bodies.append(rendered(changed(example, steps, _set(CANARY))))
    for body in bodies:
        yield written(operation, Fault(kind="", body=body).put_into(call))
