"""The words of a chat completion, whole and streamed, as the contract declares them.

Laws of this file:
- Everything here is a table. What stands in none of them never reaches a client.
"""

from collections.abc import Mapping
from typing import Any, Final

from dragoman.translate.grammar import GrammarError, Reason, reject
from dragoman.translate.shapes import COUNT, NUMBER, TEXT, TEXT_OR_NULL, Each, Members, Shape, fitted, text_of

CHOICES: Final = 128
"""The most answers that one request may ask for (`n`), so that no index is larger."""

SERVICE_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
"""OpenAI's words. Another one would tell who answers."""

FINISHED: Final[Mapping[str, str]] = {
    # OpenAI's own
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "function_call",
    # The model has ended by itself, or at a text that it was to end at
    "complete": "stop",
    "completed": "stop",
    "end": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    # There was no room for more; vLLM ends an answer that goes round in circles with `repetition`
    "max_length": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "model_length": "length",
    "repetition": "length",
    # It waits for tools
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    # It was kept from going on
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
}
"""What upstreams call the end of an answer, in small letters, and what it is called here."""

FAILED: Final = frozenset({"abort", "aborted", "cancelled", "error", "insufficient_system_resource", "network_error"})
"""What they call one that has not come to its end."""


def finish_reason(stated: object) -> str | None:
    """Return the finish reason that an upstream has *stated*; None where the answer goes on.

    Raises:
        GrammarError: FAILED where it says that it has failed, GARBLED for a word that nobody here knows. Either way
            an answer that may be half of one never looks whole.
    """
    if stated is None or stated == "":
        return None
    word = text_of(stated, "finish reason").lower()
    if word in FAILED:
        reject("finish reason", Reason.FAILED)
    return FINISHED[word] if word in FINISHED else reject("finish reason")


def require_no_error(document: Mapping[str, object]) -> None:
    """Raise `GrammarError` where a *document* says that the upstream has failed.

    Most send `{"error": ...}`, SGLang an object of the type `error`.
    """
    if document.get("error") is not None or document.get("object") == "error":
        reject("an error in place of an answer", Reason.FAILED)


_ALTERNATIVE: Final = Members(needs={"token": TEXT, "logprob": NUMBER}, unsaid={"bytes": Each(of=COUNT, nullable=True)})
_TOKEN: Final = Members(
    needs=_ALTERNATIVE.needs, unsaid=_ALTERNATIVE.unsaid, has={"top_logprobs": Each(of=_ALTERNATIVE)}
)
_TOKENS: Final = Each(of=_TOKEN, nullable=True)

LOGPROBS: Final = Members(unsaid={"content": _TOKENS}, has={"refusal": _TOKENS}, nullable=True)
"""How likely the tokens of a choice were."""

_CITATION: Final = Members(
    needs={"url_citation": Members(needs={"start_index": COUNT, "end_index": COUNT, "url": TEXT, "title": TEXT})}
)


_RECORDING: Final[Mapping[str, Shape]] = {"id": TEXT, "expires_at": COUNT, "data": TEXT, "transcript": TEXT}

DELTA: Final = Members(
    has={
        "content": TEXT_OR_NULL,
        "refusal": TEXT_OR_NULL,
        "audio": Members(has=_RECORDING, nullable=True),
    }
)
"""What may be said of a message piece by piece, calls and citations apart."""

MESSAGE: Final = Members(
    unsaid={"content": TEXT_OR_NULL},
    has={
        "refusal": TEXT_OR_NULL,
        "audio": Members(needs=_RECORDING, nullable=True),
    },
)
"""What may be said of a whole message, calls and citations apart."""


def citations_of(stated: object) -> list[Any] | None:
    """Return those of the *stated* annotations that the contract has a form for; None where that is no list.

    They are beside the answer: one of another form is no reason to lose it.
    """
    if type(stated) is not list:
        return None
    citations = []
    for one in stated:
        try:
            citations.append({"type": "url_citation", **fitted(one, _CITATION, what="citation")})
        except GrammarError:
            continue
    return citations
