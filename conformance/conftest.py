"""The gateways that the suite judges: one in this process, and the same served by a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from gateway_conformance.engine import Run, judge
from gateway_conformance.exchange import InProcess, OverSocket, in_process, over_socket
from gateway_conformance.probes import Seen, provoke
from gateway_conformance.target import Target, connect

from gateways import CALLERS, DIALECTS, build, real_parts

HERE: Final = Path(__file__).parent

OVER_SOCKETS: Final = ("/", "/ibex")
"""The mounts that are judged over a socket as well, where nobody asks for all of them: they share one server."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that judges every dialect over a socket."""
    parser.addoption("--every-socket", action="store_true", help="judge every dialect over a socket, and not two")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a target on each mount, in process and over a socket."""
    if "target" in metafunc.fixturenames:
        outside = DIALECTS if metafunc.config.getoption("--every-socket") else OVER_SOCKETS
        targets = [(mount, "inside") for mount in DIALECTS] + [(mount, "outside") for mount in outside]
        names = [f"{DIALECTS[mount]}-{where}" for mount, where in targets]
        metafunc.parametrize("target", targets, ids=names, indirect=True, scope="session")


@contextmanager
def serving(*mounts: str, log: Path) -> Iterator[OverSocket]:
    """Serve the dialects at *mounts* in a process of their own."""
    with log.open("wb") as stderr:
        command = [sys.executable, str(HERE / "gateways.py"), *mounts]
        # It finds what this process finds, and no variable of this machine reaches it.
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=paths)
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip().decode()
            assert port, f"the gateway did not start: {log.read_text()}"
            with over_socket(f"http://127.0.0.1:{port}") as line:
                yield line
        finally:
            process.terminate()
            process.wait(timeout=10)
            process.stdout.close()


@pytest.fixture(scope="session")
def inside() -> Iterator[InProcess]:
    """The real gateway in this process."""
    with in_process(build(real_parts())) as line:
        yield line


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverSocket]:
    """The real gateway behind a socket."""
    with serving(*DIALECTS, log=tmp_path_factory.mktemp("outside") / "log") as line:
        yield line


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A real gateway behind a socket that has one mount, and that not at the root."""
    with serving("/ibex", log=tmp_path_factory.mktemp("alone") / "log") as line:
        yield connect(line, mount="/ibex", callers=CALLERS, outermost=True)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    """Each served mount, in process and over a socket."""
    mount, where = request.param
    return connect(request.getfixturevalue(where), mount=mount, callers=CALLERS, outermost=mount == "/")


@pytest.fixture(scope="session")
def root(inside: InProcess) -> Target:
    """The canonical contract in this process."""
    return connect(inside, mount="/", callers=CALLERS, outermost=True)


@pytest.fixture(scope="session")
def run(target: Target) -> Run:
    """What Schemathesis saw of the target: it is asked once, and several tests look at it."""
    return judge(target)


@pytest.fixture(scope="session")
def provoked(target: Target) -> list[Seen]:
    """What the probes saw of the target."""
    return list(provoke(target))
