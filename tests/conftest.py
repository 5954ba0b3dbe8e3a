"""What the tests share: how often Hypothesis tries, a gateway in this process, and treaty's small document."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import treaty
from fakes import House, build_house, effective
from lanes import FaultyHouse, Lane, disclosed, faulty_house
from lines import Line, on_a_line

# The same examples on every run, without a store: a red test is red everywhere. Deadlines would time the machine.
settings.register_profile("unit", derandomize=True, database=None, deadline=None, max_examples=100)
settings.load_profile("unit")


@pytest.fixture(scope="session", autouse=True)
def _own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run everything, also processes that are started, with a store of the tests' own, never the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def built_house() -> House:
    """Return a gateway with the canonical contract at the root and a dialect beside it."""
    return build_house({"/": effective(), "/ibex": effective("ibex", mount="/ibex")})


@pytest.fixture
def house(built_house: House) -> Iterator[House]:
    """Return that gateway with an empty log; compiling its contracts takes longer than a test."""
    yield built_house
    built_house.log.requests.clear()
    built_house.log.failures.clear()
    built_house.identity.tokens_asked.clear()
    built_house.identity.agents_asked.clear()
    built_house.identity.fault = built_house.catalogue.fault = None


@pytest.fixture(scope="session")
def opened_line() -> Iterator[Line]:
    """Serve the canonical contract with a dialect beside it on a socket in this process, with short deadlines."""
    with on_a_line(build_house({"/": effective(), "/ibex": effective("ibex", mount="/ibex")})) as line:
        yield line


@pytest.fixture
def line(opened_line: Line) -> Line:
    """Return that gateway with an empty log."""
    opened_line.events()
    opened_line.house.log.requests.clear()
    return opened_line


@pytest.fixture(scope="session")
def served_lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyHouse]:
    """Serve a process with more lanes than there are tests that take one: a lane is two sockets."""
    with faulty_house(tmp_path_factory.mktemp("lanes"), 120) as served:
        yield served


@pytest.fixture
def faulty(served_lanes: FaultyHouse) -> Iterator[FaultyHouse]:
    """Return that process, which after the test still serves, and has told nobody who is behind it."""
    gateway, before = served_lanes.gateway, len(served_lanes.gateway.told)
    yield served_lanes
    told = b"".join(gateway.told[before:]) + gateway.served.log.read_bytes()
    assert [] == disclosed(told, served_lanes.lanes)
    assert gateway.served.process.poll() is None


@pytest.fixture
def lane(faulty: FaultyHouse) -> Lane:
    """Return a lane of the test's own."""
    return faulty.lane()


@pytest.fixture
def small() -> treaty.Document:
    """Return a fresh copy of the small contract, to be changed at will."""
    return treaty.load(Path(__file__).parent / "treaty" / "small.yaml")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that puts a text into a file and says where."""

    def written(text: str) -> Path:
        path = tmp_path / "file.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written
