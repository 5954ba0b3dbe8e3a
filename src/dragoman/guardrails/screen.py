"""Guardrails, compiled: what is looked for in a text, and what follows from finding it (ADR-0037).

Laws of this file:
- Whatever is looked for is looked for on its own, in the text as it came: what one guardrail finds or masks changes
  nothing for another.
- One sieve, of all patterns, says which of them are worth a search: a text with nothing in it costs one look.
- An engine that fails closes what blocks and what masks; what only flags says that it could not look.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import attrs

from dragoman.guardrails.check import check
from dragoman.guardrails.checksums import Check
from dragoman.guardrails.detectors import DETECTORS
from dragoman.guardrails.keywords import compile_keywords, keyword_shape
from dragoman.guardrails.pattern import Pattern, Shape, Sieve, compile_pattern, compile_sieve, read
from dragoman.guardrails.verdict import UNAVAILABLE, Blocked, Tally, Verdict
from dragoman.model import Finding, Guardrail

Wanted = TypeVar("Wanted", bound=Hashable)

_ALWAYS: Final = r"\z"
"""Matches in every text: where a sieve does not find it, it has run out of memory, which RE2 tells nobody."""

_KEYWORD: Final = Finding(category="keyword", message="Keyword found")
_TOO_LONG: Final = Finding(category="too_long", message="Text too long")
_PATTERN_FOUND: Final = "Pattern found"


class EngineError(Exception):
    """The engine has not looked."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What follows from finding something: the *finding* of the guardrails at the places *watchers*.

    *blocks* and *masks* say whether one of them does; *tag* stands for what was found, where it is masked.
    """

    finding: Finding
    watchers: tuple[int, ...]
    blocks: bool
    masks: bool
    tag: bytes


@attrs.frozen(kw_only=True)
class Probe:
    """A pattern that is looked for, with the check of a detector, if it is one's.

    *words* says that a match has borders around it, and that its groups tell the word.
    """

    outcome: Outcome
    shape: Shape
    pattern: Pattern
    hint: str
    check: Check | None = None
    patience: int = 0
    compact: bool = False
    words: bool = False


@attrs.frozen(kw_only=True)
class Limit:
    """The *most* characters that a text may have."""

    outcome: Outcome
    most: int


class BadGuardrailError(ValueError):
    """Guardrails cannot be used; the text says why, and names each."""


@attrs.frozen(kw_only=True, eq=False)
class Screen:
    """The *guardrails* that watch one *stage*, ready to look at texts. It may be used at several places at once.

    *probes* and *limits* are numbered in a row; *outcomes* are what follows from finding them. *holds* says that some
    text may have to be changed or kept back, *anchored* that a pattern asks where a text begins or ends. *webhooks* are
    the guardrails that ask one.
    """

    stage: str
    guardrails: tuple[Guardrail, ...]
    probes: tuple[Probe, ...]
    limits: tuple[Limit, ...]
    outcomes: tuple[Outcome, ...]
    holds: bool
    anchored: bool
    webhooks: tuple[Guardrail, ...]
    _sieve: Sieve
    _opening: Pattern

    def candidates(self, text: bytes) -> Sequence[int]:
        """Return the numbers of the probes that are worth a search in *text*.

        Raises:
            EngineError: where nobody can tell.
        """
        numbers = self._sieve.Match(text)
        if numbers is None or (always := len(self.probes)) not in numbers:
            raise EngineError
        if len(numbers) == 1:  # PERF: most texts
            return ()
        numbers.remove(always)
        return sorted(numbers)

    def opening_in(self, text: bytes, start: int) -> int:
        """Return where, not before *start*, what may become a match begins: all that is before is decided.

        Raises:
            EngineError: where nobody can tell.
        """
        found = self._opening.search(text, start)
        if found is None:  # it matches nothing at the end of every text
            raise EngineError
        return found.span()[0]

    def verdicts(self, tally: Tally) -> tuple[Verdict, ...]:
        """Return what each guardrail says that has found something, or could not look."""
        if not tally.found and not tally.failed:
            return ()
        told = ((guardrail, self._findings(place, tally)) for place, guardrail in enumerate(self.guardrails))
        return tuple(
            Verdict(guardrail_key=guardrail.key, action=guardrail.action, findings=findings)
            for guardrail, findings in told
            if findings
        )

    def block(self, number: int, tally: Tally) -> Blocked:
        """Return how the first guardrail blocks that does, for finding what has this *number*."""
        blocking = next(place for place in self.outcomes[number].watchers if self.guardrails[place].action == "block")
        return Blocked(self.guardrails[blocking].key, self._findings(blocking, tally))

    def fail(self, tally: Tally) -> None:
        """Note that nothing could be looked for.

        Raises:
            Blocked: where that must not pass.
        """
        tally.failed.update(range(len(self.outcomes)))
        closed = self.closed(tally)
        if closed is not None:
            raise closed

    def closed(self, tally: Tally) -> Blocked | None:
        """Return how the first guardrail blocks that could not look, and must not let pass what it has not seen."""
        for number in sorted(tally.failed):
            for place in self.outcomes[number].watchers:
                if self.guardrails[place].action != "flag":
                    return Blocked(self.guardrails[place].key, (UNAVAILABLE,))
        return None

    def _findings(self, place: int, tally: Tally) -> tuple[Finding, ...]:
        """Return what the guardrail at this *place* has found, each finding once."""
        found = [
            self.outcomes[number].finding for number in sorted(tally.found) if place in self.outcomes[number].watchers
        ]
        if any(place in self.outcomes[number].watchers for number in tally.failed):
            found.append(UNAVAILABLE)
        return tuple(dict.fromkeys(found))


def build_screen(guardrails: Iterable[Guardrail], *, stage: str) -> Screen | None:
    """Return those of *guardrails* that watch this *stage* as a screen, or None where none does.

    It takes some ten milliseconds: a screen is built once, and kept.

    Raises:
        BadGuardrailError: for what `check` finds.
    """
    watching = tuple(guardrail for guardrail in guardrails if stage in guardrail.stages)
    problems = [f"{guardrail.key}: {problem}" for guardrail in watching for problem in check(guardrail)]
    if problems:
        raise BadGuardrailError("; ".join(problems))
    if not watching:
        return None

    probes = (*_detecting(watching), *_matching(watching), *_listing(watching))
    limits = tuple(_limiting(watching))
    openings = "|".join(probe.shape.opening for probe in probes)
    return Screen(
        stage=stage,
        guardrails=watching,
        probes=probes,
        limits=limits,
        holds=any(guardrail.action != "flag" for guardrail in watching),
        anchored=any(probe.shape.anchored for probe in probes),
        webhooks=tuple(guardrail for guardrail in watching if guardrail.webhook is not None),
        outcomes=(*(probe.outcome for probe in probes), *(limit.outcome for limit in limits)),
        sieve=compile_sieve([*(probe.hint for probe in probes), _ALWAYS]),
        opening=compile_pattern(rf"(?:{openings})\z"),
    )


def _detecting(guardrails: Sequence[Guardrail]) -> Iterator[Probe]:
    for name, watchers in _watched(guardrails, lambda guardrail: guardrail.detectors).items():
        detector = DETECTORS[name]
        yield Probe(
            outcome=_outcome(detector.finding, guardrails, watchers),
            shape=read(detector.pattern),
            pattern=compile_pattern(detector.pattern),
            hint=detector.hint or detector.pattern,
            check=None if detector.check is None else detector.check(),
            patience=detector.patience,
            compact=detector.compact,
        )


def _matching(guardrails: Sequence[Guardrail]) -> Iterator[Probe]:
    custom = _watched(guardrails, lambda guardrail: guardrail.patterns.items())
    for (category, pattern), watchers in custom.items():
        yield Probe(
            outcome=_outcome(Finding(category=category, message=_PATTERN_FOUND), guardrails, watchers),
            shape=read(pattern),
            pattern=compile_pattern(pattern),
            hint=pattern,
        )


def _listing(guardrails: Sequence[Guardrail]) -> Iterator[Probe]:
    lists = _watched(guardrails, lambda guardrail: [guardrail.keywords] if guardrail.keywords else [])
    for keywords, watchers in lists.items():
        shape = keyword_shape(keywords)
        yield Probe(
            outcome=_outcome(_KEYWORD, guardrails, watchers),
            shape=shape,
            pattern=compile_keywords(keywords),
            hint=shape.written,
            words=True,
        )


def _limiting(guardrails: Sequence[Guardrail]) -> Iterator[Limit]:
    limits = _watched(guardrails, lambda guardrail: [] if guardrail.max_chars is None else [guardrail.max_chars])
    for most, watchers in limits.items():
        yield Limit(outcome=_outcome(_TOO_LONG, guardrails, watchers), most=most)


def _watched(
    guardrails: Sequence[Guardrail], wanted: Callable[[Guardrail], Iterable[Wanted]]
) -> Mapping[Wanted, tuple[int, ...]]:
    """Return what is *wanted* by which of *guardrails*: each thing once, however many want it."""
    watched: dict[Wanted, tuple[int, ...]] = {}
    for place, guardrail in enumerate(guardrails):
        for one in dict.fromkeys(wanted(guardrail)):
            watched[one] = (*watched.get(one, ()), place)
    return watched


def _outcome(finding: Finding, guardrails: Sequence[Guardrail], watchers: tuple[int, ...]) -> Outcome:
    actions = {guardrails[place].action for place in watchers}
    return Outcome(
        finding=finding,
        watchers=watchers,
        blocks="block" in actions,
        masks="mask" in actions,
        tag=f"[{finding.category.upper()}]".encode(),
    )
