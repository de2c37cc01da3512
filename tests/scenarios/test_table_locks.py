"""Among others who want the same rows: the backfill is the one that gives way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from adaptive_backfill import Retry, telemetry
from adaptive_backfill.postgres import TableBackfill
from adaptive_backfill.postgres._faults import GaveWay
from tests.postgres.asking import (
    Connection,
    a_role,
    connected,
    in_transaction,
    pool_of,
    until,
)
from tests.postgres.tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres

ROWS = 400
HELD = 150
QUICK = Retry(attempts=1_000, base=0.005, cap=0.02, on=())


class ByStatement(TableBackfill):
    name = "by_statement"
    table = "items"
    batch_size = 100
    lock_timeout = 0.1
    retry = QUICK
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


class ByRows(TableBackfill):
    name = "by_rows"
    table = "items"
    batch_size = 100
    lock_timeout = 0.1
    retry = QUICK

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        # One by one, so that it has some of them while it waits for another.
        for row in rows:
            await connection.execute(
                "UPDATE items SET n = n + 1 WHERE id = $1", row["id"]
            )


class Slowly(TableBackfill):
    """Takes 70 ms for each row, when it has locked all rows of the batch."""

    table = "items"
    retry = QUICK
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


async def slow_items(pool: Pool, rows: int) -> None:
    """A table in which each row that is done takes its time."""
    await numbered(pool, rows)
    await pool.execute(
        "ALTER TABLE items ADD site int NOT NULL DEFAULT 0;"
        "CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.07); RETURN NULL; END $$;"
        "CREATE TRIGGER slowly AFTER UPDATE OF n ON items FOR EACH ROW "
        "EXECUTE FUNCTION sleeps()"
    )


async def is_sleeping(pool: Pool) -> bool:
    """Whether a batch has locked its rows, and takes its time."""
    return await _waits(pool, "wait_event = 'PgSleep'")


async def is_waiting(pool: Pool) -> bool:
    """Whether a batch waits for a lock."""
    return await _waits(pool, "wait_event_type = 'Lock'")


async def _waits(pool: Pool, what: str) -> bool:
    found: bool = await pool.fetchval(
        f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {what}"
        " AND application_name LIKE 'adaptive_backfill:%'"
        " AND datname = current_database())"
    )
    return found


@contextmanager
def retries() -> Iterator[list[BaseException]]:
    """The errors after which batches are tried again."""
    errors: list[BaseException] = []

    def heard(event: telemetry.Event) -> None:
        error = event.metadata["error"]
        assert isinstance(error, BaseException)
        errors.append(error)

    telemetry.attach("retries", "backfill.batch.retry", heard)
    try:
        yield errors
    finally:
        telemetry.detach("retries")


@asynccontextmanager
async def site(database: str) -> AsyncIterator[list[int]]:
    """A session that updates rows all the time, and waits 2 s for none of them."""
    done_by_it: list[int] = []
    dice = random.Random(7)
    ids = [each for each in range(1, ROWS + 1) if each != HELD]

    async def work(connection: Connection) -> None:
        await connection.execute("SET lock_timeout = '2s'")
        while True:
            await connection.execute(
                "UPDATE items SET site = site + 1 WHERE id = $1", dice.choice(ids)
            )
            done_by_it.append(1)

    async with connected(database) as connection:
        working = asyncio.create_task(work(connection))
        try:
            yield done_by_it
        finally:
            assert not working.done(), working
            working.cancel()
            await asyncio.wait({working})


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("backfill", [ByStatement, ByRows])
@pytest.mark.parametrize(
    "hold",
    [
        f"SELECT FROM items WHERE id = {HELD} FOR UPDATE",
        f"DELETE FROM items WHERE id = {HELD}",
    ],
)
async def test_nobody_waits_for_a_run_that_waits_for_a_row(
    pool: Pool, database: str, backfill: type[TableBackfill], workers: int, hold: str
) -> None:
    await numbered(pool, ROWS)
    await pool.execute("ALTER TABLE items ADD site int NOT NULL DEFAULT 0")
    with retries() as errors:
        async with in_transaction(database, hold), site(database) as updates:
            running = asyncio.create_task(backfill.run(pool=pool, workers=workers))

            async def both_went_on() -> bool:
                return len(errors) >= 6 and len(updates) >= 50

            await until(both_went_on)
            assert not running.done()
        result = done(await running)

    # The holder has rolled back.
    assert (result.rows, result.quarantined) == (ROWS, 0)
    assert await times_done(pool) == {1: ROWS}
    assert await pool.fetchval("SELECT sum(site) FROM items") >= len(updates)


@pytest.mark.asyncio
async def test_a_table_that_is_locked_is_waited_for_and_nobody_queues_behind_the_run(
    pool: Pool, database: str
) -> None:
    await numbered(pool, ROWS)
    with retries() as errors:
        async with in_transaction(database, "LOCK TABLE items IN SHARE MODE"):
            running = asyncio.create_task(ByStatement.run(pool=pool))

            async def has_given_way() -> bool:
                return len(errors) >= 4

            await until(has_given_way)
            # Readers pass, and so does who wants the same lock as the holder.
            async with connected(database) as other:
                await other.execute("SET lock_timeout = '2s'")
                for _ in range(20):
                    await other.fetch("SELECT FROM items")
                    await other.execute("BEGIN; LOCK TABLE items IN SHARE MODE; ABORT")
        result = done(await running)

    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wants", "waits"),
    [
        ("UPDATE items SET site = site + 1 WHERE id = 60", True),
        ("DELETE FROM items WHERE id = 61", False),
        ("ALTER TABLE items ADD extra int", True),
    ],
)
async def test_a_statement_that_somebody_waits_for_is_cancelled_and_tried_again(
    pool: Pool, database: str, wants: str, waits: bool
) -> None:
    await slow_items(pool, 61)
    with retries() as errors:
        async with connected(database) as other:
            running = asyncio.create_task(Slowly.run(pool=pool, where="id <= 60"))
            await until(lambda: is_sleeping(pool))
            await other.execute(wants, timeout=30)
            went_before = not running.done()
            result = done(await running)

    assert went_before
    assert [type(error) for error in errors] == waits * [GaveWay]
    assert result.rows == 60
    assert await pool.fetchval("SELECT count(*) FROM items WHERE n = 1") == 60


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [ByStatement, ByRows])
async def test_a_deadlock_costs_the_batch_its_turn_and_nobody_a_row(
    pool: Pool, database: str, backfill: type[TableBackfill]
) -> None:
    await numbered(pool, ROWS)
    name = urlsplit(database).path[1:]
    await pool.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '700ms'")
    with retries() as errors:
        async with pool_of(database, 3) as soon, connected(database) as other:
            # Who looks for a deadlock first is who ends it.
            await other.execute("SET deadlock_timeout = '1min'")
            async with other.transaction():
                await other.execute("UPDATE items SET n = n + 100 WHERE id = 100")
                running = asyncio.create_task(backfill.run(pool=soon, lock_timeout=9.0))
                await until(lambda: is_waiting(pool))
                await other.execute("UPDATE items SET n = n + 100 WHERE id = 1")
            result = done(await running)

    assert asyncpg.DeadlockDetectedError in map(type, errors)
    assert (result.rows, result.quarantined) == (ROWS, 0)
    assert await times_done(pool) == {1: ROWS - 2, 101: 2}


@pytest.mark.asyncio
async def test_a_role_that_may_see_nothing_gives_way_all_the_same(
    pool: Pool, database: str
) -> None:
    await slow_items(pool, 60)
    grants = f"CREATE ON DATABASE {urlsplit(database).path[1:]}", "ALL ON items"
    async with a_role(database, *grants) as plain, connected(database) as other:
        await other.execute("SET application_name = 'the site'")
        with retries() as errors:
            async with pool_of(plain, 3) as small:
                running = asyncio.create_task(Slowly.run(pool=small))
                await until(lambda: is_sleeping(pool))
                await other.execute(
                    "UPDATE items SET site = 1 WHERE id = 1", timeout=30
                )
                result = done(await running)
        await other.execute(f"DROP OWNED BY {urlsplit(plain).username}")

    (error,) = errors
    assert isinstance(error, GaveWay)
    assert "the site" in str(error)
    assert result.rows == 60
    assert await times_done(pool) == {1: 60}
