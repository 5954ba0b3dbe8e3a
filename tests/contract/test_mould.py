"""A mould is judged once, and whatever text fills it, it is what judging that text would have given."""

import orjson
import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.contract import compile_contract
from dragoman.contract.mould import HOLE, PIECE, ignores_text
from dragoman.contract.operation import Form
from dragoman.contract.source import Source
from fakes import effective
from treaty import Document

CHUNK: Document = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1_781_438_400,
    "model": "general",
    "choices": [{"index": 0, "delta": {"content": HOLE}, "finish_reason": None}],
}
DIALECTS = Source().dialects


def event_of(dialect: str) -> Form:
    """Return what an event of a chat completion is in this *dialect*, in Phase 2."""
    contract = compile_contract(effective(dialect, phases={"chat": 2}))
    return next(
        one.success.event
        for one in contract.operations
        if one.name == "chat" and one.success is not None and one.success.event is not None
    )


FORMS = {dialect: event_of(dialect) for dialect in DIALECTS}


def saying(text: str, **more: object) -> Document:
    """Return a chunk that says *text*."""
    return {**CHUNK, "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": None}]}


@confirms("ADR-0047.R2")
@pytest.mark.parametrize("dialect", DIALECTS)
@given(text=st.text())
def test_a_filled_mould_is_what_judging_would_have_given(dialect: str, text: str) -> None:
    """In every dialect the event is the same, byte for byte, for any text."""
    form = FORMS[dialect]
    mould = form.mould(CHUNK)

    assert mould is not None
    assert orjson.dumps(form.kept(saying(text))) == mould.filled(text)


def test_there_is_no_mould_of_what_breaks_the_contract() -> None:
    """What may not leave with one text may not leave with another."""
    assert FORMS["dragoman"].mould({**CHUNK, "created": "yesterday"}) is None


def test_there_is_no_mould_with_two_holes() -> None:
    """Whoever's model is called as a hole is called gets every event judged."""
    assert FORMS["dragoman"].mould({**CHUNK, "model": HOLE}) is None


TEXT: Document = {"type": ["string", "null"], "description": "What is said."}


def schema(text: Document, **around: object) -> Document:
    """Return the schema of an event whose piece of text is *text*; *around* are members of the object around it."""
    delta = {"type": "object", "properties": {"content": text}, **around}
    choice = {"type": "object", "properties": {"delta": delta}, "required": ["delta"]}
    return {"type": "object", "properties": {"choices": {"type": "array", "items": choice}}}


@confirms("ADR-0047.R3")
@pytest.mark.parametrize(
    ("stated", "free"),
    [
        (schema(TEXT), True),
        (schema({}), True),
        (schema({"type": "string"}, additionalProperties=False), True),
        (schema({"type": "string", "maxLength": 9}), False),
        (schema({"type": "string", "enum": ["a"]}), False),
        (schema({"type": "string", "pattern": "a"}), False),
        (schema(TEXT, anyOf=[{"required": ["content"]}]), True),
        (schema(TEXT, anyOf=[{"required": ["content"]}, {"properties": {"content": {"minLength": 1}}}]), False),
        (schema({"oneOf": [{"type": "string"}, {"const": "a"}]}), False),
        (schema(TEXT, const={"content": "a"}), False),
        (schema({"$ref": "#/text"}), True),
        (schema({"$ref": "#/text", "description": "What is said."}), True),
        (schema({"$ref": "#/text", "maxLength": 3}), False),
        (schema({"$ref": "#/bounded"}), False),
        (schema(TEXT, allOf=[True]), True),
        (schema({"$ref": "#/any"}), True),
        ({"type": "object", "additionalProperties": {"maxItems": 9, "items": {"enum": [1]}}}, False),
        ({"type": "object", "additionalProperties": False}, True),
        ({"type": "object", "properties": {"choices": {"type": "array"}}}, True),
        ({"type": "object"}, True),
    ],
)
def test_only_a_text_of_which_nothing_is_asked_is_not_judged(stated: Document, free: bool) -> None:  # noqa: FBT001 - a row
    """A bound, a list of words or a constant anywhere on the way, in a union too: every event is judged."""
    document: Document = {"text": TEXT, "bounded": {"$ref": "#/text", "maxLength": 3}, "any": True}

    assert free is ignores_text(document, stated, PIECE)
