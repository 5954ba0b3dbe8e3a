"""The outermost app: the mount by its prefix, and what belongs to no mount."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from gateway_conformance.rules import confirms

from dragoman.app import create_app
from dragoman.errors import Kind
from dragoman.ports import StoreError
from dragoman.web.gateway import Gateway, Lifespan, nothing_follows
from fakes import (
    REQUEST_ID,
    FakeCatalogue,
    FakeIdentity,
    House,
    RecordingLog,
    build_forwarding,
    build_house,
    effective,
    example,
    fixed_sources,
)
from wire import ask, get

CANONICAL = effective()
DIALECT = effective("ibex")


@confirms("ADR-0006.R1")
@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/openapi.json", "/"),
        ("/ibex/openapi.json", "/ibex"),
        ("/ibex/deep/openapi.json", "/ibex/deep"),
    ],
)
def test_the_longest_prefix_wins(path: str, mount: str) -> None:
    """A request reaches the mount with the longest prefix."""
    prefixes = ("/", "/ibex", "/ibex/deep")
    house = build_house({prefix: effective("ibex", mount=prefix) for prefix in prefixes})

    answer = get(house.app, path, token=None)

    assert (200, mount, mount) == (answer.status, answer.json()["servers"][0]["url"], house.log.event["mount"])


@confirms("ADR-0006.R1", "ADR-0006.R2")
@pytest.mark.parametrize(
    ("path", "mount", "document"),
    [
        ("/ibex", "/ibex", DIALECT),
        ("/ibex/", "/ibex", DIALECT),
        ("/ibex/nowhere", "/ibex", DIALECT),
        ("/ibexes", "/", CANONICAL),
        ("/nowhere", "/", CANONICAL),
        ("/", "/", CANONICAL),
    ],
)
def test_a_prefix_ends_at_a_segment(house: House, path: str, mount: str, document: dict[str, Any]) -> None:
    """An unknown URL is answered in the shape of the mount whose prefix ends at one of its segments."""
    answer = get(house.app, path, token=None)

    expected = (404, example(document, "unknown_url"), mount)
    assert expected == (answer.status, answer.json(), house.log.event["mount"])


@confirms("ADR-0006.R1")
def test_what_no_mount_claims_has_the_shape_of_the_root_mount(house: House) -> None:
    """A target that is no path belongs to no mount, and is answered as the root mount answers an unknown URL."""
    answer = ask(house.app, "OPTIONS", "*")

    assert (404, example(CANONICAL, "unknown_url")) == (answer.status, answer.json())
    assert ("application/json", str(len(answer.body))) == (
        answer.header("content-type"),
        answer.header("content-length"),
    )
    assert "mount" not in house.log.event


@confirms("ADR-0006.R1", "ADR-0013.R1")
def test_without_a_root_mount_the_first_one_answers() -> None:
    """Where nothing is mounted at the root, the first mount's shape and headers answer what no mount claims."""
    house = build_house({"/first": DIALECT, "/second": CANONICAL})

    answer = get(house.app, "/v1/models")

    assert (404, example(DIALECT, "unknown_url")) == (answer.status, answer.json())
    assert all(answer.header(name) for name in ("x-request-id", "x-trace-id", "x-response-time"))


@confirms("ADR-0006.R2", "ADR-0010.R4")
def test_an_unread_body_outside_all_mounts_closes_the_connection() -> None:
    """Also an answer of no mount says that the connection is closed when a body was declared."""
    house = build_house({"/first": DIALECT})

    answer = ask(house.app, "POST", "/v1/models", headers={"content-length": "9"}, body=b"unread   ")

    assert ("close", 0) == (answer.header("connection"), answer.looks)


@confirms("ADR-0006.R3", "ADR-0015.R1")
def test_malformed_http_has_the_contracts_answer_and_one_event(house: House) -> None:
    """What is no HTTP gets the contract's body and headers, a closed connection, and one event."""
    presented = house.app.refuse(Kind.MALFORMED_HTTP, {"headers": []})

    assert (400, b'"malformed_http"') == (presented.status, (presented.body or b"").split(b'"code":')[1].split(b",")[0])
    names = [name for name, _ in presented.headers]
    assert [b"x-request-id", b"x-trace-id", b"x-response-time", b"connection"] == names
    assert (400, "malformed_http") == (house.log.event["status"], house.log.event["refusal"])


def lifespan(app: Gateway) -> list[str]:
    """Return what *app* answers when it is started and stopped."""
    asked = ["lifespan.startup", "lifespan.shutdown"]
    said = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": asked.pop(0)}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    return said


def test_the_gateway_starts_and_stops(house: House) -> None:
    """The lifespan protocol is answered, and is no request."""
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == lifespan(house.app)
    assert [] == house.log.requests


def living(said: list[str], *faults: Exception | None) -> House:
    """Return a gateway with something beside its requests for each of *faults*, which may fail when it is entered."""

    def making(name: str, fault: Exception | None) -> Lifespan:
        @asynccontextmanager
        async def one() -> AsyncIterator[None]:
            if fault is not None:
                raise fault
            said.append(f"{name} begins")
            yield
            said.append(f"{name} ends")

        return one

    made = [making(str(number), fault) for number, fault in enumerate(faults)]
    identity, catalogue, log = FakeIdentity(), FakeCatalogue(), RecordingLog()
    app = create_app(
        {"/": CANONICAL},
        identity=identity,
        catalogue=catalogue,
        log=log,
        sources=fixed_sources(),
        forwarding=build_forwarding(),
        lifespan=made,
    )
    return House(app=app, identity=identity, catalogue=catalogue, log=log)


def test_what_runs_beside_requests_starts_and_stops_with_the_gateway() -> None:
    """It begins before the gateway says that it has started, and ends in reverse before it says that it has stopped."""
    said: list[str] = []
    house = living(said, None, None)

    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == lifespan(house.app)
    assert ["0 begins", "1 begins", "1 ends", "0 ends"] == said


@pytest.mark.parametrize(
    ("fault", "told", "logged"),
    [
        (StoreError("the store is gone"), "dragoman: the store is gone", []),
        (ValueError("sesame"), "dragoman: the gateway cannot start", ["builtins.ValueError"]),
    ],
)
def test_a_gateway_that_cannot_start_says_why(fault: Exception, told: str, logged: list[str]) -> None:
    """What fails at the start is named; of a fault of ours only the log says more; and what had begun is ended."""
    said: list[str] = []
    messages: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    house = living(said, None, fault)
    asyncio.run(house.app({"type": "lifespan"}, receive, send))

    assert [{"type": "lifespan.startup.failed", "message": told}] == messages
    assert logged == [fields["error"] for fields in house.log.failures]
    assert "sesame" not in house.log.text
    assert ["0 begins", "0 ends"] == said


def test_a_websocket_is_not_served(house: House) -> None:
    """A connection that is no HTTP request is left unanswered: the server refuses it."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(house.app({"type": "websocket", "path": "/", "headers": []}, receive, send))

    assert ([], []) == (sent, house.log.requests)


@confirms("ADR-0015.R1")
def test_an_answer_that_cannot_be_sent_still_has_its_event(house: House) -> None:
    """When the connection breaks under the answer, the event is written all the same."""

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: MutableMapping[str, Any]) -> None:
        raise ConnectionResetError

    scope = {"type": "http", "method": "OPTIONS", "path": "*", "headers": []}
    with pytest.raises(ConnectionResetError):
        asyncio.run(house.app(scope, receive, send))

    assert (404, "unknown_url") == (house.log.event["status"], house.log.event["refusal"])


@confirms("ADR-0004.R7", "ADR-0006.R2", "ADR-0015.R1", "ADR-0015.R3")
@pytest.mark.parametrize(("mount", "document"), [("", CANONICAL), ("/ibex", DIALECT)])
def test_what_the_framework_cannot_read_is_a_fault_of_ours(house: House, mount: str, document: dict[str, Any]) -> None:
    """A request that Falcon fails on before it handles errors gets the mount's 500, one failure and one event."""
    answer = ask(house.app, "GET", f"{mount}/openapi.json", query=b"canary\xff")

    assert (500, example(document, "internal_error")) == (answer.status, answer.json())
    assert (["builtins.UnicodeDecodeError"], 500) == (
        [failure["error"] for failure in house.log.failures],
        house.log.event["status"],
    )
    assert "canary" not in house.log.text


@confirms("ADR-0015.R1", "ADR-0015.R3")
@pytest.mark.parametrize(
    ("fault", "logged"), [(ConnectionResetError("canary"), []), (RuntimeError("canary"), ["builtins.RuntimeError"])]
)
def test_an_answer_that_broke_off_is_not_answered_again(house: House, fault: Exception, logged: list[str]) -> None:
    """When an answer breaks off nothing more is sent, and the event is written; a fault of ours is logged, too."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        raise fault

    scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": [], "query_string": b""}
    with pytest.raises(type(fault)):
        asyncio.run(house.app(scope, receive, send))

    assert ([200], 200) == ([message["status"] for message in sent], house.log.event["status"])
    assert logged == [failure["error"] for failure in house.log.failures]
    assert [house.log.event["request_id"]] * len(logged) == [failure["request_id"] for failure in house.log.failures]
    assert "canary" not in house.log.text


def test_a_fault_outside_of_requests_is_logged_without_its_text(house: House) -> None:
    """What goes wrong in the server has no request, and its text is not told either."""
    house.app.report(RuntimeError("canary"))

    assert [{"error": "builtins.RuntimeError", "places": []}] == house.log.failures


@confirms("ADR-0034.R9")
@pytest.mark.parametrize(
    ("path", "mount"), [("//v1/models", "/"), ("/ibex//v1/chat/completions", "/ibex"), ("//", "/")]
)
def test_no_slash_of_a_path_is_dropped(house: House, path: str, mount: str) -> None:
    """A path with more slashes than one of ours at its start is another path."""
    answer = get(house.app, path)

    assert (404, "unknown_url", mount) == (answer.status, house.log.event["refusal"], house.log.event["mount"])


@confirms("ADR-0006.R2")
@pytest.mark.parametrize(("path", "mount", "document"), [("/ibex/x", "/ibex", DIALECT), ("/x", "/", CANONICAL)])
def test_what_the_server_refuses_has_the_shape_of_its_mount(
    house: House, path: str, mount: str, document: dict[str, Any]
) -> None:
    """Where the path is known, the mount that claims it answers; the event holds what is known of the head."""
    head = {"headers": [(b"x-request-id", REQUEST_ID.encode())], "method": "GET", "path": path}

    presented = house.app.refuse(Kind.INVALID_HOST, head)

    assert example(document, "invalid_host") == json.loads(presented.body or b"")
    told = dict(presented.headers)
    assert (b"close", REQUEST_ID.encode()) == (told[b"connection"], told[b"x-request-id"])
    event = house.log.event
    assert ("GET", mount, REQUEST_ID, 400) == (
        event["method"],
        event["mount"],
        event["caller_request_id"],
        event["status"],
    )


PREFIXED = effective("client")


@confirms("ADR-0020.R2")
@pytest.mark.parametrize("path", ["/first/openapi.json", "/first/nowhere", "/nowhere"])
def test_ids_that_are_made_have_the_dialects_prefix(path: str) -> None:
    """A made request id begins with the prefix of the mount's dialect, also where no mount claims the request."""
    house = build_house({"/first": PREFIXED, "/second": CANONICAL})

    made = get(house.app, path).header("x-request-id")

    assert f"req_{REQUEST_ID}" == made == house.log.event["request_id"]


@confirms("ADR-0020.R2")
def test_ids_of_other_mounts_have_no_prefix() -> None:
    """The prefix of one mount's dialect is not that of another, and a caller's own id gets none."""
    house = build_house({"/first": PREFIXED, "/second": CANONICAL})

    answers = [get(house.app, "/second/nowhere"), get(house.app, "/first/nowhere", headers={"x-request-id": "mine"})]

    assert [REQUEST_ID, "mine"] == [answer.header("x-request-id") for answer in answers]


@confirms("ADR-0020.R2")
def test_malformed_http_has_the_prefix_too() -> None:
    """What is no HTTP is answered in the shape of the first mount, with an id of its form."""
    presented = build_house({"/first": PREFIXED}).app.refuse(Kind.MALFORMED_HTTP, {"headers": []})

    assert f"req_{REQUEST_ID}".encode() == dict(presented.headers)[b"x-request-id"]


def test_of_a_request_that_was_refused_before_it_was_one_nothing_comes() -> None:
    """Whoever would read on finds that the caller has left."""
    assert {"type": "http.disconnect"} == asyncio.run(nothing_follows())
