"""The handlers, by `x-operation`. Start-up checks this table against the contract, both ways (ADR-0001.R2)."""

from collections.abc import Mapping
from typing import Final

from dragoman.errors import Kind
from dragoman.exchange import FORWARDING_REFUSALS
from dragoman.model import ChatRequest, EmbeddingsRequest, ResponsesRequest
from dragoman.operations import chat, embeddings, models, service
from dragoman.operations.handler import Handler

HANDLERS: Final[Mapping[str, Handler]] = {
    "chat": Handler(request=ChatRequest, answer=chat.complete, refusals=FORWARDING_REFUSALS | {Kind.MODEL_NOT_LLM}),
    "embeddings": Handler(
        request=EmbeddingsRequest,
        answer=embeddings.embed,
        refusals=FORWARDING_REFUSALS | {Kind.MODEL_NOT_EMBEDDING},
    ),
    "responses": Handler(request=ResponsesRequest),
    "models": Handler(answer=models.list_models),
    "model": Handler(answer=models.retrieve_model, refusals=frozenset({Kind.MODEL_NOT_FOUND})),
    "health": Handler(answer=service.healthy),
    "live": Handler(answer=service.healthy),
    "ready": Handler(answer=service.ready, refusals=frozenset({Kind.NOT_READY})),
    "docs": Handler(answer=service.docs),
    "docs_asset": Handler(answer=service.docs_asset),
    "contract": Handler(answer=service.published_contract),
    "metrics": Handler(answer=service.metrics),
}
