"""The commands: what they print, where, and how they end."""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.app import compile_routes
from dragoman.cli import main
from dragoman.contract.source import PACKAGED, Source
from dragoman.server import listen
from dragoman.settings import process_environment
from fakes import AGENT, OWN, effective, example
from process import LOOPBACK, PATIENCE, Outcome, Served, ask, free_port, run, serve_here, served
from treaty import sdk

DIALECTS: Final = Source().dialects
DOCUMENTS: Final = [f"{name}.{kind}" for name in DIALECTS for kind in ("phase1", "phase2", "sdk")]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test without variables of ours, whatever the developer has exported."""
    for name in list(process_environment()):
        if name.startswith("DRAGOMAN_"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the packaged contract that a test may break."""
    return Path(shutil.copytree(PACKAGED, tmp_path / "openapi"))


def here(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    """Run the program with *arguments* in this process, to its end."""
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code
    else:
        code = 0
    printed = capsys.readouterr()
    return Outcome(code=code, out=printed.out, err=printed.err)


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first *old* in the file at *path*."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# --- Help and usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("serve", ["dragoman serve", "DRAGOMAN_ENDPOINT_RESPONSES=off dragoman serve --port 9000", "DRAGOMAN_MOUNTS"]),
        ("demo", ["dragoman demo --port 8080 --env-file demo.env"]),
        ("identity-service", ["dragoman identity-service --port 0 --store dragoman.db", "--caller-ca"]),
        ("contract show", ["dragoman contract show --for-sdk"]),
        ("contract build", ["dragoman contract build --contract openapi"]),
        ("contract check", ["dragoman contract check --contract openapi"]),
        ("routes", ["DRAGOMAN_MOUNTS=/api=DIALECT dragoman routes"]),
    ],
)
def test_the_help_of_every_command_has_examples(
    capsys: pytest.CaptureFixture[str], command: str, shown: list[str]
) -> None:
    """`--help` ends well, and shows how the command is typed."""
    outcome = here(capsys, *command.split(), "--help")

    assert (0, "") == (outcome.code, outcome.err)
    assert [] == [text for text in shown if text not in outcome.out]


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_program_lists_its_commands(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Without a command, and with `--help`, the commands are listed."""
    outcome = here(capsys, *arguments)

    assert 0 == outcome.code
    assert [] == [name for name in ("serve", "demo", "contract", "routes") if name not in outcome.out]


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("srve", ['"srve"', '"serve"']),
        ("contract shw", ['"shw"', '"show"']),
        ("serve --prot 1", ["--prot", "--port"]),
        ("serve --port http", ["--port", '"http"']),
        ("serve --port 65536", ["--port", "65536"]),
        ("demo --phase 3", ["--phase", "3"]),
        ("serve extra", ["extra"]),
        ("contract show --dialect ibx", ["'ibx'", "ibex?"]),
        ("contract show --for-sdk --dialect ibx", ["'ibx'", "'ibex'"]),
        ("contract show --off chta", ["'chta'", "chat?"]),
        ("contract show --on chta", ["'chta'", "chat?"]),
        ("serve --host= --port 0", ["--host", "must not be empty"]),
        ("contract show --mount api", ["--mount", "'api'"]),
        ("serve --config /nowhere.toml", ["/nowhere.toml: cannot be read"]),
        ("contract check --contract /nowhere", ["--contract", "/nowhere"]),
        ("contract show --contract /nowhere", ["/nowhere"]),
        ("contract build --out /dev/null/out", ["--out", "/dev/null/out"]),
        ("demo --port 0 --env-file /nowhere/demo.env", ["--env-file", "/nowhere/demo.env"]),
        ("serve --host 192.0.2.1 --port 0", ["192.0.2.1", "--host"]),
        ("serve --host no.such.host.invalid --port 0", ["no.such.host.invalid", "--host"]),
    ],
)
def test_bad_usage_ends_with_2_and_one_line(
    capsys: pytest.CaptureFixture[str], arguments: str, named: list[str]
) -> None:
    """Bad usage ends with exit code 2 and one line, which names what is wrong and what was probably meant."""
    outcome = here(capsys, *arguments.split())

    [*_, line] = outcome.err.splitlines()
    assert (2, "") == (outcome.code, outcome.out)
    assert line.startswith("dragoman: ")
    assert [] == [name for name in named if name not in line]
    assert [] == [other for other in outcome.err.splitlines()[:-1] if "there is no key" not in other]


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("DRAGOMAN_PROT=1", "unknown variable DRAGOMAN_PROT; did you mean DRAGOMAN_PORT?"),
        ("DRAGOMAN_MOUNTS=/=ibx", "DRAGOMAN_MOUNTS: unknown dialect 'ibx'; did you mean ibex?"),
        ("DRAGOMAN_ENDPOINT_CHAT=no", "DRAGOMAN_ENDPOINT_CHAT: 'no' is not accepted; it must be on or off"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "demo", "routes"])
def test_a_bad_variable_ends_with_2_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, variable: str, said: str
) -> None:
    """A misspelt variable, dialect or value ends every command that reads the environment, in one line."""
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)

    assert Outcome(code=2, out="", err=f"dragoman: {said}\n") == here(capsys, command)


@confirms("ADR-0018.R1", "ADR-0003.R4")
def test_a_process_ends_as_main_does() -> None:
    """The real process ends with exit code 2 and one line on standard error, too."""
    said = "dragoman: DRAGOMAN_PHASE_RESPONSES=2: 'responses' cannot forward; leave it at 1\n"

    assert Outcome(code=2, out="", err=said) == run("serve", DRAGOMAN_PHASE_RESPONSES="2")


def test_the_version_is_that_of_the_package() -> None:
    """`--version` prints the version."""
    assert Outcome(code=0, out="0.1.0\n", err="") == run("--version")


# --- The contract -----------------------------------------------------------------------------------------------------


@confirms("ADR-0001.R4")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", effective()),
        ("--dialect ibex --mount /ibex", effective("ibex", mount="/ibex")),
        ("--phase 2", effective(phases={"chat": 2, "responses": 2, "embeddings": 2})),
        ("--for-sdk", sdk(Source().canonical)),
        ("--for-sdk --dialect ibex", sdk(Source().dialect("ibex"))),
        ("--off responses --off chat", Source().effective("dragoman", mount="/", phases={}, off={"responses", "chat"})),
        ("--dialect fased", Source().effective("fased", mount="/", phases={}, off={"chat"})),
        ("--dialect fased --on chat", effective("fased")),
        ("--dialect fased --on chat --off docs", Source().effective("fased", mount="/", phases={}, off={"docs"})),
    ],
)
def test_a_contract_is_shown(capsys: pytest.CaptureFixture[str], arguments: str, expected: dict[str, object]) -> None:
    """`contract show` prints one document as JSON, member by member in its order, and nothing else."""
    outcome = here(capsys, "contract", "show", *arguments.split())

    assert (0, "") == (outcome.code, outcome.err)
    assert json.dumps(expected) == json.dumps(json.loads(outcome.out))


@confirms("ADR-0018.R3")
def test_the_built_documents_are_the_shown_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`contract build` writes every dialect in both phases and for client generators, and makes the folder."""
    out = tmp_path / "deep" / "out"
    built = here(capsys, "contract", "build", "--out", str(out))
    shown = here(capsys, "contract", "show", "--dialect", "ibex", "--phase", "2")

    assert (0, "") == (built.code, built.out)
    assert sorted(f"{name}.json" for name in DOCUMENTS) == sorted(path.name for path in out.iterdir())
    assert [f"wrote {out}/{name}.json" for name in DOCUMENTS] == built.err.splitlines()
    assert shown.out == (out / "ibex.phase2.json").read_text()


@confirms("ADR-0018.R3", "ADR-0027.R1")
def test_the_documents_that_are_checked_in_are_what_is_built(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`contract build` writes exactly the documents that are checked in."""
    here(capsys, "contract", "build", "--out", str(tmp_path))

    checked_in = PACKAGED / "effective"
    assert sorted(path.name for path in checked_in.iterdir()) == sorted(path.name for path in tmp_path.iterdir())
    assert [] == [path.name for path in tmp_path.iterdir() if path.read_text() != (checked_in / path.name).read_text()]


@confirms("ADR-0018.R3", "ADR-0001.R6")
def test_the_packaged_contract_passes_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    """`contract check` finds nothing in the packaged contract, and says for each document that it is well."""
    outcome = here(capsys, "contract", "check")

    assert (0, "") == (outcome.code, outcome.out)
    assert [f"{name}: ok" for name in DOCUMENTS] == outcome.err.splitlines()


@confirms("ADR-0018.R3", "ADR-0001.R6")
@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("{status: ok}", "{status: 1}", "dragoman.phase1: #/components/responses/Health/content/"),
        ("maxLength: 256", "maxLenght: 256", "dragoman.phase1: #/components/schemas/ModelName/maxLenght"),
        ("x-operation: models", "summary: models", "gateway.yaml, line"),
        ("      x-operation: models\n", "", "dragoman.phase1: #/paths/~1v1~1models/get"),
        (
            "      x-adr: [ADR-0001, ADR-0013, ADR-0009, ADR-0030, ADR-0032]\n",
            "",
            "dragoman.phase1: #/paths/~1v1~1models/get",
        ),
        ("x-operation: models", "x-operation: modles", "the handler 'models' has no operation"),
        ("body-limit:", "body-limt:", "POST /v1/chat/completions: unknown trait 'body-limt'"),
        ("\npaths:", "\npaths: [", "gateway.yaml: is not YAML"),
    ],
)
def test_a_broken_contract_fails_the_check_with_its_place(
    capsys: pytest.CaptureFixture[str], folder: Path, old: str, new: str, place: str
) -> None:
    """`contract check` ends with exit code 1 and names the place, also when the document is sound but not servable."""
    edit(folder / "gateway.yaml", old, new)

    outcome = here(capsys, "contract", "check", "--contract", str(folder))

    assert 1 == outcome.code
    assert place in outcome.out.splitlines()[0]


@confirms("ADR-0018.R3", "ADR-0002.R1")
def test_a_dialect_that_no_longer_fits_fails_the_check(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """A dialect whose overlay matches nothing any more fails the check, which names the target."""
    edit(folder / "overlays" / "ibex.yaml", "$.components.parameters.AgentId", "$.components.parameters.AgentUuid")

    outcome = here(capsys, "contract", "check", "--contract", str(folder))

    assert 1 == outcome.code
    assert "$.components.parameters.AgentUuid" in outcome.out


# --- Routes -----------------------------------------------------------------------------------------------------------


@confirms("ADR-0018.R4")
def test_every_route_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`routes` lists method, path, operation, phase and decisions of everything that is served, in columns."""
    outcome = here(capsys, "routes")

    header, *lines = (line.split() for line in outcome.out.splitlines())
    expected = [
        [one.method, one.path, one.name, str(one.phase or "-"), *one.adrs]
        for one in (route.operation for route in compile_routes(effective()))
    ]
    assert ["METHOD", "PATH", "OPERATION", "PHASE", "ADRS"] == header
    assert expected == lines
    assert (0, "") == (outcome.code, outcome.err)


@confirms("ADR-0018.R4", "ADR-0003.R2")
def test_routes_are_those_of_the_mounts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`routes` lists the paths of every mount with its prefix, without what is switched off there."""
    monkeypatch.setenv("DRAGOMAN_MOUNTS", "/=dragoman,/api=ibex")
    monkeypatch.setenv("DRAGOMAN_API_ENDPOINT_CONTRACT", "off")
    monkeypatch.setenv("DRAGOMAN_ENDPOINT_MODELS", "off")

    paths = [line.split()[1] for line in here(capsys, "routes").out.splitlines()]

    assert "/v1/models" not in paths
    assert {"/openapi.json", "/api/v1/chat/completions", "/v1/chat/completions"} < set(paths)
    assert "/api/openapi.json" not in paths


def test_a_reader_who_leaves_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """When whoever reads the output leaves, as `head` does, the program ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken, contextlib.redirect_stdout(broken):
        outcome = here(capsys, "contract", "show")

    assert Outcome(code=0, out="", err="") == outcome


# --- Serving ----------------------------------------------------------------------------------------------------------


KEYLESS: Final = (
    "dragoman: there is no key, so every request is refused; make one with `dragoman keys create`, "
    "or see `dragoman demo`"
)
LIMITLESS: Final = "dragoman: no limit of key holds at /low: its dialect has none"
LIMITED: Final = {"DRAGOMAN_LIMIT_KEY": "5/m", "DRAGOMAN_MOUNTS": "/=dragoman,/api=ibex,/low=relay"}
DEVELOPMENT: Final = {"DRAGOMAN_DEV_TOKEN": "t", "DRAGOMAN_DEV_AGENT_ID": AGENT, "DRAGOMAN_DEV_ORG_ID": OWN}


@confirms("ADR-0018.R2")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, ([401], [KEYLESS])), (DEVELOPMENT, ([200], [])), (LIMITED, ([401], [KEYLESS, LIMITLESS]))],
)
def test_serve_serves_until_a_signal(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    expected: tuple[list[int], list[str]],
) -> None:
    """`serve` says where it serves, from which store, and when nobody has a key; it ends when it is told to."""
    port, answers, store = free_port(), [], tmp_path / "store.db"
    mounts = {
        "DRAGOMAN_MOUNTS": "/=dragoman,/api=ibex",
        "DRAGOMAN_API_IDENTITY": "store",
        "DRAGOMAN_PORT": str(port),
        "DRAGOMAN_STORE": str(store),
    }
    for name, value in (mounts | variables).items():
        monkeypatch.setenv(name, value)

    serve_here(["serve"], port, lambda: answers.append(ask(port, "GET /v1/models HTTP/1.1", Authorization="Bearer t")))

    printed = capfd.readouterr()
    said = [line for line in printed.err.splitlines() if not line.startswith("{")]
    assert expected == ([answer.status for answer in answers], said)
    assert [
        f"# the store is {store}",
        f"# dragoman is served at http://{LOOPBACK}:{port}; in Phase 1: chat, embeddings, responses",
        f"# ibex is served at http://{LOOPBACK}:{port}/api; in Phase 1: chat",
    ] == printed.out.splitlines()[:3]


@confirms("ADR-0018.R2")
def test_demo_prints_what_it_writes(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`demo` prints its exports for every dialect, and writes the same lines to a file for its owner's eyes only."""
    port, file = free_port(), tmp_path / "demo.env"
    file.write_text("an earlier demo's\n")
    file.chmod(0o644)

    serve_here(["demo", "--port", str(port), "--env-file", str(file)], port, lambda: None)

    exports = exported(capfd)
    assert [
        f"export {dialect}_DEV_{name}"
        for dialect in map(str.upper, DIALECTS)
        for name in ("TOKEN", "AGENT_ID", "ORG_ID")
    ] == [line.split("=")[0] for line in exports]
    assert exports == file.read_text().splitlines()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


def exported(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Return the export lines that were printed."""
    return [line for line in capfd.readouterr().out.splitlines() if line.startswith("export ")]


@confirms("ADR-0018.R2")
def test_demo_writes_no_file_that_it_was_not_asked_for(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without `--env-file` the exports are printed only, at the address that the environment names."""
    port = free_port()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRAGOMAN_PORT", str(port))

    serve_here(["demo"], port, lambda: None)

    assert (3 * len(DIALECTS), []) == (len(exported(capfd)), list(tmp_path.iterdir()))


@confirms("ADR-0018.R2", "ADR-0002.R4")
def test_demo_exports_variables_for_any_name_of_a_dialect(capfd: pytest.CaptureFixture[str], folder: Path) -> None:
    """A dialect whose name has a hyphen gets variables that a shell accepts."""
    shutil.copy(folder / "overlays" / "ibex.yaml", folder / "overlays" / "my-api.yaml")
    port = free_port()

    serve_here(["demo", "--port", str(port), "--contract", str(folder)], port, lambda: None)

    assert "export MY_API_DEV_TOKEN" in {line.split("=")[0] for line in exported(capfd)}


@confirms("ADR-0018.R1")
def test_a_port_in_use_ends_with_2_and_one_line(tmp_path: Path) -> None:
    """When somebody else listens on the port, the process says so in one line, and leaves the other's file alone."""
    file = tmp_path / "demo.env"
    file.write_text("the running demo's\n")
    with listen(LOOPBACK, 0) as listener:
        port = listener.getsockname()[1]
        outcome = run("demo", "--port", str(port), "--env-file", str(file))

    said = f"cannot listen on {LOOPBACK} port {port}: Address already in use; choose another --port or --host"
    assert Outcome(code=2, out="", err=f"dragoman: {said}\n") == outcome
    assert "the running demo's\n" == file.read_text()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a demo in a process of its own."""
    folder = tmp_path_factory.mktemp("demo")
    with served(folder / "log", "demo", "--port", "0", "--env-file", str(folder / "demo.env")) as running:
        yield running


@confirms("ADR-0018.R2", "ADR-0019.R4")
def test_the_printed_requests_work_as_pasted(demo: Served) -> None:
    """The exports and the request that `demo` prints for each dialect give the contract's 501 when they are pasted."""
    exports = [line for line in demo.printed if line.startswith("export ")]
    requests = [line.removeprefix("#").strip() for line in demo.printed if "curl" in line]

    answers = [subprocess.check_output(["bash", "-c", "\n".join([*exports, request])]) for request in requests]

    kind = "provider_not_configured"
    assert [example(effective(dialect), kind)["error"]["message"] for dialect in DIALECTS] == [
        json.loads(answer)["error"]["message"] for answer in answers
    ]


@confirms("ADR-0018.R2")
def test_serve_knows_what_demo_exports(demo: Served, tmp_path: Path) -> None:
    """A gateway that is started with a demo's variables lets the demo's key pass, and takes those of every dialect."""
    with served(tmp_path / "log", "serve", "--port", "0", **demo.exports) as other:
        answers = [
            ask(other.port, "GET /v1/models HTTP/1.1", Authorization=f"Bearer {token}")
            for token in (demo.exports["DRAGOMAN_DEV_TOKEN"], "another")
        ]

    assert [200, 401] == [answer.status for answer in answers]


def test_demo_shows_everything(demo: Served) -> None:
    """One token for every dialect is printed, both agents are named, and what is off by default is turned on."""
    tokens = {value for name, value in demo.exports.items() if name.endswith("_DEV_TOKEN")}
    told = [line for line in demo.printed if line.startswith("# ") and "served at" not in line and "curl" not in line]

    agent = demo.exports["DRAGOMAN_DEV_AGENT_ID"]
    assert 1 == len(tokens)
    assert tokens.pop().startswith("cgt_")
    assert [f"# agents: main ({agent}), beta ("] == [line[: len(agent) + 25] for line in told[:1]]
    assert ["# chat of fased is off by default; the demo turns it on"] == told[1:2]
    beginnings = ["# ibex asks over gRPC who is calling, at 127.0.0.1:", "# the store is /"]
    assert beginnings == [line[: len(start)] for line, start in zip(told[2:], beginnings, strict=True)]


@pytest.mark.parametrize("mounts", ["/=dragoman", "/x=fased"])
def test_demo_serves_the_mounts_of_the_environment(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mounts: str
) -> None:
    """A demo of other mounts than all serves these, with everything on."""
    port, answers = free_port(), []
    prefix, _, dialect = mounts.partition("=")
    chat = f"{prefix.rstrip('/')}/v1/chat/completions"
    monkeypatch.setenv("DRAGOMAN_MOUNTS", mounts)

    serve_here(["demo", "--port", str(port)], port, lambda: answers.append(ask(port, f"OPTIONS {chat} HTTP/1.1")))

    served_ones = [line.split()[1] for line in capfd.readouterr().out.splitlines() if " is served at " in line]
    assert ([dialect], [204]) == (served_ones, [answer.status for answer in answers])


NO_REQUEST: Final = """\
overlay: 1.1.0
info: {title: Dialect bare, version: 0.1.0}
actions:
"""
WITHOUT_BODIES: Final = "  - target: $.paths[*].post\n    remove: true\n"
WITHOUT_EXAMPLES: Final = (
    "  - target: $.components.requestBodies[*].content['application/json'].examples\n    remove: true\n"
)


@pytest.mark.parametrize("actions", [WITHOUT_BODIES, WITHOUT_EXAMPLES])
def test_demo_shows_no_request_where_there_is_none(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path, actions: str
) -> None:
    """A dialect without an example request is served, and no request is printed for it."""
    (folder / "overlays" / "bare.yaml").write_text(NO_REQUEST + actions)
    port = free_port()
    monkeypatch.setenv("DRAGOMAN_MOUNTS", "/=bare")

    serve_here(["demo", "--port", str(port), "--contract", str(folder)], port, lambda: None)

    printed = capfd.readouterr().out
    assert (True, False) == ("# bare is served at" in printed, "curl" in printed)


def test_every_demo_makes_new_keys(demo: Served, tmp_path: Path) -> None:
    """A second demo, also one that sees the first one's variables, has its own token, agent and organisation."""
    with served(tmp_path / "log", "demo", "--port", "0", **demo.exports) as other:
        assert [] == [name for name, value in demo.exports.items() if other.exports[name] == value]


@confirms("ADR-0033.R3")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_quietly(tmp_path: Path, sent: signal.Signals) -> None:
    """SIGTERM and SIGINT end a serving process with code 0; it leaves no traceback."""
    with served(tmp_path / "log", "demo", "--port", "0") as running:
        answer = ask(running.port, "GET /readyz HTTP/1.1")
        running.process.send_signal(sent)
        code = running.process.wait(timeout=PATIENCE)

    assert 200 == answer.status
    assert 0 == code
    assert ["request"] == [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
