"""One forwarded exchange: alias, guardrails, target, reply, settlement (ADR-0043; steps 11 to 15 of ADR-0008).

Laws of this file:
- `chat` and `embed` read in the order of the steps; the first that fails answers.
- What was reserved, held or opened is settled, given back and closed exactly once, however the exchange ends.
- Nobody learns who answered: what goes on is made here, cut to the contract and judged by it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs

from dragoman.contract.mould import HOLE, Mould
from dragoman.contract.operation import Form, Operation
from dragoman.errors import Kind, Refusal
from dragoman.gate.admitted import Admitted
from dragoman.gate.usage import Reservation, TokenLimits, input_estimate, output_estimate
from dragoman.guardrails import (
    Blocked,
    Screen,
    Screened,
    Screens,
    StreamScreen,
    Verdict,
    Webhook,
    ask_webhooks,
    end_stream,
    screen_input,
    screen_output,
)
from dragoman.model import CATCH_ALL, NOBODY, Alias, Guardrail, Target, Usage
from dragoman.ports import (
    Catalogue,
    Chunks,
    Divertible,
    Fault,
    Ledger,
    LedgerEntry,
    Meter,
    Sink,
    Upstream,
    UpstreamError,
    Upstreams,
)
from dragoman.routing import Failure, Routed, Router, RoutingError
from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import completion
from dragoman.translate.embeddings import embedding_list
from dragoman.translate.grammar import GrammarError
from dragoman.translate.sse import DONE, frame, framed
from dragoman.translate.usage import usage_document, usage_of

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

NO_USAGE: Final = usage_document(Usage())
"""What callers are told where the dialect tells them nothing."""

_TOLD: Final[Mapping[Failure, Kind]] = {
    Failure.UNAVAILABLE: Kind.UPSTREAM_UNAVAILABLE,
    Failure.TIMEOUT: Kind.UPSTREAM_TIMEOUT,
    Failure.OPEN: Kind.CIRCUIT_OPEN,
    Failure.LIMITED: Kind.RATE_LIMITED,
    Failure.FULL: Kind.OVERLOADED,
    Failure.REJECTED: Kind.INVALID_REQUEST,
}
"""What a caller is told where nobody answers."""

_REJECTED: Final = "The model did not accept the request."

_CHARACTERS: Final = 4
"""How many characters of an answer are taken for a token where the upstream does not say what it used."""


@attrs.define(kw_only=True)
class Account:
    """What an exchange has taken until now; it is closed once, when the exchange ends.

    *asked* is whether any target was; *text_length* counts the characters of the answer.
    """

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

    @property
    def model(self) -> str:
        """The model as the caller knows it: the alias, or what he sent where it is passed on."""
        asked = self.admitted.request
        return asked.model if asked is not None and self.alias.id == CATCH_ALL else self.alias.id

    @property
    def id(self) -> str:
        """The id of the answer: that of the request, as OpenAI would begin it."""
        prefix = self.admitted.operation.traits.id_prefix
        return f"chatcmpl-{self.admitted.event.request_id.removeprefix(prefix)}"

    @property
    def created(self) -> int:
        """When the request arrived, in Unix seconds."""
        return int(self.at.timestamp())

    def judged(self, document: Document) -> Document:
        """Return what may leave of an answer, with the request's id where the contract has a place for it.

        Raises:
            UpstreamError: it breaks the contract.
        """
        success, event = self.admitted.operation.success, self.admitted.event
        told = {**document, "request_id": event.caller_request_id or event.request_id}
        kept = None if success is None else success.body.kept(told)
        if kept is None:
            raise UpstreamError(Fault.GARBLED)
        return kept

    def told_usage(self, document: Document) -> Document:
        """Return the usage as the caller is told it: that in *document*, else an estimate, or zeros."""
        if self.admitted.operation.traits.zero_usage:
            return NO_USAGE
        stated: Document | None = document.get("usage")
        return usage_document(self.estimated()) if stated is None else stated

    def note(self, verdicts: Sequence[Verdict]) -> None:
        """Note which guardrails have found what: keys and categories, as metadata."""
        if verdicts:
            told = [f"{one.guardrail_key}:{'+'.join(found.category for found in one.findings)}" for one in verdicts]
            noted = self.admitted.event.guardrails
            self.admitted.event.guardrails = ",".join([*([noted] if noted else ()), *told])

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


@attrs.frozen(kw_only=True)
class _Window:
    """What the chunks of one answer go through: a *stream* of the screen, and the *webhook* that it asks, if any."""

    stream: StreamScreen
    webhook: Webhook | None

    def passing(self, chunks: Sequence[Document]) -> list[Document]:
        """Return what may go out now that *chunks* have come.

        Raises:
            Blocked: nothing may go out any more.
        """
        return [passed for chunk in chunks for passed in self.stream.feed(chunk)]

    async def rest(self, account: Account) -> list[Document]:
        """Return what was held back, at the end of the answer.

        Raises:
            Blocked: see `passing`.
        """
        if self.webhook is None:
            held: Sequence[Document] = self.stream.end()
            account.note(self.stream.verdicts)
            return list(held)
        screened = await end_stream(self.stream, self.webhook)
        account.note(screened.verdicts)
        return list(screened.document)


@attrs.define(kw_only=True)
class ChatEvents:
    """A streamed answer: whole events in bytes. Whoever has it closes it, wherever it is; closing again does nothing.

    What fails is raised: a `Refusal` says what the caller may be told of it.
    """

    _account: Account
    _routed: Routed[Chunks]
    _grammar: ChatStream
    _window: _Window | None
    _form: Form
    _broken: GrammarError | UpstreamError | None = None
    _moulds: dict[int, Mould | None] = attrs.field(factory=dict, init=False)
    _arriving: AsyncIterator[Sequence[Document]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._arriving = aiter(self._routed.value)

    async def piece(self) -> bytes:
        """Return the events that have arrived together, as soon as they have; nothing behind the last.

        PERF: a generator would take longer than all else that is done here for an event.
        """
        account = self._account
        if account.closed:
            return b""
        try:
            self._require_unbroken()
            async for arrived in self._arriving:
                frames = self._plain(arrived) or self._relayed(arrived)
                if frames:
                    return frames
                self._require_unbroken()
            return await self._ending()
        except Blocked as blocked:
            refusal = _blocked(account, blocked)
            await self._end(refusal)
            raise refusal from None
        except (UpstreamError, GrammarError) as error:
            failure = error if isinstance(error, UpstreamError) else UpstreamError(Fault(error.reason.value))
            await self._end(failure)
            raise _told(account, failure) from None
        except Exception as error:
            await self._end(error)
            raise

    def divert(self, sink: Sink) -> None:
        """Let pieces of text go into *sink* as they arrive, where nothing else is to be done with them.

        PERF: nearly all of a stream goes this way, in two thirds of the time that it takes to wake who waits for it.
        """
        chunks = self._routed.value
        if self._window is None and isinstance(chunks, Divertible):

            def taken(chunk: Document) -> bool:
                plain = self._plain((chunk,)) if sink.ready and not self._account.closed else None
                if plain is not None:
                    sink.push(plain)
                return plain is not None

            chunks.divert(taken)

    async def aclose(self) -> None:
        """Close what is open, and settle; a caller who has left is settled with what he got."""
        await self._end(GeneratorExit())

    def _plain(self, arrived: Sequence[Document]) -> bytes | None:
        """Return one chunk that is but a piece of text as it goes out, or None where it is none.

        PERF: nearly every chunk is; what stands around the text is cut down and judged once.
        """
        if self._window is not None or len(arrived) != 1:
            return None
        piece = self._grammar.piece(arrived[0])
        if piece is None:
            return None
        index, text = piece
        if index not in self._moulds:
            self._moulds[index] = self._form.mould(self._grammar.chunk(index, HOLE))
        mould = self._moulds[index]
        if mould is None:
            return None
        self._grammar.said(text)
        return framed(mould.filled(text))

    def _relayed(self, arrived: Sequence[Document]) -> bytes:
        """Return what goes out of the chunks that *arrived*, whatever they are."""
        said = self._sound(arrived)
        if said:
            self._account.begin()
        if self._window is not None:
            said = self._window.passing(said)
        return self._frames(said)

    async def _ending(self) -> bytes:
        """Return what ends the stream, and settle."""
        account = self._account
        account.text_length = self._grammar.text_length
        usage = self._grammar.end(estimate=account.estimated())
        rest = [] if self._window is None else await self._window.rest(account)
        if usage is not None:
            rest.append({**usage, "usage": account.told_usage(usage)})
        ending = self._frames(rest)
        self._require_unbroken()
        await self._end(None)
        return ending + DONE

    def _sound(self, arrived: Sequence[Document]) -> Sequence[Document]:
        """Return what goes on of the chunks that *arrived*; one that is none is noted, and goes behind those before."""
        feed, said = self._grammar.feed, []
        try:
            for document in arrived:
                chunk = feed(document)
                if chunk is not None:
                    said.append(chunk)
        except GrammarError as error:
            self._broken = error
        return said

    def _frames(self, chunks: Sequence[Document]) -> bytes:
        """Return *chunks* as they go out; one that breaks the contract is noted, and goes behind those before it."""
        kept, frames = self._form.kept, []
        for chunk in chunks:
            whole = kept(chunk)
            if whole is None:
                self._broken = UpstreamError(Fault.GARBLED)
                break
            frames.append(frame(whole))
        return b"".join(frames)

    def _require_unbroken(self) -> None:
        """Raise what was noted, now that what came before it has gone out."""
        if self._broken is not None:
            raise self._broken

    async def _end(self, error: BaseException | None) -> None:
        """Settle, once: at the end, where it fails with *error*, or when the caller has left."""
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
    webhook: Webhook
    ledger: Ledger
    meter: Meter
    now: Callable[[], datetime]

    async def chat(self, admitted: Admitted) -> Document | ChatEvents:
        """Return a chat completion, whole, or its events where the request asks for a stream."""
        alias = _alias_of(admitted, "llm", Kind.MODEL_NOT_LLM)
        account = await self._open(admitted, alias, output_estimate)
        try:
            guardrails = await self._guardrails(account)
            document = await self._screened(account, guardrails)
            if admitted.request is not None and admitted.request.stream:
                return await self._streamed(account, guardrails, document)
            return await self._whole(account, guardrails, document)
        except BaseException as error:
            account.close(_outcome(error))
            raise

    async def embed(self, admitted: Admitted) -> Document:
        """Return a list of embeddings."""
        alias = _alias_of(admitted, "embedding", Kind.MODEL_NOT_EMBEDDING)
        account = await self._open(admitted, alias, lambda _: 0)
        try:
            document = await self._screened(account, await self._guardrails(account))
            return await self._embedded(account, document)
        except BaseException as error:
            account.close(_outcome(error))
            raise

    async def _open(self, admitted: Admitted, alias: Alias, answer: Callable[[Document], int]) -> Account:
        """Return the account of a request that has reserved what it and its *answer* may take, or refuse it."""
        document, at = admitted.document or {}, self.now()
        input_tokens = input_estimate(document, admitted.event.request_bytes or 0)
        reservation = await self.tokens.reserve(
            admitted.operation,
            admitted.principal,
            alias,
            estimate=input_tokens + answer(document),
            at=at,
            met=admitted.met,
            met_tokens=admitted.met_tokens,
        )
        return Account(
            admitted=admitted,
            alias=alias,
            at=at,
            reservation=reservation,
            ledger=self.ledger,
            meter=self.meter,
            input_tokens=input_tokens,
        )

    async def _guardrails(self, account: Account) -> Sequence[Guardrail]:
        """Return what watches this exchange."""
        principal = account.admitted.principal
        organization = NOBODY if principal is None else principal.organization
        return await self.catalogue.guardrails(organization, account.alias)

    async def _screened(self, account: Account, guardrails: Sequence[Guardrail]) -> Document:
        """Return the request as it may go on, or refuse it."""
        document = account.admitted.document or {}
        screen = self.screens.of(guardrails, stage="input")
        return document if screen is None else await self._looked_at(account, screen, screen_input, document)

    async def _looked_at(
        self, account: Account, screen: Screen, look: Callable[[Screen, Document], Screened], document: Document
    ) -> Document:
        """Return *document* as *screen* lets it pass, or refuse the request."""
        try:
            screened = look(screen, document)
            if screen.webhooks:
                screened = await ask_webhooks(screen, screened, self.webhook)
        except Blocked as blocked:
            raise _blocked(account, blocked) from None
        account.note(screened.verdicts)
        passed: Document = screened.document
        return passed

    async def _whole(self, account: Account, guardrails: Sequence[Guardrail], document: Document) -> Document:
        """Return the completion of one of the targets."""

        async def attempt(upstream: Upstream, model: str, target: Target) -> Document:
            answer = await upstream.chat(document, model=model, timeouts=target.timeouts)
            read = completion(answer, id=account.id, created=account.created, model=account.model)
            account.usage, account.text_length = read.usage, read.text_length
            return account.judged({**read.document, "usage": account.told_usage(read.document)})

        with (routed := await self._route(account, attempt)).hold:
            account.begin()
            told = routed.value
            screen = self.screens.of(guardrails, stage="output")
            if screen is not None:
                told = await self._looked_at(account, screen, screen_output, told)
            account.close("ok")
            return told

    async def _streamed(self, account: Account, guardrails: Sequence[Guardrail], document: Document) -> ChatEvents:
        """Return the events of one of the targets, whose first one is there."""

        async def attempt(upstream: Upstream, model: str, target: Target) -> Chunks:
            return await upstream.chat_stream(document, model=model, timeouts=target.timeouts)

        options = document.get("stream_options") or {}
        grammar = ChatStream(
            id=account.id,
            created=account.created,
            model=account.model,
            include_usage=bool(options.get("include_usage")),
        )
        form = _event_form(account.admitted.operation)
        screen = self.screens.of(guardrails, stage="output")
        window = None
        if screen is not None:
            window = _Window(stream=StreamScreen(screen), webhook=self.webhook if screen.webhooks else None)
        routed = await self._route(account, attempt)
        return ChatEvents(account=account, routed=routed, grammar=grammar, window=window, form=form)

    async def _embedded(self, account: Account, document: Document) -> Document:
        """Return the vectors of one of the targets."""

        async def attempt(upstream: Upstream, model: str, target: Target) -> Document:
            answer = await upstream.embed(document, model=model, timeouts=target.timeouts)
            read = embedding_list(answer, model=account.model)
            account.usage = usage_of(read.get("usage"))
            return account.judged({**read, "usage": account.told_usage(read)})

        with (routed := await self._route(account, attempt)).hold:
            account.begin()
            account.close("ok")
            return routed.value

    async def _route(self, account: Account, attempt: Callable[[Upstream, str, Target], Awaitable[T]]) -> Routed[T]:
        """Return what one of the alias's targets answers to *attempt*, or refuse the request."""

        async def reached(target: Target) -> T:
            account.asked, account.target = True, target
            try:
                upstream = self.upstreams.upstream(target.provider)
            except KeyError:
                raise UpstreamError(Fault.UNREACHABLE) from None
            try:
                return await attempt(upstream, target.model or account.model, target)
            except GrammarError as error:
                raise UpstreamError(Fault(error.reason.value)) from None

        try:
            routed = await self.router.forward(account.alias.targets, reached)
        except RoutingError as error:
            account.attempts = error.attempts
            raise _nobody(account, error) from None
        account.attempts = routed.attempts
        return routed


def _event_form(operation: Operation) -> Form:
    """Return what an event of a stream must be."""
    form = None if operation.success is None else operation.success.event
    assert form is not None, operation.id  # noqa: S101 - a contract whose chat has no stream is not for this handler
    return form


def _alias_of(admitted: Admitted, category: str, other: Kind) -> Alias:
    """Return the alias that was asked for, if it is of the *category*; *other* is the refusal of another one."""
    alias = admitted.alias
    if alias is None and admitted.operation.traits.pass_unknown_model:
        raise Refusal(Kind.UPSTREAM_UNAVAILABLE, alias=admitted.request.model if admitted.request else "")
    if alias is None:
        raise Refusal(Kind.MODEL_NOT_FOUND)
    if alias.id != CATCH_ALL and alias.category != category:
        raise Refusal(other)
    return alias


def _told(account: Account, error: UpstreamError) -> Refusal:
    """Return what the caller is told of a stream that failed with *error*."""
    kind = Kind.UPSTREAM_TIMEOUT if error.fault is Fault.TIMEOUT else Kind.UPSTREAM_UNAVAILABLE
    return Refusal(kind, alias=account.model)


def _nobody(account: Account, error: RoutingError) -> Refusal:
    """Return what the caller is told where no target has answered."""
    kind, last = _TOLD[error.kind], error.last
    if kind is Kind.INVALID_REQUEST:
        code, param = (None, None) if last is None else (last.code, last.param)
        return Refusal(kind, param=param, code=code or "invalid_request", reason=_REJECTED)
    waiting = {} if error.retry_after is None else {"retry_after": error.retry_after}
    return Refusal(kind, alias=account.model, **waiting)


def _blocked(account: Account, blocked: Blocked) -> Refusal:
    """Return what the caller is told of what a guardrail *blocked*."""
    verdict = Verdict(guardrail_key=blocked.guardrail_key, action=blocked.action, findings=blocked.findings)
    account.note((verdict,))
    findings = [{"category": one.category, "message": one.message} for one in blocked.findings]
    return Refusal(Kind.GUARDRAIL_BLOCK, guardrail_key=blocked.guardrail_key, action=blocked.action, findings=findings)


def _outcome(error: BaseException | None) -> str:
    """Return how an exchange ended, as the ledger has it."""
    match error:
        case None:
            return "ok"
        case Refusal(kind=kind):
            return kind.value
        case UpstreamError(fault=fault):
            return fault.value
        case asyncio.CancelledError() | GeneratorExit():
            return "left"
        case _:
            return Kind.INTERNAL_ERROR.value
