"""The jobs by name, and the rounds in which they run."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import asyncpg

from _table import by_hand, ours, queues
from _table.database import Tables
from _table.results import Results
from adaptive_backfill import Adaptive

__all__ = ["SIZES", "Job", "jobs", "run_rounds"]

SIZES = (100, 1_000, 5_000)


class Job(NamedTuple):
    """Something that does all rows of the table.

    Attributes:
        name: In the table of results.
        run: Does it, on the database of that DSN. Where it samples, it returns the
            seconds that all rows would take.
        before: Prepares the database, and is not timed.
        needs: The package that must be installed.
    """

    name: str
    run: Callable[[str], Awaitable[float | None]] | Callable[[str], Awaitable[None]]
    before: Callable[[str], Awaitable[None]] | None = None
    needs: str | None = None


async def _flag(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(by_hand.FLAGGED)
    await connection.close()


def _all() -> list[Job]:
    found = [Job("single UPDATE", by_hand.single)]
    found.append(Job("TableBackfill 5,000", ours.by_statement(5_000)))
    found.append(Job("by hand 5,000", by_hand.bounds(5_000)))
    workers = ours.by_statement(5_000, workers=2)
    found.append(Job("TableBackfill 5,000, 2 workers", workers))
    found.append(Job("by hand 1,000", by_hand.bounds(1_000)))
    found.append(Job("TableBackfill 1,000", ours.by_statement(1_000)))
    found.append(Job("by hand 1,000, exactly once", by_hand.exactly_once(1_000)))
    found.append(Job("TableBackfill, Adaptive()", ours.by_itself(Adaptive())))
    shorter = ours.by_itself(Adaptive(overhead=0.25))
    found.append(Job("TableBackfill, Adaptive(overhead=0.25)", shorter))
    found.append(Job("by hand 100", by_hand.bounds(100)))
    found.append(Job("TableBackfill 100", ours.by_statement(100)))
    found.append(Job("by hand 100, exactly once", by_hand.exactly_once(100)))
    in_memory = ours.by_statement(100, kept=False)
    found.append(Job("TableBackfill 100, checkpoint in memory", in_memory))
    found.append(Job("by hand in Python 1,000", by_hand.through_python(1_000)))
    found.append(Job("handle_rows 1,000", ours.by_rows(1_000)))
    found.append(Job("by hand in Python 5,000", by_hand.through_python(5_000)))
    found.append(Job("handle_rows 5,000", ours.by_rows(5_000)))
    found.append(Job("pgroll's SQL 1,000", by_hand.pgroll(1_000), _flag))
    queue = Job("PgQueuer, a job a batch of 1,000", queues.pgqueuer)
    found.append(queue._replace(before=queues.install_pgqueuer, needs="pgqueuer"))
    queue = Job("Procrastinate, a job a batch of 1,000", queues.procrastinate)
    queue = queue._replace(before=queues.install_procrastinate)
    found.append(queue._replace(needs="procrastinate"))
    found.append(Job("OFFSET 100, set-based", by_hand.offset_set_based))
    found.append(Job("OFFSET 100, row by row", by_hand.offset_row_by_row))
    return found


def jobs(only: Sequence[str]) -> list[Job]:
    """Return the jobs of which a word of *only* is in the name."""
    return [job for job in _all() if any(word in job.name for word in only)]


async def run_rounds(
    tables: Tables, results: Results, chosen: Sequence[Job], rounds: int
) -> None:
    for number in range(1, rounds + 1 if chosen else 1):
        taken: dict[str, float] = {}
        results.rounds.append(taken)
        # Every other round backwards, so that no job is always the warmer neighbour.
        for job in chosen if number % 2 else chosen[::-1]:
            if job.needs is not None and not queues.has(job.needs):
                print(f"{number} {job.name}: not installed", flush=True)
                continue
            taken[job.name] = await _seconds(tables, results.rows, job)
            speed = results.rows / taken[job.name]
            print(f"{number} {job.name}: {speed:,.0f} rows/s", flush=True)


async def _seconds(tables: Tables, rows: int, job: Job) -> float:
    await tables.fresh(rows)
    if job.before is not None:
        await job.before(tables.dsn)
    gc.collect()
    began = time.perf_counter()
    extrapolated: Any = await job.run(tables.dsn)
    took = time.perf_counter() - began
    if extrapolated is not None:
        return float(extrapolated)
    await tables.check(rows)
    return took
