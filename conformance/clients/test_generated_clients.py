"""Clients that are generated from the `sdk` document, and called (ADR-0027.R4).

Laws of this file:
- A client is generated from the document of both phases; what is called here in Phase 1 is called unchanged in Phase 2.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import pytest
from gateway_conformance.rules import confirms

from courts import Court
from gateways import CALLERS

HERE: Final = Path(__file__).parent
REQUEST: Final = {"model": "general", "messages": [{"role": "user", "content": "hello"}]}
NODE_FILES: Final = ("package.json", "package-lock.json", "tsconfig.json", "requests.ts")


@pytest.fixture(scope="module")
def sdk_document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document for client generators, as the command prints it."""
    path = tmp_path_factory.mktemp("sdk") / "sdk.json"
    command = [sys.executable, "-m", "dragoman", "contract", "show", "--for-sdk"]
    path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return path


@pytest.fixture(scope="module")
def python_client(sdk_document: Path) -> Iterator[Any]:
    """The modules of a client made by openapi-python-client."""
    folder = sdk_document.parent
    command = [Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none"]
    made = subprocess.run(
        [*map(str, command), "--path", str(sdk_document), "--output-path", str(folder / "generated"), "--overwrite"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == made.returncode, made.stdout + made.stderr
    assert "WARNING" not in made.stdout.upper()
    sys.path.insert(0, str(folder))
    yield SimpleNamespace(
        client=importlib.import_module("generated.client"),
        chat=importlib.import_module("generated.api.chat.create_chat_completion"),
        models=importlib.import_module("generated.models"),
    )
    sys.path.remove(str(folder))


@confirms("ADR-0027.R4")
def test_a_python_client_gets_the_501_as_a_typed_error(outside: Court, python_client: Any) -> None:  # noqa: ANN401
    """The generated Python client sends a typed request and gets the record of the error, with its code."""
    client = python_client.client.AuthenticatedClient(base_url=outside.transport.origin, token=CALLERS.token)
    with client as entered:
        answer = python_client.chat.sync_detailed(
            client=entered,
            body=python_client.models.ChatCompletionRequest.from_dict(REQUEST),
            x_agent_id=str(UUID(CALLERS.agent)),
        )

    assert 501 == answer.status_code
    assert isinstance(answer.parsed, python_client.models.Error)
    assert "PROVIDER_NOT_CONFIGURED" == answer.parsed.error.code


@confirms("ADR-0027.R4")
def test_a_typescript_client_gets_the_501_as_a_typed_error(outside: Court, sdk_document: Path, tmp_path: Path) -> None:
    """A program typed by the generated contract compiles, and reads the code of the error from its type."""
    programs = {name: shutil.which(name) for name in ("node", "npm", "npx")}
    if missing := [name for name, path in programs.items() if path is None]:
        reason = f"{' and '.join(missing)} is not on PATH, so the TypeScript client was not generated"
        if os.environ.get("CI"):  # noqa: TID251 - a test's own question, not the gateway's
            pytest.fail(reason)
        pytest.skip(reason)
    for name in NODE_FILES:
        shutil.copy(HERE / name, tmp_path)
    shutil.copy(sdk_document, tmp_path)
    for command in (
        ["npm", "ci", "--silent", "--no-audit", "--no-fund"],
        ["npx", "openapi-typescript", "sdk.json", "-o", "contract.d.ts"],
        ["npx", "tsc", "--project", "."],
    ):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert 0 == ran.returncode, ran.stdout + ran.stderr

    environment = {**os.environ, "BASE_URL": outside.transport.origin, "KEY": CALLERS.token}  # noqa: TID251
    printed = subprocess.run(
        ["node", "out/requests.js"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert {"status": 501, "code": "PROVIDER_NOT_CONFIGURED", "answer": None} == json.loads(printed.stdout)
