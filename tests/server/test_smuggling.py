"""Requests that two readers in a row could frame in two ways, sent through nginx, and to the gateway itself.

Laws of this file:
- Every request has an id of its own, and every answer of the gateway says whose it is. An answer that is not the next
  one due shows that somebody read a request where there was none.
"""

import contextlib
import itertools
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.server import Wire
from fakes import build_house
from lines import AMBIGUOUS, BROKEN_CHUNKS, Line, chat, missing, on_a_line, request
from process import LOOPBACK, PATIENCE, free_port, is_listening

ROUNDS: Final = 2
"""How often each attempt is made: what one of them leaves behind may show in the next."""

SILENCE: Final = 0.1
"""Seconds after which nothing more is expected of a connection on which a request did not end."""

CODINGS: Final = (
    b"chunked",
    b"Chunked",
    b"CHUNKED",
    b" chunked",
    b"chunked ",
    b"\tchunked",
    b"chunked\t",
    b"\x0bchunked",
    b"\x0cchunked",
    b"\xa0chunked",
    b"xchunked",
    b"chunkedx",
    b"chunk",
    b'"chunked"',
    b"chunked;q=1",
    b"chunked, identity",
    b"identity, chunked",
    b"identity",
    b"gzip, chunked",
    b",chunked",
    b"chunked,",
    b"chunked, chunked",
    b"",
    b"\r\n chunked",
    b"\n chunked",
    b"\rchunked",
    b"chu\rnked",
    b"chunked\r\nTransfer-Encoding: identity",
    b"identity\r\nTransfer-Encoding: chunked",
    b"x\r\nTransfer-Encoding: chunked",
    b"chunked\r\nTransfer-Encoding: x",
)
"""How the coding of a body may be spelt, rightly and wrongly."""

NAMES: Final = (
    b"Transfer-Encoding:",
    b"Transfer-Encoding :",
    b"Transfer-Encoding\t:",
    b"Transfer_Encoding:",
    b" Transfer-Encoding:",
    b"\tTransfer-Encoding:",
    b"X: x\nTransfer-Encoding:",
    b"X: x\rTransfer-Encoding:",
    b"\nTransfer-Encoding:",
    b"Connection: Transfer-Encoding\r\nTransfer-Encoding:",
    b"Connection: Content-Length\r\nTransfer-Encoding:",
    b"Expect: 100-continue\r\nTransfer-Encoding:",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding:",
)
"""How its header may be spelt, and what may stand before it."""


WHOLE: Final = b"GET /livez HTTP/1.1\r\nHost: gateway\r\nX-Request-ID: HIDDEN\r\n\r\n"
"""A request to be hidden in another one: whoever gets its answer did not ask for it."""

OPEN: Final = b"GET /livez HTTP/1.1\r\nX-Request-ID: HIDDEN\r\nX-Rest: "
"""One that takes the beginning of the next request for its own end."""


def attempts(hidden: bytes) -> Iterator[bytes]:
    """Return requests with a *hidden* one inside, for either reading; `ATTEMPT` and `HIDDEN` stand for their ids.

    They are of somebody who may pass, so that his body is read and his connection kept.
    """
    start = chat(X_Request_ID="ATTEMPT").removesuffix(b"\r\n")
    for name, coding in (*((NAMES[0], one) for one in CODINGS), *((one, b"chunked") for one in NAMES[1:])):
        header = name + b" " + coding + b"\r\n"
        ended = b"0\r\n\r\n" + hidden
        yield start + header + b"Content-Length: %d\r\n\r\n" % len(ended) + ended  # CL.TE
        piece = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
        yield start + b"Content-Length: 4\r\n" + header + b"\r\n" + piece  # TE.CL
        yield start + header + b"\r\n" + ended  # TE alone: the second one is a request of its own, or nothing
    for first, second in ((0, len(hidden)), (len(hidden), 0), (len(hidden), len(hidden))):
        lengths = b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
        yield start + lengths % (first, second) + hidden
        yield start + b"Content-Length: %d, %d\r\n\r\n" % (first, second) + hidden
    for chunks in BROKEN_CHUNKS:
        yield start + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + hidden
    for one in AMBIGUOUS.values():
        yield one.replace(b"\r\n", b"\r\nX-Request-ID: ATTEMPT\r\n", 1) + hidden


@attrs.frozen(kw_only=True)
class Seen:
    """What came over one connection: *due* are the ids of what was sent, *answered* those of the answers, in order."""

    due: Sequence[str]
    answered: Sequence[str]

    @property
    def is_in_order(self) -> bool:
        """Whether each answer is one that is due behind the one before; some may be missing, refused by a proxy."""
        rest = iter(self.due)
        return all(one in rest for one in self.answered)


def ids_in(answers: bytes) -> list[str]:
    """Return the ids of the answers in order; who did not say one is not the gateway, or was not asked by us."""
    ids = re.findall(rb"\r\nx-request-id: ((?:attempt|hidden|innocent)-[0-9]+)\r\n", answers, re.IGNORECASE)
    return [one.decode() for one in ids]


def send(port: int, sent: bytes, due: Sequence[str]) -> Seen:
    """Send bytes over a connection of their own, and return what came until it was closed or nothing came any more."""
    answers = bytearray()
    gone = contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError)
    with socket.create_connection((LOOPBACK, port), PATIENCE) as line, gone:
        line.sendall(sent)
        line.settimeout(PATIENCE if len(due) == 1 else SILENCE)
        while piece := line.recv(65536):
            answers += piece
    return Seen(due=due, answered=ids_in(bytes(answers)))


def assail(port: int, numbers: Iterator[int]) -> Iterator[tuple[bytes, Seen]]:
    """Make every attempt, an innocent request behind each on its connection, and one on another connection."""
    for attempt in (*attempts(WHOLE), *attempts(OPEN)):
        number = next(numbers)
        ids = [f"attempt-{number}", f"hidden-{number}", f"innocent-{number}"]
        innocent = request("GET", "/livez", X_Request_ID=ids[2], Connection="close")
        sent = attempt.replace(b"ATTEMPT", ids[0].encode()).replace(b"HIDDEN", ids[1].encode())
        yield attempt, send(port, sent + innocent, ids)
        other = f"innocent-{next(numbers)}"
        yield attempt, send(port, request("GET", "/livez", X_Request_ID=other, Connection="close"), [other])


@pytest.fixture(scope="module")
def gateway() -> Iterator[Line]:
    """Serve the canonical contract with the deadlines that it has in earnest."""
    with on_a_line(build_house(), Wire()) as line:
        yield line


CONFIGURATION: Final = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateway {{
        server {host}:{upstream};
        keepalive 2;
        keepalive_timeout 2s;
    }}
    server {{
        listen {host}:{port};
        proxy_request_buffering {buffering};
        location / {{
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@pytest.fixture(params=["on", "off"])
def proxy(request: pytest.FixtureRequest, gateway: Line, tmp_path: Path) -> Iterator[int]:
    """Run nginx in front of the gateway, and return its port; it takes whole bodies first, or passes on pieces."""
    program = shutil.which("nginx")
    if program is None:
        missing("nginx", "nothing was sent through it")
    port = free_port()
    places = {"folder": tmp_path, "host": LOOPBACK, "upstream": gateway.port, "port": port}
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(**places, buffering=request.param), encoding="utf-8")
    log = tmp_path / "error.log"
    with subprocess.Popen([str(program), "-e", log, "-p", tmp_path, "-c", configuration]) as process:
        try:
            while not is_listening(port):
                assert process.poll() is None, log.read_text(encoding="utf-8")
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


@confirms("ADR-0034.R4", "ADR-0034.R5")
def test_nothing_is_smuggled_through_a_proxy(gateway: Line, proxy: int) -> None:
    """Behind nginx every answer is the answer to the request whose id it says, whoever sent what before."""
    numbers = itertools.count()
    seen = [one for _ in range(ROUNDS) for one in assail(proxy, numbers)]

    assert [] == [(attempt, one) for attempt, one in seen if not one.is_in_order]
    assert all(one.answered == one.due for _, one in seen if len(one.due) == 1)
    # It was not only nginx that refused: attempts reached the gateway, over connections that were kept.
    reached = [str(event.get("caller_request_id")) for event in gateway.events()]
    assert 20 * ROUNDS < sum(one.startswith("attempt-") for one in reached)


@confirms("ADR-0034.R4", "ADR-0034.R5")
def test_nothing_is_smuggled_past_the_gateway(gateway: Line) -> None:
    """Without a proxy, too, answers are those that are due, and what is ambiguous ends its connection."""
    seen = list(assail(gateway.port, itertools.count()))

    assert [] == [(attempt, one) for attempt, one in seen if not one.is_in_order]
    assert all(one.answered == one.due for _, one in seen if len(one.due) == 1)


def test_an_answer_to_somebody_else_is_noticed() -> None:
    """The judgement above fails for an answer that is not due, comes twice, or comes before its time."""
    due = ["attempt-1", "hidden-1", "innocent-1"]

    assert all(Seen(due=due, answered=one).is_in_order for one in (due, due[1:], due[:1], [due[0], due[2]], []))
    foreign, twice, swapped = ["innocent-2"], [due[0], due[0]], [due[2], due[0]]
    assert not any(Seen(due=due, answered=one).is_in_order for one in (foreign, twice, swapped))
    assert ["innocent-7"] == ids_in(b"HTTP/1.1 200 OK\r\nX-Request-ID: innocent-7\r\n\r\n")
