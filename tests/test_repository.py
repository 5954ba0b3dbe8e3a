"""What holds the repository together: links between decisions, contract, code and tests."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from gateway_conformance.rules import Rule, confirms, read_rules

from dragoman.contract.source import CANONICAL, Source
from dragoman.errors import Kind
from dragoman.operations import HANDLERS
from treaty import Document, narrowings

ROOT = Path(__file__).parent.parent
RECORDS = sorted((ROOT / "adr").glob("[0-9]*.md"))
RULES = {rule.id: rule for rule in read_rules(ROOT / "adr")}


def tracked(*patterns: str) -> list[Path]:
    """Return the files of the repository that match *patterns*, tracked or new, in order."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [ROOT / name for name in sorted(listed.stdout.splitlines()) if (ROOT / name).is_file()]


def front_matter(record: Path) -> dict[str, object]:
    """Return the head of a decision record."""
    _, head, _ = record.read_text().split("---\n", 2)
    loaded = yaml.safe_load(head)
    assert isinstance(loaded, dict)
    return loaded


def sources(folder: str) -> list[Path]:
    """Return the Python files of *folder*."""
    return tracked(f"{folder}/*.py", f"{folder}/**/*.py")


def words_of_code(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and word for each lower-case word of names and texts in *path*, comments and docstrings apart."""
    text = path.read_text()
    docstrings = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node) is not None
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.NAME, tokenize.STRING} and token.start[0] not in docstrings:
            for word in re.findall(r"[A-Za-z]+", token.string):
                yield token.start[0], word.lower()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_its_number_a_status_and_numbered_rules(record: Path) -> None:
    """A decision record is named by its number, has a known status, and ends in rules numbered from 1."""
    head = front_matter(record)
    own = [rule for rule in RULES.values() if rule.id.startswith(f"{head['id']}.")]

    assert f"ADR-{record.name[:4]}" == head["id"]
    assert head["status"] in {"proposed", "accepted", "superseded"}
    assert [f"{head['id']}.R{number}" for number in range(1, len(own) + 1)] == [rule.id for rule in own]
    assert own


def test_superseded_records_link_forward() -> None:
    """A superseded record names the record that replaces it, and that one exists."""
    known = {front_matter(record)["id"] for record in RECORDS}
    superseded = [front_matter(record) for record in RECORDS if front_matter(record)["status"] == "superseded"]

    assert [] == [head["id"] for head in superseded if head.get("superseded-by") not in known]


def test_the_index_lists_every_record() -> None:
    """adr/README.md links every decision record by its title."""
    index = (ROOT / "adr" / "README.md").read_text()
    titles = {record: re.search(r"^# (.+)$", record.read_text(), re.MULTILINE) for record in RECORDS}

    assert [] == [
        record.name for record, title in titles.items() if title and f"[{title[1]}]({record.name})" not in index
    ]


@pytest.mark.parametrize("path", tracked("*.py", "*.md", "*.yaml", "*.toml", "*.ini", ".importlinter"), ids=str)
def test_every_mention_of_a_decision_resolves(path: Path) -> None:
    """Every ADR and every rule that any file mentions exists and is not superseded."""
    text = path.read_text()
    records = {str(front_matter(record)["id"]) for record in RECORDS if front_matter(record)["status"] != "superseded"}
    if path.name in {"test_repository.py", "template.md"} or path.parent.name == "treaty":
        return  # their subjects are made-up documents and records

    assert set() == set(re.findall(r"ADR-\d{4}(?!\d)", text)) - records
    assert set() == set(re.findall(r"ADR-\d{4}\.R\d+", text)) - set(RULES)


def test_every_operation_names_accepted_decisions() -> None:
    """Each operation of each dialect names decisions that exist."""
    source = Source()
    records = {front_matter(record)["id"] for record in RECORDS}
    named = {
        adr
        for dialect in source.dialects
        for path in source.dialect(dialect)["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
        for adr in operation["x-adr"]
    }

    assert named <= records


@confirms("ADR-0004.R1")
@pytest.mark.parametrize("dialect", Source().dialects)
def test_kinds_stand_in_contract_and_code_alike(dialect: str) -> None:
    """Every example with x-fill is a kind of refusal; the canonical contract has an example for every kind."""
    examples = Source().dialect(dialect)["components"]["examples"]
    filled = {name for name, example in examples.items() if "x-fill" in example}
    kinds = {kind.value for kind in Kind}

    assert set() == filled - kinds
    assert dialect != CANONICAL or kinds == filled


def test_handlers_and_operations_are_the_same() -> None:
    """Every handler has an operation in the canonical contract and every operation a handler."""
    assert set(HANDLERS) == set(Source().operations)


BORROWED = ('scope.get("client")', '"client": get_remote_addr(', "ssl.PROTOCOL_TLS_CLIENT", "prometheus_client")
"""What others have named: ASGI the peer of a socket, Python one end of TLS, and Prometheus its library."""


@confirms("ADR-0002.R4")
@pytest.mark.parametrize("path", sources("src"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_dialect_is_named_in_the_code(path: Path) -> None:
    """No name and no text of the code is or contains, as a word, the name of a dialect."""
    dialects = set(Source().dialects) - {CANONICAL}
    named = {line for line, word in words_of_code(path) if word in dialects}
    lines = path.read_text().splitlines()

    assert [] == [lines[line - 1] for line in named if not any(name in lines[line - 1] for name in BORROWED)]


@confirms("ADR-0004.R5")
@pytest.mark.parametrize(
    "path", sources("src/dragoman/operations") + sources("src/dragoman/gate"), ids=lambda p: p.name
)
def test_no_status_and_no_envelope_stands_where_refusals_are_raised(path: Path) -> None:
    """The rooms that raise refusals hold no number that is an HTTP status and no text `error`."""
    constants = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]

    assert [] == [one for one in constants if type(one) is int and 100 <= one <= 599]
    assert [] == [one for one in constants if one == "error"]


@confirms("ADR-0017.R2")
@pytest.mark.parametrize("path", sources("src"), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_settings_reads_the_environment(path: Path) -> None:
    """`environ` and `getenv` occur in the settings and nowhere else."""
    words = {word for _, word in words_of_code(path)}

    assert path.parent.name == "settings" or not words & {"environ", "getenv"}


@confirms("ADR-0017.R1", "ADR-0017.R2")
def test_imports_go_down_only() -> None:
    """import-linter finds every rule of the rooms kept."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    linted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == linted.returncode, linted.stdout


@pytest.mark.parametrize("path", tracked("*.py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_600_lines(path: Path) -> None:
    """A Python file has at most 600 lines."""
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", tracked("*"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_repository_names_no_machine(path: Path) -> None:
    """No file names a registry's host or an absolute path of the machine it was written on."""
    if path.suffix in {".png", ".ico"} or path.is_symlink():
        return
    forbidden = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "/" + "work/", "/" + "root/"]

    assert [] == [word for word in forbidden if word in path.read_text(errors="replace")]


@confirms("ADR-0016.R6")
def test_every_must_is_confirmed() -> None:
    """conformance/MATRIX.md is what the tests say, and has no MUST of an accepted record without a test."""
    checked = subprocess.run(
        [sys.executable, "-m", "gateway_conformance.matrix", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == checked.returncode, checked.stdout + checked.stderr


def test_rules_are_read_from_records() -> None:
    """The rules of the repository have levels and texts."""
    rule = RULES["ADR-0014.R1"]

    assert Rule(id=rule.id, level="MUST", text="The 501 MUST carry `x-should-retry: false`.", accepted=True) == rule


def git(*arguments: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True, text=True).stdout


def documents_at(commit: str) -> dict[str, Document]:
    """Return the effective documents at *commit*, those for client generators apart."""
    names = git("ls-tree", "-r", "--name-only", commit, "openapi/effective").split()
    return {name: json.loads(git("show", f"{commit}:{name}")) for name in names if ".sdk." not in name}


def taken_away(before: dict[str, Document], after: dict[str, Document]) -> list[str]:
    """Return what *after* takes away from *before*, with the document it is taken from."""
    gone = [f"{name} is gone" for name in before if name not in after]
    both = [name for name in before if name in after]
    return gone + [f"{name}: {told}" for name in both for told in narrowings(before[name], after[name])]


@confirms("ADR-0027.R2")
def test_what_a_commit_takes_away_has_a_line_in_the_changes() -> None:
    """A change of the documents that narrows one also changes openapi/CHANGES.md: the last commits, and now."""
    commits = git("log", "--format=%H", "-n", "20", "--", "openapi/effective").split()
    steps = [(f"{commit}^", commit) for commit in commits if git("rev-list", "--parents", "-n", "1", commit).count(" ")]
    silent = [
        told
        for before, after in steps
        for told in taken_away(documents_at(before), documents_at(after))
        if not git("diff", "--name-only", before, after, "--", "openapi/CHANGES.md")
    ]
    paths = tracked("openapi/effective/*.json")
    now = {str(path.relative_to(ROOT)): json.loads(path.read_text()) for path in paths if ".sdk." not in path.name}
    if not git("diff", "--name-only", "HEAD", "--", "openapi/CHANGES.md"):
        silent += taken_away(documents_at("HEAD"), now)

    assert [] == silent
