"""What is forwarded (ADR-0045): how it is refused when nobody answers, that nobody learns who does, and embeddings.

Laws of this file:
- What is behind a model is brought about by the operator's models; each name is used once.
"""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any, Final

import attrs

from gateway_conformance.answers import require, require_success
from gateway_conformance.calls import FAULTS, Fault, example_of, faults, request_with, valid_request
from gateway_conformance.checks.events import told
from gateway_conformance.checks.headers import every_sort_of_request
from gateway_conformance.exchange import Request
from gateway_conformance.probes import DOCUMENT
from gateway_conformance.promises import Operation, rendered
from gateway_conformance.rules import NotApplicable, NotJudged, RuleBroken, confirms
from gateway_conformance.situations import SITUATIONS, behind_the_model
from gateway_conformance.streams import streaming
from gateway_conformance.target import Target

BEHIND: Final = ("rate_limited", "upstream_unavailable", "upstream_timeout", "circuit_open")
"""What a caller is told of what is behind a model."""

TEXTS: Final = ("one", "two", "one more", "two")


@confirms("ADR-0045.R10")
def what_fails_at_once_is_refused_whole_and_streamed(target: Target) -> None:
    """Nobody behind a model, a silent one, a guardrail: each has its status and body, whether a stream was wanted."""
    for operation in streaming(target):
        for name in FAULTS:
            if name in operation.kinds and name not in BEHIND:
                for fault in (one for one in FAULTS[name](target, operation) if one.body is not None):
                    _require_alike(target, operation, fault)
        for name in (one for one in BEHIND if one in operation.kinds):
            if name == "circuit_open":
                with SITUATIONS[name](target, operation) as brought:
                    _require_alike(target, operation, brought.fault)
            else:
                for stream in (False, True):
                    fault = behind_the_model(target, operation, name).fault
                    _require_refused(target, operation, fault, stream=stream)


def _require_alike(target: Target, operation: Operation, fault: Fault) -> None:
    for stream in (False, True):
        _require_refused(target, operation, fault, stream=stream)


def _require_refused(target: Target, operation: Operation, fault: Fault, *, stream: bool) -> None:
    try:
        body = rendered({**json.loads(fault.body or b""), "stream": stream})
    except (ValueError, TypeError):
        return  # what is no object asks for no stream
    asking = attrs.evolve(fault, body=body)
    request = request_with(target, operation, asking)
    require(target, request, fault.kind, operation, rule="ADR-0045.R10", known=fault.known)


@confirms("ADR-0045.R12")
def nobody_learns_who_answers(target: Target) -> None:
    """No secret of the operator's stands in any answer, good or bad, whole or streamed, nor in what is logged of it."""
    streaming(target)  # else nobody is behind anything
    if not target.stated.secrets:
        lacking = "what is secret"
        raise NotJudged(lacking)
    for requests in _whatever_may_tell(target):
        seen = told(target, requests)
        for request, answer in zip(requests, seen.answers, strict=True):
            shown = [f"{name}: {value}" for name, value in answer.headers] + [answer.body.decode("utf-8", "replace")]
            _require_no_secret(target, request, [*shown, *seen.lines])


def _require_no_secret(target: Target, request: Request, texts: list[str]) -> None:
    for text in texts:
        secret = next((one for one in target.stated.secrets if one.lower() in text.lower()), None)
        if secret is not None:
            actual = f"{secret} in {text[:400]}"
            raise RuleBroken(rule="ADR-0045.R12", expected="no secret", actual=actual, curl=target.curl(request))


def _whatever_may_tell(target: Target) -> Iterator[list[Request]]:
    """Yield requests of every sort, and those that bring about whatever the operator has set up, whole and streamed."""
    yield [Request(method="GET", path=DOCUMENT), *every_sort_of_request(target)]
    for operation in target.promises.operations:
        if operation.phase != 2:
            continue
        yield [valid_request(target, operation, example) for example in operation.examples.values()]
        yield [request_with(target, operation, fault) for fault in faults(target, operation)]
        streams = (False, True) if target.promises.chunk(operation) is not None else (False,)
        for what in () if target.stated.staged is None else sorted(target.stated.staged.of(operation)):
            for stream in streams:
                body = {**example_of(operation), "model": target.staged(what, operation), "stream": stream}
                tries = SEVERAL if what == "circuit_open" else 1
                yield [valid_request(target, operation, body)] * tries


SEVERAL: Final = 6
"""How often what is behind a model is asked until it is left alone."""


@confirms("ADR-0045.R14")
def embeddings_are_in_the_order_of_the_texts(target: Target) -> None:
    """Each text has one vector, at its place; alone and among others it is the same, in numbers and in base64."""
    embedding = [one for one in target.promises.operations if one.phase == 2 and one.name == "embeddings"]
    if not embedding:
        reason = "no operation makes embeddings in this phase"
        raise NotApplicable(reason)
    for operation in embedding:
        alone = [_vectors(target, operation, text, "float")[0] for text in TEXTS]
        for encoding in ("float", "base64"):
            together = _vectors(target, operation, list(TEXTS), encoding)
            if together != alone:
                curl = target.curl(_embedding(target, operation, list(TEXTS), encoding))
                expected, actual = "the vectors of each text alone, in order", f"others, as {encoding}"
                raise RuleBroken(rule="ADR-0045.R14", expected=expected, actual=actual, curl=curl)


def _embedding(target: Target, operation: Operation, texts: object, encoding: str) -> Request:
    body = {**example_of(operation), "input": texts, "encoding_format": encoding}
    return valid_request(target, operation, body)


def _vectors(target: Target, operation: Operation, texts: object, encoding: str) -> list[list[float]]:
    """Return the vectors of *texts*, in 32 bits a number, in whichever *encoding* they come."""
    request = _embedding(target, operation, texts, encoding)
    answer = require_success(target, request, operation, rule="ADR-0045.R14")
    listed: list[dict[str, Any]] = answer.json()["data"]
    vectors = [_numbers(one["embedding"]) for one in listed]
    orderly = [one["index"] for one in listed] == list(range(len(listed)))
    if not orderly or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        expected, curl = "a vector for each text, of one length", target.curl(request)
        raise RuleBroken(rule="ADR-0045.R14", expected=expected, actual=answer, curl=curl)
    wanted = str if encoding == "base64" else list
    if any(not isinstance(one["embedding"], wanted) for one in listed):
        raise RuleBroken(rule="ADR-0045.R14", expected=encoding, actual=answer, curl=target.curl(request))
    return vectors


def _numbers(embedding: str | list[float]) -> list[float]:
    """Return the numbers of *embedding*, as 32 bits hold them."""
    if isinstance(embedding, str):
        packed = base64.b64decode(embedding)
    else:
        packed = struct.pack(f"<{len(embedding)}f", *embedding)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))
