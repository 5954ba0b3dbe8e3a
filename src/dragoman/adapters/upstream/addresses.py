"""Which addresses a provider may have (ADR-0038): not those of a private network, unless it is allowed to.

Laws of this file:
- An address is judged after it was resolved, and the connection goes to the address that was judged: a name that means
  another one a moment later gains nothing.
- Of IPv6 only what IANA has given out as global unicast is public: a list of the exceptions is always short of one.
- A spelling that means an IPv4 address to anybody is judged as that address.
"""

import asyncio
import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from dragoman.adapters.upstream.engine import PORTS, Place
from dragoman.ports import Fault, UpstreamError

NOT_PUBLIC_IPV4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host, RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # shared behind a carrier's NAT, RFC 6598
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and where clouds keep their metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4, RFC 7526
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
"""The special-purpose addresses of RFC 6890 that no provider on the Internet has."""

GLOBAL_IPV6: Final = IPv6Network("2000::/3")
NOT_PUBLIC_IPV6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: any IPv4 address inside
        "3fff::/20",  # documentation, RFC 9637
    )
)
"""What of the global unicast addresses is none."""

_PRINTABLE: Final = re.compile(r"[!-\[\]-~]+", re.ASCII)
"""ASCII without blanks and backslash, which readers of URLs take in different ways."""

_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})", re.ASCII)


def is_public(address: str) -> bool:
    """Whether *address*, as a resolver gives it, may be that of a server on the Internet."""
    parsed = ip_address(address.partition("%")[0])
    match parsed:
        case IPv4Address():
            return not any(parsed in network for network in NOT_PUBLIC_IPV4)
        case IPv6Address():
            return parsed in GLOBAL_IPV6 and not any(parsed in network for network in NOT_PUBLIC_IPV6)


def url_problems(base_url: str, *, private: bool) -> list[str]:
    """Return what is wrong with *base_url*; nothing when requests may go there, as far as its text can tell.

    The sentences do not repeat it, as there may be a password in it.
    """
    if not _PRINTABLE.fullmatch(base_url):
        return ["base_url must be ASCII without blanks and backslashes; write an international name as xn--…"]
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return ["base_url is no URL"]
    problems = []
    if parts.scheme not in PORTS:
        problems.append("base_url must begin with http:// or https://")
    if "@" in parts.netloc:
        problems.append("base_url must not hold a user or a password; the key has its own place")
    if "?" in base_url or "#" in base_url:
        problems.append("base_url must end with its path")
    if port == 0:
        problems.append("base_url has no port that can be connected to")
    return problems + _host_problems(parts, private=private)


def _host_problems(parts: SplitResult, *, private: bool) -> list[str]:
    host = parts.hostname or ""
    literal = "[" in parts.netloc
    address = _ipv6(host) if literal else _ipv4(host)
    if literal and address is None:
        return ["base_url has a host in brackets that is no IPv6 address"]
    if not literal and not _NAME.fullmatch(host):
        return ["base_url has no host"]
    if private:
        return []
    if address is not None:
        spelt = host if literal else host.rstrip(".")
        if not is_public(str(address)) or (not literal and spelt != str(address)):
            return ["base_url is an address that is not public; say private = true if it shall be"]
    elif host.rstrip(".").lower().rpartition(".")[2] == "localhost":
        return ["base_url is this machine; say private = true if it shall be"]
    return []


def _ipv4(host: str) -> IPv4Address | None:
    """Return the address that *host* means to the resolver of an operating system: `127.1`, `0x7f000001`, ...."""
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def _ipv6(host: str) -> IPv6Address | None:
    try:
        return None if "%" in host else IPv6Address(host)
    except ValueError:
        return None


async def allowed_addresses(place: Place, loop: asyncio.AbstractEventLoop) -> Sequence[str]:
    """Return the addresses of *place* that may be connected to, in the order in which they should be tried.

    Raises:
        UpstreamError: where there is none.
        OSError: where the name cannot be resolved.
    """
    found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for _, _, _, _, sockaddr in found]
    allowed = [one for one in dict.fromkeys(addresses) if place.private or is_public(one)]
    if not allowed:
        raise UpstreamError(Fault.UNREACHABLE)
    return allowed
