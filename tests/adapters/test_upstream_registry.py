"""The providers in force: what they are built from, what stays when they are replaced, and what is never told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trustme
from gateway_conformance.rules import confirms

from dragoman.adapters.upstream.echo import EchoUpstream
from dragoman.adapters.upstream.engine import EngineOf
from dragoman.adapters.upstream.http1 import Http1Engine
from dragoman.adapters.upstream.httpx_engine import HttpxEngine
from dragoman.adapters.upstream.quirks import QUIRKS
from dragoman.adapters.upstream.registry import ProviderError, Providers, check_provider, is_reference
from dragoman.adapters.upstream.scripted import ScriptedUpstream
from dragoman.model import Provider
from dragoman.ports import Fault, Upstreams
from engines import HELLO, LONG, NOW, fault, until
from process import LOOPBACK
from sink import Sink, Wait, chunks, sinking, stream

SECRETS: Final[Mapping[str, str]] = {
    "env:KEY": "canary-key",
    "env:OTHER": "canary-other",
    "file:/run/secrets/key": "canary-of-a-file\n",
    "env:EMPTY": " \n",
    "env:TWO_LINES": "canary-one\ncanary-two",
    "env:UMLAUT": "canary-ü",
}


@asynccontextmanager
async def registry(secret: Callable[[str], str] = SECRETS.__getitem__, **more: Any) -> AsyncIterator[Providers]:  # noqa: ANN401
    """Return providers, none of them in force yet, until the end of the block."""
    providers = Providers(secret=secret, now=lambda: NOW, **more)
    fits: Upstreams = providers
    assert fits is providers
    try:
        yield providers
    finally:
        await providers.aclose()


def openai(sink: Sink, **more: Any) -> Provider:  # noqa: ANN401 - members of a provider
    """Return the provider that *sink* is."""
    return Provider(**{"name": "main", "kind": "openai", "base_url": sink.url(), "private": True, **more})


async def asked(providers: Providers, name: str = "main") -> Mapping[str, Any]:
    """Return a whole answer of the provider *name*."""
    return await providers.upstream(name).chat(HELLO, model="m", timeouts=LONG)


# --- What is wrong with a provider ------------------------------------------------------------------------------------

SOUND: Final = Provider(name="main", kind="openai", base_url="https://api.example.com/v1", key="env:KEY")
WRONG: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "kind": ({"kind": "vertex"}, "kind is none of anthropic, echo, openai, scripted"),
    "capacity": ({"capacity": 0}, "capacity must be at least 1"),
    "no-url": ({"base_url": None}, "base_url is missing"),
    "url": ({"base_url": "ftp://api.example.com"}, "base_url must begin with http:// or https://"),
    "private": (
        {"base_url": "https://10.0.0.1"},
        "base_url is an address that is not public; say private = true if it shall be",
    ),
    "key": ({"key": "canary-key"}, "key must be a reference, env:NAME or file:PATH"),
    "quirk": ({"quirks": frozenset({"no_such"})}, "no_such is no quirk of openai"),
    "quirk-of-another": (
        {"kind": "anthropic", "quirks": frozenset({"max_tokens"})},
        "max_tokens is no quirk of anthropic",
    ),
    "header-name": ({"headers": {"a b": "c"}}, "a header has a name that is none"),
    "header-line": ({"headers": {"a": "canary\r\nb: c"}}, "the header a has a value that cannot be sent"),
    "header-own": ({"headers": {"Content-Length": "1"}}, "the header Content-Length is the gateway's own"),
    "echo-url": ({"kind": "echo", "key": None}, "base_url has no meaning for echo"),
    "echo-key": ({"kind": "scripted", "base_url": None}, "key has no meaning for scripted"),
    "echo-quirk": (
        {"kind": "echo", "base_url": None, "key": None, "quirks": frozenset({"max_tokens"})},
        "max_tokens is no quirk of echo",
    ),
}


@confirms("ADR-0038.R16")
@pytest.mark.parametrize(("change", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_provider_is_said(change: dict[str, Any], problem: str) -> None:
    """Each mistake is told by the name of what is wrong, without a value that may be a secret."""
    provider = attrs.evolve(SOUND, **change)

    assert [problem] == check_provider(provider)
    with pytest.raises(ProviderError, match=r"^provider main: ") as raised:
        Providers(secret=SECRETS.__getitem__, now=lambda: NOW).replace([provider])
    assert "canary" not in f"{raised.value!r}"


def test_a_sound_provider_has_no_problems() -> None:
    """All kinds, all quirks, and headers that are references."""
    headers = {"api-key": "env:KEY", "X-Title": "dragoman", "openai-organization": "file:/run/secrets/key"}

    assert [] == check_provider(attrs.evolve(SOUND, headers=headers, quirks=frozenset(QUIRKS)))
    assert [] == check_provider(attrs.evolve(SOUND, kind="anthropic", key=None))
    assert [] == check_provider(Provider(name="e", kind="echo")) + check_provider(Provider(name="s", kind="scripted"))
    assert [True, True, False, False] == [is_reference(text) for text in ("env:A", "file:/a", "env:", "sk-env:a")]


def test_every_mistake_is_told_at_once() -> None:
    """Whoever writes a configuration is not sent back once for each."""
    provider = Provider(name="main", kind="openai", key="k", capacity=0, headers={"host": "x"}, quirks=frozenset("ab"))

    assert 6 == len(check_provider(provider))


# --- Secrets ----------------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R16")
@pytest.mark.parametrize("key", ["env:MISSING", "env:EMPTY", "env:TWO_LINES", "env:UMLAUT"])
def test_a_secret_that_cannot_be_used_is_told_by_its_reference(key: str) -> None:
    """What is missing, empty or no value of a header stops the provider; the message holds none of it."""
    providers = Providers(secret=SECRETS.__getitem__, now=lambda: NOW)

    with pytest.raises(ProviderError, match=f"^provider main: .*{key}") as raised:
        providers.replace([attrs.evolve(SOUND, key=key)])
    assert "canary" not in f"{raised.value!r} {raised.value.__cause__!r}"


@confirms("ADR-0038.R16")
def test_a_file_that_cannot_be_read_is_told_by_its_reference() -> None:
    """So is an error of the file system, by its kind."""

    def secret(reference: str) -> str:
        return Path(reference.removeprefix("file:")).read_text(encoding="utf-8")

    with pytest.raises(ProviderError, match="provider main: file:/no/such cannot be read: FileNotFoundError"):
        Providers(secret=secret, now=lambda: NOW).replace([attrs.evolve(SOUND, key="file:/no/such")])


@confirms("ADR-0038.R1", "ADR-0038.R16")
def test_a_key_goes_to_its_provider_and_nowhere_else() -> None:
    """Requests carry the key and the headers of their provider; no representation does."""
    headers = {"X-Title": "dragoman", "x-api-secret": "env:OTHER", "User-Agent": "other/1"}

    async def test() -> tuple[Mapping[str, str], Mapping[str, str], str]:
        async with sinking() as first, sinking() as second, registry() as providers:
            providers.replace(
                [
                    openai(first, key="env:KEY", headers=headers),
                    openai(second, name="second", key="file:/run/secrets/key"),
                ]
            )
            await asked(providers)
            await asked(providers, "second")
            told = f"{providers!r} {providers.upstream('main')!r}"
            return first.requests[0].headers, second.requests[0].headers, told

    one, two, told = asyncio.run(test())
    assert ("Bearer canary-key", "canary-other", "dragoman", "other/1") == (
        one["authorization"],
        one["x-api-secret"],
        one["x-title"],
        one["user-agent"],
    )
    assert ("Bearer canary-of-a-file", f"dragoman/{version('dragoman')}") == (two["authorization"], two["user-agent"])
    assert {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "content-type",
        "authorization",
        "content-length",
    } == set(two)
    assert ("identity", "application/json") == (two["accept-encoding"], two["content-type"])
    assert "canary" not in told


def test_a_provider_without_a_key_is_told_none() -> None:
    """A server on one's own machine needs none."""

    async def test() -> Mapping[str, str]:
        async with sinking() as sink, registry() as providers:
            providers.replace([openai(sink)])
            await asked(providers)
            return sink.requests[0].headers

    assert "authorization" not in asyncio.run(test())


# --- Kinds ------------------------------------------------------------------------------------------------------------


def test_every_kind_has_an_upstream() -> None:
    """Those inside the gateway take no socket; an unknown name is nobody."""

    async def test() -> None:
        async with sinking() as sink, registry() as providers:
            providers.replace([openai(sink), Provider(name="e", kind="echo"), Provider(name="s", kind="scripted")])
            assert isinstance(providers.upstream("e"), EchoUpstream)
            assert isinstance(providers.upstream("s"), ScriptedUpstream)
            assert providers.upstream("main") is providers.upstream("main")
            assert "hello" == (await asked(providers, "e"))["choices"][0]["message"]["content"]
            assert 0 == sink.connections
            with pytest.raises(KeyError):
                providers.upstream("nobody")

    asyncio.run(test())


@pytest.mark.parametrize("engine_of", [Http1Engine, HttpxEngine])
def test_engine_and_authorities_may_be_chosen(engine_of: EngineOf, tmp_path: Path) -> None:
    """What makes engines is an argument, and so is the file with authorities to trust beside those of the Web."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOOPBACK).configure_cert(served)

    async def test() -> str:
        async with (
            sinking(tls=served) as sink,
            registry(engine_of=engine_of, authorities=tmp_path / "authority.pem") as providers,
        ):
            providers.replace([openai(sink, base_url=sink.url().replace("http:", "https:"))])
            content: str = (await asked(providers))["choices"][0]["message"]["content"]
            return content

    assert "hello" == asyncio.run(test())


# --- Replacing --------------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R7")
def test_what_stays_keeps_its_connections() -> None:
    """Replacing providers by equal ones, beside others, opens no connection anew."""

    async def test() -> int:
        async with sinking() as sink, registry() as providers:
            for others in ([], [Provider(name="e", kind="echo")], []):
                providers.replace([openai(sink, key="env:KEY"), *others])
                await asked(providers)
            return sink.connections

    assert 1 == asyncio.run(test())


@confirms("ADR-0038.R7")
@pytest.mark.parametrize(
    "change", [{"key": "env:OTHER"}, {"quirks": frozenset({"max_tokens"})}, {"capacity": 7}], ids=str
)
def test_what_changes_is_built_anew(change: dict[str, Any]) -> None:
    """A changed provider gets new connections, and the old ones are closed."""

    async def test() -> tuple[int, int]:
        async with sinking() as sink, registry() as providers:
            providers.replace([openai(sink, key="env:KEY")])
            await asked(providers)
            providers.replace([openai(sink, **{"key": "env:KEY", **change})])
            await asked(providers)
            await until(lambda: sink.open == 1)
            return sink.connections, sink.open

    assert (2, 1) == asyncio.run(test())


@confirms("ADR-0038.R7")
def test_a_secret_that_changes_is_used_with_the_next_replacement() -> None:
    """A key that was rotated under its reference counts as a change."""
    keys = ["canary-old", "canary-new"]

    async def test() -> list[str]:
        async with sinking() as sink, registry(lambda _: keys[0]) as providers:
            for _ in range(2):
                providers.replace([openai(sink, key="env:KEY")])
                await asked(providers)
                keys.pop(0) if len(keys) > 1 else None
            return [one.headers["authorization"] for one in sink.requests]

    assert ["Bearer canary-old", "Bearer canary-new"] == asyncio.run(test())


@confirms("ADR-0038.R7")
def test_what_goes_finishes_what_it_carries() -> None:
    """A stream of a provider that is removed goes on to its end; then its connection is closed, and it is nobody."""

    async def test() -> int:
        async with sinking(lambda _: stream(chunks()[0], Wait(0.1), *chunks()[1:])) as sink, registry() as providers:
            providers.replace([openai(sink)])
            opened = await providers.upstream("main").chat_stream(HELLO, model="m", timeouts=LONG)
            providers.replace([])
            with pytest.raises(KeyError):
                providers.upstream("main")
            came = [one async for batch in opened for one in batch]
            await opened.aclose()
            await until(lambda: sink.open == 0)
            return len(came)

    assert len(chunks()) == asyncio.run(test())


@confirms("ADR-0038.R7")
def test_a_bad_provider_changes_nothing() -> None:
    """Where one of several cannot be built, all stay as they were."""

    async def test() -> list[str]:
        async with sinking() as sink, registry() as providers:
            providers.replace([openai(sink, key="env:KEY")])
            await asked(providers)
            with pytest.raises(ProviderError):
                providers.replace([openai(sink, key="env:OTHER"), openai(sink, name="bad", key="env:MISSING")])
            await asked(providers)
            assert 1 == sink.connections
            return [one.headers["authorization"] for one in sink.requests]

    assert ["Bearer canary-key"] * 2 == asyncio.run(test())


@confirms("ADR-0038.R7")
def test_closing_ends_everything() -> None:
    """Nothing is left open, not even what a removed provider still carried."""

    async def test() -> None:
        async with sinking(lambda _: stream(chunks()[0], Wait(None))) as sink, registry() as providers:
            providers.replace([openai(sink), openai(sink, name="second")])
            opened = [
                await providers.upstream(name).chat_stream(HELLO, model="m", timeouts=LONG)
                for name in ("main", "second")
            ]
            providers.replace([openai(sink)])
            assert 2 == sink.open
            await providers.aclose()
            await until(lambda: sink.open == 0)
            for one in opened:
                await anext(aiter(one))
                assert Fault.CUT is (await fault(anext(aiter(one)))).fault
                await one.aclose()

    asyncio.run(test())


def test_who_was_closed_can_be_asked_again() -> None:
    """Closing ends connections, and no provider: a gateway that starts again reaches those that it had."""

    async def exchanged() -> list[Mapping[str, Any]]:
        async with sinking() as sink, registry() as providers:
            providers.replace([openai(sink)])
            first = await asked(providers)
            await providers.aclose()
            return [first, await asked(providers)]

    first, second = asyncio.run(exchanged())

    assert first == second
