"""Three chores of every grown database: fill a column, move rows, delete old ones.

Run it: `uv run python examples/postgres_real_world.py`.

All go by keyset, each batch is one statement, and each statement does no harm when it
is run twice: a crash between a batch and its checkpoint repeats that batch.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, TypeAlias

from scaffold import Pool, expect, run_example

from adaptive_backfill import DONE, Answer, Backfill, Checkpoint, MemoryStore, Next
from adaptive_backfill.postgres import checks

TABLES = """
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL,
    domain text
);
INSERT INTO customers (email, domain)
SELECT 'c' || n || '@example' || n % 7 || '.com',
    CASE WHEN n % 10 = 0 THEN 'example' || n % 7 || '.com' END
FROM generate_series(1, 2000) AS n;

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    at timestamptz NOT NULL
);
INSERT INTO events (kind, at)
SELECT CASE WHEN n % 4 = 0 THEN 'login' ELSE 'click' END,
    timestamptz '2024-01-01 00:00+00' + (n % 400) * interval '1 day'
FROM generate_series(1, 2000) AS n;
CREATE INDEX events_by_time ON events (at, id);

CREATE TABLE logins (id bigint PRIMARY KEY, at timestamptz NOT NULL);
"""

STORE = (
    MemoryStore()
)  # SqliteStore("backfills.db"), where it has to outlive the process


class PostgresChore(Backfill):
    """What the three have in common. Without a handler it is only a base."""

    pool: Pool
    batch_size = 250
    timeout = 30.0
    health_checks = checks.recommended()
    checkpoint = Checkpoint(STORE)


class ById(PostgresChore, Backfill[int]):
    """A chore of one statement: `$1` is the last id done, `$2` how many to take."""

    statement: ClassVar[str] = "SELECT 0 AS rows, 0 AS last_id"
    initial_state = 0

    async def handle_batch(self, state: int) -> Answer[int]:
        batch = await self.pool.fetchrow(self.statement, state, self.batch_size)
        if batch is None or not batch["rows"]:
            return DONE
        return Next(batch["last_id"], rows=batch["rows"])


class FillDomains(ById):
    """Fill `domain` where it is missing."""

    statement = """
    WITH batch AS (
        SELECT id FROM customers WHERE id > $1 AND domain IS NULL
        ORDER BY id LIMIT $2
    ), filled AS (
        UPDATE customers SET domain = split_part(email, '@', 2)
        FROM batch WHERE customers.id = batch.id
    )
    SELECT count(*) AS rows, max(id) AS last_id FROM batch
    """


class MoveLogins(ById):
    """Move logins into a table of their own."""

    statement = """
    WITH batch AS (
        SELECT id, kind FROM events WHERE id > $1 ORDER BY id LIMIT $2
    ), taken AS (
        DELETE FROM events USING batch
        WHERE events.id = batch.id AND batch.kind = 'login'
        RETURNING events.id, events.at
    ), moved AS (
        INSERT INTO logins SELECT id, at FROM taken
    )
    SELECT count(*) AS rows, max(id) AS last_id FROM batch
    """


Moment: TypeAlias = tuple[datetime, int]


class DeleteOldEvents(PostgresChore, Backfill[Moment]):
    """Delete events from before a day, oldest first; the key has two columns."""

    before: datetime
    initial_state = (datetime.min.replace(tzinfo=UTC), 0)

    STATEMENT = """
    WITH batch AS (
        SELECT at, id FROM events WHERE (at, id) > ($1, $2) AND at < $3
        ORDER BY at, id LIMIT $4
    ), deleted AS (
        DELETE FROM events USING batch WHERE events.id = batch.id
    )
    SELECT at, id, count(*) OVER () AS rows FROM batch
    ORDER BY at DESC, id DESC LIMIT 1
    """

    async def handle_batch(self, state: Moment) -> Answer[Moment]:
        last = await self.pool.fetchrow(
            self.STATEMENT, *state, self.before, self.batch_size
        )
        if last is None:
            return DONE
        return Next((last["at"], last["id"]), rows=last["rows"])


async def main(pool: Pool) -> str:
    await pool.execute(TABLES)

    filled = (await FillDomains.run(pool=pool)).raise_for_status()
    expect("domains filled", filled.rows, 1800)
    wrong = await pool.fetchval(
        "SELECT count(*) FROM customers"
        " WHERE domain IS DISTINCT FROM split_part(email, '@', 2)"
    )
    expect("customers without the right domain", wrong, 0)
    print(f"{filled.rows} domains filled in {filled.batches} batches")

    moved = (await MoveLogins.run(pool=pool)).raise_for_status()
    expect("events looked at", moved.rows, 2000)
    expect("logins", await pool.fetchval("SELECT count(*) FROM logins"), 500)
    expect("other events", await pool.fetchval("SELECT count(*) FROM events"), 1500)
    print(f"500 logins moved in {moved.batches} batches")

    before = datetime(2024, 7, 1, tzinfo=UTC)
    old = await pool.fetchval("SELECT count(*) FROM events WHERE at < $1", before)
    deleted = await DeleteOldEvents.run(pool=pool, before=before)
    expect("events deleted", deleted.raise_for_status().rows, old)
    remaining = await pool.fetchval("SELECT count(*) FROM events")
    expect("events left", remaining, 1500 - old)
    left = await pool.fetchval("SELECT count(*) FROM events WHERE at < $1", before)
    expect("old events left", left, 0)
    print(f"{old} old events deleted in {deleted.batches} batches")
    return "filled, moved and deleted"


if __name__ == "__main__":
    run_example("postgres_real_world", main)
