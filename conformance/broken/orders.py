"""Gateways that make every check, in another order."""

import json

from gateway_conformance.exchange import Asgi

from broken.layers import Asked, asking
from gateways import CALLERS, Parts, build

RIGHT = f"Bearer {CALLERS.token}"


def content_before_credential(parts: Parts) -> Asgi:
    """The media type is looked at before the credential: a stranger learns what the gateway takes."""

    def change(asked: Asked) -> Asked:
        is_json = asked.header("content-type").startswith("application/json")
        return asked if asked.method != "POST" or is_json else asked.having("authorization", RIGHT)

    return asking(build(parts), change)


def body_before_credential(parts: Parts) -> Asgi:
    """The body is taken in and parsed before anybody asks whose it is."""

    def change(asked: Asked) -> Asked:
        try:
            json.loads(asked.body or b"{}")
        except ValueError:
            return asked.having("authorization", RIGHT)
        return asked

    return asking(build(parts), change, reading=True)


def content_before_scope(parts: Parts) -> Asgi:
    """The media type is looked at before the scope of the key."""

    def change(asked: Asked) -> Asked:
        is_json = asked.header("content-type").startswith("application/json")
        known = asked.header("authorization") == f"Bearer {CALLERS.unscoped_token}"
        return asked.having("authorization", RIGHT) if known and asked.method == "POST" and not is_json else asked

    return asking(build(parts), change)
