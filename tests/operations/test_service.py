"""The gateway about itself."""

import json

import pytest
from gateway_conformance.rules import confirms

from fakes import House, effective
from wire import get


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_the_gateway_says_that_it_is_well(house: House, path: str) -> None:
    """The three probes answer anybody with the contract's body."""
    answer = get(house.app, path, token=None)

    assert (200, {"status": "ok"}) == (answer.status, answer.json())


@confirms("ADR-0001.R4")
@pytest.mark.parametrize(("mount", "dialect"), [("/", "dragoman"), ("/ibex", "ibex")])
def test_a_mount_publishes_its_effective_contract(house: House, mount: str, dialect: str) -> None:
    """The document that a mount serves is the one that it was made from, member by member in the same order."""
    answer = get(house.app, f"{mount.rstrip('/')}/openapi.json", token=None)

    assert json.dumps(effective(dialect, mount=mount)) == json.dumps(answer.json())
