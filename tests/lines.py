"""A gateway on a socket in this process, and callers who write bytes.

Laws of this file:
- The server is the real one, in a thread of its own; only its deadlines are shorter than in earnest.
- Bytes are sent as they are given, and nothing is added.
"""

import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

import attrs
import pytest

from dragoman.server import Ending, Wire, listen
from dragoman.server.life import Config, Server
from fakes import TOKEN, House
from process import LOOPBACK, PATIENCE, Answer, read_answer

QUICK: Final = Wire(head=0.5, body_pause=0.5, body=1.5, idle=0.4, unread=0.5, drain=0.3)
"""What the wire may cost, but that nobody waits for ten seconds."""

AT_ONCE: Final = Ending(delay=0, grace=5)


@attrs.frozen(kw_only=True)
class Line:
    """A gateway that listens; *server* is what serves it."""

    house: House
    port: int
    server: Server

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE)

    def say(self, *pieces: bytes) -> Answer:
        """Send *pieces* over a connection of their own, and return the first answer."""
        with self.connect() as line:
            for piece in pieces:
                line.sendall(piece)
            return read_answer(line)

    def say_all(self, sent: bytes, *, methods: Sequence[str] = ()) -> list[Answer]:
        """Send bytes over a connection of their own, and return every answer until the gateway closes it."""
        with self.connect() as line:
            line.sendall(sent)
            return read_answers(line, methods=methods)

    def events(self) -> list[dict[str, object]]:
        """Return every event since the test began.

        The gateway has one thread: when it answers a new request, the events of all that it has ended are written.
        """
        self.say(request("GET", "/livez", X_Request_ID="settled"))
        return [event for event in self.house.log.requests if event.get("caller_request_id") != "settled"]

    def all_events(self, count: int) -> list[dict[str, object]]:
        """Return every event since the test began, as soon as there are *count*: who leaves does not see his end."""
        for _ in range(1000):
            if len(self.events()) >= count:
                break
        return self.events()


@contextlib.contextmanager
def on_a_line(house: House, wire: Wire = QUICK, ending: Ending = AT_ONCE) -> Iterator[Line]:
    """Serve *house* on a free port until the end of the block."""
    house.log.requests.clear()
    with listen(LOOPBACK, 0, wire) as listener:
        port = listener.getsockname()[1]
        server = Server(Config(lambda: house.app, wire=wire, ending=ending))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Line(house=house, port=port, server=server)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            house.app.draining = False
            assert not thread.is_alive()
    assert not house.log.failures, house.log.failures


def request(method: str, path: str, body: bytes = b"", /, **headers: str | None) -> bytes:
    """Return a request; names of *headers* have underscores for hyphens, and a header that is None is left out."""
    usual: dict[str, str | None] = {"Host": "gateway"}
    if body:
        usual["Content_Length"] = str(len(body))
    stated = {name: value for name, value in (usual | headers).items() if value is not None}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in stated.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chat(body: bytes = b"", /, **headers: str | None) -> bytes:
    """Return a chat request of somebody who may pass."""
    usual = {"Authorization": f"Bearer {TOKEN}", "Content_Type": "application/json"}
    return request("POST", "/v1/chat/completions", body, **(usual | headers))


def read_answers(line: socket.socket, *, methods: Sequence[str] = ()) -> list[Answer]:
    """Return every answer on *line* until the other side closes it; *methods* are those of the requests, else GET."""
    answers: list[Answer] = []
    with line.makefile("rb") as file:
        while file.peek(1):
            method = methods[len(answers)] if len(answers) < len(methods) else "GET"
            response = http.client.HTTPResponse(_Reader(file), method=method)  # type: ignore[arg-type]
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            answers.append(Answer(status=response.status, headers=headers, body=response.read()))
    return answers


class _Reader:
    """What `HTTPResponse` takes for a socket: it reads from a file that stays open."""

    def __init__(self, file: object) -> None:
        self._file = file

    def makefile(self, _: str) -> object:
        return _Kept(self._file)


class _Kept:
    """A file that is not closed with the response that was read from it."""

    def __init__(self, file: object) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def close(self) -> None:
        """Leave it open."""


BODY: Final = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
CHUNKED: Final = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def refusals(line: Line, count: int = 1) -> list[tuple[object, object]]:
    """Return status and refusal of each event, as soon as there are *count*."""
    return [(event["status"], event.get("refusal")) for event in line.all_events(count)]


def kind(answer: Answer) -> str:
    """Return the code that the canonical contract gives the answer."""
    code: str = answer.json()["error"]["code"]
    return code


LAST: Final = request("GET", "/livez", Connection="close", X_Request_ID="last")
"""A request whose answer shows that a connection was read up to here."""

_POST: Final = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"
_ENDED: Final = b"\r\n\r\n0\r\n\r\n"


def _coded(*values: bytes, name: bytes = b"Transfer-Encoding") -> bytes:
    """Return a request with these transfer codings, each in a field of its own, and an empty body in chunks."""
    return _POST + b"\r\n".join(name + b":" + value for value in values) + _ENDED


AMBIGUOUS: Final = {
    "length and coding": _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked" + _ENDED,
    "coding and length": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5" + _ENDED,
    "no length and coding": _POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked" + _ENDED,
    "two lengths": _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "a length twice": _POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": _POST + b"Content-Length: 5, 5\r\n\r\nabcde",
    "a length with a sign": _POST + b"Content-Length: +5\r\n\r\nabcde",
    "a negative length": _POST + b"Content-Length: -5\r\n\r\nabcde",
    "a length in base 16": _POST + b"Content-Length: 0x5\r\n\r\nabcde",
    "a length with a space": _POST + b"Content-Length: 5 5\r\n\r\nabcde",
    "a length without digits": _POST + b"Content-Length: \r\n\r\nabcde",
    "a length of 20 digits": _POST + b"Content-Length: 18446744073709551617\r\n\r\na",
    "another coding": _coded(b" gzip"),
    "identity": _coded(b" identity"),
    "two codings": _coded(b" gzip, chunked"),
    "chunked first": _coded(b" chunked, gzip"),
    "chunked twice": _coded(b" chunked", b" chunked"),
    "chunked twice in one": _coded(b" chunked, chunked"),
    "chunked and identity": _coded(b" chunked", b" identity"),
    "identity and chunked": _coded(b" identity", b" chunked"),
    "a comma before chunked": _coded(b" ,chunked"),
    "a comma behind chunked": _coded(b" chunked,"),
    "a letter before chunked": _coded(b" xchunked"),
    "a vertical tab before chunked": _coded(b" \x0bchunked"),
    "a tab behind chunked": _coded(b" chunked\t"),
    "quotes around chunked": _coded(b' "chunked"'),
    "a parameter of chunked": _coded(b" chunked;a=b"),
    "no coding": _coded(b""),
    "a space before the colon": _coded(b" chunked", name=b"Transfer-Encoding "),
    "a tab before the colon": _coded(b" chunked", name=b"Transfer-Encoding\t"),
    "a folded coding": _coded(b"\r\n chunked"),
    "a return before chunked": _coded(b" \rchunked"),
    "a space before the name": _POST + b" Transfer-Encoding: chunked" + _ENDED,
    "a coding in HTTP/1.0": _coded(b" chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a folded header": _POST + b"X: a\r\n b\r\n\r\n",
    "a folded first header": b"GET /livez HTTP/1.1\r\n Host: gateway\r\nHost: gateway\r\n\r\n",
    "line feeds alone": b"GET /livez HTTP/1.1\nHost: gateway\n\n",
    "a line feed behind a header": b"GET /livez HTTP/1.1\r\nHost: gateway\nX: a\r\n\r\n",
    "a line feed behind the head": b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\n",
    "a line feed before the head": b"\nGET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a line feed behind an empty line": b"\r\n\nGET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a return alone": b"GET /livez HTTP/1.1\r\nHost: gateway\rX: a\r\n\r\n",
    "a null": _POST + b"X: a\0b\r\n\r\n",
    "a control character": _POST + b"X: a\x1fb\r\n\r\n",
    "a delete": _POST + b"X: a\x7fb\r\n\r\n",
    "a null in a name": _POST + b"X\0: a\r\n\r\n",
    "no name": _POST + b": a\r\n\r\n",
    "no colon": _POST + b"chunked\r\n\r\n",
    "a control character in the target": b"GET /livez\x01 HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a space in the target": b"GET /livez a HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a fragment": b"GET /livez#a HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a target without a slash": b"GET livez HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a star": b"GET * HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "another scheme": b"GET ftp://gateway/livez HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "HTTP/0.9": b"GET /livez\r\nHost: gateway\r\n\r\n",
    "HTTP/2.0": b"GET /livez HTTP/2.0\r\nHost: gateway\r\n\r\n",
    "HTTP/1.2": b"GET /livez HTTP/1.2\r\nHost: gateway\r\n\r\n",
}
"""Requests that two readers could read in two ways, and such as are none."""

BROKEN_CHUNKS: Final = (
    b"2\r\nabc\r\n0\r\n\r\n",
    b"2\r\na\r\n0\r\n\r\n",
    b"2\nab\r\n0\r\n\r\n",
    b"2\r\nab\n0\r\n\r\n",
    b"2\r\nab0\r\n\r\n",
    b"2 \r\nab\r\n0\r\n\r\n",
    b" 2\r\nab\r\n0\r\n\r\n",
    b"0x2\r\nab\r\n0\r\n\r\n",
    b"-2\r\nab\r\n0\r\n\r\n",
    b"x\r\nab\r\n0\r\n\r\n",
    b"\r\nab\r\n0\r\n\r\n",
    b"2;a\nb\r\nab\r\n0\r\n\r\n",
    b"11111111111111111\r\nab\r\n0\r\n\r\n",
    b"2\r\nab\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"2\r\nab\r\n0\r\n folded\r\n\r\n",
)
"""Bodies in chunks that do not end as they should."""


def missing(program: str, consequence: str) -> NoReturn:
    """Skip the test, or fail it in CI, because *program* is not there."""
    reason = f"{program} is not on PATH, so that {consequence}"
    if os.environ.get("CI"):  # noqa: TID251 - a test's own question, not the gateway's
        pytest.fail(reason)
    pytest.skip(reason)
