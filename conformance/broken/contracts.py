"""Gateways that publish one contract and keep another."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from gateway_conformance.exchange import Asgi, Message

from dragoman.model import Alias, Guardrail, OrganizationId
from dragoman.ports import Catalogue
from gateways import DIALECTS, Parts, build, effective_document
from treaty import Document

PUBLISHED = "/openapi.json"


def keeping(parts: Parts, change: Callable[[Document], None]) -> Asgi:
    """Return a gateway that publishes the real contracts and keeps *changed* ones."""
    altered = {mount: _changed(document, change) for mount, document in parts.documents.items()}
    return _publishing(published=build(parts), kept=build(attrs.evolve(parts, documents=altered)))


def showing(parts: Parts, change: Callable[[Document], None]) -> Asgi:
    """Return a gateway that keeps the real contracts and publishes *changed* ones."""
    altered = {mount: json.dumps(_changed(document, change)).encode() for mount, document in parts.documents.items()}
    return _showing(build(parts), {f"{mount.rstrip('/')}{PUBLISHED}": body for mount, body in altered.items()})


def validation_off(parts: Parts) -> Asgi:
    """A body has to name a model and to hold messages, and nothing more is looked at."""

    def loosen(document: Document) -> None:
        for name in ("ChatCompletionRequest", "CreateResponseRequest"):
            schema = document["components"]["schemas"].get(name)
            if schema is not None:
                members = {
                    "model": {"type": "string"},
                    "messages": {"type": "array"},
                    "stream": {"type": ["boolean", "null"]},
                }
                schema["properties"] = members

    return keeping(parts, loosen)


def off_by_one(parts: Parts) -> Asgi:
    """A model's name may be one character too long."""

    def stretch(document: Document) -> None:
        document["components"]["schemas"]["ModelName"]["maxLength"] += 1

    return keeping(parts, stretch)


def other_phase(parts: Parts) -> Asgi:
    """The document of Phase 2 is published while Phase 1 is served."""
    bodies = {
        f"{mount.rstrip('/')}{PUBLISHED}": json.dumps(effective_document(dialect, mount=mount, phase=2)).encode()
        for mount, dialect in DIALECTS.items()
    }
    return _showing(build(parts), bodies)


@attrs.frozen(kw_only=True)
class _Forgetful:
    """Knows every second time which aliases there are: a worker that has not followed the store."""

    real: Catalogue
    asked: list[str] = attrs.field(factory=list)

    async def aliases(self, organization: OrganizationId) -> Sequence[Alias]:
        return await self.real.aliases(organization)

    async def alias(self, organization: OrganizationId, name: str) -> Alias | None:
        self.asked.append(name)
        return await self.real.alias(organization, name) if len(self.asked) % 2 else None

    async def guardrails(self, organization: OrganizationId, alias: Alias) -> Sequence[Guardrail]:
        return await self.real.guardrails(organization, alias)


def forgetful(parts: Parts) -> Asgi:
    """A model that exists is told to be unknown, now and then."""
    return build(attrs.evolve(parts, catalogue=_Forgetful(real=parts.catalogue)))


def _changed(document: Document, change: Callable[[Document], None]) -> Document:
    copy: Document = json.loads(json.dumps(document))
    change(copy)
    return copy


def _publishing(*, published: Asgi, kept: Asgi) -> Asgi:
    async def chosen(scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        app = published if scope.get("path", "").endswith(PUBLISHED) and scope["method"] == "GET" else kept
        await app(scope, receive, send)

    return chosen


def _showing(app: Asgi, bodies: dict[str, bytes]) -> Asgi:
    async def chosen(scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        async def replaced(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [pair for pair in message["headers"] if pair[0] != b"content-length"]
                message = {**message, "headers": headers}
            else:
                message = {**message, "body": bodies[scope["path"]]}
            await send(message)

        shown = scope.get("path") in bodies and scope["method"] == "GET"
        await app(scope, receive, replaced if shown else send)

    return chosen
