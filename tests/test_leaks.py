"""Nothing of a caller or of the gateway's inside leaves it: not when it fails, not in a record's text, not at DEBUG."""

import logging
from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman import pipeline
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.app import Guard
from dragoman.errors import Kind, Refusal
from dragoman.gate import callers, limits, room
from dragoman.model import rate_of
from dragoman.operations import models
from dragoman.web import context, mount, presentation
from fakes import AGENT, OWN, TOKEN, FakeCatalogue, FakeIdentity, House, build_house, effective, example
from wire import CHAT, VALID, Answer, get, post

CANARY: Final = "canary-9f2c at /srv/secret/place.py: SELECT token FROM keys WHERE host='db.internal'"
ALL_LIMITS: Final = {name: rate_of("1000/s") for name in ("address", "failed-logins", "organization", "key", "alias")}


def chat(house: House) -> Answer:
    """Send a chat request that uses everything that a request can use."""
    return post(house.app, {**VALID, "model": "general"}, path=CHAT, headers={"x-agent-id": AGENT})


def chat_of_organization(house: House) -> Answer:
    """Send a chat request of an organisation in the path."""
    return post(house.app, VALID, path=f"/v1/orgs/{OWN}/chat/completions")


def listing(house: House) -> Answer:
    """Ask for the models."""
    return get(house.app, "/v1/models")


def one_model(house: House) -> Answer:
    """Ask for one model."""
    return get(house.app, "/v1/models/general")


def wrong_key(house: House) -> Answer:
    """Ask with a credential that is nobody's."""
    return get(house.app, "/v1/models", headers={"authorization": "Bearer nobody's"})


@attrs.frozen(kw_only=True)
class Point:
    """Where a fault is injected: the attribute *name* of *owner*, and a request that passes through it."""

    owner: Any
    name: str
    ask: Callable[[House], Answer] = chat


POINTS: Final = (
    Point(owner=pipeline, name="log_in"),
    Point(owner=pipeline, name="check_parameters"),
    Point(owner=pipeline, name="require_scopes"),
    Point(owner=pipeline, name="require_own_organization", ask=chat_of_organization),
    Point(owner=pipeline, name="verify_agent"),
    Point(owner=pipeline, name="Admitted"),
    Point(owner=pipeline, name="check_content"),
    Point(owner=pipeline, name="parse"),
    Point(owner=pipeline, name="check_document"),
    Point(owner=pipeline, name="kept"),
    Point(owner=pipeline, name="structure"),
    Point(owner=pipeline, name="choose_agent", ask=chat_of_organization),
    Point(owner=pipeline, name="_note_correlation"),
    Point(owner=callers, name="bearer_token"),
    Point(owner=limits.Limits, name="admit_address"),
    Point(owner=limits.Limits, name="admit_login"),
    Point(owner=limits.Limits, name="note_failed_login", ask=wrong_key),
    Point(owner=limits.Limits, name="admit_caller"),
    Point(owner=limits.Limits, name="admit_alias"),
    Point(owner=room.Room, name="enter"),
    Point(owner=MemoryLimiter, name="take"),
    Point(owner=MemoryLimiter, name="peek"),
    Point(owner=FakeIdentity, name="principal"),
    Point(owner=FakeIdentity, name="agent"),
    Point(owner=FakeCatalogue, name="alias"),
    Point(owner=FakeCatalogue, name="aliases", ask=listing),
    Point(owner=models, name="_visible", ask=one_model),
    Point(owner=mount, name="Call"),
    Point(owner=mount, name="_query"),
    Point(owner=mount, name="present_refusal"),
    Point(owner=mount, name="_present_reply", ask=listing),
    Point(owner=presentation, name="timestamp"),
    Point(owner=presentation, name="tightest"),
    Point(owner=context.RequestContext, name="read"),
)
"""Thirty-odd places that a request passes through (the catalogue's A7)."""


@pytest.fixture(scope="module")
def limited() -> House:
    """Return a gateway with every limit on; compiling its contract takes longer than a test."""
    return build_house(guard=Guard(rates=ALL_LIMITS))


def failing_once(monkeypatch: pytest.MonkeyPatch, point: Point) -> None:
    """Let *point* fail the first time it is reached, with a text that must not leave."""
    real = getattr(point.owner, point.name)
    failed: list[bool] = []

    def fail(*arguments: object, **named: object) -> object:
        if not failed:
            failed.append(True)
            raise RuntimeError(CANARY)
        return real(*arguments, **named)

    monkeypatch.setattr(point.owner, point.name, fail)


@confirms("ADR-0004.R7", "ADR-0015.R1", "ADR-0015.R3")
@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point.name}")
def test_a_fault_anywhere_is_the_contracts_500_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limited: House, point: Point
) -> None:
    """Wherever the gateway fails, the answer is the documented 500, and neither it nor any log shows the fault."""
    caplog.set_level(logging.DEBUG)
    limited.log.requests.clear()
    limited.log.failures.clear()
    failing_once(monkeypatch, point)

    answer = point.ask(limited)

    assert (500, example(effective(), "internal_error")) == (answer.status, answer.json())
    assert ([500], 1) == ([event["status"] for event in limited.log.requests], len(limited.log.failures))
    told = f"{answer.headers}{answer.body.decode()}{limited.log.text}{caplog.text}"
    assert [] == [part for part in ("canary", "/srv/", "SELECT", "db.internal", TOKEN) if part in told]


@confirms("ADR-0015.R3")
def test_a_refusal_shows_neither_what_was_sent_nor_what_is_told() -> None:
    """The text and the representation of a refusal are its kind, whatever its arguments hold."""
    refusal = Refusal(Kind.INVALID_REQUEST, param=CANARY, code="x", reason=CANARY)

    assert "canary" not in f"{refusal} {refusal!r}"
