"""A gateway that is full, and one that is about to end: who is let in, and what is said of it."""

import asyncio
import json
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.app import Guard
from dragoman.model import rate_of
from dragoman.web.gateway import Gateway
from fakes import FOREIGN_AGENT, TOKEN, UNSCOPED_TOKEN, House, build_house, effective, example
from wire import CHAT, JSON, VALID, Answer, ask, asked, get, in_work, post

CANONICAL: Final = effective()
BODY: Final = json.dumps(VALID).encode()
HEADERS: Final = {"authorization": f"Bearer {TOKEN}", "content-type": JSON, "content-length": str(len(BODY))}
MODELS: Final = "/v1/models"
PROBES: Final = ("/healthz", "/livez", "/readyz")


def full(capacity: int = 1, **documents: Any) -> House:  # noqa: ANN401 - effective contracts
    """Return a gateway that takes so many requests at once, and serves *documents* by the names of their mounts."""
    mounts = {f"/{name}": document for name, document in documents.items()} or {"/": CANONICAL}
    return build_house(mounts, guard=Guard(capacity=capacity))


async def sent_to(app: Gateway, path: str = CHAT) -> Answer:
    """Return the answer to a valid request, or to a GET of another path."""
    if path.endswith("completions"):
        return await asked(app, "POST", path, headers=HEADERS, body=BODY)
    return await asked(app, "GET", path, headers={"authorization": f"Bearer {TOKEN}"})


# --- A gateway that is full -------------------------------------------------------------------------------------------


@confirms("ADR-0033.R1")
def test_a_request_beyond_the_cap_is_told_to_come_again() -> None:
    """While every place is taken one more request gets 503 in shape, before its credential; then it is served."""
    house = full(capacity=2)

    async def story() -> list[Answer]:
        async with in_work(house.app), in_work(house.app):
            house.identity.tokens_asked.clear()
            beyond = [await sent_to(house.app) for _ in range(2)]
            assert [] == house.identity.tokens_asked
        return [*beyond, await sent_to(house.app)]

    first, second, later = asyncio.run(story())

    expected = (503, "1", "close", example(CANONICAL, "overloaded"))
    for beyond in (first, second):
        assert expected == (beyond.status, beyond.header("retry-after"), beyond.header("connection"), beyond.json())
    assert 501 == later.status
    assert ["overloaded", "overloaded"] == [event["refusal"] for event in house.log.requests][:2]


@confirms("ADR-0033.R1")
def test_a_full_gateway_still_says_that_it_lives() -> None:
    """What the gateway says about itself is answered while every place is taken, and takes none."""
    house = full()

    async def story() -> list[int]:
        async with in_work(house.app):
            return [(await sent_to(house.app, path)).status for path in (*PROBES, MODELS, "/openapi.json", "/nowhere")]

    assert [200, 200, 200, 200, 200, 404] == asyncio.run(story())


@confirms("ADR-0033.R1")
def test_the_places_are_those_of_all_mounts() -> None:
    """A request in work at one mount takes its place from the others, each of which says so in its own shape."""
    house = full(a=effective("tenant", mount="/a"), b=effective("client", mount="/b"))

    async def story() -> Answer:
        async with in_work(house.app, path=f"/a{CHAT}"):
            return await sent_to(house.app, "/b/api/client/v1/chat/completions")

    answer = asyncio.run(story())

    assert (503, example(effective("client"), "overloaded")) == (answer.status, answer.json())


Ending = Callable[[House], object]


def fails(house: House) -> object:
    """Send a request on which the gateway itself fails."""
    house.identity.fault = KeyError("canary")
    answer = post(house.app, VALID)
    house.identity.fault = None
    return answer.status


def breaks(house: House) -> object:
    """Send a request whose connection breaks under its answer."""

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: MutableMapping[str, Any]) -> None:
        raise ConnectionResetError

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "query_string": b""}
    with pytest.raises(ConnectionResetError):
        asyncio.run(house.app(scope, receive, send))
    return "broken"


def is_cancelled(house: House) -> object:
    """Send a request whose task is cancelled while its body is awaited."""

    async def story() -> None:
        async with in_work(house.app):
            assert 503 == (await sent_to(house.app)).status
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(story())
    return "cancelled"


ENDINGS: Final[dict[str, tuple[Ending, object]]] = {
    "success": (lambda house: post(house.app, VALID).status, 501),
    "missing credential": (lambda house: post(house.app, VALID, token=None).status, 401),
    "wrong credential": (lambda house: post(house.app, VALID, token="nobody's").status, 401),
    "missing scope": (lambda house: post(house.app, VALID, token=UNSCOPED_TOKEN).status, 403),
    "foreign agent": (lambda house: post(house.app, VALID, headers={"x-agent-id": FOREIGN_AGENT}).status, 403),
    "wrong media type": (lambda house: post(house.app, VALID, headers={"content-type": "text/plain"}).status, 415),
    "no JSON": (lambda house: post(house.app, b"{").status, 400),
    "wrong schema": (lambda house: post(house.app, {}).status, 400),
    "caller leaves": (lambda house: post(house.app, b"{", leaves=True).status, 400),
    "fault": (fails, 500),
    "broken connection": (breaks, "broken"),
    "cancelled": (is_cancelled, "cancelled"),
}


@confirms("ADR-0033.R1")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_place_is_free_again_however_a_request_ended(ending: str) -> None:
    """Success, refusal, fault, or a caller who is gone: the one place is free for the next request, again and again."""
    house = full()
    end, expected = ENDINGS[ending]

    assert [expected] * 3 == [end(house) for _ in range(3)]
    assert 501 == post(house.app, VALID).status


# --- A gateway that is about to end -----------------------------------------------------------------------------------


@pytest.fixture
def draining() -> House:
    """Return a gateway that is about to end."""
    house = build_house({"/": CANONICAL, "/fased": effective("fased", mount="/fased")})
    house.app.draining = True
    return house


@confirms("ADR-0033.R2")
def test_a_gateway_about_to_end_is_not_ready_and_lives(draining: House) -> None:
    """The probe of readiness gets 503 in shape with Retry-After, that of life 200, and requests are served."""
    ready, live, healthy = (get(draining.app, path, token=None) for path in ("/readyz", "/livez", "/healthz"))

    assert (503, "1", example(CANONICAL, "not_ready")) == (ready.status, ready.header("retry-after"), ready.json())
    assert ([200, 200], {"status": "ok"}) == ([live.status, healthy.status], live.json())
    assert [501, 200] == [post(draining.app, VALID).status, get(draining.app, MODELS).status]
    assert "not_ready" == draining.log.requests[0]["refusal"]


@confirms("ADR-0033.R2")
def test_a_gateway_that_runs_is_ready(house: House) -> None:
    """Until it is about to end, the probe of readiness answers as the others do, and connections are kept."""
    answers = [get(house.app, path, token=None) for path in PROBES]

    assert [(200, None)] * 3 == [(answer.status, answer.header("connection")) for answer in answers]


@confirms("ADR-0033.R2")
@pytest.mark.parametrize("mount", ["", "/fased"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/livez"),
        ("HEAD", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/healthz"),
        ("GET", "/docs"),
        ("GET", "/docs/swagger-ui.css"),
        ("GET", "/openapi.json"),
        ("GET", MODELS),
        ("GET", "/nowhere"),
        ("OPTIONS", CHAT),
        ("DELETE", CHAT),
        ("POST", CHAT),
        ("OPTIONS", "*"),
    ],
)
def test_every_answer_of_a_gateway_about_to_end_closes_its_connection(
    draining: House, mount: str, method: str, path: str
) -> None:
    """Whatever is asked, and whatever is answered, the connection is not kept."""
    where = path if path == "*" else f"{mount}{path}"

    answer = ask(draining.app, method, where, headers={"authorization": f"Bearer {TOKEN}"})

    assert "close" == answer.header("connection")


@confirms("ADR-0033.R2")
def test_refusals_and_faults_of_a_gateway_about_to_end_close_their_connections() -> None:
    """An answer before the route is looked at, and one to a fault of ours, close the connection too."""
    house = build_house(guard=Guard(rates={"address": rate_of("2/h")}))
    house.app.draining = True
    house.identity.fault = KeyError("canary")

    answers = [get(house.app, path) for path in (MODELS, f"{MODELS}/general", MODELS, "*")]

    assert [500, 500, 429, 429] == [answer.status for answer in answers]
    assert ["close"] * 4 == [answer.header("connection") for answer in answers]


@confirms("ADR-0033.R2")
def test_a_request_in_work_is_answered_whole_when_the_end_comes() -> None:
    """A request that was in work when the gateway began to end gets its answer, and lets the connection be kept."""
    house = build_house()

    async def story() -> list[MutableMapping[str, Any]]:
        async with in_work(house.app) as sent:
            house.app.draining = True
        return sent

    start, body = asyncio.run(story())

    assert (501, example(CANONICAL, "provider_not_configured")) == (start["status"], json.loads(body["body"]))
