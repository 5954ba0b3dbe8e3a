"""The models that an organisation may use, through the gateway."""

import asyncio

import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.contract import compile_contract
from dragoman.operations.handler import Made
from dragoman.operations.models import list_models
from fakes import FOREIGN_TOKEN, House, admit, build_services, effective, example
from wire import get

GENERAL = {
    "id": "general",
    "object": "model",
    "created": 1781438400,
    "owned_by": "dragoman",
    "display_name": "General",
    "description": "Everyday work.",
    "category": "llm",
}


def test_the_models_of_the_organization_are_listed(house: House) -> None:
    """The list holds the aliases of the caller's organisation in their order."""
    listed = get(house.app, "/v1/models").json()

    assert ("list", ["general", "vendor/large"]) == (listed["object"], [model["id"] for model in listed["data"]])
    assert GENERAL == listed["data"][0]


@confirms("ADR-0013.R5")
@pytest.mark.parametrize("model", ["general", "vendor/large"])
def test_a_model_is_found_by_its_id(house: House, model: str) -> None:
    """One model is found by its id, which may hold slashes."""
    answer = get(house.app, f"/v1/models/{model}")

    assert (200, model) == (answer.status, answer.json()["id"])


@pytest.mark.parametrize("model", ["General", "gen", "vendor", "vendor/large/", "general "])
def test_a_model_that_is_not_exactly_known_is_not_found(house: House, model: str) -> None:
    """An id that is none of the organisation's gets the contract's 404."""
    answer = get(house.app, f"/v1/models/{model}")

    assert (404, example(effective(), "model_not_found")) == (answer.status, answer.json())


def test_another_organization_has_its_own_models(house: House) -> None:
    """A caller of an organisation without aliases sees none."""
    assert [] == get(house.app, "/v1/models", token=FOREIGN_TOKEN).json()["data"]


def test_nobody_sees_no_models() -> None:
    """Where the contract asks nobody who he is, there are no models to show."""
    [operation] = compile_contract(tiny()).operations
    services = build_services()

    reply = asyncio.run(list_models(admit(operation), services))

    assert Made(value={"object": "list", "data": []}) == reply
