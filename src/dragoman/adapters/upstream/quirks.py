"""Where servers that speak OpenAI's API differ from it, as a table (ADR-0038).

Laws of this file:
- A quirk changes a member of the request, or what counts as the end of a stream; it is chosen in the configuration, by
  name, never guessed from a host.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Quirk:
    """One difference: *about* says it.

    Members of *dropped* are not sent. Those of *renamed* are sent under another name, unless that one is there already;
    messages of the *roles* have another one. A server that is *unsealed* ends its streams without `[DONE]`.
    """

    about: str
    dropped: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = _NOTHING
    roles: Mapping[str, str] = _NOTHING
    unsealed: bool = False


QUIRKS: Final[Mapping[str, Quirk]] = {
    "max_tokens": Quirk(
        about="knows max_completion_tokens by its older name only",
        renamed={"max_completion_tokens": "max_tokens"},
    ),
    "max_completion_tokens": Quirk(
        about="refuses the older name max_tokens, as OpenAI's reasoning models do",
        renamed={"max_tokens": "max_completion_tokens"},
    ),
    "no_developer_role": Quirk(
        about="has no role developer: those messages are sent as system",
        roles={"developer": "system"},
    ),
    "no_stream_options": Quirk(
        about="refuses stream_options; the usage of its streams is estimated, unless it sends it anyway",
        dropped=frozenset({"stream_options"}),
    ),
    "no_parallel_tool_calls": Quirk(
        about="refuses parallel_tool_calls",
        dropped=frozenset({"parallel_tool_calls"}),
    ),
    "no_storage": Quirk(
        about="refuses store and metadata",
        dropped=frozenset({"store", "metadata"}),
    ),
    "no_service_tier": Quirk(
        about="refuses service_tier",
        dropped=frozenset({"service_tier"}),
    ),
    "no_sampling": Quirk(
        about="refuses what chooses the next token, as reasoning models do",
        dropped=frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias"}),
    ),
    "no_done": Quirk(
        about="ends streams without [DONE]: one that has finished every choice counts as whole",
        unsealed=True,
    ),
}
"""Every quirk there is."""


def all_of(names: Iterable[str]) -> Quirk:
    """Return the quirks of these *names* as one."""
    quirks = [QUIRKS[name] for name in sorted(names)]
    return Quirk(
        about="; ".join(quirk.about for quirk in quirks),
        dropped=frozenset().union(*(quirk.dropped for quirk in quirks)),
        renamed={old: new for quirk in quirks for old, new in quirk.renamed.items()},
        roles={old: new for quirk in quirks for old, new in quirk.roles.items()},
        unsealed=any(quirk.unsealed for quirk in quirks),
    )


def adjusted(document: dict[str, Any], quirk: Quirk) -> dict[str, Any]:
    """Return *document*, which is the caller's own no longer, as a server with this *quirk* takes it."""
    for name in quirk.dropped:
        document.pop(name, None)
    for old, new in quirk.renamed.items():
        if old in document:
            document.setdefault(new, document.pop(old))
    if quirk.roles and isinstance(document.get("messages"), list):
        document["messages"] = [_with_role(message, quirk.roles) for message in document["messages"]]
    return document


def _with_role(message: Any, roles: Mapping[str, str]) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(message, dict) and message.get("role") in roles:
        return {**message, "role": roles[message["role"]]}
    return message
