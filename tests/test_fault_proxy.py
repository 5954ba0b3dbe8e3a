"""That the proxy, and the sink behind it, do to a connection what they say: tests of faults stand on it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

from fault_proxy import FaultProxy, fault_proxy
from process import LOOPBACK
from sink import End, Wait, head, sinking, whole

REQUEST: Final = b"POST /v1/x HTTP/1.1\r\nContent-Length: 2\r\nX-Own: yes\r\n\r\n{}"
ANSWER: Final = head(content_length="20000") + b"x" * 20_000


async def asked(port: int, patience: float = 5.0) -> tuple[bytes, float]:
    """Return what comes from *port* until it ends, and after how many seconds; *patience* ends it too."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(REQUEST)
    read = b""
    try:
        async with asyncio.timeout(patience):
            while piece := await reader.read(65536):
                read += piece
    except (TimeoutError, ConnectionResetError) as error:
        read += type(error).__name__.encode()
    finally:
        writer.close()
    return read, loop.time() - began


def through(patience: float = 5.0, **faults: Any) -> tuple[bytes, float]:  # noqa: ANN401 - properties of a proxy
    """Return what comes of ANSWER through a proxy with these *faults*, and after how many seconds."""

    async def ask() -> tuple[bytes, float]:
        async with sinking(lambda _: [ANSWER, End()]) as sink, fault_proxy(sink.port) as proxy:
            for name, value in faults.items():
                setattr(proxy, name, value)
            return await asked(proxy.port, patience)

    return asyncio.run(ask())


FAULTS: Final[dict[str, tuple[dict[str, Any], Callable[[bytes, float], bool]]]] = {
    "none": ({}, lambda read, _: read == ANSWER),
    "latency": ({"latency": 0.1}, lambda read, after: read == ANSWER and after >= 0.19),
    "first-byte": ({"first_byte": 0.2}, lambda read, after: read == ANSWER and after >= 0.19),
    "bandwidth": ({"bandwidth": 100_000}, lambda read, after: read == ANSWER and after >= 0.15),
    "cut": ({"cut_after": 1000}, lambda read, _: read == ANSWER[:1000]),
    "reset": ({"cut_after": 1000, "reset": True}, lambda read, _: read == ANSWER[:1000] + b"ConnectionResetError"),
    "garbage": ({"garbage": b"\x00\x01"}, lambda read, _: set(read) == {0, 1}),
    "black-hole": ({"black_hole": True, "patience": 0.2}, lambda read, _: read == b"TimeoutError"),
    "reset-at-once": ({"reset_at_once": True}, lambda read, _: read == b"ConnectionResetError"),
}


@pytest.mark.parametrize(("faults", "shows"), FAULTS.values(), ids=FAULTS)
def test_a_fault_shows(faults: dict[str, Any], shows: Callable[[bytes, float], bool]) -> None:
    """Each property does its own to what comes back, and nothing else."""
    read, after = through(**faults)

    assert shows(read, after), (read[-50:], after)


def test_a_proxy_that_refuses_may_listen_again() -> None:
    """It comes back on the same port."""

    async def ask() -> tuple[bytes, int]:
        async with sinking(lambda _: [ANSWER, End()]) as sink, fault_proxy(sink.port) as proxy:
            await proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await asked(proxy.port)
            await proxy.listen()
            return (await asked(proxy.port))[0], proxy.connections

    assert (ANSWER, 1) == asyncio.run(ask())


def test_a_proxy_ends_what_one_side_ended() -> None:
    """Neither side is left alone for long."""

    async def ask() -> tuple[FaultProxy, int]:
        async with sinking(lambda _: [Wait(None)]) as sink, fault_proxy(sink.port) as proxy:
            await asked(proxy.port, patience=0.05)
            await asyncio.sleep(0.1)
            return proxy, sink.open

    proxy, still_open = asyncio.run(ask())
    assert (1, 0, 0) == (proxy.connections, proxy.open, still_open)


def test_a_sink_keeps_what_it_was_sent() -> None:
    """Every request is there with its bytes and its headers, and its connection's end."""

    async def ask() -> None:
        async with sinking() as sink:
            sink.tell([*whole(b"{}", 201), End()])
            read, _ = await asked(sink.port)
            assert read.startswith(b"HTTP/1.1 201 ")
            [received] = sink.requests
            assert (REQUEST, "/v1/x", "yes", {}, 1) == (
                received.raw,
                received.path,
                received.headers["x-own"],
                received.document,
                received.nth,
            )
            assert received.left is not None
            assert LOOPBACK == received.peer[0]
            assert (len(read), 1, 0) == (sink.sent, sink.connections, sink.open)

    asyncio.run(ask())
