"""The gateway about itself: whether it is well, and what it promises."""

from typing import Final

from dragoman.operations.handler import Admitted, Made, Rendered, Reply, Services

_WELL: Final = Made(value={"status": "ok"})


async def healthy(_: Admitted, __: Services) -> Reply:
    """Return that the gateway is well. It keeps everything in memory, so that answering at all is the proof."""
    return _WELL


async def published_contract(_: Admitted, services: Services) -> Reply:
    """Return the contract of the mount."""
    return Rendered(content=services.published)
