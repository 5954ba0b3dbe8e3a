"""Tokens: `<prefix>_<id>_<secret>`, found by their id and proved by a keyed hash (ADR-0030).

Laws of this file:
- A token is never kept: what is kept is the HMAC-SHA-256 of the whole of it, under a pepper.
- Randomness comes in as bytes.
"""

import base64
import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from dragoman.model import KeyId

PREFIX: Final = "cgt"
"""What a token begins with unless somebody says otherwise."""

SECRET_BYTES: Final = 32
"""How much of a token is random, beside its id: no slow hash is needed for what nobody can guess."""

_ID_BYTES: Final = 8
_ID_LENGTH: Final = 12
_PREFIX: Final = re.compile(r"[A-Za-z0-9]{1,16}", re.ASCII)
# 43 characters of URL-safe base64 are 32 bytes without their padding (RFC 4648, section 5); so a secret may hold `_`.
_TOKEN: Final = re.compile(r"[A-Za-z0-9]{1,16}_(?P<id>[a-z2-7]{12})_[A-Za-z0-9_-]{43}", re.ASCII)


def make_key_id(random: Callable[[int], bytes]) -> KeyId:
    """Return a new id, of 60 random bits; *random* returns as many bytes as it is asked for."""
    return KeyId(base64.b32encode(random(_ID_BYTES)).decode("ascii").lower()[:_ID_LENGTH])


def make_token(prefix: str, key: KeyId, random: Callable[[int], bytes]) -> str:
    """Return a new token of *key*; *random* returns as many bytes as it is asked for."""
    secret = base64.urlsafe_b64encode(random(SECRET_BYTES)).decode("ascii").rstrip("=")
    return f"{prefix}_{key}_{secret}"


def is_prefix(text: str) -> bool:
    """Whether a token may begin with *text*."""
    return _PREFIX.fullmatch(text) is not None


def digest_of(token: str, pepper: bytes) -> bytes:
    """Return what is kept of *token*."""
    keyed = _keyed(pepper).copy()
    # Any text has a digest of its own: lone surrogates are no UTF-8, but can be encoded like it.
    keyed.update(token.encode("utf-8", "surrogatepass"))
    return keyed.digest()


@lru_cache(maxsize=8)
def _keyed(pepper: bytes) -> hmac.HMAC:
    """Return what a digest under *pepper* begins with. PERF: OpenSSL takes as long for it as for all that follows."""
    return hmac.new(pepper, digestmod="sha256")


def index_of(token: str, digest: bytes) -> str:
    """Return under what a key with this *token* is found: its id, or, where it has not the form, its whole *digest*."""
    found = _TOKEN.fullmatch(token)
    return digest.hex() if found is None else found["id"]
