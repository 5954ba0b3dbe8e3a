"""Rows: statements of a system's text, each with a request and its answer, or a place in the document (ADR-0028).

Laws of this file:
- What a row may say is listed in `systems/README.md`; anything else is refused.
- Members of a body are compared with their order.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import jsonschema_rs

from gateway_conformance.exchange import Request
from gateway_conformance.frames import transcript
from gateway_conformance.lines import Response
from treaty import Document, load, operations, resolve

JSON: Final = "application/json"
STREAM: Final = "text/event-stream"
_MEMBERS: Final = frozenset(
    {
        "lines",
        "says",
        "off",
        "limits",
        "times",
        "request",
        "expect",
        "phase2",
        "document",
        "body",
        "events",
        "valid",
        "schema",
        "informative",
    }
)
_KINDS: Final = ("request", "document", "informative")


@attrs.frozen(kw_only=True)
class Row:
    """One statement: *first* and *last* line of the text, what it *says*, and the row as it is written."""

    first: int
    last: int
    says: str
    stated: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Which of `request`, `document` and `informative` it is."""
        return next(kind for kind in _KINDS if kind in self.stated)

    @property
    def off(self) -> frozenset[str]:
        """The operations that are switched off for it."""
        return frozenset(self.stated.get("off", ()))

    @property
    def limits(self) -> Mapping[str, str] | None:
        """The limits that it needs, by scope, or None where it needs none in particular."""
        limits: Mapping[str, str] | None = self.stated.get("limits")
        return limits

    def expected(self, phase: int) -> Mapping[str, Any] | None:
        """Return what its request is answered in *phase*; None where the row says nothing of it."""
        expected: Mapping[str, Any] | None = self.stated.get("expect")
        return self.stated.get("phase2", expected) if phase == 2 else expected

    @property
    def times(self) -> int:
        """How often its request is sent; the last answer is the one that counts."""
        times: int = self.stated.get("times", 1)
        return times

    def bodies(self) -> Iterator[Any]:
        """Yield every JSON value that the row holds as a body or an event."""
        yield from (self.stated.get(name, {}).get("body") for name in ("request", "expect", "phase2"))
        yield self.stated.get("body")
        yield from self.stated.get("events", ())
        yield from self.stated.get("phase2", {}).get("events", ())


def read_rows(path: Path) -> tuple[str, list[Row]]:
    """Return the file name of the text, and the rows of the file at *path*.

    Raises:
        ValueError: a row has a member that is not known, or is not of exactly one kind.
    """
    document = load(path)
    rows = []
    for stated in document["rows"]:
        unknown = set(stated) - _MEMBERS
        if unknown or sum(kind in stated for kind in _KINDS) != 1:
            message = f"{path}: {stated.get('says')!r}: unknown {sorted(unknown)}, or not exactly one of {_KINDS}"
            raise ValueError(message)
        first, last = stated["lines"]
        rows.append(Row(first=first, last=last, says=stated["says"], stated=stated))
    return document["text"], rows


def request_of(row: Row, names: Mapping[str, str]) -> Request:
    """Return the request of a row, with *names* in place of `${NAME}`."""
    stated = row.stated["request"]
    if "text" in stated:
        body = stated["text"].encode()
    elif "body" in stated:
        body = json.dumps(_expanded(stated["body"]), ensure_ascii=False, separators=(",", ":")).encode()
    else:
        body = b""
    headers = tuple((name, _named(value, names)) for name, value in stated.get("headers", {}).items())
    return Request(method=stated["method"], path=_named(stated["path"], names), headers=headers, body=body)


def differences(expected: Mapping[str, Any], response: Response) -> list[str]:
    """Return what of *response* is not as it is *expected*."""
    found = [] if response.status == expected["status"] else [f"status {response.status}, not {expected['status']}"]
    for name, value in expected.get("headers", {}).items():
        if not matches(value, response.header(name)):
            found.append(f"{name}: {response.header(name)!r}, not {value!r}")
    if "body" in expected and not matches(expected["body"], response.json()):
        found.append(f"body {response.body.decode('utf-8', 'replace')}, not {json.dumps(expected['body'])}")
    if "events" in expected:
        events = [_payload(event.data) for event in transcript(response.body).events]
        if not matches(expected["events"], events):
            found.append(f"events {json.dumps(events)}, not {json.dumps(expected['events'])}")
    return found


def _payload(data: str) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data


def misfits(row: Row, document: Document) -> list[str]:
    """Return what of the place in *document* is not as the row says."""
    place = row.stated["document"]
    operation = next(
        one.operation for one in operations(document) if one.operation["operationId"] == place["operation"]
    )
    holder = resolve(
        document, operation["responses"][place["status"]] if "status" in place else operation["requestBody"]
    )
    content = holder["content"]
    if "schema" in row.stated:
        expected = {"$ref": f"#/components/schemas/{row.stated['schema']}"}
        return [] if content[JSON]["schema"] == expected else [f"schema {content[JSON]['schema']}"]
    if "example" in place:
        examples = {name: one for media in content.values() for name, one in media.get("examples", {}).items()}
        value = resolve(document, examples[place["example"]])["value"]
        return [] if matches(row.stated["body"], value) else [f"example {json.dumps(value)}"]
    if "events" in row.stated:
        judged = [_event_fits(document, content[STREAM]["itemSchema"], event) for event in row.stated["events"]]
    else:
        judged = [_fits(document, content[JSON]["schema"], row.stated["body"])]
    return [f"valid is {one}" for one in judged if one is not row.stated["valid"]]


def matches(expected: object, actual: object) -> bool:
    """Whether *actual* is as *expected*, members in order; `{pattern: ...}` stands for a text or a number."""
    match expected:
        case {"pattern": str(pattern), **rest} if not rest:
            text = actual if isinstance(actual, str) else json.dumps(actual)
            return isinstance(actual, str | int | float) and re.fullmatch(pattern, text) is not None
        case dict():
            same_members = isinstance(actual, dict) and list(expected) == list(actual)
            return same_members and all(matches(value, actual[name]) for name, value in expected.items())  # type: ignore[index]
        case list():
            if not isinstance(actual, list) or len(expected) != len(actual):
                return False
            return all(matches(one, other) for one, other in zip(expected, actual, strict=True))
        case _:
            return type(expected) is type(actual) and expected == actual


def json_blocks(text: str) -> Iterator[Any]:
    """Yield every JSON object that stands in *text*, the outermost ones only.

    Comments to the end of a line are no part of it, and neither are the headers in an example of a program.
    """
    clean = re.sub(r"//[^\n\"]*$|\bheaders=.*$", "", text, flags=re.MULTILINE)
    decoder, at = json.JSONDecoder(), clean.find("{")
    while at >= 0:
        try:
            block, end = decoder.raw_decode(clean, at)
        except ValueError:
            at = clean.find("{", at + 1)
        else:
            yield block
            at = clean.find("{", end)


def _named(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: names[found[1]], text)


def _expanded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    match value:
        case {"repeat": str(text), "times": int(times), **rest} if not rest:
            return text * times
        case {"repeat": item, "times": int(times), **rest} if not rest:
            return [_expanded(item)] * times
        case dict():
            return {name: _expanded(member) for name, member in value.items()}
        case list():
            return [_expanded(item) for item in value]
        case _:
            return value


def _fits(document: Document, schema: Mapping[str, Any], value: object) -> bool:
    root = {"allOf": [schema], "components": {"schemas": document["components"]["schemas"]}}
    return jsonschema_rs.Draft202012Validator(root, validate_formats=True).is_valid(value)


def _event_fits(document: Document, schema: Mapping[str, Any], payload: object) -> bool:
    """Whether the event with *payload* fits; validators do not look into `contentSchema`, so this does."""
    item = resolve(document, schema)
    text = payload if isinstance(payload, str) else json.dumps(payload)
    if not _fits(document, item, {"data": text}):
        return False
    branches = [branch["properties"]["data"] for branch in item.get("oneOf", [item])]
    inner = [data["contentSchema"] for data in branches if "contentSchema" in data]
    return isinstance(payload, str) or all(_fits(document, one, payload) for one in inner)
