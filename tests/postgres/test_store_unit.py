"""What the unit of work does with a lease: save in the batch's own transaction."""

from __future__ import annotations

import pytest
import pytest_asyncio

from adaptive_backfill import RunResult, RunStatus, Snapshot
from adaptive_backfill._core import codec
from adaptive_backfill._core.codec import Encoded
from adaptive_backfill.errors import CheckpointError, LeaseLost
from adaptive_backfill.postgres import _store_lease
from adaptive_backfill.postgres.store import PostgresStore

from .storing import NAME, Pool, run_out, seconds_left, taken

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
        assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.asyncio
async def test_a_state_that_was_encoded_ahead_is_saved_once(
    store: PostgresStore, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[object] = []

    def encode(state: object, state_type: object) -> Encoded:
        encoded.append(state)
        return codec.encode(state, state_type)

    monkeypatch.setattr(_store_lease, "encode", encode)
    lease = await taken(store, "first")
    state = (10, "ten")
    async with pool.acquire() as connection, connection.transaction():
        lease.foresee(state)
        await lease.save_on(connection, Snapshot(state, 1))

    assert encoded == [state]
    assert await lease.load() == Snapshot(state, 1)


@pytest.mark.asyncio
async def test_what_was_encoded_ahead_is_saved_for_that_very_state_only(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    async with pool.acquire() as connection, connection.transaction():
        lease.foresee(10.0)
        await lease.save_on(connection, Snapshot(10, 1))

    kept = await lease.load()
    assert kept == Snapshot(10, 1)
    assert type(kept.state) is int


@pytest.mark.asyncio
async def test_that_a_state_cannot_be_kept_is_said_by_its_save(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first", int)
    async with pool.acquire() as connection, connection.transaction():
        lease.foresee("x")
        with pytest.raises(CheckpointError, match="declared type int"):
            await lease.save_on(connection, Snapshot("x"))


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
