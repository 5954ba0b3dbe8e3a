"""Secrets by reference, and the catalogue that is there when nobody has declared one."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from catalogue_file import WHOLE
from dragoman.declaration import Declaration, DeclaredAlias
from dragoman.model import Provider, Target
from dragoman.settings import SettingsError, missing_secrets, read_file, read_secret, read_settings
from dragoman.settings.embedded import embedded_catalogue, with_embedded
from stores import CATALOGUE
from test_settings_file import KNOWN

KEY: Final = {"OPENAI_API_KEY": "sesame"}
ECHO: Final = Provider(name="echo", kind="echo")

Write = Callable[[str], Path]


@confirms("ADR-0040.R5")
def test_a_secret_is_where_its_reference_says(tmp_path: Path) -> None:
    """A variable gives its text, a file its content without the spaces around it."""
    (tmp_path / "secret").write_text(" open sesame\n")

    assert ["s", "open sesame"] == [
        read_secret(reference, {"KEY": "s"}) for reference in ("env:KEY", f"file:{tmp_path}/secret")
    ]


@confirms("ADR-0040.R5", "ADR-0040.R11")
def test_a_secret_that_is_not_there_is_told_by_its_place(tmp_path: Path) -> None:
    """What is missing, empty, unreadable or no reference is refused; it is told where it should be, and no more."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    expected = {
        "env:NONE": "the variable NONE is not set",
        "env:EMPTY": "the variable EMPTY is not set",
        f"file:{tmp_path}/none": f"cannot read {tmp_path}/none: No such file or directory",
        f"file:{tmp_path}/empty": f"the file {tmp_path}/empty is empty",
        f"file:{tmp_path}/bytes": f"cannot read {tmp_path}/bytes: it is not UTF-8",
        "sesame": "a secret is given as env:NAME or file:PATH",
    }

    def said(reference: str) -> str:
        with pytest.raises(SettingsError) as caught:
            read_secret(reference, {"EMPTY": ""})
        return str(caught.value)

    assert list(expected.values()) == [said(reference) for reference in expected]


@confirms("ADR-0040.R11")
def test_each_missing_secret_of_a_file_is_told(write: Write) -> None:
    """Secrets of mounts, keys and headers of providers are looked for, and those that are there are not mentioned."""
    file = read_file(
        write(
            """
[mounts.shy]
identity = "token"
secret = "env:CHAT"
[mounts.dragoman]
[[provider]]
name = "a"
kind = "openai"
base_url = "https://a.example"
key = "env:A"
headers = { X-Token = "env:B", X-Team = "blue" }
[[provider]]
name = "b"
kind = "anthropic"
base_url = "https://b.example"
"""
        ),
        KNOWN,
    )

    assert [
        "mount /shy: secret: the variable CHAT is not set",
        "provider 'a': key: the variable A is not set",
        "provider 'a': headers.X-Token: the variable B is not set",
    ] == list(missing_secrets(file, {}))
    assert [] == list(missing_secrets(file, {"A": "1", "B": "2", "CHAT": "3"}))


# --- The embedded catalogue -------------------------------------------------------------------------------------------


@confirms("ADR-0040.R14")
def test_the_embedded_aliases_are_answered_by_the_gateway_itself() -> None:
    """Without a key every embedded alias is on `echo`, the catch-all too, and there is no other provider."""
    found = with_embedded(Declaration(), {})

    assert (ECHO,) == found.providers
    assert {(Target(provider="echo"),)} == {one.targets for one in found.aliases}
    assert "*" == found.aliases[-1].id
    assert {"text-embedding-3-small": "embedding"} == {
        one.id: one.category for one in found.aliases if one.category != "llm"
    }


@confirms("ADR-0040.R14")
def test_the_catch_all_is_answered_by_openai_where_its_key_is_there() -> None:
    """With `OPENAI_API_KEY` names that are no alias go to OpenAI, as they were sent; the others stay on `echo`."""
    found = with_embedded(Declaration(), KEY)

    assert ["echo", "openai"] == [one.name for one in found.providers]
    assert {"*": (Target(provider="openai"),)} == {
        one.id: one.targets for one in found.aliases if one.targets != (Target(provider="echo"),)
    }
    assert "env:OPENAI_API_KEY" == found.providers[1].key
    assert "sesame" not in repr(found)


def test_a_declared_catalogue_stands_alone() -> None:
    """Where the file has an alias, nothing is added to what it says."""
    assert CATALOGUE is with_embedded(CATALOGUE, KEY)


def test_declared_providers_win_over_embedded_ones() -> None:
    """Where the file has no alias, what else it has stands beside the embedded aliases, which use its providers."""
    own = Provider(name="openai", kind="openai", base_url="https://llm.example")
    declared = attrs.evolve(CATALOGUE, providers=(own,), aliases=())

    found = with_embedded(declared, {})

    assert (own, ECHO) == found.providers
    assert (Target(provider="openai"),) == found.aliases[-1].targets
    assert (CATALOGUE.organizations, CATALOGUE.guardrails) == (found.organizations, found.guardrails)


def test_settings_can_be_sent_to_a_worker(write: Write) -> None:
    """Each worker gets a copy of the settings, whatever catalogue they have."""
    for found in (read_settings({}, KNOWN), read_settings({}, KNOWN, config=write(WHOLE))):
        copied = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
        assert found == copied


def test_the_embedded_catalogue_is_one() -> None:
    """It is read as a file is, and every alias has a target."""
    found = embedded_catalogue()

    assert [] == [one.id for one in found.aliases if not one.targets]


@confirms("ADR-0040.R14")
def test_settings_have_the_catalogue_that_counts(write: Write) -> None:
    """The settings hold the file's catalogue, or the embedded one by what the environment has."""
    general = write("[[alias]]\nid = 'general'")

    assert (DeclaredAlias(id="general", display_name="general"),) == read_settings(
        KEY, KNOWN, config=general
    ).catalogue.aliases
    assert with_embedded(Declaration(), KEY) == read_settings(KEY, KNOWN).catalogue
