"""Writes `conformance/MATRIX.md`: every rule, and the tests that confirm it.

`python -m gateway_conformance.matrix` writes it; with `--check` it exits 1 when the file is out of date, when a MUST of
an accepted record has no test, or when a test confirms a rule that does not exist.

Laws of this file:
- Tests are read, not run: a decorator `@confirms("ADR-0001.R1")` is found in the source. So `confirms` takes literals.
- A check of this package counts as a test, since `conformance/test_rules.py` runs every one of them.
"""

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from gateway_conformance.rules import Rule, read_rules

MATRIX: Final = Path("conformance/MATRIX.md")
TESTED: Final = ("tests", "conformance")
CHECKS: Final = "checks"
"""The folder of the checks."""

SHOWN: Final = 100
"""Characters of a rule's text in the table: enough to know it again."""


@attrs.frozen(kw_only=True)
class Proof:
    """A function that confirms a rule: *name* is `folder/file.py::function`."""

    rule: str
    name: str


def proofs(root: Path) -> Iterator[Proof]:
    """Yield what the tests and checks below *root* say that they confirm."""
    for folder in TESTED:
        for path in sorted((root / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_run(path, node.name):
                    name = f"{path.relative_to(root)}::{node.name}"
                    yield from (Proof(rule=rule, name=name) for rule in _confirmed(node))


def _is_run(path: Path, name: str) -> bool:
    """Whether pytest runs the function *name* of the file at *path*, itself or as a check."""
    return name.startswith("test_") or path.parent.name == CHECKS


def _confirmed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name(id="confirms"), args=arguments):
                yield from (str(one.value) for one in arguments if isinstance(one, ast.Constant))
            case _:
                pass


def render(rules: Sequence[Rule], confirmed: Mapping[str, Sequence[str]]) -> str:
    """Return the matrix as Markdown."""
    lines = [
        "# Rules and the tests that confirm them",
        "",
        "Written by `python -m gateway_conformance.matrix`. A MUST of an accepted record without a test is an error.",
        "",
        "| rule | level | text | confirmed by |",
        "|---|---|---|---|",
    ]
    for rule in rules:
        tests = "<br>".join(f"`{name}`" for name in confirmed.get(rule.id, ())) or "-"
        lines.append(f"| {rule.id} | {rule.level} | {_shortened(rule.text)} | {tests} |")
    return "\n".join([*lines, ""])


def _shortened(text: str) -> str:
    cut = text if len(text) <= SHOWN else text[:SHOWN].rsplit(" ", 1)[0] + " …"
    return cut.replace("|", "\\|")


def complaints(rules: Sequence[Rule], confirmed: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield what is wrong between rules and tests."""
    known = {rule.id for rule in rules}
    for rule in rules:
        if rule.accepted and rule.level == "MUST" and not confirmed.get(rule.id):
            yield f"{rule.id}: no test confirms: {rule.text}"
    for name in sorted(set(confirmed) - known):
        yield f"{name}: no such rule, but {', '.join(confirmed[name])} confirms it"


def main(arguments: Sequence[str]) -> int:
    """Write or check the matrix; return 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m gateway_conformance.matrix", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and say what is wrong")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current folder)")
    options = parser.parse_args(arguments)
    rules = list(read_rules(options.root / "adr"))
    confirmed = defaultdict(list)
    for proof in proofs(options.root):
        confirmed[proof.rule].append(proof.name)
    wrong = list(complaints(rules, confirmed))
    matrix, text = options.root / MATRIX, render(rules, confirmed)
    if options.check:
        if not matrix.exists() or matrix.read_text(encoding="utf-8") != text:
            wrong.append(f"{MATRIX} is out of date: run `python -m gateway_conformance.matrix`")
    else:
        matrix.write_text(text, encoding="utf-8")
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
