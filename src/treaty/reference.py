"""What a document's references lead to: resolved objects, operations, and what is used at all.

Only references within the document (`#/...`) are followed: a contract is one file.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import attrs

from treaty.document import Document, Node, clone, hint, pointer, steps
from treaty.errors import TreatyError
from treaty.shape import GROUPS, METHODS, Place, walk

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(kw_only=True)
class Route:
    """One operation and where it is served.

    `method` is the upper-case HTTP method, `pointer` the place in the document, `operation` the
    document's own object, and `parameters` are those of the path and of the operation, resolved,
    the operation's winning over the path's of the same name and place.
    """

    path: str
    method: str
    pointer: str
    operation: Document
    parameters: tuple[Document, ...]

    @property
    def name(self) -> str | None:
        """The `x-operation`: the handler and the flag that serve this path."""
        return self.operation.get("x-operation")


@attrs.frozen(kw_only=True)
class Reference:
    """A mention of another object: where it stands, the kind it wants, and the target's pointer."""

    at: str
    kind: str
    target: str


def resolve(document: Document, node: Node) -> Node:
    """Return *node*, or what its `$ref` leads to, however many references that takes.

    What stands beside the `$ref` is not looked at.

    Raises:
        TreatyError: the reference leaves the document, leads nowhere, or leads to itself.
    """
    *_, last = referred(document, node)
    return last


def referred(document: Document, node: Node) -> Iterator[Node]:
    """Yield *node*, and each that its `$ref` leads to, the last of which refers to no other.

    Raises:
        TreatyError: see `resolve`.
    """
    seen: list[str] = []
    yield node
    while isinstance(node, dict) and isinstance(node.get("$ref"), str):
        reference = node["$ref"]
        if reference in seen:
            message = f"$ref {reference!r} leads back to itself; break the circle"
            raise TreatyError(message)
        seen.append(reference)
        node = _target(document, reference)
        yield node


def _target(document: Document, reference: str) -> Node:
    if not (reference == "#" or reference.startswith("#/")):
        message = f"$ref {reference!r} leaves the document; write it as '#/components/...'"
        raise TreatyError(message)
    node: Node = document
    for step in steps(reference):
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            known = node if isinstance(node, dict) else ()
            message = f"$ref {reference!r} leads nowhere at {step!r}{hint(step, known)}"
            raise TreatyError(message)
    return node


def operations(document: Document) -> Iterator[Route]:
    """Yield every operation of `paths`, in the order of the document.

    Raises:
        TreatyError: a path item or a parameter is a reference that leads nowhere.
    """
    for path, path_item in document.get("paths", {}).items():
        if path.startswith("x-"):
            continue
        item = resolve(document, path_item)
        shared = item.get("parameters", [])
        for method, at, operation in _methods(item, at=pointer("paths", path)):
            own = operation.get("parameters", [])
            resolved = [resolve(document, parameter) for parameter in (*shared, *own)]
            merged = {(entry.get("name"), entry.get("in")): entry for entry in resolved}
            yield Route(
                path=path,
                method=method,
                pointer=at,
                operation=operation,
                parameters=tuple(merged.values()),
            )


def _methods(item: Document, *, at: str) -> Iterator[tuple[str, str, Document]]:
    """Yield upper-case method, pointer and operation of each operation in the path item."""
    for name, value in item.items():
        if name in METHODS:
            yield name.upper(), f"{at}/{name}", value
        elif name == "additionalOperations":
            for method, operation in value.items():
                yield method, f"{at}/additionalOperations/{method}", operation


def references(node: Node, *, kind: str = "openapi", at: str = "#") -> Iterator[Reference]:
    """Yield every local or foreign reference in *node* and below, without following any.

    Beside `$ref` these are the schemas of a discriminator's mapping and the security schemes that
    a `security` requirement names.
    """
    for place in walk(node, kind=kind, at=at):
        if not isinstance(place.node, dict):
            continue
        if place.is_reference or place.kind in {"schema", "pathItem"}:
            if "$ref" in place.node:
                yield Reference(at=place.pointer, kind=place.kind, target=str(place.node["$ref"]))
        elif place.kind == "discriminator":
            mapped = [*place.node.get("mapping", {}).values(), place.node.get("defaultMapping")]
            for name in filter(None, mapped):
                target = name if name.startswith("#") else pointer("components", "schemas", name)
                yield Reference(at=place.pointer, kind="schema", target=target)
        elif place.kind in {"openapi", "operation"}:
            for name in chain.from_iterable(place.node.get("security", [])):
                target = pointer("components", GROUPS["securityScheme"], name)
                yield Reference(at=place.pointer, kind="securityScheme", target=target)


def reach(document: Document, node: Node, *, kind: str) -> Iterator[Place]:
    """Yield every object in *node* and, once each, in what it refers to, schemas' targets apart.

    Raises:
        TreatyError: a reference leads nowhere.
    """
    waiting, seen = [(node, kind)], set()
    while waiting:
        for place in walk(*waiting.pop()):
            yield place
            if place.is_reference and (target := place.node["$ref"]) not in seen:
                seen.add(target)
                waiting.append((resolve(document, place.node), place.kind))


def unused(document: Document) -> list[str]:
    """Return the pointers of the components that nothing reaches, in the document's order.

    What is reached starts from everything outside the components, and from the responses that are
    marked `x-anywhere`, to which no operation refers (ADR-0004).
    """
    reached = _reached(document)
    return [
        pointer("components", group, name)
        for kind, group in GROUPS.items()
        for name in document.get("components", {}).get(group, {})
        if (kind, name) not in reached
    ]


def pruned(document: Document) -> Document:
    """Return the document without its unused components and without empty component groups."""
    reached = _reached(document)
    kinds = {group: kind for kind, group in GROUPS.items()}
    components = {
        group: {name: clone(node) for name, node in members.items() if (kinds[group], name) in reached}
        for group, members in document.get("components", {}).items()
    }
    kept = {group: members for group, members in components.items() if members}
    rest = {name: clone(node) for name, node in document.items() if name != "components"}
    return rest | ({"components": kept} if kept else {})


def _reached(document: Document) -> set[tuple[str, str]]:
    """Return the kind and the name of every component that something live refers to."""
    components = document.get("components", {})
    outside = {name: node for name, node in document.items() if name != "components"}
    waiting = list(references(outside))
    reached: set[tuple[str, str]] = set()
    for name, response in components.get("responses", {}).items():
        if "x-anywhere" in response:
            reached.add(("response", name))
            waiting.extend(references(response, kind="response"))
    while waiting:
        reference = waiting.pop()
        first, group, name, *_ = *steps(reference.target), "", "", ""
        component = components.get(group, {}).get(name) if first == "components" else None
        if component is not None and (reference.kind, name) not in reached:
            reached.add((reference.kind, name))
            waiting.extend(references(component, kind=reference.kind))
    return reached
