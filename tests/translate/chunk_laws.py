"""The grammar of a chat stream told a second time: what anybody may find out from the chunks that went out.

Laws of this file:
- It shares no code with what it judges, and reads the forms from the contract.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, TypedDict

import jsonschema_rs
import yaml

CONTRACT: Final = Path(__file__).parents[2] / "openapi" / "gateway.yaml"


class Envelope(TypedDict):
    """What a gateway writes on an answer."""

    id: str
    created: int
    model: str


ENVELOPE: Final[Envelope] = {"id": "chatcmpl-own", "created": 1_800_000_000, "model": "general"}
"""What every stream and completion of these tests is given for its own."""


@cache
def schemas() -> dict[str, Any]:
    """Return the schemas of the canonical contract."""
    document: dict[str, Any] = yaml.safe_load(CONTRACT.read_text())["components"]["schemas"]
    return document


@cache
def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Return what judges a document by the schema *name*."""
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas()}}
    )


def undeclared(document: object, schema: Mapping[str, Any], where: str = "$") -> Iterator[str]:
    """Yield the places of members of *document* that *schema* does not declare."""
    while "$ref" in schema:
        schema = schemas()[schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema or "anyOf" in schema:
        branches = [list(undeclared(document, one, where)) for one in schema.get("oneOf", schema.get("anyOf"))]
        yield from min(branches, key=len)
    elif isinstance(document, dict) and "properties" in schema:
        for name, value in document.items():
            if name in schema["properties"]:
                yield from undeclared(value, schema["properties"][name], f"{where}.{name}")
            else:
                yield f"{where}.{name}"
    elif isinstance(document, list) and "items" in schema:
        for place, one in enumerate(document):
            yield from undeclared(one, schema["items"], f"{where}[{place}]")


def form_errors(document: object, name: str) -> list[str]:
    """Return what is wrong with the form of *document*, which the schema *name* declares."""
    errors = [str(error) for error in validator(name).iter_errors(document)]
    return errors + [f"undeclared: {place}" for place in undeclared(document, schemas()[name])]


def broken_laws(chunks: Sequence[Mapping[str, Any]], *, include_usage: bool, ended: bool = True) -> list[str]:
    """Return the laws that *chunks* break, in order; with *ended* the stream has come to its end."""
    errors: list[str] = []
    for chunk in chunks:
        errors += form_errors(chunk, "ChatCompletionChunk")
        errors += [f"{name} is not ours" for name, value in ENVELOPE.items() if chunk[name] != value]
    errors += list(_broken_usage(chunks, include_usage=include_usage, ended=ended))
    indexes = {choice["index"] for chunk in chunks for choice in chunk["choices"]}
    for index in indexes:
        pieces = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
        errors += [f"choice {index}: {law}" for law in _broken_choice(pieces, ended=ended)]
    if ended and not indexes:
        errors.append("there is no choice")
    return errors


def _broken_usage(chunks: Sequence[Mapping[str, Any]], *, include_usage: bool, ended: bool) -> Iterator[str]:
    if not include_usage:
        if any("usage" in chunk for chunk in chunks):
            yield "usage was not asked for"
        if any(chunk["choices"] == [] for chunk in chunks):
            yield "a chunk says nothing"
        return
    *others, last = [*chunks] if ended else [*chunks, None]
    if any(chunk.get("usage", 0) is not None or chunk["choices"] == [] for chunk in others if chunk is not None):
        yield "usage is null and choices are not empty in all chunks but the last"
    if last is not None and (not isinstance(last.get("usage"), dict) or last["choices"] != []):
        yield "the last chunk has the usage and no choices"


def _broken_choice(pieces: Sequence[Mapping[str, Any]], *, ended: bool) -> Iterator[str]:
    roles = [piece["delta"].get("role") for piece in pieces]
    if roles[0] != "assistant" or any(role is not None for role in roles[1:]):
        yield "the first delta, and no other, says that the assistant speaks"
    reasons = [piece["finish_reason"] for piece in pieces]
    if any(reason is not None for reason in reasons[:-1]) or (ended and reasons[-1] is None):
        yield "the last piece, and no other, has a finish reason"
    begun: dict[int, str] = {}
    for fragment in (one for piece in pieces for one in piece["delta"].get("tool_calls", ())):
        index = fragment["index"]
        if index not in begun:
            if index != len(begun):
                yield "calls are numbered as they begin"
            if not (fragment.get("id") and fragment.get("type") and fragment.get(fragment["type"], {}).get("name")):
                yield "the first fragment of a call has id, type and name"
            begun[index] = fragment.get("type", "")
        elif fragment.keys() != {"index", begun[index]} or len(fragment[begun[index]]) != 1:
            yield "a later fragment of a call has only text"
    functions = [piece["delta"]["function_call"] for piece in pieces if "function_call" in piece["delta"]]
    if any(("name" in one) != (place == 0) for place, one in enumerate(functions)):
        yield "the first piece of the function call, and no other, has its name"


def put_together(chunks: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return choice -> what its pieces say when they are put together by hand: texts, calls, finish reason."""
    told: dict[int, dict[str, Any]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        known = told.setdefault(choice["index"], {"content": "", "refusal": "", "calls": {}, "reason": None})
        for name in ("content", "refusal"):
            known[name] += choice["delta"].get(name) or ""
        for fragment in choice["delta"].get("tool_calls", ()):
            call = known["calls"].setdefault(fragment["index"], ["", "", ""])
            body = fragment.get("function") or fragment.get("custom")
            call[0] += fragment.get("id", "")
            call[1] += body.get("name", "")
            call[2] += body.get("arguments", "") + body.get("input", "")
        known["reason"] = choice["finish_reason"] or known["reason"]
    return told
