"""What a request would meet, told from what is in force."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.declaration import Declaration
from dragoman.explanation import Explanation, explain
from dragoman.model import Alias, Guardrail, Organization, OrganizationId, Prices, Provider, Target, rate_of
from dragoman.ports import AdministrationError
from dragoman.settings import Development, MountSettings, Settings
from dragoman.settings.running import read_running
from fakes import FakeCatalogue

ACME: Final = Organization(id=OrganizationId("o-1"), name="acme", rate=rate_of("6000/m"))
GENERAL: Final = Alias(
    id="general",
    display_name="General",
    description="d",
    category="llm",
    created=1,
    visible_to=frozenset({ACME.id}),
    token_rate=rate_of("1000/m"),
    targets=(
        Target(provider="late", order=1),
        Target(provider="vendor", model="large", weight=3),
        Target(provider="echo"),
    ),
    prices=Prices(input=2_500_000, output=10_000_000, cached_input=1_250_000),
    guardrails=("pii",),
)
VECTORS: Final = attrs.evolve(GENERAL, id="vectors", category="embedding", visible_to=None)
IDLE: Final = attrs.evolve(GENERAL, id="idle", targets=(), guardrails=(), prices=Prices())
CATCH_ALL: Final = attrs.evolve(IDLE, id="*", targets=(Target(provider="echo"),))
PII: Final = Guardrail(key="pii", action="mask", keywords=("x",))
MOUNT: Final = MountSettings(
    prefix="/", dialect="dragoman", phases={"chat": 2, "embeddings": 1}, off=frozenset(), identity=None, secret=None
)
PROVIDERS: Final = {
    "vendor": Provider(name="vendor", kind="openai", base_url="https://llm.example"),
    "late": Provider(name="late", kind="anthropic", base_url="https://late.example"),
    "echo": Provider(name="echo", kind="echo"),
}


@attrs.define(kw_only=True)
class FakeInForce(FakeCatalogue):
    """Fits what an explanation asks."""

    providers: Mapping[str, Provider] = PROVIDERS

    def organization(self, named: str) -> Organization | None:
        """Return the one organisation that there is."""
        return ACME if named in {ACME.id, ACME.name} else None


def settings(*mounts: MountSettings, development: Development | None = None, **said: str) -> Settings:
    """Return settings with *mounts*, or the one; what is *said* is by the names of limits."""
    running = read_running({f"DRAGOMAN_LIMIT_{name.upper()}": rate for name, rate in said.items()})
    return Settings(
        host="", port=0, mounts=mounts or (MOUNT,), catalogue=Declaration(), running=running, development=development
    )


def explained(
    model: str,
    *aliases: Alias,
    organization: str = "acme",
    under: Settings | None = None,
    owner: OrganizationId = ACME.id,
) -> Explanation:
    """Return what a request for *model* would meet, where *aliases* are in force."""
    in_force = FakeInForce(of={owner: aliases or (GENERAL, VECTORS, IDLE)}, watching={"pii": PII})
    return asyncio.run(explain(in_force, under or settings(), organization, model))


def outcomes(explanation: Explanation) -> list[str]:
    """Return how each operation would answer."""
    return [f"{one['operation']} {one['phase']} {one['outcome']}" for one in explanation.record["outcomes"]]


@confirms("ADR-0040.R9")
def test_a_model_that_is_there_is_told_whole() -> None:
    """Alias, limits, guardrails and prices are told, and the targets as they are tried, with their shares."""
    record = explained("general", under=settings(key="5/s", alias="9/s")).record

    assert {"id": "o-1", "name": "acme"} == record["organization"]
    assert ("general", "llm", ["o-1"]) == tuple(record["alias"][name] for name in ("id", "category", "visible_to"))
    assert {
        "organization": "6000/m",
        "organization_tokens": None,
        "alias": "9/s",
        "alias_tokens": "1000/m",
        "key": "5/s",
    } == record["limits"]
    assert [{"key": "pii", "action": "mask", "stages": ["input", "output"], "of": "alias"}] == record["guardrails"]
    assert {"input": "2.5", "output": "10", "cached_input": "1.25"} == record["prices"]
    assert [
        (0, 0.75, "vendor", "openai", "large"),
        (0, 0.25, "echo", "echo", "general"),
        (1, 1.0, "late", "anthropic", "general"),
    ] == [tuple(one[name] for name in ("order", "share", "provider", "kind", "model")) for one in record["targets"]]
    assert record["catch_all"] is None


@confirms("ADR-0040.R9")
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("general", ["chat 2 forwarded", "embeddings 1 provider_not_configured"]),
        ("vectors", ["chat 2 model_not_llm", "embeddings 1 provider_not_configured"]),
        ("idle", ["chat 2 upstream_unavailable", "embeddings 1 provider_not_configured"]),
        ("unknown", ["chat 2 model_not_found", "embeddings 1 provider_not_configured"]),
    ],
)
def test_the_refusal_is_told_for_each_operation(model: str, expected: list[str]) -> None:
    """Phase 1, an unknown model, one of another category and one that nobody answers are told by the refusal's kind."""
    assert expected == outcomes(explained(model))


@confirms("ADR-0040.R9")
def test_each_mount_is_told_and_what_is_off_is_not() -> None:
    """Every mount answers by its own phases; an operation that is switched off is not there."""
    own = attrs.evolve(MOUNT, prefix="/own", phases={"embeddings": 2, "chat": 2}, off=frozenset({"chat"}))

    found = explained("vectors", under=settings(MOUNT, own)).record["outcomes"]

    assert [("/", "chat"), ("/", "embeddings"), ("/own", "embeddings")] == [
        (one["mount"], one["operation"]) for one in found
    ]
    assert "forwarded" == found[-1]["outcome"]


@confirms("ADR-0040.R9")
def test_the_catch_all_is_told_where_it_would_answer() -> None:
    """For a name that is no alias the one that stands for all others is told, with what is behind it."""
    record = explained("unknown", GENERAL, CATCH_ALL).record

    assert record["alias"] is None
    assert "*" == record["catch_all"]["id"]
    assert [("echo", "unknown")] == [(one["provider"], one["model"]) for one in record["targets"]]
    assert ["chat 2 model_not_found", "embeddings 1 provider_not_configured"] == outcomes(explained("unknown"))


@confirms("ADR-0040.R9")
def test_an_unknown_organization_is_refused() -> None:
    """An organisation that is not there is named, unless it is the one for development."""
    development = Development(token="t", organization="o-dev", agents={})
    found = explained("general", organization="O-DEV", under=settings(development=development))

    assert {"id": "o-dev", "name": "development"} == found.record["organization"]
    for under in (settings(), settings(development=development)):
        with pytest.raises(AdministrationError) as caught:
            explained("general", organization="nobody", under=under)
        assert "there is no organisation 'nobody'; `dragoman orgs list` shows all of them" == str(caught.value)


def lines(explanation: Explanation) -> list[str]:
    """Return what people read."""
    return list(explanation.lines)


@confirms("ADR-0040.R9")
def test_people_read_it_line_by_line() -> None:
    """Each part has its name once, and a line for each thing in it."""
    times = "connect 5 s, first byte 60 s, idle 60 s, total 600 s"

    assert [
        "organisation  acme (o-1)",
        "model         general",
        "alias         general (llm), visible to one organisation",
        "answer        chat at / (dragoman, Phase 2): forwarded",
        "              embeddings at / (dragoman, Phase 1): refused with provider_not_configured",
        "limits        requests of the organisation: 6000/m",
        "              its tokens of the alias: 1000/m",
        "guardrails    pii: mask in input and output",
        "prices        input 2.5, output 10, cached input 1.25, dollars for a million tokens",
        f"targets       order 0, 75%: vendor (openai) large; {times}",
        f"              order 0, 25%: echo (echo) general; {times}",
        f"              order 1, 100%: late (anthropic) general; {times}",
    ] == lines(explained("general"))


@confirms("ADR-0040.R9")
@pytest.mark.parametrize(
    ("model", "aliases", "expected"),
    [
        (
            "idle",
            (attrs.evolve(IDLE, visible_to=None),),
            [
                "alias         idle (llm), visible to all",
                "guardrails    none",
                "prices        input 0, output 0, dollars for a million tokens",
                "targets       nobody answers: it has no target",
            ],
        ),
        (
            "general",
            (attrs.evolve(GENERAL, visible_to=frozenset({ACME.id, OrganizationId("o-2")})),),
            ["alias         general (llm), visible to 2 organisations"],
        ),
        ("unknown", (GENERAL,), ["alias         none that the organisation sees"]),
        (
            "unknown",
            (CATCH_ALL,),
            [
                "alias         none that the organisation sees",
                "*             answers in its place where a contract passes unknown models on",
            ],
        ),
    ],
)
def test_people_read_what_is_missing(model: str, aliases: Sequence[Alias], expected: list[str]) -> None:
    """What there is none of is said in words."""
    told = lines(explained(model, *aliases))

    assert [] == [line for line in expected if line not in told]
    assert (model == "unknown" and CATCH_ALL not in aliases) is not any("targets" in line for line in told)


def test_an_organization_without_limits_is_told_so() -> None:
    """Where nothing but the keys' own limits counts, that is what is said."""
    bare = Development(token="t", organization="o-dev", agents={})
    told = lines(explained("unknown", organization="o-dev", under=settings(development=bare)))

    assert "limits        none but those of its keys" in told


def test_a_record_is_json() -> None:
    """What programs read holds texts, numbers, lists and tables only."""

    def plain(value: Any) -> bool:  # noqa: ANN401 - any value
        match value:
            case None | str() | int() | float():
                return True
            case list():
                return all(map(plain, value))
            case dict():
                return all(isinstance(name, str) and plain(one) for name, one in value.items())
            case _:
                return False

    assert plain(explained("general").record)
