"""Rules that choose the size of the next batch: those of others, and ours.

Those of others are simplified from their public sources: what they do with the times
of batches, without their settings and without what they do with errors.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from statistics import quantiles
from typing import Protocol

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.pacing_size import Batch, sized, starting

__all__ = ["KNEE", "RULES", "Rule"]

LEAST, MOST = 10, 100_000
KNEE = "Adaptive()"


class Rule(Protocol):
    """Says the size of the next batch."""

    size: int

    def saw(self, seconds: float, rows: int) -> None:
        """Learn of a batch of `size`, of which *rows* were affected."""


def _bounded(size: float) -> int:
    return round(min(max(size, LEAST), MOST))


class GitLab:
    """The last 20 batches, weighted; up by a fifth at most; 0.90 to 0.95 is right."""

    def __init__(self, target: float, start: int) -> None:
        self.size, self._target = start, target
        self._shares: list[float] = []

    def saw(self, seconds: float, rows: int) -> None:
        self._shares = [seconds / self._target, *self._shares[:19]]
        if len(self._shares) < 20:
            return
        weights = [0.6**age for age in range(20)]
        share = sum(map(float.__mul__, self._shares, weights)) / sum(weights)
        if not 0.90 <= share <= 0.95:
            self.size = _bounded(self.size * min(0.95 / share, 1.2))


class Spirit:
    """The 90th percentile of ten batches of one size; a tenth at five times over."""

    def __init__(self, target: float, start: int) -> None:
        self.size, self._target = start, target
        self._times: list[float] = []

    def saw(self, seconds: float, rows: int) -> None:
        if seconds > 5 * self._target:
            self.size, self._times = _bounded(self.size / 10), []
            return
        self._times.append(seconds)
        if len(self._times) > 10:
            wanted = self.size * self._target / quantiles(self._times, n=10)[-1]
            self.size, self._times = _bounded(min(wanted, self.size * 1.5)), []


class PtOsc:
    """Rows and seconds, both fading by a quarter a batch; no bound on a step."""

    def __init__(self, target: float, start: int) -> None:
        self.size, self._target = start, target
        self._rows = self._seconds = 0.0

    def saw(self, seconds: float, rows: int) -> None:
        self._rows = 0.75 * self._rows + self.size
        self._seconds = 0.75 * self._seconds + seconds
        self.size = _bounded(self._rows / self._seconds * self._target)


class Sequin:
    """In proportion to the last batch; doubled or halved at most."""

    def __init__(self, target: float, start: int) -> None:
        self.size, self._target = start, target

    def saw(self, seconds: float, rows: int) -> None:
        self.size = _bounded(self.size * min(max(self._target / seconds, 0.5), 2.0))


class Aimd:
    """A step of 100 rows up, or half down."""

    def __init__(self, target: float, start: int) -> None:
        self.size, self._target = start, target

    def saw(self, seconds: float, rows: int) -> None:
        over = seconds > self._target
        self.size = _bounded(self.size / 2 if over else self.size + 100)


class LogCost:
    """The mean and the deviation of the logarithm of a row's cost, to a target."""

    def __init__(self, target: float, start: int) -> None:
        self.size, self._target = start, target
        self._mean: float | None = None
        self._spread, self._since, self._late = 0.0, 0, False
        self._slow_start = True
        self._work = self._density = 0.0

    def saw(self, seconds: float, rows: int) -> None:
        cost = log(seconds / self.size)
        again, self._late = self._late, seconds > 3 * self._target
        self._learn(cost, lone=self._late and not again)
        if seconds <= 1.2 * self._target:
            self._work = max(self._work * 0.995, rows)
        self._density = max(self._density * 0.999, rows / self.size)
        before = self.size
        if seconds > 6 * self._target or (self._late and again):
            self.size = _bounded(self.size * max(0.25, self._target / seconds))
            self._mean, self._slow_start = max(self._mean or cost, cost - 0.7), False
        else:
            self._follow()
        self._since = 0 if self.size != before else self._since + 1

    def _learn(self, cost: float, *, lone: bool) -> None:
        if self._mean is None:
            self._mean = cost
        error = min(cost - self._mean, 0.7) if lone else cost - self._mean
        self._mean += 0.25 * error
        self._spread += 0.25 * (abs(error) - self._spread)

    def _follow(self) -> None:
        wanted = self._target / exp((self._mean or 0.0) + self._spread)
        ratio = wanted / self.size
        if ratio < 1 / 1.15:
            self.size, self._slow_start = _bounded(self.size * max(ratio, 0.5)), False
        elif ratio > 1 / 0.8 and (self._slow_start or self._since >= 3):
            step = min(ratio, 2.0 if self._slow_start else 1.5)
            cap = 4 * self._work / self._density if self._density else MOST
            self.size = max(self.size, _bounded(min(self.size * step, cap)))


class Ours:
    """The sizer of this library, in batches as long as the target allows."""

    overhead = 1e-6

    def __init__(self, target: float, start: int) -> None:
        self._policy = Adaptive(
            target=target, min_size=LEAST, max_size=MOST, overhead=self.overhead
        )
        self._sizing = starting(start, self._policy)

    @property
    def size(self) -> int:
        return self._sizing.size

    def saw(self, seconds: float, rows: int) -> None:
        batch = Batch(seconds, self.size, rows)
        self._sizing = sized(self._sizing, batch, self._policy)


class OursToTheKnee(Ours):
    """The sizer as it is by default: no longer than pays."""

    overhead = Adaptive().overhead


RULES: dict[str, Callable[[float, int], Rule]] = {
    "GitLab": GitLab,
    "spirit": Spirit,
    "pt-osc": PtOsc,
    "Sequin": Sequin,
    "AIMD": Aimd,
    "LogCostSizer": LogCost,
    "ours, to the target": Ours,
    KNEE: OursToTheKnee,
}
"""The rules by name; each is made with a target in seconds, and a first size."""
