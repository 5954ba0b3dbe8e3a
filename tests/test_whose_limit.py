"""Whose limit counts: the peer of the socket, and nobody whom a caller claims to be."""

from collections.abc import Sequence

import pytest
from gateway_conformance.rules import confirms

from dragoman.model import rate_of
from limited import MODELS, ONCE, Limited, limited
from wire import get


def claims(index: int) -> dict[str, str]:
    """Return headers in which a caller claims to be somebody else."""
    claimed = f"203.0.{index // 250}.{index % 250 + 1}"
    return {
        "x-forwarded-for": f"{claimed}, 10.0.0.{index % 250 + 1}",
        "forwarded": f"for={claimed};proto=https",
        "x-real-ip": claimed,
        "x-client-ip": claimed,
        "true-client-ip": claimed,
        "cf-connecting-ip": claimed,
        "x-forwarded-host": claimed,
    }


@confirms("ADR-0032.R4")
def test_no_header_makes_another_caller() -> None:
    """With no trusted proxy, 1,000 claims to be somebody else change nothing: five pass, and 995 get 429."""
    gateway = limited({"address": rate_of("5/h")})

    statuses = [get(gateway.house.app, "/livez", token=None, headers=claims(index)).status for index in range(1000)]

    assert [200] * 5 + [429] * 995 == statuses


@confirms("ADR-0032.R4", "ADR-0032.R5")
def test_no_header_forgives_a_failed_login() -> None:
    """With no trusted proxy, a guesser who claims to be somebody else each time is stopped all the same."""
    gateway = limited({"failed-logins": rate_of("5/h")})

    statuses = [
        get(gateway.house.app, MODELS, token=f"guess {index}", headers=claims(index)).status for index in range(100)
    ]

    assert [401] * 5 + [429] * 95 == statuses


@confirms("ADR-0032.R4")
def test_what_stands_before_the_trusted_entry_changes_nothing() -> None:
    """Behind one trusted proxy, what the caller wrote before its entry does not count, in one field or in several."""
    gateway = limited({"address": rate_of("5/h")}, trusted_hops=1)

    def sent(index: int) -> int:
        headers = {**claims(index), "x-forwarded-for": f"203.0.113.{index}, 198.51.100.7"}
        return get(gateway.house.app, "/livez", token=None, headers=headers, address=f"10.0.0.{index}").status

    assert [200] * 5 + [429] * 95 == [sent(index) for index in range(100)]


@confirms("ADR-0032.R4")
@pytest.mark.parametrize(
    ("hops", "fields", "same"),
    [
        (1, ["198.51.100.7"], ["203.0.113.1", "198.51.100.7"]),
        (1, ["198.51.100.7"], ["203.0.113.1,198.51.100.7:4711"]),
        (1, ["2001:db8::1"], ["[2001:db8::2]:80"]),
        (1, ["198.51.100.7"], ["::ffff:198.51.100.7"]),
        (2, ["198.51.100.7, 10.0.0.1"], ["198.51.100.7", "10.0.0.2"]),
        (2, ["198.51.100.7, 10.0.0.1"], ["203.0.113.1, 198.51.100.7", "10.0.0.1"]),
        (2, ["198.51.100.7"], []),
        (1, ["garbage"], [""]),
        (1, ["garbage"], []),
    ],
)
def test_the_entry_of_the_farthest_trusted_proxy_counts(hops: int, fields: list[str], same: list[str]) -> None:
    """The Nth entry from the right over all fields is the caller; too few entries, or no address, give the peer."""
    gateway = limited({"address": ONCE}, trusted_hops=hops)

    statuses = [forwarded(gateway, stated) for stated in (fields, same, ["192.0.2.200, 192.0.2.201"])]

    assert [200, 429, 200] == statuses


def forwarded(gateway: Limited, fields: Sequence[str]) -> int:
    """Return the status of a request with an X-Forwarded-For of each of *fields*."""
    spellings = ("X-Forwarded-For", "x-forwarded-for")  # names are sent in lower case: two fields of one name
    headers = dict(zip(spellings, fields, strict=False))
    return get(gateway.house.app, "/livez", token=None, headers=headers).status


@confirms("ADR-0032.R4")
@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::1", "2001:db8:0:2::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("fe80::1%eth0", "fe80::2%eth1", "fe80:0:0:1::1"),
    ],
)
def test_a_peer_counts_by_its_network(first: str, second: str, other: str) -> None:
    """Peers of one /64 are one caller, and IPv4 in IPv6 is IPv4."""
    gateway = limited({"address": ONCE})

    statuses = [get(gateway.house.app, "/livez", address=address).status for address in (first, second, other)]

    assert [200, 429, 200] == statuses
