"""The JSON Schema of the settings file (ADR-0040.R8): what an editor can say of it before the gateway does.

Laws of this file:
- It accepts and refuses what the reader does, but for what one part of a file says of another, and what is outside it:
  files, addresses, secrets.
- It is made for one contract: its dialects with their switches, its operations and what of them can forward.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dragoman.settings.catalogue import REFERENCE_TEXT, catalogue_schema
from dragoman.settings.flags import FORWARDING, IDENTITIES
from dragoman.settings.identity import ADDRESS_PATTERN, FILES
from dragoman.settings.kinds import RATE_PATTERN, Schema
from dragoman.settings.known import Dialect, Known
from dragoman.settings.running import ACCESS_LOG, ACCESS_LOGS, DIVERGENT, LIMITS, NUMBERS, OFF

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_TEXT: Final[Schema] = {"type": "string"}
_PREFIX: Final = "^(/|(/[A-Za-z0-9_-]+)+)$"


def settings_schema(known: Known) -> dict[str, Any]:
    """Return the schema of a settings file that may name what is *known*."""
    return {
        "$schema": _DIALECT,
        "title": "dragoman.toml",
        "description": "Settings of the LLM gateway dragoman.",
        **_closed(
            {
                "host": {**_TEXT, "description": "Address to listen on.", "default": "127.0.0.1"},
                "port": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 65535,
                    "description": "Port to listen on; 0 takes a free one.",
                    "default": 8080,
                },
                "store": _store(),
                "phase": {"enum": _phases(bool(known.forwarding)), "description": "The phase of all operations."},
                "phases": _phases_by_operation(known),
                "endpoints": _endpoints(known),
                "mounts": _mounts(known),
                "limits": _limits(),
                "identity_service": _identity_service(),
                DIVERGENT: {**_BOOLEAN, "description": "Whether several workers may count limits each for itself."},
                ACCESS_LOG: {"enum": list(ACCESS_LOGS), "description": "The lines for other programs.", "default": OFF},
                **_numbers(),
                **catalogue_schema(),
            }
        ),
        "$defs": _mount_definitions(known),
    }


def _closed(properties: Mapping[str, Schema], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any keyword
    """Return the schema of tables that have no other members than *properties*."""
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}


def _store() -> Schema:
    no_path = {"anyOf": [{"pattern": "://|\\u0000"}, {"const": ":memory:"}]}
    return {**_TEXT, "minLength": 1, "not": no_path, "description": "The file that is the store."}


def _phases(forwards: bool) -> list[int]:  # noqa: FBT001 - the one thing that decides
    return [1, FORWARDING] if forwards else [1]


def _phases_by_operation(known: Known) -> Schema:
    phased = (name for name, forwards in known.operations.items() if forwards)
    told = "The phase of single operations."
    return _closed({name: {"enum": _phases(name in known.forwarding)} for name in phased}, description=told)


def _endpoints(known: Known) -> Schema:
    told = "Operations that are switched on or off."
    return _closed({name: {"enum": ["on", "off"]} for name in known.operations}, description=told)


def _numbers() -> dict[str, Schema]:
    return {
        name: {"type": "integer", "minimum": one.least, "maximum": one.most, "default": one.default}
        for name, one in NUMBERS.items()
    }


def _limits() -> Schema:
    rate = {**_TEXT, "pattern": f"^({RATE_PATTERN}|{OFF})$"}
    told = "How much each subject may, such as 600/m or 20/s burst 40; or off."
    return _closed({name: {**rate, "default": usual} for name, usual in LIMITS.items()}, description=told)


def _identity_service() -> Schema:
    return _closed(
        {
            "address": {**_TEXT, "pattern": f"^({ADDRESS_PATTERN})$", "description": "host:port"},
            "plaintext": {**_BOOLEAN, "description": "Whether tokens may go in the clear beyond loopback."},
            **{name: {**_TEXT, "description": "Path of a PEM file."} for name in FILES},
        },
        description="Who is asked whose key a token is.",
    )


# --- Mounts -----------------------------------------------------------------------------------------------------------


def _mounts(known: Known) -> Schema:
    """Return the schema of the mounts: a table that is called as a dialect is of it, unless it names another."""
    named = {dialect: _one_of(known, {"$ref": _own(dialect)}) for dialect in known.dialects}
    told = "What is served, and where; a mount is called as its dialect, or names it."
    return {
        "type": "object",
        "properties": named,
        "additionalProperties": _one_of(known),
        "description": told,
    }


def _one_of(known: Known, *first: Schema) -> Schema:
    others = ({"$ref": f"#/$defs/{_definition(switches)}"} for switches in _by_switches(known.dialects))
    return {"anyOf": [*first, *others]}


def _own(dialect: str) -> str:
    return f"#/$defs/mount-called-{dialect}"


def _definition(switches: Sequence[str]) -> str:
    return f"mount-with-{switches[0]}" if switches else "mount"


def _by_switches(dialects: Mapping[str, Dialect]) -> dict[tuple[str, ...], list[str]]:
    """Return the dialects by the switches of their own."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, dialect in dialects.items():
        found.setdefault(tuple(sorted(dialect.switches)), []).append(name)
    return found


def _mount_definitions(known: Known) -> dict[str, dict[str, Any]]:
    stated = {
        _definition(switches): _mount(known, switches, {"dialect": {"enum": names}}, required=["dialect"])
        for switches, names in _by_switches(known.dialects).items()
    }
    own = {
        f"mount-called-{name}": _mount(known, sorted(dialect.switches), {"dialect": {"const": name}})
        for name, dialect in known.dialects.items()
    }
    return stated | own


def _mount(
    known: Known, switches: Iterable[str], dialect: Mapping[str, Schema], required: Sequence[str] = ()
) -> dict[str, Any]:
    return _closed(
        {
            **dialect,
            "prefix": {**_TEXT, "pattern": _PREFIX, "description": "Where it is served; /NAME unless it is said."},
            "identity": {"enum": list(IDENTITIES), "description": "Who knows the keys."},
            "secret": {**REFERENCE_TEXT.schema, "description": "The secret of the identities token and password."},
            "phase": {"enum": _phases(bool(known.forwarding))},
            "phases": _phases_by_operation(known),
            "endpoints": _endpoints(known),
            **_switches(switches),
        },
        **({"required": list(required)} if required else {}),
    )


def _switches(dotted: Iterable[str]) -> dict[str, Schema]:
    """Return the schemas of tables in tables whose leaves are the switches that *dotted* names."""
    below: dict[str, list[str]] = {}
    for name in dotted:
        first, _, rest = name.partition(".")
        below.setdefault(first, []).append(rest)
    return {name: _closed(_switches(rest)) if any(rest) else _BOOLEAN for name, rest in below.items()}
