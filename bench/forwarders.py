"""What it costs to forward a request over one HTTP library or another, in one run (ADR-0038).

Started as `python bench/forwarders.py`, where aiohttp, httpx-aiohttp, pyqwest and pyreqwest are installed, as
`uv run --with aiohttp --with httpx-aiohttp --with pyqwest --with pyreqwest` does; figures of what is not are missing.
A bare Falcon app for each engine, all on the first core of this process, takes turns at forwarding chat requests to an
upstream on the second one: whole ones, which wrk sends over 16 connections, and 100 streams of 100 events, 20 ms apart.
What is printed is CPU time of the app.

With two arguments or more it is one of the processes that this needs: `stub PORT`, `serve ENGINE PORT UPSTREAM`, or
`read PORT`.
"""

import asyncio
import importlib
import importlib.util
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol, cast

import attrs
import falcon.asgi
import orjson
import psutil
import uvicorn
import uvloop

from dragoman.adapters.upstream.engine import EngineOf, place_of
from dragoman.adapters.upstream.http1 import Http1Engine
from dragoman.adapters.upstream.httpx_engine import HttpxEngine
from dragoman.model import Timeouts

ROUNDS: Final = 7
SECONDS: Final = 2
STREAMS: Final = 100
EVENTS: Final = 100
PACE: Final = 0.02
PATIENCE: Final = 20.0
PATH: Final = "/v1/chat/completions"
HEADERS: Final[Mapping[str, str]] = {"content-type": "application/json", "accept-encoding": "identity"}
CHUNK: Final = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


# --- The upstream -----------------------------------------------------------------------------------------------------


def framed(body: bytes) -> bytes:
    """Return *body* as a chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(body), body)


class Stub(asyncio.Protocol):
    """Answers chat requests with constants."""

    head: Final = "HTTP/1.1 200 OK\r\n" + "".join(f"x-header-{number}: value\r\n" for number in range(12))
    message: Final = {"role": "assistant", "content": "The quick brown fox jumps over the lazy dog. " * 4}
    whole: Final = orjson.dumps(CHUNK | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    event: Final = framed(
        b"data: "
        + orjson.dumps(CHUNK | {"choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]})
        + b"\n\n"
    )

    def __init__(self) -> None:
        """Begin with nothing."""
        self.read = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer on *transport*."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer a request that has come whole."""
        self.read += data
        head, blank, body = self.read.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if not blank or length is None or len(body) < int(length[1]):
            return
        self.read = b""
        if b'"stream":true' in body:
            self.tasks.add(asyncio.get_running_loop().create_task(self.stream()))
        else:
            kind = f"{self.head}content-type: application/json\r\ncontent-length: {len(self.whole)}\r\n\r\n"
            self.transport.write(kind.encode() + self.whole)

    async def stream(self) -> None:
        """Send a paced stream."""
        self.transport.write(
            f"{self.head}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(EVENTS):
            self.transport.write(self.event)
            await asyncio.sleep(PACE)
        self.transport.write(framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def stub(port: int) -> None:
    """Serve constants on *port* until it is ended."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


# --- The engines ------------------------------------------------------------------------------------------------------


class Forwarding(Protocol):
    """Sends a body to the upstream, and gives what comes back."""

    async def whole(self, body: bytes) -> bytes:
        """Return a whole answer."""

    def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Return the pieces of an answer."""


class Own:
    """One of the gateway's engines."""

    def __init__(self, url: str, engine_of: EngineOf) -> None:
        """Send to *url*."""
        place = place_of(url.removesuffix(PATH), headers=HEADERS, private=True, capacity=256)
        self.engine, self.timeouts = engine_of(place, None), Timeouts()

    async def whole(self, body: bytes) -> bytes:
        """Return a whole answer."""
        answer = await self.engine.post(PATH, body, self.timeouts)
        answer.begun()
        read = await answer.read(2**25)
        await answer.aclose()
        return read

    async def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Return the pieces of an answer."""
        answer = await self.engine.post(PATH, body, self.timeouts)
        answer.begun()
        while piece := await answer.piece():
            yield piece
        await answer.aclose()


class Aiohttp:
    """The library aiohttp."""

    def __init__(self, url: str) -> None:
        """Send to *url*."""
        aiohttp = importlib.import_module("aiohttp")
        connector, cookies = aiohttp.TCPConnector(limit=0), aiohttp.DummyCookieJar()
        self.url = url
        self.session = aiohttp.ClientSession(connector=connector, cookie_jar=cookies, auto_decompress=False)

    async def whole(self, body: bytes) -> bytes:
        """Return a whole answer."""
        async with self.session.post(self.url, data=body, headers=HEADERS, allow_redirects=False) as answer:
            return cast("bytes", await answer.read())

    async def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Return the pieces of an answer."""
        async with self.session.post(self.url, data=body, headers=HEADERS, allow_redirects=False) as answer:
            async for piece in answer.content.iter_any():
                yield piece


class HttpxAiohttp:
    """The library httpx over the transport of aiohttp."""

    def __init__(self, url: str) -> None:
        """Send to *url*."""
        limits = importlib.import_module("httpx").Limits(max_connections=1000, max_keepalive_connections=256)
        self.url = url
        self.session = importlib.import_module("httpx_aiohttp").HttpxAiohttpClient(trust_env=False, limits=limits)

    async def whole(self, body: bytes) -> bytes:
        """Return a whole answer."""
        return cast("bytes", (await self.session.post(self.url, content=body, headers=HEADERS)).content)

    async def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Return the pieces of an answer."""
        async with self.session.stream("POST", self.url, content=body, headers=HEADERS) as answer:
            async for piece in answer.aiter_raw():
                yield piece


class Pyqwest:
    """The library pyqwest, which is reqwest in Rust."""

    def __init__(self, url: str) -> None:
        """Send to *url*."""
        pyqwest = importlib.import_module("pyqwest")
        self.url = url
        self.session = pyqwest.Client(pyqwest.HTTPTransport())

    async def whole(self, body: bytes) -> bytes:
        """Return a whole answer."""
        return bytes((await self.session.post(self.url, HEADERS, body)).content)

    async def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Return the pieces of an answer."""
        async with self.session.stream("POST", self.url, HEADERS, body) as answer:
            async for piece in answer.content:
                yield bytes(piece)


class Pyreqwest:
    """The library pyreqwest, which is reqwest in Rust too."""

    def __init__(self, url: str) -> None:
        """Send to *url*."""
        self.url = url
        self.session = importlib.import_module("pyreqwest.client").ClientBuilder().build()

    async def whole(self, body: bytes) -> bytes:
        """Return a whole answer."""
        answer = await self.session.post(self.url).headers(HEADERS).body_bytes(body).build().send()
        return bytes(await answer.bytes())

    async def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Return the pieces of an answer."""
        request = self.session.post(self.url).headers(HEADERS).body_bytes(body)
        async with request.streamed_read_buffer_limit(0).build_streamed() as answer:
            while (piece := await answer.body_reader.read_chunk()) is not None:
                yield bytes(piece)


class Nothing:
    """No upstream at all: what the app itself costs."""

    def __init__(self, url: str) -> None:
        """Send nothing to *url*."""

    async def whole(self, body: bytes) -> bytes:
        """Return a constant."""
        del body
        return Stub.whole

    async def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Return a paced constant."""
        del body
        for _ in range(EVENTS):
            yield Stub.event
            await asyncio.sleep(PACE)


ENGINES: Final[Mapping[str, Callable[[str], Forwarding]]] = {
    "nothing": Nothing,
    "http1": lambda url: Own(url, Http1Engine),
    "httpx": lambda url: Own(url, HttpxEngine),
    "httpx-aiohttp": HttpxAiohttp,
    "aiohttp": Aiohttp,
    "pyqwest": Pyqwest,
    "pyreqwest": Pyreqwest,
}


@attrs.define
class Chat:
    """The resource of the app; *engine* is made when it is first asked, inside the loop."""

    name: str
    url: str
    engine: Forwarding | None = None

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Forward a request."""
        if self.engine is None:
            self.engine = ENGINES[self.name](self.url)
        document = orjson.loads(await req.stream.read())
        body = orjson.dumps(document | {"model": "upstream"})
        if document.get("stream"):
            resp.content_type, resp.stream = "text/event-stream", self.engine.stream(body)
        else:
            resp.content_type, resp.data = "application/json", orjson.dumps(orjson.loads(await self.engine.whole(body)))


def serve(name: str, port: int, upstream: int) -> None:
    """Forward what comes to *port* with the engine *name*, until it is ended."""
    app = falcon.asgi.App()
    app.add_route(PATH, Chat(name, f"http://127.0.0.1:{upstream}{PATH}"))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, lifespan="off")


# --- The load ---------------------------------------------------------------------------------------------------------


async def read(port: int) -> None:
    """Read streams from *port*, and print how many events came."""
    body = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hello"}]}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        came = await reader.read(-1)
        writer.close()
        return came.count(b"chat.completion.chunk")

    sys.stdout.write(f"{sum(await asyncio.gather(*(one() for _ in range(STREAMS))))}\n")


@attrs.define(kw_only=True)
class Subject:
    """An app with an engine, and its rounds: requests per second, and CPU seconds per request and event."""

    name: str
    port: int
    process: psutil.Process
    rates: list[float] = attrs.field(factory=list)
    whole: list[float] = attrs.field(factory=list)
    event: list[float] = attrs.field(factory=list)

    def used(self) -> float:
        """Return the CPU time that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def measure(self, core: int, script: Path) -> None:
        """Load it from *core*, once in each form."""
        before = self.used()
        arguments = ["-t1", "-c16", f"-d{SECONDS}s", "-s", str(script), f"http://127.0.0.1:{self.port}{PATH}"]
        told = printed(core, "wrk", *arguments)
        count = re.search(r"(\d+) requests in", told)
        if count is None or "Non-2xx" in told or int(count[1]) == 0:
            sys.exit(f"bench: {self.name} has not answered well:\n{told}")
        self.rates.append(int(count[1]) / SECONDS)
        self.whole.append((self.used() - before) / int(count[1]))
        before = self.used()
        events = int(printed(core, sys.executable, __file__, "read", str(self.port)))
        if events != STREAMS * EVENTS:
            sys.exit(f"bench: {self.name}: {events} events of {STREAMS * EVENTS} came")
        self.event.append((self.used() - before) / events)


def printed(core: int, *command: str) -> str:
    """Return what *command* prints, on one *core*."""
    return subprocess.run(pinned(core, *command), capture_output=True, text=True, check=True).stdout


def pinned(core: int, *command: str) -> list[str]:
    """Return what runs *command* on one *core*."""
    return ["taskset", "-c", str(core), *command]


def main() -> None:
    """Measure every engine that is installed, in turns, and print a table."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if shutil.which("wrk") is None or len(cores) < 2:  # noqa: PLR2004 - one for the apps, one for everything else
        sys.exit("bench: it needs the program wrk on PATH, and two cores")
    with ExitStack() as stack:
        script = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "chat.lua"
        script.write_text('wrk.method="POST" wrk.body=\'{"model":"m","messages":[{"role":"user","content":"hello"}]}\'')
        upstream = started(stack, cores[1], "stub").port
        subjects = [started(stack, cores[0], "serve", name, upstream=upstream) for name in ENGINES if is_there(name)]
        for number in range(ROUNDS):
            for subject in subjects:
                subject.measure(cores[1], script)
            sys.stderr.write(f"bench: round {number + 1} of {ROUNDS}\n")
    sys.stdout.write(table(subjects))


def is_there(name: str) -> bool:
    """Whether the library of an engine is installed."""
    return name in {"nothing", "http1", "httpx"} or importlib.util.find_spec(name.replace("-", "_")) is not None


def started(stack: ExitStack, core: int, *arguments: str, upstream: int | None = None) -> Subject:
    """Start this file with *arguments* on one *core* until *stack* unwinds; return when it listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    ports = [str(one) for one in (port, upstream) if one is not None]
    process = subprocess.Popen(pinned(core, sys.executable, __file__, *arguments, *ports))
    stack.callback(process.wait)
    stack.callback(process.terminate)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return Subject(name=arguments[-1], port=port, process=psutil.Process(process.pid))
    sys.exit(f"bench: {arguments[-1]} does not listen")


def table(subjects: Sequence[Subject]) -> str:
    """Return the medians as a Markdown table; the CPU time of an engine is that of its app without the app's own."""
    nothing = subjects[0]
    whole, event = statistics.median(nothing.whole), statistics.median(nothing.event)
    rows = [
        "| engine | requests/s | CPU per request | of which the engine | CPU per event | of which the engine |",
        "|---|---|---|---|---|---|",
    ]
    for one in subjects:
        costs = [statistics.median(one.whole), statistics.median(one.event)]
        own = [(cost - base) * 1e6 for cost, base in zip(costs, (whole, event), strict=True)]
        rows.append(
            f"| {one.name} | {statistics.median(one.rates):,.0f} | {costs[0] * 1e6:.0f} µs | {own[0]:.0f} µs "
            f"| {costs[1] * 1e6:.1f} µs | {own[1]:.1f} µs |"
        )
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stub", port]:
            uvloop.run(stub(int(port)))
        case ["serve", name, port, upstream]:
            serve(name, int(port), int(upstream))
        case ["read", port]:
            uvloop.run(read(int(port)))
        case _:
            main()
