"""Organisations, keys, agents and aliases in memory.

Laws of this file:
- Tokens are not kept: a key is found by the SHA-256 of the whole token (ADR-0009), so that no prefix of one means
  anything, and finding takes as long for a wrong token as for a right one.
- The contents are given at start and never change.
"""

import hashlib
from collections.abc import Mapping, Sequence

import attrs

from dragoman.model import Agent, AgentId, Alias, OrganizationId, Principal


@attrs.frozen(kw_only=True)
class MemoryStore:
    """Fits the ports `Identity` and `Catalogue`."""

    _keys: Mapping[bytes, Principal]
    _agents: Mapping[tuple[OrganizationId, AgentId], Agent]
    _aliases: Mapping[OrganizationId, Sequence[Alias]]

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None."""
        return self._keys.get(_digest(token))

    async def agent(self, organization: OrganizationId, agent: AgentId) -> Agent | None:
        """Return the *agent* of the *organization*, or None for an unknown and a foreign one alike."""
        return self._agents.get((organization, agent))

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases of the *organization*."""
        return self._aliases.get(organization, ())


def build_store(
    *,
    keys: Mapping[str, Principal],
    agents: Sequence[Agent] = (),
    aliases: Mapping[OrganizationId, Sequence[Alias]] | None = None,
) -> MemoryStore:
    """Return a store; *keys* maps tokens to whose they are, and is not kept."""
    return MemoryStore(
        keys={_digest(token): principal for token, principal in keys.items()},
        agents={(agent.organization, agent.id): agent for agent in agents},
        aliases=aliases or {},
    )


def _digest(token: str) -> bytes:
    # surrogateescape cannot occur: header values are decoded as Latin-1 (RFC 9110, section 5.5).
    return hashlib.sha256(token.encode("utf-8")).digest()
