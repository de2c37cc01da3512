"""The backfill of the demo; copy it to begin one of your own.

Run it by `adaptive-backfill run`, which makes the pool from `DATABASE_URL`, or by
``await FillEmailDomain.run(pool=pool)``.
"""

from __future__ import annotations

import asyncpg
from typing_extensions import override

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Next,
    Pause,
    Retry,
    Slow,
    SqliteStore,
    Verdict,
)
from adaptive_backfill.postgres import pg_health_checks

OLDEST_TRANSACTION = r"""
SELECT extract(epoch FROM clock_timestamp() - min(xact_start))::float8
FROM pg_stat_activity
WHERE datname = current_database()
  AND backend_type = 'client backend'
  AND application_name NOT LIKE 'adaptive\_backfill%'
"""


class FillEmailDomain(Backfill[int]):
    """Fill `users.email_domain`; the state is the last id that is done."""

    pool: asyncpg.Pool[asyncpg.Record]

    name = "fill_email_domain"
    initial_state = 0
    batch_size = 2_000
    delay_between_batches = 0.08
    timeout = 30.0
    retry = Retry(attempts=3)

    # Of a process that was killed, the next has to wait until the lease runs out. A
    # minute is a good length; this one is short because you are watching.
    checkpoint = Checkpoint(SqliteStore("backfills.db", lease=2.0))
    if_running = "wait"

    async def no_old_transaction(self) -> Verdict:
        """Give way to a long transaction: dead rows pile up behind it."""
        seconds = await self.pool.fetchval(OLDEST_TRANSACTION)
        if seconds is None or seconds < 1:
            return OK
        why = f"another session's transaction has been open for {seconds:.1f} s"
        return Slow(why) if seconds < 2 else Pause(why)

    health_checks = (*pg_health_checks(), no_old_transaction)
    health_interval = 0.5

    @override
    async def total(self) -> int:
        """Count the rows, for the share and the time that is left."""
        return int(await self.pool.fetchval("SELECT count(*) FROM users"))

    async def handle_batch(self, last_id: int) -> Answer[int]:
        """Do the rows behind *last_id*; by key, since an OFFSET would reread them."""
        found = await self.pool.fetch(
            "SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2",
            last_id,
            self.batch_size,
        )
        if not found:
            return DONE
        ids = [row["id"] for row in found]
        await self.pool.execute(
            "UPDATE users"
            " SET email_domain = split_part(email, '@', 2), version = version + 1"
            " WHERE id = ANY($1)",
            ids,
        )
        return Next(ids[-1], rows=len(ids))
