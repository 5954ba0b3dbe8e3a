"""What a caller may be told.

Laws of this file:
- The list of kinds is closed. What a kind looks like on the wire (status, members, sentence) is the contract's
  business (ADR-0004); here stand only its name and what has to be known to say it.
- Raising a refusal has no side effects.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final


class Kind(enum.Enum):
    """Each value is the name of an entry of the contract's `components/examples`."""

    # Outside any operation
    MALFORMED_HTTP = "malformed_http"
    UNKNOWN_URL = "unknown_url"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INTERNAL_ERROR = "internal_error"
    INVALID_HOST = "invalid_host"
    REQUEST_TIMEOUT = "request_timeout"
    EXPECTATION_FAILED = "expectation_failed"
    HEADERS_TOO_LARGE = "headers_too_large"
    ADDRESS_LIMITED = "address_limited"
    # Whether there is room
    OVERLOADED = "overloaded"
    NOT_READY = "not_ready"
    # Who is calling
    MISSING_CREDENTIAL = "missing_credential"
    INVALID_CREDENTIAL = "invalid_credential"
    TOO_MANY_FAILED_LOGINS = "too_many_failed_logins"
    IDENTITY_UNAVAILABLE = "identity_unavailable"
    INVALID_PARAMETER = "invalid_parameter"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    ORGANIZATION_MISMATCH = "organization_mismatch"
    AGENT_NOT_ALLOWED = "agent_not_allowed"
    CALLER_LIMITED = "caller_limited"
    # What is sent
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNSUPPORTED_CHARSET = "unsupported_charset"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    BODY_TOO_LARGE = "body_too_large"
    INVALID_JSON = "invalid_json"
    INVALID_REQUEST = "invalid_request"
    # What is asked for
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_LLM = "model_not_llm"
    MODEL_NOT_EMBEDDING = "model_not_embedding"
    GUARDRAIL_BLOCK = "guardrail_block"
    PROVIDER_NOT_CONFIGURED = "provider_not_configured"
    # What is forwarded
    RATE_LIMITED = "rate_limited"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    CIRCUIT_OPEN = "circuit_open"
    UPSTREAM_TIMEOUT = "upstream_timeout"


COMMON_ARGUMENTS: Final = frozenset({"request_id", "now"})
"""Arguments that every kind has: the request's id, and the time as RFC 3339 UTC with milliseconds."""

_DETAIL: Final = frozenset({"param", "code", "reason"})
_ALIAS: Final = frozenset({"alias"})
_RETRY: Final = frozenset({"retry_after"})
"""Whole seconds after which the request may be sent again, for the header `Retry-After`."""

_OWN_ARGUMENTS: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.INVALID_PARAMETER: _DETAIL,
    Kind.INVALID_REQUEST: _DETAIL,
    Kind.BODY_TOO_LARGE: frozenset({"limit"}),
    Kind.GUARDRAIL_BLOCK: frozenset({"guardrail_key", "action", "findings"}),
    Kind.ADDRESS_LIMITED: _RETRY,
    Kind.OVERLOADED: _RETRY,
    Kind.NOT_READY: _RETRY,
    Kind.TOO_MANY_FAILED_LOGINS: _RETRY,
    Kind.IDENTITY_UNAVAILABLE: _RETRY,
    Kind.CALLER_LIMITED: _RETRY,
    Kind.RATE_LIMITED: _ALIAS | _RETRY,
    Kind.UPSTREAM_UNAVAILABLE: _ALIAS,
    Kind.CIRCUIT_OPEN: _ALIAS | _RETRY,
    Kind.UPSTREAM_TIMEOUT: _ALIAS,
}


def arguments_of(kind: Kind) -> frozenset[str]:
    """Return the names that an `x-fill` of *kind* may use."""
    return COMMON_ARGUMENTS | _OWN_ARGUMENTS.get(kind, frozenset())


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """An answer to the caller's own mistake, or to a state he may be told about."""

    def __init__(self, kind: Kind, **arguments: object) -> None:
        """Take the *arguments* that `arguments_of(kind)` names, but for the common ones."""
        super().__init__(kind.value)
        self.kind = kind
        self.arguments: Mapping[str, Any] = arguments
