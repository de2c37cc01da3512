"""What the tests of `PostgresStore` share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from adaptive_backfill import Progress
from adaptive_backfill._ports import Held
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres.store import PostgresStore

from .asking import connected, nobody_is, until

Pool: TypeAlias = "asyncpg.Pool[Any]"

NAME = "users"
NAMES = "adaptive_backfill.backfill_names"
ENDINGS = "adaptive_backfill.backfill_endings"


async def taken(
    store: PostgresStore, run_id: str, state_type: object = None
) -> PostgresLease:
    lease = await store.acquire(NAME, run_id, state_type)
    assert not isinstance(lease, Held)
    return lease


def running(run_id: str) -> Progress:
    return Progress(NAME, run_id, "running", 1, batches=1, rows=10)


async def run_out(pool: Pool, name: str = NAME) -> None:
    """Let the lease of *name* be older than its time."""
    await pool.execute(
        f"UPDATE {NAMES} SET expires_at = clock_timestamp() - interval '1 ms'"
        " WHERE name = $1",
        name,
    )


async def seconds_left(pool: Pool) -> float:
    """How long the lease still lasts."""
    left: float = await pool.fetchval(
        "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8"
        f" FROM {NAMES} WHERE name = $1",
        NAME,
    )
    return left


@asynccontextmanager
async def locked(database: str, name: str = NAME) -> AsyncIterator[None]:
    """Hold the row of *name*, as another transaction would."""
    async with connected(database) as other, other.transaction():
        await other.execute(f"SELECT FROM {NAMES} WHERE name = $1 FOR UPDATE", name)
        yield


async def waits_for_a_lock(database: str, query: str = "") -> int:
    """Wait until a statement that contains *query* waits for a lock; its backend."""
    found: list[int] = []

    async def somebody_waits() -> bool:
        async with connected(database) as connection:
            pids = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database() AND strpos(query, $1) > 0",
                query,
            )
        found.extend(pid for (pid,) in pids)
        return bool(found)

    await until(somebody_waits)
    return found[-1]


async def terminated(database: str, backend: int) -> None:
    """End *backend*, as an administrator would."""
    async with connected(database) as connection:
        await connection.execute("SELECT pg_terminate_backend($1)", backend)
    await nobody_is(database, f"pid = {backend}")


async def cancelled(task: asyncio.Task[Any]) -> bool:
    """Cancel *task*, and say whether it ended so."""
    task.cancel()
    await asyncio.wait({task})
    return task.cancelled()
