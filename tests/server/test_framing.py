"""Where a request ends: what has two readings, and what comes behind a request (ADR-0034)."""

import socket

import pytest
from gateway_conformance.rules import confirms

from lines import AMBIGUOUS, BODY, BROKEN_CHUNKS, CHUNKED, LAST, Line, chat, kind, read_answers, refusals, request
from process import read_answer
from wire import CHAT


@confirms("ADR-0034.R4", "ADR-0034.R5")
@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
def test_what_has_two_readings_is_refused(line: Line, name: str) -> None:
    """A request that two readers could frame in two ways gets 400 and a closed connection; none behind it is read."""
    answers = line.say_all(AMBIGUOUS[name] + LAST)

    assert [(400, "malformed_http", "close")] == [
        (answer.status, kind(answer), answer.headers["connection"]) for answer in answers
    ]
    assert [(400, "malformed_http")] == refusals(line)


@confirms("ADR-0034.R4", "ADR-0034.R5")
@pytest.mark.parametrize("chunks", BROKEN_CHUNKS)
def test_broken_chunks_are_the_one_answer_of_their_request(line: Line, chunks: bytes) -> None:
    """A body whose chunks are broken gets 400, once, in one event, and nothing behind it is read."""
    for sent in (
        (chat(Transfer_Encoding="chunked") + chunks + LAST,),
        (chat(Transfer_Encoding="chunked"), chunks + LAST),
    ):
        line.house.log.requests.clear()
        with line.connect() as caller:
            for piece in sent:
                caller.sendall(piece)
            answers = read_answers(caller)

        assert [(400, "malformed_http", "close")] == [
            (answer.status, kind(answer), answer.headers["connection"]) for answer in answers
        ]
        [event] = line.events()
        assert (400, "malformed_http", "chat") == (event["status"], event["refusal"], event["operation"])


@confirms("ADR-0034.R5")
def test_broken_chunks_do_not_take_an_answer_that_was_due_before_them(line: Line) -> None:
    """Who may not pass is told that, whatever is wrong with his body, and once."""
    answers = line.say_all(request("POST", CHAT, Transfer_Encoding="chunked") + b"2\r\nabc" + LAST)

    assert [401] == [answer.status for answer in answers]
    assert [(401, "missing_credential")] == refusals(line)


@confirms("ADR-0034.R5")
@pytest.mark.parametrize("garbage", [b"GARBAGE\r\n\r\n", b"\x00", b"GET /\x01 HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00"])
def test_garbage_behind_requests_does_not_take_their_answers(line: Line, garbage: bytes) -> None:
    """Every request before the garbage is answered in its order, and then the garbage is, and the connection closed."""
    sent = chat(BODY, X_Request_ID="one") + request("GET", "/livez", X_Request_ID="two") + garbage

    answers = line.say_all(sent)

    assert [501, 200, 400] == [answer.status for answer in answers]
    assert ["one", "two"] == [answer.headers["x-request-id"] for answer in answers[:2]]
    assert [None, None, "close"] == [answer.headers.get("connection") for answer in answers]
    assert {(200, None), (400, "malformed_http"), (501, "provider_not_configured")} == set(refusals(line, 3))
    assert 3 == len(line.events())


@confirms("ADR-0034.R5")
def test_requests_in_one_piece_are_answered_in_their_order(line: Line) -> None:
    """Whatever comes on one connection at once is answered one after the other, each with its own id."""
    ids = [f"id-{number}" for number in range(40)]
    requests = [
        chat(BODY, X_Request_ID=one) if number % 2 else request("GET", "/livez", X_Request_ID=one)
        for number, one in enumerate(ids)
    ]

    answers = line.say_all(b"".join(requests) + LAST)

    assert [*ids, "last"] == [answer.headers["x-request-id"] for answer in answers]
    assert [200, 501] * 20 + [200] == [answer.status for answer in answers]


@confirms("ADR-0034.R4")
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_requests_are_read_the_same_in_pieces(line: Line, size: int) -> None:
    """However a connection cuts its requests into pieces, they are answered the same."""
    sent = chat(Transfer_Encoding="chunked") + CHUNKED + b"\r\n" + chat(BODY) + LAST
    with line.connect() as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            caller.sendall(sent[start : start + size])
        answers = read_answers(caller)

    assert [501, 501, 200] == [answer.status for answer in answers]


@confirms("ADR-0034.R4")
def test_an_empty_line_may_come_in_halves(line: Line) -> None:
    """An empty line between requests, which older callers send, is none of them, wherever it is cut."""
    with line.connect() as caller:
        caller.sendall(chat(BODY) + b"\r")
        line.events()  # the gateway has read this by now
        caller.sendall(b"\n" + LAST)
        answers = read_answers(caller)

    assert [501, 200] == [answer.status for answer in answers]


@confirms("ADR-0034.R5", "ADR-0010.R4")
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_what_follows_an_answer_that_closes_is_not_served(line: Line, framing: str) -> None:
    """Behind a refusal that did not wait for the body, neither the body nor a request behind it is looked at."""
    stated = {"Content_Length": str(len(BODY))} if framing == "length" else {"Transfer_Encoding": "chunked"}
    with line.connect() as caller:
        caller.sendall(request("POST", CHAT, **stated))
        answer = read_answer(caller)
        caller.sendall((BODY if framing == "length" else CHUNKED) + LAST)
        rest = caller.recv(65536)

    assert (401, "close", b"") == (answer.status, answer.headers["connection"], rest)
    assert [401] == [event["status"] for event in line.events()]
