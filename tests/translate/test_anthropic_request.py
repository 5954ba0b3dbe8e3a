"""Chat requests for the Messages API, case by case, and by law for any request."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import pytest
from chunk_laws import form_errors, schemas
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st
from messages_api import broken_request_laws

from dragoman.translate.anthropic import DEFAULT_MAX_TOKENS, messages_request
from dragoman.translate.grammar import UntranslatableError

Document = dict[str, Any]

USER: Final = {"role": "user", "content": "Hello"}
HELLO: Final[Document] = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
TRANSLATED: Final = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
BARE: Final = {"type": "function", "function": {"name": "now"}}
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}


def asked(*messages: Mapping[str, Any], sampling: bool = False, **members: Any) -> Document:  # noqa: ANN401 - members of a request
    """Return the request for a chat request of these *messages* and members, which the contract accepts."""
    document = {"model": "general", "messages": [*messages] or [USER], **members}
    assert [] == [error for error in form_errors(document, "ChatCompletionRequest") if "undeclared" not in error]
    request = messages_request(document, model="upstream-model", stream=False, sampling=sampling)
    assert [] == broken_request_laws(request)
    return request


def refused(*messages: Mapping[str, Any], **members: Any) -> tuple[str, str]:  # noqa: ANN401 - members of a request
    """Return param and code with which a request is refused."""
    with pytest.raises(UntranslatableError) as caught:
        asked(*messages, **members)
    return caught.value.param, caught.value.code


def turns(*messages: Mapping[str, Any]) -> list[Document]:
    """Return the turns of the request for *messages*."""
    said: list[Document] = asked(*messages)["messages"]
    return said


def call(id_: str = "call_1", arguments: str = "{}", name: str = "get_weather") -> Document:
    """Return a tool call."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


@confirms("ADR-0036.R12")
def test_a_request_has_what_the_messages_api_insists_on() -> None:
    """Model, turns, a limit; and `stream` if a stream is wanted."""
    document = {"model": "general", "messages": [USER], "stream": True, "stream_options": {"include_usage": True}}
    whole = {"model": "upstream-model", "messages": [HELLO], "max_tokens": DEFAULT_MAX_TOKENS}

    assert whole == messages_request(document, model="upstream-model", stream=False)
    assert whole | {"stream": True} == messages_request(document, model="upstream-model", stream=True)


@pytest.mark.parametrize(
    ("members", "limit"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 8, "max_tokens": 7}, 8),
        ({"max_completion_tokens": None, "max_tokens": None}, 4096),
    ],
)
def test_the_limit_is_the_one_that_was_stated(members: Document, limit: int) -> None:
    """By its new name or the older one."""
    assert limit == asked(**members)["max_tokens"]


def test_instructions_become_the_system_prompt() -> None:
    """Wherever they stand, in their order, texts and parts alike."""
    request = asked(
        {"role": "system", "content": "One."},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "Two."}, {"type": "text", "text": "Three."}]},
        {"role": "system", "content": " "},
        {"role": "user", "content": "Hello"},
    )

    assert [{"type": "text", "text": text} for text in ("One.", "Two.", "Three.")] == request["system"]
    assert [{"role": "user", "content": HELLO["content"] * 2}] == request["messages"]


def test_instructions_alone_are_what_the_user_says() -> None:
    """OpenAI answers them, and the Messages API wants a turn of the user."""
    request = asked({"role": "developer", "content": "Hello"})

    assert [HELLO] == request["messages"]
    assert "system" not in request


@pytest.mark.parametrize("content", ["", " \n", [{"type": "text", "text": ""}]])
def test_a_request_that_says_nothing_is_refused(content: object) -> None:
    """Nobody could answer it."""
    assert ("messages", "unsupported_value") == refused({"role": "user", "content": content})


def test_messages_of_one_side_are_one_turn() -> None:
    """Turns alternate, and texts that nobody sees are left out."""
    assert [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        {"role": "user", "content": [{"type": "text", "text": "e"}]},
    ] == turns(
        {"role": "user", "content": "a", "name": "ann"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}]},
        {"role": "assistant", "content": None, "refusal": "d"},
        {"role": "user", "content": [{"type": "text", "text": "e"}, {"type": "text", "text": ""}]},
    )


def test_an_answer_that_is_to_be_gone_on_with_ends_in_no_white_space() -> None:
    """Only the last one is: the others stay as they are."""
    said = turns(
        {"role": "assistant", "content": "a \n"},
        USER,
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "b "}]},
    )

    assert ["a \n", "Hello", "b"] == [turn["content"][0]["text"] for turn in said]


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://images.example/a.png", {"type": "url", "url": "https://images.example/a.png"}),
        ("HTTP://images.example/a,b", {"type": "url", "url": "HTTP://images.example/a,b"}),
        ("data:image/png;base64,AAAA", {"type": "base64", "media_type": "image/png", "data": "AAAA"}),
        ("DATA:Image/JPEG;q=1;BASE64,AA,A", {"type": "base64", "media_type": "image/jpeg", "data": "AA,A"}),
    ],
)
def test_images_are_sent_by_address_or_embedded(url: str, source: Document) -> None:
    """In their place between the texts."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url, "detail": "high"}}]

    assert [
        {"type": "text", "text": "a"},
        {"type": "image", "source": source},
    ] == turns({"role": "user", "content": parts})[0]["content"]


def test_a_pdf_is_a_document() -> None:
    """With its name, if it has one."""
    data = "data:application/pdf;base64,AAAA"
    parts = [
        {"type": "file", "file": {"file_data": data, "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": data}},
    ]
    source = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}

    assert [
        {"type": "document", "source": source, "title": "a.pdf"},
        {"type": "document", "source": source},
    ] == turns({"role": "user", "content": parts})[0]["content"]


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": ""}}, ".image_url.url"),
        ({"type": "file", "file": {"file_id": "file-1"}}, ".file"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA"}}, ".file"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, ".type"),
    ],
)
@confirms("ADR-0036.R12")
def test_a_part_without_an_equal_is_refused_by_its_place(part: Document, place: str) -> None:
    """What the model was to see is never left out in silence."""
    content = [{"type": "text", "text": "a"}, part]

    assert (f"messages[1].content[1]{place}", "unsupported_value") == refused(
        USER, {"role": "user", "content": content}
    )


def test_calls_and_their_results_are_blocks() -> None:
    """Results that follow each other are one turn, to which the user's next words belong."""
    assert [
        HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "Rain"}]},
                {"type": "tool_result", "tool_use_id": "call_2"},
                {"type": "text", "text": "Hello"},
            ],
        },
    ] == turns(
        USER,
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [call(arguments='{"city": "Oslo"}'), call("call_2", "", "now")],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Rain"}]},
        {"role": "tool", "tool_call_id": "call_2", "content": ""},
        USER,
    )


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (" ", {}),
        ('{"a": ', {"arguments": '{"a": '}),
        ("[1]", {"arguments": "[1]"}),
        ("null", {"arguments": "null"}),
        ('{"a": "' + "[" * 300 + '"}', {"a": "[" * 300}),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", {"arguments": '{"a": ' + "[" * 300 + "]" * 300 + "}"}),
        ("[" * 100_000, {"arguments": "[" * 100_000}),
    ],
    ids=["object", "empty", "blank", "cut", "array", "null", "brackets in a text", "deep", "deeper"],
)
def test_arguments_are_sent_back_as_an_object(arguments: str, read: Document) -> None:
    """Or in one, if a model has written something else: a history is sent back as it is."""
    request = asked(USER, {"role": "assistant", "tool_calls": [call(arguments=arguments)]})

    assert read == request["messages"][1]["content"][0]["input"]
    assert orjson.dumps(request)


@pytest.mark.parametrize(
    ("id_", "own"), [("call_A-1", "call_A-1"), ("functions.f:0", "functions_f_0"), ("", "_"), ("é", "_")]
)
def test_ids_of_other_upstreams_are_made_to_fit(id_: str, own: str) -> None:
    """In calls and results alike, so that they still belong together."""
    said = turns(
        USER, {"role": "assistant", "tool_calls": [call(id_)]}, {"role": "tool", "tool_call_id": id_, "content": "x"}
    )

    assert [own, own] == [said[1]["content"][0]["id"], said[2]["content"][0]["tool_use_id"]]


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({"role": "function", "name": "f", "content": "x"}, ".role", "unsupported_value"),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
            ".function_call",
            "unsupported_parameter",
        ),
        ({"role": "assistant", "audio": {"id": "a"}}, ".audio", "unsupported_parameter"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
            ".tool_calls[0].type",
            "unsupported_value",
        ),
    ],
)
@confirms("ADR-0036.R12")
def test_a_message_without_an_equal_is_refused_by_its_place(message: Document, param: str, code: str) -> None:
    """The older function calls, custom tools and earlier recordings have none."""
    assert (f"messages[1]{param}", code) == refused(USER, message)


def test_tools_are_translated() -> None:
    """A schema is an object's, also where none was stated."""
    request = asked(tools=[WEATHER, BARE])

    assert [TRANSLATED, {"name": "now", "input_schema": {"type": "object"}}] == request["tools"]
    assert "tool_choice" not in request


@pytest.mark.parametrize(
    ("members", "choice"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "now"}}, "parallel_tool_calls": True},
            {"type": "tool", "name": "now"},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_the_choice_of_tools_is_translated(members: Document, choice: Document) -> None:
    """Whether tools are called, which, and whether several at once."""
    assert choice == asked(tools=[WEATHER, BARE], **members)["tool_choice"]


@pytest.mark.parametrize(
    "named", [{"type": "function", "function": {"name": "now"}}, {"type": "function", "name": "now"}]
)
def test_of_allowed_tools_the_others_are_left_out(named: Document) -> None:
    """However they are named."""
    allowed = {"mode": "required", "tools": [named, {"type": "function", "function": 7}, {"name": 7}]}
    request = asked(tools=[WEATHER, BARE], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})

    assert (["now"], {"type": "any"}) == ([tool["name"] for tool in request["tools"]], request["tool_choice"])


def test_a_choice_without_tools_is_left_out() -> None:
    """There is nothing to choose."""
    assert {"model", "messages", "max_tokens"} == asked(tool_choice="auto", parallel_tool_calls=False).keys()


def test_tools_of_the_past_are_defined_and_not_called() -> None:
    """A history with calls may come without the tools, which the Messages API insists on."""
    request = asked(USER, {"role": "assistant", "tool_calls": [call(), call("b"), call("c", name="now")]}, USER)

    assert [{"name": name, "input_schema": {"type": "object"}} for name in ("get_weather", "now")] == request["tools"]
    assert {"type": "none"} == request["tool_choice"]


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"n": 2}, "n", "unsupported_value"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_value"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio", "unsupported_parameter"),
        ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
        ({"function_call": "auto"}, "function_call", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
        ({"tools": [WEATHER, {"type": "custom", "custom": {"name": "f"}}]}, "tools[1].type", "unsupported_value"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
            "tool_choice",
            "unsupported_value",
        ),
        (
            {
                "tools": [WEATHER],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            },
            "tool_choice",
            "unsupported_value",
        ),
    ],
)
@confirms("ADR-0036.R12")
def test_what_asks_for_another_kind_of_answer_is_refused_by_name(members: Document, param: str, code: str) -> None:
    """It is never left out in silence."""
    assert (param, code) == refused(**members)


def test_what_asks_for_nothing_is_not_refused() -> None:
    """Null, false and one answer are what everybody gets."""
    nothing: Document = {"n": None, "logprobs": False, "modalities": ["text"], "audio": None, "tool_choice": "auto"}

    assert {"model", "messages", "max_tokens"} == asked(**nothing).keys()
    assert {"model", "messages", "max_tokens"} == asked(n=1, modalities=None, logprobs=None, stop=None).keys()


def test_what_only_tunes_is_left_out() -> None:
    """The answer is of the same kind without it."""
    tuned: Document = {
        "frequency_penalty": 1,
        "presence_penalty": 1,
        "logit_bias": {"1": 1},
        "seed": 1,
        "top_logprobs": None,
        "reasoning_effort": "high",
        "verbosity": "low",
        "service_tier": "flex",
        "store": True,
        "metadata": {"a": "b"},
        "prompt_cache_key": "a",
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 5,
        "user": "",
    }

    assert {"model", "messages", "max_tokens"} == asked(**tuned).keys()


@pytest.mark.parametrize(
    ("members", "chosen"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 1.7, "top_p": 0.5}, {"temperature": 1}),
        ({"temperature": None, "top_p": 0.5}, {"top_p": 0.5}),
        ({}, {}),
    ],
)
def test_sampling_is_passed_on_where_it_is_taken(members: Document, chosen: Document) -> None:
    """A temperature is held to what there is, and stands alone."""
    request = asked(sampling=True, **members)

    assert chosen == {name: value for name, value in request.items() if name in {"temperature", "top_p"}}


@pytest.mark.parametrize(
    ("stop", "sequences"), [("END", ["END"]), (["a", "b"], ["a", "b"]), (["a", "\n"], ["a"]), ("\n", None), ("", None)]
)
def test_stops_are_sequences(stop: object, sequences: list[str] | None) -> None:
    """Those without a visible character are refused there, and left out."""
    assert sequences == asked(stop=stop).get("stop_sequences")


@pytest.mark.parametrize(
    ("members", "metadata"),
    [
        ({"user": "u"}, {"user_id": "u"}),
        ({"user": "u", "safety_identifier": "s"}, {"user_id": "s"}),
        ({"user": "u" * 257}, None),
    ],
)
def test_the_end_user_is_named(members: Document, metadata: Document | None) -> None:
    """If the name is not too long."""
    assert metadata == asked(**members).get("metadata")


@confirms("ADR-0036.R13")
def test_json_that_must_fit_a_schema_is_the_upstream_s_business() -> None:
    """Only it can hold the model to it."""
    asked_for = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
    request = asked(response_format=asked_for)

    assert {"format": {"type": "json_schema", "schema": SCHEMA}} == request["output_config"]
    assert "system" not in request


@confirms("ADR-0036.R13")
@pytest.mark.parametrize(
    ("asked_for", "ending"),
    [
        ({"type": "json_object"}, "no code fence."),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "no code fence."),
        ({"type": "json_schema", "json_schema": {"name": "a", "strict": True}}, "no code fence."),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}, ': {"type":"object"}'),
    ],
)
def test_json_that_should_fit_is_asked_for(asked_for: Document, ending: str) -> None:
    """In the system prompt, behind what stands there."""
    request = asked({"role": "system", "content": "One."}, USER, response_format=asked_for)

    assert "One." == request["system"][0]["text"]
    assert request["system"][1]["text"].endswith(ending)
    assert "output_config" not in request


def test_text_is_not_asked_for() -> None:
    """Everybody gets it."""
    assert "system" not in asked(response_format={"type": "text"})


def test_a_schema_that_is_too_deep_to_be_written_is_refused() -> None:
    """By name, and before anything is sent."""
    schema: Document = {}
    for _ in range(300):
        schema = {"not": schema}
    document = {
        "messages": [USER],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }

    with pytest.raises(UntranslatableError) as caught:
        messages_request(document, model="m", stream=False)
    assert "response_format" == caught.value.param


TEXT: Final = st.sampled_from(["", " ", "a", "b\n", "🐢 \u2028"])
PARTS: Final = st.sampled_from(
    [
        {"type": "text", "text": "a"},
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": "https://a.example/"}},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,AA=="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}},
    ]
)
CALLS: Final = st.builds(
    call, st.sampled_from(["a", "b.c", ""]), st.sampled_from(["{}", "", "x", '{"a":[1]}']), st.sampled_from(["f", "g"])
)
MESSAGES: Final = st.one_of(
    st.builds(lambda content: {"role": "system", "content": content}, TEXT),
    st.builds(lambda content: {"role": "user", "content": content}, TEXT | st.lists(PARTS, min_size=1, max_size=3)),
    st.builds(lambda content: {"role": "assistant", "content": content}, TEXT | st.none()),
    st.builds(lambda calls: {"role": "assistant", "tool_calls": calls}, st.lists(CALLS, min_size=1, max_size=3)),
    st.builds(lambda text: {"role": "tool", "tool_call_id": "b.c", "content": text}, TEXT),
    st.just({"role": "function", "name": "f", "content": None}),
)
MEMBERS: Final[Mapping[str, st.SearchStrategy[object]]] = {
    "max_tokens": st.none() | st.integers(1, 99),
    "n": st.sampled_from([None, 1, 2]),
    "stop": st.none() | TEXT | st.lists(TEXT, min_size=1, max_size=4),
    "temperature": st.none() | st.floats(0, 2),
    "top_p": st.none() | st.floats(0, 1),
    "user": st.text(max_size=300),
    "tools": st.lists(st.sampled_from([WEATHER, BARE]), min_size=1, max_size=2),
    "tool_choice": st.sampled_from(
        [
            "auto",
            "none",
            "required",
            {"type": "function", "function": {"name": "now"}},
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [BARE, {}]}},
        ]
    ),
    "parallel_tool_calls": st.booleans(),
    "response_format": st.sampled_from(
        [
            {"type": "text"},
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}},
            {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": None}},
        ]
    ),
}


@confirms("ADR-0036.R12")
@given(
    st.lists(MESSAGES, min_size=1, max_size=6),
    st.fixed_dictionaries({}, optional=dict(MEMBERS)),
    st.booleans(),
)
def test_every_request_is_translated_or_refused_by_name(
    messages: Sequence[Document],
    members: Document,
    sampling: bool,  # noqa: FBT001 - drawn
) -> None:
    """What the contract accepts becomes a request that the Messages API accepts, or names what does not."""
    try:
        request = asked(*messages, sampling=sampling, **members)
    except UntranslatableError as error:
        place = error.param.partition("[")[0].partition(".")[0]
        assert place in schemas()["ChatCompletionRequest"]["properties"]
        return
    assert orjson.dumps(request)


def test_the_document_of_the_caller_stays_as_it_was() -> None:
    """It may be sent to another upstream afterwards."""
    document = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": [{"type": "text", "text": "c "}]},
        ],
        "tools": [WEATHER, BARE],
        "parallel_tool_calls": False,
    }
    before = orjson.dumps(document)

    messages_request(document, model="m", stream=True)

    assert before == orjson.dumps(document)
