"""Keeps what a service answered, for as long as that may count (ADR-0031).

Laws of this file:
- An answer counts from the moment its question was put, so that nothing outlives its confirmation by the time a call
  takes.
- What is valid and what is not are kept apart: however many wrong tokens somebody tries, no right one makes room.
- Questions about one key that wait at the same time are one question; who leaves does not end it for the others.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import attrs

from dragoman.ports import IdentityUnavailableError

FRESH: Final = 1.0
"""Seconds for which an answer is not asked for again, and for which no answer to a known key is waited for again."""

SURVIVAL: Final = 60.0
"""Seconds after which a valid answer that was not confirmed again is forgotten, whatever the service does."""

CAPACITY: Final = 10_000
"""How many valid answers are kept, and how many others: some 7 MB and 2 MB."""

FLIGHTS: Final = 128
"""How many questions about unknown keys wait at once: beyond them nobody waits, so that guesses take no one's place."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
V = TypeVar("V")


@attrs.define
class _Valid(Generic[T]):
    """An answer that counts without a question until *rest*; *confirmed* is when it was last asked for."""

    answer: T
    confirmed: float
    rest: float


@attrs.frozen
class _Outcome(Generic[T]):
    answer: T | None


class Answers(Generic[K, T]):
    """The answers about one kind of thing. Its methods are for one event loop."""

    def __init__(self, now: Callable[[], float], *, capacity: int = CAPACITY) -> None:
        """Take a clock that is monotonic, in seconds, and how many answers of each kind to keep."""
        self._now = now
        self._capacity = capacity
        self._valid: OrderedDict[K, _Valid[T]] = OrderedDict()
        self._invalid: OrderedDict[K, float] = OrderedDict()  # until when
        self._flights: dict[K, asyncio.Task[_Outcome[T] | None]] = {}

    async def about(self, key: K, question: Callable[[], Awaitable[T | None]]) -> T | None:
        """Return what is known of *key*, else the answer to *question*; None is an answer.

        Raises:
            IdentityUnavailableError: the *question* raised it, and nothing that may still count is known.
        """
        valid = self._valid.get(key)
        if valid is not None and self._now() < valid.rest:
            self._valid.move_to_end(key)
            return valid.answer
        until = self._invalid.get(key)
        if until is not None and self._now() < until:
            self._invalid.move_to_end(key)
            return None
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= FLIGHTS and key not in self._valid:
                raise IdentityUnavailableError
            flight = self._flights[key] = asyncio.create_task(self._ask(key, question))
        outcome = await asyncio.shield(flight)
        if outcome is None:
            raise IdentityUnavailableError
        return outcome.answer

    async def _ask(self, key: K, question: Callable[[], Awaitable[T | None]]) -> _Outcome[T] | None:
        """Return the answer to *question*, or the one that survives it; None where there is no answer.

        It raises nothing: all who waited may have left, and nobody would take the error.
        """
        asked = self._now()
        try:
            answer = await question()
        except IdentityUnavailableError:
            return self._survivor(key)
        finally:
            del self._flights[key]
        if answer is None:
            self._valid.pop(key, None)
            _keep(self._invalid, key, asked + FRESH, self._capacity)
        else:
            _keep(self._valid, key, _Valid(answer, confirmed=asked, rest=asked + FRESH), self._capacity)
        return _Outcome(answer)

    def _survivor(self, key: K) -> _Outcome[T] | None:
        """Return the valid answer that was last given for *key*, if it may still count, and let the service rest."""
        valid, now = self._valid.get(key), self._now()
        if valid is None:
            return None
        end = valid.confirmed + SURVIVAL
        if now >= end:
            del self._valid[key]
            return None
        valid.rest = min(now + FRESH, end)
        self._valid.move_to_end(key)
        return _Outcome(valid.answer)


def _keep(kept: OrderedDict[K, V], key: K, value: V, capacity: int) -> None:
    """Put *value* at the end of what is *kept*; the one that was used least recently makes room for it."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > capacity:
        kept.popitem(last=False)
