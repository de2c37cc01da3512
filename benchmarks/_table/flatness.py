"""Whether speed and memory stay as they are, and what is left behind."""

from __future__ import annotations

import time

from _table import by_hand, ours
from _table.database import Tables
from _table.ours import Mark
from _table.results import Bloat, Flatness, Results

__all__ = ["measure_bloat", "measure_flatness"]

_SIZE = 1_000
_ROUNDS = 3

_LEFT = """
SELECT pg_relation_size('users'), pg_relation_size('users_pkey'),
    n_dead_tup, autovacuum_count
FROM pg_stat_user_tables WHERE relname = 'users'
"""


async def measure_flatness(tables: Tables, results: Results) -> None:
    """Watch runs on tables of 10^5 rows up to that of the results."""
    sizes = [size for size in (100_000, 500_000) if size < results.rows]
    for _ in range(_ROUNDS):
        for rows in (*sizes, results.rows):
            await tables.fresh(rows)
            marks = await ours.watched(tables.dsn, _SIZE)
            await tables.check(rows)
            seen = _flatness(rows, marks)
            results.flatness.append(seen)
            print(f"flatness on {rows:,} rows: {seen.speed:,.0f} rows/s", flush=True)


def _flatness(rows: int, marks: list[Mark]) -> Flatness:
    tenth = len(marks) // 10
    times = [seconds for seconds, _ in marks]
    first, last = times[tenth] - times[0], times[-1] - times[-1 - tenth]
    speed = (len(marks) - 1) * _SIZE / (times[-1] - times[0])
    return Flatness(rows, speed, last / first, marks[tenth][1], marks[-1][1])


async def measure_bloat(tables: Tables, results: Results) -> None:
    """Measure what runs leave behind while autovacuum is on, as it is by default."""
    rows = min(results.rows, 500_000)

    async def at_full_speed(dsn: str) -> None:
        await ours.watched(dsn, _SIZE)

    async def in_two_minutes(dsn: str) -> None:
        # Long enough for autovacuum, which looks once a minute, to come by.
        await ours.watched(dsn, _SIZE, delay_between_batches=120 * _SIZE / rows)

    for how, job in (
        ("single UPDATE", by_hand.single),
        ("TableBackfill 1,000", at_full_speed),
        ("TableBackfill 1,000, over two minutes", in_two_minutes),
    ):
        await tables.fresh(rows)
        heap, index, _, vacuums = await tables.look(_LEFT)
        began = time.perf_counter()
        await job(tables.dsn)
        took = time.perf_counter() - began
        await tables.check(rows)
        heap_after, index_after, dead, more = await tables.look(_LEFT)
        heap, index = heap_after / heap, index_after / index
        left = Bloat(how, rows, took, heap, index, dead, more - vacuums)
        results.bloat.append(left)
        print(f"bloat: {left}", flush=True)
