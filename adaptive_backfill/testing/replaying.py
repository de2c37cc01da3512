"""A recorded run through another policy, without a database."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from typing_extensions import override

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.pacing_cost import Cost
from adaptive_backfill._core.pacing_level import (
    duty_of,
    pace_at_start,
    paced,
    rest_for,
)
from adaptive_backfill._core.pacing_size import Batch, Sizing, sized, starting
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.testing.tracing import Trace

__all__ = ["Change", "Replay", "replay"]


class Change(NamedTuple):
    """What the policy would have changed.

    Attributes:
        at: When, in seconds from the start.
        why: What was seen, against what, and what follows, as a sentence.
    """

    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What a policy would have done.

    Attributes:
        seconds: What the run would have taken, by what its batches cost.
        recorded: What it did take.
        batches: How many it would have been.
        rows: Rows, or keys, of the trace, which the replay does all of.
        longest: Seconds of the longest batch.
        size: Rows a batch, in the end.
        level: Workers' worth of work, in the end.
        changes: Of size and level, in order.
    """

    seconds: float
    recorded: float
    batches: int
    rows: int
    longest: float
    size: int
    level: float
    changes: tuple[Change, ...]

    @override
    def __str__(self) -> str:
        return (
            f"{self.rows} rows in {self.batches} batches and about "
            f"{self.seconds:.1f} s ({self.recorded:.1f} s recorded), the longest batch "
            f"{1000 * self.longest:.1f} ms; in the end {self.size} rows a batch and "
            f"{self.level:.2f} workers, after {len(self.changes)} changes"
        )


def replay(
    trace: Trace,
    policy: Adaptive,
    *,
    size: int | None = None,
    level: float | None = None,
) -> Replay:
    """Return what *policy* would have done in the run that *trace* is of.

    A batch of another size is reckoned to cost what the recorded ones say of the
    fixed part and of a row, as long or short against that as the one at its place
    was. Health is taken as it was recorded, at its time: what the run itself added to
    the load is in it, and cannot be told apart. Workers are taken for independent.

    Args:
        trace: The run.
        policy: The policy to try.
        size: Rows of the first batch; as of `Adaptive` where nobody says.
        level: Workers at the start, likewise.

    Raises:
        ConfigurationError: There is no batch in *trace*.
    """
    batches = [batch for _, batch in trace.batches if _is_usable(batch)]
    if not batches:
        problem = "no batch in it has a size and took time; record a run with `pace`"
        raise ConfigurationError([problem], subject="trace")
    again = _Again(trace, batches, policy, starting(size, policy))
    again.pace = pace_at_start(policy, level)
    again.run()
    return again.result()


class _Place(NamedTuple):
    """How one recorded batch differed: in its time, and in its density."""

    late: float
    share: float | None

    @classmethod
    def of(cls, batch: Batch, cost: Cost) -> _Place:
        share = None if batch.rows is None else batch.rows / batch.size
        return cls(batch.seconds / cost.of(batch.size), share)

    def batch(self, size: int, cost: Cost) -> Batch:
        rows = None if self.share is None else round(self.share * size)
        return Batch(cost.of(size) * self.late, size, rows)


def _cost_of(batches: list[Batch]) -> Cost:
    """Return the line through *batches*, by their relative errors."""
    seconds = sum(batch.seconds for batch in batches)
    # Of sizes that are all alike no line can be drawn: then they cost by the row.
    cost = Cost(0.0, seconds / sum(batch.size for batch in batches))
    for _ in range(3):
        # Each pass weighs by what the last one expects.
        cost = _line(batches, cost) or cost
    return cost


def _line(batches: list[Batch], known: Cost) -> Cost | None:
    weights = [1.0 / known.of(batch.size) ** 2 for batch in batches]
    total = sum(weights)
    size = _mean(weights, [batch.size for batch in batches])
    seconds = _mean(weights, [batch.seconds for batch in batches])
    spread = slope = 0.0
    for weight, batch in zip(weights, batches, strict=True):
        spread += weight * (batch.size - size) ** 2
        slope += weight * (batch.size - size) * (batch.seconds - seconds)
    if spread < 1e-3 * total * size**2 or slope <= 0:
        return None
    a_row = min(slope / spread, seconds / size)
    return Cost(seconds - a_row * size, a_row)


def _mean(weights: Sequence[float], values: Sequence[float]) -> float:
    products = [weight * value for weight, value in zip(weights, values, strict=True)]
    return sum(products) / sum(weights)


class _Again:
    """One replay under way; *pace* is its level."""

    def __init__(
        self, trace: Trace, batches: list[Batch], policy: Adaptive, sizing: Sizing
    ) -> None:
        self.pace = pace_at_start(policy)
        self._policy = policy
        self._sizing = sizing
        self._cost = cost = _cost_of(batches)
        self._places = [_Place.of(batch, cost) for batch in batches]
        self._ends = list(accumulate(batch.size for batch in batches))
        self._samples = list(trace.seen)
        self._recorded = max(at for at, _ in (*trace.batches, *trace.seen))
        self._changes: list[Change] = []
        self._now = self._longest = 0.0
        self._done = self._batches = self._next = 0

    def run(self) -> None:
        """Do all that the trace did."""
        while self._done < self._ends[-1]:
            if self._look():
                self._do()

    def result(self) -> Replay:
        """Return what came of it."""
        return Replay(
            seconds=self._now,
            recorded=self._recorded,
            batches=self._batches,
            rows=self._ends[-1],
            longest=self._longest,
            size=self._sizing.steady,
            level=self.pace.level,
            changes=tuple(self._changes),
        )

    def _look(self) -> bool:
        """Take in the samples up to now; return whether to go on working."""
        tripped = False
        while self._next < len(self._samples) and self._at_next() <= self._now:
            seen = self._samples[self._next][1]
            # What was gained by workers was so at another level.
            self.pace = paced(self.pace, seen._replace(rate=None), self._policy)
            self._note(self.pace.why)
            self._next += 1
            tripped = seen.tripped
        if not tripped or self._next >= len(self._samples):
            return True
        self._now = self._at_next()
        return False

    def _at_next(self) -> float:
        return self._samples[self._next][0]

    def _do(self) -> None:
        place = self._places[bisect_right(self._ends, self._done)]
        size = min(self._sizing.size, self._ends[-1] - self._done)
        batch = place.batch(size, self._cost)
        level = self.pace.level
        rest = rest_for(duty_of(level, 0), batch.seconds)
        self._now += (batch.seconds + rest) / max(level, 1.0)
        self._longest = max(self._longest, batch.seconds)
        self._done += size
        self._batches += 1
        self._sizing = sized(self._sizing, batch, self._policy)
        self._note(self._sizing.why)

    def _note(self, why: str | None) -> None:
        if why is not None:
            self._changes.append(Change(round(self._now, 3), why))


def _is_usable(batch: Batch) -> bool:
    return batch.seconds > 0 and batch.size > 0
