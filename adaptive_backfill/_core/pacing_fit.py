"""What a batch costs whatever its size, from batches of different sizes.

A least-squares line through (size, seconds), with errors taken relative to what was
expected, and with the past fading.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

__all__ = ["NO_FIT", "Fit", "fitted", "fixed_of"]

KEPT = 0.95
"""What is kept of the past, a batch: a memory of 20."""

DEVIATION = 0.3
"""Relative deviation of one batch's time that is reckoned with."""

TRUSTED = 0.15
"""Standard error, as a share of a batch's time, up to which a line is believed. Where
all sizes were alike it is above it, and what was known before stays."""


class Fit(NamedTuple):
    """Weighted sums over the batches: of one, n, n², seconds, and n times seconds."""

    ones: float = 0.0
    sizes: float = 0.0
    squares: float = 0.0
    times: float = 0.0
    products: float = 0.0


NO_FIT = Fit()


def fitted(fit: Fit, size: int, seconds: float, expected: float) -> Fit:
    """Return *fit* with one batch more; *expected* weighs it."""
    weight = 1.0 / (expected * expected)
    return Fit(
        KEPT * fit.ones + weight,
        KEPT * fit.sizes + weight * size,
        KEPT * fit.squares + weight * size * size,
        KEPT * fit.times + weight * seconds,
        KEPT * fit.products + weight * size * seconds,
    )


def fixed_of(fit: Fit, expected: float) -> float | None:
    """Return the fixed seconds; `None` where the sizes were too much alike to tell."""
    spread = fit.ones * fit.squares - fit.sizes * fit.sizes
    # Of like sizes only rounding is left.
    if spread <= 1e-9 * fit.ones * fit.squares:
        return None
    error = DEVIATION * sqrt(fit.squares / spread)
    if error > TRUSTED * expected:
        return None
    return (fit.squares * fit.times - fit.sizes * fit.products) / spread
