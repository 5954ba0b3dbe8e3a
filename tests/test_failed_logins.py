"""How often an address may guess, and what happens while nobody can say who is calling."""

import asyncio
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.model import SECOND, Agent, Principal, rate_of
from dragoman.ports import IdentityUnavailableError
from fakes import AGENT, FOREIGN_AGENT, TOKEN, UNSCOPED_TOKEN, FakeIdentity, build_house, effective, example
from limited import ELSEWHERE, MODELS, NOBODYS, ONCE, limited, told
from wire import CHAT, VALID, asked, get, post

CANONICAL: Final = effective()


@confirms("ADR-0032.R5")
def test_after_ten_wrong_credentials_nobody_passes_from_that_address() -> None:
    """The 11th attempt and all further ones get 429 with Retry-After, right or wrong; other addresses do not mind."""
    gateway = limited({"failed-logins": rate_of("10/m")})
    app = gateway.house.app

    guesses = [get(app, MODELS, token=f"guess {index}").status for index in range(10)]
    gateway.house.identity.tokens_asked.clear()
    late = [post(app, VALID, token=token) for token in ("guess 10", TOKEN, "guess 11", TOKEN)]
    others = [get(app, MODELS, token=token, address=ELSEWHERE).status for token in (TOKEN, "guess 12", TOKEN)]

    assert [401] * 10 == guesses
    assert [(429, "6", example(CANONICAL, "too_many_failed_logins"))] * 4 == [told(answer) for answer in late]
    assert [200, 401, 200] == others
    assert [TOKEN, "guess 12", TOKEN] == gateway.house.identity.tokens_asked


@attrs.define(kw_only=True)
class Slow(FakeIdentity):
    """An identity that lets others go first while it looks up a token."""

    async def principal(self, token: str) -> Principal | None:
        """Return whose key *token* is, later."""
        await asyncio.sleep(0)
        return await FakeIdentity.principal(self, token)


@confirms("ADR-0032.R5")
def test_guessing_at_once_is_no_way_around_the_limit() -> None:
    """Of 100 attempts that are judged at the same time ten are answered, and the right one after them is not."""
    gateway = limited({"failed-logins": rate_of("10/m")}, identity=Slow())
    tokens = [*(f"guess {index}" for index in range(50)), TOKEN, *(f"guess {index}" for index in range(50, 99))]

    async def story() -> list[int]:
        headers = [{"authorization": f"Bearer {token}"} for token in tokens]
        answers = await asyncio.gather(*(asked(gateway.house.app, "GET", MODELS, headers=sent) for sent in headers))
        return [answer.status for answer in answers]

    assert [401] * 10 + [429] * 90 == asyncio.run(story())
    assert tokens == gateway.house.identity.tokens_asked


@confirms("ADR-0032.R5")
def test_who_waits_as_he_was_told_may_try_again() -> None:
    """After Retry-After one attempt is let in: a right one opens, a wrong one closes the door for as long again."""
    gateway = limited({"failed-logins": rate_of("10/m")})
    for index in range(10):
        get(gateway.house.app, MODELS, token=f"guess {index}")

    gateway.clock.at += 6 * SECOND - 1
    early = get(gateway.house.app, MODELS)
    gateway.clock.at += 1
    statuses = [get(gateway.house.app, MODELS, token=token).status for token in (TOKEN, TOKEN, NOBODYS, TOKEN)]

    assert (429, "1") == told(early)[:2]
    assert [200, 200, 401, 429] == statuses


@confirms("ADR-0032.R5")
def test_only_wrong_credentials_count_as_failed_logins() -> None:
    """Missing credentials, right ones and refusals of other kinds close no door, however many there are."""
    gateway = limited({"failed-logins": ONCE})
    app = gateway.house.app

    for _ in range(5):
        get(app, MODELS, token=None)
        get(app, MODELS, token=UNSCOPED_TOKEN)
        get(app, "/nowhere", token=NOBODYS)
        get(app, "/healthz", token=NOBODYS)
        post(app, VALID, token=NOBODYS, path=MODELS)
        post(app, {}, headers={"x-agent-id": FOREIGN_AGENT})

    assert {
        "missing_credential",
        "insufficient_scope",
        "unknown_url",
        None,
        "method_not_allowed",
        "agent_not_allowed",
    } == {*gateway.refusals}
    assert 200 == get(app, MODELS).status


def test_failed_logins_are_told_in_no_header_but_retry_after() -> None:
    """A guesser does not learn how many attempts are left to him."""
    gateway = limited({"failed-logins": rate_of("2/m")})

    answers = [get(gateway.house.app, MODELS, token=NOBODYS) for _ in range(3)]

    assert [401, 401, 429] == [answer.status for answer in answers]
    assert [] == [name for answer in answers for name, _ in answer.headers if "ratelimit" in name]


# --- Nobody can say who is calling ------------------------------------------------------------------------------------


@confirms("ADR-0032.R5")
def test_who_cannot_be_checked_gets_503_and_is_no_guesser() -> None:
    """While nobody can say whose a token is, it gets 503 with Retry-After, and none of it counts as a failed login."""
    gateway = limited({"failed-logins": ONCE}, identity=FakeIdentity(fault=IdentityUnavailableError("canary")))

    answers = [
        post(gateway.house.app, VALID, token=token, path=path)
        for token in (TOKEN, NOBODYS)
        for path in (CHAT, "/v1/responses")
        for _ in range(3)
    ]
    gateway.house.identity.fault = None

    assert [(503, "1", example(CANONICAL, "identity_unavailable"))] * 12 == [told(answer) for answer in answers]
    assert {"identity_unavailable"} == {*gateway.refusals}
    assert ([], False) == (gateway.house.log.failures, "canary" in gateway.house.log.text)
    assert 200 == get(gateway.house.app, MODELS).status


@attrs.define(kw_only=True)
class Forgetful(FakeIdentity):
    """An identity that knows keys, and cannot say whose an agent is."""

    async def agent(self, organization: object, named: str) -> Agent | None:
        """Fail."""
        raise IdentityUnavailableError(organization, named)


@pytest.mark.parametrize(
    ("dialect", "path", "headers", "model"),
    [
        ("dragoman", CHAT, {"x-agent-id": AGENT}, "m"),
        ("dragoman", MODELS, {"x-agent-id": AGENT}, None),
        ("ibex", CHAT, {"x-ibex-agent-id": AGENT}, "m"),
        ("fased", CHAT, {"x-fased-agent": "main"}, "m"),
        ("fased", CHAT, {}, "agent:main"),
        ("fased", CHAT, {}, "m"),
    ],
)
def test_an_agent_that_cannot_be_checked_does_not_pass(
    dialect: str, path: str, headers: dict[str, str], model: str | None
) -> None:
    """While nobody can say whose an agent is, in a header, in the model or by default, the request gets 503."""
    document = effective(dialect)
    gateway = build_house({"/": document}, identity=Forgetful())

    if model is None:
        answer = get(gateway.app, path, headers=headers)
    else:
        answer = post(gateway.app, {**VALID, "model": model}, path=path, headers=headers)

    assert (503, "1", example(document, "identity_unavailable")) == told(answer)
    assert "identity_unavailable" == gateway.log.event["refusal"]
