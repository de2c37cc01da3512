"""The same job by `TableBackfill`, with everything on that production has on."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from _table.by_hand import WITH_NEW_DOMAINS, domain_of
from _table.database import SET
from adaptive_backfill import Adaptive, Checkpoint, MemoryStore
from adaptive_backfill.postgres.checks import recommended, wal_rate
from adaptive_backfill.postgres.table import TableBackfill

__all__ = ["Mark", "by_itself", "by_rows", "by_statement", "watched"]


# The run itself writes twice as much WAL as `wal_rate` allows, and would be slowed.
CHECKS = (
    *(check for check in recommended() if check.name != "wal_rate"),
    wal_rate(limit=2**30),
)


class ByStatement(TableBackfill):
    table = "users"
    statement = f"UPDATE users SET {SET} WHERE {{batch}}"
    timeout = 30.0
    health_checks = CHECKS

    async def on_success(self, state: object) -> None:
        pass


class ByRows(TableBackfill):
    table = "users"
    columns = ("id", "email")
    timeout = 30.0
    health_checks = CHECKS

    async def handle_rows(
        self, rows: list[asyncpg.Record], connection: asyncpg.Connection[Any]
    ) -> None:
        domains = [domain_of(row["email"]) for row in rows]
        await connection.execute(WITH_NEW_DOMAINS, [row["id"] for row in rows], domains)

    async def on_success(self, state: object) -> None:
        pass


Job = Callable[[str], Awaitable[None]]


def by_statement(size: int, *, workers: int = 1, kept: bool = True) -> Job:
    """Return the job; where it is not *kept*, its checkpoint is only in memory."""

    async def job(dsn: str) -> None:
        more = {} if kept else {"checkpoint": Checkpoint(MemoryStore())}
        await _run(ByStatement, dsn, batch_size=size, workers=workers, **more)

    return job


def by_itself(pace: Adaptive) -> Job:
    """Return the job that begins at 100 rows and finds its size by itself."""

    async def job(dsn: str) -> None:
        await _run(ByStatement, dsn, batch_size=100, pace=pace)

    return job


def by_rows(size: int) -> Job:
    async def job(dsn: str) -> None:
        await _run(ByRows, dsn, batch_size=size)

    return job


async def _run(kind: type[TableBackfill], dsn: str, **overrides: Any) -> None:
    result = await kind.run(dsn=dsn, **overrides)
    result.raise_for_status()
    if result.paused or result.hook_errors:
        raise AssertionError(f"the run was not left alone: {result}")


_PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20

Mark = tuple[float, float]
"""Seconds, and the process's memory in MB, after a batch."""


async def watched(dsn: str, size: int, **overrides: Any) -> list[Mark]:
    """Run, and return a mark after each batch."""
    marks: list[Mark] = []
    # Open once, because opening it takes as long as a tenth of a batch.
    statm = os.open("/proc/self/statm", os.O_RDONLY)

    class Watched(ByStatement):
        async def on_success(self, state: object) -> None:
            pages = int(os.pread(statm, 80, 0).split()[1])
            marks.append((time.perf_counter(), pages * _PAGE))

    try:
        await _run(Watched, dsn, batch_size=size, **overrides)
    finally:
        os.close(statm)
    return marks
