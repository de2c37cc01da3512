"""Single operations that empty a queue in PostgreSQL, two of them at once.

Run it: `uv run python examples/single_queue.py`.

Each takes jobs with FOR UPDATE SKIP LOCKED, in one transaction with the work itself: no
job is done twice, and one that fails midway goes back into the queue. They go on until
they are told to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from scaffold import Pool, expect, run_example, until

from adaptive_backfill import Answer, Backfill, Halt, Pause, RunStatus, Verdict

QUEUE = """
CREATE TABLE jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    amount int NOT NULL,
    done_by text
);
CREATE INDEX jobs_to_do ON jobs (id) WHERE done_by IS NULL;
CREATE TABLE ledger (job_id bigint NOT NULL, amount int NOT NULL);
"""

ADD = "INSERT INTO jobs (amount) SELECT n FROM generate_series(1, $1::int) AS n"

JOBS_TO_DO = "SELECT count(*) FROM jobs WHERE done_by IS NULL"

WORK = """
WITH taken AS (
    SELECT id, amount FROM jobs WHERE done_by IS NULL
    ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED
), booked AS (
    INSERT INTO ledger SELECT id, amount FROM taken
)
UPDATE jobs SET done_by = $1 FROM taken WHERE jobs.id = taken.id
"""


class WorkOffQueue(Backfill):
    """Do jobs while there are any; look again while there are none."""

    pool: Pool
    poll_every: float = 0.05

    async def handle(self, health_check: Callable[[], Awaitable[Verdict]]) -> Answer:
        while True:
            verdict = await health_check()
            if isinstance(verdict, Halt):  # also where somebody wants it to stop
                return verdict
            waiting = isinstance(verdict, Pause) or not await self._do_some()
            if waiting:
                await asyncio.sleep(self.poll_every)

    async def _do_some(self) -> bool:
        return await self.pool.execute(WORK, self.name) != "UPDATE 0"


async def main(pool: Pool) -> str:
    async def is_empty() -> bool:
        return not await pool.fetchval(JOBS_TO_DO)

    await pool.execute(QUEUE)
    await pool.execute(ADD, 300)

    async with (
        WorkOffQueue.start(pool=pool, name="worker-1") as first,
        WorkOffQueue.start(pool=pool, name="worker-2") as second,
    ):
        await until("the queue is empty", is_empty)
        await pool.execute(ADD, 200)  # an application adds more, meanwhile
        await until("the queue is empty", is_empty)
        first.stop()
        second.stop()
        endings = [(await run.wait()).status for run in (first, second)]

    expect("endings", endings, [RunStatus.STOPPED, RunStatus.STOPPED])
    booked = await pool.fetchval("SELECT count(*) FROM ledger")
    expect("jobs in the ledger", booked, 500)
    jobs = await pool.fetchval("SELECT count(DISTINCT job_id) FROM ledger")
    expect("different jobs in the ledger", jobs, 500)
    return "500 jobs, each done once"


if __name__ == "__main__":
    run_example("single_queue", main)
