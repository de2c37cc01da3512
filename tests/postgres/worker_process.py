"""A process of its own that fills a table by several workers, to be killed.

python -m tests.postgres.worker_process DSN WORKERS
"""

from __future__ import annotations

import asyncio
import sys

import asyncpg

from adaptive_backfill import Checkpoint
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill

LEASE = 2.0


class Fill(TableBackfill):
    """Counts in each row how often it was done."""

    name = "fill"
    table = "items"
    batch_size = 20
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


async def main(dsn: str, workers: int) -> None:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=workers + 2) as pool:
        store = PostgresStore(pool, lease=LEASE)
        await Fill.run(
            pool=pool,
            workers=workers,
            checkpoint=Checkpoint(store),
            delay_between_batches=0.01,
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
