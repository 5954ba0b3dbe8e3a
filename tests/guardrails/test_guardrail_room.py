"""What holds for the whole room of the guardrails."""

import ast
from pathlib import Path
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms
from guards import EVERYTHING, guard, screen

import dragoman.guardrails
from dragoman.guardrails import Blocked, Screens, StreamScreen, Window, look, screen_input, screen_output
from dragoman.guardrails.arguments import leaves
from dragoman.guardrails.texts import texts_of
from dragoman.guardrails.verdict import Tally
from dragoman.guardrails.window import Search
from dragoman.model import Guardrail

ROOM: Final = sorted(Path(dragoman.guardrails.__file__).parent.glob("*.py"))
CANARY: Final = "canary.bird@example.com"


@confirms("ADR-0037.R1")
@pytest.mark.parametrize("path", ROOM, ids=lambda path: path.name)
def test_no_module_uses_the_regular_expressions_of_python(path: Path) -> None:
    """No module of the room imports `re`, nor another engine that backtracks."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])

    assert set() == imported & {"re", "regex", "sre_parse", "sre_compile", "_sre"}
    assert ROOM


def told(error: BaseException) -> str:
    """Return all that an exception and those around it print."""
    chained = [one for one in (error.__cause__, error.__context__) if one is not None]
    return " ".join([str(error), repr(error), repr(error.args), repr(vars(error)), *map(told, chained)])


@confirms("ADR-0037.R8")
def test_no_verdict_and_no_representation_holds_a_text() -> None:
    """What was looked at stands in nothing that is printed: looks, windows, screens, documents and their parts."""
    made = screen(guard("flag", detectors=EVERYTHING, keywords=("bird",)))
    masking = screen(guard("mask", detectors=EVERYTHING), stage="output")
    request = {"messages": [{"content": CANARY}]}
    window, stream, search = Window(masking, Tally()), StreamScreen(masking), Search(masking, Tally())
    window.feed(CANARY)
    search.add(CANARY, final=False)
    chunk = {"choices": [{"delta": {"content": CANARY, "tool_calls": [{"function": {"arguments": CANARY}}]}}]}
    stream.feed(chunk)
    seen = [
        look(made, CANARY),
        look(masking, CANARY),
        screen_input(made, request),
        screen_output(masking, {"choices": [{"message": {"content": CANARY}}]}),
        made,
        window,
        stream,
        stream.verdicts,
        search,
        texts_of(request),
        texts_of(request).places,
        leaves(f'["{CANARY}"]'.encode()),
    ]

    assert [] == [one for one in seen if "canary" in repr(one)]


@confirms("ADR-0037.R8")
@pytest.mark.parametrize("wanted", [{"detectors": ("email",)}, {"keywords": ("bird",)}, {"max_chars": 5}])
def test_an_exception_holds_no_text(wanted: dict[str, Any]) -> None:
    """Who blocks tells a key and categories."""
    made = screen(guard("block", **wanted))

    with pytest.raises(Blocked) as raised:
        screen_input(made, {"messages": [{"content": CANARY}]})

    assert "guard" == raised.value.guardrail_key
    assert "block" == raised.value.action
    assert "canary" not in told(raised.value)


def test_a_screen_is_built_once_for_the_guardrails_of_a_snapshot() -> None:
    """The same guardrails have one screen for a stage; other ones under the same keys have another."""
    screens = Screens()
    first = [guard(detectors=("email",))]
    second = [guard(detectors=("card",))]

    kept = screens.of(first, stage="input")

    assert kept is screens.of(list(first), stage="input")
    assert kept is not screens.of(first, stage="output")
    assert kept is not screens.of(second, stage="input")
    assert screens.of([], stage="input") is None
    assert screens.of([guard(stages=frozenset({"output"}), keywords=("a",))], stage="input") is None


def test_screens_that_nobody_asks_for_any_more_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are never more than so many."""
    monkeypatch.setattr("dragoman.guardrails.screens.MOST", 2)
    screens = Screens()
    guardrails = [Guardrail(key=str(number), action="flag", max_chars=1) for number in range(3)]

    built = [screens.of([one], stage="input") for one in guardrails]

    assert built[2] is screens.of([guardrails[2]], stage="input")
    assert built[0] is not screens.of([guardrails[0]], stage="input")
