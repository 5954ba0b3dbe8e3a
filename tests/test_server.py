"""The server against the real thing: sockets on a loopback port, and a process of its own."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.server import KERNEL_BUFFER, listen, raw_response
from dragoman.web.context import Presented
from fakes import effective, example
from process import LOOPBACK, PATIENCE, Answer, Served, read_answer, served
from wire import CHAT

MIB: Final = 1024 * 1024
BODY: Final = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a gateway in a process of its own."""
    with served(tmp_path_factory.mktemp("server") / "log", "demo", "--port", "0") as running:
        yield running


def head(method: str, path: str, **headers: str) -> bytes:
    """Return the head of a request; names of *headers* have underscores for their hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chat(gateway: Served, **headers: str) -> bytes:
    """Return the head of a chat request that passes every check of its headers."""
    usual = {"Authorization": gateway.authorization, "Content_Type": "application/json"}
    return head("POST", CHAT, **(usual | headers))


def exchange(gateway: Served, sent: bytes) -> tuple[Answer, bytes]:
    """Send bytes, and return the answer and what came after it until the gateway closed its side."""
    with gateway.connect() as line:
        line.sendall(sent)
        answer = read_answer(line)
        return answer, line.recv(1)


@confirms("ADR-0006.R3", "ADR-0013.R1", "ADR-0015.R1")
@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nX-Null: a\x00b\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: gateway\r\nContent-Length: many\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: gateway\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
    ],
)
def test_malformed_http_is_answered_by_the_contract(gateway: Served, sent: bytes) -> None:
    """What is no HTTP gets the contract's 400 with its headers, one event, and a closed connection."""
    before = len(gateway.events())

    answer, rest = exchange(gateway, sent)

    error = answer.json()["error"]
    expected = example(effective(), "malformed_http")["error"]
    varying = {"request_id": answer.headers["x-request-id"], "timestamp": error["timestamp"]}
    assert (400, expected | varying, b"") == (answer.status, error, rest)
    assert ("application/json", "close") == (answer.headers["content-type"], answer.headers["connection"])
    assert {"x-trace-id", "x-response-time"} < set(answer.headers)
    [event] = gateway.events()[before:]
    assert (error["request_id"], 400, "malformed_http") == (event["request_id"], event["status"], event["refusal"])


def send_until_refused(line: socket.socket, piece: bytes, *, most: int) -> int:
    """Send *piece* again and again until the other side is gone; return how many bytes were accepted."""
    accepted = 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while accepted < most:
            accepted += line.send(piece)
    return accepted


@confirms("ADR-0010.R4", "ADR-0010.R5")
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_of_a_strangers_64_mib_little_is_accepted_and_the_401_can_be_read(gateway: Served, framing: str) -> None:
    """A stranger who sends 64 MiB is stopped before 4 MiB, and still reads why."""
    piece = b" " * 65536
    stated = {"Content_Length": str(64 * MIB)} if framing == "length" else {"Transfer_Encoding": "chunked"}
    written = piece if framing == "length" else b"10000\r\n" + piece + b"\r\n"
    with socket.socket() as line:
        line.settimeout(PATIENCE)
        # What the client's own kernel keeps would count as accepted otherwise.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        line.connect((LOOPBACK, gateway.port))
        line.sendall(chat(gateway, Authorization="Bearer nobody's", **stated))
        accepted = send_until_refused(line, written, most=64 * MIB)
        answer = read_answer(line)

    assert accepted <= 4 * MIB
    assert (401, "invalid_api_key", "close") == (
        answer.status,
        answer.json()["error"]["code"],
        answer.headers["connection"],
    )


@confirms("ADR-0008.R2", "ADR-0010.R4")
@pytest.mark.parametrize("stated", [{"Content_Length": "100"}, {"Transfer_Encoding": "chunked"}])
def test_a_stranger_is_answered_while_his_body_stalls(gateway: Served, stated: dict[str, str]) -> None:
    """A refusal does not wait for a body that never comes; the connection is closed behind it."""
    answer, rest = exchange(gateway, chat(gateway, Authorization="Bearer nobody's", **stated))

    assert (401, "close", b"") == (answer.status, answer.headers["connection"], rest)


@confirms("ADR-0010.R5")
@pytest.mark.parametrize("ahead", [0, MIB // 4])
def test_a_stranger_who_goes_on_sending_is_not_reset(gateway: Served, ahead: int) -> None:
    """The gateway closes its own side at once, and takes the rest of a body below its bound: a reset undoes the 401."""
    size = MIB * 15 // 16
    with gateway.connect() as line:
        # Both kernels together keep less than the body, so that all of it is accepted only if the gateway reads on.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        head = chat(gateway, Authorization="Bearer nobody's", Content_Length=str(size))
        line.sendall(head + b" " * ahead)
        answer = read_answer(line)
        assert b"" == line.recv(1)

        line.sendall(b" " * (size - ahead))  # raises when the connection is reset

    assert 401 == answer.status


@confirms("ADR-0010.R4")
def test_a_stranger_is_not_told_to_continue(gateway: Served) -> None:
    """A client that asks before it sends its body gets the refusal, and never the 100."""
    with gateway.connect() as line:
        line.sendall(chat(gateway, Authorization="Bearer nobody's", Content_Length="9", Expect="100-continue"))

        assert line.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_who_may_pass_is_told_to_continue(gateway: Served) -> None:
    """A client that asks before it sends its body gets the 100, and then the answer to the body."""
    with gateway.connect() as line:
        line.sendall(chat(gateway, Content_Length=str(len(BODY)), Expect="100-continue"))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == line.recv(65536)

        line.sendall(BODY)
        assert 501 == read_answer(line).status


@confirms("ADR-0010.R4")
def test_a_connection_is_kept_after_a_body_was_read(gateway: Served) -> None:
    """Refusals after the body was read, and requests without one, leave the connection open for the next request."""
    with gateway.connect() as line:
        answers = []
        for sent in (
            chat(gateway, Content_Length=str(len(BODY))) + BODY,
            chat(gateway, Content_Length="2") + b"{}",
            chat(gateway, Transfer_Encoding="chunked") + b"2\r\n[]\r\n0\r\n\r\n",
            head("GET", "/nowhere"),
            head("GET", "/v1/models"),
            head("OPTIONS", CHAT),
            head("HEAD", "/healthz") + head("GET", "/healthz"),
        ):
            line.sendall(sent)
            if not sent.startswith(b"HEAD"):
                answers.append(read_answer(line))
        assert line.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")

    assert [501, 400, 400, 404, 401, 204] == [answer.status for answer in answers]
    assert {None} == {answer.headers.get("connection") for answer in answers}


@confirms("ADR-0010.R4")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/nowhere", 404), ("PUT", CHAT, 405), ("POST", CHAT, 401), ("OPTIONS", CHAT, 204)],
)
def test_a_connection_is_closed_after_an_unread_body(gateway: Served, method: str, path: str, status: int) -> None:
    """Whatever is answered before the body was read closes the connection, also when all of the body is there."""
    answer, rest = exchange(gateway, head(method, path, Content_Length="2") + b"{}")

    assert (status, "close", b"") == (answer.status, answer.headers["connection"], rest)


@confirms("ADR-0015.R1", "ADR-0015.R2")
@pytest.mark.parametrize("leave", ["gracefully", "with a reset"])
def test_a_caller_who_leaves_has_one_event(gateway: Served, leave: str) -> None:
    """A caller who leaves in the middle of his body has one event, with his id."""
    sent_id = f"left-{leave.replace(' ', '-')}"
    with gateway.connect() as line:
        line.sendall(chat(gateway, Content_Length="100", X_Request_ID=sent_id) + b'{"model"')
        if leave == "with a reset":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    [event] = gateway.events_of(sent_id)
    assert (400, "invalid_json") == (event["status"], event["refusal"])


def test_nothing_but_events_is_logged(gateway: Served) -> None:
    """The server adds no words of its own to the log: every line is an event, and none is a failure."""
    exchange(gateway, b"NONSENSE\r\n\r\n")

    assert {"request"} == {event["event"] for event in gateway.events()}


def test_a_presented_answer_is_written_as_http() -> None:
    """An answer is written with its status line, its headers in order, and the framing of its body."""
    headers = [(b"x-a", b"1"), (b"connection", b"close")]
    fields = b"x-a: 1\r\nconnection: close\r\ncontent-type: application/json\r\n"

    with_body = raw_response(Presented(status=400, headers=headers, body=b"{}"))
    without = raw_response(Presented(status=503, headers=headers, body=None))

    assert b"HTTP/1.1 400 Bad Request\r\n" + fields + b"content-length: 2\r\n\r\n{}" == with_body
    assert b"HTTP/1.1 503 Service Unavailable\r\n" + fields + b"content-length: 0\r\n\r\n" == without


def test_a_listener_takes_a_free_port_and_bounds_its_buffer() -> None:
    """Port 0 takes a free port, and the kernel keeps no more than twice the buffer, in each direction."""
    with listen(LOOPBACK, 0) as listener, socket.socket() as plain:
        for direction in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bounded, usual = (one.getsockopt(socket.SOL_SOCKET, direction) for one in (listener, plain))
            assert usual != bounded <= 2 * KERNEL_BUFFER

        assert listener.getsockname()[1] > 0


def test_an_address_that_is_taken_is_an_error() -> None:
    """A port that somebody listens on cannot be listened on again."""
    with listen(LOOPBACK, 0) as listener, pytest.raises(OSError, match="in use"):
        listen(LOOPBACK, listener.getsockname()[1])
