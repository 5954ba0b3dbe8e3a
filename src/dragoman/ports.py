"""What the pipeline needs of the world outside, as protocols. Adapters fit them; `app` is where that is checked."""

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable

import attrs

from dragoman.declaration import Declaration
from dragoman.model import (
    Agent,
    AgentId,
    Alias,
    Entry,
    Guardrail,
    IssuedKey,
    Key,
    KeyId,
    Organization,
    OrganizationId,
    Principal,
    Quota,
    Rate,
    RequestEvent,
    Rotation,
    Timeouts,
    Usage,
)
from dragoman.plan import Plan

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
    """The models that organisations may use, and what watches them."""

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        """Return the aliases that the *organization* may see, in their order, but for the one for all other names."""

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        """Return the alias of this *name* that the *organization* may see; None for an unknown and a foreign one."""

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        """Return what watches the *alias* when the *organization* uses it: its own first, then the organisation's."""


class Fault(enum.Enum):
    """What can go wrong with an upstream."""

    UNREACHABLE = "unreachable"
    """No connection, or one that was reset before the answer began."""
    TIMEOUT = "timeout"
    LIMITED = "limited"
    """It answered 429."""
    DENIED = "denied"
    """It did not accept the gateway's own credential: 401 or 403."""
    REJECTED = "rejected"
    """It did not accept the request itself: 400, 404, 413, 422."""
    FAILED = "failed"
    """It answered with another status that is no success."""
    GARBLED = "garbled"
    """What it sent is no answer: no JSON, no event stream, or one that breaks its grammar."""
    CUT = "cut"
    """Its answer began, and did not end."""
    TOO_LARGE = "too_large"


class UpstreamError(Exception):
    """An upstream has not answered as it should. Its text is for nobody: it holds no word of what the upstream said.

    *status* is the one that it answered with, *retry_after* the seconds that it asks to wait. Of a request that it
    rejected, *code* and *param* are told if they are words of OpenAI's vocabulary.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        """Take what is known."""
        super().__init__(fault.value)
        self.fault = fault
        self.status = status
        self.retry_after = retry_after
        self.code = code
        self.param = param

    @property
    def transient(self) -> bool:
        """Whether the same upstream may answer in a moment: it sent no status, or one from 500 to 599."""
        return self.status is None or 500 <= self.status <= 599  # noqa: PLR2004 - RFC 9110, section 15.6


class Chunks(Protocol):
    """A streamed answer of an upstream: chunks of a chat completion, as the upstream worded them.

    Iterating gives those that arrived together; it ends behind the upstream's own end of the stream, and raises
    `UpstreamError` for whatever else ends it. Whoever opened it closes it, which closes the connection if need be.
    """

    def __aiter__(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Return what gives the chunks."""

    async def aclose(self) -> None:
        """End the stream, wherever it is."""


@runtime_checkable
class Sink(Protocol):
    """Where pieces of a streamed answer can go at once, beside whoever sends the others."""

    @property
    def ready(self) -> bool:
        """Whether one would go out now: the answer has begun and not ended, and its caller reads."""

    def push(self, piece: bytes) -> None:
        """Send *piece*, when this is ready."""


@runtime_checkable
class Divertible(Protocol):
    """A streamed answer that can do without whoever waits for its chunks."""

    def divert(self, take: Callable[[Mapping[str, Any]], bool]) -> None:
        """Let *take* have each chunk that arrives alone while somebody waits; what it refuses comes as ever."""


class Upstream(Protocol):
    """Who answers. Requests and answers have the form of OpenAI's API, whatever the upstream itself speaks.

    A *document* is forwarded as it is but for `model`, `stream` and `stream_options`, which the upstream sets. Every
    method raises `UpstreamError`, and nothing else; a task that is cancelled leaves no connection open.
    """

    async def chat(self, document: Mapping[str, Any], *, model: str, timeouts: Timeouts) -> Mapping[str, Any]:
        """Return a whole chat completion."""

    async def chat_stream(self, document: Mapping[str, Any], *, model: str, timeouts: Timeouts) -> Chunks:
        """Return a chat completion in chunks, as soon as its first one is there; usage is always asked for."""

    async def embed(self, document: Mapping[str, Any], *, model: str, timeouts: Timeouts) -> Mapping[str, Any]:
        """Return a list of embeddings."""


class Upstreams(Protocol):
    """The providers in force."""

    def upstream(self, provider: str) -> Upstream:
        """Return the upstream of this *provider*; `KeyError` where there is none."""


@attrs.define(kw_only=True)  # PERF: what is frozen takes three times as long to make
class LedgerEntry:
    """What is kept of one forwarded request: metadata only.

    *at* is when it arrived, *outcome* `ok`, the value of a refusal's kind, `cut` or `left`. *cost* is in picodollars,
    times are in milliseconds; *first_token_ms* is None where nothing came. *provider* and *upstream_model* are who
    answered, if anybody did, after so many *attempts*.
    """

    request_id: str
    at: datetime
    organization: OrganizationId | None
    key: KeyId | None
    agent: AgentId | None
    alias: str
    operation: str
    outcome: str
    stream: bool
    usage: Usage
    estimated: bool
    cost: int
    duration_ms: float
    first_token_ms: float | None = None
    provider: str | None = None
    upstream_model: str | None = None
    attempts: int = 0


class Ledger(Protocol):
    """Where the usage of requests is kept (ADR-0041)."""

    def record(self, entry: LedgerEntry) -> None:
        """Keep *entry*; it is durable soon, and before the process ends."""


class Limiter(Protocol):
    """Counts what subjects take (ADR-0032). A subject is of a scope, and named uniquely in it.

    What is only known afterwards is reserved before: it is held, and nothing of it comes back, until it is settled.
    """

    async def take(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Take one request of *subject* if its *rate* admits it, and return what is left."""

    async def peek(self, scope: str, subject: str, rate: Rate) -> Quota:
        """Return what `take` would find, and take nothing."""

    async def reserve(self, scope: str, subject: str, rate: Rate, amount: int) -> Quota:
        """Hold *amount* for *subject* until it is settled, if its *rate* has room for it, and return what is left.

        What is larger than the burst is never admitted.
        """

    def settle(self, scope: str, subject: str, rate: Rate, *, reserved: int, used: int) -> None:
        """Let go what was *reserved* of *subject*, and take what it *used* in its place, however much that is.

        It never waits, so that it can be called wherever a request ends.
        """


@attrs.define(kw_only=True)  # PERF: one is made for every request that forwards
class DailyUse:
    """What is counted of a key in a day, with what is held; *admitted* says whether the request that asks is in it."""

    requests: int
    tokens: int
    admitted: bool = True


class DailyCounter(Protocol):
    """Counts what keys use in a day of UTC (ADR-0041). What is counted of a day does not come back."""

    async def reserve(
        self, key: KeyId, day: date, *, amount: int, requests: int | None, tokens: int | None
    ) -> DailyUse:
        """Count a request of *key* and hold an *amount* of tokens, if no more than so many of both are counted then.

        None is no bound.
        """

    def settle(self, key: KeyId, day: date, *, reserved: int, used: int) -> None:
        """Let go the tokens that were *reserved*, and count those that were *used*, however many; it never waits."""

    def cancel(self, key: KeyId, day: date, *, reserved: int) -> None:
        """Let go the tokens that were *reserved*, and their request with them; it never waits."""


class Meter(Protocol):
    """Counts what the metrics show (ADR-0042). Nothing of it waits, and nothing of it fails."""

    def arrived(self) -> None:
        """Count a request that has arrived."""

    def answered(self, mount: str | None, operation: str | None, status: int | None, seconds: float) -> None:
        """Count a request whose answer has ended, so many *seconds* after it arrived; None is what was not reached."""

    def first_token(self, alias: str, seconds: float) -> None:
        """Count how long after its arrival a request for *alias* got the first token of its answer."""

    def spent(self, alias: str, usage: Usage) -> None:
        """Count what a request for *alias* used."""

    def exposition(self) -> bytes:
        """Return all that was counted, in Prometheus' text format, version 0.0.4."""


class AccessLog(Protocol):
    """Where one line for each answer goes, in a format that other programs read (ADR-0042)."""

    def answered(self, head: Mapping[str, Any], event: RequestEvent, *, address: str, size: int) -> None:
        """Write the line of a request: its *head* is the ASGI scope, *size* the bytes of its answer's body."""


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


class Prune(enum.Enum):
    """What an apply revokes, of what it was not told."""

    NOTHING = "nothing"
    CATALOGUE = "catalogue"
    """Aliases, providers, guardrails, and agents of the organisations that it was told."""
    ORGANIZATIONS = "organizations"
    """The same, and organisations: their keys end with them."""


class Administration(Protocol):
    """What the commands change and show (ADR-0029). A change that returns is durable; what is revoked stays listed.

    Organisations are named by id or name, everything else by id; ids and names are those in force, or, where there is
    none, the latest that were.

    Raises:
        AdministrationError: for what is unknown, taken, revoked, or no name.
        StoreError: when the store cannot be read or written.
    """

    async def create_organization(
        self, name: str, *, rate: Rate | None = None, token_rate: Rate | None = None
    ) -> Entry[Organization]:
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
        token_rate: Rate | None = None,
        daily_requests: int | None = None,
        daily_tokens: int | None = None,
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
        token_rate: Rate | None = None,
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

        The successor has the same organisation, name, prefix, scopes and limits, and lives as long as *key* was to.
        """

    async def apply(self, declaration: Declaration, *, prune: Prune = Prune.NOTHING, dry_run: bool = False) -> Plan:
        """Make what is in force what *declaration* says, in one transaction, and return what that took (ADR-0040).

        Organisations are known by their names; what was not declared stays, but for what *prune* says. With *dry_run*
        nothing is changed. `AdministrationError` where what would be in force does not fit together.
        """
