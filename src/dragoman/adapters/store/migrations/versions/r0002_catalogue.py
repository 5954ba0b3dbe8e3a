"""The catalogue: providers and guardrails, what an alias stands for and costs, and limits of tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what is new; what is there stays as it is, and says nothing of what is new."""
    _add("organizations", sa.String(), "token_rate", "guardrails")
    _add("keys", sa.String(), "token_rate")
    _add("keys", sa.BigInteger(), "daily_requests", "daily_tokens")
    _add("aliases", sa.String(), "token_rate", "targets", "prices", "guardrails")
    op.create_table(
        "providers",
        *_dated(),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("base_url", sa.String),
        sa.Column("key", sa.String),
        sa.Column("headers", sa.String, nullable=False),
        sa.Column("quirks", sa.String, nullable=False),
        sa.Column("private", sa.Integer, nullable=False),
        sa.Column("capacity", sa.Integer, nullable=False),
    )
    op.create_table(
        "guardrails",
        *_dated(),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("stages", "detectors", "patterns", "keywords")),
        sa.Column("max_chars", sa.Integer),
        sa.Column("webhook", sa.String),
    )
    _unique_in_force("provider_names", "providers")
    _unique_in_force("guardrail_names", "guardrails")


def _add(table: str, kind: sa.String | sa.BigInteger, *columns: str) -> None:
    for name in columns:
        op.add_column(table, sa.Column(name, kind))


def _dated() -> list[sa.Column[int]]:
    return [
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("revoked", sa.Integer),
    ]


def _unique_in_force(name: str, table: str) -> None:
    in_force = sa.text("revoked IS NULL")
    op.create_index(name, table, ["id"], unique=True, sqlite_where=in_force, postgresql_where=in_force)
