"""The path of a request: which step answers, what goes on to the handler, and what may be logged of it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.contract import Operation, compile_contract
from dragoman.errors import Kind
from dragoman.gate.admitted import Admitted
from dragoman.gate.contents import BODY_REFUSALS
from dragoman.gate.limits import Limits
from dragoman.gate.room import Room
from dragoman.model import Agent, ChatRequest, ModelRequest, RequestEvent
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler, Rendered, Reply, Services
from dragoman.pipeline import Call, Pipeline, Route, bind, possible_refusals
from fakes import (
    AGENT,
    FOREIGN,
    FOREIGN_AGENT,
    OWN,
    PRINCIPAL,
    TOKEN,
    UNSCOPED_TOKEN,
    FakeIdentity,
    House,
    build_house,
    build_services,
    effective,
    example,
)
from wire import CHAT, VALID, Answer, ask, post

CANONICAL: Final = effective()
LIMIT: Final = 8 * 1024 * 1024
DOCUMENT: Final = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


@confirms("ADR-0012.R3", "ADR-0014.R1")
@pytest.mark.parametrize(
    "path", [CHAT, "/proxy/v1/chat/completions", "/api/client/v1/chat/completions", f"/v1/orgs/{OWN}/chat/completions"]
)
def test_a_valid_request_stops_at_501(house: House, path: str) -> None:
    """In Phase 1 a valid request gets the contract's 501, which is final, on every path of the operation."""
    answer = post(house.app, VALID, path=path)

    assert (501, example(CANONICAL, "provider_not_configured")) == (answer.status, answer.json())
    assert ("false", None) == (answer.header("x-should-retry"), answer.header("connection"))


@attrs.frozen(kw_only=True)
class Mended:
    """One more thing that is right with a request, and the kind that answers then; None of a part keeps it."""

    kind: str
    path: str | None = None
    headers: dict[str, str | None] = attrs.field(factory=dict)
    pieces: Sequence[bytes] | None = None


STORY: Final = [
    Mended(kind="missing_credential"),
    Mended(kind="invalid_credential", headers={"authorization": "Bearer nobody's"}),
    Mended(kind="invalid_parameter", headers={"authorization": f"Bearer {UNSCOPED_TOKEN}"}),
    Mended(kind="insufficient_scope", headers={"x-agent-id": FOREIGN_AGENT}),
    Mended(kind="organization_mismatch", headers={"authorization": f"Bearer {TOKEN}"}),
    Mended(kind="agent_not_allowed", path=f"/v1/orgs/{OWN}/chat/completions"),
    Mended(kind="unsupported_media_type", headers={"x-agent-id": AGENT}),
    Mended(kind="unsupported_charset", headers={"content-type": "application/json; charset=latin-1"}),
    Mended(kind="unsupported_encoding", headers={"content-type": "application/json"}),
    Mended(kind="body_too_large", headers={"content-encoding": None}),
    Mended(kind="body_too_large", headers={"content-length": None, "transfer-encoding": "chunked"}),
    Mended(kind="invalid_json", pieces=[b'{"messages": ', b"[}"]),
    Mended(kind="invalid_request", pieces=[b'{"messages": ', b"[]}"]),
    Mended(kind="provider_not_configured", pieces=[DOCUMENT[:9], DOCUMENT[9:]]),
]
"""A request in which everything is wrong, and what is mended before each answer."""


def told(app: Any) -> list[tuple[Mended, Answer]]:  # noqa: ANN401 - the gateway
    """Return each chapter of the story with its answer."""
    path = f"/v1/orgs/{FOREIGN}/chat/completions"
    headers: dict[str, str | bytes] = {
        "x-agent-id": "no uuid",
        "content-type": "text/plain; charset=latin-1",
        "content-encoding": "gzip",
        "content-length": str(LIMIT + 1),
    }
    pieces: Sequence[bytes] = [b"{" * (LIMIT // 2)] * 3
    chapters = []
    for mended in STORY:
        path = mended.path or path
        pieces = mended.pieces or pieces
        stated = {**headers, **mended.headers}
        headers = {name: value for name, value in stated.items() if value is not None}
        chapters.append((mended, ask(app, "POST", path, headers=headers, body=pieces)))
    return chapters


@confirms("ADR-0008.R2", "ADR-0008.R3", "ADR-0008.R4", "ADR-0008.R5", "ADR-0008.R6", "ADR-0014.R2")
def test_the_first_failing_check_answers(house: House) -> None:
    """A request in which everything is wrong is answered by each step in its turn, as it is mended bit by bit."""
    told(house.app)

    assert [mended.kind for mended in STORY] == [event["refusal"] for event in house.log.requests]


@confirms("ADR-0010.R4")
def test_the_body_is_read_only_when_all_headers_are_right(house: House) -> None:
    """Every refusal before the body is read leaves it alone and closes the connection; later ones keep it open."""
    chapters = told(house.app)

    early = [(answer.looks, answer.header("connection")) for _, answer in chapters[:10]]
    late = [answer.header("connection") for _, answer in chapters[11:]]
    assert [(0, "close")] * 10 == early
    assert [None] * 3 == late


@confirms("ADR-0010.R3", "ADR-0010.R4")
def test_a_body_beyond_the_cap_is_not_read_to_its_end(house: House) -> None:
    """A chunked body is left as soon as it is beyond the limit, and the connection is closed."""
    headers = {
        "authorization": f"Bearer {TOKEN}",
        "content-type": "application/json",
        "transfer-encoding": "chunked",
    }

    answer = ask(house.app, "POST", CHAT, headers=headers, body=[b" " * LIMIT, b" ", b"never", b"read"])

    assert (413, 2, "close") == (answer.status, answer.looks, answer.header("connection"))


@confirms("ADR-0010.R3")
def test_a_body_of_exactly_the_limit_is_accepted(house: House) -> None:
    """A valid document that is padded to exactly the limit is read and answered as any other."""
    assert 501 == post(house.app, DOCUMENT.ljust(LIMIT)).status


def test_a_caller_who_leaves_is_refused_and_logged(house: House) -> None:
    """A caller who leaves in the middle of the body has sent no JSON."""
    post(house.app, b'{"model"', leaves=True)

    assert (400, "invalid_json") == (house.log.event["status"], house.log.event["refusal"])


@confirms("ADR-0009.R6")
def test_an_optional_agent_is_verified_when_it_is_sent(house: House) -> None:
    """Where the agent header may be absent, a sent one must be the organisation's all the same."""
    answers = [post(house.app, VALID, headers={"x-agent-id": agent}) for agent in (AGENT, FOREIGN_AGENT)]

    assert [501, 403] == [answer.status for answer in answers]


@confirms("ADR-0019.R2")
def test_a_required_agent_must_be_sent(house: House) -> None:
    """Where the contract requires the agent header, its absence is an invalid parameter."""
    answers = [post(house.app, VALID, path=f"/ibex{CHAT}", headers=sent) for sent in ({}, {"x-ibex-agent-id": AGENT})]

    assert [(400, "INVALID_PARAMETER"), (501, "PROVIDER_NOT_CONFIGURED")] == [
        (answer.status, answer.json()["error"]["code"]) for answer in answers
    ]


@confirms("ADR-0012.R1")
def test_metadata_of_a_request_is_noted(house: House) -> None:
    """Organisation, key, agent, model, number of messages, stream and size are noted, and no content."""
    document = {**VALID, "stream": True}
    post(house.app, document, headers={"x-agent-id": AGENT})

    noted = ("org_id", "key_id", "agent_id", "model", "message_count", "stream")
    assert [OWN, "own", AGENT, "gpt-4o", 1, True] == [house.log.event[name] for name in noted]


def test_a_body_without_a_record_is_validated_all_the_same() -> None:
    """An operation whose handler names no record has its body checked, and nothing of it is noted."""
    document = effective()
    del document["components"]["responses"]["LimitReached"]["content"]["application/json"]["examples"]["rate_limited"]
    house = build_house(
        {"/": document}, handlers={**HANDLERS, **dict.fromkeys(("chat", "responses", "embeddings"), Handler())}
    )

    answers = [post(house.app, document).status for document in ({}, VALID)]

    assert [400, 501] == answers
    assert [False, False] == ["model" in event for event in house.log.requests]


BODY: Final = {
    "required": True,
    "content": {"application/json": {"schema": {"type": "object", "properties": {"model": {}, "messages": {}}}}},
}


@attrs.define
class Recording:
    """Fits `Answering`, and keeps what was admitted."""

    admitted: list[Admitted] = attrs.field(factory=list)

    async def __call__(self, admitted: Admitted, _: Services) -> Reply:
        """Keep the request, and answer something."""
        self.admitted.append(admitted)
        return Rendered(content=b"made")


def admit(operation: Operation, body: bytes, headers: dict[str, str]) -> tuple[Reply, Admitted]:
    """Send one request down the pipeline to a handler, and return its reply and what it was given."""
    recording = Recording()
    services = build_services()
    route = bind(operation, Handler(request=ChatRequest, answer=recording))

    async def read(_: int) -> bytes:
        return body

    call = Call(
        path={},
        query={},
        headers=headers,
        address="192.0.2.1",
        event=RequestEvent(request_id="r", trace_id="t"),
        met=[],
        met_tokens=[],
        elapsed_ms=lambda: 0.0,
        read=read,
        on_end=list[Callable[[], None]]().append,
        on_forward=lambda: None,
    )
    limits = Limits(limiter=MemoryLimiter(now=lambda: 0), rates={})
    pipeline = Pipeline(identity=FakeIdentity(), limits=limits, room=Room(capacity=1), services=services)
    reply = asyncio.run(pipeline.answer(route, call))
    return reply, recording.admitted[0]


def test_a_handler_gets_the_request_with_who_sent_it() -> None:
    """What was admitted goes to the handler: principal, agent, the record, and the document with its unknown keys."""
    stated = {
        "requestBody": BODY,
        "security": [{"bearer": ["chat"]}],
        "parameters": [{"name": "X-Agent", "in": "header", "schema": {"type": "string"}}],
        "x-dragoman": {"agent": {"from": [{"header": "X-Agent"}]}},
    }
    [operation] = compile_contract(tiny(**stated)).operations
    headers = {"authorization": f"Bearer {TOKEN}", "x-agent": AGENT, "content-type": "application/json"}

    reply, admitted = admit(operation, b'{"model": "m", "messages": [1], "other": 2}', headers)

    assert Rendered(content=b"made") == reply
    agent, request = Agent(id=AGENT, name="main", organization=OWN), ChatRequest(model="m", messages=[1])
    assert (PRINCIPAL, agent, request) == (admitted.principal, admitted.agent, admitted.request)
    assert {"model": "m", "messages": [1], "other": 2} == admitted.document


def test_a_handler_gets_no_keys_that_the_dialect_drops() -> None:
    """Where unknown keys are dropped they do not reach the handler."""
    [operation] = compile_contract(tiny(requestBody=BODY, **{"x-dragoman": {"unknown-keys": "drop"}})).operations

    _, admitted = admit(operation, b'{"model": "m", "messages": [], "other": 2}', {"content-type": "application/json"})

    assert {"model": "m", "messages": []} == admitted.document


def possible(
    *,
    answer: bool = True,
    record: type[ModelRequest] | None = None,
    refusals: frozenset[Kind] = frozenset(),
    **stated: Any,  # noqa: ANN401 - members of an operation
) -> set[Kind]:
    """Return the kinds that an operation which states *stated* may be refused with."""
    [operation] = compile_contract(tiny("/{org_id}", **stated)).operations
    recording = Recording() if answer else None
    return set(possible_refusals(Route(operation=operation, record=record, answer=recording, refusals=refusals)))


def limited(*scopes: str) -> dict[str, Any]:
    """Return the trait that limits by *scopes*."""
    return {"x-dragoman": {"limits-by": list(scopes)}}


CREDENTIALS: Final = {Kind.MISSING_CREDENTIAL, Kind.INVALID_CREDENTIAL, Kind.IDENTITY_UNAVAILABLE}
PATH_TEXT: Final = {"name": "org_id", "in": "path", "required": True, "schema": {"type": "string"}}
ORGANIZATION: Final = {"x-dragoman": {"organization": {"path": "org_id"}}}
AGENT_TRAIT: Final = {"x-dragoman": {"agent": {"from": [{"header": "X-Agent"}]}}}
AGENT_HEADER: Final = {"name": "X-Agent", "in": "header", "schema": {"type": "string"}}


@confirms("ADR-0004.R1")
@pytest.mark.parametrize(
    ("stated", "kinds"),
    [
        ({}, set()),
        ({"security": [{"bearer": []}]}, CREDENTIALS),
        ({"security": [{"bearer": ["a"]}]}, CREDENTIALS | {Kind.INSUFFICIENT_SCOPE}),
        ({"parameters": [PATH_TEXT]}, set()),
        ({"parameters": [PATH_TEXT | {"schema": {"type": "integer"}}]}, {Kind.INVALID_PARAMETER}),
        ({"parameters": [PATH_TEXT], **ORGANIZATION}, {Kind.ORGANIZATION_MISMATCH}),
        ({"parameters": [AGENT_HEADER], **AGENT_TRAIT}, {Kind.AGENT_NOT_ALLOWED}),
        ({"requestBody": BODY}, set(BODY_REFUSALS)),
        ({"answer": False}, {Kind.PROVIDER_NOT_CONFIGURED}),
        ({"refusals": frozenset({Kind.MODEL_NOT_FOUND})}, {Kind.MODEL_NOT_FOUND}),
        ({"x-phase": 1}, {Kind.OVERLOADED}),
        (limited("address", "failed-logins", "organization", "key", "alias"), set()),
        ({"security": [{"bearer": []}], **limited("address")}, CREDENTIALS),
        ({"security": [{"bearer": []}], **limited("failed-logins")}, CREDENTIALS | {Kind.TOO_MANY_FAILED_LOGINS}),
        ({"security": [{"bearer": []}], **limited("organization")}, CREDENTIALS | {Kind.CALLER_LIMITED}),
        ({"security": [{"bearer": []}], **limited("key")}, CREDENTIALS | {Kind.CALLER_LIMITED}),
        ({"security": [{"bearer": []}], **limited("alias")}, CREDENTIALS),
        (
            {"security": [{"bearer": []}], "record": ChatRequest, **limited("alias")},
            CREDENTIALS | {Kind.RATE_LIMITED},
        ),
    ],
)
def test_an_operation_may_be_refused_with_what_its_steps_can_find(stated: dict[str, Any], kinds: set[Kind]) -> None:
    """Every statement of the contract brings the kinds that its step may answer with, and no other."""
    assert kinds == possible(**stated)


def test_phase_one_binds_nothing_that_could_forward() -> None:
    """In Phase 1 a handler's answer and its refusals are left out; in Phase 2, and without phases, they are bound."""
    handler = Handler(request=ChatRequest, answer=Recording(), refusals=frozenset({Kind.MODEL_NOT_FOUND}))
    routes = [bind(compile_contract(tiny(**{"x-phase": phase})).operations[0], handler) for phase in (1, 2, None)]

    assert [None, handler.answer, handler.answer] == [route.answer for route in routes]
    assert [frozenset(), handler.refusals, handler.refusals] == [route.refusals for route in routes]
