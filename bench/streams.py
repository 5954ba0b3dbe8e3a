"""The load of streams: opens many at once, reads each to its end and judges it, and says what came of them.

Started as `python -m bench.streams`, with an `Order` as JSON on its standard input; it prints an `Account` as JSON. It
is a process of its own, so that it can have another core than what it loads, and ends within the time that it is given.

Laws of this file:
- One connection a stream, all from this process; its first event is waited for from when its request is sent.
- Every stream is accounted for: whole, or with what is wrong with it.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs
import cattrs
import httptools
import orjson
import uvloop

from bench.reading import Reading

OK: Final = 200


@attrs.frozen(kw_only=True)
class Order:
    """What to do: *streams* of so many *pieces* from *port*, begun within *spread* seconds, ended within *limit*."""

    port: int
    path: str
    headers: Mapping[str, str]
    body: str
    streams: int
    pieces: int
    spread: float
    limit: float


@attrs.frozen(kw_only=True)
class Account:
    """What came: so many *events* of so many *streams*, in *seconds*; *wrong* says what was wrong with how many.

    *first* are the nanoseconds until a stream's first event came, *delays* those that each piece was on its way, each
    as its median and the 99th percentile.
    """

    streams: int
    events: int
    seconds: float
    wrong: Mapping[str, int]
    first: Sequence[int]
    delays: Sequence[int]


class Caller(asyncio.Protocol):
    """One connection, and the stream on it; *over* is done when the stream is."""

    def __init__(self, request: bytes, reading: Reading, over: "asyncio.Future[None]") -> None:
        """Send *request* once it is connected."""
        self.request = request
        self.reading = reading
        self.over = over
        self.parser = httptools.HttpResponseParser(self)
        self.sent = 0
        self.refusal = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast("asyncio.Transport", transport)
        self.sent = time.monotonic_ns()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Read."""
        self.now = time.monotonic_ns()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.reading.cut(f"it was no HTTP: {error}")
            self.end()

    def on_body(self, body: bytes) -> None:
        """Judge."""
        if self.parser.get_status_code() == OK:
            self.reading.feed(body, now=self.now)
        else:
            self.refusal += body

    def on_message_complete(self) -> None:
        """Close."""
        status = self.parser.get_status_code()
        if status != OK:
            self.reading.cut(f"it was answered {status}: {self.refusal.decode(errors='replace')[:90]}")
        self.reading.ended()
        self.end()

    def connection_lost(self, _: Exception | None) -> None:
        """Take that the stream is over, whether it had ended or not."""
        if not self.over.done():
            self.reading.cut("its connection was closed")
            self.end()

    def end(self) -> None:
        """Have done."""
        self.transport.close()
        if not self.over.done():
            self.over.set_result(None)


async def carry_out(order: Order) -> Account:
    """Open the streams, and return what came of them."""
    began = time.monotonic()
    callers = [Caller(request_of(order), Reading(pieces=order.pieces), asyncio.Future()) for _ in range(order.streams)]
    deadline = asyncio.get_running_loop().time() + order.limit
    for number, caller in enumerate(callers):
        await connect(caller, order.port)
        await asyncio.sleep(max(0.0, began + (number + 1) * order.spread / order.streams - time.monotonic()))
    _, late = await asyncio.wait(
        [caller.over for caller in callers], timeout=deadline - asyncio.get_running_loop().time()
    )
    for caller in callers:
        if caller.over in late:
            caller.reading.cut(f"it was not over after {order.limit:.0f} s")
    return account_of(callers, seconds=time.monotonic() - began)


async def connect(caller: Caller, port: int) -> None:
    """Connect *caller*; one who cannot be is over."""
    try:
        await asyncio.get_running_loop().create_connection(lambda: caller, "127.0.0.1", port)
    except OSError as error:
        caller.reading.cut(f"it was not connected: {error}")
        caller.over.set_result(None)


def request_of(order: Order) -> bytes:
    """Return the bytes of the request."""
    lines = [f"POST {order.path} HTTP/1.1", f"host: 127.0.0.1:{order.port}", f"content-length: {len(order.body)}"]
    lines += [f"{name}: {value}" for name, value in order.headers.items()]
    return "\r\n".join([*lines, "", order.body]).encode("ascii")


def account_of(callers: Sequence[Caller], *, seconds: float) -> Account:
    """Return what came of all streams."""
    readings = [caller.reading for caller in callers]
    waits = [caller.reading.first - caller.sent for caller in callers if caller.reading.first is not None]
    return Account(
        streams=len(readings),
        events=sum(reading.events for reading in readings),
        seconds=seconds,
        wrong=Counter(reading.wrong for reading in readings if reading.wrong is not None),
        first=middle_and_end(waits),
        delays=middle_and_end([delay for reading in readings for delay in reading.delays]),
    )


def middle_and_end(values: Sequence[int]) -> list[int]:
    """Return the median of *values* and their 99th percentile; nothing where there are none."""
    ordered = sorted(values)
    return [ordered[len(ordered) * share // 100] for share in (50, 99)] if ordered else []


def main() -> None:
    """Do as ordered, and say what came of it."""
    told: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    account = uvloop.run(carry_out(cattrs.structure(told, Order)))
    sys.stdout.buffer.write(orjson.dumps(cattrs.unstructure(account)))


if __name__ == "__main__":
    main()
