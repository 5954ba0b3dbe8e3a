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

OVER_SOCKETS: Final = {1: ("/", "/ibex"), 2: ("/",)}
"""The mounts that are judged over a socket as well, by phase, where nobody asks for all: they share a server."""

GENERATED_OVER_SOCKETS: Final = ("/ibex",)
"""Those of them that are asked generated cases, which take longest, in either phase."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that judges every dialect over a socket."""
    parser.addoption("--every-socket", action="store_true", help="judge every dialect over a socket, and not two")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a target on each mount, in process and over a socket."""
    if "target" in metafunc.fixturenames:
        targets = [(phase, mount, "inside") for phase in PHASES for mount in DIALECTS]
        for phase in PHASES:
            mounts = GENERATED_OVER_SOCKETS if "run" in metafunc.fixturenames else OVER_SOCKETS[phase]
            every = metafunc.config.getoption("--every-socket")
            targets += [(phase, mount, "outside") for mount in (DIALECTS if every else mounts)]
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
    served = DIALECTS if pytestconfig.getoption("--every-socket") else (*OVER_SOCKETS[2], *GENERATED_OVER_SOCKETS)
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
def run(target: Target) -> Run:
    """What Schemathesis saw of the target: it is asked once, and several tests look at it."""
    return judge(target)


@pytest.fixture(scope="session")
def provoked(target: Target) -> list[Outcome]:
    """What the probes saw of the target, and what they could not."""
    return list(provoke(target))
