"""A folder holds a canonical contract, and every overlay in it is a dialect."""

from pathlib import Path

import pytest
from gateway_conformance.rules import confirms

from dragoman.contract.source import CANONICAL, PACKAGED, Source
from treaty import TreatyError

GATEWAY = """
openapi: 3.2.0
info: {title: Things, version: "1"}
servers: [{url: /}]
paths:
  /things:
    post:
      operationId: makeThing
      x-operation: make
      x-phase: [1, 2]
      x-adr: [ADR-0001]
      responses: {"501": {description: Not yet., x-phase: 1}, "200": {description: Made., x-phase: 2}}
    get:
      operationId: listThings
      x-operation: list
      x-adr: [ADR-0001]
      responses: {"200": {description: All.}}
"""
SMALLER = """
overlay: 1.1.0
info: {title: Smaller, version: "1"}
actions:
  - {target: "$.paths['/things'].post", remove: true}
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Return a folder with two operations, and a dialect that has one of them."""
    (tmp_path / "overlays").mkdir()
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    (tmp_path / "overlays" / "smaller.yaml").write_text(SMALLER)
    (tmp_path / "overlays" / "absent.yaml").write_text(SMALLER.replace("/things", "/other"))
    return Source(folder=tmp_path)


@confirms("ADR-0002.R4")
def test_each_overlay_is_a_dialect(source: Source) -> None:
    """The canonical contract comes first, and each file in overlays/ is a dialect named as the file."""
    assert (CANONICAL, "absent", "smaller") == source.dialects


def test_operations_say_whether_they_forward(source: Source) -> None:
    """Every x-operation of the canonical contract is known, with whether it has phases."""
    assert {"make": True, "list": False} == dict(source.operations)


def test_the_canonical_contract_is_a_dialect(source: Source) -> None:
    """The canonical name gives the canonical contract, with all phases."""
    assert [1, 2] == source.dialect(CANONICAL)["paths"]["/things"]["post"]["x-phase"]


@confirms("ADR-0002.R4")
def test_a_dialect_is_the_canonical_contract_with_its_overlay(source: Source) -> None:
    """A dialect differs from the canonical contract by what its file says."""
    assert ["get"] == list(source.dialect("smaller")["paths"]["/things"])


@confirms("ADR-0018.R1")
def test_an_unknown_dialect_is_refused(source: Source) -> None:
    """An unknown dialect is refused by name, with the nearest known one."""
    with pytest.raises(TreatyError) as caught:
        source.dialect("smallest")

    assert "unknown dialect 'smallest'; did you mean 'smaller'?" == str(caught.value)


@confirms("ADR-0002.R1")
def test_a_dialect_whose_target_is_gone_is_refused(source: Source) -> None:
    """An overlay that matches nothing is an error when its dialect is asked for, and names its target."""
    with pytest.raises(TreatyError, match=r"\$\.paths\['/other'\]\.post"):
        source.dialect("absent")


def test_flags_for_what_a_dialect_lacks_are_left_out(source: Source) -> None:
    """A phase or a switch of an operation that the dialect has not changes nothing about it."""
    document = source.effective("smaller", mount="/small", phases={"make": 2}, off={"make"})

    assert ("/small", ["get"]) == (document["servers"][0]["url"], list(document["paths"]["/things"]))


def test_flags_apply_to_the_operations_of_the_dialect(source: Source) -> None:
    """A phase chooses what is live, and an operation that is off is gone with its method."""
    document = source.effective(CANONICAL, mount="/", phases={"make": 2}, off={"list"})

    assert {"post": {"200"}} == {
        method: set(operation["responses"]) for method, operation in document["paths"]["/things"].items()
    }


def test_documents_are_read_once_and_made_anew(source: Source) -> None:
    """The file is read once; an effective contract is a new document every time."""
    first, second = (source.effective(CANONICAL, mount="/", phases={}) for _ in range(2))

    assert first == second
    assert first is not second
    assert source.canonical is source.canonical


def test_the_package_carries_its_contract() -> None:
    """Without a folder the contract of the package is meant."""
    assert (PACKAGED, "3.2.0") == (Source().folder, Source().canonical["openapi"])
