"""An identity that asks a service over gRPC (ADR-0031).

Laws of this file:
- It fails closed: whatever is no answer, of whatever kind, is `IdentityUnavailableError`, and nothing else comes out.
- No text of a token or of a reply leaves in an error or a log.
- A token goes to the service that is named and nowhere else, whatever the environment says of proxies.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol

import grpc

from dragoman.adapters.identity._pb.identity_pb2 import (
    ValidateAgentRequest,
    ValidateAgentResponse,
    ValidateTokenRequest,
    ValidateTokenResponse,
)
from dragoman.adapters.identity._pb.identity_pb2_grpc import IdentityServiceStub
from dragoman.adapters.identity.answers import Answers
from dragoman.model import Agent, AgentId, KeyId, OrganizationId, Principal, rate_of
from dragoman.ports import EventLog, IdentityUnavailableError

DEADLINE: Final = 0.2
"""Seconds after which a question has no answer (ADR-0031)."""

OPTIONS: Final = (
    # Reconnecting: at once, then after 100 ms, and never more than 1 s apart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # In spite of its name, how long an attempt to connect may take, handshake included; 20 s if nothing is said.
    ("grpc.min_reconnect_backoff_ms", 1000),
    # A peer that is gone without a word, or stopped, keeps its connection: it is pinged while a question has waited for
    # 100 ms, and given up a second later. Never while nobody asks: servers cut off who pings in silence.
    ("grpc.keepalive_time_ms", 100),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.ping_timeout_ms", 1000),
    # Variables such as `http_proxy` would send tokens elsewhere; a TXT record would change the options above.
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    # A service that came back at another address is found at once, and not after 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # An answer is a few hundred bytes.
    ("grpc.max_receive_message_length", 64 * 1024),
)
"""What the channel is told."""


class _Service(Protocol):
    """What the generated stub is, which has no types. *timeout* is in seconds."""

    async def ValidateToken(self, request: ValidateTokenRequest, *, timeout: float) -> ValidateTokenResponse: ...  # noqa: N802, ASYNC109

    async def ValidateAgent(self, request: ValidateAgentRequest, *, timeout: float) -> ValidateAgentResponse: ...  # noqa: N802, ASYNC109


class RemoteIdentity:
    """Fits the port `Identity`, while it is `connected`, in one event loop."""

    def __init__(
        self, address: str, *, credentials: grpc.ChannelCredentials | None, now: Callable[[], float], log: EventLog
    ) -> None:
        """Take `host:port` of the service, None to speak to it in the clear, and a monotonic clock in seconds."""
        self._address = address
        self._credentials = credentials
        self._log = log
        self._good = True
        self._stub: _Service | None = None
        self._principals: Answers[bytes, Principal] = Answers(now)
        self._agents: Answers[tuple[OrganizationId, bytes], Agent] = Answers(now)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Ask the service until the end of the block; it need not be there yet, nor stay."""
        logging.getLogger("grpc").setLevel(logging.CRITICAL)  # its words about replies are not wanted
        channel = _channel(self._address, self._credentials)
        self._stub = IdentityServiceStub(channel)
        try:
            yield
        finally:
            self._stub = None
            await channel.close()

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None when it is nobody's."""
        return await self._principals.about(_digest(token), lambda: self._validate_token(token))

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id or name, or None."""
        key = (organization, _digest(named))
        return await self._agents.about(key, lambda: self._validate_agent(organization, named))

    async def _validate_token(self, token: str) -> Principal | None:
        with self._failing_closed():
            request = ValidateTokenRequest(token=token)
            return _principal(await self._service().ValidateToken(request, timeout=DEADLINE))

    async def _validate_agent(self, organization: OrganizationId, named: str) -> Agent | None:
        with self._failing_closed():
            request = ValidateAgentRequest(organization_id=organization, named=named)
            return _agent(organization, await self._service().ValidateAgent(request, timeout=DEADLINE))

    def _service(self) -> _Service:
        if self._stub is None:
            raise IdentityUnavailableError
        return self._stub

    @contextmanager
    def _failing_closed(self) -> Iterator[None]:
        """Take whatever goes wrong in the block for no answer, and tell the log when that begins and ends.

        It is an error of gRPC, a reply that breaks its promise, or the cancellation by which gRPC says that the
        channel was closed.
        """
        try:
            yield
        except asyncio.CancelledError:
            raise IdentityUnavailableError from None
        except Exception as error:  # noqa: BLE001 - nothing else may come out
            self._tell(_reason(error))
            raise IdentityUnavailableError from None
        self._tell(None)

    def _tell(self, reason: str | None) -> None:
        if self._good == (reason is None):
            return
        self._good = reason is None
        if reason is None:
            self._log.state({"part": "identity", "state": "good"})
        else:
            self._log.state({"part": "identity", "state": "bad", "reason": reason})


def _reason(error: Exception) -> str:
    """Return what may be told of *error*, whose own text is the peer's."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"the identity service gave no answer: {error.code().name}"
    return f"the identity service gave an answer that is none: {type(error).__name__}"


def channel_credentials(*, ca: bytes, certificate: bytes | None, key: bytes | None) -> grpc.ChannelCredentials:
    """Return what a service is proved by, from PEM, and with a *certificate* and its *key* what proves this side."""
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    # Without a scheme, a host such as `unix` would be taken for one.
    target = f"dns:///{address}"
    if credentials is None:
        return grpc.aio.insecure_channel(target, OPTIONS)
    return grpc.aio.secure_channel(target, credentials, OPTIONS)


def _principal(reply: ValidateTokenResponse) -> Principal | None:
    """Return the principal in *reply*, or None.

    Raises:
        ValueError: the reply is not what `identity.proto` says.
    """
    if not reply.valid:
        return None
    organization = _required(reply.organization_id)
    if organization != organization.lower():
        raise ValueError
    return Principal(
        organization=OrganizationId(organization),
        key=KeyId(_required(reply.key_id)),
        scopes=frozenset(reply.scopes),
        organization_rate=rate_of(reply.organization_rate) if reply.HasField("organization_rate") else None,
        key_rate=rate_of(reply.key_rate) if reply.HasField("key_rate") else None,
        organization_token_rate=(
            rate_of(reply.organization_token_rate) if reply.HasField("organization_token_rate") else None
        ),
        key_token_rate=rate_of(reply.key_token_rate) if reply.HasField("key_token_rate") else None,
        daily_requests=reply.daily_requests if reply.HasField("daily_requests") else None,
        daily_tokens=reply.daily_tokens if reply.HasField("daily_tokens") else None,
    )


def _agent(organization: OrganizationId, reply: ValidateAgentResponse) -> Agent | None:
    if not reply.valid:
        return None
    return Agent(id=AgentId(_required(reply.agent_id)), name=_required(reply.name), organization=organization)


def _required(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()
