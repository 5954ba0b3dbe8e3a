"""The identity that asks a service, against real gRPC servers on loopback: what they answer, and how they fail."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import grpc
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.identity._pb.identity_pb2 import ValidateAgentResponse, ValidateTokenResponse
from dragoman.adapters.identity.remote import DEADLINE, RemoteIdentity
from dragoman.adapters.identity.service import PROBE, serving
from dragoman.model import Agent, OrganizationId, Principal, rate_of
from dragoman.ports import Identity, IdentityUnavailableError
from fakes import AGENT, FOREIGN, KEYS, MAIN, OWN, PRINCIPAL, STRANGER, TOKEN, FakeIdentity, RecordingLog
from faults import proxy
from process import LOOPBACK, free_port

UNAVAILABLE: Final = "unavailable"
LIMITED: Final = attrs.evolve(
    PRINCIPAL,
    organization_rate=rate_of("600/m"),
    key_rate=rate_of("20/s burst 40"),
    organization_token_rate=rate_of("90000/m"),
    key_token_rate=rate_of("500/s burst 60000"),
    daily_requests=0,
    daily_tokens=2**63,
)

SERVICE: Final = "dragoman.identity.v1.IdentityService"
TOKEN_ANSWER: Final = ValidateTokenResponse(valid=True, organization_id=OWN, key_id="own", scopes=["chat"])
AGENT_ANSWER: Final = ValidateAgentResponse(valid=True, agent_id=AGENT, name="main")


@attrs.define
class Caller:
    """Asks *identity*, and says `unavailable` where it does; the *log* is the one it was given."""

    identity: RemoteIdentity
    log: RecordingLog

    async def principal(self, token: str = TOKEN) -> Principal | str | None:
        """Return whose key *token* is."""
        try:
            return await self.identity.principal(token)
        except IdentityUnavailableError:
            return UNAVAILABLE

    async def agent(self, named: str, organization: OrganizationId = OWN) -> Agent | str | None:
        """Return who is *named*."""
        try:
            return await self.identity.agent(organization, named)
        except IdentityUnavailableError:
            return UNAVAILABLE

    async def until(self, answered: Callable[[Principal | str | None], bool], patience: float) -> None:
        """Ask about one new token after the other until it is *answered*; fail when *patience*, in seconds, is over."""
        began = time.monotonic()
        while not answered(await self.principal(f"token-{time.monotonic()}")):
            assert time.monotonic() - began < patience


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[Caller]:
    """Ask the service on *port* until the end of the block."""
    log = RecordingLog()
    identity = RemoteIdentity(f"{LOOPBACK}:{port}", credentials=None, now=time.monotonic, log=log)
    async with identity.connected():
        yield Caller(identity, log)


@asynccontextmanager
async def asking(identity: Identity) -> AsyncIterator[Caller]:
    """Ask a service that serves *identity* until the end of the block."""
    async with (
        serving(identity, address=f"{LOOPBACK}:0", credentials=None, log=RecordingLog()) as port,
        calling(port) as caller,
    ):
        yield caller


@asynccontextmanager
async def answering(reply: Callable[[Any], Awaitable[bytes]]) -> AsyncIterator[int]:
    """Serve, on the port that is given, a service that answers all questions with what *reply* makes of the context."""

    async def handle(_: object, context: Any) -> bytes:  # noqa: ANN401 - grpc.aio's own
        return await reply(context)

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(handle)
    methods = dict.fromkeys(("ValidateToken", "ValidateAgent"), handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    yield port
    await server.stop(None)


def bytes_of(*answers: object) -> Callable[[Any], Awaitable[bytes]]:
    """Return what answers with the *answers* in turn, and with the last one from then on."""
    left = list(answers)

    async def reply(_: object) -> bytes:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer if isinstance(answer, bytes) else answer.SerializeToString()  # type: ignore[attr-defined]

    return reply


def asked(identity: FakeIdentity) -> list[str]:
    """Return the tokens that *identity* was asked for, but for the one that looks whether it can answer."""
    return [token for token in identity.tokens_asked if token != PROBE]


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_a_service_says_whose_key_a_token_is() -> None:
    """A key has its organisation, its id, its scopes and its own limits; a token that is none is nobody's."""

    async def ask() -> list[Principal | str | None]:
        async with asking(FakeIdentity(keys={**KEYS, "limited": LIMITED})) as caller:
            return [await caller.principal(token) for token in (TOKEN, "limited", "nobody's", "é" * 32_000)]

    assert [PRINCIPAL, LIMITED, None, None] == asyncio.run(ask())


def test_a_service_says_who_acts_for_an_organisation() -> None:
    """An agent is found by its id, in either case, and by its name, in its own organisation only."""

    async def ask() -> list[Agent | str | None]:
        async with asking(FakeIdentity()) as caller:
            own = [await caller.agent(named) for named in (AGENT, AGENT.upper(), "main", "foreign", "")]
            return [*own, await caller.agent("main", FOREIGN)]

    assert [MAIN, MAIN, MAIN, None, None, None] == asyncio.run(ask())


@confirms("ADR-0031.R3")
def test_two_tokens_share_nothing_however_much_of_them_is_equal() -> None:
    """Tokens of two organisations that differ in their last character only are told apart, from the cache too."""
    start = "cgt_" + "x" * 20_000
    identity = FakeIdentity(keys={f"{start}a": PRINCIPAL, f"{start}b": STRANGER})

    async def ask() -> list[Principal | str | None]:
        async with asking(identity) as caller:
            return [await caller.principal(start + end) for _ in range(2) for end in ("a", "b", "c", "aa")]

    assert [PRINCIPAL, STRANGER, None, None] * 2 == asyncio.run(ask())
    assert 4 == len(asked(identity))


def test_an_agent_of_one_organisation_is_not_told_to_another() -> None:
    """The same name in two organisations is two questions."""
    identity = FakeIdentity()

    async def ask() -> list[Agent | str | None]:
        async with asking(identity) as caller:
            return [await caller.agent("main", organization) for organization in (OWN, FOREIGN, OWN, FOREIGN)]

    assert ([MAIN, None, MAIN, None], ["main", "main"]) == (asyncio.run(ask()), identity.agents_asked)


def test_a_crowd_is_one_question() -> None:
    """A hundred requests with one key at the same time are one call."""
    identity = FakeIdentity()

    async def crowd() -> list[Principal | str | None]:
        async with asking(identity) as caller:
            return await asyncio.gather(*(caller.principal() for _ in range(100)))

    assert ([PRINCIPAL] * 100, [TOKEN]) == (asyncio.run(crowd()), asked(identity))


# --- What is no answer ------------------------------------------------------------------------------------------------


@confirms("ADR-0031.R1")
@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
def test_every_status_but_ok_is_no_answer(status: grpc.StatusCode) -> None:
    """Whatever status a service gives, UNAUTHENTICATED among them, nobody passes and nobody is told that he may not."""

    async def refuse(context: Any) -> bytes:  # noqa: ANN401 - grpc.aio's own
        await context.abort(status, "of no consequence")
        return b""

    async def ask() -> tuple[list[object], list[dict[str, object]]]:
        async with answering(refuse) as port, calling(port) as caller:
            return [await caller.principal(), await caller.agent("main")], caller.log.states

    answers, states = asyncio.run(ask())
    reason = f"the identity service gave no answer: {status.name}"
    assert [UNAVAILABLE, UNAVAILABLE] == answers
    assert [{"part": "identity", "state": "bad", "reason": reason}] == states


def altered(**fields: object) -> ValidateTokenResponse:
    """Return a reply that is valid, but for *fields*."""
    sound: dict[str, Any] = {"valid": True, "organization_id": OWN, "key_id": "own", "scopes": ["chat"]}
    return ValidateTokenResponse(**(sound | fields))


@confirms("ADR-0031.R1")
@pytest.mark.parametrize(
    "reply",
    [
        b"\xff\xff garbage",
        b"\x08",
        ValidateTokenResponse(valid=True),
        altered(organization_id=""),
        altered(organization_id=OWN.upper()),
        altered(key_id=""),
        altered(organization_rate=""),
        altered(organization_rate="many"),
        altered(organization_rate="0/s"),
        altered(key_rate="600"),
        altered(key_rate="off"),
        altered(organization_token_rate="many"),
        altered(key_token_rate=""),
        altered(scopes=["x" * 70_000]),
    ],
    ids=str,
)
def test_a_reply_that_breaks_its_promise_is_no_answer(
    caplog: pytest.LogCaptureFixture, reply: bytes | ValidateTokenResponse
) -> None:
    """A reply that cannot be read, lacks what it must have, or has a rate that is none lets nobody pass."""

    async def ask() -> tuple[object, object, str]:
        async with answering(bytes_of(reply, TOKEN_ANSWER)) as port, calling(port) as caller:
            return await caller.principal(), await caller.principal(), caller.log.text

    first, second, told = asyncio.run(ask())
    assert UNAVAILABLE == first
    assert attrs.evolve(PRINCIPAL, scopes=frozenset({"chat"})) == second
    assert [] == [text for text in ("many", "garbage", OWN) if text in told]
    assert [] == caplog.records


@confirms("ADR-0031.R1")
@pytest.mark.parametrize(
    "reply",
    [
        b"\x08",
        ValidateAgentResponse(valid=True),
        ValidateAgentResponse(valid=True, agent_id=AGENT),
        ValidateAgentResponse(valid=True, name="main"),
    ],
    ids=str,
)
def test_a_reply_about_an_agent_is_judged_too(reply: bytes | ValidateAgentResponse) -> None:
    """An agent without an id or a name is no answer."""

    async def ask() -> list[object]:
        async with answering(bytes_of(reply, AGENT_ANSWER)) as port, calling(port) as caller:
            return [await caller.agent("main"), await caller.agent("main")]

    assert [UNAVAILABLE, MAIN] == asyncio.run(ask())


def test_what_else_an_invalid_reply_says_does_not_count() -> None:
    """A token that is not valid is nobody's, whatever stands in the other fields."""
    broken = altered(valid=False, organization_id=OWN.upper(), key_rate="many")

    async def ask() -> list[object]:
        async with answering(bytes_of(broken, ValidateAgentResponse(agent_id=AGENT))) as port, calling(port) as caller:
            return [await caller.principal(), await caller.agent("main")]

    assert [None, None] == asyncio.run(ask())


@confirms("ADR-0031.R1")
def test_a_slow_service_costs_one_deadline() -> None:
    """A question that is not answered in 200 ms is given up, and the service is told so."""
    cancelled = asyncio.Event()

    async def hang(_: object) -> bytes:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    async def ask() -> tuple[object, float]:
        async with answering(hang) as port, calling(port) as caller:
            began = time.monotonic()
            answer = await caller.principal()
            took = time.monotonic() - began
            await asyncio.wait_for(cancelled.wait(), 5)
            return answer, took

    answer, took = asyncio.run(ask())
    assert UNAVAILABLE == answer
    assert DEADLINE <= took < 0.5


@confirms("ADR-0031.R1")
def test_who_is_not_connected_knows_nobody() -> None:
    """Before the gateway has started, after it has ended, and while it ends, nobody can say who is calling."""

    async def hang(_: object) -> bytes:
        await asyncio.sleep(60)
        return b""

    async def ask() -> list[object]:
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(answering(hang))
            caller = await stack.enter_async_context(calling(port))
            waiting = asyncio.create_task(caller.principal("waiting"))
            await asyncio.sleep(0)
        return [await waiting, await caller.principal()]

    idle = RemoteIdentity(f"{LOOPBACK}:1", credentials=None, now=time.monotonic, log=RecordingLog())
    assert [UNAVAILABLE, UNAVAILABLE] == asyncio.run(ask())
    assert UNAVAILABLE == asyncio.run(Caller(idle, RecordingLog()).principal())


# --- The way there ----------------------------------------------------------------------------------------------------


@confirms("ADR-0031.R1", "ADR-0031.R4")
def test_a_service_that_starts_later_is_found() -> None:
    """Nobody listens at first, which is told once; a service that starts is asked within 5 s, which is told too."""
    port = free_port()

    async def ask() -> tuple[list[object], list[dict[str, object]]]:
        async with calling(port) as caller:
            before = [await caller.principal() for _ in range(3)]
            identity = FakeIdentity()
            async with serving(identity, address=f"{LOOPBACK}:{port}", credentials=None, log=RecordingLog()):
                await caller.until(lambda answer: answer is None, 5)
                return [*before, await caller.principal()], caller.log.states

    answers, states = asyncio.run(ask())
    assert [UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, PRINCIPAL] == answers
    assert [("identity", "bad"), ("identity", "good")] == [(state["part"], state["state"]) for state in states]


@confirms("ADR-0031.R4")
@pytest.mark.parametrize("idle", [0.0, 1.5])
def test_a_connection_that_died_without_a_word_is_replaced(idle: float) -> None:
    """A connection that carries nothing more, as when a machine is gone, is given up, and a new one serves in 5 s."""

    async def ask() -> int:
        async with (
            serving(FakeIdentity(), address=f"{LOOPBACK}:0", credentials=None, log=RecordingLog()) as behind,
            proxy(behind) as between,
            calling(between.port) as caller,
        ):
            assert PRINCIPAL == await caller.principal()
            await asyncio.sleep(idle)  # pings must not depend on what was just carried
            between.stall()
            assert UNAVAILABLE == await caller.principal("another")
            await caller.until(lambda answer: answer is None, 5)
            return between.connections

    assert 2 == asyncio.run(ask())


def test_a_slow_service_keeps_its_connection() -> None:
    """Questions that are answered too late, or seldom, do not end a connection to a service that allows no pings."""

    async def late(_: object) -> bytes:
        await asyncio.sleep(0.3)
        return TOKEN_ANSWER.SerializeToString()

    async def ask() -> tuple[set[Principal | str | None], int]:
        async with answering(late) as behind, proxy(behind) as between, calling(between.port) as caller:
            return {await caller.principal(str(number)) for number in range(10)}, between.connections

    assert ({UNAVAILABLE}, 1) == asyncio.run(ask())


@confirms("ADR-0031.R7")
def test_a_proxy_of_the_environment_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """`http_proxy` and its like do not send tokens anywhere but to the service."""
    with socket.create_server((LOOPBACK, 0)) as elsewhere:
        for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://{LOOPBACK}:{elsewhere.getsockname()[1]}")

        async def ask() -> object:
            async with asking(FakeIdentity()) as caller:
                return await caller.principal()

        answer = asyncio.run(ask())
        elsewhere.settimeout(0)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()

    assert PRINCIPAL == answer
