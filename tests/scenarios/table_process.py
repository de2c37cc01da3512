"""Processes to be killed, or frozen: each runs a backfill over the table `items`.

    python -m tests.scenarios.table_process

A line on stdin, `FORM DSN STORE_DSN TIMEOUT`, is a new process: forked, which takes
milliseconds where a start takes half a second. Its id is told at once, and, when it is
gone, that it is; in between it tells for itself how its run ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from adaptive_backfill import DONE, Answer, Backfill, Checkpoint, Next, Retry
from adaptive_backfill.postgres import PostgresBackfill, PostgresStore, TableBackfill

ROWS = 60
BATCHES = 3
BAD = 37
"""The row that `Poisoned` cannot do."""

ANSWER = "> "

LEASE = 0.5
"""Seconds: short, for where a last beat is under way when a process is stopped."""

QUICK = Retry(attempts=100, base=0.002, cap=0.02, on=())
COUNT_UP = "UPDATE items SET n = n + 1 WHERE {batch}"


class ByStatement(TableBackfill):
    name = "by_statement"
    table = "items"
    batch_size = ROWS // BATCHES
    retry = QUICK
    once = True
    if_running = "wait"
    statement = COUNT_UP


class ByRows(TableBackfill):
    name = "by_rows"
    table = "items"
    batch_size = ROWS // BATCHES
    retry = QUICK
    once = True
    if_running = "wait"

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        ids = [row["id"] for row in rows]
        half = len(ids) // 2
        for some in (ids[:half], ids[half:]):
            await connection.execute(
                "UPDATE items SET n = n + 1 WHERE id = ANY($1)", some
            )


class ByHand(PostgresBackfill[int]):
    name = "by_hand"
    initial_state = 0
    batch_size = ROWS // BATCHES
    retry = Retry(attempts=100, base=0.002, cap=0.02)
    once = True
    if_running = "wait"

    async def handle_batch(self, state: int) -> Answer[int]:
        done = await self.connection.fetch(
            "UPDATE items SET n = n + 1 WHERE id > $1 AND id <= $2 RETURNING id",
            state,
            state + self.batch_size,
        )
        return Next(state + self.batch_size, rows=len(done)) if done else DONE


class ByWorkers(ByStatement):
    name = "by_workers"
    workers = 2
    batch_size = 10


class Poisoned(ByStatement):
    name = "poisoned"
    statement = f"UPDATE items SET n = n + 1 + 0 / (id - {BAD}) WHERE {{batch}}"


FORMS: Mapping[str, type[Backfill[Any]]] = {
    form.name: form for form in (ByStatement, ByRows, ByHand, ByWorkers, Poisoned)
}


async def run(form: str, dsn: str, store_dsn: str, timeout: str) -> str:
    """Run *form*; return how it ended."""
    async with (
        asyncpg.create_pool(dsn, min_size=0, max_size=4) as pool,
        asyncpg.create_pool(store_dsn, min_size=0, max_size=2) as other,
    ):
        store = PostgresStore(pool if store_dsn == dsn else other, lease=LEASE)
        result = await FORMS[form].run(
            pool=pool, checkpoint=Checkpoint(store), timeout=float(timeout)
        )
    return f"{result.status} {type(result.error).__name__}"


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            print(f"{ANSWER}{asyncio.run(run(*line.split()))}", flush=True)
            os._exit(0)
        print(f"{ANSWER}{child}", flush=True)
        os.waitpid(child, 0)
        print(f"{ANSWER}gone", flush=True)


if __name__ == "__main__":
    main()
