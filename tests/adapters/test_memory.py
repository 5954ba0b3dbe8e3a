"""The store in memory: whole tokens, own agents, own aliases."""

import asyncio

import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.memory import build_store
from dragoman.model import Agent
from fakes import AGENT, ALIASES, FOREIGN, FOREIGN_AGENT, OWN, PRINCIPAL, TOKEN

STORE = build_store(
    keys={TOKEN: PRINCIPAL},
    agents=[
        Agent(id=AGENT, name="main", organization=OWN),
        Agent(id=FOREIGN_AGENT, name="main", organization=FOREIGN),
    ],
    aliases=ALIASES,
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
    ("organization", "agent", "name"), [(OWN, AGENT, "main"), (OWN, FOREIGN_AGENT, None), (FOREIGN, AGENT, None)]
)
def test_an_agent_is_found_in_its_organization_only(organization: str, agent: str, name: str | None) -> None:
    """An agent is its organisation's; for another one it does not exist."""
    found = asyncio.run(STORE.agent(organization, agent))  # type: ignore[arg-type]

    assert name == (found and found.name)


def test_aliases_are_the_organizations() -> None:
    """An organisation has its aliases in their order, and one without any has none."""
    assert ALIASES[OWN] == asyncio.run(STORE.aliases(OWN))
    assert () == asyncio.run(STORE.aliases(FOREIGN))


def test_a_store_may_be_empty() -> None:
    """A store without keys knows nobody."""
    empty = build_store(keys={})

    assert asyncio.run(empty.principal(TOKEN)) is None
    assert () == asyncio.run(empty.aliases(OWN))
