"""The wiring: what the gateway is made of when nobody is faked."""

import re
from datetime import UTC

import pytest
from gateway_conformance.rules import confirms

from dragoman.app import (
    DEVELOPMENT_ALIASES,
    build_gateway,
    forwarding_operations,
    require_operations,
    serve_routes,
    system_sources,
)
from dragoman.contract.source import Source
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler
from dragoman.settings import Development, MountSettings
from fakes import AGENT, OWN, TOKEN, effective
from treaty import TreatyError
from wire import VALID, get, post

SEED = Development(token=TOKEN, organization=OWN, agent=AGENT)
ROOT = MountSettings(prefix="/", dialect="dragoman", phases={"chat": 1, "responses": 1}, off=frozenset())


@confirms("ADR-0001.R2")
def test_a_handler_without_an_operation_is_refused() -> None:
    """A handler for which the canonical contract has no operation is refused by name."""
    with pytest.raises(TreatyError) as caught:
        require_operations(Source().operations, {**HANDLERS, "teapot": Handler()})

    assert "the handler 'teapot' has no operation in the canonical contract" == str(caught.value)


@confirms("ADR-0001.R2")
def test_the_packaged_handlers_and_operations_are_the_same() -> None:
    """Every handler has an operation in the packaged contract, and every operation a handler."""
    require_operations(Source().operations)

    assert set(HANDLERS) == set(Source().operations)


def test_nothing_can_forward_yet() -> None:
    """No handler has both a request and an answer, so no operation has a Phase 2 that can be served."""
    assert frozenset() == forwarding_operations()


@confirms("ADR-0001.R1")
def test_every_operation_of_the_contract_has_a_route() -> None:
    """The routes are those of the document, in its order."""
    document = effective()

    paths = [route.operation.path for route in serve_routes(document)]

    assert list(document["paths"]) == paths


@confirms("ADR-0001.R2")
def test_routes_need_the_answers_outside_operations() -> None:
    """A contract that cannot answer an unknown method is refused when its routes are made."""
    document = effective()
    del document["components"]["responses"]["MethodNotAllowed"]

    with pytest.raises(TreatyError, match="no x-anywhere response carries 'method_not_allowed'"):
        serve_routes(document)


@confirms("ADR-0013.R2", "ADR-0013.R3")
def test_the_machine_gives_time_and_ids() -> None:
    """The clock is in UTC, request ids are UUIDv7, trace ids are 32 hex digits, and none comes twice."""
    sources = system_sources()
    ids, traces = ({source() for _ in range(3)} for source in (sources.request_id, sources.trace_id))

    assert UTC == sources.now().tzinfo
    assert sources.monotonic() <= sources.monotonic()
    assert (3, 3) == (len(ids), len(traces))
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one) for one in ids)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in traces)


def test_the_development_key_opens_the_gateway() -> None:
    """A gateway with a development key lets it pass, with its agent, and shows its models."""
    app = build_gateway(Source(), [ROOT], SEED)

    answers = [post(app, VALID, headers={"x-agent-id": AGENT}), post(app, VALID, token="another")]
    models = [model["id"] for model in get(app, "/v1/models").json()["data"]]

    assert [501, 401] == [answer.status for answer in answers]
    assert list(DEVELOPMENT_ALIASES) == models


def test_without_a_key_nobody_passes() -> None:
    """A gateway without a development key is made, and refuses everybody."""
    app = build_gateway(Source(), [ROOT], None)

    assert [401, 200] == [post(app, VALID).status, get(app, "/healthz").status]


def test_a_mount_serves_what_is_on() -> None:
    """What is switched off at a mount is unknown there, and served at another one."""
    other = MountSettings(prefix="/api", dialect="dragoman", phases={}, off=frozenset({"responses"}))
    app = build_gateway(Source(), [ROOT, other], SEED)
    body = {"model": "m", "input": "hello"}

    answers = [post(app, body, path=f"{mount}/v1/responses").status for mount in ("", "/api")]

    assert [501, 404] == answers
