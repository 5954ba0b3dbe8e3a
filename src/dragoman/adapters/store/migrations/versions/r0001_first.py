"""The first store: organisations, keys, agents, aliases, and what was changed when."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table, and say in the header of the file what it is."""
    op.execute("PRAGMA application_id = 1685217639")
    revisions = op.create_table(
        "revision", sa.Column("id", sa.Integer, primary_key=True), sa.Column("number", sa.Integer, nullable=False)
    )
    op.bulk_insert(revisions, [{"id": 1, "number": 0}])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("command", "kind", "subject")),
    )
    op.create_table(
        "organizations",
        *_dated(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("rate", sa.String),
    )
    op.create_table(
        "keys",
        *_dated(),
        *_of_an_organization(),
        sa.Column("name", sa.String),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column("rate", sa.String),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("expires", sa.Integer),
        sa.Column("successor", sa.String),
    )
    op.create_table("agents", *_dated(), *_of_an_organization(), sa.Column("name", sa.String, nullable=False))
    op.create_table(
        "aliases",
        *_dated(),
        *(sa.Column(name, sa.String, nullable=False) for name in ("id", "display_name", "description", "category")),
        sa.Column("visible_to", sa.String),
        sa.Column("rate", sa.String),
    )
    _unique_in_force("organization_names", "organizations", "name")
    _unique_in_force("agent_names", "agents", "organization", "name")
    _unique_in_force("alias_names", "aliases", "id")


def _dated() -> list[sa.Column[int]]:
    return [
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("revoked", sa.Integer),
    ]


def _of_an_organization() -> list[sa.Column[str]]:
    owner = sa.ForeignKey("organizations.id")
    return [
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("organization", sa.String, owner, nullable=False),
    ]


def _unique_in_force(name: str, table: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), unique=True, sqlite_where=sa.text("revoked IS NULL"))
