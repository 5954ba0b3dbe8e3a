"""What was measured, as Markdown tables and as JSON.

Laws of this file:
- A figure is the median of its rounds. What a gateway adds is its figure less that of the direct call in the same run.
- Ratios stand beside what was asked for (ADR-0044), whether reached or not.
- What is missing, and every answer that was not as it should be, is named.
"""

import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import attrs


class Figure(StrEnum):
    """What is measured of a subject. Times are in seconds, memory is in bytes."""

    RATE = "requests_per_second"
    COST = "cpu_per_request"
    ONE_MEDIAN = "latency_p50_at_1"
    ONE_LATE = "latency_p99_at_1"
    MANY_MEDIAN = "latency_p50_at_32"
    MANY_LATE = "latency_p99_at_32"
    EVENT_COST = "cpu_per_event"
    FIRST_MEDIAN = "first_event_p50"
    FIRST_LATE = "first_event_p99"
    DELAY_MEDIAN = "event_delay_p50"
    DELAY_LATE = "event_delay_p99"
    RESIDENT = "resident"
    PER_STREAM = "resident_per_stream"


@attrs.frozen(kw_only=True)
class Tally:
    """The rounds of one subject: *figures* by name, and the *complaints* about its answers, if any."""

    key: str
    name: str
    forwards: bool
    figures: dict[Figure, list[float]] = attrs.field(factory=dict)
    complaints: list[str] = attrs.field(factory=list)

    def add(self, figures: Mapping[Figure, float], complaints: Iterable[str]) -> None:
        """Add what a round showed."""
        for figure, value in figures.items():
            self.figures.setdefault(figure, []).append(value)
        self.complaints.extend(complaints)

    def median(self, figure: Figure) -> float | None:
        """Return the median of a *figure*; None where it was not measured."""
        return statistics.median(self.figures[figure]) if figure in self.figures else None


@attrs.frozen(kw_only=True)
class Run:
    """What was run: a *title* that says how, the tallies, and what is *missing*: name -> reason."""

    title: str
    tallies: Sequence[Tally]
    missing: Mapping[str, str]

    @property
    def well(self) -> bool:
        """Whether nothing is missing, and every answer was as it should be."""
        return not self.missing and not any(tally.complaints for tally in self.tallies)

    def tally(self, key: str) -> Tally | None:
        """Return the tally of the subject with this *key*, if it was measured."""
        return next((tally for tally in self.tallies if tally.key == key), None)


NOTHING: Final = "-"
"""What stands where nothing was measured."""

DIRECT: Final = "direct"
CONSTANT: Final = "constant"
OURS: Final = "dragoman"

ASKED: Final[Mapping[str, Mapping[Figure, str]]] = {
    "litellm": {Figure.RATE: "40 or more", Figure.EVENT_COST: "0.05 or less"},
    "portkey": {Figure.RATE: "5 or more"},
    "smg": {Figure.RATE: "0.6 or more, goal 1", Figure.EVENT_COST: "1.5 or less, goal 1"},
}
"""The ratios that were asked for: ours to theirs."""


def report(run: Run) -> str:
    """Return all that was measured."""
    parts = [run.title, *_phase_one(run), *_whole(run), *_streams(run), *_beside(run), *_not_well(run)]
    return "\n".join([*parts, ""])


def as_json(run: Run) -> Mapping[str, Any]:
    """Return all that was measured, with every round."""
    return {
        "title": run.title,
        "subjects": {
            tally.key: {"name": tally.name, "rounds": tally.figures, "complaints": tally.complaints}
            for tally in run.tallies
        },
        "missing": run.missing,
    }


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, with an empty one before it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["", *(f"| {' | '.join(line)} |" for line in lines)]


def describe_machine() -> str:
    """Return what this machine is, in a line."""
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    parts = [f"{len(models)} cores ({', '.join(sorted(set(models)))})", f"Linux {platform.release()}"]
    return ", ".join([*parts, f"Python {platform.python_version()}", f"Node {_node()}"])


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        return "not there"
    ended = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=10)
    return ended.stdout.strip()


def _phase_one(run: Run) -> list[str]:
    tallies = [tally for tally in run.tallies if not tally.forwards and Figure.RATE in tally.figures]
    least = run.tally(CONSTANT)
    if not tallies:
        return []
    rows = [
        (
            tally.name,
            _number(tally.median(Figure.RATE)),
            _ratio(tally, least, Figure.RATE),
            _micros(tally.median(Figure.COST)),
            _ratio(least, tally, Figure.COST),
            _mebi(tally.median(Figure.RESIDENT)),
        )
        for tally in tallies
    ]
    heads = ["Phase 1", "requests/s", "of the constant", "CPU per request", "of the constant", "resident memory"]
    return table(heads, rows)


def _whole(run: Run) -> list[str]:
    tallies = [tally for tally in run.tallies if tally.forwards and Figure.RATE in tally.figures]
    if not tallies:
        return []
    direct = run.tally(DIRECT)
    latencies = (Figure.ONE_MEDIAN, Figure.ONE_LATE, Figure.MANY_MEDIAN, Figure.MANY_LATE)
    rows = [
        (
            tally.name,
            _number(tally.median(Figure.RATE)),
            _micros(tally.median(Figure.COST)),
            *(_added(tally, direct, figure) for figure in latencies),
            _mebi(tally.median(Figure.RESIDENT)),
        )
        for tally in tallies
    ]
    heads = ["chat whole", "requests/s at 32", "CPU per request", "added at 1, p50", "p99", "added at 32, p50", "p99"]
    return table([*heads, "resident memory"], rows)


def _streams(run: Run) -> list[str]:
    tallies = [tally for tally in run.tallies if Figure.EVENT_COST in tally.figures]
    if not tallies:
        return []
    direct = run.tally(DIRECT)
    delays = (Figure.FIRST_MEDIAN, Figure.FIRST_LATE, Figure.DELAY_MEDIAN, Figure.DELAY_LATE)
    rows = [
        (
            tally.name,
            _micros(tally.median(Figure.EVENT_COST)),
            *(_added(tally, direct, figure) for figure in delays),
            _kibi(tally.median(Figure.PER_STREAM)),
            "no" if tally.complaints else "yes",
        )
        for tally in tallies
    ]
    heads = ["chat streamed", "CPU per event", "added to the first, p50", "p99", "added to each, p50", "p99"]
    return table([*heads, "memory per stream", "every stream whole"], rows)


def _beside(run: Run) -> list[str]:
    ours = run.tally(OURS)
    peers = [tally for tally in run.tallies if tally.forwards and tally.key not in {OURS, DIRECT}]
    if ours is None or not peers:
        return []
    rows = [
        (
            peer.name,
            *(
                text
                for figure in (Figure.RATE, Figure.EVENT_COST)
                for text in (_ratio(ours, peer, figure), ASKED.get(peer.key, {}).get(figure, "nothing"))
            ),
            _ratio(ours, peer, Figure.COST),
            _ratio(ours, peer, Figure.RESIDENT),
        )
        for peer in peers
    ]
    heads = [f"{ours.name} to …", "requests/s", "asked for", "CPU per event", "asked for", "CPU per request", "memory"]
    return table(heads, rows)


def _not_well(run: Run) -> list[str]:
    lines = [f"- missing: {name}: {reason}" for name, reason in run.missing.items()]
    lines += [f"- not well: {tally.name}: {complaint}" for tally in run.tallies for complaint in tally.complaints]
    return ["", *lines] if lines else []


def _ratio(one: Tally | None, other: Tally | None, figure: Figure) -> str:
    above, below = (None if tally is None else tally.median(figure) for tally in (one, other))
    return NOTHING if above is None or not below else f"{above / below:.3g}"


def _added(tally: Tally, direct: Tally | None, figure: Figure) -> str:
    own, least = tally.median(figure), None if direct is None else direct.median(figure)
    if own is None or least is None:
        return NOTHING
    return f"({own * 1e3:.2f} ms)" if tally.key == DIRECT else f"{(own - least) * 1e3:+.2f} ms"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _micros(value: float | None) -> str:
    return NOTHING if value is None else f"{value * 1e6:,.1f} µs"


def _mebi(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 2**20:,.0f} MiB"


def _kibi(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 2**10:,.0f} KiB"
