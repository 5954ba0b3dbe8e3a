"""The official SDKs as judges: what a program that uses one of them sees in Phase 2 (ADR-0045.R16).

Laws of this file:
- Both SDKs are asked the same, and must see the same.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from gateway_conformance.rules import confirms
from gateway_conformance.target import Staged
from openai.types.chat import ChatCompletionToolUnionParam, ChatCompletionUserMessageParam

from courts import Court
from gateways import CALLERS

SDKS: Final = Path(__file__).parent / "sdks"

HELLO: Final = "hello there"
ARGUMENTS: Final = '{"city":"Paris"}'

EXPECTED: Final[Mapping[str, Mapping[str, object]]] = {
    "chat": {"content": HELLO, "reason": "stop", "model": "general"},
    "stream": {"content": HELLO, "arguments": "", "name": None, "reason": "stop", "tokens": 4},
    "tool": {"name": "get_weather", "arguments": ARGUMENTS, "reason": "tool_calls"},
    "tool-stream": {
        "content": "",
        "arguments": ARGUMENTS,
        "name": "get_weather",
        "reason": "tool_calls",
        "tokens": None,
    },
    "models": {"general": True},
    "embedding": {"vectors": 2, "numbers": True},
    "unknown": {"class": "NotFoundError", "status": 404, "code": "model_not_found"},
    "category": {"class": "UnprocessableEntityError", "status": 422, "code": "model_not_llm"},
    "blocked": {"class": "BadRequestError", "status": 400, "code": "content_blocked"},
    "limited": {"class": "RateLimitError", "status": 429, "code": "rate_limit_exceeded"},
    "unavailable": {"class": "InternalServerError", "status": 502, "code": "upstream_unavailable"},
    "cut": {"class": "APIError", "status": None, "code": "upstream_unavailable"},
}
"""Case -> what a program sees: the answer, or the SDK's exception class, status and `error.code`."""

MESSAGE: Final[ChatCompletionUserMessageParam] = {"role": "user", "content": HELLO}
TOOL: Final[ChatCompletionToolUnionParam] = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object"}},
}


def streamed(sdk: openai.OpenAI, **request: Any) -> dict[str, object]:  # noqa: ANN401 - members of a request
    """Return what a program puts together of a stream."""
    seen: dict[str, Any] = {"content": "", "arguments": "", "name": None, "reason": None, "tokens": None}
    for chunk in sdk.chat.completions.create(messages=[MESSAGE], stream=True, **request):
        for choice in chunk.choices:
            seen["content"] += choice.delta.content or ""
            seen["reason"] = choice.finish_reason or seen["reason"]
            for call in choice.delta.tool_calls or ():
                if call.function is not None:
                    seen["arguments"] += call.function.arguments or ""
                    seen["name"] = call.function.name or seen["name"]
        if chunk.usage is not None:
            seen["tokens"] = chunk.usage.total_tokens
    return seen


def chatted(sdk: openai.OpenAI) -> dict[str, object]:
    """Return a whole answer."""
    answer = sdk.chat.completions.create(model="general", messages=[MESSAGE])
    [choice] = answer.choices
    return {"content": choice.message.content, "reason": choice.finish_reason, "model": answer.model}


def called(sdk: openai.OpenAI) -> dict[str, object]:
    """Return a whole answer that calls a tool."""
    [choice] = sdk.chat.completions.create(model="tool-call", messages=[MESSAGE], tools=[TOOL]).choices
    calls = choice.message.tool_calls
    assert calls is not None
    call = calls[0]
    assert call.type == "function"
    return {"name": call.function.name, "arguments": call.function.arguments, "reason": choice.finish_reason}


def embedded(sdk: openai.OpenAI) -> dict[str, object]:
    """Return what comes of embeddings."""
    answer = sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    numbers = all(isinstance(number, float) for one in answer.data for number in one.embedding)
    return {"vectors": len(answer.data), "numbers": numbers}


def python_cases(sdk: openai.OpenAI, staged: Staged) -> Mapping[str, Callable[[], Mapping[str, object]]]:
    """Return what is asked, by case."""

    def failed(**request: Any) -> dict[str, object]:  # noqa: ANN401 - members of a request
        sdk.chat.completions.create(**{"messages": [MESSAGE], **request})
        return {}

    return {
        "chat": lambda: chatted(sdk),
        "stream": lambda: streamed(sdk, model="general", stream_options={"include_usage": True}),
        "tool": lambda: called(sdk),
        "tool-stream": lambda: streamed(sdk, model="tool-call", tools=[TOOL]),
        "models": lambda: {"general": "general" in {model.id for model in sdk.models.list()}},
        "embedding": lambda: embedded(sdk),
        "unknown": lambda: failed(model="no-such-model"),
        "category": lambda: failed(model="text-embedding-3-small"),
        "blocked": lambda: failed(model="guarded", messages=[{"role": "user", "content": "ada@example.org"}]),
        "limited": lambda: failed(model=next(staged.models["rate_limited"])),
        "unavailable": lambda: streamed(sdk, model=next(staged.models["upstream_unavailable"])),
        "cut": lambda: streamed(sdk, model=next(staged.models["cut"])),
    }


def staged_of(court: Court) -> Staged:
    """Return what the operator has set up."""
    assert court.stated.staged is not None
    return court.stated.staged


@confirms("ADR-0045.R16")
@pytest.mark.parametrize("case", EXPECTED)
def test_openai_python_works(forwarding_outside: Court, case: str) -> None:
    """openai-python chats, streams, calls a tool, lists models, and raises its own errors, within a stream too."""
    base_url = f"{forwarding_outside.transport.origin}/v1"
    with openai.OpenAI(base_url=base_url, api_key=CALLERS.token, max_retries=0) as sdk:
        try:
            seen = dict(python_cases(sdk, staged_of(forwarding_outside))[case]())
        except openai.APIError as error:
            seen = {"class": type(error).__name__, "status": getattr(error, "status_code", None), "code": error.code}

    assert EXPECTED[case] == seen


@pytest.fixture(scope="module")
def seen_by_node(forwarding_outside: Court, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What openai-node sees, by case."""
    programs = {name: shutil.which(name) for name in ("node", "npm")}
    if missing := [name for name, path in programs.items() if path is None]:
        reason = f"{' and '.join(missing)} is not on PATH, so openai-node was not asked"
        if os.environ.get("CI"):  # noqa: TID251 - a test's own question, not the gateway's
            pytest.fail(reason)
        pytest.skip(reason)
    folder, models = tmp_path_factory.mktemp("node"), staged_of(forwarding_outside).models
    for name in ("package.json", "package-lock.json", "forwarded.mjs"):
        shutil.copy(SDKS / name, folder)
    subprocess.run([str(programs["npm"]), "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    environment = {
        **os.environ,  # noqa: TID251 - a program's own surroundings
        "BASE_URL": f"{forwarding_outside.transport.origin}/v1",
        "KEY": CALLERS.token,
        "LIMITED": next(models["rate_limited"]),
        "UNAVAILABLE": next(models["upstream_unavailable"]),
        "CUT": next(models["cut"]),
    }
    ran = subprocess.run(
        [str(programs["node"]), "forwarded.mjs"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr
    return {str(case.pop("case")): case for case in map(json.loads, ran.stdout.splitlines())}


@confirms("ADR-0045.R16")
@pytest.mark.parametrize("case", EXPECTED)
def test_openai_node_works(seen_by_node: dict[str, dict[str, object]], case: str) -> None:
    """openai-node sees the same as openai-python does."""
    assert EXPECTED[case] == seen_by_node[case]
