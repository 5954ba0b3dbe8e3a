"""A document has one reading: what is no strict JSON is refused, and nothing that is sent is a fault of ours."""

import json
from typing import Any, Final

import orjson
import pytest
from gateway_conformance.rules import confirms
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.errors import Kind, Refusal
from dragoman.gate.contents import parse
from fakes import House
from wire import VALID, post

DEEPEST: Final = 254
START: Final = b'{"model": "general", "messages": [{"role": "user", "content": "hi"}], "other": '
"""The beginning of a request that passes whatever its last member is."""


def accepts(content: bytes) -> bool:
    """Whether *content* is a document."""
    try:
        parse(content)
    except Refusal as refusal:
        if refusal.kind is Kind.INVALID_JSON:
            return False
        raise
    return True


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """Return a document that nests *depth* deep."""
    return opening * depth + closing * depth


NO_DOCUMENTS: Final = {
    "nothing": b"",
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e999": b"1e999",
    "-1e999": b"-1e999",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32-le"),
    "a byte that is no UTF-8": b'"\xff"',
    "an overlong slash": b'"\xc0\xaf"',
    "half a character": b'"\xe2\x82"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a high surrogate": rb'"\ud800"',
    "a low surrogate": rb'"\udc00"',
    "surrogates in the wrong order": rb'"\udc00\ud800"',
    "a surrogate in a name": rb'{"\ud800": 1}',
    "a null": b'"\0"',
    "a null between": b"[1,\x002]",
    "a line feed in a string": b'"a\nb"',
    "a comment": b"[1] // one",
    "a comma at the end": b"[1,]",
    "single quotes": b"{'a': 1}",
    "no quotes": b"{a: 1}",
    "a leading nought": b"01",
    "a plus": b"+1",
    "a point at the end": b"1.",
    "a point at the start": b".1",
    "base 16": b"0x10",
    "two documents": b"{} {}",
    "half a document": b'{"a": ',
    "2 to the 64th": b"18446744073709551616",
    "less than -2 to the 63rd": b"-9223372036854775809",
    "30 digits": b"1" * 30,
    "30 digits below nought": b"-" + b"1" * 30,
    "300 digits": b"1" * 300,
    "5,000 digits": b"1" * 5000,
    "5,000 digits below nought": b"-" + b"1" * 5000,
    "30 digits in an array": b"[0, [" + b"1" * 30 + b"]]",
    "30 digits in an object": b'{"a": {"b": ' + b"1" * 30 + b"}}",
    "30 digits beside digits in strings": b'["' + b"1" * 30 + b'", ' + b"1" * 30 + b', "' + b"1" * 30 + b'"]',
    "30 digits behind a quote in a string": rb'["\"", ' + b"1" * 30 + b"]",
    "30 digits behind a backslash in a string": rb'["\\", ' + b"1" * 30 + rb', "\\"]',
    "30 digits behind an integer of 64 bits": b"[18446744073709551615, " + b"1" * 30 + b"]",
    "more levels than can be written": nested(DEEPEST + 1),
    "more levels of objects": nested(DEEPEST + 1, b'{"a":', b"}").replace(b"}", b"1}", 1),
    "1,024 levels": nested(1024),
    "100,000 levels": nested(100_000),
    "100,000 levels without an end": b"[" * 100_000,
    "100,000 levels of objects": nested(100_000, b'{"a":', b"}"),
}

DOCUMENTS: Final = {
    "the greatest integer": b"18446744073709551615",
    "the least integer": b"-9223372036854775808",
    "integers of 20 digits": b"[10000000000000000000, 10000000000000000000]",
    "a string of 30 digits": b'"' + b"1" * 30 + b'"',
    "a string of 5,000 digits": b'["' + b"1" * 5000 + b'"]',
    "30 digits in a name": b'{"' + b"1" * 30 + b'": 1}',
    "30 digits behind a quote in their string": rb'["\" ' + b"1" * 30 + b' "]',
    "30 digits behind backslashes in their string": rb'["\\\" ' + b"1" * 30 + rb' \\"]',
    "a fraction of 30 digits": b"0." + b"1" * 30,
    "30 digits and a fraction": b"1" * 30 + b".5",
    "30 digits and an exponent": b"1" * 30 + b"e1",
    "an exponent with noughts": b"1e" + b"0" * 30 + b"1",
    "an exponent with a sign and noughts": b"1E-" + b"0" * 30 + b"1",
    "a small number": b"1e-999",
    "a pair of surrogates": rb'"\ud83d\ude00"',
    "a null that is written": rb'"\u0000"',
    "spaces": b" \t\r\n[ ] ",
    "as many levels as can be written": nested(DEEPEST),
    "many brackets side by side": b"[" + b"[]," * 1000 + b"{}]",
    "many brackets in a string": b'"' + b"[" * 1000 + b'"',
}


@confirms("ADR-0034.R6")
@pytest.mark.parametrize("name", NO_DOCUMENTS)
def test_what_is_no_strict_json_is_refused(house: House, name: str) -> None:
    """What has no reading as JSON, or several, gets 400: by itself, and inside a request."""
    by_itself = post(house.app, NO_DOCUMENTS[name])
    inside = post(house.app, START + NO_DOCUMENTS[name] + b"}")

    assert not accepts(NO_DOCUMENTS[name])
    for answer in (by_itself, inside):
        assert (400, "invalid_json") == (answer.status, answer.json()["error"]["code"])
    assert [] == house.log.failures


@confirms("ADR-0034.R6")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_strict_json_is_accepted(house: House, name: str) -> None:
    """What has one reading is a document, however many digits it has where they mean nothing, and so is a request."""
    depth = 1 if name == "as many levels as can be written" else 0
    content = DOCUMENTS[name][depth : len(DOCUMENTS[name]) - depth]  # the request is one level itself

    assert accepts(DOCUMENTS[name])
    assert (501, []) == (post(house.app, START + content + b"}").status, house.log.failures)


@confirms("ADR-0034.R6")
@pytest.mark.parametrize("depth", [*range(120, 140), *range(DEEPEST - 6, DEEPEST + 4), 300, 500, 1000])
@pytest.mark.parametrize("start", [b"", START, b'{"model": "general", "messages": ', b'{"model": "general", "input": '])
def test_no_nesting_is_a_fault_of_ours(house: House, depth: int, start: bytes) -> None:
    """Wherever it nests, and however deep, a document is read or refused."""
    content = start + nested(depth) + (b"}" if start else b"")

    answers = [post(house.app, content, path=path) for path in ("/v1/chat/completions", "/v1/responses")]

    assert {answer.status for answer in answers} <= {400, 501}
    assert [] == house.log.failures


@confirms("ADR-0034.R6")
def test_a_million_names_are_a_document(house: House) -> None:
    """A request with a million members is read as any other."""
    members = b",".join(b'"%d":1' % number for number in range(1_000_000))
    answer = post(house.app, START + b"{" + members[: 8 * 1024 * 1024 - 1024].rpartition(b",")[0] + b"}}")

    assert (501, []) == (answer.status, house.log.failures)


@confirms("ADR-0034.R7")
def test_of_duplicate_keys_the_last_is_checked_and_goes_on(house: House) -> None:
    """A request whose last model or messages are wrong is refused, and one whose first are wrong is not."""
    messages = json.dumps(VALID["messages"])
    good_last = f'{{"model": 1, "messages": "no", "messages": {messages}, "model": "general"}}'
    bad_last = f'{{"model": "general", "messages": {messages}, "model": 1}}'

    assert [501, 400] == [post(house.app, text.encode()).status for text in (good_last, bad_last)]
    assert {"model": "general", "messages": VALID["messages"]} == parse(good_last.encode())
    assert "general" == house.log.requests[0]["model"]


fractions = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.text() | fractions | st.integers(-(2**70), 2**70)
digits = st.integers(10**18, 10**40).map(str)
values = st.recursive(
    scalars | digits, lambda inner: st.lists(inner) | st.dictionaries(st.text() | digits, inner), max_leaves=20
)


def fits(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether every integer in *value* has at most 64 bits, as its own reader sees it."""
    if isinstance(value, dict):
        return all(fits(one) for one in value.values())
    if isinstance(value, list):
        return all(fits(one) for one in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


@confirms("ADR-0034.R6")
@settings(max_examples=500)
@given(values)
@with_example([2**64 - 1, str(2**64)])
@with_example(["\\", 2**64, "\\"])
def test_an_integer_is_found_wherever_it_stands(value: object) -> None:
    """Exactly the documents with an integer beyond 64 bits are refused, whatever stands beside it."""
    escaped, plain = json.dumps(value), json.dumps(value, ensure_ascii=False)

    assert [fits(value)] * 2 == [accepts(text.encode()) for text in (escaped, plain)]


ASCII: Final = st.text('[]{}",:\\0123456789.eE+-ntu \x00', max_size=200).map(str.encode)


@confirms("ADR-0034.R6")
@settings(max_examples=500)
@given(st.binary(max_size=200) | ASCII)
def test_any_bytes_are_a_document_or_are_refused(content: bytes) -> None:
    """Whatever is sent is read, and can be written again, or is refused."""
    if accepts(content):
        orjson.dumps(parse(content))
