"""What an answer that is no success means, in the words of the port (ADR-0038).

Laws of this file:
- Nothing that an upstream worded leaves here: of what it says, only codes of a closed list, and places that are in the
  request itself.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from dragoman.adapters.upstream.engine import Answer
from dragoman.ports import Fault, UpstreamError

LONGEST_RETRY: Final = 600.0
"""The most seconds of a `Retry-After` that are believed: a server that says more must not close itself for a day."""

_TOLD_LIMIT: Final = 64 * 1024
"""The most bytes of an error that are read."""

_TOLD_WITHIN: Final = 2.0
"""How long the body of an error may take, in seconds: it says little that its status does not."""

_LONGEST_PATH: Final = 256

FAULTS: Final[Mapping[int, Fault]] = {
    400: Fault.REJECTED,
    401: Fault.DENIED,
    403: Fault.DENIED,
    404: Fault.REJECTED,
    413: Fault.REJECTED,
    422: Fault.REJECTED,
    429: Fault.LIMITED,
}
"""What a status means; any other one is a failure."""

STATUSES: Final[Mapping[str, int]] = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
}
"""Statuses of errors that come under one that is a success, by the words for them."""

_LOWEST_ERROR: Final = 400
_HIGHEST_STATUS: Final = 599

CODES: Final = frozenset(
    {
        "array_above_max_length",
        "array_below_min_length",
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "decimal_above_max_value",
        "decimal_below_min_value",
        "empty_array",
        "empty_image_file",
        "failed_to_download_image",
        "image_content_policy_violation",
        "image_file_too_large",
        "image_parse_error",
        "image_too_large",
        "image_too_small",
        "integer_above_max_value",
        "integer_below_min_value",
        "invalid_base64_image",
        "invalid_function_parameters",
        "invalid_image",
        "invalid_image_format",
        "invalid_image_url",
        "invalid_prompt",
        "invalid_type",
        "invalid_value",
        "missing_required_parameter",
        "object_above_max_properties",
        "string_above_max_length",
        "string_below_min_length",
        "string_too_long",
        "unknown_parameter",
        "unsupported_image_media_type",
        "unsupported_parameter",
        "unsupported_value",
    }
)
"""OpenAI's words for what may be wrong with a request. What says that the provider knows no such model is none."""

DENIALS: Final = frozenset({"authentication_error", "invalid_api_key", "no_db_connection"})
"""Words, types or codes, of servers that refuse the gateway's key, whatever their status (ADR-0046.R7).

The last one is LiteLLM's without a database: any key but its master key gets 400.
"""

_SECONDS: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_STEP: Final = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_-]*)|\.?\[([0-9]{1,9})\]|\.([0-9]{1,9})", re.ASCII)


def retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Return the seconds that *headers* ask to wait: milliseconds first, then seconds, then a date (RFC 9110, 10.2.3).

    Nothing and nonsense are None; what is too long is `LONGEST_RETRY`.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _SECONDS.fullmatch(milliseconds):
        return min(float(milliseconds) / 1000, LONGEST_RETRY)
    stated = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(stated):
        return min(float(stated), LONGEST_RETRY)
    try:
        date = parsedate_to_datetime(stated)
    except ValueError:
        return None
    if date.tzinfo is None:  # `-0000`, and the form of asctime, which RFC 9110 reads as UTC too
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - now()).total_seconds()), LONGEST_RETRY)


async def fault_of(answer: Answer, request: Mapping[str, Any], now: Callable[[], datetime]) -> UpstreamError:
    """Return what an *answer* whose status is no success means; it is closed then."""
    try:
        async with asyncio.timeout(_TOLD_WITHIN):
            body = await answer.read(_TOLD_LIMIT)
    except (UpstreamError, TimeoutError):
        body = b""
    finally:
        await answer.aclose()
    error = _error_in(body)
    fault = FAULTS.get(answer.status, Fault.FAILED)
    if fault is Fault.REJECTED and not DENIALS.isdisjoint(_words(error)):
        fault = Fault.DENIED
    code, param = _told(error, request) if fault is Fault.REJECTED else (None, None)
    return UpstreamError(
        fault, status=answer.status, retry_after=retry_after(answer.headers, now), code=code, param=param
    )


def fault_inside(document: Mapping[str, Any]) -> UpstreamError:
    """Return what an error in place of an answer means, under a status that was a success.

    Some servers have nothing but the status of an event stream to say it; vLLM and OpenRouter put theirs into `code`.
    """
    error = document.get("error")
    told: Mapping[str, Any] = error if isinstance(error, dict) else document
    said = [told.get(name) for name in ("status", "code", "type")]
    status = next((found for found in map(_status_of, said) if found is not None), None)
    return UpstreamError(Fault.FAILED if status is None else FAULTS.get(status, Fault.FAILED), status=status)


def _status_of(said: object) -> int | None:
    """Return the status that an error means that *said* so."""
    match said:
        case int() if _LOWEST_ERROR <= said <= _HIGHEST_STATUS:
            return said
        case str() if len(said) == 3 and said.isascii() and said.isdigit():  # noqa: PLR2004 - the digits of a status
            return _status_of(int(said))
        case str():
            return STATUSES.get(said)
        case _:
            return None


def is_error(document: Mapping[str, Any]) -> bool:
    """Whether *document* says that the upstream has failed: SGLang sends an object of the type `error`."""
    return document.get("error") is not None or document.get("object") == "error"


def _error_in(body: bytes) -> Mapping[str, Any]:
    """Return what an error's *body* says, with nothing in it where it cannot be read."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = document.get("error", document) if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _words(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words that say of which kind *error* is."""
    yield from (word for word in (error.get("type"), error.get("code")) if isinstance(word, str))


def _told(error: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return code and place of *error*, as far as they may be told."""
    code, param = error.get("code"), error.get("param")
    return (
        code if isinstance(code, str) and code in CODES else None,
        path_within(param, request) if isinstance(param, str) else None,
    )


def path_within(path: str, request: Mapping[str, Any]) -> str | None:
    """Return as much of *path* as leads to something in *request*, as OpenAI writes it: `messages[0].content`.

    The rest would be a word of the upstream's own.
    """
    if len(path) > _LONGEST_PATH:
        return None
    value: Any = request
    kept, place = "", 0
    while step := _STEP.match(path, place):
        place = step.end()
        name, index = step[1], step[2] or step[3]
        if name is not None and isinstance(value, dict) and name in value:
            value = value[name]
            kept += f".{name}" if kept else name
        elif index is not None and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
            kept += f"[{int(index)}]"
        else:
            break
    return kept or None
