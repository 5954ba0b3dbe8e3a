"""How many requests may be in work at once (ADR-0033)."""

from collections.abc import Callable

import attrs

from dragoman.contract import Operation
from dragoman.errors import Kind, Refusal

_RETRY_AFTER = 1
"""Seconds: a place becomes free whenever an answer ends, so that the shortest wait is the right one."""


@attrs.define(kw_only=True)
class Room:
    """Places for requests that forward, of one worker; *capacity* is how many there are."""

    capacity: int
    taken: int = 0

    def enter(self, operation: Operation, on_end: Callable[[Callable[[], None]], None]) -> None:
        """Take a place until the answer has ended, which *on_end* tells, or refuse the request.

        Operations of the gateway about itself need none: a full gateway still says that it lives.
        """
        if operation.phase is None:
            return
        if self.taken >= self.capacity:
            raise Refusal(Kind.OVERLOADED, retry_after=_RETRY_AFTER)
        self.taken += 1
        on_end(self._leave)

    def _leave(self) -> None:
        self.taken -= 1
