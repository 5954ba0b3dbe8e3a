"""The commands that change and show what the store holds: `dragoman orgs`, `keys`, `agents` and `aliases`.

Laws of this file:
- A result is printed when the store has been closed: what was printed is durable (ADR-0029.R3).
- A token is printed once, by the command that makes it (ADR-0030.R1).
- With `--json`, standard output holds one JSON document.
"""

# ruff: noqa: D417 - what every command takes is described once, by `Options`
import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import attrs
from cyclopts import App, Parameter, validators

from dragoman.app import open_administration, system_sources
from dragoman.declaration import words_of_alias, words_of_organization
from dragoman.model import Agent, Alias, Entry, IssuedKey, Key, KeyId, Organization, Rate, rate_of, rate_text
from dragoman.ports import Administration, AdministrationError, Noun
from dragoman.settings import process_environment, read_store_path

T = TypeVar("T")
Record = Mapping[str, Any]
"""What is shown of one thing, in the order in which it is shown."""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(?P<count>[0-9]{1,5})(?P<unit>[smhd])", re.ASCII)
_ONCE: Final = "dragoman: the token is shown once, and never again; keep it now\n"

Scopes = Annotated[tuple[str, ...], Parameter(name="--scope", consume_multiple=False, negative="")]
Seeing = Annotated[tuple[str, ...], Parameter(name="--visible-to", consume_multiple=False, negative="")]
Category = Literal["llm", "embedding"]
ADay = Annotated[int, Parameter(validator=validators.Number(gte=1))]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Options:
    """What every command takes."""

    store: Annotated[str | None, Parameter(help="File that is the store; DRAGOMAN_STORE names one too.")] = None
    config: Annotated[Path | None, Parameter(help="Settings file; DRAGOMAN_CONFIG names one too.")] = None
    json: Annotated[bool, Parameter(negative="", help="Print one JSON document.")] = False


USUAL: Final = Options()


@attrs.frozen(kw_only=True)
class Shelf(Generic[Noun]):
    """How things of one kind are shown: *columns* are those of a table, *record* is everything."""

    noun: type[Noun]
    columns: Sequence[str]
    record: Callable[[Entry[Noun]], Record]


def _run(options: Options, work: Callable[[Administration], Awaitable[T]]) -> T:
    """Return what *work* makes of the store, which is closed by then."""
    path = read_store_path(process_environment(), said=options.store, config=options.config)

    async def opened() -> T:
        async with open_administration(path) as administration:
            return await work(administration)

    return asyncio.run(opened())


# --- What is shown ----------------------------------------------------------------------------------------------------


def _organization_record(entry: Entry[Organization]) -> Record:
    one = entry.noun
    return {"id": one.id, "name": one.name, **words_of_organization(one), **_dates(entry)}


def _key_record(entry: Entry[Key]) -> Record:
    one = entry.noun
    return {
        "id": one.id,
        "organization": one.organization,
        "name": one.name,
        "prefix": one.prefix,
        "scopes": sorted(one.scopes),
        "limit": _rate(one.rate),
        "token_limit": _rate(one.token_rate),
        "daily_requests": one.daily_requests,
        "daily_tokens": one.daily_tokens,
        "expires": _time(one.expires),
        "successor": one.successor,
        **_dates(entry),
    }


def _agent_record(entry: Entry[Agent]) -> Record:
    one = entry.noun
    return {"id": one.id, "name": one.name, "organization": one.organization, **_dates(entry)}


def _alias_record(entry: Entry[Alias]) -> Record:
    return {"id": entry.noun.id, **words_of_alias(entry.noun, {}), **_dates(entry)}


def _dates(entry: Entry[Any]) -> Record:
    return {"created": _time(entry.created), "revoked": _time(entry.revoked)}


def _time(time: datetime | None) -> str | None:
    """Return *time* in RFC 3339, UTC, with milliseconds."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rate(rate: Rate | None) -> str | None:
    return None if rate is None else rate_text(rate)


def _show(record: Record, options: Options) -> None:
    if options.json:
        _print_json(record)
        return
    width = max(map(len, record))
    for name, value in record.items():
        sys.stdout.write(f"{name.ljust(width)}  {_cell(value)}\n")


def _show_all(records: Sequence[Record], columns: Sequence[str], options: Options) -> None:
    if options.json:
        _print_json(records)
        return
    rows = [[column.upper() for column in columns], *([_cell(one[column]) for column in columns] for one in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    for row in rows:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items())
    if isinstance(value, list):
        between = "; " if any(isinstance(one, Mapping) for one in value) else " "
        return between.join(map(_cell, value)) or "-"
    return "-" if value in (None, "") else str(value)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def _show_issued(issued: IssuedKey, more: Record, options: Options) -> None:
    """Show a new key with its token."""
    _show({"id": issued.entry.noun.id, "token": issued.token, **_key_record(issued.entry), **more}, options)
    sys.stderr.write(_ONCE)


# --- What is said -----------------------------------------------------------------------------------------------------


def _limit(said: str | None, option: str = "--limit") -> Rate | None:
    try:
        return None if said is None else rate_of(said)
    except ValueError as error:
        message = f"{option}: {said!r} is not accepted; {error}"
        raise AdministrationError(message) from None


def _duration(said: str) -> timedelta | None:
    """Return the duration in *said*, such as 90s, 15m, 24h, 30d or 0; None where it is none."""
    found = _DURATION.fullmatch(said)
    if found is None:
        return timedelta(0) if said == "0" else None
    return timedelta(seconds=int(found["count"]) * _SECONDS[found["unit"]])


def _expiry(said: str) -> datetime:
    """Return the time in *said*: from now on, or in RFC 3339."""
    duration = _duration(said)
    if duration is not None:
        return system_sources().now() + duration
    try:
        time = datetime.fromisoformat(said)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        message = f"--expires: {said!r} is not accepted; write 30d, 12h, or a time such as 2027-01-31T00:00:00Z"
        raise AdministrationError(message)
    return time


def _overlap(said: str) -> timedelta:
    duration = _duration(said)
    if duration is None:
        message = f"--overlap: {said!r} is not accepted; write 24h, 30m, 7d, or 0 for none"
        raise AdministrationError(message)
    return duration


# --- What all kinds have ----------------------------------------------------------------------------------------------


ORGANIZATIONS: Final = Shelf[Organization](
    noun=Organization, columns=("id", "name", "limit", "created", "revoked"), record=_organization_record
)
KEYS: Final = Shelf[Key](
    noun=Key,
    columns=("id", "organization", "name", "prefix", "scopes", "limit", "created", "expires", "revoked"),
    record=_key_record,
)
AGENTS: Final = Shelf[Agent](
    noun=Agent, columns=("id", "name", "organization", "created", "revoked"), record=_agent_record
)
ALIASES: Final = Shelf[Alias](
    noun=Alias,
    columns=("id", "display_name", "category", "visible_to", "limit", "created", "revoked"),
    record=_alias_record,
)


def _list(shelf: Shelf[Noun], options: Options, organization: str | None = None) -> None:
    """List everything of a kind, or, of keys and agents, that of one *organization*."""

    async def chosen(administration: Administration) -> list[Record]:
        records = [shelf.record(entry) for entry in await administration.entries(shelf.noun)]
        if organization is None:
            return records
        owner = (await administration.entry(Organization, organization)).noun.id
        return [record for record in records if record["organization"] == owner]

    _show_all(_run(options, chosen), shelf.columns, options)


def _show_one(shelf: Shelf[Noun], named: str, options: Options) -> None:
    _show(shelf.record(_run(options, lambda administration: administration.entry(shelf.noun, named))), options)


def _revoke(shelf: Shelf[Noun], named: str, options: Options) -> None:
    _show(shelf.record(_run(options, lambda administration: administration.revoke(shelf.noun, named))), options)


orgs = App(name="orgs", help="Make, list, show and revoke organisations.")
keys = App(name="keys", help="Make, list, show, rotate and revoke keys.")
agents = App(name="agents", help="Make, list, show and revoke agents.")
aliases = App(name="aliases", help="Make, list, show and revoke aliases, the models that callers name.")


# --- Organisations ----------------------------------------------------------------------------------------------------


@orgs.command(name="create")
def create_organization(
    name: str, *, limit: str | None = None, token_limit: str | None = None, options: Options = USUAL
) -> None:
    """Make an organisation.

    For example:
        dragoman orgs create acme
        dragoman orgs create acme --limit 6000/m --token-limit 1000000/m --json

    Args:
        name: Its name, which no other organisation has.
        limit: How much all its keys may together, such as 600/m or "20/s burst 40".
        token_limit: How many tokens all its keys may use together, such as 1000000/m.
    """
    rate, token_rate = _limit(limit), _limit(token_limit, "--token-limit")

    def create(administration: Administration) -> Awaitable[Entry[Organization]]:
        return administration.create_organization(name, rate=rate, token_rate=token_rate)

    _show(_organization_record(_run(options, create)), options)


@orgs.command(name="list")
def list_organizations(*, options: Options = USUAL) -> None:
    """List the organisations.

    For example:
        dragoman orgs list
        dragoman orgs list --json
    """
    _list(ORGANIZATIONS, options)


@orgs.command(name="show")
def show_organization(org: str, *, options: Options = USUAL) -> None:
    """Show an organisation.

    For example:
        dragoman orgs show acme

    Args:
        org: Its id or name.
    """
    _show_one(ORGANIZATIONS, org, options)


@orgs.command(name="revoke")
def revoke_organization(org: str, *, options: Options = USUAL) -> None:
    """Revoke an organisation: none of its keys passes any more.

    For example:
        dragoman orgs revoke acme

    Args:
        org: Its id or name.
    """
    _revoke(ORGANIZATIONS, org, options)


# --- Keys -------------------------------------------------------------------------------------------------------------


@keys.command(name="create")
def create_key(  # noqa: PLR0913 - one argument an option
    *,
    org: str,
    name: str | None = None,
    scopes: Scopes = ("chat", "models"),
    expires: str | None = None,
    prefix: str | None = None,
    limit: str | None = None,
    token_limit: str | None = None,
    daily_requests: ADay | None = None,
    daily_tokens: ADay | None = None,
    options: Options = USUAL,
) -> None:
    """Make a key of an organisation, and print its token, once.

    For example:
        dragoman keys create --org acme
        dragoman keys create --org acme --name laptop --scope chat --expires 30d --limit 600/m
        dragoman keys create --org acme --token-limit 100000/m --daily-tokens 5000000
        dragoman keys create --org acme --json

    Args:
        org: Id or name of the organisation.
        name: What the key is for.
        scopes: What the key may do; may be repeated.
        expires: When it ends: 30d, 12h, or a time such as 2027-01-31T00:00:00Z; never unless it is said.
        prefix: What its token begins with, to tell whose it is; cgt unless it is said.
        limit: How much it may, such as 600/m or "20/s burst 40".
        token_limit: How many tokens it may use, such as 100000/m.
        daily_requests: How many requests it has a day, from midnight to midnight UTC.
        daily_tokens: How many tokens it has a day.
    """
    end, rate = None if expires is None else _expiry(expires), _limit(limit)
    token_rate = _limit(token_limit, "--token-limit")

    def create(administration: Administration) -> Awaitable[IssuedKey]:
        return administration.create_key(
            org,
            scopes=frozenset(scopes),
            name=name,
            prefix=prefix,
            expires=end,
            rate=rate,
            token_rate=token_rate,
            daily_requests=daily_requests,
            daily_tokens=daily_tokens,
        )

    _show_issued(_run(options, create), {}, options)


@keys.command(name="list")
def list_keys(*, org: str | None = None, options: Options = USUAL) -> None:
    """List the keys.

    For example:
        dragoman keys list
        dragoman keys list --org acme --json

    Args:
        org: Id or name of the organisation; all unless it is said.
    """
    _list(KEYS, options, org)


@keys.command(name="show")
def show_key(key: str, *, options: Options = USUAL) -> None:
    """Show a key, but for its token.

    For example:
        dragoman keys show k3jx5m2q7abc

    Args:
        key: Its id: the middle of its token.
    """
    _show_one(KEYS, key, options)


@keys.command(name="revoke")
def revoke_key(key: str, *, options: Options = USUAL) -> None:
    """Revoke a key: it does not pass any more.

    For example:
        dragoman keys revoke k3jx5m2q7abc

    Args:
        key: Its id: the middle of its token.
    """
    _revoke(KEYS, key, options)


@keys.command(name="rotate")
def rotate_key(key: str, *, overlap: str = "24h", options: Options = USUAL) -> None:
    """Make a key in place of another one, which ends after an overlap, and print its token, once.

    It has the same organisation, name, prefix, scopes and limits, and lives as long as the other one was to live.

    For example:
        dragoman keys rotate k3jx5m2q7abc
        dragoman keys rotate k3jx5m2q7abc --overlap 0

    Args:
        key: Id of the key that ends: the middle of its token.
        overlap: For how long it still passes, such as 24h, 30m or 7d; 0 ends it at once.
    """
    time = _overlap(overlap)
    rotation = _run(options, lambda administration: administration.rotate_key(KeyId(key), overlap=time))
    ending = {"id": rotation.replaced.noun.id, "expires": _time(rotation.replaced.noun.expires)}
    _show_issued(rotation.issued, {"replaces": ending}, options)


# --- Agents -----------------------------------------------------------------------------------------------------------


@agents.command(name="create")
def create_agent(name: str, *, org: str, options: Options = USUAL) -> None:
    """Make an agent of an organisation.

    For example:
        dragoman agents create main --org acme

    Args:
        name: Its name, which no other agent of the organisation has.
        org: Id or name of the organisation.
    """
    _show(_agent_record(_run(options, lambda administration: administration.create_agent(org, name))), options)


@agents.command(name="list")
def list_agents(*, org: str | None = None, options: Options = USUAL) -> None:
    """List the agents.

    For example:
        dragoman agents list
        dragoman agents list --org acme --json

    Args:
        org: Id or name of the organisation; all unless it is said.
    """
    _list(AGENTS, options, org)


@agents.command(name="show")
def show_agent(agent: str, *, options: Options = USUAL) -> None:
    """Show an agent.

    For example:
        dragoman agents show 018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e33

    Args:
        agent: Its id.
    """
    _show_one(AGENTS, agent, options)


@agents.command(name="revoke")
def revoke_agent(agent: str, *, options: Options = USUAL) -> None:
    """Revoke an agent: nobody may name it any more.

    For example:
        dragoman agents revoke 018f3a5e-8c2d-7e31-8d52-6c3f9b7a1e33

    Args:
        agent: Its id.
    """
    _revoke(AGENTS, agent, options)


# --- Aliases ----------------------------------------------------------------------------------------------------------


@aliases.command(name="create")
def create_alias(  # noqa: PLR0913 - one argument an option
    name: str,
    *,
    display_name: str | None = None,
    description: str = "",
    category: Category = "llm",
    visible_to: Seeing = (),
    limit: str | None = None,
    token_limit: str | None = None,
    options: Options = USUAL,
) -> None:
    """Make an alias: a model that callers name.

    The aliases of the settings file count as long as the store never had one. An
    alias that is made here is answered by nobody: targets come with `dragoman apply`.

    For example:
        dragoman aliases create general --display-name General
        dragoman aliases create secure --visible-to acme --visible-to globex --limit 20/s

    Args:
        name: What callers write for `model`.
        display_name: What people see of it; the name unless it is said.
        description: What it is good for.
        category: What it can do.
        visible_to: Id or name of an organisation that may use it; may be repeated; all unless it is said.
        limit: How much each organisation may ask of it, such as 600/m or "20/s burst 40".
        token_limit: How many tokens each organisation may use of it, such as 100000/m.
    """
    rate, token_rate = _limit(limit), _limit(token_limit, "--token-limit")

    def create(administration: Administration) -> Awaitable[Entry[Alias]]:
        return administration.create_alias(
            name,
            display_name=name if display_name is None else display_name,
            description=description,
            category=category,
            visible_to=visible_to or None,
            rate=rate,
            token_rate=token_rate,
        )

    _show(_alias_record(_run(options, create)), options)


@aliases.command(name="list")
def list_aliases(*, options: Options = USUAL) -> None:
    """List the aliases.

    For example:
        dragoman aliases list
        dragoman aliases list --json
    """
    _list(ALIASES, options)


@aliases.command(name="show")
def show_alias(name: str, *, options: Options = USUAL) -> None:
    """Show an alias.

    For example:
        dragoman aliases show general

    Args:
        name: What callers write for `model`.
    """
    _show_one(ALIASES, name, options)


@aliases.command(name="revoke")
def revoke_alias(name: str, *, options: Options = USUAL) -> None:
    """Revoke an alias: nobody may name it any more.

    For example:
        dragoman aliases revoke general

    Args:
        name: What callers write for `model`.
    """
    _revoke(ALIASES, name, options)
