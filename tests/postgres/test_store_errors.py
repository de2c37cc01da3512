from __future__ import annotations

import asyncio

import asyncpg
import pytest

from adaptive_backfill import RunResult, RunStatus, Snapshot
from adaptive_backfill.errors import CheckpointError
from adaptive_backfill.postgres import _store_database
from adaptive_backfill.postgres._store_errors import explained
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.testing.postgres import Server
from adaptive_backfill.testing.postgres.postmaster import free_port

from .asking import connected, pool_of
from .storing import NAME, Pool, locked, running, taken, terminated, waits_for_a_lock

pytestmark = pytest.mark.postgres


async def refusal(store: PostgresStore) -> str:
    with pytest.raises(CheckpointError) as refused:
        await store.save(NAME, Snapshot(1))
    assert refused.value.__cause__ is not None
    return str(refused.value)


@pytest.mark.asyncio
async def test_a_pool_that_is_closed_is_told_to_be_the_trouble(database: str) -> None:
    async with pool_of(database, 1) as pool:
        store = PostgresStore(pool)

    said = await refusal(store)

    assert "it has to be open before a run starts" in said
    assert "(asyncpg says: pool is clos" in said


@pytest.mark.asyncio
async def test_a_pool_that_was_never_opened_is_told_to_be_the_trouble(
    database: str,
) -> None:
    said = await refusal(PostgresStore(asyncpg.create_pool(database)))

    assert "it has to be open before a run starts" in said
    assert "pool is not initialized" in said


@pytest.mark.asyncio
async def test_a_pool_without_a_free_connection_is_not_waited_for_without_end(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store_database, "PATIENCE", 0.05)
    async with pool_of(database, 1) as pool, pool.acquire():
        said = await refusal(PostgresStore(pool))

    assert "the pool had no connection free for 0.05 s" in said
    assert "one more than the handler takes" in said


@pytest.mark.asyncio
async def test_a_row_that_stays_locked_is_not_waited_for_without_end(
    pool: Pool, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(pool)
    await store.save(NAME, Snapshot(0))
    monkeypatch.setattr(_store_database, "PATIENCE", 0.2)
    async with locked(database):
        said = await refusal(store)

    assert "another transaction has kept a row of them locked" in said
    assert await store.load(NAME) == Snapshot(0)


@pytest.mark.asyncio
async def test_no_server_is_told_to_be_away() -> None:
    dsn = f"postgresql://postgres@127.0.0.1:{free_port('127.0.0.1')}/postgres"
    async with pool_of(dsn, 1) as pool:
        said = await refusal(PostgresStore(pool))

    assert "the server is away or restarting; once it is back, run it again" in said


@pytest.mark.asyncio
async def test_no_database_is_told_to_be_missing(server: Server) -> None:
    async with pool_of(server.dsn("nothing"), 1) as pool:
        said = await refusal(PostgresStore(pool))

    assert "there is no such database; see to the pool's DSN" in said


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"default_transaction_read_only": "on"}, "give the store a pool on the prim"),
        ({"lock_timeout": "50ms"}, "for the lock_timeout of this pool"),
        ({"statement_timeout": "2s"}, "the statement_timeout of this pool; raise"),
    ],
)
async def test_a_setting_that_is_in_the_way_is_named(
    pool: Pool, database: str, settings: dict[str, str], remedy: str
) -> None:
    await PostgresStore(pool).save(NAME, Snapshot(0))
    async with pool_of(database, 1, server_settings=settings) as theirs:
        store = PostgresStore(theirs)
        assert await store.load(NAME) == Snapshot(0)
        async with locked(database):
            said = await refusal(store)

    assert remedy in said
    assert "What was saved before is not touched. (PostgreSQL says: " in said


@pytest.mark.asyncio
async def test_prepared_statements_that_get_lost_point_to_the_pooler(
    database: str,
) -> None:
    async with pool_of(database, 1) as pool:
        store = PostgresStore(pool)
        await store.save(NAME, Snapshot(1))
        await pool.execute("DEALLOCATE ALL")

        said = await refusal(store)

    assert "make the pool with statement_cache_size=0" in said


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (asyncpg.DiskFullError("no space"), "disk is full; make room, and run it"),
        (asyncpg.TooManyConnectionsError("many"), "has no connection left"),
        (asyncpg.OutOfMemoryError("mem"), "out of memory or other means"),
        (asyncpg.CannotConnectNowError("starting up"), "away or restarting"),
        (asyncpg.InvalidPasswordError("no"), "the pool's user and password"),
        (asyncpg.UndefinedColumnError("no"), "dropped or changed behind it"),
        (asyncpg.NumericValueOutOfRangeError("big"), "does not fit into its column"),
        (asyncpg.FeatureNotSupportedError("no"), "see to the server, and run it again"),
    ],
)
def test_each_kind_of_trouble_has_its_remedy(error: Exception, remedy: str) -> None:
    explanation = explained(error, "jobs")

    assert str(explanation).startswith("The checkpoints in the schema 'jobs' cannot")
    assert remedy in str(explanation)
    assert f"(PostgreSQL says: {error})" in str(explanation)
    assert explanation.__cause__ is error


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "batches"), [("a\0b", 1), ("\ud800", 1), (NAME, 2**63)]
)
async def test_what_does_not_fit_is_told_to_be_the_trouble(
    pool: Pool, name: str, batches: int
) -> None:
    with pytest.raises(CheckpointError, match="a value does not fit into its column"):
        await PostgresStore(pool).save(name, Snapshot(1, batches))


@pytest.mark.asyncio
async def test_a_statement_whose_connection_is_lost_is_done_on_another(
    pool: Pool, database: str
) -> None:
    store = PostgresStore(pool)
    lease = await taken(store, "first")
    async with locked(database):
        saving = lease.save(Snapshot(1))
        backend = await waits_for_a_lock(database, "batch_size =")
        await terminated(database, backend)
        assert await waits_for_a_lock(database, "batch_size =") != backend
    await saving

    assert await lease.load() == Snapshot(1)


@pytest.mark.asyncio
async def test_connections_that_were_lost_while_nobody_looked_are_replaced(
    pool: Pool, database: str
) -> None:
    store = PostgresStore(pool)
    lease = await taken(store, "first")
    async with connected(database) as other:
        for number in range(20):
            await asyncio.gather(*(lease.load() for _ in range(3)))
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await lease.save(Snapshot(number))
            await lease.beat(running("first"))

    await lease.release(RunResult(NAME, "first", RunStatus.HALTED), handed_over=False)
    assert await store.load(NAME) == Snapshot(19)
    assert len(await store.history(NAME)) == 1


@pytest.mark.asyncio
async def test_a_save_is_done_though_its_connection_breaks_right_after_it(
    database: str,
) -> None:
    broken = 0

    async def break_down(_: object) -> None:
        nonlocal broken
        broken += 1
        raise ConnectionResetError

    async with pool_of(database, 2, reset=break_down) as pool:
        store = PostgresStore(pool)
        lease = await taken(store, "first")
        before = broken
        await lease.save(Snapshot(1))

        assert broken == before + 1
        assert await lease.load() == Snapshot(1)
