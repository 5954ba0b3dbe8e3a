"""The five systems to the letter: every row of `systems/` is run (ADR-0028)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import attrs
import pytest
from gateway_conformance.exchange import InProcess, in_process
from gateway_conformance.rows import Row, differences, json_blocks, matches, misfits, read_rows, request_of
from gateway_conformance.rules import RuleBroken, confirms

from dragoman.app import Guard
from dragoman.model import rate_of
from gateways import CALLERS, build, effective_document, real_parts

SYSTEMS: Final = Path(__file__).parent / "systems"
TEXTS: Final = Path(__file__).parent.parent.parent / "shared" / "systems"
FILES: Final = {path.stem: read_rows(path) for path in sorted(SYSTEMS.glob("*.yaml"))}
ROWS: Final = [(dialect, row) for dialect, (_, rows) in FILES.items() for row in rows]
NAMES: Final = {"TOKEN": CALLERS.token, "AGENT_ID": CALLERS.agent, "ORG_ID": CALLERS.organization}


def rows_of(kind: str) -> list[object]:
    """Return the rows of one *kind*, named by dialect and lines."""
    return [
        pytest.param(dialect, row, id=f"{dialect}-{row.first}-{row.last}-{row.says}")
        for dialect, row in ROWS
        if row.kind == kind
    ]


@contextmanager
def answering(dialect: str, phase: int, row: Row) -> Iterator[InProcess]:
    """Run a gateway as *row* needs it."""
    parts = real_parts({f"/{dialect}": dialect}, phase=phase, off=row.off)
    if row.limits is not None:
        parts = attrs.evolve(parts, guard=Guard(rates={scope: rate_of(rate) for scope, rate in row.limits.items()}))
    with in_process(build(parts)) as line:
        yield line


def asked() -> list[object]:
    """Return the rows that are asked, in each phase of which they say something."""
    return [
        pytest.param(dialect, row, phase, expected, id=f"{dialect}-phase{phase}-{row.first}-{row.last}-{row.says}")
        for phase in (1, 2)
        for dialect, row in ROWS
        if row.kind == "request" and (expected := row.expected(phase)) is not None
    ]


@confirms("ADR-0028.R1", "ADR-0045.R18")
@pytest.mark.parametrize(("dialect", "row", "phase", "expected"), asked())
def test_the_gateway_answers_as_the_text_says(
    dialect: str, row: Row, phase: int, expected: Mapping[str, object]
) -> None:
    """A request of a text is answered with the status, the headers and the members that the text gives."""
    request = request_of(row, NAMES)
    with answering(dialect, phase, row) as line:
        located = attrs.evolve(request, path=f"/{dialect}{request.path}")
        response = [line.exchange(located) for _ in range(row.times)][-1]
        found = differences(expected, response)

        if found:
            raise RuleBroken(
                rule=f"ADR-0028.R1, {dialect} lines {row.first} to {row.last}, phase {phase}",
                expected=row.says,
                actual="; ".join(found),
                curl=located.curl(line.origin),
            )


@cache
def document_of(dialect: str, phase: int) -> dict[str, object]:
    """Return the effective contract of *dialect*, with everything switched on."""
    return effective_document(dialect, mount="/", phase=phase)


@confirms("ADR-0028.R1")
@pytest.mark.parametrize(("dialect", "row"), rows_of("document"))
def test_the_document_says_what_the_text_says(dialect: str, row: Row) -> None:
    """An answer of Phase 2 stands in the document as the text gives it."""
    assert [] == misfits(row, document_of(dialect, row.stated["document"]["phase"]))


def without_patterns(body: object) -> object:
    """Return *body* with patterns that match anything: a sample in a text need not have the form of a real value."""
    match body:
        case {"pattern": _, **rest} if not rest:
            return {"pattern": ".*"}
        case dict():
            return {name: without_patterns(value) for name, value in body.items()}
        case list():
            return [without_patterns(item) for item in body]
        case _:
            return body


@confirms("ADR-0028.R2")
@pytest.mark.parametrize("dialect", FILES)
def test_every_line_and_every_block_of_a_text_is_in_a_row(dialect: str) -> None:
    """No line of a text, and no JSON block in it, is left out of the rows."""
    name, rows = FILES[dialect]
    if not TEXTS.is_dir():
        pytest.skip("the texts of the systems are not beside this checkout, so the rows were not compared with them")
    text = (TEXTS / name).read_text()
    covered = {line for row in rows for line in range(row.first, row.last + 1)}
    bodies = [without_patterns(body) for row in rows for body in row.bodies() if body is not None]

    assert [] == [number for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in covered]
    assert [] == [block for block in json_blocks(text) if not any(matches(body, block) for body in bodies)]


def test_rows_that_are_wrong_are_seen(tmp_path: Path) -> None:
    """A row of no kind is refused; bodies with other members, another order or another value do not match."""
    (tmp_path / "rows.yaml").write_text("text: t\nrows: [{lines: [1, 1], says: nothing}]\n")

    with pytest.raises(ValueError, match="exactly one"):
        read_rows(tmp_path / "rows.yaml")
    assert matches({"a": 1, "b": {"pattern": "x+"}}, {"a": 1, "b": "xx"})
    assert not matches({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not matches({"a": 1}, {"a": 1, "b": 2})
    assert not matches({"a": 1}, {"a": 1.0})
    assert not matches([{"pattern": "x"}], ["y"])
