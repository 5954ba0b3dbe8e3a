"""U4 to U6 over the whole gateway: answers that break off, that are none, and that never end."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil
import pytest
from gateway_conformance.rules import confirms

from lanes import CHAT, CLIENT, FaultyHouse, Gateway, Lane, errors_in, events_in, said_in, until
from sink import LAST, STREAMED, Reply, Wait, chunk, chunks, event, head, piece, stream, whole

MEBI: Final = 1024 * 1024

both_mounts: Final = pytest.mark.parametrize("path", [CHAT, CLIENT])


def is_cut(body: bytes) -> bool:
    """Whether a stream ends with one error, and nothing in it looks like its end."""
    events = events_in(body)
    [error] = errors_in(body)
    return "[DONE]" not in events and events[-1]["error"] == error


def mend(gateway: Gateway, lane: Lane) -> None:
    """Let one request go well, so that the failures before it are not followed by others in a row."""
    assert 200 == gateway.ask(lane.quick).status


# --- U4: cut in the middle --------------------------------------------------------------------------------------------


@confirms("ADR-0043.R3", "ADR-0043.R4")
@both_mounts
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_stream_that_is_cut_ends_with_one_error(faulty: FaultyHouse, lane: Lane, path: str, reset: bool) -> None:  # noqa: FBT001
    """Everything that came is there, then one error and no end; nobody is asked again, and what was used is kept."""
    first, hello, *_ = chunks("hello there")
    lane.proxy.cut_after = len(STREAMED + piece(event(first)) + piece(event(hello)))
    lane.proxy.reset = reset
    name = faulty.gateway.name()

    answer = faulty.gateway.ask(lane.quick, path=path, stream=True, name=name)

    assert (200, "hello ") == (answer.status, said_in(answer.body))
    assert is_cut(answer.body)
    assert (1, 1) == (lane.asked, lane.proxy.connections)
    entry = faulty.gateway.entry_of(name)
    assert ("cut", 1, 1, 1) == tuple(entry[one] for one in ("outcome", "estimated", "attempts", "stream"))
    assert entry["input_tokens"] > 0
    assert 2 == entry["output_tokens"]  # of six characters
    assert entry["cost"] == 1_000_000 * entry["input_tokens"] + 2_000_000 * entry["output_tokens"]


@confirms("ADR-0043.R4")
def test_a_stream_that_falls_silent_ends_with_one_error(faulty: FaultyHouse, lane: Lane) -> None:
    """Who begins and says no more is given up after the second between two pieces, and let go."""
    first, hello, *_ = chunks()
    lane.sink.tell(stream(first, hello, Wait(None)))
    name = faulty.gateway.name()

    answer = faulty.gateway.ask(lane.quick, stream=True, name=name)

    assert is_cut(answer.body)
    assert "upstream_timeout" == errors_in(answer.body)[0]["code"]
    assert 950 <= faulty.gateway.event_of(name)["duration_ms"] <= 1500
    assert (1, "timeout") == (lane.asked, faulty.gateway.entry_of(name)["outcome"])
    until(lambda: lane.proxy.open == 0, 1.0)


def test_a_stream_cut_at_any_byte_never_looks_whole(faulty: FaultyHouse, lane: Lane) -> None:
    """Wherever the connection breaks, the answer is a 502, or a part of the text with one error behind it."""
    text = "é 日本 👍"
    reply = stream(*chunks(text))
    size = sum(len(step) for step in reply if isinstance(step, bytes))
    sentinel = len(piece(b"data: [DONE]\n\n") + LAST)
    met = []
    for at in range(1, size - sentinel, 41):
        lane.sink.tell(reply)
        lane.proxy.cut_after = at
        answer = faulty.gateway.ask(lane.quick, stream=True, headers={"Connection": "close"})
        met.append(answer.status)
        if answer.status == 200:
            assert is_cut(answer.body), at
            assert f"{text} ".startswith(said_in(answer.body)), at
        lane.sink._told.clear()  # noqa: SLF001 - what a retry would have got
        lane.proxy.cut_after = None
        mend(faulty.gateway, lane)

    assert {200, 502} == set(met)


# --- U5: garbage ------------------------------------------------------------------------------------------------------

GARBAGE: Final[dict[str, Reply]] = {
    "html": whole(b"<html>canaryprovider: Bad Gateway</html>", content_type="text/html"),
    "half": whole(b'{"choices": [{"canarymodel'),
    "list": whole(b"[]"),
    "null": whole(b"null"),
    "nothing": whole(b""),
    "no UTF-8": whole(b'{"choices": "\xff\xfe"}'),
    "no choices": whole({"choices": []}),
    "compressed": whole(b"\x1f\x8b\x08\x00", content_encoding="gzip"),
    "no content": [head(204)],
    "no HTTP": [b"SSH-2.0-canaryprovider\r\n\r\n"],
    "empty stream": stream(),
    "html in a stream": stream(b"data: <html>canaryprovider\n\n"),
    "a comment": stream(b": nothing\n\n", end=b""),
    "half an event": stream(b'data: {"choices": [{"index": 0, "delta": {"con', end=b""),
    "bad chunk size": [STREAMED, b"zz\r\n"],
}


@both_mounts
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_what_is_no_answer_is_unavailable(faulty: FaultyHouse, lane: Lane, path: str, streamed: bool) -> None:  # noqa: FBT001
    """HTML, half of a document, another protocol, a stream of nothing: 502, or 503 in a dialect that has no other."""
    expected = {CHAT: 502, CLIENT: 503}[path]
    met = {}
    for garbage, reply in GARBAGE.items():
        lane.sink.tell(reply, reply)
        answer = faulty.gateway.ask(lane.quick, path=path, stream=streamed)
        met[garbage] = (answer.status, json.loads(answer.body)["error"] is not None)
        lane.sink._told.clear()  # noqa: SLF001 - what a retry would have got
        mend(faulty.gateway, lane)

    assert dict.fromkeys(GARBAGE, (expected, True)) == met


@confirms("ADR-0043.R4", "ADR-0043.R9")
@both_mounts
@pytest.mark.parametrize(
    "garbage",
    [
        b"data: <html>canaryprovider</html>\n\n",
        b'data: {"choices": [{"index": 0, "delta": {"content": 5}}]}\n\n',
        b'data: {"error": {"message": "canaryprovider is out of canarymodel"}}\n\n',
        b'data: {"choices": "\xff"}\n\n',
        event(chunk({"tool_calls": [{"index": 7, "function": {"arguments": "{"}}]})),
    ],
    ids=["html", "kind", "error", "no UTF-8", "call without a name"],
)
def test_garbage_in_a_stream_is_one_error(faulty: FaultyHouse, lane: Lane, path: str, garbage: bytes) -> None:
    """What was sound before the garbage goes out, and then one error that says nothing of it."""
    first, hello, *_ = chunks()
    lane.sink.tell(stream(first, hello, Wait(0.05), garbage))

    answer = faulty.gateway.ask(lane.quick, path=path, stream=True)

    assert (200, "hello ", 1) == (answer.status, said_in(answer.body), lane.asked)
    assert is_cut(answer.body)


def test_a_stream_is_the_same_wherever_it_is_split(faulty: FaultyHouse, lane: Lane) -> None:
    """At each byte offset, within a character, a line end or the word `data:`, and byte by byte, it says the same."""
    said = "é日👍"
    parts = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": said}}]}]
    parts += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    text = b"".join(json.dumps(one, ensure_ascii=False).encode().join([b"data: ", b"\r\n\r\n"]) for one in parts)
    text += b"data: [DONE]\n\n"
    splits = [[text[:at], text[at:]] for at in range(1, len(text))]
    splits.append([text[at : at + 1] for at in range(len(text))])

    for split in splits:
        steps = [step for one in split for step in (Wait(0.002), piece(one))]
        lane.sink.tell([STREAMED, *steps, LAST])
        answer = faulty.gateway.ask(lane.calm, stream=True)
        told = (answer.status, said_in(answer.body), errors_in(answer.body), events_in(answer.body)[-1])
        assert (200, said, [], "[DONE]") == told, split


# --- U6: without end --------------------------------------------------------------------------------------------------


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """Note the largest resident memory of a process until the end of the block, in bytes beyond what it has now."""
    process, over = psutil.Process(pid), threading.Event()
    before, most = process.memory_info().rss, [0]

    def watch() -> None:
        while not over.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


ENDLESS: Final[dict[str, Reply]] = {
    "lines": [STREAMED, piece(event(chunks()[0])), *[piece(b"x" * 65536)] * 1600],
    "chunk": [STREAMED, piece(event(chunks()[0])), b"%x\r\ndata: " % (100 * MEBI), *[b"x" * 65536] * 1600],
    "close": [head(content_type="text/event-stream"), event(chunks()[0]), b"data: ", *[b"x" * 65536] * 1600],
}


@confirms("ADR-0038.R8")
@pytest.mark.parametrize("kind", ENDLESS)
def test_a_line_without_end_is_given_up(faulty: FaultyHouse, lane: Lane, kind: str) -> None:
    """100 MB without a line end are given up after 1 MiB: an error, a closed connection, no memory to speak of."""
    gateway = faulty.gateway

    def asked() -> None:
        lane.sink.tell(ENDLESS[kind])
        answer = gateway.ask(lane.quick, stream=True)
        assert 200 == answer.status
        assert is_cut(answer.body)
        until(lambda: lane.sink.open == 0)

    asked()
    with watched(gateway.served.process.pid) as most:
        for _ in range(4):
            asked()

    assert most[0] <= 8 * MEBI
    assert lane.sink.sent < 5 * 40 * MEBI  # what is in the buffers of four sockets, and far from all of it
