"""What the providers that speak HTTP need of a client, as a protocol: one engine sends POST requests to one server.

Laws of this file:
- An engine raises `UpstreamError`, and nothing else; its text holds no word of what the server said.
- Where it connects to, and what it says of itself, comes from configuration: a `Place`, and nothing that a caller sent.
- It follows no redirect, decodes no content encoding, keeps no cookie, and reads no variable of the environment.
- A task that is cancelled inside an engine leaves no connection open.
"""

import ssl
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

import attrs

from dragoman.model import Timeouts

WHOLE_LIMIT: Final = 32 * 1024 * 1024
"""The most bytes of a whole answer: room for some images, or for the embeddings of a thousand texts."""

HEAD_LIMIT: Final = 64 * 1024
"""The most bytes of the head of an answer, or of its trailers."""

KEPT: Final = frozenset({"content-type", "content-encoding", "retry-after", "retry-after-ms"})
"""The headers of an answer that anybody reads."""

LINGER: Final = 1.0
"""How long an answer that is over may take to end, in seconds, before its connection is closed."""

KEEP_ALIVE: Final = 55.0
"""How long a connection is kept, in seconds: less than the minute after which most load balancers close it."""

PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


@attrs.frozen(kw_only=True)
class Place:
    """Where a server is, and what it is told with every request.

    *base_path* has no slash at its end. *headers* hold the provider's own key. *private* says that the address may be
    one of a private network, *capacity* how many connections are kept.
    """

    scheme: str
    host: str
    port: int
    base_path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    private: bool
    capacity: int

    @property
    def authority(self) -> str:
        """What stands in the header `Host`."""
        host = bracketed(self.host)
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def bracketed(host: str) -> str:
    """Return *host* as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def place_of(base_url: str, *, headers: Mapping[str, str], private: bool, capacity: int) -> Place:
    """Return the place at *base_url*, in which `addresses.url_problems` has found nothing."""
    parts = urlsplit(base_url)
    return Place(
        scheme=parts.scheme,
        host=(parts.hostname or "").rstrip("."),
        port=PORTS[parts.scheme] if parts.port is None else parts.port,
        base_path=parts.path.rstrip("/"),
        headers=headers,
        private=private,
        capacity=capacity,
    )


class Answer(Protocol):
    """An answer whose head has arrived. Whoever has it closes it."""

    @property
    def status(self) -> int:
        """Its status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of its headers that are `KEPT`, by their names in lower case."""

    def begun(self) -> None:
        """Say that the answer has begun: from now on not the first byte has a deadline, but every further one."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamError: also when it is longer than *limit*, after no more than that has been kept.
        """

    async def piece(self) -> bytes:
        """Return what has arrived of the body since the last call, waiting for something; nothing at its end."""

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """Let *take* have what arrives while somebody waits for a piece; what it refuses is a piece as ever.

        PERF: an engine need not: nobody has to be woken for what *take* takes.
        """

    def over(self) -> None:
        """Say that what was wanted has come: the connection is kept if the answer ends soon with no further byte."""

    async def aclose(self) -> None:
        """Close the connection, unless the answer has ended, or is over. A second call does nothing."""


class Engine(Protocol):
    """Sends requests to one server, and keeps connections to it."""

    async def post(self, path: str, body: bytes, timeouts: Timeouts) -> Answer:
        """Send *body*, which is JSON, to *path* below the place of the server; return the answer when it has a head.

        A request that was sent on a kept connection which the server closed before it said anything is sent once more,
        on a new one: most likely they crossed on the way (RFC 9112, section 9.3.1).
        """

    @property
    def busy(self) -> bool:
        """Whether a connection is open."""

    def retire(self) -> None:
        """Keep no connection any more: everything is closed as soon as nothing is carried, if not before."""

    async def aclose(self) -> None:
        """Close everything, now."""


EngineOf = Callable[[Place, ssl.SSLContext | None], Engine]
"""What makes an engine to a place, over TLS if that is https, in the loop that will use it."""
