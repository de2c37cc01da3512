"""A process to be killed: it counts each row of `items` up by one.

    python -m tests.postgres.killed_table DSN FORM

It writes `> running` when it begins, and `> STATUS` when it has ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import asyncpg

from adaptive_backfill import Checkpoint
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill

LEASE = 0.3


class ByStatement(TableBackfill):
    name = "killed"
    table = "items"
    batch_size = 20
    once = True
    delay_between_batches = 0.03
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


class InPython(TableBackfill):
    name = "killed"
    table = "items"
    batch_size = 20
    once = True
    delay_between_batches = 0.03

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        await connection.executemany(
            "UPDATE items SET n = n + 1 WHERE id = $1", [(row["id"],) for row in rows]
        )


async def main(dsn: str, form: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        store = PostgresStore(pool, lease=LEASE)
        backfill = ByStatement if form == "statement" else InPython
        print("> running", flush=True)
        result = await backfill.run(
            pool=pool, checkpoint=Checkpoint(store), if_running="wait"
        )
    print(f"> {result.status} {result.rows}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
