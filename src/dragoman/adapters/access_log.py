"""The access log: one line for each answer, in the combined format of web servers (ADR-0042).

Laws of this file:
- Nothing that a caller sends can end a line or begin another field: whatever is not plain ASCII is escaped, and so are
  quotes and backslashes.
- A query, a referer and every other header but the user agent are left out; they may hold what is secret.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, BinaryIO, Final

import attrs

from dragoman.adapters.log import flush_at_the_end_of_the_turn
from dragoman.model import RequestEvent

LONGEST: Final = 512
"""How many characters of a path and of a user agent are told."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""The format has English months, whatever the machine speaks."""

_ESCAPED: Final = re.compile(r"[^ !#-\[\]-~]")
"""What may not stand between quotes: all but printable ASCII, and of that quotes and backslashes."""

_SPACED: Final = re.compile(r"[^!#-\[\]-~]")
"""What may not stand in a field that ends at a space."""


@attrs.define(kw_only=True)
class CombinedLog:
    """Fits the port `AccessLog`. *soon* calls back behind what the event loop does now, when lines are flushed."""

    _stream: BinaryIO
    _now: Callable[[], datetime]
    _soon: Callable[[Callable[[], None]], object]
    _waiting: bool = attrs.field(default=False, init=False)
    _told: tuple[datetime | None, str] = attrs.field(default=(None, ""), init=False)

    def answered(self, head: Mapping[str, Any], event: RequestEvent, *, address: str, size: int) -> None:
        """Write the line of a request: its *head* is the ASGI scope, *size* the bytes of its answer's body."""
        status = "-" if event.status is None else str(event.status)
        line = (
            f"{_field(address)} - {_field(event.key_id or '-')} [{self._time()}] "
            f'"{_request_line(head)}" {status} {size or "-"} "-" "{_agent(head)}"\n'
        )
        self._stream.write(line.encode("ascii"))
        if not self._waiting:
            self._waiting = True
            self._soon(self._flush)

    def _time(self) -> str:
        """Return the time, which is the same for all lines of a second. PERF: half of what a line takes."""
        second = self._now().replace(microsecond=0)
        if second != self._told[0]:
            self._told = (second, _time(second))
        return self._told[1]

    def _flush(self) -> None:
        self._waiting = False
        self._stream.flush()


@attrs.frozen
class NoAccessLog:
    """Fits the port `AccessLog` where nobody asked for one."""

    def answered(self, head: Mapping[str, Any], event: RequestEvent, *, address: str, size: int) -> None:
        """Write nothing."""


def build_access_log(stream: BinaryIO, now: Callable[[], datetime]) -> CombinedLog:
    """Return an access log that writes to *stream*, with the times of *now*."""
    return CombinedLog(stream=stream, now=now, soon=flush_at_the_end_of_the_turn)


def _request_line(head: Mapping[str, Any]) -> str:
    """Return method, path and version; `-` where the request was no HTTP."""
    method = head.get("method")
    if method is None:
        return "-"
    raw = head.get("raw_path")
    path = raw.decode("latin-1") if raw else str(head.get("path", "-"))
    # A server may leave the query in the raw path.
    path = _escaped(_SPACED, path.partition("?")[0])
    return f"{_field(method)} {path} HTTP/{_field(head.get('http_version', '1.1'))}"


def _agent(head: Mapping[str, Any]) -> str:
    for name, value in head.get("headers", ()):
        if name == b"user-agent":
            return _escaped(_ESCAPED, value.decode("latin-1")) or "-"
    return "-"


def _field(text: str) -> str:
    return _escaped(_SPACED, text) or "-"


def _escaped(forbidden: re.Pattern[str], text: str) -> str:
    """Return the beginning of *text* with each byte of what is *forbidden* in hexadecimal."""
    return forbidden.sub(_hexadecimal, text[:LONGEST])


def _hexadecimal(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("latin-1", "replace"))


def _time(moment: datetime) -> str:
    """Return *moment* as 14/Jun/2026:12:00:00 +0000."""
    return f"{moment:%d}/{_MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S %z}"
