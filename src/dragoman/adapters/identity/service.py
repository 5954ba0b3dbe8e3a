"""Serves an identity over gRPC, with the standard health service (ADR-0031).

Laws of this file:
- What the inner identity cannot say is UNAVAILABLE, and never an answer.
- No text of a token, and none of an error, goes into a reply or a log.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, TypeVar

import grpc
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from dragoman.adapters.identity._pb.identity_pb2 import (
    ValidateAgentRequest,
    ValidateAgentResponse,
    ValidateTokenRequest,
    ValidateTokenResponse,
)
from dragoman.adapters.identity._pb.identity_pb2_grpc import (
    IdentityServiceServicer,
    add_IdentityServiceServicer_to_server,
)
from dragoman.model import OrganizationId, Rate, rate_text
from dragoman.ports import EventLog, Identity, IdentityUnavailableError

NAMES: Final = ("", "dragoman.identity.v1.IdentityService")
"""What the health service knows: the whole server, and its one service."""

PROBE: Final = ""
"""The token that is asked for to see whether there is an answer: nobody's."""

CHECK_SECONDS: Final = 1.0
"""How often the inner identity is tried, and how long it may take, for the health service."""

GRACE_SECONDS: Final = 1.0
"""How long a question in work may take when the service stops; who asks has given up by then."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

OPTIONS: Final = (
    # Two services on one port would take turns, each with half of the questions.
    ("grpc.so_reuseport", 0),
    # A gateway pings every 100 ms while a question waits; five minutes apart is what is allowed if nothing is said.
    ("grpc.http2.min_ping_interval_without_data_ms", 50),
    # A question is a token, which was a header of at most 32 KiB; as UTF-8 it may have twice as many bytes.
    ("grpc.max_receive_message_length", 128 * 1024),
)
"""What the server is told."""

Context: TypeAlias = grpc.aio.ServicerContext[object, object]
T = TypeVar("T")


class _Servicer(IdentityServiceServicer):
    """Answers from an *identity*; its faults go to the *log*, by type."""

    def __init__(self, identity: Identity, log: EventLog) -> None:
        self._identity = identity
        self._log = log

    async def ValidateToken(self, request: ValidateTokenRequest, context: Context) -> ValidateTokenResponse:  # noqa: N802 - the proto's name
        principal = await self._answer(self._identity.principal(request.token), context)
        if principal is None:
            return ValidateTokenResponse(valid=False)
        return ValidateTokenResponse(
            valid=True,
            organization_id=principal.organization,
            key_id=principal.key,
            scopes=sorted(principal.scopes),
            organization_rate=_text(principal.organization_rate),
            key_rate=_text(principal.key_rate),
            organization_token_rate=_text(principal.organization_token_rate),
            key_token_rate=_text(principal.key_token_rate),
            daily_requests=principal.daily_requests,
            daily_tokens=principal.daily_tokens,
        )

    async def ValidateAgent(self, request: ValidateAgentRequest, context: Context) -> ValidateAgentResponse:  # noqa: N802 - the proto's name
        organization = OrganizationId(request.organization_id)
        agent = await self._answer(self._identity.agent(organization, request.named), context)
        if agent is None:
            return ValidateAgentResponse(valid=False)
        return ValidateAgentResponse(valid=True, agent_id=agent.id, name=agent.name)

    async def _answer(self, answer: Awaitable[T], context: Context) -> T:
        try:
            return await answer
        except IdentityUnavailableError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody knows who is calling
            self._log.failure({"error": f"{type(error).__module__}.{type(error).__qualname__}"})
        return await context.abort(grpc.StatusCode.UNAVAILABLE, "who is calling cannot be said now")


def _text(rate: Rate | None) -> str | None:
    return None if rate is None else rate_text(rate)


@asynccontextmanager
async def serving(
    identity: Identity,
    *,
    address: str,
    credentials: grpc.ServerCredentials | None,
    log: EventLog,
    check_seconds: float = CHECK_SECONDS,
) -> AsyncIterator[int]:
    """Serve *identity* at *address*, `host:port`, until the end of the block, and yield the port.

    Port 0 takes a free one. Without *credentials* it speaks in the clear.

    Raises:
        OSError: the address is taken, or is none of this machine.
    """
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # its words about what callers sent are not wanted
    server = grpc.aio.server(options=OPTIONS)
    add_IdentityServiceServicer_to_server(_Servicer(identity, log), server)
    healthy = health.HealthServicer()
    add_HealthServicer_to_server(healthy, server)
    port = _bind(server, address, credentials)
    await _tell_health(healthy, serves=await _can_answer(identity, check_seconds))
    await server.start()
    checking = asyncio.create_task(_keep_telling_health(healthy, identity, check_seconds))
    try:
        yield port
    finally:
        checking.cancel()
        await healthy.enter_graceful_shutdown()
        await server.stop(GRACE_SECONDS)


async def serve_until_told(  # noqa: PLR0913 - what a service is made of
    identity: Identity,
    *,
    address: str,
    credentials: grpc.ServerCredentials | None,
    log: EventLog,
    listening: Callable[[int], None],
    lifeline: int | None = None,
) -> None:
    """Serve *identity* as `serving` does, until SIGTERM or SIGINT, or until nobody holds the other end of *lifeline*.

    *listening* is called with the port as soon as questions are answered; *lifeline* is the file descriptor of a pipe.
    """
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, told.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # whoever started this process may have held them back

    def look(pipe: int) -> None:
        if not os.read(pipe, 1024):
            loop.remove_reader(pipe)
            told.set()

    if lifeline is not None:
        loop.add_reader(lifeline, look, lifeline)
    async with serving(identity, address=address, credentials=credentials, log=log) as port:
        listening(port)
        await told.wait()


def server_credentials(*, certificate: bytes, key: bytes, caller_ca: bytes | None) -> grpc.ServerCredentials:
    """Return what proves this service to callers, from PEM; with a *caller_ca* they must prove themselves to it."""
    return grpc.ssl_server_credentials([(key, certificate)], caller_ca, caller_ca is not None)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    host, _, port = address.rpartition(":")
    # gRPC only says that it cannot, and that in words of its own on standard error.
    with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host.strip("[]"), int(port)))
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise OSError(errno.EADDRNOTAVAIL, "it cannot be bound") from None


async def _keep_telling_health(healthy: health.HealthServicer, identity: Identity, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await _tell_health(healthy, serves=await _can_answer(identity, seconds))


async def _tell_health(healthy: health.HealthServicer, *, serves: bool) -> None:
    status = HealthCheckResponse.SERVING if serves else HealthCheckResponse.NOT_SERVING
    for name in NAMES:
        await healthy.set(name, status)


async def _can_answer(identity: Identity, seconds: float) -> bool:
    """Whether *identity* can say within some *seconds* whose key a token is."""
    try:
        async with asyncio.timeout(seconds):
            await identity.principal(PROBE)
    except Exception:  # noqa: BLE001 - whatever it is, the next caller would meet it too
        return False
    return True
