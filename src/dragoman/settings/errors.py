"""What is wrong with a setting."""

from collections.abc import Collection
from difflib import get_close_matches


class SettingsError(Exception):
    """A setting cannot be used; the message names it and says what can."""


def nearest(name: str, valid: Collection[str]) -> str | None:
    """Return what a complaint about *name* ends with: the nearest valid name, or None where none is near."""
    near = get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else None


def require_known(name: str, valid: Collection[str], complaint: str) -> str:
    """Return *name*, which must be one of *valid*."""
    if name not in valid:
        hint = nearest(name, valid) or f"known: {', '.join(sorted(valid))}"
        message = f"{complaint} {name!r}; {hint}"
        raise SettingsError(message)
    return name
