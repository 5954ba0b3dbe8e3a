"""Streamed answers (ADR-0045): one check for each law of the grammar, and what a schema cannot say of the whole.

Laws of this file:
- Every operation that streams is asked in every way in which a stream can be asked for (`streams.bodies`).
- A check complains of its own law only: a stream that breaks two fails two checks.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from gateway_conformance.answers import recognised
from gateway_conformance.calls import example_of, valid_request
from gateway_conformance.exchange import Request
from gateway_conformance.grammar import (
    ENDING,
    ENVELOPE,
    FAILURE,
    FINISH,
    FRAMES,
    MODEL,
    ROLE,
    TOOL_CALLS,
    USAGE,
    Stage,
)
from gateway_conformance.lines import Response
from gateway_conformance.promises import JSON, STREAM, Operation
from gateway_conformance.rules import NotApplicable, RuleBroken, confirms
from gateway_conformance.streams import Streamed, ask, bodies, declares_usage, streaming, told_wrongly
from gateway_conformance.target import Target
from treaty import Document

UNHELD: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""The headers by which a stream is neither kept nor held back."""

LOOK_UP: Final = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
"""The tool that a model of the operator's calls."""


@confirms("ADR-0045.R1")
def a_stream_is_data_and_comments(target: Target) -> None:
    """A stream has events with data and nothing else; what is asked for as a stream is one, and nothing else is."""
    _require_law(target, FRAMES)
    for operation in streaming(target):
        for stream, media_type in ((True, STREAM), (False, JSON), (None, JSON)):
            request = valid_request(target, operation, {**example_of(operation), "stream": stream})
            answer = target.send(request)
            if (answer.header("content-type") or "").partition(";")[0] != media_type:
                _complain(target, request, answer, FRAMES, f"{media_type} for stream = {stream}")


@confirms("ADR-0045.R2")
def a_stream_ends_with_one_done(target: Target) -> None:
    """There is exactly one `[DONE]`, and nothing behind it."""
    _require_law(target, ENDING)


@confirms("ADR-0045.R3")
def the_first_delta_says_who_speaks(target: Target) -> None:
    """The first delta of each choice has the role."""
    _require_law(target, ROLE)


@confirms("ADR-0045.R4")
def each_choice_finishes_once(target: Target) -> None:
    """Each choice has one finish reason, and nothing behind it."""
    _require_law(target, FINISH)


@confirms("ADR-0045.R5")
def tool_calls_come_in_fragments_by_index(target: Target) -> None:
    """The first fragment of a call brings id, type and name, and the arguments are put together by index."""
    calling = [one for one in streaming(target) if _tells_calls(target, one)]
    if not calling:
        reason = "no chunk has tool calls"
        raise NotApplicable(reason)
    for operation in calling:
        streamed = ask(target, operation, {**calling_tool(target, operation), "stream": True})
        if not any(choice.calls for choice in streamed.reading.choices.values()):
            _complain(target, streamed.request, streamed.response, TOOL_CALLS, "a tool call")
        _require_kept(target, streamed, TOOL_CALLS)


@confirms("ADR-0045.R6")
def usage_comes_when_it_is_asked_for(target: Target) -> None:
    """With `include_usage` the last chunk has the usage and no other one has, and without it none has."""
    _require_law(target, USAGE)


@confirms("ADR-0045.R7")
def all_chunks_are_of_one_answer(target: Target) -> None:
    """Id, object, time and model are the same in all chunks."""
    _require_law(target, ENVELOPE)


@confirms("ADR-0045.R8")
def an_answer_names_the_model_that_was_asked_for(target: Target) -> None:
    """Whole and streamed, the model is the caller's word for it, and the id is one of a chat completion."""
    _require_law(target, MODEL)
    for operation in streaming(target):
        for example in operation.examples.values():
            request = valid_request(target, operation, {**example, "stream": False})
            answer = target.send(request)
            for wrong in told_wrongly(target.promises, operation, request.body, answer):
                _complain(target, request, answer, MODEL, f"no answer with {wrong.what}")


@confirms("ADR-0045.R9")
def a_cut_answer_never_looks_finished(target: Target) -> None:
    """When what is behind a model breaks off, the stream ends with the documented error, and with nothing else."""
    for operation in streaming(target):
        body = {**example_of(operation), "stream": True, "model": target.staged("cut", operation)}
        streamed = ask(target, operation, body)
        _require_kept(target, streamed, FAILURE)
        error = streamed.reading.error
        if streamed.reading.stage is not Stage.FAILED or not _is_documented(target, streamed, error):
            _complain(target, streamed.request, streamed.response, FAILURE, "a documented error as the last event")


@confirms("ADR-0045.R11")
def whole_and_streamed_tell_the_same(target: Target) -> None:
    """Texts, tool calls, finish reasons and usage are the same, whichever way the answer is asked for."""
    for operation in streaming(target):
        members = _told_both_ways(target, operation)
        for body in _told_twice(target, operation):
            request = valid_request(target, operation, {**body, "stream": False})
            whole = target.send(request)
            counted = {"stream_options": {"include_usage": True}} if declares_usage(target.promises, operation) else {}
            streamed = ask(target, operation, {**body, **counted, "stream": True})
            expected = _told_whole(whole, members, usage=bool(counted))
            actual = _told_streamed(streamed, members, usage=bool(counted))
            if expected != actual:
                raise RuleBroken(
                    rule="ADR-0045.R11", expected=expected, actual=actual, curl=target.curl(streamed.request)
                )


@confirms("ADR-0045.R13")
def nobody_holds_a_stream_back(target: Target) -> None:
    """A stream says that it is not to be kept or held back, and a whole answer does not."""
    for operation in streaming(target):
        for stream, expected in ((True, UNHELD), (False, dict.fromkeys(UNHELD))):
            request = valid_request(target, operation, {**example_of(operation), "stream": stream})
            answer = target.send(request)
            actual = {name: answer.header(name) for name in UNHELD}
            if actual != expected:
                raise RuleBroken(rule="ADR-0045.R13", expected=expected, actual=actual, curl=target.curl(request))


def calling_tool(target: Target, operation: Operation) -> dict[str, Any]:
    """Return a body that offers a tool to a model that calls it.

    Raises:
        NotJudged: nobody has stated one.
    """
    offered = {"tools": [LOOK_UP]} if "tools" in target.promises.members(operation.schema) else {}
    return {**example_of(operation), **offered, "model": target.staged("tool_call", operation)}


def _tells_calls(target: Target, operation: Operation) -> bool:
    return "tool_calls" in _delta(target, operation)


def _delta(target: Target, operation: Operation) -> Mapping[str, Document]:
    """Return the members that the delta of a chunk may have."""
    promises = target.promises
    choices = promises.members(promises.chunk(operation)).get("choices", {})
    return promises.members(promises.members(choices.get("items")).get("delta"))


def _require_law(target: Target, rule: str) -> None:
    """Require that no stream breaks the law of *rule*."""
    for operation in streaming(target):
        for body in bodies(target, operation):
            _require_kept(target, ask(target, operation, body), rule)


def _require_kept(target: Target, streamed: Streamed, rule: str) -> None:
    for one in streamed.reading.violations:
        if one.rule == rule:
            _complain(target, streamed.request, streamed.response, rule, f"no stream with {one.what}")


def _complain(target: Target, request: Request, answer: Response, rule: str, expected: str) -> None:
    raise RuleBroken(rule=rule, expected=expected, actual=answer, curl=target.curl(request))


def _is_documented(target: Target, streamed: Streamed, error: object) -> bool:
    """Whether *error* is the body of a kind that the operation documents, whatever the status of that is."""
    said = attrs.evolve(streamed.response, body=json.dumps(error).encode())
    statuses = streamed.operation.answers
    return any(
        recognised(target.promises, streamed.operation, attrs.evolve(said, status=status)) for status in statuses
    )


def _told_twice(target: Target, operation: Operation) -> Iterator[dict[str, Any]]:
    """Yield bodies that are asked twice."""
    yield from (dict(example) for example in operation.examples.values())
    if "n" in target.promises.members(operation.schema):
        yield {**example_of(operation), "n": 3}
    if _tells_calls(target, operation) and target.is_staged("tool_call", operation):
        yield calling_tool(target, operation)


def _told_both_ways(target: Target, operation: Operation) -> frozenset[str]:
    """Return the members of a message that a whole answer and a chunk both declare."""
    promises = target.promises
    choice = promises.members(promises.members(operation.whole).get("choices", {}).get("items"))
    message, delta = promises.members(choice.get("message")), _delta(target, operation)
    return frozenset(message.keys() & delta.keys())


def _told_whole(answer: Response, members: frozenset[str], *, usage: bool) -> dict[str, object]:
    """Return what a whole *answer* tells, choice by choice, and its usage."""
    told = answer.json() or {}
    choices = {
        choice["index"]: _without_ids({**choice["message"], "finish_reason": choice["finish_reason"]}, members)
        for choice in told.get("choices", ())
    }
    return {"choices": choices, "usage": told.get("usage") if usage else None}


def _told_streamed(streamed: Streamed, members: frozenset[str], *, usage: bool) -> dict[str, object]:
    reading = streamed.reading
    choices = {index: _without_ids(choice.message(), members) for index, choice in reading.choices.items()}
    return {"choices": dict(sorted(choices.items())), "usage": reading.usage if usage else None}


def _without_ids(message: dict[str, Any], members: frozenset[str]) -> dict[str, Any]:
    """Return what a *message* says: an empty text is none, and the ids of calls may be the answer's own."""
    calls = [{**call, "id": bool(call.get("id"))} for call in message.get("tool_calls") or ()]
    said = {"role": message["role"], **{name: message.get(name) or "" for name in ("content", "refusal")}}
    told = {name: value for name, value in {**said, "tool_calls": calls}.items() if name in members}
    return {**told, "finish_reason": message["finish_reason"]}
