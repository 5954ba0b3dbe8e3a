"""The gateways that the suite judges: one in this process, and the same served by a process of its own."""

from collections.abc import Iterator
from typing import Final

import pytest
from gateway_conformance.engine import Run, judge
from gateway_conformance.probes import Outcome, provoke
from gateway_conformance.target import Target

import courts
from courts import Court
from gateways import DIALECTS

PHASES: Final = (1, 2)

OVER_SOCKETS: Final = {1: ("/", "/ibex"), 2: ("/ibex",)}
"""The mounts that are judged over a socket as well, by phase, where nobody asks for all: they share a server."""

WITH_SDKS: Final = ("/", "/ibex")
"""The mounts of the server of Phase 2 where nobody asks for all: the SDKs talk to the first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that judges every dialect over a socket."""
    parser.addoption("--every-socket", action="store_true", help="judge every dialect over a socket, and not two")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a target on each mount, in process and over a socket."""
    if "target" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-socket")
        targets = [(phase, mount, "inside") for phase in PHASES for mount in DIALECTS]
        targets += [
            (phase, mount, "outside") for phase in PHASES for mount in (DIALECTS if every else OVER_SOCKETS[phase])
        ]
        names = [f"{DIALECTS[mount]}-phase{phase}-{where}" for phase, mount, where in targets]
        metafunc.parametrize("target", targets, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def inside() -> Iterator[Court]:
    """The real gateway in this process, in Phase 1."""
    with courts.inside() as court:
        yield court


@pytest.fixture(scope="session")
def forwarding_inside() -> Iterator[Court]:
    """The real gateway in this process, in Phase 2."""
    with courts.inside(phase=2) as court:
        yield court


@pytest.fixture(scope="session")
def forwarding_outside(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Court]:
    """The real gateway behind a socket, in Phase 2."""
    served = DIALECTS if pytestconfig.getoption("--every-socket") else WITH_SDKS
    mounts = {mount: DIALECTS[mount] for mount in served}
    with courts.outside(tmp_path_factory.mktemp("forwarding"), mounts, phase=2) as court:
        yield court


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """The real gateway behind a socket, in Phase 1."""
    with courts.outside(tmp_path_factory.mktemp("outside")) as court:
        yield court


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A real gateway behind a socket that has one mount, and that not at the root."""
    with courts.outside(tmp_path_factory.mktemp("alone"), {"/ibex": "ibex"}) as court:
        yield court.target("/ibex")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    """Each served mount, in each phase, in process and over a socket."""
    phase, mount, where = request.param
    court: Court = request.getfixturevalue(where if phase == 1 else f"forwarding_{where}")
    return court.target(mount)


@pytest.fixture(scope="session")
def root(inside: Court) -> Target:
    """The canonical contract in this process, in Phase 1."""
    return inside.target("/")


@pytest.fixture(scope="session")
def forwarding_root(forwarding_inside: Court) -> Target:
    """The canonical contract in this process, in Phase 2."""
    return forwarding_inside.target("/")


@pytest.fixture(scope="session")
def run(target: Target, pytestconfig: pytest.Config) -> Run:
    """What Schemathesis saw of the target: it is asked once, and several tests look at it.

    In Phase 1 and in process each path is fuzzed in full, so that elsewhere those of one operation are alike.
    """
    forwards = any(operation.phase == 2 for operation in target.promises.operations)
    again = forwards or target.transport.app is None
    return judge(target, alike=again and not pytestconfig.getoption("--every-socket"))


@pytest.fixture(scope="session")
def provoked(target: Target) -> list[Outcome]:
    """What the probes saw of the target, and what they could not."""
    return list(provoke(target))
