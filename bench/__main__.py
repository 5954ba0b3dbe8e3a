"""What the gateway costs, beside the direct call, the least that an answer can cost, and other gateways (ADR-0044).

Started as `python -m bench`, `tox -e bench` or `tox -e bench-peers`. Each subject has the first core of this
process for itself; the upstream and the load have the second one. Rounds go from subject to subject, and the medians
are printed as Markdown tables. Everything it starts is on loopback, bounded in time, and ended by its process group. It
exits with 1 if something was missing, or not well.

For example:
    python -m bench --rounds 3 --only direct,dragoman
    python -m bench --peers .tox/peers --json figures.json
    python -m bench --streams 1000
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import attrs

from bench.load import Load, what_is_missing
from bench.peers import PEERS
from bench.report import DIRECT, OURS, as_json, describe_machine, report
from bench.rounds import MANY, OWN, Bench
from bench.serving import served
from bench.subjects import build_house, stub

STREAMS: Final = 100
PACE: Final = 20
"""Milliseconds between two events of a stream. More than a hundred streams are slower each, so that all of them
together send 5,000 events a second: what one core can bear, whoever forwards them."""

PIECES: Final = 100
"""Events of content that a stream has."""

KEYS: Final = (*OWN, *PEERS)
"""What can be measured, in order."""

LONGEST: Final = 30 * 60
"""Seconds after which all of it ends, whatever happens."""

OPEN_FILES: Final = 16_384


@attrs.frozen(kw_only=True)
class Asked:
    """What the command line says. *peers* is the folder of other gateways, where they are to be measured."""

    rounds: int
    seconds: int
    only: Sequence[str]
    streams: int | None
    pieces: int
    pace: int | None
    peers: Path | None
    profile: bool
    json: Path | None

    @property
    def whole(self) -> bool:
        """Whether whole answers are measured as well."""
        return self.streams is None

    def keys(self) -> Sequence[str]:
        """Return the keys of what is to be measured, in order."""
        if self.only:
            return [key for key in KEYS if key in self.only]
        if self.peers is not None:
            return [DIRECT, OURS, *PEERS]
        return list(OWN) if self.whole else [DIRECT, OURS]

    def load(self, core: int) -> Load:
        """Return the load, from one *core*."""
        streams = self.streams or STREAMS
        pace = self.pace or PACE * max(1, streams // STREAMS)
        return Load(core=core, seconds=self.seconds, streams=streams, pieces=self.pieces, pace=pace)

    def title(self, load: Load) -> str:
        """Return what is measured, and where."""
        whole = f"{self.seconds} s of whole answers with {MANY} connections and with 1, and " if self.whole else ""
        return (
            f"{describe_machine()}. {self.rounds} rounds of {whole}{load.streams} streams of {load.pieces} events, "
            f"one every {load.pace} ms."
        )


def main() -> None:
    """Measure, and print."""
    asked = read_arguments()
    cores = sorted(os.sched_getaffinity(0))[:2]
    missing = [*what_is_missing(), *(["a second core"] if len(cores) < 2 else [])]  # noqa: PLR2004 - one for the load
    if missing:
        sys.exit(f"bench: it needs {' and '.join(missing)}")
    bound(core=cores[1])
    load = asked.load(cores[1])
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stub(pieces=load.pieces, pace=load.pace)
        bench = Bench(
            core=cores[0],
            load=load,
            place=place,
            peers=PEERS,
            installed=asked.peers or place,
            house=build_house(place),
            upstream=upstream,
            direct=stack.enter_context(served(upstream, place, core=cores[1])),
        )
        run = bench.run(asked.title(load), asked.keys(), rounds=asked.rounds, whole=asked.whole)
        sys.stdout.write(report(run))
        sys.stdout.flush()
        if asked.json is not None:
            asked.json.write_text(json.dumps(as_json(run), indent=1), encoding="utf-8")
        if asked.profile:
            sys.stdout.writelines(bench.profiles())
    sys.exit(0 if run.well else 1)


def read_arguments() -> Asked:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds per subject (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds of whole answers, each time (default 3)")
    parser.add_argument("--only", type=_keys, default=(), metavar="KEY,…", help=f"of {', '.join(KEYS)}")
    parser.add_argument("--streams", type=int, help="measure this many streams at once, and no whole answers")
    parser.add_argument("--pieces", type=int, default=PIECES, help=f"events of a stream (default {PIECES})")
    parser.add_argument("--pace", type=int, help=f"milliseconds between them (default {PACE} for {STREAMS} streams)")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="measure other gateways as well, installed here")
    parser.add_argument("--profile", action="store_true", help="print where the time of the gateway goes as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every round in this file")
    return Asked(**vars(parser.parse_args()))


def _keys(text: str) -> Sequence[str]:
    keys = text.split(",")
    unknown = [key for key in keys if key not in KEYS]
    if unknown:
        message = f"unknown: {', '.join(unknown)}; known are {', '.join(KEYS)}"
        raise argparse.ArgumentTypeError(message)
    return keys


def bound(*, core: int) -> None:
    """Stay on the *core* of the load, open enough files, and end in good order: when asked to, and after `LONGEST`."""
    os.sched_setaffinity(0, {core})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(LONGEST)


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(f"bench: ended by {signal.Signals(number).name}")


if __name__ == "__main__":
    main()
