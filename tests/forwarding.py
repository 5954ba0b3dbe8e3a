"""A gateway in Phase 2 over upstreams that do what they are told, and the words that they say."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs

from dragoman.app import NO_LIMITS, Guard
from dragoman.model import Alias, Guardrail, OrganizationId, Prices, Target
from dragoman.ports import Fault, UpstreamError
from dragoman.routing import Router
from fakes import (
    OWN,
    FakeCatalogue,
    FakeIdentity,
    FakeLedger,
    FakeMeter,
    FakeUpstream,
    FakeUpstreams,
    FakeWebhook,
    House,
    Said,
    build_forwarding,
    build_house,
    effective,
)
from treaty import Document

PHASE_2: Final = {"chat": 2, "embeddings": 2}
PROVIDER: Final = "canary-provider"
MODEL: Final = "canary-upstream-model"
TARGET: Final = Target(provider=PROVIDER, model=MODEL)
SECOND_TARGET: Final = Target(provider="second-canary", model=MODEL, order=1)
GENERAL: Final = Alias(
    id="general",
    display_name="General",
    description="Everyday work.",
    category="llm",
    created=1781438400,
    targets=(TARGET,),
    prices=Prices(input=2_500_000, output=10_000_000, cached_input=1_250_000),
)
EMBEDDING: Final = attrs.evolve(GENERAL, id="vectors", category="embedding")
EVERYTHING: Final = attrs.evolve(GENERAL, id="*", targets=(attrs.evolve(TARGET, model=None),))

ASKED: Final[Mapping[str, Any]] = {"model": "general", "messages": [{"role": "user", "content": "hello"}]}
USAGE: Final[Mapping[str, Any]] = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
DOWN: Final = UpstreamError(Fault.UNREACHABLE)


def completion(content: str = "Hello there.", **more: object) -> dict[str, Any]:
    """Return a whole answer of an upstream, with names of its own that nobody may see."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {
        "id": "canary-id",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "provider": PROVIDER,
        "system_fingerprint": "canary-print",
        "choices": [choice],
        "usage": dict(USAGE),
        **more,
    }


def chunk(delta: Mapping[str, Any], *, finish: str | None = None, **more: object) -> dict[str, Any]:
    """Return one chunk of an upstream's streamed answer."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    return {"id": "canary-id", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice], **more}


def streamed(*texts: str) -> list[Said]:
    """Return a streamed answer in these pieces, with its usage at the end."""
    said: list[Said] = [[chunk({"role": "assistant", "content": ""})]]
    said += [[chunk({"content": text})] for text in texts]
    return [*said, [chunk({}, finish="stop")], [{"id": "x", "choices": [], "usage": dict(USAGE)}]]


@attrs.frozen(kw_only=True)
class Forwarder:
    """A gateway in Phase 2, the *upstream* of its first provider and the *second* one, and what was recorded."""

    house: House
    upstream: FakeUpstream
    second: FakeUpstream
    ledger: FakeLedger
    meter: FakeMeter
    router: Router


def build_forwarder(  # noqa: PLR0913 - what a gateway forwards by
    *answers: Mapping[str, Any] | Exception | float | list[Said],
    second: Sequence[Mapping[str, Any] | Exception | float | list[Said]] = (DOWN,),
    aliases: Mapping[OrganizationId, Sequence[Alias]] = MappingProxyType({OWN: (GENERAL, EMBEDDING)}),
    guardrails: Mapping[str, Guardrail] = MappingProxyType({}),
    identity: FakeIdentity | None = None,
    guard: Guard = NO_LIMITS,
    webhook: FakeWebhook | None = None,
    dialect: str = "dragoman",
    document: Document | None = None,
) -> Forwarder:
    """Return a gateway whose upstream gives these *answers*."""
    upstream, other = FakeUpstream(answers=list(answers)), FakeUpstream(answers=list(second))
    ledger = FakeLedger()
    upstreams = FakeUpstreams(by_provider={PROVIDER: upstream, "second-canary": other})
    forwarding = build_forwarding(upstreams, ledger=ledger, webhook=webhook)
    meter = forwarding.meter
    assert isinstance(meter, FakeMeter)
    phases = PHASE_2 if dialect == "dragoman" else {"chat": 2}
    house = build_house(
        {"/": document or effective(dialect, phases=phases)},
        identity=identity,
        guard=guard,
        catalogue=FakeCatalogue(of=aliases, watching=guardrails),
        forwarding=forwarding,
    )
    return Forwarder(house=house, upstream=upstream, second=other, ledger=ledger, meter=meter, router=forwarding.router)


def events_of(body: bytes) -> list[str]:
    """Return the data of each event of a stream, which consists of nothing else."""
    *frames, rest = body.decode().split("\n\n")
    assert rest == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [frame.removeprefix("data: ") for frame in frames]
