"""The models that an organisation may use: its aliases, and nothing about what is behind them."""

from typing import Any, Final

from dragoman.errors import Kind, Refusal
from dragoman.gate.admitted import Admitted
from dragoman.model import Alias
from dragoman.operations.handler import Made, Reply, Services

OWNER: Final = "dragoman"
"""Who owns every model as far as a caller may know: the gateway."""


async def list_models(admitted: Admitted, services: Services) -> Reply:
    """Return the aliases of the caller's organisation."""
    return Made(value={"object": "list", "data": [_model(alias) for alias in await _visible(admitted, services)]})


async def retrieve_model(admitted: Admitted, services: Services) -> Reply:
    """Return the alias that the path names, which may be one of the caller's organisation only."""
    for alias in await _visible(admitted, services):
        if alias.id == admitted.path["model"]:
            return Made(value=_model(alias))
    raise Refusal(Kind.MODEL_NOT_FOUND)


async def _visible(admitted: Admitted, services: Services) -> tuple[Alias, ...]:
    if admitted.principal is None:
        return ()
    return tuple(await services.catalogue.aliases(admitted.principal.organization))


def _model(alias: Alias) -> dict[str, Any]:
    return {
        "id": alias.id,
        "object": "model",
        "created": alias.created,
        "owned_by": OWNER,
        "display_name": alias.display_name,
        "description": alias.description,
        "category": alias.category,
    }
