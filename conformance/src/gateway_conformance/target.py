"""The gateway that is judged: how it is reached, whom it knows, what its operator states of it, and what it promises.

Laws of this file:
- The document is the one that the gateway publishes at `<mount>/openapi.json`; the judge has no other.
- What neither the document nor an answer can tell, the operator states, and may leave out: then what needs it is not
  judged, and says so by name (`NotJudged`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Protocol

import attrs

from gateway_conformance.exchange import Placed, Request, Transport
from gateway_conformance.lines import Response
from gateway_conformance.promises import Operation, Promises, read_promises
from gateway_conformance.rules import NotJudged


@attrs.frozen(kw_only=True)
class Callers:
    """Whom the gateway knows: one key with every scope, one without any, and somebody else's organisation and agent.

    *values* gives, for a path parameter that names a thing, such as `model`, one that exists. *colleague_token* is
    another key of the same organisation. Of *uncheckable_token* nobody can say whose it is.
    """

    token: str
    unscoped_token: str
    organization: str
    foreign_organization: str
    agent: str
    foreign_agent: str
    values: Mapping[str, str]
    colleague_token: str | None = None
    uncheckable_token: str | None = None


@attrs.frozen(kw_only=True)
class Limit:
    """A limit that is full at first: so many *requests* at once, and all of them again after *seconds*."""

    requests: int
    seconds: int


@attrs.frozen(kw_only=True)
class Tight:
    """A second gateway with the same contract, which a judge may use up.

    *limits* are by scope, as `limits-by` names them, and hold for each subject of the scope; that of an alias holds
    for *alias* and for *embedding_alias*, which no example of the contract names. *places* is how many requests may be
    in work at once.
    *newcomers* have the same scopes as the callers of the target, each in an organisation of his own, and *addresses*
    are the judge's; each is given once, so that nobody has used it before. *wait* lets so many seconds pass, by
    whatever clock the gateway has.
    """

    transport: Transport
    limits: Mapping[str, Limit]
    alias: str
    embedding_alias: str
    places: int
    newcomers: Iterator[Callers]
    addresses: Iterator[str]
    wait: Callable[[float], None] | None = None


class Outage(Protocol):
    """What can happen to the identities of the tight gateway."""

    def begin(self) -> None:
        """Let nobody be able to say who is calling."""

    def end(self) -> None:
        """Let it be as it was."""

    def revoke(self, token: str) -> None:
        """Let *token* be nobody's."""


@attrs.frozen(kw_only=True)
class Staged:
    """Models that the operator has set up, so that something can be brought about behind them (ADR-0045).

    *models* holds names by what they bring about: a kind of refusal, `cut` for an answer that begins and does not end,
    `tool_call` for one that calls a tool, and whatever else may go wrong behind a model. *embedding_models* are the
    same for embeddings. Each name is given once, because what is behind it may be left alone for a while afterwards. A
    guardrail blocks *blocked_text* for the models of `guardrail_block`.
    """

    models: Mapping[str, Iterator[str]]
    embedding_models: Mapping[str, Iterator[str]]
    blocked_text: str

    def of(self, operation: Operation) -> Mapping[str, Iterator[str]]:
        """Return the models that *operation* takes."""
        return self.embedding_models if operation.takes_embedding_models else self.models


@attrs.frozen(kw_only=True)
class Log:
    """What the gateway logs: *lines* returns those that came since it was asked before, *fields* may stand in an event.

    An event is one line, a JSON object.
    """

    lines: Callable[[], Sequence[str]]
    fields: frozenset[str]


@attrs.frozen(kw_only=True)
class Stated:
    """What the operator states. *draining* reaches a gateway that has been told to end; *deadline* is in seconds.

    *deadline* is how long a head, or a pause in a body, may take. *secrets* are what tells who is behind a model: the
    names of providers, of their models and hosts, and their keys.
    """

    tight: Tight | None = None
    outage: Outage | None = None
    draining: Transport | None = None
    log: Log | None = None
    deadline: float | None = None
    staged: Staged | None = None
    secrets: frozenset[str] = frozenset()


NOTHING_STATED = Stated()


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
    stated: Stated = attrs.field(default=NOTHING_STATED, repr=False)

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

    @property
    def tight(self) -> Tight:
        """The gateway that may be used up.

        Raises:
            NotJudged: nobody has stated one.
        """
        if self.stated.tight is None:
            lacking = "a gateway with limits that can be reached"
            raise NotJudged(lacking)
        return self.stated.tight

    def limit(self, scope: str) -> Limit:
        """Return how much a subject of *scope* may on the tight gateway.

        Raises:
            NotJudged: nobody has stated it.
        """
        found = self.tight.limits.get(scope)
        if found is None:
            lacking = f"a limit by {scope} that can be reached"
            raise NotJudged(lacking)
        return found

    def newcomer(self) -> "Target":
        """Return the tight gateway, for a caller who has used up nothing, and who is at another address each time.

        Raises:
            NotJudged: nobody has stated one.
            RuntimeError: there are no callers left.
        """
        callers = next(self.tight.newcomers, None)
        if callers is None:
            message = f"{self.name}: more newcomers are needed than its operator has stated"
            raise RuntimeError(message)
        placed = Placed(transport=self.tight.transport, addresses=self.tight.addresses)
        return attrs.evolve(self, transport=placed, callers=callers)

    def staying(self, address: str | None = None) -> "Target":
        """Return the target, reached from one *address*: from one that nobody has used, where none is given.

        Raises:
            NotJudged: nobody has stated one.
        """
        placed = self.transport
        inner = placed.transport if isinstance(placed, Placed) else placed
        stays = repeat(address or self.unused_address())
        return attrs.evolve(self, transport=Placed(transport=inner, addresses=stays))

    def unused_address(self) -> str:
        """Return an address of the judge's own that nobody has used on the tight gateway.

        Raises:
            NotJudged: nobody has stated one more.
        """
        address = next(self.tight.addresses, None)
        if address is None:
            lacking = "one more address of the judge's own"
            raise NotJudged(lacking)
        return address

    def staged(self, what: str, operation: Operation) -> str:
        """Return a model for *operation* behind which *what* is brought about, and that nobody has asked for.

        Raises:
            NotJudged: nobody has stated one.
            RuntimeError: there is none left.
        """
        if self.stated.staged is None or not self.is_staged(what, operation):
            lacking = f"a model that brings about {what}"
            raise NotJudged(lacking)
        named = next(self.stated.staged.of(operation)[what], None)
        if named is None:
            message = f"{self.name}: more models that bring about {what} are needed than its operator has stated"
            raise RuntimeError(message)
        return named

    def is_staged(self, what: str, operation: Operation) -> bool:
        """Whether the operator has set up a model for *operation* behind which *what* is brought about."""
        return self.stated.staged is not None and what in self.stated.staged.of(operation)

    def wait(self, seconds: float) -> None:
        """Let *seconds* pass on the tight gateway.

        Raises:
            NotJudged: nobody has stated how.
        """
        if self.tight.wait is None:
            lacking = f"a clock that can be told to go on {seconds} s"
            raise NotJudged(lacking)
        self.tight.wait(seconds)


def connect(
    transport: Transport, *, mount: str, callers: Callers, outermost: bool, stated: Stated = NOTHING_STATED
) -> Target:
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
    return Target(
        name=name,
        mount=mount,
        outermost=outermost,
        transport=transport,
        callers=callers,
        promises=promises,
        stated=stated,
    )
