"""The gateway that is judged: how it is reached, whom it knows, and what it promises.

Laws of this file:
- The document is the one that the gateway publishes at `<mount>/openapi.json`; the judge has no other.
"""

import json
from collections.abc import Mapping

import attrs

from gateway_conformance.exchange import Request, Response, Transport
from gateway_conformance.promises import Promises, read_promises


@attrs.frozen(kw_only=True)
class Callers:
    """Whom the gateway knows: one key with every scope, one without any, and somebody else's organisation and agent.

    *values* gives, for a path parameter that names a thing, such as `model`, one that exists.
    """

    token: str
    unscoped_token: str
    organization: str
    foreign_organization: str
    agent: str
    foreign_agent: str
    values: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Target:
    """One mount of a gateway. *name* is for reports; *mount* is its prefix, `/` for the root.

    It is *outermost* when what no mount claims is answered in its shape (ADR-0006.R1).
    """

    name: str
    mount: str
    outermost: bool
    transport: Transport
    callers: Callers = attrs.field(repr=False)
    promises: Promises = attrs.field(repr=False)

    @property
    def prefix(self) -> str:
        """What stands before every path of the mount."""
        return self.mount.rstrip("/")

    def send(self, request: Request) -> Response:
        """Send *request*, whose path is one of the document, to the mount."""
        return self.transport.exchange(self.located(request))

    def curl(self, request: Request) -> str:
        """Return a line for a shell that sends *request*."""
        return self.located(request).curl(self.transport.origin)

    def located(self, request: Request) -> Request:
        """Return *request* with the mount before its path."""
        return attrs.evolve(request, path=self.prefix + request.path)


def connect(transport: Transport, *, mount: str, callers: Callers, outermost: bool) -> Target:
    """Return the target at *mount*, with the document that it publishes.

    Raises:
        ValueError: there is no document.
    """
    answer = transport.exchange(Request(method="GET", path=f"{mount.rstrip('/')}/openapi.json"))
    if answer.status != 200:
        message = f"{transport.origin}{mount} publishes no document: {answer}"
        raise ValueError(message)
    where = "in process" if transport.app is not None else "over a socket"
    promises = read_promises(json.loads(answer.body))
    name = f"{promises.document['info']['title']} at {mount} {where}"
    return Target(name=name, mount=mount, outermost=outermost, transport=transport, callers=callers, promises=promises)
