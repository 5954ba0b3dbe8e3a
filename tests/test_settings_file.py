"""The settings file: what it may say, what it may not, and that a variable wins over it."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.declaration import Declaration, DeclaredAlias
from dragoman.settings import Dialect, Known, MountSettings, Settings, SettingsError, read_settings
from dragoman.settings.kinds import shown
from dragoman.settings.running import read_running

KNOWN: Final = Known(
    dialects={
        "dragoman": Dialect(switches={}, off=frozenset()),
        "shy": Dialect(
            switches={"gate.http.chat.enabled": "chat", "gate.http.models.enabled": "models"}, off=frozenset({"chat"})
        ),
    },
    operations={"chat": True, "embed-text": True, "models": False},
    forwarding={"chat"},
)
IDLE: Final = Known(dialects=KNOWN.dialects, operations=KNOWN.operations, forwarding=())

Write = Callable[[str], Path]


def read(path: Path, known: Known = KNOWN, /, **variables: str) -> Settings:
    """Return the settings of the file at *path* under *variables*, whose names are given whole."""
    return read_settings(variables, known, config=path)


def refused(path: Path, known: Known = KNOWN, /, **variables: str) -> str:
    """Return what is said of the file at *path*, without its name."""
    with pytest.raises(SettingsError) as caught:
        read(path, known, **variables)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


WHOLE: Final = """
host = "::1"
port = 9000
store = "our.db"
grace = 5
phase = 1

[limits]
key = "20/s"

[phases]
chat = 2

[endpoints]
models = "off"

[mounts.shy]

[mounts.main]
prefix = "/api"
dialect = "dragoman"
identity = "token"
secret = "env:SESAME"
phase = 2
phases = { chat = 1 }
endpoints = { models = "on" }

[[alias]]
id = "general"

[[alias]]
id = "words"
display_name = "Words"
description = "Turns texts into vectors."
category = "embedding"
visible_to = ["O-1", "o-2"]
"""


def test_everything_can_be_said_in_a_file(write: Write) -> None:
    """Address, store, limits, flags, mounts, identities, secrets and aliases are taken, each with its default."""
    phases = {"chat": 2, "embed-text": 1}
    shy = MountSettings(
        prefix="/shy", dialect="shy", phases=phases, off=frozenset({"chat", "models"}), identity=None, secret=None
    )
    main = MountSettings(
        prefix="/api",
        dialect="dragoman",
        phases={"chat": 1, "embed-text": 1},
        off=frozenset(),
        identity="token",
        secret="open",
    )
    general = DeclaredAlias(id="general", display_name="general")
    words = DeclaredAlias(
        id="words",
        display_name="Words",
        description="Turns texts into vectors.",
        category="embedding",
        visible_to=frozenset({"O-1", "o-2"}),
    )

    expected = Settings(
        host="::1",
        port=9000,
        mounts=(shy, main),
        catalogue=Declaration(aliases=(general, words)),
        names_aliases=True,
        running=read_running({"DRAGOMAN_GRACE": "5", "DRAGOMAN_LIMIT_KEY": "20/s"}),
        development=None,
        store=Path("our.db"),
    )
    assert expected == read(write(WHOLE), SESAME="open")


def test_an_empty_file_says_nothing(write: Write) -> None:
    """A file without a line leaves every default."""
    assert read_settings({}, KNOWN) == read(write(""))


def test_a_variable_names_the_file(write: Write) -> None:
    """`DRAGOMAN_CONFIG` names the file where the command line does not, which wins."""
    path = write("port = 9000")

    assert 9000 == read_settings({"DRAGOMAN_CONFIG": str(path)}, KNOWN).port
    assert 9000 == read_settings({"DRAGOMAN_CONFIG": "/nowhere"}, KNOWN, config=path).port


# --- What is wrong is named by its dotted path ------------------------------------------------------------------------


@confirms("ADR-0025.R1")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "prot: unknown setting 'prot'; did you mean port?"),
        ("[mount.a]", "mount: unknown setting 'mount'; did you mean mounts?"),
        ("[aliases]", "aliases: unknown setting 'aliases'; did you mean alias?"),
        (
            "[mounts.shy]\ndialct = 'shy'",
            "mounts.shy.dialct: unknown setting 'dialct'; did you mean dialect?",
        ),
        ("[mounts.a]\ndialect = 'shi'", "mounts.a.dialect: unknown dialect 'shi'; did you mean shy?"),
        ("[mounts.shi]", "mounts.shi.dialect: unknown dialect 'shi'; did you mean shy?"),
        (
            "[mounts.shy]\nidentity = 'tokn'",
            "mounts.shy.identity: unknown identity 'tokn'; did you mean token?",
        ),
        ("[phases]\nchta = 1", "phases.chta: unknown operation 'chta'; did you mean chat?"),
        ("[phases]\nmodels = 1", "phases.models: unknown operation 'models'; known: chat, embed-text"),
        ("[endpoints]\nmodel = 'on'", "endpoints.model: unknown operation 'model'; did you mean models?"),
        ("[mounts.shy.phases]\nchta = 1", "mounts.shy.phases.chta: unknown operation 'chta'; did you mean chat?"),
        (
            "[mounts.shy.endpoints]\nmodl = 'on'",
            "mounts.shy.endpoints.modl: unknown operation 'modl'; did you mean models?",
        ),
        (
            "[mounts.shy.gate.http.chat]\nenabld = true",
            (
                "mounts.shy.gate.http.chat.enabld: unknown setting 'gate.http.chat.enabld'; "
                "did you mean gate.http.chat.enabled?"
            ),
        ),
        (
            "[mounts.shy]\ngate = true",
            "mounts.shy.gate: unknown setting 'gate'; known: gate.http.chat.enabled, gate.http.models.enabled",
        ),
        (
            "[mounts.dragoman.gate.http.chat]\nenabled = true",
            (
                "mounts.dragoman.gate: unknown setting 'gate'; "
                "known: dialect, endpoints, identity, phase, phases, prefix, secret"
            ),
        ),
        ("[[alias]]\nid = 'a'\nname = 'b'", "alias[0].name: unknown setting 'name'; did you mean display_name?"),
        (
            "[[alias]]\nid = 'a'\n[[alias]]\nid = 'b'\ncategory = 'lm'",
            "alias[1].category: unknown category 'lm'; did you mean llm?",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_its_path(write: Write, text: str, said: str) -> None:
    """A key, table, operation, dialect or choice that does not exist is named by its path, with the nearest one."""
    assert said == refused(write(text))


TEXT: Final = "a text"
NUMBER: Final = "a whole number"
TABLE: Final = "a table"
LIST: Final = "a list"


@confirms("ADR-0025.R1")
@pytest.mark.parametrize(
    ("text", "path", "value", "wanted"),
    [
        ("host = 1", "host", 1, TEXT),
        ("host = true", "host", True, TEXT),
        ("port = '1'", "port", "1", NUMBER),
        ("port = true", "port", True, NUMBER),
        ("phase = '2'", "phase", "2", NUMBER),
        ("phase = 3", "phase", "3", "1 or 2"),
        ("phases = 1", "phases", 1, TABLE),
        ("phases = {chat = 3}", "phases.chat", "3", "1 or 2"),
        ("endpoints = {chat = 'of'}", "endpoints.chat", "of", "on or off"),
        ("endpoints = {chat = true}", "endpoints.chat", "True", "on or off"),
        ("mounts = 1", "mounts", 1, TABLE),
        ("mounts = {shy = 1}", "mounts.shy", 1, TABLE),
        ("phases = {chat = '1'}", "phases.chat", "1", "1 or 2"),
        ("phase = 1.5", "phase", Decimal("1.5"), NUMBER),
        ("mounts = {shy = {prefix = 1}}", "mounts.shy.prefix", 1, TEXT),
        ("mounts = {shy = {dialect = 1}}", "mounts.shy.dialect", 1, TEXT),
        ("mounts = {shy = {identity = 1}}", "mounts.shy.identity", 1, TEXT),
        ("mounts = {shy = {phase = 'a'}}", "mounts.shy.phase", "a", NUMBER),
        ("mounts = {shy = {phase = 0}}", "mounts.shy.phase", "0", "1 or 2"),
        ("mounts = {shy = {endpoints = {chat = 1}}}", "mounts.shy.endpoints.chat", "1", "on or off"),
        ("mounts.shy.gate.http.chat.enabled = 'on'", "mounts.shy.gate.http.chat.enabled", "on", "true or false"),
        ("alias = 1", "alias", 1, "a list; write [[alias]]"),
        ("alias = [1]", "alias[0]", 1, TABLE),
        ("alias = [{id = 1}]", "alias[0].id", 1, TEXT),
        ("alias = [{id = 'a', display_name = 1}]", "alias[0].display_name", 1, TEXT),
        ("alias = [{id = 'a', description = 1}]", "alias[0].description", 1, TEXT),
        ("alias = [{id = 'a', category = 1}]", "alias[0].category", 1, TEXT),
        ("alias = [{id = 'a', visible_to = 1}]", "alias[0].visible_to", 1, LIST),
        ("alias = [{id = 'a', visible_to = [1]}]", "alias[0].visible_to[0]", 1, TEXT),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_path(
    write: Write, text: str, path: str, value: object, wanted: str
) -> None:
    """A value that cannot stand where it stands is named by its path, and with what can."""
    assert f"{path}: {shown(value)} is not accepted; it must be {wanted}" == refused(write(text))


@confirms("ADR-0025.R1")
def test_what_is_missing_is_refused_by_its_path(write: Write) -> None:
    """A member that must be there is named by its path, and with what it must be."""
    assert "alias[0].id: it is missing; it must be a text" == refused(write("alias = [{}]"))


@confirms("ADR-0025.R1")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 65536", "port: '65536' is no port; give a number from 0 to 65535"),
        ("port = -1", "port: '-1' is no port; give a number from 0 to 65535"),
        (
            "mounts = {shy = {prefix = 'shy'}}",
            "mounts.shy.prefix: 'shy' is no mount; write /prefix=dialect, or /=dialect for the root",
        ),
        (
            "mounts = {shy = {}, other = {dialect = 'shy', prefix = '/shy'}}",
            "mounts.other.prefix: '/shy' is mounted twice",
        ),
    ],
)
def test_an_address_that_is_none_is_refused(write: Write, text: str, said: str) -> None:
    """A port out of range, a prefix that is none and one that is taken are named by their paths."""
    assert said == refused(write(text))


@confirms("ADR-0025.R1")
@pytest.mark.parametrize("text", ["port = ", "[a]\n[a]", "\ufeffhost = 1"])
def test_what_is_no_toml_is_refused(write: Write, text: str) -> None:
    """A file that is no TOML is refused in one line that names it."""
    assert refused(write(text)).startswith("cannot be read: ")


@confirms("ADR-0025.R1")
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A file that is not there, and one that is no text, are refused by name."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")

    assert ["cannot be read: "] * 2 == [refused(path)[:16] for path in (tmp_path / "none.toml", binary)]


@confirms("ADR-0025.R4")
@pytest.mark.parametrize(
    ("text", "known", "said"),
    [
        ("phases = {embed-text = 2}", KNOWN, "phases.embed-text=2: 'embed-text' cannot forward; leave it at 1"),
        (
            "mounts.shy.phases.embed-text = 2",
            KNOWN,
            "mounts.shy.phases.embed-text=2: 'embed-text' cannot forward; leave it at 1",
        ),
        ("phase = 2", IDLE, "phase=2: no operation can forward; leave it at 1"),
    ],
)
def test_phase_2_of_what_cannot_forward_is_refused(write: Write, text: str, known: Known, said: str) -> None:
    """One operation that cannot forward may not be asked to by its name, and all may not where none can."""
    assert said == refused(write(text), known)


# --- Flags: a variable wins over the file, and the more specific one within each --------------------------------------

MOUNTS: Final = "mounts.root.prefix = '/'\nmounts.root.dialect = 'dragoman'\nmounts.api.dialect = 'dragoman'\n"


@confirms("ADR-0025.R2", "ADR-0025.R3")
@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("", {}, [1, 1]),
        ("phase = 2", {}, [2, 2]),
        ("phases.chat = 2", {}, [2, 2]),
        ("phase = 2\nphases.chat = 1", {}, [1, 1]),
        ("phase = 1\nphases.chat = 2", {}, [2, 2]),
        ("mounts.api.phase = 2", {}, [1, 2]),
        ("phase = 2\nmounts.api.phase = 1", {}, [2, 1]),
        ("mounts.root.phase = 2", {}, [2, 1]),
        ("phase = 2\nmounts.root.phase = 1", {}, [1, 2]),
        ("mounts.api.phases.chat = 2", {}, [1, 2]),
        ("mounts.root.phases.chat = 2", {}, [2, 1]),
        ("phases.chat = 2\nmounts.api.phase = 1", {}, [2, 2]),
        ("phases.chat = 2\nmounts.api.phases.chat = 1", {}, [2, 1]),
        ("phase = 2", {"PHASE": "1"}, [1, 1]),
        ("phase = 1", {"PHASE": "2"}, [2, 2]),
        ("phase = 2\nmounts.root.phases.chat = 2", {"PHASE": "1"}, [1, 1]),
        ("mounts.api.phases.chat = 1", {"PHASE_CHAT": "2"}, [2, 2]),
        ("phase = 2", {"API_PHASE": "1"}, [2, 1]),
        ("phase = 2", {"API_PHASE_CHAT": "1"}, [2, 1]),
    ],
)
def test_the_phase_is_that_of_the_winning_flag(
    write: Write, text: str, variables: dict[str, str], expected: list[int]
) -> None:
    """A variable wins over the file; within each an operation's flag wins over a mount's, and that over one for all."""
    named = {f"DRAGOMAN_{name}": value for name, value in variables.items()}

    settings = read(write(MOUNTS + text), **named)

    assert expected == [mount.phases["chat"] for mount in settings.mounts]


@confirms("ADR-0025.R2", "ADR-0025.R3")
@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("", {}, [set(), set()]),
        ("endpoints.chat = 'off'", {}, [{"chat"}, {"chat"}]),
        ("endpoints.embed-text = 'off'", {}, [{"embed-text"}, {"embed-text"}]),
        ("mounts.api.endpoints.chat = 'off'", {}, [set(), {"chat"}]),
        ("mounts.root.endpoints.chat = 'off'", {}, [{"chat"}, set()]),
        ("endpoints.chat = 'off'\nmounts.api.endpoints.chat = 'on'", {}, [{"chat"}, set()]),
        ("endpoints.chat = 'off'", {"ENDPOINT_CHAT": "on"}, [set(), set()]),
        ("endpoints.chat = 'on'", {"ENDPOINT_CHAT": "off"}, [{"chat"}, {"chat"}]),
        ("mounts.api.endpoints.chat = 'off'", {"ENDPOINT_CHAT": "on"}, [set(), set()]),
        ("endpoints.chat = 'on'", {"API_ENDPOINT_CHAT": "off"}, [set(), {"chat"}]),
    ],
)
def test_an_endpoint_is_as_the_winning_flag_says(
    write: Write, text: str, variables: dict[str, str], expected: list[set[str]]
) -> None:
    """An endpoint can be switched everywhere or at one mount, in the file or by a variable, which wins."""
    named = {f"DRAGOMAN_{name}": value for name, value in variables.items()}

    settings = read(write(MOUNTS + text), **named)

    assert expected == [set(mount.off) for mount in settings.mounts]


SWITCH: Final = "mounts.shy.gate.http.chat.enabled = "


@confirms("ADR-0022.R1", "ADR-0025.R3")
@pytest.mark.parametrize(
    ("text", "variables", "off"),
    [
        ("mounts.shy = {}", {}, {"chat"}),
        (f"{SWITCH}true", {}, set()),
        (f"{SWITCH}false", {}, {"chat"}),
        ("mounts.shy.gate.http.models.enabled = false", {}, {"chat", "models"}),
        ("mounts.shy.gate.http = {chat.enabled = true, models.enabled = true}", {}, set()),
        (f"{SWITCH}true", {"ENDPOINT_CHAT": "off"}, {"chat"}),
        (f"{SWITCH}false", {"SHY_ENDPOINT_CHAT": "on"}, set()),
        ("mounts.shy.endpoints.chat = 'on'", {}, set()),
        ("endpoints.chat = 'on'\nmounts.shy = {}", {}, set()),
    ],
)
def test_a_dialects_own_switch_is_obeyed(write: Write, text: str, variables: dict[str, str], off: set[str]) -> None:
    """What is off by default is turned on by the switch of its dialect or by a flag, and off again."""
    named = {f"DRAGOMAN_{name}": value for name, value in variables.items()}

    [mount] = read(write(text), **named).mounts

    assert off == mount.off


@confirms("ADR-0025.R2")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("::1", 9000)),
        ({"DRAGOMAN_HOST": "h"}, ("h", 9000)),
        ({"DRAGOMAN_PORT": "1"}, ("::1", 1)),
    ],
)
def test_a_variable_wins_over_the_address_of_the_file(
    write: Write, variables: dict[str, str], expected: tuple[str, int]
) -> None:
    """Host and port are those of the variables, and each is the file's where there is none."""
    settings = read(write("host = '::1'\nport = 9000"), **variables)

    assert expected == (settings.host, settings.port)


@confirms("ADR-0025.R2")
@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("/=dragoman", [("/", "dragoman", None)]),
        ("/shy=shy", [("/shy", "shy", "none")]),
        ("/shy=dragoman", [("/shy", "dragoman", None)]),
    ],
)
def test_mounts_of_the_variable_win(write: Write, mounts: str, expected: list[tuple[str, str, str | None]]) -> None:
    """The variable says what is mounted; the file's table of the same mount still tells its identity."""
    path = write("[mounts.shy]\nidentity = 'none'\nphase = 2\nendpoints = {models = 'off'}")

    settings = read(path, DRAGOMAN_MOUNTS=mounts)

    assert expected == [(mount.prefix, mount.dialect, mount.identity) for mount in settings.mounts]


# --- Identities -------------------------------------------------------------------------------------------------------


def identified(path: Path, **variables: str) -> tuple[str | None, str | None]:
    """Return the identity of the one mount, and its secret."""
    [mount] = read(path, **variables).mounts
    return mount.identity, mount.secret


@confirms("ADR-0024.R2", "ADR-0022.R6")
@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("", {}, (None, None)),
        ("", {"SHY_GATEWAY_TOKEN": ""}, (None, None)),
        ("", {"SHY_GATEWAY_TOKEN": "t"}, ("token", "t")),
        ("", {"SHY_GATEWAY_PASSWORD": "p"}, ("password", "p")),
        ("identity = 'token'", {"SHY_GATEWAY_TOKEN": "t", "SHY_GATEWAY_PASSWORD": "p"}, ("token", "t")),
        ("identity = 'password'", {"SHY_GATEWAY_TOKEN": "t", "SHY_GATEWAY_PASSWORD": "p"}, ("password", "p")),
        ("identity = 'store'", {"SHY_GATEWAY_TOKEN": "t"}, ("store", None)),
        ("identity = 'none'", {}, ("none", None)),
        ("identity = 'token'\nsecret = 'env:OTHER'", {"OTHER": "o"}, ("token", "o")),
        ("identity = 'token'\nsecret = 'env:OTHER'", {"OTHER": "o", "SHY_GATEWAY_TOKEN": "t"}, ("token", "t")),
    ],
)
def test_a_mount_has_the_identity_that_is_said(
    write: Write, text: str, variables: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    """The file says who knows the keys of a mount, else the variable with a secret does, and that secret wins."""
    assert expected == identified(write(f"[mounts.shy]\n{text}"), **variables)


@confirms("ADR-0024.R2")
def test_a_secret_can_stand_in_a_file(write: Write, tmp_path: Path) -> None:
    """A secret that is given by the path of a file is its text without the spaces around it."""
    (tmp_path / "secret").write_text("sesame\n")

    path = write(f"[mounts.shy]\nidentity = 'password'\nsecret = 'file:{tmp_path}/secret'")

    assert ("password", "sesame") == identified(path)


@confirms("ADR-0024.R2", "ADR-0024.R3")
@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        (
            "",
            {"SHY_GATEWAY_TOKEN": "sesame", "SHY_GATEWAY_PASSWORD": "sesame"},
            "SHY_GATEWAY_TOKEN and SHY_GATEWAY_PASSWORD are both set; say which counts with `identity`",
        ),
        (
            "identity = 'token'",
            {"SHY_GATEWAY_PASSWORD": "sesame"},
            "identity 'token' needs a secret: set SHY_GATEWAY_TOKEN, or `secret` in the file",
        ),
        (
            "identity = 'password'",
            {},
            "identity 'password' needs a secret: set SHY_GATEWAY_PASSWORD, or `secret` in the file",
        ),
        ("secret = 'env:SESAME'", {"SESAME": "sesame"}, "`secret` needs `identity` token or password"),
        ("identity = 'none'\nsecret = 'file:/s'", {}, "`secret` needs `identity` token or password"),
        ("identity = 'token'\nsecret = 'env:NOT_SET'", {"NOT_SET": ""}, "secret: the variable NOT_SET is not set"),
        (
            "identity = 'token'\nsecret = 'file:/nowhere/secret'",
            {},
            "secret: cannot read /nowhere/secret: No such file or directory",
        ),
    ],
)
def test_a_mount_without_its_secret_is_refused(write: Write, text: str, variables: dict[str, str], said: str) -> None:
    """An identity without its secret, two secrets, and one that nobody compares with are refused, naming the mount."""
    assert f"mount /shy: {said}" == refused(write(f"[mounts.shy]\n{text}"), **variables)


@confirms("ADR-0024.R3")
@pytest.mark.parametrize("secret", ["['sesame']", "'sesame'", "'env:open sesame'", "'file:'", "1", "{env = 'sesame'}"])
def test_what_stands_in_the_place_of_a_secret_is_not_shown(write: Write, secret: str) -> None:
    """A secret that is no reference is refused without being repeated."""
    told = refused(write(f"mounts = {{shy = {{secret = {secret}}}}}"))

    assert "mounts.shy.secret: it must be env:NAME or file:PATH, which say where the secret is" == told


@confirms("ADR-0024.R3")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mounts]\nsecret = 'sesame'", "mounts.secret: a text is not accepted; it must be a table"),
        ("mounts = 'sesame'", "mounts: a text is not accepted; it must be a table"),
        ("[provider]\nkey = 'sesame'", "provider: a table is not accepted; it must be a list; write [[provider]]"),
        ("provider = 'sesame'", "provider: a text is not accepted; it must be a list; write [[provider]]"),
        ("provider = ['sesame']", "provider[0]: a text is not accepted; it must be a table"),
        ("endpoints = ['sesame']", "endpoints: a list is not accepted; it must be a table"),
    ],
)
def test_what_holds_a_secret_is_not_shown(write: Write, text: str, said: str) -> None:
    """What stands where a table or list must be is told by what it is, for there may be a secret in it."""
    assert said == refused(write(text))


@pytest.mark.parametrize(("content", "said"), [(b"\xff\xfe", "it is not UTF-8"), (b" \n", "is empty")])
def test_a_file_without_a_secret_is_refused(write: Write, tmp_path: Path, content: bytes, said: str) -> None:
    """A file that is empty, or no text, gives no secret."""
    (tmp_path / "secret").write_bytes(content)

    told = refused(write(f"[mounts.shy]\nidentity = 'password'\nsecret = 'file:{tmp_path}/secret'"))

    assert told.endswith(said)


def test_an_alias_that_is_there_twice_is_refused(write: Write) -> None:
    """Two aliases cannot have one id."""
    told = refused(write("alias = [{id = 'a'}, {id = 'b'}, {id = 'a'}]"))

    assert "alias[2].id: 'a' is there twice" == told


@confirms("ADR-0024.R3")
def test_a_secret_is_not_shown(write: Write) -> None:
    """What is printed of settings holds no secret."""
    settings = read(
        write("[mounts.shy]"),
        SHY_GATEWAY_TOKEN="sesame",
        DRAGOMAN_DEV_TOKEN="sesame",
        DRAGOMAN_DEV_AGENT_ID="a",
        DRAGOMAN_DEV_ORG_ID="o",
    )

    assert ("sesame", "sesame") == (settings.mounts[0].secret, settings.development and settings.development.token)
    assert "sesame" not in repr(settings)
