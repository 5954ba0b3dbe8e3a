"""Secrets, which settings and the store refer to and never hold: `env:NAME`, `file:PATH` (ADR-0040.R5).

Laws of this file:
- What is said of a secret names where it should be, and never what stands there.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dragoman.declaration import is_reference
from dragoman.model import Provider
from dragoman.settings.errors import SettingsError
from dragoman.settings.file import File


def read_secret(reference: str, environment: Mapping[str, str]) -> str:
    """Return what *reference* refers to: a variable of *environment* that is not empty, or a file without its ends.

    Raises:
        SettingsError: there is none; it names the variable or the file.
    """
    kind, _, name = reference.partition(":")
    if not is_reference(reference):
        message = "a secret is given as env:NAME or file:PATH"
        raise SettingsError(message)
    if kind == "env":
        if environment.get(name):
            return environment[name]
        message = f"the variable {name} is not set"
        raise SettingsError(message)
    try:
        text = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"cannot read {name}: {reason}"
        raise SettingsError(message) from None  # the cause may quote the secret
    if text:
        return text
    message = f"the file {name} is empty"
    raise SettingsError(message)


def missing_secrets(file: File, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield which secrets that *file* refers to are not there, and whose they are."""
    for mount in file.mounts.values():
        if mount.secret is not None:
            yield from _missing(f"mount {mount.prefix}: secret", mount.secret, environment)
    for provider in file.catalogue.providers:
        for member, reference in references_of(provider):
            yield from _missing(f"provider {provider.name!r}: {member}", reference, environment)


def _missing(whose: str, reference: str, environment: Mapping[str, str]) -> Iterator[str]:
    try:
        read_secret(reference, environment)
    except SettingsError as error:
        yield f"{whose}: {error}"


def references_of(provider: Provider) -> Iterator[tuple[str, str]]:
    """Yield the members of *provider* that refer to secrets, with their references."""
    if provider.key is not None:
        yield "key", provider.key
    for name, value in provider.headers.items():
        if is_reference(value):
            yield f"headers.{name}", value
