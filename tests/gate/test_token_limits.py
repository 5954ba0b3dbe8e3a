"""What a request holds of the limits of tokens and of its key's day, who is refused, and what is told of it."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.adapters.daily import MemoryDays
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.contract import Operation, compile_contract
from dragoman.contract.traits import LIMIT_SCOPES
from dragoman.errors import Kind, Refusal
from dragoman.gate.usage import (
    MEDIA_TOKENS,
    OUTPUT_TOKENS,
    Reservation,
    TokenLimits,
    input_estimate,
    output_estimate,
)
from dragoman.model import SECOND, Alias, KeyId, Principal, Quota, Rate, Usage, rate_of
from dragoman.ports import DailyUse
from fakes import ALIASES, OWN, PRINCIPAL, STRANGER, Clock

HUNDRED: Final = rate_of("100/m")
SIXTY: Final = rate_of("60/m")
GENERAL: Final = ALIASES[OWN][0]
NOON: Final = datetime(2026, 6, 14, 12, 0, tzinfo=UTC)
TODAY: Final = NOON.date()
HALF_A_DAY: Final = 43_200


def operation(*scopes: str) -> Operation:
    """Return an operation that asks for a credential and limits by *scopes*."""
    trait = {"x-dragoman": {"limits-by": list(scopes)}}
    return compile_contract(tiny(security=[{"bearer": []}], **trait)).operations[0]


LIMITED: Final = operation(*LIMIT_SCOPES)


@attrs.define(kw_only=True)
class Gate:
    """The limits of tokens, asked from code that does not wait; the lists gather what requests met."""

    clock: Clock
    limiter: MemoryLimiter
    days: MemoryDays
    limits: TokenLimits
    met: list[Quota] = attrs.field(factory=list)
    met_tokens: list[Quota] = attrs.field(factory=list)

    def reserve(
        self,
        amount: int,
        principal: Principal | None = PRINCIPAL,
        *,
        alias: Alias = GENERAL,
        to: Operation = LIMITED,
        at: datetime = NOON,
    ) -> Reservation:
        """Return what a request with this estimate holds."""
        return asyncio.run(
            self.limits.reserve(to, principal, alias, estimate=amount, at=at, met=self.met, met_tokens=self.met_tokens)
        )

    def refused(self, amount: int, principal: Principal = PRINCIPAL, **asked: Any) -> Refusal:  # noqa: ANN401
        """Return with what a request is refused."""
        with pytest.raises(Refusal) as caught:
            self.reserve(amount, principal, **asked)
        return caught.value

    def left(self, scope: str, subject: str, rate: Rate) -> int:
        """Return what is left of a limit of tokens."""
        return asyncio.run(self.limiter.peek(f"{scope}-tokens", subject, rate)).remaining

    def told(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Return scope and remaining of the limits of requests, and of tokens, that were met, and forget them."""
        told = [[(quota.scope, quota.remaining) for quota in met] for met in (self.met, self.met_tokens)]
        self.met.clear()
        self.met_tokens.clear()
        return told[0], told[1]


def gate(rates: Mapping[str, Rate] | None = None) -> Gate:
    """Return limits with these rates of tokens, by scope."""
    clock, days = Clock(), MemoryDays()
    limiter = MemoryLimiter(now=clock.now)
    return Gate(
        clock=clock,
        limiter=limiter,
        days=days,
        limits=TokenLimits(limiter=limiter, days=days, rates=rates or {}),
    )


def spent(tokens: int) -> Usage:
    """Return a usage of so many tokens, in and out."""
    return Usage(input_tokens=tokens - tokens // 3, output_tokens=tokens // 3)


# --- Each limit of tokens ---------------------------------------------------------------------------------------------


@confirms("ADR-0041.R2")
@pytest.mark.parametrize(
    ("scope", "subject", "kind", "arguments"),
    [
        ("key", "own", Kind.CALLER_LIMITED, {}),
        ("organization", OWN, Kind.CALLER_LIMITED, {}),
        ("alias", f"{OWN} general", Kind.RATE_LIMITED, {"alias": "general"}),
    ],
)
def test_tokens_are_reserved_before_and_settled_after(
    scope: str, subject: str, kind: Kind, arguments: Mapping[str, object]
) -> None:
    """A request holds its estimate, the next one is told how long to wait, and at the end what was used is taken."""
    door = gate({scope: HUNDRED})

    first = door.reserve(70)
    refusal = door.refused(40)
    held = door.left(scope, subject, HUNDRED)
    first.settle(spent(25))

    assert (kind, {**arguments, "retry_after": 6}) == (refusal.kind, refusal.arguments)
    assert [30, 75] == [held, door.left(scope, subject, HUNDRED)]


def test_a_limit_of_their_own_wins() -> None:
    """What the store says of the tokens of a key, organisation or alias counts, also where nobody has a limit."""
    key = attrs.evolve(PRINCIPAL, key_token_rate=SIXTY)
    organization = attrs.evolve(PRINCIPAL, organization_token_rate=SIXTY)
    alias = attrs.evolve(GENERAL, token_rate=SIXTY)

    for rates in ({}, dict.fromkeys(("key", "organization", "alias"), HUNDRED)):
        for principal, named in ((key, GENERAL), (organization, GENERAL), (PRINCIPAL, alias)):
            door = gate(rates)
            door.reserve(60, principal, alias=named)
            assert 1 == door.refused(1, principal, alias=named).arguments["retry_after"]


def test_subjects_are_counted_apart() -> None:
    """Another key, another organisation and another alias have what is theirs."""
    by_key, by_organization, by_alias = (gate({scope: SIXTY}) for scope in ("key", "organization", "alias"))
    other = attrs.evolve(PRINCIPAL, key=KeyId("other"))
    for door in (by_key, by_organization, by_alias):
        door.reserve(60)

    by_key.reserve(60, other)
    by_organization.reserve(60, STRANGER)
    by_alias.reserve(60, STRANGER)
    by_alias.reserve(60, alias=ALIASES[OWN][1])

    assert Kind.CALLER_LIMITED == by_organization.refused(1, other).kind


@pytest.mark.parametrize("scopes", [(), ("address", "failed-logins"), ("organization",), ("alias",)])
def test_a_dialect_limits_tokens_by_the_scopes_by_which_it_limits_requests(scopes: tuple[str, ...]) -> None:
    """A limit that the dialect does not know holds nothing, and the day of a key is known where the key is."""
    rates = dict.fromkeys(("key", "organization", "alias"), SIXTY)
    rates = {scope: rate for scope, rate in rates.items() if scope not in scopes}
    bounded = attrs.evolve(PRINCIPAL, daily_requests=1, daily_tokens=1)
    door = gate(rates)

    for _ in range(3):
        door.reserve(50, bounded, to=operation(*scopes))

    assert ([], []) == door.told()


def test_who_is_not_asked_who_he_is_holds_nothing() -> None:
    """Where nobody knows who is calling, nothing is limited, and the end of the request changes nothing."""
    door = gate(dict.fromkeys(("key", "organization", "alias"), SIXTY))

    reservations = [door.reserve(50, None) for _ in range(3)]
    for one in reservations:
        one.settle(spent(50))
        one.cancel()

    assert ([], []) == door.told()


@confirms("ADR-0041.R2")
def test_who_is_refused_by_one_limit_has_taken_nothing_of_the_others() -> None:
    """A request that the alias refuses leaves key, organisation and day as they were."""
    door = gate({"key": HUNDRED, "organization": HUNDRED, "alias": SIXTY})
    bounded = attrs.evolve(PRINCIPAL, daily_requests=9, daily_tokens=1000)
    door.reserve(50, bounded)

    for _ in range(5):
        assert Kind.RATE_LIMITED == door.refused(20, bounded).kind

    assert 50 == door.left("key", "own", HUNDRED) == door.left("organization", OWN, HUNDRED)
    door.told()
    door.clock.at += 60 * SECOND
    door.reserve(10, bounded)
    assert ([("daily", 7)], [("daily", 940), ("key-tokens", 40), ("organization-tokens", 40), ("alias-tokens", 0)]) == (
        door.told()
    )


def test_a_key_over_its_limit_takes_nothing_from_its_organization() -> None:
    """However often a limited key comes again, the other keys of its organisation have what is theirs."""
    door = gate({"key": SIXTY, "organization": HUNDRED})
    door.reserve(60)

    for _ in range(9):
        door.refused(10)

    assert 40 == door.left("organization", OWN, HUNDRED)


@confirms("ADR-0041.R4")
def test_an_estimate_that_is_larger_than_a_bucket_takes_all_of_it() -> None:
    """A request that may use more than a limit admits at once passes when nothing is used of it, and owes the rest."""
    door = gate({"key": SIXTY})

    first = door.reserve(5000)
    assert 1 == door.refused(1).arguments["retry_after"]
    first.settle(spent(90))
    waiting = door.refused(5000).arguments
    door.clock.at = 90 * SECOND
    door.reserve(5000).settle(spent(1))

    assert {"retry_after": 90} == waiting
    assert 59 == door.left("key", "own", SIXTY)


# --- The day of a key -------------------------------------------------------------------------------------------------


@confirms("ADR-0041.R3")
def test_a_key_has_so_many_requests_a_day() -> None:
    """The third request of two a day is refused until midnight in UTC; another key, and the next day, are free."""
    door, twice = gate(), attrs.evolve(PRINCIPAL, daily_requests=2)
    for _ in range(2):
        door.reserve(10, twice).settle(spent(10))

    refusal = door.refused(10, twice)
    door.reserve(10, attrs.evolve(twice, key=KeyId("other")))
    last = door.refused(10, twice, at=datetime(2026, 6, 14, 23, 59, 59, 999_999, tzinfo=UTC))
    door.reserve(10, twice, at=datetime(2026, 6, 15, tzinfo=UTC))

    assert (Kind.CALLER_LIMITED, {"retry_after": HALF_A_DAY}) == (refusal.kind, refusal.arguments)
    assert {"retry_after": 1} == last.arguments


@confirms("ADR-0041.R3")
def test_a_key_has_so_many_tokens_a_day() -> None:
    """What is held counts as what was used, and what was used beyond it is owed within the day."""
    door, bounded = gate(), attrs.evolve(PRINCIPAL, daily_tokens=100)

    first = door.reserve(60, bounded)
    refusal = door.refused(41, bounded)
    second = door.reserve(40, bounded)
    first.settle(spent(20))
    third = door.reserve(40, bounded)
    for one in (second, third):
        one.settle(spent(60))

    assert (Kind.CALLER_LIMITED, {"retry_after": HALF_A_DAY}) == (refusal.kind, refusal.arguments)
    assert Kind.CALLER_LIMITED == door.refused(1, bounded).kind
    assert DailyUse(requests=3, tokens=140) == door.days.used(PRINCIPAL.key, TODAY)


@confirms("ADR-0041.R4")
def test_an_estimate_that_is_larger_than_the_day_takes_all_of_it() -> None:
    """A request that may use more than a day has passes as long as nothing of the day is used."""
    door, bounded = gate(), attrs.evolve(PRINCIPAL, daily_tokens=100)

    door.reserve(5000, bounded).settle(spent(30))

    assert Kind.CALLER_LIMITED == door.refused(5000, bounded).kind
    door.reserve(70, bounded)


@pytest.mark.parametrize("bounds", [{"daily_requests": 0}, {"daily_tokens": 0}])
def test_a_key_of_which_nothing_may_be_used_is_refused(bounds: dict[str, Any]) -> None:
    """A day with nothing in it admits nobody, and its headers are numbers."""
    door = gate()

    assert Kind.CALLER_LIMITED == door.refused(1, attrs.evolve(PRINCIPAL, **bounds)).kind
    assert [(True, 0, 1)] == [(one.limited, one.remaining, one.rate.burst) for one in door.met + door.met_tokens]


@confirms("ADR-0041.R3")
def test_the_day_is_that_of_arrival_in_utc() -> None:
    """A request that arrived before midnight counts in that day, wherever its clock is, and whenever it ends."""
    door, bounded = gate(), attrs.evolve(PRINCIPAL, daily_requests=1)
    tokyo = timezone(timedelta(hours=9))

    late = door.reserve(5, bounded, at=datetime(2026, 6, 15, 8, 59, tzinfo=tokyo))
    door.reserve(5, bounded, at=datetime(2026, 6, 15, 9, 0, tzinfo=tokyo)).settle(spent(2))
    late.settle(spent(1))

    used = [door.days.used(PRINCIPAL.key, day) for day in (TODAY, date(2026, 6, 15))]
    assert [DailyUse(requests=1, tokens=1), DailyUse(requests=1, tokens=2)] == used


def test_what_is_cancelled_was_never_there() -> None:
    """A request that was not sent gives back its place in the day and all its tokens."""
    door, bounded = gate({"key": HUNDRED}), attrs.evolve(PRINCIPAL, daily_requests=1, daily_tokens=50)

    for _ in range(3):
        door.reserve(50, bounded).cancel()

    assert DailyUse(requests=0, tokens=0) == door.days.used(PRINCIPAL.key, TODAY)
    assert 100 == door.left("key", "own", HUNDRED)


@confirms("ADR-0041.R5")
def test_a_reservation_ends_once() -> None:
    """Whatever ends it first counts, however often it is ended."""
    door = gate({"key": HUNDRED})
    settled, cancelled = door.reserve(50), door.reserve(50)

    settled.settle(spent(10))
    cancelled.cancel()
    for one in (settled, cancelled):
        one.cancel()
        one.settle(spent(40))

    assert 90 == door.left("key", "own", HUNDRED)
    assert DailyUse(requests=1, tokens=10) == door.days.used(PRINCIPAL.key, TODAY)


# --- Who leaves, and what fails ---------------------------------------------------------------------------------------


@attrs.define
class LeftLimiter(MemoryLimiter):
    """A limiter that is asked for the organisation's tokens by somebody who leaves meanwhile."""

    async def reserve(self, scope: str, subject: str, rate: Rate, amount: int) -> Quota:
        """Return what the others have, and never return to who has left."""
        if scope == "organization-tokens":
            raise asyncio.CancelledError
        return await super().reserve(scope, subject, rate, amount)


def test_who_leaves_between_two_limits_holds_nothing() -> None:
    """A request that ends while it is reserved gives back what it held already."""
    days = MemoryDays()
    limiter = LeftLimiter(now=Clock().now)
    limits = TokenLimits(limiter=limiter, days=days, rates={"key": HUNDRED, "organization": HUNDRED})

    async def leave() -> int:
        with pytest.raises(asyncio.CancelledError):
            await limits.reserve(LIMITED, PRINCIPAL, GENERAL, estimate=50, at=NOON, met=[], met_tokens=[])
        return (await limiter.peek("key-tokens", PRINCIPAL.key, HUNDRED)).remaining

    assert 100 == asyncio.run(leave())
    assert DailyUse(requests=0, tokens=0) == days.used(PRINCIPAL.key, TODAY)


@attrs.define
class FullDays(MemoryDays):
    """A counter that admits nobody, for reasons of its own."""

    async def reserve(
        self, key: KeyId, day: date, *, amount: int, requests: int | None, tokens: int | None
    ) -> DailyUse:
        """Admit nobody."""
        admitted = await super().reserve(key, day, amount=amount, requests=requests, tokens=tokens)
        return attrs.evolve(admitted, admitted=False)


def test_a_counter_that_admits_nobody_is_believed() -> None:
    """Where a counter refuses a key that has no bounds, it is refused, and no bound is told."""
    clock = Clock()
    limits = TokenLimits(limiter=MemoryLimiter(now=clock.now), days=FullDays(), rates={})
    door = attrs.evolve(gate(), limits=limits)

    assert Kind.CALLER_LIMITED == door.refused(1).kind
    assert ([], []) == door.told()


# --- What is told of them ---------------------------------------------------------------------------------------------


@confirms("ADR-0041.R6")
def test_what_is_left_behind_the_reservation_is_noted() -> None:
    """Each limit of tokens is noted with what is left after the request, and the requests of the day with the rest."""
    door = gate({"key": HUNDRED, "alias": SIXTY})
    bounded = attrs.evolve(PRINCIPAL, daily_requests=5, daily_tokens=1000)

    door.reserve(20, bounded)

    [requests], [day, key, alias] = door.met, door.met_tokens
    assert ("daily", 5, 4) == (requests.scope, requests.rate.burst, requests.remaining)
    assert ("daily", 1000, 980) == (day.scope, day.rate.burst, day.remaining)
    assert [HALF_A_DAY * SECOND] * 2 == [requests.reset, day.reset]
    assert [("key-tokens", 80), ("alias-tokens", 40)] == [(one.scope, one.remaining) for one in (key, alias)]
    assert not any(quota.limited or quota.retry for quota in (requests, day, key, alias))


@confirms("ADR-0041.R6")
@pytest.mark.parametrize(
    ("bounds", "rates", "requests", "tokens"),
    [
        ({"daily_requests": 1}, {}, [("daily", 0)], []),
        ({"daily_requests": 2, "daily_tokens": 60}, {}, [], [("daily", 20)]),
        ({"daily_requests": 1, "daily_tokens": 60}, {}, [("daily", 0)], []),
        ({"daily_requests": 2}, {"key": SIXTY}, [], [("key-tokens", 20)]),
        ({}, {"organization": HUNDRED, "alias": SIXTY}, [], [("alias-tokens", 20)]),
    ],
)
def test_a_refused_request_is_told_the_limit_that_refuses_it(
    bounds: dict[str, Any],
    rates: Mapping[str, Rate],
    requests: list[tuple[str, int]],
    tokens: list[tuple[str, int]],
) -> None:
    """Of a request that is refused one limit is noted, as it is without the request."""
    door, bounded = gate(rates), attrs.evolve(PRINCIPAL, **bounds)
    door.reserve(40, bounded)
    door.told()

    door.refused(30, bounded)

    assert all(quota.limited and quota.retry for quota in door.met + door.met_tokens)
    assert (requests, tokens) == door.told()


# --- The estimate -----------------------------------------------------------------------------------------------------


def chat(content: object, **members: object) -> Mapping[str, Any]:
    """Return a chat request with one message."""
    return {"model": "general", "messages": [{"role": "user", "content": content}], **members}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, OUTPUT_TOKENS),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 70}, 70),
        ({"max_completion_tokens": 70, "max_tokens": 50}, 70),
        ({"max_completion_tokens": None, "max_tokens": 50}, 50),
        ({"max_output_tokens": 90}, 90),
        ({"n": 3}, 3 * OUTPUT_TOKENS),
        ({"n": None, "max_tokens": None}, OUTPUT_TOKENS),
        ({"n": 2, "max_tokens": 10.0}, 20),
        ({"max_tokens": -5, "n": 0}, OUTPUT_TOKENS),
        ({"max_tokens": "many", "n": [2]}, OUTPUT_TOKENS),
        ({"max_tokens": 2**63}, 2**63),
    ],
)
def test_the_answer_is_taken_for_what_the_caller_bounds_it_to(members: dict[str, object], expected: int) -> None:
    """The bound that the caller sets counts for each answer that he asks for; what is no bound does not count."""
    assert expected == output_estimate(chat("hello", **members))


@pytest.mark.parametrize(("size", "expected"), [(0, 1), (3, 1), (4, 1), (8, 2), (4003, 1000)])
def test_the_question_is_taken_for_a_quarter_of_its_bytes(size: int, expected: int) -> None:
    """Four bytes of a request are a token, of whatever they are; there is at least one."""
    for document in (chat("hello"), {"model": "m", "input": "text"}, {"model": "m", "input": [[1, 2, 3]]}, {}):
        assert expected == input_estimate(document, size)


PICTURE: Final = "data:image/png;base64," + "A" * 8000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "input_image", "image_url": PICTURE},
        {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav", "rate": 1}},
        {"type": "file", "file": {"file_data": PICTURE}, "weight": 1},
    ],
)
@pytest.mark.parametrize("member", ["messages", "input"])
def test_media_count_as_one_and_not_by_their_bytes(part: Mapping[str, object], member: str) -> None:
    """A picture, a sound or a file in a message is taken for so many tokens, whatever it has of base64."""
    text = {"type": "text", "text": "What is this?"}
    document = {"model": "m", member: [{"role": "user", "content": [text, part, part, "odd"]}, "odd"]}

    told = input_estimate(document, 2 * len(PICTURE) + 400)

    assert 2 * MEDIA_TOKENS + 80 <= told <= 2 * MEDIA_TOKENS + 100
