"""The judge's own reader of server-sent events (WHATWG HTML, section 9.2): the lines of a stream, as they were written.

Laws of this file:
- It shares no line with any gateway: a judge who reads with the eyes of the judged does not see what these do not see.
- Nothing is put right: what a browser passes over is kept, so that a rule can complain about it.
- However the bytes are cut, the frames are the same.
"""

import re
from typing import Final

import attrs

END: Final = "[DONE]"
"""The data of the sentinel that ends a stream of chat chunks."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MARK: Final = b"\xef\xbb\xbf"


@attrs.frozen(kw_only=True)
class Frame:
    """What stands between two blank lines: the *fields* by name and value, in order. A comment has no name."""

    fields: tuple[tuple[str, str], ...]

    @property
    def is_comment(self) -> bool:
        """Whether it is comments only, so that no reader gets anything of it."""
        return all(not name for name, _ in self.fields)

    @property
    def names(self) -> frozenset[str]:
        """The names of its fields."""
        return frozenset(name for name, _ in self.fields if name)

    @property
    def data(self) -> str:
        """What a reader gets: the values of the fields `data`, a line each."""
        return "\n".join(value for name, value in self.fields if name == "data")


@attrs.define
class Reader:
    """Reads one stream, in whatever pieces it comes."""

    _rest: bytes = b""
    _fields: list[tuple[str, str]] = attrs.field(factory=list)
    _begun: bool = False

    @property
    def unended(self) -> bool:
        """Whether something has begun that no blank line has ended: a browser drops that."""
        return bool(self._rest or self._fields)

    def feed(self, piece: bytes) -> list[Frame]:
        """Return the frames that *piece* ends."""
        self._rest += piece
        if not self._begun:
            if len(self._rest) < len(_MARK) and _MARK.startswith(self._rest):
                return []  # it may become a byte order mark, which is no part of the first line
            self._rest, self._begun = self._rest.removeprefix(_MARK), True
        frames = []
        for line in self._lines():
            if line:
                self._fields.append(_field(line.decode("utf-8", "replace")))
            elif self._fields:
                frames.append(Frame(fields=tuple(self._fields)))
                self._fields.clear()
        return frames

    def _lines(self) -> list[bytes]:
        """Take the lines that have ended; a return that comes last may be the half of a line end, so that it waits."""
        lines, start = [], 0
        for found in _LINE_END.finditer(self._rest):
            if found[0] == b"\r" and found.end() == len(self._rest):
                break
            lines.append(self._rest[start : found.start()])
            start = found.end()
        self._rest = self._rest[start:]
        return lines


@attrs.frozen(kw_only=True)
class Transcript:
    """A stream that has ended: its *frames*, and whether it was cut within one."""

    frames: tuple[Frame, ...]
    cut: bool = False

    @property
    def events(self) -> tuple[Frame, ...]:
        """The frames that are no comments."""
        return tuple(frame for frame in self.frames if not frame.is_comment)


def transcript(body: bytes) -> Transcript:
    """Return the whole stream that *body* is."""
    reader = Reader()
    frames = reader.feed(body + b"\n" if body.endswith(b"\r") else body)
    return Transcript(frames=tuple(frames), cut=reader.unended)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")
