"""What may be sent as a body (ADR-0010), and what is JSON (ADR-0007.R4)."""

import json
from collections.abc import Iterator
from typing import Any, Final

import attrs

from gateway_conformance.answers import require, require_success
from gateway_conformance.calls import Fault, example_of, faults, padded, request_with, valid_request
from gateway_conformance.exchange import Request
from gateway_conformance.promises import Operation, rendered
from gateway_conformance.rules import RuleBroken, confirms
from gateway_conformance.target import Target

JSON_TYPES: Final = (
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    'application/json; charset="utf-8"',
    "Application/JSON",
    "application/json; profile=x; charset=utf-8",
    "application/json ; charset=utf-8",
)
"""Spellings of JSON in UTF-8: types, parameter names and this value do not heed case (RFC 9110, section 8.3)."""

OTHER_TYPES: Final = (
    "",
    "text/plain",
    "text/json",
    "application/jsonp",
    "application/json-seq",
    "application/vnd.api+json",
    "application",
    "json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "application/json, text/plain",
    "*/*",
)

OTHER_CHARSETS: Final = ("latin-1", "ISO-8859-1", "utf-16", "utf-7", '"us-ascii"', "nonsense")

OTHER_ENCODINGS: Final = ("gzip", "br", "deflate", "zstd", "identity, gzip", "x-nonsense")

NO_JSON: Final = (
    b"",
    b" ",
    b"{",
    b"{}}",
    b"{} {}",
    b"{'model': 'x'}",
    b'{"model": "x",}',
    b'{"model": NaN}',
    b'{"model": Infinity}',
    b'{"model": -Infinity}',
    b'{"model": 1e400}',
    b'{"model": 01}',
    b'{"model": "\xff"}',
    b'{"model": "\xc3\x28"}',
    b'{"model": "\xed\xa0\x80"}',
    b'{"model": "\\ud800"}',
    b'{"model": "\\udc00\\ud800"}',
    b'{"model": "a\nb"}',
    b"\xef\xbb\xbf{}",
    '{"model": "x"}'.encode("utf-16"),
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b"[" * 100_000 + b"]" * 100_000,
    b"[" * 1_000_000,
    b'{"model": 18446744073709551616}',
    b'{"model": -9223372036854775809}',
    b'{"a": [{"b": [1, 123456789012345678901234567890]}]}',
    b"model=x",
    b"undefined",
)
"""Bytes that are no JSON, or that not every reader takes: RFC 8259, sections 2, 6, 8.1 and 8.2, ADR-0007, ADR-0034.R6.
"""

NO_OBJECT: Final = (b"null", b"true", b"1", b'"text"', b"[]", b"{}")
"""JSON that no request schema here accepts."""


def with_body(target: Target) -> Iterator[Operation]:
    """Yield the operations that take a body."""
    yield from (operation for operation in target.promises.operations if operation.schema is not None)


@confirms("ADR-0010.R1")
def only_json_in_utf8_is_taken(target: Target) -> None:
    """JSON in whatever spelling passes; another type, another charset or none gets 415."""
    for operation in with_body(target):
        for stated in JSON_TYPES:
            right = Fault(kind="", headers={"Content-Type": stated})
            require_success(target, request_with(target, operation, right), operation, rule="ADR-0010.R1")
        for other in (None, *OTHER_TYPES):
            wrong = Fault(kind="unsupported_media_type", headers={"Content-Type": other})
            require(target, request_with(target, operation, wrong), wrong.kind, operation)
        for charset in OTHER_CHARSETS:
            stated = f"application/json; charset={charset}"
            wrong = Fault(kind="unsupported_charset", headers={"Content-Type": stated})
            require(target, request_with(target, operation, wrong), wrong.kind, operation)


@confirms("ADR-0010.R2")
def only_identity_encoding_is_taken(target: Target) -> None:
    """A compressed body gets 415; `identity`, in any case, changes nothing."""
    for operation in with_body(target):
        for encoding in ("identity", "Identity"):
            right = Fault(kind="", headers={"Content-Encoding": encoding})
            require_success(target, request_with(target, operation, right), operation, rule="ADR-0010.R2")
        for encoding in OTHER_ENCODINGS:
            wrong = Fault(kind="unsupported_encoding", headers={"Content-Encoding": encoding})
            require(target, request_with(target, operation, wrong), wrong.kind, operation)


@confirms("ADR-0010.R3")
def the_body_limit_is_exact(target: Target) -> None:
    """A body of exactly the limit passes and one byte more does not, whether its length is declared or not."""
    for operation in with_body(target):
        request = valid_request(target, operation)
        for chunked in (False, True):
            full = attrs.evolve(request, body=padded(request.body, operation.body_limit), chunked=chunked)
            require_success(target, full, operation, rule="ADR-0010.R3")
            over = attrs.evolve(full, body=full.body + b" ")
            require(target, over, "body_too_large", operation, rule="ADR-0010.R3")


@confirms("ADR-0010.R4")
def a_refusal_before_the_body_closes_the_connection(target: Target) -> None:
    """What is refused by its headers says `Connection: close`; what was read to its end does not."""
    for operation in with_body(target):
        for fault in faults(target, operation):
            request = request_with(target, operation, fault)
            response = target.send(request)
            was_read = fault.body is not None or fault.kind == "provider_not_configured"
            expected = None if was_read else "close"
            if response.header("connection") != expected:
                raise RuleBroken(
                    rule="ADR-0010.R4",
                    expected=f"Connection: {expected} on {fault.kind}",
                    actual=f"Connection: {response.header('connection')} on {response}",
                    curl=target.curl(request),
                )


@confirms("ADR-0007.R4", "ADR-0034.R6")
def what_is_no_json_is_invalid_json(target: Target) -> None:
    """NaN, lone surrogates, bytes that are no UTF-8, a byte order mark, nesting without end: all one refusal."""
    for operation in with_body(target):
        for body in NO_JSON:
            fault = Fault(kind="invalid_json", body=body)
            require(target, request_with(target, operation, fault), fault.kind, operation)


@confirms("ADR-0007.R1")
def json_of_another_shape_is_an_invalid_request(target: Target) -> None:
    """A JSON value that is no object, or an empty one, breaks the schema and not the JSON."""
    for operation in with_body(target):
        for body in NO_OBJECT:
            fault = Fault(kind="invalid_request", body=body)
            require(target, request_with(target, operation, fault), fault.kind, operation)


@confirms("ADR-0007.R4", "ADR-0007.R3")
def unusual_json_is_still_json(target: Target) -> None:
    """Escapes, white space around, repeated keys and numbers in any spelling are JSON like any other."""
    for operation in with_body(target):
        example = rendered(example_of(operation))
        escaped = rendered(example_of(operation)).replace(b'"model"', b'"\\u006dodel"')
        doubled = b'{"model": 5, ' + example[1:]
        for body in (b"\r\n\t " + example + b"\n", escaped, doubled):
            request: Request = request_with(target, operation, Fault(kind="", body=body))
            require_success(target, request, operation, rule="ADR-0007.R4")


@confirms("ADR-0034.R7")
def of_repeated_keys_the_last_counts(target: Target) -> None:
    """A wrong value passes when a right one follows, and a right one does not when a wrong one follows."""
    for operation in with_body(target):
        example = example_of(operation)
        named = [name for name in target.promises.resolve(operation.schema).get("required", []) if name in example]
        for name in named:
            values: tuple[Any, Any] = (example[name], {"wrong": []})
            right, wrong = (f'"{name}": {json.dumps(value)}'.encode() for value in values)
            rest = rendered({key: value for key, value in example.items() if key != name})[1:-1]
            for pair, passes in (((wrong, right), True), ((right, wrong), False)):
                body = b"{" + b", ".join(piece for piece in (*pair, rest) if piece) + b"}"
                request = request_with(target, operation, Fault(kind="", body=body))
                if passes:
                    require_success(target, request, operation, rule="ADR-0034.R7")
                else:
                    require(target, request, "invalid_request", operation, rule="ADR-0034.R7")
