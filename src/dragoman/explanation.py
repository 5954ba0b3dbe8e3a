"""What a request would meet: which alias, limits, guardrails, prices and targets, or which refusal (ADR-0040.R9).

Laws of this file:
- Nobody is called, and nothing is counted: it is told from what a gateway that starts now would have in force.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from dragoman.declaration import words_of_prices
from dragoman.errors import Kind
from dragoman.model import CATCH_ALL, Alias, Guardrail, Organization, OrganizationId, Provider, Rate, Target, rate_text
from dragoman.ports import AdministrationError
from dragoman.settings import MountSettings, Settings

FORWARDED: Final = "forwarded"
_NOBODY: Final = "nobody answers: it has no target"
_ASKS_FOR: Final[Mapping[str, str]] = {"chat": "llm", "responses": "llm"}
"""What an alias must be for an operation, where it must be something."""


_LIMITS: Final[Mapping[str, str]] = {
    "organization": "requests of the organisation:",
    "organization_tokens": "tokens of the organisation:",
    "alias": "its requests of the alias:",
    "alias_tokens": "its tokens of the alias:",
    "key": "requests of a key without a limit of its own:",
}


class InForce(Protocol):
    """What a gateway has in force."""

    @property
    def providers(self) -> Mapping[str, Provider]:
        """The providers, by their names."""

    def organization(self, named: str) -> Organization | None:
        """Return the organisation with this id or name."""

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        """Return the alias of this *name* that the *organization* may see."""

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        """Return what watches the *alias* when the *organization* uses it."""


@attrs.frozen(kw_only=True)
class Explanation:
    """What a request would meet: as a *record* for programs."""

    record: Mapping[str, Any]

    @property
    def lines(self) -> Iterator[str]:
        """The same for people, line by line."""
        told = dict(_told(self.record))
        width = max(map(len, told))
        for name, texts in told.items():
            for index, text in enumerate(texts):
                yield f"{'' if index else name:{width}}  {text}"


async def explain(in_force: InForce, settings: Settings, organization: str, model: str) -> Explanation:
    """Return what a request of the *organization*, an id or a name, for a *model* would meet.

    Raises:
        AdministrationError: there is no such organisation.
    """
    owner = _owner(in_force, settings, organization)
    alias = await in_force.alias(owner.id, model)
    catch_all = None if alias is not None else await in_force.alias(owner.id, CATCH_ALL)
    seen = alias or catch_all
    watching = [] if seen is None else await in_force.guardrails(owner.id, seen)
    return Explanation(
        record={
            "organization": {"id": owner.id, "name": owner.name},
            "model": model,
            "alias": None if alias is None else _alias(alias),
            "catch_all": None if catch_all is None else _alias(catch_all),
            "outcomes": list(_outcomes(alias, settings.mounts)),
            "limits": _limits(owner, seen, settings.running.limits),
            "guardrails": [_guardrail(one, seen) for one in watching if seen is not None],
            "prices": None if seen is None else words_of_prices(seen.prices),
            "targets": [] if seen is None else _targets(seen, in_force.providers, model),
        }
    )


def _owner(in_force: InForce, settings: Settings, named: str) -> Organization:
    found = in_force.organization(named)
    if found is not None:
        return found
    development = settings.development
    if development is not None and development.organization == named.lower():
        return Organization(id=OrganizationId(development.organization), name="development")
    message = f"there is no organisation {named!r}; `dragoman orgs list` shows all of them"
    raise AdministrationError(message)


def _alias(alias: Alias) -> Mapping[str, Any]:
    seeing = None if alias.visible_to is None else sorted(alias.visible_to)
    return {
        "id": alias.id,
        "display_name": alias.display_name,
        "description": alias.description,
        "category": alias.category,
        "visible_to": seeing,
    }


def _outcomes(alias: Alias | None, mounts: Sequence[MountSettings]) -> Iterator[Mapping[str, Any]]:
    """Yield how each operation of each mount that can forward would answer a request that is right otherwise."""
    for mount in mounts:
        for operation, phase in mount.phases.items():
            if operation not in mount.off:
                yield {
                    "mount": mount.prefix,
                    "dialect": mount.dialect,
                    "operation": operation,
                    "phase": phase,
                    "outcome": _outcome(operation, phase, alias),
                }


def _outcome(operation: str, phase: int, alias: Alias | None) -> str:
    """Return the kind of the refusal, or that the request is forwarded; in the order of the checks (ADR-0008)."""
    if phase == 1:
        return Kind.PROVIDER_NOT_CONFIGURED.value
    if alias is None:
        return Kind.MODEL_NOT_FOUND.value
    if _ASKS_FOR.get(operation, alias.category) != alias.category:
        return Kind.MODEL_NOT_LLM.value
    return FORWARDED if alias.targets else Kind.UPSTREAM_UNAVAILABLE.value


def _limits(owner: Organization, alias: Alias | None, usual: Mapping[str, Rate]) -> Mapping[str, Any]:
    """Return the limits that are its own, or those of the settings; None where there is none."""
    return {
        "organization": _rate(owner.rate or usual.get("organization")),
        "organization_tokens": _rate(owner.token_rate),
        "alias": None if alias is None else _rate(alias.rate or usual.get("alias")),
        "alias_tokens": None if alias is None else _rate(alias.token_rate),
        "key": _rate(usual.get("key")),
    }


def _rate(rate: Rate | None) -> str | None:
    return None if rate is None else rate_text(rate)


def _guardrail(guardrail: Guardrail, alias: Alias) -> Mapping[str, Any]:
    return {
        "key": guardrail.key,
        "action": guardrail.action,
        "stages": sorted(guardrail.stages),
        "of": "alias" if guardrail.key in alias.guardrails else "organization",
    }


def _targets(alias: Alias, providers: Mapping[str, Provider], model: str) -> Sequence[Mapping[str, Any]]:
    """Return the targets in the order in which they are tried, each with its share of those of its order."""
    weights: dict[int, int] = {}
    for target in alias.targets:
        weights[target.order] = weights.get(target.order, 0) + target.weight
    ordered = sorted(alias.targets, key=lambda target: target.order)
    return [_target(target, providers[target.provider], model, weights[target.order]) for target in ordered]


def _target(target: Target, provider: Provider, model: str, weights: int) -> Mapping[str, Any]:
    return {
        "order": target.order,
        "share": round(target.weight / weights, 4),
        "provider": target.provider,
        "kind": provider.kind,
        "model": target.model or model,
        "timeouts": attrs.asdict(target.timeouts),
    }


# --- For people -------------------------------------------------------------------------------------------------------


def _told(record: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield what is told of each part, in the order in which it is told."""
    owner, alias, catch_all = record["organization"], record["alias"], record["catch_all"]
    yield "organisation", [f"{owner['name']} ({owner['id']})"]
    yield "model", [record["model"]]
    yield "alias", [_alias_line(alias)]
    if catch_all is not None:
        yield CATCH_ALL, ["answers in its place where a contract passes unknown models on"]
    yield "answer", [_outcome_line(one) for one in record["outcomes"]]
    stated = [f"{_LIMITS[name]} {rate}" for name, rate in record["limits"].items() if rate is not None]
    yield "limits", stated or ["none but those of its keys"]
    if alias is None and catch_all is None:
        return
    watching = [f"{one['key']}: {one['action']} in {' and '.join(one['stages'])}" for one in record["guardrails"]]
    yield "guardrails", watching or ["none"]
    prices = record["prices"]
    cached = "" if prices["cached_input"] is None else f", cached input {prices['cached_input']}"
    yield "prices", [f"input {prices['input']}, output {prices['output']}{cached}, dollars for a million tokens"]
    yield "targets", [_target_line(one) for one in record["targets"]] or [_NOBODY]


def _alias_line(alias: Mapping[str, Any] | None) -> str:
    if alias is None:
        return "none that the organisation sees"
    seeing = alias["visible_to"]
    told = "all" if seeing is None else "one organisation" if len(seeing) == 1 else f"{len(seeing)} organisations"
    return f"{alias['id']} ({alias['category']}), visible to {told}"


def _outcome_line(one: Mapping[str, Any]) -> str:
    told = one["outcome"] if one["outcome"] == FORWARDED else f"refused with {one['outcome']}"
    return f"{one['operation']} at {one['mount']} ({one['dialect']}, Phase {one['phase']}): {told}"


def _target_line(one: Mapping[str, Any]) -> str:
    times = ", ".join(f"{name.replace('_', ' ')} {seconds:g} s" for name, seconds in one["timeouts"].items())
    return f"order {one['order']}, {one['share']:.0%}: {one['provider']} ({one['kind']}) {one['model']}; {times}"
