"""What each dialect adds to the canonical contract, as it is served (ADR-0020 to ADR-0023)."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms

from fakes import AGENT, BETA, FOREIGN_AGENT, REQUEST_ID, TOKEN, House, build_house, effective, fixed_sources
from wire import CHAT, VALID, Answer, get, post

NAMES: Final = ("client", "fased", "relay", "tenant")
CLIENT: Final = "/client/api/client/v1/chat/completions"
FASED: Final = f"/fased{CHAT}"
USER: Final = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def _built() -> House:
    """Return a gateway with these dialects, each at its own prefix."""
    return build_house({f"/{name}": effective(name, mount=f"/{name}") for name in NAMES})


@pytest.fixture
def dialects(_built: House) -> Iterator[House]:
    """Return that gateway with an empty log."""
    yield _built
    _built.log.requests.clear()
    _built.identity.agents_asked.clear()


def members(answer: Answer) -> list[str]:
    """Return the members of an error, in their order."""
    return list(answer.json()["error"])


# --- client -----------------------------------------------------------------------------------------------------------


@confirms("ADR-0020.R1")
@pytest.mark.parametrize(
    ("path", "document", "token", "status"),
    [
        (CLIENT, VALID, None, 401),
        (CLIENT, VALID, "token-without-any-scope", 403),
        (CLIENT, {}, TOKEN, 400),
        (CLIENT, b"{", TOKEN, 400),
        ("/client/never", VALID, TOKEN, 404),
        (CLIENT, VALID, TOKEN, 501),
    ],
)
def test_a_client_gets_two_members(
    dialects: House, path: str, document: object, token: str | None, status: int
) -> None:
    """Every error has message and type, and nothing else."""
    answer = post(dialects.app, document, path=path, token=token)

    assert (status, ["message", "type"]) == (answer.status, members(answer))


@confirms("ADR-0020.R3")
@pytest.mark.parametrize(
    ("stated", "header", "expected"),
    [
        ("mine", None, "mine"),
        ("mine", "theirs", "mine"),
        ("not an id", "theirs", "theirs"),
        ("not an id", None, f"req_{REQUEST_ID}"),
        (None, "theirs", "theirs"),
    ],
)
def test_the_body_may_hold_the_request_id(dialects: House, stated: object, header: str | None, expected: str) -> None:
    """A valid request id in the body is that of the answer, also against a header; an invalid one is ignored."""
    headers = {} if header is None else {"x-request-id": header}

    answer = post(dialects.app, {**VALID, "request_id": stated}, path=CLIENT, headers=headers)

    assert (501, expected) == (answer.status, answer.header("x-request-id"))


@confirms("ADR-0020.R3")
@pytest.mark.parametrize(
    ("body", "expected"), [({"request_id": "mine"}, "mine"), (["mine"], f"req_{REQUEST_ID}")], ids=["object", "list"]
)
def test_an_id_counts_as_soon_as_the_body_is_parsed(dialects: House, body: object, expected: str) -> None:
    """A body that is JSON and breaks the schema is refused under the caller's own id, if it has one."""
    answer = post(dialects.app, body, path=CLIENT)

    assert (400, expected) == (answer.status, answer.header("x-request-id"))


@confirms("ADR-0020.R4", "ADR-0020.R5")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"max_tokens": 1, "max_completion_tokens": 2}, 501),
        ({"max_tokens": 0}, 400),
        ({"anything": 1}, 501),
        ({"messages": [{"role": role, "content": "a"} for role in ("system", "user", "assistant", "tool")]}, 501),
        ({"messages": [{"role": "developer", "content": "a"}]}, 400),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, 400),
    ],
)
def test_a_clients_body_is_as_the_text_says(dialects: House, change: dict[str, Any], status: int) -> None:
    """Four roles with a text, both token limits, and any other key are accepted; other roles and parts are not."""
    assert status == post(dialects.app, {**VALID, **change}, path=CLIENT).status


# --- tenant -----------------------------------------------------------------------------------------------------------


@confirms("ADR-0021.R1", "ADR-0021.R2", "ADR-0021.R4")
@pytest.mark.parametrize(
    ("document", "token", "status", "code"),
    [
        (VALID, None, 401, "invalid_api_key"),
        (VALID, "nobody's", 401, "invalid_api_key"),
        ({}, TOKEN, 400, "invalid_request"),
        ({**VALID, "temperature": 9}, TOKEN, 400, "invalid_request"),
        (b"{", TOKEN, 400, "invalid_request"),
    ],
)
def test_a_tenant_gets_three_members(
    dialects: House, document: object, token: str | None, status: int, code: str
) -> None:
    """Every error has type, message and code; whatever broke in a body, the code is the same."""
    answer = post(dialects.app, document, path=f"/tenant{CHAT}", token=token)

    assert (status, ["type", "message", "code"], code) == (
        answer.status,
        members(answer),
        answer.json()["error"]["code"],
    )


@confirms("ADR-0021.R3")
def test_a_tenants_model_has_four_members(dialects: House) -> None:
    """A model in the list has id, object, display name and description."""
    first = get(dialects.app, "/tenant/v1/models").json()["data"][0]

    assert ["id", "object", "display_name", "description"] == list(first)


# --- fased ------------------------------------------------------------------------------------------------------------


@confirms("ADR-0022.R3")
@pytest.mark.parametrize(
    ("headers", "model", "named", "agent"),
    [
        ({"x-fased-agent-id": "beta", "x-fased-agent": "main"}, "fased:main", "beta", BETA.id),
        ({"x-fased-agent": "beta"}, "fased:main", "beta", BETA.id),
        ({"x-fased-agent": BETA.id}, "m", BETA.id, BETA.id),
        ({}, "fased:beta", "beta", BETA.id),
        ({}, "fased/beta", "beta", BETA.id),
        ({}, "agent:beta", "beta", BETA.id),
        ({}, "m", "main", AGENT),
    ],
)
def test_the_agent_is_the_first_that_is_named(
    dialects: House, headers: dict[str, str], model: str, named: str, agent: str
) -> None:
    """The first header wins over the second, a header over the model, and the model over the default."""
    answer = post(dialects.app, {"model": model, "messages": [USER]}, path=FASED, headers=headers)

    assert (501, [named], agent) == (answer.status, dialects.identity.agents_asked, dialects.log.event["agent_id"])


@confirms("ADR-0022.R4", "ADR-0022.R3")
@pytest.mark.parametrize(
    ("headers", "model"),
    [
        ({"x-fased-agent-id": "nobody"}, "fased:main"),
        ({"x-fased-agent-id": FOREIGN_AGENT, "x-fased-agent": "main"}, "m"),
        ({"x-fased-agent": "nobody"}, "m"),
        ({}, "agent:nobody"),
        ({}, "fased:"),
    ],
)
def test_an_agent_that_is_not_the_organizations_is_refused(
    dialects: House, headers: dict[str, str], model: str
) -> None:
    """An agent that is named, wherever it is, and is not the organisation's, is refused, and no other one is tried."""
    answer = post(dialects.app, {"model": model, "messages": [USER]}, path=FASED, headers=headers)

    assert (403, "agent_not_allowed") == (answer.status, dialects.log.event["refusal"])
    assert 1 == len(dialects.identity.agents_asked)


@confirms("ADR-0022.R2")
@pytest.mark.parametrize(("size", "status"), [(1048576, 501), (1048577, 413)])
def test_a_body_may_have_one_mebibyte(dialects: House, size: int, status: int) -> None:
    """A body of exactly the limit is accepted, and one with a byte more is not."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'.ljust(size)

    assert status == post(dialects.app, body, path=FASED).status


# --- relay ------------------------------------------------------------------------------------------------------------


@confirms("ADR-0023.R1", "ADR-0023.R3")
@pytest.mark.parametrize("token", [None, TOKEN, "nobody's"])
@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
def test_a_relay_asks_nobody(dialects: House, token: str | None, path: str) -> None:
    """Messages are accepted on both endpoints, with any credential and without; it is not looked at."""
    document = {**VALID, "previous_response_id": "resp_1"} if path == "/v1/responses" else VALID

    answer = post(dialects.app, document, path=f"/relay{path}", token=token)

    assert (501, False) == (answer.status, "key_id" in dialects.log.event)


@confirms("ADR-0023.R2")
def test_a_relay_says_how_long_it_runs() -> None:
    """The health of a relay has four members; the uptime is in whole seconds since the start."""
    ticks = iter([100.0, 200.0, 342.9, 343.0, 344.0])
    house = build_house({"/": effective("relay")}, sources=fixed_sources(lambda: next(ticks)))

    body = get(house.app, "/healthz", token=None).body

    assert b'{"status":"ok","uptime":242,"provider":"openai-compatible","model":"gpt-4.1-mini"}' == body
