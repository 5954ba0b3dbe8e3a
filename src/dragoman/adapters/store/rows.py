"""What stands in a row, and what it means.

Laws of this file:
- A row may have been written by another program: what breaks a rule is refused, and never guessed (ADR-0029.R2).
- What is told of a broken row is where it is and which rule it breaks, never what stands there.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import orjson
from sqlalchemy import Row

from dragoman.model import (
    Agent,
    AgentId,
    Alias,
    Entry,
    Key,
    KeyId,
    Organization,
    OrganizationId,
    Rate,
    rate_of,
)
from dragoman.ports import StoreError

T = TypeVar("T")

Stored: TypeAlias = Row[*tuple[Any, ...]]
"""A row of any table; what it holds is not known until it has been looked at."""

CATEGORIES: Final = ("llm", "embedding")
"""What an alias can do."""

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
        noun = Organization(id=OrganizationId(text(row.id)), name=text(row.name), rate=self.rate(row.rate))
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
            successor=None if row.successor is None else KeyId(text(row.successor)),
        )
        return _entry(noun, row)

    def agent(self, row: Stored) -> Entry[Agent]:
        """Return the agent in *row*."""
        owner = OrganizationId(text(row.organization))
        return _entry(Agent(id=AgentId(text(row.id)), name=text(row.name), organization=owner), row)

    def alias(self, row: Stored) -> Entry[Alias]:
        """Return the alias in *row*."""
        if row.category not in CATEGORIES:
            message = "its category is unknown"
            raise ValueError(message)
        noun = Alias(
            id=text(row.id),
            display_name=text(row.display_name),
            description=text(row.description),
            category=row.category,
            created=milliseconds(moment(row.created)) // 1000,
            visible_to=None if row.visible_to is None else frozenset(map(OrganizationId, self.words(row.visible_to))),
            rate=self.rate(row.rate),
        )
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
        return _EPOCH + timedelta(milliseconds=_whole(stored))
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


def list_text(words: Iterable[str]) -> str:
    """Return *words* as they are stored."""
    return orjson.dumps(sorted(words)).decode("utf-8")


def _words(stored: object) -> list[str]:
    try:
        words = orjson.loads(text(stored))
    except orjson.JSONDecodeError:
        words = None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    message = "a list of it is no JSON list of texts"
    raise ValueError(message)


def _whole(stored: object) -> int:
    if isinstance(stored, int):
        return stored
    message = "a time of it is no whole number"
    raise ValueError(message)


def _entry(noun: T, row: Stored) -> Entry[T]:
    revoked = None if row.revoked is None else moment(row.revoked)
    return Entry(noun=noun, created=moment(row.created), revoked=revoked)
