"""What the head of a request must be, beyond what the parser sees to (ADR-0034).

Laws of this file:
- What two readers could read in two ways is refused; nothing is mended.
"""

import re
from collections.abc import Sequence
from typing import Final

import httptools

from dragoman.errors import Kind

Headers = Sequence[tuple[bytes, bytes]]

WATCHED: Final = frozenset({b"host", b"transfer-encoding", b"expect"})
"""The headers that decide whether a request is served at all."""

VERSIONS: Final = frozenset({"1.0", "1.1"})
"""The parser also knows 0.9 and 2.0."""

# Narrower than RFC 3986, section 3.2.2: no name that anybody serves has a comma, a percent sign or a space.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")

_OPTIONAL_SPACE: Final = b" \t"
"""What may surround a value (RFC 9110, section 5.6.3); the parser leaves it behind one."""

_OFFERED: Final = frozenset({b"connection", b"proxy-connection", b"upgrade", b"http2-settings"})
"""The headers by which an upgrade is offered."""


def begins_with_line_feed(received: bytes) -> bool:
    """Whether a line feed without its carriage return stands before a request; the parser skips them all."""
    if received[0] not in b"\r\n":
        return False
    empty_lines = received[: len(received) - len(received.lstrip(b"\r\n"))]
    return b"\n" in empty_lines.replace(b"\r\n", b"")


def target_of(method: bytes, url: bytes) -> tuple[bytes, bytes] | None:
    """Return path and query of the request target *url*, or None where it is none of *method* (RFC 9112, 3.2)."""
    if b"#" in url:
        return None
    if url.startswith(b"/"):
        path, _, query = url.partition(b"?")
        return path, query
    if url == b"*":
        return (url, b"") if method == b"OPTIONS" else None
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return None
    if not parsed.host or not url.lower().startswith((b"http://", b"https://")):
        return None
    return parsed.path or b"/", parsed.query or b""


def objection(version: str, watched: Headers) -> Kind | None:
    """Return why a request of HTTP *version* with the *watched* headers is not served, or None."""
    if version == "1.1" and len(watched) == 1 and watched[0][0] == b"host" and _HOST.fullmatch(watched[0][1]):
        return None  # PERF: nearly every request
    if version not in VERSIONS:
        return Kind.MALFORMED_HTTP
    # The parser, and who knows who else, takes no space behind a coding.
    codings = [value.lower() for name, value in watched if name == b"transfer-encoding"]
    if codings and (version == "1.0" or codings != [b"chunked"]):
        return Kind.MALFORMED_HTTP
    hosts, expected = (
        [value.strip(_OPTIONAL_SPACE) for name, value in watched if name == wanted] for wanted in (b"host", b"expect")
    )
    if len(hosts) > 1 or (not hosts and version != "1.0") or not all(_HOST.fullmatch(host) for host in hosts):
        return Kind.INVALID_HOST
    if any(value.lower() != b"100-continue" for value in expected):
        return Kind.EXPECTATION_FAILED
    return None


def head_size(method: bytes, url: bytes, headers: Headers) -> int:
    """Return how many bytes a head has, as it is usually written."""
    request_line = len(method) + len(url) + len("  HTTP/1.1\r\n")
    return request_line + sum(len(name) + len(value) + len(": \r\n") for name, value in headers) + len("\r\n")


def without_offer(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """Return the head of a request that offers an upgrade, as one that does not."""
    tokens = [token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")]
    kept = [(name, value) for name, value in headers if name not in _OFFERED]
    if b"close" in tokens:
        kept.append((b"connection", b"close"))
    lines = [b"%s %s HTTP/%s" % (method, url, version.encode("ascii"))]
    lines += [b"%s: %s" % one for one in kept]
    return b"\r\n".join([*lines, b"", b""])
