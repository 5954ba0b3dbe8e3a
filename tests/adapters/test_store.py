"""The store on a real file: what is made, shown, revoked and rotated, and what is refused."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.store import read_store
from dragoman.model import Agent, Alias, Entry, Key, KeyId, Organization, OrganizationId, Principal, rate_of
from dragoman.ports import Administration, AdministrationError
from fakes import NOW
from stores import SCOPES, administer, bytes_of, furnish, is_sound, opened, organization_of, passes, rows, spoil

UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
RATE: Final = rate_of("20/s burst 40")
TOKENS: Final = rate_of("100000/m")
DAY: Final = timedelta(days=1)

Work = Callable[[Administration], Awaitable[Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store can be made."""
    return tmp_path / "store.db"


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        """Begin at the time of the contract's examples."""
        self.time = NOW

    def now(self) -> datetime:
        """Return the time."""
        return self.time


def refused(path: Path, work: Work) -> str:
    """Return what is said of *work*."""
    with pytest.raises(AdministrationError) as caught:
        administer(path, work)
    return str(caught.value)


def alias(name: str, **more: Any) -> Work:  # noqa: ANN401 - properties of an alias
    """Return what makes an alias."""
    properties = {"display_name": "A", "description": "", "category": "llm"} | more
    return lambda administration: administration.create_alias(name, **properties)


def revision(path: Path) -> int:
    """Return the revision of the store."""
    [[number]] = rows(path, "SELECT number FROM revision")
    assert isinstance(number, int)
    return number


# --- Making and showing -----------------------------------------------------------------------------------------------


def test_what_is_made_is_shown(path: Path) -> None:
    """Everything is listed as it was made, in its order, and shown by its id, organisations by their names too."""

    async def work(administration: Administration) -> None:
        acme = await administration.create_organization("acme", rate=RATE, token_rate=TOKENS)
        key = await administration.create_key(
            "acme",
            scopes=SCOPES,
            name="laptop",
            prefix="abc",
            expires=NOW + 30 * DAY,
            rate=RATE,
            token_rate=TOKENS,
            daily_requests=1000,
            daily_tokens=10**15,
        )
        agent = await administration.create_agent(acme.noun.id.upper(), "main")
        globex = await administration.create_organization("globex")
        general = await administration.create_alias(
            "vendor/general:1",
            display_name="Ü",
            description="d",
            category="embedding",
            visible_to=["globex"],
            rate=RATE,
            token_rate=TOKENS,
        )

        kinds: Sequence[tuple[Any, list[Entry[Any]]]] = (
            (Organization, [acme, globex]),
            (Key, [key.entry]),
            (Agent, [agent]),
            (Alias, [general]),
        )
        for noun, made in kinds:
            assert made == await administration.entries(noun)
            assert made == [await administration.entry(noun, entry.noun.id) for entry in made]
        assert acme == await administration.entry(Organization, "acme")
        assert agent == await administration.entry(Agent, agent.noun.id.upper())
        assert UUID7.fullmatch(acme.noun.id)
        assert UUID7.fullmatch(agent.noun.id)
        assert key.token.startswith(f"abc_{key.entry.noun.id}_")

    async def at_noon() -> None:
        async with opened(path, now=Clock().now) as administration:
            await work(administration)

    asyncio.run(at_noon())
    [owner, other] = [entry.noun.id for entry in administer(path, lambda one: one.entries(Organization))]
    kept = asyncio.run(read_store(path))
    [principal] = [key.principal for key in kept.keys.values()]
    assert principal is not None
    expected_principal = Principal(
        organization=OrganizationId(owner),
        key=principal.key,
        scopes=SCOPES,
        organization_rate=RATE,
        key_rate=RATE,
        organization_token_rate=TOKENS,
        key_token_rate=TOKENS,
        daily_requests=1000,
        daily_tokens=10**15,
    )
    assert expected_principal == principal
    assert [NOW + 30 * DAY] == [key.expires for key in kept.keys.values()]
    assert ["main"] == [agent.name for agent in kept.agents]
    expected = Alias(
        id="vendor/general:1",
        display_name="Ü",
        description="d",
        category="embedding",
        created=int(NOW.timestamp()),
        visible_to=frozenset({other}),
        rate=RATE,
        token_rate=TOKENS,
    )
    assert (expected,) == kept.aliases
    assert ["acme", "globex"] == [one.name for one in kept.organizations]


@confirms("ADR-0030.R1")
def test_tokens_are_not_in_the_store(path: Path) -> None:
    """No byte of a token's secret is in any file of the store, however it was made."""
    issued = furnish(path)
    rotation = administer(path, lambda one: one.rotate_key(issued.entry.noun.id, overlap=DAY))
    content = bytes_of(path)

    secrets = [token.split("_", 2)[2] for token in (issued.token, rotation.issued.token)]
    assert issued.entry.noun.id.encode() in content
    assert [] == [secret for secret in secrets if secret.encode() in content or secret[:16].encode() in content]
    assert issued.token not in repr([issued, rotation])


@confirms("ADR-0030.R4")
def test_what_is_revoked_does_not_pass_and_stays_listed(path: Path) -> None:
    """A revoked key, and one of a revoked organisation, does not pass; each keeps when it was revoked first."""
    issued = furnish(path)
    other = administer(path, lambda one: one.create_key("acme", scopes=SCOPES))
    before = passes(path, issued.token, other.token)

    revoked = administer(path, lambda one: one.revoke(Key, issued.entry.noun.id))
    after_one = passes(path, issued.token, other.token)
    again = administer(path, lambda one: one.revoke(Key, issued.entry.noun.id))
    administer(path, lambda one: one.revoke(Organization, "acme"))
    after_all = passes(path, issued.token, other.token)

    assert ([True, True], [False, True], [False, False]) == (before, after_one, after_all)
    assert revoked.revoked is not None
    assert revoked == again
    assert [revoked, other.entry] == administer(path, lambda one: one.entries(Key))
    assert [] == list(asyncio.run(read_store(path)).agents)


def test_a_name_is_free_again_when_it_was_revoked(path: Path) -> None:
    """Names are unique among what is in force; the one in force is found before those that were."""
    furnish(path)

    async def renew(administration: Administration) -> None:
        [agent] = await administration.entries(Agent)
        await administration.revoke(Agent, agent.noun.id)
        await administration.revoke(Alias, "general")
        await administration.revoke(Organization, "acme")
        await administration.create_organization("acme")
        await administration.create_agent("acme", "main")
        await administration.create_alias("general", display_name="Other", description="", category="llm")

    administer(path, renew)

    [old, new] = administer(path, lambda one: one.entries(Organization))
    assert [False, True] == [entry.revoked is None for entry in (old, new)]
    assert new == administer(path, lambda one: one.entry(Organization, "acme"))
    assert old == administer(path, lambda one: one.entry(Organization, old.noun.id))
    assert "Other" == administer(path, lambda one: one.entry(Alias, "general")).noun.display_name
    assert [new.noun.id] == [agent.organization for agent in asyncio.run(read_store(path)).agents]


# --- Rotation ---------------------------------------------------------------------------------------------------------


@confirms("ADR-0030.R4")
def test_a_rotated_key_passes_until_its_overlap_ends(path: Path) -> None:
    """The successor has the same organisation, name, prefix, scopes, limits and lifetime; the old one ends in time."""
    clock = Clock()

    async def work() -> None:
        async with opened(path, now=clock.now) as administration:
            await administration.create_organization("acme")
            old = await administration.create_key(
                "acme",
                scopes=frozenset({"chat"}),
                name="n",
                prefix="p",
                expires=NOW + 30 * DAY,
                rate=RATE,
                token_rate=TOKENS,
                daily_requests=1,
                daily_tokens=2,
            )
            clock.time += 10 * DAY
            rotation = await administration.rotate_key(old.entry.noun.id, overlap=timedelta(hours=24))

            new = rotation.issued.entry
            assert attrs.evolve(old.entry.noun, id=new.noun.id, expires=NOW + 40 * DAY) == new.noun
            ended = attrs.evolve(old.entry.noun, expires=NOW + 11 * DAY, successor=new.noun.id)
            assert attrs.evolve(old.entry, noun=ended) == rotation.replaced
            assert [rotation.replaced, new] == await administration.entries(Key)
            kept = (await read_store(path)).keys
            assert [NOW + 11 * DAY, NOW + 40 * DAY] == [kept[entry.noun.id].expires for entry in (old.entry, new)]

    asyncio.run(work())


@confirms("ADR-0030.R4")
@pytest.mark.parametrize(("overlap", "old_passes"), [(DAY, True), (timedelta(0), False)])
def test_an_overlap_may_be_nothing(path: Path, overlap: timedelta, old_passes: bool) -> None:  # noqa: FBT001
    """Without an overlap the old key ends at once; the new one passes in either case."""
    old = furnish(path)

    rotation = administer(path, lambda one: one.rotate_key(old.entry.noun.id, overlap=overlap))

    assert [old_passes, True] == passes(path, old.token, rotation.issued.token)
    assert rotation.issued.entry.noun.expires is None


def test_an_overlap_does_not_outlive_the_key(path: Path) -> None:
    """A key that ends before its overlap does keeps its own end."""
    furnish(path)
    clock = Clock()

    async def work() -> datetime | None:
        async with opened(path, now=clock.now) as administration:
            old = await administration.create_key("acme", scopes=SCOPES, expires=NOW + DAY)
            rotation = await administration.rotate_key(old.entry.noun.id, overlap=2 * DAY)
            return rotation.replaced.noun.expires

    assert NOW + DAY == asyncio.run(work())


@pytest.mark.parametrize("how", ["rotated", "revoked", "expired", "orphaned"])
def test_a_key_that_ends_is_not_rotated(path: Path, how: str) -> None:
    """A key that was rotated or revoked, has expired, or whose organisation was revoked, gets no successor."""
    key = furnish(path).entry.noun.id
    if how == "rotated":
        administer(path, lambda one: one.rotate_key(key, overlap=DAY))
    elif how == "revoked":
        administer(path, lambda one: one.revoke(Key, key))
    elif how == "expired":
        spoil(path, "UPDATE keys SET expires = 1")
    else:
        administer(path, lambda one: one.revoke(Organization, "acme"))
    before = revision(path)

    said = refused(path, lambda one: one.rotate_key(key, overlap=DAY))

    expected = {
        "rotated": "the key has been rotated already; rotate ",
        "revoked": f"the key '{key}' is revoked; ",
        "expired": "the key has expired; create another",
        "orphaned": "the organisation ",
    }
    assert said.startswith(expected[how])
    assert before == revision(path)


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda one: one.create_organization("acme"), "there is an organisation 'acme' already; choose another name"),
        (lambda one: one.create_agent("acme", "main"), "'acme' has an agent 'main' already; choose another name"),
        (alias("general"), "there is an alias 'general' already; choose another name"),
        (
            lambda one: one.create_key("nobody", scopes=SCOPES),
            "there is no organisation 'nobody'; `dragoman orgs list`",
        ),
        (lambda one: one.create_agent("nobody", "a"), "there is no organisation 'nobody'; `dragoman orgs list`"),
        (alias("a", visible_to=["acme", "nobody"]), "there is no organisation 'nobody'; `dragoman orgs list`"),
        (lambda one: one.entry(Key, "cgt_sesame"), "there is no key; `dragoman keys list` shows all of them"),
        (lambda one: one.revoke(Key, "cgt_sesame"), "there is no key; `dragoman keys list` shows all of them"),
        (lambda one: one.rotate_key(KeyId("cgt_sesame"), overlap=DAY), "there is no key; `dragoman keys list`"),
        (lambda one: one.entry(Agent, "main"), "there is no agent 'main'; `dragoman agents list` shows all of them"),
        (lambda one: one.entry(Alias, "\ud800"), "there is no alias '\\ud800'; `dragoman aliases list`"),
        (lambda one: one.revoke(Alias, "none"), "there is no alias 'none'; `dragoman aliases list` shows all of them"),
    ],
)
def test_what_is_unknown_or_taken_is_refused(path: Path, work: Work, said: str) -> None:
    """The refusal names what is unknown or taken, but never what was given for a key; nothing has changed then."""
    furnish(path)
    before = revision(path), rows(path, "SELECT count(*) FROM audit")

    told = refused(path, work)

    assert told.startswith(said)
    assert "sesame" not in told
    assert before == (revision(path), rows(path, "SELECT count(*) FROM audit"))


@pytest.mark.parametrize(
    ("work", "rule"),
    [
        *(
            (lambda one, name=name: one.create_organization(name), "an organisation's name")
            for name in ("", " a", "a\n")
        ),
        (lambda one: one.create_organization("a" * 129), "an organisation's name"),
        (lambda one: one.create_organization("018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d11"), "an organisation's name"),
        *(
            (lambda one, name=name: one.create_agent("acme", name), "an agent's name")
            for name in ("", "a b", "é", "-a")
        ),
        (lambda one: one.create_agent("acme", "018F3A5E-7B1C-7D20-9C41-5B2E8A6F0D11"), "an agent's name"),
        *((alias(name), "an alias is") for name in ("", "a b", "ü", "a" * 257)),
        (alias("a", category="image"), "a category is one of llm, embedding"),
        (alias("a", display_name=""), "a display name"),
        (alias("a", description="two\nlines"), "a description"),
        (lambda one: one.create_key("acme", scopes=frozenset()), "a scope is a word"),
        (lambda one: one.create_key("acme", scopes=frozenset({"chat", "CHAT"})), "a scope is a word"),
        (lambda one: one.create_key("acme", scopes=SCOPES, prefix="a_b"), "a prefix is 1 to 16 letters"),
        (lambda one: one.create_key("acme", scopes=SCOPES, name="\x1b[1m"), "a key's name"),
        *(
            (lambda one, a_day=a_day: one.create_key("acme", scopes=SCOPES, **a_day), "what a key has a day is from 1")
            for a_day in ({"daily_requests": 0}, {"daily_tokens": -1}, {"daily_tokens": 10**15 + 1})
        ),
        (
            lambda one: one.create_key("acme", scopes=SCOPES, expires=NOW - 9000 * DAY),
            "a key must expire in the future",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(path: Path, work: Work, rule: str) -> None:
    """Names, scopes, prefixes, categories and times that break their rules are refused by these rules."""
    furnish(path)
    before = revision(path)

    assert refused(path, work).startswith(rule)
    assert before == revision(path)


@pytest.mark.parametrize(
    "work",
    [
        lambda one: one.create_key("acme", scopes=SCOPES),
        lambda one: one.create_agent("acme", "other"),
        alias("other", visible_to=["acme"]),
    ],
)
def test_a_revoked_organization_gets_nothing_new(path: Path, work: Work) -> None:
    """Nothing is made for an organisation that was revoked, and the refusal says so."""
    furnish(path)
    owner = organization_of(path)
    administer(path, lambda one: one.revoke(Organization, "acme"))

    assert f"the organisation '{owner}' is revoked; `dragoman orgs list` shows the others" == refused(path, work)


# --- Audit and writers ------------------------------------------------------------------------------------------------


@confirms("ADR-0029.R5")
def test_every_change_leaves_an_audit_row(path: Path) -> None:
    """Each change says when, by which command, what kind of thing and its id, and raises the revision by one."""
    clock = Clock()
    expected = []

    async def work() -> None:
        async with opened(path, now=clock.now) as one:
            organization = (await one.create_organization("acme")).noun.id
            key = (await one.create_key("acme", scopes=SCOPES)).entry.noun.id
            agent = (await one.create_agent("acme", "main")).noun.id
            clock.time += timedelta(seconds=1)
            await one.create_alias("general", display_name="G", description="", category="llm")
            successor = (await one.rotate_key(key, overlap=DAY)).issued.entry.noun.id
            await one.revoke(Alias, "general")
            await one.revoke(Alias, "general")
            await one.revoke(Agent, agent)
            await one.revoke(Key, key)
            await one.revoke(Organization, organization)
        begin, end = int(NOW.timestamp() * 1000), int(NOW.timestamp() * 1000) + 1000
        expected.extend(
            [
                (begin, "orgs create", "organisation", organization),
                (begin, "keys create", "key", key),
                (begin, "agents create", "agent", agent),
                (end, "aliases create", "alias", "general"),
                (end, "keys rotate", "key", successor),
                (end, "keys rotate", "key", key),
                (end, "aliases revoke", "alias", "general"),
                (end, "agents revoke", "agent", agent),
                (end, "keys revoke", "key", key),
                (end, "orgs revoke", "organisation", organization),
            ]
        )

    asyncio.run(work())

    assert expected == rows(path, "SELECT at, command, kind, subject FROM audit ORDER BY id")
    assert 9 == revision(path)


@confirms("ADR-0029.R4")
def test_two_writers_see_no_lock(path: Path) -> None:
    """Two stores that write at once, many changes each, all succeed, and every change is counted."""
    furnish(path)
    before = revision(path)

    async def write(administration: Administration, many: int) -> None:
        await asyncio.gather(*(administration.create_key("acme", scopes=SCOPES) for _ in range(many)))

    async def work() -> None:
        async with opened(path) as one, opened(path) as other:
            await asyncio.gather(write(one, 100), write(other, 100))

    asyncio.run(work())

    assert 200 == revision(path) - before
    assert [(201,)] == rows(path, "SELECT count(*) FROM keys")
    assert is_sound(path)
