"""What may be sent: parameters, the headers of a body, and the body itself."""

from typing import Any

import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.contract import Body, Operation, compile_contract
from dragoman.errors import Kind, Refusal
from dragoman.gate.contents import check_content, check_document, check_parameters, kept, parse

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
LIMIT = 100


def operation(**stated: Any) -> Operation:  # noqa: ANN401 - members of an operation
    """Return the compiled operation that states *stated*."""
    body = {"required": True, "content": {"application/json": {"schema": SCHEMA}}}
    return compile_contract(tiny(requestBody=body, **{"x-dragoman": {"body-limit": LIMIT}}, **stated)).operations[0]


PLAIN = operation()


def refused(headers: dict[str, str]) -> Kind | None:
    """Return the kind with which a body with these *headers* is refused, or None when it may be read."""
    try:
        check_content(PLAIN, headers)
    except Refusal as refusal:
        return refusal.kind
    return None


@confirms("ADR-0010.R1")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=utf8",
        'application/json; charset="UTF-8"',
        "application/json ; profile=x",
    ],
)
def test_json_in_utf_8_is_accepted(media_type: str) -> None:
    """JSON passes with any parameters, as long as a charset is UTF-8."""
    assert refused({"content-type": media_type}) is None


@confirms("ADR-0010.R1")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/vnd.api+json"},
        {"content-type": "json"},
        {"content-type": "application/json; charset"},
        {"content-type": "application/json, text/plain"},
        {"content-type": "*/*"},
        {"content-type": "multipart/form-data; boundary=application/json"},
    ],
)
def test_another_media_type_is_refused(headers: dict[str, str]) -> None:
    """Any other media type, or none, is refused."""
    assert Kind.UNSUPPORTED_MEDIA_TYPE == refused(headers)


@confirms("ADR-0010.R1")
@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "us-ascii", '"utf-16"', "utf-8; charset=latin-1"])
def test_another_charset_is_refused(charset: str) -> None:
    """A charset other than UTF-8 is refused."""
    assert Kind.UNSUPPORTED_CHARSET == refused({"content-type": f"application/json; charset={charset}"})


@confirms("ADR-0010.R2")
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", ""])
def test_an_encoding_is_refused(encoding: str) -> None:
    """A compressed body is refused, whatever compresses it."""
    assert Kind.UNSUPPORTED_ENCODING == refused({"content-type": "application/json", "content-encoding": encoding})


@confirms("ADR-0010.R2")
def test_the_identity_encoding_is_accepted() -> None:
    """A body that says that it is not compressed passes."""
    assert refused({"content-type": "application/json", "content-encoding": " Identity "}) is None


@confirms("ADR-0010.R3")
@pytest.mark.parametrize("length", ["101", "0000101", "9" * 5000])
def test_a_declared_length_over_the_limit_is_refused(length: str) -> None:
    """A declared length beyond the limit is refused, however many digits it has."""
    assert Kind.BODY_TOO_LARGE == refused({"content-type": "application/json", "content-length": length})


@confirms("ADR-0010.R3")
@pytest.mark.parametrize("length", ["0", "100", "no number"])
def test_a_declared_length_within_the_limit_is_accepted(length: str) -> None:
    """A body of exactly the limit passes, and what is no number is left to the server and to the cap."""
    assert refused({"content-type": "application/json", "content-length": length}) is None


@confirms("ADR-0008.R5")
def test_the_headers_of_a_body_are_checked_in_order() -> None:
    """Media type, charset, encoding and length answer in this order, however many of them are wrong."""
    headers = {
        "content-type": "text/plain; charset=latin-1",
        "content-encoding": "gzip",
        "content-length": str(LIMIT + 1),
    }
    mended = [
        {},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json"},
        {"content-type": "application/json", "content-encoding": "identity"},
    ]

    expected = [
        Kind.UNSUPPORTED_MEDIA_TYPE,
        Kind.UNSUPPORTED_CHARSET,
        Kind.UNSUPPORTED_ENCODING,
        Kind.BODY_TOO_LARGE,
    ]
    assert expected == [refused(headers | less) for less in mended]


def unreadable(content: bytes) -> tuple[Kind, dict[str, object]]:
    """Return the kind and the arguments with which *content* is refused."""
    assert isinstance(PLAIN.body, Body)
    with pytest.raises(Refusal) as caught:
        check_document(PLAIN.body, parse(content))
    return caught.value.kind, dict(caught.value.arguments)


@confirms("ADR-0007.R4")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1} {}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"a": 1}',
        b"[" * 2000 + b"]" * 2000,
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    """NaN, lone surrogates, invalid UTF-8, a byte order mark, deep nesting and half a document are no JSON."""
    assert (Kind.INVALID_JSON, {}) == unreadable(content)


def test_a_document_that_keeps_its_schema_is_returned() -> None:
    """The decoded document comes back whole, and of two equal keys the last counts."""
    assert isinstance(PLAIN.body, Body)
    document = parse(b' {"a": 1, "b": null, "a": 2}\n')
    check_document(PLAIN.body, document)

    assert {"a": 2, "b": None} == document


@confirms("ADR-0007.R1")
def test_a_document_that_breaks_its_schema_is_refused_with_its_place() -> None:
    """The refusal names the member, the code and the reason."""
    reason = "Invalid type for 'a': expected an integer, but got a string instead."

    assert (Kind.INVALID_REQUEST, {"param": "a", "code": "invalid_type", "reason": reason}) == unreadable(b'{"a": "1"}')


@confirms("ADR-0007.R1")
def test_a_document_that_is_wrong_as_a_whole_names_no_member() -> None:
    """When the body itself is wrong, `param` is null."""
    _, arguments = unreadable(b"[]")

    assert arguments["param"] is None


PARAMETERS = operation(
    parameters=[
        {"name": "X-Team", "in": "header", "required": True, "schema": {"type": "string", "maxLength": 3}},
        {"name": "limit", "in": "query", "schema": {"type": "integer"}},
        {"name": "X-Limit", "in": "query", "schema": {"type": "string"}},
    ]
)


def broken(headers: dict[str, str], query: dict[str, str]) -> tuple[Kind, object, object] | None:
    """Return the kind, the parameter and the code of the refusal, or None when all parameters are in order."""
    try:
        check_parameters(PARAMETERS, path={}, query=query, headers=headers)
    except Refusal as refusal:
        return refusal.kind, refusal.arguments["param"], refusal.arguments["code"]
    return None


@confirms("ADR-0007.R5")
@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, {}, (Kind.INVALID_PARAMETER, "X-Team", "missing_required_parameter")),
        ({"x-team": "long"}, {}, (Kind.INVALID_PARAMETER, "X-Team", "string_above_max_length")),
        ({"x-team": "ops"}, {"limit": "ten"}, (Kind.INVALID_PARAMETER, "limit", "invalid_type")),
        ({"x-team": "ops"}, {"limit": "10", "X-Limit": "x"}, None),
        ({"x-team": "ops"}, {}, None),
    ],
)
def test_a_broken_parameter_is_refused_by_name(
    headers: dict[str, str], query: dict[str, str], expected: tuple[Kind, str, str] | None
) -> None:
    """A parameter that is missing or breaks its schema is named as the contract spells it; others pass."""
    assert expected == broken(headers, query)


MESSAGES = {"type": "object", "properties": {"model": {"type": "string"}, "messages": {"type": "array"}}}
BODY = {"required": True, "content": {"application/json": {"schema": MESSAGES}}}


@pytest.mark.parametrize(
    ("stated", "goes_on"),
    [
        ({"requestBody": BODY, "x-dragoman": {"unknown-keys": "drop"}}, {"model": "m"}),
        ({"requestBody": BODY, "x-dragoman": {"unknown-keys": "forward"}}, {"model": "m", "other": 1}),
        ({"x-dragoman": {"unknown-keys": "drop"}}, {"model": "m", "other": 1}),
        ({"requestBody": BODY, "x-dragoman": {"non-text": "drop"}}, {"model": "m", "other": 1}),
    ],
)
def test_unknown_keys_go_on_as_the_trait_says(stated: dict[str, Any], goes_on: dict[str, Any]) -> None:
    """A dialect that drops unknown keys keeps the declared ones; without a body schema nothing is known of keys."""
    [taken] = compile_contract(tiny(**stated)).operations

    assert goes_on == kept(taken, {"model": "m", "other": 1})


TEXT = {"type": "text", "text": "hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}}


@confirms("ADR-0022.R5")
@pytest.mark.parametrize(
    ("content", "goes_on"),
    [
        ("hi", "hi"),
        (None, None),
        ([TEXT], [TEXT]),
        ([IMAGE, TEXT, {"type": "hologram"}], [TEXT]),
        ([IMAGE, {"type": "hologram"}], ""),
    ],
)
def test_parts_that_are_no_text_are_dropped(content: object, goes_on: object) -> None:
    """Where a dialect drops them, parts that are no text go; a message of which nothing is left has an empty text."""
    [taken] = compile_contract(tiny(requestBody=BODY, **{"x-dragoman": {"non-text": "drop"}})).operations
    silent = {"role": "assistant"}
    document = {"model": "m", "messages": [{"role": "user", "name": "n", "content": content}, silent]}

    expected = {"model": "m", "messages": [{"role": "user", "name": "n", "content": goes_on}, silent]}
    assert expected == kept(taken, document)
    assert content == document["messages"][0]["content"]  # type: ignore[index]


def test_parts_go_on_where_nothing_is_said() -> None:
    """A dialect that does not speak of them keeps parts of every kind."""
    document = {"messages": [{"role": "user", "content": [IMAGE]}]}

    assert document == kept(PLAIN, document)
