"""The official SDKs as judges: what a program that uses one of them sees in Phase 1 (ADR-0014.R3)."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import httpx
import openai
import pytest
from gateway_conformance.rules import confirms
from openai.types.chat import ChatCompletionUserMessageParam

SDKS: Final = Path(__file__).parent / "sdks"

EXPECTED: Final = {
    "valid": ("InternalServerError", 501, "PROVIDER_NOT_CONFIGURED"),
    "wrong-key": ("AuthenticationError", 401, "invalid_api_key"),
    "unknown-path": ("NotFoundError", 404, "unknown_url"),
    "bad-body": ("BadRequestError", 400, "integer_above_max_value"),
}
"""Case -> the SDK's exception class, status and `error.code`; both SDKs name their classes alike."""


@attrs.frozen(kw_only=True)
class Served:
    """A running gateway: its base URL for SDKs, a valid key, and the file with its log."""

    base_url: str
    key: str
    log: Path

    def requests(self) -> Counter[str]:
        """Return how many requests came in under each id that a caller gave.

        The gateway has one thread: when it answers a new request, the events of all earlier ones are written.
        """
        httpx.get(f"{self.base_url}/models")
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return Counter(event["caller_request_id"] for event in lines if "caller_request_id" in event)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A `dragoman demo` on a free port."""
    log = tmp_path_factory.mktemp("demo") / "log"
    command = [sys.executable, "-m", "dragoman", "demo", "--port", "0"]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        exports: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("# dragoman is served at "):
                url = line.removeprefix("# dragoman is served at ").split(";")[0].strip()
                break
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exports[name] = value
        else:
            pytest.fail(f"the demo did not start: {log.read_text()}")
        yield Served(base_url=f"{url}/v1", key=exports["DRAGOMAN_DEV_TOKEN"], log=log)
        process.terminate()
        process.wait(timeout=10)


def seen_by_python(base_url: str, key: str, request_id: str, **changes: float) -> openai.APIStatusError:
    """Return the error that openai-python raises for one chat request."""
    message: ChatCompletionUserMessageParam = {"role": "user", "content": "hello"}
    headers = {"X-Request-ID": request_id}
    with (
        openai.OpenAI(base_url=base_url, api_key=key, default_headers=headers) as sdk,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        sdk.chat.completions.create(model="gpt-4o", messages=[message], **changes)  # type: ignore[call-overload]
    return raised.value


@confirms("ADR-0014.R3", "ADR-0014.R1")
@pytest.mark.parametrize("case", EXPECTED)
def test_openai_python_sees_its_own_errors(served: Served, case: str) -> None:
    """openai-python sends one request and raises its own class, with the code of the gateway."""
    calls: Mapping[str, Callable[[str], openai.APIStatusError]] = {
        "valid": lambda name: seen_by_python(served.base_url, served.key, name),
        "wrong-key": lambda name: seen_by_python(served.base_url, "no-such-key", name),
        "unknown-path": lambda name: seen_by_python(f"{served.base_url}/nowhere", served.key, name),
        "bad-body": lambda name: seen_by_python(served.base_url, served.key, name, temperature=3),
    }
    error = calls[case](f"python-{case}")

    assert EXPECTED[case] == (type(error).__name__, error.status_code, error.code)
    assert f"python-{case}" == error.request_id
    assert 1 == served.requests()[f"python-{case}"]


@pytest.fixture(scope="module")
def seen_by_node(served: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What openai-node sees, by case."""
    programs = {name: shutil.which(name) for name in ("node", "npm")}
    if missing := [name for name, path in programs.items() if path is None]:
        reason = f"{' and '.join(missing)} is not on PATH, so openai-node was not asked"
        if os.environ.get("CI"):  # noqa: TID251 - a test's own question, not the gateway's
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "requests.mjs"):
        shutil.copy(SDKS / name, folder)
    subprocess.run([str(programs["npm"]), "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    environment = {**os.environ, "BASE_URL": served.base_url, "KEY": served.key}  # noqa: TID251
    ran = subprocess.run(
        [str(programs["node"]), "requests.mjs"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr
    return {case["name"]: case for case in map(json.loads, ran.stdout.splitlines())}


@confirms("ADR-0014.R3", "ADR-0014.R1")
@pytest.mark.parametrize("case", EXPECTED)
def test_openai_node_sees_its_own_errors(served: Served, seen_by_node: dict[str, dict[str, object]], case: str) -> None:
    """openai-node sends one request and raises its own class, with the code of the gateway."""
    seen = seen_by_node[case]

    assert EXPECTED[case] == (seen["class"], seen["status"], seen["code"])
    assert f"node-{case}" == seen["requestID"]
    assert 1 == served.requests()[f"node-{case}"]
