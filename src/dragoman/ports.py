"""What the pipeline needs of the world outside, as protocols. Adapters fit them; `app` is where that is checked."""

from collections.abc import Sequence
from typing import Protocol

from dragoman.model import Agent, Alias, OrganizationId, Principal


class Identity(Protocol):
    """Who is calling. Both answers come from memory; neither may be guessed when it is not known."""

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None when it is nobody's."""

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id or name; None for an unknown and a foreign one alike."""


class Catalogue(Protocol):
    """The models that organisations may use."""

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases that the *organization* may see, in the order in which they are listed."""


class EventLog(Protocol):
    """Where the events of requests go."""

    def request(self, fields: dict[str, object]) -> None:
        """Write the one event of a request."""

    def failure(self, fields: dict[str, object]) -> None:
        """Write that the gateway itself failed: type and place of the error, never its text."""
