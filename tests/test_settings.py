"""Settings: every variable both ways, every misspelling by name."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from gateway_conformance.rules import confirms

from dragoman.declaration import Declaration
from dragoman.settings import (
    Development,
    Dialect,
    Known,
    MountSettings,
    Settings,
    SettingsError,
    process_environment,
    read_settings,
)
from dragoman.settings.embedded import with_embedded
from dragoman.settings.running import read_running

OPERATIONS = {"chat": True, "embed-text": True, "models": False}
DIALECTS = {
    "dragoman": Dialect(switches={}, off=frozenset()),
    "other": Dialect(switches={}, off=frozenset()),
    "shy": Dialect(switches={"gate.chat.enabled": "chat", "gate.models.enabled": "models"}, off=frozenset({"chat"})),
}
NOW_STUB = Known(dialects=DIALECTS, operations=OPERATIONS, forwarding=())
FORWARDING = Known(dialects=DIALECTS, operations=OPERATIONS, forwarding={"chat"})
DEV = {"DRAGOMAN_DEV_TOKEN": "t", "DRAGOMAN_DEV_AGENT_ID": "A-1", "DRAGOMAN_DEV_ORG_ID": "O-1"}
TWO_MOUNTS = {"DRAGOMAN_MOUNTS": "/=dragoman,/api/v2=other"}


def read(known: Known = FORWARDING, /, **variables: str) -> Settings:
    """Return the settings in these *variables*, whose names are given without their prefix."""
    return read_settings({f"DRAGOMAN_{name}": value for name, value in variables.items()}, known)


def refused(variables: Mapping[str, str], known: Known = FORWARDING) -> str:
    """Return what is said of *variables*."""
    with pytest.raises(SettingsError) as caught:
        read_settings(variables, known)
    return str(caught.value)


def phases(settings: Settings) -> list[Mapping[str, int]]:
    """Return the phases at each mount."""
    return [mount.phases for mount in settings.mounts]


def test_without_variables_everything_has_its_default() -> None:
    """The canonical contract is served in Phase 1 at the root of a local port, and there is no key."""
    mount = MountSettings(
        prefix="/",
        dialect="dragoman",
        phases={"chat": 1, "embed-text": 1},
        off=frozenset(),
        identity=None,
        secret=None,
    )

    expected = Settings(
        host="127.0.0.1",
        port=8080,
        mounts=(mount,),
        catalogue=with_embedded(Declaration(), {}),
        running=read_running({}),
        development=None,
        store=Path.home() / ".local" / "share" / "dragoman" / "dragoman.db",
    )
    assert expected == read()


def test_variables_of_other_programs_are_left_alone() -> None:
    """Only what begins with our prefix is checked."""
    assert read() == read_settings({"PATH": "/bin", "DRAGOMANIA": "1", "dragoman_port": "x"}, FORWARDING)


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings' source is the environment of this process."""
    monkeypatch.setenv("DRAGOMAN_HOST", "::1")

    assert "::1" == process_environment()["DRAGOMAN_HOST"]


def test_the_address_can_be_set() -> None:
    """Host and port are taken as they are given; port 0 takes a free one."""
    assert ("0.0.0.0", 0) == ((settings := read(HOST="0.0.0.0", PORT="0")).host, settings.port)  # noqa: S104
    assert 65535 == read(PORT="65535").port


@confirms("ADR-0018.R1")
@pytest.mark.parametrize("port", ["65536", "-1", "http", "", "80 ", "٨٠", "0x50", "123456"])
def test_a_bad_port_is_refused(port: str) -> None:
    """What is no port is refused with the variable, the value and the range."""
    expected = f"DRAGOMAN_PORT: {port!r} is no port; give a number from 0 to 65535"

    assert expected == refused({"DRAGOMAN_PORT": port})


def test_mounts_can_be_set() -> None:
    """Each mount has its prefix and its dialect, in the order in which they are given."""
    settings = read(MOUNTS="/=dragoman, /api/v2=other")

    assert [("/", "dragoman"), ("/api/v2", "other")] == [(mount.prefix, mount.dialect) for mount in settings.mounts]


def test_the_default_of_the_mounts_can_be_given() -> None:
    """A command's own mounts apply when the variable is not set, and give way when it is."""
    mounts = "/a=other"

    assert ["/a"] == [mount.prefix for mount in read_settings({}, FORWARDING, mounts=mounts).mounts]
    assert ["/", "/api/v2"] == [mount.prefix for mount in read_settings(TWO_MOUNTS, FORWARDING, mounts=mounts).mounts]


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ("/=dragman", "DRAGOMAN_MOUNTS: unknown dialect 'dragman'; did you mean dragoman?"),
        ("/=zzz", "DRAGOMAN_MOUNTS: unknown dialect 'zzz'; known: dragoman, other, shy"),
        ("/", "DRAGOMAN_MOUNTS: unknown dialect ''; known: dragoman, other, shy"),
        ("/=dragoman,/=other", "DRAGOMAN_MOUNTS: '/' is mounted twice"),
        ("api=other", "DRAGOMAN_MOUNTS: 'api=other' is no mount; write /prefix=dialect, or /=dialect for the root"),
        ("/api/=other", "DRAGOMAN_MOUNTS: '/api/=other' is no mount; write /prefix=dialect, or /=dialect for the root"),
        ("/a b=other", "DRAGOMAN_MOUNTS: '/a b=other' is no mount; write /prefix=dialect, or /=dialect for the root"),
        ("/=dragoman,", "DRAGOMAN_MOUNTS: '' is no mount; write /prefix=dialect, or /=dialect for the root"),
        ("", "DRAGOMAN_MOUNTS: '' is no mount; write /prefix=dialect, or /=dialect for the root"),
    ],
)
def test_bad_mounts_are_refused(mounts: str, said: str) -> None:
    """A mount that is none, one that stands twice, and an unknown dialect are refused by name."""
    assert said == refused({"DRAGOMAN_MOUNTS": mounts})


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("DRAGOMAN_PROT", "unknown variable DRAGOMAN_PROT; did you mean DRAGOMAN_PORT?"),
        ("DRAGOMAN_HOTS", "unknown variable DRAGOMAN_HOTS; did you mean DRAGOMAN_HOST?"),
        ("DRAGOMAN_MOUNT", "unknown variable DRAGOMAN_MOUNT; did you mean DRAGOMAN_MOUNTS?"),
        ("DRAGOMAN_PHASES", "unknown variable DRAGOMAN_PHASES; did you mean DRAGOMAN_PHASE?"),
        ("DRAGOMAN_PHASE_CHATS", "unknown variable DRAGOMAN_PHASE_CHATS; did you mean DRAGOMAN_PHASE_CHAT?"),
        ("DRAGOMAN_PHASE_MODELS", "unknown variable DRAGOMAN_PHASE_MODELS; did you mean DRAGOMAN_PHASE?"),
        ("DRAGOMAN_ENDPOINT_CAHT", "unknown variable DRAGOMAN_ENDPOINT_CAHT; did you mean DRAGOMAN_ENDPOINT_CHAT?"),
        ("DRAGOMAN_API_PHASE", "unknown variable DRAGOMAN_API_PHASE; did you mean DRAGOMAN_PHASE?"),
        ("DRAGOMAN_DEV_TOKN", "unknown variable DRAGOMAN_DEV_TOKN; did you mean DRAGOMAN_DEV_TOKEN?"),
        ("DRAGOMAN_", "unknown variable DRAGOMAN_; did you mean DRAGOMAN_PORT?"),
        (
            "DRAGOMAN_" + "Q" * 40,
            f"unknown variable DRAGOMAN_{'Q' * 40}; `dragoman serve --help` lists the variables",
        ),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(name: str, said: str) -> None:
    """A misspelt variable is refused by name, and with the one that was probably meant."""
    assert said == refused({name: "1"})


def test_flags_of_a_mount_are_known_when_it_is_mounted() -> None:
    """A mount brings its own flags, named after its prefix."""
    assert "DRAGOMAN_API_V2_PHASE: '3' is not accepted; it must be 1 or 2" == refused(
        TWO_MOUNTS | {"DRAGOMAN_API_V2_PHASE": "3"}
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PHASE": "1"}, [1, 1]),
        ({"PHASE": "2"}, [2, 2]),
        ({"PHASE_CHAT": "2"}, [2, 2]),
        ({"PHASE": "2", "PHASE_CHAT": "1"}, [1, 1]),
        ({"API_V2_PHASE": "2"}, [1, 2]),
        ({"PHASE": "2", "API_V2_PHASE": "1"}, [2, 1]),
        ({"API_V2_PHASE_CHAT": "2"}, [1, 2]),
        ({"PHASE_CHAT": "2", "API_V2_PHASE_CHAT": "1"}, [2, 1]),
        ({"PHASE_CHAT": "2", "API_V2_PHASE": "1"}, [2, 2]),
    ],
)
def test_the_more_specific_phase_wins(variables: dict[str, str], expected: list[int]) -> None:
    """A flag of the operation wins over one of the mount, and that over one for all."""
    settings = read(MOUNTS=TWO_MOUNTS["DRAGOMAN_MOUNTS"], **variables)

    assert expected == [of_mount["chat"] for of_mount in phases(settings)]


def test_a_phase_for_all_is_for_those_that_can() -> None:
    """Phase 2 for all leaves an operation that cannot forward in Phase 1."""
    assert [{"chat": 2, "embed-text": 1}] == phases(read(PHASE="2"))


@confirms("ADR-0003.R4")
@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("DRAGOMAN_PHASE", NOW_STUB, "DRAGOMAN_PHASE=2: no operation can forward; leave it at 1"),
        ("DRAGOMAN_PHASE_CHAT", NOW_STUB, "DRAGOMAN_PHASE_CHAT=2: 'chat' cannot forward; leave it at 1"),
        (
            "DRAGOMAN_PHASE_EMBED_TEXT",
            FORWARDING,
            "DRAGOMAN_PHASE_EMBED_TEXT=2: 'embed-text' cannot forward; leave it at 1",
        ),
    ],
)
def test_phase_2_is_refused_where_nothing_can_forward(name: str, known: Known, said: str) -> None:
    """Phase 2 of what cannot forward is refused at start, and the refusal names the flag."""
    assert said == refused({name: "2"}, known)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [set(), set()]),
        ({"ENDPOINT_CHAT": "on"}, [set(), set()]),
        ({"ENDPOINT_CHAT": "off"}, [{"chat"}, {"chat"}]),
        ({"ENDPOINT_EMBED_TEXT": "off"}, [{"embed-text"}, {"embed-text"}]),
        ({"API_V2_ENDPOINT_CHAT": "off"}, [set(), {"chat"}]),
        ({"ENDPOINT_CHAT": "off", "API_V2_ENDPOINT_CHAT": "on"}, [{"chat"}, set()]),
    ],
)
def test_endpoints_are_switched_for_all_or_for_a_mount(variables: dict[str, str], expected: list[set[str]]) -> None:
    """An endpoint can be switched off everywhere or at one mount, whose own flag wins."""
    settings = read(MOUNTS=TWO_MOUNTS["DRAGOMAN_MOUNTS"], **variables)

    assert expected == [set(mount.off) for mount in settings.mounts]


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("DRAGOMAN_PHASE", "3", "1 or 2"),
        ("DRAGOMAN_PHASE", "", "1 or 2"),
        ("DRAGOMAN_PHASE_CHAT", "two", "1 or 2"),
        ("DRAGOMAN_ENDPOINT_CHAT", "OFF", "on or off"),
        ("DRAGOMAN_ENDPOINT_MODELS", "true", "on or off"),
    ],
)
def test_a_bad_value_is_refused(name: str, value: str, accepted: str) -> None:
    """A value that a flag does not know is refused with the flag, the value and what is accepted."""
    assert f"{name}: {value!r} is not accepted; it must be {accepted}" == refused({name: value})


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PHASE": "9", "PHASE_CHAT": "1", "PHASE_EMBED_TEXT": "1"}, "DRAGOMAN_PHASE: '9'"),
        ({"ENDPOINT_CHAT": "of", "ROOT_ENDPOINT_CHAT": "on", "MOUNTS": "/root=other"}, "DRAGOMAN_ENDPOINT_CHAT: 'of'"),
    ],
)
def test_a_bad_value_is_refused_where_another_flag_wins(variables: dict[str, str], said: str) -> None:
    """A bad value is refused also where a more specific flag would have kept it from being looked at."""
    assert refused({f"DRAGOMAN_{name}": value for name, value in variables.items()}).startswith(said)


def test_the_development_key_can_be_set() -> None:
    """What `dragoman demo` exports gives one key, whose ids are in lower case."""
    assert (
        Development(token="t", organization="o-1", agents={"main": "a-1"}) == read_settings(DEV, FORWARDING).development
    )


@confirms("ADR-0018.R1")
def test_an_empty_host_is_refused() -> None:
    """An address that is empty would be every interface, which is said with 0.0.0.0 and not by accident."""
    said = "DRAGOMAN_HOST must not be empty; use 127.0.0.1, or 0.0.0.0 for every interface"

    assert said == refused({"DRAGOMAN_HOST": ""})


@confirms("ADR-0018.R1")
@pytest.mark.parametrize("missing", DEV)
def test_a_development_key_is_whole_or_absent(missing: str) -> None:
    """One of the three variables without the others is refused, and the missing one is named."""
    given = {name: value for name, value in DEV.items() if name != missing}

    said = refused(given)

    assert f"{missing} is missing beside {next(iter(given))}; `dragoman demo` prints all of them" == said
