"""uvicorn, made to keep the contract where it would not, and to end as a deployment expects."""

import socket
from typing import Final

from dragoman.server.life import Ending, hold_signals, serve
from dragoman.server.protocol import raw_response
from dragoman.server.wire import WIRE, Wire

__all__ = ["KERNEL_BUFFER", "Ending", "Wire", "hold_signals", "listen", "raw_response", "serve"]

KERNEL_BUFFER: Final = 256 * 1024
"""What the kernel keeps per connection and direction, in bytes; Linux doubles it, and takes megabytes otherwise."""


def listen(host: str, port: int, wire: Wire = WIRE) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        OSError: the address is taken, or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit these, and the buffers only when they are set before `listen` (tcp(7)).
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux cuts off who does not read; it alone knows what he has taken
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(wire.unread * 1000))
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener
