"""The code that is made of the proto, and what the proto says to whoever implements it."""

from pathlib import Path

import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.identity import answers, remote
from generated_code import PACKAGE, PROTO, ROOT, generate

TEXT = " ".join(line.strip(" /") for line in (ROOT / PROTO / "identity.proto").read_text().splitlines())


@confirms("ADR-0031.R5")
def test_the_code_is_what_the_proto_generates(tmp_path: Path) -> None:
    """Generating the code again gives every file that is checked in, byte for byte, and no other."""
    generate(tmp_path)

    made = {path.name: path.read_bytes() for path in (tmp_path / PACKAGE).iterdir()}
    checked_in = {path.name: path.read_bytes() for path in (ROOT / "src" / PACKAGE).glob("identity_*")}
    assert {"identity_pb2.py", "identity_pb2.pyi", "identity_pb2_grpc.py"} == set(made)
    assert made == checked_in


@pytest.mark.parametrize(
    "said",
    [
        f"Answer within {remote.DEADLINE * 1000:.0f} ms",
        f"used for {answers.FRESH:.0f} s",
        f"at most {answers.SURVIVAL:.0f} s after it last confirmed the token",
    ],
)
def test_the_proto_tells_what_the_code_does(said: str) -> None:
    """The figures in the proto's own text are those of the code."""
    assert said in TEXT
