"""Streams and the formats of providers, without any input or output of its own.

Laws of this room:
- Nothing here awaits, reads a clock or knows who is on the other end: bytes and documents go in, documents come out.
- What a provider sends is untrusted: whatever breaks a form raises a named error, never a `KeyError`.
"""
