"""Samples taken in turns, so that a machine's moods fall on all candidates alike, and what they come to. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.rows import Reading

BATCHES = 5


@dataclass(frozen=True, slots=True)
class Samples:
    """Values of one candidate, in the order in which they were taken; durations are in milliseconds."""

    values: tuple[float, ...]

    @classmethod
    def joined(cls, slices: Sequence[Samples]) -> Samples:
        """The samples of all slices."""
        return cls(tuple(value for each in slices for value in each.values))

    def percentile(self, share: float) -> float:
        """The least of the samples that so much of all of them do not exceed."""
        return percentile(self.values, share)

    def batches(self) -> list[Samples]:
        """The samples in as many pieces, for the spread."""
        size = len(self.values) // BATCHES
        return [Samples(self.values[start : start + size]) for start in range(0, size * BATCHES, size)]


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int, warm_up: int) -> dict[str, Samples]:
    """Times every candidate once a round. The first `warm_up` rounds do not count."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warm_up + rounds):
        for name, run in candidates.items():
            lasted = milliseconds(run)
            if number >= warm_up:
                taken[name].append(lasted)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def milliseconds(run: Callable[[], object]) -> float:
    """How long it took."""
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1000


def combined(samples: Mapping[str, Samples], weights: Mapping[str, float], share: float) -> Reading:
    """A weighted sum of percentiles: over all samples; its spread is that of the batches."""
    total = sum(weight * samples[name].percentile(share) for name, weight in weights.items())
    pieces = {name: samples[name].batches() for name in weights}
    spread = [
        sum(weight * pieces[name][number].percentile(share) for name, weight in weights.items())
        for number in range(BATCHES)
    ]
    return Reading(total, min(spread), max(spread))


def ratio(over: Sequence[Samples], under: Sequence[Samples], share: float) -> Reading:
    """A percentile of one candidate in terms of another's; its spread is that of the slices."""
    spread = [one.percentile(share) / other.percentile(share) for one, other in zip(over, under, strict=True)]
    total = Samples.joined(over).percentile(share) / Samples.joined(under).percentile(share)
    return Reading(total, min(spread), max(spread))


def middle(values: Sequence[float]) -> Reading:
    """Median, least and greatest of a few measurements."""
    return Reading(percentile(values, 0.5), min(values), max(values))


def quartiles(values: Sequence[float]) -> Reading:
    """The median, between the quartiles: for many measurements, of which a few are disturbed."""
    return Reading(percentile(values, 0.5), percentile(values, 0.25), percentile(values, 0.75))


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so much of all of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
