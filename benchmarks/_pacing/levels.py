"""How rules of pace do where the load of others comes and goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from statistics import fmean
from typing import NamedTuple, Protocol

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.pacing_level import Seen, pace_at_start, paced

__all__ = ["NEAR", "PACERS", "ROOM", "Paced", "Pacer", "simulated_pace"]

SAMPLE, LAG, GAIN = 5, 6, 0.45
"""Seconds between samples, and until work shows in the load; the load of a worker."""

EVERY, LASTS = 300, 60
"""Seconds from one incident to the next, and of one."""

NEAR, ROOM = 0.45, 0.25
"""The load of others between incidents: a full worker comes to the limit, or not."""

INCIDENT, NOISE = 0.95, 0.08
"""The load of others in an incident, and its deviation at all times."""


class Pacer(Protocol):
    """Says how much to work."""

    level: float

    def saw(self, load: float) -> None:
        """Learn of a sample."""


class Nothing:
    """No backfill."""

    level = 0.0

    def saw(self, load: float) -> None:
        """Do nothing still."""


class Hold:
    """Works fully; stops for *seconds* where the load is 1 or above."""

    def __init__(self, seconds: float) -> None:
        self.level, self._hold, self._left = 1.0, seconds, 0.0

    def saw(self, load: float) -> None:
        self._left -= SAMPLE
        if self._left <= 0:
            self.level = 0.0 if load >= 1.0 else 1.0
            self._left = self._hold if load >= 1.0 else 0.0


class Doubling:
    """Doubles its sleep where the load is 1 or above, and halves it where not."""

    def __init__(self) -> None:
        self.level, self._sleep = 1.0, 0.05

    def saw(self, load: float) -> None:
        factor = 2.0 if load >= 1.0 else 0.5
        self._sleep = min(max(self._sleep * factor, 0.05), 20.0)
        self.level = 1.0 / (1.0 + self._sleep)


class Ours:
    """The pacer of this library, with one worker."""

    def __init__(self) -> None:
        self._policy = Adaptive(max_workers=1)
        self._pace = pace_at_start(self._policy)

    @property
    def level(self) -> float:
        return self._pace.level

    def saw(self, load: float) -> None:
        self._pace = paced(self._pace, Seen(load, seconds=SAMPLE), self._policy)


PACERS: dict[str, Callable[[], Pacer]] = {
    "no backfill": Nothing,
    "hold 600 s (GitLab)": lambda: Hold(600),
    "back off 30 s": lambda: Hold(30),
    "recheck at once (gh-ost)": lambda: Hold(0),
    "sleep x2, /2": Doubling,
    "ours": Ours,
}


class Paced(NamedTuple):
    """How a rule did; means over the seeds.

    Attributes:
        duty: Of a worker.
        overload: Share of the time in which the load is 1 or above.
        changes: Of the level, an hour.
        back: Seconds after an incident until 90 % of the level before it.
    """

    duty: float
    overload: float
    changes: float
    back: float


def simulated_pace(
    make: Callable[[], Pacer], quiet: float, *, hours: float, seeds: int
) -> Paced:
    """Return how the rule that *make* makes does; *quiet* is the load of others."""
    seconds = round(3600 * hours)
    runs = [_run(make(), quiet, seconds, Random(seed)) for seed in range(seeds)]
    return Paced(*map(fmean, zip(*runs, strict=True)))


def _run(pacer: Pacer, quiet: float, seconds: int, random: Random) -> Paced:
    working = deque([0.0] * LAG, LAG)
    levels: list[float] = []
    over = changes = 0
    noise = 0.0
    for now in range(seconds):
        base = INCIDENT if now % EVERY >= EVERY - LASTS else quiet
        # Load has a memory: a busy second is followed by another.
        noise = 0.8 * noise + 0.6 * random.gauss(0.0, NOISE)
        load = max(base + noise, 0.0) + GAIN * working[0]
        over += load >= 1.0
        before = pacer.level
        if now % SAMPLE == 0:
            pacer.saw(load)
        changes += abs(pacer.level - before) > 0.01
        working.append(pacer.level)
        levels.append(pacer.level)
    ends = range(EVERY, seconds - EVERY + 1, EVERY)
    back = fmean(_seconds_back(levels, end) for end in ends)
    return Paced(fmean(levels), over / seconds, 3600 * changes / seconds, back)


def _seconds_back(levels: list[float], end: int) -> float:
    """Return the seconds from the *end* of an incident until it is as if none was."""
    began = end - LASTS
    before = fmean(levels[began - LASTS : began])
    after = levels[end : end + EVERY - LASTS]
    back = (float(at) for at, level in enumerate(after) if level >= 0.9 * before)
    return next(back, float(len(after)))
