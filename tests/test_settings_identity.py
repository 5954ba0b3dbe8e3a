"""Which identity a mount has, and which service is asked: by variable and by key, and what is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from gateway_conformance.rules import confirms

from dragoman.settings import (
    Certificates,
    Dialect,
    IdentityService,
    Known,
    Settings,
    SettingsError,
    identity_variable,
    is_loopback,
    read_settings,
)

ASKING: Final = Dialect(switches={}, off=frozenset())
OPEN: Final = Dialect(switches={}, off=frozenset(), asks=False)
KNOWN: Final = Known(dialects={"dragoman": ASKING, "open": OPEN}, operations={}, forwarding=())
ADDRESS: Final = {"DRAGOMAN_IDENTITY_ADDRESS": "127.0.0.1:50051"}
AFAR: Final = {"DRAGOMAN_IDENTITY_ADDRESS": "auth.test:50051"}

Write = Callable[[str], Path]


def read(variables: Mapping[str, str], path: Path | None = None) -> Settings:
    """Return the settings of the *variables* and of the file at *path*."""
    return read_settings(variables, KNOWN, config=path)


def refused(variables: Mapping[str, str], path: Path | None = None) -> str:
    """Return what is said of *variables* and of the file at *path*, without the file's name."""
    with pytest.raises(SettingsError) as caught:
        read(variables, path)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return paths of files by what is in them."""
    folder, authority = tmp_path_factory.mktemp("pems"), trustme.CA()
    own, another = (authority.issue_cert("gateway.test") for _ in range(2))
    contents = {
        "ca": authority.cert_pem.bytes(),
        "certificate": own.cert_chain_pems[0].bytes(),
        "key": own.private_key_pem.bytes(),
        "another_key": another.private_key_pem.bytes(),
        "locked": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "text": b"of no consequence",
        "empty": b"",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in (*contents, "missing")}


def files(pems: Mapping[str, str], **named: str) -> dict[str, str]:
    """Return the variables that name files by what is in them."""
    return {f"DRAGOMAN_IDENTITY_{name.upper()}": pems[content] for name, content in named.items()}


# --- The service ------------------------------------------------------------------------------------------------------


def test_nobody_is_asked_unless_it_is_said() -> None:
    """Without an address there is no service."""
    assert read({}).identity_service is None


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "127.8.8.8:1", "[::1]:65535", "localhost:50051"])
def test_a_service_on_this_machine_needs_nothing_more(address: str) -> None:
    """To loopback tokens may go in the clear."""
    expected = IdentityService(address=address, certificates=None)

    assert expected == read({"DRAGOMAN_IDENTITY_ADDRESS": address}).identity_service


@confirms("ADR-0031.R7")
@pytest.mark.parametrize(
    "address", ["auth.test:50051", "192.0.2.1:50051", "[2001:db8::1]:50051", "0.0.0.0:50051", "[::]:1", "127.1:50051"]
)
def test_a_token_does_not_go_in_the_clear_to_another_machine(address: str) -> None:
    """Anything but loopback is refused without a certificate authority, unless plain text is accepted by name."""
    said = {"DRAGOMAN_IDENTITY_ADDRESS": address}
    told = (
        f"DRAGOMAN_IDENTITY_ADDRESS: tokens would go to {address} in the clear; set DRAGOMAN_IDENTITY_CA, or accept it "
        "with DRAGOMAN_IDENTITY_PLAINTEXT=on"
    )

    assert told == refused(said) == refused(said | {"DRAGOMAN_IDENTITY_PLAINTEXT": "off"})
    assert IdentityService(address=address, certificates=None) == (
        read(said | {"DRAGOMAN_IDENTITY_PLAINTEXT": "on"}).identity_service
    )


def test_certificates_are_read_at_start(pems: Mapping[str, str]) -> None:
    """What proves either side is in the settings, and the key is not shown."""
    settings = read(AFAR | files(pems, ca="ca", certificate="certificate", key="key"))
    content = {name: Path(pems[name]).read_bytes() for name in ("ca", "certificate", "key")}

    assert IdentityService(address="auth.test:50051", certificates=Certificates(**content)) == settings.identity_service
    assert "PRIVATE KEY" not in repr(settings)


def test_a_service_may_be_proved_without_proving_oneself(pems: Mapping[str, str]) -> None:
    """An authority alone is enough for TLS."""
    settings = read(AFAR | files(pems, ca="ca"))

    assert settings.identity_service is not None
    assert Certificates(ca=Path(pems["ca"]).read_bytes()) == settings.identity_service.certificates


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"ca": "missing"}, "CA: cannot read {missing}: No such file or directory"),
        ({"ca": "text"}, "CA: {text} holds no certificates in PEM"),
        ({"ca": "empty"}, "CA: {empty} holds no certificates in PEM"),
        ({"ca": "key"}, "CA: {key} holds no certificates in PEM"),
        ({"certificate": "certificate"}, "CERTIFICATE needs DRAGOMAN_IDENTITY_KEY beside it"),
        ({"ca": "ca", "certificate": "certificate"}, "CERTIFICATE needs DRAGOMAN_IDENTITY_KEY beside it"),
        ({"ca": "ca", "key": "key"}, "KEY needs DRAGOMAN_IDENTITY_CERTIFICATE beside it"),
        (
            {"certificate": "certificate", "key": "key"},
            "CERTIFICATE needs DRAGOMAN_IDENTITY_CA beside it, which proves the service",
        ),
        (
            {"ca": "ca", "certificate": "missing", "key": "key"},
            "CERTIFICATE: cannot read {missing}: No such file or directory",
        ),
        ({"ca": "ca", "certificate": "certificate", "key": "missing"}, "KEY: cannot read {missing}: No such file"),
        ({"ca": "ca", "certificate": "text", "key": "key"}, "CERTIFICATE: {text} is no certificate, or {key} is not"),
        ({"ca": "ca", "certificate": "certificate", "key": "another_key"}, "CERTIFICATE: {certificate} is no certif"),
        ({"ca": "ca", "certificate": "certificate", "key": "locked"}, "CERTIFICATE: {certificate} is no certificate"),
    ],
)
def test_what_does_not_prove_anything_is_refused(pems: Mapping[str, str], named: dict[str, str], told: str) -> None:
    """A file that cannot be read or is not what it should be, and half of a pair, are refused by the variable."""
    assert refused(ADDRESS | files(pems, **named)).startswith(f"DRAGOMAN_IDENTITY_{told.format(**pems)}")


def test_a_path_that_is_none_is_refused() -> None:
    """A path with a NUL in it, which no file has, is refused as any other file that cannot be read."""
    assert "DRAGOMAN_IDENTITY_CA: cannot read a\0b: it is no path" == refused(
        ADDRESS | {"DRAGOMAN_IDENTITY_CA": "a\0b"}
    )


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    "address",
    [
        "",
        "auth.test",
        "auth.test:",
        ":50051",
        "auth.test:0",
        "auth.test:65536",
        "::1:50051",
        "http://auth.test:1",
        "a b:1",
    ],
)
def test_what_is_no_address_is_refused(write: Write, address: str) -> None:
    """An address is a host and a port; anything else is refused by the variable, or by its path in the file."""
    path = write(f"[identity_service]\naddress = '{address}'")
    told = f": {address!r} is no address; write host:port, with an IPv6 address in []"

    assert f"DRAGOMAN_IDENTITY_ADDRESS{told}" == refused({"DRAGOMAN_IDENTITY_ADDRESS": address})
    assert f"identity_service.address{told}" == refused({}, path)


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"DRAGOMAN_IDENTITY_PLAINTEXT": "on"},
            "DRAGOMAN_IDENTITY_PLAINTEXT is set, but DRAGOMAN_IDENTITY_ADDRESS is not: there is nobody to ask",
        ),
        (
            {"DRAGOMAN_IDENTITY_CA": "ca.pem"},
            "DRAGOMAN_IDENTITY_CA is set, but DRAGOMAN_IDENTITY_ADDRESS is not: there is nobody to ask",
        ),
        (
            ADDRESS | {"DRAGOMAN_IDENTITY_PLAINTEXT": "yes"},
            "DRAGOMAN_IDENTITY_PLAINTEXT: 'yes' is not accepted; it must be on or off",
        ),
        (
            {"DRAGOMAN_IDENTITY_ADRESS": "localhost:1"},
            "unknown variable DRAGOMAN_IDENTITY_ADRESS; did you mean DRAGOMAN_IDENTITY_ADDRESS?",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(variables: dict[str, str], told: str) -> None:
    """A setting of a service that nobody names, a bad value and a misspelt variable are refused by name."""
    assert told == refused(variables)


def test_a_certificate_and_plain_text_exclude_each_other(pems: Mapping[str, str]) -> None:
    """Who names a certificate authority and accepts plain text has to say which of them he means."""
    variables = AFAR | files(pems, ca="ca") | {"DRAGOMAN_IDENTITY_PLAINTEXT": "on"}

    assert "DRAGOMAN_IDENTITY_PLAINTEXT=on beside DRAGOMAN_IDENTITY_CA: say one of them" == refused(variables)


def test_the_file_says_the_same(write: Write, pems: Mapping[str, str]) -> None:
    """Each key of the table says what its variable says, and the variable wins."""
    path = write(
        "[identity_service]\naddress = 'auth.test:50051'\n"
        + "".join(f"{name} = '{pems[name]}'\n" for name in ("ca", "certificate", "key"))
    )
    variables = AFAR | files(pems, ca="ca", certificate="certificate", key="key")

    assert read(variables).identity_service == read({}, path).identity_service
    nearer = read(ADDRESS, path).identity_service
    assert nearer is not None
    assert "127.0.0.1:50051" == nearer.address


@pytest.mark.parametrize(("stated", "accepted"), [("true", True), ("false", False)])
def test_the_file_accepts_plain_text(write: Write, stated: str, accepted: bool) -> None:  # noqa: FBT001 - a case
    """Plain text is a switch in the file."""
    path = write(f"[identity_service]\naddress = 'auth.test:50051'\nplaintext = {stated}")

    assert accepted is ("in the clear" not in (told_of(path)))


def told_of(path: Path) -> str:
    """Return what is said of the file at *path*; nothing where it is accepted."""
    try:
        read({}, path)
    except SettingsError as error:
        return str(error)
    return ""


@confirms("ADR-0018.R1")
@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("adress = 'localhost:1'", "identity_service.adress: unknown setting 'adress'; did you mean address?"),
        ("address = 50051", "identity_service.address: 50051 is not accepted; it must be a text"),
        ("ca = '/nowhere/ca.pem'", "identity_service.ca: cannot read /nowhere/ca.pem: No such file or directory"),
        ("key = 1", "identity_service.key: 1 is not accepted; it must be a text"),
        ("plaintext = 'on'", "identity_service.plaintext: 'on' is not accepted; it must be true or false"),
    ],
)
def test_a_bad_key_of_the_file_is_refused_by_its_path(write: Write, table: str, told: str) -> None:
    """A key that is unknown, or whose value is of the wrong kind, is named by its path."""
    assert told == refused({}, write(f"[identity_service]\n{table}"))


# --- The identity of a mount ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "identities"),
    [
        ({}, [None, None, None]),
        ({"DRAGOMAN_IDENTITY": "service"}, ["service", "service", None]),
        ({"DRAGOMAN_API_IDENTITY": "service"}, [None, "service", None]),
        ({"DRAGOMAN_IDENTITY": "service", "DRAGOMAN_API_IDENTITY": "store"}, ["service", "store", None]),
        ({"DRAGOMAN_OPEN_IDENTITY": "none"}, [None, None, "none"]),
        ({"API_GATEWAY_TOKEN": "secret"}, [None, "token", None]),
        ({"DRAGOMAN_IDENTITY": "service", "API_GATEWAY_TOKEN": "secret"}, ["service", "token", None]),
        ({"DRAGOMAN_API_IDENTITY": "service", "API_GATEWAY_TOKEN": "secret"}, [None, "service", None]),
        ({"DRAGOMAN_API_IDENTITY": "password", "API_GATEWAY_PASSWORD": "secret"}, [None, "password", None]),
    ],
)
def test_an_identity_is_said_for_all_mounts_or_for_one(variables: dict[str, str], identities: list[str | None]) -> None:
    """What is said for one mount wins over what is said for all that ask; a secret of its own is said for one."""
    mounts = {"DRAGOMAN_MOUNTS": "/=dragoman,/api=dragoman,/open=open"}

    assert identities == [mount.identity for mount in read(mounts | variables).mounts]


@pytest.mark.parametrize(
    ("variables", "identity"),
    [
        ({}, "token"),
        ({"DRAGOMAN_IDENTITY": "store"}, "store"),
        ({"DRAGOMAN_API_IDENTITY": "store"}, "store"),
        ({"API_GATEWAY_PASSWORD": "secret"}, "token"),
    ],
)
def test_a_variable_wins_over_the_file(write: Write, variables: dict[str, str], identity: str) -> None:
    """What the file says of a mount counts where no variable says anything else."""
    path = write("[mounts.api]\ndialect = 'dragoman'\nidentity = 'token'\n")
    secret: dict[str, Any] = {"API_GATEWAY_TOKEN": "secret"} if identity == "token" else {}

    assert [identity] == [mount.identity for mount in read(variables | secret, path).mounts]


def test_the_file_knows_the_service(write: Write) -> None:
    """A mount of the file may ask the service."""
    path = write("[mounts.api]\ndialect = 'dragoman'\nidentity = 'service'\n")

    assert ["service"] == [mount.identity for mount in read({}, path).mounts]


@confirms("ADR-0018.R1")
@pytest.mark.parametrize("name", ["DRAGOMAN_IDENTITY", "DRAGOMAN_API_IDENTITY"])
def test_an_unknown_identity_is_refused(name: str) -> None:
    """An identity that there is not is refused with those that there are."""
    told = f"{name}: 'grpc' is not accepted; it must be store or service or token or password or none"

    assert told == refused({"DRAGOMAN_MOUNTS": "/api=dragoman", name: "grpc"})


def test_a_mount_has_a_variable() -> None:
    """The variable of a mount is named after its prefix; that of the root is for all."""
    assert ["DRAGOMAN_IDENTITY", "DRAGOMAN_API_V2_IDENTITY"] == [identity_variable(one) for one in ("/", "/api/v2")]


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("[::1]", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.test", False)],  # noqa: S104
)
def test_loopback_is_known(host: str, local: bool) -> None:  # noqa: FBT001 - a case
    """An address of this machine alone is loopback; a name is not, but for the one that always is."""
    assert local is is_loopback(host)
