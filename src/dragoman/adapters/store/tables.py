"""The tables of the store (ADR-0029).

Laws of this file:
- It says what the newest migration has made: a test compares them, and every change here needs a migration.
- Times are whole milliseconds since the Unix epoch; lists are JSON, rates as `dragoman.model.rate_text` writes them.
- Nothing is deleted, so names are unique among what is not revoked, and `number` gives the order in which it was made.
"""

from typing import Final

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Named, Table, TypedColumns

HEAD: Final = "0001"
"""The newest migration; a store of this revision is read as it is, without asking Alembic."""

APPLICATION_ID: Final = 0x64726167
"""What the header of a store says that it is (`drag`), so that no other database is taken for one."""

METADATA: Final = MetaData()


class RevisionColumns(TypedColumns):
    """One row, whose *number* every change raises."""

    id = Column(Integer, primary_key=True)
    number: Named[int]


class AuditColumns(TypedColumns):
    """What changed: *command* says by what, *kind* and *subject* name the thing."""

    id = Column(Integer, primary_key=True)
    at: Named[int]
    command: Named[str]
    kind: Named[str]
    subject: Named[str]


class DatedColumns(TypedColumns):
    """What everything has that is kept."""

    number = Column(Integer, primary_key=True)
    created: Named[int]
    revoked: Named[int | None]


class OrganizationColumns(DatedColumns):
    """Organisations."""

    id: Named[str] = Column(unique=True)
    name: Named[str]
    rate: Named[str | None]


class KeyColumns(DatedColumns):
    """Keys: everything but their tokens. *scopes* is a list of texts, *successor* the id of the key in its place."""

    id: Named[str] = Column(unique=True)
    organization: Named[str] = Column(ForeignKey("organizations.id"))
    name: Named[str | None]
    prefix: Named[str]
    scopes: Named[str]
    rate: Named[str | None]
    digest: Named[bytes] = Column(LargeBinary)
    expires: Named[int | None]
    successor: Named[str | None]


class AgentColumns(DatedColumns):
    """Agents."""

    id: Named[str] = Column(unique=True)
    organization: Named[str] = Column(ForeignKey("organizations.id"))
    name: Named[str]


class AliasColumns(DatedColumns):
    """Aliases. *visible_to* is a list of organisations' ids, or nothing where all see it."""

    id: Named[str]
    display_name: Named[str]
    description: Named[str]
    category: Named[str]
    visible_to: Named[str | None]
    rate: Named[str | None]


REVISION: Final = Table("revision", METADATA, RevisionColumns)
AUDIT: Final = Table("audit", METADATA, AuditColumns)
ORGANIZATIONS: Final = Table("organizations", METADATA, OrganizationColumns)
KEYS: Final = Table("keys", METADATA, KeyColumns)
AGENTS: Final = Table("agents", METADATA, AgentColumns)
ALIASES: Final = Table("aliases", METADATA, AliasColumns)

Index("organization_names", ORGANIZATIONS.c.name, unique=True, sqlite_where=ORGANIZATIONS.c.revoked.is_(None))
Index("agent_names", AGENTS.c.organization, AGENTS.c.name, unique=True, sqlite_where=AGENTS.c.revoked.is_(None))
Index("alias_names", ALIASES.c.id, unique=True, sqlite_where=ALIASES.c.revoked.is_(None))
