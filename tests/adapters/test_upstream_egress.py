"""Where requests go, and what may not lead them elsewhere: addresses, redirects, certificates, the environment."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
import uvloop
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.upstream.addresses import is_public, url_problems
from dragoman.adapters.upstream.engine import EngineOf, Place, place_of
from dragoman.adapters.upstream.http1 import Http1Engine
from dragoman.adapters.upstream.httpx_engine import HttpxEngine
from dragoman.adapters.upstream.trust import trusting
from dragoman.model import Timeouts
from dragoman.ports import Fault
from engines import LONG, Ground, engine, fault, on_every_engine, until
from fault_proxy import fault_proxy
from process import LOOPBACK
from sink import Received, Sink, head, sinking, whole

NOT_PUBLIC: Final = (
    # loopback
    "127.0.0.1",
    "127.0.0.1.",
    "127.0.0.2",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "127.000.000.001",
    "2130706433",
    "0x7f000001",
    "0x7F.1",
    "0x7f.0.0.0x1",
    "0177.0.0.1",
    "0177.0.01",
    "017700000001",
    "00000177.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    # this host
    "0.0.0.0",  # noqa: S104 - to be refused
    "0",
    "0x0",
    "00",
    "0.1.2.3",
    "[::]",
    "[::ffff:0.0.0.0]",
    # private
    "10.0.0.1",
    "10.1",
    "167772161",
    "0xa000001",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "0xac.0x10.0.1",
    "192.168.0.1",
    "192.168.1",
    "3232235521",
    "0xc0.0xa8.0.1",
    "0300.0250.0.1",
    "[::ffff:10.0.0.1]",
    "[::ffff:c0a8:1]",
    "[fc00::1]",
    "[fd12:3456:789a::1]",
    "[fec0::1]",
    # a carrier's
    "100.64.0.1",
    "100.127.255.255",
    "1681915905",
    # link-local, and where clouds keep their metadata
    "169.254.169.254",
    "169.254.43518",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    # IPv4 inside of IPv6
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::10.0.0.1]",
    "[2001::1]",
    "[2001:0:7f00:1::]",
    # nobody's
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[2001:db8::1]",
    "[3fff::1]",
    "[ff02::1]",
    "[5f00::1]",
    "[100::1]",
    # public, but spelt so that readers differ
    "134744072",
    "0x08080808",
    "8.8.2056",
    "010.8.8.8",
)
PUBLIC: Final = (
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "[2606:4700::6810:84e5]",
    "api.example.com",
    "a_b.example.com.",
)
NOT_URLS: Final = (
    "",
    "api.example.com/v1",
    "ftp://api.example.com/v1",
    "file:///etc/passwd",
    "gopher://api.example.com/",
    "HTTPS+unix://api.example.com",
    "https://",
    "https:///v1",
    "https://user@api.example.com",
    "https://user:password@api.example.com/v1",
    "https://@api.example.com",
    "https://api.example.com@127.0.0.1/v1",
    "https://api.example.com/v1?key=1",
    "https://api.example.com/v1?",
    "https://api.example.com/v1#part",
    "https://api.example.com#@127.0.0.1/",
    "https://api.example.com\\@127.0.0.1/",
    "https://api.example.com /v1",
    "https://api.example.com/v1\r\nHost: x",
    "https://api.example.com/\tv1",
    "https://api.example.com:0/v1",
    "https://api.example.com:65536/v1",
    "https://api.example.com:port/v1",
    "https://127.0.0.1%2f@api.example.com",
    "https://%31%32%37.0.0.1/",
    "https://①②⑦.0.0.1/",
    "https://ünïcode.example/",
    "https://[::1/v1",
    "https://[fe80::1%25eth0]/v1",
    "https://[v1.x]/v1",
    "https://[api.example.com]/v1",
    "https://-api.example.com/",
    "https://.example.com/",
)


@confirms("ADR-0038.R10")
@pytest.mark.parametrize("host", NOT_PUBLIC)
def test_an_address_that_is_not_public_has_to_be_allowed(host: str) -> None:
    """However it is spelt, it is refused, with words that say how it could be allowed; allowed it is none the worse."""
    [problem] = url_problems(f"https://{host}/v1", private=False)

    assert "private = true" in problem
    assert [] == url_problems(f"https://{host}/v1", private=True)
    assert [] != url_problems(f"http://{host}:8080", private=False)


@confirms("ADR-0038.R10")
@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_is_fine(host: str) -> None:
    """What anybody can reach needs no permission."""
    assert [] == url_problems(f"https://{host}:8443/base/v1/", private=False)


@confirms("ADR-0038.R10")
@pytest.mark.parametrize("url", NOT_URLS)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    """Schemes, users, queries, fragments, and whatever readers of URLs disagree about, is refused in any case."""
    assert [] != url_problems(url, private=False)
    assert [] != url_problems(url, private=True)


@given(st.text() | st.sampled_from(NOT_URLS + NOT_PUBLIC + PUBLIC).flatmap(lambda text: st.text().map(text.__add__)))
def test_any_text_is_judged(text: str) -> None:
    """No text breaks the judge, and none that passes leads to an address that is not public."""
    url = f"http://{text}"

    if not url_problems(url, private=False):
        place = place_of(url, headers={}, private=False, capacity=1)
        try:
            literal = socket.getaddrinfo(place.host, 1, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return
        assert all(is_public(str(sockaddr[0])) for *_, sockaddr in literal)


def test_a_place_is_what_a_url_says() -> None:
    """Host, port and path are taken apart once; the path loses its last slash, the host the dot of the root."""
    place = place_of("https://api.Example.com.:8443/base/v1/", headers={}, private=False, capacity=2)
    bare = place_of("http://[2606:4700::1]", headers={}, private=False, capacity=2)

    assert ("https", "api.example.com", 8443, "/base/v1") == (place.scheme, place.host, place.port, place.base_path)
    assert ("api.example.com:8443", "[2606:4700::1]", 80, "") == (
        place.authority,
        bare.authority,
        bare.port,
        bare.base_path,
    )


# --- Names ------------------------------------------------------------------------------------------------------------


class _Names:
    """What a resolver says: *answers* of addresses in turn, and how often it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[Any]:
        """Return what `getaddrinfo` returns."""
        self.asked.append(host)
        addresses = self.answers.pop(0) if self.answers else []
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


def loop_with(names: _Names, kind: type[asyncio.AbstractEventLoop]) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a loop of the *kind* whose resolver says *names*."""

    class Loop(kind):  # type: ignore[misc,valid-type] # it is given
        async def getaddrinfo(self, host: str, port: int, **rest: Any) -> list[Any]:  # noqa: ANN401 - as asyncio has it
            if host.endswith(".example"):
                return await names.resolve(host, port)
            found: list[Any] = await super().getaddrinfo(host, port, **rest)
            return found

    return Loop


async def ask(engine_of: EngineOf, place: Place, times: int = 1) -> list[int]:
    """Return the statuses of so many requests to *place*."""
    made = engine_of(place, None)
    try:
        statuses = []
        for _ in range(times):
            answer = await made.post("/chat/completions", b'{"model":"m"}', LONG)
            await answer.read(10_000)
            await answer.aclose()
            statuses.append(answer.status)
        return statuses
    finally:
        await made.aclose()


both_engines: Final = pytest.mark.parametrize("engine_of", [Http1Engine, HttpxEngine])
both_loops: Final = pytest.mark.parametrize("kind", [uvloop.Loop, asyncio.SelectorEventLoop])


@confirms("ADR-0038.R10")
@both_engines
@both_loops
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1%lo"]
)
def test_a_name_of_a_private_address_is_not_connected_to(
    engine_of: EngineOf, kind: type[asyncio.AbstractEventLoop], address: str
) -> None:
    """What a name means is judged when it is used: a public name of a private address reaches nobody."""
    names = _Names([address])

    async def test() -> tuple[Fault, int]:
        async with sinking() as sink:
            url = f"http://provider.example:{sink.port}/v1"
            place = place_of(url, headers={}, private=False, capacity=1)
            raised = await fault(ask(engine_of, place))
            return raised.fault, sink.connections

    with asyncio.Runner(loop_factory=loop_with(names, kind)) as runner:
        assert (Fault.UNREACHABLE, 0) == runner.run(test())


@confirms("ADR-0038.R10")
@both_engines
@both_loops
def test_the_connection_goes_to_the_address_that_was_judged(
    engine_of: EngineOf, kind: type[asyncio.AbstractEventLoop]
) -> None:
    """A name is resolved once for a connection; that it means something else a moment later changes nothing."""
    names = _Names(["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"], ["203.0.113.1"])

    async def test() -> tuple[list[int], Sink]:
        async with sinking() as sink:
            url = f"http://provider.example:{sink.port}/v1"
            place = place_of(url, headers={}, private=True, capacity=1)
            return await ask(engine_of, place, times=3), sink

    with asyncio.Runner(loop_factory=loop_with(names, kind)) as runner:
        statuses, sink = runner.run(test())
    assert ([200, 200, 200], 1) == (statuses, sink.connections)
    assert {f"provider.example:{sink.port}"} == {one.headers["host"] for one in sink.requests}
    assert ["provider.example"] == names.asked


@both_engines
def test_an_address_that_refuses_leaves_the_next_one(engine_of: EngineOf) -> None:
    """Of several addresses the first that accepts a connection gets the request."""
    names = _Names(["127.0.0.2", "127.0.0.3", "127.0.0.1"])

    async def test() -> list[int]:
        async with sinking() as sink:
            url = f"http://provider.example:{sink.port}/v1"
            return await ask(engine_of, place_of(url, headers={}, private=True, capacity=1))

    with asyncio.Runner(loop_factory=loop_with(names, asyncio.SelectorEventLoop)) as runner:
        assert [200] == runner.run(test())


# --- Redirects --------------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R11")
@on_every_engine
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_by_nobody(ground: Ground, status: int) -> None:
    """A provider that points elsewhere is asked no second question, and elsewhere none at all."""

    async def test() -> tuple[int, int, int]:
        async with sinking() as elsewhere, sinking() as sink, engine(ground, sink.url()) as made:
            sink.tell([head(status, location=elsewhere.url(), set_cookie="a=b", content_length="0")])
            answer = await made.post("/chat/completions", b"{}", LONG)
            await answer.aclose()
            return answer.status, len(sink.requests), elsewhere.connections

    assert (status, 1, 0) == ground.run(test())


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a certificate authority that nobody knows."""
    return trustme.CA()


@pytest.fixture
def served(authority: trustme.CA) -> ssl.SSLContext:
    """Return how to serve as 127.0.0.1 and provider.example."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "provider.example").configure_cert(context)
    return context


@pytest.fixture
def pem(authority: trustme.CA, tmp_path: Path) -> Path:
    """Return a file with that authority."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return path


async def over_tls(
    ground: Ground, served: ssl.SSLContext, authorities: Path | None, *, host: str = LOOPBACK
) -> tuple[bytes, Received]:
    """Return what a server with TLS answers, and what it received."""
    async with (
        sinking(lambda _: whole(b"{}"), tls=served) as sink,
        engine(ground, f"https://{host}:{sink.port}/v1", trusting(authorities)) as made,
    ):
        bodies = set()
        for _ in range(2):
            answer = await made.post("/chat/completions", b"{}", LONG)
            bodies.add(await answer.read(100))
            await answer.aclose()
        assert (1, 1) == (sink.connections, len(bodies))
        return bodies.pop(), sink.requests[-1]


@on_every_engine
def test_a_server_whose_authority_is_trusted_is_talked_to(ground: Ground, served: ssl.SSLContext, pem: Path) -> None:
    """Over TLS everything is as it is without, keeping connections included."""
    body, received = ground.run(over_tls(ground, served, pem))

    assert (b"{}", "Bearer upstream-key") == (body, received.headers["authorization"])


@confirms("ADR-0038.R11")
@on_every_engine
def test_a_server_that_nobody_vouches_for_learns_nothing(ground: Ground, served: ssl.SSLContext) -> None:
    """Without its authority a server is unreachable, and gets no request, hence no key."""

    async def test() -> Fault:
        return (await fault(over_tls(ground, served, None))).fault

    assert Fault.UNREACHABLE is ground.run(test())


@confirms("ADR-0038.R10")
@both_engines
@pytest.mark.parametrize(("host", "reached"), [("provider.example", True), ("other.example", False)])
def test_a_certificate_has_to_be_for_the_name(
    engine_of: EngineOf,
    served: ssl.SSLContext,
    pem: Path,
    host: str,
    reached: bool,  # noqa: FBT001 - pytest names it
) -> None:
    """Although the connection goes to an address, the certificate is that of the name in the configuration."""
    ground = Ground(
        engine_of=engine_of, loop=loop_with(_Names(["127.0.0.1"], ["127.0.0.1"]), asyncio.SelectorEventLoop)
    )

    async def test() -> bytes | Fault:
        if reached:
            return (await over_tls(ground, served, pem, host=host))[0]
        return (await fault(over_tls(ground, served, pem, host=host))).fault

    assert (b"{}" if reached else Fault.UNREACHABLE) == ground.run(test())


@confirms("ADR-0038.R3", "ADR-0038.R4")
@on_every_engine
@pytest.mark.parametrize("cancelled", [False, True], ids=["deadline", "cancelled"])
def test_a_handshake_that_nobody_answers_ends_in_time(ground: Ground, cancelled: bool) -> None:  # noqa: FBT001
    """The deadline for connecting covers TLS; it leaves no connection behind, nor does a task that is cancelled."""

    async def test() -> None:
        async with (
            sinking() as sink,
            fault_proxy(sink.port) as proxy,
            engine(ground, f"https://{LOOPBACK}:{proxy.port}/v1", trusting(None)) as made,
        ):
            proxy.black_hole = True
            timeouts = Timeouts(connect=60.0 if cancelled else 0.3)
            asked: Awaitable[object] = made.post("/chat/completions", b"{}", timeouts)
            if cancelled:
                task = asyncio.ensure_future(asked)
                await until(lambda: proxy.open == 1)
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
            else:
                assert Fault.TIMEOUT is (await fault(asked)).fault
            await until(lambda: proxy.open == 0)

    ground.run(test())


# --- The environment --------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pem: Path) -> Path:
    """Set all variables that libraries for HTTP and TLS listen to; return where the keys of connections would go."""
    netrc, keys = tmp_path / "netrc", tmp_path / "keys"
    netrc.write_text("machine 127.0.0.1 login stolen password stolen\n")
    netrc.chmod(0o600)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    return keys


@confirms("ADR-0038.R11")
@on_every_engine
def test_no_variable_of_the_environment_changes_anything(
    ground: Ground, hostile: Path, served: ssl.SSLContext, pem: Path
) -> None:
    """No proxy, no login, no authority and no file for keys is taken from the environment."""

    async def plain() -> str:
        async with sinking() as sink, engine(ground, sink.url()) as made:
            answer = await made.post("/chat/completions", b'{"model":"m"}', LONG)
            await answer.read(10_000)
            await answer.aclose()
            return sink.requests[0].headers["authorization"]

    async def unknown() -> Fault:
        return (await fault(over_tls(ground, served, None))).fault

    assert "Bearer upstream-key" == ground.run(plain())
    assert Fault.UNREACHABLE is ground.run(unknown())
    assert b"{}" == ground.run(over_tls(ground, served, pem))[0]
    assert not hostile.exists()
