"""The tables of the store (ADR-0029).

Laws of this file:
- It says what the newest migration has made: a test compares them, and every change here needs a migration.
- Times are whole milliseconds since the Unix epoch; lists and tables are JSON, rates as `dragoman.model.rate_text`
  writes them. Where nothing stands, nothing was said.
- Of a secret there is a reference, and never itself (ADR-0040.R5).
- Nothing is deleted, so names are unique among what is not revoked, and `number` gives the order in which it was made.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Named, Table, TypedColumns

HEAD: Final = "0002"
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
    """Organisations. *guardrails* is a list of their keys."""

    id: Named[str] = Column(unique=True)
    name: Named[str]
    rate: Named[str | None]
    token_rate: Named[str | None]
    guardrails: Named[str | None]


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
    token_rate: Named[str | None]
    daily_requests: Named[int | None] = Column(BigInteger)
    daily_tokens: Named[int | None] = Column(BigInteger)


class AgentColumns(DatedColumns):
    """Agents."""

    id: Named[str] = Column(unique=True)
    organization: Named[str] = Column(ForeignKey("organizations.id"))
    name: Named[str]


class AliasColumns(DatedColumns):
    """Aliases. *visible_to* is a list of organisations' ids, or nothing where all see it; *targets* one of tables."""

    id: Named[str]
    display_name: Named[str]
    description: Named[str]
    category: Named[str]
    visible_to: Named[str | None]
    rate: Named[str | None]
    token_rate: Named[str | None]
    targets: Named[str | None]
    prices: Named[str | None]
    guardrails: Named[str | None]


class ProviderColumns(DatedColumns):
    """Providers, by their names. *key* is a reference; *headers* is a table, *quirks* a list, *private* 0 or 1."""

    id: Named[str]
    kind: Named[str]
    base_url: Named[str | None]
    key: Named[str | None]
    headers: Named[str]
    quirks: Named[str]
    private: Named[int]
    capacity: Named[int]


class GuardrailColumns(DatedColumns):
    """Guardrails, by their keys. *patterns* is a table, *stages*, *detectors* and *keywords* are lists."""

    id: Named[str]
    action: Named[str]
    stages: Named[str]
    detectors: Named[str]
    patterns: Named[str]
    keywords: Named[str]
    max_chars: Named[int | None]
    webhook: Named[str | None]


REVISION: Final = Table("revision", METADATA, RevisionColumns)
AUDIT: Final = Table("audit", METADATA, AuditColumns)
ORGANIZATIONS: Final = Table("organizations", METADATA, OrganizationColumns)
KEYS: Final = Table("keys", METADATA, KeyColumns)
AGENTS: Final = Table("agents", METADATA, AgentColumns)
ALIASES: Final = Table("aliases", METADATA, AliasColumns)
PROVIDERS: Final = Table("providers", METADATA, ProviderColumns)
GUARDRAILS: Final = Table("guardrails", METADATA, GuardrailColumns)


def _unique_in_force(name: str, table: Table, *columns: str) -> None:
    in_force = table.c.revoked.is_(None)
    Index(name, *(table.c[column] for column in columns), unique=True, sqlite_where=in_force, postgresql_where=in_force)


_unique_in_force("organization_names", ORGANIZATIONS, "name")
_unique_in_force("agent_names", AGENTS, "organization", "name")
_unique_in_force("alias_names", ALIASES, "id")
_unique_in_force("provider_names", PROVIDERS, "id")
_unique_in_force("guardrail_names", GUARDRAILS, "id")
