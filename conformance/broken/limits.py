"""Gateways whose limits are not what they say."""

from collections.abc import Callable, Sequence

import attrs
from gateway_conformance.exchange import Asgi

from broken.layers import Answered, Asked, answering
from dragoman.model import Alias, Guardrail, OrganizationId, Rate
from dragoman.ports import Catalogue
from gateways import GENEROUS, Parts, build


def never_biting(parts: Parts) -> Asgi:
    """Limits are counted and told, and nobody reaches one."""
    return _rated(parts, lambda scope, _: GENEROUS.rates[scope])


def failed_logins_unlimited(parts: Parts) -> Asgi:
    """Who guesses may guess for ever."""
    kept = {scope: rate for scope, rate in parts.guard.rates.items() if scope != "failed-logins"}
    return build(attrs.evolve(parts, guard=attrs.evolve(parts.guard, rates=kept)))


def forwarded_for_trusted(parts: Parts) -> Asgi:
    """Whose limit counts is what `X-Forwarded-For` says, although no proxy stands in front."""
    return build(attrs.evolve(parts, guard=attrs.evolve(parts.guard, trusted_hops=1)))


def one_more(scope: str) -> Callable[[Parts], Asgi]:
    """Return a gateway that lets one request more of a subject of *scope* pass than is stated."""
    return lambda parts: _rated(parts, lambda one, rate: _more(rate) if one == scope else rate)


@attrs.frozen(kw_only=True)
class _OneMore:
    """Gives every alias that has a limit of its own one request more."""

    real: Catalogue

    async def aliases(self, organization: OrganizationId) -> list[Alias]:
        return [_stretched(alias) for alias in await self.real.aliases(organization)]

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        alias = await self.real.alias(organization, name)
        return None if alias is None else _stretched(alias)

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        return await self.real.guardrails(organization, alias)


def one_more_of_an_alias(parts: Parts) -> Asgi:
    """An alias takes one request more than is stated."""
    return build(attrs.evolve(parts, catalogue=_OneMore(real=parts.catalogue)))


def more_room(parts: Parts) -> Asgi:
    """One request more is in work than is stated."""
    return build(attrs.evolve(parts, guard=attrs.evolve(parts.guard, capacity=parts.guard.capacity + 1)))


def _rated(parts: Parts, change: Callable[[str, Rate], Rate]) -> Asgi:
    rates = {scope: change(scope, rate) for scope, rate in parts.guard.rates.items()}
    return build(attrs.evolve(parts, guard=attrs.evolve(parts.guard, rates=rates)))


def _more(rate: Rate) -> Rate:
    return attrs.evolve(rate, burst=rate.burst + 1)


def _stretched(alias: Alias) -> Alias:
    return alias if alias.rate is None else attrs.evolve(alias, rate=_more(alias.rate))


def limits_told_of_nothing(parts: Parts) -> Asgi:
    """Each answer tells of a limit, also where there is none."""

    def change(_: Asked, answered: Answered) -> Answered:
        return answered.having("ratelimit", '"key";r=1;t=1')

    return answering(build(parts), change)
