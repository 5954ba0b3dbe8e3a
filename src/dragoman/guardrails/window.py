"""Looking at a text that comes in pieces, and letting go of it (ADR-0037).

Laws of this file:
- What is found depends on the text alone, never on how it was cut: a whole text is one that comes in one piece.
- No character leaves before it is certain that it is no part of a match, or what stands in its place.
- A match is decided when nothing that may follow can change it; until then it is held, and nothing else is.
- Each piece costs a bounded look, and what is held for long is looked at again only when it has grown by a quarter.
"""

import sys
from collections.abc import Sequence
from typing import Final

import attrs

from dragoman.guardrails.pattern import Match
from dragoman.guardrails.screen import Probe, Screen
from dragoman.guardrails.verdict import Tally, Verdict

MATCHES: Final = 2000
"""Matches of one probe that are masked in one text, which takes some 10 ms; from then on its rest is masked whole."""

_FOREVER: Final = sys.maxsize
"""Where a span ends that has no end."""

_CONTEXT: Final = 4
"""Bytes before what is looked at that are kept: patterns ask what stands before them, no farther than one character."""

_LONG: Final = 1024
"""Bytes that may be held and looked at again with every piece."""

_BACKSLASH: Final = ord("\\")


@attrs.define
class Span:
    """Bytes of a text, counted from its beginning, in the place of which *tag* is put.

    *number* is that of what was found. The match *begins* before *start* where a border belongs to it.
    """

    start: int
    end: int
    tag: bytes
    number: int
    begins: int


@attrs.frozen(kw_only=True)
class Look:
    """What became of a text, and what was found in it."""

    text: str = attrs.field(repr=False)
    verdicts: tuple[Verdict, ...]


def look(screen: Screen, text: str) -> Look:
    """Return *text*, masked, with all verdicts.

    Raises:
        Blocked: by the guardrail whose match begins first.
    """
    tally = Tally()
    masked = mask(screen, text, tally)
    return Look(text=masked, verdicts=screen.verdicts(tally))


def mask(screen: Screen, text: str, tally: Tally) -> str:
    """Return *text*, masked; it is the same object where nothing is. What is found is added to *tally*.

    Raises:
        Blocked: by the guardrail whose match begins first.
    """
    search = Search(screen, tally)
    spans = search.add(text, final=True)
    if not spans:
        return text
    written = encoded(text)
    return decoded(Release(spans).up_to(len(written), written, 0))


def encoded(text: str) -> bytes:
    """Return *text* as UTF-8; lone surrogates, which JSON can hold, become bytes that no pattern matches."""
    return text.encode("utf-8", "surrogatepass")


def decoded(written: bytes) -> str:
    """Return what `encoded` made of a text."""
    return written.decode("utf-8", "surrogatepass")


class Window:
    """What a text goes through on its way out, piece by piece."""

    def __init__(self, screen: Screen, tally: Tally) -> None:
        """Take where findings are added up."""
        self._holds = screen.holds
        self._search = Search(screen, tally)
        self._release = Release()

    def feed(self, text: str) -> str:
        """Take the next piece, and return what may go out now.

        Raises:
            Blocked: the text must not go on; what was held is gone.
        """
        return self._advance(text, final=False)

    def end(self) -> str:
        """Return the rest.

        Raises:
            Blocked: see `feed`.
        """
        return self._advance("", final=True)

    def _advance(self, text: str, *, final: bool) -> str:
        search = self._search
        spans = search.add(text, final=final)
        if not self._holds:
            return text
        if spans:
            self._release.add(spans)
        return decoded(self._release.up_to(search.decided, search.looked_at, search.looked_from))


class Release:
    """Puts tags in the place of spans, and lets the rest of a text go."""

    def __init__(self, spans: Sequence[Span] = ()) -> None:
        """Take the spans that are known."""
        self._gone = 0
        self._spans: list[Span] = []
        self._next = 0
        self.add(spans)

    def add(self, spans: Sequence[Span]) -> None:
        """Take more spans, which begin where nothing has left yet."""
        self._spans = sorted(
            [*self._spans[self._next :], *spans], key=lambda span: (span.start, -span.end, span.number)
        )
        self._next = 0

    def up_to(self, decided: int, text: bytes, offset: int) -> bytes:
        """Return what leaves of a text, up to the byte *decided*; *text* is what is there of it, from *offset* on.

        Spans that overlap become one. A backslash before one goes with it: in JSON it would escape the tag.
        """
        pieces = []
        while self._next < len(self._spans) and (span := self._spans[self._next]).start < decided:
            self._next += 1
            if span.start >= self._gone:
                start = span.start
                while start > self._gone and text[start - 1 - offset] == _BACKSLASH:
                    start -= 1
                pieces += [text[self._gone - offset : start - offset], span.tag]
            self._gone = max(self._gone, span.end)
        if self._gone < decided:
            pieces.append(text[self._gone - offset : decided - offset])
            self._gone = decided
        return b"".join(pieces)


class Search:
    """Finds spans in a text that comes in pieces.

    *decided* is how many bytes of the text are certain. *looked_at* is what was looked at last, the bytes of the text
    from *looked_from* on; all that is new in *decided* is in it.
    """

    def __init__(self, screen: Screen, tally: Tally) -> None:
        """Take where findings are added up."""
        self._screen = screen
        self._tally = tally
        self.decided = 0
        self.looked_at = b""
        self.looked_from = 0
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._size = 0
        self._characters = 0
        self._cursors: dict[int, int] = {}
        self._checks: dict[int, int] = {}
        self._matches: dict[int, int] = {}
        self._exceeded: dict[int, int] = {}

    def add(self, text: str, *, final: bool) -> list[Span]:
        """Take the next piece, which may be the last, and return the spans that are certain now.

        Raises:
            Blocked: by the guardrail whose match begins first, of those that are certain.
        """
        piece = encoded(text)
        self._waiting.append(piece)
        self._waiting_size += len(piece)
        self._size += len(piece)
        self._characters += len(text)
        if self._screen.limits:
            self._note_limits(text)
        held = len(self.looked_at) - (self.decided - self.looked_from)
        if not final and held > _LONG and self._waiting_size < held // 4:
            return []
        return self._look(final=final)

    def _note_limits(self, text: str) -> None:
        """Note where the text has become longer than it may be."""
        for number, limit in enumerate(self._screen.limits, len(self._screen.probes)):
            beyond = self._characters - limit.most
            if beyond > 0 and number not in self._exceeded:
                self._exceeded[number] = self._size - len(encoded(text[-beyond:]))

    def _look(self, *, final: bool) -> list[Span]:
        """Look at all that is held and all that waits, and decide as much of it as can be."""
        screen, tally = self._screen, self._tally
        self._take()
        certain = self.looked_from + len(self.looked_at)
        found: list[Span] = []
        try:
            if not final:
                certain = self._begun()
            candidates = screen.candidates(self.looked_at)
        except Exception:  # noqa: BLE001 - whatever an engine raises, it has not looked
            tally.failed.update(range(len(screen.probes)))
            candidates = ()
        for number in candidates:
            try:
                self._find(number, certain, found)
            except Exception:  # noqa: BLE001 - see above
                tally.failed.add(number)
        self._find_limits(certain, found)
        if tally.failed and (closed := screen.closed(tally)) is not None:
            raise closed
        blocking = [span for span in found if screen.outcomes[span.number].blocks]
        if blocking:
            first = min(blocking, key=lambda span: (span.begins, span.number))
            raise screen.block(first.number, tally)
        self.decided = certain
        return [span for span in found if screen.outcomes[span.number].masks]

    def _take(self) -> None:
        """Put what waits behind what is held, and forget what nobody asks for any more."""
        keep = max(0, self.decided - self.looked_from - _CONTEXT)
        self.looked_at = self.looked_at[keep:] + b"".join(self._waiting)
        self.looked_from += keep
        self._waiting.clear()
        self._waiting_size = 0

    def _begun(self) -> int:
        """Return where what may become a match begins, with the backslashes before, which would go with it."""
        start = self.decided - self.looked_from
        begun = self._screen.opening_in(self.looked_at, start)
        while begun > start and self.looked_at[begun - 1] == _BACKSLASH:
            begun -= 1
        return self.looked_from + begun

    def _find(self, number: int, certain: int, found: list[Span]) -> None:
        """Add to *found* what a probe matches and is certain: all where it is masked, else the first."""
        probe = self._screen.probes[number]
        masks = probe.outcome.masks and not probe.outcome.blocks
        if number in self._tally.found and not masks and not probe.outcome.blocks:
            return
        at = max(self._cursors.get(number, 0), self.decided) - self.looked_from
        while (match := probe.pattern.search(self.looked_at, at)) is not None:
            start, end = match.span()
            if self.looked_from + start >= certain:
                break
            span = self._held(number, probe, match)
            if span is None:
                at = end if probe.compact else start + 1
                continue
            self._tally.found.add(number)
            found.append(span)
            if not masks:
                return
            at = span.end - self.looked_from
        self._cursors[number] = at + self.looked_from

    def _held(self, number: int, probe: Probe, match: Match) -> Span | None:
        """Return what of a *match* holds, if its probe has a check."""
        begins, end = match.span()
        begin = begins
        if probe.words:
            groups = (match.span(group) for group in range(1, probe.pattern.groups + 1))
            begin, end = next(group for group in groups if group[0] >= 0)
        elif probe.check is not None and self._checks.get(number, 0) < probe.patience:
            self._checks[number] = self._checks.get(number, 0) + 1
            end = begin + probe.check(self.looked_at[begin:end])
            if begin == end:
                return None
        self._matches[number] = matches = self._matches.get(number, 0) + 1
        until = _FOREVER if matches >= MATCHES else self.looked_from + end
        offset = self.looked_from
        return Span(offset + begin, until, probe.outcome.tag, number, offset + begins)

    def _find_limits(self, certain: int, found: list[Span]) -> None:
        for number, start in self._exceeded.items():
            if start < certain:
                self._tally.found.add(number)
                found.append(Span(start, _FOREVER, self._screen.outcomes[number].tag, number, start))
                self._exceeded[number] = _FOREVER
