"""Parameters are decoded without coercion, and unknown keys go on or not as the dialect says."""

import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.contract import Operation, Problem
from dragoman.contract.compiler import compile_contract
from treaty import Document


def compiled(**stated: object) -> Operation:
    """Return the compiled operation that states *stated*."""
    return compile_contract(tiny(**stated)).operations[0]


def problem(schema: Document, text: str | None, *, required: bool = False) -> Problem | None:
    """Return what is wrong with *text* as a query parameter `limit` of this *schema*."""
    stated = {"name": "limit", "in": "query", "required": required, "schema": schema}
    [parameter] = compiled(parameters=[stated]).parameters
    return parameter.problem(text)


@confirms("ADR-0007.R6")
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("string", ""),
        ("string", "1"),
        ("boolean", "true"),
        ("boolean", "false"),
        ("integer", "-7"),
        ("number", "7"),
        ("number", "7.5e3"),
    ],
)
def test_texts_of_their_type_are_accepted(kind: str, text: str) -> None:
    """A parameter's text is read as JSON would spell a value of its type."""
    assert problem({"type": kind}, text) is None


@confirms("ADR-0007.R6")
@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        ("boolean", "True", "a boolean"),
        ("boolean", "1", "a boolean"),
        ("boolean", "", "a boolean"),
        ("integer", "seven", "an integer"),
        ("integer", "true", "an integer"),
        ("integer", "null", "an integer"),
        ("integer", '"7"', "an integer"),
        ("number", "NaN", "a number"),
        ("number", "", "a number"),
        ("number", "[]", "a number"),
    ],
)
def test_texts_of_another_type_are_not_coerced(kind: str, text: str, wanted: str) -> None:
    """A text that is no JSON value of the type is told to be a string."""
    reason = f"Invalid type for 'limit': expected {wanted}, but got a string instead."

    assert Problem(param="limit", code="invalid_type", reason=reason) == problem({"type": kind}, text)


def test_a_parameter_keeps_its_schema() -> None:
    """A value outside the bounds of the schema gets the code and the limit."""
    reason = "Invalid 'limit': expected a value <= 100."
    expected = Problem(param="limit", code="integer_above_max_value", reason=reason)

    assert expected == problem({"type": "integer", "maximum": 100}, "101")


def test_a_missing_parameter_is_a_problem_only_where_it_is_required() -> None:
    """An absent optional parameter is fine; an absent required one is named."""
    expected = Problem(param="limit", code="missing_required_parameter", reason="Missing required parameter: 'limit'.")

    assert problem({"type": "string"}, None) is None
    assert expected == problem({"type": "string"}, None, required=True)
