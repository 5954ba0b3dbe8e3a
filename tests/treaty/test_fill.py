"""Filling examples: the value's members and order, the arguments of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_conformance.rules import confirms

from treaty import Template, TreatyError

BODY: dict[str, Any] = {
    "error": {"message": "Expected at most 20, got 31.", "param": "messages[0]", "meta": {"id": "r-1", "fixed": 1}},
    "request_id": "r-1",
    "limit": 20,
}
FILLS = {
    "error.message": "Expected at most {limit}, got {count}.",
    "error.param": "param",
    "error.meta.id": "request_id",
    "request_id": "request_id",
    "limit": "limit",
}


def test_filling_sets_the_named_members_and_keeps_the_rest() -> None:
    """A word sets the argument as it is, a template sets text, and the order is the value's."""
    template = Template.compile(BODY, FILLS)
    arguments = {"request_id": "r-2", "param": None, "limit": 5, "count": 6, "unused": 0}

    body = template.fill(arguments)

    assert (
        '{"error": {"message": "Expected at most 5, got 6.", "param": null, "meta": {"id": "r-2", "fixed": 1}}, '
        '"request_id": "r-2", "limit": 5}'
    ) == json.dumps(body)
    assert frozenset({"request_id", "param", "limit", "count"}) == template.arguments


@confirms("ADR-0004.R2", "ADR-0004.R4")
def test_the_sample_arguments_give_back_the_value() -> None:
    """Filling an example with what it shows changes nothing, not even the order of members."""
    template = Template.compile(BODY, FILLS)

    assert {"limit": 20, "count": "31", "param": "messages[0]", "request_id": "r-1"} == template.sample()
    assert json.dumps(BODY) == json.dumps(template.fill(template.sample()))


@confirms("ADR-0004.R2")
@pytest.mark.parametrize(
    ("value", "x_fill", "expected"),
    [
        ({"m": "a-b-a"}, {"m": "{x}-{y}-{x}"}, {"x": "a", "y": "b"}),
        ({"m": "{a}: b"}, {"m": "{{{x}}}: {y}"}, {"x": "a", "y": "b"}),
        ({"m": "one\ntwo"}, {"m": "{x}"}, {"x": "one\ntwo"}),
        ({"m": "a: b: c", "n": "a: b"}, {"m": "{x}: {y}", "n": "x"}, {"x": "a: b", "y": "c"}),
        ({"m": "a.", "n": "a?"}, {"m": "{x}.", "n": "{x}?"}, {"x": "a"}),
        ({"m": [1, {"n": None}]}, {"m": "findings"}, {"findings": [1, {"n": None}]}),
    ],
)
def test_arguments_are_recovered_from_the_value(value: Any, x_fill: Any, expected: Any) -> None:  # noqa: ANN401 - JSON
    """A template is matched against its sample text, with what plain members show already known."""
    template = Template.compile(value, x_fill)

    assert expected == template.sample()
    assert value == template.fill(template.sample())


def test_braces_in_an_argument_stay_text() -> None:
    """What a request brings is never read as a template."""
    template = Template.compile({"m": "no x"}, {"m": "no {name}"})

    assert {"m": "no {name.__class__}"} == template.fill({"name": "{name.__class__}"})


def test_filling_leaves_the_example_alone() -> None:
    """One request's values do not show in the next one's body."""
    value = {"error": {"message": "m", "id": "r-1"}}
    template = Template.compile(value, {"error.id": "request_id"})

    template.fill({"request_id": "r-2"})

    assert {"error": {"message": "m", "id": "r-1"}} == value == template.fill({"request_id": "r-1"})


@confirms("ADR-0004.R2")
@pytest.mark.parametrize(
    ("value", "x_fill", "expected"),
    [
        ([], {"a": "b"}, "x-fill must be an object"),
        ({"a": 1}, "a", "x-fill must be an object"),
        ({"error": {"param": 1}}, {"error.parm": "param"}, "no 'parm' there; did you mean 'param'?"),
        ({"a": 1}, {"a.b": "c"}, "x-fill names 'a.b', but the value has no 'b' there"),
        ({"a": 1}, {"a": 3}, "x-fill of 'a' must be an argument's name or a text with {argument}"),
        ({"a": 1}, {"a": "two words"}, "x-fill of 'a' must be"),
        ({"a": "{b}"}, {"a": "{{b}}"}, "x-fill of 'a' must be"),
        ({"a": "b"}, {"a": "{b"}, "write a brace that is text twice"),
        ({"a": "b"}, {"a": "b}"}, "write a brace that is text twice"),
        ({"a": "b"}, {"a": "{}"}, "only {word} is known between braces"),
        ({"a": "b"}, {"a": "{b.c}"}, "only {word} is known between braces"),
        ({"a": "b"}, {"a": "{b!r}"}, "only {word} is known between braces"),
        ({"a": "b"}, {"a": "{b:>3}"}, "only {word} is known between braces"),
        ({"a": {"b": 1}}, {"a": "x", "a.b": "y"}, "x-fill sets 'a.b' and a member around it; keep one"),
        ({"a": 1, "b": 2}, {"a": "x", "b": "x"}, "the value shows 'x' as 1 and 2"),
        ({"a": "no b"}, {"a": "not {x}"}, "the value shows 'no b', which 'not {x}' cannot give"),
        ({"a": 3}, {"a": "{x}"}, "the value shows 3, which '{x}' cannot give"),
        ({"a": "b c", "d": "x"}, {"a": "b {e}", "d": "e"}, "the value shows 'b c', which 'b {e}' cannot give"),
    ],
)
def test_a_value_that_its_fillings_could_not_give_is_refused(value: Any, x_fill: Any, expected: str) -> None:  # noqa: ANN401 - JSON
    """A path to nowhere, a bad template and a sample that is none are named."""
    with pytest.raises(TreatyError) as refusal:
        Template.compile(value, x_fill)

    assert expected in str(refusal.value)
