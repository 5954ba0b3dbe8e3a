"""The upstreams: providers over HTTP, and those that are a part of the gateway (ADR-0038).

Laws of this room:
- What an upstream sends is untrusted input: whatever it is, an answer or an `UpstreamError` is made of it.
- Where a request goes, and with which credential, is configuration; nothing that a caller sends changes either.
"""
