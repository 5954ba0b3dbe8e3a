"""Asking webhooks over HTTP (ADR-0037).

Laws of this file:
- A question goes to the address that is configured and nowhere else: no proxy of the environment, no redirect.
- It has one deadline, whatever happens, and an answer has a size; beyond either there is no answer.
- No text of a question or an answer leaves in an error.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from dragoman.guardrails import WebhookUnavailableError

if TYPE_CHECKING:
    import httpx

DEADLINE: Final = 2.0
"""Seconds that a question may take, all in all; a request waits for it (ADR-0037)."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes that an answer may have: it may repeat the texts that it was asked about."""

CONNECTIONS: Final = 100
"""Questions that are asked at once; the others wait, and their deadline runs."""


@attrs.define(kw_only=True)
class HttpWebhooks:
    """Fits the port `Webhook`. What it asks with is made when somebody is asked, in the event loop that asks."""

    deadline: float = DEADLINE
    largest: int = LARGEST
    _http: "httpx.AsyncClient | None" = attrs.field(default=None, init=False)

    async def ask(self, url: str, question: Mapping[str, Any]) -> object:
        """Return the JSON that is answered to *question*.

        Raises:
            WebhookUnavailableError: where there is none, or not soon, or not with the status 200.
        """
        # PERF: nobody needs it until somebody is asked, and it takes a quarter of a second to import.
        import httpx  # noqa: PLC0415

        if self._http is None:
            self._http = httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(self.deadline),
                limits=httpx.Limits(max_connections=CONNECTIONS),
            )
        try:
            async with asyncio.timeout(self.deadline):
                return orjson.loads(await self._answer(self._http, url, orjson.dumps(question)))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, orjson.JSONDecodeError, orjson.JSONEncodeError):
            failed = WebhookUnavailableError()
        raise failed

    async def aclose(self) -> None:
        """Close every connection."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _answer(self, http: "httpx.AsyncClient", url: str, content: bytes) -> bytes:
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        async with http.stream("POST", url, content=content, headers=headers) as response:
            if response.status_code != HTTPStatus.OK:
                raise WebhookUnavailableError
            answer = b""
            async for piece in response.aiter_raw():
                answer += piece
                if len(answer) > self.largest:
                    raise WebhookUnavailableError
            return answer
