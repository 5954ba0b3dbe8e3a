"""A program that serves with two workers, as long as the file that it is given does not exist.

Laws of this file:
- It is started as a process of its own: `python starting.py FILE`. It prints its port and, to standard error, how each
  worker has started; every request gets a 204.
"""

import functools
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from dragoman.server import Ending, hold_signals, listen, serve


class Obstructed:
    """An app that starts while nothing stands in its way; it fits where a gateway is served."""

    draining = False

    def __init__(self, obstacle: Path) -> None:
        """Take the file that stands in its way."""
        self._obstacle = obstacle

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Start or not, and answer."""
        if scope["type"] == "lifespan":
            await receive()
            outcome = "failed" if self._obstacle.exists() else "complete"
            sys.stderr.write(f"startup {outcome}\n")
            await send({"type": f"lifespan.startup.{outcome}"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    with listen("127.0.0.1", 0) as listener:
        hold_signals()
        sys.stdout.write(f"# / is served at http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        make: Any = functools.partial(Obstructed, Path(sys.argv[1]))
        serve(make, listener, workers=2, ending=Ending(delay=0))
