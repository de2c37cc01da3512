"""Rounds over one table: each begins with nothing done, and no store."""

from __future__ import annotations

from adaptive_backfill import Checkpoint, RunResult
from adaptive_backfill.postgres import PostgresStore
from tests.postgres.tables import Pool
from tests.scenarios.table_process import FORMS, ROWS

__all__ = ["BATCH", "NAMES", "anew", "ended_by_us"]

BATCH = b"BEGIN; SET LOCAL"
"""What the first statement of a batch contains."""

NAMES = "adaptive_backfill.backfill_names"


async def anew(pool: Pool, *, store: Pool | None = None) -> None:
    """Make the table, and drop what a store has in *store*, by default there, too."""
    await (store or pool).execute("DROP SCHEMA IF EXISTS adaptive_backfill CASCADE")
    await pool.execute(
        "DROP TABLE IF EXISTS items;"
        "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);"
        f"INSERT INTO items SELECT generate_series(1, {ROWS}); ANALYZE items"
    )


async def ended_by_us(
    pool: Pool, form: str, *, store: Pool | None = None, timeout: float = 60.0
) -> RunResult:
    """Run *form* to its end, as if the time of all leases had run out."""
    kept = store or pool
    if await kept.fetchval(f"SELECT to_regclass('{NAMES}')"):
        await kept.execute(f"UPDATE {NAMES} SET expires_at = '-infinity'")
    checkpoint = Checkpoint(PostgresStore(kept))
    return await FORMS[form].run(pool=pool, checkpoint=checkpoint, timeout=timeout)
