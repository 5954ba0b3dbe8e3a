"""The catalogue that is there when nobody has declared one: it answers at once, from the gateway itself."""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Final

import attrs

from dragoman.declaration import Declaration, DeclaredAlias
from dragoman.model import Provider, Target
from dragoman.settings.catalogue import read_catalogue
from dragoman.settings.errors import SettingsError
from dragoman.settings.kinds import Place
from dragoman.settings.known import Known
from dragoman.settings.secret import read_secret, references_of

_NAME: Final = "embedded.toml"
_ECHO: Final = "echo"


def with_embedded(declared: Declaration, environment: Mapping[str, str]) -> Declaration:
    """Return what is *declared*, if it has aliases, else the embedded aliases with it.

    An embedded provider gives way to a declared one of its name; `echo` takes the place of one whose secrets are not in
    *environment*.
    """
    if declared.aliases:
        return declared
    embedded = embedded_catalogue()
    own = {one.name for one in declared.providers}
    added = [one for one in embedded.providers if one.name not in own and _has_secrets(one, environment)]
    there = own | {one.name for one in added}
    return attrs.evolve(
        declared,
        providers=(*declared.providers, *added),
        aliases=tuple(_answered(alias, there) for alias in embedded.aliases),
    )


def embedded_catalogue() -> Declaration:
    """Return the embedded catalogue, as its file says it."""
    text = (files("dragoman.settings") / _NAME).read_text(encoding="utf-8")
    nothing = Known(dialects={}, operations={}, forwarding=())
    return read_catalogue(tomllib.loads(text, parse_float=Decimal), Place(_NAME), nothing)


def _has_secrets(provider: Provider, environment: Mapping[str, str]) -> bool:
    """Whether the secrets of *provider* are there."""
    try:
        for _, reference in references_of(provider):
            read_secret(reference, environment)
    except SettingsError:
        return False
    return True


def _answered(alias: DeclaredAlias, there: set[str]) -> DeclaredAlias:
    """Return *alias* with `echo` in place of each provider that is not *there*."""
    targets = [one if one.provider in there else Target(provider=_ECHO) for one in alias.targets]
    return attrs.evolve(alias, targets=tuple(targets))
