"""Where the time of a gateway goes: the share of each module's own time, by cProfile, under load.

Laws of this file:
- What the same gateway does without load is taken off, and what runs less often than every second request is start-up,
  or waiting, and does not count.
- cProfile makes calls dearer than they are, so the shares of code with many small functions are too high.
"""

import pstats
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from bench.report import table
from bench.serving import NotServedError, Server, last_words, served
from bench.subjects import Subject

SHOWN: Final = 25
"""Modules that a table has: the rest is small."""

MARKS: Final = ("/dragoman/", "/treaty/", "/site-packages/")


Functions = Mapping[tuple[str, str], tuple[int, float]]
"""Calls and own seconds of each function, by its file and its line and name."""


def profile(title: str, subject: Subject, place: Path, *, core: int, load: Callable[[Server], int]) -> str:
    """Return a table of where the time of *subject* goes under *load*, which returns how many requests it sent."""
    idle, _ = _timed(subject, place, core=core, load=lambda _: 0)
    loaded, requests = _timed(subject, place, core=core, load=load)
    own: dict[str, float] = defaultdict(float)
    for function, (calls, seconds) in loaded.items():
        calls_idle, seconds_idle = idle.get(function, (0, 0.0))
        if calls - calls_idle >= requests / 2:
            own[_module(*function)] += max(0.0, seconds - seconds_idle)
    total = sum(own.values()) or 1.0
    largest = sorted(own.items(), key=lambda one: -one[1])[:SHOWN]
    rows = [(name, f"{100 * spent / total:.1f} %") for name, spent in largest]
    return "\n".join([*table([title, "share of the time"], rows), ""])


def _timed(subject: Subject, place: Path, *, core: int, load: Callable[[Server], int]) -> tuple[Functions, int]:
    """Return what each function took, and what *load* returned.

    Raises:
        NotServedError: when it does not come up, or goes without a profile.
    """
    kept = place / "profile"
    kept.unlink(missing_ok=True)
    python, *arguments = subject.command
    profiled = attrs.evolve(subject, command=(python, "-m", "cProfile", "-o", str(kept), *arguments))
    with served(profiled, place, core=core) as server:
        requests = load(server)
    if not kept.exists():
        message = f"it left no profile: {last_words(server.log)}"
        raise NotServedError(message)
    timed: Mapping[tuple[str, int, str], Any] = pstats.Stats(str(kept)).stats  # type: ignore[attr-defined]
    functions = {
        (path, f"{line} {name}"): (calls, seconds) for (path, line, name), (calls, _, seconds, _, _) in timed.items()
    }
    return functions, requests


def _module(path: str, name: str) -> str:
    """Return the module of ours, or the library, that a profiled function belongs to."""
    for mark in MARKS:
        if mark in path:
            inside = path.rpartition(mark)[2]
            return f"{mark.strip('/')}/{inside}" if mark != "/site-packages/" else inside.split("/")[0]
    return f"built in: {name.partition(' ')[2]}" if path == "~" else Path(path).name
