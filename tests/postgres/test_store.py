from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import asyncpg
import pytest

from adaptive_backfill import RunResult, RunStatus, Snapshot
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._ports import Control, Held, Lease, LeaseStore, Wish
from adaptive_backfill.errors import (
    CheckpointError,
    ConfigurationError,
    LeaseLost,
    NotRunning,
)
from adaptive_backfill.postgres import _store_lease, _store_schema
from adaptive_backfill.postgres.store import PostgresStore

from .asking import connected, pool_of, until
from .storing import (
    ENDINGS,
    NAME,
    NAMES,
    Pool,
    cancelled,
    locked,
    run_out,
    running,
    seconds_left,
    taken,
    terminated,
    waits_for_a_lock,
)

pytestmark = pytest.mark.postgres


@pytest.fixture
def store(pool: Pool) -> PostgresStore:
    return PostgresStore(pool)


# Declaring


def test_every_problem_of_a_store_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        PostgresStore("postgresql://me:secret@db/x", lease=0, schema="")  # type: ignore[arg-type]

    assert str(refused.value) == (
        "PostgresStore cannot be used:\n"
        "  - pool is a str; open a pool, await asyncpg.create_pool(dsn), and give "
        "that, or a callable that returns it\n"
        "  - lease must be seconds above 0, or a timedelta, not 0\n"
        "  - schema must be a schema's name, not ''"
    )


@pytest.mark.parametrize("pool", [None, 3, object(), asyncpg.Pool])
def test_a_pool_is_a_pool_or_a_way_to_one(pool: object) -> None:
    with pytest.raises(ConfigurationError, match="give an asyncpg pool, or a callable"):
        PostgresStore(pool)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_bare_connection_is_refused(pool: Pool) -> None:
    async with pool.acquire() as lent:
        with pytest.raises(ConfigurationError, match="is a bare connection"):
            PostgresStore(lent)  # type: ignore[arg-type]


@pytest.mark.parametrize("lease", [True, float("nan"), -1, "60", timedelta(0)])
def test_a_lease_is_a_time_above_zero(lease: object) -> None:
    with pytest.raises(ConfigurationError, match="lease must be seconds above 0"):
        PostgresStore(lambda: None, lease=lease)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (None, "a schema's name"),
        (" ", "a schema's name"),
        ("a$b", "without"),
        ("a\0b", "without"),
        ("ä" * 32, "63 bytes at most"),
    ],
)
def test_a_schema_is_a_name_that_the_server_takes_whole(
    schema: object, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        PostgresStore(lambda: None, schema=schema)  # type: ignore[arg-type, return-value]


@pytest.mark.asyncio
async def test_making_a_store_asks_nothing(pool: Pool) -> None:
    store = PostgresStore(pool, lease=timedelta(seconds=30))

    assert repr(store) == "PostgresStore(schema='adaptive_backfill')"
    assert await pool.fetchval("SELECT to_regnamespace('adaptive_backfill')") is None


@pytest.mark.asyncio
async def test_store_and_lease_are_what_the_engine_asks_for(
    store: PostgresStore,
) -> None:
    lease: Lease = await taken(store, "first")

    assert isinstance(store, LeaseStore)
    assert isinstance(store, Control)
    assert lease.beat_every == 1.0


# The pool


@pytest.mark.asyncio
async def test_a_pool_may_be_asked_for(pool: Pool) -> None:
    async def later() -> Pool:
        return pool

    for source in (lambda: pool, later):
        await PostgresStore(source).save(NAME, Snapshot(1))
        assert await PostgresStore(source).load(NAME) == Snapshot(1)


@pytest.mark.asyncio
@pytest.mark.parametrize("given", [None, "postgresql://me:secret@db/x"])
async def test_what_is_asked_for_has_to_be_a_pool(given: Any) -> None:
    with pytest.raises(CheckpointError, match="has no pool: what it got is") as refused:
        await PostgresStore(lambda: given).load(NAME)

    assert "secret" not in str(refused.value)


def test_one_store_serves_one_event_loop_after_another(database: str) -> None:
    pools: list[Pool] = []
    store = PostgresStore(lambda: pools[-1])

    async def with_pool(lease_of: str) -> Snapshot | None:
        async with pool_of(database, 2) as pool:
            pools.append(pool)
            lease = await taken(store, lease_of)
            loaded = await lease.load()
            await lease.save(Snapshot(lease_of))
            await lease.release(None, handed_over=True)
            return loaded

    assert asyncio.run(with_pool("first")) is None
    assert asyncio.run(with_pool("second")) == Snapshot("first")


def test_a_pool_of_another_event_loop_is_refused(database: str) -> None:
    async def opened() -> Pool:
        async with pool_of(database, 1) as pool:
            return pool

    store = PostgresStore(asyncio.run(opened()))

    with pytest.raises(CheckpointError, match="belongs to another event loop"):
        asyncio.run(store.load(NAME))


@pytest.mark.asyncio
async def test_a_pool_of_two_suffices_beside_a_batch_that_holds_one(
    database: str,
) -> None:
    async with pool_of(database, 2) as pool:
        store = PostgresStore(pool)
        lease = await taken(store, "first")

        async with pool.acquire():
            await asyncio.gather(
                lease.save(Snapshot(1)),
                lease.beat(running("first")),
                store.wish(NAME, Wish("pause", "ann")),
                store.look(),
            )

        assert await lease.load() == Snapshot(1)


@pytest.mark.asyncio
async def test_what_users_do_to_their_connections_does_not_matter(
    database: str,
) -> None:
    async def init(connection: Any) -> None:
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(
                kind, encoder=repr, decoder=repr, schema="pg_catalog"
            )

    settings = {"default_transaction_isolation": "serializable", "search_path": ""}
    async with pool_of(database, 4, init=init, server_settings=settings) as pool:
        store = PostgresStore(pool)
        lease = await taken(store, "first")

        async def beats() -> None:
            for _ in range(25):
                await lease.beat(running("first"))
                await store.wish(NAME, Wish("pause", "ann"))

        beating = asyncio.create_task(beats())
        for number in range(50):
            await lease.save(Snapshot(number))
        await beating
        await lease.release(
            RunResult(NAME, "first", RunStatus.HALTED), handed_over=False
        )

        assert await store.load(NAME) == Snapshot(49)


# Keeping


@pytest.mark.asyncio
async def test_another_store_on_the_database_sees_what_was_saved(
    store: PostgresStore, pool: Pool
) -> None:
    await store.save(NAME, Snapshot((1, "a\0\u20ac"), 2, 30, 5))

    assert await PostgresStore(pool).load(NAME) == Snapshot((1, "a\0\u20ac"), 2, 30, 5)


@pytest.mark.asyncio
async def test_stores_in_two_schemas_know_nothing_of_each_other(pool: Pool) -> None:
    odd = "We\"ird {names} 'schema'"
    await PostgresStore(pool).save(NAME, Snapshot(1))
    lease = await taken(PostgresStore(pool, schema=odd), "first")
    await lease.save(Snapshot(2))
    async with pool.acquire() as connection:
        assert await lease.is_on(connection)
    await lease.release(RunResult(NAME, "first", RunStatus.HALTED), handed_over=False)

    assert await PostgresStore(pool).load(NAME) == Snapshot(1)
    assert await PostgresStore(pool, schema=odd).load(NAME) == Snapshot(2)


@pytest.mark.asyncio
async def test_a_state_of_a_declared_type_is_for_its_backfill_only(
    store: PostgresStore,
) -> None:
    lease = await taken(store, "first", tuple[int, str])
    await lease.save(Snapshot((1, "a")))

    with pytest.raises(CheckpointError) as refused:
        await store.load(NAME)

    assert "of 'users' in the schema 'adaptive_backfill' cannot be used" in str(
        refused.value
    )
    assert "kept as tuple[int, str], and now no type is declared" in str(refused.value)


@pytest.mark.asyncio
async def test_a_state_that_does_not_fit_is_refused_and_the_one_before_stays(
    store: PostgresStore,
) -> None:
    lease = await taken(store, "first", int)
    await lease.save(Snapshot(1))

    with pytest.raises(CheckpointError, match="declared type int: state is 'x'"):
        lease.save(Snapshot("x"))

    assert await lease.load() == Snapshot(1)


@pytest.mark.asyncio
async def test_saves_and_beats_leave_nothing_for_vacuum(database: str) -> None:
    async with pool_of(database, 1) as pool:
        lease = await taken(PostgresStore(pool), "first")
        for number in range(100):
            await lease.save(Snapshot(number, number, number * 10))
            await lease.beat(running("first"))
    found: list[tuple[int, int, int]] = []

    async def all_are_counted() -> bool:
        async with connected(database) as connection:
            row = await connection.fetchrow(
                "SELECT n_tup_upd, n_tup_hot_upd, pg_relation_size(relid)"
                " FROM pg_stat_user_tables WHERE relid = $1::text::regclass",
                NAMES,
            )
        assert row is not None
        found.append(tuple(row))
        return found[-1][0] >= 200

    # A session reports what it did when it ends.
    await until(all_are_counted)
    updates, hot, size = found[-1]
    assert (updates, hot) == (200, 200)
    assert size <= 3 * 8192


# Leases


@pytest.mark.asyncio
async def test_a_lease_that_ran_out_is_taken_over_and_its_run_writes_nothing(
    store: PostgresStore, pool: Pool
) -> None:
    first = await taken(store, "first")
    await first.save(Snapshot(1))
    await run_out(pool)

    second = await taken(store, "second")

    for write in (
        first.save(Snapshot(9)),
        first.beat(running("first")),
        first.discard(),
    ):
        with pytest.raises(LeaseLost):
            await write
    await first.release(RunResult(NAME, "first", RunStatus.DONE), handed_over=False)
    assert second.token > first.token
    assert await second.load() == Snapshot(1)
    assert isinstance(await store.acquire(NAME, "third"), Held)
    assert await store.history(NAME) == []


@pytest.mark.asyncio
async def test_a_lease_that_ran_out_unnoticed_is_renewed_by_the_next_save(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    await run_out(pool)

    await lease.save(Snapshot(1))

    assert isinstance(await store.acquire(NAME, "second"), Held)


@pytest.mark.asyncio
async def test_saves_and_beats_renew_the_lease(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    assert 50 < await seconds_left(pool) <= 60
    await run_out(pool)
    await lease.save(Snapshot(1))
    assert 50 < await seconds_left(pool) <= 60
    await run_out(pool)
    await lease.beat(running("first"))
    assert 50 < await seconds_left(pool) <= 60


@pytest.mark.asyncio
async def test_a_short_lease_beats_every_quarter_of_it(pool: Pool) -> None:
    lease = await taken(PostgresStore(pool, lease=2.0), "first")

    assert lease.beat_every == 0.5


@pytest.mark.asyncio
async def test_of_many_that_try_at_once_one_gets_the_name(pool: Pool) -> None:
    stores = [PostgresStore(pool) for _ in range(20)]

    answers = await asyncio.gather(
        *(one.acquire(NAME, f"run {number}") for number, one in enumerate(stores))
    )

    (lease,) = [one for one in answers if not isinstance(one, Held)]
    assert len({one.run_id for one in answers if isinstance(one, Held)}) == 1
    await lease.save(Snapshot(1))


@pytest.mark.asyncio
async def test_of_many_that_take_over_at_once_one_gets_the_name(pool: Pool) -> None:
    store = PostgresStore(pool)
    for turn in range(10):
        taken_over = await asyncio.gather(
            *(store.acquire(NAME, f"run {turn}.{number}") for number in range(5))
        )
        (lease,) = [one for one in taken_over if not isinstance(one, Held)]
        assert lease.token == turn + 1
        await run_out(pool)


@pytest.mark.asyncio
async def test_who_holds_a_name_is_told_with_the_counts_that_are_known(
    store: PostgresStore,
) -> None:
    lease = await taken(store, "first")
    await lease.beat(running("first"))
    await lease.save(Snapshot(7, batches=4, rows=40))

    assert await store.acquire(NAME, "second") == Held("first", 4, 40)


@pytest.mark.asyncio
async def test_a_run_that_asks_again_for_want_of_an_answer_has_its_name(
    store: PostgresStore,
) -> None:
    lost = await taken(store, "first")

    lease = await taken(store, "first")

    await lease.save(Snapshot(1))
    with pytest.raises(LeaseLost):
        await lost.save(Snapshot(2))


# Seen and steered


@pytest.mark.asyncio
async def test_a_run_whose_process_went_away_is_seen_as_stopped(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    await lease.beat(running("first"))
    await run_out(pool)

    (seen,) = await store.look(NAME)

    assert (seen.status, seen.batches) == (RunStatus.STOPPED, 1)
    assert "its process went away" in str(seen.reasons[0])
    with pytest.raises(NotRunning):
        await store.wish(NAME, Wish("stop", "ann"))


@pytest.mark.asyncio
async def test_a_run_that_went_away_is_not_seen_to_run_in_its_successor(
    store: PostgresStore, pool: Pool
) -> None:
    await (await taken(store, "first")).beat(running("first"))
    await run_out(pool)
    second = await taken(store, "second")

    (before,) = await store.look(NAME)
    await second.beat(running("second"))
    (after,) = await store.look(NAME)

    assert (before.run_id, before.status) == ("first", RunStatus.STOPPED)
    assert (after.run_id, after.status) == ("second", "running")


@pytest.mark.asyncio
async def test_a_pause_outlives_the_process_that_was_paused(
    store: PostgresStore, pool: Pool
) -> None:
    await taken(store, "first")
    await store.wish(NAME, Wish("pause", 'an"n\0'))
    await store.wish(NAME, Wish("stop", "ann"))
    await run_out(pool)

    second = await taken(store, "second")

    assert await second.beat(running("second")) == Wishes(paused='an"n\0')


@pytest.mark.asyncio
async def test_wishes_that_are_made_at_once_are_all_heard(store: PostgresStore) -> None:
    lease = await taken(store, "first")

    await asyncio.gather(
        store.wish(NAME, Wish("pause", "ann")),
        store.wish(NAME, Wish("stop", "bob")),
        *(
            store.wish(NAME, Wish("set", "cid", {f"option_{number}": number}))
            for number in range(10)
        ),
    )

    assert await lease.beat(running("first")) == Wishes(
        stop=True,
        paused="ann",
        values={f"option_{number}": number for number in range(10)},
    )


@pytest.mark.asyncio
async def test_endings_that_are_too_old_are_deleted(
    store: PostgresStore, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store_lease, "HISTORY", 3)

    for number in range(6):
        lease = await taken(store, f"run {number}")
        ended = RunResult(NAME, f"run {number}", RunStatus.HALTED)
        await lease.release(ended, handed_over=False)

    kept = await pool.fetch(f"SELECT run_id FROM {ENDINGS} ORDER BY id")
    assert [run_id for (run_id,) in kept] == ["run 3", "run 4", "run 5"]


@pytest.mark.asyncio
async def test_endings_carry_the_time(store: PostgresStore, pool: Pool) -> None:
    lease = await taken(store, "first")
    await lease.release(RunResult(NAME, "first", RunStatus.HALTED), handed_over=False)

    assert await pool.fetchval(
        f"SELECT clock_timestamp() - at < interval '1 minute' FROM {ENDINGS}"
    )


# What must finish, finishes


@pytest.mark.asyncio
async def test_a_lease_whose_taking_was_cancelled_is_given_back(
    store: PostgresStore, database: str
) -> None:
    await store.save(NAME, Snapshot(1))
    async with locked(database):
        taking = asyncio.create_task(store.acquire(NAME, "first"))
        await asyncio.sleep(0)
        taking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await taking
    lease = await taken(store, "second")
    assert await lease.load() == Snapshot(1)


@pytest.mark.asyncio
async def test_a_lease_that_is_taken_in_a_cancelled_scope_is_given_back(
    store: PostgresStore,
) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.acquire(NAME, "first")

    assert scope.cancelled_caught
    await taken(store, "second")


@pytest.mark.asyncio
async def test_tables_whose_making_is_cancelled_are_made_to_the_end(
    store: PostgresStore, pool: Pool, database: str
) -> None:
    scope = anyio.CancelScope()

    async def save() -> None:
        with scope:
            await store.save(NAME, Snapshot(1))

    async with connected(database) as other:
        await other.execute("SELECT pg_advisory_lock($1)", _store_schema._LOCK)
        saving = asyncio.create_task(save())
        await waits_for_a_lock(database, "pg_advisory_xact_lock")
        scope.cancel()
        await asyncio.sleep(0)
        await other.execute("SELECT pg_advisory_unlock($1)", _store_schema._LOCK)
        await saving

    assert scope.cancelled_caught
    assert await pool.fetchval("SELECT to_regclass($1) IS NOT NULL", NAMES)
    await store.save(NAME, Snapshot(2))
    assert await store.load(NAME) == Snapshot(2)


@pytest.mark.asyncio
async def test_a_save_that_nobody_awaits_any_more_is_done_before_the_next(
    store: PostgresStore, database: str
) -> None:
    lease = await taken(store, "first")
    async with locked(database):
        given_up = asyncio.create_task(asyncio.wait_for(lease.save(Snapshot(1)), 60))
        backend = await waits_for_a_lock(database, "batch_size =")
        last = lease.save(Snapshot(2))
        # Round trips, in which it would have got in front.
        for _ in range(5):
            await store.load(NAME)
        await terminated(database, backend)
        await waits_for_a_lock(database, "batch_size =")
    await last
    await given_up

    assert await lease.load() == Snapshot(2)


@pytest.mark.asyncio
async def test_a_release_comes_after_the_save_that_nobody_awaited(
    store: PostgresStore, database: str
) -> None:
    lease = await taken(store, "first")
    async with locked(database):
        lease.save(Snapshot(1))
        backend = await waits_for_a_lock(database, "batch_size =")
        releasing = asyncio.create_task(lease.release(None, handed_over=True))
        for _ in range(5):
            await store.load(NAME)
        await terminated(database, backend)
        await waits_for_a_lock(database, "batch_size =")
    await releasing

    assert await (await taken(store, "second")).load() == Snapshot(1)


@pytest.mark.asyncio
async def test_a_lost_save_that_nobody_awaits_says_nothing(
    store: PostgresStore, pool: Pool
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context)
    )
    first = await taken(store, "first")
    await run_out(pool)
    await taken(store, "second")

    first.save(Snapshot(1))
    with suppress(LeaseLost):
        await first.discard()
    del first
    gc.collect()

    assert complaints == []


@pytest.mark.asyncio
async def test_a_save_that_is_cancelled_is_done_or_not_done(
    store: PostgresStore, pool: Pool
) -> None:
    lease = await taken(store, "first")
    for number in range(1, 40):
        saving = asyncio.ensure_future(lease.save(Snapshot((number, number))))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        await cancelled(saving)

        loaded = await lease.load()
        assert loaded is None or loaded.state[0] == loaded.state[1]  # type: ignore[index]
    await lease.save(Snapshot("last"))
    assert await lease.load() == Snapshot("last")
    assert pool.get_idle_size() == pool.get_size()
