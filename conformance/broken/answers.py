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
