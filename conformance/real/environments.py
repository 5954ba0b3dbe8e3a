"""Environments of programs that are not ours: made once of pinned packages, kept, and used again (ADR-0046).

Laws of this file:
- An environment holds what its file of pins says, with nothing of ours and nothing of another environment.
- One that was not finished, or was made of other pins, is made anew. Of two runs at once, one makes it.
- What the machine lacks is named: on a developer's machine the test is skipped, under CI it fails.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

KEPT: Final = Path(__file__).parents[2] / ".tox" / "real"
"""Where they are kept, each under its name; whoever removes the folder has them made again."""

MAKING: Final = 7000.0
"""Seconds that one may take to make: llama.cpp is compiled, for ten minutes of one core, which others may want too."""

INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a program that is not ours gets of our environment: no key, no setting, no proxy."""


def own_variables() -> dict[str, str]:
    """Return the variables that a program that is not ours starts with."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}  # noqa: TID251 - a test's own


def require_programs(*names: str, purpose: str) -> None:
    """Skip the test, or fail it under CI, where one of the programs *names* is not there for the *purpose*."""
    if missing := [name for name in names if shutil.which(name) is None]:
        reason = f"{' and '.join(missing)} not on PATH, so {purpose} was not asked"
        if os.environ.get("CI"):  # noqa: TID251 - a test's own question, not the gateway's
            pytest.fail(reason)
        pytest.skip(reason)


def python_environment(pins: Path) -> Path:
    """Return the folder of programs of an environment that has what the file *pins* lists, and nothing else."""
    require_programs("uv", purpose=pins.stem)
    with _kept(pins.stem, pins.read_bytes() + sys.version.encode()) as folder:
        if folder is not None:
            _run(["uv", "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)])
            _run(["uv", "pip", "sync", "--quiet", "--python", str(folder / "bin" / "python"), str(pins)])
    return KEPT / pins.stem / "bin"


def node_environment(programs: Path) -> Path:
    """Return a copy of the folder *programs*, and of what stands beside it, with the packages of its lock file."""
    require_programs("node", "npm", purpose=programs.name)
    with _kept(programs.name, (programs / "package-lock.json").read_bytes() + platform.machine().encode()) as folder:
        if folder is not None:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(programs / name, folder)
            _run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)])
    for program in (*programs.glob("*.mjs"), *programs.parent.glob("*.mjs")):
        shutil.copy(program, KEPT / programs.name)
    return KEPT / programs.name


@contextmanager
def _kept(name: str, made_of: bytes) -> Iterator[Path | None]:
    """Give the empty folder of the environment *name* to be filled, or None where it is as it should be."""
    folder, wanted = KEPT / name, sha256(made_of).hexdigest()
    done = folder / "made-of"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.is_file() and done.read_text() == wanted:
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        done.write_text(wanted)


def _run(command: Sequence[str]) -> None:
    # Of this process they get how packages are fetched, and no path of ours for modules, which theirs would search too.
    mine = ("PYTHON", "VIRTUAL_ENV")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(mine)}  # noqa: TID251
    ran = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=MAKING)
    assert 0 == ran.returncode, f"{' '.join(command)}: {ran.stdout[-2000:]}{ran.stderr[-4000:]}"
