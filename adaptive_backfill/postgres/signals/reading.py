"""What of all that a database reads is cached, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import (
    MILLISECONDS,
    RATIO,
    Finding,
    Gap,
    measured,
)
from adaptive_backfill.postgres._signal import Judge, Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.capabilities import Absent, Capabilities
from adaptive_backfill.postgres.signals.kinds import COUNTING, uncounted

__all__ = ["cache_hits", "read_latency"]

_BLOCKS = f"""
SELECT blks_read::int8 AS read, blks_hit::int8 AS hit,
       blk_read_time::float8 / 1000 AS seconds, {COUNTING}
FROM pg_stat_database
WHERE datname = current_database()
"""

# Fewer say nothing.
_FEWEST_ACCESSES = 10_000
_FEWEST_READS = 200

# A database whose hits are few by nature is not ill.
_POINTS_BELOW_USUAL = 0.05


def cache_hits(
    pool: Source = None,
    *,
    limit: float = 0.90,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy when a database finds much less in its cache than it used to.

    Judged by 10,000 block accesses or more. Usual is what the counters said at the
    run's first look, of all the time before it: five points less count. Needs no
    grant.

    Args:
        limit: The cache hit ratio, 0 to 1, from which on it is never unhealthy.
    """
    signal = Signal(_BLOCKS, _by_blocks(_FEWEST_ACCESSES, _hit_ratio(limit)))
    terms, problems = Terms(action, name), RATIO.problems(limit)
    return health_check("cache_hits", signal, pool, terms, *problems)


def read_latency(
    pool: Source = None,
    *,
    limit: float | timedelta = 0.010,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy when reading a block takes too long, at the mean of 200 or more.

    Needs `track_io_timing`: without it the check is left out of the run, with a
    warning. Needs no grant.

    Args:
        limit: Seconds, or a timedelta, of 0 or more.
    """
    signal = Signal(
        _timed, _by_blocks(_FEWEST_READS, _mean_read(limit)), paces="near its limit"
    )
    terms, problems = Terms(action, name), MILLISECONDS.problems(limit)
    return health_check("read_latency", signal, pool, terms, *problems)


class _Blocks(NamedTuple):
    """Blocks read and hit, and seconds spent reading."""

    since: object
    read: int
    hit: int
    seconds: float

    @property
    def accesses(self) -> int:
        return self.read + self.hit

    def after(self, base: _Blocks) -> _Blocks | None:
        """Return the difference; `None` where the counters were reset."""
        read, hit = self.read - base.read, self.hit - base.hit
        seconds = self.seconds - base.seconds
        if self.since != base.since or min(read, hit, seconds) < 0:
            return None
        return _Blocks(self.since, read, hit, seconds)


class _Window(NamedTuple):
    """Where it begins, and what was counted before the run."""

    base: _Blocks
    before: _Blocks


def _by_blocks(
    fewest: int, judged: Callable[[_Blocks, _Blocks, int], Finding]
) -> Judge:
    """Judge windows of *fewest* blocks or more.

    Args:
        fewest: Handed to *judged*.
        judged: Takes a window, all before the run, and *fewest*; has no measure where
            the window is too small.
    """

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        now = _Blocks(row["since"], row["read"], row["hit"], row["seconds"])
        last = memory if isinstance(memory, _Window) else _Window(now, now)
        window = now.after(last.base)
        if window is None:
            found, next_base = Finding(), now
        else:
            found = judged(window, last.before, fewest)
            next_base = last.base if found.measure is None else now
        memory = _Window(next_base, last.before)
        return found._replace(unseen=uncounted(row), memory=memory)

    return judge


def _hit_ratio(limit: float) -> Callable[[_Blocks, _Blocks, int], Finding]:
    def judged(window: _Blocks, before: _Blocks, fewest: int) -> Finding:
        if min(window.accesses, before.accesses) < fewest:
            return Finding()
        usual = before.hit / before.accesses
        return measured(
            "cache_hits",
            window.hit / window.accesses,
            min(limit, max(0.0, usual - _POINTS_BELOW_USUAL)),
            sign="<",
            note=f"usual is {usual:.3g}",
        )

    return judged


def _mean_read(
    limit: float | timedelta,
) -> Callable[[_Blocks, _Blocks, int], Finding]:
    def judged(window: _Blocks, before: _Blocks, fewest: int) -> Finding:
        if window.read < fewest:
            return Finding()
        mean = window.seconds / window.read
        most = MILLISECONDS.number(limit)
        note = f"{window.read} blocks read"
        return measured("read_latency", mean, most, MILLISECONDS, note=note)

    return judged


def _timed(server: Capabilities) -> str:
    if not server.io_timing:
        raise Absent(Gap("reads are not timed", "set track_io_timing = on"))
    return _BLOCKS
