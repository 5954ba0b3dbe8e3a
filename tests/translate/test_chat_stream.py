"""What becomes of the chunks of an upstream, case by case."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from chunk_laws import ENVELOPE, broken_laws
from gateway_conformance.rules import confirms

from dragoman.model import Usage
from dragoman.translate.chat import ChatStream
from dragoman.translate.grammar import GrammarError, Reason
from dragoman.translate.vocabulary import FAILED, FINISHED

Document = dict[str, Any]

FINISH: Final = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def piece(delta: object, index: object = 0, **stated: object) -> Document:
    """Return a chunk in which choice *index* says *delta*."""
    return {"choices": [{"index": index, "delta": delta, "finish_reason": None} | stated]}


def call(**fragment: object) -> Document:
    """Return a chunk with one *fragment* of a tool call."""
    return piece({"tool_calls": [fragment]})


def opened(*documents: object, include_usage: bool = False) -> ChatStream:
    """Return a stream whose choice 0 speaks, behind *documents*."""
    chat = ChatStream(**ENVELOPE, include_usage=include_usage)
    for document in (piece({"role": "assistant"}), *documents):
        chat.feed(document)
    return chat


def said(chat: ChatStream, *documents: object) -> list[Document]:
    """Return the deltas that go out for *documents*."""
    chunks = [chunk for one in documents if (chunk := chat.feed(one)) is not None]
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def reason_of(*documents: object) -> Reason:
    """Return why a stream of *documents* behind its first chunk is none."""
    with pytest.raises(GrammarError) as caught:
        opened(*documents)
    return caught.value.reason


@confirms("ADR-0036.R6")
def test_a_piece_of_text_goes_out_in_an_envelope_of_our_own() -> None:
    """Nothing of the upstream's own envelope is left."""
    theirs = {"id": "theirs", "created": 1, "model": "secret", "provider": "x", "system_fingerprint": "fp"}

    assert {
        **ENVELOPE,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
    } == opened().feed(theirs | piece({"content": "Hi"}))


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ({"service_tier": "default", "obfuscation": "xY"}, {"service_tier": "default", "obfuscation": "xY"}),
        ({"service_tier": "on_demand", "obfuscation": 7}, {}),
        ({"service_tier": ["default"], "obfuscation": None}, {}),
    ],
)
@pytest.mark.parametrize("delta", [{"content": "Hi"}, {"refusal": "No"}], ids=["text", "other"])
def test_of_the_envelope_openai_s_own_words_are_kept(stated: Document, kept: Document, delta: Document) -> None:
    """Padding and OpenAI's service tiers pass, by the short way and the long one; words of others do not."""
    chunk = opened().feed(piece(delta) | stated)

    assert chunk is not None
    assert kept == {name: value for name, value in chunk.items() if name not in {*ENVELOPE, "object", "choices"}}


@confirms("ADR-0036.R4")
@pytest.mark.parametrize(
    ("first", "delta"),
    [
        ({"content": "Hi"}, {"role": "assistant", "content": "Hi"}),
        ({"role": "model", "content": "Hi"}, {"role": "assistant", "content": "Hi"}),
        ({"role": "assistant", "content": "", "refusal": None}, {"role": "assistant", "content": "", "refusal": None}),
        ({}, {"role": "assistant"}),
        ({"reasoning_content": "Hm"}, {"role": "assistant"}),
    ],
)
def test_the_first_delta_says_that_the_assistant_speaks(first: Document, delta: Document) -> None:
    """Whatever the upstream says of the role, and whether it says it."""
    assert [delta] == said(ChatStream(**ENVELOPE, include_usage=False), piece(first))


@confirms("ADR-0036.R4")
def test_a_role_is_said_once() -> None:
    """Upstreams that say it in every chunk are not repeated."""
    again = {"role": "assistant", "content": "a"}

    assert [{"content": "a"}, {"content": "b", "refusal": None}] == said(
        opened(), piece(again), piece({"role": "assistant", "content": "b", "refusal": None})
    )


def test_what_says_nothing_is_not_sent() -> None:
    """Hidden reasoning, nulls and empty lists are no news; a stream of them is silent."""
    nothing = [{}, {"content": None}, {"reasoning": "Hm", "content": None}, {"tool_calls": []}, {"annotations": None}]

    assert [] == said(opened(), *(piece(delta) for delta in nothing), {"choices": []})


def test_choices_speak_in_turns() -> None:
    """Each has its own role, calls and end, in one chunk or in several."""
    chat = ChatStream(**ENVELOPE, include_usage=False)
    documents = [
        {"choices": [piece({"content": "a"}, 0)["choices"][0], piece({"content": "b"}, 1)["choices"][0]]},
        piece({"content": "c"}, 1),
        piece({}, 1, finish_reason="stop"),
        piece({"content": "d"}, 0),
        piece({}, 0, finish_reason="length"),
    ]
    finished, chunks = [], []
    for document in documents:
        chunks.append(chat.feed(document))
        finished.append(chat.finished)

    assert [False, False, False, False, True] == finished
    assert [] == broken_laws([chunk for chunk in chunks if chunk is not None], include_usage=False)


def test_a_choice_without_an_index_is_the_one_at_its_place() -> None:
    """An upstream with one answer may leave it out, or say null."""
    chat = opened()

    assert [{"content": "a"}, {"content": "b"}] == said(
        chat,
        {"choices": [{"delta": {"content": "a"}}]},
        {"choices": [{"index": None, "delta": {"content": "b"}}]},
    )


@confirms("ADR-0036.R5")
@pytest.mark.parametrize(
    ("fragments", "told"),
    [
        pytest.param(
            [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
                {"index": 0, "function": {"arguments": "{"}},
                {"index": 0, "function": {"arguments": "}"}},
            ],
            [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
                {"index": 0, "function": {"arguments": "{"}},
                {"index": 0, "function": {"arguments": "}"}},
            ],
            id="as OpenAI words it",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}},
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "}"}},
                {"index": 0, "id": "new", "type": "function", "function": {"name": None, "arguments": " "}},
                {"index": 0, "id": "", "type": None, "function": {"name": "", "arguments": None}},
            ],
            [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}},
                {"index": 0, "function": {"arguments": "}"}},
                {"index": 0, "function": {"arguments": " "}},
            ],
            id="what is said again is left out",
        ),
        pytest.param(
            [{"function": {"name": "f"}}, {"function": {"arguments": "{}"}}],
            [
                {
                    "index": 0,
                    "id": "call_chatcmpl-own_0_0",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                },
                {"index": 0, "function": {"arguments": "{}"}},
            ],
            id="no index, id or type",
        ),
        pytest.param(
            [
                {"id": "a", "function": {"name": "f"}},
                {"id": "b", "function": {"name": "g"}},
                {"id": "a", "function": {"arguments": "1"}},
                {"id": "b", "function": {"name": "g", "arguments": "2"}},
                {"id": "c", "function": {"arguments": "3"}},
                {"function": {"name": "h", "arguments": "4"}},
            ],
            [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
                {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
                {"index": 0, "function": {"arguments": "1"}},
                {"index": 1, "function": {"arguments": "2"}},
                {"index": 1, "function": {"arguments": "3"}},
                {
                    "index": 2,
                    "id": "call_chatcmpl-own_0_2",
                    "type": "function",
                    "function": {"name": "h", "arguments": "4"},
                },
            ],
            id="several calls without an index",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
                {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}},
                {"index": 0, "function": {"arguments": " "}},
            ],
            [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                {"index": 1, "function": {"arguments": " "}},
            ],
            id="the same index for every call",
        ),
        pytest.param(
            [
                {"index": 7, "id": "a", "function": {"name": "f", "arguments": "1"}},
                {"index": 3, "id": "b", "function": {"name": "g", "arguments": "2"}},
                {"index": 7, "function": {"arguments": "3"}},
            ],
            [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "1"}},
                {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "2"}},
                {"index": 0, "function": {"arguments": "3"}},
            ],
            id="gaps between the indexes",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "custom": {"name": "f", "input": "x"}},
                {"index": 0, "custom": {"input": "y"}},
                {"index": 0},
            ],
            [
                {"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}},
                {"index": 0, "custom": {"input": "y"}},
            ],
            id="a custom tool",
        ),
    ],
)
def test_calls_come_in_fragments_by_index(fragments: Sequence[Document], told: Sequence[Document]) -> None:
    """The first of an index brings id, type and name, the others more of the text."""
    deltas = said(opened(), *(call(**fragment) for fragment in fragments))

    assert [{"tool_calls": [one]} for one in told] == deltas


def test_the_older_function_call_is_named_once() -> None:
    """Its first piece has the name, the others more of the arguments; one without any says nothing."""
    pieces: list[Document] = [{"name": "f"}, {"name": "f", "arguments": "{"}, {"arguments": "}"}, {"arguments": None}]

    assert [{"name": "f", "arguments": ""}, {"arguments": "{"}, {"arguments": "}"}] == [
        delta["function_call"] for delta in said(opened(), *(piece({"function_call": one}) for one in pieces))
    ]


@pytest.mark.parametrize(("word", "reason"), [*FINISHED.items(), ("STOP", "stop"), ("MAX_TOKENS", "length")])
@confirms("ADR-0036.R4")
def test_finish_reasons_are_openai_s(word: str, reason: str) -> None:
    """Words of others are translated, in any case."""
    chunk = opened().feed(piece({}, finish_reason=word))

    assert chunk is not None
    assert reason == chunk["choices"][0]["finish_reason"]


@pytest.mark.parametrize("word", [*sorted(FAILED), "ERROR"])
@confirms("ADR-0036.R9")
def test_an_answer_that_ends_in_an_error_does_not_end_well(word: str) -> None:
    """A finish reason that says so is a failure of the upstream."""
    assert Reason.FAILED is reason_of(piece({"content": "Hal"}), piece({}, finish_reason=word))


def test_an_empty_finish_reason_is_none() -> None:
    """Some upstreams write an empty text for null."""
    chat = opened()

    assert [{"content": "a"}] == said(chat, piece({"content": "a"}, finish_reason=""))
    assert not chat.finished


@confirms("ADR-0036.R4")
def test_a_finished_choice_says_nothing_more() -> None:
    """Its finish reason again and empty deltas are passed over, and anything else is no answer."""
    chat = opened(FINISH)
    idle = [FINISH, piece({"role": "assistant", "content": ""}), piece({}, finish_reason="length"), piece({"x": 1})]

    assert [] == said(chat, *idle)
    for delta in ({"content": "a"}, {"refusal": "a"}, {"tool_calls": [{"function": {"name": "f"}}]}):
        with pytest.raises(GrammarError) as caught:
            chat.feed(piece(delta))
        assert Reason.GARBLED is caught.value.reason


@confirms("ADR-0036.R7")
@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([FINISH, {"choices": [], "usage": USAGE}], id="in a chunk of its own"),
        pytest.param([FINISH, {"usage": USAGE}], id="in a chunk without choices"),
        pytest.param([FINISH, {"usage": USAGE, "choices": None}], id="beside null"),
        pytest.param([FINISH | {"usage": USAGE}], id="in the last chunk"),
        pytest.param([FINISH, piece({"role": "assistant", "content": ""}) | {"usage": USAGE}], id="in an empty one"),
        pytest.param(
            [
                piece({"content": "a"}) | {"usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}},
                FINISH | {"usage": USAGE},
            ],
            id="in every chunk",
        ),
    ],
)
def test_usage_goes_out_once_at_the_end_and_when_asked_for(documents: Sequence[Document]) -> None:
    """Wherever the upstream states it; and it is known in either case."""
    asked, unasked = opened(include_usage=True), opened()
    for chat in (asked, unasked):
        chunks = [chat.feed(document) for document in documents]
        assert not any(chunk.get("usage") for chunk in chunks if chunk)
        assert Usage(input_tokens=3, output_tokens=4) == chat.usage

    assert {**ENVELOPE, "object": "chat.completion.chunk", "choices": [], "usage": USAGE} == asked.end()
    assert unasked.end() is None


@confirms("ADR-0036.R7")
def test_usage_that_nobody_stated_is_estimated() -> None:
    """Who asked for it gets the estimate, which an upstream's own word outranks; without both it is nothing."""
    estimate = Usage(input_tokens=5, output_tokens=6)
    silent, stating = opened(FINISH, include_usage=True), opened(FINISH | {"usage": USAGE}, include_usage=True)

    assert silent.usage is None
    assert [5, 4] == [
        chunk["usage"][name]
        for chunk, name in ((silent.end(estimate=estimate), "prompt_tokens"), (stating.end(), "completion_tokens"))
        if chunk is not None
    ]
    nothing = opened(FINISH, include_usage=True).end()
    assert nothing is not None
    assert {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0} == nothing["usage"]


def test_usage_is_known_when_it_is_stated() -> None:
    """Also beside a piece of text, and of a stream that is cut behind it."""
    assert Usage(input_tokens=3, output_tokens=4) == opened(piece({"content": "a"}) | {"usage": USAGE}).usage


def test_a_usage_of_nothing_is_not_no_usage() -> None:
    """Zero tokens are what the upstream has said."""
    zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}

    assert Usage() == opened(FINISH | {"usage": zero}).usage
    assert opened(FINISH | {"usage": {"prompt_tokens": "3"}}).usage is None


def test_the_length_of_an_answer_is_counted() -> None:
    """Texts, refusals, and what tools and functions are called with; hidden reasoning is not."""
    chat = opened(
        piece({"content": "abc"}),
        piece({"content": "de", "refusal": "f"}),
        piece({"reasoning_content": "hidden"}),
        call(index=0, id="a", function={"name": "f", "arguments": "{}"}),
        piece({"function_call": {"name": "f", "arguments": "{"}}),
    )

    assert 9 == chat.text_length


def test_logprobs_and_citations_pass_in_the_contract_s_form() -> None:
    """Members that the contract does not know are left out, and citations that it has no form for are too."""
    citation = {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 1, "url": "u", "title": "t"}}
    token = {"token": "a", "logprob": -1.5, "top_logprobs": [{"token": "b", "logprob": -2, "id": 7}]}
    theirs = {"content": [token | {"id": 9}], "canary": 1}
    chunk = opened().feed(
        piece({"annotations": [citation | {"x": 1}, {"type": "file_citation"}, None]}, logprobs=theirs)
    )

    assert chunk is not None
    assert {
        "index": 0,
        "delta": {"annotations": [citation]},
        "finish_reason": None,
        "logprobs": {
            "content": [
                {
                    "token": "a",
                    "logprob": -1.5,
                    "bytes": None,
                    "top_logprobs": [{"token": "b", "logprob": -2, "bytes": None}],
                }
            ]
        },
    } == chunk["choices"][0]


def test_logprobs_of_a_piece_of_text_pass() -> None:
    """They come beside the text; null says that nobody asked for them."""
    told = {"content": [{"token": "a", "logprob": -1, "bytes": [97]}]}
    asked, unasked = (opened().feed(piece({"content": "a"}, logprobs=one)) for one in (told, None))

    assert asked is not None
    assert unasked is not None
    assert told == asked["choices"][0]["logprobs"]
    assert "logprobs" not in unasked["choices"][0]


def test_a_recording_comes_in_pieces() -> None:
    """Speech passes as the contract declares it."""
    pieces: list[Document] = [{"id": "a", "x": 1}, {"data": "AA"}, {"transcript": "Hi"}, {"expires_at": 9}]

    assert [{"id": "a"}, {"data": "AA"}, {"transcript": "Hi"}, {"expires_at": 9}] == [
        delta["audio"] for delta in said(opened(), *(piece({"audio": one}) for one in pieces))
    ]


@confirms("ADR-0036.R9")
@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "overloaded", "type": "server_error"}},
        {"error": "overloaded"},
        {"error": {}, "choices": piece({"content": "a"})["choices"]},
        {"object": "error", "message": "no", "code": 500},
    ],
)
def test_an_error_in_the_stream_is_an_error(document: Document) -> None:
    """The upstream says itself that it has failed, alone or beside a piece of text."""
    assert Reason.FAILED is reason_of(document)


def test_an_error_that_is_null_is_none() -> None:
    """Some upstreams send the member in every chunk."""
    assert [{"content": "a"}] == said(opened(), piece({"content": "a"}) | {"error": None})


@confirms("ADR-0036.R9")
def test_a_stream_without_its_end_is_cut() -> None:
    """No choice, or one that has no finish reason, is no answer."""
    for chat in (ChatStream(**ENVELOPE, include_usage=True), opened(), opened(FINISH, piece({"content": "a"}, 1))):
        with pytest.raises(GrammarError) as caught:
            chat.end()
        assert Reason.CUT is caught.value.reason


@confirms("ADR-0036.R9")
def test_nothing_comes_after_the_end() -> None:
    """A chunk behind the end is no part of an answer, whatever it says."""
    late_ones: list[Document] = [FINISH, {"choices": []}, {"choices": [], "usage": USAGE}]
    for late in late_ones:
        chat = opened(FINISH)
        chat.end()
        with pytest.raises(GrammarError) as caught:
            chat.feed(late)
        assert Reason.GARBLED is caught.value.reason


GARBLED: Final[Mapping[str, object]] = {
    "null": None,
    "text": "data",
    "list": [piece({"content": "a"})],
    "empty": {},
    "no choices": {"id": "x"},
    "choices null": {"choices": None},
    "choices an object": {"choices": {}},
    "choices an object beside usage": {"choices": {}, "usage": USAGE},
    "choice null": {"choices": [None]},
    "index text": piece({}, index="0"),
    "index negative": piece({}, index=-1),
    "index boolean": piece({}, index=True),
    "index too large": piece({}, index=128),
    "no delta": {"choices": [{"index": 0}]},
    "another form": {"choices": [{"index": 0, "text": "a"}]},
    "delta text": piece("a"),
    "content a list": piece({"content": [{"type": "text", "text": "a"}]}),
    "content a number": piece({"content": 1}),
    "refusal a number": piece({"refusal": 1}),
    "audio text": piece({"audio": "a"}),
    "audio without form": piece({"audio": {"id": 1}}),
    "time negative": piece({"audio": {"expires_at": -1}}),
    "logprobs text": piece({}, logprobs="a"),
    "logprobs of numbers": piece({}, logprobs={"content": [1]}),
    "logprobs without token": piece({}, logprobs={"content": [{"logprob": 0}]}),
    "logprobs of one": piece({}, logprobs={"content": {}}),
    "finish reason unknown": piece({}, finish_reason="because"),
    "finish reason number": piece({}, finish_reason=1),
    "finish reason object": piece({}, finish_reason={}),
    "calls an object": piece({"tool_calls": {}}),
    "call null": piece({"tool_calls": [None]}),
    "call without name": call(index=0, id="a", function={"arguments": "{}"}),
    "call without function": call(index=0, id="a"),
    "call of unknown type": call(index=0, id="a", type="retrieval", function={"name": "f"}),
    "call index text": call(index="0", id="a", function={"name": "f"}),
    "call id number": call(index=0, id=1, function={"name": "f"}),
    "call type number": call(index=0, id="a", type=1, function={"name": "f"}),
    "call function text": call(index=0, id="a", function="f"),
    "call name number": call(index=0, id="a", function={"name": 1}),
    "call arguments object": call(index=0, id="a", function={"name": "f", "arguments": {}}),
    "function call text": piece({"function_call": "f"}),
    "function call without name": piece({"function_call": {"arguments": "{}"}}),
    "function call arguments object": piece({"function_call": {"name": "f", "arguments": {}}}),
}


@confirms("ADR-0036.R10")
@pytest.mark.parametrize("document", GARBLED.values(), ids=GARBLED)
def test_what_is_no_chunk_is_named(document: object) -> None:
    """It is the upstream's fault, and never a crash of ours."""
    assert Reason.GARBLED is reason_of(document)


def test_a_call_does_not_change_its_kind() -> None:
    """What began as a function does not go on as a custom tool."""
    begun = call(index=0, id="a", function={"name": "f"})

    assert Reason.GARBLED is reason_of(begun, call(index=0, custom={"input": "x"}))


def test_an_error_says_where_and_nothing_of_what_was_sent() -> None:
    """Its text is of our words."""
    with pytest.raises(GrammarError, match=r"^finish reason$"):
        opened().feed(piece({}, finish_reason="canary"))
