"""Where contracts come from: a canonical document, and dialects as overlays on it.

Laws of this file:
- The canonical contract is `gateway.yaml`; each file in `overlays/` is a dialect named as the file.
- Documents are read, and dialects made of them, once; nobody changes them, and effective documents are new each time.
"""

from collections.abc import Collection, Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final

import attrs

from treaty import Document, TreatyError, apply, effective, load, load_overlay, operations
from treaty.document import hint

PACKAGED: Final = Path(str(files("dragoman"))) / "openapi"
"""The folder with the contract that the package carries."""

CANONICAL: Final = "dragoman"
"""The name of the canonical contract where a dialect's name is asked for."""


@attrs.frozen(kw_only=True, slots=False)  # cached_property needs a __dict__
class Source:
    """A folder with a canonical contract and its dialects."""

    folder: Path = PACKAGED
    _made: dict[str, Document] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    @cached_property
    def canonical(self) -> Document:
        """The canonical contract, with all phases."""
        return load(self.folder / "gateway.yaml")

    @cached_property
    def dialects(self) -> tuple[str, ...]:
        """The names of all dialects: the canonical one first, the others in alphabetical order."""
        return (CANONICAL, *sorted(path.stem for path in (self.folder / "overlays").glob("*.yaml")))

    @cached_property
    def operations(self) -> Mapping[str, bool]:
        """Every `x-operation` of the canonical contract, and whether it has phases: whether it forwards."""
        return MappingProxyType({str(route.name): "x-phase" in route.operation for route in operations(self.canonical)})

    def dialect(self, name: str) -> Document:
        """Return the contract of the dialect *name*, with all phases."""
        if name not in self.dialects:
            message = f"unknown dialect {name!r}{hint(name, self.dialects)}"
            raise TreatyError(message)
        if name == CANONICAL:
            return self.canonical
        if name not in self._made:
            overlay = load_overlay(self.folder / "overlays" / f"{name}.yaml")
            self._made[name] = apply(self.canonical, overlay)
        return self._made[name]

    def effective(
        self, name: str, *, mount: str, phases: Mapping[str, int], off: Collection[str] = frozenset()
    ) -> Document:
        """Return the effective contract of the dialect *name* at *mount*; flags for what it lacks are left out."""
        document = self.dialect(name)
        own = {str(route.name) for route in operations(document)}
        live = {operation: phase for operation, phase in phases.items() if operation in own}
        return effective(document, mount=mount, phases=live, off=own & set(off))
