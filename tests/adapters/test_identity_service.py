"""The service over an identity: its health, what it does when the identity cannot answer, and how it ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import grpc
import pytest
from gateway_conformance.rules import confirms
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from dragoman.adapters.identity._pb.identity_pb2 import ValidateTokenRequest, ValidateTokenResponse
from dragoman.adapters.identity._pb.identity_pb2_grpc import IdentityServiceStub
from dragoman.adapters.identity.service import GRACE_SECONDS, NAMES, serving
from dragoman.model import Principal
from dragoman.ports import IdentityUnavailableError
from fakes import OWN, PRINCIPAL, TOKEN, FakeIdentity, RecordingLog
from process import LOOPBACK, PATIENCE

SERVING: Final = HealthCheckResponse.SERVING
NOT_SERVING: Final = HealthCheckResponse.NOT_SERVING
NO_PROXY: Final = (("grpc.enable_http_proxy", 0),)
SECRET: Final = "what-nobody-may-read"


@attrs.frozen
class Service:
    """A service over *identity*, and a *channel* to it; its log is *log*."""

    identity: FakeIdentity
    channel: grpc.aio.Channel
    log: RecordingLog

    async def ask(self, token: str = TOKEN) -> ValidateTokenResponse:
        """Return the reply about *token*."""
        request = ValidateTokenRequest(token=token)
        reply: ValidateTokenResponse = await IdentityServiceStub(self.channel).ValidateToken(request, timeout=PATIENCE)
        return reply

    async def refusal(self, token: str = TOKEN) -> grpc.aio.AioRpcError:
        """Return the error in place of a reply about *token*."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(token)
        return caught.value

    async def health(self, name: str = "") -> int:
        """Return the status of the service *name*, by the standard health service."""
        request = HealthCheckRequest(service=name)
        reply: HealthCheckResponse = await HealthStub(self.channel).Check(request, timeout=PATIENCE)  # type: ignore[attr-defined]
        return reply.status

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[AsyncIterator[int]]:
        """Give the statuses of the whole server as they change, the first one at once."""
        call: Any = HealthStub(self.channel).Watch(HealthCheckRequest(), timeout=PATIENCE)  # type: ignore[attr-defined]

        async def statuses() -> AsyncIterator[int]:
            async for reply in call:
                yield reply.status

        yield statuses()
        call.cancel()


@asynccontextmanager
async def served(identity: FakeIdentity, *, check_seconds: float = 60.0) -> AsyncIterator[Service]:
    """Serve *identity* until the end of the block, and have a channel to it."""
    log = RecordingLog()
    serve = serving(identity, address=f"{LOOPBACK}:0", credentials=None, log=log, check_seconds=check_seconds)
    async with serve as port, grpc.aio.insecure_channel(f"{LOOPBACK}:{port}", NO_PROXY) as channel:
        yield Service(identity, channel, log)


def test_answers_are_those_of_the_identity() -> None:
    """A key is told with its scopes in order, and with no limit where it has none of its own."""

    async def ask() -> list[ValidateTokenResponse]:
        async with served(FakeIdentity()) as service:
            return [await service.ask(), await service.ask("nobody's")]

    known = ValidateTokenResponse(valid=True, organization_id=OWN, key_id="own", scopes=sorted(PRINCIPAL.scopes))
    assert [known, ValidateTokenResponse(valid=False)] == asyncio.run(ask())


@confirms("ADR-0031.R1")
@pytest.mark.parametrize(
    ("fault", "logged"),
    [
        (IdentityUnavailableError(SECRET), []),
        (RuntimeError(SECRET), [{"error": "builtins.RuntimeError"}]),
        (TimeoutError(SECRET), [{"error": "builtins.TimeoutError"}]),
    ],
    ids=repr,
)
def test_what_cannot_be_said_is_unavailable(
    caplog: pytest.LogCaptureFixture, fault: Exception, logged: list[dict[str, object]]
) -> None:
    """When the identity fails the status is UNAVAILABLE; neither the reply nor the log has its words, or the token."""

    async def ask() -> tuple[grpc.aio.AioRpcError, RecordingLog]:
        async with served(FakeIdentity()) as service:
            service.identity.fault = fault
            return await service.refusal(f"cgt_{SECRET}"), service.log

    refusal, log = asyncio.run(ask())
    assert grpc.StatusCode.UNAVAILABLE == refusal.code()
    assert (SECRET not in repr(refusal), logged, SECRET not in log.text, []) == (
        True,
        log.failures,
        True,
        caplog.records,
    )


def test_what_is_no_question_is_refused_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no question get an error, and leave no line in any log."""

    async def ask() -> grpc.StatusCode:
        async with served(FakeIdentity()) as service:
            send: Any = service.channel.unary_unary("/dragoman.identity.v1.IdentityService/ValidateToken")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(b"\xff\xff\xff")
            return caught.value.code()

    assert grpc.StatusCode.OK != asyncio.run(ask())
    assert [] == caplog.records


@confirms("ADR-0031.R6")
@pytest.mark.parametrize("name", NAMES)
def test_health_is_told_to_the_standard_check(name: str) -> None:
    """A service that can answer is SERVING, as a whole and by its name."""

    async def ask() -> int:
        async with served(FakeIdentity()) as service:
            return await service.health(name)

    assert SERVING == asyncio.run(ask())


@confirms("ADR-0031.R6")
def test_a_service_that_cannot_answer_is_not_serving() -> None:
    """Health follows what the identity can do: from the start, and whenever that changes."""

    async def ask() -> list[int]:
        async with (
            served(FakeIdentity(fault=IdentityUnavailableError()), check_seconds=0.01) as service,
            service.watching() as statuses,
        ):
            seen = [await anext(statuses)]
            service.identity.fault = None
            seen.append(await anext(statuses))
            service.identity.fault = RuntimeError()
            return [*seen, await anext(statuses)]

    assert [NOT_SERVING, SERVING, NOT_SERVING] == asyncio.run(ask())


@attrs.define(kw_only=True)
class Slow(FakeIdentity):
    """Answers when *gate* is set; a question sets *reached*."""

    gate: asyncio.Event = attrs.field(factory=asyncio.Event)
    reached: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, in time."""
        self.reached.set()
        await self.gate.wait()
        return await FakeIdentity.principal(self, token)


@confirms("ADR-0031.R6")
def test_an_identity_that_hangs_is_not_serving() -> None:
    """Who is asked, and does not answer, cannot answer."""

    async def ask() -> int:
        async with served(Slow(), check_seconds=0.01) as service:
            return await service.health()

    assert NOT_SERVING == asyncio.run(ask())


@confirms("ADR-0031.R6")
def test_a_service_that_ends_is_not_serving_and_answers_what_it_has() -> None:
    """Who watches the health learns first that a service ends; a question in work is answered; a new one is not."""

    async def ask() -> tuple[list[int], ValidateTokenResponse, grpc.StatusCode, float]:
        identity = Slow()
        identity.gate.set()
        service_only = AsyncExitStack()
        serve = serving(identity, address=f"{LOOPBACK}:0", credentials=None, log=RecordingLog())
        port = await service_only.enter_async_context(serve)
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}", NO_PROXY) as channel:
            service = Service(identity, channel, RecordingLog())
            async with service.watching() as statuses:
                seen = [await anext(statuses)]
                identity.gate.clear()
                identity.reached.clear()
                in_work = asyncio.create_task(service.ask())
                await identity.reached.wait()
                began = time.monotonic()
                ending = asyncio.create_task(service_only.aclose())
                seen.append(await anext(statuses))
                identity.gate.set()
                answer = await in_work
                await ending
                took = time.monotonic() - began
                return seen, answer, (await service.refusal()).code(), took

    seen, answer, late, took = asyncio.run(ask())
    assert [SERVING, NOT_SERVING] == seen
    assert (True, grpc.StatusCode.UNAVAILABLE) == (answer.valid, late)
    assert took < GRACE_SECONDS + 1


def test_a_port_in_use_is_an_error() -> None:
    """Two services do not share a port: they would take turns."""

    async def ask(address: str) -> None:
        async with serving(FakeIdentity(), address=address, credentials=None, log=RecordingLog()) as port:
            await ask(f"{LOOPBACK}:{port}")

    with pytest.raises(OSError, match="Address already in use"):
        asyncio.run(ask(f"{LOOPBACK}:0"))
