"""Where the store is (ADR-0029).

Laws of this file:
- What is said may be the address of another database with its password in it: it is never told again.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from dragoman.settings.errors import SettingsError

STORE: Final = "DRAGOMAN_STORE"
CONFIG: Final = "DRAGOMAN_CONFIG"
_PLACE: Final = Path("dragoman", "dragoman.db")


def store_in(text: str, where: str, environment: Mapping[str, str]) -> Path:
    """Return the path in *text*, which stands at *where*; `~` is the home that *environment* names."""
    if not text or "\0" in text or "://" in text or text == ":memory:":
        message = f"{where} is no path of a file; only a file holds a store"
        raise SettingsError(message)
    if text.startswith("~/"):
        return _home(environment) / text[2:]
    return Path(text)


def default_store(environment: Mapping[str, str]) -> Path:
    """Return where the store is when nobody says it: beside the other files of the user's programs."""
    stated = Path(environment.get("XDG_DATA_HOME", ""))
    if stated.is_absolute():  # any other does not count (XDG Base Directory Specification, section 3)
        return stated / _PLACE
    return _home(environment) / ".local" / "share" / _PLACE


def require_spelt(environment: Mapping[str, str]) -> None:
    """Refuse a variable that was probably to say where the store is; all others are judged where they count."""
    for name in environment:
        rest = name.removeprefix("DRAGOMAN_")
        near = get_close_matches(rest, ("STORE", "CONFIG"), n=1, cutoff=0.75)
        if rest != name and near and name not in (STORE, CONFIG):
            message = f"unknown variable {name}; did you mean DRAGOMAN_{near[0]}?"
            raise SettingsError(message)


def _home(environment: Mapping[str, str]) -> Path:
    stated = environment.get("HOME")
    try:
        return Path(stated) if stated else Path.home()
    except RuntimeError:
        message = f"there is no home directory for the store; say with {STORE} where it is"
        raise SettingsError(message) from None
