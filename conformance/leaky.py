"""An upstream that tells everything that it knows, wherever something can be told: a trap for a gateway.

Laws of this file:
- The model's name picks what it does; what it tells is what it was asked with, and who it says that it is.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

Told = Mapping[str, Any]


class Upstream(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Do what the model's name says."""
        length = int(self.headers["Content-Length"])
        asked = json.loads(self.rfile.read(length))
        told = {
            "model": asked["model"],
            "key": self.headers["Authorization"],
            "host": self.headers["Host"],
            "path": self.path,
        }
        misdeed = next(name for name in MISDEEDS if asked["model"].endswith(f"-{name}"))
        MISDEEDS[misdeed](self, told, bool(asked.get("stream")))

    def answer(self, status: int, body: bytes, told: Told, **headers: str) -> None:
        """Send an answer, with what is *told* in its headers as well."""
        self.head(status, told, **{"Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def head(self, status: int, told: Told, **headers: str) -> None:
        """Send the head of an answer."""
        self.send_response(status, f"Told by {told['host']}")
        for name, value in told.items():
            self.send_header(f"X-Upstream-{name}", str(value))
        self.send_header("OpenAI-Organization", str(told["key"]))
        self.send_header("X-Request-ID", str(told["model"]))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def stream(self, told: Told, *events: object) -> None:
        """Send *events* and close the connection."""
        self.head(200, told, Content_Type="text/event-stream", Connection="close")
        for event in events:
            text = event if isinstance(event, str) else json.dumps(event)
            self.wfile.write(f": {told}\nid: {told['host']}\nevent: message\ndata: {text}\n\n".encode())
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Keep silent."""


def _envelope(told: Told, kind: str) -> dict[str, Any]:
    members = {"provider": dict(told), "system_fingerprint": str(told), "x_upstream": dict(told)}
    return {"id": f"chatcmpl-{told['model']}", "object": kind, "created": 1, "model": told["model"], **members}


def _chunk(told: Told, delta: Told, reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {**delta, "provider": dict(told)}, "finish_reason": reason, "told": dict(told)}
    return {**_envelope(told, "chat.completion.chunk"), "choices": [choice]}


def _failure(told: Told) -> bytes:
    error = {"message": f"{told}", "type": str(told["host"]), "param": str(told["key"]), "code": str(told["model"])}
    return json.dumps({"error": error, "provider": dict(told)}).encode()


def _whole(upstream: Upstream, told: Told, stream: bool) -> None:  # noqa: FBT001 - as asked
    if stream:
        begun = _chunk(told, {"role": "assistant", "content": ""})
        upstream.stream(told, begun, _chunk(told, {"content": "Hello."}), _chunk(told, {}, "stop"), "[DONE]")
        return
    message = {"role": "assistant", "content": "Hello.", "provider": dict(told)}
    body = {
        **_envelope(told, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "told": dict(told)}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "told": dict(told)},
    }
    upstream.answer(200, json.dumps(body).encode(), told, Content_Type="application/json")


def _refusing(status: int, **headers: str) -> Callable[[Upstream, Told, bool], None]:
    def refuse(upstream: Upstream, told: Told, _: bool) -> None:  # noqa: FBT001 - as asked
        upstream.answer(status, _failure(told), told, Content_Type="application/json", **headers)

    return refuse


def _redirecting(upstream: Upstream, told: Told, _: bool) -> None:  # noqa: FBT001 - as asked
    upstream.answer(307, b"", told, Location=f"http://{told['host']}{told['path']}")


def _page(upstream: Upstream, told: Told, _: bool) -> None:  # noqa: FBT001 - as asked
    upstream.answer(200, f"<html>{told}</html>".encode(), told, Content_Type="text/html")


def _breaking(upstream: Upstream, told: Told, stream: bool) -> None:  # noqa: FBT001 - as asked
    if stream:
        upstream.stream(told, _chunk(told, {"role": "assistant", "content": "Hel"}))
        return
    upstream.head(200, told, Content_Type="application/json", Content_Length="4096")
    upstream.wfile.write(json.dumps(_envelope(told, "chat.completion")).encode()[:-1])
    upstream.close_connection = True


def _failing_late(upstream: Upstream, told: Told, stream: bool) -> None:  # noqa: FBT001 - as asked
    if stream:
        begun = _chunk(told, {"role": "assistant", "content": "Hel"})
        upstream.stream(told, begun, json.loads(_failure(told)), "[DONE]")
        return
    upstream.answer(200, _failure(told), told, Content_Type="application/json")


MISDEEDS: Final[Mapping[str, Callable[[Upstream, Told, bool], None]]] = {
    "whole": _whole,
    "wrong": _refusing(400),
    "denied": _refusing(401),
    "missing": _refusing(404),
    "limited": _refusing(429, Retry_After="1"),
    "failed": _refusing(500),
    "redirect": _redirecting,
    "page": _page,
    "cut": _breaking,
    "late": _failing_late,
}
"""What the end of a model's name makes it do."""


@contextmanager
def telling(host: str, path: str) -> Iterator[str]:
    """Serve it at *host*, an address of this machine, and yield its base URL, which ends in *path*."""
    server = ThreadingHTTPServer((host, 0), Upstream)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    try:
        yield f"http://{host}:{server.server_port}/{path}/v1"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
