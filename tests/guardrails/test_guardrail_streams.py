"""Streamed answers before guardrails: put together they are what the whole answer becomes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms
from guards import CARD, EMAIL, EVERYTHING, categories, guard, pieces_of, screen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.guardrails import Blocked, Screen, Screens, StreamScreen, check, screen_output
from dragoman.model import Guardrail

MASKING: Final = screen(guard("mask", detectors=EVERYTHING), stage="output")


def chunk(*choices: dict[str, Any], **others: Any) -> dict[str, Any]:  # noqa: ANN401 - members of a chunk
    """Return a chunk with *choices*."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "general"}
    return {**head, "choices": list(choices), **others}


def choice(delta: Any, finish: str | None = None, index: int = 0, **others: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what a chunk says of one choice."""
    return {"index": index, "delta": delta, "finish_reason": finish, **others}


def said(text: str, **others: Any) -> dict[str, Any]:  # noqa: ANN401 - members of a choice
    """Return a chunk that says *text*."""
    return chunk(choice({"content": text}, **others))


DONE: Final = chunk(choice({}, "stop"))


def through(made: Screen, chunks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return what leaves of *chunks*."""
    stream = StreamScreen(made)
    left = [one for came in chunks for one in stream.feed(came)]
    return [*left, *stream.end()]


def deltas(chunks: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the deltas of *chunks*."""
    return [one["delta"] for came in chunks for one in came["choices"]]


# --- What leaves, and when --------------------------------------------------------------------------------------------


def test_a_chunk_that_need_not_be_changed_leaves_as_it_came() -> None:
    """The role, whole words, the end, the usage: each is the same object."""
    usage = chunk(usage={"total_tokens": 1})
    came = [chunk(choice({"role": "assistant", "content": ""})), said("Hello, "), said("you. "), DONE, usage]
    left = through(MASKING, came)

    assert came == left
    assert [True] * 5 == [one is other for one, other in zip(came, left, strict=True)]


def test_a_word_leaves_when_it_is_over() -> None:
    """Nothing leaves for a chunk of which everything is held; the last word leaves before the end."""
    left = through(MASKING, [said("The"), said(" quick"), said(" fox"), DONE])

    assert [said("The "), said("quick "), said("fox"), DONE] == left
    assert left[-1] is DONE or left[-1] == DONE


def test_what_lies_across_chunks_is_masked_before_any_of_it_has_left() -> None:
    """An address in pieces leaves as one tag."""
    left = through(MASKING, [said("to bo"), said("b@exam"), said("ple.c"), said("om, ok"), DONE])

    assert [said("to "), said("[EMAIL], "), said("ok"), DONE] == left


def test_what_lies_across_chunks_is_blocked_before_any_of_it_has_left() -> None:
    """What was before it has left; it has not."""
    stream = StreamScreen(screen(guard("block", detectors=("card",)), stage="output"))
    left = [*stream.feed(said("card: 4111 1111")), *stream.feed(said(" 1111 1111"))]

    with pytest.raises(Blocked) as raised:
        stream.feed(said("."))

    assert [said("card: ")] == left
    assert ["card"] == [finding.category for finding in raised.value.findings]


def test_a_chunk_with_a_text_and_the_end_becomes_two() -> None:
    """All of the text comes before the end."""
    left = through(MASKING, [said("to bob@"), chunk(choice({"role": "assistant", "content": "x.co"}, "stop"))])

    assert [said("to "), chunk(choice({"role": "assistant", "content": "[EMAIL]"})), DONE] == left


def test_a_last_chunk_whose_text_may_leave_is_the_same_object() -> None:
    """Nothing was held, and nothing has changed."""
    last = chunk(choice({"content": "bye."}, "stop"))

    assert [last] == through(MASKING, [last])
    assert last is through(MASKING, [last])[0]


def test_a_last_text_that_is_masked_away_leaves_the_end() -> None:
    """Beyond a limit nothing is left to say."""
    made = screen(guard("mask", max_chars=2), stage="output")
    left = through(made, [said("abc"), chunk(choice({"content": "def"}, "stop"))])

    assert [said("ab[TOO_LONG]"), DONE] == left


def test_choices_do_not_wait_for_each_other() -> None:
    """Each has a window of its own, and a chunk has only the choices that say something."""
    came = [
        chunk(choice({"content": "bob@"}), choice({"content": "hi, "}, index=1)),
        chunk(choice({"content": "x.co "}), choice({}, "stop", 1)),
        DONE,
    ]
    left = through(MASKING, came)

    assert [
        chunk(choice({"content": "hi, "}, index=1)),
        chunk(choice({"content": "[EMAIL] "}), choice({}, "stop", 1)),
        DONE,
    ] == left


def test_members_of_a_delta_do_not_wait_for_each_other() -> None:
    """Content, refusal and reasoning are texts of their own, and so is what is unknown."""
    delta = {"content": "bob@", "refusal": "no. ", "reasoning_content": "4111 ", "x": "hm. "}
    left = through(MASKING, [chunk(choice(delta)), chunk(choice({"content": "x.co."}, "stop"))])

    assert [{"refusal": "no. ", "x": "hm. "}, {"content": "[EMAIL].", "reasoning_content": "4111 "}, {}] == deltas(left)


def test_an_answer_without_an_end_gives_what_it_held() -> None:
    """Who knows that a stream is over asks for the rest; before anything came there is none."""
    left = through(MASKING, [chunk(choice({"content": "bob@x.co"}), usage=None)])

    assert [chunk(choice({"content": "[EMAIL]"}), usage=None)] == left
    assert [] == through(MASKING, [])


def test_usage_beside_a_text_that_is_held_is_not_lost() -> None:
    """A chunk that tells usage leaves, and what leaves of its text later tells none."""
    left = through(MASKING, [chunk(choice({"content": "bob"}), usage={"total_tokens": 1})])

    assert [chunk(usage={"total_tokens": 1}), chunk(choice({"content": "bob"}), usage=None)] == left


# --- Calls ------------------------------------------------------------------------------------------------------------


def call(arguments: str | None, index: int = 0, **others: Any) -> dict[str, Any]:  # noqa: ANN401 - members of a call
    """Return a fragment of a call."""
    name = {"name": others.pop("name")} if "name" in others else {}
    return {"index": index, **others, "function": {**name, "arguments": arguments}}


def test_arguments_leave_when_their_choice_ends() -> None:
    """The call is told at once; what it is called with is one fragment, masked as what it says."""
    came = [
        chunk(choice({"tool_calls": [call("", id="call_1", type="function", name="f")]})),
        chunk(choice({"tool_calls": [call('{"to": "bob\\u00')]})),
        chunk(choice({"tool_calls": [call('40x.co", "n": 4111111111111111}')]})),
        chunk(choice({"tool_calls": [call("[1]", 1, id="call_2", type="function", name="g")]})),
        chunk(choice({}, "tool_calls")),
    ]
    left = through(MASKING, came)

    assert came[0] is left[0]
    assert {"tool_calls": [call("", 1, id="call_2", type="function", name="g")]} == deltas(left)[1]
    assert {"tool_calls": [call('{"to": "[EMAIL]", "n": "[CARD]"}'), call("[1]", 1)]} == deltas(left)[2]
    assert came[-1] == left[-1]


def test_a_call_that_comes_with_the_end_is_told_before_it() -> None:
    """Some servers send all of it at once."""
    came = [chunk(choice({"tool_calls": [call("[1]", id="call_1", name="f")]}, "tool_calls"))]

    assert [
        {"tool_calls": [call("", id="call_1", name="f"), call("[1]")]},
        {},
    ] == deltas(through(MASKING, came))


def test_calls_of_other_kinds_are_kept_too() -> None:
    """The older call of a function, and a call with a plain text."""
    custom = {"index": 0, "id": "call_1", "custom": {"name": "f", "input": "to bob@"}}
    came = [
        chunk(choice({"function_call": {"name": "f", "arguments": ""}, "tool_calls": [custom]})),
        chunk(choice({"function_call": {"arguments": f'["{EMAIL}"]'}})),
        chunk(choice({"tool_calls": [{"index": 0, "custom": {"input": "x.co"}}]})),
        chunk(choice({"function_call": {"arguments": None}}, "stop")),
    ]

    assert [
        {
            "function_call": {"name": "f", "arguments": ""},
            "tool_calls": [{**custom, "custom": {"name": "f", "input": ""}}],
        },
        {
            "function_call": {"arguments": '["[EMAIL]"]'},
            "tool_calls": [{"index": 0, "custom": {"input": "to [EMAIL]"}}],
        },
        {},
    ] == deltas(through(MASKING, came))


def test_an_older_call_that_comes_with_the_end_is_told_before_it() -> None:
    """Its name and what it is called with become one."""
    came = [chunk(choice({"function_call": {"name": "f", "arguments": "[1]"}}, "function_call"))]

    assert [{"function_call": {"name": "f", "arguments": "[1]"}}] == deltas(through(MASKING, came))


def test_calls_without_arguments_and_of_unknown_kinds_pass() -> None:
    """What has a form that nobody knows is masked by itself, and counted as not scanned."""
    odd = {"index": 0, "unknown": {"text": EMAIL}}
    stream = StreamScreen(MASKING)
    left = stream.feed(chunk(choice({"tool_calls": [odd, call(None, 1, name="f")], "audio": {"transcript": EMAIL}})))
    stream.feed(chunk(choice({"tool_calls": [odd]})))

    assert [
        {
            "tool_calls": [{"index": 0, "unknown": {"text": "[EMAIL]"}}, call(None, 1, name="f")],
            "audio": {"transcript": "[EMAIL]"},
        }
    ] == deltas(left)
    assert 2 == stream.not_scanned
    assert {"guard": ["email"]} == categories(stream.verdicts)


def test_what_only_flags_changes_nothing() -> None:
    """Every chunk leaves as it came, and what is found is told, arguments included."""
    flagging = screen(guard("flag", detectors=("email", "card")), stage="output")
    came = [
        said("bob@"),
        said("x.co", logprobs={"content": []}),
        chunk(choice({"tool_calls": [call('["4111 1111', name="f")]})),
        chunk(choice({"tool_calls": [call(' 1111 1111"]')]})),
        DONE,
    ]
    stream = StreamScreen(flagging)
    left = [one for each in came for one in stream.feed(each)]

    assert [True] * 5 == [one is other for one, other in zip(came, left, strict=True)]
    assert [] == stream.end()
    assert {"guard": ["email", "card"]} == categories(stream.verdicts)


# --- Forms that are not usual -----------------------------------------------------------------------------------------


def test_tokens_are_not_repeated_where_something_may_be_masked() -> None:
    """`logprobs` is null, as in a whole answer."""
    came = [chunk(choice({"content": "hi, "}, logprobs={"content": [{"token": "hi"}]}))]

    assert [None] == [one["choices"][0]["logprobs"] for one in through(MASKING, came)]


@pytest.mark.parametrize(
    ("came", "left"),
    [
        (chunk(choice({}), x=EMAIL), chunk(choice({}), x="[EMAIL]")),
        (chunk(choice({}), x="hi"), chunk(choice({}), x="hi")),
        (chunk(choice({}, x={"y": EMAIL})), chunk(choice({}, x={"y": "[EMAIL]"}))),
        (chunk(choice({}, x={"y": 1})), chunk(choice({}, x={"y": 1}))),
        (chunk(choice(None)), chunk(choice(None))),
        (chunk(choice(None, "stop")), chunk(choice(None, "stop"))),
        ({"choices": None, "x": EMAIL}, {"choices": None, "x": "[EMAIL]"}),
        ({"choices": [{"delta": {"content": "a. "}}]}, {"choices": [{"delta": {"content": "a. "}}]}),
        (chunk(choice({"n": 1, "content": None})), chunk(choice({"n": 1, "content": None}))),
        (chunk(choice({"content": [{"text": EMAIL}]})), chunk(choice({"content": [{"text": "[EMAIL]"}]}))),
    ],
)
def test_what_is_not_usual_is_looked_at_by_itself(came: dict[str, Any], left: dict[str, Any]) -> None:
    """Members that are unknown come whole, and are masked whole."""
    assert [left] == through(MASKING, [came])


def test_a_chunk_that_is_made_has_nothing_that_is_unknown() -> None:
    """Not even what was masked in the one that it is made from."""
    left = through(MASKING, [said("bob"), chunk(choice({}, "stop"), x=EMAIL)])

    assert [said("bob"), chunk(choice({}, "stop"), x="[EMAIL]")] == left


# --- Any answer -------------------------------------------------------------------------------------------------------

TEXTS: Final = st.lists(
    st.sampled_from(
        [EMAIL, CARD, "bob@", "secret", "foo bar", "PROJ-1", " ", ".", "1", "a", "é", "\\", '"', "\n", "12 34"]
    ),
    max_size=8,
).map("".join)
ARGUMENTS: Final = st.one_of(
    TEXTS.map(lambda text: f'{{"a": "{text}"}}'),
    TEXTS.map(lambda text: text.replace("\\", "").replace('"', "").replace("\n", "\\n")).map(
        '["{}", 4111111111111111]'.format
    ),
)
GUARDRAILS: Final = st.builds(
    Guardrail,
    key=st.sampled_from("AB"),
    action=st.sampled_from(["mask", "mask", "block", "flag"]),
    detectors=st.sampled_from([(), ("email",), ("card", "email")]),
    patterns=st.sampled_from([{}, {"p": r"PROJ-\d+"}, {"p": "^foo"}]),
    keywords=st.sampled_from([(), ("secret",), ("foo bar", "é")]),
    max_chars=st.sampled_from([None, None, 10, 40]),
).filter(lambda guardrail: not check(guardrail))
SCREENS: Final = Screens()


@attrs.frozen
class Answer:
    """One choice: its texts, and what its calls are called with."""

    texts: Mapping[str, str]
    calls: Sequence[str]

    def whole(self) -> dict[str, Any]:
        """Return it as a choice of a whole answer."""
        calls = [{"id": f"call_{n}", "function": {"name": "f", "arguments": one}} for n, one in enumerate(self.calls)]
        return {"message": {"role": "assistant", **self.texts, "tool_calls": calls}}


ANSWERS: Final = st.builds(
    Answer,
    st.dictionaries(st.sampled_from(["content", "refusal", "reasoning_content"]), TEXTS, max_size=2),
    st.lists(ARGUMENTS, max_size=2),
)


def streamed(answers: Sequence[Answer], cuts: Sequence[int]) -> list[dict[str, Any]]:
    """Return *answers* as chunks, each text of them cut at *cuts*."""
    chunks = [chunk(choice({"role": "assistant"}, index=index)) for index in range(len(answers))]
    for index, answer in enumerate(answers):
        for member, text in answer.texts.items():
            chunks += [chunk(choice({member: piece}, index=index)) for piece in pieces_of(text, cuts)]
        for number, arguments in enumerate(answer.calls):
            chunks.append(chunk(choice({"tool_calls": [call("", number, id=f"call_{number}", name="f")]}, index=index)))
            chunks += [
                chunk(choice({"tool_calls": [call(one, number)]}, index=index)) for one in pieces_of(arguments, cuts)
            ]
    return [*chunks, *(chunk(choice({}, "stop", index)) for index in range(len(answers)))]


def assembled(chunks: Iterable[Mapping[str, Any]], count: int) -> list[Any]:
    """Return the choices of a whole answer that *chunks* make, as a client puts them together."""
    messages: list[dict[str, Any]] = [{"tool_calls": []} for _ in range(count)]
    ended: set[int] = set()
    for one in chunks:
        for part in one["choices"]:
            assert part["index"] not in ended
            message = messages[part["index"]]
            for member, value in part["delta"].items():
                if member != "tool_calls":
                    message[member] = message.get(member, "") + value
                    continue
                for fragment in value:
                    if fragment["index"] == len(message["tool_calls"]):
                        message["tool_calls"].append({"id": fragment["id"], "function": {"name": "f", "arguments": ""}})
                    message["tool_calls"][fragment["index"]]["function"]["arguments"] += fragment["function"][
                        "arguments"
                    ]
            if part["finish_reason"] is not None:
                ended.add(part["index"])
    assert set(range(count)) == ended
    return [{"message": message} for message in messages]


def without_empty(choices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return *choices* without texts that say nothing: a stream does not tell them."""
    return [{member: text for member, text in one["message"].items() if text != ""} for one in choices]


@confirms("ADR-0037.R3", "ADR-0037.R6")
@given(
    st.lists(ANSWERS, min_size=1, max_size=2),
    st.lists(GUARDRAILS, min_size=1, max_size=2),
    st.lists(st.integers(0, 60), max_size=8),
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_stream_becomes_what_the_whole_answer_becomes(
    answers: Sequence[Answer], guardrails: Sequence[Guardrail], cuts: Sequence[int]
) -> None:
    """Put together it says the same, and the same is found; or both are blocked."""
    made = SCREENS.of(guardrails, stage="output")
    assert made is not None
    chunks = streamed(answers, cuts)
    stream = StreamScreen(made)
    try:
        expected = screen_output(made, {"choices": [answer.whole() for answer in answers]})
    except Blocked:
        with pytest.raises(Blocked):
            [*map(stream.feed, chunks), stream.end()]
        return
    left = [one for came in chunks for one in stream.feed(came)]

    assert [] == stream.end()
    assert without_empty(expected.document["choices"]) == without_empty(assembled(left, len(answers)))
    assert categories(expected.verdicts) == categories(stream.verdicts)
