"""The nouns, and the one strict converter.

Laws of this file:
- Records are frozen and hold only what the gateway acts on; the document a caller sent stays beside them, untouched.
- The converter never coerces and never validates: the contract's schema has decided before (ADR-0007).
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Generic, NewType, TypeVar, get_origin

import attrs
import cattrs

OrganizationId = NewType("OrganizationId", str)
KeyId = NewType("KeyId", str)
AgentId = NewType("AgentId", str)

CATCH_ALL: Final = "*"
"""The alias that stands for every model that is none."""

NOBODY: Final = OrganizationId("")
"""Whose requests those are where nobody is asked who he is."""

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Rate:
    """How much a subject may: *count* requests per *period* (nanoseconds), *burst* of them at once.

    *bucket* is what all of them are, in nanoseconds times the count; *window* the seconds until an empty one is full.
    """

    count: int
    period: int
    burst: int
    bucket: int = attrs.field(init=False, eq=False, repr=False)
    window: int = attrs.field(init=False, eq=False, repr=False)

    @bucket.default
    def _bucket(self) -> int:
        return self.burst * self.period

    @window.default
    def _window(self) -> int:
        return -(-self.bucket // (self.count * SECOND))


@attrs.define  # PERF: what is frozen takes three times as long to make; each limit of a request makes one
class Quota:
    """What is left of a limit after it was asked: *remaining* requests at once, and all of them after *reset*.

    *scope* says what kind of subject it counts: `address`, `key`, .... *retry* is when the next request passes, 0 where
    it passes now. Durations are in nanoseconds.
    """

    scope: str
    rate: Rate
    limited: bool
    remaining: int
    reset: int
    retry: int = 0


@attrs.frozen(kw_only=True)
class Principal:
    """Who is calling: a key of an organisation, what the key may do, and the limits that are their own.

    *daily_requests* and *daily_tokens* are what the key may use in a day of UTC.
    """

    organization: OrganizationId
    key: KeyId
    scopes: frozenset[str]
    organization_rate: Rate | None = None
    key_rate: Rate | None = None
    organization_token_rate: Rate | None = None
    key_token_rate: Rate | None = None
    daily_requests: int | None = None
    daily_tokens: int | None = None


@attrs.frozen(kw_only=True)
class Agent:
    """Who acts for a principal: a uuid, and a name that is unique in its organisation."""

    id: AgentId
    name: str
    organization: OrganizationId


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long a target may take, in seconds.

    *connect* until there is a connection, *first_byte* from then until the answer begins, *idle* between two pieces of
    it, *total* for all of it.
    """

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0


@attrs.frozen(kw_only=True)
class Target:
    """One provider and one of its models.

    Of the targets of an alias those of the lowest *order* are tried first, each as often as its *weight* says. *model*
    is None where the provider gets the name that the caller sent.
    """

    provider: str
    model: str | None = None
    weight: int = 1
    order: int = 0
    timeouts: Timeouts = Timeouts()


@attrs.frozen(kw_only=True)
class Provider:
    """A server that answers, or a part of the gateway that stands for one.

    *kind* is `openai`, `anthropic`, `echo` or `scripted`; only the first two have a *base_url*. *key* and the values of
    *headers* may be references, `env:NAME` or `file:PATH`; a key always is one. *quirks* name where the server differs
    from its kind. *private* says that its address may be one of a private network. *capacity* is how many requests it
    gets at once from one process.
    """

    name: str
    kind: str
    base_url: str | None = None
    key: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)  # a proxy could not be sent to a worker
    quirks: frozenset[str] = frozenset()
    private: bool = False
    capacity: int = 256


@attrs.frozen(kw_only=True)
class Prices:
    """What one token costs, in picodollars: a dollar per million tokens is a million of them.

    *cached_input* is the price of an input token that the provider had in its cache; None means that of any other.
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None


@attrs.frozen(kw_only=True)
class Usage:
    """What an exchange took, in tokens: *cached_tokens* are among the input, *reasoning_tokens* among the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """All tokens, in and out."""
        return self.input_tokens + self.output_tokens

    def cost(self, prices: Prices) -> int:
        """Return the cost in picodollars."""
        cached = prices.input if prices.cached_input is None else prices.cached_input
        fresh = self.input_tokens - self.cached_tokens
        return fresh * prices.input + self.cached_tokens * cached + self.output_tokens * prices.output


@attrs.frozen(kw_only=True)
class Guardrail:
    """What is looked for in texts, and what happens when it is found.

    *action* is `block`, `mask` or `flag`; *stages* are `input`, `output` or both. It looks for what *detectors* name,
    for the *patterns* (category -> RE2 pattern), for *keywords*, for texts of more than *max_chars* characters, and
    asks the *webhook*, if there is one.
    """

    key: str
    action: str
    stages: frozenset[str] = frozenset({"input", "output"})
    detectors: tuple[str, ...] = ()
    patterns: Mapping[str, str] = attrs.field(factory=dict)
    keywords: tuple[str, ...] = ()
    max_chars: int | None = None
    webhook: str | None = None


@attrs.frozen(kw_only=True)
class Finding:
    """What a guardrail found: a *category*, and a *message* that never holds the text itself."""

    category: str
    message: str


@attrs.frozen(kw_only=True)
class Alias:
    """A model name that an organisation may send.

    *category* is what it can do: `llm` or `embedding`. *created* is in Unix seconds. *visible_to* holds the
    organisations that may use it; None means all. *rate* is its own limit for each of them, *token_rate* that of
    tokens. It is answered by one of its *targets*, costs what *prices* say, and is watched by the *guardrails* of
    these keys. An alias named `*` stands for every name that is no alias.
    """

    id: str
    display_name: str
    description: str
    category: str
    created: int
    visible_to: frozenset[OrganizationId] | None = None
    rate: Rate | None = None
    token_rate: Rate | None = None
    targets: tuple[Target, ...] = ()
    prices: Prices = Prices()
    guardrails: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Organization:
    """Who keys and agents belong to.

    *name* is unique among those in force; *rate* limits all its keys together, *token_rate* their tokens. The
    *guardrails* of these keys watch whatever it sends and gets.
    """

    id: OrganizationId
    name: str
    rate: Rate | None = None
    token_rate: Rate | None = None
    guardrails: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Key:
    """What may be told of a key, which is everything but its token.

    It does not pass from *expires* on. *successor* is the key that was issued in its place, if one was.
    """

    id: KeyId
    organization: OrganizationId
    name: str | None
    prefix: str
    scopes: frozenset[str]
    expires: datetime | None = None
    rate: Rate | None = None
    token_rate: Rate | None = None
    daily_requests: int | None = None
    daily_tokens: int | None = None
    successor: KeyId | None = None


@attrs.frozen(kw_only=True)
class Entry(Generic[T]):
    """Something that the store keeps: what it is, when it was made, and when it was revoked, if it was."""

    noun: T
    created: datetime
    revoked: datetime | None = None


@attrs.frozen(kw_only=True)
class IssuedKey:
    """A new key with its *token*, which is known now and never again (ADR-0030.R1)."""

    entry: Entry[Key]
    token: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Rotation:
    """The key that was *issued* in place of another, and the *replaced* one, which ends soon or has ended."""

    issued: IssuedKey
    replaced: Entry[Key]


@attrs.frozen(kw_only=True)
class ChatRequest:
    """The fields of a chat completion request that the gateway acts on."""

    model: str
    messages: list[Any]
    stream: bool | None = None

    @property
    def message_count(self) -> int:
        """How many messages there are: metadata that may be logged."""
        return len(self.messages)


@attrs.frozen(kw_only=True)
class ResponsesRequest:
    """The fields of a Responses API request that the gateway acts on."""

    model: str
    input: Any = None
    messages: list[Any] | None = None
    stream: bool | None = None

    @property
    def message_count(self) -> int:
        """How many items there are: metadata that may be logged. A plain text counts as one."""
        items = self.input if self.messages is None else self.messages
        if isinstance(items, list):
            return len(items)
        return 0 if items is None else 1


@attrs.frozen(kw_only=True)
class EmbeddingsRequest:
    """The fields of an embeddings request that the gateway acts on."""

    model: str
    input: Any

    @property
    def message_count(self) -> int:
        """How many inputs there are: metadata that may be logged. A text counts as one, and so do its tokens."""
        many = isinstance(self.input, list) and self.input and isinstance(self.input[0], str | list)
        return len(self.input) if many else 1

    @property
    def stream(self) -> None:
        """Embeddings are never streamed."""


ModelRequest = ChatRequest | ResponsesRequest | EmbeddingsRequest
"""A request that names a model: what a body becomes."""

SECOND: Final = 1_000_000_000
"""In nanoseconds."""

_UNITS: Final = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86400 * SECOND}
_RATE: Final = re.compile(
    r"(?P<count>[1-9][0-9]{0,8})/(?P<unit>[smhd])(?: burst (?P<burst>[1-9][0-9]{0,8}))?", re.ASCII
)


def rate_of(text: str) -> Rate:
    """Return the rate in *text*: `600/m`, `20/s burst 40` (ADR-0032).

    Raises:
        ValueError: saying what a rate looks like.
    """
    found = _RATE.fullmatch(text)
    if found is None:
        message = "a rate is written as 600/m or 20/s burst 40, with the units s, m, h and d"
        raise ValueError(message)
    count = int(found["count"])
    return Rate(count=count, period=_UNITS[found["unit"]], burst=int(found["burst"] or count))


def rate_text(rate: Rate) -> str:
    """Return *rate* as `rate_of` reads it."""
    unit = next(name for name, period in _UNITS.items() if period == rate.period)
    burst = "" if rate.burst == rate.count else f" burst {rate.burst}"
    return f"{rate.count}/{unit}{burst}"


_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def valid_request_id(stated: object) -> str | None:
    """Return the request id that a caller *stated*, or None when it has not the form of one (ADR-0013)."""
    return stated if isinstance(stated, str) and _REQUEST_ID.fullmatch(stated) else None


@attrs.define(kw_only=True, slots=False)  # so that `vars` tells its fields
class RequestEvent:
    """The one log event of a request (ADR-0015): every field that may be logged, and no other.

    *duration_ms* runs from arrival to the end of the answer, *first_token_ms* to its first token; *left* says that the
    caller left before the end. Fields that were not reached stay None.
    """

    request_id: str
    trace_id: str
    caller_request_id: str | None = None
    mount: str | None = None
    method: str | None = None
    route: str | None = None
    operation: str | None = None
    phase: int | None = None
    status: int | None = None
    refusal: str | None = None
    org_id: str | None = None
    key_id: str | None = None
    agent_id: str | None = None
    model: str | None = None
    message_count: int | None = None
    stream: bool | None = None
    request_bytes: int | None = None
    attempts: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    guardrails: str | None = None
    first_token_ms: float | None = None
    left: bool | None = None
    duration_ms: float | None = None


def _exactly(accepted: type[T]) -> Callable[[object, object], T]:
    """Return a structure hook that passes values of exactly the *accepted* type and nothing else."""

    def hook(value: object, _: object) -> T:
        if type(value) is accepted:
            return value
        message = f"expected {accepted.__name__}, got {type(value).__name__}"
        raise TypeError(message)

    return hook


def _is_list(kind: Any) -> bool:  # noqa: ANN401 - cattrs asks for every type there is
    return get_origin(kind) is list


def _build_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for scalar in (str, int, float, bool):
        converter.register_structure_hook(scalar, _exactly(scalar))
    converter.register_structure_hook_func(_is_list, _exactly(list))
    return converter


_converter: Final = _build_converter()


def structure(document: Mapping[str, Any], record: type[T]) -> T:
    """Return *document*, which the contract's schema has accepted, as a *record*; other members are left out."""
    return _converter.structure(document, record)
