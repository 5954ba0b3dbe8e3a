"""Organisations, keys, agents and aliases in memory.

Laws of this file:
- Tokens are not kept: a key is found by the SHA-256 of the whole token (ADR-0009), so that no prefix of one means
  anything, and finding takes as long for a wrong token as for a right one.
- The contents are given at start and never change.
"""

import hashlib
from collections.abc import Mapping, Sequence

import attrs

from dragoman.model import Agent, Alias, OrganizationId, Principal


@attrs.frozen(kw_only=True)
class MemoryStore:
    """Fits the ports `Identity` and `Catalogue`."""

    _keys: Mapping[bytes, Principal]
    _agents: Mapping[tuple[OrganizationId, str], Agent]  # by id, and by name
    _aliases: Sequence[Alias]

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None."""
        return self._keys.get(_digest(token))

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id, in either case, or name; None where there is none."""
        return self._agents.get((organization, named)) or self._agents.get((organization, named.lower()))

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases that the *organization* may see."""
        return [alias for alias in self._aliases if alias.visible_to is None or organization in alias.visible_to]


def build_store(
    *, keys: Mapping[str, Principal], agents: Sequence[Agent] = (), aliases: Sequence[Alias] = ()
) -> MemoryStore:
    """Return a store; *keys* maps tokens to whose they are, and is not kept."""
    by_name = {(agent.organization, agent.name): agent for agent in agents}
    by_id = {(agent.organization, str(agent.id)): agent for agent in agents}
    return MemoryStore(
        keys={_digest(token): principal for token, principal in keys.items()},
        agents={**by_name, **by_id},
        aliases=tuple(aliases),
    )


def _digest(token: str) -> bytes:
    # surrogateescape cannot occur: header values are decoded as Latin-1 (RFC 9110, section 5.5).
    return hashlib.sha256(token.encode("utf-8")).digest()
