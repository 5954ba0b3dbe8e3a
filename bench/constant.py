"""The least that an answer can cost here: bare Falcon on uvicorn, one constant 501, nothing looked at.

Started as `python constant.py PORT`; it serves on loopback until a signal ends it.
"""

import sys
from typing import Any

import falcon.asgi
import uvicorn

BODY = b'{"error":{"message":"No LLM provider is configured for this request","code":"PROVIDER_NOT_CONFIGURED"}}'


class Constant:
    """Answers every POST alike."""

    async def on_post(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer 501."""
        resp.status = 501
        resp.content_type = "application/json"
        resp.data = BODY


def main() -> None:
    """Serve with the settings of uvicorn that the gateway has."""
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    app.add_route("/v1/chat/completions", Constant())
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
