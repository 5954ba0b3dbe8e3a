"""A server that stands for a provider, over real sockets: it says what it was told to, and keeps what it was sent.

Laws of this file:
- What it sends is bytes that a test wrote, or one of the forms below; it frames nothing by itself, so that a test can
  frame wrongly.
- It never forgets: every request is kept with its bytes, its headers, its peer, and when its connection ended.
"""

import asyncio
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from socket import SO_LINGER, SOL_SOCKET
from types import MappingProxyType
from typing import Any, Final, cast

import attrs
import orjson

from process import LOOPBACK, PATIENCE

Document = Mapping[str, Any]
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
DONE: Final = b"data: [DONE]\n\n"


@attrs.define(kw_only=True)
class Received:
    """One request: the *nth* of its connection; *left* is when that ended, on the clock of the loop."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]
    raw: bytes
    nth: int
    left: float | None = None

    @property
    def document(self) -> Any:  # noqa: ANN401 - a JSON document
        """The body as JSON."""
        return orjson.loads(self.body)


@attrs.frozen
class Wait:
    """Say nothing for some *seconds*; for ever, if that is None."""

    seconds: float | None = None


@attrs.frozen
class End:
    """End the connection, and with a reset if *reset*."""

    reset: bool = False


Step = bytes | Wait | End
"""What a reply is made of."""

Reply = Sequence[Step]


# --- Forms ------------------------------------------------------------------------------------------------------------


def head(status: int = 200, **headers: str) -> bytes:
    """Return the head of an answer; `content_type` is `Content-Type`."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


def whole(body: bytes | Document, status: int = 200, **headers: str) -> Reply:
    """Return a whole answer, JSON unless *body* is bytes."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return [
        head(status, **{"content_type": "application/json", "content_length": str(len(content)), **headers}) + content
    ]


def piece(content: bytes) -> bytes:
    """Return a chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


STREAMED: Final = head(content_type="text/event-stream", transfer_encoding="chunked")
LAST: Final = b"0\r\n\r\n"


def event(document: Document) -> bytes:
    """Return an event that carries *document*."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def stream(*parts: bytes | Document | Wait | End, pause: float = 0.0, end: bytes = DONE) -> Reply:
    """Return a streamed answer: an event for each document, and everything else as it is, a *pause* before each."""
    steps: list[Step] = [STREAMED]
    for part in parts:
        if pause:
            steps.append(Wait(pause))
        if isinstance(part, Wait | End):
            steps.append(part)
        else:
            steps.append(piece(part if isinstance(part, bytes) else event(part)))
    return [*steps, *([piece(end)] if end else []), LAST]


def completion(text: str = "hello", model: str = "upstream-model", **members: Any) -> Document:  # noqa: ANN401 - JSON
    """Return a chat completion that says *text*."""
    return {
        "id": "chatcmpl-sink",
        "object": "chat.completion",
        "created": 1781438400,
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        **members,
    }


def chunk(delta: Document, finish: str | None = None, **members: Any) -> Document:  # noqa: ANN401 - JSON
    """Return a chunk of a chat completion."""
    return {
        "id": "chatcmpl-sink",
        "object": "chat.completion.chunk",
        "created": 1781438400,
        "model": "upstream-model",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        **members,
    }


USAGE: Final[Document] = {
    **chunk({}),
    "choices": [],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def chunks(text: str = "hello there") -> list[Document]:
    """Return the chunks of a chat completion that says *text*, word by word."""
    words = [f"{word} " for word in text.split()]
    said = [chunk({"content": word}) for word in words]
    return [chunk({"role": "assistant", "content": ""}), *said, chunk({}, "stop"), USAGE]


def embeddings(*vectors: Any) -> Document:  # noqa: ANN401 - numbers, or base64
    """Return a list of embeddings."""
    entries = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
    return {
        "object": "list",
        "data": entries,
        "model": "upstream-model",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


MESSAGE: Final[Document] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-canary",
    "content": [{"type": "text", "text": "hello there"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 2},
}
EVENTS: Final[Sequence[Document]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " there"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


def named(document: Document) -> bytes:
    """Return the event that carries *document* of the Messages API, under its name."""
    kind: str = document["type"]
    return f"event: {kind}\n".encode() + event(document)


def sound(received: Received) -> Reply:
    """Return what a provider that works answers to a request, to OpenAI's API or to Anthropic's."""
    if received.path.endswith("/messages"):
        streamed = received.document.get("stream")
        return stream(*map(named, EVENTS), end=b"") if streamed else whole(MESSAGE)
    if received.path.endswith("/embeddings"):
        return whole(embeddings([0.6, 0.8]))
    if not received.path.endswith("/chat/completions"):
        return whole({"error": {"message": "no such path"}}, 404)
    return stream(*chunks()) if received.document.get("stream") else whole(completion())


# --- The server -------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Sink:
    """Answers on *port* with what `tell` was given, in turn, and then with what *answer* makes of a request."""

    port: int = 0
    answer: Callable[[Received], Reply] = sound
    requests: list[Received] = attrs.field(factory=list)
    connections: int = 0
    open: int = 0
    sent: int = 0
    """How many bytes have left it."""
    _told: list[Reply] = attrs.field(factory=list)

    def tell(self, *replies: Reply) -> None:
        """Answer the next requests with *replies*."""
        self._told += replies

    def reply_to(self, received: Received) -> Reply:
        """Keep what was *received*, and return the reply to it."""
        self.requests.append(received)
        return self._told.pop(0) if self._told else self.answer(received)

    def url(self, path: str = "/v1") -> str:
        """Return where it is."""
        return f"http://{LOOPBACK}:{self.port}{path}"


class _Line(asyncio.Protocol):
    """One connection to *sink*."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._count = 0
        self._received: Received | None = None
        self._replying: asyncio.Task[None] | None = None
        self._flows = asyncio.Event()
        self._flows.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._sink.connections += 1
        self._sink.open += 1

    def end(self) -> None:
        """End it, wherever it is."""
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._flows.clear()

    def resume_writing(self) -> None:
        self._flows.set()

    def data_received(self, data: bytes) -> None:
        self._read += data
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._sink.open -= 1
        if self._received is not None:
            self._received.left = asyncio.get_running_loop().time()
        if self._replying is not None:
            self._replying.cancel()
        self._flows.set()

    def _next(self) -> None:
        """Answer the request that has come, unless one is being answered."""
        first, blank, rest = self._read.partition(b"\r\n\r\n")
        if not blank or (self._replying is not None and not self._replying.done()):
            return
        transport = self._transport
        assert transport is not None
        line, *lines = first.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        method, path, _ = line.split(" ")
        body, self._read = rest[:length], rest[length:]
        self._count += 1
        self._received = Received(
            method=method,
            path=path,
            headers=headers,
            body=body,
            peer=transport.get_extra_info("peername")[:2],
            raw=first + blank + body,
            nth=self._count,
        )
        reply = self._sink.reply_to(self._received)
        self._replying = asyncio.get_running_loop().create_task(self._reply(reply, transport))
        self._replying.add_done_callback(lambda _: None if transport.is_closing() else self._next())

    async def _reply(self, reply: Reply, transport: asyncio.Transport) -> None:
        for step in reply:
            match step:
                case Wait(None):
                    await asyncio.get_running_loop().create_future()
                case Wait(seconds):
                    await asyncio.sleep(seconds or 0.0)
                case End(reset):
                    if reset:
                        reset_at_end(transport)
                        transport.abort()
                    else:
                        transport.close()
                    return
                case bytes():
                    await self._flows.wait()
                    self._sink.sent += len(step)
                    transport.write(step)
                    await asyncio.sleep(0)


def reset_at_end(connection: asyncio.Transport | asyncio.StreamWriter) -> None:
    """Let *connection* end with a reset when it is closed."""
    connection.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def sinking(
    answer: Callable[[Received], Reply] = sound, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sink]:
    """Serve in this loop until the end of the block."""
    sink = Sink(answer=answer)
    lines: set[_Line] = set()

    def line() -> _Line:
        made = _Line(sink)
        lines.add(made)
        return made

    server = await asyncio.get_running_loop().create_server(line, LOOPBACK, 0, ssl=tls)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for one in lines:
            one.end()
        await asyncio.sleep(0.01)


@contextmanager
def sink_of_its_own(answer: Callable[[Received], Reply] = sound) -> Iterator[Sink]:
    """Serve in a thread until the end of the block: for programs that are processes of their own."""
    given: list[Sink] = []
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with sinking(answer) as sink:
            given.append(sink)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield given[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)
        loop.close()
