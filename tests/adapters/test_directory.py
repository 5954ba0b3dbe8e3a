"""The directory: whole tokens, own agents, own aliases, from memory and at the time of asking."""

import asyncio
from datetime import datetime, timedelta

import attrs
import pytest
from gateway_conformance.rules import confirms
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.adapters.directory import NO_SEED, Contents, CurrentDirectory, Directory, KnownKey, Seed, build_directory
from dragoman.adapters.tokens import digest_of, index_of, make_key_id, make_token
from dragoman.model import Agent, Alias, Guardrail, Organization, OrganizationId, Provider
from dragoman.ports import Catalogue, Identity
from fakes import AGENT, FOREIGN, FOREIGN_AGENT, NOW, OWN, PRINCIPAL, STRANGER, TOKEN

GENERAL = Alias(id="general", display_name="General", description="", category="llm", created=1)
OURS = attrs.evolve(GENERAL, id="ours", visible_to=frozenset({OWN}))
THEIRS = attrs.evolve(GENERAL, id="theirs", visible_to=frozenset({FOREIGN}))
AGENTS = (
    Agent(id=AGENT, name="main", organization=OWN),
    Agent(id=FOREIGN_AGENT, name="side", organization=FOREIGN),
)
SEED = Seed(keys={TOKEN: PRINCIPAL}, agents=AGENTS, aliases=[GENERAL, OURS, THEIRS])
DIRECTORY = build_directory(SEED, now=lambda: NOW)

PEPPER = bytes(range(32))
ISSUED = make_token("cgt", make_key_id(bytes), bytes)


def stored(*, expires: datetime | None = None) -> Contents:
    """Return what a store holds that has one key."""
    digest = digest_of(ISSUED, PEPPER)
    return Contents(
        pepper=PEPPER, keys={index_of(ISSUED, digest): KnownKey(digest=digest, principal=PRINCIPAL, expires=expires)}
    )


def test_a_known_token_gives_its_principal() -> None:
    """The whole token is a key, whatever form it has: one that was made, and one that somebody made up."""
    directory = build_directory(SEED, now=lambda: NOW, stored=stored())

    assert [PRINCIPAL, PRINCIPAL] == [asyncio.run(directory.principal(token)) for token in (TOKEN, ISSUED)]


@confirms("ADR-0009.R2", "ADR-0030.R2")
@pytest.mark.parametrize("known", [TOKEN, ISSUED])
@pytest.mark.parametrize("change", ["", "{0:.5}", "{0} ", " {0}", "{0}{0}", "é\xff", "\ud800", "x{0}", "{0}\x00"])
def test_no_other_token_is_a_key(known: str, change: str) -> None:
    """A token that is nearly right is nobody's: unknown, malformed, or with another secret."""
    directory = build_directory(attrs.evolve(SEED, keys={known: PRINCIPAL}), now=lambda: NOW)
    wrong = [change.format(known), known.upper(), known[:-1] + ("B" if known[-1] == "A" else "A"), known[:-1]]

    assert [] == [token for token in wrong if asyncio.run(directory.principal(token)) is not None]


@confirms("ADR-0030.R2", "ADR-0030.R5")
@given(st.text() | st.text(st.characters()) | st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")))
@example(ISSUED[:17] + "A" * 42 + "B")
@example("cgt_" + "a" * 12 + "_" + "A" * 44)
def test_any_text_as_a_token_is_nobodys(text: str) -> None:
    """Whatever stands in place of a token, the answer is that it is nobody's."""
    directory = build_directory(SEED, now=lambda: NOW, stored=stored())

    assert asyncio.run(directory.principal(text)) is None


@confirms("ADR-0030.R4")
@pytest.mark.parametrize(("before", "passes"), [(timedelta(microseconds=1), True), (timedelta(0), False)])
def test_a_key_passes_until_it_expires(before: timedelta, passes: bool) -> None:  # noqa: FBT001 - an expectation
    """Expiry is judged when it is asked, by the wall clock; from that moment on the key does not pass."""
    clock = [NOW - timedelta(days=1)]
    directory = build_directory(NO_SEED, now=lambda: clock[0], stored=stored(expires=NOW))
    earlier = asyncio.run(directory.principal(ISSUED))
    clock[0] = NOW - before

    assert (PRINCIPAL, PRINCIPAL if passes else None) == (earlier, asyncio.run(directory.principal(ISSUED)))


@confirms("ADR-0009.R2", "ADR-0030.R1")
def test_tokens_are_not_kept() -> None:
    """Neither the text of a token nor the pepper or a digest stands in what is printed of a directory."""
    printed = repr([build_directory(SEED, now=lambda: NOW, stored=stored()), SEED, stored()])
    digest = digest_of(ISSUED, PEPPER)

    assert [] == [secret for secret in (TOKEN, ISSUED, repr(PEPPER), repr(digest)) if secret in printed]


@confirms("ADR-0009.R5")
@pytest.mark.parametrize(
    ("organization", "agent", "name"),
    [
        (OWN, AGENT, "main"),
        (OWN, AGENT.upper(), "main"),
        (OWN, "main", "main"),
        (OWN, "Main", "main"),
        (OWN, "", None),
        (OWN, FOREIGN_AGENT, None),
        (OWN, "side", None),
        (FOREIGN, AGENT, None),
        (FOREIGN, "main", None),
    ],
)
def test_an_agent_is_found_in_its_organization_only(organization: OrganizationId, agent: str, name: str | None) -> None:
    """An agent is found by its id or name, in its organisation; for another one it does not exist."""
    found = asyncio.run(DIRECTORY.agent(organization, agent))

    assert name == (found and found.name)


@confirms("ADR-0026.R1", "ADR-0026.R2")
def test_aliases_are_the_organizations() -> None:
    """An organisation has the aliases of everybody and its own, in their order, and those of nobody else."""
    third = OrganizationId("a-third")
    found = [asyncio.run(DIRECTORY.aliases(organization)) for organization in (OWN, FOREIGN, third)]

    assert [[GENERAL, OURS], [GENERAL, THEIRS], [GENERAL]] == found
    names = ("general", "ours", "theirs", "none")
    assert [GENERAL, OURS, None, None] == [asyncio.run(DIRECTORY.alias(OWN, name)) for name in names]


def test_a_directory_may_be_empty() -> None:
    """A directory of nothing knows nobody."""
    empty = build_directory(NO_SEED, now=lambda: NOW)

    assert asyncio.run(empty.principal(TOKEN)) is None
    assert [] == asyncio.run(empty.aliases(OWN))


def test_the_aliases_of_the_seed_count_until_the_store_has_some() -> None:
    """Keys and agents of the seed are known beside those of the store; its aliases, only while the store has none."""
    directory = build_directory(SEED, now=lambda: NOW, stored=attrs.evolve(stored(), aliases=[THEIRS]))

    assert PRINCIPAL == asyncio.run(directory.principal(TOKEN))
    assert AGENTS[0] == asyncio.run(directory.agent(OWN, "main"))
    assert ([], [THEIRS]) == (asyncio.run(directory.aliases(OWN)), asyncio.run(directory.aliases(FOREIGN)))


@confirms("ADR-0029.R1")
def test_what_is_in_force_is_replaced_whole() -> None:
    """The directory in force answers like the last one that it was given, of keys, agents and aliases alike."""
    other = Seed(keys={TOKEN: STRANGER}, agents=[attrs.evolve(AGENTS[0], name="other")], aliases=[THEIRS])
    current = CurrentDirectory(directory=DIRECTORY)
    identity: Identity = current
    catalogue: Catalogue = current

    def answers() -> list[object]:
        asked = (identity.principal(TOKEN), identity.agent(OWN, AGENT), catalogue.alias(FOREIGN, "theirs"))
        return [asyncio.run(one) for one in (*asked, catalogue.aliases(OWN))]

    before = answers()
    current.put_in_force(build_directory(other, now=lambda: NOW))

    assert [PRINCIPAL, AGENTS[0], THEIRS, [GENERAL, OURS]] == before
    assert [STRANGER, other.agents[0], THEIRS, []] == answers()


# --- The catalogue ----------------------------------------------------------------------------------------------------

ECHO = Provider(name="echo", kind="echo")
VENDOR = Provider(name="vendor", kind="openai", base_url="https://llm.example")
LONG = Guardrail(key="long", action="block", max_chars=1)
WORDS = Guardrail(key="words", action="flag", keywords=("x",))
ACME = Organization(id=OWN, name="acme", guardrails=("long",))
WATCHED = attrs.evolve(GENERAL, guardrails=("words", "long"))
CATALOGUE = Contents(
    organizations=(ACME, Organization(id=FOREIGN, name="globex")),
    aliases=(WATCHED,),
    providers={"vendor": VENDOR},
    guardrails={"long": LONG, "words": WORDS},
)


def test_an_alias_is_watched_by_its_own_guardrails_and_its_organizations() -> None:
    """Those of the alias come first, then those of the organisation, none of them twice; others have only theirs."""
    directory = build_directory(NO_SEED, now=lambda: NOW, stored=CATALOGUE)

    assert [WORDS, LONG] == asyncio.run(directory.guardrails(OWN, WATCHED))
    unwatched = attrs.evolve(GENERAL, id="other")
    assert [LONG] == asyncio.run(directory.guardrails(OWN, unwatched))
    assert [] == list(asyncio.run(directory.guardrails(FOREIGN, unwatched)))


def test_an_alias_of_the_last_snapshot_is_watched_as_in_this_one() -> None:
    """A request that got its alias before a change is watched by what watches the alias now, and by nothing less."""
    stored = attrs.evolve(CATALOGUE, organizations=(), guardrails={"long": LONG})
    before = attrs.evolve(GENERAL, guardrails=("gone",))
    after = build_directory(
        NO_SEED, now=lambda: NOW, stored=attrs.evolve(stored, aliases=(attrs.evolve(before, guardrails=("long",)),))
    )
    without = build_directory(NO_SEED, now=lambda: NOW, stored=attrs.evolve(stored, aliases=()))

    assert [LONG] == asyncio.run(after.guardrails(OWN, before))
    with pytest.raises(KeyError):
        asyncio.run(without.guardrails(OWN, before))


def test_an_organization_is_known_by_id_and_name() -> None:
    """What tells of a catalogue finds an organisation as people name it."""
    directory = build_directory(NO_SEED, now=lambda: NOW, stored=CATALOGUE)

    assert [ACME, ACME, ACME, None] == [directory.organization(one) for one in ("acme", OWN, OWN.upper(), "ACME")]


@confirms("ADR-0040.R14")
def test_the_catch_all_is_found_and_not_listed() -> None:
    """The alias that stands for every other name is no model that a caller may see, but it can be asked for."""
    catch_all = attrs.evolve(GENERAL, id="*")
    directory = build_directory(NO_SEED, now=lambda: NOW, stored=attrs.evolve(CATALOGUE, aliases=(catch_all, GENERAL)))

    assert [GENERAL] == asyncio.run(directory.aliases(OWN))
    assert [catch_all, None] == [asyncio.run(directory.alias(OWN, name)) for name in ("*", "unknown")]


def test_a_seed_may_call_organizations_by_their_names() -> None:
    """An alias of the seed that a name may see is seen by the organisation of the store that has it, and watched so."""
    seed = Seed(
        aliases=[
            attrs.evolve(OURS, visible_to=frozenset({OrganizationId("acme")})),
            attrs.evolve(THEIRS, visible_to=frozenset({OrganizationId(FOREIGN.upper()), OrganizationId("nobody")})),
        ],
        providers={"echo": ECHO},
        guardrails={"words": WORDS},
        watched={"globex": ("words",), "nobody": ("words",)},
    )
    stored = attrs.evolve(CATALOGUE, aliases=())
    directory = build_directory(seed, now=lambda: NOW, stored=stored)

    assert [["ours"], ["theirs"]] == [
        [alias.id for alias in asyncio.run(directory.aliases(organization))] for organization in (OWN, FOREIGN)
    ]
    assert {"vendor": VENDOR, "echo": ECHO} == directory.providers
    assert [[LONG], [WORDS]] == [asyncio.run(directory.guardrails(one, GENERAL)) for one in (OWN, FOREIGN)]


@confirms("ADR-0040.R14")
def test_the_seed_does_not_come_back_when_the_last_alias_is_revoked() -> None:
    """A store that had an alias and has none any more shows none: revoking does not open what was not open."""
    seed = attrs.evolve(SEED, providers={"echo": ECHO})
    directory = build_directory(seed, now=lambda: NOW, stored=attrs.evolve(stored(), catalogued=True))

    assert ([], None) == (asyncio.run(directory.aliases(OWN)), asyncio.run(directory.alias(OWN, "general")))
    assert {} == directory.providers


@confirms("ADR-0040.R6")
def test_watchers_agree_on_what_is_in_force() -> None:
    """When one of several watchers refuses a directory, all of them have the last one, and so has whoever asks."""
    old, new = DIRECTORY, build_directory(NO_SEED, now=lambda: NOW, stored=CATALOGUE)
    current = CurrentDirectory(directory=old)
    heard: dict[str, list[Directory]] = {"first": [], "second": []}

    def refuse(directory: Directory) -> None:
        heard["second"].append(directory)
        if directory is new:
            message = "not now"
            raise ValueError(message)

    current.watch(heard["first"].append)
    current.watch(refuse)
    with pytest.raises(ValueError, match="not now"):
        current.put_in_force(new)

    assert [[old, new, old]] * 2 == list(heard.values())
    assert current.directory is old
    assert current.providers is old.providers
