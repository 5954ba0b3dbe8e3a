"""Pieces of text that go out as they arrive, beside whoever waits for them, are what would have gone out anyway."""

from collections.abc import Iterator, MutableMapping, Sequence
from itertools import cycle
from typing import Any

import attrs
from gateway_conformance.rules import confirms
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.model import Guardrail
from dragoman.ports import LedgerEntry
from fakes import OWN, Said, effective
from forwarding import ASKED, GENERAL, PHASE_2, USAGE, build_forwarder, chunk, streamed
from wire import stream_to


class Server:
    """Sends an answer, as the server does; fits the port `Sink`, and is ready now and then."""

    def __init__(self, readiness: Sequence[bool]) -> None:
        self.sent: list[bytes] = []
        self.pushed = 0
        self._readiness: Iterator[bool] = cycle(readiness)

    @property
    def ready(self) -> bool:
        """Whether a piece may be pushed."""
        return next(self._readiness)

    def push(self, piece: bytes) -> None:
        """Send a piece that was pushed."""
        self.pushed += 1
        self.sent.append(piece)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send what was not."""
        self.sent.append(message.get("body", b""))


TEXTS = st.text(max_size=4)
ARRIVING = st.lists(
    st.one_of(
        TEXTS.map(lambda text: [chunk({"content": text})]),
        TEXTS.map(lambda text: [chunk({"role": "assistant", "content": text}, system_fingerprint="canary")]),
        TEXTS.map(lambda text: [chunk({"content": text}, obfuscation="aaa", service_tier="default")]),
        TEXTS.map(lambda text: [chunk({"content": text}), chunk({"content": text})]),
        st.sampled_from(
            [
                [chunk({"reasoning_content": "hm"})],
                [chunk({"content": 7})],
                [chunk({"content": "early"}, usage=dict(USAGE))],
                [chunk({}, finish="stop")],
                [{"error": {"message": "canary"}}],
            ]
        ),
    ),
    max_size=6,
)


def told(said: list[Said], readiness: Sequence[bool], *, diverts: bool) -> tuple[bytes, LedgerEntry, int]:
    """Return the bytes of a stream, its entry in the ledger but for its times, and how often a piece was pushed."""
    forwarder, server = build_forwarder(said), Server(readiness)
    forwarder.upstream.diverts = diverts
    stream_to(forwarder.house.app, {**ASKED, "stream": True, "stream_options": {"include_usage": True}}, server.send)
    [entry] = forwarder.ledger.entries
    return b"".join(server.sent), attrs.evolve(entry, duration_ms=0.0, first_token_ms=None), server.pushed


@confirms("ADR-0047.R4")
@settings(max_examples=30)
@given(arriving=ARRIVING, readiness=st.lists(st.booleans(), min_size=1, max_size=5))
def test_what_goes_the_short_way_is_what_would_have_gone_out_anyway(
    arriving: list[Said], readiness: list[bool]
) -> None:
    """Whatever comes, and whenever the caller reads: the same bytes in the same order, and the same settlement."""
    begin, *_, finish, usage = streamed()
    said = [begin, *arriving, finish, usage]

    *short, _ = told(said, readiness, diverts=True)
    *long, pushed = told(said, readiness, diverts=False)

    assert long == short
    assert pushed == 0


def test_pieces_of_text_do_go_the_short_way() -> None:
    """All pieces of an ordinary answer are pushed, and nothing else of it."""
    sent, _, pushed = told(streamed("a", "b", "c"), [True], diverts=True)

    assert pushed == 3
    assert sent.count(b"data: ") == len(("role", "a", "b", "c", "finish", "usage", "done"))


@confirms("ADR-0047.R3", "ADR-0047.R4")
def test_what_has_to_be_judged_takes_the_long_way() -> None:
    """Where a contract bounds the text of an event, one that is too long ends the stream with an error."""
    document = effective(phases=PHASE_2)
    document["components"]["schemas"]["ChatDelta"]["properties"]["content"]["maxLength"] = 3
    forwarder, server = build_forwarder(streamed("ok", "too long", "no"), document=document), Server([True])
    forwarder.upstream.diverts = True

    stream_to(forwarder.house.app, {**ASKED, "stream": True}, server.send)

    told = b"".join(server.sent)
    assert (0, True, False) == (server.pushed, b'"ok"' in told, b'"no"' in told)
    assert (b"error" in told.rpartition(b"data: ")[2], b"" in server.sent[1:-1]) == (True, False)


@confirms("ADR-0047.R4")
def test_what_a_guardrail_watches_takes_the_long_way() -> None:
    """Nothing is pushed where an answer may have to be held back."""
    guardrail = Guardrail(key="words", action="flag", keywords=("secret",))
    watched = attrs.evolve(GENERAL, guardrails=("words",))
    forwarder = build_forwarder(streamed("a", "b"), aliases={OWN: (watched,)}, guardrails={"words": guardrail})
    forwarder.upstream.diverts, server = True, Server([True])

    stream_to(forwarder.house.app, {**ASKED, "stream": True}, server.send)

    assert (0, True) == (server.pushed, b"[DONE]" in b"".join(server.sent))
