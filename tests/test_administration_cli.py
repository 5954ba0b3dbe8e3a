"""The commands that change and show the store: what they print, where, and how they end."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.cli import main
from process import Outcome, environment
from stores import apply, furnish, passes, rows

TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TOKEN: Final = re.compile(r"[A-Za-z0-9]+_([a-z2-7]{12})_[A-Za-z0-9_-]{43}")
ONCE: Final = "dragoman: the token is shown once, and never again; keep it now\n"
NOUNS: Final = ("orgs", "keys", "agents", "aliases")

Command = Callable[..., Outcome]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store of a test is."""
    return tmp_path / "store.db"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: Path) -> Command:
    """Return what runs a command on the store of the test, in this process."""
    monkeypatch.setenv("DRAGOMAN_STORE", str(path))

    def ran(*arguments: str) -> Outcome:
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        printed = capsys.readouterr()
        return Outcome(code=code, out=printed.out, err=printed.err)

    return ran


@pytest.fixture
def told(command: Command) -> Callable[..., Any]:
    """Return what runs a command with `--json`, which succeeds, and reads what it printed."""

    def ran(*arguments: str) -> Any:  # noqa: ANN401 - any JSON value
        outcome = command(*arguments, "--json")
        assert 0 == outcome.code, outcome.err
        return json.loads(outcome.out)

    return ran


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("verb", ["create", "list", "show", "revoke"])
def test_every_command_has_help_with_examples(command: Command, noun: str, verb: str) -> None:
    """`--help` ends well, and shows how the command is typed, and what every command takes."""
    outcome = command(noun, verb, "--help")

    assert (0, "") == (outcome.code, outcome.err)
    shown = (f"Usage: dragoman {noun} {verb}", f"    dragoman {noun} {verb}", "--store", "--json", "--config")
    assert [] == [text for text in shown if text not in outcome.out]


@pytest.mark.parametrize("noun", NOUNS)
def test_every_kind_lists_its_commands(command: Command, noun: str) -> None:
    """Without a command, the commands are listed; rotation is one of keys."""
    outcome = command(noun)

    assert 0 == outcome.code
    listed = re.findall(r"^│ (\w+) ", outcome.out, re.MULTILINE)
    assert ["create", "list", "revoke", *(["rotate"] if noun == "keys" else []), "show"] == listed


# --- With --json ------------------------------------------------------------------------------------------------------


@confirms("ADR-0030.R1")
def test_json_tells_everything_and_a_token_once(told: Callable[..., Any], command: Command, path: Path) -> None:
    """Every command prints one document; the token stands in that of the command that made it, and in no other."""
    org = told("orgs", "create", "acme", "--limit", "6000/m", "--token-limit", "1000000/m")
    agent = told("agents", "create", "main", "--org", "acme")
    alias = told(
        "aliases", "create", "general", "--visible-to", "acme", "--limit", "20/s burst 40", "--token-limit", "5/s"
    )
    created = ("keys", "create", "--org", "acme", "--name", "laptop", "--scope", "chat", "--prefix", "abc")
    limits = ("--limit", "600/m", "--token-limit", "100/s", "--daily-requests", "1000", "--daily-tokens", "5000000")
    key = told(*created, *limits, "--expires", "2999-01-31T00:00:00+01:00")
    token = key.pop("token")

    dates = {"created": org["created"], "revoked": None}
    assert TIME.fullmatch(org["created"])
    named = {"id": org["id"], "name": "acme", "limit": "6000/m", "token_limit": "1000000/m", "guardrails": []}
    assert {**named, **dates} == org
    owned = {"id": agent["id"], "name": "main", "organization": org["id"]}
    assert owned == {name: agent[name] for name in owned}
    assert {
        "id": "general",
        "display_name": "general",
        "description": "",
        "category": "llm",
        "visible_to": [org["id"]],
        "limit": "20/s burst 40",
        "token_limit": "5/s",
        "prices": {"input": "0", "output": "0", "cached_input": None},
        "guardrails": [],
        "target": [],
        **{name: alias[name] for name in ("created", "revoked")},
    } == alias
    assert {
        "id": token.split("_")[1],
        "organization": org["id"],
        "name": "laptop",
        "prefix": "abc",
        "scopes": ["chat"],
        "limit": "600/m",
        "token_limit": "100/s",
        "daily_requests": 1000,
        "daily_tokens": 5_000_000,
        "expires": "2999-01-30T23:00:00.000Z",
        "successor": None,
        "created": key["created"],
        "revoked": None,
    } == key
    assert [True] == passes(path, token)
    for noun, one in (("orgs", org), ("agents", agent), ("aliases", alias), ("keys", key)):
        assert [one] == told(noun, "list")
        assert one == told(noun, "show", one["id"])
    later = [command("keys", *rest).out for rest in (("list",), ("show", key["id"]), ("revoke", key["id"]))]
    assert [] == [out for out in later if token[-43:] in out]


def test_json_comes_alone(command: Command) -> None:
    """With `--json`, standard output is one document; the note on the token is no part of it."""
    command("orgs", "create", "acme")

    outcome = command("keys", "create", "--org", "acme", "--json")

    assert (0, ONCE) == (outcome.code, outcome.err)
    assert ["chat", "models"] == json.loads(outcome.out)["scopes"]


@confirms("ADR-0030.R4")
def test_a_rotation_tells_both_keys(told: Callable[..., Any], path: Path) -> None:
    """`keys rotate` prints the new key with its token, and until when the old one passes; 24 h unless it is said."""
    told("orgs", "create", "acme")
    first = told("keys", "create", "--org", "acme")
    second = told("keys", "rotate", first["id"])
    third = told("keys", "rotate", second["id"], "--overlap", "0")

    assert first["id"] == second["replaces"]["id"]
    left = datetime.fromisoformat(second["replaces"]["expires"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    assert [True, False, True] == passes(path, first["token"], second["token"], third["token"])
    assert [second["id"], third["id"], None] == [key["successor"] for key in told("keys", "list")]


def test_a_key_that_lives_to_the_last_year_can_be_rotated(told: Callable[..., Any]) -> None:
    """A successor ends with the key that it replaces where its own life would go beyond the last year there is."""
    told("orgs", "create", "acme")
    first = told("keys", "create", "--org", "acme", "--expires", "9999-12-31T23:59:59.999Z")

    second = told("keys", "rotate", first["id"])

    assert first["expires"] == second["expires"]


@confirms("ADR-0030.R1")
@pytest.mark.parametrize("given", ["orgs show {}", "keys show one {}", "agents list --org {}", "{} list"])
def test_a_token_in_a_wrong_place_is_not_told(told: Callable[..., Any], command: Command, given: str) -> None:
    """Whatever is wrong with what was given, no error shows a token that stands in it."""
    told("orgs", "create", "acme")
    token = told("keys", "create", "--org", "acme")["token"]

    outcome = command(*given.format(token).split())

    assert 2 == outcome.code
    assert token not in f"{outcome.out}{outcome.err}"


def test_what_is_revoked_is_dated(told: Callable[..., Any]) -> None:
    """`revoke` prints what was revoked with the time; it stays listed."""
    org = told("orgs", "create", "acme")
    key = told("keys", "create", "--org", org["id"])
    agent = told("agents", "create", "main", "--org", "acme")
    told("aliases", "create", "general", "--display-name", "General", "--category", "embedding")

    for noun, named in (("aliases", "general"), ("agents", agent["id"]), ("keys", key["id"]), ("orgs", "acme")):
        revoked = told(noun, "revoke", named)
        assert TIME.fullmatch(revoked["revoked"])
        assert [revoked] == told(noun, "list")


def test_keys_and_agents_are_listed_by_organization(told: Callable[..., Any]) -> None:
    """`--org` lists those of one organisation, by its id or name."""
    ids = {name: told("orgs", "create", name)["id"] for name in ("acme", "globex")}
    for name in ids:
        told("keys", "create", "--org", name)
        told("agents", "create", "main", "--org", name)

    for noun in ("keys", "agents"):
        assert 2 == len(told(noun, "list"))
        listed = [told(noun, "list", "--org", named) for named in ("globex", ids["globex"])]
        assert [[ids["globex"]]] * 2 == [[one["organization"] for one in found] for found in listed]


@pytest.mark.parametrize(("said", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)])
def test_a_key_may_expire_from_now_on(told: Callable[..., Any], said: str, seconds: int) -> None:
    """A duration counts from now on."""
    told("orgs", "create", "acme")

    expires = datetime.fromisoformat(told("keys", "create", "--org", "acme", "--expires", said)["expires"])

    assert timedelta(0) <= datetime.now(UTC) + timedelta(seconds=seconds) - expires < timedelta(seconds=30)


# --- For people -------------------------------------------------------------------------------------------------------


@confirms("ADR-0030.R1")
def test_people_see_tables_and_a_token_once(command: Command, path: Path) -> None:
    """What is made is printed line by line, and lists in columns; the token has its line, and a note beside it."""
    organization = dict(line.split(maxsplit=1) for line in command("orgs", "create", "acme").out.splitlines())
    created = command("keys", "create", "--org", "acme", "--expires", "30d")
    shown = dict(line.split(maxsplit=1) for line in created.out.splitlines())
    listed = command("keys", "list")
    rotated = command("keys", "rotate", shown["id"])

    assert (0, ONCE) == (created.code, created.err)
    assert ["id", "token", "organization", "name", "prefix", "scopes", "limit", "token_limit"] == list(shown)[:8]
    assert TOKEN.fullmatch(shown["token"])
    assert ["cgt", "chat models", "-", organization["id"]] == [
        shown[name] for name in ("prefix", "scopes", "limit", "organization")
    ]
    header, row = listed.out.splitlines()
    columns = ["ID", "ORGANIZATION", "NAME", "PREFIX", "SCOPES", "LIMIT", "CREATED", "EXPIRES", "REVOKED"]
    assert columns == header.split()
    assert [shown["id"], organization["id"]] == row.split()[:2]
    assert header.index("PREFIX") == row.index("cgt")
    assert (0, "") == (listed.code, listed.err)
    assert re.search(rf"^replaces +id {shown['id']}, expires {TIME.pattern}$", rotated.out, re.MULTILINE)
    assert [True] == passes(path, shown["token"])


def test_people_see_what_is_behind_an_alias(command: Command, path: Path) -> None:
    """The targets of an alias are shown one after the other, and its prices by their names."""
    apply(path)

    shown = dict(line.split(maxsplit=1) for line in command("aliases", "show", "general").out.splitlines())

    assert "input 2.5, output 10.000001, cached_input 0" == shown["prices"]
    assert shown["target"].startswith("provider vendor, model large, weight 3, order 0, timeouts connect 1.5, ")
    assert shown["target"].endswith("; provider echo, model -, weight 1, order 1, timeouts -")
    assert (
        "long"
        == dict(line.split(maxsplit=1) for line in command("orgs", "show", "acme").out.splitlines())["guardrails"]
    )


def test_an_empty_list_is_its_header(command: Command) -> None:
    """A list of nothing is a line of column names."""
    assert Outcome(code=0, out="ID  NAME  LIMIT  CREATED  REVOKED\n", err="") == command("orgs", "list")


def test_only_what_needs_a_store_pays_for_it(path: Path) -> None:
    """Importing the program imports no database; a store that is up to date is opened without its migrations."""
    furnish(path)
    script = (
        "import sys; from dragoman.cli import main; print('sqlalchemy' in sys.modules); "
        "main(['keys', 'list', '--store', sys.argv[1]]); print('sqlalchemy' in sys.modules, 'alembic' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=environment(), capture_output=True, text=True, check=True
    )

    lines = ran.stdout.splitlines()
    assert ("False", "True False") == (lines[0], lines[-1])


# --- Bad usage --------------------------------------------------------------------------------------------------------


@confirms("ADR-0018.R1", "ADR-0030.R1")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("orgs create acme", "there is an organisation 'acme' already; choose another name, or revoke it first"),
        ("orgs show nobody", "there is no organisation 'nobody'; `dragoman orgs list` shows all of them"),
        ("keys create --org nobody", "there is no organisation 'nobody'; `dragoman orgs list` shows all of them"),
        ("keys list --org nobody", "there is no organisation 'nobody'; `dragoman orgs list` shows all of them"),
        ("keys show cgt_sesame", "there is no key; `dragoman keys list` shows all of them"),
        ("keys revoke cgt_sesame", "there is no key; `dragoman keys list` shows all of them"),
        ("keys rotate cgt_sesame", "there is no key; `dragoman keys list` shows all of them"),
        ("keys create --org acme --limit 600/y", "--limit: '600/y' is not accepted; a rate is written as 600/m"),
        ("keys create --org acme --token-limit 1", "--token-limit: '1' is not accepted; a rate is written as 600/m"),
        ("orgs create globex --token-limit off", "--token-limit: 'off' is not accepted; a rate is written as 600/m"),
        ("aliases create a --token-limit off", "--token-limit: 'off' is not accepted; a rate is written as 600/m"),
        ("keys create --org acme --daily-requests 0", 'Invalid value "0" for --daily-requests. Must be >= 1'),
        ("keys create --org acme --daily-tokens x", "Invalid value for --daily-tokens: unable to convert"),
        (
            "keys create --org acme --daily-tokens 2000000000000000",
            "what a key has a day is from 1 to 1000000000000000",
        ),
        ("keys create --org acme --expires soon", "--expires: 'soon' is not accepted; write 30d, 12h, or a time"),
        ("keys create --org acme --expires 2027-01-31", "--expires: '2027-01-31' is not accepted; write 30d, 12h, or"),
        ("keys create --org acme --expires 0", "a key must expire in the future"),
        ("keys create --org acme --expires 2000-01-01T00:00:00Z", "a key must expire in the future"),
        ("keys rotate x --overlap 1w", "--overlap: '1w' is not accepted; write 24h, 30m, 7d, or 0 for none"),
        ("keys create --org acme --scope CHAT", "a scope is a word in lower case, such as chat"),
        ("keys create --org acme --prefix a_b", "a prefix is 1 to 16 letters and digits"),
        ("keys create", 'Command "keys create" parameter --org requires an argument'),
        ("keys crate", 'Unknown command "crate". Did you mean "create"?'),
        ("aliases create a --category image", 'Invalid value "image" for --category. Choose from: "llm", '),
        ("orgs list --store sqlite:///s.db", "--store is no path of a file; only a file holds a store"),
        ("orgs list --store /dev/null/s.db", "the store /dev/null/s.db cannot be made: Not a directory; name another"),
    ],
)
def test_bad_usage_ends_with_2_and_one_line(command: Command, path: Path, arguments: str, said: str) -> None:
    """Bad usage ends with exit code 2 and one line, which says what is wrong, and never what may be a token."""
    command("orgs", "create", "acme")

    outcome = command(*arguments.split())

    [line] = outcome.err.splitlines()
    assert (2, "") == (outcome.code, outcome.out)
    assert line.startswith(f"dragoman: {said}")
    assert "sesame" not in line
    assert [(1,)] == rows(path, "SELECT number FROM revision")


@confirms("ADR-0018.R1")
def test_a_misspelt_variable_ends_with_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who misspells the variable of the store does not change another one."""
    monkeypatch.setenv("DRAGOMAN_STOER", "/s.db")

    said = "dragoman: unknown variable DRAGOMAN_STOER; did you mean DRAGOMAN_STORE?\n"
    assert Outcome(code=2, out="", err=said) == command("orgs", "list")


def test_the_store_is_named_in_three_ways(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: Path
) -> None:
    """`--store` wins over the variable, which wins over the file that `--config` names."""
    config = tmp_path / "dragoman.toml"
    config.write_text(f'store = "{tmp_path / "file.db"}"\n')
    option = tmp_path / "option.db"
    command("orgs", "create", "a", "--config", str(config), "--store", str(option))
    command("orgs", "create", "b", "--config", str(config))
    monkeypatch.delenv("DRAGOMAN_STORE")
    command("orgs", "create", "c", "--config", str(config))

    found = [rows(one, "SELECT name FROM organizations") for one in (option, path, tmp_path / "file.db")]
    assert [[("a",)], [("b",)], [("c",)]] == found
