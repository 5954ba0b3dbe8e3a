"""The event log: one JSON line an event, at once."""

import asyncio
import io
import json
from collections.abc import Iterator

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


def test_no_line_waits_for_the_next_one() -> None:
    """Outside an event loop every line is flushed at once, and so is what is no request's in one."""
    stream = Flushed()
    log = build_log(stream, lambda: NOW)

    log.request({})
    log.request({})
    log.state({})
    log.failure({})

    assert (4, 4) == (stream.flushes, len(lines(stream)))


def test_requests_that_end_in_one_turn_are_flushed_together() -> None:
    """The lines of requests are flushed once, behind what the event loop does at the moment."""
    stream = Flushed()
    log = build_log(stream, lambda: NOW)

    async def flushed() -> Iterator[int]:
        log.request({})
        log.request({})
        before = stream.flushes
        await asyncio.sleep(0)
        first = stream.flushes
        log.request({})
        await asyncio.sleep(0)
        return iter((before, first, stream.flushes))

    assert [0, 1, 2] == list(asyncio.run(flushed()))
