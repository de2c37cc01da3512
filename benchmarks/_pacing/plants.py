"""Tables that are no tables: what a batch costs, as a formula with noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

__all__ = ["PLANTS", "Plant", "noise"]

SIGMA, SPIKES, SPIKE = 0.25, 0.02, 4.0


@dataclass(frozen=True)
class Plant:
    """What batches cost.

    Attributes:
        fixed: Seconds a batch.
        a_row: Seconds a row that is affected.
        dearer: Times *a_row*, by the batch's number.
        density: Share of the rows that are affected, by the batch's number.
    """

    fixed: float
    a_row: float
    dearer: Callable[[int], float] = lambda _: 1.0
    density: Callable[[int], float] = lambda _: 1.0

    def seconds(self, size: int, number: int) -> float:
        """Return what a batch costs without noise."""
        # Looking at a row costs a hundredth of changing it.
        share = max(self.density(number), 0.01)
        return self.fixed + self.a_row * self.dearer(number) * share * size

    def speed(self, size: int, number: int) -> float:
        """Return rows a second of batches of *size*."""
        return size / self.seconds(size, number)


def noise(random: Random) -> float:
    """Return how many times as long as it costs a batch takes."""
    lone = SPIKE if random.random() < SPIKES else 1.0
    return random.lognormvariate(0.0, SIGMA) * lone


def _stepped(number: int) -> float:
    return 4.0 if number >= 500 else 1.0


def _sparse(number: int) -> float:
    return 0.01 if 100 <= number < 700 else 1.0


def _wide(number: int) -> float:
    return 20.0 if 500 <= number < 520 else 1.0


# A row costs what makes 5,000 of them a batch of half a second, as on a table with
# many indexes; the fixed part is that of a disk in the cloud.
FIXED, A_ROW = 0.002, 0.0001

PLANTS = {
    "flat": Plant(FIXED, A_ROW),
    "x4 step": Plant(FIXED, A_ROW, dearer=_stepped),
    # Dearer, so that the greatest size leaves room for a hundred times as many.
    "sparse": Plant(FIXED, 5 * A_ROW, density=_sparse),
    "wide rows": Plant(FIXED, A_ROW, dearer=_wide),
}
"""Costs that stay; that become four times as high at batch 500; one row in a hundred
to do from batch 100 to 700; and 20 batches of rows 20 times as wide."""
