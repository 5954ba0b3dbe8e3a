"""The service that mounts may ask who is calling, and what proves either side to the other (ADR-0031).

Laws of this file:
- A token goes in the clear to loopback only, unless it is said that it may go further (ADR-0031.R7).
- Certificates and keys are read here and now, so that a bad one is named at start; no text of a key is told.
"""

import ipaddress
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from dragoman.settings.errors import SettingsError
from dragoman.settings.flags import PREFIX, SWITCH, choice

ADDRESS: Final = f"{PREFIX}IDENTITY_ADDRESS"
CA: Final = f"{PREFIX}IDENTITY_CA"
CERTIFICATE: Final = f"{PREFIX}IDENTITY_CERTIFICATE"
KEY: Final = f"{PREFIX}IDENTITY_KEY"
PLAINTEXT: Final = f"{PREFIX}IDENTITY_PLAINTEXT"

FILES: Final[Mapping[str, str]] = {"ca": CA, "certificate": CERTIFICATE, "key": KEY}
"""The settings that are paths of files, by their keys in the settings file."""

IDENTITY_VARIABLES: Final = (ADDRESS, *FILES.values(), PLAINTEXT)

ADDRESS_PATTERN: Final = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})"
"""A host and its port."""


@attrs.frozen(kw_only=True)
class Certificates:
    """What proves who is who, as PEM: *ca* proves the other side, *certificate* with its *key* this one."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class IdentityService:
    """A service at *address*, `host:port`; without *certificates* it is spoken to in the clear."""

    address: str
    certificates: Certificates | None


def read_identity_service(said: Mapping[str, str]) -> IdentityService | None:
    """Return the service that is *said* to know who is calling: variable -> text; None where there is none.

    Raises:
        SettingsError: naming what is missing, cannot be read, or would send tokens in the clear.
    """
    stated = [name for name in IDENTITY_VARIABLES if name in said]
    if not stated:
        return None
    if ADDRESS not in said:
        message = f"{stated[0]} is set, but {ADDRESS} is not: there is nobody to ask"
        raise SettingsError(message)
    address = address_in(said[ADDRESS], ADDRESS)
    certificates = read_certificates(said.get(CA), said.get(CERTIFICATE), said.get(KEY), names=(CA, CERTIFICATE, KEY))
    plaintext = choice(PLAINTEXT, said.get(PLAINTEXT, "off"), SWITCH)
    if certificates is None and not plaintext and not is_loopback(address.rpartition(":")[0]):
        message = f"{ADDRESS}: tokens would go to {address} in the clear; set {CA}, or accept it with {PLAINTEXT}=on"
        raise SettingsError(message)
    if certificates is not None and plaintext:
        message = f"{PLAINTEXT}=on beside {stated[1]}: say one of them"
        raise SettingsError(message)
    if certificates is not None and certificates.ca is None:
        message = f"{CERTIFICATE} needs {CA} beside it, which proves the service"
        raise SettingsError(message)
    return IdentityService(address=address, certificates=certificates)


def address_in(text: str, where: str) -> str:
    """Return the address in *text*, which stands at *where*: a host, which may be an IPv6 address in [], and a port."""
    found = re.fullmatch(ADDRESS_PATTERN, text, re.ASCII)
    # 65535 is the largest port (RFC 9293, section 3.1); nobody listens on 0.
    if found is None or not 0 < int(found[2]) <= 65535:  # noqa: PLR2004
        message = f"{where}: {text!r} is no address; write host:port, with an IPv6 address in []"
        raise SettingsError(message)
    return text


def is_loopback(host: str) -> bool:
    """Whether *host*, an address or a name, is this machine and never another one."""
    if host == "localhost":  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_certificates(
    ca: str | None, certificate: str | None, key: str | None, *, names: tuple[str, str, str]
) -> Certificates | None:
    """Return what is in the files at *ca*, *certificate* and *key*, or None where there is none of them.

    They are called *names* in errors.

    Raises:
        SettingsError: naming the one that is missing, cannot be read, or is not what it should be.
    """
    ca_name, certificate_name, key_name = names
    if ca is None and certificate is None and key is None:
        return None
    if (certificate is None) != (key is None):
        given, missing = (certificate_name, key_name) if key is None else (key_name, certificate_name)
        message = f"{given} needs {missing} beside it"
        raise SettingsError(message)
    authority = None if ca is None else _authority(ca, ca_name)
    if certificate is None or key is None:
        return Certificates(ca=authority)
    chain, own = content_of(certificate, certificate_name), content_of(key, key_name)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError):
        message = (
            f"{certificate_name}: {certificate} is no certificate, or {key} is not its key, in PEM and in the clear"
        )
        raise SettingsError(message) from None
    return Certificates(ca=authority, certificate=chain, key=own)


def _authority(path: str, name: str) -> bytes:
    content = content_of(path, name)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        message = f"{name}: {path} holds no certificates in PEM"
        raise SettingsError(message) from None
    return content


def content_of(path: str, name: str) -> bytes:
    """Return what is in the file at *path*, which is called *name* in errors."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        message = f"{name}: cannot read {path}: {reason}"
        raise SettingsError(message) from None
