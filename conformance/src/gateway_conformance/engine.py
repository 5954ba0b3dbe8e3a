"""Runs Schemathesis against a target and returns what it saw.

Laws of this file:
- It is the only module that imports Schemathesis. Its engine is no documented interface, so the version is pinned in
  `pyproject.toml`, and whatever changes there is mended here.
- Runs are deterministic: the same document gives the same cases.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import Status, from_schema
from schemathesis.engine.events import EngineFinished, FatalError, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import CheckNode, ScenarioRecorder
from schemathesis.generation.case import Case
from schemathesis.hooks import GLOBAL_HOOK_DISPATCHER, HookContext

from gateway_conformance.answers import recognised, undocumented
from gateway_conformance.calls import example_of
from gateway_conformance.exchange import Asgi, Message, Request
from gateway_conformance.expectations import (
    MAX_EXAMPLES,
    Plan,
    configuration,
    names_a_model,
    plans,
    without_names,
)
from gateway_conformance.grammar import Violation
from gateway_conformance.lines import Response
from gateway_conformance.promises import Operation
from gateway_conformance.rules import RuleBroken
from gateway_conformance.streams import told_wrongly
from gateway_conformance.target import Target

_64_BITS: Final = range(-(2**63), 2**64)

ABOUT_THE_MODEL: Final = "/properties/model"
"""Where a case of the coverage phase says that it is about the name of the model."""

PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")

CHECK_RULES: Final = {
    "not_a_server_error": "ADR-0004.R7",
    "status_code_conformance": "ADR-0001.R1",
    "content_type_conformance": "ADR-0004.R4",
    "response_schema_conformance": "ADR-0004.R4",
    "response_headers_conformance": "ADR-0013.R1",
    "negative_data_rejection": "ADR-0007.R1",
    "positive_data_acceptance": "ADR-0012.R3",
    "missing_required_header": "ADR-0007.R5",
    "unsupported_method": "ADR-0011.R3",
    "allow_header_conformance": "ADR-0011.R2",
    "ignored_auth": "ADR-0009.R1",
}
"""The rule that a check of Schemathesis asks for; ADR-0001.R1, the contract itself, for any other."""


@attrs.frozen(kw_only=True)
class Observation:
    """One case. *mode* is positive or negative; *kinds* are the documented refusals that the answer may be.

    *path* is the whole one as it was sent. *declared* tells whether the method is one of the operation's, *known_model*
    whether the body named no model that may be unknown.
    """

    operation: str
    phase: str
    mode: str
    description: str
    declared: bool
    negative_body: bool
    status: int
    path: str
    kinds: frozenset[str]
    known_model: bool = True


@attrs.frozen(kw_only=True)
class Failure:
    """What a check said. *code* is Schemathesis' own, or `CONTRACT` for our comparison with the document."""

    operation: str
    code: str
    check: str
    broken: RuleBroken


@attrs.frozen(kw_only=True)
class Run:
    """What one or more runs of the engine saw of a target."""

    observations: tuple[Observation, ...]
    failures: tuple[Failure, ...]


def judge(
    target: Target,
    *,
    operations: Collection[str] | None = None,
    phases: Iterable[str] = PHASES,
    max_examples: int = MAX_EXAMPLES,
    alike: bool = False,
) -> Run:
    """Run every plan of *target* and return what was seen; *operations* holds ids, where not all are wanted.

    Where paths of one operation are known to be *alike*, only one of them is fuzzed in full.

    Raises:
        RuntimeError: the engine could not do its work, so that nothing is proved.
    """
    observations: list[Observation] = []
    failures: list[Failure] = []
    for plan in plans(target):
        wanted = [one for one in plan.operations if operations is None or one.id in operations]
        if wanted:
            reading = _Reading(target=target, plan=plan, observations=observations, failures=failures, alike=alike)
            reading.run({one.id for one in wanted}, frozenset(phases), max_examples)
    return Run(observations=tuple(observations), failures=tuple(failures))


@attrs.frozen(kw_only=True)
class _Reading:
    """Collects what the engine reports of one plan."""

    target: Target
    plan: Plan
    observations: list[Observation]
    failures: list[Failure]
    alike: bool

    def run(self, ids: Collection[str], phases: frozenset[str], max_examples: int) -> None:
        settings = configuration(self.target, self.plan, max_examples=max_examples, alike=self.alike)
        # Links lead to operations, so the stateful phase can run only where all of them are asked.
        complete = len(ids) == len(self.target.promises.operations)
        live = phases if complete else phases - {"stateful"}
        settings["phases"] = {phase: {"enabled": phase in live} for phase in PHASES}
        for stated in settings["operations"]:
            stated["enabled"] = stated["include-operation-id"] in ids
        transport = self.target.transport
        if transport.app is None:
            settings["base-url"] = transport.origin + self.target.prefix
        document = without_names(self.target, self.plan)
        schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(settings))
        schema.app = None if transport.app is None else _running(transport.app)
        with _before_each(self.name_a_model):
            for event in from_schema(schema).execute():
                self.take(event)

    def name_a_model(self, case: Case[Any]) -> None:
        """Exchange the model in a valid body for one that exists, unless the case is about the model."""
        operation, meta = self.operation(case.operation.label), case.meta
        if meta is None or meta.generation.mode.is_negative or not names_a_model(operation):
            return
        about = meta.phase.data.location or ""
        if isinstance(case.body, dict) and "model" in case.body and not about.startswith(ABOUT_THE_MODEL):
            case.body = {**case.body, "model": known_model(operation)}

    def take(self, event: object) -> None:
        if isinstance(event, FatalError):
            raise event.exception
        if isinstance(event, NonFatalError):
            message = f"the engine could not judge {event.label}: {event.info.format()}"
            raise RuntimeError(message) from event.value  # noqa: TRY004 - an event is no argument of a caller
        if isinstance(event, EngineFinished) and event.stop_reason.value != "completed":
            message = f"the engine stopped: {event.stop_reason.value}"
            raise RuntimeError(message)
        if isinstance(event, ScenarioFinished):
            for case_id in event.recorder.cases:
                self.observe(event.recorder, case_id)

    def observe(self, recorder: ScenarioRecorder, case_id: str) -> None:
        case, sent = recorder.cases[case_id].value, recorder.interactions.get(case_id)
        operation = self.operation(case.operation.label)
        meta = case.meta
        if sent is None or sent.response is None or meta is None:
            message = f"{operation.label}: a case was not answered"
            raise RuntimeError(message)
        response = _response(sent.response)
        request = _request(sent.request)
        observation = Observation(
            operation=operation.label,
            phase=meta.phase.name.value,
            mode=meta.generation.mode.value,
            description=meta.phase.data.description or "",
            declared=sent.request.method == operation.method,
            negative_body=meta.is_negative_at(ParameterLocation.BODY),
            status=response.status,
            path=urlsplit(sent.request.uri).path,
            kinds=recognised(self.target.promises, operation, response),
            known_model=not names_a_model(operation) or _member(request.body, "model") == known_model(operation),
        )
        self.observations.append(observation)
        excused = _excused(operation, observation, request)
        for check in recorder.checks.get(case_id, []):
            if check.name not in excused:
                self.fail(operation, check)
        self.compare(operation, observation, response, request)
        if observation.mode == "positive" and observation.declared:
            self.listen(operation, observation, response, request)

    def operation(self, label: str) -> Operation:
        return next(one for one in self.target.promises.operations if one.label == label)

    def fail(self, operation: Operation, check: CheckNode) -> None:
        """Keep what a check of Schemathesis complained about."""
        if check.status is Status.SUCCESS:
            return
        rule = CHECK_RULES.get(check.name, "ADR-0001.R1")
        info = check.failure_info
        if info is None:
            broken = RuleBroken(rule=rule, expected="a check that runs", actual=f"{check.name} crashed", curl="")
            self.failures.append(Failure(operation=operation.label, code="ERROR", check=check.name, broken=broken))
            return
        said = info.failure
        expected = f"{check.name} ({said.code}) on {operation.label}"
        actual = f"{said.title}: {said.message}"
        broken = RuleBroken(rule=rule, expected=expected, actual=actual, curl=info.code_sample)
        self.failures.append(Failure(operation=operation.label, code=said.code, check=check.name, broken=broken))

    def compare(self, operation: Operation, seen: Observation, response: Response, request: Request) -> None:
        """Keep what our own comparison with the document complains about; Schemathesis looks at no 405 (ADR-0016)."""
        listed = tuple(operation.answers.values()) if seen.declared else ()
        # A valid request reaches its operation, so an answer from outside any operation is none to it.
        astray = not seen.declared or seen.mode == "negative"
        outside = self.target.promises.anywhere if astray else ()
        wrong = undocumented((*listed, *outside), response)
        if wrong is not None:
            curl = request.curl(self.target.transport.origin)
            broken = RuleBroken(rule=wrong.rule, expected=wrong.expected, actual=wrong.actual, curl=curl)
            self.failures.append(Failure(operation=operation.label, code="CONTRACT", check="compare", broken=broken))

    def listen(self, operation: Operation, seen: Observation, response: Response, request: Request) -> None:
        """Keep what is wrong with the answer to valid data: that it is none, or no such stream as was asked for."""
        wrong: list[Violation] = []
        if names_a_model(operation):
            accepted = operation.success if seen.known_model else operation.success | {seen.status}
            missing = seen.status not in accepted and "model_not_found" in seen.kinds
            wrong += [Violation(rule="ADR-0045.R17", what=f"{seen.status} for a model that exists")] * missing
        if response.status in operation.success:
            wrong += told_wrongly(self.target.promises, operation, request.body, response)
        for one in wrong:
            curl = request.curl(self.target.transport.origin)
            expected = f"an answer of {operation.label} that keeps {one.rule}"
            broken = RuleBroken(rule=one.rule, expected=expected, actual=f"{one.what}: {response}", curl=curl)
            self.failures.append(Failure(operation=operation.label, code="CONTRACT", check="listen", broken=broken))


def _excused(operation: Operation, seen: Observation, request: Request) -> frozenset[str]:
    """Return the checks of Schemathesis that are wrong about a case, for a reason that no schema can say."""
    excused = set()
    if "invalid_json" in seen.kinds and has_rounded_integer(request.body):
        excused.add("positive_data_acceptance")
    if "body_too_large" in seen.kinds and len(request.body) > operation.body_limit:
        excused.add("negative_data_rejection")
    return frozenset(excused)


def _running(app: Asgi) -> Asgi:
    """Return *app* as one without a lifespan: it lives already, and in the middle of its life must not be ended."""

    async def answer(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan":
            message = "it has been started"
            raise NotImplementedError(message)
        await app(scope, receive, send)

    return answer


def known_model(operation: Operation) -> str:
    """Return the model of the contract's first example, which every operator has."""
    return str(example_of(operation)["model"])


@contextmanager
def _before_each(change: Callable[[Case[Any]], None]) -> Iterator[None]:
    """Let *change* see every case before it is sent, until the end of the block; a schema's own hooks are not asked."""

    def before_call(_: HookContext, case: Case[Any], __: dict[str, Any]) -> None:
        change(case)

    schemathesis.hook(before_call)
    try:
        yield
    finally:
        GLOBAL_HOOK_DISPATCHER.unregister(before_call)


def _member(body: bytes, name: str) -> object:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document.get(name) if isinstance(document, dict) else None


def has_rounded_integer(body: bytes) -> bool:
    """Whether *body* is JSON with an integer that 64 bits do not hold: a schema takes it, and ADR-0034.R6 does not."""
    try:
        waiting = [json.loads(body)]
    except ValueError:
        return False
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting.extend(members.values())
            case list() as items:
                waiting.extend(items)
            case int(number) if number not in _64_BITS:
                return True
            case _:
                pass
    return False


def _response(response: Any) -> Response:  # noqa: ANN401 - Schemathesis' own record
    headers = tuple((name.lower(), value) for name, values in response.headers.items() for value in values)
    return Response(status=response.status_code, headers=headers, body=response.content or b"")


def _request(request: Any) -> Request:  # noqa: ANN401 - Schemathesis' own record
    headers = tuple((name, str(value)) for name, values in request.headers.items() for value in values)
    url = urlsplit(request.uri)
    path = f"{url.path}?{url.query}" if url.query else url.path
    return Request(method=request.method, path=path, headers=headers, body=request.body or b"")
