"""Checkpoints that outlive the process, a state with fields, checks with weights.

Run it: `uv run python examples/advanced_batch.py`.

Orders are priced anew. Those that cannot be are counted and remembered, and the run
goes on. The batch size is tuned by hand, by a telemetry handler that aims at batches
of a certain duration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from scaffold import Pool, Row, expect, run_example

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    HealthCheck,
    Next,
    Run,
    RunStatus,
    Slow,
    SqliteStore,
    Verdict,
    telemetry,
    weighted,
)
from adaptive_backfill.postgres import long_waiting_queries, temp_file_usage

TABLES = """
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    quantity text NOT NULL,
    unit_cents int NOT NULL,
    cents bigint,
    priced int NOT NULL DEFAULT 0
);
INSERT INTO orders (quantity, unit_cents)
SELECT CASE WHEN n % 500 = 0 THEN 'many' ELSE (n % 9 + 1)::text END, n % 100
FROM generate_series(1, 3000) AS n;
"""


@dataclass(frozen=True)
class Pricing:
    """How far it is, and which orders could not be priced."""

    last_id: int = 0
    priced: int = 0
    unpriceable: tuple[int, ...] = ()


class PriceOrders(Backfill[Pricing]):
    """Set `cents` of every order."""

    async def check_locks(self) -> Verdict:
        waiting = await self.pool.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted"
        )
        return Slow(f"{waiting} sessions wait for locks") if waiting > 20 else OK

    pool: Pool
    initial_state = Pricing()
    batch_size = 50
    timeout = 30.0
    telemetry_prefix = "shop.pricing"
    health_checks = [
        long_waiting_queries(limit=30, action="pause"),
        temp_file_usage(action="pause"),
        HealthCheck(check_locks, weight=0.5, on_error="slow"),
    ]
    evaluate = weighted(1.0)  # waiting locks alone are not reason enough

    async def total(self) -> int:
        counted: int = await self.pool.fetchval("SELECT count(*) FROM orders")
        return counted

    async def handle_batch(self, state: Pricing) -> Answer[Pricing]:
        orders = await self.pool.fetch(
            "SELECT id, quantity, unit_cents FROM orders WHERE id > $1"
            " ORDER BY id LIMIT $2",
            state.last_id,
            self.batch_size,
        )
        if not orders:
            return DONE
        prices = [
            (order["id"], price)
            for order in orders
            if (price := cents(order)) is not None
        ]
        await self.pool.executemany(
            "UPDATE orders SET cents = $2, priced = priced + 1 WHERE id = $1", prices
        )
        failed = {order["id"] for order in orders} - {
            order_id for order_id, _ in prices
        }
        after = replace(
            state,
            last_id=orders[-1]["id"],
            priced=state.priced + len(prices),
            unpriceable=(*state.unpriceable, *sorted(failed)),
        )
        return Next(after, rows=len(orders))


def cents(order: Row) -> int | None:
    """Return the price of *order*; None where its quantity is no number."""
    try:
        return int(order["quantity"]) * int(order["unit_cents"])
    except ValueError:
        return None


def tuner(run: Run, seconds: float) -> telemetry.Handler:
    """Return a handler that keeps batches at about *seconds*."""

    def tune(event: telemetry.Event) -> None:
        size = run.progress.batch_size or 1
        wanted = size * seconds / max(event.measurements["duration"], 0.001)
        # At most half or double it, so that one odd batch does not decide.
        run.set(batch_size=int(min(max(wanted, size / 2, 10), size * 2, 400)))

    return tune


async def main(pool: Pool) -> str:
    await pool.execute(TABLES)

    with TemporaryDirectory() as folder:
        checkpoint = Checkpoint(SqliteStore(Path(folder) / "backfills.db"), "pricing")

        stopped = await PriceOrders.run(pool=pool, checkpoint=checkpoint, max_batches=5)
        expect("the first run", stopped.status, RunStatus.STOPPED)
        print(f"stopped after {stopped.rows} orders")

        async with PriceOrders.start(pool=pool, checkpoint=checkpoint) as run:
            telemetry.attach("tuner", "shop.pricing.batch.success", tuner(run, 0.05))
            result = (await run.wait()).raise_for_status()
            size = run.progress.batch_size
        telemetry.detach("tuner")

    print(f"resumed, and done after {result.batches} batches; the last size was {size}")
    expect("resumed", result.resumed, True)
    expect("rows", result.rows, 3000)
    wanted = Pricing(3000, 2994, (500, 1000, 1500, 2000, 2500, 3000))
    expect("the state", result.state, wanted)
    once = await pool.fetchval("SELECT count(*) FROM orders WHERE priced = 1")
    expect("orders priced exactly once", once, wanted.priced)
    return f"{wanted.priced} orders priced, {len(wanted.unpriceable)} cannot be"


if __name__ == "__main__":
    run_example("advanced_batch", main)
