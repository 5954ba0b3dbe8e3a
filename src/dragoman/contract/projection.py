"""Cuts a body down to what the effective contract declares (ADR-0001.R5).

Laws of this file:
- A projection is built once from a schema; members come out in the order in which the schema declares them.
- In a union a member may leave that any branch declares; whether the branches are kept is the validator's business.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from treaty import Document, resolve

Projection = Callable[[Any], Any]

_UNIONS = ("oneOf", "anyOf", "allOf")


def build_projection(document: Document, schema: Mapping[str, Any]) -> Projection | None:
    """Return a function from a value to what *schema* declares of it, None where that is the value as it is.

    Members that are absent stay absent, and what is of another type than the schema's passes as it is; but a null in
    the place of a member that may be absent and is never null says that it is absent, and stays away (ADR-0043.R10).
    """
    branches = list(_branches(document, schema))
    members = {
        name: build_projection(document, member)
        for branch in branches
        for name, member in branch.get("properties", {}).items()
    }
    unsaid = frozenset(members).difference(*(_nulls_that_count(document, branch) for branch in branches))
    items = [build_projection(document, branch["items"]) for branch in branches if "items" in branch]
    item = next((one for one in items if one is not None), None)
    if members:
        return _object(members, unsaid, item)
    return None if item is None else _array(item)


def _branches(document: Document, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield *schema* and, where it is a union, each of its branches, as the components that they refer to."""
    schema = resolve(document, schema)
    yield schema
    for keyword in _UNIONS:
        for branch in schema.get(keyword, ()):
            yield from _branches(document, branch)


def _nulls_that_count(document: Document, branch: Mapping[str, Any]) -> Iterator[str]:
    """Yield the members of *branch* whose null is not the same as none: they are required, or may be null."""
    yield from branch.get("required", ())
    for name, member in branch.get("properties", {}).items():
        types = resolve(document, member).get("type", "null")
        if "null" in ([types] if isinstance(types, str) else types):
            yield name


def _object(members: Mapping[str, Projection | None], unsaid: frozenset[str], item: Projection | None) -> Projection:
    declared = list(members.items())

    def project(value: Any) -> Any:  # noqa: ANN401 - a JSON value
        if isinstance(value, dict):
            return {
                name: value[name] if inner is None else inner(value[name])
                for name, inner in declared
                if name in value and (value[name] is not None or name not in unsaid)
            }
        return [item(one) for one in value] if item is not None and isinstance(value, list) else value

    return project


def _array(item: Projection) -> Projection:
    def project(value: Any) -> Any:  # noqa: ANN401 - a JSON value
        return [item(one) for one in value] if isinstance(value, list) else value

    return project
