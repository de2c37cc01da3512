"""Batches that are done to see what they cost, and rolled back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TypeAlias

from adaptive_backfill._engine.outlast import finish
from adaptive_backfill.postgres._catalog import heat_now
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._server_limits import Limits
from adaptive_backfill.postgres._store_pool import Pool
from adaptive_backfill.postgres._walk import Cursor, Key, Walk
from adaptive_backfill.postgres.identifiers import quoted
from adaptive_backfill.postgres.plans import DryRun

__all__ = ["Batch", "rolled_back", "sample"]

Batch: TypeAlias = Callable[[Connection, Cursor, Key], Awaitable[int]]
"""Does the rows from a cursor to a key, and says how many."""

_WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


@asynccontextmanager
async def rolled_back(pool: Pool, limits: Limits) -> AsyncIterator[Connection]:
    """Lend a connection in a transaction that leaves nothing behind."""
    async with pool.acquire() as connection:
        try:
            await connection.execute(
                limits.begin(connection.get_server_version().major, "adaptive_backfill")
            )
            yield connection
        finally:
            if not connection.is_closed():
                await finish(connection.execute("ROLLBACK"))


async def sample(
    walk: Walk, limits: Limits, cursor: Cursor, size: int, *, batches: int, do: Batch
) -> DryRun:
    """Do *batches* from *cursor* on, each in a transaction that is rolled back.

    Where the first of them finds nothing to do, it goes on at the first row that is
    still to be done: what batches without rows cost says little.
    """
    total = DryRun(wal_bytes=0)
    moved = False
    while total.batches < batches and cursor.last != cursor.end:
        async with rolled_back(walk.pool, limits) as connection:
            one, upper = await _measured(walk, connection, cursor, size, do)
            if not (one.rows or moved or walk.keyset.where is None):
                moved = True
                start = await _first_to_do(walk, connection, cursor)
                if start is not None:
                    cursor = start
                    continue
        total = _sum(total, one)
        cursor = Cursor(upper, cursor.end)
    return total


async def _measured(
    walk: Walk, connection: Connection, cursor: Cursor, size: int, do: Batch
) -> tuple[DryRun, Key]:
    wal = await connection.fetchval(_WAL)
    before = await heat_now(connection, walk.seen.oid)
    began = perf_counter()
    upper = await walk.bound(connection, cursor, size)
    rows = await do(connection, cursor, upper)
    seconds = perf_counter() - began
    written = await connection.fetchval(_WAL) - wal
    heat = await heat_now(connection, walk.seen.oid)
    updated, hot = heat.updated - before.updated, heat.hot - before.hot
    return DryRun(1, rows, seconds, int(written), updated, hot), upper


async def _first_to_do(
    walk: Walk, connection: Connection, cursor: Cursor
) -> Cursor | None:
    """Return a cursor at the first row that is still to do, itself left out."""
    keys = walk.keyset
    columns = ", ".join(map(quoted, keys.key))
    found = await connection.fetchrow(
        f"SELECT {columns} FROM {keys.table.sql} WHERE {keys.batch(None, after=False)} "
        f"ORDER BY {keys.order()} LIMIT 1",
        *(cursor.end or ()),
    )
    last = None if found is None else tuple(found)
    return None if last in (None, cursor.end) else Cursor(last, cursor.end)


def _sum(one: DryRun, other: DryRun) -> DryRun:
    return DryRun(
        one.batches + other.batches,
        one.rows + other.rows,
        one.seconds + other.seconds,
        (one.wal_bytes or 0) + (other.wal_bytes or 0),
        one.updated + other.updated,
        one.hot + other.hot,
    )
