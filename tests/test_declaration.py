"""The rules that things of a catalogue keep, the words in which they are told, and how two of them differ."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.declaration import (
    DeclaredAlias,
    complaints_of_alias,
    complaints_of_guardrail,
    complaints_of_provider,
    is_reference,
    is_secret_header,
    price_of,
    price_text,
    words_of_provider,
)
from dragoman.model import Guardrail, Prices, Provider, Target, Timeouts
from dragoman.plan import Difference, differences
from stores import CATALOGUE

VENDOR: Final = CATALOGUE.providers[0]
PII: Final = CATALOGUE.guardrails[0]
GENERAL: Final = CATALOGUE.aliases[0]


def test_what_keeps_the_rules_has_no_complaints() -> None:
    """Nothing is said of a sound provider, guardrail or alias, at the bounds of what they may be."""
    most = attrs.evolve(VENDOR, capacity=100_000, headers={"X-Team": "a b", "Authorization": "env:A"}, name="a" * 64)
    target = Target(provider="a", model="m" * 256, weight=1_000_000, order=1000, timeouts=Timeouts(total=86_400.0))
    alias = DeclaredAlias(id="*", display_name="Ü" * 128, targets=(target,), prices=Prices(input=10**10))

    for provider in (*CATALOGUE.providers, most):
        assert [] == list(complaints_of_provider(provider))
    for guardrail in (*CATALOGUE.guardrails, Guardrail(key="w", action="block", webhook="http://[::1]:8080/x")):
        assert [] == list(complaints_of_guardrail(guardrail))
    for one in (*CATALOGUE.aliases, alias):
        assert [] == list(complaints_of_alias(one))


@confirms("ADR-0040.R5")
@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"name": ""}, "name: "),
        ({"name": "-a"}, "name: "),
        ({"name": "é"}, "name: "),
        ({"kind": "opnai"}, "kind: "),
        ({"base_url": None}, "base_url: it is missing"),
        ({"base_url": "https://user:sesame@llm.example"}, "base_url: it must be"),
        ({"base_url": "file:///sesame"}, "base_url: it must be"),
        ({"key": "sesame"}, "key: "),
        ({"headers": {"sesame sesame": "a"}}, "headers: "),
        ({"headers": {"Content-Length": "a"}}, "headers.Content-Length: the connection"),
        ({"headers": {"X-Key": "sesame"}}, "headers.X-Key: it must be env:NAME"),
        ({"headers": {"X-Team": " sesame"}}, "headers.X-Team: it must be visible"),
        ({"headers": {"X-Team": "sesame\r\nX: y"}}, "headers.X-Team: it must be visible"),
        ({"quirks": frozenset({"SESAME"})}, "quirks: "),
        ({"capacity": 0}, "capacity: "),
        ({"capacity": 100_001}, "capacity: "),
    ],
)
def test_a_provider_that_breaks_a_rule_is_told(members: dict[str, Any], member: str) -> None:
    """The one complaint begins with the member, and holds nothing that may be a secret."""
    [told] = complaints_of_provider(attrs.evolve(VENDOR, **members))

    assert told.startswith(member)
    assert "sesame" not in told


def test_a_provider_within_the_gateway_has_no_address() -> None:
    """What stands for a server needs no address, no key and no headers, and each of them is complained of."""
    told = [one.partition(":")[0] for one in complaints_of_provider(attrs.evolve(VENDOR, kind="echo"))]

    assert ["base_url", "key", "headers"] == told


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"key": "a b"}, "key: "),
        ({"action": "shout"}, "action: "),
        ({"stages": frozenset()}, "stages: "),
        ({"stages": frozenset({"inside"})}, "stages: "),
        ({"detectors": (), "patterns": {}, "keywords": (), "webhook": None}, "detectors: it looks for nothing"),
        ({"patterns": {"a b": "x"}}, "patterns: a category"),
        ({"patterns": {"a": ""}}, "patterns: a detector, a pattern"),
        ({"keywords": ("",)}, "patterns: a detector, a pattern"),
        ({"detectors": ("",)}, "patterns: a detector, a pattern"),
        ({"max_chars": 0}, "max_chars: "),
        ({"webhook": "https://watch.example/#x"}, "webhook: "),
    ],
)
def test_a_guardrail_that_breaks_a_rule_is_told(members: dict[str, Any], member: str) -> None:
    """The one complaint begins with the member."""
    [told] = complaints_of_guardrail(attrs.evolve(PII, **members))

    assert told.startswith(member)


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"id": "a b"}, "id: "),
        ({"id": ""}, "id: "),
        ({"display_name": "\n"}, "display_name: "),
        ({"description": "a\nb"}, "description: "),
        ({"category": "image"}, "category: "),
        ({"prices": Prices(output=-1)}, "prices: "),
        ({"prices": Prices(cached_input=10**10 + 1)}, "prices: "),
        ({"targets": (Target(provider="a"), Target(provider="a", model=" "))}, "target[1].model: "),
        ({"targets": (Target(provider="a", weight=0),)}, "target[0].weight: "),
        ({"targets": (Target(provider="a", order=-1),)}, "target[0].order: "),
        ({"targets": (Target(provider="a", timeouts=Timeouts(idle=0.0)),)}, "target[0].timeouts.idle: "),
        ({"targets": (Target(provider="a", timeouts=Timeouts(idle=float("nan"))),)}, "target[0].timeouts.idle: "),
    ],
)
def test_an_alias_that_breaks_a_rule_is_told(members: dict[str, Any], member: str) -> None:
    """The one complaint begins with the member."""
    [told] = complaints_of_alias(attrs.evolve(GENERAL, **members))

    assert told.startswith(member)


@confirms("ADR-0040.R5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env:NAME", True),
        ("env:_n1", True),
        ("file:/run/secret", True),
        ("file:C: \\x", True),
        ("env:", False),
        ("env:1A", False),
        ("env:A B", False),
        ("env:É", False),
        ("file:", False),
        ("file:a\nb", False),
        ("ENV:NAME", False),
        ("sk-1234", False),
        ("", False),
    ],
)
def test_a_reference_says_where_a_secret_is(text: str, expected: bool) -> None:  # noqa: FBT001 - an expectation
    """`env:` and the name of a variable, or `file:` and a path, and nothing else."""
    assert expected is is_reference(text)


def test_headers_that_may_hold_secrets_are_known_by_their_names() -> None:
    """A name with a word in it that tells of a secret, in either case, is one of a secret."""
    secret = ("Authorization", "proxy-authorization", "X-API-KEY", "api-key", "Cookie", "X-Token", "X-Client-Secret")
    harmless = ("OpenAI-Organization", "X-Team", "User-Agent", "anthropic-version", "Accept")

    assert [True] * len(secret) == [is_secret_header(name) for name in secret]
    assert [False] * len(harmless) == [is_secret_header(name) for name in harmless]


@confirms("ADR-0040.R12")
@given(st.integers(0, 10**10))
def test_a_price_is_told_as_it_is_read(price: int) -> None:
    """Every price that can be kept is told in dollars that give it back."""
    told = price_text(price)

    assert re.fullmatch(r"\d+(\.\d{0,5}[1-9])?", told)
    assert price == price_of(Decimal(told))


@confirms("ADR-0040.R12")
@pytest.mark.parametrize("dollars", ["-0.000001", "10000.000001", "0.0000001", "NaN", "Infinity", "-Infinity"])
def test_a_price_that_cannot_be_kept_is_refused(dollars: str) -> None:
    """A price is not rounded, and has its bounds."""
    with pytest.raises(ValueError, match="a price is from 0 to 10000 dollars, with at most 6 decimals"):
        price_of(Decimal(dollars))


@confirms("ADR-0040.R5")
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, "blue", ("(a text)", "(a text)")),
        ("blue", "blue", ("(a text)", "(a text)")),
        ("blue", "red", ("(a text)", "(another text)")),
        ("env:A", "red", ("env:A", "(a text)")),
        ("blue", "env:A", ("(a text)", "env:A")),
        ("env:A", "env:B", ("env:A", "env:B")),
    ],
)
def test_a_literal_header_is_told_by_its_name(before: str | None, after: str, told: tuple[str, str]) -> None:
    """What a header says literally is not told, only that it is another text; a reference is told."""
    new = Provider(name="a", kind="openai", headers={"X-Team": after})
    old = None if before is None else attrs.evolve(new, headers={"X-Team": before})

    words = (words_of_provider(old or new), words_of_provider(new, instead_of=old))
    assert told == tuple(one["headers"]["X-Team"] for one in words)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": 1}, {}, [("a", 1, None)]),
        ({}, {"a": 1}, [("a", None, 1)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c", 2, 3)]),
        ({"a": None}, {"a": {"b": 1}}, [("a", None, {"b": 1})]),
        ({"a": ["x"]}, {"a": ["x", "y"]}, [("a", ["x"], ["x", "y"])]),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, [("a[1].b", 2, 3)]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 3}]}, [("a[1]", None, {"b": 3})]),
        ({"a": []}, {"a": [{"b": 3}]}, [("a[0]", None, {"b": 3})]),
    ],
)
def test_a_difference_is_told_where_it_is(old: Any, new: Any, expected: list[tuple[str, Any, Any]]) -> None:  # noqa: ANN401
    """Tables and lists of tables are compared member by member, and everything else as a whole."""
    assert [Difference(member=member, old=one, new=other) for member, one, other in expected] == list(
        differences(old, new)
    )


def texts() -> Iterator[str]:
    """Yield what is told of every provider of the catalogue."""
    for provider in CATALOGUE.providers:
        yield repr(words_of_provider(provider))


@confirms("ADR-0040.R5")
def test_no_literal_header_is_told() -> None:
    """Neither the words of a provider nor its record, printed, hold the text of a header."""
    assert [] == [text for text in (*texts(), repr(VENDOR)) if "blue" in text]
