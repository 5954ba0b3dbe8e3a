"""Applying a catalogue to a real store: what it makes, changes, leaves and revokes, and when it does nothing."""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.directory import Contents
from dragoman.adapters.store import read_store
from dragoman.declaration import Declaration, DeclaredAlias, DeclaredOrganization
from dragoman.model import Agent, Alias, Guardrail, Organization, Prices, Provider, Target, rate_of
from dragoman.plan import Named, Plan
from dragoman.ports import AdministrationError, Prune, StoreError
from stores import CATALOGUE, SCOPES, administer, apply, bytes_of, furnish, opened, organization_of, passes, rows, spoil

Change = Callable[[Declaration], Declaration]

BARE: Final = Declaration(aliases=(DeclaredAlias(id="general", display_name="General"),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store can be made."""
    return tmp_path / "store.db"


def told(plan: Plan) -> list[str]:
    """Return the steps of *plan*, a line each, without what differs."""
    return [f"{step.sign} {step.thing.kind} {step.thing.name}" for step in plan.steps]


def told_differences(plan: Plan) -> dict[str, tuple[Any, Any]]:
    """Return what differs by the one step of *plan*, by member."""
    [step] = plan.steps
    return {one.member: (one.old, one.new) for one in step.differences}


def contents(path: Path) -> Contents:
    """Return what a gateway that starts now would read."""
    return asyncio.run(read_store(path))


def state(path: Path) -> list[Any]:
    """Return every row that a change could change."""
    tables = ("revision", "audit", "organizations", "keys", "agents", "aliases", "providers", "guardrails")
    return [rows(path, f"SELECT * FROM {table}") for table in tables]  # noqa: S608 - names of our own


def with_alias(**members: Any) -> Change:  # noqa: ANN401 - members of an alias
    """Return what changes the first alias."""
    return lambda declared: attrs.evolve(
        declared, aliases=(attrs.evolve(declared.aliases[0], **members), *declared.aliases[1:])
    )


def with_provider(**members: Any) -> Change:  # noqa: ANN401 - members of a provider
    """Return what changes the first provider."""
    return lambda declared: attrs.evolve(
        declared, providers=(attrs.evolve(declared.providers[0], **members), *declared.providers[1:])
    )


@confirms("ADR-0040.R1", "ADR-0040.R12")
def test_what_is_declared_is_in_force(path: Path) -> None:
    """A gateway reads back everything that was declared, to the last member, in one revision."""
    plan = apply(path)

    kept = contents(path)
    assert [one.name for one in CATALOGUE.organizations] == [one.name for one in kept.organizations]
    acme, globex = kept.organizations
    declared = CATALOGUE.organizations[0]
    assert (declared.rate, declared.token_rate, declared.guardrails) == (acme.rate, acme.token_rate, acme.guardrails)
    assert [("main", acme.id), ("support", acme.id)] == [(one.name, one.organization) for one in kept.agents]
    assert {one.name: one for one in CATALOGUE.providers} == kept.providers
    assert {one.key: one for one in CATALOGUE.guardrails} == kept.guardrails
    general, vectors = kept.aliases
    for alias, stated in zip(kept.aliases, CATALOGUE.aliases, strict=True):
        members = attrs.asdict(stated, recurse=False) | {"visible_to": alias.visible_to}
        assert Alias(created=alias.created, **members) == alias
    assert (None, frozenset({globex.id})) == (general.visible_to, vectors.visible_to)
    assert [(1,)] == rows(path, "SELECT number FROM revision")
    assert [
        "+ guardrail pii",
        "+ guardrail long",
        "+ provider vendor",
        "+ provider echo",
        "+ organisation acme",
        "+ organisation globex",
        "+ agent acme/main",
        "+ agent acme/support",
        "+ alias general",
        "+ alias vectors",
    ] == told(plan)


def test_a_new_thing_tells_what_is_said_of_it(path: Path) -> None:
    """Of a new thing the members are told that are not as they usually are, with no value before."""
    plan = apply(path)

    found = {step.thing.name: {one.member: (one.old, one.new) for one in step.differences} for step in plan.steps}
    assert {"kind": (None, "echo")} == found["echo"]
    assert {
        "action": (None, "block"),
        "max_chars": (None, 20_000),
    } == found["long"]
    assert {"limit": (None, "6000/m"), "token_limit": (None, "1000000/m"), "guardrails": (None, ["long"])} == found[
        "acme"
    ]
    assert (None, "10.000001") == found["general"]["prices.output"]
    assert (None, ["globex"]) == found["vectors"]["visible_to"]
    assert {} == found["acme/main"]


@confirms("ADR-0040.R2")
def test_a_second_apply_changes_nothing(path: Path) -> None:
    """The same declaration again has no step, raises no revision and leaves no audit row; nor does another order."""
    furnish(path)
    apply(path)
    before = state(path)

    again = apply(path)
    headers = dict(sorted(CATALOGUE.providers[0].headers.items(), reverse=True))
    turned = with_provider(headers=headers)(attrs.evolve(CATALOGUE, guardrails=CATALOGUE.guardrails[::-1]))
    reordered = apply(path, turned)

    assert ([], []) == (told(again), told(reordered))
    assert before == state(path)


@confirms("ADR-0040.R3")
@pytest.mark.parametrize("prune", Prune)
def test_a_dry_run_tells_the_same_and_changes_nothing(path: Path, prune: Prune) -> None:
    """A dry run gives the plan that the apply gives, but for new ids, and leaves every row as it was."""
    furnish(path)
    before = state(path)

    planned = apply(path, prune=prune, dry_run=True)

    assert before == state(path)
    assert planned == apply(path, prune=prune)
    assert told(planned) != []


@confirms("ADR-0040.R1")
@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (with_alias(display_name="Other"), {"display_name": ("General", "Other")}),
        (with_alias(description=""), {"description": ("Everyday work.", "")}),
        (with_alias(category="embedding"), {"category": ("llm", "embedding")}),
        (with_alias(visible_to=frozenset({"globex", "acme"})), {"visible_to": (None, ["acme", "globex"])}),
        (with_alias(rate=None), {"limit": ("600/m", None)}),
        (with_alias(token_rate=rate_of("1/s")), {"token_limit": ("100000/m", "1/s")}),
        (
            with_alias(prices=Prices(input=3_000_000, output=10_000_001)),
            {"prices.input": ("2.5", "3"), "prices.cached_input": ("0", None)},
        ),
        (with_alias(guardrails=("long", "pii")), {"guardrails": (["pii"], ["long", "pii"])}),
        (
            with_alias(targets=(Target(provider="vendor", model="large"),)),
            {
                "target[0].weight": (3, 1),
                "target[0].timeouts": (
                    {"connect": 1.5, "first_byte": 60.0, "idle": 60.0, "total": 600.0},
                    None,
                ),
                "target[1]": ({"provider": "echo", "model": None, "weight": 1, "order": 1, "timeouts": None}, None),
            },
        ),
        (with_provider(key="file:/run/key"), {"key": ("env:VENDOR_KEY", "file:/run/key")}),
        (
            with_provider(headers={"X-Team": "red", "X-Token": "env:T"}),
            {"headers.X-Team": ("(a text)", "(another text)"), "headers.X-Token": ("file:/run/token", "env:T")},
        ),
        (
            with_provider(headers={}),
            {"headers.X-Team": ("(a text)", None), "headers.X-Token": ("file:/run/token", None)},
        ),
        (
            with_provider(kind="echo", base_url=None, key=None, headers={}),
            {
                "kind": ("openai", "echo"),
                "base_url": ("https://llm.example/v1", None),
                "key": ("env:VENDOR_KEY", None),
                "headers.X-Team": ("(a text)", None),
                "headers.X-Token": ("file:/run/token", None),
            },
        ),
        (
            with_provider(quirks=frozenset(), private=False, capacity=9),
            {"quirks": (["no_stream_options"], []), "private": (True, False), "capacity": (8, 9)},
        ),
        (
            lambda declared: attrs.evolve(
                declared,
                guardrails=(
                    Guardrail(key="pii", action="flag", patterns={"ticket": "T", "case": "C"}),
                    declared.guardrails[1],
                ),
            ),
            {
                "action": ("mask", "flag"),
                "stages": (["input"], ["input", "output"]),
                "detectors": (["email", "card"], []),
                "patterns.ticket": ("TCK-[0-9]{6}", "T"),
                "patterns.case": (None, "C"),
                "keywords": (["project x"], []),
                "webhook": ("https://watch.example/ask", None),
            },
        ),
        (
            lambda declared: attrs.evolve(
                declared, organizations=(attrs.evolve(declared.organizations[0], rate=None), declared.organizations[1])
            ),
            {"limit": ("6000/m", None)},
        ),
    ],
)
def test_a_change_is_told_member_by_member(path: Path, change: Change, differs: Mapping[str, Any]) -> None:
    """What has another member is changed where it stands, and the plan tells old and new; the rest is left alone."""
    apply(path)
    [(numbers, revision)] = rows(path, "SELECT group_concat(number), (SELECT number FROM revision) FROM aliases")

    plan = apply(path, change(CATALOGUE))

    assert ["~"] == [step.sign for step in plan.steps]
    assert differs == told_differences(plan)
    assert [(numbers, revision + 1)] == rows(
        path, "SELECT group_concat(number), (SELECT number FROM revision) FROM aliases"
    )
    assert [] == told(apply(path, change(CATALOGUE)))


def test_an_agent_is_made_in_its_organization(path: Path) -> None:
    """Agents that are new are made, those that are there stay the same, and the plan calls them by both names."""
    furnish(path)
    [old] = administer(path, lambda one: one.entries(Agent))

    plan = apply(path)

    assert "+ agent acme/support" in told(plan)
    assert "+ agent acme/main" not in told(plan)
    assert [old.noun.id] == [one.id for one in contents(path).agents if one.name == "main"]


@confirms("ADR-0040.R4")
def test_what_is_not_declared_stays_and_is_listed(path: Path) -> None:
    """Without pruning nothing ends: what the file does not name is in force as before, and listed by kind and name."""
    token = furnish(path).token
    apply(path)
    administer(path, lambda one: one.create_organization("initech"))
    before = contents(path)
    less = Declaration(organizations=(DeclaredOrganization(name="acme", agents=("main",)),))

    plan = apply(path, less)

    assert ["~ organisation acme"] == told(plan)
    assert {
        Named(kind="guardrail", name="pii"),
        Named(kind="guardrail", name="long"),
        Named(kind="provider", name="vendor"),
        Named(kind="provider", name="echo"),
        Named(kind="organisation", name="globex"),
        Named(kind="organisation", name="initech"),
        Named(kind="agent", name="acme/support"),
        Named(kind="alias", name="general"),
        Named(kind="alias", name="vectors"),
    } == set(plan.staying)
    after = contents(path)
    assert (before.aliases, before.providers, before.agents) == (after.aliases, after.providers, after.agents)
    assert [True] == passes(path, token)


@confirms("ADR-0040.R4")
def test_pruning_leaves_organizations_and_keys(path: Path) -> None:
    """Pruning revokes what the file does not name but for organisations; a key of one that it does not name passes."""
    token = furnish(path).token
    apply(path)
    echo = Declaration(
        organizations=(DeclaredOrganization(name="globex"),),
        providers=(Provider(name="echo", kind="echo"),),
        guardrails=CATALOGUE.guardrails,
        aliases=(DeclaredAlias(id="new", display_name="New", targets=(Target(provider="echo"),)),),
    )

    plan = apply(path, echo, prune=Prune.CATALOGUE)

    assert ["- provider vendor", "- alias general", "- alias vectors", "+ alias new"] == told(plan)
    assert (Named(kind="organisation", name="acme"),) == plan.staying
    kept = contents(path)
    assert (["new"], ["echo"]) == ([one.id for one in kept.aliases], list(kept.providers))
    assert ["main", "support"] == [one.name for one in kept.agents]
    assert [True] == passes(path, token)
    ended = administer(path, lambda one: one.entries(Alias))
    assert [True, True, False] == [entry.revoked is not None for entry in ended]


@confirms("ADR-0040.R4")
def test_pruning_revokes_agents_of_declared_organizations(path: Path) -> None:
    """An agent that a declared organisation does not name any more ends; those of others are none of its business."""
    furnish(path)
    apply(path)
    administer(path, lambda one: one.create_organization("initech"))
    administer(path, lambda one: one.create_agent("initech", "main"))
    fewer = attrs.evolve(CATALOGUE, organizations=(attrs.evolve(CATALOGUE.organizations[0], agents=("support",)),))

    plan = apply(path, fewer, prune=Prune.CATALOGUE)

    assert ["- agent acme/main"] == told(plan)
    assert ["support", "main"] == [one.name for one in contents(path).agents]
    assert {"globex", "initech"} >= {one.name for one in plan.staying}


@confirms("ADR-0040.R4")
def test_organizations_end_only_when_it_is_asked_for(path: Path) -> None:
    """Asked for by its name, pruning ends organisations and tells how many keys end; one that sees an alias stays."""
    token = furnish(path).token
    revoked = administer(path, lambda one: one.create_key("acme", scopes=SCOPES)).entry.noun.id
    administer(path, lambda one: one.create_key("acme", scopes=SCOPES))
    spoil(path, "UPDATE keys SET revoked = 1 WHERE id = ?", revoked)
    administer(path, lambda one: one.create_organization("globex"))
    administer(path, lambda one: one.create_organization("initech"))
    acme = organization_of(path)
    administer(path, lambda one: one.create_organization("umbrella"))
    seeing = frozenset({"initech", organization_of(path, "umbrella").upper()})
    seen = Declaration(aliases=(DeclaredAlias(id="a", display_name="A", visible_to=seeing),))

    plan = apply(path, seen, prune=Prune.ORGANIZATIONS)

    ending = {step.thing.name: step.ending for step in plan.steps if step.thing.kind == "organisation"}
    assert {"acme": 2, "globex": 0} == ending
    assert ["initech", "umbrella"] == [one.name for one in contents(path).organizations]
    assert [False] == passes(path, token)
    assert administer(path, lambda one: one.entry(Organization, acme)).revoked is not None


def test_a_key_that_has_expired_does_not_end(path: Path) -> None:
    """Of the keys of an organisation only those are counted that pass until now."""
    furnish(path)
    spoil(path, "UPDATE keys SET expires = 1")

    plan = apply(path, BARE, prune=Prune.ORGANIZATIONS, dry_run=True)

    assert [0] == [step.ending for step in plan.steps if step.thing.kind == "organisation"]


@confirms("ADR-0040.R1")
def test_what_was_revoked_is_made_anew(path: Path) -> None:
    """What was revoked and is declared again is a new thing, and the old one stays revoked."""
    apply(path)
    administer(path, lambda one: one.revoke(Alias, "general"))

    plan = apply(path)

    assert ["+ alias general"] == told(plan)
    assert [True, False, False] == [
        entry.revoked is not None for entry in administer(path, lambda one: one.entries(Alias))
    ]


@confirms("ADR-0040.R1", "ADR-0040.R13")
@pytest.mark.parametrize(
    ("declaration", "prune", "said"),
    [
        (
            with_alias(visible_to=frozenset({"globexx"}))(CATALOGUE),
            Prune.NOTHING,
            (
                "the alias 'general' is to be visible to 'globexx', and there is no such organisation; "
                "did you mean globex?"
            ),
        ),
        (
            with_alias(visible_to=frozenset({"?"}))(CATALOGUE),
            Prune.NOTHING,
            (
                "the alias 'general' is to be visible to '?', and there is no such organisation; "
                "declare it, or make it with `dragoman orgs create`"
            ),
        ),
        (
            attrs.evolve(CATALOGUE, organizations=(), guardrails=CATALOGUE.guardrails[:1]),
            Prune.CATALOGUE,
            (
                "the organisation 'acme' in the store names the guardrail 'long', which would not be in force; "
                "declare it, or change what names it"
            ),
        ),
        (
            attrs.evolve(CATALOGUE, providers=()),
            Prune.CATALOGUE,
            (
                "the alias 'general' in the store names the provider 'vendor', which would not be in force; "
                "declare it, or change what names it"
            ),
        ),
        (
            with_alias(guardrails=("gone",))(CATALOGUE),
            Prune.NOTHING,
            (
                "the alias 'general' in the store names the guardrail 'gone', which would not be in force; "
                "declare it, or change what names it"
            ),
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_whole(
    path: Path, declaration: Declaration, prune: Prune, said: str
) -> None:
    """What names what is not there is refused by both names, and nothing at all has changed."""
    apply(path)
    before = state(path)

    with pytest.raises(AdministrationError) as caught:
        apply(path, declaration, prune=prune)

    assert said == str(caught.value)
    assert before == state(path)


@confirms("ADR-0040.R1", "ADR-0040.R5")
def test_what_breaks_a_rule_is_refused_whole(path: Path) -> None:
    """A thing that could not be read again is not written: neither it nor what came before it."""
    literal = with_provider(key="sesame")(CATALOGUE)

    with pytest.raises(StoreError) as caught:
        apply(path, literal)

    assert re.fullmatch(
        r"the provider 'vendor' in the store breaks a rule: key: it must be env:NAME .+", str(caught.value)
    )
    assert "sesame" not in str(caught.value)
    assert [(0,)] == rows(path, "SELECT count(*) FROM guardrails")
    assert b"sesame" not in bytes_of(path)


@confirms("ADR-0029.R5")
def test_an_apply_leaves_audit_rows(path: Path) -> None:
    """Each step leaves a row with the id of what it changed, and all of them raise the revision once."""
    furnish(path)
    [before] = rows(path, "SELECT number FROM revision")
    acme = organization_of(path)

    other = DeclaredAlias(id="other", display_name="Other")
    apply(path, attrs.evolve(BARE, aliases=(*BARE.aliases, other)), prune=Prune.ORGANIZATIONS)

    left = rows(path, "SELECT kind, subject FROM audit WHERE command = 'apply' ORDER BY id")
    assert [("organisation", acme), ("alias", "other")] == left
    assert [(before[0] + 1,)] == rows(path, "SELECT number FROM revision")


@confirms("ADR-0040.R2", "ADR-0029.R4")
def test_two_that_apply_at_once_are_one_after_the_other(path: Path) -> None:
    """Of two applies of one declaration at the same time the second finds nothing to change."""

    async def work() -> list[int]:
        async with opened(path) as one, opened(path) as other:
            plans = await asyncio.gather(one.apply(CATALOGUE), other.apply(CATALOGUE))
        return sorted(len(plan.steps) for plan in plans)

    assert [0, 10] == asyncio.run(work())
