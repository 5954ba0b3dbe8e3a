"""How a ledger of an older version becomes one of this version; Alembic runs what is in `versions`."""
