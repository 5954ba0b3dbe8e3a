"""What is made of answers that arrive over HTTP: documents, and chunks from event streams.

Laws of this file:
- Whatever came before something went wrong is given first.
- A stream that ends without saying so is cut, unless its reading says that it may.
- Nothing is read of an answer with a content encoding: it was asked for none, and what it unfolds to has no bound.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, Self

import orjson

from dragoman.adapters.upstream.engine import WHOLE_LIMIT, Answer
from dragoman.adapters.upstream.faults import fault_of
from dragoman.ports import Fault, UpstreamError
from dragoman.translate.grammar import TooLongError
from dragoman.translate.sse import Event, EventReader

Document = Mapping[str, Any]

_SUCCESS: Final = range(200, 300)


async def require_success(answer: Answer, request: Document, now: Callable[[], datetime]) -> None:
    """Return when *answer* is a success that can be read; otherwise close it, and raise what it means."""
    if answer.status not in _SUCCESS:
        raise await fault_of(answer, request, now)
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        await answer.aclose()
        raise UpstreamError(Fault.GARBLED, status=answer.status)


def is_of(answer: Answer, media_type: str) -> bool:
    """Whether *answer* says that it is of this *media_type*."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == media_type


async def document_of(answer: Answer) -> dict[str, Any]:
    """Return the JSON object that is the body of *answer*, and close it."""
    try:
        if is_of(answer, "text/event-stream"):
            raise UpstreamError(Fault.GARBLED, status=answer.status)
        answer.begun()
        body = await answer.read(WHOLE_LIMIT)
    finally:
        await answer.aclose()
    return object_in(body)


def object_in(text: bytes) -> dict[str, Any]:
    """Return the JSON object that *text* is.

    Raises:
        UpstreamError: where it is none.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise UpstreamError(Fault.GARBLED) from None
    if type(document) is not dict:
        raise UpstreamError(Fault.GARBLED)
    return document


class Reading(Protocol):
    """What the events of one stream mean."""

    done: bool
    """Whether the stream has said that it is at its end."""

    def read(self, event: Event) -> Document | None:
        """Return the chunk that *event* stands for, if it does for one.

        Raises:
            UpstreamError: for one that tells of an error, or does not belong into such a stream.
        """

    def alone(self, data: bytes) -> Document | None:
        """Return the chunk that an event with this *data* stands for, if nothing else is to be noted of it."""

    def may_end(self) -> bool:
        """Whether the stream may end here, although it has not said so."""


class EventChunks:
    """Fits the port `Chunks`: the events of *answer*, as *reading* understands them."""

    def __init__(self, answer: Answer, reading: Reading) -> None:
        """Read from *answer*."""
        self._answer = answer
        self._reading = reading
        self._feed = EventReader()
        self._first: list[Document] | None = None
        self._begun = False
        self._failure: UpstreamError | None = None

    async def begin(self) -> Self:
        """Return this, when its first chunk is there; close it where none comes."""
        try:
            self._first = await anext(self)
        except StopAsyncIteration:
            await self.aclose()
            raise UpstreamError(Fault.GARBLED, status=self._answer.status) from None
        except BaseException:
            await self.aclose()
            raise
        self._answer.begun()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Document]:
        """Return the chunks that have come together."""
        if self._first is not None:
            batch, self._first = self._first, None
            return batch
        while not self._reading.done:
            if self._failure is not None:
                raise self._failure
            piece = await self._answer.piece()
            if piece:
                batch = self._chunks_of(piece)
                if batch:
                    return batch
            elif self._reading.may_end() and not self._feed.pending:
                break
            else:
                self._fail(Fault.CUT if self._begun else Fault.GARBLED)
        raise StopAsyncIteration

    def divert(self, take: Callable[[Document], bool]) -> None:
        """Fit the port `Divertible`."""

        def taken(piece: bytes) -> bool:
            """Whether *piece* was one event in one line, as it nearly always is, and *take* has taken it."""
            if piece[:6] != b"data: " or piece.find(b"\n") != len(piece) - 2 or piece[-1:] != b"\n" or b"\r" in piece:
                return False
            if self._feed.pending or self._failure is not None:
                return False
            chunk = self._reading.alone(piece[6:-2])
            return chunk is not None and take(chunk)

        self._answer.divert(taken)

    async def aclose(self) -> None:
        """End the stream, wherever it is."""
        self._first = None
        self._fail(Fault.CUT)
        await self._answer.aclose()

    def _chunks_of(self, piece: bytes) -> list[Document]:
        """Return the chunks that *piece* completes; what goes wrong behind them is kept for the next call."""
        batch: list[Document] = []
        reading = self._reading
        try:
            for event in self._feed.feed(piece):
                chunk = reading.read(event)
                if chunk is not None:
                    batch.append(chunk)
                if reading.done:
                    self._answer.over()
                    break
        except TooLongError:
            self._fail(Fault.TOO_LARGE)
        except UpstreamError as error:
            self._failure = error
        self._begun = self._begun or bool(batch)
        return batch

    def _fail(self, fault: Fault) -> None:
        self._failure = self._failure or UpstreamError(fault, status=self._answer.status)


class WholeChunks:
    """Fits the port `Chunks`: those of an answer that came whole although a stream was asked for."""

    def __init__(self, documents: Sequence[Document]) -> None:
        """Give *documents*, together."""
        self._left: Sequence[Document] | None = documents

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Document]:
        """Return all of it, once."""
        left, self._left = self._left, None
        if left is None:
            raise StopAsyncIteration
        return left

    async def aclose(self) -> None:
        """Give nothing more."""
        self._left = None
