"""What a connection may cost, and how it is closed."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import attrs


@attrs.frozen(kw_only=True)
class Wire:
    """What a caller may take of a connection (ADR-0034). Times are in seconds, sizes in bytes.

    *head* is how long a head may take, *body_pause* and *body* a pause in a body and all of it, *idle* is how long a
    connection is kept between two requests, and *unread* how long a caller may not read his answer. *pipelined* is how
    many requests may wait behind the one in work. Of a caller who was refused, *drain_bytes* are still taken, for
    *drain* (ADR-0010).
    """

    head: float = 10.0
    body_pause: float = 10.0
    body: float = 60.0
    idle: float = 5.0
    unread: float = 60.0
    head_bytes: int = 32 * 1024
    headers: int = 100
    pipelined: int = 100
    drain: float = 2.0
    drain_bytes: int = 1024 * 1024


WIRE: Final = Wire()


class Alarm:
    """A deadline that is moved often and reached seldom.

    PERF: a timer of the event loop costs as much as reading a request; so there is one a connection, which is looked at
    when it fires, and set again when the deadline has been moved meanwhile.
    """

    __slots__ = ("_due", "_fires_at", "_handle", "_loop", "_ring")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        """Take what to call when a deadline is reached."""
        self._loop = loop
        self._ring = ring
        self._due: float | None = None
        self._fires_at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Ring at *due*, by the clock of the loop, in place of any other time."""
        self._due = due
        if self._handle is None or due < self._fires_at:
            self._arm(due)

    def clear(self) -> None:
        """Do not ring."""
        self._due = None

    def stop(self) -> None:
        """Do not ring, and leave no timer behind."""
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = due
        self._handle = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._handle = None
        if self._due is None:
            return
        if self._due > self._loop.time():
            self._arm(self._due)
            return
        self._due = None
        self._ring()


class Lingering:
    """A transport whose `close` waits for the caller to stop sending, within bounds.

    A connection that is closed while bytes are unread is reset, which destroys an answer on its way (RFC 9112, 9.6).
    """

    def __init__(self, transport: asyncio.Transport, wire: Wire, is_receiving: Callable[[], bool]) -> None:
        """Take what says whether the caller is in the middle of a request."""
        self._transport = transport
        self._wire = wire
        self._is_receiving = is_receiving
        self.write = transport.write  # PERF: not through __getattr__
        self.draining = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the transport's own
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is to be sent."""
        return self.draining or self._transport.is_closing()

    def close(self) -> None:
        """Close as soon as everything is written and, where the caller still sends, he has stopped."""
        if self.is_closing():
            return
        if not self._is_receiving():
            self._transport.close()
            return
        self.draining = True
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(self._wire.drain, self._transport.close)
