"""How long it takes to refuse a token does not tell how much of it was right (the catalogue's A1, small)."""

import asyncio
import statistics
import time
from random import Random
from string import ascii_letters
from typing import Final

from gateway_conformance.rules import confirms

from dragoman.adapters.directory import NO_SEED, Contents, Directory, KnownKey, build_directory
from dragoman.adapters.tokens import digest_of, index_of
from fakes import NOW, PRINCIPAL

PEPPER: Final = b"p" * 32
KNOWN: Final = f"cgt_abcdefghijkl_{'s' * 43}"
ROUNDS: Final = 10_000
"""Samples of each kind, interleaved."""

BOUND: Final = 4.5
"""Welch's t beyond which a difference is taken for one (TVLA, as the catalogue has it)."""


def directory() -> Directory:
    """Return a directory that knows one token."""
    digest = digest_of(KNOWN, PEPPER)
    keys = {index_of(KNOWN, digest): KnownKey(digest=digest, principal=PRINCIPAL)}
    return build_directory(NO_SEED, now=lambda: NOW, stored=Contents(pepper=PEPPER, keys=keys))


def token(generator: Random, right: int) -> str:
    """Return a token with the right id, of whose secret the first *right* characters are right."""
    wrong = "".join(generator.choices(ascii_letters.replace("s", ""), k=43 - right))
    return f"{KNOWN[: 17 + right]}{wrong}"


async def sampled(known: Directory, generator: Random) -> tuple[list[int], list[int]]:
    """Return the nanoseconds of refusals: of tokens that are nearly right, and of ones wrong from the start."""
    late: list[int] = []
    early: list[int] = []
    for _ in range(ROUNDS):
        pair = [(late, token(generator, 42)), (early, token(generator, 0))]
        generator.shuffle(pair)
        for sample, sent in pair:
            before = time.perf_counter_ns()
            principal = await known.principal(sent)
            sample.append(time.perf_counter_ns() - before)
            assert principal is None
    return late, early


def welch(samples: tuple[list[int], list[int]]) -> float:
    """Return Welch's t of two samples, each without its slowest tenth, which is the machine's."""
    kept = [sorted(sample)[: len(sample) * 9 // 10] for sample in samples]
    means = [statistics.fmean(sample) for sample in kept]
    return float((means[0] - means[1]) / sum(statistics.variance(sample) / len(sample) for sample in kept) ** 0.5)


@confirms("ADR-0030.R2")
def test_a_right_beginning_is_refused_as_fast_as_a_wrong_one() -> None:
    """By time it cannot be told whether a secret is wrong at its end or from its start."""
    found = [welch(asyncio.run(sampled(directory(), Random(seed)))) for seed in range(3)]  # noqa: S311 - no secret

    assert statistics.median(map(abs, found)) < BOUND
