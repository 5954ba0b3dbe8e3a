"""The metrics: what Prometheus reads is what was counted."""

import random
import subprocess
import sys
from collections import Counter

from gateway_conformance.rules import confirms
from prometheus_client.parser import text_string_to_metric_families

from dragoman.adapters.metrics import DURATIONS, FIRST_TOKENS, MemoryMeter
from dragoman.model import Usage
from process import environment

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(meter: MemoryMeter) -> Samples:
    """Return what Prometheus reads: by the name of a sample and its labels."""
    families = text_string_to_metric_families(meter.exposition().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float | None:
    """Return the value of one sample."""
    return samples.get((name, frozenset(labels.items())))


@confirms("ADR-0042.R1")
def test_before_anything_was_counted_there_is_nothing_but_the_metrics() -> None:
    """A new gateway tells the names of its metrics, and that nobody is served."""
    meter = MemoryMeter()

    assert {("dragoman_in_flight_requests", frozenset()): 0.0} == read(meter)
    types = [line for line in meter.exposition().decode().splitlines() if line.startswith("# TYPE")]
    assert [
        "# TYPE dragoman_requests_total counter",
        "# TYPE dragoman_request_duration_seconds histogram",
        "# TYPE dragoman_in_flight_requests gauge",
        "# TYPE dragoman_tokens_total counter",
        "# TYPE dragoman_time_to_first_token_seconds histogram",
    ] == types


@confirms("ADR-0042.R1")
def test_requests_are_counted_by_mount_operation_and_status() -> None:
    """Each answer counts once, and one that did not get so far has `none` for what it did not reach."""
    meter = MemoryMeter()
    places = [("/", "chat", 200), ("/", "chat", 200), ("/", "chat", 429), ("/api", "chat", 200), (None, None, None)]
    for place in places:
        meter.arrived()
        meter.answered(*place, 0.5)
    meter.arrived()

    samples = read(meter)

    name = "dragoman_requests_total"
    assert [2, 1, 1, 1] == [
        of(samples, name, mount=mount, operation=operation, status=status)
        for mount, operation, status in (
            ("/", "chat", "200"),
            ("/", "chat", "429"),
            ("/api", "chat", "200"),
            ("none", "none", "none"),
        )
    ]
    assert 3 == of(samples, "dragoman_request_duration_seconds_count", mount="/", operation="chat")
    assert 1 == of(samples, "dragoman_in_flight_requests")


@confirms("ADR-0042.R1")
def test_a_duration_is_in_each_bucket_that_is_no_shorter() -> None:
    """What took exactly as long as a bound is within it; what took longer than all is in the last one only."""
    meter, chance = MemoryMeter(), random.Random(5)  # noqa: S311 - the same on every run
    took = [0.0, *DURATIONS, *(bound * 1.000001 for bound in DURATIONS), *(chance.expovariate(1) for _ in range(99))]
    for seconds in took:
        meter.arrived()
        meter.answered("/", "chat", chance.choice((200, 502)), seconds)
    waited = [0.0, *FIRST_TOKENS, 10.1]
    for seconds in waited:
        meter.first_token("general", seconds)

    samples = read(meter)

    for name, labels, bounds, given in (
        ("dragoman_request_duration_seconds", {"mount": "/", "operation": "chat"}, DURATIONS, took),
        ("dragoman_time_to_first_token_seconds", {"alias": "general"}, FIRST_TOKENS, waited),
    ):
        for bound in bounds:
            within = sum(seconds <= bound for seconds in given)
            assert within == of(samples, f"{name}_bucket", le=str(bound), **labels)
        assert (
            len(given) == of(samples, f"{name}_bucket", le="+Inf", **labels) == of(samples, f"{name}_count", **labels)
        )
        total = of(samples, f"{name}_sum", **labels)
        assert total is not None
        assert abs(total - sum(given)) < 1e-6


@confirms("ADR-0042.R1")
def test_tokens_are_counted_by_alias_and_direction() -> None:
    """What requests for an alias used is added up; a name with quotes in it is told as it is."""
    meter, spent = MemoryMeter(), Counter[tuple[str, str]]()
    for number, alias in enumerate(("general", "general", 'odd"\\\nname')):
        meter.spent(alias, Usage(input_tokens=10 + number, output_tokens=number))
        spent[alias, "input"] += 10 + number
        spent[alias, "output"] += number

    samples = read(meter)

    assert spent == {place: of(samples, "dragoman_tokens_total", alias=place[0], direction=place[1]) for place in spent}


def test_no_command_pays_for_the_metrics() -> None:
    """Importing the adapter imports nothing of Prometheus; making a meter does, so that no request waits for it."""
    script = (
        "import sys; from dragoman.adapters.metrics import MemoryMeter;"
        "before = 'prometheus_client' in sys.modules; MemoryMeter();"
        "print(before, 'prometheus_client' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, check=True, text=True
    )

    assert "False True\n" == printed.stdout
