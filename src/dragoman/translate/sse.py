"""Server-sent events, both ways: bytes in and events out, documents in and bytes out (WHATWG HTML, section 9.2).

Laws of this file:
- However the bytes are cut, the events are the same.
- No line and no event grows beyond `LIMIT`, and the work for a byte does not depend on how many came before it.
- `id` and `retry` are neither understood nor written: a gateway cannot resume a stream, and openai-python breaks on
  both.
"""

from typing import Any, Final

import attrs
import orjson

from dragoman.translate.grammar import TooLongError

LIMIT: Final = 1024 * 1024
"""The most bytes of a line, and of the data of an event: no answer of a provider comes near it in one piece."""

DONE: Final = b"data: [DONE]\n\n"
"""How a stream of chat chunks ends: with a sentinel that is no JSON."""

PING: Final = b": ping\n\n"
"""A comment, which readers pass over; it shows proxies that the connection is alive."""

END: Final = b"[DONE]"
"""The data of the sentinel."""

_MARK: Final = b"\xef\xbb\xbf"


def frame(document: Any) -> bytes:  # noqa: ANN401 - a JSON document
    """Return the event that carries *document*."""
    return framed(orjson.dumps(document))


def framed(text: bytes) -> bytes:
    """Return the event that carries *text*, which is JSON in one line."""
    return b"data: " + text + b"\n\n"


@attrs.define
class Event:
    """One event: its *data* in UTF-8, as the bytes that came, and its *name*.

    PERF: not frozen, because that makes each one half as slow again.
    """

    data: bytes
    name: str = "message"


@attrs.define(kw_only=True)
class EventReader:
    """Reads one event stream."""

    _head: bytes | None = attrs.field(default=b"", init=False)
    """What may become a byte order mark; None when that is settled."""
    _after_return: bool = attrs.field(default=False, init=False)
    """Whether a line feed that comes next belongs to the line end before it."""
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    """The line that has not ended."""
    _pieces_size: int = attrs.field(default=0, init=False)
    _data: list[bytes] = attrs.field(factory=list, init=False)
    """The data lines of the event that has not ended."""
    _data_size: int = attrs.field(default=0, init=False)
    _name: bytes = attrs.field(default=b"", init=False)

    @property
    def pending(self) -> bool:
        """Whether something has begun that has not ended: at the end of a stream, that it was cut."""
        return bool(self._pieces or self._data or self._name or self._head)

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that *data* completes; the rest is kept for the next call.

        Raises:
            TooLongError: for a line or an event beyond `LIMIT`; nothing can be read after it.
        """
        if self._head is not None:
            data = self._behind_mark(data)
        if self._after_return or b"\r" in data:
            data = self._with_line_feeds(data)
        events: list[Event] = []
        if not (self._pieces or self._data or self._name):
            # PERF: nearly always whole events of one line come; this takes a third of the time of reading lines.
            texts = data.split(b"\n\n")
            data = texts.pop()
            for text in texts:
                if text[:6] == b"data: " and b"\n" not in text and len(text) <= LIMIT:
                    events.append(Event(text[6:]))
                else:
                    self._read_lines(text.split(b"\n"), events)
                    self._dispatch(events)
        if data:
            *lines, rest = data.split(b"\n")
            self._read_lines(lines, events)
            if rest:
                self._pieces.append(rest)
                self._pieces_size += len(rest)
                _require_short(self._pieces_size, "a line")
        return events

    def _behind_mark(self, data: bytes) -> bytes:
        head = (self._head or b"") + data
        if len(head) < len(_MARK) and _MARK.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_MARK)

    def _with_line_feeds(self, data: bytes) -> bytes:
        if not data:
            return data
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
            self._after_return = False
            if not data:
                return data
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read_lines(self, lines: list[bytes], events: list[Event]) -> None:
        for line in lines:
            if self._pieces:
                self._pieces.append(line)
                line = b"".join(self._pieces)  # noqa: PLW2901 - the whole of the line
                self._pieces.clear()
                self._pieces_size = 0
            _require_short(len(line), "a line")
            if not line:
                self._dispatch(events)
                continue
            field, _, value = line.partition(b":")  # a comment is a field without a name
            if field == b"data":
                value = value.removeprefix(b" ")
                self._data.append(value)
                self._data_size += len(value) + 1
                _require_short(self._data_size, "an event")
            elif field == b"event":
                self._name = value.removeprefix(b" ")

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            name = self._name.decode(errors="replace") if self._name else "message"
            events.append(Event(b"\n".join(self._data), name))
            self._data.clear()
            self._data_size = 0
        self._name = b""


def _require_short(size: int, what: str) -> None:
    if size > LIMIT:
        raise TooLongError(what)
