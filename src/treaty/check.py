"""Find everything that is wrong with a document, in sentences that begin with a JSON pointer.

The checks go from the outside in. A member nobody knows never hides anything; a wrong JSON type, a
broken schema or a reference to nowhere hides what only a sound document can be asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Final

import attrs

from treaty.document import Document, Node, hint, pointer, steps
from treaty.errors import TreatyError
from treaty.examples import broken_schemas, misfits
from treaty.fill import Template
from treaty.reference import Route, operations, reach, references, resolve, unused
from treaty.shape import EXTENSIONS, GROUPS, MARKED, MEMBERS, REFERENCE, member, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from openapi_spec_validator.validation.validators import SpecValidator

_ADR: Final = re.compile(r"ADR-[0-9]{4}")
_FORWARDING: Final = 2  # the phase that shows a success
_STATUSES: Final = range(100, 600)


@attrs.frozen(kw_only=True)
class _Unknown:
    """A member that nobody knows, and what to say of it."""

    at: str
    text: str


def problems(document: Document) -> list[str]:
    """Return one sentence for each problem of *document*; none means that it can be used.

    A document of OpenAPI 3.2 is judged as a contract, with the house's extensions and their rules;
    one of 3.1 as a document for client generators, where no extension has a meaning.
    """
    version = str(document.get("openapi"))
    if not version.startswith(("3.1.", "3.2.")):
        return [f"#/openapi: {version!r} is neither 3.2.x nor 3.1.x"]
    is_contract = version.startswith("3.2.")
    unknown = list(_unknown(document, extensions=EXTENSIONS if is_contract else {}))
    found = [f"{entry.at}: {entry.text}" for entry in unknown]
    validator = _validator(document)
    hiding = (
        list(_structure(document, validator, unknown=unknown))
        or [*broken_schemas(document), *_discriminators(document)]
        or list(_dangling(document))
    )
    if hiding:
        return found + hiding
    found += [*_semantics(validator), *misfits(document)]
    if is_contract:
        found += [*_operations(document), *_marks(document), *_fills(document)]
    return found + [f"{at}: nothing refers to it; remove it" for at in unused(document)]


def _validator(document: Document) -> SpecValidator:
    # Imported here because it takes a third of a second, which no gateway's start should pay.
    from openapi_spec_validator import (  # noqa: PLC0415
        OpenAPIV31SpecValidator,
        OpenAPIV32SpecValidator,
    )

    is_contract = document["openapi"].startswith("3.2.")
    return (OpenAPIV32SpecValidator if is_contract else OpenAPIV31SpecValidator)(document)


def _unknown(document: Document, *, extensions: Mapping[str, frozenset[str]]) -> Iterator[_Unknown]:
    """Yield the members that are neither OpenAPI's, JSON Schema's nor ours."""
    ours = frozenset(chain.from_iterable(extensions.values()))
    for place in walk(document):
        if not isinstance(place.node, dict):
            continue
        known = (
            REFERENCE if place.is_reference else MEMBERS[place.kind].keys() | extensions.get(place.kind, frozenset())
        )
        for name in place.node:
            if name in known or (member(name, kind=place.kind) and not place.is_reference):
                continue
            what = "reference" if place.is_reference else place.kind
            text = f"{name!r} has no meaning here ({what})"
            if name not in ours:
                text = f"unknown member {name!r} ({what}){hint(name, known | ours)}"
            yield _Unknown(at=f"{place.pointer}{pointer(name)[1:]}", text=text)


def _structure(document: Document, validator: SpecValidator, *, unknown: Iterable[_Unknown]) -> Iterator[str]:
    """Yield what the published schema of OpenAPI objects refuses and we have not said already."""
    errors = list(validator.schema_validator.iter_errors(document))
    ats = [pointer(*error.absolute_path) for error in errors]
    said = [*ats, *(entry.at for entry in unknown)]
    for at, error in zip(ats, errors, strict=True):
        # An object with a fault inside is also called one with a member too many.
        is_echo = error.message.startswith("Unevaluated properties") and any(
            other.startswith(f"{at}/") for other in said
        )
        if not is_echo:
            yield f"{at}: {error.message.splitlines()[0]}"


def _semantics(validator: SpecValidator) -> Iterator[str]:
    """Yield what openapi-spec-validator finds beyond structure: parameters of paths, unique ids."""
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - comes with the validator

    try:
        errors = list(validator.root_validator(validator.schema_path))
    except Unresolvable as lost:
        yield f"#: openapi-spec-validator takes '#{lost.ref}' for a reference, which leads nowhere"
        return
    for error in errors:
        # A keyword's name means a default that breaks its schema: misfits() says so with its place.
        if not isinstance(error.validator, str):
            yield f"#: {error.message.splitlines()[0]}"


def _discriminators(document: Document) -> Iterator[str]:
    for place in walk(document):
        if place.kind != "discriminator":
            continue
        mapping = place.node.get("mapping", {}) if isinstance(place.node, dict) else None
        if not isinstance(mapping, dict) or not all(
            isinstance(name, str) for name in (place.node.get("propertyName"), *mapping.values())
        ):
            yield f"{place.pointer}: needs a propertyName, and a mapping from texts to schemas"


def _dangling(document: Document) -> Iterator[str]:
    for reference in references(document):
        try:
            resolve(document, {"$ref": reference.target})
        except TreatyError as error:
            yield f"{reference.at}: {error}"
            continue
        first, group, *_ = *steps(reference.target), "", ""
        if first == "components" and group != GROUPS[reference.kind]:
            yield f"{reference.at}: {reference.target} is no {reference.kind}"


def _operations(document: Document) -> Iterator[str]:
    for route in operations(document):
        operation, at = route.operation, route.pointer
        for name in ("operationId", "x-operation"):
            if not isinstance(operation.get(name), str):
                yield f"{at}: needs {name}, which is text"
        adrs = operation.get("x-adr")
        if not isinstance(adrs, list) or not adrs:
            yield f"{at}: needs x-adr, the list of its decisions"
        else:
            wrong = [adr for adr in adrs if not _ADR.fullmatch(str(adr))]
            yield from (f"{at}/x-adr: {adr!r} is not written ADR-0000" for adr in wrong)
        yield from _phases(route)
        for kind, statuses in _statuses_of_kinds(document, operation).items():
            if len(statuses) > 1:
                yield f"{at}/responses: {kind} stands under {' and '.join(statuses)}; keep one"


def _phases(route: Route) -> Iterator[str]:
    """Yield what is wrong with an operation's phases; a number means that it is live (ADR-0003)."""
    live = route.operation.get("x-phase")
    if live is None or (isinstance(live, list) and live and all(map(_is_phase, live))):
        return
    if not _is_phase(live):
        yield f"{route.pointer}/x-phase: {live!r} is neither a phase (1, 2) nor a list of them"
        return
    statuses = route.operation.get("responses", {}).keys()
    stub, forwarded = "501" in statuses, any(status.startswith("2") for status in statuses)
    if (stub, forwarded) != (live == 1, live == _FORWARDING):
        wanted = "501 and no 2xx" if live == 1 else "a 2xx and no 501"
        yield f"{route.pointer}/responses: phase {live} must show {wanted}"


def _is_phase(value: Node) -> bool:
    return type(value) is int and value in (1, _FORWARDING)


def _statuses_of_kinds(document: Document, operation: Document) -> Mapping[str, list[str]]:
    """Return the statuses under which the operation shows each example that is a kind."""
    statuses = defaultdict(list)
    for status, response in operation.get("responses", {}).items():
        kinds = {
            reference.node["$ref"]
            for reference in reach(document, response, kind="response")
            if reference.kind == "example" and reference.is_reference and "x-fill" in resolve(document, reference.node)
        }
        for kind in kinds:
            statuses[kind].append(status)
    return statuses


def _marks(document: Document) -> Iterator[str]:
    """Yield the marks that say nothing: a phase that is none, a status that is none."""
    for place in walk(document):
        if place.kind not in MARKED or place.is_reference:
            continue
        phase, status = place.node.get("x-phase", 1), place.node.get("x-anywhere")
        if not _is_phase(phase):
            yield f"{place.pointer}/x-phase: {phase!r} is no phase (1, 2)"
        if status is not None and not (type(status) is int and status in _STATUSES):
            yield f"{place.pointer}/x-anywhere: {status!r} is no status"


def _fills(document: Document) -> Iterator[str]:
    """Yield every `x-fill` that cannot be obeyed, or whose value it could not have made."""
    for place in walk(document):
        if not isinstance(place.node, dict) or "x-fill" not in place.node:
            continue
        x_fill, at = place.node["x-fill"], f"{place.pointer}/x-fill"
        if place.kind == "header" and not str(x_fill).isidentifier():
            yield f"{at}: {x_fill!r} is no argument's name"
        elif place.kind == "example":
            try:
                Template.compile(place.node.get("value"), x_fill)
            except TreatyError as error:
                yield f"{at}: {error}"
