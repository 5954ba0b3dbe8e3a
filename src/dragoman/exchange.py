"""One forwarded exchange: alias, guardrails, target, reply, settlement (ADR-0008, steps 11 to 15)."""
