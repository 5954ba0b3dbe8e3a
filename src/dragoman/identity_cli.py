"""The command that serves the store's identity over gRPC, and how `dragoman demo` starts it beside itself (ADR-0031).

Laws of this file:
- Tokens come in the clear from loopback only, unless it is said that they may come from further (ADR-0031.R7).
- Who starts a service ends it; a service that nobody holds any more ends by itself.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Final, NoReturn

from cyclopts import Parameter, validators

from dragoman.app import prepare_store_identity, serve_store_identity
from dragoman.settings import (
    SettingsError,
    is_loopback,
    process_environment,
    read_certificates,
    read_store_path,
)

PORT: Final = 50051
"""Where gRPC services listen by custom."""

_SERVED: Final = "# identity is served at "

_PATIENCE: Final = 10.0
"""Seconds that a service beside this process has to end: it takes one when it must wait for an answer."""

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535), help="0 takes a free port.")]


def identity_service(  # noqa: PLR0913 - one argument an option
    *,
    host: str = "127.0.0.1",
    port: Port = PORT,
    store: str | None = None,
    config: Path | None = None,
    tls_certificate: str | None = None,
    tls_key: str | None = None,
    caller_ca: str | None = None,
    plaintext: Annotated[bool, Parameter(negative="")] = False,
    held: Annotated[bool, Parameter(negative="", show=False)] = False,
) -> None:
    """Serve over gRPC whose key a token is, by the store.

    A gateway asks it where DRAGOMAN_IDENTITY_ADDRESS names it. What it answers is
    told by identity.proto; it has the standard health service.

    For example:
        dragoman identity-service
        dragoman identity-service --port 0 --store dragoman.db
        dragoman identity-service --host :: --tls-certificate s.pem --tls-key s.key

    Args:
        host: Address to listen on; anything but loopback needs a certificate.
        port: Port to listen on.
        store: File that is the store; DRAGOMAN_STORE names one too.
        config: Settings file; DRAGOMAN_CONFIG names one too.
        tls_certificate: File with the certificate of this service and those above it, in PEM.
        tls_key: File with its key.
        caller_ca: File with the authority whose certificate every caller must show, in PEM.
        plaintext: Take tokens in the clear from other machines too.
        held: Begin when a line comes on standard input, and end when that ends.
    """
    names = ("--caller-ca", "--tls-certificate", "--tls-key")
    certificates = read_certificates(caller_ca, tls_certificate, tls_key, names=names)
    if certificates is not None and certificates.certificate is None:
        _refuse("--caller-ca needs --tls-certificate and --tls-key beside it")
    if certificates is not None and plaintext:
        _refuse("--plaintext beside --tls-certificate: say one of them")
    if not host:
        _refuse("--host: an address must not be empty; use 127.0.0.1, or 0.0.0.0 for every interface")
    path = read_store_path(process_environment(), said=store, config=config)
    if certificates is None and not plaintext and not is_loopback(host):
        _refuse(
            f"--host: tokens would come to {host} in the clear; give --tls-certificate and --tls-key, "
            "or accept it with --plaintext"
        )
    bare = f"[{host}]" if ":" in host else host

    def listening(number: int) -> None:
        proof = "in the clear" if certificates is None else "with TLS" if caller_ca is None else "with mutual TLS"
        sys.stdout.write(f"{_SERVED}{bare}:{number} {proof}\n")
        sys.stdout.flush()

    if held:
        prepare_store_identity()
        if not sys.stdin.readline():
            return
    serving = serve_store_identity(
        path,
        address=f"{bare}:{port}",
        certificates=certificates,
        listening=listening,
        lifeline=sys.stdin.fileno() if held else None,
    )
    try:
        asyncio.run(serving)
    except OSError as error:
        _refuse(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port or --host")


def _refuse(message: str) -> NoReturn:
    raise SettingsError(message)


@contextmanager
def beside(store: Path) -> Iterator[Callable[[], str]]:
    """Serve the identity of the file *store* in a process beside this one, until the end of the block.

    What is given lets it begin, when *store* is what it shall be, and returns the address at which it answers. It ends
    also when this process is killed.
    """
    command = [sys.executable, "-m", "dragoman", "identity-service", "--port", "0", "--store", str(store), "--held"]
    process = subprocess.Popen(  # noqa: S603 - this program, with arguments of its own
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # what a terminal tells, it tells this process
    )
    assert process.stdin is not None  # noqa: S101 - both were asked for
    assert process.stdout is not None  # noqa: S101
    with process.stdout as said:
        try:
            with process.stdin as told:
                yield lambda: _begin(told, said)
        finally:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()
            process.wait()


def _begin(told: IO[bytes], said: IO[bytes]) -> str:
    """Let a service that is held begin, and return its address."""
    with suppress(BrokenPipeError):  # it has ended, which the next line says
        told.write(b"\n")
    line = said.readline().decode()
    if not line.startswith(_SERVED):
        _refuse("the identity service beside this process did not start")
    return line.removeprefix(_SERVED).split()[0]
