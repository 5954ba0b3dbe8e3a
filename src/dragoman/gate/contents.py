"""What may be sent: parameters, media type, body, JSON, schema (ADR-0007, ADR-0010).

Laws of this file:
- Headers decide first; the body is read only when they have, and never beyond the cap.
- The schema decides on the decoded document; nothing is coerced.
"""

from collections.abc import Mapping
from email.message import Message
from typing import Any, Final

import orjson

from dragoman.contract import Body, Operation
from dragoman.errors import Kind, Refusal

JSON: Final = "application/json"

BODY_REFUSALS: Final = frozenset(
    {
        Kind.UNSUPPORTED_MEDIA_TYPE,
        Kind.UNSUPPORTED_CHARSET,
        Kind.UNSUPPORTED_ENCODING,
        Kind.BODY_TOO_LARGE,
        Kind.INVALID_JSON,
        Kind.INVALID_REQUEST,
    }
)
"""Every kind that a body may be refused with."""


def check_parameters(
    operation: Operation, *, path: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    """Refuse a parameter that is missing or breaks its schema. *headers* are named in lower case."""
    sources = {"path": path, "query": query, "header": headers}
    for parameter in operation.parameters:
        if not parameter.fallible:
            continue
        name = parameter.name.lower() if parameter.location == "header" else parameter.name
        problem = parameter.problem(sources[parameter.location].get(name))
        if problem is not None:
            raise Refusal(Kind.INVALID_PARAMETER, param=parameter.name, code=problem.code, reason=problem.reason)


def check_content(operation: Operation, headers: Mapping[str, str]) -> None:
    """Refuse a body by what its headers say: media type, charset, encoding, declared length, in this order."""
    media_type = headers.get("content-type", "")
    if media_type != JSON:  # PERF: what nearly every client sends is not parsed
        _check_media_type(media_type)
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(Kind.UNSUPPORTED_ENCODING)
    if _declared_length(headers) > operation.traits.body_limit:
        raise Refusal(Kind.BODY_TOO_LARGE, limit=operation.traits.body_limit)


def _check_media_type(stated: str) -> None:
    content = Message()
    content["content-type"] = stated
    # An unreadable media type reads as text/plain (RFC 2045, section 5.2).
    if content.get_content_type() != JSON:
        raise Refusal(Kind.UNSUPPORTED_MEDIA_TYPE)
    if (content.get_content_charset() or "utf-8") not in ("utf-8", "utf8"):
        raise Refusal(Kind.UNSUPPORTED_CHARSET)


def _declared_length(headers: Mapping[str, str]) -> int:
    """Return the declared length in bytes, 0 where none is declared; the server refuses what is no number."""
    declared = headers.get("content-length", "0")
    # 15 digits are a petabyte; Python refuses to read numbers of thousands of digits.
    return int(declared[:15]) if declared.isdecimal() else 0


def decode(body: Body, content: bytes) -> dict[str, Any]:
    """Return the JSON document in *content*, which keeps the schema of *body*."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise Refusal(Kind.INVALID_JSON) from None
    problem = body.schema.problem(document)
    if problem is not None:
        raise Refusal(Kind.INVALID_REQUEST, param=problem.param or None, code=problem.code, reason=problem.reason)
    return document  # type: ignore[no-any-return]  # the schema of a request body says that it is an object
