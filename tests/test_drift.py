"""What is counted of tokens, against a second telling, over 10,000 requests that end in every way there is (A10)."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.adapters.daily import MemoryDays
from dragoman.adapters.ledger import LedgerQueue, keep_ledger
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.contract import compile_contract
from dragoman.errors import Kind, Refusal
from dragoman.gate.limits import tightest
from dragoman.gate.usage import Reservation, TokenLimits
from dragoman.model import SECOND, Alias, KeyId, Principal, Quota, Rate, Usage, rate_of
from dragoman.ports import DailyUse, LedgerEntry
from fakes import ALIASES, OWN, PRINCIPAL, STRANGER, Clock, RecordingLog
from gcra import Bucket
from stores import rows

REQUESTS: Final = 10_000
MOST_AT_ONCE: Final = 40
START: Final = datetime(2026, 6, 14, 23, 0, tzinfo=UTC)

EVERYBODY: Final[Mapping[str, Rate]] = {
    "key": rate_of("90000/m burst 60000"),
    "organization": rate_of("200000/m burst 90000"),
    "alias": rate_of("70000/m"),
}
SLOW: Final = attrs.evolve(PRINCIPAL, key=KeyId("slow"), key_token_rate=rate_of("7000/m burst 9000"))
BOUNDED: Final = attrs.evolve(PRINCIPAL, key=KeyId("bounded"), daily_requests=300, daily_tokens=900_000)
FAR: Final = attrs.evolve(STRANGER, organization_token_rate=rate_of("50000/m"), daily_tokens=2_000_000)
CALLERS: Final = (PRINCIPAL, SLOW, BOUNDED, FAR)
GENERAL: Final = ALIASES[OWN][0]
LARGE: Final = attrs.evolve(ALIASES[OWN][1], token_rate=rate_of("20000/m burst 30000"))

OPERATION: Final = compile_contract(
    tiny(security=[{"bearer": []}], **{"x-dragoman": {"limits-by": ["key", "organization", "alias"]}})
).operations[0]

ENDING: Final = 0.48
"""How likely another request ends before the next one comes."""

OUTCOMES: Final = ("whole", "whole", "more", "cut", "left", "failed", "blocked")
"""How a request that was admitted ends; the last one was sent to nobody."""


@attrs.define
class Day:
    """What a key has used, and holds, in a day."""

    requests: int = 0
    tokens: int = 0
    held: int = 0


@attrs.frozen(kw_only=True)
class Open:
    """A request that was admitted and has not ended."""

    reservation: Reservation
    principal: Principal
    alias: Alias
    at: datetime
    estimate: int


@attrs.define
class Model:
    """The limits, told a second time: buckets in fractions, and days."""

    buckets: dict[tuple[str, str], Bucket] = attrs.field(factory=dict)
    days: dict[tuple[KeyId, date], Day] = attrs.field(factory=dict)

    def limits(self, principal: Principal, alias: Alias) -> list[tuple[str, Bucket]]:
        """Return the buckets that a request meets, in the order in which it does, by scope."""
        asked = (
            ("key", principal.key, principal.key_token_rate),
            ("organization", principal.organization, principal.organization_token_rate),
            ("alias", f"{principal.organization}/{alias.id}", alias.token_rate),
        )
        return [
            (scope, self.buckets.setdefault((scope, subject), Bucket(rate or EVERYBODY[scope])))
            for scope, subject, rate in asked
        ]

    def day(self, principal: Principal, at: datetime) -> Day:
        """Return the day of a key."""
        return self.days.setdefault((principal.key, at.date()), Day())

    def reserve(self, principal: Principal, alias: Alias, estimate: int, at: datetime, now: int) -> str | None:
        """Hold a request if there is room for it everywhere, else return what refuses it."""
        day = self.day(principal, at)
        tokens = held_of(principal, estimate)
        if principal.daily_requests is not None and day.requests + 1 > principal.daily_requests:
            return "requests of the day"
        if principal.daily_tokens is not None and day.tokens + day.held + tokens > principal.daily_tokens:
            return "tokens of the day"
        limits = self.limits(principal, alias)
        for scope, bucket in limits:
            if bucket.look(now, min(estimate, bucket.rate.burst)).limited:
                return scope
        for _, bucket in limits:
            bucket.reserve(now, min(estimate, bucket.rate.burst))
        day.requests += 1
        day.held += tokens
        return None

    def end(self, one: Open, used: int, now: int, *, sent: bool) -> None:
        """End a request."""
        day = self.day(one.principal, one.at)
        day.held -= held_of(one.principal, one.estimate)
        day.tokens += used
        day.requests -= not sent
        for _, bucket in self.limits(one.principal, one.alias):
            bucket.settle(now, min(one.estimate, bucket.rate.burst), used)


def held_of(principal: Principal, estimate: int) -> int:
    """Return what a request holds of the day of its key."""
    return estimate if principal.daily_tokens is None else min(estimate, principal.daily_tokens)


@attrs.define(kw_only=True)
class Story:
    """Requests that come and end at random, on a clock that is moved."""

    chance: random.Random
    queue: LedgerQueue
    clock: Clock = attrs.field(factory=Clock)
    days: MemoryDays = attrs.field(factory=MemoryDays)
    model: Model = attrs.field(factory=Model)
    open: list[Open] = attrs.field(factory=list)
    seen: Counter[str] = attrs.field(factory=Counter)
    used: Counter[tuple[KeyId, date]] = attrs.field(factory=Counter)
    limiter: MemoryLimiter = attrs.field(init=False)
    limits: TokenLimits = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.limiter = MemoryLimiter(now=self.clock.now)
        self.limits = TokenLimits(limiter=self.limiter, days=self.days, rates=EVERYBODY)

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return START + timedelta(microseconds=self.clock.at // 1000)

    async def begin(self) -> None:
        """Let a request come, and compare what becomes of it with the second telling."""
        principal, alias = self.chance.choice(CALLERS), self.chance.choice((GENERAL, LARGE))
        estimate = self.chance.choice((1, 200, 1500, self.chance.randrange(1, 8000), 40_000, 10**7))
        met: list[Quota] = []
        met_tokens: list[Quota] = []
        expected = self.model.reserve(principal, alias, estimate, self.now, self.clock.at)
        try:
            reservation = await self.limits.reserve(
                OPERATION, principal, alias, estimate=estimate, at=self.now, met=met, met_tokens=met_tokens
            )
        except Refusal as refusal:
            kind: Kind | None = refusal.kind
            self.seen[f"refused by {expected}"] += 1
        else:
            kind = None
            self.seen["admitted"] += 1
            self.open.append(
                Open(reservation=reservation, principal=principal, alias=alias, at=self.now, estimate=estimate)
            )
        kinds = {None: None, "alias": Kind.RATE_LIMITED}
        assert kinds.get(expected, Kind.CALLER_LIMITED) == kind
        self.compare_headers(principal, alias, expected, tightest(met_tokens))
        assert [expected == "requests of the day"] * len(met) == [quota.limited for quota in met]

    def compare_headers(self, principal: Principal, alias: Alias, refusing: str | None, told: Quota | None) -> None:
        """Compare what the headers say of tokens with what the second telling has left."""
        day = self.model.day(principal, self.now)
        left = {}
        if principal.daily_tokens is not None:
            midnight = datetime.combine(self.now.date() + timedelta(days=1), datetime.min.time(), UTC)
            until = (midnight - self.now) // timedelta(microseconds=1) * 1000
            left["tokens of the day"] = (max(0, principal.daily_tokens - day.tokens - day.held), until)
        for scope, bucket in self.model.limits(principal, alias):
            found = bucket.look(self.clock.at)
            left[scope] = (found.remaining, found.reset)
        if refusing is not None:
            left = {scope: one for scope, one in left.items() if scope == refusing}
        expected = min(left.values(), key=lambda one: (one[0], -one[1]), default=None)
        assert expected == (None if told is None else (told.remaining, told.reset))

    def end(self) -> None:
        """End one of the requests that are open, in one of the ways there are."""
        one = self.open.pop(self.chance.randrange(len(self.open)))
        outcome = self.chance.choice(OUTCOMES)
        used = {
            "whole": self.chance.randrange(min(one.estimate, 9000) + 1),
            "more": one.estimate % 50_000 + self.chance.randrange(500),
            "cut": self.chance.randrange(min(one.estimate, 900) + 1),
            "left": self.chance.randrange(min(one.estimate, 90) + 1),
        }.get(outcome, 0)
        usage = Usage(input_tokens=used - used // 3, output_tokens=used // 3)
        if outcome == "blocked":
            one.reservation.cancel()
        else:
            one.reservation.settle(usage)
        if self.chance.random() < 0.2:  # whoever cleans up may do so again
            self.chance.choice((one.reservation.cancel, lambda: one.reservation.settle(usage)))()
        self.model.end(one, used, self.clock.at, sent=outcome != "blocked")
        self.used[one.principal.key, one.at.date()] += used
        self.seen[outcome] += 1
        self.queue.record(entry(one, outcome, usage))

    async def tell(self, path: Path, log: RecordingLog) -> None:
        """Let all requests come and end, while the ledger at *path* is kept."""
        async with keep_ledger(path, self.queue, now=lambda: START, seed=no_seed, log=log):
            for step in range(REQUESTS):
                self.clock.at += self.chance.choice((0, 0, 1, self.chance.randrange(60 * SECOND)))
                if not step % 500:
                    self.clock.at += 3 * 3600 * SECOND
                await self.begin()
                while self.open and (len(self.open) > MOST_AT_ONCE or self.chance.random() < ENDING):
                    self.end()
                if not step % 100:
                    await asyncio.sleep(0)  # the ledger is written meanwhile
            while self.open:
                self.end()


def entry(one: Open, outcome: str, usage: Usage) -> LedgerEntry:
    """Return what the ledger gets of a request."""
    return LedgerEntry(
        request_id="",
        at=one.at,
        organization=one.principal.organization,
        key=one.principal.key,
        agent=None,
        alias=one.alias.id,
        operation="chat",
        outcome=outcome,
        stream=False,
        usage=usage,
        estimated=outcome in ("cut", "left"),
        cost=0,
        duration_ms=1.0,
        attempts=outcome != "blocked",
    )


def no_seed(*_: object) -> None:
    """Begin with nothing."""


def agrees_with_the_limiter(story: Story) -> bool:
    """Whether nothing is held any more, and of each bucket is left what the second telling says."""
    for principal in CALLERS:
        subjects = {"key": principal.key, "organization": principal.organization}
        for alias in (GENERAL, LARGE):
            for scope, bucket in story.model.limits(principal, alias):
                subject = subjects.get(scope, f"{principal.organization} {alias.id}")
                quota = asyncio.run(story.limiter.peek(f"{scope}-tokens", subject, bucket.rate))
                expected = bucket.look(story.clock.at)
                if bucket.held or (expected.remaining, expected.reset) != (quota.remaining, quota.reset):
                    return False
    return True


def agrees_with_the_days(story: Story) -> bool:
    """Whether nothing is held of any day, and those that are still counted have what was used, and the requests."""
    yesterday = story.now.date() - timedelta(days=1)
    used = {place: DailyUse(requests=day.requests, tokens=story.used[place]) for place, day in story.model.days.items()}
    return not any(day.held for day in story.model.days.values()) and all(
        use == story.days.used(key, day) for (key, day), use in used.items() if day >= yesterday
    )


def found_by_another_start(path: Path, today: datetime) -> Mapping[KeyId, DailyUse]:
    """Return what a gateway that starts now finds of today."""
    found: dict[KeyId, DailyUse] = {}

    async def start() -> None:
        def seed(_: date, used: Mapping[KeyId, DailyUse]) -> None:
            found.update(used)

        async with keep_ledger(path, LedgerQueue(), now=lambda: today, seed=seed, log=RecordingLog()):
            pass

    asyncio.run(start())
    return found


@confirms("ADR-0041.R3", "ADR-0041.R5", "ADR-0041.R6")
def test_limiter_days_and_ledger_agree_with_what_was_used(tmp_path: Path) -> None:
    """Whatever becomes of 10,000 requests, nothing drifts: not a token more or less, in any counter, for anybody."""
    path, log = tmp_path / "ledger", RecordingLog()
    story = Story(chance=random.Random(7), queue=LedgerQueue())  # noqa: S311 - the same requests on every run

    asyncio.run(story.tell(path, log))

    refusals = {f"refused by {one}" for one in ("requests of the day", "tokens of the day", *EVERYBODY)}
    assert {"admitted", *OUTCOMES} | refusals == set(story.seen)
    assert min(story.seen.values()) > 30, story.seen
    assert story.seen["admitted"] == sum(story.seen[outcome] for outcome in set(OUTCOMES))
    assert agrees_with_the_limiter(story)
    assert agrees_with_the_days(story)
    kept = rows(
        path, "SELECT key, date(at / 1000, 'unixepoch'), sum(input_tokens + output_tokens) FROM entries GROUP BY 1, 2"
    )
    assert {(key, str(day)): used for (key, day), used in story.used.items()} == {
        (key, day): used for key, day, used in kept
    }
    assert [(story.seen["admitted"],)] == rows(path, "SELECT count(*) FROM entries")
    today = story.now.date()
    assert {key: story.days.used(key, today) for key, day in story.used if day == today} == (
        found_by_another_start(path, story.now)
    )
    assert len({day for _, day in story.used}) > 2
    assert [] == log.states
