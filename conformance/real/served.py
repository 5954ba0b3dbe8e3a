"""A gateway as an operator runs it: a settings file, a store and a key that the commands made, and a process.

Laws of this file:
- Nothing of `src/` is imported: what is started is what a user starts.
- Whoever starts a process ends it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

PATIENCE: Final = 120.0
"""Seconds after which a command, or an end, is a failure: far beyond what any machine needs."""

PROGRAM: Final = (sys.executable, "-m", "dragoman")
ORGANIZATION: Final = "acme"
SETTINGS: Final = f"""
port = 0
store = "store.db"
phase = 2

[[organization]]
name = "{ORGANIZATION}"
"""


@attrs.frozen(kw_only=True)
class Furnished:
    """What a gateway is served from: a *folder* with settings and a store, a *key* of it, and *variables*."""

    folder: Path
    key: str
    variables: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Served:
    """A running gateway: its base URL for SDKs, a valid *key*, and the file with its *log*."""

    base_url: str
    key: str
    log: Path


def furnished(folder: Path, catalogue: str, **secrets: str) -> Furnished:
    """Return what serves *catalogue*, the rest of a settings file that may refer to *secrets*, from *folder*."""
    (folder / "dragoman.toml").write_text(SETTINGS + catalogue)
    inherited = {name: value for name, value in os.environ.items() if "DRAGOMAN_" not in name}  # noqa: TID251
    variables = {**inherited, "DRAGOMAN_CONFIG": "dragoman.toml", "DRAGOMAN_DRAIN_DELAY": "0", **secrets}

    def command(*arguments: str) -> str:
        ran = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert 0 == ran.returncode, ran.stderr
        return ran.stdout

    command("apply")
    made = json.loads(command("keys", "create", "--org", ORGANIZATION, "--json"))
    return Furnished(folder=folder, key=made["token"], variables=variables)


@contextmanager
def served(furnished: Furnished, log: Path) -> Iterator[Served]:
    """Serve what is *furnished* until the end of the block, with its log in the file *log*."""
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [*PROGRAM, "serve"],
            cwd=furnished.folder,
            env=furnished.variables,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = next((line for line in process.stdout if " is served at " in line), None)
            assert line is not None, log.read_text()
            url = line.partition(" is served at ")[2].partition(";")[0].strip()
            yield Served(base_url=f"{url}/v1", key=furnished.key, log=log)
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)
