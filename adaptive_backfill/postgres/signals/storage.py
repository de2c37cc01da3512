"""Tables that are read from disk, by the counters of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.rules import is_count
from adaptive_backfill.postgres._finding import RATIO, Finding, measured
from adaptive_backfill.postgres._signal import Judge, Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.kinds import COUNTING, uncounted

__all__ = ["hot_io_tables", "table_cache_hits"]

# A table that is hardly read takes its time to reach a sample worth judging; past
# this it says nothing of the present any more.
_LONGEST_WINDOW = 60.0

# The most read ever, not lately: differences can only be taken here. So many that
# one which became hot just now is among them, and yet bounded.
_TABLE_BLOCKS = f"""
SELECT relid, format('%I.%I', schemaname, relname) AS name,
       (coalesce(heap_blks_read, 0) + coalesce(idx_blks_read, 0)
        + coalesce(toast_blks_read, 0) + coalesce(tidx_blks_read, 0))::int8 AS read,
       (coalesce(heap_blks_hit, 0) + coalesce(idx_blks_hit, 0)
        + coalesce(toast_blks_hit, 0) + coalesce(tidx_blks_hit, 0))::int8 AS hit,
       counters.*
FROM pg_statio_user_tables
CROSS JOIN (
    SELECT {COUNTING}
    FROM pg_stat_database
    WHERE datname = current_database()
) AS counters
ORDER BY read DESC
LIMIT 1000
"""


def hot_io_tables(
    pool: Source = None,
    *,
    limit: float = 0.5,
    min_accesses: int = 10_000,
    action: Action = "halt",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy when a table that is much read is mostly read from disk.

    Judged by what was accessed since the look before, table by table, indexes and
    TOAST included; a table with less than *min_accesses* is judged together with its
    next look, for a minute at most. The first look of a run is a baseline, and healthy.

    Args:
        pool: Where to look.
        limit: The cache hit ratio, 0 to 1, below which a table is hot.
        min_accesses: Block accesses from which a ratio says something; 1 or more.
        action: What a run does then.
        name: The check's name, in reasons.

    Raises:
        ConfigurationError: An argument is out of these bounds.
    """
    problems = RATIO.problems(limit)
    if not is_count(min_accesses):
        problems.append(
            f"min_accesses must be an int of 1 or more, not {min_accesses!r}"
        )
    signal = Signal(_TABLE_BLOCKS, table_cache_hits(limit, min_accesses))
    return health_check("hot_io_tables", signal, pool, Terms(action, name), *problems)


def table_cache_hits(limit: float, min_accesses: int) -> Judge:
    """Judge the share of block accesses that found the block cached, table by table.

    A table counts once *min_accesses* blocks of it were accessed since its baseline,
    and is over where its share is below *limit*; of several the most read is named.
    """

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        before = memory if isinstance(memory, _Baselines) else _Baselines()
        after = _Baselines()
        found, hottest = Finding(), 0
        for row in rows:
            now = _Blocks(row["since"], row["at"], row["read"], row["hit"])
            base = before.get(row["relid"], now)
            heat = _Heat.between(base, now, row["name"])
            full = heat is None or heat.accesses >= min_accesses
            expired = now.at - base.at >= _LONGEST_WINDOW
            after[row["relid"]] = now if full or expired else base
            if heat and full and heat.share < limit and heat.read > hottest:
                found, hottest = heat.measured(limit), heat.read
        unseen = next(filter(None, map(uncounted, rows)), None)
        return found._replace(unseen=unseen, memory=after)

    return judge


class _Blocks(NamedTuple):
    """A table's counters at one look."""

    since: object
    at: float
    read: int
    hit: int


class _Baselines(dict[int, _Blocks]):
    """What each table is compared with, by its oid."""


class _Heat(NamedTuple):
    """What was read of a table between two looks."""

    name: str
    read: int
    hit: int

    @classmethod
    def between(cls, base: _Blocks, now: _Blocks, name: str) -> _Heat | None:
        """Return the difference; `None` where the counters were reset."""
        read, hit = now.read - base.read, now.hit - base.hit
        if base.since != now.since or read < 0 or hit < 0:
            return None
        return cls(name, read, hit)

    @property
    def accesses(self) -> int:
        return self.read + self.hit

    @property
    def share(self) -> float:
        return self.hit / self.accesses

    def measured(self, limit: float) -> Finding:
        note = f"{self.name}, {self.read} blocks read"
        return measured("cache_hit_ratio", self.share, limit, sign="<", note=note)
