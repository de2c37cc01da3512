"""The guide's complete example: users to version 2, with all that production needs.

Run it: `uv run python examples/complete.py`.
"""

from __future__ import annotations

import resource
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import structlog
from scaffold import expect, run_example

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Halt,
    Next,
    Retry,
    RunResult,
    RunStatus,
    SqliteStore,
    Verdict,
    telemetry,
)
from adaptive_backfill.postgres import hot_io_tables, long_waiting_queries

log = structlog.get_logger()


def check_memory() -> Verdict:
    """Halt while this process uses 4 GB or more (on Linux)."""
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[1]) * resource.getpagesize()
    return OK if used < 4_000_000_000 else Halt(f"{used} bytes of memory in use")


@dataclass(frozen=True)
class Tally:
    """How far it is: the last id done, and what came of the users so far."""

    last_id: int = 0
    migrated: int = 0
    failed: int = 0


class UsersToV2(Backfill[Tally]):
    """Bring every user to version 2; count those that cannot be, and go on."""

    pool: asyncpg.Pool

    name = "users_v2"
    initial_state = Tally()
    health_checks = [
        long_waiting_queries(limit=60, action="pause"),
        hot_io_tables(action="slow"),
        check_memory,
    ]
    batch_size = 100
    timeout = 60.0
    delay_between_batches = 0.05
    retry = Retry(attempts=3, on=(ConnectionError, TimeoutError))
    telemetry_prefix = "my_app.backfill.users_v2"
    checkpoint = Checkpoint(SqliteStore("backfills.db"))

    async def total(self) -> int:
        counted: int = await self.pool.fetchval("SELECT count(*) FROM users")
        return counted

    async def handle_batch(self, state: Tally) -> Answer[Tally]:
        users = await self.pool.fetch(
            "SELECT id, email FROM users WHERE id > $1 AND version = 1"
            " ORDER BY id LIMIT $2",
            state.last_id,
            self.batch_size,
        )
        if not users:
            return DONE
        migrated = await self.migrate([u for u in users if "@" in u["email"]])
        after = replace(
            state,
            last_id=users[-1]["id"],
            migrated=state.migrated + migrated,
            failed=state.failed + len(users) - migrated,
        )
        return Next(after, rows=len(users))

    async def migrate(self, users: list[asyncpg.Record]) -> int:
        await self.pool.execute(
            "UPDATE users SET version = 2, domain = split_part(email, '@', 2)"
            " WHERE id = ANY($1) AND version = 1",
            [user["id"] for user in users],
        )
        return len(users)

    async def on_success(self, state: Tally) -> None:
        log.info("batch done", migrated=state.migrated, failed=state.failed)

    async def on_error(self, error: object, state: Tally) -> None:
        log.error("stuck", after=state.last_id, error=repr(error))

    async def on_complete(self, result: RunResult) -> None:
        log.info("users to v2", status=result.status, state=result.state)


class BatchCounter:
    """Counts how batches end; a metrics library goes in its place."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.seconds = 0.0

    def __call__(self, event: telemetry.Event) -> None:
        self.endings[event.name.rpartition(".")[2]] += 1
        self.seconds += event.measurements.get("duration", 0.0)


USERS = """
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL,
    domain text,
    version int NOT NULL DEFAULT 1
);
INSERT INTO users (email)
SELECT 'user' || n || CASE WHEN n % 100 = 0 THEN '' ELSE '@example.com' END
FROM generate_series(1, 1000) AS n;
"""


async def main(pool: asyncpg.Pool) -> str:
    await pool.execute(USERS)
    counter = BatchCounter()
    telemetry.attach("counter", "my_app.backfill.users_v2.batch.**", counter)

    with TemporaryDirectory() as folder:
        checkpoint = Checkpoint(SqliteStore(Path(folder) / "backfills.db"))
        first = await UsersToV2.run(pool=pool, checkpoint=checkpoint, max_batches=4)
        second = await UsersToV2.run(pool=pool, checkpoint=checkpoint)

    expect("the first run", (first.status, first.rows), (RunStatus.STOPPED, 400))
    expect("the second run", (second.status, second.resumed), (RunStatus.DONE, True))
    expect("the tally", second.state, Tally(last_id=1000, migrated=990, failed=10))
    migrated = await pool.fetchval(
        "SELECT count(*) FROM users WHERE version = 2 AND domain = 'example.com'"
    )
    expect("users in version 2", migrated, 990)
    expect("batches that succeeded", counter.endings["success"], 10)
    return f"990 users migrated, 10 failed, in {counter.seconds:.2f} s of batches"


if __name__ == "__main__":
    run_example("complete", main)
