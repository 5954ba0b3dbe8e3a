"""The settings file, `dragoman.toml`.

Laws of this file:
- What a variable can say, the file says as the same name: it becomes a layer of flags under the environment.
- A key that is not known is refused by its dotted path, with the nearest one (ADR-0025.R1).
- What is read here has its JSON Schema in `dragoman.settings.schema`, which accepts and refuses the same (ADR-0040.R8).
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs

from dragoman.declaration import Declaration
from dragoman.settings.address import mount_prefix, port_number
from dragoman.settings.catalogue import PARTS, REFERENCE_TEXT, read_catalogue
from dragoman.settings.errors import SettingsError, require_known
from dragoman.settings.flags import IDENTITIES, PREFIX, SWITCH, choice, common_phase, own_phase, own_start, upper
from dragoman.settings.identity import ADDRESS, FILES, PLAINTEXT, address_in, content_of
from dragoman.settings.kinds import A_LIST, A_NUMBER, A_TABLE, A_TEXT, Place
from dragoman.settings.known import Known
from dragoman.settings.running import (
    ACCESS_LOG,
    DIVERGENT,
    LIMITS,
    NUMBERS,
    access_log_in,
    limit_in,
    limit_variable,
    number_in,
)
from dragoman.settings.store import STORE, store_in

_KINDS: Final = {str: A_TEXT, int: A_NUMBER, dict: A_TABLE, list: A_LIST}
TOP: Final = (
    "host",
    "port",
    "store",
    "phase",
    "phases",
    "endpoints",
    "mounts",
    *PARTS,
    "limits",
    "identity_service",
    DIVERGENT,
    ACCESS_LOG,
    *NUMBERS,
)
_MOUNT: Final = ("prefix", "dialect", "identity", "secret", "phase", "phases", "endpoints")


@attrs.frozen(kw_only=True)
class MountTable:
    """A `[mounts.<name>]`: the *switched* operations are those that the dialect's own switches turn on or off."""

    prefix: str
    dialect: str
    identity: str | None
    secret: str | None
    switched: Mapping[str, bool]


@attrs.frozen(kw_only=True)
class File:
    """What a settings file says: *flags* by the names of the variables, *mounts* by prefix, and the *catalogue*."""

    flags: Mapping[str, str]
    mounts: Mapping[str, MountTable]
    catalogue: Declaration


EMPTY: Final = File(flags={}, mounts={}, catalogue=Declaration())


def read_file(path: Path, known: Known) -> File:
    """Return what the file at *path* says.

    Raises:
        SettingsError: naming the file and the dotted path, and what can stand there.
    """
    return read_document(_read(path), str(path), known)


def read_document(document: Mapping[str, Any], name: str, known: Known) -> File:
    """Return what *document* says, which stands in the file that is called *name*; its numbers are exact.

    Raises:
        SettingsError: as `read_file`.
    """
    return _Reader(path=name, known=known).file(document)


def read_store_key(path: Path) -> str | None:
    """Return where the file at *path* says that the store is, None where it does not; the rest is not judged.

    Raises:
        SettingsError: naming the file and the dotted path.
    """
    nobody = Known(dialects={}, operations={}, forwarding=())
    return dict(_Reader(path=str(path), known=nobody).store(_read(path))).get(STORE)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"{path}: cannot be read: {error}"
        raise SettingsError(message) from error


@attrs.frozen(kw_only=True)
class _Reader:
    """Reads one file, naming it in errors."""

    path: str
    known: Known

    def file(self, document: Mapping[str, Any]) -> File:
        told = [*self.store(document), *self._address(document), *self._running(document), *self._service(document)]
        flags = dict([*told, *self._flags(document, PREFIX, "")])
        mounts: dict[str, MountTable] = {}
        tables = self._typed(document, "mounts", dict, "", {})
        for name in tables:
            table, where = self._typed(tables, name, dict, "mounts."), f"mounts.{name}."
            mount = self._mount(name, table, where)
            if mount.prefix in mounts:
                message = f"{self.path}: {where}prefix: {mount.prefix!r} is mounted twice"
                raise SettingsError(message)
            mounts[mount.prefix] = mount
            flags |= self._flags(table, own_start(mount.prefix), where)
        return File(flags=flags, mounts=mounts, catalogue=read_catalogue(document, Place(self.path), self.known))

    def store(self, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield where the store is, as its variable; the names of all settings at the top are judged here."""
        self._keys(document, TOP, "")
        if "store" in document:
            text = document["store"]
            if not isinstance(text, str):  # it is not shown, as that of a secret is not
                message = f"{self.path}: store: it must be {_KINDS[str]}"
                raise SettingsError(message)
            store_in(text, f"{self.path}: store", {"HOME": "/"})
            yield STORE, text

    def _address(self, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "host" in document:
            yield "DRAGOMAN_HOST", self._typed(document, "host", str, "")
        if "port" in document:
            port = str(self._typed(document, "port", int, ""))
            port_number(port, f"{self.path}: port")
            yield "DRAGOMAN_PORT", port

    def _running(self, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield how a process runs as variables; each value is judged here, by its path."""
        for name in NUMBERS:
            if name in document:
                text = str(self._typed(document, name, int, ""))
                number_in(name)(text, f"{self.path}: {name}")
                yield f"{PREFIX}{upper(name)}", text
        if DIVERGENT in document:
            stated = document[DIVERGENT]
            if not isinstance(stated, bool):
                raise self._refusal(DIVERGENT, stated, "true or false")
            yield f"{PREFIX}{upper(DIVERGENT)}", "on" if stated else "off"
        if ACCESS_LOG in document:
            yield (
                f"{PREFIX}{upper(ACCESS_LOG)}",
                access_log_in(self._typed(document, ACCESS_LOG, str, ""), f"{self.path}: {ACCESS_LOG}"),
            )
        limits = self._typed(document, "limits", dict, "", {})
        self._keys(limits, tuple(LIMITS), "limits.")
        for name in limits:
            text = self._typed(limits, name, str, "limits.")
            limit_in(text, f"{self.path}: limits.{name}")
            yield limit_variable(name), text

    def _service(self, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield which service knows who is calling as variables; each value is judged here, by its path."""
        where = "identity_service."
        table = self._typed(document, "identity_service", dict, "", {})
        self._keys(table, ("address", "plaintext", *FILES), where)
        if "address" in table:
            yield ADDRESS, address_in(self._typed(table, "address", str, where), f"{self.path}: {where}address")
        for name, variable in FILES.items():
            if name in table:
                path = self._typed(table, name, str, where)
                content_of(path, f"{self.path}: {where}{name}")
                yield variable, path
        if "plaintext" in table:
            stated = table["plaintext"]
            if not isinstance(stated, bool):
                raise self._refusal(where + "plaintext", stated, "true or false")
            yield PLAINTEXT, "on" if stated else "off"

    def _mount(self, name: str, table: Mapping[str, Any], where: str) -> MountTable:
        dialect = self._typed(table, "dialect", str, where, name)
        require_known(dialect, self.known.dialects, f"{self.path}: {where}dialect: unknown dialect")
        switches = self.known.dialects[dialect].switches
        own = {switch.split(".")[0] for switch in switches}
        self._keys(table, (*_MOUNT, *own), where)
        identity = self._typed(table, "identity", str, where, None)
        if identity is not None:
            require_known(identity, IDENTITIES, f"{self.path}: {where}identity: unknown identity")
        return MountTable(
            prefix=self._prefix(table, name, where),
            dialect=dialect,
            identity=identity,
            secret=self._secret(table, where),
            switched=dict(self._switched({key: table[key] for key in own if key in table}, switches, where)),
        )

    def _prefix(self, table: Mapping[str, Any], name: str, where: str) -> str:
        prefix: str = self._typed(table, "prefix", str, where, f"/{name}")
        return mount_prefix(prefix, f"{self.path}: {where}prefix: {prefix!r}")

    def _switched(
        self, table: Mapping[str, Any], switches: Mapping[str, str], where: str
    ) -> Iterator[tuple[str, bool]]:
        """Yield operation and state of every switch in *table*, which may hold nothing but switches."""
        for dotted, value in _leaves(table, "", switches):
            require_known(dotted, switches, f"{self.path}: {where}{dotted}: unknown setting")
            if not isinstance(value, bool):
                raise self._refusal(where + dotted, value, "true or false")
            yield switches[dotted], value

    def _flags(self, table: Mapping[str, Any], start: str, where: str) -> Iterator[tuple[str, str]]:
        """Yield what *table* says as variables that begin with *start*; each value is judged here, by its path."""
        at = f"{self.path}: {where}"
        if "phase" in table:
            phase = str(self._typed(table, "phase", int, where))
            common_phase(f"{at}phase", phase, self.known)
            yield f"{start}PHASE", phase
        phased = [name for name, forwards in self.known.operations.items() if forwards]
        for name, stated in self._typed(table, "phases", dict, where, {}).items():
            require_known(name, phased, f"{at}phases.{name}: unknown operation")
            if not isinstance(stated, int):
                raise Place(self.path, f"{where}phases.{name}").refusal(stated, "1 or 2")
            own_phase(f"{at}phases.{name}", str(stated), name, self.known)
            yield f"{start}PHASE_{upper(name)}", str(stated)
        for name, state in self._typed(table, "endpoints", dict, where, {}).items():
            require_known(name, self.known.operations, f"{at}endpoints.{name}: unknown operation")
            choice(f"{at}endpoints.{name}", str(state), SWITCH)
            yield f"{start}ENDPOINT_{upper(name)}", str(state)

    def _secret(self, table: Mapping[str, Any], where: str) -> str | None:
        """Return the reference to a secret; what stands in its place may be one, so it is not shown (ADR-0024.R3)."""
        if "secret" not in table:
            return None
        reference: str = REFERENCE_TEXT.read(table["secret"], Place(self.path, f"{where}secret"))
        return reference

    def _keys(self, table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        for key in table:
            require_known(key, known, f"{self.path}: {where}{key}: unknown setting")

    def _typed(self, table: Mapping[str, Any], key: str, kind: type, where: str, *default: Any) -> Any:  # noqa: ANN401
        """Return the member *key*, which must be of the *kind*; without a default it must be there."""
        if key not in table and default:
            return default[0]
        value = table.get(key)
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
        place = Place(self.path, where + key)
        raise (
            place.refusal_of_content(value, _KINDS[kind])
            if kind in (dict, list)
            else place.refusal(value, _KINDS[kind])
        )

    def _refusal(self, dotted: str, value: object, wanted: str) -> SettingsError:
        return Place(self.path, dotted).refusal(value, wanted)


def _leaves(table: Mapping[str, Any], at: str, switches: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything below *table* that is one of *switches*, or is no table."""
    for key, value in table.items():
        if isinstance(value, Mapping) and f"{at}{key}" not in switches:
            yield from _leaves(value, f"{at}{key}.", switches)
        else:
            yield f"{at}{key}", value
