"""Asking webhooks over HTTP (ADR-0037).

Laws of this file:
- A question goes to the address that is configured and nowhere else: no proxy of the environment, no redirect.
- It has one deadline, whatever happens, and an answer has a size; beyond either there is no answer.
- No text of a question or an answer leaves in an error.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import httpx
import orjson

from dragoman.guardrails import WebhookUnavailableError

DEADLINE: Final = 2.0
"""Seconds that a question may take, all in all; a request waits for it (ADR-0037)."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes that an answer may have: it may repeat the texts that it was asked about."""

CONNECTIONS: Final = 100
"""Questions that are asked at once; the others wait, and their deadline runs."""


@attrs.frozen(kw_only=True)
class HttpWebhook:
    """Fits the port `Webhook`."""

    _client: httpx.AsyncClient
    _deadline: float = DEADLINE
    _largest: int = LARGEST

    async def ask(self, url: str, question: Mapping[str, Any]) -> object:
        """Return the JSON that is answered to *question*.

        Raises:
            WebhookUnavailableError: where there is none, or not soon, or not with the status 200.
        """
        try:
            async with asyncio.timeout(self._deadline):
                return orjson.loads(await self._answer(url, orjson.dumps(question)))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, orjson.JSONDecodeError, orjson.JSONEncodeError):
            failed = WebhookUnavailableError()
        raise failed

    async def _answer(self, url: str, content: bytes) -> bytes:
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("POST", url, content=content, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise WebhookUnavailableError
            answer = b""
            async for piece in response.aiter_raw():
                answer += piece
                if len(answer) > self._largest:
                    raise WebhookUnavailableError
            return answer


@asynccontextmanager
async def open_webhooks(*, deadline: float = DEADLINE, largest: int = LARGEST) -> AsyncIterator[HttpWebhook]:
    """Give what asks webhooks, and close its connections at the end of the block."""
    async with httpx.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(deadline),
        limits=httpx.Limits(max_connections=CONNECTIONS),
    ) as client:
        yield HttpWebhook(client=client, deadline=deadline, largest=largest)
