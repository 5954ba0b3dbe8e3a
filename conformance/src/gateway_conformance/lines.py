"""One connection to a gateway, and the bytes on it.

Laws of this file:
- What is sent need not be HTTP, so nothing here makes it so. What comes back must be, and is read to its end.
- Nothing waits longer than it is told to.
"""

import json
import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs

CHUNK: Final = 65536

SHOWN: Final = 800
"""Characters of a body that a curl line or a failure shows."""

INTERIM: Final = 100
"""`100 Continue` (RFC 9110, section 15.2.1)."""

_BODILESS: Final = frozenset({INTERIM, 204, 304})
_STATUS_LINE: Final = re.compile(r"HTTP/1\.[01] (?P<status>[1-9][0-9]{2}) .*")


@attrs.frozen(kw_only=True)
class Response:
    """One answer; header names are in lower case. *status* is 0 when none came in time."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of the header *name*; None when it is missing or stands twice."""
        values = [value for key, value in self.headers if key == name.lower()]
        return values[0] if len(values) == 1 else None

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON, or None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __str__(self) -> str:
        """Return the status and the beginning of the body."""
        text = self.body[:SHOWN].decode("utf-8", "replace")
        return f"{self.status} {text}".rstrip() if self.status else "no answer in time"


NO_ANSWER: Final = Response(status=0)


@attrs.define
class Line:
    """A connection. Made by `connected`, which ends it. It has *ended* when the other side has closed or reset it."""

    _socket: socket.socket
    _received: bytes = attrs.field(default=b"", init=False)
    ended: bool = attrs.field(default=False, init=False)

    def send(self, sent: bytes, *, patience: float) -> None:
        """Send, and stop when something comes back: whoever answers early does not want the rest."""
        self._socket.settimeout(0)  # never wait in `send`: the answer may come first
        rest = memoryview(sent)
        while rest:
            readable, writable, _ = select.select([self._socket], [self._socket], [], patience)
            if readable or not writable:
                return
            try:
                rest = rest[self._socket.send(rest[:CHUNK]) :]
            except ConnectionError:
                return  # what was answered before can still be read

    def answer(self, *, patience: float) -> Response:
        """Return the next answer, an interim one too; `NO_ANSWER` where none comes, or the connection ends within."""
        while b"\r\n\r\n" not in self._received:
            if not self._receive(patience):
                return NO_ANSWER
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status_line, *fields = head.decode("latin-1").split("\r\n")
        found = _STATUS_LINE.fullmatch(status_line)
        if found is None:
            return NO_ANSWER
        pairs = (field.partition(":") for field in fields)
        headers = tuple((name.lower(), value.strip(" \t")) for name, _, value in pairs)
        answer = Response(status=int(found["status"]), headers=headers)
        return attrs.evolve(answer, body=self._body(answer, patience))

    def _body(self, answer: Response, patience: float) -> bytes:
        """Return the body: as long as it says, or as the connection lasts. In chunks it never comes here."""
        if answer.status in _BODILESS:
            return b""
        length = answer.header("content-length")
        while length is None or len(self._received) < int(length):
            if not self._receive(patience):
                break
        size = len(self._received) if length is None else int(length)
        body, self._received = self._received[:size], self._received[size:]
        return body

    def _receive(self, patience: float) -> bool:
        """Take in what comes next, and return whether anything did."""
        self._socket.settimeout(patience)
        try:
            received = self._socket.recv(CHUNK)
        except TimeoutError:
            return False
        except ConnectionError:
            received = b""
        self._received += received
        self.ended = not received
        return bool(received)


@contextmanager
def connected(host: str, port: int, *, source: str | None) -> Iterator[Line]:
    """Connect to *port* at *host*, from the address *source* of this machine if that matters."""
    origin = None if source is None else (source, 0)
    with socket.create_connection((host, port), source_address=origin) as opened:
        yield Line(opened)
