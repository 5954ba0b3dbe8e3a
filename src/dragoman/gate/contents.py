"""What may be sent: parameters, media type, body, JSON, schema (ADR-0007, ADR-0010).

Laws of this file:
- Headers decide first; the body is read only when they have, and never beyond the cap.
- The schema decides on the decoded document; nothing is coerced.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from dragoman.contract import Body, Operation
from dragoman.errors import Kind, Refusal

JSON: Final = "application/json"

# RFC 9110, sections 5.6.2, 5.6.4 and 8.3.1, with quoted values in ASCII and without escapes, which nobody sends here.
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE: Final = rf'(?:{_WORD}|"[\t !#-\[\]-~]*")'
_PARAMETER: Final = re.compile(rf"[ \t]*;[ \t]*({_WORD})=({_VALUE})")
_MEDIA_TYPE: Final = re.compile(
    rf"(?P<type>{_WORD}/{_WORD})(?P<parameters>(?:[ \t]*;[ \t]*{_WORD}={_VALUE})*)[ \t]*;?[ \t]*"
)

_NESTS: Final = 2**8 - 2
"""How deep a document may nest: as deep as orjson writes one. The validators give up one level further down."""

_NOUGHTS: Final = bytes.maketrans(b"123456789", b"0" * 9)
"""A table for `bytes.translate`: every digit becomes a nought."""

_LONG_INTEGER: Final = re.compile(rb"(?<![0-9.eE+-])-?[0-9]{19,}(?![0-9.eE])")
"""An integer that may need more than 64 bits, in JSON without strings; digits of fractions and exponents are none."""

_64_BITS: Final = range(-(2**63), 2**64)

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
    if not operation.judged:
        return
    sources = {"path": path, "query": query, "header": headers}
    for parameter in operation.judged:
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
    parsed = _MEDIA_TYPE.fullmatch(stated)
    if parsed is None or parsed["type"].lower() != JSON:
        raise Refusal(Kind.UNSUPPORTED_MEDIA_TYPE)
    named = [(name.lower(), value.strip('"').lower()) for name, value in _PARAMETER.findall(parsed["parameters"])]
    charsets = [value for name, value in named if name in ("charset", "charset*")]
    if charsets not in ([], ["utf-8"], ["utf8"]):
        raise Refusal(Kind.UNSUPPORTED_CHARSET)


def _declared_length(headers: Mapping[str, str]) -> int:
    """Return the declared length in bytes, 0 where none is declared; the server refuses what is no number."""
    declared = headers.get("content-length", "0")
    # 15 digits are a petabyte; Python refuses to read numbers of thousands of digits.
    return int(declared[:15]) if declared.isdecimal() else 0


def parse(content: bytes) -> Any:  # noqa: ANN401 - any JSON value, until the schema has been asked
    """Return the JSON value in *content*, which has one reading (ADR-0034.R6); of duplicate keys the last wins."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise Refusal(Kind.INVALID_JSON) from None
    if _nests_too_deep(content, document) or _has_integer_beyond_64_bits(content):
        raise Refusal(Kind.INVALID_JSON)
    return document


def _nests_too_deep(content: bytes, document: object) -> bool:
    """Whether *document*, which was read from *content*, could not be written again."""
    if content.count(b"[") + content.count(b"{") <= _NESTS:
        return False
    try:
        orjson.dumps(document)
    except orjson.JSONEncodeError:
        return True
    return False


def _has_integer_beyond_64_bits(content: bytes) -> bool:
    """Whether an integer in *content*, which is JSON, would be read as a rounded float.

    PERF: no reader of JSON here tells, so that the text is searched: for what shows such a number in every sixth byte,
    then in every byte, and only then between the strings.
    """
    if b"000" not in content[::6].translate(_NOUGHTS) or b"0" * 19 not in content.translate(_NOUGHTS):
        return False
    unescaped = content.replace(rb"\\", b"").replace(rb"\"", b"")
    between_strings = b" ".join(unescaped.split(b'"')[::2])
    return any(int(found[:21]) not in _64_BITS for found in _LONG_INTEGER.findall(between_strings))


def check_document(body: Body, document: object) -> None:
    """Refuse a *document* that breaks the schema of *body*."""
    problem = body.schema.problem(document)
    if problem is not None:
        raise Refusal(Kind.INVALID_REQUEST, param=problem.param or None, code=problem.code, reason=problem.reason)


def kept(operation: Operation, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request *document* as it goes on: without what the dialect drops, by its traits."""
    traits, body = operation.traits, operation.body
    if not traits.forward_unknown_keys and body is not None:
        document = {name: value for name, value in document.items() if name in body.declared}
    if not traits.keep_non_text and "messages" in document:
        document = {**document, "messages": [_text_only(message) for message in document["messages"]]}
    return document


def _text_only(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *message* without the parts that are no text; one of which nothing is left keeps an empty text."""
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    return {**message, "content": [part for part in parts if part["type"] == "text"] or ""}
