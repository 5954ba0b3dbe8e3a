"""How much a caller may ask and how often he may guess, whose limit counts, and what of it is told."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.adapters.limiter import MemoryLimiter
from dragoman.contract import Operation, compile_contract
from dragoman.contract.traits import LIMIT_SCOPES, Traits
from dragoman.errors import Kind, Refusal
from dragoman.gate.limits import Limits, caller_address, limit_refusals, tightest
from dragoman.model import SECOND, Alias, KeyId, Principal, Quota, Rate, rate_of
from fakes import ALIASES, OWN, PRINCIPAL, STRANGER, Clock

ONCE: Final = rate_of("1/m")
TWICE: Final = rate_of("2/m")
ADDRESS: Final = "192.0.2.1"
GENERAL: Final = ALIASES[OWN][0]
ALL_ONCE: Final[Mapping[str, Rate]] = dict.fromkeys(LIMIT_SCOPES, ONCE)


def operation(*scopes: str, **stated: Any) -> Operation:  # noqa: ANN401 - members of an operation
    """Return an operation that asks for a credential and limits by *scopes*."""
    trait = {"x-dragoman": {"limits-by": list(scopes)}}
    return compile_contract(tiny(security=[{"bearer": []}], **trait, **stated)).operations[0]


LIMITED: Final = operation(*LIMIT_SCOPES)
UNLIMITED: Final = operation()
OPEN: Final = attrs.evolve(LIMITED, scopes=None)


@attrs.frozen(kw_only=True)
class Gate:
    """The limits of a gateway, asked from code that does not wait; *met* gathers what requests met."""

    clock: Clock
    limits: Limits
    met: list[Quota] = attrs.field(factory=list)

    def admit_address(self, address: str = ADDRESS, *, traits: Traits = LIMITED.traits) -> Refusal | None:
        """Return the refusal of a request from *address*, or None."""
        return refusal_of(self.limits.admit_address(traits, address, self.met))

    def admit_login(self, address: str = ADDRESS, *, to: Operation = LIMITED) -> Refusal | None:
        """Return the refusal of an attempt from *address*, or None."""
        return refusal_of(self.limits.admit_login(to, address))

    def note_failed_login(self, address: str = ADDRESS, *, to: Operation = LIMITED) -> Refusal | None:
        """Count a wrong credential from *address*, and return its refusal, or None."""
        return refusal_of(self.limits.note_failed_login(to, address))

    def admit_caller(self, principal: Principal | None = PRINCIPAL, *, to: Operation = LIMITED) -> Refusal | None:
        """Return the refusal of a request of *principal*, or None."""
        return refusal_of(self.limits.admit_caller(to, principal, self.met))

    def admit_alias(
        self,
        alias: Alias = GENERAL,
        principal: Principal | None = PRINCIPAL,
        *,
        to: Operation = LIMITED,
    ) -> Refusal | None:
        """Return the refusal of a request of *principal* for *alias*, or None."""
        return refusal_of(self.limits.admit_alias(to, principal, alias, self.met))


def gate(**rates: Rate) -> Gate:
    """Return the limits with these rates, whose names have underscores for hyphens, or with one a minute for all."""
    clock = Clock()
    named = {name.replace("_", "-"): rate for name, rate in rates.items()} or ALL_ONCE
    return Gate(clock=clock, limits=Limits(limiter=MemoryLimiter(now=clock.now), rates=named))


def refusal_of(step: Coroutine[Any, Any, None]) -> Refusal | None:
    """Return the refusal with which *step* ends, or None."""
    try:
        asyncio.run(step)
    except Refusal as refusal:
        return refusal
    return None


def kind_of(refusal: Refusal | None) -> Kind | None:
    """Return the kind of *refusal*."""
    return None if refusal is None else refusal.kind


# --- Each limit -------------------------------------------------------------------------------------------------------


def test_an_address_is_limited() -> None:
    """One address is refused when it has used up its limit, and another one passes."""
    door = gate(address=TWICE)

    kinds = [kind_of(door.admit_address(address)) for address in (ADDRESS, ADDRESS, ADDRESS, "192.0.2.2")]

    assert [None, None, Kind.ADDRESS_LIMITED, None] == kinds


def test_a_key_is_limited_by_itself_and_by_its_organization() -> None:
    """A key is refused at its own limit, and at that of its organisation, which another key has used up."""
    other = attrs.evolve(PRINCIPAL, key=KeyId("other"))
    by_key, by_organization = gate(key=ONCE), gate(organization=ONCE)

    asked = (PRINCIPAL, PRINCIPAL, other, STRANGER)
    kinds = [[kind_of(door.admit_caller(one)) for one in asked] for door in (by_key, by_organization)]

    limited = Kind.CALLER_LIMITED
    assert [[None, limited, None, None], [None, limited, limited, None]] == kinds


def test_a_key_over_its_limit_uses_up_nothing_of_its_organization() -> None:
    """However often a limited key comes again, the other keys of its organisation have what is theirs."""
    door = gate(key=ONCE, organization=TWICE)

    greedy = [kind_of(door.admit_caller()) for _ in range(9)]

    assert [None, *[Kind.CALLER_LIMITED] * 8] == greedy
    assert door.admit_caller(attrs.evolve(PRINCIPAL, key=KeyId("modest"))) is None


def test_an_alias_is_limited_for_each_organization() -> None:
    """An alias that one organisation has used up is open to another, and so is another alias to the same one."""
    door = gate(alias=ONCE)
    asked = ((GENERAL, PRINCIPAL), (GENERAL, PRINCIPAL), (GENERAL, STRANGER), (ALIASES[OWN][1], PRINCIPAL))

    refusals = [door.admit_alias(alias, principal) for alias, principal in asked]

    assert [None, Kind.RATE_LIMITED, None, None] == [kind_of(refusal) for refusal in refusals]
    assert refusals[1] is not None
    assert {"alias": "general", "retry_after": 60} == refusals[1].arguments


def test_a_limit_of_their_own_wins() -> None:
    """What the store says of a key, an organisation or an alias counts, also where it is more than everybody's."""
    doors = gate(), gate(), gate()
    with_key = attrs.evolve(PRINCIPAL, key_rate=TWICE, organization_rate=TWICE)
    with_organization = attrs.evolve(PRINCIPAL, organization_rate=TWICE, key_rate=rate_of("9/m"))
    with_alias = attrs.evolve(GENERAL, rate=TWICE)

    passed = [
        [door.admit_caller(one) is None for _ in range(3)]
        for door, one in zip(doors, (with_key, with_organization), strict=False)
    ]

    assert [[True, True, False]] * 2 == passed
    assert [True, True, False] == [doors[2].admit_alias(with_alias) is None for _ in range(3)]


def test_a_limit_of_their_own_counts_where_nobody_has_one() -> None:
    """Where the settings limit nobody, a key, an organisation and an alias with limits of their own are limited."""
    door = gate(address=ONCE)
    principals = attrs.evolve(PRINCIPAL, key_rate=ONCE), attrs.evolve(STRANGER, organization_rate=ONCE)

    kinds = [[kind_of(door.admit_caller(one)) for _ in range(2)] for one in principals]
    of_alias = [kind_of(door.admit_alias(attrs.evolve(GENERAL, rate=ONCE))) for _ in range(2)]

    assert [[None, Kind.CALLER_LIMITED]] * 2 == kinds
    assert [None, Kind.RATE_LIMITED] == of_alias


def test_failed_logins_are_limited() -> None:
    """An address that has sent its number of wrong credentials is refused; looking alone counts nothing."""
    door = gate(failed_logins=TWICE)

    looks = [kind_of(door.admit_login()) for _ in range(5)]
    door.note_failed_login()
    after_one = kind_of(door.admit_login())
    door.note_failed_login()
    after_two = [kind_of(door.admit_login(address)) for address in (ADDRESS, ADDRESS, "192.0.2.2")]
    one_more = door.note_failed_login()

    assert [None] * 5 == looks
    assert after_one is None
    assert [Kind.TOO_MANY_FAILED_LOGINS] * 2 + [None] == after_two
    assert Kind.TOO_MANY_FAILED_LOGINS == kind_of(one_more)


def test_failed_logins_are_forgiven_when_it_was_said() -> None:
    """After the seconds of Retry-After one more attempt is let in."""
    door = gate(failed_logins=TWICE)
    for _ in range(4):
        door.note_failed_login()
    refusal = door.admit_login()
    assert refusal is not None

    door.clock.at += refusal.arguments["retry_after"] * SECOND - 1
    early = kind_of(door.admit_login())
    door.clock.at += 1

    assert {"retry_after": 30} == refusal.arguments
    assert Kind.TOO_MANY_FAILED_LOGINS == early
    assert door.admit_login() is None


# --- Where nothing is limited -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "rates"), [(LIMITED, {"other": ONCE}), (UNLIMITED, ALL_ONCE)], ids=["nothing set", "unknown to the dialect"]
)
def test_what_is_not_set_or_not_known_limits_nobody(to: Operation, rates: Mapping[str, Rate]) -> None:
    """Without a rate, and in a dialect that has not the limit, everybody passes and nothing is met."""
    door = gate(**rates)

    for _ in range(3):
        door.note_failed_login(to=to)
        assert door.admit_address(traits=to.traits) is None
        assert door.admit_login(to=to) is None
        assert door.admit_caller(to=to) is None
        assert door.admit_alias(to=to) is None

    assert [] == door.met


def test_who_is_not_asked_who_he_is_has_no_limits_of_his_own() -> None:
    """Where an operation asks nobody, only the address counts."""
    door = gate()
    door.note_failed_login()

    for _ in range(3):
        assert door.admit_login(to=OPEN) is None
        assert door.admit_caller(None, to=OPEN) is None
        assert door.admit_alias(GENERAL, None, to=OPEN) is None

    assert [] == door.met


# --- What is told of them ---------------------------------------------------------------------------------------------


@confirms("ADR-0032.R2")
def test_what_was_met_is_noted_admitted_or_refused() -> None:
    """Every limit that a request met is noted, the one that refused it too; failed logins are not told."""
    door = gate()

    for _ in range(2):
        door.admit_address()
        door.admit_login()
        door.note_failed_login()
        door.admit_caller()
        door.admit_alias()

    noted = [(quota.scope, quota.limited) for quota in door.met]
    first, second = noted[:4], noted[4:]
    assert [("address", False), ("key", False), ("organization", False), ("alias", False)] == first
    assert [("address", True), ("key", True), ("alias", True)] == second


@pytest.mark.parametrize(
    ("rate", "seconds"), [("1000/s burst 1", 1), ("1/s", 1), ("2/m", 30), ("7/m burst 1", 9), ("1/d", 86400)]
)
def test_the_wait_is_told_in_whole_seconds_rounded_up(rate: str, seconds: int) -> None:
    """Retry-After is the time until the next request passes, in whole seconds, rounded up, and never 0."""
    door = gate(address=rate_of(rate))
    while (refusal := door.admit_address()) is None:
        pass

    assert {"retry_after": seconds} == refusal.arguments


def quota(scope: str, remaining: int, reset: int) -> Quota:
    """Return a quota with so much left."""
    return Quota(scope=scope, rate=ONCE, limited=False, remaining=remaining, reset=reset, retry=0)


@confirms("ADR-0032.R2")
@pytest.mark.parametrize(
    ("met", "expected"),
    [
        ([quota("a", 3, 9), quota("b", 2, 1), quota("c", 4, 5)], "b"),
        ([quota("a", 1, 5), quota("b", 1, 7), quota("c", 1, 6)], "b"),
        ([quota("a", 0, 5), quota("b", 0, 5)], "a"),
        ([quota("a", 9, 1)], "a"),
    ],
)
def test_the_tightest_limit_has_the_fewest_left_and_then_the_latest_reset(met: list[Quota], expected: str) -> None:
    """Of the limits met, the one with the fewest requests left is told, of several the one that is full last."""
    told = tightest(met)

    assert told is not None
    assert expected == told.scope


def test_without_limits_nothing_is_tightest() -> None:
    """A request that met no limit has none to tell."""
    assert tightest([]) is None


@pytest.mark.parametrize(
    ("to", "names_a_model", "kinds"),
    [
        (LIMITED, True, {Kind.TOO_MANY_FAILED_LOGINS, Kind.CALLER_LIMITED, Kind.RATE_LIMITED}),
        (LIMITED, False, {Kind.TOO_MANY_FAILED_LOGINS, Kind.CALLER_LIMITED}),
        (OPEN, True, set()),
        (UNLIMITED, True, set()),
        (operation("address"), True, set()),
        (operation("failed-logins"), True, {Kind.TOO_MANY_FAILED_LOGINS}),
        (operation("key"), True, {Kind.CALLER_LIMITED}),
        (operation("organization"), True, {Kind.CALLER_LIMITED}),
        (operation("alias"), True, {Kind.RATE_LIMITED}),
    ],
)
def test_an_operation_may_be_refused_by_the_limits_that_it_knows(
    to: Operation,
    names_a_model: bool,  # noqa: FBT001 - a parameter of the test
    kinds: set[Kind],
) -> None:
    """The kinds of limits follow from the dialect's scopes, who is asked, and whether a model is named."""
    assert kinds == limit_refusals(to, names_a_model=names_a_model)


# --- Whose limit counts -----------------------------------------------------------------------------------------------

PEER: Final = "198.51.100.7"


@confirms("ADR-0032.R4")
@pytest.mark.parametrize("forwarded", [[], ["203.0.113.9"], ["203.0.113.9", "203.0.113.8"], ["garbage"], [""], [PEER]])
def test_without_trusted_hops_the_peer_counts(forwarded: list[str]) -> None:
    """Where no proxy is trusted, what is forwarded changes nothing."""
    assert PEER == caller_address(PEER, forwarded, 0)


@confirms("ADR-0032.R4")
@pytest.mark.parametrize(
    ("hops", "expected"), [(1, "203.0.113.3"), (2, "203.0.113.2"), (3, "203.0.113.1"), (4, PEER), (16, PEER)]
)
def test_the_nth_entry_from_the_right_counts(hops: int, expected: str) -> None:
    """Each trusted proxy added one entry, and the caller wrote what stands before; too few give the peer."""
    assert expected == caller_address(PEER, ["203.0.113.1", " 203.0.113.2", "203.0.113.3\t"], hops)


@pytest.mark.parametrize(
    ("entry", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:8080", "203.0.113.9"),
        ("203.0.113.9%1", "203.0.113.9"),
        ("[2001:db8:1:2::5]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::5]", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::5", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:0:0:0:5", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("unknown", PEER),
        ("_hidden", PEER),
        ("", PEER),
        ("203.0.113.256", PEER),
        ("203.0.113.09", PEER),
        ("203.0.113.9:80:80", PEER),
        ("٢٠٣.0.113.9", PEER),
        ("2001:db8::g", PEER),
        ("[garbage]:1", PEER),
        ("203.0.113.0/24", PEER),
    ],
)
def test_an_entry_is_read_as_the_address_in_it(entry: str, counted: str) -> None:
    """Ports, brackets and zones are left out, IPv6 counts by /64, IPv4 in IPv6 as IPv4; what is none gives the peer."""
    assert counted == caller_address(PEER, [entry], 1)


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:5:6::1", "2001:db8:5:6::/64"),
        ("fe80::1%2", "fe80::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("local", "local"),
        ("what:ever", "what:ever"),
    ],
)
@pytest.mark.parametrize("hops", [0, 1])
def test_a_peer_is_counted_as_an_entry_is(peer: str, counted: str, hops: int) -> None:
    """The peer of the socket counts by the same rules; one that has no address, as of a local socket, as it is."""
    assert counted == caller_address(peer, [], hops)
