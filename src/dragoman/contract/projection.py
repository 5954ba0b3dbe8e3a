"""Cuts a body that the gateway makes itself down to what the effective contract declares (ADR-0001.R5).

Laws of this file:
- A projection is built once from a schema; members come out in the order in which the schema declares them.
- A schema that this cannot follow is refused at start rather than let through.
"""

from collections.abc import Callable, Mapping
from typing import Any

from treaty import Document, TreatyError, resolve

Projection = Callable[[Any], Any]


def build_projection(document: Document, schema: Mapping[str, Any], *, where: str) -> Projection:
    """Return a function from a made value to what *schema* declares of it; members that are absent stay absent.

    Raises:
        TreatyError: for a schema with unions, whose members cannot be told apart here.
    """
    schema = resolve(document, schema)
    for keyword in ("oneOf", "anyOf", "allOf"):
        if keyword in schema:
            message = f"{where}: a body that the gateway makes needs a schema without {keyword!r}"
            raise TreatyError(message)
    if "properties" in schema:
        members = {
            name: build_projection(document, member, where=f"{where}.{name}")
            for name, member in schema["properties"].items()
        }
        return lambda value: {name: project(value[name]) for name, project in members.items() if name in value}
    if "items" in schema:
        item = build_projection(document, schema["items"], where=f"{where}[]")
        return lambda value: [item(one) for one in value]
    return lambda value: value
