"""Limits have their places among the other checks, and count what they say."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.app import Guard
from dragoman.contract import Answer as ContractAnswer
from dragoman.contract import compile_contract
from dragoman.contract.source import Source
from dragoman.errors import Kind, arguments_of
from dragoman.model import rate_of
from fakes import FOREIGN, FOREIGN_AGENT, FOREIGN_TOKEN, TOKEN, UNSCOPED_TOKEN, build_house, effective, example
from limited import ELSEWHERE, MODELS, NOBODYS, ONCE, Limited, limited, told
from wire import ADDRESS, CHAT, VALID, Headers, ask, get, post

CANONICAL: Final = effective()
GENERAL: Final = {**VALID, "model": "general"}
"""A request for an alias that there is."""


# --- Which check answers ----------------------------------------------------------------------------------------------


@confirms("ADR-0032.R3")
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", CHAT), ("POST", "/nowhere"), ("PUT", CHAT), ("OPTIONS", CHAT), ("OPTIONS", "*"), ("GET", "/v1//models")],
)
def test_the_limit_of_an_address_answers_before_the_path_is_looked_at(method: str, path: str) -> None:
    """Whatever the path and the method, an address over its limit gets 429, and no credential is looked at."""
    gateway = limited({"address": ONCE})
    get(gateway.house.app, "/healthz", token=None)

    answer = ask(gateway.house.app, method, path, headers={"authorization": f"Bearer {TOKEN}", "content-length": "9"})

    assert (429, "3600", example(CANONICAL, "address_limited")) == told(answer)
    assert ("close", 0) == (answer.header("connection"), answer.looks)
    assert ([], "address_limited") == (gateway.house.identity.tokens_asked, gateway.refusals[-1])


@confirms("ADR-0032.R3")
def test_the_limit_of_an_address_answers_in_the_shape_of_the_mount() -> None:
    """At a mount the dialect's 429 answers, and where no mount is, that of the first one."""
    dialect = effective("ibex", mount="/api")
    app = build_house({"/api": dialect, "/": CANONICAL}, guard=Guard(rates={"address": ONCE})).app
    get(app, "/api/healthz", token=None)

    at_mount, outside = (get(app, path) for path in ("/api/nowhere", "/nowhere"))

    assert (429, "3600", example(dialect, "address_limited")) == told(at_mount)
    assert (429, "3600", example(CANONICAL, "address_limited")) == told(outside)


def test_a_dialect_that_knows_no_limit_of_addresses_has_none() -> None:
    """An address that is over its limit at one mount passes at another whose dialect has not that limit."""
    documents = {"/": CANONICAL, "/t": effective("tenant", mount="/t")}
    app = build_house(documents, guard=Guard(rates={"address": ONCE})).app

    statuses = [post(app, VALID, path=f"{mount}{CHAT}").status for mount in ("", "", "/t", "/t")]

    assert [501, 429, 501, 501] == statuses


@attrs.frozen(kw_only=True)
class Sent:
    """A request: a POST of a document, or a GET where there is none."""

    document: Mapping[str, Any] | None = None
    path: str = CHAT
    token: str | None = TOKEN
    headers: Headers | None = None
    address: str = ADDRESS

    def to(self, gateway: Limited) -> object:
        """Send it, and return the refusal that it got."""
        stated: dict[str, Any] = {"token": self.token, "headers": self.headers, "address": self.address}
        if self.document is None:
            get(gateway.house.app, self.path, **stated)
        else:
            post(gateway.house.app, self.document, path=self.path, **stated)
        return gateway.refusals[-1]


RIGHT: Final = Sent(document=GENERAL)
LISTING: Final = Sent(path=MODELS)
"""A request that needs no room, as it is never forwarded."""
GUESS: Final = Sent(path=MODELS, token=NOBODYS)
NO_JSON: Final = {"content-type": "text/plain"}
NO_AGENT: Final = {"x-agent-id": "no uuid"}


@attrs.frozen(kw_only=True)
class Pair:
    """Two rules that are neighbours, at a gateway that is over *limits* after *fill*.

    *broken* breaks both rules, and *first* answers it; *mended* breaks the second one only, and *then* answers it.
    """

    broken: Sent
    first: str
    mended: Sent = RIGHT
    then: str
    fill: Sequence[Sent] = (RIGHT,)
    capacity: int = 512
    limits: tuple[str, ...] = ()


def elsewhere(sent: Sent) -> Sent:
    """Return the same request from another address."""
    return attrs.evolve(sent, address=ELSEWHERE)


PAIRS: Final = {
    "address, room": Pair(
        limits=("address",),
        capacity=0,
        fill=[LISTING],
        broken=RIGHT,
        first="address_limited",
        mended=elsewhere(RIGHT),
        then="overloaded",
    ),
    "route, room": Pair(
        capacity=0, broken=attrs.evolve(RIGHT, path="/nowhere"), first="unknown_url", then="overloaded"
    ),
    "method, room": Pair(
        capacity=0, broken=attrs.evolve(RIGHT, path=MODELS), first="method_not_allowed", then="overloaded"
    ),
    "room, failed logins": Pair(
        limits=("failed-logins",),
        capacity=0,
        fill=[GUESS],
        broken=RIGHT,
        first="overloaded",
        mended=LISTING,
        then="too_many_failed_logins",
    ),
    "room, missing credential": Pair(
        capacity=0,
        broken=attrs.evolve(RIGHT, token=None),
        first="overloaded",
        mended=attrs.evolve(LISTING, token=None),
        then="missing_credential",
    ),
    "room, wrong credential": Pair(
        capacity=0,
        broken=attrs.evolve(RIGHT, token=NOBODYS),
        first="overloaded",
        mended=GUESS,
        then="invalid_credential",
    ),
    "route, failed logins": Pair(
        limits=("failed-logins",),
        fill=[GUESS],
        broken=attrs.evolve(GUESS, path="/nowhere"),
        first="unknown_url",
        mended=GUESS,
        then="too_many_failed_logins",
    ),
    "method, failed logins": Pair(
        limits=("failed-logins",),
        fill=[GUESS],
        broken=attrs.evolve(GUESS, path=CHAT),
        first="method_not_allowed",
        mended=GUESS,
        then="too_many_failed_logins",
    ),
    "failed logins, wrong credential": Pair(
        limits=("failed-logins",),
        fill=[GUESS],
        broken=GUESS,
        first="too_many_failed_logins",
        mended=elsewhere(GUESS),
        then="invalid_credential",
    ),
    "failed logins, missing credential": Pair(
        limits=("failed-logins",),
        fill=[GUESS],
        broken=attrs.evolve(RIGHT, token=None),
        first="too_many_failed_logins",
        mended=elsewhere(attrs.evolve(RIGHT, token=None)),
        then="missing_credential",
    ),
    "failed logins, parameter": Pair(
        limits=("failed-logins",),
        fill=[GUESS],
        broken=attrs.evolve(RIGHT, headers=NO_AGENT),
        first="too_many_failed_logins",
        mended=elsewhere(attrs.evolve(RIGHT, headers=NO_AGENT)),
        then="invalid_parameter",
    ),
    "credential, key": Pair(
        limits=("key",), broken=attrs.evolve(RIGHT, token=NOBODYS), first="invalid_credential", then="caller_limited"
    ),
    "parameter, key": Pair(
        limits=("key",), broken=attrs.evolve(RIGHT, headers=NO_AGENT), first="invalid_parameter", then="caller_limited"
    ),
    "scope, organisation": Pair(
        limits=("organization",),
        broken=attrs.evolve(RIGHT, token=UNSCOPED_TOKEN),
        first="insufficient_scope",
        then="caller_limited",
    ),
    "organisation of the path, key": Pair(
        limits=("key",),
        broken=attrs.evolve(RIGHT, path=f"/v1/orgs/{FOREIGN}/chat/completions"),
        first="organization_mismatch",
        then="caller_limited",
    ),
    "agent, key": Pair(
        limits=("key",),
        broken=attrs.evolve(RIGHT, headers={"x-agent-id": FOREIGN_AGENT}),
        first="agent_not_allowed",
        then="caller_limited",
    ),
    "key, media type": Pair(
        limits=("key",),
        broken=attrs.evolve(RIGHT, headers=NO_JSON),
        first="caller_limited",
        mended=attrs.evolve(RIGHT, headers=NO_JSON, token=FOREIGN_TOKEN),
        then="unsupported_media_type",
    ),
    "organisation, media type": Pair(
        limits=("organization",),
        broken=attrs.evolve(RIGHT, headers=NO_JSON),
        first="caller_limited",
        mended=attrs.evolve(RIGHT, headers=NO_JSON, token=FOREIGN_TOKEN),
        then="unsupported_media_type",
    ),
    "media type, alias": Pair(
        limits=("alias",),
        broken=attrs.evolve(RIGHT, headers=NO_JSON),
        first="unsupported_media_type",
        then="rate_limited",
    ),
    "schema, alias": Pair(
        limits=("alias",),
        broken=attrs.evolve(RIGHT, document={**GENERAL, "messages": []}),
        first="invalid_request",
        then="rate_limited",
    ),
    "alias, phase": Pair(
        limits=("alias",),
        broken=RIGHT,
        first="rate_limited",
        mended=Sent(document={**VALID, "model": "vendor/large"}),
        then="provider_not_configured",
    ),
}


@confirms("ADR-0032.R3", "ADR-0033.R1")
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_of_two_broken_rules_the_first_answers(pair: Pair) -> None:
    """Room and limits have their places among the checks: what breaks two rules is answered by the first of them."""
    gateway = limited(dict.fromkeys(pair.limits, ONCE), capacity=pair.capacity)
    for sent in pair.fill:
        sent.to(gateway)

    assert (pair.first, pair.then) == (pair.broken.to(gateway), pair.mended.to(gateway))


@confirms("ADR-0032.R3")
def test_the_body_of_who_is_over_his_limit_is_not_read() -> None:
    """A key over its limit is answered before his body is looked at, and its connection is closed."""
    gateway = limited({"key": ONCE})

    passed, refused = (post(gateway.house.app, VALID) for _ in range(2))

    assert (501, 1, None) == (passed.status, passed.looks, passed.header("connection"))
    assert (429, 0, "close") == (refused.status, refused.looks, refused.header("connection"))
    assert (429, "3600", example(CANONICAL, "caller_limited")) == told(refused)


def test_keys_organizations_and_aliases_are_counted_apart() -> None:
    """What one key, organisation or alias has used up is open to another; a name that is no alias has no limit."""
    by_key, by_organization, by_alias = (
        limited({"key": ONCE}),
        limited({"organization": ONCE}),
        limited({"alias": ONCE}),
    )
    tokens = (TOKEN, TOKEN, FOREIGN_TOKEN)
    models = ("general", "general", "vendor/large", "unknown", "unknown")

    of_keys = [get(by_key.house.app, MODELS, token=token).status for token in tokens]
    of_organizations = [get(by_organization.house.app, MODELS, token=token).status for token in tokens]
    of_aliases = [post(by_alias.house.app, {**VALID, "model": model}) for model in models]

    assert [200, 429, 200] == of_keys == of_organizations
    assert [501, 429, 501, 501, 501] == [answer.status for answer in of_aliases]
    assert (429, "3600", example(CANONICAL, "rate_limited")) == told(of_aliases[1])


def test_where_nobody_is_asked_only_the_address_is_limited() -> None:
    """A dialect that asks for no credential limits addresses, and neither keys nor aliases."""
    rates = dict.fromkeys(("address", "failed-logins", "key", "organization", "alias"), rate_of("3/h"))
    app = build_house({"/": effective("relay")}, guard=Guard(rates=rates)).app

    assert [501, 501, 501, 429] == [post(app, GENERAL, token=None).status for _ in range(4)]


def test_a_fault_while_counting_is_the_contracts_500() -> None:
    """A catalogue that fails while the alias is looked up is a fault of ours."""
    gateway = limited({"alias": ONCE})
    gateway.house.catalogue.fault = KeyError("canary")

    answer = post(gateway.house.app, GENERAL)

    assert (500, None, example(CANONICAL, "internal_error")) == told(answer)


# --- Whoever may come again is told when ------------------------------------------------------------------------------


@confirms("ADR-0032.R5", "ADR-0033.R1")
@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("dialect", Source().dialects)
def test_whoever_may_come_again_is_told_when(dialect: str, phase: int) -> None:
    """Each refusal that knows when the request may be sent again has the header Retry-After, in every dialect."""
    source = Source()
    phases = {name: phase for name, forwards in source.operations.items() if forwards}
    contract = compile_contract(source.effective(dialect, mount="/", phases=phases))
    # Some texts put an open breaker under their one 502, which is not of the kind that passes.
    temporary = {kind for kind in Kind if "retry_after" in arguments_of(kind)} - {Kind.CIRCUIT_OPEN}

    tables = [contract.anywhere, *(operation.refusals for operation in contract.operations)]
    answers = {kind: answer for table in tables for kind, answer in table.items() if kind in temporary}

    assert Kind.OVERLOADED in answers
    assert [] == [kind for kind, answer in answers.items() if ("retry-after", "retry_after") not in sourced(answer)]


def sourced(answer: ContractAnswer) -> list[tuple[str, str | None]]:
    """Return the headers of *answer* with what each is computed from."""
    return [(rule.name, rule.source) for rule in answer.headers]
