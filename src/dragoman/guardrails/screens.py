"""The screens that have been built, so that each is built once."""

from collections.abc import Sequence
from typing import Final

import attrs

from dragoman.guardrails.screen import Screen, build_screen
from dragoman.model import Guardrail

MOST: Final = 1000
"""Screens that are kept; when there are more, all are built anew."""


@attrs.define
class Screens:
    """Screens by the guardrails that they are made of; those of a replaced snapshot are built anew when asked for."""

    _kept: dict[tuple[str, tuple[str, ...]], tuple[tuple[Guardrail, ...], Screen | None]] = attrs.field(
        factory=dict, init=False, repr=False
    )

    def of(self, guardrails: Sequence[Guardrail], *, stage: str) -> Screen | None:
        """Return the screen of *guardrails* for this *stage*, or None where none of them watches it.

        Raises:
            BadGuardrailError: see `build_screen`.
        """
        if not guardrails:  # PERF: most requests
            return None
        watching = tuple(guardrails)
        name = (stage, tuple(guardrail.key for guardrail in watching))
        kept = self._kept.get(name)
        if kept is not None and kept[0] == watching:  # PERF: what is identical is compared no further
            return kept[1]
        if len(self._kept) >= MOST:
            self._kept.clear()
        screen = build_screen(watching, stage=stage)
        self._kept[name] = (watching, screen)
        return screen
