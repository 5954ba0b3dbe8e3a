"""Clients that are generated from the `sdk` document, and called (ADR-0027.R4).

Laws of this file:
- A client is generated from the document of both phases; the same call is made in Phase 1 and in Phase 2, unchanged.
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


def python_answer(client: Any, origin: str) -> Any:  # noqa: ANN401 - of a generated module
    """Return what the generated Python client makes of the answer at *origin*: the same call in both phases."""
    with client.client.AuthenticatedClient(base_url=origin, token=CALLERS.token) as entered:
        return client.chat.sync_detailed(
            client=entered,
            body=client.models.ChatCompletionRequest.from_dict(REQUEST),
            x_agent_id=str(UUID(CALLERS.agent)),
        )


@confirms("ADR-0027.R4")
def test_a_python_client_gets_the_501_as_a_typed_error(outside: Court, python_client: Any) -> None:  # noqa: ANN401
    """The generated Python client sends a typed request and gets the record of the error, with its code."""
    answer = python_answer(python_client, outside.transport.origin)

    assert 501 == answer.status_code
    assert isinstance(answer.parsed, python_client.models.Error)
    assert "PROVIDER_NOT_CONFIGURED" == answer.parsed.error.code


@confirms("ADR-0045.R15", "ADR-0027.R4")
def test_the_same_python_client_gets_a_typed_completion(
    forwarding_outside: Court,
    python_client: Any,  # noqa: ANN401 - generated modules
) -> None:
    """In Phase 2 the same call of the same client gets the record of a completion."""
    answer = python_answer(python_client, forwarding_outside.transport.origin)

    assert 200 == answer.status_code
    assert isinstance(answer.parsed, python_client.models.ChatCompletion)
    [choice] = answer.parsed.choices
    assert ("hello", "stop") == (choice.message.content, choice.finish_reason)
    assert "general" == answer.parsed.model
    assert answer.parsed.id.startswith("chatcmpl-")


@pytest.fixture(scope="module")
def typescript_program(sdk_document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a program that is typed by the generated contract, compiled once."""
    programs = {name: shutil.which(name) for name in ("node", "npm", "npx")}
    if missing := [name for name, path in programs.items() if path is None]:
        reason = f"{' and '.join(missing)} is not on PATH, so the TypeScript client was not generated"
        if os.environ.get("CI"):  # noqa: TID251 - a test's own question, not the gateway's
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("typescript")
    for name in NODE_FILES:
        shutil.copy(HERE / name, folder)
    shutil.copy(sdk_document, folder)
    for command in (
        ["npm", "ci", "--silent", "--no-audit", "--no-fund"],
        ["npx", "openapi-typescript", "sdk.json", "-o", "contract.d.ts"],
        ["npx", "tsc", "--project", "."],
    ):
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert 0 == ran.returncode, ran.stdout + ran.stderr
    return folder


def typescript_answer(program: Path, origin: str) -> dict[str, object]:
    """Return what the program prints of the answer at *origin*."""
    environment = {**os.environ, "BASE_URL": origin, "KEY": CALLERS.token}  # noqa: TID251
    printed = subprocess.run(
        ["node", "out/requests.js"], cwd=program, env=environment, capture_output=True, text=True, check=False
    )
    answer: dict[str, object] = json.loads(printed.stdout)
    return answer


@confirms("ADR-0027.R4")
def test_a_typescript_client_gets_the_501_as_a_typed_error(outside: Court, typescript_program: Path) -> None:
    """A program typed by the generated contract compiles, and reads the code of the error from its type."""
    answer = typescript_answer(typescript_program, outside.transport.origin)

    assert {"status": 501, "code": "PROVIDER_NOT_CONFIGURED", "answer": None} == answer


@confirms("ADR-0045.R15", "ADR-0027.R4")
def test_the_same_typescript_program_gets_a_completion(forwarding_outside: Court, typescript_program: Path) -> None:
    """In Phase 2 the same program reads the text of the answer from its type."""
    answer = typescript_answer(typescript_program, forwarding_outside.transport.origin)

    assert {"status": 200, "code": None, "answer": "hello"} == answer
