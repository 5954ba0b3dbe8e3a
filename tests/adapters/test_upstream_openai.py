"""The provider `openai`: what it asks, what it makes of what is answered, and what of an error may be told."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.upstream.faults import CODES, LONGEST_RETRY, path_within, retry_after
from dragoman.adapters.upstream.quirks import QUIRKS, Quirk, adjusted, all_of
from dragoman.ports import Fault, UpstreamError
from dragoman.translate.completion import assemble
from engines import GROUNDS, HELLO, LONG, NOW, fault, openai
from sink import (
    DONE,
    LAST,
    STREAMED,
    USAGE,
    Document,
    Received,
    Reply,
    Wait,
    chunk,
    chunks,
    completion,
    embeddings,
    event,
    head,
    piece,
    sinking,
    stream,
    whole,
)

GROUND: Final = GROUNDS["http1-uvloop"]

RICH: Final[Document] = {
    "model": "general",
    "stream": True,
    "stream_options": {"include_usage": False, "include_obfuscation": False},
    "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "é"}], "name": "a"},
    ],
    "max_completion_tokens": 7,
    "temperature": 0.5,
    "parallel_tool_calls": False,
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "unknown": {"kept": [1, 2.5, None]},
}


def asked(document: Document, *quirks: str, streamed: bool = False, reply: Reply | None = None) -> Received:
    """Return what a server receives for *document*."""

    async def ask() -> Received:
        async with sinking() as sink, openai(GROUND, sink.url(), *quirks) as upstream:
            if reply is not None:
                sink.tell(reply)
            if streamed:
                await (await upstream.chat_stream(document, model="real", timeouts=LONG)).aclose()
            else:
                await upstream.chat(document, model="real", timeouts=LONG)
            return sink.requests[0]

    return GROUND.run(ask())


def answer_to(reply: Reply, document: Document = HELLO) -> Mapping[str, Any] | UpstreamError:
    """Return what a whole *reply* becomes."""

    async def ask() -> Mapping[str, Any] | UpstreamError:
        async with sinking(lambda _: reply) as sink, openai(GROUND, sink.url()) as upstream:
            try:
                return await upstream.chat(document, model="real", timeouts=LONG)
            except UpstreamError as error:
                return error

    return GROUND.run(ask())


def stream_of(reply: Reply, *quirks: str) -> tuple[list[Mapping[str, Any]], Fault | None]:
    """Return the chunks of a streamed *reply*, and how it fails, if it does."""

    async def ask() -> tuple[list[Mapping[str, Any]], Fault | None]:
        came: list[Mapping[str, Any]] = []
        async with sinking(lambda _: reply) as sink, openai(GROUND, sink.url(), *quirks) as upstream:
            try:
                opened = await upstream.chat_stream(HELLO, model="real", timeouts=LONG)
                async for batch in opened:
                    came += batch
            except UpstreamError as error:
                return came, error.fault
            await opened.aclose()
        return came, None

    return GROUND.run(ask())


def failed(reply: Reply, document: Document = HELLO) -> UpstreamError:
    """Return how a *reply* fails."""
    told = answer_to(reply, document)
    assert isinstance(told, UpstreamError)
    return told


# --- What is asked ----------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R1")
def test_a_document_is_forwarded_with_everything_in_it() -> None:
    """A whole request is the caller's document but for the model; what streams have is not in it."""
    own = {name: value for name, value in RICH.items() if name not in {"stream", "stream_options"}}

    received = asked(RICH)

    assert {**own, "model": "real"} == received.document
    assert "/v1/chat/completions" == received.path
    assert RICH["model"] == "general"


@confirms("ADR-0038.R1")
def test_a_stream_asks_for_usage_whatever_was_asked() -> None:
    """Usage is always asked for; other options of the stream are the caller's."""
    options = {"include_usage": True, "include_obfuscation": False}

    assert {**RICH, "model": "real", "stream_options": options} == asked(RICH, streamed=True).document
    assert {**HELLO, "model": "real", "stream": True, "stream_options": {"include_usage": True}} == asked(
        {**HELLO, "stream": False, "stream_options": None}, streamed=True
    ).document


def test_embeddings_are_asked_for_at_their_own_place() -> None:
    """The document of an embedding is forwarded too, and base64 comes back as it is."""
    document = {"model": "small", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 2}
    reply = embeddings("AACAPwAAAAA=", "AAAAAAAAgD8=")

    async def ask() -> tuple[Mapping[str, Any], Received]:
        async with sinking(lambda _: whole(reply)) as sink, openai(GROUND, sink.url()) as upstream:
            return await upstream.embed(document, model="real", timeouts=LONG), sink.requests[0]

    told, received = GROUND.run(ask())
    assert (reply, "/v1/embeddings") == (told, received.path)
    assert {**document, "model": "real"} == received.document


@pytest.mark.parametrize("reply", [whole({"data": None}), whole(b"[]"), stream(*chunks())], ids=str)
def test_what_is_no_list_of_embeddings_is_garbled(reply: Reply) -> None:
    """Embeddings are a list, or no answer."""

    async def ask() -> Fault:
        async with sinking(lambda _: reply) as sink, openai(GROUND, sink.url()) as upstream:
            return (await fault(upstream.embed({"input": "a"}, model="real", timeouts=LONG))).fault

    assert Fault.GARBLED is GROUND.run(ask())


# --- Quirks -----------------------------------------------------------------------------------------------------------

ADJUSTED: Final[Mapping[str, Document]] = {
    "max_tokens": {"max_completion_tokens": ..., "max_tokens": 7},
    "max_completion_tokens": {},
    "no_developer_role": {"messages": [{"role": "system", "content": "be brief"}, RICH["messages"][1]]},
    "no_stream_options": {"stream_options": ...},
    "no_parallel_tool_calls": {"parallel_tool_calls": ...},
    "no_storage": {"store": ..., "metadata": ...},
    "no_service_tier": {"service_tier": ...},
    "no_sampling": {"temperature": ...},
    "no_done": {},
}


@confirms("ADR-0038.R13")
@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_changes_what_it_says_and_nothing_else(name: str) -> None:
    """Each quirk drops, renames or changes its own members of a streamed request."""
    plain = {**RICH, "model": "real", "stream_options": {"include_usage": True, "include_obfuscation": False}}
    changed = {**plain, **ADJUSTED[name]}

    assert {name: value for name, value in changed.items() if value is not ...} == asked(
        RICH, name, streamed=True
    ).document
    assert QUIRKS[name].about


def test_a_name_that_is_there_already_is_not_overwritten() -> None:
    """A member is renamed only where the other one is free; what is no list of messages is left alone."""
    quirk = all_of(["max_tokens", "no_developer_role"])

    assert {"max_tokens": 1} == adjusted({"max_tokens": 1, "max_completion_tokens": 2}, quirk)
    assert {"messages": "none"} == adjusted({"messages": "none"}, quirk)
    assert {"messages": [1, {}]} == adjusted({"messages": [1, {}]}, quirk)
    assert Quirk(about="") == all_of([])


# --- What is answered -------------------------------------------------------------------------------------------------


def test_a_whole_answer_is_returned_as_it_came() -> None:
    """Nothing is taken from it and nothing added: that is the business of who makes the reply."""
    reply = completion("é", extra={"provider": "x"})

    assert reply == answer_to(whole(reply))
    assert reply == answer_to(whole(orjson.dumps(reply), content_type="application/octet-stream"))


def test_a_stream_gives_every_chunk_in_order() -> None:
    """Chunks come as they were worded, usage at the end, and nothing after `[DONE]`."""
    assert (chunks(), None) == stream_of(stream(*chunks()))
    assert (chunks(), None) == stream_of([*stream(*chunks())[:-1], piece(event(chunk({"content": "late"}))), LAST])


SENTINELS: Final = [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data:  [DONE]\n\n", b"data: [DONE] \r\n\r\n"]


@pytest.mark.parametrize("sentinel", SENTINELS)
def test_the_end_is_known_in_every_spelling(sentinel: bytes) -> None:
    """Small servers put blanks around it."""
    assert (chunks(), None) == stream_of(stream(*chunks(), end=sentinel))


def test_what_says_nothing_is_passed_over() -> None:
    """Comments, events without data, ids and retries are no chunks."""
    noise = b": ping\n\ndata:\n\ndata: \n\nid: 7\nretry: 10\n\nevent: ping\ndata:\n\n"
    first, *rest = chunks()

    assert (chunks(), None) == stream_of(stream(noise, first, noise, *rest, noise))


@pytest.mark.parametrize("media_type", [None, "text/plain; charset=utf-8", "Text/Event-Stream;charset=UTF-8"])
def test_a_stream_is_read_whatever_it_is_called(media_type: str | None) -> None:
    """Only JSON is JSON: servers that forget to say what an event stream is are understood."""
    first = b"" if media_type is None else b"Content-Type: %b\r\n" % media_type.encode()
    reply = [head(transfer_encoding="chunked")[:-2] + first + b"\r\n", *stream(*chunks())[1:]]

    assert (chunks(), None) == stream_of(reply)


def test_a_whole_answer_to_a_request_for_a_stream_is_a_stream() -> None:
    """A server that does not stream is understood: its answer comes as chunks, usage included."""
    came, raised = stream_of(whole(completion("all at once"), content_type="application/json; charset=utf-8"))
    made = assemble({"id": "x", "created": 0, "model": "m", **one} for one in came)

    assert raised is None
    assert "all at once" == made["choices"][0]["message"]["content"]
    assert (3, 2) == (made["usage"]["prompt_tokens"], made["usage"]["completion_tokens"])


def test_a_stream_in_place_of_a_whole_answer_is_garbled() -> None:
    """A whole answer was asked for; a stream is none, and is not read."""
    assert Fault.GARBLED is failed(stream(*chunks())).fault


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"])
def test_a_server_without_sentinel_ends_when_every_choice_has(end: bytes) -> None:
    """With the quirk for it, a stream that has finished every choice is whole without `[DONE]`."""
    second = chunk({"content": "b"})
    second["choices"][0]["index"] = 1
    last = chunk({}, "stop")
    last["choices"][0]["index"] = 1
    both = [chunk({"content": "a"}), second, chunk({}, "stop"), last, USAGE]

    assert (both, None) == stream_of(stream(*both, end=end), "no_done")


@pytest.mark.parametrize(
    "sent",
    [
        [chunk({"content": "a"})],
        [chunk({"content": "a"}), USAGE],
        [chunk({}, "stop"), {"choices": [{"index": 1, "delta": {}}]}],
    ],
    ids=str,
)
@confirms("ADR-0038.R12")
def test_a_server_without_sentinel_may_be_cut_all_the_same(sent: list[Document]) -> None:
    """With the quirk, a stream with an open choice is cut; so is one that breaks off inside of an event."""
    assert (sent, Fault.CUT) == stream_of(stream(*sent, end=b""), "no_done")
    assert (chunks(), Fault.CUT) == stream_of(stream(*chunks(), end=b"data: {"), "no_done")


# --- Errors -----------------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R2")
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (300, Fault.FAILED),
        (302, Fault.FAILED),
        (400, Fault.REJECTED),
        (401, Fault.DENIED),
        (402, Fault.FAILED),
        (403, Fault.DENIED),
        (404, Fault.REJECTED),
        (405, Fault.FAILED),
        (408, Fault.FAILED),
        (409, Fault.FAILED),
        (413, Fault.REJECTED),
        (415, Fault.FAILED),
        (422, Fault.REJECTED),
        (429, Fault.LIMITED),
        (500, Fault.FAILED),
        (501, Fault.FAILED),
        (502, Fault.FAILED),
        (503, Fault.FAILED),
        (504, Fault.FAILED),
        (529, Fault.FAILED),
        (599, Fault.FAILED),
        (999, Fault.FAILED),
    ],
)
def test_a_status_is_a_fault(status: int, expected: Fault) -> None:
    """Every status that is no success is a fault, and the status is kept; no word of the body is."""
    body = {"error": {"message": "canary-host said no", "type": "canary", "code": "canary", "param": "canary"}}

    raised = failed(whole(body, status))

    assert (expected, status, None, None) == (raised.fault, raised.status, raised.code, raised.param)
    assert "canary" not in f"{raised} {raised!r} {vars(raised)}"


TOLD: Final[Mapping[str, tuple[Any, str | None, str | None]]] = {
    "openai": (
        {
            "error": {
                "message": "m",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
        "context_length_exceeded",
        "messages",
    ),
    "path": (
        {"error": {"code": "invalid_type", "param": "messages[0].content"}},
        "invalid_type",
        "messages[0].content",
    ),
    "older-path": (
        {"error": {"code": "invalid_type", "param": "messages.[0].role"}},
        "invalid_type",
        "messages[0].role",
    ),
    "dotted-path": ({"error": {"code": None, "param": "messages.0.role"}}, None, "messages[0].role"),
    "vllm": ({"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400}, None, None),
    "flat": ({"object": "error", "code": "invalid_value", "param": "model"}, "invalid_value", "model"),
    "unknown": ({"error": {"code": "canary", "param": "canary"}}, None, None),
    "half-known": ({"error": {"code": "invalid_value ", "param": "messages[0].canary"}}, None, "messages[0]"),
    "no-model": ({"error": {"code": "model_not_found", "param": "model"}}, None, "model"),
    "beyond": ({"error": {"param": "messages[7].content"}}, None, "messages"),
    "text": ({"error": "canary"}, None, None),
    "detail": ({"detail": [{"loc": ["body", "canary"]}]}, None, None),
    "list": ([1], None, None),
    "long": ({"error": {"param": "messages" * 1000}}, None, None),
    "numbers": ({"error": {"code": 7, "param": 7}}, None, None),
}


@confirms("ADR-0038.R14")
@pytest.mark.parametrize(("body", "code", "param"), TOLD.values(), ids=TOLD)
def test_of_an_error_only_known_words_are_told(body: Any, code: str | None, param: str | None) -> None:  # noqa: ANN401
    """Codes are OpenAI's, places are in the request; whatever else an error says stays here."""
    raised = failed(whole(orjson.dumps(body), 400))

    assert (Fault.REJECTED, code, param) == (raised.fault, raised.code, raised.param)


@confirms("ADR-0038.R14")
def test_a_code_of_another_status_is_not_told() -> None:
    """Codes and places are for what the caller did wrong; of the gateway's own key they say nothing to anybody."""
    raised = failed(whole({"error": {"code": "invalid_value", "param": "messages"}}, 401))

    assert (Fault.DENIED, None, None) == (raised.fault, raised.code, raised.param)


@confirms("ADR-0046.R7")
@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        # What LiteLLM says without a database to a key that is not its own.
        (400, {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}, Fault.DENIED),
        (400, {"message": "m", "type": "invalid_request_error", "code": "invalid_api_key"}, Fault.DENIED),
        (422, {"message": "m", "type": "authentication_error", "param": "messages"}, Fault.DENIED),
        (400, {"message": "invalid_api_key", "type": "invalid_request_error", "code": None}, Fault.REJECTED),
        (429, {"message": "m", "type": "authentication_error"}, Fault.LIMITED),
        (503, {"message": "m", "type": "no_db_connection"}, Fault.FAILED),
    ],
)
def test_a_key_that_is_refused_in_words_is_refused(status: int, error: Document, expected: Fault) -> None:
    """A word for a refused key counts more than a status that is for what the caller wrote, and nothing else of it."""
    raised = failed(whole({"error": error}, status))

    assert (expected, status, None, None) == (raised.fault, raised.status, raised.code, raised.param)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"error":', b"x" * 100_000])
def test_an_error_without_a_sound_body_is_its_status(body: bytes) -> None:
    """What cannot be read, and what is longer than any error, changes nothing."""
    raised = failed(whole(body, 400))

    assert (Fault.REJECTED, 400, None) == (raised.fault, raised.status, raised.code)


def test_an_error_whose_body_does_not_come_is_its_status() -> None:
    """A status is known; nobody waits for long to hear more."""
    raised = failed([head(503, content_length="100", retry_after="3"), b"{", Wait(None)])

    assert (Fault.FAILED, 503, 3.0) == (raised.fault, raised.status, raised.retry_after)


INSIDE: Final[Mapping[str, tuple[Document, Fault, int | None]]] = {
    "openai": ({"error": {"message": "m", "type": "server_error", "code": None}}, Fault.FAILED, None),
    "vllm": ({"error": {"message": "m", "type": "BadRequestError", "code": 400}}, Fault.REJECTED, 400),
    "openrouter": ({"error": {"code": 429, "message": "m"}, "choices": []}, Fault.LIMITED, 429),
    "litellm": ({"error": {"code": "429", "message": "m"}}, Fault.LIMITED, 429),
    "worded": ({"error": {"type": "rate_limit_error", "message": "m"}}, Fault.LIMITED, 429),
    "overloaded": ({"type": "error", "error": {"type": "overloaded_error"}}, Fault.FAILED, 529),
    "sglang": ({"object": "error", "message": "m", "code": 403}, Fault.DENIED, 403),
    "text": ({"error": "canary"}, Fault.FAILED, None),
    "odd": ({"error": {"code": 7, "status": "canary"}}, Fault.FAILED, None),
}


@confirms("ADR-0038.R2")
@pytest.mark.parametrize(("document", "expected", "status"), INSIDE.values(), ids=INSIDE)
def test_an_error_under_a_success_is_an_error(document: Document, expected: Fault, status: int | None) -> None:
    """An error in place of an answer, or of a chunk, is one, with the status that it states."""
    raised = failed(whole(document))

    assert (expected, status) == (raised.fault, raised.status)
    assert ([], expected) == stream_of(whole(document))
    assert ([], expected) == stream_of(stream(document))
    assert ([chunks()[0]], expected) == stream_of(stream(chunks()[0], document, chunks()[1]))
    assert ([chunks()[0]], expected) == stream_of(stream(chunks()[0], b"event: error\n" + event(document)))


def test_an_event_named_error_is_one() -> None:
    """Whatever is in it."""
    assert ([chunks()[0]], Fault.FAILED) == stream_of(stream(chunks()[0], b'event: error\ndata: {"message": "m"}\n\n'))


def test_a_whole_answer_that_is_no_completion_is_no_stream() -> None:
    """JSON in place of a stream has to be a completion."""
    assert ([], Fault.GARBLED) == stream_of(whole({"choices": [{"index": 0}]}))
    assert ([], Fault.GARBLED) == stream_of(whole({"hello": "there"}))


# --- When to come back ------------------------------------------------------------------------------------------------

RETRIES: Final = [
    ({}, None),
    ({"retry-after": "7"}, 7.0),
    ({"retry-after": " 7 "}, 7.0),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after": "1000000000"}, LONGEST_RETRY),
    ({"retry-after": "9" * 400}, None),
    ({"retry-after": "-1"}, None),
    ({"retry-after": "1e3"}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "٣"}, None),
    ({"retry-after": "Sun, 14 Jun 2026 12:00:30 GMT"}, 30.0),
    ({"retry-after": "Sun, 14 Jun 2026 14:00:30 +0200"}, 30.0),
    ({"retry-after": "Sunday, 14-Jun-26 12:00:30 GMT"}, 30.0),
    ({"retry-after": "Sun Jun 14 12:00:30 2026"}, 30.0),
    ({"retry-after": "Sun, 14 Jun 2026 11:00:00 GMT"}, 0.0),
    ({"retry-after": "Sun, 14 Jun 2099 12:00:00 GMT"}, LONGEST_RETRY),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
    ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
    ({"retry-after-ms": "1000000000"}, LONGEST_RETRY),
]


@confirms("ADR-0038.R15")
@pytest.mark.parametrize(("headers", "seconds"), RETRIES, ids=str)
def test_when_to_come_back_is_read_in_every_form(headers: Mapping[str, str], seconds: float | None) -> None:
    """Milliseconds, seconds and dates are read; nonsense is nothing, and too long is the longest."""
    assert seconds == retry_after(headers, lambda: NOW)


@given(st.text() | st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S +9999")))
def test_no_header_breaks_the_reader(text: str) -> None:
    """Whatever stands in the header, it is a time that is believed, or none."""
    found = retry_after({"retry-after": text, "retry-after-ms": text}, lambda: datetime(2026, 6, 14, tzinfo=UTC))

    assert found is None or 0 <= found <= LONGEST_RETRY


@confirms("ADR-0038.R15")
def test_a_limited_provider_says_when_to_come_back() -> None:
    """The status and the delay are with the fault."""
    raised = failed(whole({"error": {}}, 429, retry_after="20"))

    assert (Fault.LIMITED, 429, 20.0) == (raised.fault, raised.status, raised.retry_after)


# --- Places -----------------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R14")
@given(st.text(alphabet="mesag[]0.1x", max_size=30))
def test_a_place_is_always_in_the_request(path: str) -> None:
    """Whatever path an error names, what is told of it leads to something that the caller sent."""
    request: dict[str, Any] = {"m": [{"e": 1, "s": [0]}], "a": {"g": {"m": 1}}}

    told = path_within(path, request)
    if told is not None:
        value: Any = request
        for step in told.replace("[", ".").replace("]", "").split("."):
            value = value[int(step)] if isinstance(value, list) else value[step]


def test_codes_are_words_of_openai() -> None:
    """None of them names a model, a provider or a host."""
    assert {code for code in CODES if not code.replace("_", "a").isalnum() or "model" in code} == set()


def test_a_stream_that_is_done_needs_no_more_of_its_body() -> None:
    """`[DONE]` ends a stream although the body goes on; who reads on gets nothing more."""

    async def ask() -> int:
        async with (
            sinking(lambda _: [STREAMED, piece(event(chunks()[0])), piece(DONE), Wait(None)]) as sink,
            openai(GROUND, sink.url()) as upstream,
        ):
            opened = await upstream.chat_stream(HELLO, model="real", timeouts=LONG)
            came = [one async for batch in opened for one in batch]
            more = [one async for batch in opened for one in batch]
            await opened.aclose()
            await asyncio.sleep(0)
            return len(came) + len(more)

    assert 1 == GROUND.run(ask())
