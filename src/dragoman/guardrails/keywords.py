"""Lists of words: one pattern for thousands of them, matched as whole words in any script (ADR-0037).

Laws of this file:
- A word is literal. It is found in any case, composed or decomposed, and where it stands between borders.
- Letters, marks, digits and the low line make words; but scripts that are written without spaces have a border on
  either side of each letter.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from dragoman.guardrails.pattern import Pattern, Shape, compile_pattern, literal

MOST: Final = 5000
"""Words that a list may have: as many take 60 ms to compile, and half a megabyte."""

LONGEST: Final = 100
"""Characters that a word may have."""

_UNSPACED: Final = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_BORDER: Final = rf"(?:[^\pL\pM\pN_]|{_UNSPACED})"
_LEFT: Final = rf"(?:\A|{_BORDER})"
_RIGHT: Final = rf"(?:{_BORDER}|\z)"
_ON_BORDER: Final = compile_pattern(rf"\A{_BORDER}\z")
_FORMS: Final = ("NFC", "NFD")
_KNOWN: Final = 3
"""Characters by which a stream tells that a word may have begun; whatever follows them is waited for."""


def keyword_pattern(keywords: Iterable[str]) -> str:
    """Return a pattern that matches each of *keywords* with the borders it needs; the word itself is a group."""
    words = _forms(keywords)
    alternatives = []
    for before in (True, False):
        for after in (True, False):
            alike = [word for word in words if (_is_inside(word[0]), _is_inside(word[-1])) == (before, after)]
            if alike:
                literals = "|".join(literal(word) for word in alike)
                alternatives.append(f"{_LEFT if before else ''}({literals}){_RIGHT if after else ''}")
    return f"(?i:{'|'.join(alternatives)})"


def keyword_shape(keywords: Iterable[str]) -> Shape:
    """Return the shape of the pattern. A word has begun when its first three characters are there."""
    words = _forms(keywords)
    longest = max(len(word) for word in words)
    begun = [f"(?:{'|'.join(_openings(words, _KNOWN))})(?s:.){{0,{max(longest - _KNOWN, 0)}}}"]
    begun += [f"(?:{'|'.join(_openings(words, length))})" for length in range(1, _KNOWN)]
    return Shape(
        written=keyword_pattern(keywords),
        opening=f"(?i:{_BORDER}?(?:{'|'.join(begun)}|))",
        least=min(len(word) for word in words),
        most=longest + 2,
    )


def compile_keywords(keywords: Iterable[str]) -> Pattern:
    """Return the pattern of *keywords*, which tells its groups."""
    return compile_pattern(keyword_pattern(keywords), captures=True)


def _forms(keywords: Iterable[str]) -> Sequence[str]:
    """Return each word once in each of its forms, longer ones first, so that they are found before their parts are."""
    words = {unicodedata.normalize(form, word) for word in keywords for form in _FORMS}
    return sorted(words, key=lambda word: (-len(word), word))


def _openings(words: Sequence[str], length: int) -> Sequence[str]:
    return sorted({literal(word[:length]) for word in words})


def _is_inside(character: str) -> bool:
    """Whether *character*, at the edge of a word, would go on into a letter beside it."""
    return _ON_BORDER.search(character.encode()) is None
