"""Server-sent events: read however they are cut, and written as OpenAI's SDKs read them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import orjson
import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.translate.grammar import Reason, TooLongError
from dragoman.translate.sse import DONE, END, LIMIT, PING, Event, EventReader, frame

NAMED: Final = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'


def read(pieces: Iterable[bytes]) -> list[Event]:
    """Return the events that come out for *pieces*, fed one by one."""
    reader = EventReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def bytewise(text: bytes) -> list[bytes]:
    """Return *text* cut behind every byte."""
    return [text[at : at + 1] for at in range(len(text))]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"data: one\n\n", [Event(b"one")], id="one"),
        pytest.param(b"data: one\n\ndata: two\n\n", [Event(b"one"), Event(b"two")], id="two"),
        pytest.param(NAMED, [Event(b'{"type": "message_stop"}', "message_stop")], id="named"),
        pytest.param(NAMED + b"data: x\n\n", [Event(NAMED[26:-2], "message_stop"), Event(b"x")], id="name of one"),
        pytest.param(b"data: a\ndata: b\n\n", [Event(b"a\nb")], id="several lines"),
        pytest.param(b"data:a\ndata:  b\n\n", [Event(b"a\n b")], id="one space belongs to the form"),
        pytest.param(b"data\n\n", [Event(b"")], id="a field without a colon"),
        pytest.param(b"data:\ndata\n\n", [Event(b"\n")], id="empty lines"),
        pytest.param(b": ping\n\n:\n\ndata: x\n\n", [Event(b"x")], id="comments"),
        pytest.param(b"id: 7\nretry: 9\ndata: x\n\n", [Event(b"x")], id="id and retry"),
        pytest.param(b"Data: x\ndatas: y\n\n", [], id="unknown fields"),
        pytest.param(b"event: a\n\ndata: x\n\n", [Event(b"x")], id="a name without data is forgotten"),
        pytest.param(b"event:\ndata: x\n\n", [Event(b"x")], id="an empty name is none"),
        pytest.param(b"event: a\nevent: b\ndata: x\n\n", [Event(b"x", "b")], id="the last name counts"),
        pytest.param(b"event: \xff\ndata: \xff\n\n", [Event(b"\xff", "\ufffd")], id="no UTF-8"),
        pytest.param(b"\n\n\ndata: x\n\n\n\ndata: y\n\n", [Event(b"x"), Event(b"y")], id="more empty lines"),
        pytest.param(b"data: a: b\n\n", [Event(b"a: b")], id="only the first colon counts"),
        pytest.param(b"data: one\r\n\r\ndata: two\r\n\r\n", [Event(b"one"), Event(b"two")], id="CRLF"),
        pytest.param(b"data: one\r\rdata: two\r\r", [Event(b"one"), Event(b"two")], id="CR"),
        pytest.param(b"data: a\r\ndata: b\rdata: c\n\r\n", [Event(b"a\nb\nc")], id="mixed"),
        pytest.param(b"\xef\xbb\xbfdata: x\n\n", [Event(b"x")], id="a byte order mark"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [Event(b"y")], id="a second one is no mark"),
        pytest.param(b"data: x\n\n\xef\xbb\xbfdata: y\n\n", [Event(b"x")], id="nor is one that comes later"),
        pytest.param(b"data: x\n\ndata: y\n", [Event(b"x")], id="an event that has not ended"),
        pytest.param("data: Grüße 🐢\n\n".encode(), [Event("Grüße 🐢".encode())], id="UTF-8"),
    ],
)
@confirms("ADR-0036.R1")
def test_a_stream_is_read_as_the_standard_says(stream: bytes, events: Sequence[Event]) -> None:
    """Whole, byte by byte, and cut in two at every place."""
    assert events == read([stream])
    assert events == read(bytewise(stream))
    for at in range(len(stream)):
        assert events == read([stream[:at], b"", stream[at:]])


PIECES: Final = st.sampled_from(
    [
        *(b"data: ", b"data:", b"event: ", b"id: 1", b": ", b"x", b"{}", b"\n", b"\n\n", b"\r", b"\r\n"),
        *(b"\r\n\r\n", "é🐢".encode(), b"\xef\xbb\xbf", b"\xff", b"data: {}\n\n", b"data: [DONE]\n\n"),
    ]
)


@confirms("ADR-0036.R1")
@given(st.lists(PIECES, max_size=30).map(b"".join), st.data())
def test_events_are_the_same_however_the_bytes_are_cut(stream: bytes, data: st.DataObject) -> None:
    """A stream of anything, cut anywhere, gives what it gives whole."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]

    whole = read([stream])

    assert whole == read(pieces)
    assert whole == read(bytewise(stream))


def plainly(stream: bytes) -> list[Event]:
    """Return the events of *stream* by the letter of the standard: decode, split into lines, read line by line."""
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, lines, name = [], list[bytes](), b""
    for line in stream.split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if line == b"":
            if lines:
                events.append(Event(b"\n".join(lines), name.decode(errors="replace") or "message"))
            lines, name = [], b""
        elif field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    return events


@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_the_short_way_and_the_letter_agree(stream: bytes) -> None:
    """What is read fast for whole events is what reading line by line gives."""
    assert plainly(stream) == read([stream])


@pytest.mark.parametrize(
    ("stream", "pending"),
    [
        (b"", False),
        (b"data: x\n\n", False),
        (b": ping\n", False),
        (b"data: x\n", True),
        (b"data: x", True),
        (b"event: x\n", True),
        (b"\xef\xbb", True),
        (b": pi", True),
        (b"data: x\r\n\r", False),
    ],
)
def test_a_cut_is_seen(stream: bytes, pending: bool) -> None:  # noqa: FBT001 - a column of the table
    """Whether something has begun that has not ended is known at every place."""
    reader = EventReader()
    reader.feed(stream)

    assert pending is reader.pending


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"data: " + b"x" * LIMIT + b"\n\n"], id="a whole event of one line"),
        pytest.param([b"x" * 65536] * 17, id="a line without an end"),
        pytest.param([b"data: " + b"x" * 65530 + b"\n"] * 17, id="an event without an end"),
        pytest.param([b"data\n" * 1024] * 1025, id="an event of empty lines"),
        pytest.param([b":" + b"x" * LIMIT + b"\n"], id="a comment"),
        pytest.param([b"data: " + b"x" * (LIMIT // 2) + b"\ndata: " + b"x" * (LIMIT // 2) + b"\n\n"], id="two lines"),
        pytest.param([b"x" * LIMIT, b"x\n"], id="a line that ends too late"),
    ],
)
@confirms("ADR-0036.R2")
def test_a_line_or_event_that_is_too_long_is_refused(pieces: Sequence[bytes]) -> None:
    """Beyond a mebibyte an upstream is not listened to."""
    with pytest.raises(TooLongError) as caught:
        read(pieces)

    assert Reason.TOO_LARGE is caught.value.reason


@confirms("ADR-0036.R2")
def test_an_event_of_just_the_limit_is_read() -> None:
    """The limit itself is still allowed, for a line and for the data of an event."""
    longest = b"data: " + b"x" * (LIMIT - 6)

    assert [Event(longest[6:])] == read([longest + b"\n\n"])
    assert [Event(b"x" * (LIMIT - 6) + b"\n1234")] == read([longest, b"\ndata: 1234\n", b"\n"])


def test_many_events_do_not_add_up_to_one_that_is_too_long() -> None:
    """The limit is of each event: after one has ended the next may be as long."""
    long = b"event: e\ndata: " + b"x" * (LIMIT // 2) + b"\n\n"

    assert 8 == len(read([long] * 8))


@given(
    st.recursive(
        st.none() | st.integers(-(2**53), 2**53) | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_what_is_written_is_read_again(document: object) -> None:
    """A document in a frame comes out as one event that holds it, between comments and before the sentinel."""
    events = read([PING + frame(document) + PING + DONE])

    assert [document, END] == [orjson.loads(events[0].data), events[1].data]
    assert {"message"} == {event.name for event in events}


@confirms("ADR-0036.R3")
def test_frames_hold_data_and_nothing_else() -> None:
    """Every line written is data or a comment, with one space: SDKs break on other fields."""
    assert b'data: {"a":"\\n"}\n\n' == frame({"a": "\n"})
    assert b"data: [DONE]\n\n" == DONE
    assert b": ping\n\n" == PING
