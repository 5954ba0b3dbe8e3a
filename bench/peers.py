"""Other gateways, to measure beside: installed from their packages, and started as each runs best (ADR-0044).

Laws of this file:
- Each has its own folder, made once for each version; nothing of it is imported here.
- One process, or one worker, each: it has one core. No debug log, no database, no retries, no health checks while
  it is measured.
- A peer that cannot be installed is missing by name and reason, never left out in silence.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from bench.serving import HOST, NotServedError, environment, free_ports
from bench.subjects import Subject

LIMIT: Final = 400.0
"""Seconds that one installation may take."""

LITELLM: Final = "1.108.7"
PORTKEY: Final = "1.15.2"
SMG: Final = "1.13.0"

PORTKEY_SERVER: Final = "1.13.5"
"""The version of `@hono/node-server` in Portkey's own lock file. With what its package lets npm choose today, each
stream is answered 500 (`TypeError: immutable`, Portkey-AI/gateway#1389)."""

NPM: Final = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1")
"""Few tries, so that whoever cannot reach npm's registry hears of it soon, and why."""

LOOPBACK_ONLY: Final = """data:text/javascript,import net from "node:net";
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, _, ...more) { return listen.call(this, port, "127.0.0.1", ...more) };"""
"""Portkey listens on every address, and no setting changes that. This does, and nothing else."""

LITELLM_KEY: Final = "sk-bench-0c1d7b9a2e8d6f5c3b1a0e9d8c7b6a5f"
"""LiteLLM does not start without a master key that is hard to guess; checking it is the cheapest check that it has."""


@attrs.frozen(kw_only=True)
class Peer:
    """A gateway of others: its *key* on the command line, what installs it in a folder, and what it is as a subject.

    The subject is made of the folder it is installed in, a folder for its settings, and the upstream.
    """

    key: str
    name: str
    install: Callable[[Path], None]
    subject: Callable[[Path, Path, Subject], Subject]

    def installed(self, peers: Path) -> Path:
        """Return its folder in the folder of all *peers*, made if it is not there.

        Raises:
            NotServedError: when it cannot be installed.
        """
        folder = peers / self.name.lower().replace(" ", "-")
        done = folder / "installed"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.install(folder)
            done.touch()
        return folder


def _install_python(requirement: str) -> Callable[[Path], None]:
    def install(folder: Path) -> None:
        python = str(folder / "bin" / "python")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([python, "-m", "pip", "install", "--quiet", requirement])

    return install


def _install_portkey(folder: Path) -> None:
    wanted = {
        "private": True,
        "dependencies": {"@portkey-ai/gateway": PORTKEY},
        "overrides": {"@hono/node-server": PORTKEY_SERVER},
    }
    (folder / "package.json").write_text(json.dumps(wanted), encoding="utf-8")
    _run(["npm", "install", "--prefix", str(folder), *NPM])


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, env=environment({}), capture_output=True, text=True, check=True, timeout=LIMIT)
    except subprocess.CalledProcessError as error:
        said = " ".join(f"{error.stdout} {error.stderr}".split())[-300:]
        message = f"it cannot be installed: {' '.join(command[:4])}: {said}"
        raise NotServedError(message) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"it cannot be installed: {error}"
        raise NotServedError(message) from error


def _litellm(folder: Path, place: Path, upstream: Subject) -> Subject:
    [port] = free_ports(1)
    target = {"model": "openai/stub-model", "api_base": f"http://{HOST}:{upstream.port}/v1", "api_key": "sk-upstream"}
    settings = place / "litellm.json"  # JSON is YAML
    settings.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "gpt-4o", "litellm_params": target}],
                "litellm_settings": {"num_retries": 0, "request_timeout": 600},
            }
        ),
        encoding="utf-8",
    )
    return Subject(
        key="litellm",
        command=(
            *(str(folder / "bin" / "litellm"), "--config", str(settings)),
            *("--host", HOST, "--port", str(port), "--num_workers", "1"),
        ),
        port=port,
        headers={"authorization": f"Bearer {LITELLM_KEY}"},
        variables={
            "LITELLM_MASTER_KEY": LITELLM_KEY,
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_DOCS": "True",
            "NO_REDOC": "True",
        },
        patience=120.0,
    )


def _portkey(folder: Path, _: Path, upstream: Subject) -> Subject:
    [port] = free_ports(1)
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Subject(
        key="portkey",
        command=("node", "--import", LOOPBACK_ONLY, str(server), f"--port={port}", "--headless"),
        port=port,
        headers={
            "authorization": "Bearer sk-upstream",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://{HOST}:{upstream.port}/v1",
        },
        variables={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": HOST},
        patience=30.0,
    )


def _smg(folder: Path, _: Path, upstream: Subject) -> Subject:
    port, metrics = free_ports(2)
    return Subject(
        key="smg",
        command=(
            *(str(folder / "bin" / "smg"), "launch", "--backend", "openai"),
            *("--worker-urls", f"http://{HOST}:{upstream.port}", "--worker-startup-check-interval", "1"),
            *("--host", HOST, "--port", str(port), "--prometheus-host", HOST, "--prometheus-port", str(metrics)),
            *("--log-level", "error", "--history-backend", "none", "--disable-tokenizer-autoload"),
            *("--disable-health-check", "--disable-retries"),
        ),
        port=port,
        headers={"authorization": "Bearer sk-upstream"},
        model="stub-model",  # it has no aliases for this backend
        patience=30.0,
    )


PEERS: Final[Mapping[str, Peer]] = {
    peer.key: peer
    for peer in (
        Peer(key="smg", name=f"SMG {SMG}", install=_install_python(f"smg=={SMG}"), subject=_smg),
        Peer(key="portkey", name=f"Portkey {PORTKEY}", install=_install_portkey, subject=_portkey),
        Peer(
            key="litellm",
            name=f"LiteLLM {LITELLM}",
            install=_install_python(f"litellm[proxy]=={LITELLM}"),
            subject=_litellm,
        ),
    )
}
