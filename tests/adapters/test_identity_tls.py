"""TLS between a gateway and an identity service: who proves himself to whom, and what happens to others."""

import asyncio
import time
from typing import Final

import attrs
import grpc
import pytest
import trustme
from gateway_conformance.rules import confirms

from dragoman.adapters.identity.remote import RemoteIdentity, channel_credentials
from dragoman.adapters.identity.service import PROBE, server_credentials, serving
from dragoman.model import Principal
from dragoman.ports import IdentityUnavailableError
from fakes import PRINCIPAL, TOKEN, FakeIdentity, RecordingLog
from process import LOOPBACK

AUTHORITY: Final = trustme.CA()
ANOTHER: Final = trustme.CA()
UNAVAILABLE: Final = "unavailable"


@attrs.frozen
class Proof:
    """A certificate with its key, as PEM."""

    certificate: bytes
    key: bytes


def proof(authority: trustme.CA, name: str = LOOPBACK) -> Proof:
    """Return a certificate of *authority* for *name*."""
    made = authority.issue_cert(name)
    return Proof(b"".join(one.bytes() for one in made.cert_chain_pems), made.private_key_pem.bytes())


def pem(authority: trustme.CA) -> bytes:
    """Return the certificate of *authority*."""
    return authority.cert_pem.bytes()


OWN: Final = proof(AUTHORITY)
CALLER: Final = proof(AUTHORITY, "gateway.test")
TRIES: Final = 5
"""A first handshake may take longer than a deadline, on a machine that is busy."""


def service(own: Proof = OWN, *, callers: trustme.CA | None = None) -> grpc.ServerCredentials:
    """Return the credentials of a service that wants certificates of *callers*, or none."""
    authority = None if callers is None else pem(callers)
    return server_credentials(certificate=own.certificate, key=own.key, caller_ca=authority)


def caller(trusted: trustme.CA = AUTHORITY, own: Proof | None = None) -> grpc.ChannelCredentials:
    """Return the credentials of a caller who has one of his *own*, or none."""
    certificate, key = (None, None) if own is None else (own.certificate, own.key)
    return channel_credentials(ca=pem(trusted), certificate=certificate, key=key)


def ask(
    serves: grpc.ServerCredentials | None, asks: grpc.ChannelCredentials | None
) -> tuple[set[Principal | str | None], set[str]]:
    """Return all that is told by a service with its credentials to a caller with his, and the tokens that it saw."""
    identity = FakeIdentity()

    async def asked() -> set[Principal | str | None]:
        told: set[Principal | str | None] = set()
        async with serving(identity, address=f"{LOOPBACK}:0", credentials=serves, log=RecordingLog()) as port:
            remote = RemoteIdentity(f"{LOOPBACK}:{port}", credentials=asks, now=time.monotonic, log=RecordingLog())
            async with remote.connected():
                for _ in range(TRIES):
                    try:
                        told.add(await remote.principal(TOKEN))
                    except IdentityUnavailableError:
                        told.add(UNAVAILABLE)
        return told

    return asyncio.run(asked()), {token for token in identity.tokens_asked if token != PROBE}


@confirms("ADR-0031.R7")
@pytest.mark.parametrize(
    ("serves", "asks"),
    [
        (service(), caller()),
        (service(callers=AUTHORITY), caller(own=CALLER)),
        (service(), caller(own=CALLER)),
        (service(proof(ANOTHER), callers=AUTHORITY), caller(ANOTHER, CALLER)),
    ],
    ids=["TLS", "mutual TLS", "a certificate that nobody asks for", "an authority for each side"],
)
def test_sides_that_prove_themselves_talk(serves: grpc.ServerCredentials, asks: grpc.ChannelCredentials) -> None:
    """Over TLS, mutual or not, a key is found."""
    told, seen = ask(serves, asks)

    assert (True, {TOKEN}) == (PRINCIPAL in told, seen)


@confirms("ADR-0031.R1", "ADR-0031.R7")
@pytest.mark.parametrize(
    ("serves", "asks"),
    [
        (service(), caller(ANOTHER)),
        (service(proof(AUTHORITY, "other.test")), caller()),
        (service(callers=AUTHORITY), caller()),
        (service(callers=AUTHORITY), caller(own=proof(ANOTHER, "gateway.test"))),
        (service(), None),
        (None, caller()),
    ],
    ids=[
        "the service is of another authority",
        "the service has another name",
        "the caller has no certificate",
        "the caller is of another authority",
        "the caller speaks in the clear",
        "the service speaks in the clear",
    ],
)
def test_sides_that_do_not_prove_themselves_do_not_talk(
    serves: grpc.ServerCredentials | None, asks: grpc.ChannelCredentials | None
) -> None:
    """Where one side does not trust the other, nobody can say who is calling, and the service sees no token."""
    assert ({UNAVAILABLE}, set()) == ask(serves, asks)
