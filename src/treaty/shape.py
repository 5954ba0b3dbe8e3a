"""Which members an OpenAPI 3.2 object may have, and of what kind their values are.

One table (3.2.0, section 4, and JSON Schema 2020-12), read by everything that walks a document, so
that an example's value or a default is never mistaken for a part of the contract. `{kind}` is a map
of objects of that kind, `[kind]` a list, a bare word one object, and nothing a plain value. The
member `*` stands for every member that is not listed and no extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from treaty.document import Document, Node, pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")

# The component group of each kind that can be referred to.
GROUPS: Final[Mapping[str, str]] = {
    "schema": "schemas",
    "response": "responses",
    "parameter": "parameters",
    "example": "examples",
    "requestBody": "requestBodies",
    "header": "headers",
    "securityScheme": "securitySchemes",
    "link": "links",
    "callback": "callbacks",
    "pathItem": "pathItems",
    "mediaType": "mediaTypes",
}

# What may stand beside a $ref (3.2.0, Reference Object); a schema and a path item have it as a
# member among others.
REFERENCE: Final = frozenset({"$ref", "summary", "description"})

# Where our own extensions have a meaning (ADR-0001, ADR-0003, ADR-0004, ADR-0005).
EXTENSIONS: Final[Mapping[str, frozenset[str]]] = {
    "openapi": frozenset({"x-dragoman"}),
    "operation": frozenset({"x-adr", "x-operation", "x-phase", "x-dragoman"}),
    "response": frozenset({"x-phase", "x-anywhere"}),
    "example": frozenset({"x-phase", "x-fill"}),
    "mediaType": frozenset({"x-phase"}),
    "header": frozenset({"x-phase", "x-fill"}),
}

# What may be marked as standing in one phase only (ADR-0003).
MARKED: Final = frozenset(kind for kind in EXTENSIONS if "x-phase" in EXTENSIONS[kind]) - {"operation"}

_TABLE: Final[Mapping[str, str]] = {
    "openapi": """openapi $self info:info jsonSchemaDialect servers:[server] paths:paths
        webhooks:{pathItem} components:components security tags:[tag] externalDocs:externalDocs""",
    "info": "title summary description termsOfService contact:contact license:license version",
    "contact": "name url email",
    "license": "name identifier url",
    "server": "url description name variables:{serverVariable}",
    "serverVariable": "enum default description",
    "components": " ".join(f"{group}:{{{kind}}}" for kind, group in GROUPS.items()),
    "paths": "*:pathItem",
    "pathItem": f"""$ref summary description {" ".join(f"{method}:operation" for method in METHODS)}
        additionalOperations:{{operation}} servers:[server] parameters:[parameter]""",
    "operation": """tags summary description externalDocs:externalDocs operationId
        parameters:[parameter] requestBody:requestBody responses:responses callbacks:{callback}
        deprecated security servers:[server]""",
    "externalDocs": "description url",
    "parameter": """name in description required deprecated allowEmptyValue example
        examples:{example} style explode allowReserved schema:schema content:{mediaType}""",
    "requestBody": "description content:{mediaType} required",
    "mediaType": """schema:schema itemSchema:schema example examples:{example} encoding:{encoding}
        prefixEncoding:[encoding] itemEncoding:encoding""",
    "encoding": """contentType headers:{header} encoding:{encoding} prefixEncoding:[encoding]
        itemEncoding:encoding style explode allowReserved""",
    "responses": "*:response",
    "response": "summary description headers:{header} content:{mediaType} links:{link}",
    "callback": "*:pathItem",
    "example": "summary description dataValue serializedValue externalValue value",
    "link": "operationRef operationId parameters requestBody description server:server",
    "header": """description required deprecated example examples:{example} style explode
        schema:schema content:{mediaType}""",
    "tag": "name summary description externalDocs:externalDocs parent kind",
    "schema": """$id $schema $ref $anchor $dynamicRef $dynamicAnchor $vocabulary $comment
        $defs:{schema} prefixItems:[schema] items:schema contains:schema
        additionalProperties:schema properties:{schema} patternProperties:{schema}
        dependentSchemas:{schema} propertyNames:schema if:schema then:schema else:schema
        allOf:[schema] anyOf:[schema] oneOf:[schema] not:schema unevaluatedItems:schema
        unevaluatedProperties:schema type const enum multipleOf maximum exclusiveMaximum minimum
        exclusiveMinimum maxLength minLength pattern maxItems minItems uniqueItems maxContains
        minContains maxProperties minProperties required dependentRequired title description
        default deprecated readOnly writeOnly examples format contentEncoding contentMediaType
        contentSchema:schema discriminator:discriminator xml:xml externalDocs:externalDocs
        example""",
    "discriminator": "propertyName mapping defaultMapping",
    "xml": "nodeType name namespace prefix attribute wrapped",
    "securityScheme": """type description name in scheme bearerFormat flows:flows openIdConnectUrl
        oauth2MetadataUrl deprecated""",
    "flows": """implicit:flow password:flow clientCredentials:flow authorizationCode:flow
        deviceAuthorization:flow""",
    "flow": "authorizationUrl deviceAuthorizationUrl tokenUrl refreshUrl scopes",
}


@attrs.frozen(kw_only=True)
class Member:
    """What a member holds: `many` is "map", "list" or "", and `kind` is "" for a plain value."""

    kind: str
    many: str


@attrs.frozen(kw_only=True)
class Place:
    """One object of a document (or boolean schema), its kind, and the JSON pointer to it."""

    pointer: str
    kind: str
    node: Node

    @property
    def is_reference(self) -> bool:
        """Whether the object only says where the real one stands."""
        return is_reference(self.node, kind=self.kind)


def _member(kind: str) -> Member:
    many = {"{": "map", "[": "list"}.get(kind[:1], "")
    return Member(kind=kind.strip("{}[]"), many=many)


MEMBERS: Final[Mapping[str, Mapping[str, Member]]] = {
    kind: {name: _member(value) for name, _, value in (word.partition(":") for word in members.split())}
    for kind, members in _TABLE.items()
}


def is_reference(node: Node, *, kind: str) -> bool:
    """Whether *node* stands for another object of its *kind*, with at most a text of its own."""
    return kind in GROUPS and kind != "schema" and isinstance(node, dict) and "$ref" in node


def member(name: str, *, kind: str) -> Member | None:
    """Return what *name* holds in an object of *kind*; None when no such member is known."""
    members = MEMBERS[kind]
    if name in members:
        return members[name]
    return None if name.startswith("x-") else members.get("*")


def rebuild(node: Document, *, kind: str, change: Callable[[Node, str], Node | None]) -> Document:
    """Return a copy of *node* where *change* (child, its kind) has replaced each child object.

    A child for which *change* returns None is left out. Plain members are shared with *node*.
    """
    copy: Document = {}
    for name, value in node.items():
        held = member(name, kind=kind)
        if held is None or not held.kind:
            copy[name] = value
        elif held.many == "map":
            changed = {key: change(child, held.kind) for key, child in value.items()}
            copy[name] = {key: child for key, child in changed.items() if child is not None}
        elif held.many == "list":
            items = [change(child, held.kind) for child in value]
            copy[name] = [child for child in items if child is not None]
        elif (child := change(value, held.kind)) is not None:
            copy[name] = child
    return copy


def walk(node: Node, kind: str = "openapi", at: str = "#") -> Iterator[Place]:
    """Yield *node* and every object below it, outermost first; references are not followed.

    A member whose value has the wrong JSON type is yielded as it is, or passed over when it should
    have been a map or a list: the validity check reports it.
    """
    yield Place(pointer=at, kind=kind, node=node)
    if not isinstance(node, dict) or is_reference(node, kind=kind):
        return
    for name, value in node.items():
        held = member(name, kind=kind)
        if held is None or not held.kind:
            continue
        below = at + pointer(name)[1:]
        if not held.many:
            yield from walk(value, kind=held.kind, at=below)
        elif held.many == "map" and isinstance(value, dict):
            for key, child in value.items():
                yield from walk(child, kind=held.kind, at=below + pointer(key)[1:])
        elif held.many == "list" and isinstance(value, list):
            for index, child in enumerate(value):
                yield from walk(child, kind=held.kind, at=f"{below}/{index}")
