"""How a streamed answer goes out: piece by piece, with signs of life, and with its failure as its last event.

Laws of this file:
- Nothing waits for more: what is there is sent, and nothing is asked for before it has gone.
- After the first byte whatever fails is one event that the SDKs raise on, and no end follows it: an answer that was
  cut must never look like one that is finished.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from dragoman.ports import Sink
from dragoman.translate.sse import PING
from dragoman.web.context import Events, Send

QUIET: Final = 15.0
"""Seconds without an event after which a sign of life goes out: proxies close what says nothing for 30 to 60."""


class Pulse:
    """Sends signs of life whenever nothing else has been sent for some time; fits the port `Sink`."""

    def __init__(self, send: Send, quiet: float, direct: Sink | None) -> None:
        """Take how long it may be *quiet*, in seconds, and where pieces can go *direct*, if they can."""
        self._send = send
        self._direct = direct
        self._quiet = quiet
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._beating: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(quiet, self._look)
        self._busy = False
        self.sent = 0

    async def send(self, piece: bytes) -> None:
        """Send a *piece* of the answer."""
        self._busy = True
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._busy = False
        self.sent += len(piece)
        self._last = self._loop.time()

    @property
    def ready(self) -> bool:
        """Whether nothing else is being sent, and a piece can go direct."""
        return self._direct is not None and not self._busy and self._direct.ready

    def push(self, piece: bytes) -> None:
        """Send a *piece* of the answer direct."""
        assert self._direct is not None  # noqa: S101 - else it was not ready
        self._direct.push(piece)
        self.sent += len(piece)
        self._last = self._loop.time()

    async def stop(self) -> None:
        """Send nothing any more."""
        self._timer.cancel()
        if self._beating is not None:
            await self._beating
            self._timer.cancel()  # which it has set again

    def _look(self) -> None:
        due = self._last + self._quiet
        if self._busy or due > self._loop.time():
            self._timer = self._loop.call_later(max(due - self._loop.time(), self._quiet / 10), self._look)
            return
        self._beating = self._loop.create_task(self._beat())

    async def _beat(self) -> None:
        await self.send(PING)
        self._timer = self._loop.call_later(self._quiet, self._look)


async def send_events(
    events: Events,
    send: Send,
    *,
    worded: Callable[[Exception], bytes],
    quiet: float = QUIET,
    direct: Sink | None = None,
) -> int:
    """Send all *events*, and return how many bytes they had; *worded* gives the body of the error that ends them.

    What can go *direct*, if there is such a way, need not wait for its turn in the event loop.
    """
    pulse = Pulse(send, quiet, direct)
    if direct is not None:
        events.divert(pulse)
    try:
        while piece := await events.piece():
            await pulse.send(piece)
    except OSError:
        raise  # the caller has left
    except Exception as error:  # noqa: BLE001 - after the first byte a fault of ours is an event, too
        await pulse.send(b"data: " + worded(error) + b"\n\n")
    finally:
        await pulse.stop()
    await send({"type": "http.response.body", "body": b""})
    return pulse.sent
