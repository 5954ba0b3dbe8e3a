"""The provider `echo`: deterministic, the same whole and streamed, and ready for whatever the contract takes."""

import asyncio
import base64
import math
import struct
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
import orjson
import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.upstream.echo import DIMENSIONS, MOST_CHARACTERS, MOST_TOKENS, EchoUpstream, words
from dragoman.adapters.upstream.minimal import minimal
from dragoman.contract import compile_contract
from dragoman.ports import Fault
from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import assemble, completion
from engines import LONG, fault
from fakes import effective

Document = Mapping[str, Any]

BODY: Final = next(
    operation.body for operation in compile_contract(effective()).operations if operation.path == "/v1/chat/completions"
)
HELLO: Final = {"role": "user", "content": "hello"}


async def whole(document: Document) -> Document:
    """Return the whole answer to *document*."""
    return await EchoUpstream().chat(document, model="m", timeouts=LONG)


async def streamed(document: Document) -> list[Document]:
    """Return the chunks of the answer to *document*."""
    opened = await EchoUpstream().chat_stream(document, model="m", timeouts=LONG)
    came = [one async for batch in opened for one in batch]
    await opened.aclose()
    return came


async def both(document: Document) -> tuple[Document, Document, list[Document]]:
    """Return the whole answer to *document*, once and again, and its chunks."""
    return await whole(document), await whole(document), await streamed(document)


def answer(*messages: Document, **more: Any) -> Document:  # noqa: ANN401 - members of a request
    """Return the whole answer to *messages*, which is the same as the streamed one, and fits the contract."""
    document = {"model": "general", "messages": list(messages or [HELLO]), **more}
    assert BODY is not None
    assert BODY.schema.problem(document) is None, document
    made, again, chunks = asyncio.run(both(document))
    assert made == again
    stream = ChatStream(id="chatcmpl-own", created=1, model="general", include_usage=True)
    sent = [chunk for one in chunks if (chunk := stream.feed(one)) is not None]
    end = stream.end()
    assert end is not None
    assert completion(made, id="chatcmpl-own", created=1, model="general").document == assemble([*sent, end])
    return made


def said(*messages: Document, **more: Any) -> tuple[str | None, str]:  # noqa: ANN401 - members of a request
    """Return content and finish reason of the first choice."""
    choice = answer(*messages, **more)["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def user(content: Any) -> Document:  # noqa: ANN401 - a text, or parts
    """Return a message of a user."""
    return {"role": "user", "content": content}


# --- What it says -----------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R17")
def test_it_says_what_the_user_said_last() -> None:
    """The last text of a user is echoed, parts joined; where no user said one, the last text that there is."""
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/"}}

    assert ("hello", "stop") == said()
    assert ("there é", "stop") == said(HELLO, user("there é"), {"role": "assistant", "content": "hm"})
    assert ("a b", "stop") == said(user([{"type": "text", "text": "a"}, picture, {"type": "text", "text": "b"}]))
    assert ("be kind", "stop") == said({"role": "system", "content": "be kind"}, user([picture]))
    assert ("", "stop") == said(user([picture]), {"role": "assistant", "content": None})


@confirms("ADR-0038.R17")
def test_it_streams_word_by_word() -> None:
    """Each token is a chunk, between the one that says who speaks and the one that ends; usage comes last."""
    chunks = asyncio.run(streamed({"messages": [user("one two\nthree ")]}))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]

    assert [{"role": "assistant"}, *({"content": text} for text in ("one", " two", "\nthree", " ")), {}] == deltas
    assert ([], 4) == (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"])


@confirms("ADR-0038.R17")
def test_it_counts_words() -> None:
    """A token is a word, and a part that is no text is one; every choice counts."""
    part = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    made = answer({"role": "system", "content": "be kind"}, user([{"type": "text", "text": "a b c"}, part]), n=3)

    assert (6, 9, 15) == tuple(made["usage"][f"{name}_tokens"] for name in ("prompt", "completion", "total"))
    assert [0, 1, 2] == [choice["index"] for choice in made["choices"]]


@confirms("ADR-0038.R17")
def test_it_stops_where_it_is_told() -> None:
    """Limits count tokens and end with `length`; stops end before they are said."""
    text = user("one two three four")

    assert ("one two", "length") == said(text, max_tokens=2)
    assert ("one two three", "length") == said(text, max_tokens=1, max_completion_tokens=3)
    assert ("one two three four", "stop") == said(text, max_completion_tokens=4)
    assert ("one ", "stop") == said(text, stop=["three", "two"])
    assert ("one two ", "stop") == said(text, stop="three")
    assert ("one two three four", "stop") == said(text, stop="")


def test_it_has_an_end() -> None:
    """However long the text and however many the answers, what it says is bounded."""
    content, finish = said(user("a " * 100_000))
    word, _ = said(user("a" * 1_000_000))

    assert (MOST_TOKENS, "length") == (len(words(content or "")), finish)
    assert MOST_CHARACTERS == len(word or "")


@given(st.text())
def test_words_are_the_text(text: str) -> None:
    """Joined, the tokens are the text again."""
    assert text == "".join(words(text))


# --- Forms ------------------------------------------------------------------------------------------------------------

WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
    },
}
FREE: Final = {"type": "custom", "custom": {"name": "free"}}
TOOLS: Final = [FREE, WEATHER]
CALLS: Final[Mapping[str, tuple[Document, Document | None]]] = {
    "auto": ({"tools": TOOLS, "tool_choice": "auto"}, None),
    "none": ({"tools": TOOLS, "tool_choice": "none"}, None),
    "unsaid": ({"tools": TOOLS}, None),
    "required-without": ({"tool_choice": "required"}, None),
    "required": ({"tools": TOOLS, "tool_choice": "required"}, {"name": "free", "input": "hello"}),
    "named": ({"tools": TOOLS, "tool_choice": WEATHER}, {"name": "weather", "arguments": '{"city":""}'}),
    "unknown": (
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"name": "other", "arguments": "{}"},
    ),
    "custom": ({"tools": TOOLS, "tool_choice": FREE}, {"name": "free", "input": "hello"}),
    "allowed": (
        {
            "tools": TOOLS,
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [WEATHER]}},
        },
        {"name": "weather", "arguments": '{"city":""}'},
    ),
    "allowed-only": (
        {
            "tools": TOOLS,
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [WEATHER]}},
        },
        None,
    ),
    "allowed-odd": (
        {
            "tools": TOOLS,
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{}]}},
        },
        None,
    ),
}


@confirms("ADR-0038.R17")
@pytest.mark.parametrize(("more", "call"), CALLS.values(), ids=CALLS)
def test_it_calls_a_tool_that_must_be_called(more: Document, call: Document | None) -> None:
    """A tool that is required is called, with arguments that fit; one that may be called is not."""
    choice = answer(**more)["choices"][0]
    calls = choice["message"].get("tool_calls", [])

    assert ([] if call is None else [call]) == [one[one["type"]] for one in calls]
    assert ("stop" if call is None else "tool_calls") == choice["finish_reason"]


def test_it_calls_the_older_function() -> None:
    """A function that is named in `function_call` is called in the older form."""
    functions = [{"name": "a"}, {"name": "b", "parameters": {"required": ["x"], "properties": {"x": {"const": 7}}}}]
    choice = answer(functions=functions, function_call={"name": "b"})["choices"][0]

    assert {"name": "b", "arguments": '{"x":7}'} == choice["message"]["function_call"]
    assert "function_call" == choice["finish_reason"]
    assert ("hello", "stop") == said(functions=functions, function_call="auto")


@confirms("ADR-0038.R17")
def test_it_answers_with_json_where_json_is_asked_for() -> None:
    """A JSON object holds the echo; a schema gets the least that fits it."""
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 3}}}

    assert ('{"echo":"hello"}', "stop") == said(response_format={"type": "json_object"})
    assert ('{"n":3}', "stop") == said(
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    )
    assert ("{}", "stop") == said(response_format={"type": "json_schema", "json_schema": {"name": "a"}})
    assert ("hello", "stop") == said(response_format={"type": "text"})


# --- The least that fits ----------------------------------------------------------------------------------------------

SCHEMAS: Final[list[Any]] = [
    True,
    {},
    {"type": "object"},
    {"type": "array", "minItems": 3, "items": {"type": "boolean"}},
    {"type": "array", "minItems": 3},
    {"prefixItems": [{"const": 1}, {"type": "null"}], "minItems": 3, "items": {"type": "string"}},
    {"type": "string", "minLength": 5},
    {"type": "string", "format": "date", "minLength": 4},
    {"type": "string", "format": "unheard-of"},
    {"type": ["integer", "null"]},
    {"type": ["integer", "string"]},
    {"type": "integer", "minimum": 1.5},
    {"type": "integer", "exclusiveMinimum": 1},
    {"type": "integer", "maximum": -2},
    {"type": "integer", "exclusiveMaximum": -2},
    {"type": "integer", "exclusiveMaximum": 0, "minimum": -1},
    {"type": "number", "minimum": 10, "multipleOf": 7},
    {"type": "number", "maximum": -10, "multipleOf": 7},
    {"type": "number", "exclusiveMinimum": 14, "multipleOf": 7},
    {"type": "number", "exclusiveMinimum": 0, "minimum": 5},
    {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.25},
    {"enum": ["a", "b"]},
    {"const": {"a": [1]}},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {"oneOf": [{"type": "integer", "minimum": 4}]},
    {"allOf": [{"required": ["a"], "properties": {"a": {"const": 1}}}, {"required": ["b"]}], "type": "object"},
    {"allOf": [{"$ref": "#/$defs/a"}, {"required": ["b"]}], "$defs": {"a": {"type": "object", "required": ["a"]}}},
    {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}},
    {
        "$defs": {
            "node": {
                "type": "object",
                "required": ["v", "next"],
                "properties": {
                    "v": {"type": "number"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
            }
        },
        "$ref": "#/$defs/node",
    },
    {"required": ["a", "b"], "properties": {"b": {"items": {}, "minItems": 1}}},
]


@confirms("ADR-0038.R17")
@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_the_least_value_fits_its_schema(schema: Any) -> None:  # noqa: ANN401 - any JSON value
    """For what is usual in schemas of tools and answers, the value is valid, by a judge of its own."""
    assert jsonschema_rs.is_valid(schema, minimal(schema))


KEYWORDS: Final = """
    type properties required items prefixItems minItems minLength minimum maximum multipleOf exclusiveMinimum
    exclusiveMaximum enum const anyOf allOf oneOf $ref format $defs
"""
WORDS: Final = st.sampled_from(KEYWORDS.split())
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["object", "array", "string", "integer", "number", "null", "#", "#/properties/required", "#/allOf"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_any_schema_has_a_value(schema: Any) -> None:  # noqa: ANN401 - any JSON value
    """Whatever a caller calls a schema, a JSON value comes out."""
    orjson.dumps(minimal(schema))


def test_circles_end() -> None:
    """References that lead in circles, and branch, end soon."""
    loop = {"type": "object", "required": list("abc"), "properties": {name: {"$ref": "#"} for name in "abc"}}
    endless = {"type": "array", "minItems": 10**9, "items": {"$ref": "#"}}

    assert len(orjson.dumps(minimal(loop))) < 100_000
    assert len(orjson.dumps(minimal(endless))) < 100_000
    assert minimal({"$ref": "#"}) is None


# --- Whatever the contract takes --------------------------------------------------------------------------------------

TEXTS: Final = st.text(max_size=30)
PARTS: Final = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
    | st.just({"type": "image_url", "image_url": {"url": "data:,"}})
    | st.just({"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}})
    | st.just({"type": "file", "file": {}}),
    min_size=1,
    max_size=3,
)
NAMES: Final = st.sampled_from(["a", "b"])
CALL: Final = {"id": "1", "type": "function", "function": {"name": "a", "arguments": "{"}}
MESSAGES: Final = st.lists(
    st.one_of(
        st.builds(lambda text, role: {"role": role, "content": text}, TEXTS, st.sampled_from(["system", "developer"])),
        st.builds(lambda content: {"role": "user", "content": content}, TEXTS | PARTS),
        st.builds(lambda content: {"role": "assistant", "content": content}, st.none() | TEXTS),
        st.just({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
        st.just({"role": "assistant", "tool_calls": [CALL]}),
        st.just({"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "t"}]}),
        st.just({"role": "function", "name": "a", "content": None}),
    ),
    min_size=1,
    max_size=4,
)
MEMBERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "n": st.none() | st.integers(1, 3),
        "stop": st.none() | TEXTS | st.lists(TEXTS, min_size=1, max_size=4),
        "max_tokens": st.none() | st.integers(1, 5),
        "max_completion_tokens": st.none() | st.integers(1, 5),
        "response_format": st.just({"type": "json_object"})
        | st.builds(
            lambda schema: {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
            st.dictionaries(WORDS, VALUES, max_size=4),
        ),
        "tools": st.lists(
            st.builds(lambda name: {"type": "custom", "custom": {"name": name}}, NAMES)
            | st.builds(
                lambda name, schema: {"type": "function", "function": {"name": name, "parameters": schema}},
                NAMES,
                st.dictionaries(WORDS, VALUES, max_size=4),
            ),
            min_size=1,
            max_size=3,
        ),
        "tool_choice": st.sampled_from(["none", "auto", "required"])
        | st.builds(lambda name: {"type": "function", "function": {"name": name}}, NAMES)
        | st.builds(lambda name: {"type": "custom", "custom": {"name": name}}, NAMES),
        "function_call": st.just("none") | st.builds(lambda name: {"name": name}, NAMES),
        "stream_options": st.just({"include_usage": False}),
    },
)


@confirms("ADR-0038.R17")
def test_what_is_an_integer_to_a_schema_is_one() -> None:
    """2.0 choices of at most 1.0 tokens are two of one word each."""
    told = answer({"role": "user", "content": "hello there"}, n=2.0, max_tokens=1.0)

    assert ["hello", "hello"] == [choice["message"]["content"] for choice in told["choices"]]


@confirms("ADR-0038.R17")
def test_a_tool_without_a_name_is_not_called() -> None:
    """The contract takes an empty name of a custom tool; what has none cannot be called, so that the text is echoed."""
    told = answer({"role": "user", "content": "hello"}, tool_choice={"type": "custom", "custom": {"name": ""}})

    assert "hello" == told["choices"][0]["message"]["content"]


@confirms("ADR-0038.R17")
@given(MESSAGES, MEMBERS)
def test_it_takes_whatever_the_contract_takes(messages: list[Document], more: Document) -> None:
    """Every request that fits the contract has an answer that fits it too, the same whole, streamed, and once more."""
    assert answer(*messages, **more)["choices"]


# --- Embeddings -------------------------------------------------------------------------------------------------------


def vectors(**members: Any) -> Document:  # noqa: ANN401 - members of a request
    """Return the embeddings that are asked for."""
    return asyncio.run(EchoUpstream().embed(members, model="m", timeouts=LONG))


@confirms("ADR-0038.R17")
@pytest.mark.parametrize(
    ("stated", "count", "tokens"),
    [("one two", 1, 2), (["a", "b c"], 2, 3), ([1, 2, 3], 1, 3), ([[1], [2, 3]], 2, 3), ("", 1, 0), ([], 0, 0)],
)
def test_embeddings_are_unit_vectors(stated: Any, count: int, tokens: int) -> None:  # noqa: ANN401 - as it may be
    """Each input has a vector of length one, the same at every time, and another one than others have."""
    made = vectors(input=stated)
    found = [one["embedding"] for one in made["data"]]

    assert made == vectors(input=stated)
    assert (count, tokens) == (len({tuple(one) for one in found}), made["usage"]["total_tokens"])
    assert all(len(one) == DIMENSIONS and math.isclose(1.0, math.hypot(*one)) for one in found)
    assert list(range(count)) == [one["index"] for one in made["data"]]


@confirms("ADR-0038.R17")
def test_embeddings_have_the_form_that_is_asked_for() -> None:
    """Dimensions are as said; base64 holds the same numbers in 32 bits."""
    [plain] = vectors(input="a", dimensions=3)["data"]
    [packed] = vectors(input="a", dimensions=3, encoding_format="base64")["data"]
    numbers = struct.unpack("<3f", base64.b64decode(packed["embedding"]))

    assert [pytest.approx(number, abs=1e-6) for number in plain["embedding"]] == list(numbers)
    for stated in ("a", ["a"] * 2048):
        asked: dict[str, Any] = {"input": stated, "dimensions": 65_537 if stated == "a" else 65_536}
        rejected = asyncio.run(fault(EchoUpstream().embed(asked, model="m", timeouts=LONG)))

        assert Fault.REJECTED is rejected.fault


@confirms("ADR-0038.R17")
def test_embeddings_take_the_numbers_of_the_contract() -> None:
    """As many dimensions as the contract has, and numbers that are integers to it: 3.0 is 3."""
    [large] = vectors(input="a", dimensions=65_536)["data"]
    [tokens] = vectors(input=[1.0, 2], dimensions=3.0)["data"]

    assert (65_536, 3) == (len(large["embedding"]), len(tokens["embedding"]))
