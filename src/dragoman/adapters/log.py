"""The event log: one JSON line per event, to a binary stream."""

from collections.abc import Callable
from datetime import datetime
from typing import BinaryIO

import attrs
import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger


@attrs.frozen(kw_only=True)
class StreamLog:
    """Fits the port `EventLog`."""

    _logger: structlog.typing.FilteringBoundLogger

    def request(self, fields: dict[str, object]) -> None:
        """Write the one event of a request."""
        self._logger.info("request", **fields)

    def failure(self, fields: dict[str, object]) -> None:
        """Write that the gateway itself failed."""
        self._logger.error("failure", **fields)


def build_log(stream: BinaryIO, now: Callable[[], datetime]) -> StreamLog:
    """Return a log that writes to *stream* and flushes every line."""

    def lead(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
        return {"time": now(), "level": level, "event": event.pop("event"), **event}

    logger = structlog.wrap_logger(
        structlog.BytesLogger(stream),
        processors=[lead, structlog.processors.JSONRenderer(serializer=_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
    )
    return StreamLog(logger=logger)


def _dumps(event: EventDict, **_: object) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_UTC_Z)
