"""What a batch costs: so much whatever its size, and so much a row.

A Kalman filter over the two. It knows which of them a batch can tell of: batches of
like size say nothing of how their time is split, so the split stays as it was learned
from unlike ones, however many come; and what changes then is put down to the rows,
which differ, rather than to round trips and commits, which do so less.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

__all__ = ["LEAST_ROWS", "Cost", "at_first", "corrected", "raised"]

DEVIATION = 0.3
"""Relative deviation of one batch's time. A quarter was seen; heavier tails are not."""

ROW_DRIFT = 0.015
"""Share that the cost of a row may change by from batch to batch. With `DEVIATION`, a
batch counts for a twentieth in the mean. Twice as much follows a change twice as soon;
but then a size that was chosen by noise moves with it, and within 10,000 batches the
fixed part is worn away."""

FIXED_DRIFT = 0.003
"""The same of the fixed cost, which changes with the network and the disk: seldom."""

FIXED_IN_ROWS = 100
"""Rows that cost as much as the fixed part, before sizes can be compared: 80 to 200
on a quick disk, 1,000 and more on one in the cloud. Too few errs to small batches."""

UNSURE = 0.4
"""How far off the first split may be, and what a change leaves of what was known, as
a share of the time."""

LEAST_ROWS = 0.05
"""Share of a batch's time that its rows take at least. They cost something."""


class Cost(NamedTuple):
    """The estimate, with what is not known of it.

    Attributes:
        fixed: Seconds a batch, whatever its size.
        a_row: Seconds a row.
        fixed_doubt: The variance of *fixed*.
        row_doubt: The variance of *a_row*.
        link: Their covariance; below 0, where only their sum is known.
    """

    fixed: float
    a_row: float
    fixed_doubt: float = 0.0
    row_doubt: float = 0.0
    link: float = 0.0

    def of(self, size: int) -> float:
        """Return the seconds that a batch of *size* rows should take."""
        return self.fixed + self.a_row * size


def at_first(size: int, seconds: float) -> Cost:
    """Return the cost by a first batch alone. It is often a cold one."""
    a_row = seconds / (FIXED_IN_ROWS + size)
    doubt = (UNSURE * seconds) ** 2
    return Cost(seconds - a_row * size, a_row, doubt, doubt / size**2)


def corrected(cost: Cost, size: int, surprise: float) -> tuple[Cost, float]:
    """Return *cost* after a batch, and what one of *size* should take now, in seconds.

    Args:
        cost: Before the batch.
        size: Its rows.
        surprise: The logarithm of its time / the one expected, as far as believed.
    """
    expected = cost.of(size)
    fixed_doubt = cost.fixed_doubt
    if fixed_doubt < (UNSURE * expected) ** 2:
        fixed_doubt += (FIXED_DRIFT * cost.fixed) ** 2
    row_doubt = cost.row_doubt + (ROW_DRIFT * cost.a_row) ** 2
    for_fixed = fixed_doubt + size * cost.link
    for_row = cost.link + size * row_doubt
    doubt = for_fixed + size * for_row
    total = doubt + (DEVIATION * expected) ** 2
    # Upwards the logarithm, which trusts a long batch less; downwards all of it.
    missed = expected * (surprise if surprise > 0 else exp(surprise) - 1.0)
    after = Cost(
        cost.fixed + missed * for_fixed / total,
        cost.a_row + missed * for_row / total,
        # Rounding must not make a variance negative.
        max(fixed_doubt - for_fixed**2 / total, 0.0),
        max(row_doubt - for_row**2 / total, 0.0),
        cost.link - for_fixed * for_row / total,
    )
    now = expected * exp(surprise * doubt / total)
    return _possible(after, size, now), now


def raised(cost: Cost, size: int, seconds: float) -> Cost:
    """Return *cost* with a row as dear as *seconds* for *size* say: all has changed."""
    a_row = max(cost.a_row, (seconds - cost.fixed) / size)
    return cost._replace(a_row=a_row, row_doubt=(UNSURE * a_row) ** 2, link=0.0)


def _possible(cost: Cost, size: int, seconds: float) -> Cost:
    """Return *cost* with nothing below zero, and *seconds* for *size* as they are."""
    fixed = min(max(cost.fixed, 0.0), (1.0 - LEAST_ROWS) * seconds)
    return cost._replace(fixed=fixed, a_row=(seconds - fixed) / size)
