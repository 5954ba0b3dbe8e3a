"""Derive the OpenAPI 3.1 document from which clients are generated (ADR-0003).

It holds both phases, so that a client generated in Phase 1 works unchanged in Phase 2, and nothing
that 3.1 does not know. The rest is what openapi-python-client 0.29 needs in order to leave nothing
out: `application/json` first, for it takes the first; no event stream, which it would parse as
JSON, nor any other sequence; no boolean schema, at which it stops, `additionalProperties` apart,
where it expects one; an array that says what it holds; no component that may be null, the
reference may instead; and headers without a `format`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from treaty.document import pointer
from treaty.reference import pruned, resolve
from treaty.shape import is_reference, member, rebuild

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from treaty.document import Document, Node

_VERSION: Final = "3.1.0"
_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"

# What 3.2.0 added (its appendix of changes; every object of section 4 compared with 3.1.1).
_NEWER: Final[Mapping[str, frozenset[str]]] = {
    "openapi": frozenset({"$self"}),
    "server": frozenset({"name"}),
    "components": frozenset({"mediaTypes"}),
    "pathItem": frozenset({"query", "additionalOperations"}),
    "mediaType": frozenset({"itemSchema", "prefixEncoding", "itemEncoding"}),
    "encoding": frozenset({"encoding", "prefixEncoding", "itemEncoding"}),
    "response": frozenset({"summary"}),
    "example": frozenset({"dataValue", "serializedValue"}),
    "tag": frozenset({"summary", "parent", "kind"}),
    "discriminator": frozenset({"defaultMapping"}),
    "xml": frozenset({"nodeType"}),
    "securityScheme": frozenset({"oauth2MetadataUrl", "deprecated"}),
    "flows": frozenset({"deviceAuthorization"}),
}


def sdk(document: Document) -> Document:
    """Return the 3.1 document for *document*, a contract for which no phase has been chosen."""
    schemas = document.get("components", {}).get("schemas", {})
    nullable = {pointer("components", "schemas", name): name for name in schemas if _is_nullable(schemas[name])}
    older = _Derivation(document=document, nullable=nullable).older(document, "openapi")
    for name in nullable.values():
        words = [word for word in schemas[name]["type"] if word != "null"]
        older["components"]["schemas"][name]["type"] = words[0] if len(words) == 1 else words
    return pruned(older | {"openapi": _VERSION})


def _is_nullable(schema: Node) -> bool:
    """Whether the schema says of itself that it is an object or null."""
    types = schema.get("type") if isinstance(schema, dict) else None
    return isinstance(types, list) and {"object", "null"} <= set(types)


@attrs.frozen(kw_only=True)
class _Derivation:
    """Copies objects into 3.1; `nullable` are the schemas whose null moves to their references."""

    document: Document
    nullable: Container[str]

    def older(self, node: Node, kind: str) -> Node:
        """Return the copy of *node*; None when 3.1 has no such thing."""
        if kind == "schema":
            return self._schema(node)
        if kind == "parameter" and resolve(self.document, node).get("in") == "querystring":
            return None
        if kind == "mediaType":
            node = resolve(self.document, node)  # 3.1 has no components to refer to
            if "itemSchema" in node:
                return None
        if is_reference(node, kind=kind):
            return node
        return rebuild(_older_members(node, kind=kind), kind=kind, change=self.older)

    def _schema(self, node: Node) -> Document:
        if isinstance(node, bool):
            return {} if node else {"not": {}}
        copy = rebuild(_older_members(node, kind="schema"), kind="schema", change=self.older)
        if isinstance(node.get("additionalProperties"), bool):
            copy["additionalProperties"] = node["additionalProperties"]
        if "array" in (copy["type"] if isinstance(copy.get("type"), list) else [copy.get("type")]):
            copy.setdefault("items", {})
        if copy.get("$ref") in self.nullable:
            union = [{"$ref": copy.pop("$ref")}, {"type": "null"}]
            if "anyOf" in copy:
                copy["allOf"] = [*copy.get("allOf", []), {"anyOf": union}]
            else:
                copy["anyOf"] = union
        return copy


def _older_members(node: Document, *, kind: str) -> Document:
    """Return the members of *node* that 3.1 knows, or has another word for."""
    newer = _NEWER.get(kind, frozenset())
    older = {
        name: value
        for name, value in node.items()
        if name not in newer and (not name.startswith("x-") or member(name, kind=kind))
    }
    if kind == "parameter" and node["in"] != "query":
        older.pop("allowReserved", None)
    if kind == "parameter" and node["in"] == "header":
        # The generator hands a UUID to its HTTP client as it is, which takes texts only.
        older["schema"] = {name: value for name, value in node.get("schema", {}).items() if name != "format"}
    if kind == "example" and "dataValue" in node:
        older["value"] = node["dataValue"]
    if kind == "response":
        older.setdefault("description", node.get("summary", ""))
    if kind in {"response", "requestBody"} and "content" in node:
        older["content"] = _whole_bodies(node["content"])
    return older


def _whole_bodies(content: Document) -> Document:
    """Return the media types of bodies that come whole, the one of JSON first."""
    names = sorted(content, key=lambda name: name != _JSON)
    return {name: content[name] for name in names if name != _STREAM}
