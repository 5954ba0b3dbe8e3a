"""Gateways that write down what they should not, or not what they should."""

from collections.abc import Callable

import attrs
from gateway_conformance.exchange import Asgi

from broken.layers import Asked, asking
from dragoman.ports import EventLog
from gateways import Parts, build


def content_logged(parts: Parts) -> Asgi:
    """Somebody looked for a bug, and left in what he looked at: the body."""

    def change(asked: Asked) -> Asked:
        parts.log.failure({"reason": (asked.body or b"").decode("utf-8", "replace")})
        return asked

    return asking(build(parts), change, reading=True)


def key_logged(parts: Parts) -> Asgi:
    """A wrong credential is logged, so that its owner can be helped: it is somebody's right one elsewhere."""

    def change(asked: Asked) -> Asked:
        parts.log.failure({"reason": asked.header("authorization")})
        return asked

    return asking(build(parts), change)


def path_logged(parts: Parts) -> Asgi:
    """The event has the path as it was asked for, and not the template of its route."""

    def change(asked: Asked) -> Asked:
        parts.log.failure({"reason": asked.path})
        return asked

    return asking(build(parts), change)


@attrs.frozen(kw_only=True)
class _Altered:
    """Writes other events than it is given, or none."""

    real: EventLog
    change: Callable[[dict[str, object]], dict[str, object] | None]

    def request(self, fields: dict[str, object]) -> None:
        changed = self.change(fields)
        if changed is not None:
            self.real.request(changed)

    def failure(self, fields: dict[str, object]) -> None:
        self.real.failure(fields)

    def state(self, fields: dict[str, object]) -> None:
        self.real.state(fields)


def not_all_logged(parts: Parts) -> Asgi:
    """What reached no operation leaves no event."""
    log = _Altered(real=parts.log, change=lambda fields: fields if fields["status"] != 405 else None)
    return build(attrs.evolve(parts, log=log))


def more_logged(parts: Parts) -> Asgi:
    """An event has a field that is on no list."""
    log = _Altered(real=parts.log, change=lambda fields: {**fields, "host": "gateway-7"})
    return build(attrs.evolve(parts, log=log))
