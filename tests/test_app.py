"""The wiring: what the gateway is made of when nobody is faked."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.app import (
    build_gateway,
    build_router,
    compile_routes,
    forwarding_operations,
    known_settings,
    mark_of,
    require_operations,
    system_sources,
)
from dragoman.contract.source import Source
from dragoman.declaration import Declaration, DeclaredAlias
from dragoman.model import Guardrail, Provider, Target
from dragoman.operations import HANDLERS
from dragoman.operations.handler import Handler
from dragoman.ports import Fault, StoreError, UpstreamError
from dragoman.routing import Policy, RoutingError
from dragoman.settings import Development, IdentityService, MountSettings, Settings
from dragoman.settings.embedded import with_embedded
from dragoman.settings.running import read_running
from fakes import AGENT, FOREIGN, OWN, TOKEN, RecordingLog, build_house, effective, fixed_sources
from treaty import TreatyError
from wire import CHAT, VALID, asked, get, in_work, post

SEED = Development(token=TOKEN, organization=OWN, agents={"main": AGENT})


def mount(prefix: str = "/", dialect: str = "dragoman", **stated: Any) -> MountSettings:  # noqa: ANN401
    """Return a mount in Phase 1 with everything on, whose identity nobody said; *stated* wins."""
    bare = MountSettings(prefix=prefix, dialect=dialect, phases={}, off=frozenset(), identity=None, secret=None)
    return attrs.evolve(bare, **stated)


def settings(
    *mounts: MountSettings,
    seed: Development | None = SEED,
    aliases: Sequence[DeclaredAlias] = (),
    running: Mapping[str, str] | None = None,
    store: Path | None = None,
) -> Settings:
    """Return settings with *mounts*, else the canonical contract at the root; *running* holds variables."""
    return Settings(
        host="127.0.0.1",
        port=0,
        mounts=mounts or (mount(),),
        catalogue=with_embedded(Declaration(aliases=tuple(aliases)), {}),
        running=read_running(running or {}),
        development=seed,
        store=store,
    )


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


def test_what_has_a_request_and_an_answer_can_forward() -> None:
    """Chat and embeddings have a Phase 2 that can be served."""
    assert frozenset({"chat", "embeddings"}) == forwarding_operations()


@confirms("ADR-0001.R1")
def test_every_operation_of_the_contract_has_a_route() -> None:
    """The routes are those of the document, in its order."""
    document = effective()

    paths = [route.operation.path for route in compile_routes(document)]

    assert list(document["paths"]) == paths


@confirms("ADR-0001.R2")
def test_routes_need_the_answers_outside_operations() -> None:
    """A contract that cannot answer an unknown method is refused when its routes are made."""
    document = effective()
    del document["components"]["responses"]["MethodNotAllowed"]

    with pytest.raises(TreatyError, match="no x-anywhere response carries 'method_not_allowed'"):
        compile_routes(document)


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


@confirms("ADR-0040.R14")
def test_the_development_key_opens_the_gateway() -> None:
    """A gateway with a development key lets it pass, with its agent, and shows its models."""
    app = build_gateway(Source(), settings())

    answers = [post(app, VALID, headers={"x-agent-id": AGENT}), post(app, VALID, token="another")]
    models = [model["id"] for model in get(app, "/v1/models").json()["data"]]

    assert [501, 401] == [answer.status for answer in answers]
    listed = ["gpt-4o", "gpt-4", "gpt-4.1-mini", "general", "secure", "fased", "text-embedding-3-small"]
    assert listed == models


def test_without_a_key_nobody_passes() -> None:
    """A gateway without a development key is made, and refuses everybody."""
    app = build_gateway(Source(), settings(seed=None))

    assert [401, 200] == [post(app, VALID).status, get(app, "/healthz").status]


def test_a_mount_serves_what_is_on() -> None:
    """What is switched off at a mount is unknown there, and served at another one."""
    app = build_gateway(Source(), settings(mount(), mount("/api", off=frozenset({"responses"}))))
    body = {"model": "m", "input": "hello"}

    answers = [post(app, body, path=f"{prefix}/v1/responses").status for prefix in ("", "/api")]

    assert [501, 404] == answers


# --- Identities -------------------------------------------------------------------------------------------------------


@confirms("ADR-0024.R2")
@pytest.mark.parametrize(
    ("dialect", "identity", "secret", "said"),
    [
        ("dragoman", "none", None, "identity 'none', but its contract asks for a credential; use another"),
        ("relay", "store", None, "identity 'store', but its contract asks nobody; use none"),
        ("relay", "token", "sesame", "identity 'token', but its contract asks nobody; use none"),
        ("relay", "password", "sesame", "identity 'password', but its contract asks nobody; use none"),
        ("relay", "service", None, "identity 'service', but its contract asks nobody; use none"),
    ],
)
def test_an_identity_that_does_not_fit_the_contract_is_refused(
    dialect: str, identity: str, secret: str | None, said: str
) -> None:
    """Nobody is asked where the contract asks nobody, and somebody where it asks; the refusal names the mount."""
    with pytest.raises(TreatyError) as caught:
        build_gateway(Source(), settings(mount("/api", dialect, identity=identity, secret=secret)))

    assert f"mount /api: {said}" == str(caught.value)


SERVICE = IdentityService(address="127.0.0.1:1", certificates=None)  # nobody listens there


@pytest.mark.parametrize(("prefix", "variable"), [("/api", "DRAGOMAN_API_IDENTITY"), ("/", "DRAGOMAN_IDENTITY")])
@pytest.mark.parametrize(("dialect", "identity"), [("ibex", None), ("ibex", "service"), ("dragoman", "service")])
def test_a_service_that_nobody_names_is_refused(prefix: str, variable: str, dialect: str, identity: str | None) -> None:
    """A mount that asks a service, since its dialect or its settings say so, is refused by name without an address."""
    with pytest.raises(TreatyError) as caught:
        build_gateway(Source(), settings(mount(prefix, dialect, identity=identity)))

    said = (
        f"mount {prefix}: who is calling is known to an identity service, and there is none; name it with "
        f"DRAGOMAN_IDENTITY_ADDRESS, or set {variable}=store"
    )
    assert said == str(caught.value)


@confirms("ADR-0031.R1")
@pytest.mark.parametrize(
    ("identities", "statuses"),
    [((None, None), [501, 503]), (("service", "store"), [503, 501])],
)
def test_a_service_is_asked_where_dialect_or_settings_say_so(
    identities: tuple[str | None, str | None], statuses: list[int]
) -> None:
    """A mount that asks a service knows nobody without it; any other knows the key, which settings decide last."""
    mounts = [mount("/", "dragoman", identity=identities[0]), mount("/own", "ibex", identity=identities[1])]
    app = build_gateway(Source(), attrs.evolve(settings(*mounts), identity_service=SERVICE))

    agent = {"x-ibex-agent-id": AGENT}
    answers = [post(app, VALID), post(app, VALID, path=f"/own{CHAT}", headers=agent)]
    assert statuses == [answer.status for answer in answers]
    assert ["1"] == [answer.header("retry-after") for answer in answers if answer.status == 503]


@confirms("ADR-0024.R2", "ADR-0023.R1")
@pytest.mark.parametrize("identity", ["none", None])
def test_nobody_is_asked_where_the_contract_asks_nobody(identity: str | None) -> None:
    """A mount without credentials lets everybody pass, also with a credential that is nobody's."""
    app = build_gateway(Source(), settings(mount("/", "relay", identity=identity)))

    assert [501, 501] == [post(app, VALID, token=token).status for token in (None, "nobody's")]


@confirms("ADR-0024.R1", "ADR-0022.R6")
@pytest.mark.parametrize("seed", [SEED, None])
@pytest.mark.parametrize("identity", ["token", "password"])
def test_a_secret_opens_its_mount_and_no_other(seed: Development | None, identity: str) -> None:
    """A mount with a secret accepts nothing else, also beside a development key, and other mounts do not know it."""
    own = mount("/own", "fased", identity=identity, secret="sesame")
    app = build_gateway(Source(), settings(mount(), own, seed=seed))

    paths = ("/own/v1/chat/completions", "/v1/chat/completions")
    answers = {
        token: [post(app, VALID, path=path, token=token).status for path in paths] for token in (TOKEN, "sesame")
    }

    assert {"sesame": [501, 401], TOKEN: [401, 401 if seed is None else 501]} == answers


@confirms("ADR-0022.R1", "ADR-0024.R2")
def test_a_secret_may_wait_for_an_endpoint_that_is_off() -> None:
    """A mount whose only protected endpoint is switched off keeps its identity."""
    app = build_gateway(Source(), settings(mount("/", "fased", identity="token", secret="s", off=frozenset({"chat"}))))

    assert 404 == post(app, VALID, token="s").status


@confirms("ADR-0022.R1")
def test_what_is_switched_off_looks_unknown() -> None:
    """A switched-off route and one that never was answer the same bytes, but for ids and time."""
    off = Source().effective("fased", mount="/", phases={}, off={"chat"})
    app = build_house({"/": off}, sources=fixed_sources(lambda: 0.0)).app

    gone, never = (post(app, VALID, path=path) for path in ("/v1/chat/completions", "/v1/never"))

    assert 404 == gone.status
    assert (never.status, never.headers, never.body) == (gone.status, gone.headers, gone.body)


# --- What settings may name -------------------------------------------------------------------------------------------


def test_the_dialects_say_what_may_be_switched() -> None:
    """Every dialect may be named, with its own switches, and with what is off by default."""
    known = known_settings(Source())

    assert list(Source().dialects) == list(known.dialects)
    assert Source().operations == known.operations
    assert {"fased": {"chat"}} == {name: set(one.off) for name, one in known.dialects.items() if one.off}
    assert {"gateway.http.endpoints.chatCompletions.enabled": "chat"} == known.dialects["fased"].switches


# --- Aliases ----------------------------------------------------------------------------------------------------------


@confirms("ADR-0026.R1", "ADR-0026.R2")
def test_a_caller_sees_the_aliases_of_his_organization() -> None:
    """The list holds what is visible to the caller's organisation; another's alias is answered as none at all."""
    everybody = DeclaredAlias(id="all", display_name="All")
    ours = attrs.evolve(everybody, id="ours", visible_to=frozenset({OWN}))
    theirs = attrs.evolve(everybody, id="theirs", visible_to=frozenset({FOREIGN}))
    app = build_gateway(Source(), settings(aliases=[everybody, ours, theirs]))

    listed = [model["id"] for model in get(app, "/v1/models").json()["data"]]
    foreign, unknown = (get(app, f"/v1/models/{name}").json()["error"] for name in ("theirs", "none"))

    assert ["all", "ours"] == listed
    varying = {"request_id": None, "timestamp": None}
    assert unknown | varying == foreign | varying


# --- How a process runs -----------------------------------------------------------------------------------------------


@confirms("ADR-0032.R5")
def test_failed_logins_are_limited_unless_it_is_said() -> None:
    """A gateway whose settings say nothing refuses the address of ten wrong keys, and one that has it off does not."""
    usual, off = (
        build_gateway(Source(), settings(running=said)) for said in ({}, {"DRAGOMAN_LIMIT_FAILED_LOGINS": "off"})
    )

    statuses = [[get(app, "/v1/models", token=f"guess {index}").status for index in range(12)] for app in (usual, off)]

    assert [[401] * 10 + [429] * 2, [401] * 12] == statuses


@confirms("ADR-0032.R4")
def test_limits_and_trusted_hops_are_those_of_the_settings() -> None:
    """The limit of addresses counts the callers that the trusted proxies name."""
    said = {"DRAGOMAN_LIMIT_ADDRESS": "1/h", "DRAGOMAN_TRUSTED_HOPS": "1"}
    app = build_gateway(Source(), settings(running=said))
    callers = ("203.0.113.1", "203.0.113.2", "203.0.113.1")

    assert [200, 200, 429] == [get(app, "/livez", headers={"x-forwarded-for": caller}).status for caller in callers]


@confirms("ADR-0033.R1")
def test_the_room_is_that_of_the_settings() -> None:
    """A gateway that takes one request at once refuses a second one while the first is in work."""
    app = build_gateway(Source(), settings(running={"DRAGOMAN_MAX_IN_FLIGHT": "1"}))

    async def story() -> list[int]:
        async with in_work(app):
            return [(await asked(app, method, path)).status for method, path in (("POST", CHAT), ("GET", "/livez"))]

    assert [503, 200] == asyncio.run(story())


@confirms("ADR-0001.R2")
def test_a_contract_that_limits_addresses_needs_the_answer() -> None:
    """A contract that knows the limit of addresses and cannot answer it is refused; one without the limit is not."""
    document = effective()
    del document["components"]["responses"]["AddressLimited"]

    with pytest.raises(TreatyError, match="no x-anywhere response carries 'address_limited'"):
        compile_routes(document)

    document["x-dragoman"]["limits-by"].remove("address")
    assert compile_routes(document)


def test_a_breaker_that_changes_is_told_without_who_is_behind_it() -> None:
    """The log has what became of a target, by a mark of its own that `dragoman explain` shows, and not its provider."""
    log = RecordingLog()
    router = build_router(fixed_sources(lambda: 0.0), log)
    router.policy = Policy(pause=0.0)

    async def fail(_: Target) -> None:
        raise UpstreamError(Fault.DENIED)

    async def break_it() -> None:
        for _ in range(5):
            with pytest.raises(RoutingError):
                await router.forward([Target(provider="canary", model="canary-model")], fail)

    asyncio.run(break_it())

    mark = mark_of("canary", "canary-model")
    assert [{"part": "target", "target": mark, "state": "open"}] == log.states
    assert "canary" not in log.text


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (
            {"guardrails": (Guardrail(key="pii", action="mask", detectors=("e-mail",)),)},
            "guardrail pii: unknown detector 'e-mail'; did you mean 'email'?",
        ),
        (
            {"providers": (Provider(name="own", kind="openai", base_url="http://10.0.0.5/v1"),)},
            "provider own: base_url",
        ),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_refused_at_start(declared: dict[str, Any], said: str) -> None:
    """A guardrail or a provider that cannot work is named before anything is served."""
    stated = settings()
    stated = attrs.evolve(stated, catalogue=attrs.evolve(stated.catalogue, **declared))

    with pytest.raises(StoreError) as caught:
        build_gateway(Source(), stated)

    assert str(caught.value).startswith(said)
