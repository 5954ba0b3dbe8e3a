"""The store in memory: whole tokens, own agents, own aliases."""

import asyncio

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.memory import build_store
from dragoman.model import Agent, Alias, OrganizationId
from fakes import AGENT, FOREIGN, FOREIGN_AGENT, OWN, PRINCIPAL, TOKEN

GENERAL = Alias(id="general", display_name="General", description="", category="llm", created=1)
OURS = attrs.evolve(GENERAL, id="ours", visible_to=frozenset({OWN}))
THEIRS = attrs.evolve(GENERAL, id="theirs", visible_to=frozenset({FOREIGN}))
STORE = build_store(
    keys={TOKEN: PRINCIPAL},
    agents=[
        Agent(id=AGENT, name="main", organization=OWN),
        Agent(id=FOREIGN_AGENT, name="side", organization=FOREIGN),
    ],
    aliases=[GENERAL, OURS, THEIRS],
)


def test_a_known_token_gives_its_principal() -> None:
    """The whole token is a key."""
    assert PRINCIPAL == asyncio.run(STORE.principal(TOKEN))


@confirms("ADR-0009.R2")
@pytest.mark.parametrize("token", ["", TOKEN[:-1], TOKEN + " ", TOKEN.upper(), TOKEN + TOKEN, "é\xff"])
def test_no_other_token_is_a_key(token: str) -> None:
    """A token that is nearly right is nobody's."""
    assert asyncio.run(STORE.principal(token)) is None


@confirms("ADR-0009.R2")
def test_tokens_are_not_kept() -> None:
    """The text of a token does not stand in the store."""
    assert TOKEN not in repr(STORE)


@confirms("ADR-0009.R5")
@pytest.mark.parametrize(
    ("organization", "agent", "name"),
    [
        (OWN, AGENT, "main"),
        (OWN, AGENT.upper(), "main"),
        (OWN, "main", "main"),
        (OWN, "Main", "main"),
        (OWN, "", None),
        (OWN, FOREIGN_AGENT, None),
        (OWN, "side", None),
        (FOREIGN, AGENT, None),
        (FOREIGN, "main", None),
    ],
)
def test_an_agent_is_found_in_its_organization_only(organization: str, agent: str, name: str | None) -> None:
    """An agent is found by its id or name, in its organisation; for another one it does not exist."""
    found = asyncio.run(STORE.agent(organization, agent))  # type: ignore[arg-type]

    assert name == (found and found.name)


@confirms("ADR-0026.R1")
def test_aliases_are_the_organizations() -> None:
    """An organisation has the aliases of everybody and its own, in their order, and those of nobody else."""
    assert [GENERAL, OURS] == asyncio.run(STORE.aliases(OWN))
    assert [GENERAL, THEIRS] == asyncio.run(STORE.aliases(FOREIGN))
    assert [GENERAL] == asyncio.run(STORE.aliases(OrganizationId("a-third")))


def test_a_store_may_be_empty() -> None:
    """A store without keys knows nobody."""
    empty = build_store(keys={})

    assert asyncio.run(empty.principal(TOKEN)) is None
    assert [] == asyncio.run(empty.aliases(OWN))
