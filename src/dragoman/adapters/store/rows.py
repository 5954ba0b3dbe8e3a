"""What stands in a row, and what it means.

Laws of this file:
- A row may have been written by another program: what breaks a rule is refused, and never guessed (ADR-0029.R2).
- What is told of a broken row is where it is and which rule it breaks, never what stands there, but for names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import orjson
from sqlalchemy import Row

from dragoman.declaration import MOST_A_DAY, complaints_of_alias, complaints_of_guardrail, complaints_of_provider
from dragoman.model import (
    Agent,
    AgentId,
    Alias,
    Entry,
    Guardrail,
    Key,
    KeyId,
    Organization,
    OrganizationId,
    Prices,
    Provider,
    Rate,
    Target,
    rate_of,
    rate_text,
    structure,
)
from dragoman.ports import StoreError

T = TypeVar("T")
R = TypeVar("R", Target, Prices)

Stored: TypeAlias = Row[*tuple[Any, ...]]
"""A row of any table; what it holds is not known until it has been looked at."""

DIGEST_LENGTH: Final = 32
"""In bytes: that of SHA-256."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Reader:
    """Reads the rows of one reading. Equal texts give the same record, for thousands of keys share a few of them."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._rates: dict[str | None, Rate | None] = {None: None}
        self._lists: dict[str, frozenset[str]] = {}

    def organization(self, row: Stored) -> Entry[Organization]:
        """Return the organisation in *row*."""
        noun = Organization(
            id=OrganizationId(text(row.id)),
            name=text(row.name),
            rate=self.rate(row.rate),
            token_rate=self.rate(row.token_rate),
            guardrails=_keys(row.guardrails),
        )
        return _entry(noun, row)

    def key(self, row: Stored) -> Entry[Key]:
        """Return what may be told of the key in *row*."""
        noun = Key(
            id=KeyId(text(row.id)),
            organization=OrganizationId(text(row.organization)),
            name=None if row.name is None else text(row.name),
            prefix=text(row.prefix),
            scopes=self.words(row.scopes),
            expires=None if row.expires is None else moment(row.expires),
            rate=self.rate(row.rate),
            token_rate=self.rate(row.token_rate),
            daily_requests=None if row.daily_requests is None else quantity(row.daily_requests),
            daily_tokens=None if row.daily_tokens is None else quantity(row.daily_tokens),
            successor=None if row.successor is None else KeyId(text(row.successor)),
        )
        return _entry(noun, row)

    def agent(self, row: Stored) -> Entry[Agent]:
        """Return the agent in *row*."""
        owner = OrganizationId(text(row.organization))
        return _entry(Agent(id=AgentId(text(row.id)), name=text(row.name), organization=owner), row)

    def alias(self, row: Stored) -> Entry[Alias]:
        """Return the alias in *row*."""
        noun = Alias(
            id=text(row.id),
            display_name=text(row.display_name),
            description=text(row.description),
            category=text(row.category),
            created=milliseconds(moment(row.created)) // 1000,
            visible_to=None if row.visible_to is None else frozenset(map(OrganizationId, self.words(row.visible_to))),
            rate=self.rate(row.rate),
            token_rate=self.rate(row.token_rate),
            targets=() if row.targets is None else tuple(_records(row.targets, Target)),
            prices=Prices() if row.prices is None else _record(_table(row.prices), Prices),
            guardrails=_keys(row.guardrails),
        )
        _require_sound(complaints_of_alias(noun))
        return _entry(noun, row)

    def provider(self, row: Stored) -> Entry[Provider]:
        """Return the provider in *row*."""
        noun = Provider(
            name=text(row.id),
            kind=text(row.kind),
            base_url=None if row.base_url is None else text(row.base_url),
            key=None if row.key is None else text(row.key),
            headers=_texts(row.headers),
            quirks=self.words(row.quirks),
            private=_number(row.private) != 0,
            capacity=_number(row.capacity),
        )
        _require_sound(complaints_of_provider(noun))
        return _entry(noun, row)

    def guardrail(self, row: Stored) -> Entry[Guardrail]:
        """Return the guardrail in *row*."""
        noun = Guardrail(
            key=text(row.id),
            action=text(row.action),
            stages=self.words(row.stages),
            detectors=tuple(_words(row.detectors)),
            patterns=_texts(row.patterns),
            keywords=tuple(_words(row.keywords)),
            max_chars=None if row.max_chars is None else _number(row.max_chars),
            webhook=None if row.webhook is None else text(row.webhook),
        )
        _require_sound(complaints_of_guardrail(noun))
        return _entry(noun, row)

    def rate(self, stored: str | None) -> Rate | None:
        """Return the rate that is *stored*, None where there is none."""
        if stored not in self._rates:
            self._rates[stored] = rate_of(text(stored))
        return self._rates[stored]

    def words(self, stored: str) -> frozenset[str]:
        """Return the texts of the list that is *stored*."""
        if stored not in self._lists:
            self._lists[stored] = frozenset(_words(stored))
        return self._lists[stored]


def each(kind: str, rows: Iterable[Stored], read: Callable[[Stored], T]) -> Iterator[T]:
    """Yield what *read* makes of each of *rows*, which are of this *kind*.

    Raises:
        StoreError: naming the row that breaks a rule, and the rule.
    """
    for row in rows:
        try:
            yield read(row)
        except ValueError as error:
            message = f"the {kind} {str(row.id)[:64]!r} in the store breaks a rule: {error}"
            raise StoreError(message) from None


def milliseconds(time: datetime) -> int:
    """Return *time* as it is stored."""
    return (time - _EPOCH) // _MILLISECOND


def moment(stored: object) -> datetime:
    """Return the time that is *stored*."""
    try:
        return _EPOCH + timedelta(milliseconds=_number(stored))
    except OverflowError:
        message = "a time of it is out of range"
        raise ValueError(message) from None


def text(stored: object) -> str:
    """Return the text that is *stored*."""
    if isinstance(stored, str):
        return stored
    message = "a text of it is none"
    raise ValueError(message)


def digest(stored: object) -> bytes:
    """Return the digest that is *stored*."""
    if isinstance(stored, bytes) and len(stored) == DIGEST_LENGTH:
        return stored
    message = "its digest is none"
    raise ValueError(message)


def quantity(stored: object) -> int:
    """Return how much of something a day has, as it is *stored*."""
    number = _number(stored)
    if 1 <= number <= MOST_A_DAY:
        return number
    message = "a quantity of it is out of range"
    raise ValueError(message)


# --- How a thing is written -------------------------------------------------------------------------------------------

Values: TypeAlias = dict[str, Any]
"""What stands in the columns of a row."""


def list_text(words: Iterable[str]) -> str:
    """Return *words*, whose order does not matter, as they are stored."""
    return json_text(sorted(words))


def json_text(document: object) -> str:
    """Return *document* as it is stored."""
    return orjson.dumps(document).decode("utf-8")


def organization_values(one: Organization) -> Values:
    """Return the columns of an organisation, but for its id."""
    return {
        "name": one.name,
        "rate": rate_column(one.rate),
        "token_rate": rate_column(one.token_rate),
        "guardrails": json_text(one.guardrails) if one.guardrails else None,
    }


def alias_values(one: Alias) -> Values:
    """Return the columns of an alias, but for its id."""
    return {
        "display_name": one.display_name,
        "description": one.description,
        "category": one.category,
        "visible_to": None if one.visible_to is None else list_text(one.visible_to),
        "rate": rate_column(one.rate),
        "token_rate": rate_column(one.token_rate),
        "targets": json_text([attrs.asdict(target) for target in one.targets]) if one.targets else None,
        "prices": None if one.prices == Prices() else json_text(attrs.asdict(one.prices)),
        "guardrails": json_text(one.guardrails) if one.guardrails else None,
    }


def provider_values(one: Provider) -> Values:
    """Return the columns of a provider, but for its name."""
    return {
        "kind": one.kind,
        "base_url": one.base_url,
        "key": one.key,
        "headers": json_text(dict(sorted(one.headers.items()))),
        "quirks": list_text(one.quirks),
        "private": int(one.private),
        "capacity": one.capacity,
    }


def guardrail_values(one: Guardrail) -> Values:
    """Return the columns of a guardrail, but for its key."""
    return {
        "action": one.action,
        "stages": list_text(one.stages),
        "detectors": json_text(one.detectors),
        "patterns": json_text(dict(one.patterns)),
        "keywords": json_text(one.keywords),
        "max_chars": one.max_chars,
        "webhook": one.webhook,
    }


def rate_column(rate: Rate | None) -> str | None:
    """Return *rate* as it is stored."""
    return None if rate is None else rate_text(rate)


# --- How it is read ---------------------------------------------------------------------------------------------------


def _require_sound(complaints: Iterator[str]) -> None:
    for complaint in complaints:
        raise ValueError(complaint)


def _keys(stored: object) -> tuple[str, ...]:
    """Return the keys of guardrails that are *stored*, in their order."""
    return () if stored is None else tuple(_words(stored))


def _words(stored: object) -> list[str]:
    words = _json(stored)
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    message = "a list of it is no JSON list of texts"
    raise ValueError(message)


def _texts(stored: object) -> Mapping[str, str]:
    texts = _table(stored)
    if all(isinstance(one, str) for one in texts.values()):
        return texts
    message = "a table of it is no JSON object of texts"
    raise ValueError(message)


def _table(stored: object) -> Mapping[str, Any]:
    table = _json(stored)
    if isinstance(table, dict):
        return table
    message = "a table of it is no JSON object"
    raise ValueError(message)


def _records(stored: object, record: type[R]) -> Iterator[R]:
    found = _json(stored)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        message = "a list of it is no JSON list of objects"
        raise ValueError(message)
    for one in found:
        yield _record(one, record)


def _record(document: Mapping[str, Any], record: type[R]) -> R:
    """Return the *record* of *document*; what stands there must be what the record says, to the letter."""
    with suppress(TypeError, KeyError, ValueError, AttributeError):
        found = structure(document, record)
        said = attrs.asdict(found)
        if all(name in said and said[name] == value for name, value in document.items()):
            return found
    message = "a table of it has another form"
    raise ValueError(message)


def _json(stored: object) -> object:
    try:
        return orjson.loads(text(stored))
    except orjson.JSONDecodeError:
        message = "a list or table of it is no JSON"
        raise ValueError(message) from None


def _number(stored: object) -> int:
    if isinstance(stored, int):
        return stored
    message = "a number of it is no whole number"
    raise ValueError(message)


def _entry(noun: T, row: Stored) -> Entry[T]:
    revoked = None if row.revoked is None else moment(row.revoked)
    return Entry(noun=noun, created=moment(row.created), revoked=revoked)
