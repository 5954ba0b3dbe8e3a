"""One event per request, metadata only (ADR-0015), and nothing of a fault of ours in any answer (ADR-0004)."""

import io
import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.log import build_log
from dragoman.app import create_app
from dragoman.web.gateway import Gateway
from fakes import (
    AGENT,
    FOREIGN_AGENT,
    NOW,
    OWN,
    REQUEST_ID,
    TOKEN,
    TRACE_ID,
    FakeCatalogue,
    FakeIdentity,
    House,
    build_forwarding,
    effective,
    example,
    fixed_sources,
)
from wire import CHAT, VALID, Answer, Headers, ask, get, post

CANARY: Final = "canary"
CANONICAL: Final = effective()


@attrs.frozen(kw_only=True)
class Asked:
    """A request, and the status that it gets."""

    status: int
    method: str = "POST"
    path: str = CHAT
    query: bytes = b""
    headers: Headers = attrs.field(factory=dict)
    body: bytes = b""
    leaves: bool = False

    def sent_to(self, app: Gateway) -> Answer:
        """Send the request, with our own token where it names none."""
        usual: dict[str, str | bytes] = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        if self.body:
            usual["content-length"] = str(len(self.body))
        return ask(
            app,
            self.method,
            self.path,
            query=self.query,
            headers=usual | dict(self.headers),
            body=self.body,
            leaves=self.leaves,
        )


def body(**members: Any) -> bytes:  # noqa: ANN401 - JSON values
    """Return a chat request with these members."""
    return json.dumps({**VALID, **members}).encode()


PLANTED: Final = {
    "prompt": Asked(status=501, body=body(messages=[{"role": "user", "content": CANARY}])),
    "member": Asked(status=501, body=body(canary=CANARY, user=CANARY)),
    "wrong value": Asked(status=400, body=body(messages=[{"role": CANARY, "content": CANARY}])),
    "wrong type": Asked(status=400, body=body(temperature=CANARY)),
    "undeclared key": Asked(status=400, body=body(metadata={CANARY: 1})),
    "undeclared number": Asked(status=400, body=body(logit_bias={CANARY: CANARY})),
    "no JSON": Asked(status=400, body=b'{"canary": canary'),
    "half a body": Asked(status=400, body=b'{"canary": ', leaves=True),
    "token": Asked(status=401, headers={"authorization": f"Bearer {CANARY}"}),
    "other scheme": Asked(status=401, headers={"authorization": f"Basic {CANARY}"}),
    "no scheme": Asked(status=401, headers={"authorization": CANARY}),
    "query": Asked(status=501, query=b"canary=canary&key=canary", body=body()),
    "agent": Asked(status=400, headers={"x-agent-id": CANARY}, body=body()),
    "media type": Asked(status=415, headers={"content-type": f"text/{CANARY}; {CANARY}={CANARY}"}, body=body()),
    "charset": Asked(status=415, headers={"content-type": f"application/json; charset={CANARY}"}, body=body()),
    "encoding": Asked(status=415, headers={"content-encoding": CANARY}, body=body()),
    "request id": Asked(status=501, headers={"x-request-id": f"{CANARY}/{CANARY}"}, body=body()),
    "traceparent": Asked(status=501, headers={"traceparent": f"00-{CANARY}-01"}, body=body()),
    "other headers": Asked(status=501, headers={"cookie": CANARY, "user-agent": CANARY, CANARY: CANARY}, body=body()),
    "path": Asked(status=404, method="GET", path=f"/{CANARY}/{CANARY}"),
    "path of a method": Asked(status=404, method="DELETE", path=f"/v1/{CANARY}"),
    "organisation": Asked(status=400, path=f"/v1/orgs/{CANARY}/chat/completions", body=body()),
    "model in the path": Asked(status=404, method="GET", path=f"/v1/models/{CANARY}"),
}
"""The canary in every place where a caller can put a text, but for the ids and the model name that may be logged."""


def canary_catcher(
    *, identity: FakeIdentity | None = None, catalogue: FakeCatalogue | None = None
) -> tuple[Gateway, io.BytesIO]:
    """Return a gateway with the log of the program, and what that writes to."""
    log = io.BytesIO()
    app = create_app(
        {"/": CANONICAL},
        identity=identity or FakeIdentity(),
        catalogue=catalogue or FakeCatalogue(),
        log=build_log(log, lambda: NOW),
        sources=fixed_sources(),
        forwarding=build_forwarding(),
    )
    return app, log


@confirms("ADR-0015.R1", "ADR-0015.R3", "ADR-0004.R6")
@pytest.mark.parametrize("place", PLANTED)
def test_no_text_of_the_caller_is_logged_or_answered(place: str) -> None:
    """A text of the caller, wherever it was, stands in no log line and in no answer; the request has one event."""
    app, log = canary_catcher()
    asked = PLANTED[place]

    answer = asked.sent_to(app)

    written = log.getvalue().decode()
    assert (asked.status, 1) == (answer.status, len(written.splitlines()))
    assert CANARY not in written
    assert CANARY not in f"{answer.headers} {answer.body.decode()}"


@confirms("ADR-0004.R7", "ADR-0015.R1", "ADR-0015.R3")
@pytest.mark.parametrize(
    ("fakes", "path"),
    [
        ({"identity": FakeIdentity(fault=ValueError(CANARY))}, "/v1/models"),
        ({"catalogue": FakeCatalogue(fault=LookupError(CANARY))}, "/v1/models"),
        ({"catalogue": FakeCatalogue(fault=RuntimeError({CANARY: CANARY}))}, f"/v1/models/{CANARY}"),
    ],
)
def test_nothing_of_a_fault_of_ours_leaves(fakes: Mapping[str, Any], path: str) -> None:
    """A port that fails gives the contract's 500; the log has the event, and one line with type and places only."""
    app, log = canary_catcher(**fakes)

    answer = get(app, path)

    assert (500, example(CANONICAL, "internal_error")) == (answer.status, answer.json())
    failure, event = (json.loads(line) for line in log.getvalue().splitlines())
    assert ("failure", "request", 500, "internal_error") == (
        failure["event"],
        event["event"],
        event["status"],
        event["refusal"],
    )
    assert (event["request_id"], event["trace_id"]) == (failure["request_id"], failure["trace_id"])
    assert failure["error"].startswith("builtins.")
    assert "dragoman.pipeline" in {place.partition(":")[0] for place in failure["places"]}
    assert CANARY not in f"{log.getvalue().decode()}{answer.headers}{answer.body.decode()}"


OURS: Final = {"org_id": OWN, "key_id": "own"}


@confirms("ADR-0015.R1")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(status=200, method="GET", path="/healthz"), {"route": "/healthz", "operation": "health"}),
        (Asked(status=200, method="HEAD", path="/healthz"), {"route": "/healthz", "operation": "health"}),
        (Asked(status=204, method="OPTIONS"), {"route": CHAT}),
        (Asked(status=405, method="PUT"), {"route": CHAT, "refusal": "method_not_allowed"}),
        (Asked(status=404, path="/nowhere"), {"refusal": "unknown_url"}),
        (
            Asked(status=404, method="GET", path="/v1/models/none"),
            {"route": "/v1/models/{model}", "operation": "model", "refusal": "model_not_found", **OURS},
        ),
        (
            Asked(status=401, headers={"authorization": ""}),
            {"route": CHAT, "operation": "chat", "phase": 1, "refusal": "invalid_credential"},
        ),
        (
            Asked(status=403, headers={"x-agent-id": FOREIGN_AGENT}),
            {"route": CHAT, "operation": "chat", "phase": 1, "refusal": "agent_not_allowed", **OURS},
        ),
        (
            Asked(status=501, headers={"x-agent-id": AGENT}, body=body()),
            {
                "route": CHAT,
                "operation": "chat",
                "phase": 1,
                "refusal": "provider_not_configured",
                "agent_id": AGENT,
                **OURS,
                "model": "gpt-4o",
                "message_count": 1,
                "stream": False,
                "request_bytes": len(body()),
            },
        ),
    ],
)
def test_an_event_holds_what_was_reached(house: House, asked: Asked, expected: dict[str, object]) -> None:
    """The one event of a request has its ids, status and duration, and of the rest what the request got to."""
    asked.sent_to(house.app)

    always = {
        "request_id": REQUEST_ID,
        "trace_id": TRACE_ID,
        "mount": "/",
        "method": asked.method,
        "status": asked.status,
    }
    event = dict(house.log.event)
    assert isinstance(event.pop("duration_ms"), float)
    assert always | expected == event


@confirms("ADR-0015.R2", "ADR-0013.R2")
def test_both_request_ids_are_logged(house: House) -> None:
    """The caller's valid id is in the answer and in its body; the event has that one and the gateway's own."""
    answer = post(house.app, VALID, headers={"x-request-id": "checkout-7f3a"})

    assert ("checkout-7f3a", "checkout-7f3a") == (answer.header("x-request-id"), answer.json()["error"]["request_id"])
    assert (REQUEST_ID, "checkout-7f3a") == (house.log.event["request_id"], house.log.event["caller_request_id"])


@confirms("ADR-0015.R2")
def test_without_a_valid_id_only_our_own_is_logged(house: House) -> None:
    """An id that is not valid is neither answered nor logged."""
    answer = post(house.app, VALID, headers={"x-request-id": "check out"})

    assert REQUEST_ID == answer.header("x-request-id")
    assert "caller_request_id" not in house.log.event


@confirms("ADR-0015.R1")
def test_many_requests_have_as_many_events(house: House) -> None:
    """Every request has exactly one event, in the order in which they were answered."""
    for asked in PLANTED.values():
        asked.sent_to(house.app)

    assert [asked.status for asked in PLANTED.values()] == [event["status"] for event in house.log.requests]
    assert [] == house.log.failures
