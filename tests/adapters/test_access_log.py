"""The access log: one line for each answer that other programs can read, and nothing in it that is secret."""

import asyncio
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.access_log import LONGEST, CombinedLog, NoAccessLog, build_access_log
from dragoman.model import RequestEvent
from dragoman.ports import AccessLog
from fakes import NOW, REQUEST_ID, TRACE_ID

HEAD: Final[Mapping[str, Any]] = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/v1/chat/completions",
    "raw_path": b"/v1/chat/completions",
    "query_string": b"key=secret",
    "headers": [(b"host", b"gateway"), (b"user-agent", b"OpenAI/Python 3.52.0"), (b"referer", b"https://a.example/")],
}

COMBINED: Final = re.compile(
    r"(?P<address>[!#-\[\]-~\\]+) - (?P<user>[!#-\[\]-~\\]+) "
    r"\[(?P<time>\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"(?P<request>[ !#-~]*)" (?P<status>\d{3}|-) (?P<size>\d+|-) "-" "(?P<agent>[ !#-~]*)"\n'
)
"""A line as other programs take it apart: no quote within quotes, no space in what ends at one."""


def event(**fields: Any) -> RequestEvent:  # noqa: ANN401 - fields of the event
    """Return the event of a request."""
    return RequestEvent(request_id=REQUEST_ID, trace_id=TRACE_ID, **{"status": 200, "key_id": "own", **fields})


def line(
    head: Mapping[str, Any] = HEAD,
    of: RequestEvent | None = None,
    *,
    address: str = "192.0.2.1",
    size: int = 321,
    now: datetime = NOW,
) -> str:
    """Return the line of a request."""
    stream = io.BytesIO()
    build_access_log(stream, lambda: now).answered(head, of or event(), address=address, size=size)
    return stream.getvalue().decode("ascii")


@confirms("ADR-0042.R3")
def test_a_line_is_in_the_combined_format() -> None:
    """Address, key, time, request line, status, size and user agent stand where Apache and nginx write them."""
    assert line() == (
        '192.0.2.1 - own [14/Jun/2026:12:00:00 +0000] "POST /v1/chat/completions HTTP/1.1" 200 321 "-" '
        '"OpenAI/Python 3.52.0"\n'
    )


@pytest.mark.parametrize(
    ("head", "fields", "size", "expected"),
    [
        ({"headers": []}, {"key_id": None}, 0, '- - [T] "POST /v1/chat/completions HTTP/1.1" 200 - "-" "-"'),
        ({"headers": []}, {"status": None}, 5, '- own [T] "POST /v1/chat/completions HTTP/1.1" - 5 "-" "-"'),
        (
            {"headers": [], "raw_path": None, "path": "/ü x"},
            {},
            1,
            '- own [T] "POST /\\xfc\\x20x HTTP/1.1" 200 1 "-" "-"',
        ),
        ({"headers": [], "http_version": "1.0"}, {}, 1, '- own [T] "POST /v1/chat/completions HTTP/1.0" 200 1 "-" "-"'),
        ({"method": None, "headers": []}, {"status": 400}, 1, '- own [T] "-" 400 1 "-" "-"'),
        ({"headers": [(b"user-agent", b"")]}, {}, 1, '- own [T] "POST /v1/chat/completions HTTP/1.1" 200 1 "-" "-"'),
    ],
)
def test_what_is_not_known_is_a_hyphen(
    head: Mapping[str, Any], fields: Mapping[str, Any], size: int, expected: str
) -> None:
    """A request without a key, an agent, a body or an answer has a hyphen for it; one that was no HTTP has no line."""
    told = line({**HEAD, **head}, event(**fields), size=size)

    assert f"192.0.2.1 {expected}\n" == told.replace("14/Jun/2026:12:00:00 +0000", "T")


def test_a_head_of_which_nothing_is_known_has_a_line() -> None:
    """What the server could not read has its line, too."""
    assert COMBINED.fullmatch(line({}, event(status=400, key_id=None)))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "02/Jan/2026:03:04:05 +0000"),
        (datetime(2026, 12, 31, 23, 59, 59, 999, tzinfo=timezone(timedelta(hours=-9.5))), "31/Dec/2026:23:59:59 -0930"),
    ],
)
def test_the_time_is_that_of_the_clock(now: datetime, expected: str) -> None:
    """Day, English month, year, time and offset, whatever language the machine speaks."""
    assert f"[{expected}]" in line(now=now)


@confirms("ADR-0042.R3")
def test_nothing_secret_is_told() -> None:
    """The query, also one that a server left in the path, the referer and the credential are left out."""
    headers = [*HEAD["headers"], (b"authorization", b"Bearer secret"), (b"cookie", b"secret")]
    head = {**HEAD, "headers": headers, "raw_path": b"/v1/models?key=secret"}

    told = line(head)

    assert '"POST /v1/models HTTP/1.1"' in told
    assert "secret" not in told
    assert "a.example" not in told


HOSTILE: Final = st.binary(max_size=60) | st.sampled_from(
    [b'"', b"\\", b"\n", b"\r\n127.0.0.1 - - [", b"\x1b[2J", b"\x7f", b" ", "ü\u2028".encode(), b"\\x0a", b"?a=b"]
)


@confirms("ADR-0042.R3")
@given(path=HOSTILE, agent=HOSTILE, method=HOSTILE, address=HOSTILE, key=HOSTILE)
def test_no_caller_can_write_a_line_of_his_own(
    path: bytes, agent: bytes, method: bytes, address: bytes, key: bytes
) -> None:
    """Whatever is sent, the line is one line, whose fields end where they should."""
    head = {**HEAD, "raw_path": b"/" + path, "headers": [(b"user-agent", agent)], "method": method.decode("latin-1")}

    told = line(head, event(key_id=key.decode("latin-1")), address=address.decode("latin-1"))

    found = COMBINED.fullmatch(told)
    assert found is not None, told
    assert 3 == len(found["request"].split(" "))


def test_what_is_long_is_cut() -> None:
    """A path and an agent are told as far as anybody reads them."""
    head = {**HEAD, "raw_path": b"/" + b"a" * 9000, "headers": [(b"user-agent", b"b" * 9000)]}

    told = line(head)

    found = COMBINED.fullmatch(told)
    assert found is not None
    assert ["POST", "/" + "a" * (LONGEST - 1), "HTTP/1.1"] == found["request"].split(" ")
    assert "b" * LONGEST == found["agent"]


def test_the_lines_of_one_turn_are_flushed_together() -> None:
    """Requests that end in the same turn of the event loop make one write, and each of its lines is whole."""

    class Flushed(io.BytesIO):
        """Counts how often it was flushed."""

        flushes = 0

        def flush(self) -> None:
            """Count."""
            self.flushes += 1

    stream = Flushed()
    log = build_access_log(stream, lambda: NOW)

    async def work() -> None:
        for _ in range(3):
            for _ in range(5):
                log.answered(HEAD, event(), address="192.0.2.1", size=1)
            await asyncio.sleep(0)

    asyncio.run(work())

    assert 3 == stream.flushes
    assert 15 == len(stream.getvalue().splitlines())


def test_where_nobody_asked_for_it_nothing_is_written() -> None:
    """Both fit the port."""
    silent: AccessLog = NoAccessLog()
    silent.answered(HEAD, event(), address="192.0.2.1", size=1)
    assert isinstance(build_access_log(io.BytesIO(), lambda: NOW), CombinedLog)
