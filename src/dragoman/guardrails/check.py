"""What is wrong with a guardrail that somebody has written, before anybody relies on it."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final
from urllib.parse import urlsplit

from dragoman.guardrails import keywords
from dragoman.guardrails.detectors import DETECTORS
from dragoman.guardrails.pattern import BadPatternError, check_pattern, compile_pattern
from dragoman.model import Guardrail

ACTIONS: Final = ("block", "mask", "flag")
STAGES: Final = ("input", "output")

_CATEGORY: Final = compile_pattern(r"\A[a-z][a-z0-9_]{0,63}\z")


def is_category(text: str) -> bool:
    """Whether *text* can name what is found: a word, which is also shown where something was masked."""
    return _CATEGORY.search(text.encode("utf-8", "surrogatepass")) is not None


def check(guardrail: Guardrail) -> list[str]:
    """Return what is wrong with *guardrail*, one sentence each, without its key."""
    return [*_choices(guardrail), *_patterns(guardrail), *_keywords(guardrail), *_rest(guardrail)]


def _choices(guardrail: Guardrail) -> Iterator[str]:
    if guardrail.action not in ACTIONS:
        yield _unknown("action", guardrail.action, ACTIONS)
    for stage in sorted(guardrail.stages - set(STAGES)):
        yield _unknown("stage", stage, STAGES)
    if not guardrail.stages:
        yield "it watches no stage"
    for name in guardrail.detectors:
        if name not in DETECTORS:
            yield _unknown("detector", name, tuple(DETECTORS))


def _unknown(noun: str, given: str, known: tuple[str, ...]) -> str:
    """Return that nothing of this *noun* has the name *given*, and the known name that is meant, or all there are."""
    near = get_close_matches(given, known, n=1)
    return f"unknown {noun} {given!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")


def _patterns(guardrail: Guardrail) -> Iterator[str]:
    for category, pattern in guardrail.patterns.items():
        if not is_category(category):
            yield f"pattern {category!r} must be named by a lower-case word of at most 64 letters, digits and _"
        try:
            check_pattern(pattern)
        except BadPatternError as error:
            yield f"pattern {category!r} {error}"


def _keywords(guardrail: Guardrail) -> Iterator[str]:
    if len(guardrail.keywords) > keywords.MOST:
        yield f"it has more than {keywords.MOST} keywords"
    for number, word in enumerate(guardrail.keywords, 1):
        if not word.strip() or len(word) > keywords.LONGEST:
            yield f"keyword {number} must have between 1 and {keywords.LONGEST} characters that are not all spaces"


def _rest(guardrail: Guardrail) -> Iterator[str]:
    if guardrail.max_chars is not None and guardrail.max_chars < 1:
        yield "max_chars must be at least 1"
    if guardrail.webhook is not None and not _is_address(guardrail.webhook):
        yield "webhook must be an address of http or https, without a user"
    asked = guardrail.max_chars is not None or guardrail.webhook is not None
    if not (asked or guardrail.detectors or guardrail.patterns or guardrail.keywords):
        yield "it looks for nothing"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
