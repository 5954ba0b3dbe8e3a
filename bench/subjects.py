"""What is measured: the gateway in its phases, and what it is measured beside (ADR-0044).

Laws of this file:
- A subject is data: how it is started, where it listens, how it is asked, and what it answers.
- A gateway is measured as it is meant to run: keys in a store, every limit on and none in the way, metrics, the ledger
  and the log event on.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from bench.serving import HOST, NotServedError, Program, environment, free_ports

HERE: Final = Path(__file__).parent
DRAGOMAN: Final = (sys.executable, "-m", "dragoman")
PATH: Final = "/v1/chat/completions"
OK: Final = 200
NOT_CONFIGURED: Final = 501

PLENTY: Final = "100000000/s"
"""A limit that counts every request and refuses none."""

ROOM: Final = "4096"
"""How many requests the gateway takes at once: more than any load here has."""

FORWARDING: Final = """\
phase = 2

[[provider]]
name = "stub"
kind = "openai"
base_url = "http://{host}:{port}/v1"
key = "env:BENCH_UPSTREAM_KEY"
private = true
capacity = {room}

[[alias]]
id = "gpt-4o"

[[alias.target]]
provider = "stub"
model = "stub-model"
"""
"""What makes a gateway forward to the stub at *port*."""


@attrs.frozen(kw_only=True)
class Subject(Program):
    """A program to measure; its *key* is its name on the command line.

    It is asked for *model* with *headers*, and answers a chat request with *status*; 200 means that it forwards.
    """

    headers: Mapping[str, str] = attrs.field(factory=dict)
    model: str = "gpt-4o"
    status: int = OK

    @property
    def forwards(self) -> bool:
        """Whether an upstream answers."""
        return self.status == OK

    def body(self, **more: Any) -> str:  # noqa: ANN401 - it is JSON
        """Return the chat request that it is sent."""
        return json.dumps({"model": self.model, "messages": [{"role": "user", "content": "hello"}], **more})


@attrs.frozen(kw_only=True)
class House:
    """A store with one key and one alias: the *token*, and the *variables* that lead a gateway to it."""

    token: str
    variables: Mapping[str, str]


def build_house(place: Path) -> House:
    """Return a store in *place*, made with the program's own commands, with every limit on and none in the way."""
    variables = {"DRAGOMAN_STORE": str(place / "dragoman.db")}
    organization = _told("orgs", "create", "bench", **variables)["id"]
    token = _told("keys", "create", "--org", organization, **variables)["token"]
    _told("aliases", "create", "gpt-4o", **variables)
    limits = {f"DRAGOMAN_LIMIT_{name}": PLENTY for name in ("ADDRESS", "ORGANIZATION", "KEY", "ALIAS")}
    return House(token=token, variables={**variables, **limits, "DRAGOMAN_MAX_IN_FLIGHT": ROOM})


def stub(*, pieces: int, pace: int) -> Subject:
    """Return the upstream, which is asked directly as well: what the others add is counted from there."""
    [port] = free_ports(1)
    command = (sys.executable, str(HERE / "stub.py"), str(port), str(pieces), str(pace))
    return Subject(key="direct", command=command, port=port)


def constant() -> Subject:
    """Return the least that Phase 1 could cost."""
    [port] = free_ports(1)
    command = (sys.executable, str(HERE / "constant.py"), str(port))
    return Subject(key="constant", command=command, port=port, status=NOT_CONFIGURED)


def identity_service(house: House) -> Program:
    """Return what tells a gateway over gRPC who is calling."""
    [port] = free_ports(1)
    return Program(
        key="identity",
        command=(*DRAGOMAN, "identity-service", "--port", str(port)),
        port=port,
        variables=house.variables,
    )


def phase_one(house: House, *, identity: Program | None = None) -> Subject:
    """Return the gateway in Phase 1, with the keys of its store, or with the *identity* service to ask."""
    [port] = free_ports(1)
    key, more = "store", {}
    if identity is not None:
        key, more = "grpc", {"DRAGOMAN_IDENTITY": "service", "DRAGOMAN_IDENTITY_ADDRESS": f"{HOST}:{identity.port}"}
    return Subject(
        key=key,
        command=(*DRAGOMAN, "serve", "--port", str(port)),
        port=port,
        headers={"authorization": f"Bearer {house.token}"},
        variables={**house.variables, **more},
        status=NOT_CONFIGURED,
    )


def phase_two(house: House, place: Path, *, upstream: Subject) -> Subject:
    """Return the gateway in Phase 2, which forwards to the *upstream*; its settings file is written to *place*."""
    [port] = free_ports(1)
    settings = place / "dragoman.toml"
    settings.write_text(FORWARDING.format(host=HOST, port=upstream.port, room=ROOM), encoding="utf-8")
    _told("apply", str(settings), **house.variables)
    limits = {f"DRAGOMAN_LIMIT_{name}_TOKENS": PLENTY for name in ("ORGANIZATION", "KEY", "ALIAS")}
    return Subject(
        key="dragoman",
        command=(*DRAGOMAN, "serve", "--port", str(port), "--config", str(settings)),
        port=port,
        headers={"authorization": f"Bearer {house.token}"},
        variables={**house.variables, **limits, "BENCH_UPSTREAM_KEY": "upstream-key-of-the-bench"},
    )


def _told(*arguments: str, **variables: str) -> dict[str, Any]:
    ended = subprocess.run(
        [*DRAGOMAN, *arguments, "--json"],
        env=environment(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ended.returncode:
        message = f"{' '.join(arguments)}: {ended.stderr.strip()}"
        raise NotServedError(message)
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer
