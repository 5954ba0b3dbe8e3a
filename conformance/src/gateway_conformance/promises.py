"""What a document promises: the operations, and every answer that it lists.

Laws of this file:
- It reads effective documents only: what is in them is live.
- Nothing here asks a gateway.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import jsonschema_rs

from treaty import Document, Route, Template, operations, resolve

JSON: Final = "application/json"
STREAM: Final = "text/event-stream"


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of refusal. *fill* maps a dotted path into *value*, a true body, to what goes there."""

    name: str
    value: Document
    fill: Mapping[str, str]
    template: Template


@attrs.frozen(kw_only=True)
class Header:
    """One documented header. *fill* says from what its value is made, where it is no constant."""

    schema: Document
    required: bool
    fill: str | None
    _validator: jsonschema_rs.Draft202012Validator

    def takes(self, text: str) -> bool:
        """Whether *text* is a value of it, as the number that it is where the schema asks for a whole one."""
        whole = self.schema.get("type") == "integer" and re.fullmatch(r"0|[1-9][0-9]{0,14}", text)
        return self._validator.is_valid(int(text) if whole else text)


@attrs.frozen(kw_only=True)
class Answer:
    """One documented answer. *headers* are named in lower case; *kinds* are the refusals it may carry."""

    status: int
    headers: Mapping[str, Header]
    media_types: tuple[str, ...]
    kinds: Mapping[str, Kind]


@attrs.frozen(kw_only=True)
class Operation:
    """One operation. *scopes* is None where no credential is asked, *schema* None where there is no body.

    *agent_headers* are declared by the operation and name the agent; *organization* is the path parameter that must be
    the caller's organisation, if any; *body_limit* is in bytes; *examples* are valid bodies by name. *whole* is the
    schema of a success in JSON, *event* that of an event, where the success may be a stream.
    """

    id: str
    name: str
    method: str
    path: str
    phase: int | None
    scopes: frozenset[str] | None
    agent_headers: tuple[str, ...]
    organization: str | None
    body_limit: int
    parameters: tuple[Document, ...]
    schema: Document | None
    examples: Mapping[str, Any]
    answers: Mapping[int, Answer]
    whole: Document | None = None
    event: Document | None = None

    @property
    def label(self) -> str:
        """The method and the path."""
        return f"{self.method} {self.path}"

    @property
    def success(self) -> frozenset[int]:
        """The statuses of a request that passed every check: the 501 of Phase 1 (ADR-0014), 2xx otherwise."""
        if self.phase == 1:
            return frozenset({501})
        return frozenset(status for status in self.answers if status // 100 == 2)

    def kind(self, name: str) -> tuple[Answer, Kind] | None:
        """Return the kind *name* and the answer that carries it, or None when the operation does not list it."""
        return next(
            ((answer, answer.kinds[name]) for answer in self.answers.values() if name in answer.kinds),
            None,
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The names of all refusals that the operation lists."""
        return frozenset(name for answer in self.answers.values() for name in answer.kinds)

    @property
    def takes_embedding_models(self) -> bool:
        """Whether it is for models that make embeddings."""
        return "model_not_embedding" in self.kinds

    def arguments(self, kind: str) -> frozenset[str]:
        """Return what the body of the refusal *kind*, which the operation lists, is filled with."""
        found = (answer.kinds[kind] for answer in self.answers.values() if kind in answer.kinds)
        return next(found).template.arguments


@attrs.frozen(kw_only=True)
class Promises:
    """Everything that a document promises; *anywhere* are the answers outside any operation."""

    document: Document
    operations: tuple[Operation, ...]
    anywhere: tuple[Answer, ...]

    @property
    def paths(self) -> Mapping[str, tuple[Operation, ...]]:
        """The operations of every path."""
        paths = dict.fromkeys(operation.path for operation in self.operations)
        return {path: tuple(one for one in self.operations if one.path == path) for path in paths}

    @property
    def id_prefix(self) -> str:
        """What the request ids of this mount begin with."""
        prefix: str = self._request_id.get("prefix", "")
        return prefix

    @property
    def correlation_member(self) -> str | None:
        """The member of a body that holds the caller's own request id, if the dialect has one."""
        return self._request_id.get("body-member")

    @property
    def limits_by(self) -> frozenset[str]:
        """The scopes of which the gateway limits the subjects (ADR-0032)."""
        return frozenset(self.document.get("x-dragoman", {}).get("limits-by", ()))

    @property
    def shows_request_id(self) -> bool:
        """Whether the bodies of refusals show the request id."""
        kinds = [kind for answer in self.anywhere for kind in answer.kinds.values()]
        return any("request_id" in kind.template.arguments for kind in kinds)

    @property
    def passes_unknown_models(self) -> bool:
        """Whether a model that the gateway does not know is passed on, so that none is unknown."""
        return bool(self.document.get("x-dragoman", {}).get("unknown-model") == "pass")

    def told_model(self, model: str) -> str:
        """Return the model that an answer names where *model* was asked for: the default where that names an agent."""
        traits = self.document.get("x-dragoman", {})
        prefixes = [one["model"] for one in traits.get("agent", {}).get("from", []) if "model" in one]
        agent = any(model.startswith(prefix) for listed in prefixes for prefix in listed)
        return str(traits.get("default-model", model)) if agent else model

    def members(self, schema: Document | None) -> Mapping[str, Document]:
        """Return the members that *schema* declares, with their schemas."""
        properties: Mapping[str, Document] = self.resolve(schema or {}).get("properties", {})
        return properties

    def chunk(self, operation: Operation) -> Document | None:
        """Return the schema of a chunk, where the success of *operation* may be a stream of chunks."""
        event = self.resolve(operation.event or {})
        for branch in event.get("oneOf", [event]):
            content = self.resolve(branch.get("properties", {}).get("data", {}).get("contentSchema", {}))
            for one in content.get("oneOf", [content]):
                if "choices" in self.members(one):
                    return self.resolve(one)  # type: ignore[no-any-return]
        return None

    @property
    def _request_id(self) -> Mapping[str, str]:
        stated: Mapping[str, str] = self.document.get("x-dragoman", {}).get("request-id", {})
        return stated

    def anywhere_kind(self, name: str) -> tuple[Answer, Kind] | None:
        """Return the kind *name* and its answer outside any operation, or None."""
        return next(((answer, answer.kinds[name]) for answer in self.anywhere if name in answer.kinds), None)

    def resolve(self, node: Any) -> Any:  # noqa: ANN401 - any object of a document
        """Return *node*, or what its `$ref` leads to."""
        return resolve(self.document, node)

    def closed(self, schema: Document) -> Document:
        """Return *schema* as a document of its own, in which the references of this one lead somewhere."""
        return {"allOf": [schema], "components": {"schemas": self.document.get("components", {}).get("schemas", {})}}


def read_promises(document: Document) -> Promises:
    """Return what an effective *document* promises."""
    anywhere = [
        _answer(document, response, status=response["x-anywhere"])
        for response in document.get("components", {}).get("responses", {}).values()
        if "x-anywhere" in response
    ]
    return Promises(
        document=document,
        operations=tuple(_operation(document, route) for route in operations(document)),
        anywhere=tuple(anywhere),
    )


def allowed_methods(served: tuple[Operation, ...]) -> str:
    """Return the `Allow` of a path that serves these operations (ADR-0011)."""
    methods = {operation.method for operation in served}
    return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


def _operation(document: Document, route: Route) -> Operation:
    stated = route.operation
    traits = document.get("x-dragoman", {}) | stated.get("x-dragoman", {})
    declared = {one["name"].lower() for one in route.parameters if one["in"] == "header"}
    agents = [source["header"] for source in traits.get("agent", {}).get("from", []) if "header" in source]
    media = resolve(document, stated.get("requestBody", {})).get("content", {}).get(JSON, {})
    return Operation(
        id=stated["operationId"],
        name=stated["x-operation"],
        method=route.method,
        path=route.path,
        phase=stated.get("x-phase"),
        scopes=_scopes(document | stated),
        agent_headers=tuple(name for name in agents if name.lower() in declared),
        organization=traits.get("organization", {}).get("path"),
        body_limit=traits.get("body-limit", 0),
        parameters=route.parameters,
        schema=media.get("schema"),
        examples={name: resolve(document, one)["value"] for name, one in media.get("examples", {}).items()},
        answers={
            int(status): _answer(document, resolve(document, response), status=int(status))
            for status, response in stated["responses"].items()
        },
        whole=_success(document, stated["responses"], JSON, "schema"),
        event=_success(document, stated["responses"], STREAM, "itemSchema"),
    )


def _success(document: Document, responses: Document, media_type: str, keyword: str) -> Document | None:
    """Return what stands under *keyword* of the success in this *media_type*, if any of *responses* has it."""
    succeeding = (resolve(document, response) for status, response in responses.items() if status.startswith("2"))
    media = (response.get("content", {}).get(media_type, {}) for response in succeeding)
    return next((one[keyword] for one in media if keyword in one), None)


def _scopes(stated: Document) -> frozenset[str] | None:
    requirements = stated.get("security")
    if not requirements:
        return None
    return frozenset(scope for scopes in requirements[0].values() for scope in scopes)


def _answer(document: Document, response: Document, *, status: int) -> Answer:
    headers = response.get("headers", {})
    return Answer(
        status=status,
        headers={name.lower(): _header(resolve(document, header)) for name, header in headers.items()},
        media_types=tuple(response.get("content", {})),
        kinds={kind.name: kind for kind in _kinds(document, response)},
    )


def _header(stated: Document) -> Header:
    schema = stated.get("schema", {})
    return Header(
        schema=schema,
        required=stated.get("required", False),
        fill=stated.get("x-fill"),
        validator=jsonschema_rs.Draft202012Validator(schema),
    )


def _kinds(document: Document, response: Document) -> Iterator[Kind]:
    for media in response.get("content", {}).values():
        for name, stated in media.get("examples", {}).items():
            example = resolve(document, stated)
            if "x-fill" in example:
                value, fill = example["value"], example["x-fill"]
                yield Kind(name=name, value=value, fill=fill, template=Template.compile(value, fill))


def rendered(value: object) -> bytes:
    """Return *value* as a JSON body."""
    return json.dumps(value).encode()
