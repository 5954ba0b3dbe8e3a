"""Phase and endpoint flags.

Laws of this file:
- `DRAGOMAN_[<MOUNT>_]PHASE[_<OPERATION>]=1|2` and `DRAGOMAN_[<MOUNT>_]ENDPOINT_<OPERATION>=on|off`; the more specific
  one wins, where naming the operation is more specific than naming the mount.
- Flags come in layers, the environment before the file; a layer that says anything wins over the next one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

import attrs

from dragoman.settings.errors import SettingsError
from dragoman.settings.known import Known

PREFIX: Final = "DRAGOMAN_"
PHASES: Final[Mapping[str, int]] = {"1": 1, "2": 2}
SWITCH: Final[Mapping[str, bool]] = {"on": True, "off": False}
IDENTITIES: Final[Mapping[str, str]] = {name: name for name in ("store", "service", "token", "password", "none")}
"""Who may know the keys of a mount (ADR-0024, ADR-0031)."""
FORWARDING: Final = 2
"""The phase in which an operation forwards."""

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Flags:
    """Reads the flags of *layers*, each of which maps names of variables to what they say."""

    layers: Sequence[Mapping[str, str]]
    known: Known

    def choices(self, prefix: str) -> dict[str, Mapping[str, object]]:
        """Return what each flag may be that can be set for the mount *prefix*, or for all mounts where it is `/`."""
        start = start_of(prefix)
        phases = [f"{start}PHASE_{upper(name)}" for name, forwards in self.known.operations.items() if forwards]
        endpoints = [f"{start}ENDPOINT_{upper(name)}" for name in self.known.operations]
        return {
            **dict.fromkeys([f"{start}PHASE", *phases], PHASES),
            **dict.fromkeys(endpoints, SWITCH),
            f"{start}IDENTITY": IDENTITIES,
        }

    def phases(self, prefix: str) -> dict[str, int]:
        """Return the phase of each operation that forwards, at the mount *prefix*."""
        return {name: self._phase(prefix, name) for name, forwards in self.known.operations.items() if forwards}

    def off(self, prefix: str, default_off: frozenset[str]) -> frozenset[str]:
        """Return the operations that are switched off at the mount *prefix*."""
        return frozenset(name for name in self.known.operations if not self._is_on(prefix, name, default_off))

    def _phase(self, prefix: str, operation: str) -> int:
        for layer in self.layers:
            for name in _spellings(prefix, f"PHASE_{upper(operation)}"):
                if name in layer:
                    return own_phase(name, layer[name], operation, self.known)
            for name in _spellings(prefix, "PHASE"):
                if name in layer:
                    phase = common_phase(name, layer[name], self.known)
                    return phase if operation in self.known.forwarding else 1
        return 1

    def _is_on(self, prefix: str, operation: str, default_off: frozenset[str]) -> bool:
        for layer in self.layers:
            for name in _spellings(prefix, f"ENDPOINT_{upper(operation)}"):
                if name in layer:
                    return choice(name, layer[name], SWITCH)
        return operation not in default_off


def own_phase(name: str, stated: str, operation: str, known: Known) -> int:
    """Return the phase that is *stated* under *name* for one *operation*, which must be able to forward in Phase 2."""
    phase = choice(name, stated, PHASES)
    if phase == FORWARDING and operation not in known.forwarding:
        message = f"{name}=2: {operation!r} cannot forward; leave it at 1"
        raise SettingsError(message)
    return phase


def common_phase(name: str, stated: str, known: Known) -> int:
    """Return the phase that is *stated* under *name* for all operations, one of which must be able to forward."""
    phase = choice(name, stated, PHASES)
    if phase == FORWARDING and not known.forwarding:
        message = f"{name}=2: no operation can forward; leave it at 1"
        raise SettingsError(message)
    return phase


def choice(name: str, value: str, choices: Mapping[str, T]) -> T:
    """Return what *value*, said under *name*, stands for."""
    if value not in choices:
        message = f"{name}: {value!r} is not accepted; it must be {' or '.join(choices)}"
        raise SettingsError(message)
    return choices[value]


def _spellings(prefix: str, flag: str) -> Iterator[str]:
    """Yield the names of *flag*, the more specific one first."""
    yield f"{own_start(prefix)}{flag}"
    yield f"{PREFIX}{flag}"


def start_of(prefix: str) -> str:
    """Return the beginning of the flags of a mount: `DRAGOMAN_API_` for `/api`."""
    mount = mount_name(prefix)
    return f"{PREFIX}{mount}_" if mount else PREFIX


def own_start(prefix: str) -> str:
    """Return the beginning of the flags that a table of the file states for one mount.

    Variables cannot name the root mount alone; a table can, and what it says must not be taken as said for all.
    """
    return f"{PREFIX}{mount_name(prefix) or '/'}_"


def mount_name(prefix: str) -> str:
    """Return the name of a mount in variables: `API` for `/api`, empty for the root."""
    return upper(prefix.strip("/").replace("/", "_"))


def upper(name: str) -> str:
    """Return *name* as it stands in a variable."""
    return name.upper().replace("-", "_")
