"""Callers who take their time: heads and bodies that do not end, and answers that nobody reads (ADR-0034)."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway_conformance.rules import confirms

from dragoman.model import Principal
from dragoman.server import Wire
from fakes import FakeIdentity, build_house
from lines import BODY, LAST, QUICK, Line, chat, kind, on_a_line, read_answers, refusals, request
from process import LOOPBACK
from wire import get


def test_the_figures_are_those_of_the_decision() -> None:
    """Unless somebody says otherwise, the wire bears what ADR-0034 says."""
    expected = Wire(head=10, body_pause=10, body=60, idle=5, unread=60, head_bytes=32 * 1024, headers=100)
    assert expected == Wire()


@confirms("ADR-0034.R1", "ADR-0034.R5")
@pytest.mark.parametrize(
    "sent", [b"G", b"GET / HTTP/1.1\r\nHost: gateway\r\nX-", b"\r\nGET /livez HTTP/1.1\r\nHost: gateway\r\n"]
)
def test_a_head_that_does_not_end_is_answered_408(line: Line, sent: bytes) -> None:
    """A head that begins and does not end gets the contract's 408, one event, and a closed connection."""
    [answer] = line.say_all(sent)

    assert (408, "request_timeout", "close") == (answer.status, kind(answer), answer.headers["connection"])
    assert [(408, "request_timeout")] == refusals(line)


@confirms("ADR-0034.R1")
@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n"])
def test_a_connection_on_which_nothing_begins_is_closed(line: Line, sent: bytes) -> None:
    """Where no request begins there is nobody to answer, and no event."""
    assert [] == line.say_all(sent)
    assert [] == line.events()


@confirms("ADR-0034.R1")
def test_bytes_do_not_gain_time(line: Line) -> None:
    """A head that comes byte by byte has no more time than one that does not come."""
    with line.connect() as caller:
        caller.settimeout(QUICK.head / 20)
        caller.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        answered = b""
        for _ in range(200):
            try:
                answered = caller.recv(65536)
                break
            except TimeoutError:
                caller.sendall(b"a")

    assert answered.startswith(b"HTTP/1.1 408 ")


@confirms("ADR-0034.R1")
def test_a_second_head_has_its_own_time(line: Line) -> None:
    """On a connection that is kept the time of a head begins with its first byte, and an idle one is closed."""
    assert [200, 408] == [answer.status for answer in line.say_all(request("GET", "/livez") + b"GET")]
    assert [200] == [answer.status for answer in line.say_all(request("GET", "/livez"))]


@confirms("ADR-0034.R1")
def test_an_idle_connection_is_not_kept_for_the_time_of_a_head() -> None:
    """Between two requests a connection has less time than a head has when it is new."""
    with on_a_line(build_house(), Wire(head=600, idle=0.1)) as line:
        assert [200] == [answer.status for answer in line.say_all(request("GET", "/livez"))]


class SlowIdentity(FakeIdentity):
    """Takes longer to say who is calling than a head may take."""

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, late."""
        await asyncio.sleep(QUICK.head * 1.5)
        return await super().principal(token)


@confirms("ADR-0034.R1")
def test_time_in_which_nobody_reads_does_not_count() -> None:
    """A head behind requests that are not answered yet is not read, and not late because of that."""
    with on_a_line(build_house(identity=SlowIdentity())) as line, line.connect() as caller:
        caller.sendall(chat(BODY) + request("GET", "/livez") + LAST[:20])
        caller.recv(1, socket.MSG_PEEK)  # until the first is answered
        caller.sendall(LAST[20:])
        answers = read_answers(caller)

    assert [501, 200, 200] == [answer.status for answer in answers]


@confirms("ADR-0034.R1", "ADR-0034.R5")
@pytest.mark.parametrize(
    "sent",
    [
        chat(Content_Length="100"),
        chat(Content_Length="100") + b'{"model"',
        chat(Transfer_Encoding="chunked"),
        chat(Transfer_Encoding="chunked") + b"2\r\n{}\r\n",
        chat(Transfer_Encoding="chunked") + b"2\r\n{}\r\n0\r\nX-Trailer:",
        chat(Content_Length="100", Expect="100-continue"),
    ],
)
def test_a_body_that_pauses_is_answered_408(line: Line, sent: bytes) -> None:
    """A body that does not go on is answered 408 as the one answer of its request, and the connection is closed."""
    answers = line.say_all(sent)

    assert [(408, "request_timeout", "close")] == [
        (answer.status, kind(answer), answer.headers["connection"]) for answer in answers if answer.status != 100
    ]
    assert [(408, "request_timeout")] == refusals(line)
    assert ["chat"] == [event["operation"] for event in line.events()]


@confirms("ADR-0034.R1")
@pytest.mark.parametrize(
    ("stated", "piece"),
    [({"Content_Length": "100000"}, b" "), ({"Transfer_Encoding": "chunked"}, b"1\r\n \r\n")],
)
def test_a_body_that_drips_is_answered_408(line: Line, stated: dict[str, str], piece: bytes) -> None:
    """A body that goes on for ever, without a pause that is too long, is answered 408 when its time is up."""
    with line.connect() as caller:
        caller.settimeout(QUICK.body_pause / 10)
        caller.sendall(chat(**stated))
        answered, pieces = b"", 0
        for _ in range(1000):
            try:
                answered = caller.recv(65536)
                break
            except TimeoutError:
                pieces += 1
                caller.sendall(piece)

    assert answered.startswith(b"HTTP/1.1 408 ")
    # More pieces than fit between two pauses: it was not a pause that ended it.
    assert pieces > 2 * 10


@confirms("ADR-0034.R1")
def test_chunk_extensions_are_no_progress(line: Line) -> None:
    """What belongs to no piece of a body does not gain time for it."""
    with line.connect() as caller:
        caller.settimeout(QUICK.body_pause / 10)
        caller.sendall(chat(Transfer_Encoding="chunked") + b"1;")
        answered, pieces = b"", 0
        while not answered:
            try:
                answered = caller.recv(65536)
            except TimeoutError:
                pieces += 1
                caller.sendall(b"a")

    assert answered.startswith(b"HTTP/1.1 408 ")
    # Fewer pieces than fit into two pauses: it was the first pause that ended it.
    assert pieces < 2 * 10


@confirms("ADR-0034.R1")
@pytest.mark.parametrize("asked", [1, 40])
def test_a_caller_who_does_not_read_is_cut_off(line: Line, asked: int) -> None:
    """A caller who asks for much and reads nothing is cut off, whether his answers wait or are all written."""
    with deaf_caller(line) as caller:
        caller.sendall(request("GET", "/docs/swagger-ui-bundle.js") * asked)

        assert comes_true(lambda: port_of(caller) not in held_ports(line))


@confirms("ADR-0034.R1")
def test_a_caller_who_reads_slowly_is_not_cut_off(line: Line) -> None:
    """As long as he reads at all, a caller gets all of his answers, however long that takes."""
    path = "/docs/swagger-ui-bundle.js"
    with line.connect() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        caller.sendall(request("GET", path) + request("GET", path, Connection="close"))
        received = bytearray()
        while piece := caller.recv(32768):
            received += piece
            time.sleep(0.01)

    assert 2 == received.count(b"HTTP/1.1 200 ")
    assert received.endswith(get(line.house.app, path).body)


@confirms("ADR-0034.R1")
@pytest.mark.parametrize(
    ("begun", "drip"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: gateway\r\nX-Slow: ", b"a"),
        (chat(Content_Length="100000"), b" "),
        (chat(Transfer_Encoding="chunked"), b"1\r\n \r\n"),
    ],
)
def test_200_slow_senders_are_refused_while_others_are_served(line: Line, begun: bytes, drip: bytes) -> None:
    """200 callers whose heads or bodies drip get 408, and whoever asks meanwhile gets his answer."""
    with contextlib.ExitStack() as stack:
        slow = {stack.enter_context(line.connect()): b"" for _ in range(200)}
        for caller in slow:
            caller.sendall(begun)
            caller.setblocking(False)  # noqa: FBT003 - the name is Python's
        served, waiting = [], set(slow)
        while waiting:
            served.append(line.say(LAST).status)
            for caller in list(waiting):
                with contextlib.suppress(BlockingIOError):
                    try:
                        heard = caller.recv(65536)
                    except BlockingIOError:
                        caller.send(drip)
                        continue
                    slow[caller] += heard
                    if not heard:
                        waiting.remove(caller)

    assert {b"HTTP/1.1 408 Request Timeout"} == {heard.split(b"\r\n")[0] for heard in slow.values()}
    assert {200} == set(served)
    assert 200 == sum(event["status"] == 408 for event in line.events())


@confirms("ADR-0034.R1")
def test_200_callers_who_do_not_read_are_cut_off_while_others_are_served(line: Line) -> None:
    """200 callers who ask for much and read nothing are cut off, and whoever asks meanwhile gets his answer."""
    with contextlib.ExitStack() as stack:
        deaf = {stack.enter_context(deaf_caller(line)) for _ in range(200)}
        for caller in deaf:
            caller.sendall(request("GET", "/docs/swagger-ui.css") * 10)
        ports, served = {port_of(caller) for caller in deaf}, []
        while ports & held_ports(line):
            served.append(line.say(LAST).status)

    assert {200} == set(served)


def deaf_caller(line: Line) -> socket.socket:
    """Return a connection for which the kernel keeps little of what its caller does not read."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect((LOOPBACK, line.port))
    return caller


def port_of(caller: socket.socket) -> int:
    """Return the port of a caller."""
    port: int = caller.getsockname()[1]
    return port


def held_ports(line: Line) -> set[int]:
    """Return the ports of the callers whose connections the gateway, or the kernel for it, still holds.

    A caller sees that his connection is gone when he reads, and reading is what he must not do.
    """
    entries = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    pairs = (entry.split()[1:3] for entry in entries)
    return {int(far.split(":")[1], 16) for near, far in pairs if near.endswith(f":{line.port:04X}")} - {0}


def comes_true(condition: Callable[[], bool]) -> bool:
    """Look at *condition*, some 50 times a second, until it holds, and return whether it ever did."""
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.02)
    return False
