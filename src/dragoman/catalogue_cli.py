"""The commands of the catalogue: `dragoman apply`, `config schema`, `config check` and `explain` (ADR-0040).

Laws of this file:
- What a command says is whole when it is printed: an apply is durable, or has not happened.
- No secret is printed, and no literal header; of a secret it is told where it should be.
- With `--json`, standard output holds one JSON document.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import App, Parameter

from dragoman.app import known_settings, open_administration, read_directory
from dragoman.contract.source import PACKAGED, Source
from dragoman.declaration import Declaration
from dragoman.explanation import explain
from dragoman.plan import CHANGED, NEW, REMOVED, Difference, Named, Plan, Step
from dragoman.ports import Prune
from dragoman.settings import (
    SettingsError,
    missing_secrets,
    process_environment,
    read_file,
    read_settings,
    read_store_path,
    settings_schema,
)

CHECK_FAILED: Final = 1
USUAL: Final = Path("dragoman.toml")

Switch = Annotated[bool, Parameter(negative="")]
AsJson = Annotated[bool, Parameter(negative="", name="--json")]
Folder = Annotated[Path, Parameter(name="--contract", help="Folder with gateway.yaml and overlays/.")]

config = App(name="config", help="Describe and check the settings file.")


# --- apply ------------------------------------------------------------------------------------------------------------


def apply(  # noqa: PLR0913 - one argument an option
    file: Path | None = None,
    /,
    *,
    dry_run: Switch = False,
    check: Switch = False,
    prune: Switch = False,
    prune_organizations: Switch = False,
    store: str | None = None,
    as_json: AsJson = False,
    folder: Folder = PACKAGED,
) -> None:
    """Make the catalogue of the store what a settings file declares, and print what changes.

    Organisations, agents, providers, guardrails and aliases: + is new, ~ is
    changed, - is revoked. It is one transaction, and every worker obeys it within
    2 s. What the file does not name stays; keys are never made or changed.

    For example:
        dragoman apply dragoman.toml --dry-run
        dragoman apply dragoman.toml
        dragoman apply dragoman.toml --check

    Args:
        file: Settings file; DRAGOMAN_CONFIG, else dragoman.toml.
        dry_run: Print what would change, and change nothing.
        check: The same, and exit 1 when anything would change.
        prune: Revoke aliases, providers, guardrails, and agents of named organisations, that the file does not name.
        prune_organizations: Revoke those, and organisations that the file does not name: their keys end with them.
        store: File that is the store; DRAGOMAN_STORE, the file's own, else the user's.
        as_json: Print one JSON document.
        folder: Folder with gateway.yaml and overlays/.
    """
    environment = process_environment()
    path = _file(file, environment)
    declared = read_file(path, known_settings(Source(folder=folder))).catalogue
    what = Prune.ORGANIZATIONS if prune_organizations else Prune.CATALOGUE if prune else Prune.NOTHING
    if what is not Prune.NOTHING and declared == Declaration():
        message = f"{path}: it declares nothing, so that pruning would revoke everything; name what is to stay"
        raise SettingsError(message)
    target = read_store_path(environment, said=store, config=path)
    plan = asyncio.run(_applied(target, declared, what, dry_run=dry_run or check))
    if as_json:
        _print_json(_plan_record(plan, dry_run=dry_run or check))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _plan_lines(plan, dry_run=dry_run or check))
    if check and plan.steps:
        sys.exit(CHECK_FAILED)


async def _applied(store: Path, declared: Declaration, prune: Prune, *, dry_run: bool) -> Plan:
    async with open_administration(store) as administration:
        return await administration.apply(declared, prune=prune, dry_run=dry_run)


def _plan_lines(plan: Plan, *, dry_run: bool) -> Iterator[str]:
    for step in plan.steps:
        keys = f", and {step.ending} {'key ends' if step.ending == 1 else 'keys end'} with it" if step.ending else ""
        yield f"{step.sign} {_named(step.thing)}{keys}"
        yield from (f"    {_difference(one, step)}" for one in step.differences)
    if not plan.steps:
        yield "nothing to change"
    else:
        counts = {"new": NEW, "changed": CHANGED, "revoked": REMOVED}
        told = [f"{_count(plan, sign)} {word}" for word, sign in counts.items() if _count(plan, sign)]
        yield f"{'a dry run, nothing has changed' if dry_run else 'done'}: {', '.join(told)}"
    if plan.staying:
        yield f"not in the file, and staying: {', '.join(map(_named, plan.staying))}"


def _count(plan: Plan, sign: str) -> int:
    return sum(step.sign == sign for step in plan.steps)


def _named(thing: Named) -> str:
    return f"{thing.kind} {thing.name}"


def _difference(one: Difference, step: Step) -> str:
    if step.sign == NEW:
        return f"{one.member}: {_shown(one.new)}"
    return f"{one.member}: {_shown(one.old)} -> {_shown(one.new)}"


def _shown(value: object) -> str:
    """Return *value* as people read it: lists with commas between, tables as JSON without what is not said."""
    match value:
        case None | [] | "":
            return "none"
        case str():
            return value
        case list():
            return ", ".join(map(_shown, value))
        case Mapping():
            return json.dumps({name: one for name, one in value.items() if one is not None}, ensure_ascii=False)
        case _:
            return json.dumps(value)


def _plan_record(plan: Plan, *, dry_run: bool) -> Mapping[str, Any]:
    steps = [
        {
            "sign": step.sign,
            **attrs.asdict(step.thing),
            "differences": [attrs.asdict(one, recurse=False) for one in step.differences],
            "keys_ending": step.ending,
        }
        for step in plan.steps
    ]
    return {"dry_run": dry_run, "steps": steps, "staying": [attrs.asdict(one) for one in plan.staying]}


# --- config -----------------------------------------------------------------------------------------------------------


@config.command
def schema(*, folder: Folder = PACKAGED) -> None:
    """Print the JSON Schema of the settings file, for editors.

    For example:
        dragoman config schema > dragoman.schema.json

    Args:
        folder: Folder with gateway.yaml and overlays/.
    """
    _print_json(settings_schema(known_settings(Source(folder=folder))))


@config.command(name="check")
def check_file(file: Path | None = None, /, *, folder: Folder = PACKAGED) -> None:
    """Read a settings file as the gateway does; exit 1 when it cannot be used.

    Secrets that are not there, and aliases that nobody answers, are told on standard error.

    For example:
        dragoman config check dragoman.toml

    Args:
        file: Settings file; DRAGOMAN_CONFIG, else dragoman.toml.
        folder: Folder with gateway.yaml and overlays/.
    """
    environment = process_environment()
    path = _file(file, environment)
    try:
        read = read_file(path, known_settings(Source(folder=folder)))
    except SettingsError as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(CHECK_FAILED)
    unanswered = [f"alias {one.id!r}: it has no target" for one in read.catalogue.aliases if not one.targets]
    for warning in (*missing_secrets(read, environment), *unanswered):
        sys.stderr.write(f"warning: {path}: {warning}\n")
    sys.stderr.write(f"{path}: ok\n")


# --- explain ----------------------------------------------------------------------------------------------------------


def explain_command(  # noqa: PLR0913 - one argument an option
    *,
    org: str,
    model: str,
    config: Path | None = None,
    store: str | None = None,
    as_json: AsJson = False,
    folder: Folder = PACKAGED,
) -> None:
    """Say what a request of an organisation for a model would meet; nobody is called.

    For example:
        dragoman explain --org acme --model general
        dragoman explain --org acme --model general --json

    Args:
        org: Id or name of the organisation.
        model: What the caller writes for `model`.
        config: Settings file; DRAGOMAN_CONFIG names one too.
        store: File that is the store; DRAGOMAN_STORE, the file's own, else the user's.
        as_json: Print one JSON document.
        folder: Folder with gateway.yaml and overlays/.
    """
    environment = process_environment()
    settings = read_settings(environment, known_settings(Source(folder=folder)), config=config)
    if store is not None:
        settings = attrs.evolve(settings, store=read_store_path(environment, said=store))
    found = asyncio.run(explain(read_directory(settings), settings, org, model))
    if as_json:
        _print_json(found.record)
    else:
        sys.stdout.writelines(f"{line}\n" for line in found.lines)


# --- What they share --------------------------------------------------------------------------------------------------


def _file(said: Path | None, environment: Mapping[str, str]) -> Path:
    """Return which settings file is meant."""
    if said is not None:
        return said
    if "DRAGOMAN_CONFIG" in environment:
        return Path(environment["DRAGOMAN_CONFIG"])
    if USUAL.is_file():
        return USUAL
    message = f"there is no {USUAL} here; name the settings file, or set DRAGOMAN_CONFIG"
    raise SettingsError(message)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
