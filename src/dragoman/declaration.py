"""What a catalogue is to be, as a file declares it: the rules that things of it keep, and their words (ADR-0040).

Laws of this file:
- A rule stands here once, whoever states a thing: the file, a command, or a row of the store.
- What is told of a thing are the words of the file, so that a difference reads as the file does; the literal text of a
  header is not among them.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import attrs

from dragoman.model import Alias, Guardrail, Organization, Prices, Provider, Rate, Target, Timeouts, rate_text

CATEGORIES: Final = ("llm", "embedding")
"""What an alias can do."""

PROVIDER_KINDS: Final = ("openai", "anthropic", "echo", "scripted")
REMOTE_KINDS: Final = ("openai", "anthropic")
"""Those of the kinds that are servers, with an address and a key."""

ACTIONS: Final = ("block", "mask", "flag")
STAGES: Final = ("input", "output")

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What providers, guardrails, agents and the categories of patterns are called."""

ALIAS_NAME: Final = r"[!-~]{1,256}"
TITLE: Final = r"[^\p{C}\p{Z}]+( +[^\p{C}\p{Z}]+)*"
"""Words that can be printed, with spaces between; ECMA-262's, for JSON Schema: `is_title` is the rule."""

LINE: Final = r"([^\p{C}\p{Z}]| )*"
"""A text that can be printed in one line; ECMA-262's, as above."""

TITLE_LENGTH: Final = 128
QUIRK: Final = r"[a-z][a-z0-9_-]{0,63}"
REFERENCE: Final = r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\p{C}]+"
"""Where a secret is: a variable, or a file."""

URL: Final = r'https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-"$->@-~]*)?'
"""An address without a user, a query or a fragment, in which secrets would stand."""

HEADER_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}"
HEADER_VALUE: Final = r"[!-~]([ -~]{0,4094}[!-~])?"

MOST_WEIGHT: Final = 1_000_000
MOST_ORDER: Final = 1000
MOST_CAPACITY: Final = 100_000
MOST_SECONDS: Final = 86_400
MOST_CHARS: Final = 100_000_000
MOST_A_DAY: Final = 10**15
"""Of requests or tokens of one key."""

MOST_DOLLARS: Final = 10_000
"""For a million tokens. The cost of a request of 100 million tokens is then still a whole number of 64 bits."""

DECIMALS: Final = 6
"""Of a price, as it is written."""

SECRET_WORDS: Final = ("auth", "cookie", "credential", "key", "password", "secret", "token")
_FRAMING: Final = (
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
"""Headers that are the connection's own business."""


FREE: Final = Prices()


@attrs.frozen(kw_only=True)
class DeclaredOrganization:
    """An organisation, known by its name, with the names of its *agents*."""

    name: str
    rate: Rate | None = None
    token_rate: Rate | None = None
    guardrails: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class DeclaredAlias:
    """An alias, as `dragoman.model.Alias`; *visible_to* holds ids or names of organisations, None means all."""

    id: str
    display_name: str
    description: str = ""
    category: str = CATEGORIES[0]
    visible_to: frozenset[str] | None = None
    rate: Rate | None = None
    token_rate: Rate | None = None
    targets: tuple[Target, ...] = ()
    prices: Prices = FREE
    guardrails: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Declaration:
    """Everything that a file declares, each kind in the order of the file."""

    organizations: tuple[DeclaredOrganization, ...] = ()
    providers: tuple[Provider, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    aliases: tuple[DeclaredAlias, ...] = ()


# --- Rules ------------------------------------------------------------------------------------------------------------


def is_title(text: str) -> bool:
    """Whether *text* can be shown as the name of something."""
    return 1 <= len(text) <= TITLE_LENGTH and text.isprintable() and text == text.strip()


def is_organization_name(text: str) -> bool:
    """Whether an organisation may be called *text*, which must not be taken for an id."""
    return is_title(text) and not is_uuid(text)


def is_name(text: str) -> bool:
    """Whether *text* is what a provider, a guardrail or a category of patterns may be called."""
    return re.fullmatch(NAME, text, re.ASCII) is not None


def is_agent_name(text: str) -> bool:
    """Whether an agent may be called *text*, which must not be taken for an id."""
    return is_name(text) and not is_uuid(text)


def is_uuid(text: str) -> bool:
    """Whether *text* is a UUID, in any of its forms."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def is_reference(text: str) -> bool:
    """Whether *text* says where a secret is, as `env:NAME` or `file:PATH`."""
    kind, _, rest = text.partition(":")
    if kind == "env":
        return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", rest, re.ASCII) is not None
    return kind == "file" and rest != "" and rest.isprintable()


def is_secret_header(name: str) -> bool:
    """Whether what stands in the header *name* may be a secret, so that it must be given by reference."""
    return any(word in name.lower() for word in SECRET_WORDS)


def complaints_of_provider(provider: Provider) -> Iterator[str]:
    """Yield what is wrong with *provider*, each beginning with the member; what may be a secret is not told."""
    if not is_name(provider.name):
        yield "name: it must be 1 to 64 letters, digits, dots, hyphens and underscores"
    yield from _complaints_of_kind(provider)
    if provider.base_url is not None and not re.fullmatch(URL, provider.base_url, re.ASCII):
        yield "base_url: it must be http:// or https:// and a host, without a user, a query or a fragment"
    if provider.key is not None and not is_reference(provider.key):
        yield "key: it must be env:NAME or file:PATH; a secret never stands here"
    for name, value in provider.headers.items():
        yield from _complaints_of_header(name, value)
    if not all(re.fullmatch(QUIRK, quirk, re.ASCII) for quirk in provider.quirks):
        yield "quirks: a quirk is a word in lower case"
    if not 1 <= provider.capacity <= MOST_CAPACITY:
        yield f"capacity: it must be from 1 to {MOST_CAPACITY}"


def _complaints_of_kind(provider: Provider) -> Iterator[str]:
    """Yield what a provider of this kind lacks, or has and cannot have."""
    if provider.kind not in PROVIDER_KINDS:
        yield f"kind: it must be one of {', '.join(PROVIDER_KINDS)}"
    elif provider.kind not in REMOTE_KINDS:
        stated = {"base_url": provider.base_url, "key": provider.key, "headers": provider.headers}
        for member in (name for name, value in stated.items() if value):
            yield f"{member}: a provider of the kind {provider.kind} has none"
    elif provider.base_url is None:
        yield f"base_url: it is missing, and a provider of the kind {provider.kind} needs one"


def _complaints_of_header(name: str, value: str) -> Iterator[str]:
    if not re.fullmatch(HEADER_NAME, name, re.ASCII):
        yield "headers: a name of one is no name of a header"
    elif name.lower() in _FRAMING:
        yield f"headers.{name}: the connection sets it itself"
    elif is_reference(value):
        return
    elif is_secret_header(name):
        yield f"headers.{name}: it must be env:NAME or file:PATH; a secret never stands here"
    elif not re.fullmatch(HEADER_VALUE, value, re.ASCII):
        yield f"headers.{name}: it must be visible ASCII characters, with spaces between"


def complaints_of_guardrail(guardrail: Guardrail) -> Iterator[str]:
    """Yield what is wrong with *guardrail*, each beginning with the member."""
    if not is_name(guardrail.key):
        yield "key: it must be 1 to 64 letters, digits, dots, hyphens and underscores"
    if guardrail.action not in ACTIONS:
        yield f"action: it must be one of {', '.join(ACTIONS)}"
    if not guardrail.stages or not guardrail.stages <= set(STAGES):
        yield f"stages: it must hold one or more of {', '.join(STAGES)}"
    sought = (guardrail.detectors, guardrail.patterns, guardrail.keywords, guardrail.max_chars, guardrail.webhook)
    if not any(sought):
        yield "detectors: it looks for nothing; give detectors, patterns, keywords, max_chars or a webhook"
    if not all(map(is_name, guardrail.patterns)):
        yield "patterns: a category is 1 to 64 letters, digits, dots, hyphens and underscores"
    if not all((*guardrail.patterns.values(), *guardrail.keywords, *guardrail.detectors)):
        yield "patterns: a detector, a pattern and a keyword have a character at least"
    if guardrail.max_chars is not None and not 1 <= guardrail.max_chars <= MOST_CHARS:
        yield f"max_chars: it must be from 1 to {MOST_CHARS}"
    if guardrail.webhook is not None and not re.fullmatch(URL, guardrail.webhook, re.ASCII):
        yield "webhook: it must be http:// or https:// and a host, without a user, a query or a fragment"


def complaints_of_alias(alias: Alias | DeclaredAlias) -> Iterator[str]:
    """Yield what is wrong with *alias*, each beginning with the member."""
    if not re.fullmatch(ALIAS_NAME, alias.id, re.ASCII):
        yield "id: an alias is 1 to 256 visible ASCII characters"
    if not is_title(alias.display_name):
        yield f"display_name: a display name is 1 to {TITLE_LENGTH} characters"
    if not alias.description.isprintable():
        yield "description: a description is one line of text"
    if alias.category not in CATEGORIES:
        yield f"category: a category is one of {', '.join(CATEGORIES)}"
    for price in (alias.prices.input, alias.prices.output, alias.prices.cached_input or 0):
        if not 0 <= price <= MOST_DOLLARS * _PICODOLLARS:
            yield f"prices: a price is from 0 to {MOST_DOLLARS} dollars"
    for index, target in enumerate(alias.targets):
        for complaint in _complaints_of_target(target):
            yield f"target[{index}].{complaint}"


def _complaints_of_target(target: Target) -> Iterator[str]:
    if target.model is not None and not is_model(target.model):
        yield "model: it must be 1 to 256 characters in one line"
    if not 1 <= target.weight <= MOST_WEIGHT:
        yield f"weight: it must be from 1 to {MOST_WEIGHT}"
    if not 0 <= target.order <= MOST_ORDER:
        yield f"order: it must be from 0 to {MOST_ORDER}"
    for name, seconds in attrs.asdict(target.timeouts).items():
        if not 0 < seconds <= MOST_SECONDS:
            yield f"timeouts.{name}: it must be more than 0 and at most {MOST_SECONDS}"


MODEL_LENGTH: Final = 256


def is_model(text: str) -> bool:
    """Whether a provider may have a model that is called *text*."""
    return 1 <= len(text) <= MODEL_LENGTH and text.isprintable() and text == text.strip()


# --- Prices -----------------------------------------------------------------------------------------------------------

_PICODOLLARS: Final = 10**DECIMALS
"""What a token costs where a million of them costs a dollar."""


def price_of(dollars: Decimal) -> int:
    """Return what a token costs, in picodollars, where a million of them costs so many *dollars*.

    Raises:
        ValueError: it is negative, too much, or has more decimals than can be kept.
    """
    if dollars.is_finite() and 0 <= dollars <= MOST_DOLLARS:
        exact = dollars * _PICODOLLARS
        if exact == int(exact):
            return int(exact)
    message = f"a price is from 0 to {MOST_DOLLARS} dollars, with at most {DECIMALS} decimals"
    raise ValueError(message)


def price_text(price: int) -> str:
    """Return *price*, in picodollars for a token, as dollars for a million of them."""
    whole, part = divmod(price, _PICODOLLARS)
    decimals = f"{part:0{DECIMALS}}".rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


# --- Words ------------------------------------------------------------------------------------------------------------

Words = Mapping[str, Any]
"""The members of a thing, by the names that they have in a file; None where a file says nothing."""


def words_of_provider(provider: Provider, *, instead_of: Provider | None = None) -> Words:
    """Return *provider* in the words of the file, with the names of its headers and not their literal texts.

    A header that another provider, which it is *instead_of*, had with another text is told as another one.
    """
    before = provider.headers if instead_of is None else instead_of.headers
    return {
        "kind": provider.kind,
        "base_url": provider.base_url,
        "key": provider.key,
        "headers": {name: _told(value, before.get(name, value)) for name, value in provider.headers.items()},
        "quirks": sorted(provider.quirks),
        "private": provider.private,
        "capacity": provider.capacity,
    }


def _told(value: str, before: str) -> str:
    """Return what is told of the *value* of a header, which was another one *before* or the same."""
    if is_reference(value):
        return value
    return "(a text)" if before == value or is_reference(before) else "(another text)"


def words_of_guardrail(guardrail: Guardrail) -> Words:
    """Return *guardrail* in the words of the file."""
    return {
        "action": guardrail.action,
        "stages": sorted(guardrail.stages),
        "detectors": list(guardrail.detectors),
        "patterns": dict(guardrail.patterns),
        "keywords": list(guardrail.keywords),
        "max_chars": guardrail.max_chars,
        "webhook": guardrail.webhook,
    }


def words_of_organization(organization: Organization | DeclaredOrganization) -> Words:
    """Return *organization* in the words of the file."""
    return {
        "limit": _rate(organization.rate),
        "token_limit": _rate(organization.token_rate),
        "guardrails": list(organization.guardrails),
    }


def words_of_alias(alias: Alias | DeclaredAlias, organizations: Mapping[str, str]) -> Words:
    """Return *alias* in the words of the file; *organizations* maps ids to names."""
    seeing = None if alias.visible_to is None else sorted(organizations.get(one, one) for one in alias.visible_to)
    return {
        "display_name": alias.display_name,
        "description": alias.description,
        "category": alias.category,
        "visible_to": seeing,
        "limit": _rate(alias.rate),
        "token_limit": _rate(alias.token_rate),
        "prices": words_of_prices(alias.prices),
        "guardrails": list(alias.guardrails),
        "target": [words_of_target(target) for target in alias.targets],
    }


def words_of_prices(prices: Prices) -> Words:
    """Return *prices* in the words of the file."""
    cached = prices.cached_input
    return {
        "input": price_text(prices.input),
        "output": price_text(prices.output),
        "cached_input": None if cached is None else price_text(cached),
    }


def words_of_target(target: Target) -> Words:
    """Return *target* in the words of the file; its timeouts are told where they are not the usual ones."""
    usual = target.timeouts == Timeouts()
    return {
        "provider": target.provider,
        "model": target.model,
        "weight": target.weight,
        "order": target.order,
        "timeouts": None if usual else attrs.asdict(target.timeouts),
    }


def _rate(rate: Rate | None) -> str | None:
    return None if rate is None else rate_text(rate)
