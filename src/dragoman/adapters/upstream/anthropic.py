"""The provider `anthropic`: a server that speaks the Messages API, which `translate.anthropic` translates both ways.

Laws of this file:
- Nothing is translated here; what cannot be is refused in the caller's own words: a place in the request, and a code.
- A stream is whole when `message_stop` says so.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import attrs
import orjson

from dragoman.adapters.upstream.engine import Answer, Engine
from dragoman.adapters.upstream.faults import fault_inside, is_error
from dragoman.adapters.upstream.replies import Document, EventChunks, document_of, object_in, require_success
from dragoman.model import Timeouts
from dragoman.ports import Chunks, Fault, UpstreamError
from dragoman.translate.anthropic import MessageStream, chat_completion, messages_request
from dragoman.translate.grammar import GrammarError, UntranslatableError
from dragoman.translate.sse import Event

ANTHROPIC_VERSION: Final = "2023-06-01"
"""The one version of the API that there is; what is newer comes under names of its own."""


class MessageReading:
    """Fits the protocol `Reading`: events become chunks, but for those that say nothing, and for errors."""

    def __init__(self) -> None:
        """Begin with a stream of which nothing has come."""
        self.done = False
        self._stream = MessageStream()

    def read(self, event: Event) -> Document | None:
        """Return the chunk that *event* stands for, if it does for one."""
        document = object_in(event.data)
        if is_error(document):
            raise fault_inside(document)
        try:
            chunk = self._stream.feed(document)
        except GrammarError as error:
            raise UpstreamError(Fault(error.reason.value)) from None
        self.done = self._stream.finished
        return chunk

    def alone(self, data: bytes) -> Document | None:  # noqa: ARG002 - as the protocol says
        """None: what an event stands for depends on those before it."""
        return None

    def may_end(self) -> bool:
        """Never: it says so."""
        return False


@attrs.frozen(kw_only=True)
class AnthropicUpstream:
    """Fits the port `Upstream`: a server behind *engine*, at *path* of its place; *now* dates what is to be retried."""

    engine: Engine
    path: str
    now: Callable[[], datetime]

    async def chat(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Return a whole chat completion."""
        message = await document_of(await self._sent(document, model, timeouts, stream=False))
        if is_error(message):
            raise fault_inside(message)
        try:
            return chat_completion(message)
        except GrammarError as error:
            raise UpstreamError(Fault(error.reason.value)) from None

    async def chat_stream(self, document: Document, *, model: str, timeouts: Timeouts) -> Chunks:
        """Return a chat completion in chunks, as soon as its first one is there."""
        answer = await self._sent(document, model, timeouts, stream=True)
        return await EventChunks(answer, MessageReading()).begin()

    async def embed(self, document: Document, *, model: str, timeouts: Timeouts) -> Document:
        """Refuse: the Messages API has no embeddings."""
        del document, model, timeouts
        raise UpstreamError(Fault.REJECTED, code="unsupported_value", param="model")

    async def _sent(self, document: Document, model: str, timeouts: Timeouts, *, stream: bool) -> Answer:
        try:
            request = messages_request(document, model=model, stream=stream)
        except UntranslatableError as error:
            raise UpstreamError(Fault.REJECTED, code=error.code, param=error.param) from None
        answer = await self.engine.post(self.path, orjson.dumps(request), timeouts)
        await require_success(answer, document, self.now)
        return answer
