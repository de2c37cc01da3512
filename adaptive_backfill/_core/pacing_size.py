"""The sizer: how many rows a batch takes, learned from the batches themselves.

A batch takes ``fixed + a_row * size`` seconds: round trips and commit, and the work.
The size wanted is the knee, the smallest one that makes the fixed part a small share:
more rows a batch gain little speed, and hold locks and the processor for longer. Rule:
from one and the same past, a slower batch never leads to a greater size than a quicker
one; so what a batch says of the fixed part counts from the next batch on.
"""

from __future__ import annotations

from math import exp, inf, log
from typing import NamedTuple

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.pacing_cost import (
    LEAST_ROWS,
    Cost,
    at_first,
    corrected,
    raised,
)
from adaptive_backfill._core.pacing_density import (
    GOOD,
    UNKNOWN_DENSITY,
    Density,
    met,
)

__all__ = ["FIRST_SIZE", "Batch", "Sizing", "reset_to", "shrunk", "sized", "starting"]

FIRST_SIZE = 100
"""Rows where nobody says: a tenth of what tools start with, at a few batches more."""

BAND = (0.80, 1.15)
"""A size is kept while it is this far from the one wanted, as size / wanted (lower)
and its inverse: batches of one size differ by a quarter, and their mean by a tenth."""

DOUBLING, GROWTH, GROWTH_EVERY = 2.0, 1.5, 3
"""Growth a step at first, and later, and the batches between two later steps; those
are the figures of spirit and Vitess."""

SMALLEST_STEP = 0.5
"""Share of the size that is left at least by a step down that is no panic: a single
estimate is not trusted with more."""

ALARM, AGAIN = 6.0, 3.0
"""Times as long as expected that is panic at once, and twice in a row. With batches
that differ by a quarter, three times happens once in a hundred thousand."""

PANIC = (0.25, 0.5)
"""Bounds of what a panic leaves of the size."""

BELIEVED = log(2.0)
"""A lone surprise counts at most double: it may be a checkpoint, or a stall."""

SPREAD_GAIN = 0.10
"""Share of a batch that is learned of how far batches exceed what is expected."""

UNSURE, COMPARE_EVERY, COMPARED = 0.03, 8, 0.25
"""Standard error of the fixed part, as a share of a batch's time, up to which it is
known well enough; the batches between two that are made smaller to learn of it where
it is not; and their share of the size. Some twenty such batches at first, and one in a
few hundred afterwards, which cost a thousandth. With 2 % a size changes twice as often,
and gains no speed (`benchmarks/pacing_sim.py`): about the knee speed is flat."""

UNSEEN = 0.0002
"""Seconds a batch costs beside its time in the database: what the engine needs for it,
with its wake-ups, on the machine of `benchmarks/engine.py`."""

MEASURED = (1e-6, 1e6)
"""Seconds between which a time is believed: beyond, arithmetic suffers."""


class Batch(NamedTuple):
    """One finished batch.

    Attributes:
        seconds: Time in the database.
        size: Rows asked for.
        rows: Rows affected; `None`: not known.
    """

    seconds: float
    size: int
    rows: int | None = None


class Sizing(NamedTuple):
    """The size, and what was learned.

    Attributes:
        size: Rows of the next batch.
        why: Why this step changed it, as a sentence; `None`: it did not.
        cost: What a batch and a row take; `None`: nothing learned.
        spread: By how much a batch is longer than expected, the mean logarithm.
        probing: The size to go back to after this one batch, which is smaller only
            to learn of the fixed part; 0: it is not.
        compared: Batches since the last one of those.
        seeking: Doubling still: the knee was not reached yet.
        settled: Batches since the size changed.
        late: Of the last batch: how many times as long as expected it took.
        density: How dense the rows lie that there is something to do for.
    """

    size: int
    why: str | None = None
    cost: Cost | None = None
    spread: float = 0.1
    probing: int = 0
    compared: int = 0
    seeking: bool = True
    settled: int = 0
    late: float = 1.0
    density: Density = UNKNOWN_DENSITY

    @property
    def steady(self) -> int:
        """The size in force, a batch that only compares left out: what to keep."""
        return self.probing or self.size


def starting(size: int | None, policy: Adaptive) -> Sizing:
    """Return the sizing to start with, at *size* or at `FIRST_SIZE`."""
    return Sizing(_within(FIRST_SIZE if size is None else size, policy))


def reset_to(sizing: Sizing, size: int, policy: Adaptive) -> Sizing:
    """Return *sizing* at *size*, as wished from outside; what was learned stays."""
    return _put(sizing, _within(size, policy), "set from outside")


def shrunk(sizing: Sizing, cause: str, policy: Adaptive) -> Sizing:
    """Return *sizing* at half its size, because of *cause*, without looking further."""
    half = _within(sizing.steady * 0.5, policy)
    return _put(sizing, half, cause)._replace(seeking=False)


def sized(sizing: Sizing, batch: Batch, policy: Adaptive) -> Sizing:
    """Return the sizing after *batch*. Always within *policy*'s bounds."""
    before = sizing._replace(size=sizing.steady, why=None, probing=0)
    if batch.size < 1 or not 0 < batch.seconds < inf:
        return before
    least, most = MEASURED
    batch = batch._replace(seconds=min(max(batch.seconds, least), most))
    now = _followed(before, batch, policy)._replace(compared=before.compared + 1)
    smaller = _within(now.size * COMPARED, policy)
    # At the greatest size there is nothing to be gained by knowing better.
    if _is_unsure(before) and smaller < now.size < policy.max_size:
        return now._replace(size=smaller, probing=now.size, compared=0)
    return now


def _put(sizing: Sizing, size: int, cause: str) -> Sizing:
    """Return *sizing* at *size*, with its reason where that is another one."""
    before = sizing.steady
    if size == before:
        return sizing._replace(size=size, probing=0, why=None)
    why = f"{cause}: {before} -> {size} rows"
    return sizing._replace(size=size, probing=0, why=why, settled=0)


def _is_unsure(sizing: Sizing) -> bool:
    """Whether to make a batch smaller, to learn what one costs whatever its size."""
    cost = sizing.cost
    if cost is None or sizing.seeking or sizing.compared < COMPARE_EVERY:
        return False
    return cost.fixed_doubt > (UNSURE * cost.of(sizing.size)) ** 2


def _followed(sizing: Sizing, batch: Batch, policy: Adaptive) -> Sizing:
    """Return *sizing* with what *batch* says, at the size that follows from it."""
    if sizing.cost is None:
        learned, basis = _begun(sizing, batch)
    else:
        learned, basis = _learned(sizing, batch, sizing.cost)
    learned = learned._replace(settled=sizing.settled + 1)
    if basis is None:
        return learned
    if batch.rows == 0 and learned.late <= 1.0:
        size, why = _through_nothing(learned, batch, policy)
    else:
        size, why = _chosen(sizing, learned, basis, policy)
        learned = learned._replace(seeking=sizing.seeking and size > sizing.size)
    return _put(learned, size, why)


def _begun(sizing: Sizing, batch: Batch) -> tuple[Sizing, Cost | None]:
    if batch.rows == 0:
        return sizing, None
    cost = at_first(batch.size, batch.seconds)
    rate = None if batch.rows is None else batch.rows / batch.seconds
    density = met(sizing.density, batch.size, batch.rows, rate)
    return sizing._replace(cost=cost, density=density), cost


def _learned(sizing: Sizing, batch: Batch, cost: Cost) -> tuple[Sizing, Cost]:
    """Return *sizing* with what *batch* says, and the cost to choose a size by.

    That cost puts the whole surprise down to the rows: were a slow batch to raise the
    fixed part at once, it could lead to a greater size.
    """
    late = batch.seconds / cost.of(batch.size)
    surprise = _surprise(sizing, batch, late)
    after, seconds = corrected(cost, batch.size, surprise)
    if late > AGAIN and sizing.late > AGAIN:
        seconds = max(seconds, batch.seconds * exp(-BELIEVED))
        after = raised(cost, batch.size, seconds)
    elif _was_no_measure(sizing, batch, late):
        after = at_first(batch.size, batch.seconds)
    spread = sizing.spread + SPREAD_GAIN * (max(surprise, 0.0) - sizing.spread)
    expected = cost.of(batch.size)
    in_time = batch.rows is not None and late <= GOOD
    rate = (batch.rows or 0) / expected if in_time else None
    density = met(sizing.density, batch.size, batch.rows, rate)
    learned = sizing._replace(cost=after, late=late, spread=spread, density=density)
    a_row = max((seconds - cost.fixed) / batch.size, LEAST_ROWS * seconds / batch.size)
    return learned, Cost(cost.fixed, a_row)


def _was_no_measure(sizing: Sizing, batch: Batch, late: float) -> bool:
    """Whether what came before *batch* was a cold one, or of another world."""
    if late >= 1.0 / AGAIN or batch.rows == 0:
        return False
    return sizing.seeking or sizing.late < 1.0 / AGAIN


def _surprise(sizing: Sizing, batch: Batch, late: float) -> float:
    """Return the logarithm of *late*, as far as it is believed."""
    surprise = log(late)
    if batch.rows == 0:
        # It says nothing of the cost of a row, unless it was slow nonetheless.
        surprise = max(surprise, 0.0)
    if sizing.late <= AGAIN or late <= AGAIN:
        surprise = min(surprise, BELIEVED)
    return surprise if sizing.seeking else max(surprise, -BELIEVED)


def _chosen(
    before: Sizing, learned: Sizing, basis: Cost, policy: Adaptive
) -> tuple[int, str]:
    """Return the next size, and why it is another."""
    size, late = before.size, learned.late
    if late > ALARM or (late > AGAIN and before.late > AGAIN):
        factor = min(max(1.0 / late, PANIC[0]), PANIC[1])
        return _within(size * factor, policy), f"took {late:.1f} times as long"
    knee, longest = _wanted(basis, learned.spread, policy)
    ratio = min(knee, longest) / size
    if 1.0 / BAND[1] <= ratio <= 1.0 / BAND[0]:
        return size, ""
    why = _costs(basis)
    if longest < knee:
        why = f"{why}, at most {policy.target:g} s"
    if ratio < 1.0:
        return _within(size * max(ratio, SMALLEST_STEP), policy), why
    if learned.seeking or learned.settled >= GROWTH_EVERY:
        most = DOUBLING if learned.seeking else GROWTH
        grown = min(size * min(ratio, most), learned.density.bearable(policy.target))
        return max(size, _within(grown, policy)), why
    return size, why


def _through_nothing(sizing: Sizing, batch: Batch, policy: Adaptive) -> tuple[int, str]:
    """Return the next size where a batch found nothing to do, and was quick."""
    size = sizing.size
    hasty = batch.seconds > 0.5 * policy.target or sizing.settled < GROWTH_EVERY
    if hasty or not sizing.density.share:
        return size, ""
    grown = min(size * GROWTH, sizing.density.bearable(policy.target))
    return max(size, _within(grown, policy)), "found nothing to do"


def _wanted(cost: Cost, spread: float, policy: Adaptive) -> tuple[float, float]:
    """Return the size that pays the fixed part, and the one that takes the target."""
    share = policy.overhead
    knee = (cost.fixed + UNSEEN) * (1.0 - share) / (share * cost.a_row)
    longest = (policy.target * exp(-2.0 * spread) - cost.fixed) / cost.a_row
    return knee, longest


def _costs(cost: Cost) -> str:
    return f"{1000 * cost.fixed:.2g} ms a batch and {1e6 * cost.a_row:.2g} us a row"


def _within(size: float, policy: Adaptive) -> int:
    return round(min(max(size, policy.min_size), policy.max_size))
