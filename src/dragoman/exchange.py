"""One forwarded exchange: alias, guardrails, target, reply, settlement (ADR-0043; steps 11 to 15 of ADR-0008).

Laws of this file:
- `chat` and `embed` read in the order of the steps; the first that fails answers.
- What was reserved, held or opened is settled, given back and closed exactly once, however the exchange ends.
- Nobody learns who answered: what goes on is made here, cut to the contract and judged by it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs

from dragoman.contract.operation import Form
from dragoman.errors import Kind, Refusal
from dragoman.gate.admitted import Admitted
from dragoman.gate.usage import Reservation, TokenLimits, estimate, input_estimate
from dragoman.guardrails import Blocked, Screen, Screens
from dragoman.model import Alias, ChatRequest, EmbeddingsRequest, Target, Usage
from dragoman.ports import Catalogue, Chunks, Fault, Ledger, LedgerEntry, Meter, Upstream, UpstreamError, Upstreams
from dragoman.routing import Failure, Routed, Router, RoutingError
from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import completion
from dragoman.translate.grammar import GrammarError
from dragoman.translate.sse import DONE, frame

T = TypeVar("T")
Document = Mapping[str, Any]

FORWARDING_REFUSALS: Final = frozenset(
    {
        Kind.MODEL_NOT_FOUND,
        Kind.RATE_LIMITED,
        Kind.UPSTREAM_UNAVAILABLE,
        Kind.UPSTREAM_TIMEOUT,
        Kind.CIRCUIT_OPEN,
        Kind.GUARDRAIL_BLOCK,
    }
)
"""What an exchange may be refused with, beside what its request may."""

_CHARACTERS: Final = 4
"""How many characters of an answer are taken for a token where the upstream does not say what it used."""


@attrs.define(kw_only=True)
class Account:
    """What an exchange has taken until now; it is closed once, when the exchange ends."""

    admitted: Admitted
    alias: Alias
    at: datetime
    reservation: Reservation
    ledger: Ledger
    meter: Meter
    input_tokens: int
    asked: bool = False
    usage: Usage | None = None
    text_length: int = 0
    target: Target | None = None
    attempts: int = 0
    first_token_ms: float | None = None
    closed: bool = False

    def begin(self) -> None:
        """Note that the answer begins."""
        if self.first_token_ms is None:
            self.first_token_ms = round(self.admitted.elapsed_ms(), 3)
            self.meter.first_token(self.alias.id, self.first_token_ms / 1000)

    def estimated(self) -> Usage:
        """Return about what was used, where the upstream has not said it."""
        if not self.asked:
            return Usage()
        return Usage(input_tokens=self.input_tokens, output_tokens=-(-self.text_length // _CHARACTERS))

    def close(self, outcome: str) -> None:
        """Settle what was reserved, and keep what was used."""
        if self.closed:
            return
        self.closed = True
        usage = self.usage or self.estimated()
        if self.asked:
            self.reservation.settle(usage)
        else:
            self.reservation.cancel()
        event, principal, agent = self.admitted.event, self.admitted.principal, self.admitted.agent
        event.attempts, event.first_token_ms = self.attempts, self.first_token_ms
        event.input_tokens, event.output_tokens = usage.input_tokens, usage.output_tokens
        self.meter.spent(self.alias.id, usage)
        self.ledger.record(
            LedgerEntry(
                request_id=event.request_id,
                at=self.at,
                organization=None if principal is None else principal.organization,
                key=None if principal is None else principal.key,
                agent=None if agent is None else agent.id,
                alias=self.alias.id,
                operation=self.admitted.operation.name,
                outcome=outcome,
                stream=bool(event.stream),
                usage=usage,
                estimated=self.usage is None and self.asked,
                cost=usage.cost(self.alias.prices),
                duration_ms=round(self.admitted.elapsed_ms(), 3),
                first_token_ms=self.first_token_ms,
                provider=None if self.target is None else self.target.provider,
                upstream_model=None if self.target is None else self.target.model,
                attempts=self.attempts,
            )
        )


@attrs.define(kw_only=True)
class ChatEvents:
    """A streamed answer: whole events in bytes. Whoever has it closes it, wherever it is; closing again does nothing.

    What fails is raised: a `Refusal` says what the caller may be told of it.
    """

    _account: Account
    _routed: Routed[Chunks]
    _grammar: ChatStream
    _screen: Screen | None
    _form: Form

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the events that arrive together, as soon as they do."""
        account, grammar = self._account, self._grammar
        window = None if self._screen is None else self._screen.window()
        try:
            async for arrived in self._routed.value:
                said = [chunk for document in arrived if (chunk := grammar.feed(document)) is not None]
                if window is not None:
                    said = [passed for chunk in said for passed in window.feed(chunk)]
                if said:
                    account.begin()
                    yield b"".join([self._frame(chunk) for chunk in said])
            last = grammar.end(estimate=self._estimate())
            told = [] if window is None else [self._frame(chunk) for chunk in window.end()]
            if last is not None:
                told.append(self._frame(last))
            await self._end(None)
            yield b"".join([*told, DONE])
        except GrammarError as error:
            await self._fail(UpstreamError(Fault(error.reason.value)))
        except UpstreamError as error:
            await self._fail(error)
        except Blocked as blocked:
            await self._end(_blocked(blocked))
            raise _blocked(blocked) from None

    async def aclose(self) -> None:
        """Close what is open, and settle; a caller who has left is settled with what he got."""
        await self._end(GeneratorExit())

    def _frame(self, chunk: Document) -> bytes:
        cut = self._form.kept(chunk)
        if cut is None:
            raise UpstreamError(Fault.GARBLED)
        return frame(cut)

    def _estimate(self) -> Usage:
        self._account.text_length = self._grammar.text_length
        return self._account.estimated()

    async def _fail(self, error: UpstreamError) -> None:
        await self._end(error)
        kind = Kind.UPSTREAM_TIMEOUT if error.fault is Fault.TIMEOUT else Kind.UPSTREAM_UNAVAILABLE
        raise Refusal(kind, alias=self._account.alias.id)

    async def _end(self, error: BaseException | None) -> None:
        """Settle, once: at the end, when it fails with *error*, or when the caller has left."""
        account = self._account
        if account.closed:
            return
        account.usage, account.text_length = self._grammar.usage, self._grammar.text_length
        account.close(_outcome(error))
        self._routed.hold.close(error)
        await self._routed.value.aclose()


@attrs.frozen(kw_only=True)
class Exchange:
    """The steps of a forwarded exchange, and what they ask. *now* is the wall clock."""

    catalogue: Catalogue
    upstreams: Upstreams
    router: Router
    tokens: TokenLimits
    screens: Screens
    ledger: Ledger
    meter: Meter
    now: Callable[[], datetime]

    async def chat(self, admitted: Admitted) -> Document | ChatEvents:
        """Return a chat completion, whole, or its events where the request asks for a stream."""
        alias = _alias_of(admitted, "llm", Kind.MODEL_NOT_LLM)
        account = await self._open(admitted, alias, estimate)
        try:
            screen = await self._screen(admitted, alias)
            document = await _screened(screen, admitted)
            if admitted.request is not None and admitted.request.stream:
                return await self._stream(account, screen, document)
            return await self._whole(account, screen, document)
        except BaseException as error:
            account.close(_outcome(error))
            raise

    async def embed(self, admitted: Admitted) -> Document:
        """Return a list of embeddings."""
        alias = _alias_of(admitted, "embedding", Kind.MODEL_NOT_EMBEDDING)
        account = await self._open(admitted, alias, input_estimate)
        try:
            screen = await self._screen(admitted, alias)
            document = await _screened(screen, admitted)
            form = _form(admitted)

            async def attempt(upstream: Upstream, target: Target, model: str) -> Document:
                return embeddings(
                    await upstream.embed(document, model=model, timeouts=target.timeouts), model=alias.id, form=form
                )

            with (routed := await self._route(account, attempt)).hold:
                account.usage = usage_of(routed.value.get("usage"))
                account.close("ok")
                return routed.value
        except BaseException as error:
            account.close(_outcome(error))
            raise
