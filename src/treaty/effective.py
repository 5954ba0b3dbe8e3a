"""Make the effective document: what is live at one mount, and nothing else (ADR-0003).

Flags are read here and nowhere after. `x-phase: [1, 2]` on an operation becomes the number of its
live phase; what is marked with another phase is left out of all that the operation reaches, and for
an operation without phases so is everything that is marked. The marks do not survive.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from treaty.document import Document, Node, hint, pointer, steps
from treaty.errors import TreatyError
from treaty.reference import operations, pruned, reach, resolve
from treaty.shape import MARKED, METHODS, is_reference, member, rebuild

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NO_FLAGS: Final[Mapping[str, int]] = MappingProxyType({})


def effective(
    document: Document,
    *,
    mount: str = "/",
    phases: Mapping[str, int] = NO_FLAGS,
    off: Collection[str] = (),
) -> Document:
    """Return the document that is served at *mount*.

    *phases* and *off* hold values of `x-operation`: the phase of each that is not in phase 1, and
    those that are not served at all.

    Raises:
        TreatyError: a flag names no operation, or asks for a phase that its operation has not.
    """
    names = {str(route.operation.get("x-operation")) for route in operations(document)}
    for flag in (*phases, *off):
        if flag not in names:
            message = f"no operation is called {flag!r}{hint(flag, names)}"
            raise TreatyError(message)
    view = _View(document=document, phases=phases, off=off)
    # Answers outside any operation come first: they have no operation to take an inlined version.
    for name, response in document.get("components", {}).get("responses", {}).items():
        if "x-anywhere" in response:
            target = pointer("components", "responses", name)
            view.kept({"$ref": target}, kind="response", phase=None)
    paths = view.kept(document.get("paths", {}), kind="paths", phase=None)
    served = document | {"servers": [{"url": mount}], "paths": paths}
    return pruned(view.with_versions(served))


def _live_phase(operation: Document, phases: Mapping[str, int]) -> int | None:
    """Return the phase that *operation* is in; None when it has none."""
    name, has = operation["x-operation"], operation.get("x-phase")
    if has is None and name not in phases:
        return None
    phase = phases.get(name, 1)
    if not isinstance(has, list) or phase not in has:
        message = f"operation {name!r} has no phase {phase}: its x-phase is {has!r}"
        raise TreatyError(message)
    return phase


@attrs.frozen(kw_only=True)
class _View:
    """What stays of a document's objects, each seen by an operation in some phase.

    A component that looks different in two phases keeps its place with the version that is asked
    for first; an operation that sees another version gets a copy of it in place of the reference.
    """

    document: Document
    phases: Mapping[str, int]
    off: Collection[str]
    _versions: dict[str, Node] = attrs.field(factory=dict)
    _marked: dict[str, bool] = attrs.field(factory=dict)

    def kept(self, node: Node, *, kind: str, phase: int | None) -> Node:
        """Return what is live of *node* in *phase*; None when that is nothing."""
        if not isinstance(node, dict) or kind == "schema":
            return node
        if kind == "operation" and "x-operation" in node:
            return self._operation(node)
        if kind == "pathItem":
            node = resolve(self.document, node)
        if kind in MARKED:
            mark = resolve(self.document, node).get("x-phase")
            if mark not in {None, phase}:
                return None
        if is_reference(node, kind=kind):
            return self._referred(node, kind=kind, phase=phase)
        copy = self._members(node, kind=kind, phase=phase)
        copy.pop("x-phase", None)
        if kind == "pathItem" and not any(map(copy.get, (*METHODS, "additionalOperations"))):
            return None
        return copy

    def with_versions(self, document: Document) -> Document:
        """Return *document* with the versions that were seen in place of its components."""
        components = {
            group: {
                name: self._versions.get(pointer("components", group, name), node) for name, node in members.items()
            }
            for group, members in document.get("components", {}).items()
        }
        return document | {"components": components}

    def _members(self, node: Document, *, kind: str, phase: int | None) -> Document:
        def change(child: Node, child_kind: str) -> Node:
            return self.kept(child, kind=child_kind, phase=phase)

        return rebuild(node, kind=kind, change=change)

    def _operation(self, operation: Document) -> Document | None:
        if operation["x-operation"] in self.off:
            return None
        phase = _live_phase(operation, self.phases)
        live = self._members(operation, kind="operation", phase=phase)
        return live if phase is None else live | {"x-phase": phase}

    def _referred(self, node: Document, *, kind: str, phase: int | None) -> Document:
        """Return the reference, or what it leads to when its component shows another version."""
        target = pointer(*steps(node["$ref"]))
        if not self._has_marks(target, kind=kind):
            return node
        version: Document = self.kept(resolve(self.document, node), kind=kind, phase=phase)
        if len(steps(target)) == len(("components", "group", "name")):
            self._versions.setdefault(target, version)
        if self._versions.get(target) == version:
            return node
        own = {name: text for name, text in node.items() if name in {"summary", "description"}}
        return version | {name: text for name, text in own.items() if member(name, kind=kind)}

    def _has_marks(self, target: str, *, kind: str) -> bool:
        """Whether any mark can be reached from *target*, through references too."""
        if target not in self._marked:
            places = reach(self.document, {"$ref": target}, kind=kind)
            self._marked[target] = any(isinstance(place.node, dict) and "x-phase" in place.node for place in places)
        return self._marked[target]
