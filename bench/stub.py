"""The upstream that every gateway forwards to: it speaks OpenAI's chat completions, and costs next to nothing.

Started as `python stub.py PORT EVENTS PACE`; it serves on loopback until a signal ends it. A stream has EVENTS pieces
of content, one every PACE milliseconds.

Laws of this file:
- A piece of content says which one it is and when it was sent, `00017@0000001234567890123 `, so that whoever reads it
  can tell that each came once and in order, and how long it was on its way (`reading`).
- A stream that nobody reads waits: nothing is kept for a slow reader but what the buffers of its socket hold.
- What an answer consists of is made once, at the start.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import httptools
import orjson
import uvloop

HEAD: Final = {
    "id": "chatcmpl-bench",
    "created": 1_700_000_000,
    "model": "stub-model",
    "system_fingerprint": "fp_bench",
}
USAGE: Final = {"prompt_tokens": 9, "completion_tokens": 40, "total_tokens": 49}
ANSWER: Final = "The answer of the stub is always this one, and it is as long as a short answer is. " * 2
LINES: Final = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"
PLACE: Final = b"%05d@%019d "
"""Number and time (nanoseconds) of a piece of content."""


def whole(document: Mapping[str, Any]) -> bytes:
    """Return an answer with *document* as its body."""
    body = orjson.dumps(document)
    return LINES % (b"application/json", b"content-length: %d" % len(body)) + body


def framed(text: bytes) -> bytes:
    """Return an event with *text*, as a chunk of HTTP/1.1."""
    event = b"data: " + text + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    """Return a chunk of a chat completion, framed."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return framed(orjson.dumps({**HEAD, "object": "chat.completion.chunk", "choices": [choice]}))


MESSAGE: Final = {"role": "assistant", "content": ANSWER, "refusal": None}
CHOICE: Final = {"index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "stop"}
CHAT: Final = whole({**HEAD, "object": "chat.completion", "choices": [CHOICE], "usage": USAGE})
VECTOR: Final = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25] * 16}
EMBEDDINGS: Final = whole({"object": "list", "data": [VECTOR], "model": "stub-model", "usage": USAGE})
MODEL: Final = {"id": "stub-model", "object": "model", "created": 1_700_000_000, "owned_by": "stub"}
MODELS: Final = whole({"object": "list", "data": [MODEL]})

BEGIN: Final = LINES % (b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked")
FIRST: Final = BEGIN + chunk({"role": "assistant", "content": ""})
BEFORE, _, AFTER = chunk({"content": (PLACE % (0, 0)).decode()}).partition(PLACE % (0, 0))
FINISH: Final = chunk({}, "stop")
COUNTED: Final = framed(orjson.dumps({**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}))
END: Final = framed(b"[DONE]") + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection of a gateway. *events* and *pace* (seconds) say what a stream is like."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, events: int, pace: float) -> None:
        """Serve on the *loop*."""
        self.loop = loop
        self.events = events
        self.pace = pace
        self.parser = httptools.HttpRequestParser(self)
        self.path = b""
        self.body: list[bytes] = []
        self.paused = False
        self.waiting = False
        self.sent = 0
        self.began = 0.0
        self.counted = False
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Stop whatever is being streamed."""
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read a request, or a part of one."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def pause_writing(self) -> None:
        """Send nothing more: the reader is slow."""
        self.paused = True

    def resume_writing(self) -> None:
        """Send again, beginning with what was due in the meantime."""
        self.paused = False
        if self.waiting:
            self.waiting = False
            self.send_piece()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target of a request."""
        self.path += url

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body of a request."""
        self.body.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        path, self.path = self.path, b""
        body, self.body = b"".join(self.body), []
        if path.endswith(b"/chat/completions"):
            document = orjson.loads(body)
            if document.get("stream"):
                self.begin(document)
            else:
                self.transport.write(CHAT)
        elif path.endswith(b"/embeddings"):
            self.transport.write(EMBEDDINGS)
        else:
            self.transport.write(MODELS)  # gateways that look after their upstreams look here

    def begin(self, document: Mapping[str, Any]) -> None:
        """Begin a stream."""
        self.transport.write(FIRST)
        self.counted = bool((document.get("stream_options") or {}).get("include_usage"))
        self.sent, self.began = 0, self.loop.time()
        self.timer = self.loop.call_later(self.pace, self.send_piece)

    def send_piece(self) -> None:
        """Send the next piece of content, or what ends a stream, and set the time of the one after it."""
        if self.paused:
            self.waiting = True
            return
        if self.sent == self.events:
            self.transport.write(FINISH + (COUNTED if self.counted else b"") + END)
            return
        self.transport.write(BEFORE + PLACE % (self.sent, time.monotonic_ns()) + AFTER)
        self.sent += 1
        self.timer = self.loop.call_at(self.began + (self.sent + 1) * self.pace, self.send_piece)


async def serve(port: int, *, events: int, pace: float) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(loop, events=events, pace=pace), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Serve."""
    port, events, pace = (int(argument) for argument in sys.argv[1:])
    uvloop.run(serve(port, events=events, pace=pace / 1000))


if __name__ == "__main__":
    main()
