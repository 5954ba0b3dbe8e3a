"""What the gateway costs, measured beside others: `python -m bench`, from the root of the repository (ADR-0044)."""
