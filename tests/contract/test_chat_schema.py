"""What callers are told about real requests: the packaged chat and responses schemas, branch by branch."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.contract import Body, Problem, compile_contract
from fakes import effective

CONTRACT: Final = compile_contract(effective())
BODIES: Final = {operation.path: operation.body for operation in CONTRACT.operations}
HELLO: Final = {"role": "user", "content": "hello"}


def body_of(path: str) -> Body:
    """Return the request body of the operation at *path*."""
    body = BODIES[path]
    assert body is not None
    return body


CHAT: Final = body_of("/v1/chat/completions")
RESPONSES: Final = body_of("/v1/responses")


def chat(*messages: object, **more: object) -> Mapping[str, object]:
    """Return a chat request with these messages and members."""
    return {"model": "m", "messages": list(messages or [HELLO]), **more}


def told(body: Body, document: object) -> "Told":
    """Return the param, the code and the reason with which *document* is refused."""
    problem = body.schema.problem(document)
    assert problem is not None
    return problem.param, problem.code, problem.reason


Told = tuple[str, str, str]
"""The end of a param, a code, and a reason in which `@` stands for the param."""


def missing(param: str) -> Told:
    """Return what is told of a missing member."""
    return param, "missing_required_parameter", "Missing required parameter: '@'."


def wrong(param: str, expected: str, got: str) -> Told:
    """Return what is told of a value of the wrong type."""
    return param, "invalid_type", f"Invalid type for '@': expected {expected}, but got {got} instead."


def not_among(param: str, expected: str) -> Told:
    """Return what is told of a value that is none of a few."""
    return param, "invalid_value", f"Invalid value for '@': expected {expected}."


def bound(param: str, code: str, rest: str) -> Told:
    """Return what is told of a value out of its bounds."""
    return param, code, f"Invalid '@': {rest}"


def empty(param: str) -> Told:
    """Return what is told of an empty array."""
    return bound(param, "empty_array", "empty array. Expected an array with minimum length 1.")


def too_short(param: str) -> Told:
    """Return what is told of an empty text."""
    return bound(param, "string_below_min_length", "string too short. Expected a string with minimum length 1.")


def at(start: str, expected: Told) -> Told:
    """Return what is *expected* to be told of what begins at *start*."""
    end, code, reason = expected
    param = f"{start}{end}"
    return param, code, reason.replace("@", param)


TEXT_OR_PARTS: Final = "a string or an array"

REQUESTS: Final = [
    ({}, missing("model")),
    ({"model": "m"}, missing("messages")),
    (chat(model=None), wrong("model", "a string", "null")),
    (chat(model=""), too_short("model")),
    (
        chat(model="m" * 257),
        bound("model", "string_above_max_length", "string too long. Expected a string with maximum length 256."),
    ),
    (chat(messages="hello"), wrong("messages", "an array", "a string")),
    (chat(messages=[]), empty("messages")),
    (chat(HELLO, None), wrong("messages[1]", "an object", "null")),
    (chat(tools=[]), empty("tools")),
    (chat(tools=[{"type": "magic"}]), not_among("tools[0].type", "'function' or 'custom'")),
    (chat(function_call={}), missing("function_call.name")),
    (chat(function_call="always"), not_among("function_call", "'none' or 'auto'")),
    (
        chat(response_format={"type": "xml"}),
        not_among("response_format.type", "'text', 'json_schema' or 'json_object'"),
    ),
    (chat(response_format={"type": "json_schema", "json_schema": {}}), missing("response_format.json_schema.name")),
    (chat(audio={"voice": {}, "format": "wav"}), missing("audio.voice.id")),
    (chat(max_tokens=0), bound("max_tokens", "integer_below_min_value", "expected a value >= 1.")),
    (chat(temperature=2.5), bound("temperature", "decimal_above_max_value", "expected a value <= 2.")),
    (chat(seed=2**53), bound("seed", "integer_above_max_value", "expected a value <= 9007199254740991.")),
    (
        chat(stop=["a"] * 5),
        bound("stop", "array_above_max_length", "array too long. Expected an array with maximum length 4."),
    ),
    (chat(stop=[1]), wrong("stop[0]", "a string", "an integer")),
    (chat(verbosity="loud"), not_among("verbosity", "'low', 'medium', 'high' or null")),
    (chat(logit_bias={"1734": 101}), bound("logit_bias.*", "integer_above_max_value", "expected a value <= 100.")),
    (chat(logit_bias={"1734": "much"}), wrong("logit_bias.*", "an integer", "a string")),
    (
        chat(metadata={str(n): "" for n in range(17)}),
        bound("metadata", "object_above_max_properties", "expected an object with at most 16 members."),
    ),
    (chat(metadata={"k" * 65: "v"}), ("metadata", "invalid_value", "Invalid value for '@'.")),
    (chat(metadata={"note": 1}), wrong("metadata.*", "a string", "an integer")),
    ([], ("", "invalid_type", "Invalid type for the body: expected an object, but got an array instead.")),
]


@confirms("ADR-0007.R1", "ADR-0007.R2", "ADR-0013.R4")
@pytest.mark.parametrize(("document", "expected"), REQUESTS)
def test_a_chat_request_is_told_what_is_wrong(document: object, expected: Told) -> None:
    """The first error of a chat request is named in OpenAI's path style, with its code and its limit."""
    assert at("", expected) == told(CHAT, document)


TURNS: Final = [
    ("hello", wrong("", "an object", "a string")),
    ({}, missing(".role")),
    ({"content": "hello"}, missing(".role")),
    (
        {"role": "pirate", "content": "hello"},
        not_among(".role", "'system', 'developer', 'user', 'assistant', 'tool' or 'function'"),
    ),
    (
        {"role": None, "content": "hello"},
        not_among(".role", "'system', 'developer', 'user', 'assistant', 'tool' or 'function'"),
    ),
    ({"role": "user"}, missing(".content")),
    ({"role": "user", "content": 3}, wrong(".content", TEXT_OR_PARTS, "an integer")),
    ({"role": "user", "content": None}, wrong(".content", TEXT_OR_PARTS, "null")),
    ({"role": "user", "content": []}, empty(".content")),
    ({"role": "user", "content": "hello", "name": ""}, too_short(".name")),
    ({"role": "system", "content": {}}, wrong(".content", TEXT_OR_PARTS, "an object")),
    ({"role": "developer", "content": False}, wrong(".content", TEXT_OR_PARTS, "a boolean")),
    ({"role": "tool", "content": "11"}, missing(".tool_call_id")),
    ({"role": "tool", "content": "11", "tool_call_id": 1}, wrong(".tool_call_id", "a string", "an integer")),
    ({"role": "function", "content": "11"}, missing(".name")),
    ({"role": "assistant", "tool_calls": []}, empty(".tool_calls")),
    (
        {"role": "assistant", "tool_calls": [{"type": "magic"}]},
        not_among(".tool_calls[0].type", "'function' or 'custom'"),
    ),
    ({"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}]}, missing(".tool_calls[0].function")),
    (
        {"role": "assistant", "content": [{"type": "image_url"}]},
        not_among(".content[0].type", "'text' or 'refusal'"),
    ),
]


@confirms("ADR-0007.R2")
@pytest.mark.parametrize(("message", "expected"), TURNS)
def test_a_message_is_judged_by_its_role(message: object, expected: Told) -> None:
    """What is wrong with a message is told for the role that it has; without one the roles are listed."""
    assert at("messages[0]", expected) == told(CHAT, chat(message))


PARTS: Final = [
    ("hello", wrong("", "an object", "a string")),
    ({}, missing(".type")),
    ({"type": "smell"}, not_among(".type", "'text', 'image_url', 'input_audio' or 'file'")),
    ({"type": "text"}, missing(".text")),
    ({"type": "text", "text": 3}, wrong(".text", "a string", "an integer")),
    ({"type": "image_url", "image_url": "http://x"}, wrong(".image_url", "an object", "a string")),
    ({"type": "image_url", "image_url": {}}, missing(".image_url.url")),
    (
        {"type": "image_url", "image_url": {"url": "x", "detail": "most"}},
        not_among(".image_url.detail", "'auto', 'low' or 'high'"),
    ),
    (
        {"type": "input_audio", "input_audio": {"data": "x", "format": "ogg"}},
        not_among(".input_audio.format", "'wav' or 'mp3'"),
    ),
    ({"type": "file", "file": 1}, wrong(".file", "an object", "an integer")),
]


@confirms("ADR-0007.R2")
@pytest.mark.parametrize(("part", "expected"), PARTS)
def test_a_part_is_judged_by_its_type(part: object, expected: Told) -> None:
    """What is wrong with a part of a user's message is told for the type that it has."""
    document = chat({"role": "user", "content": [{"type": "text", "text": "hello"}, part]})

    assert at("messages[0].content[1]", expected) == told(CHAT, document)


CHOICES: Final = [
    ("always", not_among("", "'none', 'auto' or 'required'")),
    (3, wrong("", "a string or an object", "an integer")),
    (None, wrong("", "a string or an object", "null")),
    ([], wrong("", "a string or an object", "an array")),
    ({}, missing(".type")),
    ({"type": "magic"}, not_among(".type", "'allowed_tools', 'function' or 'custom'")),
    ({"type": "function"}, missing(".function")),
    ({"type": "function", "function": {}}, missing(".function.name")),
    (
        {"type": "function", "function": {"name": "a b"}},
        bound(".function.name", "invalid_value", "expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."),
    ),
    ({"type": "custom", "custom": {"name": 1}}, wrong(".custom.name", "a string", "an integer")),
    (
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}},
        not_among(".allowed_tools.mode", "'auto' or 'required'"),
    ),
]


@confirms("ADR-0007.R2")
@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_a_tool_choice_is_a_word_or_an_object(choice: object, expected: Told) -> None:
    """What is wrong with `tool_choice` is told for the form that it has."""
    assert at("tool_choice", expected) == told(CHAT, chat(tool_choice=choice))


@confirms("ADR-0007.R6")
@pytest.mark.parametrize(
    ("member", "value", "wanted"),
    [
        ("stream", "false", {"null", "a boolean"}),
        ("stream", 0, {"null", "a boolean"}),
        ("temperature", "0.5", {"null", "a number"}),
        ("max_tokens", "5", {"null", "an integer"}),
        ("max_tokens", True, {"null", "an integer"}),
        ("n", 1.5, {"null", "an integer"}),
    ],
)
def test_scalars_are_not_coerced(member: str, value: object, wanted: set[str]) -> None:
    """A text is no boolean and no number, a number is no boolean, and the types that are accepted are listed."""
    param, code, reason = told(CHAT, chat(**{member: value}))

    assert (member, "invalid_type") == (param, code)
    listed = reason.partition("expected ")[2].partition(", but got")[0]
    assert wanted == set(listed.split(" or "))


RESPONSE_REQUESTS: Final = [
    ({"input": 3}, wrong("input", "a string or an array", "an integer")),
    ({"input": ["x"]}, wrong("input[0]", "an object", "a string")),
    ({"input": [{"role": "pirate"}]}, not_among("input[0].role", "'user', 'assistant', 'system' or 'developer'")),
    ({"messages": [{"role": "user"}]}, missing("messages[0].content")),
    ({"tools": [{}]}, missing("tools[0].type")),
    ({"tool_choice": "always"}, not_among("tool_choice", "'none', 'auto' or 'required'")),
    ({"conversation": {}}, missing("conversation.id")),
    ({"text": {"format": {"type": "xml"}}}, not_among("text.format.type", "'text', 'json_schema' or 'json_object'")),
    ({"max_output_tokens": 1}, bound("max_output_tokens", "integer_below_min_value", "expected a value >= 16.")),
]


@confirms("ADR-0007.R1", "ADR-0007.R2")
@pytest.mark.parametrize(("members", "expected"), RESPONSE_REQUESTS)
def test_a_response_request_is_told_what_is_wrong(members: Mapping[str, object], expected: Told) -> None:
    """The first error of a Responses request is named in the same way."""
    assert at("", expected) == told(RESPONSES, {"model": "m", **members})


def examples_of(path: str) -> Sequence[Any]:
    """Return the example requests of the operation at *path*."""
    document = effective()
    name = document["paths"][path]["post"]["requestBody"]["$ref"].rsplit("/", 1)[1]
    stated = document["components"]["requestBodies"][name]["content"]["application/json"]["examples"]
    return [document["components"]["examples"][example]["value"] for example in stated]


@confirms("ADR-0012.R2")
@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES)])
def test_every_example_request_is_valid(path: str, body: Body) -> None:
    """The example requests of the contract have no problem."""
    assert [] == [example for example in examples_of(path) if body.schema.problem(example) is not None]


Steps = tuple[str | int, ...]


def places(node: object, at: Steps = ()) -> Iterator[Steps]:
    """Yield the way to every value in *node*, itself included."""
    yield at
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*at, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*at, index))


def planted(document: Any, at: Steps, value: object, key: str | None) -> Any:  # noqa: ANN401 - JSON values
    """Return a copy of *document* with *value* in place of what is at *at*, or below it under *key*."""
    if not at:
        if key is not None and isinstance(document, dict):
            return {**document, key: value}
        return value
    copy = deepcopy(document)
    parent = copy
    for step in at[:-1]:
        parent = parent[step]
    parent[at[-1]] = planted(parent[at[-1]], (), value, key)
    return copy


PLACES: Final = [
    (body, example, at)
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES))
    for example in examples_of(path)
    for at in places(example)
]
"""Every value in every example request."""

CANARY: Final = "4815162342"
"""No number of the contract, and no text of ours, holds these digits."""


@st.composite
def canaries(draw: st.DrawFn) -> str:
    """Draw a text that holds the canary, sometimes only digits, sometimes with what `str.format` reads."""
    return (
        draw(st.sampled_from(["", "x", "{place}", "{0.__class__}", "'", "a.b[0]"])) + CANARY + draw(st.text(max_size=3))
    )


@st.composite
def refused_bodies(draw: st.DrawFn) -> tuple[Body, Any]:
    """Draw an example request with a canary as a value, or as a key, somewhere."""
    body, example, at = draw(st.sampled_from(PLACES))
    canary = draw(canaries())
    value: object = draw(
        st.sampled_from([canary, int(CANARY), -float(CANARY), [canary], {canary: canary}, {"type": canary}, None, [{}]])
    )
    key = draw(st.sampled_from([None, canary]))
    return body, planted(example, at, value, key)


@confirms("ADR-0004.R6")
@settings(max_examples=1000)
@given(refused_bodies())
def test_no_sentence_repeats_what_the_caller_sent(drawn: tuple[Body, Any]) -> None:
    """Whatever is planted as a value or as a key of a request never stands in what is told of it."""
    body, document = drawn

    problem = body.schema.problem(document) or Problem(param="", code="", reason="")

    assert CANARY not in f"{problem.param} {problem.code} {problem.reason}"


def test_the_planted_canaries_are_refused() -> None:
    """Most values of the examples cannot be replaced by a canary: the property above has something to look at."""
    refused = [body.schema.problem(planted(example, at, [CANARY], None)) for body, example, at in PLACES]

    assert len([problem for problem in refused if problem is not None]) > len(PLACES) * 3 // 4


JSON_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON_VALUES)
def test_any_json_is_explained(document: object) -> None:
    """No JSON value breaks the explanation: it has a sentence, or nothing is wrong."""
    for body in (CHAT, RESPONSES):
        problem = body.schema.problem(document)
        assert problem is None or problem.reason.endswith(".")
