"""Reading a file: what JSON cannot say is refused with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from treaty import TreatyError, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key: on", "on"),
        ("key: off", "off"),
        ("key: yes", "yes"),
        ("key: no", "no"),
        ("key: 2026-06-14", "2026-06-14"),
        ("key: 2026-06-14T12:00:00.000Z", "2026-06-14T12:00:00.000Z"),
        ("key: 0x1F", "0x1F"),
        ("key: 1_000", "1_000"),
        ("key: 12:30:00", "12:30:00"),
        ("key: .inf", ".inf"),
        ("key: '200'", "200"),
        ("key: !!str 200", "200"),
        ("key: <<", "<<"),
        ("key: true", True),
        ("key: False", False),
        ("key: null", None),
        ("key: ~", None),
        ("key:", None),
        ("key: -12", -12),
        ("key: 1.5", 1.5),
        ("key: 1e3", 1000.0),
        ('{"key": [1, "two", {"three": null}]}', [1, "two", {"three": None}]),
    ],
)
def test_a_scalar_is_read_as_yaml_1_2_reads_it(write: Callable[[str], Path], text: str, expected: object) -> None:
    """Only null, booleans and decimal numbers are anything but text."""
    loaded = load(write(text))["key"]

    assert (expected, type(expected)) == (loaded, type(loaded))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands twice; remove one"),
        ("responses:\n  200: fine\n", "line 2: key 200 is not text; quote it"),
        ("a: 1\n? [x]\n: 2\n", "line 2: key ['x'] is not text; quote it"),
        ("a: 1\nb: 1e999\n", "line 2: '1e999' (tag:yaml.org,2002:float) is no JSON value"),
        ("a: !!binary aGk=\n", "line 1: 'aGk=' (tag:yaml.org,2002:binary) is no JSON value"),
        ("a: !!int five\n", "line 1: 'five' (tag:yaml.org,2002:int) is no JSON value"),
        ("a: &a\n  b: *a\n", "line 1: an alias stands inside what it names; write it out"),
        ("a: [1\n", "is not YAML"),
        ("a: \x07\n", "is not YAML"),
        ("- a\n", "must hold one object at its top"),
        ("", "must hold one object at its top"),
    ],
)
def test_what_json_cannot_say_is_refused(write: Callable[[str], Path], text: str, expected: str) -> None:
    """A complaint names the file, the line where there is one, and what to do."""
    path = write(text)

    with pytest.raises(TreatyError) as refusal:
        load(path)

    assert str(refusal.value).startswith(str(path))
    assert expected in str(refusal.value)


def test_an_alias_becomes_a_copy(write: Callable[[str], Path]) -> None:
    """What stands in two places of a file is two objects in the document."""
    document = load(write("a: &shared {b: [1]}\nc: *shared\n"))

    document["a"]["b"].append(2)

    assert {"b": [1]} == document["c"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is a complaint that names it."""
    with pytest.raises(TreatyError, match=r"nowhere\.yaml: cannot be read"):
        load(tmp_path / "nowhere.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are a complaint that names the file."""
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: \xe9")

    with pytest.raises(TreatyError, match=r"latin\.yaml: cannot be read"):
        load(path)
