"""Gateways that forward rightly and tell it wrongly, whole or as a stream."""

import json
from collections.abc import Callable
from typing import Any

import attrs
from gateway_conformance.exchange import Asgi

import catalogue
from broken.layers import Answered, Asked, answering
from gateways import Parts, build

Chunk = dict[str, Any]
Told = Callable[[list[str]], list[str]]

DONE = "[DONE]"


def rewriting(change: Callable[[bytes], bytes]) -> Callable[[Parts], Asgi]:
    """Return a gateway whose streams are other bytes."""

    def layered(_: Asked, answered: Answered) -> Answered:
        streamed = answered.header("content-type").startswith("text/event-stream")
        return attrs.evolve(answered, body=change(answered.body)) if streamed else answered

    return lambda parts: answering(build(parts), layered)


def telling(change: Told) -> Callable[[Parts], Asgi]:
    """Return a gateway whose streams have other events; *change* takes and returns their data."""

    def changed(body: bytes) -> bytes:
        events = [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]
        return "".join(f"data: {event}\n\n" for event in change(events)).encode()

    return rewriting(changed)


def each_chunk(change: Callable[[Chunk], None]) -> Callable[[Parts], Asgi]:
    """Return a gateway whose chunks are others."""

    def changed(event: str) -> str:
        if event == DONE:
            return event
        chunk = json.loads(event)
        change(chunk)
        return json.dumps(chunk)

    return telling(lambda events: [changed(event) for event in events])


def with_ids(parts: Parts) -> Asgi:
    """Each event has an id, so that a stream could be resumed: one SDK breaks on it."""
    return rewriting(lambda body: body.replace(b"data: ", b"id: 1\ndata: "))(parts)


def without_done(parts: Parts) -> Asgi:
    """A stream just ends."""
    return telling(lambda events: [event for event in events if event != DONE])(parts)


def finished_where_it_was_cut(parts: Parts) -> Asgi:
    """A stream whose upstream broke off ends as any other does."""
    return telling(lambda events: [DONE if '"error"' in event else event for event in events])(parts)


def without_role(parts: Parts) -> Asgi:
    """Nobody says who speaks."""
    return each_chunk(lambda chunk: _first_delta(chunk).pop("role", None))(parts)


def unfinished(parts: Parts) -> Asgi:
    """No choice says why it ended."""

    def change(chunk: Chunk) -> None:
        for choice in chunk.get("choices", ()):
            choice["finish_reason"] = None

    return each_chunk(change)(parts)


def untyped_calls(parts: Parts) -> Asgi:
    """Tool calls do not say of which type they are."""

    def change(chunk: Chunk) -> None:
        for call in _first_delta(chunk).get("tool_calls", ()):
            call.pop("type", None)

    return each_chunk(change)(parts)


def always_counting(parts: Parts) -> Asgi:
    """What the upstream was asked for goes on to who asked for nothing: the chunk with the usage."""

    def change(events: list[str]) -> list[str]:
        if events[-1] != DONE or '"usage"' in "".join(events):
            return events
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return [*events[:-1], json.dumps({**json.loads(events[0]), "choices": [], "usage": usage}), DONE]

    return telling(change)(parts)


def many_ids(parts: Parts) -> Asgi:
    """Each chunk has an id of its own."""

    def change(events: list[str]) -> list[str]:
        return [event.replace('"chatcmpl-', f'"chatcmpl-{number}-') for number, event in enumerate(events)]

    return telling(change)(parts)


def another_model(parts: Parts) -> Asgi:
    """The answer names another model than was asked for."""
    return each_chunk(lambda chunk: chunk.update(model="gpt-4o-2024-08-06") if "model" in chunk else None)(parts)


def held_back(parts: Parts) -> Asgi:
    """A proxy may hold streams back."""
    return answering(build(parts), lambda _, answered: answered.having("x-accel-buffering", None))


def failing_within_a_stream(parts: Parts) -> Asgi:
    """Where nobody answered there is a stream, under 200, and the error is its only event."""

    def change(_: Asked, answered: Answered) -> Answered:
        if answered.status not in {502, 503, 504}:
            return answered
        event = b"data: " + answered.body + b"\n\n"
        return attrs.evolve(answered, status=200, body=event).having("content-type", "text/event-stream")

    return answering(build(parts), change)


def cut_short(parts: Parts) -> Asgi:
    """A whole answer says that it had no room for more, and a stream does not."""

    def change(_: Asked, answered: Answered) -> Answered:
        return attrs.evolve(
            answered, body=answered.body.replace(b'"finish_reason":"stop"}]', b'"finish_reason":"length"}]')
        )

    def whole(asked: Asked, answered: Answered) -> Answered:
        is_json = answered.header("content-type").startswith("application/json")
        return change(asked, answered) if is_json else answered

    return answering(build(parts), whole)


def disclosing(parts: Parts) -> Asgi:
    """A header says who answered, for whoever looks for a fault."""

    def change(_: Asked, answered: Answered) -> Answered:
        return answered.having("x-provider", catalogue.ECHO) if answered.status == 200 else answered

    return answering(build(parts), change)


def last_text_first(parts: Parts) -> Asgi:
    """Vectors come as they become ready, and are numbered then."""

    def change(asked: Asked, answered: Answered) -> Answered:
        if not asked.path.endswith("/embeddings") or answered.status != 200:
            return answered
        body: dict[str, Any] = json.loads(answered.body)
        vectors = [one["embedding"] for one in body["data"]]
        numbered = enumerate(reversed(vectors))
        body["data"] = [{"object": "embedding", "index": index, "embedding": one} for index, one in numbered]
        return attrs.evolve(answered, body=json.dumps(body).encode())

    return answering(build(parts), change)


def _first_delta(chunk: Chunk) -> Chunk:
    delta: Chunk = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
    return delta
