"""The event log: one JSON line an event, at once."""

import io
import json

from gateway_conformance.rules import confirms

from dragoman.adapters.log import build_log
from fakes import NOW


def lines(stream: io.BytesIO) -> list[dict[str, object]]:
    """Return what was written to *stream*."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@confirms("ADR-0015.R1")
def test_an_event_is_one_line_of_json() -> None:
    """A request, a failure and a change of state are one line each, with the time, the level and the event first."""
    stream, fields = io.BytesIO(), {"request_id": "r", "status": 200, "stream": False, "model": "line\nbreak"}
    log = build_log(stream, lambda: NOW)

    log.request(fields)
    log.failure({"request_id": "r", "places": ["a:1"]})
    log.state({"part": "store", "state": "bad"})

    head = {"time": "2026-06-14T12:00:00Z"}
    expected = [
        head | {"level": "info", "event": "request"} | fields,
        head | {"level": "error", "event": "failure", "request_id": "r", "places": ["a:1"]},
        head | {"level": "warning", "event": "state", "part": "store", "state": "bad"},
    ]
    assert expected == lines(stream)
    assert ["time", "level", "event"] == list(lines(stream)[0])[:3]


class Flushed(io.BytesIO):
    """Counts how often it was flushed."""

    flushes = 0

    def flush(self) -> None:
        """Count."""
        self.flushes += 1


def test_every_line_is_flushed() -> None:
    """A line does not wait for the next one."""
    stream = Flushed()
    log = build_log(stream, lambda: NOW)

    log.request({})
    log.request({})

    assert (2, 2) == (stream.flushes, len(lines(stream)))
