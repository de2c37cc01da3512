from __future__ import annotations

import asyncio

import pytest

from adaptive_backfill import Snapshot
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._ports import Held, Wish
from adaptive_backfill.errors import CheckpointError, LeaseLost, NotRunning
from adaptive_backfill.postgres import store as store_module
from adaptive_backfill.postgres.store import PostgresStore

from .asking import connected
from .storing import (
    NAME,
    NAMES,
    Pool,
    locked,
    run_out,
    running,
    seconds_left,
    taken,
    waits_for_a_lock,
)

pytestmark = pytest.mark.postgres


@pytest.fixture
def store(pool: Pool) -> PostgresStore:
    return PostgresStore(pool)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_SECONDS_BETWEEN_LOOKS", 0.001)


@pytest.mark.asyncio
async def test_a_beat_does_not_wait_for_the_runs_own_batch_to_commit(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    await store.wish(NAME, Wish("pause", "ann"))
    async with pool.acquire() as connection, connection.transaction():
        await lease.save_on(connection, Snapshot(1))

        heard = await lease.beat(running("first"))

    assert heard == Wishes(paused="ann")
    assert await lease.load() == Snapshot(1)


@pytest.mark.asyncio
async def test_a_beat_that_finds_its_row_locked_is_lost_once_another_run_has_it(
    store: PostgresStore, pool: Pool, database: str
) -> None:
    lease = await taken(store, "first")
    await run_out(pool)
    await taken(store, "second")

    async with locked(database):
        with pytest.raises(LeaseLost):
            await lease.beat(running("first"))


@pytest.mark.asyncio
async def test_a_name_whose_run_is_committing_is_told_to_be_held_at_once(
    store: PostgresStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taken(store, "first")
    monkeypatch.setattr(store_module, "_SECONDS_BETWEEN_LOOKS", 3600)

    async with locked(database):
        held = await store.acquire(NAME, "second")

    assert held == Held("first")


@pytest.mark.asyncio
@pytest.mark.usefixtures("impatient")
async def test_a_run_that_is_frozen_while_it_commits_keeps_its_name(
    store: PostgresStore, pool: Pool
) -> None:
    first = await taken(store, "first")
    await run_out(pool)
    async with pool.acquire() as connection, connection.transaction():
        await first.save_on(connection, Snapshot(1, batches=1))

        held = await store.acquire(NAME, "second")

    assert held == Held("first")
    assert await first.load() == Snapshot(1, batches=1)
    assert await seconds_left(pool) > 50


@pytest.mark.asyncio
@pytest.mark.usefixtures("impatient")
async def test_a_free_name_that_stays_locked_is_told_to_be_so(
    store: PostgresStore, database: str
) -> None:
    await store.save(NAME, Snapshot(1))

    async with locked(database):
        with pytest.raises(CheckpointError, match="another transaction keeps its row"):
            await store.acquire(NAME, "first")


@pytest.mark.asyncio
async def test_a_free_name_that_is_locked_for_a_moment_is_taken(
    store: PostgresStore, database: str
) -> None:
    await store.save(NAME, Snapshot(1))

    async with locked(database):
        taking = asyncio.create_task(store.acquire(NAME, "first"))
        await asyncio.sleep(0)

    assert not isinstance(await taking, Held)


@pytest.mark.asyncio
async def test_asking_for_a_held_name_locks_nothing(
    store: PostgresStore, pool: Pool
) -> None:
    await taken(store, "first")
    before = await pool.fetchrow(f"SELECT xmin::text, xmax::text FROM {NAMES}")

    assert isinstance(await store.acquire(NAME, "second"), Held)

    after = await pool.fetchrow(f"SELECT xmin::text, xmax::text FROM {NAMES}")
    assert before == after


@pytest.mark.asyncio
async def test_what_is_seen_waits_for_nobody(
    store: PostgresStore, database: str
) -> None:
    lease = await taken(store, "first")
    await lease.beat(running("first"))
    await lease.save(Snapshot(1))

    async with locked(database):
        assert [one.run_id for one in await store.look()] == ["first"]
        assert await store.load(NAME) == Snapshot(1)
        assert await store.history(NAME) == []
        assert await lease.finished() is None


@pytest.mark.asyncio
async def test_a_wish_waits_for_the_batch_that_is_about_to_commit(
    store: PostgresStore, pool: Pool, database: str
) -> None:
    lease = await taken(store, "first")
    async with pool.acquire() as connection, connection.transaction():
        await lease.save_on(connection, Snapshot(1))
        wishing = asyncio.create_task(store.wish(NAME, Wish("stop", "ann")))
        await waits_for_a_lock(database, "lasting_wishes")

    await wishing
    assert await lease.beat(running("first")) == Wishes(stop=True)
    assert await lease.load() == Snapshot(1)


@pytest.mark.asyncio
async def test_a_wish_for_a_run_that_ends_meanwhile_is_refused(
    store: PostgresStore, database: str
) -> None:
    await taken(store, "first")
    async with connected(database) as other, other.transaction():
        await other.execute(f"UPDATE {NAMES} SET holder = NULL")
        wishing = asyncio.create_task(store.wish(NAME, Wish("stop", "ann")))
        await waits_for_a_lock(database, "lasting_wishes")

    with pytest.raises(NotRunning):
        await wishing


@pytest.mark.asyncio
async def test_a_wish_that_comes_between_is_not_lost(
    store: PostgresStore, database: str
) -> None:
    lease = await taken(store, "first")
    async with connected(database) as other, other.transaction():
        await other.execute(f'UPDATE {NAMES} SET wishes = \'{{"paused": "bob"}}\'')
        wishing = asyncio.create_task(store.wish(NAME, Wish("stop", "ann")))
        await waits_for_a_lock(database, "lasting_wishes")

    await wishing

    assert await lease.beat(running("first")) == Wishes(stop=True, paused="bob")
