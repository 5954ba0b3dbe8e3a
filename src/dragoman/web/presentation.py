"""How an answer leaves: the contract's status, headers and body, filled for one request.

Laws of this file:
- A header is sent because the contract states it, with its constant or from one of `_SOURCES`; there is no other way.
- A new header with a constant value is one line of the contract. A new computed one is one entry of `_SOURCES` as well.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs
import orjson

from dragoman.contract import Answer
from dragoman.errors import Refusal
from dragoman.web.context import RequestContext

JSON: Final = "application/json"


@attrs.frozen(kw_only=True)
class Presented:
    """An answer, ready to be sent. *body* is None where there is none; header names are in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes | None
    media_type: str = JSON


@attrs.frozen(kw_only=True)
class _Subject:
    """What a header may be computed from."""

    context: RequestContext
    allow: Sequence[str]


_SOURCES: Final[Mapping[str, Callable[[_Subject], str | None]]] = {
    "request_id": lambda subject: subject.context.request_id,
    "trace_id": lambda subject: subject.context.event.trace_id,
    "response_time": lambda subject: f"{subject.context.elapsed_ms():.3f}",
    "allow": lambda subject: ", ".join(subject.allow),
    # ADR-0010.R4: what was not read must not be taken for the next request.
    "connection": lambda subject: "close" if subject.context.body_pending else None,
}


def present(answer: Answer, context: RequestContext, *, body: bytes | None, allow: Sequence[str] = ()) -> Presented:
    """Return *answer* with its headers filled; *allow* lists the methods of the path."""
    subject = _Subject(context=context, allow=allow)
    headers = []
    for rule in answer.headers:
        value = rule.constant if rule.source is None else _SOURCES[rule.source](subject)
        if value is not None:
            headers.append((rule.name, value))
    return Presented(status=answer.status, headers=headers, body=body)


def present_refusal(
    refusal: Refusal, answer: Answer, context: RequestContext, *, allow: Sequence[str] = ()
) -> Presented:
    """Return the answer to a *refusal*, with the body that the contract gives its kind."""
    context.event.refusal = refusal.kind.value
    arguments = {
        **refusal.arguments,
        "request_id": context.request_id,
        "now": timestamp(context.sources.now()),
    }
    body = None if answer.body is None else orjson.dumps(answer.body.fill(arguments))
    return present(answer, context, body=body, allow=allow)


def timestamp(moment: datetime) -> str:
    """Return *moment* as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
