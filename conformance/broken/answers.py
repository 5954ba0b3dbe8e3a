"""Gateways that decide rightly and answer wrongly."""

import json
from typing import Any

import attrs
from gateway_conformance.exchange import Asgi

from broken.layers import Answered, Asked, answering, asking
from gateways import Parts, build


def wrong_envelope(parts: Parts) -> Asgi:
    """A refused body is told in another envelope: the members are there, and the status stands among them."""

    def change(_: Asked, answered: Answered) -> Answered:
        if answered.status != 400:
            return answered
        body: dict[str, Any] = json.loads(answered.body)
        return attrs.evolve(answered, body=json.dumps({"error": {"status": 400, **body["error"]}}).encode())

    return answering(build(parts), change)


def missing_header(parts: Parts) -> Asgi:
    """A wrong method is answered without a trace id: the answer that no generated case looks at."""

    def change(_: Asked, answered: Answered) -> Answered:
        return answered.having("x-trace-id", None) if answered.status == 405 else answered

    return answering(build(parts), change)


def retried(parts: Parts) -> Asgi:
    """The 501 does not say that it is final, so that every SDK sends the request three times."""

    def change(_: Asked, answered: Answered) -> Answered:
        return answered.having("x-should-retry", None)

    return answering(build(parts), change)


def always_501(parts: Parts) -> Asgi:
    """Whatever the body says, a member gets the 501: the stub that a suite with default settings passes."""
    valid = b'{"model": "x", "messages": [{"role": "user", "content": "x"}]}'

    def change(asked: Asked) -> Asked:
        return attrs.evolve(asked, body=valid).having("content-type", "application/json")

    return asking(build(parts), change, reading=True)


def undocumented_status(parts: Parts) -> Asgi:
    """A body that breaks its schema is refused with the status that a framework has for it, and the contract not."""

    def change(_: Asked, answered: Answered) -> Answered:
        return attrs.evolve(answered, status=422) if answered.status == 400 else answered

    return answering(build(parts), change)


def foreign_allow(parts: Parts) -> Asgi:
    """`Allow` lists what the whole gateway knows, and not what this path does."""

    def change(_: Asked, answered: Answered) -> Answered:
        known = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
        return answered.having("allow", known) if answered.header("allow") else answered

    return answering(build(parts), change)
