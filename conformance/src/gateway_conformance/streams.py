"""Streamed answers of a target: what was asked for, how it is asked for, and what of the answer is wrong.

Laws of this file:
- What a stream must tell is read from the document of its dialect; how it must, the grammar says.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from gateway_conformance.calls import example_of, valid_call, written
from gateway_conformance.exchange import Request
from gateway_conformance.frames import transcript
from gateway_conformance.grammar import FRAMES, MODEL, Asked, Reading, Violation, read
from gateway_conformance.lines import Response
from gateway_conformance.promises import JSON, STREAM, Operation, Promises
from gateway_conformance.rules import NotApplicable
from gateway_conformance.target import Target

ID_PREFIX: Final = "chatcmpl-"
"""How the id of a completion begins (ADR-0045.R8)."""


def asked_of(promises: Promises, operation: Operation, body: Mapping[str, Any]) -> Asked:
    """Return what the stream must be that *operation* gives for *body*."""
    chunk = promises.members(promises.chunk(operation))
    choice = promises.members(chunk.get("choices", {}).get("items"))
    options = body.get("stream_options") or {}
    counted = "usage" in chunk and declares_usage(promises, operation)
    return Asked(
        model=promises.told_model(body["model"]),
        usage=bool(counted and options.get("include_usage")),
        members=frozenset(chunk),
        choice_members=frozenset(choice),
    )


def declares_usage(promises: Promises, operation: Operation) -> bool:
    """Whether a request of *operation* may ask for the usage of its stream."""
    options = promises.members(operation.schema).get("stream_options")
    return "include_usage" in promises.members(options)


def told_wrongly(promises: Promises, operation: Operation, body: bytes, response: Response) -> list[Violation]:
    """Return what is wrong with *response*, a success of *operation*, as the answer to *body*: form, stream, model."""
    document = _object(body)
    if operation.phase != 2 or promises.chunk(operation) is None or document is None:
        return []
    streamed, stated = bool(document.get("stream")), (response.header("content-type") or "").partition(";")[0]
    if stated != (STREAM if streamed else JSON):
        return [Violation(rule=FRAMES, what=f"{stated} for stream = {document.get('stream')}")]
    if streamed:
        return read(transcript(response.body), asked_of(promises, operation, document)).violations
    return _told_whole(promises, document, response)


def _told_whole(promises: Promises, asked: Mapping[str, Any], response: Response) -> list[Violation]:
    """Return what is wrong with the envelope of a whole answer."""
    told = response.json()
    model = promises.told_model(asked["model"])
    if not isinstance(told, dict) or told.get("model") != model:
        return [Violation(rule=MODEL, what=f"an answer that does not name {model!r}")]
    if not str(told.get("id")).startswith(ID_PREFIX):
        return [Violation(rule=MODEL, what=f"the id {told.get('id')!r}")]
    return []


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


@attrs.frozen(kw_only=True)
class Streamed:
    """A stream that was asked for: the *request*, the *response*, and what the judge reads in it."""

    operation: Operation
    request: Request
    response: Response
    reading: Reading


def streaming(target: Target) -> list[Operation]:
    """Return the operations that give streams of chunks now.

    Raises:
        NotApplicable: there is none.
    """
    found = [one for one in target.promises.operations if one.phase == 2 and target.promises.chunk(one) is not None]
    if not found:
        reason = "no operation streams in this phase"
        raise NotApplicable(reason)
    return found


def bodies(target: Target, operation: Operation) -> Iterator[dict[str, Any]]:
    """Yield bodies that ask for streams: the contract's own, and its first example in every way in which one can."""
    example = {**example_of(operation), "stream": True}
    yield example
    yield from ({**one, "stream": True} for one in operation.examples.values())
    if declares_usage(target.promises, operation):
        yield from ({**example, "stream_options": options} for options in ({"include_usage": True}, {}, None))
        yield {**example, "stream_options": {"include_usage": False}}
    if "n" in target.promises.members(operation.schema):
        yield {**example, "n": 3}


def ask(target: Target, operation: Operation, body: Mapping[str, Any]) -> Streamed:
    """Return the stream that *target* gives for *body*."""
    request = written(operation, valid_call(target, operation, body))
    response = target.send(request)
    asked = asked_of(target.promises, operation, body)
    reading = read(transcript(response.body), asked)
    return Streamed(operation=operation, request=request, response=response, reading=reading)
