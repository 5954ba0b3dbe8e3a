"""The server of llama-cpp-python as an upstream: a real model runs in it, small and of random weights (ADR-0046).

Laws of this file:
- What the model says has no meaning, and is the same for the same request: it is asked for its likeliest words.
"""

import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import pytest
from environments import own_variables, python_environment, require_programs
from gateway_conformance.rules import confirms
from served import PATIENCE, furnished, served
from strangers import ASKING, LOOPBACK, Answer, Caller, calling, free_port, spoken, started

pytestmark = pytest.mark.timeout(7200)  # llama.cpp is compiled, once

UPSTREAMS: Final = Path(__file__).parent / "upstreams"
KEY: Final = "sk-canary-8d2f61"
WRONG: Final = "sk-canary-of-nobody"
PROVIDER: Final = "canary-provider"
MODEL: Final = "canary-model"

CONTEXT: Final = 16_384
"""Tokens that the model can hold. To fill it takes far longer than somebody stays who leaves at once."""

LIKELIEST: Final[Mapping[str, Any]] = {"temperature": 0, "frequency_penalty": 2}
"""Always the same words, and not one word again and again."""

SECRETS: Final = ("canary", "llama", "gguf", "uvicorn", "openai-processing-ms", "site-packages", "validation error")
"""What the upstream, its model, its key, its headers and its errors would be known by. None of it is a word of ours."""


def catalogue(port: int) -> str:
    """Return the rest of the settings file: the server at *port*, with quirks, without, and with another key."""
    providers = {
        PROVIDER: ("UPSTREAM_KEY", '"max_tokens", "no_developer_role"'),
        f"{PROVIDER}-plain": ("UPSTREAM_KEY", ""),
        f"{PROVIDER}-locked": ("WRONG_KEY", ""),
    }
    aliases = {
        "general": (PROVIDER, MODEL),
        "unknown": (PROVIDER, "canary-model-of-nobody"),
        "plain": (f"{PROVIDER}-plain", MODEL),
        "locked": (f"{PROVIDER}-locked", MODEL),
    }
    return "".join(
        f"""
[[provider]]
name = "{name}"
kind = "openai"
base_url = "http://{LOOPBACK}:{port}/v1"
key = "env:{variable}"
quirks = [{quirks}]
private = true
"""
        for name, (variable, quirks) in providers.items()
    ) + "".join(
        f"""
[[alias]]
id = "{alias}"
[[alias.target]]
provider = "{provider}"
model = "{model}"
"""
        for alias, (provider, model) in aliases.items()
    )


@attrs.frozen(kw_only=True)
class Court:
    """A *caller* of a gateway before the server, and the file with all that the server has *printed*."""

    caller: Caller
    printed: Path


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """A gateway before the server, which runs the model."""
    require_programs("c++", purpose="llama.cpp")
    python = python_environment(UPSTREAMS / "llama_cpp.txt") / "python"
    folder, port = tmp_path_factory.mktemp("llama"), free_port()
    model = folder / "tiny.gguf"
    subprocess.run([python, UPSTREAMS / "tiny_model.py", model], env=own_variables(), check=True, timeout=PATIENCE)
    command = [
        *(str(python), "-m", "llama_cpp.server", "--model", str(model), "--model_alias", MODEL, "--api_key", KEY),
        *("--host", LOOPBACK, "--port", str(port), "--n_ctx", str(CONTEXT), "--chat_format", "chatml"),
        *("--n_threads", "1", "--n_threads_batch", "1", "--verbose", "false"),
        # Else a stream ends with [DONE] when another request comes, however much of it is missing.
        *("--interrupt_requests", "false"),
    ]
    ready = httpx.Request("GET", f"http://{LOOPBACK}:{port}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    store = furnished(tmp_path_factory.mktemp("furnished"), catalogue(port), UPSTREAM_KEY=KEY, WRONG_KEY=WRONG)
    with (
        started(command, folder, ready=ready, PYTHONUNBUFFERED="1") as printed,
        served(store, store.folder / "log") as gateway,
        calling(gateway) as caller,
    ):
        yield Court(caller=caller, printed=printed)


def require_nothing_told(court: Court, answer: Answer) -> None:
    """Require that neither *answer* nor the log so far says who answered."""
    told = (answer.raw + court.caller.gateway.log.read_text()).lower()

    assert [] == [word for word in SECRETS if word in told]


@confirms("ADR-0046.R4")
def test_an_answer_is_the_same_whole_and_streamed(court: Court) -> None:
    """The model's words, its finish reason and its usage are passed on; a stream says the same, piece by piece."""
    whole = court.caller.ask("general", max_tokens=40, **LIKELIEST)
    streamed = court.caller.ask("general", max_tokens=40, stream=True, **LIKELIEST)

    made = whole.document
    [choice] = made["choices"]
    *chunks, end = streamed.events
    assert (200, "general", "length") == (whole.status, made["model"], choice["finish_reason"])
    assert len(set(choice["message"]["content"])) > 5
    assert choice["message"]["content"] == spoken(chunks)
    assert 40 == made["usage"]["completion_tokens"]
    assert made["usage"]["total_tokens"] == made["usage"]["prompt_tokens"] + 40
    assert "[DONE]" == end
    assert len(chunks) > 20
    assert "length" == chunks[-1]["choices"][0]["finish_reason"]
    assert {"general"} == {chunk["model"] for chunk in chunks}
    require_nothing_told(court, whole)
    require_nothing_told(court, streamed)


@confirms("ADR-0046.R4")
def test_the_usage_of_a_stream_is_estimated(court: Court) -> None:
    """The server says no usage in streams; who asks for it is told an estimate, in a chunk without a choice."""
    answer = court.caller.ask(
        "general", max_tokens=40, stream=True, stream_options={"include_usage": True}, **LIKELIEST
    )

    *_, last, end = answer.events
    assert "[DONE]" == end
    assert [] == last["choices"]
    assert 0 < last["usage"]["completion_tokens"] <= 40
    assert last["usage"]["prompt_tokens"] > 0


@confirms("ADR-0046.R4")
def test_quirks_make_it_understand(court: Court) -> None:
    """With its quirks it has room for as much as newer words say, and is told of a developer as of a system."""
    answer = court.caller.ask(
        "general",
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hello"}],
        max_completion_tokens=7,
        **LIKELIEST,
    )

    assert 200 == answer.status, answer.body
    assert 7 == answer.document["usage"]["completion_tokens"]


@confirms("ADR-0046.R5")
def test_without_quirks_its_errors_stay_with_us(court: Court) -> None:
    """To a role that it does not know it answers 500, with the message and its own source; none of that gets out."""
    answer = court.caller.ask("plain", messages=[{"role": "developer", "content": "canary"}])

    assert (502, "upstream_unavailable") == (answer.status, answer.document["error"]["code"])
    require_nothing_told(court, answer)


@confirms("ADR-0046.R5")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_key_that_it_does_not_know_is_an_upstream_failure(court: Court, *, stream: bool) -> None:
    """A wrong key of the gateway's is no fault of the caller's."""
    answer = court.caller.ask("locked", stream=stream)

    assert (502, "upstream_unavailable") == (answer.status, answer.document["error"]["code"])
    require_nothing_told(court, answer)


@confirms("ADR-0046.R4")
def test_a_model_that_it_does_not_know_is_its_only_one(court: Court) -> None:
    """It takes any name for the model that it has; the caller reads the alias."""
    answer = court.caller.ask("unknown", max_tokens=3, **LIKELIEST)

    assert (200, "unknown") == (answer.status, answer.document["model"])
    require_nothing_told(court, answer)


@confirms("ADR-0046.R5")
def test_a_request_that_is_too_long_is_told_as_such(court: Court) -> None:
    """What the model has no room for is rejected with OpenAI's code for it, which SDKs know."""
    answer = court.caller.ask("general", text="x" * (CONTEXT + 1), max_tokens=3)

    assert (400, "context_length_exceeded") == (answer.status, answer.document["error"]["code"])
    require_nothing_told(court, answer)


@confirms("ADR-0046.R6")
def test_a_generation_stops_when_its_caller_leaves(court: Court) -> None:
    """Who leaves a long answer has it stopped: the server notices that it is alone, and has time for the next one."""
    before = court.printed.read_text().count("Disconnected from client")
    with court.caller.sent("general", max_tokens=CONTEXT, stream=True, **LIKELIEST) as response:
        heard = next(response.iter_lines())
    deadline = time.monotonic() + PATIENCE
    while court.printed.read_text().count("Disconnected from client") == before:
        assert time.monotonic() < deadline, "the server was never left"
        time.sleep(ASKING)
    after = court.caller.ask("general", max_tokens=3, **LIKELIEST)

    assert heard.startswith("data: ")
    assert (200, 3) == (after.status, after.document["usage"]["completion_tokens"])
