"""The outermost ASGI app: one context and one log event per request, and the dispatch to a mount by prefix.

Laws of this file:
- Every request leaves exactly one event, whatever happens to it (ADR-0015.R1).
- Falcon gets a first message of our own: it would wait for the body before it routes (ADR-0008.R2).
"""

from collections.abc import Mapping, Sequence

import attrs

from dragoman.errors import Kind
from dragoman.model import RequestEvent
from dragoman.ports import EventLog
from dragoman.web.context import CONTEXT_KEY, Message, Receive, RequestContext, Scope, Send, Sources, open_context
from dragoman.web.mount import Mount
from dragoman.web.presentation import Presented


async def _body_follows() -> Message:
    return {"type": "http.request", "body": b"", "more_body": True}


class Gateway:
    """Serves several mounts; each key of *mounts* is a prefix, `/` for the root."""

    def __init__(self, mounts: Mapping[str, Mount], sources: Sources, log: EventLog) -> None:
        """Take at least one mount; the longest prefix is tried first."""
        self._mounts: Sequence[tuple[str, Mount]] = sorted(
            ((prefix.rstrip("/"), mount) for prefix, mount in mounts.items()), key=lambda one: -len(one[0])
        )
        # What no mount claims is answered in the shape of the root mount, or of the first one (ADR-0006.R1).
        self._outside = mounts.get("/") or next(iter(mounts.values()))
        self._sources = sources
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = open_context(self._sources, scope, receive)
        event = context.event
        event.method = scope["method"]

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                event.status = message["status"]
            await send(message)

        try:
            await self._dispatch(scope, context, watched)
        finally:
            self._finish(context)

    async def _dispatch(self, scope: Scope, context: RequestContext, send: Send) -> None:
        path: str = scope["path"]
        for prefix, mount in self._mounts:
            if path == prefix or path.startswith(f"{prefix}/"):
                context.event.mount = prefix or "/"
                context.event.request_id = mount.id_prefix + context.event.request_id
                inner = {**scope, "path": path[len(prefix) :] or "/", CONTEXT_KEY: context}
                try:
                    await mount.app(inner, _body_follows, send)
                except Exception as error:
                    if context.event.status is not None:
                        raise  # the answer has begun: nothing else can be said
                    await _send(mount.fail(error, context), send)  # Falcon reads the request before it handles errors
                return
        context.event.request_id = self._outside.id_prefix + context.event.request_id
        await _send(self._outside.refuse(Kind.UNKNOWN_URL, context), send)

    def _finish(self, context: RequestContext) -> None:
        context.event.duration_ms = round(context.elapsed_ms(), 3)
        self._log.request(_fields(context.event))

    def refuse_malformed(self) -> Presented:
        """Return the answer to what is no HTTP, and write its event."""
        context = open_context(self._sources, {"headers": []}, _body_follows)
        context.event.request_id = self._outside.id_prefix + context.event.request_id
        context.body_pending = True
        presented = self._outside.refuse(Kind.MALFORMED_HTTP, context)
        context.event.status = presented.status
        self._finish(context)
        return presented


def _fields(event: RequestEvent) -> dict[str, object]:
    return {name: value for name, value in attrs.asdict(event, recurse=False).items() if value is not None}


async def _send(presented: Presented, send: Send) -> None:
    body = presented.body or b""
    headers = [*presented.headers, ("content-type", "application/json"), ("content-length", str(len(body)))]
    raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    await send({"type": "http.response.start", "status": presented.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
