"""The settings file, `dragoman.toml`.

Laws of this file:
- What a variable can say, the file says as the same name: it becomes a layer of flags under the environment.
- A key that is not known is refused by its dotted path, with the nearest one (ADR-0025.R1).
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from dragoman.settings.address import mount_prefix, port_number
from dragoman.settings.errors import SettingsError, require_known
from dragoman.settings.flags import IDENTITIES, PREFIX, SWITCH, choice, common_phase, own_phase, own_start, upper
from dragoman.settings.identity import ADDRESS, FILES, PLAINTEXT, address_in, content_of
from dragoman.settings.known import Known
from dragoman.settings.running import DIVERGENT, LIMITS, NUMBERS, limit_in, limit_variable, number_in
from dragoman.settings.store import STORE, store_in

CATEGORIES: Final = ("llm", "embedding")
_KINDS: Final = {str: "a text", int: "a whole number", dict: "a table", list: "a list"}
_TOP: Final = (
    "host",
    "port",
    "store",
    "phase",
    "phases",
    "endpoints",
    "mounts",
    "alias",
    "limits",
    "identity_service",
    DIVERGENT,
    *NUMBERS,
)
_MOUNT: Final = ("prefix", "dialect", "identity", "secret", "phase", "phases", "endpoints")
_ALIAS: Final = ("id", "display_name", "description", "category", "visible_to")


@attrs.frozen(kw_only=True)
class AliasSettings:
    """A model that organisations may use. *visible_to* holds their ids; None means all."""

    id: str
    display_name: str
    description: str
    category: str
    visible_to: frozenset[str] | None


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
    """What a settings file says: *flags* by the names of the variables, *mounts* by prefix, *aliases* in order."""

    flags: Mapping[str, str]
    mounts: Mapping[str, MountTable]
    aliases: tuple[AliasSettings, ...]


EMPTY: Final = File(flags={}, mounts={}, aliases=())


def read_file(path: Path, known: Known) -> File:
    """Return what the file at *path* says.

    Raises:
        SettingsError: naming the file and the dotted path, and what can stand there.
    """
    return _Reader(path=path, known=known).file(_read(path))


def read_store_key(path: Path) -> str | None:
    """Return where the file at *path* says that the store is, None where it does not; the rest is not judged.

    Raises:
        SettingsError: naming the file and the dotted path.
    """
    nobody = Known(dialects={}, operations={}, forwarding=())
    return dict(_Reader(path=path, known=nobody).store(_read(path))).get(STORE)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"{path}: cannot be read: {error}"
        raise SettingsError(message) from error


@attrs.frozen(kw_only=True)
class _Reader:
    """Reads one file, naming it in errors."""

    path: Path
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
        return File(flags=flags, mounts=mounts, aliases=tuple(self._aliases(document)))

    def store(self, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield where the store is, as its variable; the names of all settings at the top are judged here."""
        self._keys(document, _TOP, "")
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
        for dotted, value in _leaves(table, ""):
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
            own_phase(f"{at}phases.{name}", str(stated), name, self.known)
            yield f"{start}PHASE_{upper(name)}", str(stated)
        for name, state in self._typed(table, "endpoints", dict, where, {}).items():
            require_known(name, self.known.operations, f"{at}endpoints.{name}: unknown operation")
            choice(f"{at}endpoints.{name}", str(state), SWITCH)
            yield f"{start}ENDPOINT_{upper(name)}", str(state)

    def _secret(self, table: Mapping[str, Any], where: str) -> str | None:
        """Return the reference to a secret; what stands in its place may be one, so it is not shown (ADR-0024.R3)."""
        reference = table.get("secret")
        if reference is None or isinstance(reference, str):
            return reference
        message = f"{self.path}: {where}secret: it must be {_KINDS[str]}"
        raise SettingsError(message)

    def _aliases(self, document: Mapping[str, Any]) -> Iterator[AliasSettings]:
        seen: set[str] = set()
        for index, entry in enumerate(self._typed(document, "alias", list, "", [])):
            where = f"alias[{index}]"
            if not isinstance(entry, Mapping):
                raise self._refusal(where, entry, _KINDS[dict])
            alias = self._alias(entry, f"{where}.")
            if alias.id in seen:
                message = f"{self.path}: {where}.id: {alias.id!r} is there twice"
                raise SettingsError(message)
            seen.add(alias.id)
            yield alias

    def _alias(self, entry: Mapping[str, Any], where: str) -> AliasSettings:
        self._keys(entry, _ALIAS, where)
        name = self._typed(entry, "id", str, where)
        category = self._typed(entry, "category", str, where, CATEGORIES[0])
        require_known(category, CATEGORIES, f"{self.path}: {where}category: unknown category")
        visible = self._typed(entry, "visible_to", list, where, None)
        return AliasSettings(
            id=name,
            display_name=self._typed(entry, "display_name", str, where, name),
            description=self._typed(entry, "description", str, where, ""),
            category=category,
            visible_to=None if visible is None else frozenset(self._organizations(visible, f"{where}visible_to")),
        )

    def _organizations(self, visible: Sequence[object], where: str) -> Iterator[str]:
        """Yield the ids in *visible* in lower case, as those of callers are."""
        for one in visible:
            if not isinstance(one, str):
                raise self._refusal(where, one, "a list of texts")
            yield one.lower()

    def _keys(self, table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        for key in table:
            require_known(key, known, f"{self.path}: {where}{key}: unknown setting")

    def _typed(self, table: Mapping[str, Any], key: str, kind: type, where: str, *default: Any) -> Any:  # noqa: ANN401
        """Return the member *key*, which must be of the *kind*; without a default it must be there."""
        if key not in table and default:
            return default[0]
        value = table.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._refusal(where + key, value, _KINDS[kind])
        return value

    def _refusal(self, dotted: str, value: object, wanted: str) -> SettingsError:
        return SettingsError(f"{self.path}: {dotted}: {value!r} is not accepted; it must be {wanted}")


def _leaves(table: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything below *table* that is no table."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value
