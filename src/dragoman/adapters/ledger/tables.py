"""The table of the ledger (ADR-0041).

Laws of this file:
- It says what the newest migration has made: a test compares them, and every change here needs a migration.
- Times are whole milliseconds since the Unix epoch, costs picodollars, switches 0 or 1.
- There is metadata only, of which a row is written once and never changed.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Named, Table, TypedColumns

HEAD: Final = "0001"
"""The newest migration."""

APPLICATION_ID: Final = 0x646C6467
"""What the header of a ledger says that it is (`dldg`)."""

METADATA: Final = MetaData()


class EntryColumns(TypedColumns):
    """What is kept of one request, by the names of `dragoman.ports.LedgerEntry`; *number* is the order of writing."""

    number = Column(Integer, primary_key=True)
    request_id: Named[str]
    at: Named[int]
    organization: Named[str | None]
    key: Named[str | None]
    agent: Named[str | None]
    alias: Named[str]
    operation: Named[str]
    outcome: Named[str]
    stream: Named[int]
    input_tokens: Named[int]
    output_tokens: Named[int]
    cached_tokens: Named[int]
    reasoning_tokens: Named[int]
    estimated: Named[int]
    cost: Named[int] = Column(BigInteger)
    duration_ms: Named[float]
    first_token_ms: Named[float | None]
    provider: Named[str | None]
    upstream_model: Named[str | None]
    attempts: Named[int]


ENTRIES: Final = Table("entries", METADATA, EntryColumns)

Index("entries_by_time", ENTRIES.c.at)
