"""The rules of the decision records: which there are, and who says that he confirms them.

Laws of this file:
- A rule is a line `- R1. ...` of a record, named `ADR-0001.R1`; its level is the strongest word in capitals it has.
- `confirms` only marks. Whether a rule is confirmed is decided by reading sources, without running them (`matrix`).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import pytest

_FILE: Final = re.compile(r"(?P<number>\d{4})-[a-z0-9-]+\.md")
_RULE: Final = re.compile(r"- (?P<name>R\d+)\. (?P<text>.*(?:\n(?:[ \t]+\S.*))*)")
_STATUS: Final = re.compile(r"^status: *(?P<status>\w+) *$", re.MULTILINE)
_LEVELS: Final = ("MUST", "SHOULD")

Marked = TypeVar("Marked", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Rule:
    """One rule: *id* as in `ADR-0012.R3`, *level* MUST, SHOULD, or INFO where the text has neither word."""

    id: str
    level: str
    text: str
    accepted: bool


class RuleBroken(AssertionError):  # noqa: N818 - what it says reads better
    """A gateway broke a rule."""

    def __init__(self, *, rule: str, expected: object, actual: object, curl: str) -> None:
        """Take the rule's id, what it wants, what came instead, and a line that shows it."""
        super().__init__(f"{rule}\n  Expected: {expected}\n    Actual: {actual}\n  {curl}")
        self.rule = rule


class NotApplicable(Exception):  # noqa: N818 - nothing is wrong
    """A document has nothing that a check could ask; the text says what is missing."""


class NotJudged(Exception):  # noqa: N818 - nothing is known to be wrong
    """What a rule asks cannot be seen from here; the text says what the operator has not stated, or what is in the way.

    It is never passed over in silence: who runs a check lists it by name.
    """


def confirms(*rules: str) -> Callable[[Marked], Marked]:
    """Mark a test, or a check that tests run, as a proof of *rules*."""

    def mark(function: Marked) -> Marked:
        marked: Marked = pytest.mark.confirms(*rules)(function)
        return marked

    return mark


def confirmed_by(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the rules that *function* was marked with."""
    marks = getattr(function, "pytestmark", [])
    return tuple(rule for mark in marks if mark.name == "confirms" for rule in mark.args)


def read_rules(folder: Path) -> Iterator[Rule]:
    """Yield the rules of the decision records in *folder*, in the order of their numbers."""
    for path in sorted(folder.glob("*.md")):
        found = _FILE.fullmatch(path.name)
        if found is not None:
            yield from _rules_of(path.read_text(encoding="utf-8"), number=found["number"])


def _rules_of(record: str, *, number: str) -> Iterator[Rule]:
    status = _STATUS.search(record)
    _, _, section = record.partition("\n## Rules\n")
    for found in _RULE.finditer(section):
        text = " ".join(found["text"].split())
        yield Rule(
            id=f"ADR-{number}.{found['name']}",
            level=next((level for level in _LEVELS if re.search(rf"\b{level}\b", text)), "INFO"),
            text=text,
            accepted=status is not None and status["status"] == "accepted",
        )


def require_none(broken: Iterable[RuleBroken]) -> None:
    """Raise what was *broken*, if anything: the first as it is, or a list of up to ten.

    Raises:
        RuleBroken: with the rule of the first.
    """
    __tracebackhide__ = True
    found = list(broken)
    if len(found) == 1:
        raise found[0]
    if found:
        first, shown = found[0], "\n\n".join(str(one) for one in found[:10])
        several = RuleBroken(rule=first.rule, expected="nothing", actual=f"{len(found)} failures", curl=f"\n{shown}")
        raise several
