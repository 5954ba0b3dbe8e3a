"""Clients that people have, as judges: what a program that uses one of them sees of a gateway in Phase 2 (ADR-0046).

Laws of this file:
- A client runs in an environment of its own, unchanged, with its own defaults: its retries are part of what is judged.
- Each client has a gateway of its own, as a target that failed for one would be left alone for the next.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from environments import node_environment, own_variables, python_environment
from gateway_conformance.rules import confirms
from served import Furnished, furnished, served

PROGRAMS: Final = Path(__file__).parent / "clients"
RUNNING: Final = 300.0
"""Seconds that a program may take: it needs some ten, most of which are pauses before retries."""

pytestmark = pytest.mark.timeout(900)  # of which an installation may take nearly all

WORDS: Final = ("The", " quick", " brown", " fox", " jumps", " over", " the", " lazy", " dog.")
USED: Final = {"model": "general", "input": len(WORDS), "output": len(WORDS)}
CALL: Final = {"name": "get_weather", "arguments": {"city": "Paris"}}

BEHAVIOURS: Final[Mapping[str, str]] = {
    "general": "ok",
    "tools": "tool-call",
    "json": "json",
    "vectors": "ok",
    "limited": "limited:1",
    "down": "unavailable",
    "cut": "cut",
}
"""Alias -> the model of the provider `scripted`."""

CANARY: Final = "canary-7f3a91"
"""What the provider is called, which no program may learn."""

CATALOGUE: Final = f"""
[[provider]]
name = "{CANARY}"
kind = "scripted"
""" + "".join(
    f"""
[[alias]]
id = "{alias}"
category = "{"embedding" if alias == "vectors" else "llm"}"
[[alias.target]]
provider = "{CANARY}"
model = "{model}"
"""
    for alias, model in BEHAVIOURS.items()
)


@attrs.frozen(kw_only=True)
class Client:
    """A client: the *program* that uses it, with arguments, and what it *raises*, by the case: all of these names.

    Without *lists* or *embeds* it has no call for that.
    """

    program: tuple[str, ...]
    raises: Mapping[str, Sequence[str]]
    lists: bool = True
    embeds: bool = True

    def command(self, base_url: str, key: str) -> list[str]:
        """Return what runs the program in its environment, which is made if it is not there."""
        name, *arguments = self.program
        if (PROGRAMS / name).is_dir():
            return ["node", str(node_environment(PROGRAMS / name) / "ask.mjs"), base_url, key, *arguments]
        python = python_environment(PROGRAMS / f"{name}.txt") / "python"
        return [str(python), str(PROGRAMS / f"with_{name}.py"), base_url, key, *arguments]


SDK: Final = {
    "wrong_key": "AuthenticationError",
    "unknown_model": "NotFoundError",
    "limited": "RateLimitError",
    "down": "InternalServerError",
    "cut": "APIError",
}
"""What both of OpenAI's SDKs raise."""

VERCEL: Final = {
    "wrong_key": ("AI_APICallError", "status 401"),
    "unknown_model": ("AI_APICallError", "status 404"),
    "limited": ("AI_RetryError", "from AI_APICallError", "from status 429"),
    "down": ("AI_RetryError", "from AI_APICallError"),
    "cut": ("code upstream_unavailable",),
}
CLIENTS: Final[Mapping[str, Client]] = {
    "openai-python": Client(program=("openai",), raises={case: (f"openai.{name}",) for case, name in SDK.items()}),
    "openai-node": Client(program=("openai-node",), raises={case: (name,) for case, name in SDK.items()}),
    "langchain": Client(
        program=("langchain",),
        raises={
            "wrong_key": ("langchain_core.ModelAuthenticationError", "openai.AuthenticationError"),
            "unknown_model": ("langchain_core.ModelNotFoundError", "openai.NotFoundError"),
            "limited": ("langchain_core.ModelRateLimitError", "openai.RateLimitError"),
            "down": ("langchain_core.ModelAPIError", "openai.InternalServerError"),
            "cut": ("openai.APIError",),
        },
    ),
    "instructor": Client(
        program=("instructor",),
        raises={
            **{case: ("instructor.InstructorRetryException", f"from openai.{name}") for case, name in SDK.items()},
            "cut": ("openai.APIError",),
        },
        embeds=False,
    ),
    "pydantic-ai": Client(
        program=("pydantic_ai",),
        raises={
            "wrong_key": ("pydantic_ai.ModelAuthenticationError",),
            "unknown_model": ("pydantic_ai.ModelNotFoundError",),
            "limited": ("pydantic_ai.ModelRateLimitError",),
            "down": ("pydantic_ai.ModelHTTPError",),
            "cut": ("pydantic_ai.ModelServerError",),
        },
        embeds=False,
    ),
    "vercel-openai": Client(program=("vercel-ai", "openai"), raises=VERCEL, lists=False),
    "vercel-compatible": Client(program=("vercel-ai", "compatible"), raises=VERCEL, lists=False),
}


@attrs.frozen(kw_only=True)
class Seen:
    """What the program of *client* saw, by case, what it *printed*, and what the gateway *logged*."""

    client: Client
    cases: Mapping[str, Mapping[str, Any]]
    printed: str
    logged: str

    def answer(self, case: str) -> object:
        """Return what the *case* returned, which must have raised nothing."""
        told = self.cases[case]
        assert "raised" not in told, told
        return told["answer"]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    """A store that holds the catalogue, and a key of it."""
    return furnished(tmp_path_factory.mktemp("furnished"), CATALOGUE)


@pytest.fixture(scope="module", params=CLIENTS)
def seen(request: pytest.FixtureRequest, catalogue: Furnished, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What the program of each client sees of a gateway of its own; all its cases are run at once."""
    client = CLIENTS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    with served(catalogue, folder / "log") as gateway:
        ran = subprocess.run(
            client.command(gateway.base_url, gateway.key),
            cwd=folder,
            env=own_variables(),
            capture_output=True,
            text=True,
            check=False,
            timeout=RUNNING,
        )
    assert 0 == ran.returncode, ran.stderr
    cases = {told["case"]: told for told in map(json.loads, ran.stdout.splitlines())}
    return Seen(client=client, cases=cases, printed=ran.stdout + ran.stderr, logged=gateway.log.read_text())


@confirms("ADR-0046.R1")
def test_a_completion_is_read_whole(seen: Seen) -> None:
    """A chat completion is what the model said, under the alias, with its usage."""
    assert {"text": "".join(WORDS), **USED} == seen.answer("whole")


@confirms("ADR-0046.R1")
def test_a_stream_is_heard_piece_by_piece_and_is_the_same(seen: Seen) -> None:
    """Each piece of a stream is heard as it was said; together they are the whole answer, with the same usage."""
    assert USED == seen.answer("streamed")
    assert list(WORDS) == seen.cases["streamed"]["heard"]


@confirms("ADR-0046.R1")
@pytest.mark.parametrize("case", ["called", "called_in_pieces"])
def test_a_call_of_a_tool_is_read(seen: Seen, case: str) -> None:
    """The call of a tool has its name and its arguments, whole and put together of pieces."""
    assert CALL == seen.answer(case)


@confirms("ADR-0046.R1")
def test_an_object_is_read(seen: Seen) -> None:
    """An answer in JSON becomes an object of a type that the program has declared."""
    assert {"answer": 42, "sure": True} == seen.answer("typed")


@confirms("ADR-0046.R1")
def test_a_vector_is_read(seen: Seen) -> None:
    """An embedding has all its numbers, in base64 for the SDKs that ask for it so."""
    if not seen.client.embeds:
        pytest.skip("this client has no call for embeddings")
    assert 256 == seen.answer("embedded")


@confirms("ADR-0046.R1")
def test_the_models_are_listed(seen: Seen) -> None:
    """The list of models holds the aliases, and nothing else."""
    if not seen.client.lists:
        pytest.skip("this client has no call that lists models")
    assert sorted(BEHAVIOURS) == seen.answer("models")


@confirms("ADR-0046.R2")
@pytest.mark.parametrize("case", SDK)
def test_an_error_is_one_of_the_clients_own(seen: Seen, case: str) -> None:
    """A program catches what goes wrong by the class that its client has for it."""
    raised = seen.cases[case].get("raised")

    assert raised is not None, seen.cases[case]
    assert set(seen.client.raises[case]) <= set(raised)


@confirms("ADR-0046.R2")
def test_a_broken_stream_is_heard_until_it_breaks(seen: Seen) -> None:
    """What was said before a stream broke is heard; then the client raises, and never takes it for the whole answer."""
    assert ["The"] == seen.cases["cut"]["heard"]
    assert all("answer" not in told for case, told in seen.cases.items() if case.startswith("cut"))


@confirms("ADR-0046.R3")
def test_no_program_learns_who_answered(seen: Seen) -> None:
    """Neither answers and errors nor the log name the provider."""
    assert CANARY not in seen.printed
    assert CANARY not in seen.logged
