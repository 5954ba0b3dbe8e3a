"""LiteLLM's proxy as an upstream: a real server that answers by itself, with its mock responses (ADR-0046)."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from environments import python_environment
from gateway_conformance.rules import confirms
from served import furnished, served
from strangers import LOOPBACK, Answer, Caller, calling, free_port, spoken, started

pytestmark = pytest.mark.timeout(1200)  # of which the installation and the start may take nearly all

TEXT: Final = "The quick brown fox jumps over the lazy dog."
KEY: Final = "sk-canary-0c1d7b9a2e8d6f5c3b1a0e9d8c7b6a5f"
WRONG: Final = "sk-canary-of-nobody"
PROVIDER: Final = "canary-provider"
CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}

MOCKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "general": {"mock_response": TEXT},
    "tools": {"mock_response": "I shall look.", "mock_tool_calls": [CALL]},
    "limited": {"mock_response": "litellm.RateLimitError"},
    "too-long": {"mock_response": "litellm.ContextWindowExceededError"},
    "down": {"mock_response": "litellm.InternalServerError"},
}
"""Alias -> what LiteLLM does for it."""

TARGETS: Final = {
    **{alias: (PROVIDER, f"canary-model-{alias}") for alias in MOCKS},
    "unknown": (PROVIDER, "canary-model-of-nobody"),
    "locked": (f"{PROVIDER}-locked", "canary-model-general"),
}
"""Alias -> its provider, and the name that LiteLLM has for the model."""

SECRETS: Final = ("canary", "litellm", "mock", "openai/", "x-litellm")
"""What the upstream, its models, its keys and its headers would be known by. None of it is a word of ours."""


def catalogue(port: int) -> str:
    """Return the rest of the settings file: LiteLLM at *port*, once with its key and once with another one."""
    providers = [
        f"""
[[provider]]
name = "{name}"
kind = "openai"
base_url = "http://{LOOPBACK}:{port}/v1"
key = "env:{variable}"
private = true
"""
        for name, variable in ((PROVIDER, "UPSTREAM_KEY"), (f"{PROVIDER}-locked", "WRONG_KEY"))
    ]
    aliases = [
        f"""
[[alias]]
id = "{alias}"
[[alias.target]]
provider = "{provider}"
model = "{model}"
"""
        for alias, (provider, model) in TARGETS.items()
    ]
    return "".join([*providers, *aliases])


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Somebody who asks a gateway before LiteLLM."""
    programs = python_environment(Path(__file__).parent / "upstreams" / "litellm.txt")
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    models = [
        {
            "model_name": f"canary-model-{alias}",
            "litellm_params": {"model": f"openai/{alias}", "api_key": "none", **mock},
        }
        for alias, mock in MOCKS.items()
    ]
    settings = {"model_list": models, "litellm_settings": {"num_retries": 0}}
    (folder / "litellm.json").write_text(json.dumps(settings))  # JSON is YAML
    command = [str(programs / "litellm"), "--config", "litellm.json", "--host", LOOPBACK, "--port", str(port)]
    variables = {
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it is downloaded
        "NO_DOCS": "True",
    }
    ready = httpx.Request("GET", f"http://{LOOPBACK}:{port}/health/liveliness")
    store = furnished(tmp_path_factory.mktemp("furnished"), catalogue(port), UPSTREAM_KEY=KEY, WRONG_KEY=WRONG)
    with (
        started(command, folder, ready=ready, **variables),
        served(store, store.folder / "log") as gateway,
        calling(gateway) as made,
    ):
        yield made


def require_nothing_told(caller: Caller, answer: Answer) -> None:
    """Require that neither *answer* nor the log so far says who answered."""
    told = (answer.raw + caller.gateway.log.read_text()).lower()

    assert [] == [word for word in SECRETS if word in told]


@confirms("ADR-0046.R4")
def test_a_whole_answer_is_passed_on(caller: Caller) -> None:
    """A whole answer has LiteLLM's text and usage, under the alias, and an id of ours."""
    answer = caller.ask("general")

    assert 200 == answer.status, answer.body
    made = answer.document
    assert {"role": "assistant", "content": TEXT} == made["choices"][0]["message"]
    assert ("general", "stop") == (made["model"], made["choices"][0]["finish_reason"])
    assert {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}.items() <= made["usage"].items()
    require_nothing_told(caller, answer)


@confirms("ADR-0046.R4")
def test_a_stream_is_passed_on(caller: Caller) -> None:
    """A stream says the same, in more than one piece, with the role first and one finish reason; no usage is told."""
    answer = caller.ask("general", stream=True)

    *chunks, end = answer.events
    finished = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert "[DONE]" == end
    assert TEXT == spoken(chunks)
    assert len(chunks) > 3
    assert "assistant" == chunks[0]["choices"][0]["delta"]["role"]
    assert ["stop"] == [reason for reason in finished if reason is not None]
    assert {"general"} == {chunk["model"] for chunk in chunks}
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)
    require_nothing_told(caller, answer)


@confirms("ADR-0046.R4")
def test_the_usage_of_a_stream_is_told_to_who_asks(caller: Caller) -> None:
    """With `include_usage` the last chunk has the usage that LiteLLM counted, and no choice."""
    answer = caller.ask("general", stream=True, stream_options={"include_usage": True})

    *chunks, last, end = answer.events
    assert "[DONE]" == end
    assert [] == last["choices"]
    assert last["usage"]["prompt_tokens"] > 0
    assert last["usage"]["completion_tokens"] > 0
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
    assert {None} == {chunk["usage"] for chunk in chunks}


@confirms("ADR-0046.R4")
def test_a_call_of_a_tool_is_passed_on(caller: Caller) -> None:
    """A call of a tool has its name, arguments and id."""
    answer = caller.ask("tools")

    assert 200 == answer.status, answer.body
    assert [CALL] == answer.document["choices"][0]["message"]["tool_calls"]
    require_nothing_told(caller, answer)


@confirms("ADR-0046.R5")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("alias", "status", "code"),
    [
        ("down", 502, "upstream_unavailable"),
        ("limited", 429, "rate_limit_exceeded"),
        ("too-long", 400, "invalid_request"),
        ("unknown", 400, "invalid_request"),
        ("locked", 502, "upstream_unavailable"),
    ],
)
def test_an_error_is_told_in_our_words(caller: Caller, alias: str, status: int, code: str, *, stream: bool) -> None:
    """What LiteLLM refuses has the status and the code that the contract has for it, and none of LiteLLM's words."""
    answer = caller.ask(alias, stream=stream)

    assert (status, code) == (answer.status, answer.document["error"]["code"])
    require_nothing_told(caller, answer)
