"""How a process runs: its workers, what it bears at once, how it ends, and whose requests it limits.

Laws of this file:
- Every setting has one row, from which its variable, its key in the file and its bounds follow.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from dragoman.model import Rate, rate_of
from dragoman.settings.errors import SettingsError
from dragoman.settings.flags import PREFIX, SWITCH, choice, upper

OFF: Final = "off"
"""What a limit is that nobody has."""


@attrs.frozen(kw_only=True)
class Running:
    """How a process runs.

    *drain_delay* and *grace* are in seconds. *limits* maps scopes to rates (ADR-0032), *token_limits* those of tokens
    (ADR-0041). *access_log* is one of `ACCESS_LOGS`.
    """

    workers: int
    max_in_flight: int
    trusted_hops: int
    drain_delay: int
    grace: int
    allow_divergent_limits: bool
    limits: Mapping[str, Rate]
    token_limits: Mapping[str, Rate]
    access_log: str


@attrs.frozen(kw_only=True)
class Number:
    """A setting that is a whole number, within bounds."""

    default: int
    least: int
    most: int


NUMBERS: Final[Mapping[str, Number]] = {
    "workers": Number(default=1, least=1, most=256),
    "max_in_flight": Number(default=512, least=1, most=100_000),
    "trusted_hops": Number(default=0, least=0, most=16),
    "drain_delay": Number(default=1, least=0, most=600),
    "grace": Number(default=30, least=0, most=86_400),
}

LIMITS: Final[Mapping[str, str]] = {
    "address": OFF,
    "organization": OFF,
    "key": OFF,
    "alias": OFF,
    "failed_logins": "10/m",
    "organization_tokens": OFF,
    "key_tokens": OFF,
    "alias_tokens": OFF,
}
"""The limits by their names in settings, and what they are when nothing is said."""

_OF_TOKENS: Final = "-tokens"
"""What the name of a limit ends with that counts tokens."""

ACCESS_LOG: Final = "access_log"
ACCESS_LOGS: Final[Mapping[str, str]] = {name: name for name in (OFF, "combined")}
"""The formats of the access log (ADR-0042)."""

DIVERGENT: Final = "allow_divergent_limits"


def _variable(name: str) -> str:
    return f"{PREFIX}{upper(name)}"


def limit_variable(name: str) -> str:
    """Return the variable that sets the limit *name*."""
    return f"{PREFIX}LIMIT_{upper(name)}"


def number_in(name: str) -> Callable[[str, str], int]:
    """Return what reads the number *name* from a text; it takes the text and where it stands."""
    number = NUMBERS[name]

    def read(text: str, where: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not number.least <= int(text) <= number.most:
            message = f"{where}: {text!r} is not accepted; give a whole number from {number.least} to {number.most}"
            raise SettingsError(message)
        return int(text)

    return read


def limit_in(text: str, where: str) -> Rate | None:
    """Return the rate in *text*, which stands at *where*, or None for `off`."""
    if text == OFF:
        return None
    try:
        return rate_of(text)
    except ValueError as error:
        message = f"{where}: {text!r} is not accepted; {error}, or off"
        raise SettingsError(message) from None


def access_log_in(text: str, where: str) -> str:
    """Return the format of the access log that *text*, which stands at *where*, names."""
    return choice(where, text, ACCESS_LOGS)


def switch_in(text: str, where: str) -> bool:
    """Return whether *text*, which stands at *where*, says on."""
    return choice(where, text, SWITCH)


RUNNING_VARIABLES: Final[Mapping[str, Callable[[str, str], object]]] = {
    **{_variable(name): number_in(name) for name in NUMBERS},
    **{limit_variable(name): limit_in for name in LIMITS},
    _variable(DIVERGENT): switch_in,
    _variable(ACCESS_LOG): access_log_in,
}
"""The variables, and what reads each."""


def read_running(said: Mapping[str, str]) -> Running:
    """Return how a process runs by what is *said*: variable -> text.

    Raises:
        SettingsError: for several workers whose limits would not know of each other (ADR-0032.R6).
    """
    numbers = {
        name: number_in(name)(said.get(_variable(name), str(number.default)), _variable(name))
        for name, number in NUMBERS.items()
    }
    limits = {
        name: limit_in(said.get(limit_variable(name), default), limit_variable(name))
        for name, default in LIMITS.items()
    }
    divergent = switch_in(said.get(_variable(DIVERGENT), OFF), _variable(DIVERGENT))
    if numbers["workers"] > 1 and not divergent:
        message = (
            f"{_variable('workers')}={numbers['workers']}: each worker would count the limits, and failed logins, for "
            f"itself; accept that with {_variable(DIVERGENT)}=on, or run one worker"
        )
        raise SettingsError(message)
    rates = {name.replace("_", "-"): rate for name, rate in limits.items() if rate is not None}
    return Running(
        **numbers,
        allow_divergent_limits=divergent,
        limits={name: rate for name, rate in rates.items() if not name.endswith(_OF_TOKENS)},
        token_limits={name.removesuffix(_OF_TOKENS): rate for name, rate in rates.items() if name.endswith(_OF_TOKENS)},
        access_log=access_log_in(said.get(_variable(ACCESS_LOG), OFF), _variable(ACCESS_LOG)),
    )
