"""What the tests of the guardrails share: screens, and what becomes of a text in one piece and in several."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from dragoman.guardrails import Blocked, Screen, Verdict, Window, build_screen, look
from dragoman.guardrails.detectors import DETECTORS
from dragoman.guardrails.verdict import Tally
from dragoman.model import Guardrail

EVERYTHING: Final = tuple(DETECTORS)
CARD: Final = "4111 1111 1111 1111"
EMAIL: Final = "bob@example.com"


def guard(action: str = "mask", *, key: str = "guard", **wanted: Any) -> Guardrail:  # noqa: ANN401 - its members
    """Return a guardrail that looks for what is *wanted*."""
    return Guardrail(key=key, action=action, **wanted)


def screen(*guardrails: Guardrail, stage: str = "input") -> Screen:
    """Return the screen of *guardrails*, of which one at least watches this *stage*."""
    built = build_screen(guardrails, stage=stage)
    assert built is not None
    return built


def masked(guardrail: Guardrail, text: str) -> str:
    """Return what becomes of *text* before one *guardrail*."""
    return look(screen(guardrail), text).text


def categories(verdicts: Sequence[Verdict]) -> dict[str, list[str]]:
    """Return what was found, by the keys of guardrails."""
    return {verdict.guardrail_key: [finding.category for finding in verdict.findings] for verdict in verdicts}


@attrs.frozen
class Became:
    """What became of a text: what left of it, and what was found, or who blocked it."""

    text: str | None
    found: Mapping[str, list[str]]
    blocked_by: str | None = None


def whole(made: Screen, text: str) -> Became:
    """Return what becomes of *text* in one piece."""
    try:
        seen = look(made, text)
    except Blocked as blocked:
        return Became(None, {}, blocked.guardrail_key)
    return Became(seen.text, categories(seen.verdicts))


def cut(made: Screen, pieces: Sequence[str]) -> Became:
    """Return what becomes of a text that comes in *pieces*."""
    tally = Tally()
    window = Window(made, tally)
    try:
        left = [window.feed(piece) for piece in pieces]
        left.append(window.end())
    except Blocked as blocked:
        return Became(None, {}, blocked.guardrail_key)
    return Became("".join(left), categories(made.verdicts(tally)))


def pieces_of(text: str, cuts: Sequence[int]) -> list[str]:
    """Return *text*, cut at each of *cuts*."""
    ends = sorted(min(end, len(text)) for end in cuts)
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
