"""The event log: one JSON line per event, to a binary stream."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import BinaryIO, Final

import attrs
import orjson

_FORM: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


@attrs.define(kw_only=True)
class StreamLog:
    """Fits the port `EventLog`. No line waits for the next one.

    PERF: writing to a pipe takes as long as making a line. So the lines of the requests that end in one turn of the
    event loop, which *soon* calls back behind it, are flushed together.
    """

    _stream: BinaryIO
    _now: Callable[[], datetime]
    _soon: Callable[[Callable[[], None]], object]
    _waiting: bool = attrs.field(default=False, init=False)

    def request(self, fields: Mapping[str, object]) -> None:
        """Write the one event of a request."""
        self._stream.write(self._line("info", "request", fields))
        if not self._waiting:
            self._waiting = True
            self._soon(self._flush)

    def failure(self, fields: Mapping[str, object]) -> None:
        """Write that the gateway itself failed."""
        self._write("error", "failure", fields)

    def state(self, fields: Mapping[str, object]) -> None:
        """Write that something that the gateway stands on has become bad, or good again."""
        self._write("warning", "state", fields)

    def _write(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        self._stream.write(self._line(level, event, fields))
        self._stream.flush()

    def _line(self, level: str, event: str, fields: Mapping[str, object]) -> bytes:
        return orjson.dumps({"time": self._now(), "level": level, "event": event, **fields}, option=_FORM)

    def _flush(self) -> None:
        self._waiting = False
        self._stream.flush()


def flush_at_the_end_of_the_turn(flush: Callable[[], None]) -> None:
    """Call *flush* behind what the running event loop does now; at once where none is running."""
    try:
        asyncio.get_running_loop().call_soon(flush)
    except RuntimeError:
        flush()


def build_log(stream: BinaryIO, now: Callable[[], datetime]) -> StreamLog:
    """Return a log that writes to *stream*, with the times of *now*."""
    return StreamLog(stream=stream, now=now, soon=flush_at_the_end_of_the_turn)
