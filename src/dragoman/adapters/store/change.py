"""One transaction that writes (ADR-0029).

Laws of this file:
- Whatever is changed is noted, so that it leaves its audit row and raises the revision.
"""

from collections.abc import Mapping
from datetime import datetime

import attrs
from sqlalchemy import Table, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from dragoman.adapters.store.rows import Stored, milliseconds
from dragoman.adapters.store.tables import AUDIT, REVISION


@attrs.frozen(kw_only=True)
class Change:
    """A transaction that writes, by *command*, at *time*; *notes* say what it has changed."""

    connection: AsyncConnection
    command: str
    time: datetime
    notes: list[dict[str, object]] = attrs.field(factory=list, init=False)

    async def put(self, table: Table, kind: str, subject: str, values: Mapping[str, object]) -> Stored:
        """Add a row and return it."""
        self.note(kind, subject)
        made = insert(table).values(id=subject, created=milliseconds(self.time), **values).returning(*table.c)
        return (await self.connection.execute(made)).one()

    async def amend(self, table: Table, subject: str, values: Mapping[str, object]) -> Stored:
        """Change the row of what is in force, and return it; whoever does it notes it."""
        amended = update(table).where(table.c.id == subject, table.c.revoked.is_(None)).values(values)
        return (await self.connection.execute(amended.returning(*table.c))).one()

    def note(self, kind: str, subject: str) -> None:
        """Say that one thing is changed."""
        at = milliseconds(self.time)
        self.notes.append({"at": at, "command": self.command, "kind": kind, "subject": subject})

    async def close(self) -> None:
        """Leave the audit rows and raise the revision, if anything has changed."""
        if self.notes:
            await self.connection.execute(insert(AUDIT), self.notes)
            await self.connection.execute(update(REVISION).values(number=REVISION.c.number + 1))
