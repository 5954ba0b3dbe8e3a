"""No bytes on the wire are a fault of ours, and each request that is in them has one answer and one event."""

from collections.abc import Iterator
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms
from hypothesis import HealthCheck, given, settings
from hypothesis import example as with_example
from hypothesis import strategies as st

from fakes import TOKEN, build_house, effective
from lines import AMBIGUOUS, BODY, BROKEN_CHUNKS, CHUNKED, LAST, QUICK, Line, chat, on_a_line, read_answers, request

IMPATIENT: Final = attrs.evolve(QUICK, head=0.1, body_pause=0.1, idle=0.1, drain=0.1)
"""Most of what is sent here does not end, and is waited for."""

KNOWN: Final = {100, 200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 417, 431, 501}


@pytest.fixture(scope="module")
def impatient() -> Iterator[Line]:
    """Serve a canonical contract and a dialect."""
    with on_a_line(build_house({"/": effective(), "/ibex": effective("ibex", mount="/ibex")}), IMPATIENT) as line:
        yield line


def judge(line: Line, sent: bytes) -> None:
    """Send bytes, and assert that every answer is one of the contract's, with an event of its own."""
    line.events()
    line.house.log.requests.clear()
    with line.connect() as caller:
        caller.sendall(sent)
        answers = [answer for answer in read_answers(caller) if answer.status != 100]

    assert {answer.status for answer in answers} <= KNOWN
    assert all("x-request-id" in answer.headers for answer in answers)
    assert sorted(answer.status for answer in answers) == sorted(int(str(one["status"])) for one in line.events())
    assert [] == line.house.log.failures


fuzz = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
pieces = st.sampled_from(
    [
        *AMBIGUOUS.values(),
        *BROKEN_CHUNKS,
        CHUNKED,
        LAST,
        chat(BODY),
        chat(Transfer_Encoding="chunked"),
        chat(Content_Length="3"),
        request("GET", "/livez"),
        request("OPTIONS", "/v1/models"),
        b"\r\n",
        b"\n",
        b"\0",
        b"GET ",
        b"HTTP/1.1",
        b"Host: a",
        b": ",
        b"0\r\n\r\n",
    ]
)


@confirms("ADR-0034.R5", "ADR-0004.R7")
@fuzz
@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=20), st.binary(max_size=40))
@with_example(b"\xff", b"/\xff", b"X", b"\xff")
@with_example(b"' OR 1=1 --", b"/v1/models/' OR 1=1 --", b"X", b"")
def test_any_bytes_as_token_path_and_header_are_answered(
    impatient: Line, token: bytes, path: bytes, name: bytes, value: bytes
) -> None:
    """Any bytes as a token, in the path, and as a header get an answer of the contract, each with one event."""
    judge(impatient, b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + b"\r\n\r\n" + LAST)
    judge(impatient, b"GET /" + path + b" HTTP/1.1\r\nHost: a\r\n" + name + b": " + value + b"\r\n\r\n" + LAST)


@confirms("ADR-0034.R5", "ADR-0034.R4")
@fuzz
@given(st.lists(pieces | st.binary(max_size=10), max_size=6).map(b"".join))
def test_any_bytes_at_all_are_answered(impatient: Line, sent: bytes) -> None:
    """Whatever is sent over a connection, each request in it has one answer of the contract and one event."""
    judge(impatient, sent)


@confirms("ADR-0034.R8")
def test_a_token_of_any_bytes_is_refused(impatient: Line) -> None:
    """Every byte that a header may have, as a token, is an invalid credential, and the right token is a valid one."""
    allowed = [code for code in range(256) if code == 9 or (code >= 32 and code != 127)]
    sent = [b"a" + bytes([code]) + b"a" for code in allowed] + [TOKEN.encode()]
    requests = (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + b"\r\n\r\n" for token in sent)

    assert [401] * len(allowed) + [200] == [impatient.say(one).status for one in requests]
