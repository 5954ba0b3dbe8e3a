"""Refusals as the contract words them: kind -> status, body and headers.

Laws of this file:
- Status, members, order and sentences come from the document (ADR-0004); nothing here knows a dialect.
- What per-request members may be filled from is checked once, at start.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from dragoman.errors import Kind, arguments_of
from treaty import Document, Template, TreatyError, resolve

HEADER_SOURCES: Final = frozenset(
    {
        "request_id",
        "trace_id",
        "response_time",
        "allow",
        "connection",
        "retry_after",
        "ratelimit_limit",
        "ratelimit_remaining",
        "ratelimit_reset",
        "ratelimit",
        "ratelimit_policy",
        "stream_cache",
        "stream_buffering",
        "ratelimit_limit_tokens",
        "ratelimit_remaining_tokens",
        "ratelimit_reset_tokens",
    }
)
"""What a response header may be computed from (ADR-0004)."""


@attrs.frozen(kw_only=True)
class HeaderRule:
    """One response header: either *constant*, or computed per answer from *source*; *required* ones never lack."""

    name: str
    constant: str | None = None
    source: str | None = None
    required: bool = False


@attrs.frozen(kw_only=True)
class Answer:
    """How one answer looks: its status and headers, and for a refusal the template of its body."""

    status: int
    headers: tuple[HeaderRule, ...]
    body: Template | None = None
    lines: tuple[tuple[bytes, bytes, str | None], ...] = attrs.field(init=False, eq=False, repr=False)
    """Its headers as they go over the wire: name, constant value, and where another one comes from."""

    @lines.default
    def _lines(self) -> tuple[tuple[bytes, bytes, str | None], ...]:
        return tuple(
            (rule.name.encode("ascii"), (rule.constant or "").encode("ascii"), rule.source) for rule in self.headers
        )


Refusals = Mapping[Kind, Answer]
"""The refusals that one operation, or one mount outside its operations, may give."""


def read_headers(document: Document, response: Mapping[str, Any], *, where: str) -> tuple[HeaderRule, ...]:
    """Return the header rules of a *response* object.

    Raises:
        TreatyError: for a required header that has neither a constant nor a known source.
    """
    rules = []
    for name, stated in response.get("headers", {}).items():
        header = resolve(document, stated)
        source = header.get("x-fill")
        constant = header.get("schema", {}).get("const")
        if source is not None and source not in HEADER_SOURCES:
            message = (
                f"{where}: header {name}: unknown x-fill {source!r}; known are {', '.join(sorted(HEADER_SOURCES))}"
            )
            raise TreatyError(message)
        if source is None and not isinstance(constant, str):
            message = f"{where}: header {name} needs a string `const` in its schema, or `x-fill`, to be sent"
            raise TreatyError(message)
        required = header.get("required", False)
        rules.append(HeaderRule(name=name.lower(), constant=constant, source=source, required=required))
    return tuple(rules)


def read_refusals(document: Document, responses: Mapping[str, Any], *, where: str) -> Refusals:
    """Return the refusals among *responses* (status -> response object or reference).

    Raises:
        TreatyError: for an unknown kind, one listed twice, or a member filled from what its kind does not know.
    """
    table: dict[Kind, Answer] = {}
    for status, stated in responses.items():
        response = resolve(document, stated)
        headers = read_headers(document, response, where=f"{where}, response {status}")
        for name, example in _kinds(document, response):
            kind = _kind(name, where)
            _require_retry(kind, headers, where=f"{where}, response {status}")
            if kind in table:
                message = f"{where}: kind {name!r} is listed under {table[kind].status} and {status}; list it once"
                raise TreatyError(message)
            table[kind] = Answer(status=int(status), headers=headers, body=_template(kind, example, where))
    return table


def read_anywhere(document: Document) -> tuple[Refusals, Mapping[int, Answer]]:
    """Return the refusals outside any operation, and the answers outside any operation that have no body, by status."""
    table: dict[Kind, Answer] = {}
    bodiless: dict[int, Answer] = {}
    for name, response in document.get("components", {}).get("responses", {}).items():
        status = response.get("x-anywhere")
        if status is None:
            continue
        if "content" in response:
            table |= read_refusals(document, {str(status): response}, where=f"components/responses/{name}")
        else:
            headers = read_headers(document, response, where=f"components/responses/{name}")
            bodiless[status] = Answer(status=status, headers=headers)
    return table, bodiless


def _kinds(document: Document, response: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for media in response.get("content", {}).values():
        for name, stated in media.get("examples", {}).items():
            example = resolve(document, stated)
            if "x-fill" in example:
                yield name, example


def _kind(name: str, where: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        message = f"{where}: example {name!r} has x-fill but is no kind of refusal that the gateway knows"
        raise TreatyError(message) from None


def _require_retry(kind: Kind, headers: tuple[HeaderRule, ...], *, where: str) -> None:
    """Refuse a promise to say when to come back for a *kind* of which nobody knows."""
    promised = any(rule.required and rule.source == "retry_after" for rule in headers)
    if promised and "retry_after" not in arguments_of(kind):
        message = f"{where}: Retry-After is required, but nobody knows when to repeat what was {kind.value}"
        raise TreatyError(message)


def _template(kind: Kind, example: Mapping[str, Any], where: str) -> Template:
    template = Template.compile(example["value"], example["x-fill"])
    unknown = template.arguments - arguments_of(kind)
    if unknown:
        message = (
            f"{where}: example {kind.value!r} fills from {', '.join(sorted(unknown))}; "
            f"known are {', '.join(sorted(arguments_of(kind)))}"
        )
        raise TreatyError(message)
    return template
