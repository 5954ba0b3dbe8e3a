"""How an answer leaves: the contract's status, headers and body, filled for one request.

Laws of this file:
- A header is sent because the contract states it, with its constant or from one of `_values`; there is no other way.
- A new header with a constant value is one line of the contract. A new computed one is one entry of `_values` as well.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import orjson

from dragoman.contract import Answer
from dragoman.errors import Refusal
from dragoman.gate.limits import tightest
from dragoman.model import SECOND, Quota
from dragoman.web.context import JSON, Events, Presented, RequestContext

EVENT_STREAM: Final = "text/event-stream"

_STREAMING: Final[dict[str, str]] = {"stream_cache": "no-cache", "stream_buffering": "no"}
"""What the headers of streams say; they keep proxies from holding events back."""


def _values(
    context: RequestContext, quota: Quota | None, allow: Sequence[str], retry_after: int | None
) -> dict[str, str]:
    """Return what headers are filled from, by the name of the source; what is not there now has no entry."""
    values = {
        "request_id": context.request_id,
        "trace_id": context.event.trace_id,
        "response_time": f"{context.elapsed_ms():.3f}",
        "allow": ", ".join(allow),
    }
    if context.body_pending or context.closing:
        # ADR-0010.R4: what was not read must not be taken for the next request.
        values["connection"] = "close"
    if retry_after is not None:
        values["retry_after"] = str(retry_after)
    if quota is not None:
        values["ratelimit_limit"] = str(quota.rate.burst)
        values["ratelimit_remaining"] = str(quota.remaining)
        values["ratelimit_reset"] = duration(quota.reset)
        values["ratelimit"] = _ratelimit(quota)
        values["ratelimit_policy"] = _policy(quota)
    tokens = tightest(context.met_tokens)
    if tokens is not None:
        values["ratelimit_limit_tokens"] = str(tokens.rate.burst)
        values["ratelimit_remaining_tokens"] = str(tokens.remaining)
        values["ratelimit_reset_tokens"] = duration(tokens.reset)
    return values


def _ratelimit(quota: Quota) -> str:
    return f'"{quota.scope}";r={quota.remaining};t={-(-quota.reset // SECOND)}'


def _policy(quota: Quota) -> str:
    """Return the bucket as a window: so many requests at once, and so many seconds until it is full again."""
    return f'"{quota.scope}";q={quota.rate.burst};w={quota.rate.window}'


def duration(nanoseconds: int) -> str:
    """Return a duration as OpenAI writes it in `x-ratelimit-reset-requests`, rounded up to milliseconds: 12ms, 6m0s."""
    milliseconds = -(-nanoseconds // 1_000_000)
    if milliseconds < 1000:  # noqa: PLR2004 - a second has 1000 milliseconds
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{seconds}s"


def present(  # noqa: PLR0913 - what an answer is made from
    answer: Answer,
    context: RequestContext,
    *,
    body: bytes | None,
    allow: Sequence[str] = (),
    retry_after: int | None = None,
    events: Events | None = None,
) -> Presented:
    """Return *answer* with its headers filled; *allow* lists the methods of the path, *retry_after* is in seconds.

    One that is made while it goes out has *events* in place of a body.
    """
    values = _values(context, tightest(context.met), allow, retry_after)
    if events is not None:
        values |= _STREAMING
    headers = [
        (name, constant if source is None else values[source].encode("ascii"))
        for name, constant, source in answer.lines
        if source is None or source in values
    ]
    media_type = JSON if events is None else EVENT_STREAM
    return Presented(status=answer.status, headers=headers, body=body, media_type=media_type, events=events)


def present_refusal(
    refusal: Refusal, answer: Answer, context: RequestContext, *, allow: Sequence[str] = ()
) -> Presented:
    """Return the answer to a *refusal*, with the body that the contract gives its kind."""
    context.event.refusal = refusal.kind.value
    body, template = None, answer.body
    if template is not None:
        arguments = {**refusal.arguments, "request_id": context.request_id}
        if "now" in template.arguments:
            arguments["now"] = timestamp(context.sources.now())
        body = orjson.dumps(template.fill(arguments))
    return present(answer, context, body=body, allow=allow, retry_after=refusal.arguments.get("retry_after"))


def timestamp(moment: datetime) -> str:
    """Return *moment* as RFC 3339 in UTC with milliseconds."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"
