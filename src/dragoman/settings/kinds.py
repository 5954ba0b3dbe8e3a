"""What may stand in the settings file: how a value is read, and how JSON Schema says the same.

Laws of this file:
- A kind of value is read and described in one place, so that the gateway and an editor agree (ADR-0040.R8).
- A refusal names the dotted path. It repeats short values that cannot be secrets: never what stands in the place of a
  secret, of an address, of a table or of a list.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from dragoman.declaration import LINE, TITLE, TITLE_LENGTH, is_title
from dragoman.model import Rate, rate_of
from dragoman.settings.errors import SettingsError, require_known

T = TypeVar("T")
Schema: TypeAlias = Mapping[str, Any]
"""A JSON Schema, of draft 2020-12."""

A_TEXT: Final = "a text"
A_NUMBER: Final = "a whole number"
A_TABLE: Final = "a table"
A_LIST: Final = "a list"


@attrs.frozen
class Place:
    """Where a value stands: its *dotted* path in a *file*."""

    file: str
    dotted: str = ""

    def member(self, name: str) -> "Place":
        """Return the place of a member of the table here."""
        return Place(self.file, f"{self.dotted}.{name}" if self.dotted else name)

    def item(self, index: int) -> "Place":
        """Return the place of an item of the list here."""
        return Place(self.file, f"{self.dotted}[{index}]")

    def __str__(self) -> str:
        return f"{self.file}: {self.dotted}"

    def refusal(self, value: object, wanted: str) -> SettingsError:
        """Return what is said of a *value* that may be shown, and cannot stand here; None is none at all."""
        if value is None:
            return SettingsError(f"{self}: it is missing; it must be {wanted}")
        return SettingsError(f"{self}: {shown(value)} is not accepted; it must be {wanted}")

    def refusal_of_content(self, value: object, wanted: str) -> SettingsError:
        """Return what is said of a *value* where a table or list is *wanted*: what a text says there is not known."""
        if isinstance(value, str):
            return SettingsError(f"{self}: {A_TEXT} is not accepted; it must be {wanted}")
        return self.refusal(value, wanted)

    def hidden_refusal(self, wanted: str) -> SettingsError:
        """Return what is said of a value that must not be shown."""
        return SettingsError(f"{self}: it must be {wanted}")


def shown(value: object) -> str:
    """Return how *value* is shown: tables and lists by what they are, for a secret may stand in them."""
    match value:
        case Mapping():
            return A_TABLE
        case list():
            return A_LIST
        case Decimal():
            return str(value)
        case _:
            return repr(value)


@attrs.frozen(kw_only=True)
class Kind:
    """What a value may be: *read* returns what it means, or raises `SettingsError`; *schema* says the same."""

    read: Callable[[Any, Place], Any]
    schema: Schema


# --- Single values ----------------------------------------------------------------------------------------------------


def text_at(value: object, place: Place) -> str:
    """Return *value*, which must be a text."""
    if isinstance(value, str):
        return value
    raise place.refusal(value, A_TEXT)


def _switch(value: object, place: Place) -> bool:
    if isinstance(value, bool):
        return value
    raise place.refusal(value, "true or false")


def _rate(value: object, place: Place) -> Rate:
    text = text_at(value, place)
    try:
        return rate_of(text)
    except ValueError as error:
        message = f"{place}: {text!r} is not accepted; {error}"
        raise SettingsError(message) from None


SWITCH: Final = Kind(read=_switch, schema={"type": "boolean"})
RATE_PATTERN: Final = "[1-9][0-9]{0,8}/[smhd]( burst [1-9][0-9]{0,8})?"
RATE: Final = Kind(read=_rate, schema={"type": "string", "pattern": f"^{RATE_PATTERN}$"})


def matching(
    pattern: str,
    wanted: str,
    *,
    longest: int | None = None,
    hide: bool = False,
    accept: Callable[[str], object] | None = None,
) -> Kind:
    """Return the kind of texts that match *pattern*, or, where that has meaning to ECMA-262 only, pass *accept*."""
    accepts = accept or re.compile(pattern, re.ASCII).fullmatch

    def read(value: object, place: Place) -> str:
        if isinstance(value, str) and accepts(value) and (longest is None or len(value) <= longest):
            return value
        if hide:
            raise place.hidden_refusal(wanted)
        raise place.refusal(value, wanted if isinstance(value, str) else A_TEXT)

    schema = {"type": "string", "pattern": f"^({pattern})$"}
    return Kind(read=read, schema=schema if longest is None else {**schema, "maxLength": longest})


TITLE_TEXT: Final = matching(
    TITLE,
    f"1 to {TITLE_LENGTH} characters in one line, without spaces around them",
    longest=TITLE_LENGTH,
    accept=is_title,
)
LINE_TEXT: Final = matching(LINE, "one line of text", accept=str.isprintable)


def one_of(noun: str, choices: Sequence[str]) -> Kind:
    """Return the kind of texts that are among *choices*, each of which is a *noun*."""

    def read(value: object, place: Place) -> str:
        return require_known(text_at(value, place), choices, f"{place}: unknown {noun}")

    return Kind(read=read, schema={"enum": list(choices)})


def whole(least: int, most: int) -> Kind:
    """Return the kind of whole numbers from *least* to *most*."""

    def read(value: object, place: Place) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise place.refusal(value, A_NUMBER)
        if not least <= value <= most:
            raise place.refusal(value, f"{A_NUMBER} from {least} to {most}")
        return value

    return Kind(read=read, schema={"type": "integer", "minimum": least, "maximum": most})


def seconds(most: int) -> Kind:
    """Return the kind of durations in seconds, up to *most*."""

    def read(value: object, place: Place) -> float:
        number = number_at(value)
        if number is None or not 0 < number <= most:
            raise place.refusal(value, f"a number of seconds, more than 0 and at most {most}")
        return float(number)

    return Kind(read=read, schema={"type": "number", "exclusiveMinimum": 0, "maximum": most})


def number_at(value: object) -> Decimal | None:
    """Return *value* as the number that it is, None where it is none; what is not finite is none."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    return number if number.is_finite() else None


# --- What holds others ------------------------------------------------------------------------------------------------


def listing(kind: Kind, *, least: int = 0, into: Callable[[Sequence[Any]], Any] = tuple) -> Kind:
    """Return the kind of lists of at least so many values of a *kind*, none of them twice."""

    def read(value: object, place: Place) -> object:
        if not isinstance(value, list):
            raise place.refusal_of_content(value, A_LIST)
        found = [kind.read(item, place.item(index)) for index, item in enumerate(value)]
        if len(found) < least:
            raise place.refusal(value, f"{A_LIST} that is not empty")
        for index, item in enumerate(value):
            if item in value[:index]:
                message = f"{place.item(index)}: it is there twice"
                raise SettingsError(message)
        return into(found)

    schema = {"type": "array", "items": kind.schema, "uniqueItems": True}
    return Kind(read=read, schema={**schema, "minItems": least} if least else schema)


def entries(names: Kind, values: Kind) -> Kind:
    """Return the kind of tables whose *names* are of one kind, and whose *values* are of one."""

    def read(value: object, place: Place) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise place.refusal_of_content(value, A_TABLE)
        return {names.read(name, place): values.read(one, place.member(name)) for name, one in value.items()}

    schema = {"type": "object", "propertyNames": names.schema, "additionalProperties": values.schema}
    return Kind(read=read, schema=schema)


@attrs.frozen(kw_only=True)
class Member:
    """A member of a table: of which *kind* it is, and what the file *says* with it.

    Without it there is what *usual* says, in words. *into* is its name in the record where that is another one.
    """

    kind: Kind
    says: str
    required: bool = False
    usual: object = None
    into: str | None = None

    @property
    def schema(self) -> Schema:
        """The schema of its kind, with what it says."""
        told = {**self.kind.schema, "description": self.says}
        return told if self.usual is None else {**told, "default": self.usual}


NO_RULE: Final[Schema] = {}


def table(
    members: Mapping[str, Member],
    build: Callable[..., T],
    *,
    complain: Callable[[T], Iterator[str]] = lambda _: iter(()),
    rule: Schema = NO_RULE,
    says: str = "",
) -> Kind:
    """Return the kind of tables with these *members*, of which *build* makes a record, by keywords.

    *complain* says what is wrong with the record that no member alone is, each complaint beginning with a member;
    *rule* says that in the schema, as far as it can.
    """

    def read(value: object, place: Place) -> T:
        if not isinstance(value, Mapping):
            raise place.refusal_of_content(value, A_TABLE)
        for name in value:
            require_known(name, members, f"{place.member(name)}: unknown setting")
        found = {}
        for name, member in members.items():
            if name in value or member.required:
                found[member.into or name] = member.kind.read(value.get(name), place.member(name))
        record = build(**found)
        for complaint in complain(record):
            message = f"{place}.{complaint}"
            raise SettingsError(message)
        return record

    required = [name for name, member in members.items() if member.required]
    schema = {
        "type": "object",
        **({"description": says} if says else {}),
        "properties": {name: member.schema for name, member in members.items()},
        **({"required": required} if required else {}),
        "additionalProperties": False,
        **rule,
    }
    return Kind(read=read, schema=schema)
