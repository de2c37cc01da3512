"""How fast, how much, how long still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

__all__ = [
    "UNKNOWN",
    "WINDOW",
    "Eta",
    "Sample",
    "eta_of",
    "rate_of",
    "share_of",
    "windowed",
]

WINDOW = 60.0
"""Seconds of running time that a rate is taken over."""

PARTS = 6
"""Parts of a window whose rates are compared: how steady a run goes."""

Sample: TypeAlias = tuple[float, float]
"""Running seconds, pauses not counted, and the rows, or the share, done by then."""


class Eta(NamedTuple):
    """When a run will end.

    Attributes:
        seconds: Left at the rate of the window.
        low: Left if all goes as in the fastest part of the window.
        high: Left if all goes as in the slowest part that did anything.
    """

    seconds: float | None = None
    low: float | None = None
    high: float | None = None


UNKNOWN = Eta()


def windowed(samples: Sequence[Sample], sample: Sample) -> tuple[Sample, ...]:
    """Return *samples* with *sample*, less those that the window left behind.

    At most one sample a second is kept, so that fast runs do not grow it.
    """
    start = sample[0] - WINDOW
    kept = [old for old in samples if old[0] >= start]
    if not kept:
        # A batch that takes longer than the window does not make the rate unknown.
        kept = list(samples[-2:])
    elif len(kept) < len(samples) and kept[0][0] > start:
        # The newest one from before the window is its left edge.
        kept.insert(0, samples[len(samples) - len(kept) - 1])
    if len(kept) > 1 and kept[-1][0] - kept[-2][0] < 1.0:
        kept[-1] = sample
    else:
        kept.append(sample)
    return tuple(kept)


def rate_of(samples: Sequence[Sample]) -> float | None:
    """Return rows a second over *samples*; `None` where nothing was done yet."""
    if len(samples) < 2:
        return None
    (began, before), (ended, after) = samples[0], samples[-1]
    if ended <= began or after <= before:
        return None
    return (after - before) / (ended - began)


def share_of(rows: int, total: int | None) -> float | None:
    """Return the share of *total* that is done, from 0 to 1."""
    if total is None:
        return None
    return min(1.0, rows / total) if total > 0 else 1.0


def eta_of(left: float, samples: Sequence[Sample]) -> Eta:
    """Return the seconds for *left*, at the rate of *samples*, in their unit.

    `low` and `high` are known once the window has three parts to compare.
    """
    rate = rate_of(samples)
    if rate is None:
        return UNKNOWN
    seconds = max(0.0, left) / rate
    rates = list(_rates_of_parts(samples))
    if len(rates) < 3:
        return Eta(seconds)
    # Rounding must not put a steady run outside of its own interval.
    low = min(seconds, max(0.0, left) / max(rates))
    going = [part for part in rates if part > 0]
    return Eta(seconds, low, max(seconds, max(0.0, left) / min(going)))


def _rates_of_parts(samples: Sequence[Sample]) -> Iterator[float]:
    """Yield the rate of each of at most `PARTS` parts, which make up all of it."""
    length = (samples[-1][0] - samples[0][0]) / PARTS
    edges = [samples[0]]
    for sample in samples[1:]:
        if sample[0] - edges[-1][0] >= length * 0.999:
            edges.append(sample)
    # What is left over belongs to the last part, or it would weigh too much.
    edges[-1] = samples[-1] if len(edges) > 1 else edges[-1]
    for (began, before), (ended, after) in pairwise(edges):
        yield (after - before) / (ended - began)
