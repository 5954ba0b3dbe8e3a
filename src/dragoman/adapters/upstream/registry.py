"""The providers in force, built from their records (ADR-0038).

Laws of this file:
- Replacing the providers keeps the connections of those that stay as they are. Those that go finish what they carry,
  and are closed then.
- All or nothing: a provider that cannot be built leaves the ones in force as they are.
- A secret is looked up when its provider is built, and is in no message and no representation.
"""

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Final

import attrs

from dragoman.adapters.upstream.addresses import url_problems
from dragoman.adapters.upstream.anthropic import ANTHROPIC_VERSION, AnthropicUpstream
from dragoman.adapters.upstream.echo import EchoUpstream
from dragoman.adapters.upstream.engine import Engine, EngineOf, Place, place_of
from dragoman.adapters.upstream.http1 import Http1Engine
from dragoman.adapters.upstream.openai import OpenAIUpstream
from dragoman.adapters.upstream.quirks import QUIRKS, all_of
from dragoman.adapters.upstream.scripted import ScriptedUpstream
from dragoman.adapters.upstream.trust import trusting
from dragoman.model import Provider
from dragoman.ports import Upstream

OVER_HTTP: Final = frozenset({"openai", "anthropic"})
IN_PROCESS: Final = frozenset({"echo", "scripted"})
KINDS: Final = OVER_HTTP | IN_PROCESS

OWN_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say how a request is sent, and are the engine's own business."""

_REFERENCE: Final = re.compile(r"(?:env|file):.+", re.DOTALL)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""RFC 9110, section 5.6.2."""

_VALUE: Final = re.compile(r"[\x20-\x7e]*", re.ASCII)


class ProviderError(Exception):
    """A provider cannot be built; the message names it, and what is wrong, and no secret."""


def is_reference(text: str) -> bool:
    """Whether *text* says where a secret is, and is none itself."""
    return _REFERENCE.fullmatch(text) is not None


def check_provider(provider: Provider) -> list[str]:
    """Return what is wrong with *provider*, as far as can be told without a look at its secrets and its network."""
    if provider.kind not in KINDS:
        return [f"kind is none of {', '.join(sorted(KINDS))}"]
    problems = []
    if provider.capacity < 1:
        problems.append("capacity must be at least 1")
    if provider.kind in IN_PROCESS:
        stated = {"base_url": provider.base_url, "key": provider.key}
        problems += [
            f"{name} has no meaning for {provider.kind}" for name, value in stated.items() if value is not None
        ]
        unknown = provider.quirks
    else:
        problems += (
            ["base_url is missing"]
            if provider.base_url is None
            else url_problems(provider.base_url, private=provider.private)
        )
        if provider.key is not None and not is_reference(provider.key):
            problems.append("key must be a reference, env:NAME or file:PATH")
        unknown = provider.quirks - QUIRKS.keys() if provider.kind == "openai" else provider.quirks
    problems += [f"{quirk} is no quirk of {provider.kind}" for quirk in sorted(unknown)]
    return problems + _header_problems(provider.headers)


def _header_problems(headers: Mapping[str, str]) -> list[str]:
    problems = []
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            problems.append("a header has a name that is none")
        elif name.lower() in OWN_HEADERS:
            problems.append(f"the header {name} is the gateway's own")
        elif not is_reference(value) and not _VALUE.fullmatch(value):
            problems.append(f"the header {name} has a value that cannot be sent")
    return problems


@attrs.frozen(kw_only=True)
class _Plan:
    """How to build the upstream of a provider: equal plans make equal upstreams."""

    kind: str
    quirks: frozenset[str] = frozenset()
    place: Place | None = None


@attrs.define(eq=False)
class Providers:
    """Fits the port `Upstreams`.

    *secret* looks up a reference, *now* dates what is to be retried; *engine_of* makes an engine, *authorities* is a
    PEM file with authorities to trust beside those of the Web. Upstreams are made when they are first asked for, inside
    the loop.
    """

    secret: Callable[[str], str] = attrs.field(repr=False)
    now: Callable[[], datetime]
    engine_of: EngineOf = Http1Engine
    authorities: Path | None = None
    _plans: dict[str, _Plan] = attrs.field(factory=dict, init=False)
    _built: dict[str, Upstream] = attrs.field(factory=dict, init=False)
    _engines: dict[str, Engine] = attrs.field(factory=dict, init=False)
    _retired: list[Engine] = attrs.field(factory=list, init=False)

    def replace(self, providers: Iterable[Provider]) -> None:
        """Put *providers* in force, in place of those that were; inside the loop, once an upstream was asked for.

        Raises:
            ProviderError: when one cannot be built; then nothing has changed.
        """
        plans = {provider.name: self._plan(provider) for provider in providers}
        for name, plan in self._plans.items():
            if plans.get(name) != plan:
                self._built.pop(name, None)
                engine = self._engines.pop(name, None)
                if engine is not None:
                    engine.retire()
                    self._retired.append(engine)
        self._retired = [engine for engine in self._retired if engine.busy]
        self._plans = plans

    def upstream(self, provider: str) -> Upstream:
        """Return the upstream of this *provider*; `KeyError` where there is none."""
        built = self._built.get(provider)
        if built is None:
            built = self._built[provider] = self._build(provider, self._plans[provider])
        return built

    async def aclose(self) -> None:
        """Close every connection, now; who is asked after that gets a new one, as when a gateway starts again."""
        engines = [*self._engines.values(), *self._retired]
        self._built, self._engines, self._retired = {}, {}, []
        for engine in engines:
            await engine.aclose()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return trusting(self.authorities)

    def _plan(self, provider: Provider) -> _Plan:
        problems = check_provider(provider)
        if problems:
            message = f"provider {provider.name}: {'; '.join(problems)}"
            raise ProviderError(message)
        if provider.base_url is None:
            return _Plan(kind=provider.kind)
        place = place_of(
            provider.base_url,
            headers=self._headers(provider),
            private=provider.private,
            capacity=provider.capacity,
        )
        return _Plan(kind=provider.kind, quirks=provider.quirks, place=place)

    def _headers(self, provider: Provider) -> Mapping[str, str]:
        """Return what every request to *provider* says of the gateway, with its key."""
        headers = {
            "user-agent": f"dragoman/{version('dragoman')}",
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        if provider.key is not None:
            key = self._looked_up(provider, provider.key)
            headers |= {"x-api-key": key} if provider.kind == "anthropic" else {"authorization": f"Bearer {key}"}
        if provider.kind == "anthropic":
            headers["anthropic-version"] = ANTHROPIC_VERSION
        for name, value in provider.headers.items():
            headers[name.lower()] = self._looked_up(provider, value) if is_reference(value) else value
        return headers

    def _looked_up(self, provider: Provider, reference: str) -> str:
        """Return the secret behind *reference*, without the line end that a file may have."""
        try:
            secret = self.secret(reference).strip()
        except (OSError, LookupError, ValueError) as error:
            message = f"provider {provider.name}: {reference} cannot be read: {type(error).__name__}"
            raise ProviderError(message) from None
        if not secret or not _VALUE.fullmatch(secret):
            message = f"provider {provider.name}: what is at {reference} cannot be sent in a header"
            raise ProviderError(message)
        return secret

    def _build(self, name: str, plan: _Plan) -> Upstream:
        match plan:
            case _Plan(place=None, kind="echo"):
                return EchoUpstream()
            case _Plan(place=None):
                return ScriptedUpstream()
            case _Plan(place=place):
                assert place is not None  # noqa: S101 - said above
                engine = self.engine_of(place, self._tls if place.scheme == "https" else None)
                self._engines[name] = engine
                if plan.kind == "anthropic":
                    # Both are usual: a base URL with the version of the API, as OpenAI's has it, and one without.
                    path = "/messages" if place.base_path.endswith("/v1") else "/v1/messages"
                    return AnthropicUpstream(engine=engine, path=path, now=self.now)
                return OpenAIUpstream(engine=engine, quirk=all_of(plan.quirks), now=self.now)
