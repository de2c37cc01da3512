"""What the unit of work does with a lease: save in the batch's own transaction."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from adaptive_backfill import RunResult, RunStatus, Snapshot
from adaptive_backfill.errors import CheckpointError, LeaseLost
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres.store import PostgresStore

from .asking import connected
from .storing import NAME, Pool, run_out, running, seconds_left, taken, waits_for_a_lock

pytestmark = pytest.mark.postgres

BATCH = "UPDATE items SET done = true WHERE id > $1 AND id <= $2"


@pytest_asyncio.fixture
async def store(pool: Pool) -> PostgresStore:
    await pool.execute(
        "CREATE TABLE items (id int PRIMARY KEY, done boolean NOT NULL DEFAULT false);"
        "INSERT INTO items SELECT generate_series(1, 100)"
    )
    return PostgresStore(pool)


async def done(pool: Pool) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM items WHERE done")
    return count


async def ride(
    connection: Any, lease: PostgresLease, first: int, last: int
) -> tuple[Any, ...]:
    kept = lease.riding_update(3, "done")
    row = await connection.fetchrow(
        f"WITH done AS ({BATCH} RETURNING id), kept AS ({kept})"
        " SELECT (SELECT count(*) FROM done), (SELECT rows FROM kept)",
        first,
        last,
        *lease.riding_arguments(Snapshot(last, last // 10, batch_size=10)),
    )
    return tuple(row)


@pytest.mark.asyncio
async def test_data_and_snapshot_are_committed_together(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first", int)
    await run_out(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(BATCH, 0, 10)
        await lease.save_on(connection, Snapshot(10, 1, 10, 10))
        assert await lease.load() is None

    assert await lease.load() == Snapshot(10, 1, 10, 10)
    assert await done(pool) == 10
    assert await seconds_left(pool) > 50


@pytest.mark.asyncio
async def test_data_and_snapshot_are_rolled_back_together(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    await lease.save(Snapshot(0))
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(BATCH, 0, 10)
        await lease.save_on(connection, Snapshot(10))
        await transaction.rollback()

    assert await lease.load() == Snapshot(0)
    assert await done(pool) == 0


@pytest.mark.asyncio
async def test_a_batch_of_a_run_that_lost_its_lease_is_not_committed(
    store: PostgresStore, pool: Pool
) -> None:
    first = await taken(store, "first")
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(BATCH, 0, 10)
        await run_out(pool)
        second = await taken(store, "second")
        with pytest.raises(LeaseLost):
            await first.save_on(connection, Snapshot(10))
        await transaction.rollback()

    assert await done(pool) == 0
    assert await second.load() is None


@pytest.mark.asyncio
async def test_a_state_that_cannot_be_kept_is_refused_before_anything_is_sent(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first", int)
    async with pool.acquire() as connection, connection.transaction():
        with pytest.raises(CheckpointError, match="declared type int"):
            await lease.save_on(connection, Snapshot("x"))
        with pytest.raises(CheckpointError, match="declared type int"):
            lease.riding_arguments(Snapshot("x"))
        assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.asyncio
async def test_a_save_rides_in_the_batchs_statement_and_the_server_counts(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first", int)
    await run_out(pool)
    async with pool.acquire() as connection:
        first = await ride(connection, lease, 0, 10)
        second = await ride(connection, lease, 10, 30)

    assert (first, second) == ((10, 10), (20, 30))
    assert await lease.load() == Snapshot(30, 3, 30, 10)
    assert await seconds_left(pool) > 50


@pytest.mark.asyncio
async def test_a_riding_save_of_a_lost_lease_gives_no_row(
    store: PostgresStore, pool: Pool
) -> None:
    first = await taken(store, "first", int)
    await run_out(pool)
    second = await taken(store, "second", int)
    async with pool.acquire() as connection:
        row = await ride(connection, first, 0, 10)

    assert row == (10, None)
    assert await second.load() is None


@pytest.mark.asyncio
async def test_the_lease_is_kept_while_the_batch_with_the_riding_save_is_under_way(
    store: PostgresStore, pool: Pool, database: str
) -> None:
    lease = await taken(store, "first", int)
    async with pool.acquire() as connection, connected(database) as other:
        hold_up = other.transaction()
        await hold_up.start()
        await other.execute("SELECT FROM items WHERE id = 5 FOR UPDATE")
        riding = asyncio.create_task(ride(connection, lease, 0, 10))
        await waits_for_a_lock(database, "WITH done AS")
        await run_out(pool)

        # Its row is not locked yet, so that beats renew the lease, and show.
        await lease.beat(running("first"))
        assert await seconds_left(pool) > 50
        assert [one.run_id for one in await store.look()] == ["first"]
        await run_out(pool)
        await hold_up.rollback()

        assert await riding == (10, 10)
    assert await lease.load() == Snapshot(10, 1, 10, 10)
    assert await seconds_left(pool) > 50


@pytest.mark.asyncio
async def test_a_name_that_was_taken_while_the_batch_was_under_way_is_lost_to_it(
    store: PostgresStore, pool: Pool, database: str
) -> None:
    first = await taken(store, "first", int)
    async with pool.acquire() as connection, connected(database) as other:
        hold_up = other.transaction()
        await hold_up.start()
        await other.execute("SELECT FROM items WHERE id = 5 FOR UPDATE")
        riding = asyncio.create_task(ride(connection, first, 0, 10))
        await waits_for_a_lock(database, "WITH done AS")
        await run_out(pool)
        second = await taken(store, "second", int)
        await hold_up.rollback()

        assert await riding == (10, None)
    assert await second.load() is None


@pytest.mark.asyncio
async def test_the_last_batch_commits_that_the_name_is_finished(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    await lease.save(Snapshot(90))
    result = RunResult(
        NAME, "first", RunStatus.DONE, 100, result={"moved": 100}, batches=10, rows=100
    )
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(BATCH, 90, 100)
        await lease.finish_on(connection, result)
        assert await lease.untold() is None

    finished = await lease.finished()
    assert finished == await lease.untold()
    assert finished is not None
    assert (finished.result, finished.batches, finished.rows) == (
        {"moved": 100}, 10, 100,
    )  # fmt: skip
    assert await lease.load() is None


@pytest.mark.asyncio
async def test_the_run_after_a_crash_finds_that_nobody_was_told(
    store: PostgresStore, pool: Pool
) -> None:
    first = await taken(store, "first")
    result = RunResult(NAME, "first", RunStatus.DONE, batches=10)
    async with pool.acquire() as connection, connection.transaction():
        await first.finish_on(connection, result)
    await run_out(pool)

    second = await taken(store, "second")
    untold = await second.untold()

    assert untold is not None
    assert (untold.run_id, untold.batches) == ("first", 10)
    await second.release(untold, handed_over=False)
    third = await taken(store, "third")
    assert await third.untold() is None
    assert await third.finished() == untold


@pytest.mark.asyncio
async def test_a_run_that_was_cancelled_after_its_last_batch_stays_untold(
    store: PostgresStore, pool: Pool
) -> None:
    first = await taken(store, "first")
    async with pool.acquire() as connection, connection.transaction():
        await first.finish_on(connection, RunResult(NAME, "first", RunStatus.DONE))
    await first.release(None, handed_over=True)

    second = await taken(store, "second")
    assert await second.untold() is not None

    await second.discard()
    assert await second.untold() is None
    assert await second.finished() is None


@pytest.mark.asyncio
async def test_a_run_that_lost_its_lease_does_not_finish(
    store: PostgresStore, pool: Pool
) -> None:
    first = await taken(store, "first")
    await run_out(pool)
    second = await taken(store, "second")

    async with pool.acquire() as connection:
        with pytest.raises(LeaseLost):
            await first.finish_on(connection, RunResult(NAME, "first", RunStatus.DONE))

    assert await second.finished() is None
