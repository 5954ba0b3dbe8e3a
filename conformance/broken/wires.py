"""Gateways behind something that changes the bytes on their way: as a server would that reads them otherwise.

Laws of this file:
- The gateway itself is the real one, behind a real socket; what stands before it sees bytes, in the pieces in which
  they come, and knows no HTTP.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import attrs
from gateway_conformance.exchange import OverSocket, over_socket

Change = Callable[[bytes], bytes]

_PIECE: Final = 1 << 17


def unchanged(passed: bytes) -> bytes:
    """Return the bytes as they are."""
    return passed


@attrs.frozen(kw_only=True)
class Between:
    """What changes bytes on their way *there*, and *back*."""

    there: Change = unchanged
    back: Change = unchanged


@contextmanager
def standing_before(origin: str, between: Between) -> Iterator[OverSocket]:
    """Pass every connection on to the gateway at *origin*."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []
        accepting = threading.Thread(target=_accept, args=[listener, origin, between, opened])
        accepting.start()
        try:
            with over_socket(f"http://127.0.0.1:{listener.getsockname()[1]}") as line:
                yield line
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # which ends `accept`
            accepting.join()
            for one in opened:
                one.close()


def _accept(listener: socket.socket, origin: str, between: Between, opened: list[socket.socket]) -> None:
    address = urlsplit(origin)
    passing = []
    with suppress(OSError):
        while True:
            caller, _ = listener.accept()
            gateway = socket.create_connection((address.hostname, address.port))
            opened += [caller, gateway]
            for source, sink, change in ((caller, gateway, between.there), (gateway, caller, between.back)):
                passing.append(threading.Thread(target=_pass, args=[source, sink, change]))
                passing[-1].start()
    for one in opened:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    for thread in passing:
        thread.join()


def _pass(source: socket.socket, sink: socket.socket, change: Change) -> None:
    with suppress(OSError):
        while passed := source.recv(_PIECE):
            sink.sendall(change(passed))
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def in_own_words(answer: bytes) -> bytes:
    """A server tells malformed HTTP in its own words, as uvicorn does."""
    if not answer.startswith(b"HTTP/1.1 400 "):
        return answer
    words = b"Invalid HTTP request received."
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(words), words)


def _untraceable(answer: bytes) -> bytes:
    return answer.replace(b"x-trace-id:", b"x-other-id:") if answer.startswith(b"HTTP/1.1 431 ") else answer


def _with_another_id(answer: bytes) -> bytes:
    return re.sub(rb"x-request-id: [^\r]*", b"x-request-id: 01a1fb73-186c-70a3-9e7f-b8f276b2fa5e", answer)


def _one_header_less(sent: bytes) -> bytes:
    return sent.replace(b"X: y\r\n", b"", 1)


def _one_host_of_two(sent: bytes) -> bytes:
    return sent.replace(b"Host: x\r\nHost: y\r\n", b"Host: x\r\n")


def _one_length_of_two(sent: bytes) -> bytes:
    return sent.replace(b"Content-Length: 5\r\nTransfer-Encoding", b"Transfer-Encoding")


def _last_one_first(sent: bytes) -> bytes:
    return sent[sent.rindex(b"GET ") :] if b"Broken Header" in sent else sent


def _completed(sent: bytes) -> bytes:
    return sent if b"\r\n\r\n" in sent else sent + b"\r\n\r\n"


def _welcome(answer: bytes) -> bytes:
    refused = answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 415 "))
    return b"HTTP/1.1 100 Continue\r\n\r\n" + answer if refused else answer


def _stalled(sent: bytes) -> bytes:
    head, end, _ = sent.partition(b"\r\n\r\n")
    return head + end if b"Upgrade: h2c" in head else sent


def _led_astray(sent: bytes) -> bytes:
    named = re.search(rb"X-Original-URL: (\S+)", sent)
    return sent if named is None else re.sub(rb"\A(\S+) \S+", rb"\1 " + named[1], sent)


WIRE_SLIPS: Final[Mapping[str, Between]] = {
    "the_answer_to_no_http_is_traceable_too": Between(back=_untraceable),
    "a_head_has_its_headers_and_its_bytes_and_no_more": Between(there=_one_header_less),
    "a_request_is_for_exactly_one_host": Between(there=_one_host_of_two),
    "what_has_two_readings_is_refused": Between(there=_one_length_of_two),
    "every_request_has_one_answer": Between(there=_last_one_first),
    "who_is_too_slow_is_not_waited_for": Between(there=_completed),
    "an_expectation_is_met_or_refused": Between(back=_welcome),
    "an_upgrade_is_not_taken": Between(there=_stalled),
    "what_is_no_request_leaves_one_event_too": Between(back=_with_another_id),
    "the_path_that_is_served_decides": Between(there=_led_astray),
}
"""One slip for every check that needs a socket, by its name."""
