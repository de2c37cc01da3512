"""What is seen of a run and of its users while something happens to them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from _foreground.load import Waited

from adaptive_backfill import Run

__all__ = ["Look", "Second", "Watch", "by_second"]

_SECONDS_BETWEEN = 0.1


class Look(NamedTuple):
    """One look: when, by the clock of the machine, and what was seen."""

    at: float
    rows: float
    level: float
    paused: bool
    lag: float


@dataclass
class Second:
    """One second of a round.

    Attributes:
        at: When it began, in seconds since the incident did; below 0 before that.
        rows: Rows done in it.
        level: Workers' worth of work at its end.
        paused: The run was paused at its end.
        p99: Milliseconds that users waited who were due in it; infinite where nobody
            came to an end.
        lag: Seconds that the replica was behind, at most; 0 without one.
    """

    at: int
    rows: float = 0.0
    level: float = 0.0
    paused: bool = False
    p99: float = math.inf
    lag: float = 0.0


class Watch:
    """Looks at a run and at its replica, ten times a second.

    Attributes:
        looks: All so far.
        said: Each pause and change of pace: when, and its reason.
    """

    def __init__(
        self, run: Run[Any] | None, lag: Callable[[], Awaitable[float]]
    ) -> None:
        self.looks: list[Look] = []
        self.said: list[tuple[float, str]] = []
        self._run = run
        self._lag = lag

    async def go_on(self) -> None:
        """Look until the run is done, or for ever."""
        while self._run is None or self._run.progress.status != "done":
            self._look(await self._lag())
            await asyncio.sleep(_SECONDS_BETWEEN)

    def _look(self, lag: float) -> None:
        now = time.time()
        if self._run is None:
            self.looks.append(Look(now, 0.0, 0.0, False, lag))
            return
        seen = self._run.progress
        paused = seen.status == "paused"
        rows, level = float(seen.rows), seen.level or 0.0
        self.looks.append(Look(now, rows, level, paused, lag))
        why = "; ".join(map(str, seen.reasons)) if paused else seen.pace
        if why and (not self.said or self.said[-1][1] != why):
            self.said.append((now, why))


def by_second(
    looks: Sequence[Look], waited: Sequence[Waited], zero: float
) -> list[Second]:
    """Return the seconds of *looks*, counted from *zero*, with what users waited.

    The first and the last are left out: they are not whole.
    """
    first, last = (math.floor(look.at - zero) for look in (looks[0], looks[-1]))
    seconds = {number: Second(number) for number in range(first, last + 1)}
    before = looks[0].rows
    for look in looks:
        second = seconds[math.floor(look.at - zero)]
        second.rows += look.rows - before
        before = look.rows
        second.level, second.paused = look.level, look.paused
        second.lag = max(second.lag, look.lag)
    due: dict[int, list[float]] = {}
    for each in waited:
        due.setdefault(math.floor(each.due - zero), []).append(each.seconds)
    for number in seconds.keys() & due.keys():
        times = sorted(due[number])
        seconds[number].p99 = 1000 * times[math.ceil(0.99 * len(times)) - 1]
    return list(seconds.values())[1:-1]
