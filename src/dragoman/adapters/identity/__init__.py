"""Identity over gRPC, both ends: what asks a service, and what serves one (ADR-0031).

Laws of this file:
- Importing it is cheap: gRPC is imported when it is needed, which it is for few gateways and commands.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from dragoman.ports import EventLog, Identity


class AskedIdentity(Identity, Protocol):
    """An identity that a service has; it is asked while the block of `connected` runs, and not known otherwise."""

    def connected(self) -> AbstractAsyncContextManager[None]:
        """Ask the service until the end of the block."""


def build_remote_identity(  # noqa: PLR0913 - what proves either side to the other, one by one
    address: str,
    *,
    ca: bytes | None,
    certificate: bytes | None,
    key: bytes | None,
    now: Callable[[], float],
    log: EventLog,
) -> AskedIdentity:
    """Return an identity that asks the service at *address*, in the clear where there is no *ca*.

    *ca*, *certificate* and *key* are PEM; *now* is monotonic, in seconds.
    """
    # PERF: gRPC takes 0.1 s to import.
    from dragoman.adapters.identity.remote import RemoteIdentity, channel_credentials  # noqa: PLC0415

    credentials = None if ca is None else channel_credentials(ca=ca, certificate=certificate, key=key)
    return RemoteIdentity(address, credentials=credentials, now=now, log=log)


async def serve_identity(  # noqa: PLR0913 - as above
    identity: Identity,
    *,
    address: str,
    ca: bytes | None,
    certificate: bytes | None,
    key: bytes | None,
    log: EventLog,
    listening: Callable[[int], None],
    lifeline: int | None,
) -> None:
    """Serve *identity* at *address* until a signal ends it, in the clear where there is no *certificate*.

    Callers need a certificate of the *ca*, if there is one. *listening* is called with the port as soon as questions
    are answered. With a *lifeline*, the file descriptor of a pipe, it also ends when nobody holds its other end.

    Raises:
        OSError: the address is taken, or is none of this machine.
    """
    from dragoman.adapters.identity.service import serve_until_told, server_credentials  # noqa: PLC0415 - PERF

    credentials = None
    if certificate is not None and key is not None:
        credentials = server_credentials(certificate=certificate, key=key, caller_ca=ca)
    await serve_until_told(
        identity, address=address, credentials=credentials, log=log, listening=listening, lifeline=lifeline
    )
