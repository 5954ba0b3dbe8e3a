"""Gateways with one defect each.

Laws of this package:
- Each is the real gateway with one part exchanged: a port, a limit, a document, an ASGI layer around it, or something
  before its socket. Nothing is patched.
- A defect is as small as one can be made by mistake; `build(parts)` returns the gateway that has it.
- Each is failed by a check that the real gateway passes (ADR-0016.R5).
"""
