"""What Alembic runs: the migrations, on the connection and within the transaction that the store gives (ADR-0029)."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
