"""Arguments of calls: JSON inside a text, which is looked at as what it says and not as it is written (ADR-0037).

Laws of this file:
- Each string and each number is a text of its own, without its escapes, as often as it is written.
- What is masked stays JSON: a number becomes a string. What nothing was found in stays as it was written.
- A text that is no JSON is looked at as it is.
"""

from typing import Final

import attrs
import orjson

from dragoman.guardrails.pattern import compile_pattern
from dragoman.guardrails.screen import Screen
from dragoman.guardrails.verdict import Tally
from dragoman.guardrails.window import decoded, encoded, mask

MOST: Final = 10_000
"""Strings and numbers that arguments may have; they take some 50 ms."""

_TOKEN: Final = compile_pattern(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*')
_QUOTE: Final = ord('"')


@attrs.define
class Leaf:
    """What a string or a number says, and the bytes where it is written."""

    start: int
    end: int
    text: str = attrs.field(repr=False)


def leaves(written: bytes) -> list[Leaf] | None:
    """Return the strings, names of members included, and the numbers of the JSON in *written*; None if it is none.

    Where there are more than `MOST`, one more is returned.
    """
    try:
        orjson.loads(written)
    except orjson.JSONDecodeError:
        return None
    found: list[Leaf] = []
    end = 0
    while len(found) <= MOST and (match := _TOKEN.search(written, end)) is not None:
        start, end = match.span()
        token = written[start:end]
        found.append(Leaf(start, end, orjson.loads(token) if token[0] == _QUOTE else token.decode()))
    return found


def mask_arguments(screen: Screen, text: str, tally: Tally) -> str:
    """Return the arguments in *text*, masked; it is the same object where nothing is.

    Raises:
        Blocked: see `mask`.
    """
    written = encoded(text)
    found = leaves(written)
    if found is None:
        return mask(screen, text, tally)
    if len(found) > MOST:
        screen.fail(tally)
        return text
    pieces, end = [], 0
    for leaf in found:
        masked = mask(screen, leaf.text, tally)
        if masked is not leaf.text:
            pieces += [written[end : leaf.start], orjson.dumps(masked)]
            end = leaf.end
    return decoded(b"".join([*pieces, written[end:]])) if pieces else text
