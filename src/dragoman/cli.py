"""The commands.

Laws of this file:
- Results go to standard output, everything else to standard error.
- Exit codes: 0 success, 1 a check failed, 2 bad usage or configuration, with one line that says what to mend.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final, NoReturn

import attrs
from cyclopts import App, CycloptsError, Parameter, validators

from dragoman.administration_cli import agents, aliases, keys, orgs
from dragoman.app import (
    asks_service,
    build_gateway,
    compile_routes,
    known_settings,
    prove_servable,
    prove_store,
    require_operations,
)
from dragoman.catalogue_cli import apply, config, explain_command
from dragoman.contract.source import CANONICAL, PACKAGED, Source
from dragoman.contract.traits import read_traits
from dragoman.demonstration import ground
from dragoman.identity_cli import identity_service
from dragoman.ports import AdministrationError, StoreError
from dragoman.server import Ending, hold_signals, listen, serve
from dragoman.settings import (
    IDENTITY_VARIABLES,
    Development,
    IdentityService,
    Known,
    MountSettings,
    Settings,
    SettingsError,
    mount_prefix,
    process_environment,
    read_settings,
    read_store_path,
    require_known,
    upper,
)
from treaty import Document, TreatyError, operations, problems, resolve, sdk

CHECK_FAILED: Final = 1
BAD_USAGE: Final = 2
_KEYLESS: Final = (
    "dragoman: there is no key, so every request is refused; make one with `dragoman keys create`, "
    "or see `dragoman demo`\n"
)

_NOT_IN_FORCE: Final = (
    "of the settings file is not in force, because the store has a catalogue without it; "
    "`dragoman apply FILE` puts it there\n"
)

_TOKEN: Final = re.compile(r"[A-Za-z0-9]{1,16}_[a-z2-7]{12}_[A-Za-z0-9_-]{16,}", re.ASCII)

_DEMO_LIMITS: Final = {"DRAGOMAN_LIMIT_ADDRESS": "6000/m", "DRAGOMAN_LIMIT_KEY": "6000/m"}
"""Limits of the demo that nobody meets by hand: its answers show the headers that tell of limits."""

app = App(
    name="dragoman",
    help="An LLM gateway that is generated from its contract.",
    help_format="plaintext",
    version_flags=["--version"],
    result_action="return_value",
)
contract = App(name="contract", help="Show, build and check the contract.")
app.command(contract)
for commands in (orgs, keys, agents, aliases, config):
    app.command(commands)
app.command(apply)
app.command(explain_command, name="explain")
app.command(identity_service, name="identity-service")

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535), help="0 takes a free port.")]
Phase = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=2))]
Operations = Annotated[tuple[str, ...], Parameter(consume_multiple=False)]
Folder = Annotated[Path, Parameter(name="--contract", help="Folder with gateway.yaml and overlays/.")]


def _fail(message: str, code: int = BAD_USAGE) -> NoReturn:
    """End the program; what looks like a token in *message*, given in a wrong place, is not shown (ADR-0030.R1)."""
    sys.stderr.write(f"dragoman: {_TOKEN.sub('a token', message)}\n")
    sys.exit(code)


@app.command(name="serve")
def serve_command(  # noqa: PLR0913 - one argument an option
    *,
    config: Path | None = None,
    host: str | None = None,
    port: Port | None = None,
    store: str | None = None,
    access_log: str | None = None,
    folder: Folder = PACKAGED,
) -> None:
    """Serve the mounts that the environment or a settings file names.

    Variables: DRAGOMAN_CONFIG, DRAGOMAN_HOST, DRAGOMAN_PORT, DRAGOMAN_STORE,
    DRAGOMAN_MOUNTS ("/=dragoman,/api=DIALECT"),
    DRAGOMAN_[<MOUNT>_]PHASE[_<OPERATION>]=1|2, DRAGOMAN_[<MOUNT>_]ENDPOINT_<OPERATION>=on|off,
    DRAGOMAN_[<MOUNT>_]IDENTITY=store|service|token|password|none,
    DRAGOMAN_IDENTITY_ADDRESS of an identity service, <MOUNT>_GATEWAY_TOKEN or
    <MOUNT>_GATEWAY_PASSWORD, and the DRAGOMAN_DEV_* that `dragoman demo`
    exports, which seed one key.

    For example:
        dragoman serve
        dragoman serve --config dragoman.toml
        DRAGOMAN_ENDPOINT_RESPONSES=off dragoman serve --port 9000
        dragoman serve --access-log combined

    Args:
        config: Settings file; DRAGOMAN_CONFIG names one too.
        host: Address to listen on; DRAGOMAN_HOST, else 127.0.0.1.
        port: Port to listen on; DRAGOMAN_PORT, else 8080.
        store: File that holds keys, agents and aliases; DRAGOMAN_STORE, else the user's own. It is made if need be.
        access_log: combined writes a line for each answer to standard error; DRAGOMAN_ACCESS_LOG, else off.
        folder: Folder with gateway.yaml and overlays/.
    """
    source = Source(folder=folder)
    environment = process_environment()
    said = {} if access_log is None else {"DRAGOMAN_ACCESS_LOG": access_log}
    settings = read_settings({**environment, **said}, known_settings(source), config=config)
    if store is not None:
        settings = attrs.evolve(settings, store=read_store_path(environment, said=store))
    proved = None if settings.store is None else prove_store(settings.store)
    if proved is not None and proved.aliases is not None and settings.names_aliases:
        for alias in sorted({alias.id for alias in settings.catalogue.aliases} - proved.aliases):
            sys.stderr.write(f"dragoman: alias {alias!r} {_NOT_IN_FORCE}")
    if (
        not (proved is not None and proved.keys)
        and settings.development is None
        and not any(_knows_somebody(source, one) for one in settings.mounts)
    ):
        sys.stderr.write(_KEYLESS)
    for mount in settings.mounts:
        known = read_traits(source.dialect(mount.dialect), {}, where=mount.dialect).limits_by
        if unknown := sorted(settings.running.limits.keys() - known - {"failed-logins"}):
            sys.stderr.write(
                f"dragoman: no limit of {', '.join(unknown)} holds at {mount.prefix}: its dialect has none\n"
            )
    _serve(source, settings, host=host, port=port)


@app.command
def demo(
    *,
    host: str | None = None,
    port: Port | None = None,
    phase: Phase | None = None,
    env_file: Path | None = None,
    folder: Folder = PACKAGED,
) -> None:
    """Serve every dialect with a fresh organisation, key and agent, and print them.

    For example:
        dragoman demo
        dragoman demo --port 8080 --env-file demo.env

    Args:
        host: Address to listen on; DRAGOMAN_HOST, else 127.0.0.1.
        port: Port to listen on; DRAGOMAN_PORT, else 8080.
        phase: 1 checks and answers 501; 2 forwards; DRAGOMAN_PHASE, else 1.
        env_file: Write the export lines to this file too, readable by its owner only.
        folder: Folder with gateway.yaml and overlays/.
    """
    hold_signals()  # else what is made for the demo would be left behind
    source = Source(folder=folder)
    known, woken = _with_everything_on(known_settings(source))
    environment = {
        "DRAGOMAN_MOUNTS": ",".join(f"{_demo_prefix(name)}={name}" for name in source.dialects),
        **_DEMO_LIMITS,
        **_without_development(process_environment(), source),
        **({} if phase is None else {"DRAGOMAN_PHASE": str(phase)}),
    }
    settings = read_settings(environment, known)
    notes = [
        f"# {operation} of {mount.dialect} is off by default; the demo turns it on"
        for mount in settings.mounts
        for operation in woken.get(mount.dialect, ())
        if operation not in mount.off
    ]
    asking = [mount for mount in settings.mounts if asks_service(mount, source.dialect(mount.dialect))]
    with ground(asked=bool(asking)) as made:
        exports = _exports(source, made.known)
        agents_made = ", ".join(f"{name} ({agent})" for name, agent in made.known.agents.items())
        notes = [f"# agents: {agents_made}", *notes]
        notes += [f"# {mount.dialect} asks over gRPC who is calling, at {made.address}" for mount in asking]
        service = None if made.address is None else IdentityService(address=made.address, certificates=None)
        settings = attrs.evolve(settings, development=None, store=made.store, identity_service=service)
        private = None if env_file is None else PrivateFile(path=env_file, lines=exports)
        _serve(source, settings, host=host, port=port, announce=[*exports, *notes], private=private)


@contract.command
def show(  # noqa: PLR0913 - one argument an option
    *,
    dialect: str = CANONICAL,
    mount: str = "/",
    phase: Phase = 1,
    on: Operations = (),
    off: Operations = (),
    for_sdk: bool = False,
    folder: Folder = PACKAGED,
) -> None:
    """Print an effective contract, or the one for client generators, as JSON.

    For example:
        dragoman contract show
        dragoman contract show --dialect NAME --mount /api --phase 1
        dragoman contract show --for-sdk

    Args:
        dialect: Name of the dialect.
        mount: Prefix at which it is served.
        phase: 1 or 2.
        on: An operation to switch on that is off by default; may be repeated.
        off: An operation to switch off; may be repeated.
        for_sdk: The OpenAPI 3.1 document for client generators; it holds both phases.
        folder: Folder with gateway.yaml and overlays/.
    """
    source = Source(folder=folder)
    if for_sdk:
        document = sdk(source.dialect(dialect))
    else:
        for name in (*on, *off):
            require_known(name, source.operations, "unknown operation")
        dialects = known_settings(source).dialects
        require_known(dialect, dialects, "unknown dialect")
        switched_off = (dialects[dialect].off | set(off)) - set(on)
        prefix = mount_prefix(mount, f"--mount {mount!r}")
        document = _effective(source, dialect, mount=prefix, phase=phase, off=switched_off)
    sys.stdout.write(_render(document))


@contract.command
def build(*, out: Path = Path("openapi/effective"), folder: Folder = PACKAGED) -> None:
    """Write the effective contract of every dialect in both phases, and the one for client generators.

    For example:
        dragoman contract build --contract openapi

    Args:
        out: Folder to write to.
        folder: Folder with gateway.yaml and overlays/.
    """
    source = Source(folder=folder)
    for name, document in _documents(source):
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{name}.json").write_text(_render(document), encoding="utf-8")
        except OSError as error:
            _fail(f"--out: cannot write to {out}: {error.strerror}")
        sys.stderr.write(f"wrote {out / name}.json\n")


@contract.command
def check(*, folder: Folder = PACKAGED) -> None:
    """Check the contract of every dialect in both phases; exit 1 when anything is wrong.

    For example:
        dragoman contract check --contract openapi

    Args:
        folder: Folder with gateway.yaml and overlays/.
    """
    if not (folder / "gateway.yaml").is_file():
        _fail(f"--contract: there is no gateway.yaml in {folder}")
    source = Source(folder=folder)
    try:
        found = _judge(source)
        if not found:  # what is no sound document cannot be asked whether it can be served
            require_operations(source.operations)
            for dialect in source.dialects:
                prove_servable(_effective(source, dialect, mount="/", phase=1))
    except TreatyError as error:
        found = [str(error)]
    for problem in found:
        sys.stdout.write(f"{problem}\n")
    if found:
        sys.exit(CHECK_FAILED)


@app.command
def routes(*, config: Path | None = None, folder: Folder = PACKAGED) -> None:
    """List what is served: method, path, operation, phase, decisions.

    For example:
        dragoman routes
        DRAGOMAN_MOUNTS=/api=DIALECT dragoman routes

    Args:
        config: Settings file; DRAGOMAN_CONFIG names one too.
        folder: Folder with gateway.yaml and overlays/.
    """
    source = Source(folder=folder)
    settings = read_settings(process_environment(), known_settings(source), config=config)
    rows = [("METHOD", "PATH", "OPERATION", "PHASE", "ADRS")]
    for mount in settings.mounts:
        document = source.effective(mount.dialect, mount=mount.prefix, phases=mount.phases, off=mount.off)
        for route in compile_routes(document):
            one = route.operation
            path = mount.prefix.rstrip("/") + one.path
            rows.append((one.method, path, one.name, str(one.phase or "-"), " ".join(one.adrs)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[4]]) + "\n")


@attrs.frozen(kw_only=True)
class PrivateFile:
    """A file for its owner only, written once the gateway listens: a failed start must not destroy another's keys."""

    path: Path
    lines: Sequence[str]

    def write(self) -> None:
        """Write the lines, with mode 0600."""
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                file.writelines(f"{line}\n" for line in self.lines)
        except OSError as error:
            _fail(f"--env-file: cannot write {self.path}: {error.strerror}")


def _serve(  # noqa: PLR0913 - what the two serving commands share
    source: Source,
    settings: Settings,
    *,
    host: str | None,
    port: int | None,
    announce: Sequence[str] = (),
    private: PrivateFile | None = None,
) -> None:
    require_operations(source.operations)
    gateway = build_gateway(source, settings)
    if host == "":
        _fail("--host: an address must not be empty; use 127.0.0.1, or 0.0.0.0 for every interface")
    address = (host or settings.host, settings.port if port is None else port)
    try:
        listener = listen(*address)
    except OSError as error:
        _fail(f"cannot listen on {address[0]} port {address[1]}: {error.strerror}; choose another --port or --host")
    with listener:
        hold_signals()
        if private is not None:
            private.write()
        name, number = listener.getsockname()[:2]
        url = f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"
        for line in announce:
            sys.stdout.write(f"{line}\n")
        assert settings.store is not None  # noqa: S101 - whoever serves has one
        sys.stdout.write(f"# the store is {settings.store.absolute()}\n")
        for mount in settings.mounts:
            base = url + mount.prefix.rstrip("/")
            sys.stdout.write(f"# {mount.dialect} is served at {base}{_phases_of(source, mount)}\n")
            if announce and (example := _curl(source, mount, base)):
                sys.stdout.write(f"#   {example}\n")
        sys.stdout.flush()
        running = settings.running
        make_own = partial(build_gateway, Source(folder=source.folder), settings)  # picklable, as workers need it
        serve(
            make_own if running.workers > 1 else lambda: gateway,
            listener,
            workers=running.workers,
            ending=Ending(delay=running.drain_delay, grace=running.grace),
        )


def _knows_somebody(source: Source, mount: MountSettings) -> bool:
    """Whether *mount* may let somebody pass without a key of the store."""
    return mount.secret is not None or asks_service(mount, source.dialect(mount.dialect))


def _phases_of(source: Source, mount: MountSettings) -> str:
    """Return what the start-up line says of phases: which operations forward, and which wait in Phase 1."""
    served = {str(route.name) for route in operations(source.dialect(mount.dialect))} - mount.off
    waiting = sorted(name for name, phase in mount.phases.items() if name in served and phase == 1)
    forwarding = sorted(name for name, phase in mount.phases.items() if name in served and phase != 1)
    told = f"; in Phase 2: {', '.join(forwarding)}" if forwarding else ""
    return f"{told}; in Phase 1: {', '.join(waiting)}" if waiting else told


def _demo_prefix(dialect: str) -> str:
    return "/" if dialect == CANONICAL else f"/{dialect}"


def _with_everything_on(known: Known) -> tuple[Known, Mapping[str, frozenset[str]]]:
    """Return *known* with nothing off by default, for the demo shows everything, and what that turns on, by dialect."""
    woken = {name: added.off for name, added in known.dialects.items() if added.off}
    dialects = {name: attrs.evolve(added, off=frozenset()) for name, added in known.dialects.items()}
    return attrs.evolve(known, dialects=dialects), woken


def _exports(source: Source, seed: Development) -> list[str]:
    values = {"TOKEN": seed.token, "AGENT_ID": seed.agents["main"], "ORG_ID": seed.organization}
    return [f"export {_exported(name)}{key}={value}" for name in source.dialects for key, value in values.items()]


def _exported(dialect: str) -> str:
    """Return what the exported variables of *dialect* begin with."""
    return f"{upper(dialect)}_DEV_"


def _curl(source: Source, mount: MountSettings, base: str) -> str | None:
    """Return a command that sends the first example request of *mount*, if it has one, with the exported names."""
    document = source.effective(mount.dialect, mount=mount.prefix, phases=mount.phases, off=mount.off)
    bodied = (route for route in operations(document) if "requestBody" in route.operation and "{" not in route.path)
    route = next(bodied, None)
    if route is None:
        return None
    media = resolve(document, route.operation["requestBody"])["content"]["application/json"]
    if not media.get("examples"):
        return None
    example = resolve(document, next(iter(media["examples"].values())))["value"]
    start = _exported(mount.dialect)
    headers = [f"Authorization: Bearer ${{{start}TOKEN}}", "Content-Type: application/json"]
    headers += [
        f"{name}: ${{{start}AGENT_ID}}" for name in read_traits(document, route.operation, where="").agent_headers
    ]
    stated = " ".join(f'-H "{header}"' for header in headers)
    return f"curl -s {base}{route.path} {stated} -d {shlex.quote(json.dumps(example, ensure_ascii=False))}"


def _without_development(environment: Mapping[str, str], source: Source) -> dict[str, str]:
    """Return *environment* without an earlier demo's keys, other identities and their secrets: there is one key."""
    left_out = {f"{_exported(name)}{key}" for name in source.dialects for key in ("TOKEN", "AGENT_ID", "ORG_ID")}
    left_out.update(IDENTITY_VARIABLES)
    of_mounts = ("_GATEWAY_TOKEN", "_GATEWAY_PASSWORD", "_IDENTITY")
    return {name: value for name, value in environment.items() if name not in left_out and not name.endswith(of_mounts)}


def _effective(source: Source, dialect: str, *, mount: str, phase: int, off: frozenset[str] = frozenset()) -> Document:
    phases = {name: phase for name, forwards in source.operations.items() if forwards}
    return source.effective(dialect, mount=mount, phases=phases, off=off)


def _documents(source: Source) -> list[tuple[str, Document]]:
    """Return every document that is made from the source, with its name."""
    made = []
    for name in source.dialects:
        made += [(f"{name}.phase{phase}", _effective(source, name, mount="/", phase=phase)) for phase in (1, 2)]
        made.append((f"{name}.sdk", sdk(source.dialect(name))))
    return made


def _judge(source: Source) -> list[str]:
    """Return what is wrong with each document that is made from the source, with the document's name."""
    found = []
    for name, document in _documents(source):
        broken = problems(document)
        sys.stderr.write(f"{name}: {'ok' if not broken else f'{len(broken)} problems'}\n")
        found += [f"{name}: {problem}" for problem in broken]
    return found


def _render(document: Document) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; *arguments* default to those of the process."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (TreatyError, SettingsError, StoreError, AdministrationError) as error:
        _fail(str(error))
    except BrokenPipeError:
        # Whoever read the output has left, as `head` does; Python would complain again while it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except CycloptsError as error:
        _fail(f"{' '.join(str(error).split())}; see `dragoman --help`")
