"""What guardrails say of a text: the verdict of each that has found something, and the exception of one that blocks.

Laws of this file:
- No verdict, and no exception, holds a word of what was looked at (ADR-0037.R8).
"""

from collections.abc import Sequence
from typing import Final

import attrs

from dragoman.model import Finding

UNAVAILABLE: Final = Finding(category="guardrail_unavailable", message="The guardrail could not be applied")
"""What is found by a guardrail whose engine fails."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What the guardrail with this *key* found, each category once, and its *action*."""

    guardrail_key: str
    action: str
    findings: tuple[Finding, ...]


class Blocked(Exception):  # noqa: N818 - a verdict, not a fault of ours
    """A guardrail blocks what was looked at. *action* is `block`, also where it should have masked and could not."""

    def __init__(self, guardrail_key: str, findings: Sequence[Finding]) -> None:
        """Take the guardrail's key and what it found."""
        super().__init__(guardrail_key)
        self.guardrail_key = guardrail_key
        self.action = "block"
        self.findings = tuple(findings)


@attrs.define
class Tally:
    """What has been found so far, as numbers of what a screen looks for, and which of it could not be looked for.

    *not_scanned* counts what is no text: images, sounds, files and tokens.
    """

    found: set[int] = attrs.field(factory=set)
    failed: set[int] = attrs.field(factory=set)
    not_scanned: int = 0
