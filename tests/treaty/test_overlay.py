"""Overlays: what they do to a document, and what they are refused for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from gateway_conformance.rules import confirms

from treaty import Action, Overlay, TreatyError, apply, load_overlay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from treaty import Document

HEAD = "overlay: 1.1.0\ninfo: {title: Dialect, version: '1', description: d, x-note: n}\n"


def edited(document: Document, *actions: Action) -> Document:
    """Return the document after these actions of an overlay called `dialect`."""
    return apply(document, Overlay(title="dialect", actions=actions))


def update(target: str, value: Any) -> Action:  # noqa: ANN401 - any JSON value is an update
    """Return the action that merges the value into what the target selects."""
    return Action(target=target, verb="update", operand=value)


def remove(target: str) -> Action:
    """Return the action that deletes what the target selects."""
    return Action(target=target, verb="remove", operand=True)


def copy(source: str, target: str) -> Action:
    """Return the action that merges the source into what the target selects."""
    return Action(target=target, verb="copy", operand=source)


@confirms("ADR-0002.R2")
@pytest.mark.parametrize(
    ("document", "action", "expected"),
    [
        ({"a": {"b": 1}}, update("$", {"c": 2}), {"a": {"b": 1}, "c": 2}),
        ({"a": {"b": 1}}, update("$", {"a": {"c": 2}}), {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": [1]}}, update("$.a", {"b": [2, 3]}), {"a": {"b": [1, 2, 3]}}),
        ({"a": [1]}, update("$.a", 2), {"a": [1, 2]}),
        ({"a": [1]}, update("$.a", {"b": 2}), {"a": [1, {"b": 2}]}),
        ({"a": [1]}, update("$.a", [2, 3]), {"a": [1, 2, 3]}),
        ({"a": 1}, update("$.a", "one"), {"a": "one"}),
        ({"a": [1, 2]}, update("$.a[1]", None), {"a": [1, None]}),
        ({"a": 1, "b": 1}, update("$.*", 2), {"a": 2, "b": 2}),
        ({"a": [{"n": 1}, {"n": 2}]}, update("$.a[?@.n == 2]", {"m": 3}), {"a": [{"n": 1}, {"n": 2, "m": 3}]}),
        ({"a": {"b": 1}, "c": 2}, remove("$.a"), {"c": 2}),
        ({"a": [0, 1, 2, 3]}, remove("$.a[0,2]"), {"a": [1, 3]}),
        ({"a": [0, 1, 2, 3]}, remove("$.a[2,0]"), {"a": [1, 3]}),
        ({"a": [0, 1, 2, 3]}, remove("$.a[-1,3]"), {"a": [0, 1, 2]}),
        ({"a": [0, 1, 2], "b": [0, 1]}, remove("$.*[0,1]"), {"a": [2], "b": []}),
        ({"a": ["x", "y", "x"]}, remove("$.a[?@ == 'x']"), {"a": ["y"]}),
        ({"a": {"n": 1, "b": {"n": 1, "c": 2}}, "n": {"n": 3}}, remove("$..n"), {"a": {"b": {"c": 2}}}),
        ({"a": [{"n": [1]}, {"m": 2}]}, remove("$..n"), {"a": [{}, {"m": 2}]}),
        ({"a": {"b": 1}, "c": {"d": 2}}, copy("$.a", "$.c"), {"a": {"b": 1}, "c": {"d": 2, "b": 1}}),
        ({"a": {"b": 1}, "c": [0]}, copy("$.a", "$.c"), {"a": {"b": 1}, "c": [0, {"b": 1}]}),
        ({"a": [1], "c": [0]}, copy("$.a", "$.c"), {"a": [1], "c": [0, 1]}),
        ({"a": 1, "c": 0}, copy("$.a", "$.c"), {"a": 1, "c": 1}),
    ],
)
def test_an_action_edits_what_its_target_selects(document: Document, action: Action, expected: Document) -> None:
    """Update merges objects, appends to arrays and replaces values; remove deletes; copy merges a node."""
    assert expected == edited(document, action)


@confirms("ADR-0002.R2")
def test_actions_apply_in_order() -> None:
    """Each action sees what the one before it left, so a value can be replaced whole."""
    document = {"error": {"message": "m", "type": "t"}}

    replaced = edited(document, remove("$.error"), update("$", {"error": {"code": "c"}}))

    assert {"error": {"code": "c"}} == replaced


def test_applying_shares_nothing_with_its_arguments() -> None:
    """Neither the document nor the overlay can be changed through the result."""
    document: Document = {"a": {"b": [1]}, "c": [{}, {}]}
    overlay = Overlay(
        title="dialect",
        actions=(update("$.c[*]", {"d": [1]}), copy("$.a", "$.c[0]"), update("$.a.b", 2)),
    )

    first = apply(document, overlay)
    first["c"][0]["d"].append(9)
    first["c"][0]["b"].append(9)
    first["a"]["b"].append(9)

    assert {"a": {"b": [1]}, "c": [{}, {}]} == document
    assert {"a": {"b": [1, 2]}, "c": [{"d": [1], "b": [1]}, {"d": [1]}]} == apply(document, overlay)
    assert {"d": [1]} == first["c"][1]


@confirms("ADR-0002.R1")
@pytest.mark.parametrize("verb", [update("$.b.c", 1), remove("$.b.c"), copy("$.a", "$.b.c")])
def test_a_target_that_matches_nothing_is_an_error(verb: Action) -> None:
    """The complaint names the overlay, the action by its number, and the target."""
    with pytest.raises(TreatyError) as refusal:
        edited({"a": 1}, update("$.a", 2), verb)

    assert "overlay 'dialect', action 2, target $.b.c: matches nothing; correct the target or drop the action" == str(
        refusal.value
    )


@pytest.mark.parametrize(
    ("document", "action", "expected"),
    [
        ({"a": {"b": 1}}, update("$.a", 2), "a plain value cannot be merged into an object"),
        ({"a": {"b": 1}}, update("$.a", [2]), "an array cannot be merged into an object"),
        ({"a": 1}, update("$.a", {"b": 2}), "an object cannot be merged into a plain value"),
        ({"a": {"b": [1]}}, update("$.a", {"b": 2}), "a plain value cannot be merged into an array"),
        ({"a": {}, "b": []}, update("$.*", {}), "selects an array and an object"),
        ({"a": 1}, remove("$"), "remove would leave no document"),
        ({"a": 1, "b": [2, 3]}, copy("$.b[*]", "$.a"), "copy $.b[*] must select one node and selects 2"),
        ({"a": 1}, copy("$.b", "$.a"), "copy $.b must select one node and selects 0"),
    ],
)
def test_an_edit_that_does_not_fit_is_an_error(document: Document, action: Action, expected: str) -> None:
    """What the target cannot take is said with the action and the target, not guessed."""
    with pytest.raises(TreatyError) as refusal:
        edited(document, action)

    assert f"overlay 'dialect', action 1, target {action.target}: {expected}" in str(refusal.value)


def test_an_overlay_is_read_with_its_title_and_actions(write: Callable[[str], Path]) -> None:
    """Every field of Overlay 1.1 and every extension is accepted."""
    overlay = load_overlay(
        write(
            HEAD + "extends: ../gateway.yaml\nx-adr: ADR-0019\nactions:\n"
            "  - {target: $.a, description: d, x-adr: ADR-0019, update: {b: 1}}\n"
            "  - {target: $.a, remove: true}\n"
            "  - {target: $.a, copy: $.b}\n"
        )
    )

    assert Overlay(title="Dialect", actions=(update("$.a", {"b": 1}), remove("$.a"), copy("$.b", "$.a"))) == overlay


@confirms("ADR-0002.R3")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("overlay: 1.0.0\n", "overlay version '1.0.0' is not 1.1.x"),
        ("overlay: 1.1\n", "overlay version 1.1 is not 1.1.x"),
        ("info: {}\n", "overlay version None is not 1.1.x"),
        ("overlay: 1.1.0\naction: []\n", "unknown field 'action'; did you mean 'actions'?"),
        ("overlay: 1.1.0\nactions: []\n", "info must have a title and a version"),
        ("overlay: 1.1.0\ninfo: {title: t}\n", "info must have a title and a version"),
        ("overlay: 1.1.0\ninfo: {title: t, version: v, name: n}\n", "info: unknown field 'name'"),
        (HEAD, "actions must be a list of at least one action"),
        (HEAD + "actions: []\n", "actions must be a list of at least one action"),
        (HEAD + "actions: [remove]\n", "action 1: an action must have a target"),
        (HEAD + "actions: [{target: 3, remove: true}]\n", "action 1: an action must have a target"),
        (HEAD + "actions: [{target: $.a, delete: true}]\n", "action 1: unknown field 'delete'"),
        (HEAD + "actions: [{target: $.a}]\n", "action 1: needs exactly one of update, remove and copy, and has 0"),
        (HEAD + "actions: [{target: $.a, remove: true, update: 1}]\n", "remove and copy, and has 2"),
        (HEAD + "actions: [{target: $.a, remove: false}]\n", "action 1: remove must be true"),
        (HEAD + "actions: [{target: $.a, copy: 3}]\n", "action 1: 3 is not an RFC 9535 query"),
        (HEAD + "actions: [{target: $.a, copy: b}]\n", "action 1: 'b' is not an RFC 9535 query"),
        (HEAD + "actions: [{target: $.a, update: 1}, {target: $.b, update: 1}, {target: '', update: 1}]\n", "action 3"),
        (HEAD + "actions: [{target: $.a | $.b, remove: true}]\n", "'$.a | $.b' is not an RFC 9535 query"),
        (HEAD + "actions: [{target: '$.a[?@ =~ /b/]', remove: true}]\n", "is not an RFC 9535 query"),
        (HEAD + "actions: [{target: $.a.~b, remove: true}]\n", "is not an RFC 9535 query"),
    ],
)
def test_a_file_that_is_no_overlay_is_refused_by_name(write: Callable[[str], Path], text: str, expected: str) -> None:
    """An unknown field, another version and a malformed query are named, with file and action."""
    path = write(text)

    with pytest.raises(TreatyError) as refusal:
        load_overlay(path)

    assert str(refusal.value).startswith(str(path))
    assert expected in str(refusal.value)
