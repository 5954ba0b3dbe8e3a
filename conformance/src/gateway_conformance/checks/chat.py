"""What a request may hold (ADR-0012), the names of models (ADR-0013), and the end of Phase 1 (ADR-0014)."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import attrs

from gateway_conformance.answers import comparable, require, require_success
from gateway_conformance.branches import uncovered
from gateway_conformance.calls import Fault, example_of, faults, request_with, valid_request
from gateway_conformance.checks.bodies import with_body
from gateway_conformance.exchange import Request
from gateway_conformance.expectations import names_a_model
from gateway_conformance.probes import DOCUMENT
from gateway_conformance.promises import Operation, rendered
from gateway_conformance.rules import NotApplicable, RuleBroken, confirms
from gateway_conformance.target import Target

UNKNOWN_KEYS: Final[dict[str, Any]] = {
    "x_unknown": 1,
    "unknown object": {"model": 5, "messages": [None]},
    "": None,
    "__proto__": {"stream": True},
    "\u00fcnbekannt": [[], {}, "text"],
}

MODEL_LENGTH: Final = 256
"""Characters that a model's name may have (ADR-0013.R4)."""

CODE: Final = "PROVIDER_NOT_CONFIGURED"


def with_model(target: Target) -> Iterator[Operation]:
    """Yield the operations whose body names a model."""
    for operation in with_body(target):
        if "model" in target.promises.resolve(operation.schema).get("properties", {}):
            yield operation


@confirms("ADR-0012.R1")
def unknown_keys_are_not_refused(target: Target) -> None:
    """Top-level keys that nobody knows change nothing, whatever they are called and hold."""
    for operation in with_body(target):
        for name, value in UNKNOWN_KEYS.items():
            request = valid_request(target, operation, {**example_of(operation), name: value})
            require_success(target, request, operation, rule="ADR-0012.R1")


@confirms("ADR-0012.R2")
def every_example_is_accepted(target: Target) -> None:
    """Each example of a body, on each path that takes it, is answered as valid."""
    for operation in with_body(target):
        for example in operation.examples.values():
            require_success(target, valid_request(target, operation, example), operation, rule="ADR-0012.R2")


@confirms("ADR-0012.R2")
def every_branch_has_an_example(target: Target) -> None:
    """Each branch of each union that a body may take is taken by an example."""
    missing = uncovered(target.promises)
    if missing:
        expected, curl = "an example for every branch of a request", target.curl(Request(method="GET", path=DOCUMENT))
        raise RuleBroken(rule="ADR-0012.R2", expected=expected, actual=missing, curl=curl)


@confirms("ADR-0012.R3", "ADR-0014.R1")
def a_valid_request_ends_phase_one(target: Target) -> None:
    """A valid request gets the one 501 there is, word for word, and is told not to come again."""
    for operation in _in_phase_one(target):
        request = valid_request(target, operation)
        response = require(target, request, "provider_not_configured", operation)
        error, retry = response.json()["error"], response.header("x-should-retry")
        if error.get("code", CODE) != CODE or retry != "false":  # a dialect may have no member `code`
            expected = f"{CODE} with x-should-retry: false"
            actual = f"{error} with x-should-retry: {retry}"
            raise RuleBroken(rule="ADR-0014.R1", expected=expected, actual=actual, curl=target.curl(request))


@confirms("ADR-0014.R2")
def only_a_faultless_request_ends_phase_one(target: Target) -> None:
    """Whatever single thing is wrong with a request, 501 is not the answer."""
    for operation in _in_phase_one(target):
        for fault in faults(target, operation):
            if fault.kind != "provider_not_configured":
                request = request_with(target, operation, fault)
                require(target, request, fault.kind, operation, rule="ADR-0014.R2", known=fault.known)


def _in_phase_one(target: Target) -> list[Operation]:
    found = [operation for operation in target.promises.operations if operation.phase == 1]
    if not found:
        reason = "no operation is in Phase 1"
        raise NotApplicable(reason)
    return found


@confirms("ADR-0012.R4")
def paths_of_one_operation_answer_alike(target: Target) -> None:
    """The same body gets the same answer on every path that names the same `x-operation`."""
    served = sorted(with_body(target), key=lambda one: one.name)
    groups = [list(group) for _, group in groupby(served, key=lambda one: one.name)]
    if not any(len(group) > 1 for group in groups):
        reason = "no operation has two paths"
        raise NotApplicable(reason)
    for first, *others in groups:
        for body in _questions(first):
            fault = Fault(kind="", body=body)
            expected = comparable(target.send(request_with(target, first, fault)))
            for other in others:
                request = request_with(target, other, fault)
                actual = comparable(target.send(request))
                if actual != expected:
                    curl = target.curl(request)
                    raise RuleBroken(rule="ADR-0012.R4", expected=expected, actual=actual, curl=curl)


def _questions(operation: Operation) -> Iterator[bytes]:
    """Yield valid bodies, the same with each member wrong, and what is no body."""
    for example in operation.examples.values():
        yield rendered(example)
        for name in example:
            yield rendered({**example, name: {"wrong": []}})
    yield from (b"", b"{", b"[]", b"{}")


@confirms("ADR-0013.R4")
def a_model_name_has_1_to_256_characters(target: Target) -> None:
    """One character passes and so do 256, of whatever script; none and 257 do not."""
    for operation in with_model(target):
        for name in ("x", "x" * MODEL_LENGTH, "\u00fc" * MODEL_LENGTH, "\U0001f600" * MODEL_LENGTH):
            request = valid_request(target, operation, {**example_of(operation), "model": name})
            if operation.phase == 2 and names_a_model(operation):  # it is a name, and nobody's
                require(target, request, "model_not_found", operation, rule="ADR-0013.R4")
            else:
                require_success(target, request, operation, rule="ADR-0013.R4")
        for name in ("", "x" * (MODEL_LENGTH + 1), "\U0001f600" * (MODEL_LENGTH + 1)):
            fault = Fault(kind="invalid_request", body=rendered({**example_of(operation), "model": name}))
            known = {"param": "model"}
            require(
                target, request_with(target, operation, fault), fault.kind, operation, rule="ADR-0013.R4", known=known
            )


@confirms("ADR-0013.R5")
def a_model_id_in_a_path_may_hold_slashes(target: Target) -> None:
    """An id with slashes, written as such or encoded, reaches the operation; an unknown one is an unknown model."""
    reading = [operation for operation in target.promises.operations if "{model}" in operation.path]
    if not reading:
        reason = "no operation has a model's id in its path"
        raise NotApplicable(reason)
    for operation in reading:
        for name in ("no-such", "nobody/no-such", "a/b/c/d", "/no-such", "no such", "n\u00fc/x", "%2F", "a?b", "a//b"):
            fault = Fault(kind="model_not_found", path={"model": name})
            encoded = request_with(target, operation, fault)
            require(target, encoded, fault.kind, operation, rule="ADR-0013.R5")
            plain = _with_plain_slashes(encoded)
            require(target, plain, fault.kind, operation, rule="ADR-0013.R5")


def _with_plain_slashes(request: Request) -> Request:
    return attrs.evolve(request, path=request.path.replace("%2F", "/"))
