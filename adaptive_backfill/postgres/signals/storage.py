"""What is read from disk and what is spilled to it, by counters.

A counter only grows until it is reset, so its value says nothing: what counts is the
difference to the look before. The first look of a run, and the first after a reset
(another `since`, or a number that fell), is only a baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adaptive_backfill._core.answers import Measure
from adaptive_backfill.postgres._signal import Finding, Row, Signal

__all__ = ["table_cache_hits", "temp_bytes"]

_UNCOUNTED = "cannot see what is read and written; set track_counts = on"

_MEGABYTE = 1_000_000

# A table that is hardly read takes its time to reach a sample worth judging; past
# this it says nothing of the present any more.
_LONGEST_WINDOW = 60.0

_SINCE = "greatest(stats_reset, pg_postmaster_start_time())"

_TEMP_BYTES = f"""
SELECT temp_bytes, {_SINCE} AS since, current_setting('track_counts')::bool AS counted
FROM pg_stat_database
WHERE datname = current_database()
"""

# The most read ever, not lately: differences can only be taken here. So many that
# one which became hot just now is among them, and yet bounded.
_TABLE_BLOCKS = f"""
SELECT relid, format('%I.%I', schemaname, relname) AS name,
       extract(epoch FROM clock_timestamp())::float8 AS at,
       (coalesce(heap_blks_read, 0) + coalesce(idx_blks_read, 0)
        + coalesce(toast_blks_read, 0) + coalesce(tidx_blks_read, 0))::int8 AS read,
       (coalesce(heap_blks_hit, 0) + coalesce(idx_blks_hit, 0)
        + coalesce(toast_blks_hit, 0) + coalesce(tidx_blks_hit, 0))::int8 AS hit,
       counters.since, counters.counted
FROM pg_statio_user_tables
CROSS JOIN (
    SELECT {_SINCE} AS since, current_setting('track_counts')::bool AS counted
    FROM pg_stat_database
    WHERE datname = current_database()
) AS counters
ORDER BY read DESC
LIMIT 1000
"""


def temp_bytes(limit: float) -> Signal:
    """The bytes spilled to temporary files between two looks, against *limit*."""

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        now = _Spilled(row["since"], row["temp_bytes"])
        over = None
        if isinstance(memory, _Spilled) and memory.since == now.since:
            written = now.bytes - memory.bytes
            if written > limit:
                over = Measure(
                    "temp_files",
                    written / _MEGABYTE,
                    limit / _MEGABYTE,
                    unit=" MB",
                    note="written since the check before",
                )
        return Finding(over, None if row["counted"] else _UNCOUNTED, now)

    return Signal(_TEMP_BYTES, judge)


class _Spilled(NamedTuple):
    since: object
    bytes: int


def table_cache_hits(limit: float, min_accesses: int) -> Signal:
    """The share of block accesses that found the block cached, table by table.

    A table counts once *min_accesses* blocks of it were accessed since its baseline,
    and is over where its share is below *limit*; of several the most read is named.
    """

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        before = memory if isinstance(memory, _Baselines) else _Baselines()
        after = _Baselines()
        hottest: _Heat | None = None
        for row in rows:
            now = _Blocks(row["since"], row["at"], row["read"], row["hit"])
            base = before.get(row["relid"], now)
            heat = _Heat.between(base, now, row["name"])
            full = heat is None or heat.accesses >= min_accesses
            expired = now.at - base.at >= _LONGEST_WINDOW
            after[row["relid"]] = now if full or expired else base
            if heat and full and heat.share < limit and heat.hotter_than(hottest):
                hottest = heat
        counted = all(row["counted"] for row in rows)
        over = hottest and hottest.measure(limit)
        return Finding(over, None if counted else _UNCOUNTED, after)

    return Signal(_TABLE_BLOCKS, judge)


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

    def hotter_than(self, other: _Heat | None) -> bool:
        return other is None or self.read > other.read

    def measure(self, limit: float) -> Measure:
        note = f"{self.name}, {self.read} blocks read"
        return Measure("cache_hit_ratio", self.share, limit, sign="<", note=note)
