"""Servers that are not ours, started as upstreams, and what a caller gets of a gateway before them (ADR-0046).

Laws of this file:
- A server listens on loopback, with its own environment and its own variables, and is ended by whoever started it.
- What a caller gets is kept whole, with its headers, so that a test can look for what must not be in it.
"""

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
from environments import own_variables
from served import PATIENCE, Served

LOOPBACK: Final = "127.0.0.1"
STARTING: Final = 300.0
"""Seconds that a server may take until it answers: LiteLLM takes ten on a machine that has nothing else to do."""

ASKING: Final = 0.2
"""Seconds between two looks at something that must come."""


@contextmanager
def started(command: Sequence[str], folder: Path, *, ready: httpx.Request, **variables: str) -> Iterator[Path]:
    """Run a server until the end of the block, and give the file with all that it prints, once it answers *ready*."""
    printed = folder / "printed"
    with (
        printed.open("wb") as output,
        subprocess.Popen(
            command, cwd=folder, env=own_variables() | variables, stdout=output, stderr=subprocess.STDOUT
        ) as process,
        httpx.Client(timeout=PATIENCE, trust_env=False) as client,
    ):
        try:
            _wait_for(process, client, ready, printed)
            yield printed
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()  # one that still generates does not look at its signals


def _wait_for(process: subprocess.Popen[bytes], client: httpx.Client, ready: httpx.Request, printed: Path) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        assert process.poll() is None, printed.read_text(errors="replace")[-4000:]
        try:
            if client.send(ready).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(ASKING)
    raise AssertionError(printed.read_text(errors="replace")[-4000:])


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port: int = free.getsockname()[1]
        return port


@attrs.frozen(kw_only=True)
class Answer:
    """What a caller got: *raw* is all of it, head and body."""

    status: int
    raw: str
    body: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - a JSON value
        """The body, as the JSON that it is."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The events of a stream, of which the last one is text."""
        assert self.body.endswith("\n\n")
        frames = self.body.removesuffix("\n\n").split("\n\n")
        assert all(frame.startswith("data: ") for frame in frames), self.body
        *events, end = (frame.removeprefix("data: ") for frame in frames)
        return [*map(json.loads, events), end if end == "[DONE]" else json.loads(end)]


@attrs.frozen(kw_only=True)
class Caller:
    """Somebody who asks the gateway, with nothing but HTTP."""

    gateway: Served
    client: httpx.Client

    def ask(self, model: str, text: str = "hello", **members: object) -> Answer:
        """Return the answer to a chat request."""
        with self.sent(model, text, **members) as response:
            body = response.read().decode()
        head = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        return Answer(status=response.status_code, raw=f"{head}\r\n{body}", body=body)

    @contextmanager
    def sent(self, model: str, text: str = "hello", **members: object) -> Iterator[httpx.Response]:
        """Send a chat request, and give its response, to be read until the block ends or the caller leaves it."""
        request = {"model": model, "messages": [{"role": "user", "content": text}], **members}
        with self.client.stream(
            "POST",
            f"{self.gateway.base_url}/chat/completions",
            headers={"Authorization": f"Bearer {self.gateway.key}"},
            json=request,
        ) as response:
            yield response


@contextmanager
def calling(gateway: Served) -> Iterator[Caller]:
    """Give somebody who asks *gateway*."""
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        yield Caller(gateway=gateway, client=client)


def spoken(events: Sequence[Mapping[str, Any]]) -> str:
    """Return the text that the chunks *events* of a stream say together."""
    return "".join(choice["delta"].get("content") or "" for chunk in events for choice in chunk["choices"])
