"""Makes the Python code of proto/, which is checked in: `tox -e proto`, after a change of the proto or of its compiler.

A newer grpcio-tools makes code that needs a newer grpcio and protobuf: their lower bounds in pyproject.toml follow it.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PROTO: Final = "proto/dragoman/identity/v1"
PACKAGE: Final = "dragoman/adapters/identity/_pb"


def generate(out: Path) -> None:
    """Write the code below the folder *out*, where its package stands below `src`."""
    # The proto is told to lie where its code shall, since protoc writes absolute imports.
    options = [f"-I{PACKAGE}={PROTO}", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *options, f"{PROTO}/identity.proto"]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    generate(ROOT / "src")
