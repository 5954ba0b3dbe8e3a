"""A chat request in OpenAI's form -> a request of the Messages API.

Laws of this file:
- The request has passed the contract's schema, so that its members have the types that are declared.
- Nothing is written into it that nobody said, but for `max_tokens`, which the Messages API insists on.
- What is left out: `frequency_penalty`, `presence_penalty`, `logit_bias`, `seed`, `top_logprobs`, `reasoning_effort`,
  `verbosity`, `prediction`, `service_tier`, `store`, `metadata`, `moderation`, `prompt_cache_*`, the names of
  participants, the detail of images, `strict` of tools, `temperature` and `top_p` unless the upstream takes them, and
  members that OpenAI does not know.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from dragoman.translate.anthropic.turns import conversation
from dragoman.translate.grammar import refuse
from dragoman.translate.shapes import Document

DEFAULT_MAX_TOKENS: Final = 4096
"""For a request that states no limit: every model since Claude 3 can write as much."""

_REFUSED: Final = ("audio", "functions", "function_call", "logprobs", "web_search_options")
"""What decides what kind of answer is wanted, and has no equal."""

_USER_ID: Final = 256
"""The most characters of `metadata.user_id`."""

_WARMEST: Final = 1
"""The highest temperature, where OpenAI's is 2."""

_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "required": "any", "none": "none"}

_JSON: Final = "Answer with JSON and nothing else: no explanation, and no code fence."


def messages_request(document: Mapping[str, Any], *, model: str, stream: bool, sampling: bool = False) -> Document:
    """Return the request to the Messages API that asks *model* what *document* asks.

    Temperature and `top_p` are passed on with *sampling* only: version 2026-10-21 of the API refuses both, and so do
    models since Opus 4.7 in the version before it.

    Raises:
        UntranslatableError: naming what there is no word for.
    """
    _require_translatable(document)
    system, turns = conversation(document["messages"])
    system += _format_instructions(document.get("response_format"))
    if not turns:
        # A conversation needs a turn of the user, while OpenAI answers instructions alone.
        turns, system = [{"role": "user", "content": system}], []
    if not turns[0]["content"]:
        refuse("messages")
    request: Document = {
        "model": model,
        "messages": turns,
        "max_tokens": document.get("max_completion_tokens") or document.get("max_tokens") or DEFAULT_MAX_TOKENS,
    }
    if stream:
        request["stream"] = True
    if system:
        request["system"] = system
    user = document.get("safety_identifier") or document.get("user")
    if user and len(user) <= _USER_ID:
        request["metadata"] = {"user_id": user}
    schema = _strict_schema(document.get("response_format"))
    if schema is not None:
        request["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return request | _stops(document) | (_sampling(document) if sampling else {}) | _tools(document, turns)


def _require_translatable(document: Mapping[str, Any]) -> None:
    for name in _REFUSED:
        if document.get(name) is not None and document[name] is not False:
            refuse(name, code="unsupported_parameter")
    if document.get("n") not in {None, 1}:
        refuse("n")
    if "audio" in (document.get("modalities") or ()):
        refuse("modalities")


def _strict_schema(asked: Mapping[str, Any] | None) -> Document | None:
    """Return the schema that the answer has to fit exactly, which only the upstream can bring about."""
    if asked is None or asked["type"] != "json_schema" or not asked["json_schema"].get("strict"):
        return None
    schema: Document | None = asked["json_schema"].get("schema")
    return schema


def _format_instructions(asked: Mapping[str, Any] | None) -> list[Document]:
    """Return what the model is told of a format that the upstream does not bring about."""
    if asked is None or asked["type"] == "text" or _strict_schema(asked) is not None:
        return []
    schema = asked["json_schema"].get("schema") if asked["type"] == "json_schema" else None
    if schema is None:
        return [{"type": "text", "text": _JSON}]
    try:
        text = orjson.dumps(schema).decode()
    except orjson.JSONEncodeError:  # too deep to be written
        refuse("response_format")
    return [{"type": "text", "text": f"{_JSON} It has to fit this JSON Schema: {text}"}]


def _sampling(document: Mapping[str, Any]) -> Document:
    chosen: Document = {}
    if document.get("temperature") is not None:
        chosen["temperature"] = min(document["temperature"], _WARMEST)
    elif document.get("top_p") is not None:
        chosen["top_p"] = document["top_p"]  # Claude 4.5 refuses it beside a temperature
    return chosen


def _stops(document: Mapping[str, Any]) -> Document:
    stop = document.get("stop") or ()
    # The other side refuses a sequence without a visible character.
    sequences = [one for one in ([stop] if isinstance(stop, str) else stop) if one.strip()]
    return {"stop_sequences": sequences} if sequences else {}


def _tools(document: Mapping[str, Any], turns: Sequence[Document]) -> Document:
    if document.get("tools") is None:
        return _tools_of_the_past(turns)
    tools = [_tool(tool, where=f"tools[{place}]") for place, tool in enumerate(document["tools"])]
    stated = document.get("tool_choice")
    if isinstance(stated, Mapping) and stated["type"] == "allowed_tools":
        allowed = {_named(one) for one in stated["allowed_tools"]["tools"]}
        tools = [tool for tool in tools if tool["name"] in allowed]
        if not tools:
            return refuse("tool_choice")
    choice = _tool_choice(stated)
    if document.get("parallel_tool_calls") is False and choice != {"type": "none"}:
        choice = {"type": "auto"} | choice | {"disable_parallel_tool_use": True}
    return {"tools": tools, "tool_choice": choice} if choice else {"tools": tools}


def _tools_of_the_past(turns: Sequence[Document]) -> Document:
    """Return the tools that were called, as none to be called: an upstream wants to know what a result is of."""
    blocks = (block for turn in turns for block in turn["content"])
    names = dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use")
    if not names:
        return {}
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    return {"tools": tools, "tool_choice": {"type": "none"}}


def _tool(stated: Mapping[str, Any], *, where: str) -> Document:
    if stated["type"] != "function":
        refuse(f"{where}.type")
    function = stated["function"]
    tool = {"name": function["name"], "input_schema": {"type": "object"} | function.get("parameters", {})}
    if function.get("description"):
        tool["description"] = function["description"]
    return tool


def _tool_choice(stated: str | Mapping[str, Any] | None) -> Document:
    if stated is None:
        return {}
    if isinstance(stated, str):
        return {"type": _CHOICES[stated]}
    match stated["type"]:
        case "function":
            return {"type": "tool", "name": stated["function"]["name"]}
        case "allowed_tools":
            return {"type": _CHOICES[stated["allowed_tools"]["mode"]]}
        case _:
            return refuse("tool_choice")


def _named(one: Mapping[str, Any]) -> object:
    """Return the name of an allowed tool, of which the contract says only that it is an object."""
    function = one.get("function")
    name = function.get("name") if isinstance(function, Mapping) else one.get("name")
    return name if isinstance(name, str) else None
