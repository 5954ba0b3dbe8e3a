"""What is counted for Prometheus, in plain numbers (ADR-0042).

Laws of this file:
- Counting costs a look into a table and an addition; only who asks for the figures pays for their form.
- Labels take their values from the settings and the catalogue, and never from what a caller sends.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

import attrs

from dragoman.model import Usage

if TYPE_CHECKING:
    from prometheus_client import Metric

DURATIONS: Final = (0.001, 0.0025, 0.005, *(0.01 * 2**step for step in range(14)))
"""Bounds of the durations of requests, in seconds.

They are those that OpenTelemetry's conventions for generative AI recommend for the duration of an operation, and three
below them for what the gateway answers by itself.
"""

FIRST_TOKENS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds of the times to the first token, as the same conventions recommend them."""

NONE: Final = "none"
"""The value of a label where a request did not get so far: to a mount, an operation or an answer."""


@attrs.define
class _Times:
    """How long something took, in seconds: how many times so long as each bound, or longer than all; and in all."""

    counts: list[int]
    total: float = 0.0


@attrs.define
class _Tokens:
    """What an alias took."""

    input: int = 0
    output: int = 0


_Request = tuple[str | None, str | None, int | None]
"""The mount, the operation and the status of a request."""


@attrs.define(eq=False)
class MemoryMeter:
    """Fits the port `Meter`, in one process."""

    in_flight: int = attrs.field(default=0, init=False)
    _requests: dict[_Request, _Times] = attrs.field(factory=dict, init=False)
    _first_tokens: dict[str, _Times] = attrs.field(factory=dict, init=False)
    _tokens: dict[str, _Tokens] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        # PERF: importing it takes 0.1 s, which no command pays that serves nobody, and no request.
        import_module("prometheus_client")

    def arrived(self) -> None:
        """Count a request that has arrived."""
        self.in_flight += 1

    def answered(self, mount: str | None, operation: str | None, status: int | None, seconds: float) -> None:
        """Count a request whose answer has ended, so many *seconds* after it arrived."""
        self.in_flight -= 1
        request = (mount, operation, status)
        times = self._requests.get(request)
        if times is None:
            times = self._requests[request] = _times(DURATIONS)
        times.counts[bisect_left(DURATIONS, seconds)] += 1
        times.total += seconds

    def first_token(self, alias: str, seconds: float) -> None:
        """Count how long a request for *alias* waited for the first token of its answer."""
        times = self._first_tokens.get(alias)
        if times is None:
            times = self._first_tokens[alias] = _times(FIRST_TOKENS)
        times.counts[bisect_left(FIRST_TOKENS, seconds)] += 1
        times.total += seconds

    def spent(self, alias: str, usage: Usage) -> None:
        """Count what a request for *alias* used."""
        tokens = self._tokens.get(alias)
        if tokens is None:
            tokens = self._tokens[alias] = _Tokens()
        tokens.input += usage.input_tokens
        tokens.output += usage.output_tokens

    def exposition(self) -> bytes:
        """Return all that was counted, in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - PERF, as above

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator["Metric"]:
        """Yield the metrics, as a registry collects them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - PERF, as above

        requests = CounterMetricFamily(
            "dragoman_requests", "Requests whose answer has ended.", labels=("mount", "operation", "status")
        )
        durations: dict[tuple[str, ...], _Times] = {}
        for (mount, operation, status), times in self._requests.items():
            place = (mount or NONE, operation or NONE)
            requests.add_metric((*place, NONE if status is None else str(status)), sum(times.counts))
            durations[place] = _sum(durations.get(place, _times(DURATIONS)), times)
        yield requests
        yield _histogram(
            "dragoman_request_duration_seconds",
            "From the arrival of a request to the end of its answer.",
            labels=("mount", "operation"),
            bounds=DURATIONS,
            series=durations,
        )
        yield GaugeMetricFamily(
            "dragoman_in_flight_requests", "Requests that have arrived and are not answered to the end.", self.in_flight
        )
        tokens = CounterMetricFamily("dragoman_tokens", "Tokens of forwarded requests.", labels=("alias", "direction"))
        for alias, one in self._tokens.items():
            tokens.add_metric((alias, "input"), one.input)
            tokens.add_metric((alias, "output"), one.output)
        yield tokens
        yield _histogram(
            "dragoman_time_to_first_token_seconds",
            "From the arrival of a forwarded request to the first of its answer.",
            labels=("alias",),
            bounds=FIRST_TOKENS,
            series={(alias,): times for alias, times in self._first_tokens.items()},
        )


def _times(bounds: Sequence[float]) -> _Times:
    return _Times([0] * (len(bounds) + 1))


def _sum(one: _Times, other: _Times) -> _Times:
    return _Times([sum(pair) for pair in zip(one.counts, other.counts, strict=True)], one.total + other.total)


def _histogram(
    name: str,
    documentation: str,
    *,
    labels: Sequence[str],
    bounds: Sequence[float],
    series: Mapping[tuple[str, ...], _Times],
) -> "Metric":
    """Return a histogram, in which each bucket counts what was no longer than its bound."""
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - PERF, as above

    family = HistogramMetricFamily(name, documentation, labels=labels)
    for values, times in series.items():
        below, buckets = 0, []
        for bound, count in zip((*map(str, bounds), "+Inf"), times.counts, strict=True):
            below += count
            buckets.append((bound, below))
        family.add_metric(values, buckets, times.total)
    return family
