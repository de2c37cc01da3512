"""A single operation: one piece of work, with a look at health in the middle.

Run it: `uv run python examples/basic_single.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from scaffold import Pool, expect, run_example

from adaptive_backfill import OK, Answer, Backfill, Done, Halt, Verdict

ORDERS = """
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day date NOT NULL,
    cents bigint NOT NULL
);
CREATE TABLE daily_totals (day date PRIMARY KEY, cents bigint NOT NULL);
INSERT INTO orders (day, cents)
SELECT date '2024-01-01' + n % 30, n FROM generate_series(1, 3000) AS n;
"""


class RebuildDailyTotals(Backfill):
    """Sum up the orders of each day."""

    async def check_recovery(self) -> Verdict:
        if await self.pool.fetchval("SELECT pg_is_in_recovery()"):
            return Halt("this is a replica, which cannot be written to")
        return OK

    pool: Pool
    mode = "sync"
    health_checks = [check_recovery]

    async def handle(self, health_check: Callable[[], Awaitable[Verdict]]) -> Answer:
        totals = await self.pool.fetch(
            "SELECT day, sum(cents)::bigint AS cents FROM orders GROUP BY day"
        )

        # Reading was harmless. Before writing, ask again.
        if isinstance(verdict := await health_check(), Halt):
            return verdict

        await self.pool.executemany(
            "INSERT INTO daily_totals VALUES ($1, $2)"
            " ON CONFLICT (day) DO UPDATE SET cents = excluded.cents",
            [(total["day"], total["cents"]) for total in totals],
        )
        return Done(len(totals))

    async def on_success(self, result: int) -> None:
        print(f"{result} days summed up")


async def main(pool: Pool) -> str:
    await pool.execute(ORDERS)

    result = await RebuildDailyTotals.run(pool=pool)
    result.raise_for_status()

    total = await pool.fetchval("SELECT sum(cents)::bigint FROM daily_totals")
    expect("cents in all days", total, sum(range(1, 3001)))
    return f"{result.result} days rebuilt"


if __name__ == "__main__":
    run_example("basic_single", main)
