"""How fast, how much, how long still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["WINDOW", "Sample", "eta_of", "rate_of", "share_of", "windowed"]

WINDOW = 60.0
"""Seconds of running time that a rate is taken over."""

Sample: TypeAlias = tuple[float, int]
"""Running seconds, pauses not counted, and the rows done by then."""


def windowed(samples: Sequence[Sample], sample: Sample) -> tuple[Sample, ...]:
    """Return *samples* with *sample*, less those that the window left behind.

    At most one sample a second is kept, so that fast runs do not grow it.
    """
    start = sample[0] - WINDOW
    kept = [old for old in samples if old[0] >= start]
    # The newest one from before the window is its left edge.
    if len(kept) < len(samples) and (not kept or kept[0][0] > start):
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


def eta_of(rows: int, total: int | None, rate: float | None) -> float | None:
    """Return the seconds left at *rate*."""
    if total is None or rate is None:
        return None
    return max(0, total - rows) / rate
