"""How a process runs: every setting by its variable and by its key in the file, with its bounds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.contract.traits import LIMIT_SCOPES
from dragoman.model import rate_of
from dragoman.settings import Dialect, Known, Running, SettingsError, read_settings
from dragoman.settings.running import LIMITS, NUMBERS, RUNNING_VARIABLES

KNOWN: Final = Known(
    dialects={"dragoman": Dialect(switches={}, off=frozenset())}, operations={"chat": True}, forwarding=()
)
DEFAULT: Final = Running(
    workers=1,
    max_in_flight=512,
    trusted_hops=0,
    drain_delay=1,
    grace=30,
    allow_divergent_limits=False,
    limits={"failed-logins": rate_of("10/m")},
    token_limits={},
    access_log="off",
)
OF_TOKENS: Final = ("organization-tokens", "key-tokens", "alias-tokens")
OF_REQUESTS: Final = [name for name in LIMITS if not name.endswith("_tokens")]
TWO: Final = {"DRAGOMAN_WORKERS": "2"}
ACCEPTED: Final = {"DRAGOMAN_ALLOW_DIVERGENT_LIMITS": "on"}

Write = Callable[[str], Path]


def read(path: Path | None = None, /, **variables: str) -> Running:
    """Return how a process runs by the file at *path* and these *variables*."""
    return read_settings(variables, KNOWN, config=path).running


def refused(path: Path | None = None, /, **variables: str) -> str:
    """Return what is said of the file at *path* and these *variables*, without the file's name."""
    with pytest.raises(SettingsError) as caught:
        read(path, **variables)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_without_settings_everything_has_its_default(write: Write) -> None:
    """One worker takes 512 requests at once from anybody, limits failed logins, and has 30 s to end after 1 s."""
    assert DEFAULT == read() == read(write(""))


# --- Each setting, by its variable and by its key ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("max_in_flight", 1, 100_000),
        ("trusted_hops", 0, 16),
        ("drain_delay", 0, 600),
        ("grace", 0, 86_400),
    ],
)
def test_a_number_can_be_set_within_its_bounds(write: Write, name: str, least: int, most: int) -> None:
    """A variable and a key of the file set the same number, which may be its least and its most."""
    variable = f"DRAGOMAN_{name.upper()}"

    for number in (least, most):
        change: Any = {name: number}
        expected = attrs.evolve(DEFAULT, **change)
        assert expected == read(**{variable: str(number)})
        assert expected == read(write(f"{name} = {number}"))


def test_the_number_of_workers_can_be_set(write: Write) -> None:
    """From 1 to 256 processes serve, where it is accepted that each counts for itself."""
    accepted = attrs.evolve(DEFAULT, allow_divergent_limits=True)
    for number in (1, 2, 256):
        expected = attrs.evolve(accepted, workers=number)
        assert expected == read(DRAGOMAN_WORKERS=str(number), **ACCEPTED)
        assert expected == read(write(f"workers = {number}\nallow_divergent_limits = true"))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_its_bounds_is_refused(write: Write, name: str) -> None:
    """What is below the least or above the most is refused by the variable or the path, and with both bounds."""
    number = NUMBERS[name]
    accepted = f"give a whole number from {number.least} to {number.most}"

    for value in (number.least - 1, number.most + 1, 9_999_999):
        refusal = f"{str(value)!r} is not accepted; {accepted}"
        assert f"DRAGOMAN_{name.upper()}: {refusal}" == refused(**{f"DRAGOMAN_{name.upper()}": str(value)})
        assert f"{name}: {refusal}" == refused(write(f"{name} = {value}"))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["", "one", "1.0", " 1", "1 ", "1\n", "+1", "0x1", "1_0", "\u0661", "1" * 5000])
def test_what_is_no_number_is_refused(name: str, value: str) -> None:
    """A variable that is no whole number in digits is refused by name."""
    number = NUMBERS[name]

    said = refused(**{f"DRAGOMAN_{name.upper()}": value})

    accepted = f"give a whole number from {number.least} to {number.most}"
    assert f"DRAGOMAN_{name.upper()}: {value!r} is not accepted; {accepted}" == said


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(("value", "shown"), [("'1'", "'1'"), ("1.0", "1.0"), ("true", "True"), ("[]", "a list")])
def test_another_kind_of_value_is_refused_by_its_path(write: Write, name: str, value: str, shown: str) -> None:
    """In the file a number stands without quotes."""
    assert f"{name}: {shown} is not accepted; it must be a whole number" == refused(write(f"{name} = {value}"))


def test_the_limits_are_those_that_a_dialect_can_know() -> None:
    """Each scope of a limit can be set, those of callers and aliases for tokens too, and nothing else."""
    assert {*LIMIT_SCOPES, *OF_TOKENS} == {name.replace("_", "-") for name in LIMITS}


@pytest.mark.parametrize("name", OF_TOKENS)
def test_a_limit_of_tokens_can_be_set(write: Write, name: str) -> None:
    """A variable and a key of the file set how many tokens each subject of a scope may use; they are off otherwise."""
    key = name.replace("-", "_")
    limits = {name.removesuffix("-tokens"): rate_of("60000/m burst 90000")}

    assert attrs.evolve(DEFAULT, token_limits=limits) == read(
        **{f"DRAGOMAN_LIMIT_{key.upper()}": "60000/m burst 90000"}
    )
    assert attrs.evolve(DEFAULT, token_limits=limits) == read(write(f"[limits]\n{key} = '60000/m burst 90000'"))
    assert DEFAULT == read(**{f"DRAGOMAN_LIMIT_{key.upper()}": "off"})


@pytest.mark.parametrize("name", ["off", "combined"])
def test_the_access_log_can_be_chosen(write: Write, name: str) -> None:
    """A variable and a key of the file name the format of the access log."""
    expected = attrs.evolve(DEFAULT, access_log=name)

    assert expected == read(DRAGOMAN_ACCESS_LOG=name) == read(write(f"access_log = '{name}'"))


def test_another_access_log_is_refused(write: Write) -> None:
    """A format that there is not is refused by the variable or the path, with those that there are."""
    refusal = "'common' is not accepted; it must be off or combined"

    assert f"DRAGOMAN_ACCESS_LOG: {refusal}" == refused(DRAGOMAN_ACCESS_LOG="common")
    assert f"access_log: {refusal}" == refused(write("access_log = 'common'"))
    assert "access_log: True is not accepted; it must be a text" == refused(write("access_log = true"))


@pytest.mark.parametrize("name", OF_REQUESTS)
def test_a_limit_can_be_set(write: Write, name: str) -> None:
    """A variable and a key of the file set the rate of a scope, beside the default of failed logins."""
    scope, variable = name.replace("_", "-"), f"DRAGOMAN_LIMIT_{name.upper()}"

    expected = attrs.evolve(DEFAULT, limits={**DEFAULT.limits, scope: rate_of("20/s burst 40")})

    assert expected == read(**{variable: "20/s burst 40"})
    assert expected == read(write(f"[limits]\n{name} = '20/s burst 40'"))


@pytest.mark.parametrize("name", OF_REQUESTS)
def test_a_limit_can_be_off(write: Write, name: str) -> None:
    """A scope that is off has no rate, that of failed logins too."""
    rest = {scope: rate for scope, rate in DEFAULT.limits.items() if scope != name.replace("_", "-")}

    assert rest == read(**{f"DRAGOMAN_LIMIT_{name.upper()}": "off"}).limits
    assert rest == read(write(f"limits.{name} = 'off'")).limits


@confirms("ADR-0032.R7")
@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["", "0/m", "600/w", "600", "OFF", "Off", "none", "on", "600/m burst 0", "600/m "])
def test_a_malformed_limit_is_refused(write: Write, name: str, value: str) -> None:
    """What is no rate and not off is refused by the variable or the path, and with how a rate is written."""
    variable = f"DRAGOMAN_LIMIT_{name.upper()}"
    refusal = (
        f"{value!r} is not accepted; a rate is written as 600/m or 20/s burst 40, with the units s, m, h and d, or off"
    )

    assert f"{variable}: {refusal}" == refused(**{variable: value})
    assert f"limits.{name}: {refusal}" == refused(write(f"[limits]\n{name} = '{value}'"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits = 1", "limits: 1 is not accepted; it must be a table"),
        ("limits.key = 600", "limits.key: 600 is not accepted; it must be a text"),
        ("limits.key = false", "limits.key: False is not accepted; it must be a text"),
        ("limits.keys = '1/s'", "limits.keys: unknown setting 'keys'; did you mean key?"),
        ("limits.adress = '1/s'", "limits.adress: unknown setting 'adress'; did you mean address?"),
        (
            "limits.failed-logins = 'off'",
            "limits.failed-logins: unknown setting 'failed-logins'; did you mean failed_logins?",
        ),
        ("worker = 2", "worker: unknown setting 'worker'; did you mean workers?"),
        ("max_inflight = 2", "max_inflight: unknown setting 'max_inflight'; did you mean max_in_flight?"),
        ("allow_divergent_limits = 'on'", "allow_divergent_limits: 'on' is not accepted; it must be true or false"),
        ("allow_divergent_limits = 1", "allow_divergent_limits: 1 is not accepted; it must be true or false"),
    ],
)
@confirms("ADR-0025.R1")
def test_what_is_wrong_in_the_file_is_refused_by_its_path(write: Write, text: str, said: str) -> None:
    """An unknown key is named with the nearest one, and a value of another kind with what it must be."""
    assert said == refused(write(text))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DRAGOMAN_WORKER", "DRAGOMAN_WORKERS"),
        ("DRAGOMAN_MAX_INFLIGHT", "DRAGOMAN_MAX_IN_FLIGHT"),
        ("DRAGOMAN_TRUSTED_HOP", "DRAGOMAN_TRUSTED_HOPS"),
        ("DRAGOMAN_LIMIT_ADRESS", "DRAGOMAN_LIMIT_ADDRESS"),
        ("DRAGOMAN_LIMIT_FAILED_LOGIN", "DRAGOMAN_LIMIT_FAILED_LOGINS"),
        ("DRAGOMAN_ALLOW_DIVERGENT_LIMIT", "DRAGOMAN_ALLOW_DIVERGENT_LIMITS"),
    ],
)
@confirms("ADR-0018.R1")
def test_a_misspelt_variable_is_refused_with_the_nearest(name: str, meant: str) -> None:
    """The variables of a process are known by name."""
    assert f"unknown variable {name}; did you mean {meant}?" == refused(**{name: "1"})


def test_every_setting_has_its_variable() -> None:
    """Fifteen variables say how a process runs."""
    assert [
        "DRAGOMAN_WORKERS",
        "DRAGOMAN_MAX_IN_FLIGHT",
        "DRAGOMAN_TRUSTED_HOPS",
        "DRAGOMAN_DRAIN_DELAY",
        "DRAGOMAN_GRACE",
        "DRAGOMAN_LIMIT_ADDRESS",
        "DRAGOMAN_LIMIT_ORGANIZATION",
        "DRAGOMAN_LIMIT_KEY",
        "DRAGOMAN_LIMIT_ALIAS",
        "DRAGOMAN_LIMIT_FAILED_LOGINS",
        "DRAGOMAN_LIMIT_ORGANIZATION_TOKENS",
        "DRAGOMAN_LIMIT_KEY_TOKENS",
        "DRAGOMAN_LIMIT_ALIAS_TOKENS",
        "DRAGOMAN_ALLOW_DIVERGENT_LIMITS",
        "DRAGOMAN_ACCESS_LOG",
    ] == list(RUNNING_VARIABLES)


# --- Several workers --------------------------------------------------------------------------------------------------

DIVERGENT: Final = (
    "DRAGOMAN_WORKERS=2: each worker would count the limits, and failed logins, for itself; accept that with "
    "DRAGOMAN_ALLOW_DIVERGENT_LIMITS=on, or run one worker"
)


@confirms("ADR-0032.R6")
@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", TWO),
        ("workers = 2", {}),
        ("workers = 1", TWO),
        ("", TWO | {"DRAGOMAN_ALLOW_DIVERGENT_LIMITS": "off"}),
        ("workers = 2\nallow_divergent_limits = false", {}),
        ("workers = 2\nallow_divergent_limits = true", {"DRAGOMAN_ALLOW_DIVERGENT_LIMITS": "off"}),
        ("workers = 2\nlimits.failed_logins = 'off'", {}),
    ],
)
def test_several_workers_with_limits_in_memory_are_refused(write: Write, text: str, variables: dict[str, str]) -> None:
    """Workers that would each count for themselves are refused, whatever said how many, unless that is accepted."""
    assert DIVERGENT == refused(write(text), **variables)


@confirms("ADR-0032.R6")
@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", TWO | ACCEPTED),
        ("allow_divergent_limits = true", TWO),
        ("workers = 2", ACCEPTED),
        ("workers = 2\nallow_divergent_limits = false", ACCEPTED),
    ],
)
def test_several_workers_can_be_accepted(write: Write, text: str, variables: dict[str, str]) -> None:
    """Whoever says that he accepts limits that diverge gets his workers."""
    running = read(write(text), **variables)

    assert (2, True) == (running.workers, running.allow_divergent_limits)


@confirms("ADR-0018.R1")
@pytest.mark.parametrize("value", ["", "true", "ON", "1", "yes"])
def test_divergent_limits_are_on_or_off(value: str) -> None:
    """Nothing but on accepts them, and nothing but on and off is a value, also with one worker."""
    expected = f"DRAGOMAN_ALLOW_DIVERGENT_LIMITS: {value!r} is not accepted; it must be on or off"

    assert expected == refused(DRAGOMAN_ALLOW_DIVERGENT_LIMITS=value)


# --- A variable wins over the file ------------------------------------------------------------------------------------

FILE: Final = """
max_in_flight = 9
trusted_hops = 2
drain_delay = 3
grace = 4

[limits]
address = "1/s"
failed_logins = "5/h"
"""


@confirms("ADR-0025.R2")
def test_a_variable_wins_over_the_file(write: Write) -> None:
    """What a variable says counts, setting by setting, and what it does not say is the file's."""
    path = write(FILE)

    of_file = attrs.evolve(
        DEFAULT,
        max_in_flight=9,
        trusted_hops=2,
        drain_delay=3,
        grace=4,
        limits={"address": rate_of("1/s"), "failed-logins": rate_of("5/h")},
    )
    of_both = attrs.evolve(of_file, grace=0, limits={"address": rate_of("2/s")})
    assert of_file == read(path)
    assert of_both == read(path, DRAGOMAN_GRACE="0", DRAGOMAN_LIMIT_ADDRESS="2/s", DRAGOMAN_LIMIT_FAILED_LOGINS="off")


@confirms("ADR-0025.R1")
@pytest.mark.parametrize(
    ("text", "variables", "path"),
    [
        ("grace = -1", {"DRAGOMAN_GRACE": "1"}, "grace: '-1'"),
        ("limits.key = '1'", {"DRAGOMAN_LIMIT_KEY": "1/s"}, "limits.key: '1'"),
    ],
)
def test_a_bad_value_of_the_file_is_refused_where_a_variable_wins(
    write: Write, text: str, variables: dict[str, str], path: str
) -> None:
    """What the file says is judged also where it does not count."""
    assert refused(write(text), **variables).startswith(f"{path} is not accepted; ")
