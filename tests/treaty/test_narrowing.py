"""What counts as taking something away."""

from typing import Any

import pytest
from gateway_conformance.rules import confirms

from treaty.narrowing import narrowings


def schema(**keywords: object) -> dict[str, Any]:
    """Return a document with one schema."""
    return {"components": {"schemas": {"X": keywords}}}


AT = "#/components/schemas/X"


@confirms("ADR-0027.R2")
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"paths": {"/a": {}, "/b": {}}}, {"paths": {"/b": {}}}, ["#/paths/~1a is gone"]),
        ({"paths": {"/a": {"get": {}, "post": {}}}}, {"paths": {"/a": {"get": {}}}}, ["#/paths/~1a/post is gone"]),
        (schema(properties={"a": {}}), schema(properties={}), [f"{AT}/properties/a is gone"]),
        (schema(required=["a"]), schema(required=["b", "a"]), [f"{AT} now requires 'b'"]),
        (schema(), schema(required=["a"]), [f"{AT} now requires 'a'"]),
        (
            {"parameters": [{"name": "a"}]},
            {"parameters": [{"name": "a", "required": True}]},
            ["#/parameters/0 is now required"],
        ),
        (schema(enum=["a", "b"]), schema(enum=["b"]), [f"{AT} no longer takes 'a'"]),
        (schema(type=["string", "null"]), schema(type="string"), [f"{AT} is no longer 'null'"]),
        (schema(maxLength=5), schema(maxLength=4), [f"{AT} has a tighter maxLength: 4"]),
        (schema(), schema(maxLength=4), [f"{AT} has a tighter maxLength: 4"]),
        (schema(minimum=0), schema(minimum=1), [f"{AT} has a tighter minimum: 1"]),
        (schema(pattern="a"), schema(pattern="b"), [f"{AT} has a tighter pattern: 'b'"]),
        (schema(), schema(additionalProperties=False), [f"{AT} takes no other members now"]),
    ],
)
def test_what_is_taken_away_is_told(before: dict[str, Any], after: dict[str, Any], told: list[str]) -> None:
    """Each thing that is gone, newly required or tighter is told with its place, and its reverse is not."""
    assert told == narrowings(before, after)
    assert [] == [one for one in narrowings(after, before) if " tighter pattern" not in one]


@confirms("ADR-0027.R2")
def test_what_is_only_reworded_is_not_told() -> None:
    """Descriptions, extensions and more of anything take nothing away."""
    before = schema(description="a", properties={"a": {"maxLength": 1, "maximum": "text"}})
    after = schema(title="b", properties={"a": {"maxLength": 2, "maximum": "other"}, "b": {}})

    assert [] == narrowings(before, after)
