"""A batch operation: a keyset, a state, and a check before every batch.

Run it: `uv run python examples/basic_batch.py`.
"""

from __future__ import annotations

from scaffold import Pool, expect, run_example

from adaptive_backfill import DONE, Answer, Backfill, Next
from adaptive_backfill.postgres import pg_health_checks

USERS = """
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL,
    version int NOT NULL DEFAULT 1
);
INSERT INTO users (email)
SELECT 'User' || n || '@Example.com' FROM generate_series(1, 1000) AS n;
DELETE FROM users WHERE id BETWEEN 400 AND 499;  -- real tables have gaps
"""


class LowercaseEmails(Backfill[int]):
    """Write every email in lower case; the state is the last id done."""

    pool: Pool
    initial_state = 0
    batch_size = 200
    health_checks = pg_health_checks()

    async def handle_batch(self, state: int) -> Answer[int]:
        ids = await self.pool.fetch(
            "SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2",
            state,
            self.batch_size,
        )
        if not ids:
            return DONE
        last_id: int = ids[-1]["id"]
        await self.pool.execute(
            "UPDATE users SET email = lower(email), version = 2"
            " WHERE id > $1 AND id <= $2 AND version = 1",
            state,
            last_id,
        )
        return Next(last_id, rows=len(ids))

    async def on_success(self, state: int) -> None:
        print(f"done up to id {state}")


async def main(pool: Pool) -> str:
    await pool.execute(USERS)

    result = (await LowercaseEmails.run(pool=pool)).raise_for_status()

    expect("rows", result.rows, 900)
    left = await pool.fetchval("SELECT count(*) FROM users WHERE email <> lower(email)")
    expect("emails left", left, 0)
    return f"{result.rows} users in {result.batches} batches"


if __name__ == "__main__":
    run_example("basic_batch", main)
