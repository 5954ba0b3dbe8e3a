"""ASGI layers around a gateway: one changes what is asked, the other what is answered."""

from collections.abc import Callable
from typing import Any

import attrs
from gateway_conformance.exchange import Asgi, Message

Headers = list[tuple[bytes, bytes]]


@attrs.frozen(kw_only=True)
class Asked:
    """A request on its way to the gateway. *body* is None where the layer leaves it unread."""

    method: str
    path: str
    headers: Headers
    body: bytes | None = None

    def header(self, name: str) -> str:
        """Return the value of the header *name*, or nothing."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name.encode()), "")

    def having(self, name: str, value: str | None) -> "Asked":
        """Return the request with this one value of the header *name*; None removes it."""
        kept = [pair for pair in self.headers if pair[0] != name.encode()]
        added = [] if value is None else [(name.encode(), value.encode("latin-1"))]
        return attrs.evolve(self, headers=[*kept, *added])


@attrs.frozen(kw_only=True)
class Answered:
    """A whole answer on its way to the caller."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of the header *name*, or nothing."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name.encode()), "")

    def having(self, name: str, value: str | None) -> "Answered":
        """Return the answer with this one value of the header *name*; None removes it."""
        kept = [pair for pair in self.headers if pair[0] != name.encode()]
        added = [] if value is None else [(name.encode(), value.encode("latin-1"))]
        return attrs.evolve(self, headers=[*kept, *added])


def asking(app: Asgi, change: Callable[[Asked], Asked], *, reading: bool = False) -> Asgi:
    """Return *app* behind a layer that changes what is asked; one that is *reading* has the body in its hands first."""

    async def layered(scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body = await _whole(receive) if reading else None
        asked = change(Asked(method=scope["method"], path=scope["path"], headers=list(scope["headers"]), body=body))
        changed = {**scope, "method": asked.method, "path": asked.path, "headers": asked.headers}
        await app(changed, receive if asked.body is None else _again(asked.body), send)

    return layered


def answering(app: Asgi, change: Callable[[Asked, Answered], Answered]) -> Asgi:
    """Return *app* behind a layer that changes what is answered."""

    async def layered(scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await app(scope, receive, keep)
        asked = Asked(method=scope["method"], path=scope["path"], headers=list(scope["headers"]))
        body = b"".join(message.get("body", b"") for message in kept)
        answered = change(asked, Answered(status=kept[0]["status"], headers=list(kept[0]["headers"]), body=body))
        if answered.body != body:
            answered = answered.having("content-length", str(len(answered.body)))
        await send({"type": "http.response.start", "status": answered.status, "headers": answered.headers})
        await send({"type": "http.response.body", "body": answered.body})

    return layered


async def _whole(receive: Callable[[], Any]) -> bytes:
    body: bytes = b""
    while True:
        message: Message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def _again(body: bytes) -> Callable[[], Any]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
