"""The provider `openai`: any server that speaks OpenAI's API over HTTP.

Laws of this file:
- The request is the caller's own document; only what a provider owns is changed: `model`, `stream`, `stream_options`,
  and what a quirk says.
- A stream is whole when it says so, with `[DONE]`. One that stops before is cut, however finished it looks, unless a
  quirk says that its server never does.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs
import orjson

from dragoman.adapters.upstream.engine import Answer, Engine
from dragoman.adapters.upstream.faults import fault_inside, is_error
from dragoman.adapters.upstream.quirks import Quirk, adjusted
from dragoman.adapters.upstream.replies import (
    Document,
    EventChunks,
    WholeChunks,
    document_of,
    is_of,
    object_in,
    require_success,
)
from dragoman.model import Timeouts
from dragoman.ports import Chunks, Fault, UpstreamError
from dragoman.translate.completion import completion, replay
from dragoman.translate.grammar import GrammarError
from dragoman.translate.sse import END, Event

CHAT: Final = "/chat/completions"
EMBEDDINGS: Final = "/embeddings"


class ChatReading:
    """Fits the protocol `Reading`: every event is a chunk, but for the sentinel, and for errors."""

    def __init__(self, *, unsealed: bool) -> None:
        """Let a stream that is *unsealed* end without the sentinel."""
        self.done = False
        self._unsealed = unsealed
        self._open: dict[object, bool] = {}

    def read(self, event: Event) -> Document | None:
        """Return the chunk that *event* carries, if it does."""
        if event.data == END:
            self.done = True
            return None
        try:
            document = object_in(event.data)
        except UpstreamError:
            # Two blanks before the sentinel, and events without data, are common enough among small servers.
            self.done = event.data.strip() == END
            if self.done or not event.data.strip():
                return None
            raise
        if is_error(document) or event.name == "error":
            raise fault_inside(document)
        if self._unsealed:
            self._note(document)
        return document

    def alone(self, data: bytes) -> Document | None:
        """Return the chunk in *data*, unless it has to be noted, or read with care."""
        if self._unsealed:
            return None
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        return None if type(document) is not dict or is_error(document) else document

    def may_end(self) -> bool:
        """Whether the server ends its streams like this, and every choice has a finish reason."""
        return self._unsealed and bool(self._open) and not any(self._open.values())

    def _note(self, document: Document) -> None:
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and type(choice.get("index")) is int:
                goes_on = choice.get("finish_reason") is None
                self._open[choice["index"]] = goes_on and self._open.get(choice["index"], True)


@attrs.frozen(kw_only=True)
class OpenAIUpstream:
    """Fits the port `Upstream`: a server behind *engine*, with this *quirk*; *now* dates what is to be retried."""

    engine: Engine
    quirk: Quirk
    now: Callable[[], datetime]

    async def chat(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a whole chat completion."""
        reply = await self._whole(CHAT, self._worded(document, model), document, timeouts)
        if not isinstance(reply.get("choices"), list) or not reply["choices"]:
            raise UpstreamError(Fault.GARBLED)
        return reply

    async def chat_stream(self, document: Document, *, model: str, timeouts: Timeouts) -> Chunks:
        """Return a chat completion in chunks, as soon as its first one is there."""
        request = self._worded(document, model)
        request["stream"] = True
        if "stream_options" not in self.quirk.dropped:
            options = document.get("stream_options")
            request["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        answer = await self._sent(CHAT, request, document, timeouts)
        if is_of(answer, "application/json"):
            return _replayed(await document_of(answer), model)
        return await EventChunks(answer, ChatReading(unsealed=self.quirk.unsealed)).begin()

    async def embed(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a list of embeddings."""
        reply = await self._whole(EMBEDDINGS, {**document, "model": model}, document, timeouts)
        if not isinstance(reply.get("data"), list):
            raise UpstreamError(Fault.GARBLED)
        return reply

    def _worded(self, document: Document, model: str) -> dict[str, Any]:
        """Return the request as this server takes it, for an answer that is whole."""
        request = adjusted({**document, "model": model}, self.quirk)
        request.pop("stream", None)
        request.pop("stream_options", None)
        return request

    async def _whole(self, path: str, request: Document, document: Document, timeouts: Timeouts) -> Document:
        reply = await document_of(await self._sent(path, request, document, timeouts))
        if is_error(reply):
            raise fault_inside(reply)
        return reply

    async def _sent(self, path: str, request: Document, document: Document, timeouts: Timeouts) -> Answer:
        """Send *request*, which was made of *document*; return an answer that is a success."""
        answer = await self.engine.post(path, orjson.dumps(request), timeouts)
        await require_success(answer, document, self.now)
        return answer


def _replayed(document: Mapping[str, Any], model: str) -> WholeChunks:
    """Return the chunks of a *document* that came although a stream was asked for."""
    if is_error(document):
        raise fault_inside(document)
    try:
        whole = completion(document, id="chatcmpl-replayed", created=0, model=model)
    except GrammarError as error:
        raise UpstreamError(Fault(error.reason.value)) from None
    return WholeChunks(list(replay(whole.document)))
