"""What the headers say of limits, against a second telling of them, over 10,000 requests on a clock that is moved."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
from gateway_conformance.rules import confirms

from dragoman.app import Guard
from dragoman.model import SECOND, Alias, KeyId, Principal, Rate, rate_of
from fakes import (
    ALIASES,
    FOREIGN,
    OWN,
    PRINCIPAL,
    STRANGER,
    Clock,
    FakeCatalogue,
    FakeIdentity,
    build_house,
    fixed_sources,
)
from gcra import Bucket, Expected
from wire import CHAT, JSON, Answer, asked

STEPS: Final = 10_000
MS: Final = 1_000_000

RATES: Final[Mapping[str, Rate]] = {
    "address": rate_of("20/s burst 5"),
    "organization": rate_of("25/s burst 12"),
    "key": rate_of("10/s burst 6"),
    "alias": rate_of("9/s burst 4"),
}
LOW: Final = rate_of("7/m burst 3")
"""The own limit of one key, and of one alias."""

SLOW: Final = attrs.evolve(PRINCIPAL, key=KeyId("slow"), key_rate=LOW)
FAR: Final = attrs.evolve(STRANGER, organization_rate=rate_of("5/s burst 3"))
PRINCIPALS: Final[Mapping[str, Principal]] = {"own": PRINCIPAL, "slow": SLOW, "far": FAR}
OF_OWN: Final = (ALIASES[OWN][0], attrs.evolve(ALIASES[OWN][1], rate=LOW))
CATALOGUE: Final = {OWN: OF_OWN, FOREIGN: OF_OWN[:1]}


@attrs.frozen(kw_only=True)
class Step:
    """A request, how long after the one before it, and what it gets where no limit refuses it.

    It meets the limit of its address, then those of *principal*, then that of *alias*.
    """

    wait: int
    address: str
    principal: str | None
    alias: Alias | None
    method: str
    path: str
    token: str
    body: bytes
    status: int


@attrs.frozen(kw_only=True)
class Met:
    """A limit that a request met."""

    scope: str
    rate: Rate
    left: Expected


@attrs.define
class Model:
    """The limits, told a second time."""

    buckets: dict[tuple[str, str], Bucket] = attrs.field(factory=dict)

    def meets(self, step: Step, now: int) -> Iterator[Met]:
        """Yield the limits that a request of this *step* meets, up to the one that refuses it."""
        for scope, subject, rate in self._limits(step):
            bucket = self.buckets.setdefault((scope, subject), Bucket(rate))
            met = Met(scope=scope, rate=rate, left=bucket.take(now))
            yield met
            if met.left.limited:
                return

    def _limits(self, step: Step) -> Iterator[tuple[str, str, Rate]]:
        yield "address", step.address, RATES["address"]
        if step.principal is None:
            return
        principal = PRINCIPALS[step.principal]
        yield "key", principal.key, principal.key_rate or RATES["key"]
        organization = principal.organization
        yield "organization", organization, principal.organization_rate or RATES["organization"]
        if step.alias is not None:
            yield "alias", f"{organization}/{step.alias.id}", step.alias.rate or RATES["alias"]


def steps(chance: random.Random) -> Iterator[Step]:
    """Yield requests of all kinds: several at once, close together, and after a while."""
    for _ in range(STEPS):
        bare = Step(
            wait=chance.choice([0, 0, 0, chance.randrange(60 * MS), chance.randrange(400 * MS)]),
            address=f"192.0.2.{chance.choice([1, 1, 2, 3])}",
            principal=None,
            alias=None,
            method="GET",
            path="/livez",
            token="",
            body=b"",
            status=200,
        )
        if chance.random() < 0.01:
            bare = attrs.evolve(bare, wait=chance.randrange(90 * SECOND))
        yield of_some_kind(chance, bare)


KINDS: Final = ("open", "nowhere", "method", "nobody", "list", "broken", "unknown", "alias", "alias", "alias")


def of_some_kind(chance: random.Random, bare: Step) -> Step:
    """Return the step as a request of some kind."""
    caller = chance.choice(["own", "own", "slow", "far"])
    alias = chance.choice(CATALOGUE[PRINCIPALS[caller].organization])
    chat = attrs.evolve(bare, principal=caller, token=caller, method="POST", path=CHAT, status=501)
    kinds = {
        "open": bare,
        "nowhere": attrs.evolve(bare, path="/nowhere", token=caller, status=404),
        "method": attrs.evolve(bare, path=CHAT, token=caller, status=405),
        "nobody": attrs.evolve(chat, principal=None, token="nobody", body=body_for(alias.id), status=401),
        "list": attrs.evolve(bare, principal=caller, token=caller, path="/v1/models"),
        "broken": attrs.evolve(chat, body=b'{"model": "general"}', status=400),
        "unknown": attrs.evolve(chat, body=body_for("no-alias")),
        "alias": attrs.evolve(chat, alias=alias, body=body_for(alias.id)),
    }
    return kinds[chance.choice(KINDS)]


def body_for(model: str) -> bytes:
    """Return a chat request for *model*."""
    return b'{"model": "%s", "messages": [{"role": "user", "content": "hello"}]}' % model.encode()


def headers_of(answer: Answer) -> tuple[str | None, ...]:
    """Return what *answer* says of limits; the duration is in milliseconds."""
    limit, remaining, reset, *rest = (
        answer.header(name)
        for name in (
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
            "ratelimit",
            "ratelimit-policy",
            "retry-after",
        )
    )
    assert reset is not None
    return limit, remaining, str(milliseconds(reset)), *rest


def milliseconds(duration: str) -> int:
    """Return the milliseconds in a duration such as `1m0.25s` or `12ms`."""
    units = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", duration)
    assert duration == "".join(number + unit for number, unit in parts)
    return round(sum(float(number) * units[unit] for number, unit in parts))


def told_by(met: Sequence[Met]) -> tuple[str | None, ...]:
    """Return what the headers have to say of the limits that were *met*."""
    fewest = min(one.left.remaining for one in met)
    tight = [one for one in met if one.left.remaining == fewest]
    latest = max(one.left.reset for one in tight)
    told = next(one for one in tight if one.left.reset == latest)
    window = up(told.rate.burst * told.rate.period, told.rate.count * SECOND)
    last = met[-1].left
    return (
        str(told.rate.burst),
        str(fewest),
        str(up(latest, MS)),
        f'"{told.scope}";r={fewest};t={up(latest, SECOND)}',
        f'"{told.scope}";q={told.rate.burst};w={window}',
        str(up(last.retry, SECOND)) if last.limited else None,
    )


def up(amount: int, unit: int) -> int:
    """Return *amount* in *unit*, rounded up."""
    return (amount + unit - 1) // unit


@confirms("ADR-0032.R2")
def test_the_headers_agree_with_the_counter_over_ten_thousand_steps() -> None:
    """Every answer tells the tightest of the limits that it met, admitted or refused, and a refusal when to return."""
    clock = Clock(1_000 * SECOND)
    house = build_house(
        sources=fixed_sources(clock.seconds),
        guard=Guard(rates=RATES),
        identity=FakeIdentity(keys=PRINCIPALS),
        catalogue=FakeCatalogue(of=CATALOGUE),
    )
    model, refused, answered = Model(), Counter[str](), Counter[int]()
    spoken_of = Counter[str]()

    async def story() -> None:
        for step in steps(random.Random(11)):  # noqa: S311 - the same requests on every run
            clock.at += step.wait
            headers = {"authorization": f"Bearer {step.token}", "content-type": JSON}
            answer = await asked(
                house.app, step.method, step.path, headers=headers, body=step.body, address=step.address
            )
            met = list(model.meets(step, clock.at))
            last = met[-1]
            assert (429 if last.left.limited else step.status, told_by(met)) == (answer.status, headers_of(answer))
            if last.left.limited:
                refused[last.scope] += 1
            else:
                answered[answer.status] += 1
                spoken_of[str(answer.header("ratelimit-policy")).split('"')[1]] += 1

    asyncio.run(story())

    assert STEPS == refused.total() + answered.total() == len(house.log.requests)
    assert {200, 400, 401, 404, 405, 501} == set(answered)
    assert all(min(refused[scope], spoken_of[scope]) > 100 for scope in RATES), (refused, spoken_of)
