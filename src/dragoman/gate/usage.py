"""How many tokens a caller may use: reserved before they are known, settled after (ADR-0041).

Laws of this file:
- A request reserves what it needs of every limit, or nothing of any: who is refused by one has taken nothing.
- Which limits count is the dialect's business: tokens are limited by the scopes by which requests are.
- A reservation ends once. Nothing of that waits, so that it can be done wherever a request ends.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import attrs

from dragoman.contract import Operation
from dragoman.errors import Kind, Refusal
from dragoman.gate.limits import whole_seconds
from dragoman.model import SECOND, Alias, KeyId, Principal, Quota, Rate, Usage
from dragoman.ports import DailyCounter, DailyUse, Limiter

OUTPUT_TOKENS: Final = 1024
"""What an answer is taken for whose length the caller does not bound: most are shorter."""

MEDIA_TOKENS: Final = 1024
"""What a picture, a sound or a file in a message is taken for, however many bytes it has."""

_BYTES: Final = 4
"""How many bytes of a request are taken for a token. English has four or five letters a token, JSON fewer."""

_DAY: Final = 86_400 * SECOND


@attrs.define  # PERF: as the quotas are, one is made for every limit of a request
class _Hold:
    """What is reserved of a limit."""

    scope: str
    subject: str
    rate: Rate
    reserved: int


@attrs.define(kw_only=True)
class _Day:
    """The day of a key, which *ends* after so many nanoseconds: what may be counted in it, and what is reserved."""

    key: KeyId
    day: date
    ends: int
    requests: int | None
    tokens: int | None
    reserved: int

    def quota(self, bound: int, counted: int, *, limited: bool) -> Quota:
        """Return what is left of a *bound* of the day, of which so much is *counted*."""
        size = max(1, bound)  # no header can say 0
        return Quota(
            scope="daily",
            rate=Rate(count=size, period=_DAY, burst=size),
            limited=limited,
            remaining=max(0, bound - counted),
            reset=self.ends,
            retry=self.ends if limited else 0,
        )


@attrs.define(kw_only=True)
class Reservation:
    """What a request holds until it is known what it used. The first of `settle` and `cancel` ends it.

    One that was sent to a provider is settled, whatever became of it; one that was not is cancelled (ADR-0041.R5).
    """

    limiter: Limiter
    days: DailyCounter
    holds: list[_Hold] = attrs.field(factory=list)
    day: _Day | None = None

    def settle(self, usage: Usage) -> None:
        """Let go what is held, and take the tokens that were used in its place."""
        day, self.day = self.day, None
        if day is not None:
            self.days.settle(day.key, day.day, reserved=day.reserved, used=usage.total_tokens)
        self._release(usage.total_tokens)

    def cancel(self) -> None:
        """Let go what is held, as if the request had never come."""
        day, self.day = self.day, None
        if day is not None:
            self.days.cancel(day.key, day.day, reserved=day.reserved)
        self._release(0)

    def _release(self, used: int) -> None:
        holds, self.holds = self.holds, []
        for hold in holds:
            self.limiter.settle(hold.scope, hold.subject, hold.rate, reserved=hold.reserved, used=used)


@attrs.frozen(kw_only=True)
class TokenLimits:
    """The limits of tokens: *limiter* and *days* count; *rates* are everybody's, by scope, who has none of his own."""

    limiter: Limiter
    days: DailyCounter
    rates: Mapping[str, Rate]

    async def reserve(  # noqa: PLR0913 - whose limits they are, how much of them, and where they are noted
        self,
        operation: Operation,
        principal: Principal | None,
        alias: Alias,
        *,
        estimate: int,
        at: datetime,
        met: list[Quota],
        met_tokens: list[Quota],
    ) -> Reservation:
        """Return what a request for *alias* holds: its *estimate* of tokens, at least 1, in each limit.

        *at* is when it arrived, as its entry in the ledger says, so that both count it in one day. *met* gets the
        limits of requests that it met, and *met_tokens* those of tokens, with what is left behind the reservation; of
        a request that is refused the one that refuses it.

        Raises:
            Refusal: `caller_limited` or `rate_limited`; nothing is held then.
        """
        reservation = Reservation(limiter=self.limiter, days=self.days)
        if principal is None:
            return reservation
        scopes = operation.traits.limits_by
        day = _day(principal, at.astimezone(UTC), estimate, bounded="key" in scopes)
        try:
            # The day comes first, whose end is far off; and the key before what it shares with others.
            use = await self._count(day, met, met_tokens)
            reservation.day = day
            told = []
            for hold in self._limits(scopes, principal, alias, estimate):
                told.append(await self._hold(hold, alias, met_tokens))
                reservation.holds.append(hold)
        except BaseException:  # also of who leaves meanwhile nothing stays held
            reservation.cancel()
            raise
        if day.requests is not None:
            met.append(day.quota(day.requests, use.requests, limited=False))
        if day.tokens is not None:
            met_tokens.append(day.quota(day.tokens, use.tokens, limited=False))
        met_tokens.extend(told)
        return reservation

    async def _count(self, day: _Day, met: list[Quota], met_tokens: list[Quota]) -> DailyUse:
        """Count the request in the *day* of its key, or refuse it until the day has ended."""
        use = await self.days.reserve(day.key, day.day, amount=day.reserved, requests=day.requests, tokens=day.tokens)
        if use.admitted:
            return use
        if day.requests is not None and use.requests >= day.requests:
            met.append(day.quota(day.requests, use.requests, limited=True))
        elif day.tokens is not None:
            met_tokens.append(day.quota(day.tokens, use.tokens, limited=True))
        raise Refusal(Kind.CALLER_LIMITED, retry_after=whole_seconds(day.ends))

    async def _hold(self, hold: _Hold, alias: Alias, met_tokens: list[Quota]) -> Quota:
        quota = await self.limiter.reserve(hold.scope, hold.subject, hold.rate, hold.reserved)
        if not quota.limited:
            return quota
        met_tokens.append(quota)
        retry_after = whole_seconds(quota.retry)
        if hold.scope == "alias-tokens":
            raise Refusal(Kind.RATE_LIMITED, alias=alias.id, retry_after=retry_after)
        raise Refusal(Kind.CALLER_LIMITED, retry_after=retry_after)

    def _limits(self, scopes: frozenset[str], principal: Principal, alias: Alias, estimate: int) -> Iterator[_Hold]:
        """Yield what is to be reserved. An estimate that is larger than a bucket takes all of it (ADR-0041.R4)."""
        key, organization = principal.key_token_rate, principal.organization_token_rate
        counted = (
            ("key", "key-tokens", principal.key, key),
            ("organization", "organization-tokens", principal.organization, organization),
            ("alias", "alias-tokens", f"{principal.organization} {alias.id}", alias.token_rate),
        )
        for scope, counter, subject, own in counted:
            rate = own or self.rates.get(scope)
            if rate is not None and scope in scopes:
                yield _Hold(counter, subject, rate, min(estimate, rate.burst))


def _day(principal: Principal, at: datetime, estimate: int, *, bounded: bool) -> _Day:
    """Return the day of the key of *principal*, which the dialect may know no bounds of; *at* is in UTC."""
    tokens = principal.daily_tokens if bounded else None
    past = (at.hour * 3600 + at.minute * 60 + at.second) * SECOND + at.microsecond * 1000
    return _Day(
        key=principal.key,
        day=at.date(),
        ends=_DAY - past,
        requests=principal.daily_requests if bounded else None,
        tokens=tokens,
        reserved=estimate if tokens is None else min(estimate, max(1, tokens)),
    )


def input_estimate(document: Mapping[str, Any], size: int) -> int:
    """Return about how many tokens are in a request *document* of so many bytes, at least 1.

    PERF: its text is not read. What is no text of it, in base64 as a rule, is left out.
    """
    messages = document.get("messages") or document.get("input")
    media = 0
    if isinstance(messages, list):
        for message in messages:
            parts = message.get("content") if isinstance(message, dict) else None
            if isinstance(parts, list):
                for part in parts:
                    if isinstance(part, dict) and "text" not in part:
                        media += 1
                        size -= _length(part)
    return max(1, size // _BYTES) + media * MEDIA_TOKENS


def output_estimate(document: Mapping[str, Any]) -> int:
    """Return about how many tokens the answer to a request *document* will have, at most."""
    bound = _number(document, "max_completion_tokens", "max_tokens", "max_output_tokens") or OUTPUT_TOKENS
    return bound * (_number(document, "n") or 1)


def _length(part: Mapping[str, Any]) -> int:
    """Return how many characters stand in the texts of a *part*, and of what is directly in it."""
    values = [one for value in part.values() for one in (value.values() if isinstance(value, dict) else (value,))]
    return sum(len(value) for value in values if isinstance(value, str))


def _number(document: Mapping[str, Any], *names: str) -> int:
    """Return the first of the members with these *names* that is a number above 0, or 0; nobody may have judged it."""
    for name in names:
        value = document.get(name)
        if isinstance(value, int | float) and value > 0:
            return int(value)
    return 0
