"""The gateway about itself: whether it is well, and what it promises."""

from typing import Final

from dragoman.errors import Kind, Refusal
from dragoman.gate.admitted import Admitted
from dragoman.operations.handler import Made, Rendered, Reply, Services

PROVIDER: Final = "openai-compatible"
"""All that a caller may know of who is behind the gateway."""

RETRY_AFTER: Final = 1
"""Seconds: another instance, or the next one, can be asked at once; a balancer asks once a second."""

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of Prometheus' text format."""

INDEX: Final = "index.html"
"""The page itself among the files of the docs page."""


async def healthy(admitted: Admitted, services: Services) -> Reply:
    """Return that the gateway is well. It keeps everything in memory, so that answering at all is the proof."""
    return Made(
        value={
            "status": "ok",
            "uptime": int(services.uptime()),
            "provider": PROVIDER,
            "model": admitted.operation.traits.default_model,
        }
    )


async def ready(admitted: Admitted, services: Services) -> Reply:
    """Return that the gateway is well, as long as it takes new requests."""
    if not services.ready():
        raise Refusal(Kind.NOT_READY, retry_after=RETRY_AFTER)
    return await healthy(admitted, services)


async def docs(_: Admitted, services: Services) -> Reply:
    """Return the page that shows the contract."""
    return services.pages[INDEX]


async def docs_asset(admitted: Admitted, services: Services) -> Reply:
    """Return a file of that page; the contract lists their names."""
    return services.pages[admitted.path["asset"]]


async def metrics(_: Admitted, services: Services) -> Reply:
    """Return what was counted, for Prometheus."""
    return Rendered(content=services.exchange.meter.exposition(), media_type=EXPOSITION)


async def published_contract(_: Admitted, services: Services) -> Reply:
    """Return the contract of the mount."""
    return Rendered(content=services.published)
