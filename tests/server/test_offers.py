"""What a request expects or offers: an interim answer, or another protocol (ADR-0034)."""

import re
import shutil
import subprocess
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from fakes import TOKEN
from lines import AMBIGUOUS, BODY, CHUNKED, LAST, Line, chat, kind, missing, read_answers, refusals, request
from process import LOOPBACK, read_answer
from wire import CHAT


@confirms("ADR-0034.R10", "ADR-0034.R5")
@pytest.mark.parametrize(
    "expected", ["miracles", "100-continue, miracles", "", "200-ok", "100-continue\r\nExpect: miracles"]
)
def test_another_expectation_is_refused(line: Line, expected: str) -> None:
    """An Expect other than 100-continue gets 417, before the body."""
    [answer] = line.say_all(chat(Content_Length="9", Expect=expected))

    assert (417, "expectation_failed", "close") == (answer.status, kind(answer), answer.headers["connection"])
    assert [(417, "expectation_failed")] == refusals(line)


@confirms("ADR-0034.R10")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (chat(Content_Length="9", Expect="100-continue", Authorization="Bearer nobody's"), 401),
        (chat(Content_Length="9", Expect="100-continue", Host=None), 400),
        (chat(Content_Length="9", Expect="100-continue", Content_Type="text/plain"), 415),
        (chat(Content_Length="999999999", Expect="100-continue"), 413),
        (request("PUT", CHAT, Content_Length="9", Expect="100-continue"), 405),
        (request("POST", "/nowhere", Content_Length="9", Expect="100-continue"), 404),
        (request("GET", "/livez", Expect="100-continue", Connection="close"), 200),
    ],
)
def test_nobody_is_told_to_continue_for_nothing(line: Line, sent: bytes, status: int) -> None:
    """Where the body is not wanted, or there is none, the answer is the first and only thing that is said."""
    assert [status] == said(line, sent)


def said(line: Line, *pieces: bytes) -> list[int]:
    """Return every status that comes back, interim ones too; the gateway has read each piece when the next is sent."""
    with line.connect() as caller:
        for piece in pieces:
            caller.sendall(piece)
            line.events()
        with caller.makefile("rb") as file:
            return [int(status) for status in re.findall(rb"^HTTP/1\.1 ([0-9]{3}) ", file.read(), re.MULTILINE)]


@confirms("ADR-0034.R10")
@pytest.mark.parametrize("expected", ["100-continue", "100-CONTINUE"])
def test_who_may_send_is_told_to_continue(line: Line, expected: str) -> None:
    """Where the body is wanted and has not come, the caller is told to send it."""
    with line.connect() as caller:
        caller.sendall(chat(Content_Length=str(len(BODY)), Expect=expected))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == caller.recv(65536)

        caller.sendall(BODY)
        assert 501 == read_answer(caller).status


def test_who_has_sent_is_not_told_to_continue(line: Line) -> None:
    """A body that has come with its head, or the beginning of one, needs no interim answer."""
    head = chat(Content_Length=str(len(BODY)), Expect="100-continue", Connection="close")

    assert [501] == said(line, head + BODY)
    assert [501] == said(line, head + BODY[:1], BODY[1:])
    assert [100, 501] == said(line, head, BODY)


def test_http_1_0_has_no_expectation(line: Line) -> None:
    """An older caller would take an interim answer for the answer."""
    head = chat(Content_Length=str(len(BODY)), Expect="100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")

    assert [501] == said(line, head, BODY)


OFFERS: Final = (
    {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQAAP__"},
    {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "AAAA"},
    {"Connection": "keep-alive, upgrade", "Upgrade": "TLS/1.0"},
    {"Proxy_Connection": "Upgrade", "Upgrade": "h2c"},
    {"Upgrade": "h2c"},
)


@confirms("ADR-0034.R11")
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("framing", ["length", "chunks", "later"])
def test_an_offer_to_upgrade_changes_nothing(line: Line, offer: dict[str, str], framing: str) -> None:
    """A request that offers an upgrade is served with its body, and so is the one behind it."""
    plain, offering = (
        (chat(Transfer_Encoding="chunked", **headers) + CHUNKED)
        if framing == "chunks"
        else chat(BODY, X_Request_ID="one", **headers)
        for headers in ({}, offer)
    )
    expected = [(answer.status, answer.body) for answer in line.say_all(plain + LAST)]
    line.house.log.requests.clear()

    cut = len(offering) - len(BODY) // 2 if framing == "later" else len(offering)
    with line.connect() as caller:
        caller.sendall(offering[:cut])
        if framing == "later":
            line.events()  # the gateway has read the first part by now
        caller.sendall(offering[cut:] + LAST)
        answers = read_answers(caller)

    assert [501, 200] == [status for status, _ in expected]
    assert expected == [(answer.status, answer.body) for answer in answers]
    assert [{"upgrade"} & set(answer.headers) for answer in answers] == [set(), set()]
    assert 2 == len(line.events())


@confirms("ADR-0034.R11", "ADR-0034.R4")
@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
def test_an_offer_to_upgrade_hides_nothing(line: Line, name: str) -> None:
    """What has two readings is refused with an offer, too."""
    method, rest = AMBIGUOUS[name].split(b"\r\n", 1) if b"\r\n" in AMBIGUOUS[name] else (AMBIGUOUS[name], b"")
    offer = b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"

    assert [400] == [answer.status for answer in line.say_all(method + offer + rest + LAST)]


@confirms("ADR-0034.R11")
def test_an_offer_does_not_keep_a_connection_that_is_to_be_closed(line: Line) -> None:
    """Who offers an upgrade and wants the connection closed gets that."""
    [answer] = line.say_all(chat(BODY, Connection="Upgrade, close", Upgrade="h2c") + LAST)

    assert (501, "close") == (answer.status, answer.headers["connection"])


@confirms("ADR-0034.R11")
def test_curl_with_its_offer_is_served(line: Line) -> None:
    """With --http2, curl offers that with every body, and gets its answer."""
    if shutil.which("curl") is None or "HTTP2" not in printed("curl", "--version"):
        missing("a curl that knows HTTP/2", "its offer was not made")
    url = f"http://{LOOPBACK}:{line.port}{CHAT}"
    headers = [f"-HAuthorization: Bearer {TOKEN}", "-HContent-Type: application/json"]
    options = ["--http2", "--silent", "--max-time", "10", "-w", "%{http_code} %{http_version}"]

    assert printed("curl", *options, *headers, "-d", BODY.decode(), url).endswith("501 1.1")


def printed(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_tunnel_is_not_opened(line: Line) -> None:
    """CONNECT is a method that no path has, and what follows it is not read."""
    for target, status in (("/livez", 405), ("gateway:80", 400)):
        [answer] = line.say_all(request("CONNECT", target) + LAST)
        assert (status, "close") == (answer.status, answer.headers["connection"])
