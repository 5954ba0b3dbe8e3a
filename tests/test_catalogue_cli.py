"""The commands of the catalogue: what they print, where, and how they end."""

import asyncio
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from gateway_conformance.rules import confirms

from catalogue_file import WHOLE
from dragoman.adapters.store import read_store
from dragoman.app import known_settings
from dragoman.cli import main
from dragoman.contract.source import Source
from dragoman.settings import settings_schema
from process import Outcome, run
from stores import bytes_of, furnish, passes, rows

NEW: Final = """\
+ guardrail pii
    action: mask
    stages: input
    detectors: email, card
    patterns.ticket: TCK-[0-9]{6}
    keywords: project x
    webhook: https://watch.example/ask
+ guardrail long
    action: block
    max_chars: 20000
+ provider vendor
    kind: openai
    base_url: https://llm.example/v1
    key: env:VENDOR_KEY
    headers.X-Team: (a text)
    headers.X-Token: file:/run/token
    quirks: no_stream_options
    private: true
    capacity: 8
+ provider echo
    kind: echo
+ organisation acme
    limit: 6000/m
    token_limit: 1000000/m
    guardrails: long
+ organisation globex
+ agent acme/main
+ agent acme/support
+ alias general
    display_name: General
    description: Everyday work.
    limit: 600/m
    token_limit: 100000/m
    prices.input: 2.5
    prices.output: 10.000001
    prices.cached_input: 0
    guardrails: pii
    target[0]: {"provider": "vendor", "model": "large", "weight": 3, "order": 0, "timeouts": \
{"connect": 1.5, "first_byte": 60.0, "idle": 60.0, "total": 600.0}}
    target[1]: {"provider": "echo", "weight": 1, "order": 1}
+ alias vectors
    display_name: Vectors
    category: embedding
    visible_to: globex
    target[0]: {"provider": "echo", "weight": 1, "order": 0}
"""
"""What an apply of everything prints of a store in which there is nothing."""

LESS: Final = """
[[organization]]
name = "globex"
[[provider]]
name = "echo"
kind = "echo"
[[alias]]
id = "vectors"
display_name = "Vectors"
category = "embedding"
[[alias.target]]
provider = "echo"
weight = 2
[[alias.target]]
provider = "echo"
model = "m"
"""

LATER: Final = """
[[alias]]
id = "later"
[[alias.target]]
provider = "echo"
"""

Command = Callable[..., Outcome]
Write = Callable[[str], Path]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store of a test is."""
    return tmp_path / "store.db"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: Path, tmp_path: Path) -> Command:
    """Return what runs a command on the store of the test, in a folder of the test's own, in this process."""
    monkeypatch.setenv("DRAGOMAN_STORE", str(path))
    monkeypatch.delenv("DRAGOMAN_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)

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
def file(tmp_path: Path) -> Path:
    """Return a settings file that declares everything, where it is found without being named."""
    path = tmp_path / "dragoman.toml"
    path.write_text(WHOLE)
    return path


# --- apply ------------------------------------------------------------------------------------------------------------


@confirms("ADR-0040.R1", "ADR-0040.R2", "ADR-0040.R3")
def test_an_apply_prints_what_it_changes(command: Command, file: Path, path: Path) -> None:
    """A dry run prints what the apply prints and changes nothing; a second apply has nothing to change, and says so."""
    planned = command("apply", str(file), "--dry-run")
    before = rows(path, "SELECT count(*) FROM aliases")
    done = command("apply", str(file))
    revision = rows(path, "SELECT number FROM revision")
    again = command("apply", str(file))

    assert Outcome(code=0, out=f"{NEW}a dry run, nothing has changed: 10 new\n", err="") == planned
    assert [(0,)] == before
    assert Outcome(code=0, out=f"{NEW}done: 10 new\n", err="") == done
    assert Outcome(code=0, out="nothing to change\n", err="") == again
    assert revision == rows(path, "SELECT number FROM revision")


@confirms("ADR-0040.R4")
def test_what_stays_and_what_ends_is_told(command: Command, file: Path, path: Path) -> None:
    """What the file does not name is told to stay; pruned, it is revoked, and organisations when that is asked for."""
    token = furnish(path).token
    command("apply", str(file))
    file.write_text(LESS)
    changed = (
        "~ alias vectors\n    visible_to: globex -> none\n    target[0].weight: 1 -> 2\n"
        '    target[1]: none -> {"provider": "echo", "model": "m", "weight": 1, "order": 0}\n'
    )

    left = command("apply", str(file), "--dry-run").out
    pruned = command("apply", "--prune", "--dry-run")
    assert (
        f"{changed}a dry run, nothing has changed: 1 changed\n"
        "not in the file, and staying: "
        "guardrail pii, guardrail long, provider vendor, organisation acme, alias general\n"
    ) == left
    assert (2, "") == (pruned.code, pruned.out)
    assert pruned.err == (
        "dragoman: the organisation 'acme' in the store names the guardrail 'long', which would not be in force; "
        "declare it, or change what names it\n"
    )
    assert [True] == passes(path, token)
    ended = command("apply", "--prune-organizations")
    assert (
        "- guardrail pii\n- guardrail long\n- provider vendor\n- organisation acme, and 1 key ends with it\n"
        f"- alias general\n{changed}done: 1 changed, 5 revoked\n"
    ) == ended.out
    assert [False] == passes(path, token)


@confirms("ADR-0040.R3")
def test_a_check_fails_when_there_is_something_to_change(command: Command, file: Path, path: Path) -> None:
    """`--check` changes nothing, and ends with exit code 1 as long as the store is not what the file says."""
    drifted = command("apply", str(file), "--check")
    empty = rows(path, "SELECT count(*) FROM aliases")
    command("apply", str(file))

    assert (1, [(0,)]) == (drifted.code, empty)
    assert Outcome(code=0, out="nothing to change\n", err="") == command("apply", str(file), "--check")


@confirms("ADR-0040.R4")
def test_json_tells_every_step(command: Command, file: Path, path: Path) -> None:
    """With `--json` one document holds the steps with their differences, what stays, and how many keys end."""
    furnish(path)
    command("apply", str(file))
    file.write_text(LESS.replace("weight = 2", "weight = 1"))

    told = json.loads(command("apply", "--prune-organizations", "--json", "--dry-run").out)

    steps = {f"{step['sign']} {step['kind']} {step['name']}": step for step in told["steps"]}
    assert {"dry_run": True, "staying": []} == {name: told[name] for name in ("dry_run", "staying")}
    assert 1 == steps["- organisation acme"]["keys_ending"]
    assert [
        {"member": "visible_to", "old": ["globex"], "new": None},
        {
            "member": "target[1]",
            "old": None,
            "new": {"provider": "echo", "model": "m", "weight": 1, "order": 0, "timeouts": None},
        },
    ] == steps["~ alias vectors"]["differences"]
    left = json.loads(command("apply", "--json", "--dry-run").out)["staying"]
    assert {"kind": "organisation", "name": "acme"} in left


def test_pruning_by_an_empty_file_is_refused(command: Command, write: Write, path: Path) -> None:
    """A file that declares nothing is probably the wrong one: it does not revoke everything."""
    furnish(path)
    empty = write("port = 8080")

    for prune in ("--prune", "--prune-organizations"):
        outcome = command("apply", str(empty), prune)
        assert (2, "") == (outcome.code, outcome.out)
        assert outcome.err.startswith(
            f"dragoman: {empty}: it declares nothing, so that pruning would revoke everything"
        )
    assert "not in the file, and staying: organisation acme, alias general\n" in command("apply", str(empty)).out
    assert 1 == len(asyncio.run(read_store(path)).aliases)


@confirms("ADR-0040.R5", "ADR-0040.R13")
def test_a_bad_file_ends_with_2_and_one_line(command: Command, write: Write, path: Path) -> None:
    """A file that cannot be used is refused in one line, by its path, and the store is not touched."""
    text = WHOLE.replace('"env:VENDOR_KEY"', '"sesame"')

    outcome = command("apply", str(write(text)))

    [line] = outcome.err.splitlines()
    assert (2, "") == (outcome.code, outcome.out)
    assert line.endswith("provider[0].key: it must be env:NAME or file:PATH, which say where the secret is")
    assert "sesame" not in line
    assert not path.exists()


@confirms("ADR-0040.R5")
def test_no_secret_is_printed_or_stored(
    command: Command, file: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the secret at hand no command prints it, or puts it into the store; nor is a literal header printed."""
    monkeypatch.setenv("VENDOR_KEY", "sesame")
    printed = [
        command("apply", str(file), "--dry-run", "--json"),
        command("apply", str(file)),
        command("config", "check", str(file)),
        command("explain", "--org", "acme", "--model", "general"),
        command("explain", "--org", "acme", "--model", "general", "--json"),
        command("aliases", "show", "general", "--json"),
    ]
    file.write_text(WHOLE.replace("blue", "violet"))
    printed.append(command("apply", str(file)))

    assert [0] * 7 == [outcome.code for outcome in printed]
    assert "    headers.X-Team: (a text) -> (another text)\n" in printed[-1].out
    told = "".join(outcome.out + outcome.err for outcome in printed)
    assert [] == [word for word in ("sesame", "blue", "violet") if word in told]
    assert b"sesame" not in bytes_of(path)


def test_the_file_is_named_in_three_ways(
    command: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument wins over the variable, which wins over the file of the usual name; without any it is said so."""
    other, third = tmp_path / "other.toml", tmp_path / "third.toml"
    other.write_text("[[alias]]\nid = 'other'")
    third.write_text("[[alias]]\nid = 'third'")

    usual = command("apply", "--dry-run").out
    monkeypatch.setenv("DRAGOMAN_CONFIG", str(other))
    named = [command("apply", *argument, "--dry-run").out.splitlines()[0] for argument in ((), (str(third),))]
    monkeypatch.delenv("DRAGOMAN_CONFIG")
    file.unlink()
    without = [command(*arguments) for arguments in (("apply",), ("config", "check"))]

    assert usual.startswith("+ guardrail pii\n")
    assert ["+ alias other", "+ alias third"] == named
    said = "dragoman: there is no dragoman.toml here; name the settings file, or set DRAGOMAN_CONFIG\n"
    assert [Outcome(code=2, out="", err=said)] * 2 == without


def test_the_store_is_that_of_the_file_or_of_the_option(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store that the file names is used where nothing else is said; `--store` wins."""
    monkeypatch.delenv("DRAGOMAN_STORE")
    own, option = tmp_path / "own.db", tmp_path / "option.db"
    (tmp_path / "dragoman.toml").write_text(f'store = "{own}"\n[[alias]]\nid = "a"')

    command("apply", "--store", str(option))
    before = own.exists()
    command("apply")

    assert (False, True) == (before, own.exists())
    assert [[(1,)]] * 2 == [rows(one, "SELECT count(*) FROM aliases") for one in (own, option)]


# --- config -----------------------------------------------------------------------------------------------------------


@confirms("ADR-0040.R8")
def test_the_schema_is_printed(command: Command, file: Path) -> None:
    """`config schema` prints the schema of the contract, alone, and an editor with it accepts the file."""
    outcome = command("config", "schema")

    schema = json.loads(outcome.out)
    assert (0, "") == (outcome.code, outcome.err)
    assert settings_schema(known_settings(Source())) == schema
    assert jsonschema_rs.validator_for(schema).is_valid(tomllib.loads(file.read_text()))


@confirms("ADR-0040.R11")
def test_a_sound_file_is_well(command: Command, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`config check` ends with 0 for a file that can be used, and prints nothing else than that it is well."""
    (tmp_path / "token").write_text("open")
    file.write_text(WHOLE.replace("/run/token", f"{tmp_path}/token"))
    monkeypatch.setenv("VENDOR_KEY", "sesame")

    assert Outcome(code=0, out="", err="dragoman.toml: ok\n") == command("config", "check")


@confirms("ADR-0040.R11")
def test_what_a_file_lacks_is_a_warning(command: Command, file: Path) -> None:
    """Secrets that are not there, and aliases that nobody answers, are told by name; the file can be used."""
    file.write_text(f"{WHOLE}\n[[alias]]\nid = 'idle'\n")

    outcome = command("config", "check", str(file))

    assert (0, "") == (outcome.code, outcome.out)
    assert [
        f"warning: {file}: provider 'vendor': key: the variable VENDOR_KEY is not set",
        f"warning: {file}: provider 'vendor': headers.X-Token: cannot read /run/token: No such file or directory",
        f"warning: {file}: alias 'idle': it has no target",
        f"{file}: ok",
    ] == outcome.err.splitlines()


@confirms("ADR-0040.R11", "ADR-0040.R13")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "prot: unknown setting 'prot'; did you mean port?"),
        (
            WHOLE.replace('provider = "echo"', 'provider = "ech"'),
            "alias[0].target[1].provider: unknown provider 'ech'; did you mean echo?",
        ),
        (WHOLE.replace('["pii"]', '["pi"]'), "alias[0].guardrails[0]: unknown guardrail 'pi'; did you mean pii?"),
        ("[[alias]]", "alias[0].id: it is missing; it must be a text"),
        ("port = ", "cannot be read: Invalid value (at "),
    ],
)
def test_a_bad_file_fails_the_check(command: Command, write: Write, text: str, said: str) -> None:
    """`config check` ends with 1, and prints what is wrong and where."""
    path = write(text)

    outcome = command("config", "check", str(path))

    assert (1, "") == (outcome.code, outcome.err)
    assert outcome.out.startswith(f"{path}: {said}")


def test_config_lists_its_commands(command: Command) -> None:
    """Without a command, those of `config` are listed."""
    outcome = command("config")

    assert 0 == outcome.code
    assert [] == [name for name in ("check", "schema") if f"│ {name} " not in outcome.out]


# --- serve ------------------------------------------------------------------------------------------------------------


def test_serving_says_when_the_catalogue_of_the_file_is_not_in_force(
    command: Command, file: Path, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """The store's catalogue wins over that of a file, and whoever names an alias in vain hears which."""
    monkeypatch.setattr("dragoman.cli._serve", lambda *_, **__: None)
    told = [command("serve", "--config", str(file)).err]
    command("apply", str(file))
    told.append(command("serve", "--config", str(file)).err)
    file.write_text(WHOLE + LATER)
    told.append(command("serve", "--config", str(file)).err)
    file.write_text("")
    told.append(command("serve").err)

    said = "alias 'later' of the settings file is not in force, because the store has a catalogue without it"
    assert [False, False, True, False] == [said in one for one in told]
    assert [0, 0, 1, 0] == [one.count("not in force") for one in told]
    assert path.exists()


# --- explain ----------------------------------------------------------------------------------------------------------


@confirms("ADR-0040.R9")
def test_an_explanation_is_of_the_store(command: Command, file: Path) -> None:
    """What was applied is explained for the organisation that sees it, by id and name, and not for another."""
    command("apply", str(file))

    seen = json.loads(command("explain", "--org", "globex", "--model", "vectors", "--json").out)
    unseen = json.loads(command("explain", "--org", "acme", "--model", "vectors", "--json").out)
    by_id = json.loads(command("explain", "--org", seen["organization"]["id"], "--model", "vectors", "--json").out)

    assert ("vectors", [("echo", "vectors", 1.0)]) == (
        seen["alias"]["id"],
        [(one["provider"], one["model"], one["share"]) for one in seen["targets"]],
    )
    assert seen == by_id
    assert (None, [], ["provider_not_configured"]) == (
        unseen["alias"],
        unseen["targets"],
        sorted({one["outcome"] for one in unseen["outcomes"]}),
    )


@confirms("ADR-0040.R9")
def test_an_explanation_is_of_the_file_where_the_store_has_no_alias(command: Command, write: Write, path: Path) -> None:
    """A file that was not applied counts for a store without aliases, as it does when the gateway serves."""
    option = path.with_name("option.db")
    command("orgs", "create", "acme", "--store", str(option))
    own = write("[[provider]]\nname = 'e'\nkind = 'echo'\n[[alias]]\nid = 'own'\n[[alias.target]]\nprovider = 'e'")
    common = ("explain", "--org", "acme", "--store", str(option), "--json")

    with_file = json.loads(command(*common, "--model", "own", "--config", str(own)).out)
    embedded = json.loads(command(*common, "--model", "gpt-4o").out)

    assert [["e"], ["echo"]] == [[one["provider"] for one in told["targets"]] for told in (with_file, embedded)]


@confirms("ADR-0040.R9")
def test_people_read_an_explanation(command: Command, file: Path) -> None:
    """Without `--json` it is printed for people, line by line."""
    command("apply", str(file))

    outcome = command("explain", "--org", "acme", "--model", "general")

    assert (0, "") == (outcome.code, outcome.err)
    assert "guardrails    pii: mask in input\n              long: block in input and output\n" in outcome.out


def test_an_unknown_organization_ends_with_2(command: Command, path: Path) -> None:
    """Nothing is explained of an organisation that is not there."""
    furnish(path)

    said = "dragoman: there is no organisation 'nobody'; `dragoman orgs list` shows all of them\n"
    assert Outcome(code=2, out="", err=said) == command("explain", "--org", "nobody", "--model", "general")


# --- All of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("apply",), ("config", "schema"), ("config", "check"), ("explain",)])
def test_every_command_has_help_with_examples(command: Command, words: tuple[str, ...]) -> None:
    """`--help` ends well, and shows how the command is typed, with an example."""
    outcome = command(*words, "--help")

    name = " ".join(words)
    assert (0, "") == (outcome.code, outcome.err)
    assert [] == [text for text in (f"Usage: dragoman {name}", f"    dragoman {name}") if text not in outcome.out]
    assert "\n    dragoman" in outcome.out


def test_a_process_applies(file: Path, path: Path) -> None:
    """The real process applies a file, and a second one finds nothing to change."""
    first, second = (run("apply", str(file), "--store", str(path)) for _ in range(2))

    assert Outcome(code=0, out=f"{NEW}done: 10 new\n", err="") == first
    assert Outcome(code=0, out="nothing to change\n", err="") == second


def test_nothing_is_asked_of_a_store_to_check_a_file(command: Command, file: Path, path: Path) -> None:
    """`config check` and `config schema` neither open nor make a store."""
    outcomes: list[Any] = [command("config", "check", str(file)), command("config", "schema")]

    assert ([0, 0], False) == ([outcome.code for outcome in outcomes], path.exists())


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('["no_stream_options"]', '["no_stream_optoins"]', "provider[0]: no_stream_optoins is no quirk of openai"),
        ('["email", "card"]', '["e-mail"]', "guardrail[0]: unknown detector 'e-mail'; did you mean 'email'?"),
    ],
)
def test_what_could_not_be_used_is_refused_before_it_is_in_force(
    command: Command, file: Path, good: str, bad: str, said: str
) -> None:
    """What the gateway would refuse at start is refused when a file is checked, and when it is applied."""
    file.write_text(WHOLE.replace(good, bad))

    told = [command("config", "check", str(file)), command("apply", str(file))]

    assert [1, 2] == [outcome.code for outcome in told]
    assert [] == [outcome for outcome in told if said not in outcome.out + outcome.err]
