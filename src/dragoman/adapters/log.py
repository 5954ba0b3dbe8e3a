"""The event log: one JSON line per event, to a binary stream."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import BinaryIO, Final

import attrs
import orjson

_FORM: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


@attrs.frozen(kw_only=True)
class StreamLog:
    """Fits the port `EventLog`. Every line is flushed."""

    _stream: BinaryIO
    _now: Callable[[], datetime]

    def request(self, fields: Mapping[str, object]) -> None:
        """Write the one event of a request."""
        self._write("info", "request", fields)

    def failure(self, fields: Mapping[str, object]) -> None:
        """Write that the gateway itself failed."""
        self._write("error", "failure", fields)

    def state(self, fields: Mapping[str, object]) -> None:
        """Write that something that the gateway stands on has become bad, or good again."""
        self._write("warning", "state", fields)

    def _write(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        line = {"time": self._now(), "level": level, "event": event, **fields}
        self._stream.write(orjson.dumps(line, option=_FORM))
        self._stream.flush()


def build_log(stream: BinaryIO, now: Callable[[], datetime]) -> StreamLog:
    """Return a log that writes to *stream*, with the times of *now*."""
    return StreamLog(stream=stream, now=now)
