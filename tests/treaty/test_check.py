"""What is wrong with a document is said in one sentence with its place."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from gateway_conformance.rules import confirms

from treaty import problems, sdk
from treaty.document import steps

if TYPE_CHECKING:
    from treaty import Document

CHAT = "#/paths/~1chat/post"
MODEL = "#/paths/~1models~1{model}/get"
REFUSED = "#/components/responses/Refused"
EXAMPLES = "#/components/examples"
SCHEMAS = "#/components/schemas"
WORD = {"type": "object", "properties": {"type": {"const": "word"}}}
GONE = object()


def put(document: Document, at: str, value: Any) -> None:  # noqa: ANN401 - any JSON value may stand there
    """Set the member at the pointer, or take it away."""
    *parents, last = steps(at)
    holder: Any = document
    for step in parents:
        holder = holder[int(step) if isinstance(holder, list) else step]
    if value is GONE:
        del holder[last]
    elif isinstance(holder, list):
        holder[int(last)] = value
    else:
        holder[last] = value


def test_a_sound_contract_has_no_problem(small: Document) -> None:
    """The small contract, which has one of everything, is fine."""
    assert [] == problems(small)


@confirms("ADR-0001.R6")
@pytest.mark.parametrize(
    ("at", "value", "expected"),
    [
        # misspelt and misplaced members
        (f"{CHAT}/opId", "a", [f"{CHAT}/opId: unknown member 'opId' (operation)"]),
        (f"{CHAT}/x-oepration", "a", ["unknown member 'x-oepration' (operation); did you mean 'x-operation'?"]),
        (f"{SCHEMAS}/Word/minLenght", 3, ["unknown member 'minLenght' (schema); did you mean 'minLength'?"]),
        (f"{SCHEMAS}/Word/x-phase", 1, [f"{SCHEMAS}/Word/x-phase: 'x-phase' has no meaning here (schema)"]),
        ("#/components/exampels", {}, ["unknown member 'exampels' (components); did you mean 'examples'?"]),
        (f"{CHAT}/responses/501/x-phase", 1, ["501/x-phase: 'x-phase' has no meaning here (reference)"]),
        (f"{EXAMPLES}/greeting/vaule", 1, ["unknown member 'vaule' (example); did you mean 'value'?"]),
        # what is no OpenAPI
        ("#/openapi", "3.0.3", ["#/openapi: '3.0.3' is neither 3.2.x nor 3.1.x"]),
        ("#/info", GONE, ['#: "info" is a required property']),
        (f"{CHAT}/responses", [], [f'{CHAT}/responses: [] is not of type "object"']),
        (f"{MODEL}/parameters/0/in", "paht", [f'{MODEL}/parameters/0/in: "paht" is not one of']),
        (f"{CHAT}/responses/20", {"description": "d"}, [f"{CHAT}/responses: Unevaluated properties"]),
        (f"{CHAT}/operationId", "model", ["#: Operation ID 'model' for 'get' in '/models/{model}' is not unique"]),
        (f"{MODEL}/parameters", [{"$ref": "#/components/parameters/Trace"}], ["#: Path parameter 'model'"]),
        # what is no JSON Schema
        (f"{SCHEMAS}/Reply/type", "strng", [f"{SCHEMAS}/Reply/type: "]),
        (f"{SCHEMAS}/Error/properties/error/properties/message", {"pattern": "("}, ["/message/pattern: "]),
        (f"{SCHEMAS}/Part/discriminator", [], [f"{SCHEMAS}/Part/discriminator: needs a propertyName"]),
        (f"{SCHEMAS}/Part/discriminator/mapping", ["a"], ["discriminator: needs a propertyName, and a mapping"]),
        (f"{SCHEMAS}/Part/discriminator/propertyName", GONE, ["discriminator: needs a propertyName"]),
        # references
        (f"{CHAT}/responses/400/$ref", "#/components/responses/Refusd", ["at 'Refusd'; did you mean 'Refused'?"]),
        (f"{CHAT}/responses/400/$ref", "#/components/schemas/Error", [f"{CHAT}/responses/400: #/components/schemas"]),
        (f"{CHAT}/responses/400/$ref", "other.yaml#/x", ["leaves the document"]),
        (f"{SCHEMAS}/Question/properties/text", {"default": {"$ref": "#/x"}}, ["takes '#/x' for a reference"]),
        (f"{CHAT}/security/0", {"baerer": []}, [f"{CHAT}: $ref '#/components/securitySchemes/baerer' leads nowhere"]),
        (f"{SCHEMAS}/Part/discriminator/mapping/word", "Wrod", ["/schemas/Wrod' leads nowhere at 'Wrod'"]),
        (f"{SCHEMAS}/Spare", {}, [f"{SCHEMAS}/Spare: nothing refers to it; remove it"]),
        # operations
        (f"{CHAT}/operationId", GONE, [f"{CHAT}: needs operationId, which is text"]),
        (f"{CHAT}/x-operation", GONE, [f"{CHAT}: needs x-operation, which is text"]),
        (f"{CHAT}/x-operation", 3, [f"{CHAT}: needs x-operation, which is text"]),
        (f"{CHAT}/x-adr", GONE, [f"{CHAT}: needs x-adr, the list of its decisions"]),
        (f"{CHAT}/x-adr", [], [f"{CHAT}: needs x-adr, the list of its decisions"]),
        (f"{CHAT}/x-adr", "ADR-0012", [f"{CHAT}: needs x-adr, the list of its decisions"]),
        (f"{CHAT}/x-adr", ["ADR-12", "ADR-0012"], [f"{CHAT}/x-adr: 'ADR-12' is not written ADR-0000"]),
        # marks
        (f"{CHAT}/x-phase", [], [f"{CHAT}/x-phase: [] is neither a phase (1, 2) nor a list of them"]),
        (f"{CHAT}/x-phase", [1, 3], ["[1, 3] is neither a phase"]),
        (f"{CHAT}/x-phase", True, ["True is neither a phase"]),
        (f"{REFUSED}/x-phase", 3, [f"{REFUSED}/x-phase: 3 is no phase (1, 2)"]),
        (f"{REFUSED}/x-phase", [1], [f"{REFUSED}/x-phase: [1] is no phase (1, 2)"]),
        ("#/components/responses/Lost/x-anywhere", "404", ["Lost/x-anywhere: '404' is no status"]),
        ("#/components/responses/Lost/x-anywhere", 999, ["Lost/x-anywhere: 999 is no status"]),
        # examples
        (f"{EXAMPLES}/greeting/value/text", 3, [f"{CHAT}/requestBody/content/application~1json/examples/greeting: "]),
        (f"{EXAMPLES}/unknown_url/value/error/param", 3, ['at #/error/param: 3 is not of types "null", "string"']),
        (f"{MODEL}/parameters/0/example", "", [f"{MODEL}/parameters/0/example: does not fit {MODEL}/parameters/0/sch"]),
        (f"{MODEL}/parameters/0/schema/examples/0", "", [f"{MODEL}/parameters/0/schema/examples/0: does not fit"]),
        ("#/components/headers/RequestId/example", 3, ["#/components/headers/RequestId/example: does not fit"]),
        ("#/components/parameters/Trace/schema/default", 3, ["Trace/schema/default: does not fit #/components"]),
        (f"{SCHEMAS}/Model/properties/kind/example", 3, [f"{SCHEMAS}/Model/properties/kind/example: does not fit"]),
        (f"{EXAMPLES}/greeting", {"dataValue": {"text": 3}}, ["greeting: does not fit"]),
        (
            f"{SCHEMAS}/Model/properties/key",
            {"type": "string", "format": "uuid", "default": "x"},
            ["key/default: does"],
        ),
    ],
)
def test_a_problem_is_named_with_its_place(small: Document, at: str, value: object, expected: list[str]) -> None:
    """One thing wrong is one sentence, which begins with the JSON pointer."""
    put(small, at, value)

    found = problems(small)

    assert len(expected) == len(found), found
    for part, sentence in zip(expected, found, strict=True):
        assert sentence.startswith("#")
        assert part in sentence


@confirms("ADR-0001.R6")
def test_members_that_nobody_knows_hide_nothing(small: Document) -> None:
    """A misspelt member is said beside what else is wrong."""
    put(small, f"{CHAT}/opId", "a")
    put(small, f"{CHAT}/x-adr", [])

    assert [f"{CHAT}/opId", CHAT] == [problem.partition(": ")[0] for problem in problems(small)]


def test_a_union_is_judged_by_its_nearest_branch(small: Document) -> None:
    """The complaint names the member that is wrong, not that no branch fits."""
    put(small, f"{EXAMPLES}/greeting/value/parts/0/word", 3)

    (problem,) = problems(small)

    assert problem.endswith('at #/parts/0/word: 3 is not of type "string"')


def test_a_long_message_is_cut(small: Document) -> None:
    """A validator's message may quote a whole body; its beginning is enough."""
    put(small, f"{EXAMPLES}/greeting/value/parts", "long" * 100)

    (problem,) = problems(small)

    assert problem.endswith(" [...]")
    assert len(problem) < 500


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([{"data": "{}"}, {"data": "[DONE]"}], 0),
        ([{"data": "{}"}], 1),
        ([{"data": "[DONE]"}, {"event": "x"}], 1),
        ("data: {}\n\n", 0),
    ],
)
def test_a_stream_is_judged_whole_and_by_event_when_it_is_an_array(
    small: Document, events: object, expected: int
) -> None:
    """A text shows the bytes on the wire and is left alone; an array is checked."""
    put(small, "#/components/responses/Answer/content/text~1event-stream/examples/events/value", events)

    assert expected == len(problems(small))


def test_a_stream_and_a_body_may_have_no_schema(small: Document) -> None:
    """Examples that no schema judges are fine, and so is an example that stands elsewhere."""
    content = {
        "text/event-stream": {"schema": {"type": "array", "items": {"type": "integer"}}, "example": "data: 1\n\n"},
        "text/plain": {"example": "text"},
        "text/html": {"examples": {"far": {"externalValue": "far.html"}}},
    }
    put(small, f"{MODEL}/responses/200/content", content)
    put(small, f"{SCHEMAS}/Model", GONE)

    assert [] == problems(small)

    put(small, f"{MODEL}/responses/200/content/text~1event-stream/example", ["one"])

    assert [f"{MODEL}/responses/200/content/text~1event-stream/example"] == [
        problem.partition(": ")[0] for problem in problems(small)
    ]


@confirms("ADR-0003.R1")
@pytest.mark.parametrize(
    ("phase", "gone", "expected"),
    [(1, "200", 0), (2, "501", 0), (1, "501", 1), (2, "200", 1), (1, "400", 1), (2, "400", 1)],
)
def test_a_live_phase_shows_its_own_statuses_only(small: Document, phase: int, gone: str, expected: int) -> None:
    """Phase 1 needs 501 and no success, Phase 2 the reverse."""
    put(small, "#/paths/~1embed/post/x-phase", phase)
    put(small, f"#/paths/~1embed/post/responses/{gone}", GONE)

    found = problems(small)

    assert expected == len(found)
    assert all(f"#/paths/~1embed/post/responses: phase {phase} must show " in problem for problem in found)


@confirms("ADR-0004.R3")
def test_a_kind_stands_under_one_status(small: Document) -> None:
    """An operation that lists a kind under two statuses is refused with the kind and both."""
    put(small, f"{MODEL}/responses/404", {"$ref": REFUSED})

    assert [
        f"{MODEL}/responses: {EXAMPLES}/invalid_request stands under 400 and 404; keep one",
        f"{MODEL}/responses: {EXAMPLES}/too_many_tokens stands under 400 and 404; keep one",
    ] == sorted(problems(small))


@confirms("ADR-0004.R2")
@pytest.mark.parametrize(
    ("at", "value", "expected"),
    [
        (f"{EXAMPLES}/unknown_url/x-fill", {"error.id": "request_id"}, f"{EXAMPLES}/unknown_url/x-fill: x-fill names"),
        (f"{EXAMPLES}/unknown_url/x-fill", {"error.message": "{a}!"}, "which '{a}!' cannot give"),
        ("#/components/headers/RequestId/x-fill", "request id", "RequestId/x-fill: 'request id' is no argument's name"),
    ],
)
def test_a_filling_that_cannot_be_obeyed_is_named(small: Document, at: str, value: object, expected: str) -> None:
    """An `x-fill` that is none, or whose example it could not have made, is refused."""
    put(small, at, value)

    (problem,) = problems(small)

    assert expected in problem


def test_the_document_for_generators_is_judged_as_openapi_3_1(small: Document) -> None:
    """There an extension has no meaning, and operations need no handler."""
    derived = sdk(small)
    assert [] == problems(derived)

    put(derived, f"{CHAT}/x-operation", "chat")
    put(derived, f"{SCHEMAS}/Spare", {})

    assert [
        f"{CHAT}/x-operation: unknown member 'x-operation' (operation)",
        f"{SCHEMAS}/Spare: nothing refers to it; remove it",
    ] == [problem.partition("; did")[0] for problem in problems(derived)]

    put(derived, "#/components/mediaTypes", {})

    assert any(problem.startswith("#/components: Unevaluated properties") for problem in problems(derived))


def test_a_default_that_does_not_fit_is_said_once(small: Document) -> None:
    """The validator finds it too, without its place; only the sentence with the place is kept."""
    put(small, f"{SCHEMAS}/Question/properties/text/default", 3)

    assert [f"{SCHEMAS}/Question/properties/text/default"] == [
        problem.partition(": ")[0] for problem in problems(small)
    ]


def test_importing_the_package_does_not_import_the_validator() -> None:
    """The gateway's start does not pay for the third of a second that the validator takes to import."""
    script = "import sys, treaty; sys.exit('openapi_spec_validator' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", script], check=False).returncode
