"""What the pipeline needs of the world outside, as protocols. Adapters fit them; `app` is where that is checked."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from dragoman.model import (
    Agent,
    Alias,
    Entry,
    IssuedKey,
    Key,
    KeyId,
    Organization,
    OrganizationId,
    Principal,
    Quota,
    Rate,
    Rotation,
)

Noun = TypeVar("Noun", Organization, Key, Agent, Alias)
"""What a store keeps."""


class IdentityUnavailableError(Exception):
    """Nobody can say who is calling at the moment (ADR-0031)."""


class Identity(Protocol):
    """Who is calling. Neither answer may be guessed when it is not known: `IdentityUnavailableError` is raised then."""

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, or None when it is nobody's."""

    async def agent(self, organization: OrganizationId, named: str) -> Agent | None:
        """Return the agent of the *organization* with this id or name; None for an unknown and a foreign one alike."""


class Catalogue(Protocol):
    """The models that organisations may use."""

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases that the *organization* may see, in the order in which they are listed."""

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        """Return the alias of this *name* that the *organization* may see; None for an unknown and a foreign one."""


class Limiter(Protocol):
    """Counts what subjects take (ADR-0032). A subject is of a scope, and named uniquely in it."""

    async def take(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Take one request of *subject* if its *rate* admits it, and return what is left."""

    async def peek(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Return what `take` would find, and take nothing."""


class EventLog(Protocol):
    """Where the events of requests go."""

    def request(self, fields: dict[str, object]) -> None:
        """Write the one event of a request."""

    def failure(self, fields: dict[str, object]) -> None:
        """Write that the gateway itself failed: type and place of the error, never its text."""

    def state(self, fields: dict[str, object]) -> None:
        """Write that something that the gateway stands on has become bad, or good again; once for each change."""


class StoreError(Exception):
    """The store cannot be used; the message names it, and says what to do."""


class AdministrationError(Exception):
    """A change cannot be made; the message names what is wrong, and says what to do."""


class Administration(Protocol):
    """What the commands change and show (ADR-0029). A change that returns is durable; what is revoked stays listed.

    Organisations are named by id or name, everything else by id; ids and names are those in force, or, where there is
    none, the latest that were.

    Raises:
        AdministrationError: for what is unknown, taken, revoked, or no name.
        StoreError: when the store cannot be read or written.
    """

    async def create_organization(self, name: str, *, rate: Rate | None = None) -> Entry[Organization]:
        """Make an organisation."""

    async def create_key(  # noqa: PLR0913 - one argument a property
        self,
        organization: str,
        *,
        scopes: frozenset[str],
        name: str | None = None,
        prefix: str | None = None,
        expires: datetime | None = None,
        rate: Rate | None = None,
    ) -> IssuedKey:
        """Make a key of the *organization*."""

    async def create_agent(self, organization: str, name: str) -> Entry[Agent]:
        """Make an agent of the *organization*, in which its name is unique."""

    async def create_alias(  # noqa: PLR0913 - one argument a property
        self,
        name: str,
        *,
        display_name: str,
        description: str,
        category: str,
        visible_to: Sequence[str] | None = None,
        rate: Rate | None = None,
    ) -> Entry[Alias]:
        """Make an alias, which every organisation sees, or those that *visible_to* names."""

    async def entries(self, noun: type[Noun]) -> Sequence[Entry[Noun]]:
        """Return everything of this kind, in the order in which it was made."""

    async def entry(self, noun: type[Noun], named: str) -> Entry[Noun]:
        """Return the one that is *named*."""

    async def revoke(self, noun: type[Noun], named: str) -> Entry[Noun]:
        """End the one that is *named*, now; one that was revoked before stays as it is."""

    async def rotate_key(self, key: KeyId, *, overlap: timedelta) -> Rotation:
        """Make a successor of *key*, which ends after *overlap*.

        The successor has the same organisation, name, prefix, scopes and limit, and lives as long as *key* was to live.
        """
