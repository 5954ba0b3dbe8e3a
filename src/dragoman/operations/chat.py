"""A chat completion, whole or as a stream."""

from dragoman.exchange import ChatEvents
from dragoman.gate.admitted import Admitted
from dragoman.operations.handler import Forwarded, Reply, Services, Streamed


async def complete(admitted: Admitted, services: Services) -> Reply:
    """Return what the model answers."""
    reply = await services.exchange.chat(admitted)
    return Streamed(events=reply) if isinstance(reply, ChatEvents) else Forwarded(value=reply)
