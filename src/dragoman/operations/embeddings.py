"""Embeddings of texts."""

from dragoman.gate.admitted import Admitted
from dragoman.operations.handler import Forwarded, Reply, Services


async def embed(admitted: Admitted, services: Services) -> Reply:
    """Return the vectors of the request's texts."""
    return Forwarded(value=await services.exchange.embed(admitted))
