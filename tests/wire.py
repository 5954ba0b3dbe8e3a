"""Asks an ASGI app in this process: one scope, a body in pieces, and everything that was sent back.

Laws of this file:
- Nothing is added to a request but what a server adds: headers are sent as they are given.
- An app that sends no answer, or breaks the order of ASGI messages, fails the test.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs

from dragoman.web.gateway import Gateway
from fakes import TOKEN

Message = MutableMapping[str, Any]
Headers = Mapping[str, str | bytes]

CHAT: Final = "/v1/chat/completions"
JSON: Final = "application/json"
ADDRESS: Final = "192.0.2.1"
"""Where a request comes from, unless it is said."""
VALID: Final[Mapping[str, Any]] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
"""A request that passes every check."""


@attrs.frozen(kw_only=True)
class Answer:
    """What came back; *looks* is how often the app asked for a piece of the body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    looks: int

    def header(self, name: str) -> str | None:
        """Return the value of the header *name*, which may stand once."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1
        return values[0] if values else None

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON."""
        return json.loads(self.body)


def ask(  # noqa: PLR0913 - the parts of a request
    app: Gateway,
    method: str,
    path: str,
    *,
    headers: Headers | None = None,
    query: bytes = b"",
    body: bytes | Sequence[bytes] = b"",
    leaves: bool = False,
    address: str = ADDRESS,
) -> Answer:
    """Return the answer of *app*; a *body* in pieces comes in these, and a caller who *leaves* does not end it."""
    asking = asked(app, method, path, headers=headers, query=query, body=body, leaves=leaves, address=address)
    return asyncio.run(asking)


async def asked(  # noqa: PLR0913 - the parts of a request
    app: Gateway,
    method: str,
    path: str,
    *,
    headers: Headers | None = None,
    query: bytes = b"",
    body: bytes | Sequence[bytes] = b"",
    leaves: bool = False,
    address: str = ADDRESS,
) -> Answer:
    """Return the answer of *app*, as `ask` does, within an event loop that runs."""
    scope = _scope(method, path, headers=headers or {}, query=query, address=address)
    return await _exchange(app, scope, [body] if isinstance(body, bytes) else body, leaves=leaves)


@asynccontextmanager
async def in_work(app: Gateway, *, path: str = CHAT) -> AsyncIterator[list[Message]]:
    """Keep a valid request in work, whose body comes at the end of the block; yield what is sent back."""
    body = json.dumps(VALID).encode()
    reading, arrives = asyncio.Event(), asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        reading.set()
        await arrives.wait()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"authorization": f"Bearer {TOKEN}", "content-type": JSON, "content-length": str(len(body))}
    work = asyncio.create_task(app(_scope("POST", path, headers=headers), receive, send))
    try:
        await reading.wait()
        yield sent
        arrives.set()
        await work
    finally:
        work.cancel()


def _scope(method: str, path: str, *, headers: Headers, query: bytes = b"", address: str = ADDRESS) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower().encode("latin-1"), _bytes(value)) for name, value in headers.items()],
        "client": (address, 50000),
        "server": ("gateway.test", 80),
    }


def post(  # noqa: PLR0913 - the parts of a request
    app: Gateway,
    document: object,
    *,
    path: str = CHAT,
    token: str | None = TOKEN,
    headers: Headers | None = None,
    leaves: bool = False,
    address: str = ADDRESS,
) -> Answer:
    """Return the answer to a JSON *document*; bytes are sent as they are, and *headers* win over the usual ones."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    usual: dict[str, str | bytes] = {"content-type": JSON, "content-length": str(len(body))}
    if token is not None:
        usual["authorization"] = f"Bearer {token}"
    return ask(app, "POST", path, headers=usual | dict(headers or {}), body=body, leaves=leaves, address=address)


def stream_to(app: Gateway, document: object, send: Callable[[Message], Awaitable[None]]) -> None:
    """Send a JSON *document* to *app*, whose answer goes to *send*; its caller stays until the end."""
    waiting: list[Message] = [{"type": "http.request", "body": json.dumps(document).encode(), "more_body": False}]

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop()

    headers = {"authorization": f"Bearer {TOKEN}", "content-type": JSON}
    asyncio.run(app(_scope("POST", CHAT, headers=headers), receive, send))


def get(
    app: Gateway, path: str, *, token: str | None = TOKEN, headers: Headers | None = None, address: str = ADDRESS
) -> Answer:
    """Return the answer to a GET of *path*."""
    usual: dict[str, str | bytes] = {} if token is None else {"authorization": f"Bearer {token}"}
    return ask(app, "GET", path, headers=usual | dict(headers or {}), address=address)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


async def _exchange(app: Gateway, scope: Message, pieces: Sequence[bytes], *, leaves: bool) -> Answer:
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if not leaves:
        waiting[-1]["more_body"] = False
    looks = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal looks
        looks += 1
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)

    start, *bodies = sent
    assert "http.response.start" == start["type"]
    assert ["http.response.body"] * len(bodies) == [message["type"] for message in bodies]
    return Answer(
        status=start["status"],
        headers=tuple((name.decode("ascii"), value.decode("ascii")) for name, value in start["headers"]),
        body=b"".join(message.get("body", b"") for message in bodies),
        looks=looks,
    )
