"""Judges one stream of the stub's, as it comes through a gateway.

Laws of this file:
- Every piece of content comes once, in order; there is one finish reason, one count of tokens, and `[DONE]` is last.
- A gateway may word its events anew, cut the text elsewhere, and send comments; only what is named above counts.
- What is wrong is said once, by the first thing that was: whatever follows may follow from it.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

DONE: Final = b"[DONE]"
FIELD: Final = b"data:"


class Reading:
    """What came of a stream of *pieces* pieces of content.

    *events* counts what came, *delays* are the nanoseconds that each piece was on its way, *first* is when the first
    event came. *wrong* says what is wrong, if anything; whether something is missing is known when it `ended`.
    """

    def __init__(self, *, pieces: int) -> None:
        """Expect that many."""
        self.pieces = pieces
        self.events = 0
        self.delays: list[int] = []
        self.first: int | None = None
        self.wrong: str | None = None
        self._bytes = b""
        self._text = ""
        self._next = 0
        self._finished = 0
        self._counted = 0
        self._done = False

    def feed(self, data: bytes, *, now: int) -> None:
        """Take bytes of the body, which came at *now* (nanoseconds of the clock that the stub has)."""
        *events, self._bytes = (self._bytes + data.replace(b"\r", b"")).split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(FIELD):
                    self._event(line[len(FIELD) :].strip(), now)

    def ended(self) -> None:
        """Take that the answer is over, as its framing tells."""
        if not self._done:
            self._say("it ended without [DONE]")
        if self._bytes.strip():
            self._say("it ended within an event")
        if self._next != self.pieces:
            self._say(f"it ended with piece {self._next} of {self.pieces}")
        if self._text:
            self._say(f"it ended with piece {self._next} of {self.pieces}, and {self._text[:40]!r} of another")
        if self._finished != 1:
            self._say(f"it had {self._finished} finish reasons")
        if self._counted != 1:
            self._say(f"it counted its tokens {self._counted} times")

    def cut(self, reason: str) -> None:
        """Take that the answer will not end as it should."""
        self._say(reason)

    def _event(self, text: bytes, now: int) -> None:
        if self._done:
            self._say("something came after [DONE]")
        self.events += 1
        if self.first is None:
            self.first = now
        if text == DONE:
            self._done = True
            return
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            self._say(f"an event is no JSON: {text[:40]!r}")
            return
        if "error" in document:
            self._say(f"it told an error: {text.decode(errors='replace')[:200]}")
        if document.get("usage"):
            self._counted += 1
        for choice in document.get("choices", ()):
            self._choice(choice, now)

    def _choice(self, choice: Mapping[str, Any], now: int) -> None:
        if choice.get("finish_reason"):
            self._finished += 1
        content = choice["delta"].get("content")
        if content:
            *pieces, self._text = (self._text + content).split(" ")
            for piece in pieces:
                self._piece(piece, now)

    def _piece(self, piece: str, now: int) -> None:
        number, _, sent = piece.partition("@")
        if not (number.isdigit() and sent.isdigit()):
            self._say(f"it held {piece[:40]!r}, which nobody sent")
            return
        if int(number) != self._next:
            kind = "is missing" if int(number) > self._next else "was expected"
            self._say(f"piece {self._next} {kind} where piece {int(number)} came")
        self._next = int(number) + 1
        self.delays.append(now - int(sent))

    def _say(self, wrong: str) -> None:
        if self.wrong is None:
            self.wrong = wrong
