"""The README's examples, run as they stand; only ports are changed, since 8080 may be taken."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

from dragoman.app import known_settings
from dragoman.contract.source import Source
from dragoman.settings import read_settings
from process import launched

ROOT: Final = Path(__file__).parent.parent
README: Final = (ROOT / "README.md").read_text()
SHELL: Final = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
INSTALL, TEST, DEMO, CURL, FORWARDING, KEYS, CATALOGUE = SHELL
REFUSED, ANSWERED = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
PROVIDERS, SETTINGS = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def run(script: str, folder: Path) -> str:
    """Return what *script* prints, run by bash in *folder*."""
    ran = subprocess.run(["bash", "-ec", script], cwd=folder, capture_output=True, text=True, check=False)
    assert 0 == ran.returncode, ran.stderr
    return ran.stdout


def test_the_install_line_serves(tmp_path: Path) -> None:
    """The first line installs the package from a checkout with nothing but Python, and the demo starts."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name, follow_symlinks=False)
    install, demo = INSTALL.strip().rsplit(" && ", 1)
    run(install.replace("pip install", "pip install --quiet"), tmp_path)

    with launched([*demo.split(), "--port", "0"], tmp_path / "log", folder=tmp_path) as demonstrated:
        assert demonstrated.exports["DRAGOMAN_DEV_TOKEN"]
        assert demonstrated.port > 0


def as_shown(shown: object, answered: object) -> bool:
    """Whether what was *answered* is what is *shown*, where `…` stands for anything."""
    if isinstance(shown, dict) and isinstance(answered, dict):
        return list(shown) == list(answered) and all(as_shown(shown[name], answered[name]) for name in shown)
    if isinstance(shown, list) and isinstance(answered, list):
        return len(shown) == len(answered) and all(map(as_shown, shown, answered))
    if isinstance(shown, str) and isinstance(answered, str) and shown.endswith("…"):
        return answered.startswith(shown.removesuffix("…"))
    return shown in ("…", answered)


@pytest.mark.parametrize(("demo", "expected"), [(DEMO, REFUSED), (FORWARDING, ANSWERED)])
def test_the_first_request_is_answered_as_shown(tmp_path: Path, demo: str, expected: str) -> None:
    """The demo writes the file that the curl reads, and the curl prints what the README shows, in both phases."""
    if shutil.which("curl") is None:
        pytest.fail("curl is not on PATH, and the README's first request needs it")
    program = str(Path(sys.executable).with_name("dragoman"))
    command = demo.strip().replace(".venv/bin/dragoman", program).replace("--port 8080", "--port 0").split()
    with launched(command, tmp_path / "log", folder=tmp_path) as demonstrated:
        printed = run(CURL.replace("localhost:8080", f"localhost:{demonstrated.port}"), tmp_path)

    body, status = printed.rsplit("\n", 2)[:2]
    shown_body, shown_status = expected.rsplit("\n", 2)[:2]
    assert shown_status == status
    assert as_shown(json.loads(shown_body), json.loads(body))


def test_a_catalogue_is_checked_applied_and_explained_as_shown(tmp_path: Path) -> None:
    """The commands take the file of the example; a dry run changes nothing, and what was applied is explained."""
    (tmp_path / "dragoman.toml").write_text(PROVIDERS)
    script = CATALOGUE.replace(".venv/bin/dragoman", str(Path(sys.executable).with_name("dragoman")))

    printed = run(f"export OPENAI_API_KEY=key\n{script}", tmp_path)

    assert "general" in printed
    assert "gpt-4o" in printed


def test_the_test_line_is_what_ci_runs() -> None:
    """.ci/run takes the second line from the README."""
    ran = run("sed -n '/^Test it/,/^## /{/^python3 -m venv/p}' README.md", ROOT)

    assert TEST == ran
    assert "'/^Test it/,/^## /{/^python3 -m venv/p}'" in (ROOT / ".ci" / "run").read_text()


def test_a_real_key_is_made_as_shown_and_answered(tmp_path: Path) -> None:
    """The commands make an organisation, an agent and a key in a store, and the gateway over it knows the key."""
    program = str(Path(sys.executable).with_name("dragoman"))
    *making, serving = KEYS.replace(".venv/bin/dragoman", program).strip().splitlines()
    printed = run("\n".join(making), tmp_path)
    [token] = re.findall(r"^token +(\S+)$", printed, re.MULTILINE)

    variables = {"DRAGOMAN_STORE": "dragoman.db"}
    command = serving.replace("--port 8080", "--port 0").split()
    with launched(command, tmp_path / "log", folder=tmp_path, variables=variables) as served:
        answer = httpx.get(
            f"http://localhost:{served.port}/v1/models", headers={"authorization": f"Bearer {token}"}, trust_env=False
        )

    assert (200, "600") == (answer.status_code, answer.headers["x-ratelimit-limit-requests"])


@pytest.mark.parametrize("command", re.findall(r"^\| `(dragoman [a-z -]+)`", README, re.MULTILINE))
def test_every_command_of_the_table_exists(command: str, tmp_path: Path) -> None:
    """Each command of the table has a help page that shows how to use it."""
    printed = run(f"{Path(sys.executable).with_name('dragoman')}{command.removeprefix('dragoman')} --help", tmp_path)

    assert f"Usage: {command}" in printed
    assert "For example:" in printed


def _accepted(name: str) -> str:
    """Return a value that the variable *name* takes."""
    if "LIMIT_" in name:
        return "600/m"
    if name.endswith("_IDENTITY"):
        return "token"
    if name.endswith("_ACCESS_LOG"):
        return "combined"
    return "off" if "ENDPOINT" in name or name.endswith("_LIMITS") else "1"


def test_every_variable_of_the_table_is_known(tmp_path: Path) -> None:
    """Each variable of the table, with its places filled in, is accepted."""
    (tmp_path / "dragoman.toml").touch()
    values = {
        "DRAGOMAN_MOUNTS": "/api=dragoman",
        "DRAGOMAN_HOST": "::1",
        "DRAGOMAN_PORT": "1",
        "DRAGOMAN_CONFIG": str(tmp_path / "dragoman.toml"),
    }
    stated = re.findall(r"`((?:DRAGOMAN|<MOUNT>)_[^`]+)`", README)
    names = [
        re.sub(r"\[<MOUNT>_\]|<MOUNT>_", "API_", re.sub(r"\[_<OPERATION>\]|_<OPERATION>", "_CHAT", one))
        for one in stated
    ]
    environment = {name: values.get(name, _accepted(name)) for name in names if "_IDENTITY_" not in name}
    del environment["API_GATEWAY_PASSWORD"]  # beside a token it would have to be said which counts
    settings = read_settings(environment, known_settings(Source()))

    assert {"DRAGOMAN_API_PHASE_CHAT", "DRAGOMAN_API_ENDPOINT_CHAT", "API_GATEWAY_TOKEN"} <= environment.keys()
    assert ("/api", "token", frozenset({"chat"})) == (
        settings.mounts[0].prefix,
        settings.mounts[0].identity,
        settings.mounts[0].off,
    )


def test_the_settings_file_is_accepted(tmp_path: Path) -> None:
    """The example of a settings file says what it looks like it says."""
    (tmp_path / "dragoman.toml").write_text(SETTINGS)
    environment = {"CHAT_SECRET": "secret"}
    settings = read_settings(environment, known_settings(Source()), config=tmp_path / "dragoman.toml")

    api, fased = settings.mounts
    assert ("/api", frozenset({"responses"})) == (api.prefix, api.off)
    assert ("/fased", "token", "secret", frozenset()) == (fased.prefix, fased.identity, fased.secret, fased.off)
    assert ["general"] == [alias.id for alias in settings.catalogue.aliases]
