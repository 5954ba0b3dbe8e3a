"""The outermost ASGI app: one context and one log event per request, and the dispatch to a mount by prefix.

Laws of this file:
- Every request leaves exactly one event, whatever happens to it (ADR-0015.R1).
- Every answer leaves through `_send`, or where that lets pieces of it go direct; what it holds open is closed when it
  has ended.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial

from dragoman.errors import Kind
from dragoman.model import RequestEvent
from dragoman.ports import AccessLog, EventLog, Meter, Sink, StoreError
from dragoman.web.context import Message, Presented, Receive, RequestContext, Scope, Send, Sources, open_context
from dragoman.web.failure import failure_fields
from dragoman.web.mount import Mount
from dragoman.web.streaming import send_events

Lifespan = Callable[[], AbstractAsyncContextManager[object]]
"""Makes what runs beside the requests of a gateway, from its start-up to its shutdown."""


async def nothing_follows() -> Message:
    """Be all that comes of a request that was refused before it was one."""
    return {"type": "http.disconnect"}


class Gateway:
    """Serves several mounts; each key of *mounts* is a prefix, `/` for the root."""

    def __init__(  # noqa: PLR0913 - one argument a port
        self,
        mounts: Mapping[str, Mount],
        sources: Sources,
        log: EventLog,
        *,
        meter: Meter,
        access_log: AccessLog,
        trusted_hops: int = 0,
        lifespan: Sequence[Lifespan] = (),
    ) -> None:
        """Take at least one mount; the longest prefix is tried first.

        *trusted_hops* proxies stand in front. What *lifespan* makes is entered in its order, and left in reverse.
        """
        longest_first = sorted(mounts.items(), key=lambda one: -len(one[0]))
        self._mounts = {prefix.rstrip("/"): mount for prefix, mount in longest_first}
        self._prefixes = [(prefix, f"{prefix}/") for prefix in self._mounts]
        # What no mount claims is answered in the shape of the root mount, or of the first one (ADR-0006.R1).
        self._outside = mounts.get("/") or next(iter(mounts.values()))
        self._sources = sources
        self._log = log
        self._meter = meter
        self._access_log = access_log
        self._trusted_hops = trusted_hops
        self._lifespan = lifespan
        self.draining = False  # the server says when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as running:
            await receive()
            try:
                for make in self._lifespan:
                    await running.enter_async_context(make())
            except StoreError as error:
                await send({"type": "lifespan.startup.failed", "message": f"dragoman: {error}"})
                return
            except Exception as error:  # noqa: BLE001 - a fault of ours, whose text is not told
                self.report(error)
                await send({"type": "lifespan.startup.failed", "message": "dragoman: the gateway cannot start"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = open_context(self._sources, scope, receive, trusted_hops=self._trusted_hops)
        self._meter.arrived()
        context.closing = self.draining
        context.event.method = scope["method"]
        try:
            context.presented = await self._answer(scope, context)
            await self._send(context.presented, context, send)
        except asyncio.CancelledError:
            if context.watch is None or not context.watch.left:
                raise
            context.event.left = True
        except Exception as error:
            if not isinstance(error, OSError):  # else the caller has left
                self.report(error, context.event)
            raise  # the answer has begun: nothing else can be said
        finally:
            if context.watch is not None:
                context.watch.stop()
            if context.presented is not None and context.presented.events is not None:
                await context.presented.events.aclose()
                context.presented = None  # its events hold what they were made of, and that this context
            self._finish(scope, context)

    async def _answer(self, scope: Scope, context: RequestContext) -> Presented:
        path: str = scope["path"]
        prefix = self._prefix_of(path)
        mount = self._enter(prefix, context)
        own_path = path[len(prefix) :] or "/" if prefix else path
        try:
            refused = await mount.admit(context)
            if refused is not None:
                return refused
            if prefix is None or own_path.startswith("//"):  # Falcon would drop all slashes but one (ADR-0034.R9)
                return mount.refuse(Kind.UNKNOWN_URL, context)
            if prefix:
                scope = {**scope, "path": own_path}
            return await mount.answer(scope, context)
        except Exception as error:  # noqa: BLE001 - a fault of ours
            return mount.fail(error, context)

    async def _send(self, presented: Presented, context: RequestContext, send: Send) -> None:
        body, event = presented.body, context.event
        headers = [*presented.headers]
        if body is not None or presented.events is not None:
            headers.append((b"content-type", presented.media_type.encode("ascii")))
        if body is not None:
            headers.append((b"content-length", b"%d" % len(body)))
        event.status = presented.status
        await send({"type": "http.response.start", "status": presented.status, "headers": headers})
        if presented.events is not None:
            worded = partial(self._mounted(context).worded, context)
            server = getattr(send, "__self__", None)  # ours takes pieces direct
            direct = server if isinstance(server, Sink) else None
            context.sent = await send_events(presented.events, send, worded=worded, direct=direct)
        else:
            told = b"" if body is None or event.method == "HEAD" else body
            context.sent = len(told)
            await send({"type": "http.response.body", "body": told})

    def _mounted(self, context: RequestContext) -> Mount:
        """Return the mount that answers the request of *context*."""
        return self._outside if context.event.mount is None else self._mounts[context.event.mount.rstrip("/")]

    def _prefix_of(self, path: str) -> str | None:
        """Return the prefix of the mount that claims *path*, without a slash at its end, or None."""
        for prefix, within in self._prefixes:
            if path.startswith(within) or path == prefix:
                return prefix
        return None

    def _enter(self, prefix: str | None, context: RequestContext) -> Mount:
        """Return the mount at *prefix*, and note that it is the one that answers."""
        mount = self._outside if prefix is None else self._mounts[prefix]
        if prefix is not None:
            context.event.mount = prefix or "/"
        context.event.request_id = mount.id_prefix + context.event.request_id
        return mount

    def _finish(self, scope: Scope, context: RequestContext) -> None:
        for end in context.endings:
            end()
        event, elapsed = context.event, context.elapsed_ms()
        event.duration_ms = round(elapsed, 3)
        self._log.request(_fields(event))
        self._meter.answered(event.mount, event.operation, event.status, elapsed / 1000)
        self._access_log.answered(scope, event, address=context.address, size=context.sent)

    def refuse(self, kind: Kind, head: Scope) -> Presented:
        """Return the answer to what the server cannot pass on, which closes the connection, and write its event.

        *head* is what is known of it: its headers, and perhaps its method and its path.
        """
        context = open_context(self._sources, head, nothing_follows)
        self._meter.arrived()
        context.event.method = head.get("method")
        mount = self._enter(self._prefix_of(head.get("path", "*")), context)
        context.closing = True
        presented = mount.refuse(kind, context)
        context.event.status, context.sent = presented.status, len(presented.body or b"")
        self._finish(head, context)
        return presented

    def report(self, error: BaseException, event: RequestEvent | None = None) -> None:
        """Log a fault of ours that cannot be answered any more: in the request of *event*, or outside of requests."""
        self._log.failure(failure_fields(error, event))


def _fields(event: RequestEvent) -> dict[str, object]:
    # PERF: a quarter of the time of attrs.asdict, once for every request.
    return {name: value for name, value in vars(event).items() if value is not None}
