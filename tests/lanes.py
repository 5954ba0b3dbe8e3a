"""A whole gateway, a process of its own, before upstreams that fail: a sink behind a fault proxy for each lane.

Laws of this file:
- A lane is a provider with one model, so that no breaker, no place and no budget is shared between two tests.
- The sinks and proxies live in one loop, in a thread; what changes them while they work is run there.
- Whatever the gateway says to anybody is kept, so that it can be searched for what nobody may be told.
"""

import asyncio
import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from dragoman.adapters.ledger import ledger_path
from dragoman.ports import Administration
from fault_proxy import FaultProxy, fault_proxy
from process import LOOPBACK, PATIENCE, Answer, Served, ask, served
from sink import Sink, sinking
from stores import SCOPES, administer

T = TypeVar("T")

PROVIDER: Final = "canaryprovider"
MODEL: Final = "canarymodel"
KEY: Final = "canarykey-5d1f"
PLACE: Final = "canaryplace"
"""What nobody may be told: the beginning of every provider, upstream model, key and path of the configuration."""

CHAT: Final = "/v1/chat/completions"
CLIENT: Final = "/client/api/client/v1/chat/completions"
MOUNTS: Final = "/=dragoman,/client=client"
PLACES: Final = 4
"""How many requests a provider gets at once."""

QUICK: Final = "{ connect = 1, first_byte = 1, idle = 1, total = 5 }"
CALM: Final = "{ connect = 5, first_byte = 30, idle = 30, total = 60 }"


@attrs.define(eq=False, kw_only=True)
class Lane:
    """An upstream of its own: a *sink*, and the *proxy* that stands before it.

    Callers name it by one of three aliases: *quick* has deadlines of a second, *calm* has long ones, and *backed* goes
    on to the lane *behind* it.
    """

    number: int
    sink: Sink
    proxy: FaultProxy
    kind: str = "openai"
    behind: int | None = None

    @property
    def quick(self) -> str:
        """The alias with short deadlines."""
        return f"quick-{self.number}"

    @property
    def calm(self) -> str:
        """The alias with long deadlines."""
        return f"calm-{self.number}"

    @property
    def backed(self) -> str:
        """The alias that has a second target."""
        return f"backed-{self.number}"

    @property
    def provider(self) -> str:
        """The name of its provider, which nobody is told."""
        return f"{PROVIDER}-{self.number}"

    @property
    def model(self) -> str:
        """What its provider calls the model, which nobody is told."""
        return f"{MODEL}-{self.number}"

    @property
    def asked(self) -> int:
        """How many requests have reached the sink."""
        return len(self.sink.requests)

    def settings(self) -> str:
        """Return its part of the settings file."""
        target = f'provider = "{self.provider}", model = "{self.model}"'
        prices = 'prices = { input = "1", output = "2" }'
        lines = [
            "[[provider]]",
            f'name = "{self.provider}"',
            f'kind = "{self.kind}"',
            f'base_url = "http://{LOOPBACK}:{self.proxy.port}/{PLACE}"',
            'key = "env:CANARY_KEY"',
            "private = true",
            f"capacity = {PLACES}",
        ]
        for alias, timeouts in ((self.quick, QUICK), (self.calm, CALM)):
            lines += ["[[alias]]", f'id = "{alias}"', prices, f"target = [{{ {target}, timeouts = {timeouts} }}]"]
        if self.behind is not None:
            other = f'provider = "{PROVIDER}-{self.behind}", model = "{MODEL}-{self.behind}", order = 1'
            lines += ["[[alias]]", f'id = "{self.backed}"', prices]
            lines += [f"target = [{{ {target}, timeouts = {QUICK} }}, {{ {other} }}]"]
        return "\n".join([*lines, ""])


@attrs.define(eq=False)
class Yard:
    """Where the upstreams live: *loop* runs in a thread of its own."""

    loop: asyncio.AbstractEventLoop
    stack: AsyncExitStack = attrs.field(factory=AsyncExitStack)
    _lanes: int = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* gives, run where the upstreams live."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def lane(self, kind: str = "openai", behind: int | None = None) -> Lane:
        """Build one more lane."""

        async def built() -> tuple[Sink, FaultProxy]:
            sink = await self.stack.enter_async_context(sinking())
            return sink, await self.stack.enter_async_context(fault_proxy(sink.port))

        self._lanes += 1
        sink, proxy = self.run(built())
        return Lane(number=self._lanes, sink=sink, proxy=proxy, kind=kind, behind=behind)


@contextmanager
def yard() -> Iterator[Yard]:
    """Run a loop for upstreams until the end of the block."""
    made = Yard(asyncio.new_event_loop())
    thread = threading.Thread(target=made.loop.run_forever)
    thread.start()
    try:
        yield made
    finally:
        made.run(made.stack.aclose())
        made.loop.call_soon_threadsafe(made.loop.stop)
        thread.join(PATIENCE)
        made.loop.close()


@attrs.define(eq=False, kw_only=True)
class Gateway:
    """A gateway that serves: *told* is everything that it has said to callers."""

    served: Served
    token: str
    store: Path
    told: list[bytes] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=lambda: iter(range(1, 1_000_000)))

    def ask(
        self,
        alias: str,
        *,
        path: str = CHAT,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        **members: Any,  # noqa: ANN401 - JSON
    ) -> Answer:
        """Return the whole answer to a chat request; *name* is the caller's own id for it."""
        with self.asking(alias, path=path, headers=headers, name=name, **members) as answer:
            try:
                body = answer.read()
            except http.client.IncompleteRead as cut:
                body = cut.partial + b"(cut)"
        told = {key.lower(): value for key, value in answer.getheaders()}
        self.told.append(repr(told).encode() + body)
        return Answer(status=answer.status, headers=told, body=body)

    def get(self, path: str) -> Answer:
        """Return the answer to a request without a body."""
        answer = ask(self.served.port, f"GET {path} HTTP/1.1", Authorization=f"Bearer {self.token}")
        self.told.append(repr(answer.headers).encode() + answer.body)
        return answer

    @contextmanager
    def asking(
        self,
        alias: str,
        *,
        path: str = CHAT,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        **members: Any,  # noqa: ANN401 - JSON
    ) -> Iterator[http.client.HTTPResponse]:
        """Ask, and give the answer as it comes; the connection ends with the block."""
        line = http.client.HTTPConnection(LOOPBACK, self.served.port, timeout=PATIENCE)
        try:
            self.send(line, alias, path=path, headers=headers, name=name, **members)
            with line.getresponse() as answer:
                yield answer
        finally:
            line.close()

    def send(
        self,
        line: http.client.HTTPConnection,
        alias: str,
        *,
        path: str = CHAT,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        **members: Any,  # noqa: ANN401 - JSON
    ) -> None:
        """Send a chat request on *line*."""
        body = {"model": alias, "messages": [{"role": "user", "content": "hello"}], **members}
        stated = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            **({} if name is None else {"X-Request-ID": name}),
            **(headers or {}),
        }
        line.request("POST", path, body=json.dumps(body), headers=stated)

    def name(self) -> str:
        """Return a caller's id that no other request has."""
        return f"fault-{next(self._numbers)}"

    def event_of(self, name: str) -> dict[str, Any]:
        """Return the log event of the request that its caller called *name*."""
        [event] = self.served.events_of(name)
        return event

    def entries(self) -> list[dict[str, Any]]:
        """Return what the ledger has written until now."""
        return entries_of(self.store)

    def entry_of(self, name: str) -> dict[str, Any]:
        """Return the ledger's entry of the request that its caller called *name*, as soon as it is written."""
        request_id = self.event_of(name)["request_id"]
        found: list[dict[str, Any]] = []

        def written() -> bool:
            found[:] = [entry for entry in self.entries() if entry["request_id"] == request_id]
            return bool(found)

        until(written)
        [entry] = found
        return entry


def entries_of(store: Path) -> list[dict[str, Any]]:
    """Return the ledger beside *store*."""
    connection = sqlite3.connect(f"file:{ledger_path(store)}?mode=ro", uri=True, timeout=PATIENCE)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM entries ORDER BY number")]
    finally:
        connection.close()


@contextmanager
def gateway(folder: Path, lanes: Sequence[Lane], **variables: str) -> Iterator[Gateway]:
    """Serve the *lanes* with a store in *folder* until the end of the block."""

    async def furnished(administration: Administration) -> str:
        await administration.create_organization("acme")
        return (await administration.create_key("acme", scopes=SCOPES | {"metrics"})).token

    store, settings = folder / "store.db", folder / "dragoman.toml"
    token = administer(store, furnished)
    settings.write_text("phase = 2\n" + "".join(lane.settings() for lane in lanes))
    stated = {
        "DRAGOMAN_STORE": str(store),
        "DRAGOMAN_MOUNTS": MOUNTS,
        "DRAGOMAN_LIMIT_FAILED_LOGINS": "off",
        "CANARY_KEY": KEY,
        **variables,
    }
    with served(folder / "log", "serve", "--port", "0", "--config", str(settings), **stated) as running:
        yield Gateway(served=running, token=token, store=store)


@attrs.define(eq=False)
class FaultyHouse:
    """A *gateway* and its *lanes*; the first is behind all others, and sound."""

    gateway: Gateway
    lanes: Sequence[Lane]
    yard: Yard
    _taken: int = 1

    @property
    def sound(self) -> Lane:
        """The lane behind all others, to which no test does anything."""
        return self.lanes[0]

    def lane(self) -> Lane:
        """Return a lane that nobody has used."""
        self._taken += 1
        return self.lanes[self._taken - 1]


@contextmanager
def faulty_house(folder: Path, lanes: int) -> Iterator[FaultyHouse]:
    """Serve so many *lanes* until the end of the block."""
    with yard() as upstreams:
        made = [upstreams.lane(behind=None if number == 0 else 1) for number in range(lanes)]
        with gateway(folder, made) as running:
            yield FaultyHouse(running, made, upstreams)


def disclosed(text: bytes, lanes: Sequence[Lane]) -> list[str]:
    """Return which of the things that nobody may be told stand in *text*."""
    secret = [PROVIDER, MODEL, KEY, PLACE]
    secret += [f"{LOOPBACK}:{port}" for lane in lanes for port in (lane.proxy.port, lane.sink.port)]
    return [word for word in secret if word.encode() in text]


def until(met: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Return after how many seconds *met* is true, which it must become within so many *seconds*."""
    begun = time.monotonic()
    while not met():
        assert time.monotonic() - begun < seconds, "it never came to be"
        time.sleep(0.01)
    return time.monotonic() - begun


def events_in(body: bytes) -> list[Any]:
    """Return the data of the events of a stream: documents, and `[DONE]` as it is."""
    data = [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part.startswith(b"data: ")]
    return [one.decode() if one == b"[DONE]" else json.loads(one) for one in data]


def said_in(body: bytes) -> str:
    """Return the text of a streamed answer."""
    chunks = [event for event in events_in(body) if isinstance(event, dict) and "choices" in event]
    return "".join(choice["delta"].get("content") or "" for one in chunks for choice in one["choices"])


def errors_in(body: bytes) -> list[Any]:
    """Return the error events of a stream."""
    return [event["error"] for event in events_in(body) if isinstance(event, dict) and "error" in event]
