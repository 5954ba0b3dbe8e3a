"""The models of the gateways that the suite judges in Phase 2, and who is behind them.

Laws of this file:
- What nobody may learn has names that occur nowhere else; the judge is told them, and looks for them everywhere.
- What is behind a model is left alone after it has failed some times, so that there are many names for each failure,
  and each has a provider of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import repeat
from types import MappingProxyType
from typing import Final

import attrs
from gateway_conformance.target import Staged

from dragoman.contract.source import Source
from dragoman.model import CATCH_ALL, Alias, Guardrail, Provider, Target, Timeouts, rate_of
from leaky import MISDEEDS
from treaty import operations, resolve

ECHO: Final = "canary-echo-7c1d"
SCRIPTED: Final = "canary-scripted-3e9b"
LEAKY: Final = "canary-leaky-5f20"
MODEL: Final = "canary-model-b4a8"
KEY: Final = "sk-canary-0d6e"
KEY_REFERENCE: Final = "env:CANARY_KEY"
BASE_PATH: Final = "canary-path-91c3"
HOST: Final = "127.47.83.29"
"""The address of the upstream that tells everything; all of 127.0.0.0/8 is this machine."""

SECRETS: Final = frozenset({ECHO, SCRIPTED, LEAKY, MODEL, KEY, KEY_REFERENCE, BASE_PATH, HOST})
"""What tells who is behind a model."""

SCARCE: Final = "scarce"
SCARCE_EMBEDDING: Final = "scarce-embedding"
SCARCE_REQUESTS: Final = 3
"""Aliases with a limit of their own, and how many requests of an organisation they take a day."""

CREATED: Final = int(datetime(2026, 6, 14, tzinfo=UTC).timestamp())

ECHOING: Final = (Target(provider=ECHO, model=MODEL),)
EVERY_NAME: Final = (Target(provider=ECHO),)

GUARDRAIL: Final = Guardrail(key="pii-checker", action="block", detectors=("email",))
GUARDED: Final = "guarded"
GUARDED_EMBEDDING: Final = "guarded-embedding"
BLOCKED_TEXT: Final = "Write to ada.lovelace@example.org, please."

SCRIPTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rate_limited": "limited:7",
        "upstream_unavailable": "unavailable",
        "upstream_timeout": "hang",
        "circuit_open": "unavailable",
        "cut": "cut",
        "error_event": "error-event",
        "garbage": "garbage:1",
    }
)
"""What is brought about -> the model of the provider `scripted` that does it."""

IN_STREAMS: Final = frozenset({"cut", "error_event", "garbage"})
"""What only streams bring about: an answer that begins."""

SHORT: Final = Timeouts(first_byte=0.1, total=2.0)
"""What is silent is not waited for."""

TIMES: Final[Mapping[str, int]] = MappingProxyType({"llm": 100, "embedding": 16})
"""How many names there are for each, by category: one operation of one dialect makes embeddings."""


@attrs.frozen(kw_only=True)
class Staging:
    """One name that brings something about: *what*, and the alias."""

    what: str
    alias: Alias


def made(
    name: str, *, category: str = "llm", targets: Sequence[Target] = ECHOING, guardrails: tuple[str, ...] = ()
) -> Alias:
    """Return an alias that everybody may use."""
    return Alias(
        id=name,
        display_name=name.capitalize(),
        description="Everyday work.",
        category=category,
        created=CREATED,
        targets=tuple(targets),
        guardrails=guardrails,
    )


@cache
def stagings() -> Sequence[Staging]:
    """Return everything that has a name of its own each time."""
    return tuple(
        Staging(
            what=what,
            alias=made(
                f"{prefix}{what}-{number}",
                category=category,
                targets=[Target(provider=f"{SCRIPTED}-{what}-{prefix}{number}", model=model, timeouts=SHORT)],
            ),
        )
        for category, prefix in (("llm", ""), ("embedding", "embedding-"))
        for what, model in SCRIPTS.items()
        for number in range(TIMES[category])
    )


@cache
def aliases() -> Sequence[Alias]:
    """Return all models: those that the examples of the contracts name, a scarce one, and what is staged."""
    named = {name: made(name, category=category) for name, category in _named().items()}
    scarce = attrs.evolve(made(SCARCE), rate=rate_of(f"{SCARCE_REQUESTS}/d"))
    return (
        *named.values(),
        scarce,
        attrs.evolve(scarce, id=SCARCE_EMBEDDING, category="embedding"),
        made(GUARDED, guardrails=(GUARDRAIL.key,)),
        made(GUARDED_EMBEDDING, category="embedding", guardrails=(GUARDRAIL.key,)),
        made("tool-call", targets=[Target(provider=SCRIPTED, model="tool-call")]),
        made("parallel-tools", targets=[Target(provider=SCRIPTED, model="parallel-tools")]),
        *(made(f"leaky-{misdeed}", targets=[_leaking(misdeed)]) for misdeed in MISDEEDS),
        *(one.alias for one in stagings()),
        made(CATCH_ALL, targets=EVERY_NAME),
    )


def _leaking(misdeed: str) -> Target:
    return Target(provider=f"{LEAKY}-{misdeed}", model=f"{MODEL}-{misdeed}")


def _named() -> Mapping[str, str]:
    """Return the models that the dialects' examples name, with their categories, and those that are defaults."""
    source, found = Source(), {"general": "llm", "gpt-4": "llm"}
    for dialect in source.dialects:
        document = source.dialect(dialect)
        default = document.get("x-dragoman", {}).get("default-model")
        found |= {} if default is None else {default: "llm"}
        for route in operations(document):
            body = resolve(document, route.operation.get("requestBody", {}))
            for media in body.get("content", {}).values():
                for example in media.get("examples", {}).values():
                    model = resolve(document, example)["value"]["model"]
                    found[model] = "embedding" if route.name == "embeddings" else "llm"
    return {name: category for name, category in found.items() if not name.startswith(("fased:", "fased/", "agent:"))}


def providers(leaky: str | None) -> Sequence[Provider]:
    """Return who is behind them; *leaky* is the base URL of the upstream that tells everything, if there is one."""
    scripted = {target.provider for one in stagings() for target in one.alias.targets}
    telling = () if leaky is None else tuple(f"{LEAKY}-{misdeed}" for misdeed in MISDEEDS)
    return (
        Provider(name=ECHO, kind="echo"),
        *(Provider(name=name, kind="scripted") for name in (SCRIPTED, *sorted(scripted))),
        *(Provider(name=name, kind="openai", base_url=leaky, key=KEY_REFERENCE, private=True) for name in telling),
    )


def staged(*, leaky: bool) -> Staged:
    """Return what the judge is told of them, each name once; whether an upstream that tells everything is there."""
    telling = {f"leaky_{misdeed}": repeat(f"leaky-{misdeed}") for misdeed in MISDEEDS if leaky}
    return Staged(
        models={
            **_names("llm"),
            **telling,
            "model_not_llm": repeat("text-embedding-3-small"),
            "guardrail_block": repeat(GUARDED),
            "tool_call": repeat("tool-call"),
            "parallel_tools": repeat("parallel-tools"),
        },
        embedding_models={
            **{what: names for what, names in _names("embedding").items() if what not in IN_STREAMS},
            "model_not_embedding": repeat("general"),
            "guardrail_block": repeat(GUARDED_EMBEDDING),
        },
        blocked_text=BLOCKED_TEXT,
    )


def _names(category: str) -> dict[str, Iterator[str]]:
    own = [one for one in stagings() if one.alias.category == category]
    return {what: iter([one.alias.id for one in own if one.what == what]) for what in SCRIPTS}
