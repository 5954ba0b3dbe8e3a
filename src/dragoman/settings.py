"""Environment -> frozen settings.

Laws of this file:
- This is the only reader of the environment (ADR-0017.R2).
- Every `DRAGOMAN_*` variable is checked; what is not known is refused with the nearest valid name (ADR-0018.R1).
- Flags: `DRAGOMAN_[<MOUNT>_]PHASE[_<OPERATION>]=1|2` and `DRAGOMAN_[<MOUNT>_]ENDPOINT_<OPERATION>=on|off`; the more
  specific one wins, where naming the operation is more specific than naming the mount.
"""

import os
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final, TypeVar

import attrs

PREFIX: Final = "DRAGOMAN_"
DEVELOPMENT: Final = ("DRAGOMAN_DEV_TOKEN", "DRAGOMAN_DEV_AGENT_ID", "DRAGOMAN_DEV_ORG_ID")
"""What `dragoman demo` exports for the canonical contract; `dragoman serve` seeds one key from them."""

T = TypeVar("T")


class SettingsError(Exception):
    """A setting cannot be used; the message names it and says what can."""


@attrs.frozen(kw_only=True)
class MountSettings:
    """A mount: *prefix* (`/` for the root), *dialect*, *phases* by operation, and the operations that are *off*."""

    prefix: str
    dialect: str
    phases: Mapping[str, int]
    off: frozenset[str]


@attrs.frozen(kw_only=True)
class Development:
    """One key of one organisation, with one agent, for development."""

    token: str
    organization: str
    agent: str


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be set."""

    host: str
    port: int
    mounts: tuple[MountSettings, ...]
    development: Development | None


@attrs.frozen(kw_only=True)
class Known:
    """What settings may name: the *dialects*, and for each operation whether it forwards; *forwarding* ones can now."""

    dialects: Collection[str]
    operations: Mapping[str, bool]
    forwarding: Collection[str]


def process_environment() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ  # noqa: TID251 - the one place where it is read


def read_settings(environment: Mapping[str, str], known: Known, *, mounts: str = "/=dragoman") -> Settings:
    """Return the settings in *environment*; *mounts* is the default of `DRAGOMAN_MOUNTS`.

    Raises:
        SettingsError: naming the variable and what it may be.
    """
    stated = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    prefixes = _read_mounts(stated.get("DRAGOMAN_MOUNTS", mounts), known.dialects)
    flags = _Flags(stated=stated, known=known)
    choices = flags.choices("")
    for prefix in prefixes:
        choices |= flags.choices(prefix)
    valid = {"DRAGOMAN_HOST", "DRAGOMAN_PORT", "DRAGOMAN_MOUNTS", *DEVELOPMENT, *choices}
    for name, value in stated.items():
        if name not in valid:
            near = get_close_matches(name, valid, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else "; `dragoman serve --help` lists the variables"
            message = f"unknown variable {name}{hint}"
            raise SettingsError(message)
        if name in choices:  # also where a more specific flag wins: a bad value is never ignored
            _choice(name, value, choices[name])
    return Settings(
        host=stated.get("DRAGOMAN_HOST", "127.0.0.1"),
        port=_read_port(stated.get("DRAGOMAN_PORT", "8080")),
        mounts=tuple(
            MountSettings(prefix=prefix, dialect=dialect, phases=flags.phases(prefix), off=flags.off(prefix))
            for prefix, dialect in prefixes.items()
        ),
        development=_read_development(stated),
    )


def _read_mounts(text: str, dialects: Collection[str]) -> dict[str, str]:
    """Return prefix -> dialect of `/=dragoman,/api=other`."""
    mounts: dict[str, str] = {}
    for entry in text.split(","):
        prefix, _, dialect = entry.strip().partition("=")
        if not re.fullmatch(r"/|(/[A-Za-z0-9_-]+)+", prefix):
            message = (
                f"DRAGOMAN_MOUNTS: {entry.strip()!r} is no mount; write /prefix=dialect, or /=dialect for the root"
            )
            raise SettingsError(message)
        if prefix in mounts:
            message = f"DRAGOMAN_MOUNTS: {prefix!r} is mounted twice"
            raise SettingsError(message)
        mounts[prefix] = _one_of(dialect, dialects, "DRAGOMAN_MOUNTS: unknown dialect")
    return mounts


def _one_of(value: str, accepted: Collection[str], complaint: str) -> str:
    if value in accepted:
        return value
    near = get_close_matches(value, accepted, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(accepted)}"
    message = f"{complaint} {value!r}; {hint}"
    raise SettingsError(message)


def _read_port(text: str) -> int:
    # 65535 is the largest port (RFC 9293, section 3.1); 0 takes a free one.
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:  # noqa: PLR2004
        message = f"DRAGOMAN_PORT: {text!r} is no port; give a number from 0 to 65535"
        raise SettingsError(message)
    return int(text)


def _read_development(stated: Mapping[str, str]) -> Development | None:
    given = [name for name in DEVELOPMENT if name in stated]
    if not given:
        return None
    if missing := [name for name in DEVELOPMENT if name not in stated]:
        message = f"{missing[0]} is missing beside {given[0]}; `dragoman demo` prints all of them"
        raise SettingsError(message)
    token, agent, organization = (stated[name] for name in DEVELOPMENT)
    return Development(token=token, agent=agent.lower(), organization=organization.lower())


@attrs.frozen(kw_only=True)
class _Flags:
    """Reads the phase and endpoint flags."""

    stated: Mapping[str, str]
    known: Known

    def choices(self, prefix: str) -> dict[str, Mapping[str, object]]:
        """Return what each flag may be that can be set for the mount *prefix*, or for all where it is empty."""
        start = _start(prefix)
        phases = [f"{start}PHASE_{_upper(name)}" for name, forwards in self.known.operations.items() if forwards]
        endpoints = [f"{start}ENDPOINT_{_upper(name)}" for name in self.known.operations]
        return {**dict.fromkeys([f"{start}PHASE", *phases], _PHASES), **dict.fromkeys(endpoints, _SWITCH)}

    def phases(self, prefix: str) -> dict[str, int]:
        """Return the phase of each operation that forwards, at the mount *prefix*."""
        return {name: self._phase(prefix, name) for name, forwards in self.known.operations.items() if forwards}

    def off(self, prefix: str) -> frozenset[str]:
        """Return the operations that are switched off at the mount *prefix*."""
        return frozenset(name for name in self.known.operations if not self._is_on(prefix, name))

    def _phase(self, prefix: str, operation: str) -> int:
        for start in dict.fromkeys((_start(prefix), PREFIX)):
            name = f"{start}PHASE_{_upper(operation)}"
            if name in self.stated:
                phase = _choice(name, self.stated[name], _PHASES)
                if phase == 2 and operation not in self.known.forwarding:  # noqa: PLR2004
                    message = f"{name}=2: {operation!r} cannot forward; leave it at 1"
                    raise SettingsError(message)
                return phase
        for start in dict.fromkeys((_start(prefix), PREFIX)):
            name = f"{start}PHASE"
            if name in self.stated:
                phase = _choice(name, self.stated[name], _PHASES)
                if phase == 2 and not self.known.forwarding:  # noqa: PLR2004
                    message = f"{name}=2: no operation can forward; leave it at 1"
                    raise SettingsError(message)
                return phase if operation in self.known.forwarding else 1
        return 1

    def _is_on(self, prefix: str, operation: str) -> bool:
        for start in dict.fromkeys((_start(prefix), PREFIX)):
            name = f"{start}ENDPOINT_{_upper(operation)}"
            if name in self.stated:
                return _choice(name, self.stated[name], _SWITCH)
        return True


_PHASES: Final[Mapping[str, int]] = {"1": 1, "2": 2}
_SWITCH: Final[Mapping[str, bool]] = {"on": True, "off": False}


def _choice(name: str, value: str, choices: Mapping[str, T]) -> T:
    if value not in choices:
        message = f"{name}: {value!r} is not accepted; it must be {' or '.join(choices)}"
        raise SettingsError(message)
    return choices[value]


def _start(prefix: str) -> str:
    """Return the beginning of the flags of a mount: `DRAGOMAN_API_` for `/api`."""
    mount = _upper(prefix.strip("/").replace("/", "_"))
    return f"{PREFIX}{mount}_" if mount else PREFIX


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")
