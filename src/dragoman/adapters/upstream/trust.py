"""Whom the gateway believes when it talks TLS to a provider (ADR-0038).

Laws of this file:
- The same authorities are trusted on every machine: Mozilla's, as certifi packs them, and those of one's own file.
- No variable of the environment has a say. `ssl.create_default_context` would read two: SSL_CERT_FILE, and
  SSLKEYLOGFILE, into which it has the keys of every connection written.
"""

import ssl
from pathlib import Path

import certifi


def trusting(authorities: Path | None) -> ssl.SSLContext:
    """Return how to make connections with TLS 1.2 and later, also to whom the *authorities* in a PEM file vouch for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(certifi.where())
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context
