"""Heads of requests: how much of one is read, and whose it is (ADR-0034)."""

import contextlib
import socket
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from fakes import TOKEN, effective, example
from lines import CHUNKED, QUICK, Line, chat, kind, refusals, request
from process import read_answer
from wire import CHAT

HEAD_BYTES: Final = 32 * 1024


@confirms("ADR-0034.R2")
@pytest.mark.parametrize(("headers", "status"), [(100, 200), (101, 431), (1000, 431)])
def test_a_head_has_at_most_100_headers(line: Line, headers: int, status: int) -> None:
    """With 100 headers a request is served, and with one more it gets 431 and a closed connection."""
    others = {f"X_{number}": "a" for number in range(headers - 2)}

    [answer] = line.say_all(request("GET", "/livez", Connection="close", **others))

    assert (status, "close") == (answer.status, answer.headers["connection"])
    assert [(status, None if status == 200 else "headers_too_large")] == refusals(line)


def padded(size: int) -> bytes:
    """Return a request whose head has *size* bytes."""
    bare = len(request("GET", "/livez", Connection="close", X_Long=""))
    return request("GET", "/livez", Connection="close", X_Long="a" * (size - bare))


@confirms("ADR-0034.R2")
@pytest.mark.parametrize("pieces", [1, 2, 50])
@pytest.mark.parametrize(("size", "status"), [(HEAD_BYTES, 200), (HEAD_BYTES + 1, 431), (8 * HEAD_BYTES, 431)])
def test_a_head_has_at_most_32_kib(line: Line, size: int, pieces: int, status: int) -> None:
    """A head of 32 KiB is served, and with one byte more it gets 431, in one piece or in many."""
    sent = padded(size)
    step = -(-len(sent) // pieces)

    with line.connect() as caller, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), step):
            caller.sendall(sent[start : start + step])
        answer = read_answer(caller)

    assert (status, "close") == (answer.status, answer.headers["connection"])
    assert [(status, None if status == 200 else "headers_too_large")] == refusals(line)


@confirms("ADR-0034.R2")
@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 2 * HEAD_BYTES,
        b"GET /livez HTTP/1.1\r\n" + b"X" * 2 * HEAD_BYTES,
        b"\r\n" * HEAD_BYTES,
        padded(HEAD_BYTES)[:-100] + b"\r\nX: " + b" " * HEAD_BYTES + b"a\r\n\r\n",
    ],
)
def test_no_part_of_a_head_is_without_a_bound(line: Line, sent: bytes) -> None:
    """A target, a name, a value or empty lines without an end get 431."""
    [answer] = line.say_all(sent)

    assert (431, "headers_too_large") == (answer.status, kind(answer))


@confirms("ADR-0034.R2")
@pytest.mark.parametrize("begun", [b"GET /livez HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\nX"])
def test_of_a_head_without_an_end_little_is_accepted(line: Line, begun: bytes) -> None:
    """Of 64 MiB of one header, name or target, less than 4 MiB are taken from the caller."""
    piece, accepted = b"a" * 65536, 0
    with line.connect() as caller, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        caller.sendall(begun)
        while accepted < 64 * 1024 * 1024:
            accepted += caller.send(piece)

    assert accepted < 4 * 1024 * 1024


@confirms("ADR-0034.R2", "ADR-0034.R5")
def test_a_head_behind_another_request_has_the_same_bounds(line: Line) -> None:
    """A head that comes in one piece with the request before it is as long as any, and that request is answered."""
    sent = request("GET", "/livez") + padded(2 * HEAD_BYTES)

    assert [200, 431] == [answer.status for answer in line.say_all(sent)]


MUCH: Final = 16 * HEAD_BYTES
"""More than comes in one read."""


@confirms("ADR-0034.R2")
@pytest.mark.parametrize(
    "endless", [b"1;" + b"a" * MUCH, b"0\r\nX: " + b"a" * MUCH, b"0\r\n" + b"X: a\r\n" * (MUCH // 6)]
)
def test_what_surrounds_chunks_is_bounded(line: Line, endless: bytes) -> None:
    """Extensions and trailers of chunks, which nobody reads, are no way to send without an end."""
    [answer] = line.say_all(chat(Transfer_Encoding="chunked") + b"2\r\n{}\r\n" + endless)

    assert (431, "headers_too_large") == (answer.status, kind(answer))
    assert [(431, "headers_too_large")] == refusals(line)


@confirms("ADR-0034.R9")
def test_a_trailer_is_no_header(line: Line) -> None:
    """What comes behind a body does not say who sent it."""
    trailer = f"Authorization: Bearer {TOKEN}\r\n".encode()
    sent = request("POST", CHAT, Content_Type="application/json", Transfer_Encoding="chunked", Connection="close")

    [answer] = line.say_all(sent + CHUNKED[:-2] + trailer + b"\r\n")

    assert (401, "missing_credential") == (answer.status, line.events()[0]["refusal"])


@confirms("ADR-0034.R2", "ADR-0034.R5")
def test_only_so_many_requests_wait_on_one_connection(line: Line) -> None:
    """Of very many requests at once the first ones are answered, the last of them says that there are no more."""
    answers = line.say_all(request("GET", "/livez") * 5000)

    assert QUICK.pipelined + 1 == len(answers)
    assert ({200}, "close") == ({answer.status for answer in answers}, answers[-1].headers["connection"])
    assert len(answers) == len(line.events())


@confirms("ADR-0034.R3", "ADR-0034.R5")
@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a/b",
        "x/?",
        "a,b",
        "a@b",
        "a:b",
        "a:80:80",
        "a:1234567",
        "[::1",
        "::1",
        "[::1]a",
        "gäteway",
        "a\tb",
        "?",
        "a#",
    ],
)
def test_a_malformed_host_is_refused(line: Line, host: str) -> None:
    """A Host that is no host and perhaps a port gets 400."""
    [answer] = line.say_all(request("GET", "/livez", Host=host))

    assert (400, "invalid_host", "close") == (answer.status, kind(answer), answer.headers["connection"])
    assert [(400, "invalid_host")] == refusals(line)


@confirms("ADR-0034.R3")
@pytest.mark.parametrize(
    "host", ["a", "a.b", "A-1_b.example.", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:80", "a:", " a "]
)
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(line: Line, host: str) -> None:
    """Whatever host is asked for is served."""
    assert 200 == line.say(request("GET", "/livez", Host=host)).status


@confirms("ADR-0034.R3")
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: b\r\nhOST: b\r\n", 400),
        (b"GET /livez HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        (b"GET /livez HTTP/1.0\r\nHost: a/b\r\n", 400),
        (b"GET http://b/livez HTTP/1.1\r\n", 400),
        (b"GET http://b/livez HTTP/1.1\r\nHost: a\r\n", 200),
        (b"GET /livez HTTP/1.0\r\n", 200),
        (b"GET /livez HTTP/1.0\r\nHost: a\r\n", 200),
    ],
)
def test_there_is_exactly_one_host(line: Line, head: bytes, status: int) -> None:
    """HTTP/1.1 has one Host, HTTP/1.0 may have none, and nobody has two."""
    answer = line.say(head + b"\r\n")

    assert (status, [(status, None if status == 200 else "invalid_host")]) == (answer.status, refusals(line))


@confirms("ADR-0006.R2", "ADR-0006.R3")
@pytest.mark.parametrize(
    ("sent", "refused"),
    [
        (request("GET", "/ibex/livez", Host=None), "invalid_host"),
        (request("GET", "/ibex/livez", Expect="miracles"), "expectation_failed"),
        (request("GET", "/ibex/livez", **{f"X_{number}": "a" for number in range(100)}), "headers_too_large"),
        (request("POST", "/ibex/livez", b"a", Transfer_Encoding="chunked"), "malformed_http"),
        (b"GET /ibex/livez HTTP/1.1\r\nHost: a\r\nX-", "request_timeout"),
    ],
)
def test_a_refusal_has_the_shape_of_the_mount_that_was_asked(line: Line, sent: bytes, refused: str) -> None:
    """Where the target was read before something was wrong, the mount it names answers."""
    [answer] = line.say_all(sent)

    shown = example(effective("ibex"), refused)
    varying = {name: answer.json()["error"][name] for name in ("request_id", "timestamp")}
    assert {"error": shown["error"] | varying} == answer.json()
    assert [("/ibex", refused)] == [(event["mount"], event["refusal"]) for event in line.events()]


def test_a_refused_head_has_no_body(line: Line) -> None:
    """A HEAD request that is refused gets the length of a body, and no body."""
    [answer] = line.say_all(request("HEAD", "/livez", Host=None), methods=["HEAD"])

    assert (400, b"") == (answer.status, answer.body)
    assert int(answer.headers["content-length"]) > 0
