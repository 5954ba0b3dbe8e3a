"""Environment and file -> frozen settings.

Laws of this room:
- It is the only reader of the environment (ADR-0017.R2).
- Every `DRAGOMAN_*` variable is checked; what is not known is refused with the nearest valid name (ADR-0018.R1).
- A variable wins over the file (ADR-0025.R2).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from dragoman.declaration import Declaration
from dragoman.settings.address import mount_prefix, port_number
from dragoman.settings.embedded import with_embedded
from dragoman.settings.errors import SettingsError, nearest, require_known
from dragoman.settings.file import EMPTY, File, MountTable, read_file, read_store_key
from dragoman.settings.flags import PREFIX, Flags, choice, mount_name, start_of, upper
from dragoman.settings.identity import (
    IDENTITY_VARIABLES,
    Certificates,
    IdentityService,
    is_loopback,
    read_certificates,
    read_identity_service,
)
from dragoman.settings.known import Dialect, Known
from dragoman.settings.running import RUNNING_VARIABLES, Running, read_running
from dragoman.settings.schema import settings_schema
from dragoman.settings.secret import missing_secrets, read_secret
from dragoman.settings.store import CONFIG, STORE, default_store, require_spelt, store_in

__all__ = [
    "IDENTITY_VARIABLES",
    "Certificates",
    "Development",
    "Dialect",
    "IdentityService",
    "Known",
    "MountSettings",
    "Running",
    "Settings",
    "SettingsError",
    "identity_variable",
    "is_loopback",
    "missing_secrets",
    "mount_prefix",
    "process_environment",
    "read_certificates",
    "read_file",
    "read_secret",
    "read_settings",
    "read_store_path",
    "require_known",
    "settings_schema",
    "upper",
]

DEVELOPMENT: Final = ("DRAGOMAN_DEV_TOKEN", "DRAGOMAN_DEV_AGENT_ID", "DRAGOMAN_DEV_ORG_ID")
"""What `dragoman demo` exports for the canonical contract; `dragoman serve` seeds one key from them."""

_FIXED: Final = ("DRAGOMAN_HOST", "DRAGOMAN_PORT", "DRAGOMAN_MOUNTS", CONFIG, STORE, *DEVELOPMENT)


@attrs.frozen(kw_only=True)
class MountSettings:
    """A mount: *prefix* (`/` for the root), *dialect*, *phases* by operation, and the operations that are *off*.

    *identity* is `store`, `service`, `token`, `password`, `none`, or None where nobody said which; *secret* is what
    `token` and `password` compare with.
    """

    prefix: str
    dialect: str
    phases: Mapping[str, int]
    off: frozenset[str]
    identity: str | None
    secret: str | None = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Development:
    """One key of one organisation, with its agents (name -> id), for development."""

    token: str = attrs.field(repr=False)
    organization: str
    agents: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set. *store* is None where nothing is to outlive the process.

    The *catalogue* is that of a gateway whose store never had an alias: the file's, and, where that names no alias, the
    embedded one with it; *names_aliases* is whether it does.
    """

    host: str
    port: int
    mounts: tuple[MountSettings, ...]
    catalogue: Declaration
    names_aliases: bool = False
    running: Running
    development: Development | None
    store: Path | None = None
    identity_service: IdentityService | None = None


def process_environment() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ  # noqa: TID251 - the one place where it is read


def read_settings(
    environment: Mapping[str, str], known: Known, *, mounts: str = "/=dragoman", config: Path | None = None
) -> Settings:
    """Return the settings; *mounts* is the default of `DRAGOMAN_MOUNTS`, *config* wins over `DRAGOMAN_CONFIG`.

    Raises:
        SettingsError: naming the variable or the dotted path in the file, and what it may be.
    """
    stated = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    path = config or (Path(stated[CONFIG]) if CONFIG in stated else None)
    file = EMPTY if path is None else read_file(path, known)
    tables = _tables(stated, file, known, mounts)
    flags = Flags(layers=(stated, file.flags), known=known)
    _require_valid(stated, flags, tables)
    both = {**file.flags, **stated}
    if both.get("DRAGOMAN_HOST") == "":
        message = "DRAGOMAN_HOST must not be empty; use 127.0.0.1, or 0.0.0.0 for every interface"
        raise SettingsError(message)
    return Settings(
        host=both.get("DRAGOMAN_HOST", "127.0.0.1"),
        port=port_number(both.get("DRAGOMAN_PORT", "8080"), "DRAGOMAN_PORT"),
        mounts=tuple(_mount(table, flags, environment) for table in tables.values()),
        catalogue=with_embedded(file.catalogue, environment),
        names_aliases=bool(file.catalogue.aliases),
        running=read_running(both),
        development=_read_development(stated),
        store=store_in(both[STORE], STORE, environment) if STORE in both else default_store(environment),
        identity_service=read_identity_service(both),
    )


def read_store_path(environment: Mapping[str, str], *, said: str | None = None, config: Path | None = None) -> Path:
    """Return where the store is: what `--store` *said*, the variable, the file, or the user's own place for such files.

    Of the other settings nothing is read, for who changes the store need not be able to serve.

    Raises:
        SettingsError: naming what of them is no path, or is misspelt.
    """
    if said is not None:
        return store_in(said, "--store", environment)
    require_spelt(environment)
    if STORE in environment:
        return store_in(environment[STORE], STORE, environment)
    path = config or (Path(environment[CONFIG]) if CONFIG in environment else None)
    stated = None if path is None else read_store_key(path)
    return default_store(environment) if stated is None else store_in(stated, f"{path}: store", environment)


def _tables(stated: Mapping[str, str], file: File, known: Known, default: str) -> dict[str, MountTable]:
    """Return the mounts: those of the variable, else those of the file, else the default ones."""
    if "DRAGOMAN_MOUNTS" not in stated and file.mounts:
        return dict(file.mounts)
    tables: dict[str, MountTable] = {}
    for entry in stated.get("DRAGOMAN_MOUNTS", default).split(","):
        prefix, _, dialect = entry.strip().partition("=")
        mount_prefix(prefix, f"DRAGOMAN_MOUNTS: {entry.strip()!r}")
        if prefix in tables:
            message = f"DRAGOMAN_MOUNTS: {prefix!r} is mounted twice"
            raise SettingsError(message)
        require_known(dialect, known.dialects, "DRAGOMAN_MOUNTS: unknown dialect")
        bare = MountTable(prefix=prefix, dialect=dialect, identity=None, secret=None, switched={})
        told = file.mounts.get(prefix)
        tables[prefix] = bare if told is None or told.dialect != dialect else told
    return tables


def _require_valid(stated: Mapping[str, str], flags: Flags, tables: Mapping[str, MountTable]) -> None:
    """Refuse a variable that does not exist, and one with a bad value; the file has been judged when it was read."""
    choices = flags.choices("/")
    for prefix in tables:
        choices |= flags.choices(prefix)
    fixed = {*_FIXED, *RUNNING_VARIABLES, *IDENTITY_VARIABLES}
    for name, value in stated.items():
        if name not in {*fixed, *choices}:
            hint = nearest(name, {*fixed, *choices}) or "`dragoman serve --help` lists the variables"
            message = f"unknown variable {name}; {hint}"
            raise SettingsError(message)
        if name in choices:  # also where a more specific flag wins: a bad value is never ignored
            choice(name, value, choices[name])


def _mount(table: MountTable, flags: Flags, environment: Mapping[str, str]) -> MountSettings:
    turned_off = {operation for operation, on in table.switched.items() if not on}
    turned_on = {operation for operation, on in table.switched.items() if on}
    default_off = (flags.known.dialects[table.dialect].off | turned_off) - turned_on
    identity, secret = _identity(table, flags, environment)
    return MountSettings(
        prefix=table.prefix,
        dialect=table.dialect,
        phases=flags.phases(table.prefix),
        off=flags.off(table.prefix, default_off),
        identity=identity,
        secret=secret,
    )


def identity_variable(prefix: str) -> str:
    """Return the variable that says which identity the mount *prefix* has; that of the root is for all mounts."""
    return f"{start_of(prefix)}IDENTITY"


def _identity(table: MountTable, flags: Flags, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the identity of a mount and its secret; a secret in its variable says which identity it is for.

    What is said for all mounts is for those that ask for a credential, and have no secret in a variable of their own.
    """
    where = f"mount {table.prefix}"
    names = {kind: f"{mount_name(table.prefix)}_GATEWAY_{kind.upper()}" for kind in ("token", "password")}
    given = {kind: environment[name] for kind, name in names.items() if environment.get(name)}
    identity = environment.get(identity_variable(table.prefix)) if mount_name(table.prefix) else None
    if identity is None and flags.known.dialects[table.dialect].asks and not given:
        identity = environment.get(identity_variable("/"))
    identity = identity or table.identity
    if identity is None and len(given) > 1:
        message = f"{where}: {' and '.join(names.values())} are both set; say which counts with `identity`"
        raise SettingsError(message)
    identity = identity or next(iter(given), None)
    if identity not in names:
        if table.secret is not None:
            message = f"{where}: `secret` needs `identity` token or password"
            raise SettingsError(message)
        return identity, None
    secret = given.get(identity) or (None if table.secret is None else _secret(table.secret, environment, where))
    if secret is None:
        message = f"{where}: identity {identity!r} needs a secret: set {names[identity]}, or `secret` in the file"
        raise SettingsError(message)
    return identity, secret


def _secret(reference: str, environment: Mapping[str, str], where: str) -> str:
    """Return what *reference* refers to; a secret is never written in the settings themselves."""
    try:
        return read_secret(reference, environment)
    except SettingsError as error:
        message = f"{where}: secret: {error}"
        raise SettingsError(message) from None


def _read_development(stated: Mapping[str, str]) -> Development | None:
    given = [name for name in DEVELOPMENT if name in stated]
    if not given:
        return None
    if missing := [name for name in DEVELOPMENT if not stated.get(name)]:
        message = f"{missing[0]} is missing beside {given[0]}; `dragoman demo` prints all of them"
        raise SettingsError(message)
    token, agent, organization = (stated[name] for name in DEVELOPMENT)
    return Development(token=token, agents={"main": agent.lower()}, organization=organization.lower())
