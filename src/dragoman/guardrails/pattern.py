"""Patterns of RE2: compiled within bounds, and read for how much they match and how a match may begin (ADR-0037).

Laws of this file:
- RE2 alone decides what is a pattern. What is read here has been accepted by it before.
- `Shape.opening` matches, at the end of a text, whatever may still become a match; it may match more, never less.
- No module of this room uses Python's own regular expressions, which take exponential time (ADR-0037.R1).
"""

import math
from typing import Final, Protocol

import attrs
import re2

MEMORY: Final = 64 * 1024 * 1024
"""Bytes that a pattern and its automaton may take; they take what they need, and texts decide how much that is."""

LONGEST: Final = 1000
"""Characters that a pattern may have."""

LARGEST: Final = 2000
"""Instructions that the program of a pattern may have, as a text of n characters may take n times as many steps."""

_ENOUGH: Final = 4 * LARGEST * 16
"""Bytes of memory with which RE2 makes no larger program: of a quarter, each instruction takes 16."""

DEEPEST: Final = 50
"""How deeply groups may nest."""

_WITHOUT_WIDTH: Final = frozenset({"^", "$", "\\A", "\\z", "\\b", "\\B"})
_ANCHORS: Final = frozenset({"^", "$", "\\A", "\\z"})
_OCTAL: Final = "01234567"


class BadPatternError(ValueError):
    """A pattern cannot be used; the text says why, in words that follow its name."""


class Match(Protocol):
    """Where a pattern was found; offsets are in bytes, and those of a group that has no part in it are -1."""

    def span(self, group: int = 0) -> tuple[int, int]:
        """Return where the match, or a *group* of it, begins and ends."""


class Pattern(Protocol):
    """A compiled pattern."""

    @property
    def groups(self) -> int:
        """How many groups it has, if it captures them."""

    def search(self, text: bytes, pos: int = 0) -> Match | None:
        """Return the first match that does not begin before *pos*."""


class Sieve(Protocol):
    """Several compiled patterns that are looked for at once."""

    def Match(self, text: bytes) -> list[int] | None:  # noqa: N802 - RE2's name
        """Return the numbers of the patterns that occur in *text*, in any order; None where none does."""


@attrs.frozen(kw_only=True)
class Shape:
    """What a pattern matches: between *least* and *most* characters; *opening* is told by the laws of this file.

    *written* is the pattern itself. It is *anchored* where it asks for the beginning or the end of a text or a line,
    and *single* where it has no parts.
    """

    written: str
    opening: str
    least: int
    most: float
    anchored: bool = False
    single: bool = False


def compile_pattern(pattern: str, *, captures: bool = False, memory: int = MEMORY) -> Pattern:
    """Return *pattern*, ready to search bytes of UTF-8; its groups are told only with *captures*.

    A program that takes more than a quarter of the *memory* is not made.

    Raises:
        BadPatternError: where RE2 does not accept it.
    """
    try:
        compiled: Pattern = re2.compile(pattern, _options(captures=captures, memory=memory))
    except re2.error as error:
        raise BadPatternError(_reason(error)) from None
    return compiled


def compile_sieve(patterns: list[str]) -> Sieve:
    """Return *patterns* as one, which tells the numbers of those that occur in a text.

    Raises:
        BadPatternError: where they are too large together.
    """
    sieve = re2.Set.SearchSet(_options(captures=False, memory=MEMORY))
    try:
        for pattern in patterns:
            sieve.Add(pattern)
        sieve.Compile()
    except re2.error:
        message = "is too large together with the others"
        raise BadPatternError(message) from None
    compiled: Sieve = sieve
    return compiled


def literal(text: str) -> str:
    """Return a pattern that matches *text* and nothing else."""
    escaped: str = re2.escape(text)
    return escaped


def _options(*, captures: bool, memory: int) -> re2.Options:
    options = re2.Options()
    options.log_errors = False  # RE2 writes patterns to stderr
    options.max_mem = memory
    options.never_capture = not captures
    return options


def _reason(error: Exception) -> str:
    """Return in our words what RE2 says of a pattern."""
    said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
    if any(said.endswith(sign) for sign in ("(?=", "(?!", "(?<=", "(?<!")):
        return "uses look-around, which takes more than linear time"
    if said.startswith("invalid escape sequence: \\") and said[-1].isdigit():
        return "uses a back-reference, which takes more than linear time"
    if "too large" in said:
        return "is too large"
    return f"is no pattern of RE2: {said}"


def check_pattern(pattern: str) -> Shape:
    """Return the shape of a *pattern* that somebody has written.

    Raises:
        BadPatternError: where it cannot be used.
    """
    if len(pattern) > LONGEST:
        message = f"has more than {LONGEST} characters"
        raise BadPatternError(message)
    compile_pattern(pattern, memory=_ENOUGH)
    shape = read(pattern)
    if shape.least == 0:
        message = "matches the empty text"
        raise BadPatternError(message)
    compile_pattern(shape.opening, memory=_ENOUGH)
    return shape


def read(pattern: str) -> Shape:
    """Return the shape of a *pattern* that RE2 has accepted.

    Raises:
        BadPatternError: where it nests too deeply, or matches parts of characters.
    """
    return _Reader(pattern).alternatives(0)


def character(written: str) -> Shape:
    """Return the shape of what matches one character."""
    return Shape(written=written, opening=f"(?:{written})?", least=1, most=1, single=True)


def sequence(parts: list[Shape]) -> Shape:
    """Return the shape of *parts* in a row."""
    opening = ""
    for part in reversed(parts):
        # What has begun with one character goes on, or has not begun; other parts may have begun themselves.
        begun = f"{part.written}{opening}"
        opening = f"(?:{begun})?" if part.single else f"(?:{part.opening}|{begun})"
    return Shape(
        written="".join(part.written for part in parts),
        opening=opening,
        least=sum(part.least for part in parts),
        most=sum(part.most for part in parts),
        anchored=any(part.anchored for part in parts),
    )


def choice(branches: list[Shape]) -> Shape:
    """Return the shape of one of the *branches*."""
    if len(branches) == 1:
        return branches[0]
    return Shape(
        written=f"(?:{'|'.join(branch.written for branch in branches)})",
        opening=f"(?:{'|'.join(branch.opening for branch in branches)})",
        least=min(branch.least for branch in branches),
        most=max(branch.most for branch in branches),
        anchored=any(branch.anchored for branch in branches),
    )


def repeated(part: Shape, least: int, most: float) -> Shape:
    """Return the shape of *part*, at least and at most so many times."""
    bounds = f"{{{least},{'' if most == math.inf else most}}}"
    before = "*" if most == math.inf else f"{{0,{max(most - 1, 0):.0f}}}"
    return Shape(
        written=f"(?:{part.written}){bounds}",
        opening=f"(?:{part.written}){before}{part.opening}" if most else "",
        least=part.least * least,
        most=part.most * most if part.most and most else 0,
        anchored=part.anchored,
    )


class _Reader:
    """Reads a pattern from left to right; *at* is where it stands."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags = ""

    def alternatives(self, depth: int) -> Shape:
        """Read up to the end of the group, or of the pattern; flags that are set in it end with it."""
        if depth > DEEPEST:
            message = f"nests more than {DEEPEST} groups"
            raise BadPatternError(message)
        flags = self.flags
        branches: list[list[Shape]] = [[]]
        while self.at < len(self.pattern) and self.pattern[self.at] != ")":
            if self.pattern[self.at] == "|":
                self.at += 1
                branches.append([])
            else:
                branches[-1].extend(self._repetition(depth))
        self.flags = flags
        return choice([sequence(branch) for branch in branches])

    def _repetition(self, depth: int) -> list[Shape]:
        """Read an atom and how often it may stand, or several literals."""
        parts = self._atom(depth)
        bounds = self._bounds()
        if bounds is not None and parts:
            parts[-1] = repeated(parts[-1], *bounds)
        return parts

    def _bounds(self) -> tuple[int, float] | None:
        """Read how often the last atom may stand, if that is said."""
        rest = self.pattern[self.at : self.at + 12]
        if rest[:1] in {"*", "+", "?"}:
            self.at += 1
            bounds: tuple[int, float] = {"*": (0, math.inf), "+": (1, math.inf), "?": (0, 1)}[rest[0]]
        else:
            counted, closed, _ = rest.removeprefix("{").partition("}")
            least, comma, most = counted.partition(",")
            if not (rest.startswith("{") and closed and _is_number(least) and (not most or _is_number(most))):
                return None
            self.at += len(counted) + 2
            bounds = (int(least), int(most) if most else math.inf if comma else int(least))
        if self.pattern.startswith("?", self.at):  # lazy: it matches no less
            self.at += 1
        return bounds

    def _atom(self, depth: int) -> list[Shape]:
        sign = self.pattern[self.at]
        if sign == "(":
            return self._group(depth)
        if sign == "[":
            return [self._leaf(self._class_length())]
        if sign != "\\":
            return [self._leaf(1)]
        if self.pattern[self.at + 1] == "Q":
            return self._literals()
        return [self._leaf(self._escape_length())]

    def _group(self, depth: int) -> list[Shape]:
        self.at += 1
        if not self.pattern.startswith("?", self.at):
            return [self._inside(depth)]
        if self.pattern.startswith(("?P<", "?<"), self.at):
            self.at = self.pattern.index(">", self.at) + 1
            return [self._inside(depth)]
        flags, outside = self._flags(), self.flags
        self.flags = flags
        if self.pattern[self.at - 1] == ")":  # flags for the rest of the group around
            return []
        inside = self._inside(depth)
        self.flags = outside
        return [inside]

    def _inside(self, depth: int) -> Shape:
        inside = self.alternatives(depth + 1)
        self.at += 1
        return attrs.evolve(inside, written=f"(?:{inside.written})")

    def _flags(self) -> str:
        """Read `?i-s:` or `?i-s)`, and return the flags that are in force behind it."""
        flags, adding = set(self.flags), True
        self.at += 1
        while (sign := self.pattern[self.at]) not in ":)":
            self.at += 1
            if sign == "-":
                adding = False
            elif sign != "U":  # which of several matches is preferred
                (flags.add if adding else flags.discard)(sign)
        self.at += 1
        return "".join(sorted(flags))

    def _literals(self) -> list[Shape]:
        literals, _, _ = self.pattern[self.at + 2 :].partition("\\E")
        self.at = min(self.at + 2 + len(literals) + 2, len(self.pattern))
        return [self._flagged(character(literal(sign))) for sign in literals]

    def _leaf(self, length: int) -> Shape:
        text = self.pattern[self.at : self.at + length]
        self.at += length
        if text == "\\C":
            message = "uses \\C, which matches parts of characters"
            raise BadPatternError(message)
        if text in _WITHOUT_WIDTH:
            anchored = text in _ANCHORS
            return self._flagged(Shape(written=text, opening="", least=0, most=0, anchored=anchored, single=True))
        return self._flagged(character(text))

    def _flagged(self, leaf: Shape) -> Shape:
        if not self.flags:
            return leaf
        written = f"(?{self.flags}:{leaf.written})"
        return attrs.evolve(leaf, written=written, opening=f"{written}?" if leaf.most else "")

    def _escape_length(self) -> int:
        """Return the length of the escape at which the reader stands, the backslash included."""
        rest = self.pattern[self.at + 1 :]
        if rest[0] in "pPx" and rest[1] == "{":
            return rest.index("}") + 2
        if rest[0] in "pP":
            return 3
        if rest[0] == "x":
            return 4
        if rest[0] in _OCTAL:
            return 1 + len(rest[:3]) - len(rest[:3].lstrip(_OCTAL))
        return 2

    def _class_length(self) -> int:
        """Return the length of the class at which the reader stands; a bracket that comes first is one of its own."""
        at = self.at + 1
        at += self.pattern.startswith("^", at)
        at += self.pattern.startswith("]", at)
        while self.pattern[at] != "]":
            named = self.pattern.find(":]", at + 2) if self.pattern.startswith("[:", at) else -1
            if named > 0:
                at = named + 2
            else:
                at += 2 if self.pattern[at] == "\\" else 1
        return at + 1 - self.at


def _is_number(text: str) -> bool:
    """Whether RE2 takes *text* for a number; one with a zero in front is text to it."""
    return text.isascii() and text.isdigit() and (len(text) == 1 or text[0] != "0")
