"""Starts what is to be measured, and measures it in turns.

Laws of this file:
- Whoever is measured has its core for itself: all others are held still meanwhile.
- Nobody is measured who does not answer as it should; who cannot be is missing, by name and reason.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs

from bench.load import Load, require_answers
from bench.peers import Peer
from bench.profiles import profile
from bench.report import CONSTANT, DIRECT, OURS, Figure, Run, Tally
from bench.serving import NotServedError, Program, Server, alone, served
from bench.subjects import House, Subject, constant, identity_service, phase_one, phase_two

STORE: Final = "store"
GRPC: Final = "grpc"
OWN: Final[Mapping[str, str]] = {
    DIRECT: "direct, no gateway",
    CONSTANT: "constant 501, bare Falcon",
    STORE: "Dragoman, Phase 1, keys in the store",
    GRPC: "Dragoman, Phase 1, identity over gRPC",
    OURS: "Dragoman, Phase 2",
}
"""What can be measured beside the peers, in the order in which it is."""

MANY: Final = 32
"""Connections: enough that a server never waits for the load."""

ENOUGH: Final = 700
"""Whole answers, beside which the `MANY` that are unread at the end weigh little."""

LONGEST: Final = 10
"""Seconds after which a round of whole answers ends all the same."""


@attrs.frozen(kw_only=True)
class Measured:
    """A subject that runs, and what its rounds show.

    *idle* is its memory before the first of them, *seconds* how long it is asked for whole answers by many at once.
    """

    subject: Subject
    server: Server
    tally: Tally
    idle: int
    seconds: int


@attrs.frozen(kw_only=True)
class Bench:
    """What every subject needs: a *core* of its own, a *load*, a *house* to live in and an *upstream* to forward to.

    *direct* is the upstream as it runs. The *peers* are *installed* in a folder; *place* is for logs and settings.
    """

    core: int
    load: Load
    place: Path
    peers: Mapping[str, Peer]
    installed: Path
    house: House
    upstream: Subject
    direct: Server

    def run(self, title: str, keys: Sequence[str], *, rounds: int, whole: bool) -> Run:
        """Measure the subjects with these *keys*: streams, and whole answers as well if they are wanted."""
        missing: dict[str, str] = {}
        with ExitStack() as stack:
            running = [one for key in keys for one in self._started(stack, key, missing)]
            servers = [one.server for one in running if one.subject.key != DIRECT]
            for number in range(rounds):
                for one in running:
                    with alone(one.server, servers):
                        self._measure(one, whole=whole)
                tell(f"round {number + 1} of {rounds}")
        return Run(title=title, tallies=[one.tally for one in running], missing=missing)

    def profiles(self) -> Iterator[str]:
        """Yield where the time of the gateway goes: in Phase 1, forwarding whole answers, and forwarding streams."""
        for title, key, streams in (
            ("Phase 1", STORE, False),
            ("Phase 2, whole", OURS, False),
            ("Phase 2, streamed", OURS, True),
        ):
            tell(f"profile of {title}")
            subject = self._subject(key, identity=None)

            def load(server: Server, subject: Subject = subject, *, streams: bool = streams) -> int:
                if streams:
                    self.load.streamed(subject, server)
                    return self.load.streams
                return int(self.load.whole(subject, server, connections=MANY).rate * self.load.seconds)

            try:
                yield profile(title, subject, self.place, core=self.core, load=load)
            except NotServedError as error:
                yield f"\n- missing: the profile of {title}: {error}\n"

    def _started(self, stack: ExitStack, key: str, missing: dict[str, str]) -> Iterator[Measured]:
        """Yield the subject with this *key*, started and warm; where it cannot be had, tell what is *missing*."""
        name = OWN[key] if key in OWN else self.peers[key].name
        tell(name)
        try:
            with ExitStack() as own:
                subject = self._subject(key, identity=self._identity(own) if key == GRPC else None)
                server = (
                    self.direct if key == DIRECT else own.enter_context(served(subject, self.place, core=self.core))
                )
                require_answers(self.load, subject, server)
                rate = self.load.whole(subject, server, connections=MANY).rate
                stack.push(own.pop_all())
        except NotServedError as error:
            tell(f"missing: {error}")
            missing[name] = str(error)
            return
        tally = Tally(key=key, name=name, forwards=subject.forwards)
        seconds = max(self.load.seconds, min(LONGEST, round(ENOUGH / max(rate, 1))))
        yield Measured(subject=subject, server=server, tally=tally, idle=server.tree().resident(), seconds=seconds)

    def _subject(self, key: str, *, identity: Program | None) -> Subject:
        match key:
            case "direct":
                return self.upstream
            case "constant":
                return constant()
            case "dragoman":
                return phase_two(self.house, self.place, upstream=self.upstream)
            case "store" | "grpc":
                return phase_one(self.house, identity=identity)
            case _:
                peer = self.peers[key]
                return peer.subject(peer.installed(self.installed), self.place, self.upstream)

    def _identity(self, own: ExitStack) -> Program:
        service = identity_service(self.house)
        own.enter_context(served(service, self.place, core=self.core))
        return service

    def _measure(self, one: Measured, *, whole: bool) -> None:
        subject, server, tally = one.subject, one.server, one.tally
        if whole:
            many = self.load.whole(subject, server, connections=MANY, seconds=one.seconds)
            tally.add(
                {
                    Figure.RATE: many.rate,
                    Figure.COST: many.cost,
                    Figure.MANY_MEDIAN: many.median,
                    Figure.MANY_LATE: many.late,
                    Figure.RESIDENT: server.tree().resident(),
                },
                many.complaints,
            )
        if whole and subject.forwards:
            single = self.load.whole(subject, server, connections=1)
            tally.add({Figure.ONE_MEDIAN: single.median, Figure.ONE_LATE: single.late}, single.complaints)
        if subject.forwards:
            flow = self.load.streamed(subject, server)
            tally.add(
                {
                    Figure.EVENT_COST: flow.cost,
                    Figure.FIRST_MEDIAN: flow.first_median,
                    Figure.FIRST_LATE: flow.first_late,
                    Figure.DELAY_MEDIAN: flow.delay_median,
                    Figure.DELAY_LATE: flow.delay_late,
                    Figure.PER_STREAM: max(0.0, (flow.peak - one.idle) / self.load.streams),
                },
                flow.complaints,
            )


def tell(word: str) -> None:
    """Tell who waits what is being done."""
    sys.stderr.write(f"bench: {word}\n")
