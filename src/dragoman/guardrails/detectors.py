"""What is looked for by name: one row a detector (ADR-0037).

Laws of this file:
- A pattern finds candidates, a check decides about them (`checksums`).
- A hint, where there is one, matches wherever the pattern does. All hints are looked for at once in every text, and a
  pattern that begins at borders between words would have too many states there.
"""

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from dragoman.guardrails.checksums import Check, card, iban, ip_address, telephone
from dragoman.model import Finding


@attrs.frozen(kw_only=True)
class Detector:
    """A kind of text that is known by its form.

    *check* makes what is asked about each candidate. After so many in one text, *patience*, it is asked no more, and
    candidates count as they are. *compact* says that nothing else begins inside of one that does not hold.
    """

    finding: Finding
    pattern: str
    hint: str | None = None
    check: Callable[[], Check] | None = None
    patience: int = 2000
    compact: bool = False


_PII: Final = "PII detected"
_KEY: Final = "Secret detected"

# Letters of Latin, Greek and Cyrillic, which names and domains are written in; other scripts are written without
# spaces, so that the words around an address would count as parts of it.
_NAME: Final = r"A-Za-z0-9\x{c0}-\x{24f}\x{370}-\x{52f}"
_GAP: Final = r"[ .()/\x{a0}\x{2011}\x{202f}-]{0,3}"
_BASE64URL: Final = r"[A-Za-z0-9_-]"
_HEX: Final = r"[0-9A-Fa-f]{1,4}"
_PEM: Final = r"[A-Z0-9 ]{0,40}PRIVATE KEY-----"

_API_KEYS: Final = (
    rf"sk-{_BASE64URL}{{20,}}",  # OpenAI, Anthropic and many who imitate them: sk-, sk-proj-, sk-ant-, sk-svcacct-
    r"(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # Amazon Web Services
    r"gh[opsur]_[A-Za-z0-9]{36,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
    rf"AIza{_BASE64URL}{{35}}",  # Google
    r"[rs]k_live_[A-Za-z0-9]{16,}",  # Stripe
    r"hf_[A-Za-z0-9]{30,}",  # Hugging Face
    rf"[A-Za-z0-9]{{1,16}}_[a-z2-7]{{12}}_{_BASE64URL}{{43}}",  # this gateway's own, with any prefix (ADR-0030)
)

DETECTORS: Final[Mapping[str, Detector]] = {
    "email": Detector(
        finding=Finding(category="email", message=_PII),
        # The bounds are those of RFC 5321, section 4.5.3.1, and RFC 1035, section 2.3.4.
        pattern=rf"[{_NAME}._%+'-]{{1,64}}@(?:[{_NAME}-]{{1,63}}\.){{1,6}}[A-Za-z]{{2,24}}",
        hint=rf"[{_NAME}._%+'-]@[{_NAME}-]+\.[{_NAME}-]",
    ),
    "phone": Detector(
        finding=Finding(category="phone", message=_PII),
        # International, or as in North America with its separators. Elsewhere only who knows the country can tell.
        pattern=rf"(?:\+|\b00)[1-9](?:{_GAP}[0-9]){{6,14}}\b"
        r"|(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}\b",
        hint=r"(?:\+|00)[1-9]|[0-9]{3}(?:[ .-]|\) ?)[0-9]{3}[ .-][0-9]",
        check=telephone,
        patience=100,
    ),
    "iban": Detector(
        finding=Finding(category="iban", message=_PII),
        pattern=r"\b[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,29}\b",
        hint=r"[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{2}",
        check=lambda: iban,
    ),
    "card": Detector(
        finding=Finding(category="card", message=_PII),
        pattern=r"\b[2-6](?:[ -]?[0-9]){12,18}\b",
        hint=r"[0-9](?:[ -]?[0-9]){6}",
        check=lambda: card,
    ),
    "ip_address": Detector(
        finding=Finding(category="ip_address", message=_PII),
        pattern=r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3,8}\b"
        rf"|\b{_HEX}(?::{_HEX}){{7}}\b"
        rf"|\b{_HEX}(?::{_HEX}){{0,5}}::(?:{_HEX}(?::{_HEX}){{0,5}}\b)?",
        hint=r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]:(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4})?:",
        check=lambda: ip_address,
        compact=True,
    ),
    "api_key": Detector(
        finding=Finding(category="api_key", message=_KEY),
        pattern=rf"\b(?:{'|'.join(_API_KEYS)})",
    ),
    "private_key": Detector(
        finding=Finding(category="private_key", message=_KEY),
        # With all that belongs to it; of one that is cut short, whatever may be a part of it.
        pattern=rf"-----BEGIN {_PEM}(?:[A-Za-z0-9+/=\s\\:,-]*?-----END {_PEM}|[A-Za-z0-9+/=\s\\]*)",
    ),
    "jwt": Detector(
        finding=Finding(category="jwt", message=_KEY),
        pattern=rf"\beyJ{_BASE64URL}{{8,}}\.eyJ{_BASE64URL}{{8,}}\.{_BASE64URL}{{8,}}",
    ),
}
