"""Samples taken in turns, so that a machine's moods fall on all candidates alike, and what they come to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

BATCHES = 5


@dataclass(frozen=True, slots=True)
class Samples:
    """Durations of one candidate, in milliseconds, in the order in which they were taken."""

    values: tuple[float, ...]

    def percentile(self, share: float) -> float:
        """The value that so much of all samples do not exceed."""
        return _percentile(self.values, share)

    @property
    def p50(self) -> float:
        return self.percentile(0.5)

    @property
    def p99(self) -> float:
        return self.percentile(0.99)

    def batches(self) -> list[Samples]:
        """The samples in as many pieces, for the spread."""
        size = len(self.values) // BATCHES
        return [Samples(self.values[start : start + size]) for start in range(0, size * BATCHES, size)]


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int, warm_up: int) -> dict[str, Samples]:
    """Runs every candidate once a round. The first `warm_up` rounds do not count."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warm_up + rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            lasted = (time.perf_counter() - started) * 1000
            if number >= warm_up:
                taken[name].append(lasted)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def combined(
    samples: Mapping[str, Samples], weights: Mapping[str, float], share: float
) -> tuple[float, float, float]:
    """A weighted sum of percentiles: over all samples, and the least and greatest of the batches."""
    total = sum(weight * samples[name].percentile(share) for name, weight in weights.items())
    pieces = {name: samples[name].batches() for name in weights}
    spread = [
        sum(weight * pieces[name][number].percentile(share) for name, weight in weights.items())
        for number in range(BATCHES)
    ]
    return total, min(spread), max(spread)


def middle(values: list[float]) -> tuple[float, float, float]:
    """Median, least and greatest of a few single measurements."""
    return median(values), min(values), max(values)


def _percentile(values: tuple[float, ...], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
