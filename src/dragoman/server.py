"""uvicorn, made to keep the contract where it would not.

Laws of this file:
- What uvicorn would answer in its own words is answered in the contract's (ADR-0006.R3).
- A connection that is closed while the caller still sends is half-closed first, so that the answer can be read, and
  what still arrives is bounded (ADR-0010).
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from dragoman.web.gateway import Gateway
from dragoman.web.presentation import JSON, Presented

DRAIN_BYTES: Final = 1024 * 1024
"""How much is still taken from a caller who has been refused (ADR-0010)."""

DRAIN_SECONDS: Final = 2.0
"""How long a caller who has been refused may go on sending (ADR-0010)."""

RECEIVE_BUFFER: Final = 256 * 1024
"""The kernel's receive buffer per connection, in bytes; Linux keeps double, and grows it to megabytes otherwise."""


class _Lingering:
    """A transport whose `close` waits for the caller to stop sending, within bounds."""

    def __init__(self, transport: asyncio.Transport, is_receiving: Callable[[], bool]) -> None:
        self._transport = transport
        self._is_receiving = is_receiving
        self.draining = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the transport's own
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.draining or self._transport.is_closing()

    def close(self) -> None:
        if self.draining or self._transport.is_closing():
            return
        if not self._is_receiving():
            self._transport.close()
            return
        self.draining = True
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._transport.close)


def protocol_class(refuse_malformed: Callable[[], Presented]) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with our closing and our answer to what is no HTTP."""

    class Protocol(HttpToolsProtocol):
        _drained = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            lingering = _Lingering(transport, self._is_receiving)
            super().connection_made(lingering)  # type: ignore[arg-type]

        def _is_receiving(self) -> bool:
            cycle: RequestResponseCycle | None = self.cycle
            return cycle is None or cycle.more_body

        def data_received(self, data: bytes) -> None:
            if not self.transport.draining:  # type: ignore[attr-defined]
                super().data_received(data)
                return
            self._drained += len(data)
            if self._drained > DRAIN_BYTES:
                self.transport.abort()

        def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words stay unsaid
            self.transport.write(raw_response(refuse_malformed()))
            self.transport.close()

    return Protocol


def raw_response(presented: Presented) -> bytes:
    """Return *presented* as HTTP/1.1 bytes; the connection is closed after them."""
    body = presented.body or b""
    headers = [*presented.headers, ("content-type", JSON), ("content-length", str(len(body)))]
    lines = [f"HTTP/1.1 {presented.status} {HTTPStatus(presented.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        OSError: the address is taken, or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit this, and only when it is set before `listen` (tcp(7)).
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def serve(gateway: Gateway, listener: socket.socket) -> None:
    """Serve *gateway* on *listener* until a signal ends it."""
    # uvicorn's words about callers are not wanted: every request has its event.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        gateway,
        http=protocol_class(gateway.refuse_malformed),
        ws="none",
        lifespan="on",
        loop="uvloop",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])
