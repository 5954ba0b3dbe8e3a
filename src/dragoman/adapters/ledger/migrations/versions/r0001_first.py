"""The first ledger: one table, in the order of writing."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table, and say in the header of the file what it is."""
    op.execute("PRAGMA application_id = 1684825191")
    op.create_table(
        "entries",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String) for name in ("organization", "key", "agent")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("alias", "operation", "outcome")),
        sa.Column("stream", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.Integer, nullable=False)
            for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "estimated")
        ),
        sa.Column("cost", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Double, nullable=False),
        sa.Column("first_token_ms", sa.Double),
        *(sa.Column(name, sa.String) for name in ("provider", "upstream_model")),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("entries_by_time", "entries", ["at"])
