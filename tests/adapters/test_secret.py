"""One secret for a whole mount: exact, and never shown."""

import asyncio

import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.secret import build_secret_identity
from dragoman.model import OrganizationId
from fakes import FOREIGN, MAIN, OWN, PRINCIPAL, FakeIdentity

SECRET = "sesame-ö"
IDENTITY = build_secret_identity(SECRET, PRINCIPAL, FakeIdentity())


@confirms("ADR-0024.R1", "ADR-0022.R6")
def test_the_secret_gives_the_principal() -> None:
    """Whoever knows the whole secret acts for the one principal."""
    assert PRINCIPAL == asyncio.run(IDENTITY.principal(SECRET))


@confirms("ADR-0024.R1", "ADR-0022.R6")
@pytest.mark.parametrize("token", ["", SECRET[:-1], f"{SECRET} ", SECRET.upper(), SECRET * 2, "sesame-o", "\xff"])
def test_no_other_token_passes(token: str) -> None:
    """A token that is nearly the secret is nobody's."""
    assert asyncio.run(IDENTITY.principal(token)) is None


@confirms("ADR-0024.R3")
def test_the_secret_is_not_shown() -> None:
    """Neither the text nor the bytes of the secret stand in what is printed of the identity."""
    assert "sesame" not in repr(IDENTITY)


@pytest.mark.parametrize(("organization", "agent"), [(OWN, MAIN), (FOREIGN, None)])
def test_agents_are_those_of_the_store(organization: OrganizationId, agent: object) -> None:
    """An agent is looked up in the store, within the organisation."""
    assert agent == asyncio.run(IDENTITY.agent(organization, "main"))
