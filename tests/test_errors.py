"""The closed list of refusals, and what each of them has to know."""

import pytest
from gateway_conformance.rules import confirms

from dragoman.contract.source import Source
from dragoman.errors import COMMON_ARGUMENTS, Kind, Refusal, arguments_of
from fakes import effective
from treaty import Template

DETAIL = {"param", "code", "reason"}
ALIAS = {"alias"}
RETRY = {"retry_after"}
OWN = {
    Kind.INVALID_PARAMETER: DETAIL,
    Kind.INVALID_REQUEST: DETAIL,
    Kind.BODY_TOO_LARGE: {"limit"},
    Kind.GUARDRAIL_BLOCK: {"guardrail_key", "action", "findings"},
    Kind.ADDRESS_LIMITED: RETRY,
    Kind.OVERLOADED: RETRY,
    Kind.NOT_READY: RETRY,
    Kind.TOO_MANY_FAILED_LOGINS: RETRY,
    Kind.IDENTITY_UNAVAILABLE: RETRY,
    Kind.CALLER_LIMITED: RETRY,
    Kind.RATE_LIMITED: ALIAS | RETRY,
    Kind.UPSTREAM_UNAVAILABLE: ALIAS,
    Kind.CIRCUIT_OPEN: ALIAS | RETRY,
    Kind.UPSTREAM_TIMEOUT: ALIAS,
}


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_knows_the_request_and_its_own_arguments(kind: Kind) -> None:
    """Every kind may name the request's id and the time; a few know more."""
    assert {"request_id", "now"} | OWN.get(kind, set()) == arguments_of(kind)


@confirms("ADR-0004.R2")
@pytest.mark.parametrize("dialect", Source().dialects)
def test_every_example_is_what_its_own_sample_values_give(dialect: str) -> None:
    """Filling an example with the values that it shows gives back the example, member by member in its order."""
    examples = effective(dialect)["components"]["examples"]
    kinds = {name: stated for name, stated in examples.items() if "x-fill" in stated}

    templates = {name: Template.compile(stated["value"], stated["x-fill"]) for name, stated in kinds.items()}

    assert {name: str(stated["value"]) for name, stated in kinds.items()} == {
        name: str(template.fill(template.sample())) for name, template in templates.items()
    }


def test_a_refusal_carries_its_kind_and_its_arguments() -> None:
    """A refusal is its kind and what is known of it; its text is the kind's name and nothing else."""
    refusal = Refusal(Kind.BODY_TOO_LARGE, limit=7)

    assert (Kind.BODY_TOO_LARGE, {"limit": 7}, "body_too_large") == (refusal.kind, refusal.arguments, str(refusal))


def test_the_common_arguments_are_not_a_kinds_own() -> None:
    """What every kind knows is stated once."""
    assert frozenset({"request_id", "now"}) == COMMON_ARGUMENTS
