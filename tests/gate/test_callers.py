"""Who is calling, and whether he may: each step alone, with a fake identity."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.contract import Operation, compile_contract
from dragoman.errors import Kind, Refusal
from dragoman.gate.callers import (
    bearer_token,
    choose_agent,
    log_in,
    require_own_organization,
    require_scopes,
    verify_agent,
)
from dragoman.gate.limits import Limits
from dragoman.model import Agent, Principal, rate_of
from dragoman.ports import IdentityUnavailableError
from fakes import (
    AGENT,
    BETA,
    FOREIGN,
    FOREIGN_AGENT,
    MAIN,
    OWN,
    PRINCIPAL,
    TOKEN,
    UNSCOPED,
    UNSCOPED_TOKEN,
    FakeIdentity,
)

TEXT = {"type": "string"}


def operation(path: str = "/things", /, **stated: Any) -> Operation:  # noqa: ANN401 - members of an operation
    """Return the compiled operation that states *stated*."""
    return compile_contract(tiny(path, **stated)).operations[0]


SECURED = operation(security=[{"bearer": ["chat"]}])
COUNTED = operation(security=[{"bearer": []}], **{"x-dragoman": {"limits-by": ["failed-logins"]}})
OPEN = operation()
OF_ORGANIZATION = operation(
    "/orgs/{org_id}",
    parameters=[{"name": "org_id", "in": "path", "required": True, "schema": TEXT}],
    **{"x-dragoman": {"organization": {"path": "org_id"}}},
)
WITH_AGENT = operation(
    parameters=[{"name": name, "in": "header", "schema": TEXT} for name in ("X-First", "X-Second")],
    **{"x-dragoman": {"agent": {"from": [{"header": "X-First"}, {"header": "X-Second"}]}}},
)


UNLIMITED = Limits(limiter=MemoryLimiter(now=lambda: 0), rates={})


def refused(step: Callable[[], object]) -> Kind | None:
    """Return the kind of the refusal that *step* raises, or None when it lets the caller pass."""
    try:
        step()
    except Refusal as refusal:
        return refusal.kind
    return None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_is_what_follows_the_scheme(scheme: str) -> None:
    """The scheme is matched without regard to case, and spaces around the token do not count."""
    assert "t" == bearer_token({"authorization": f"{scheme}   t "})


@confirms("ADR-0009.R1")
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic dDp0", "t", "Bearer\tt"])
def test_a_header_without_a_bearer_token_is_an_invalid_credential(header: str) -> None:
    """An Authorization header of another form is an invalid credential, and not a missing one."""
    assert Kind.INVALID_CREDENTIAL == refused(lambda: bearer_token({"authorization": header}))


@confirms("ADR-0009.R1")
def test_no_header_is_a_missing_credential() -> None:
    """Without an Authorization header the credential is missing."""
    assert Kind.MISSING_CREDENTIAL == refused(lambda: bearer_token({}))


def logged_in(
    headers: dict[str, str],
    *,
    to: Operation = SECURED,
    identity: FakeIdentity | None = None,
    limits: Limits = UNLIMITED,
) -> Principal | None:
    """Return who is calling the operation *to* with these headers."""
    return asyncio.run(log_in(identity or FakeIdentity(), limits, to, headers=headers, address="192.0.2.1"))


def test_the_principal_is_whose_key_the_token_is() -> None:
    """A known token gives its principal."""
    assert PRINCIPAL == logged_in({"authorization": f"Bearer {TOKEN}"})


@confirms("ADR-0009.R1")
def test_an_unknown_token_is_an_invalid_credential() -> None:
    """A token that is nobody's is refused."""
    assert Kind.INVALID_CREDENTIAL == refused(lambda: logged_in({"authorization": "Bearer nobody's"}))


def fresh(limit: str) -> Limits:
    """Return limits of failed logins alone, at a clock that stands still."""
    return Limits(limiter=MemoryLimiter(now=lambda: 0), rates={"failed-logins": rate_of(limit)})


WRONG = {"authorization": "Bearer nobody's"}
RIGHT = {"authorization": f"Bearer {TOKEN}"}


@confirms("ADR-0032.R5")
@pytest.mark.parametrize("wrong", [WRONG, {"authorization": "Basic dDp0"}, {"authorization": ""}])
def test_who_has_sent_his_number_of_wrong_credentials_is_not_looked_at(wrong: dict[str, str]) -> None:
    """After the limit's number of wrong credentials nobody is asked whose the next one is, right or wrong."""
    identity, limits = FakeIdentity(), fresh("2/m")

    def guess(headers: dict[str, str], *, asking: FakeIdentity) -> Kind | None:
        return refused(lambda: logged_in(headers, to=COUNTED, identity=asking, limits=limits))

    guesses = [guess(wrong, asking=FakeIdentity()) for _ in range(2)]
    late = [guess(headers, asking=identity) for headers in (wrong, RIGHT, {})]

    assert [Kind.INVALID_CREDENTIAL] * 2 == guesses
    assert [Kind.TOO_MANY_FAILED_LOGINS] * 3 == late
    assert [] == identity.tokens_asked


@confirms("ADR-0032.R5")
def test_only_a_wrong_credential_counts() -> None:
    """A missing credential, a right one, one that lacks a scope and one that nobody can judge count for nothing."""
    down, limits = FakeIdentity(fault=IdentityUnavailableError()), fresh("1/m")
    unscoped = {"authorization": f"Bearer {UNSCOPED_TOKEN}"}

    for _ in range(3):
        assert Kind.MISSING_CREDENTIAL == refused(lambda: logged_in({}, to=COUNTED, limits=limits))
        assert PRINCIPAL == logged_in(RIGHT, to=COUNTED, limits=limits)
        assert UNSCOPED == logged_in(unscoped, to=COUNTED, limits=limits)
        assert Kind.IDENTITY_UNAVAILABLE == refused(lambda: logged_in(WRONG, to=COUNTED, identity=down, limits=limits))

    assert Kind.INVALID_CREDENTIAL == refused(lambda: logged_in(WRONG, to=COUNTED, limits=limits))
    assert Kind.TOO_MANY_FAILED_LOGINS == refused(lambda: logged_in(WRONG, to=COUNTED, limits=limits))


def test_an_identity_that_cannot_answer_lets_nobody_in() -> None:
    """Where nobody can say who is calling, or whose an agent is, the caller is told to come again after a second."""
    down = FakeIdentity(fault=IdentityUnavailableError("canary"))
    steps: list[Callable[[], object]] = [
        lambda: logged_in(RIGHT, identity=down),
        lambda: verified({"x-first": AGENT}, identity=down),
        lambda: asyncio.run(choose_agent(down, NAMING, PRINCIPAL, "a:beta")),
    ]

    for step in steps:
        with pytest.raises(Refusal) as caught:
            step()
        assert (Kind.IDENTITY_UNAVAILABLE, {"retry_after": 1}) == (caught.value.kind, caught.value.arguments)
        assert caught.value.__suppress_context__


def test_an_open_operation_asks_nobody() -> None:
    """Where no credential is asked, a sent one is not looked at."""
    identity = FakeIdentity()

    found = logged_in({"authorization": f"Bearer {TOKEN}"}, to=OPEN, identity=identity)

    assert (None, []) == (found, identity.tokens_asked)


@confirms("ADR-0009.R3")
def test_a_key_without_the_scope_is_refused() -> None:
    """A key must have every scope of the operation."""
    assert refused(lambda: require_scopes(SECURED, PRINCIPAL)) is None
    assert Kind.INSUFFICIENT_SCOPE == refused(lambda: require_scopes(SECURED, UNSCOPED))


def test_an_open_operation_needs_no_scope() -> None:
    """Where nobody is asked, or no scope is stated, no scope is missing."""
    unscoped = operation(security=[{"bearer": []}])

    assert refused(lambda: require_scopes(OPEN, None)) is None
    assert refused(lambda: require_scopes(unscoped, UNSCOPED)) is None


@confirms("ADR-0009.R4")
@pytest.mark.parametrize("organization", [FOREIGN, "no-organisation", ""])
def test_another_organization_in_the_path_is_refused(organization: str) -> None:
    """An organisation that is not the caller's is refused, whether it exists or not."""
    path = {"org_id": organization}

    assert Kind.ORGANIZATION_MISMATCH == refused(lambda: require_own_organization(OF_ORGANIZATION, PRINCIPAL, path))


@pytest.mark.parametrize(
    ("stated", "principal", "path"),
    [
        (OF_ORGANIZATION, PRINCIPAL, {"org_id": OWN}),
        (OF_ORGANIZATION, PRINCIPAL, {"org_id": OWN.upper()}),
        (OF_ORGANIZATION, None, {"org_id": FOREIGN}),
        (OPEN, PRINCIPAL, {}),
    ],
)
def test_the_callers_own_organization_passes(
    stated: Operation, principal: Principal | None, path: dict[str, str]
) -> None:
    """The caller's organisation passes in any case of its letters; without a caller or a trait nothing is compared."""
    assert refused(lambda: require_own_organization(stated, principal, path)) is None


def verified(headers: dict[str, str], *, identity: FakeIdentity | None = None) -> Agent | None:
    """Return the agent that is found in *headers*."""
    return asyncio.run(verify_agent(identity or FakeIdentity(), WITH_AGENT, PRINCIPAL, headers))


@confirms("ADR-0009.R5")
def test_an_unknown_and_a_foreign_agent_look_alike() -> None:
    """An agent of another organisation and one that does not exist get the same refusal."""
    foreign = refused(lambda: verified({"x-first": FOREIGN_AGENT}))
    unknown = refused(lambda: verified({"x-first": "nobody"}))

    assert (Kind.AGENT_NOT_ALLOWED, Kind.AGENT_NOT_ALLOWED) == (foreign, unknown)


@confirms("ADR-0009.R6")
def test_the_first_header_of_the_trait_names_the_agent() -> None:
    """Of several agent headers the first of the trait's list counts, in any case of the uuid's letters."""
    identity = FakeIdentity()

    found = verified({"x-second": FOREIGN_AGENT, "x-first": AGENT.upper()}, identity=identity)

    assert (Agent(id=AGENT, name="main", organization=OWN), [AGENT.upper()]) == (found, identity.agents_asked)


def test_no_header_names_no_agent() -> None:
    """Where no agent header is sent, there is no agent."""
    assert verified({}) is None


def test_without_a_principal_there_is_no_agent() -> None:
    """An agent acts for somebody: where nobody is asked who he is, none is looked up."""
    identity = FakeIdentity()

    found = asyncio.run(verify_agent(identity, WITH_AGENT, None, {"x-first": AGENT}))

    assert (None, []) == (found, identity.agents_asked)


NAMING = operation(**{"x-dragoman": {"agent": {"from": [{"model": ["a:", "a/", "agent:"]}], "default": "main"}}})
NAMELESS = operation(**{"x-dragoman": {"agent": {"from": [{"model": ["a:"]}]}}})


def chosen(model: str, *, by: Operation = NAMING, principal: Principal | None = PRINCIPAL) -> Agent | None:
    """Return the agent that a request for *model* gets."""
    return asyncio.run(choose_agent(FakeIdentity(), by, principal, model))


@confirms("ADR-0022.R3")
@pytest.mark.parametrize(
    ("model", "agent"),
    [
        ("a:beta", BETA),
        ("a/beta", BETA),
        ("agent:beta", BETA),
        (f"a:{BETA.id.upper()}", BETA),
        ("beta", MAIN),
        ("x-a:beta", MAIN),
    ],
)
def test_the_model_names_an_agent_after_a_prefix(model: str, agent: Agent) -> None:
    """What follows a prefix of the dialect is an agent's id or name; every other model gets the default agent."""
    assert agent == chosen(model)


@confirms("ADR-0022.R4")
@pytest.mark.parametrize("model", ["a:foreign", "a:nobody", "a:", f"agent:{FOREIGN_AGENT}"])
def test_an_agent_in_the_model_must_be_the_organizations(model: str) -> None:
    """An agent that does not exist, a foreign one and an empty name get the same refusal."""
    assert Kind.AGENT_NOT_ALLOWED == refused(lambda: chosen(model))


def test_without_a_default_nobody_is_named() -> None:
    """A model without a prefix names no agent where the dialect has no default, and nor does one of no caller."""
    assert chosen("beta", by=NAMELESS) is None
    assert chosen("a:beta", principal=None) is None
