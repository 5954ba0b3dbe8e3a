"""The grammar of chat streams, for whatever an upstream may send."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from chunk_laws import ENVELOPE, broken_laws, form_errors, put_together
from chunk_scripts import GARBAGE, SCRIPTS, Script, nearly, nearly_streams, stream, whole
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import assemble, completion, replay
from dragoman.translate.grammar import GrammarError, Reason
from dragoman.translate.sse import frame
from dragoman.translate.usage import usage_of

Document = dict[str, Any]


def run(documents: Iterable[object], *, include_usage: bool) -> tuple[list[Document], ChatStream, GrammarError | None]:
    """Return what goes out for *documents*, the stream behind the last, and the error that ended it, if one did."""
    chat = ChatStream(**ENVELOPE, include_usage=include_usage)
    chunks: list[Document] = []
    try:
        chunks += [chunk for document in documents if (chunk := chat.feed(document)) is not None]
        last = chat.end()
    except GrammarError as error:
        return chunks, chat, error
    return chunks + ([] if last is None else [last]), chat, None


def streamed(script: Script, *, include_usage: bool = True) -> tuple[list[Document], ChatStream]:
    """Return what goes out for a *script*, which has no fault."""
    chunks, chat, error = run(stream(script), include_usage=include_usage)
    assert error is None, str(error)
    return chunks, chat


@confirms("ADR-0036.R4", "ADR-0036.R5", "ADR-0036.R6", "ADR-0036.R7")
@given(SCRIPTS, st.booleans())
def test_whatever_the_manner_of_an_upstream_the_grammar_is_kept(script: Script, include_usage: bool) -> None:  # noqa: FBT001 - drawn
    """Role first, calls by index, one finish reason for each choice, usage exactly when it was asked for."""
    chunks, chat = streamed(script, include_usage=include_usage)

    assert [] == broken_laws(chunks, include_usage=include_usage)
    assert chat.finished


@given(SCRIPTS)
def test_nothing_is_lost_and_nothing_is_added(script: Script) -> None:
    """Texts, calls and finish reasons are those of the script, also when they are put together by hand."""
    chunks, chat = streamed(script)
    told = put_together(chunks)

    assert range(len(script.choices)) == range(len(told))
    for index, choice in enumerate(script.choices):
        assert "".join(choice.content or ()) == told[index]["content"]
        assert "".join(choice.refusal or ()) == told[index]["refusal"]
        calls = [told[index]["calls"][at] for at in range(len(choice.calls))]
        assert [[call.name, "".join(call.pieces)] for call in choice.calls] == [call[1:] for call in calls]
        assert all(call.id in {None, said[0]} for call, said in zip(choice.calls, calls, strict=True))
    assert usage_of(script.usage) == chat.usage


@confirms("ADR-0036.R8")
@given(SCRIPTS)
def test_an_answer_is_the_same_whole_and_streamed(script: Script) -> None:
    """Message, calls, finish reasons, logprobs, usage and length agree to the letter."""
    chunks, chat = streamed(script)
    answer = completion(whole(script), **ENVELOPE)
    assembled = assemble(chunks)
    if script.usage is None:
        assert {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0} == assembled.pop("usage")

    assert answer.document == assembled
    assert (answer.usage, answer.text_length) == (chat.usage, chat.text_length)
    assert [] == form_errors(answer.document, "ChatCompletion")


@confirms("ADR-0036.R8")
@given(SCRIPTS)
def test_an_answer_that_comes_whole_can_be_streamed(script: Script) -> None:
    """Taken apart into chunks it passes the grammar, and is put together to the same."""
    answer = completion(whole(script), **ENVELOPE)
    chunks, chat, error = run(replay(whole(script)), include_usage=script.usage is not None)

    assert error is None
    assert [] == broken_laws(chunks, include_usage=script.usage is not None)
    assert answer.document == assemble(chunks)
    assert answer.usage == chat.usage


@confirms("ADR-0036.R9")
@given(SCRIPTS, st.data())
def test_a_stream_that_is_cut_never_looks_whole(script: Script, data: st.DataObject) -> None:
    """Without all its finish reasons a stream ends in an error, behind what obeys the grammar so far."""
    documents = stream(script)
    cut = documents[: data.draw(st.integers(0, len(documents)))]
    finished = {one["index"] for chunk in cut for one in chunk["choices"] if one["finish_reason"] is not None}
    begun = {one["index"] for chunk in cut for one in chunk["choices"]}

    chunks, _, error = run(cut, include_usage=True)

    assert (error is None) == (bool(begun) and begun == finished)
    assert error is None or Reason.CUT is error.reason
    assert [] == broken_laws(chunks, include_usage=True, ended=error is None)


@confirms("ADR-0036.R10")
@given(nearly_streams(), st.booleans())
def test_what_is_out_of_order_ends_in_a_named_error(documents: list[object], include_usage: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever is changed in a stream, what goes out obeys the grammar up to the error, and can be written."""
    chunks, _, error = run(documents, include_usage=include_usage)

    assert [] == broken_laws(chunks, include_usage=include_usage, ended=error is None)
    assert all(frame(chunk) for chunk in chunks)


@confirms("ADR-0036.R10")
@given(st.lists(GARBAGE, max_size=3))
def test_garbage_raises_nothing_but_a_grammar_error(documents: list[object]) -> None:
    """JSON of any shape, as a chunk or as a completion."""
    chunks, _, error = run(documents, include_usage=True)
    assert [] == broken_laws(chunks, include_usage=True, ended=error is None)

    for document in documents:
        with suppress(GrammarError):
            replay(document)
        with suppress(GrammarError):
            assert [] == form_errors(completion(document, **ENVELOPE).document, "ChatCompletion")


@confirms("ADR-0036.R10")
@given(SCRIPTS, st.data())
def test_a_completion_with_a_fault_is_repaired_or_refused(script: Script, data: st.DataObject) -> None:
    """Whatever is changed in a whole answer, what goes out is of the contract's form."""
    document = data.draw(nearly(whole(script)))
    with suppress(GrammarError):
        assert [] == form_errors(completion(document, **ENVELOPE).document, "ChatCompletion")
    with suppress(GrammarError):
        chunks, _, error = run(replay(document), include_usage=True)
        assert [] == broken_laws(chunks, include_usage=True, ended=error is None)


@confirms("ADR-0036.R6")
@given(SCRIPTS, st.booleans())
def test_nothing_tells_who_answers(script: Script, is_stream: bool) -> None:  # noqa: FBT001 - drawn
    """Ids, models, fingerprints and unknown members of an upstream are in nothing that goes out."""
    out = b"".join(frame(one) for one in streamed(script)[0])
    if not is_stream:
        out = frame(completion(whole(script), **ENVELOPE).document)

    assert not [word for word in (b"canary", b"theirs", b"secret-model", b"on_demand", b"hidden") if word in out]
