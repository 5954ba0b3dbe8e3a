"""The rules that no schema can say, on every mount, in process and over a socket."""

import socket
from typing import Final
from urllib.parse import urlsplit

import attrs
import pytest
from gateway_conformance.answers import comparable, require, require_bytes
from gateway_conformance.calls import valid_request
from gateway_conformance.checks import CHECKS, Check
from gateway_conformance.exchange import Request, in_process
from gateway_conformance.probes import NO_HTTP, Seen, no_requests, provoke
from gateway_conformance.rules import NotApplicable, NotJudged, confirms
from gateway_conformance.target import Target, connect

from courts import Court, checks_not_judged
from gateways import CALLERS, build, real_parts

SECRET: Final = "SECRETc0ffee"

STRANGERS_BODY: Final = 64 << 20
ACCEPTED: Final = 4 << 20
"""Bytes that a stranger may send, and those of them that the gateway and its kernel may take (ADR-0010.R5)."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_gateway_keeps_its_rules(target: Target, check: Check) -> None:
    """Each check, which says itself which rules it confirms, finds them kept."""
    try:
        check(target)
    except NotApplicable as reason:
        pytest.skip(str(reason))
    except NotJudged as lacking:
        assert check.__name__ in checks_not_judged(target)
        pytest.skip(f"not judged: {check.__name__} needs {lacking}")


@confirms("ADR-0006.R1")
def test_the_longest_prefix_that_ends_at_a_segment_is_the_mount(inside: Court) -> None:
    """A path below a mount is answered there; one that only begins like it belongs to the root."""
    root, mounted = inside.target("/"), inside.target("/ibex")

    require(mounted, Request(method="GET", path="/no-such-path"), "unknown_url", rule="ADR-0006.R1")
    for path in ("/ibexx/v1/chat/completions", "/ibe", "/IBEX/v1/chat/completions", "/v1/ibex/chat/completions"):
        require(root, Request(method="GET", path=path), "unknown_url", rule="ADR-0006.R1")


@confirms("ADR-0006.R1", "ADR-0006.R2", "ADR-0006.R3")
def test_without_a_root_the_first_mount_answers_for_what_is_outside(alone: Target) -> None:
    """What no mount claims, and what is no HTTP, is answered in the shape of the first mount."""
    outside = attrs.evolve(alone, mount="/")

    require(outside, Request(method="GET", path="/v1/chat/completions"), "unknown_url", rule="ADR-0006.R1")
    assert set(NO_HTTP) & set(no_requests(alone))
    for sent in no_requests(alone):
        require_bytes(alone, sent, "malformed_http")
    assert "malformed_http" in {seen.kind for seen in provoke(alone) if isinstance(seen, Seen)}


@attrs.frozen
class Failing:
    """An identity and a catalogue that fail with a text that must not get out."""

    async def principal(self, token: str) -> None:
        """Fail."""
        raise LookupError(SECRET, token)

    async def agent(self, organization: str, agent: str) -> None:
        """Fail."""
        raise LookupError(SECRET, organization, agent)


@confirms("ADR-0004.R7")
def test_a_fault_is_the_documented_500_and_tells_nothing() -> None:
    """When a port fails, each operation that asks it answers the contract's 500, with nothing of the fault in it."""
    broken = attrs.evolve(real_parts(), identity=Failing())
    with in_process(build(broken)) as line:
        for mount in broken.documents:
            target = connect(line, mount=mount, callers=CALLERS, outermost=mount == "/")
            for operation in target.promises.operations:
                if operation.scopes is not None:
                    request = valid_request(target, operation)
                    response = require(target, request, "internal_error", rule="ADR-0004.R7")

                    assert SECRET not in f"{response.headers}{response.body!r}"
                    assert CALLERS.token not in f"{response.headers}{response.body!r}"


@confirms("ADR-0010.R4")
def test_the_connection_ends_after_a_refusal_that_left_the_body_unread(outside: Court) -> None:
    """The server closes what it says it closes, and does not take the rest of a body for the next request."""
    target = outside.target("/")
    stranger = valid_request(target, target.promises.operations[0]).without("Authorization")
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(_address(outside), timeout=5) as line:
        line.sendall(_head(stranger.having("Content-Length", str(len(smuggled)))))
        line.sendall(smuggled)
        received = _until_closed(line)

    assert 1 == received.count(b"HTTP/1.1 ")
    assert received.startswith(b"HTTP/1.1 401 ")


@confirms("ADR-0010.R5")
def test_of_a_strangers_body_little_is_accepted(outside: Court) -> None:
    """Of 64 MiB behind a 401 at most 4 MiB are taken, and who goes on sending can still read the answer."""
    target = outside.target("/")
    stranger = valid_request(target, target.promises.operations[0]).without("Authorization")
    block = bytes(1 << 16)
    taken = 0
    with socket.create_connection(_address(outside), timeout=5) as line:
        # What waits in the sender's own kernel has not been accepted; it would grow to megabytes by itself.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(block))
        line.sendall(_head(stranger.having("Content-Length", str(STRANGERS_BODY))))
        try:
            while taken < STRANGERS_BODY:
                taken += line.send(block)
        except OSError:
            pass  # the connection is at its end
        received = _until_closed(line)

    assert taken <= ACCEPTED
    assert received.startswith(b"HTTP/1.1 401 ")


@confirms("ADR-0006.R2")
def test_mounts_do_not_share_their_tables(inside: Court) -> None:
    """The same mistake is told in each mount's own words."""
    targets = [inside.target(mount) for mount in ("/", "/ibex")]
    request = Request(method="GET", path="/no-such-path")

    first, second = (comparable(target.send(request)) for target in targets)

    assert first != second


def _address(court: Court) -> tuple[str, int]:
    address = urlsplit(court.transport.origin)
    assert address.hostname is not None
    assert address.port is not None
    return address.hostname, address.port


def _head(request: Request) -> bytes:
    lines = [f"{request.method} {request.path} HTTP/1.1", "Host: x"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in request.headers), "", ""]).encode()


def _until_closed(line: socket.socket) -> bytes:
    """Return what comes until the other side closes, or resets, the connection."""
    received = b""
    try:
        while block := line.recv(1 << 16):
            received += block
    except ConnectionResetError:
        pass
    return received
