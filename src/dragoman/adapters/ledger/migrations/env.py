"""What Alembic runs: the migrations, on the connection and within the transaction that the ledger gives (ADR-0041)."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
