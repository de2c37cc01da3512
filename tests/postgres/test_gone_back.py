"""A server that has lost what it had committed, as after a failover."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import OK, RunResult, RunStatus, Snapshot, Verdict
from adaptive_backfill.errors import CheckpointError, LeaseLost
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres._walk import Cursor
from adaptive_backfill.postgres.shares import ranges
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.postgres.workers import CrewSession

from . import tables
from .storing import NAME, NAMES, run_out, taken
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet

LAST = "state, form, batches, rows"


class Fill(TableBackfill):
    name = "fill"
    table = "items"
    batch_size = 10
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


async def lease_of(pool: Pool) -> PostgresLease:
    """The lease of a run that has committed its third batch together with its data."""
    lease = await taken(PostgresStore(pool), "first")
    await lease.save(Snapshot(30, 3, 30, 10))
    lease.kept = 3
    return lease


async def go_back(pool: Pool, batches: int = 1) -> None:
    await pool.execute(f"UPDATE {NAMES} SET batches = $1", batches)


@pytest.mark.asyncio
async def test_the_next_batch_is_saved_and_so_is_where_it_stands_at_the_end(
    pool: Pool,
) -> None:
    lease = await lease_of(pool)

    async with pool.acquire() as connection, connection.transaction():
        await lease.save_on(connection, Snapshot(40, 4, 40, 10))
    lease.kept = 4
    await lease.save(Snapshot(40, 4, 40, 20))

    assert await lease.load() == Snapshot(40, 4, 40, 20)


@pytest.mark.asyncio
async def test_nothing_is_saved_over_a_gap(pool: Pool) -> None:
    lease = await lease_of(pool)
    await go_back(pool)
    said = f"'{NAME}' stands at batch 1, and this run had committed 3"

    async with pool.acquire() as connection:
        with pytest.raises(CheckpointError, match=said):
            await lease.save_on(connection, Snapshot(40, 4, 40, 10))
        result = RunResult(NAME, "first", RunStatus.DONE, batches=4)
        with pytest.raises(CheckpointError, match=said):
            await lease.finish_on(connection, result)
    with pytest.raises(CheckpointError, match=said):
        await lease.save(Snapshot(30, 3, 30, 10))

    assert await lease.load() == Snapshot(30, 1, 30, 10)
    assert await lease.finished() is None


@pytest.mark.asyncio
async def test_who_lost_the_lease_is_told_of_that_and_of_no_gap(pool: Pool) -> None:
    lease = await lease_of(pool)
    await run_out(pool)
    await taken(PostgresStore(pool), "second")
    await go_back(pool)

    async with pool.acquire() as connection:
        with pytest.raises(LeaseLost):
            await lease.save_on(connection, Snapshot(40, 4, 40, 10))
    with pytest.raises(LeaseLost):
        await lease.save(Snapshot(30, 3, 30, 10))


@pytest.mark.asyncio
@pytest.mark.parametrize("rows", [50, 100])
async def test_a_run_whose_batches_were_lost_ends_and_the_next_does_them(
    pool: Pool, rows: int
) -> None:
    """Also where only the last batch is left, which would finish it."""
    await numbered(pool, rows)
    kept: list[Any] = []

    async def lose_three(state: object) -> None:
        row = await pool.fetchrow(f"SELECT {LAST} FROM {NAMES} WHERE name = 'fill'")
        kept.append(row)
        if len(kept) == 4:
            await pool.execute(
                f"UPDATE {NAMES} SET ({LAST}) = ($1, $2, $3, $4) WHERE name = 'fill'",
                *kept[0],
            )
            await pool.execute("UPDATE items SET n = 0 WHERE id > 10 AND id <= 40")

    result = await Fill.run(pool=pool, on_success=lose_three)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, CheckpointError)
    assert "stands at batch 1, and this run had committed 4" in str(result.error)
    again = done(await Fill.run(pool=pool))
    assert again.resumed
    assert (again.batches, again.rows) == (rows // 10, rows)
    assert await times_done(pool) == {1: rows}


@pytest.mark.asyncio
async def test_a_run_that_was_told_to_stop_leaves_the_checkpoint_where_it_is(
    pool: Pool,
) -> None:
    await numbered(pool, 50)

    async def lose_all(state: object) -> None:
        await pool.execute(
            f"UPDATE {NAMES} SET ({LAST}) = (NULL, NULL, 0, 0) WHERE name = 'fill';"
            "UPDATE items SET n = 0"
        )

    result = await Fill.run(pool=pool, max_batches=1, on_success=lose_all)

    assert result.status is RunStatus.STOPPED
    assert done(await Fill.run(pool=pool)).rows == 50
    assert await times_done(pool) == {1: 50}


async def forgotten(pool: Pool) -> str | None:
    """Forget a share that was finished, and all of its rows; its name."""
    name: str | None = await pool.fetchval(
        f"UPDATE {NAMES} SET finished = NULL WHERE name = (SELECT name FROM {NAMES}"
        " WHERE name LIKE 'fill#%' AND holder IS NULL AND finished IS NOT NULL LIMIT 1)"
        " RETURNING name"
    )
    if name is None:
        return None
    kept = await PostgresStore(pool).load("fill")
    assert kept is not None
    cursor = kept.state
    assert isinstance(cursor, Cursor)
    assert cursor.cut is not None
    assert cursor.end is not None
    shares = ranges(cursor.cut.after, cursor.end, cursor.cut.ends)
    keys = shares[int(name.removeprefix("fill#").partition("/")[0]) - 1]
    await pool.execute(
        "UPDATE items SET n = 0 WHERE id > $1 AND id <= $2",
        keys.after[0] if keys.after else 0,
        keys.until[0],
    )
    return name


@pytest.mark.asyncio
@pytest.mark.parametrize("follow", [False, True])
async def test_a_share_that_was_done_and_is_forgotten_ends_the_run(
    pool: Pool, follow: bool
) -> None:
    await numbered(pool, 400)
    names: list[str] = []
    turn = asyncio.Lock()

    async def forget(state: object) -> None:
        async with turn:
            name = None if names else await forgotten(pool)
            names.extend([name] if name else [])

    result = await Fill.run(pool=pool, workers=2, follow=follow, on_success=forget)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, CheckpointError)
    share = names[0].removeprefix("fill#")
    assert f"Share {share} of 'fill' was done, and the server" in str(result.error)
    done(await Fill.run(pool=pool, workers=2, follow=follow))
    assert await times_done(pool) == {1: 400}


@pytest.mark.asyncio
async def test_shares_that_are_forgotten_while_a_hook_is_told_of_the_end(
    pool: Pool,
) -> None:
    await numbered(pool, 400)

    async def forget(result: object) -> None:
        assert await forgotten(pool)

    await Fill.run(pool=pool, workers=2, on_complete=forget)
    again = await Fill.run(pool=pool, workers=2, once=True)

    assert again.status is RunStatus.DONE
    assert await times_done(pool) == {1: 400}


@pytest.mark.asyncio
async def test_a_last_batch_that_is_lost_while_a_hook_is_told_of_the_end(
    pool: Pool,
) -> None:
    await numbered(pool, 50)
    kept: list[Any] = []

    async def remember(state: object) -> None:
        row = await pool.fetchrow(f"SELECT {LAST} FROM {NAMES} WHERE name = 'fill'")
        kept.append(row)

    async def lose(result: object) -> None:
        await pool.execute(
            f"UPDATE {NAMES} SET ({LAST}) = ($1, $2, $3, $4), finished = NULL,"
            " told = true WHERE name = 'fill'",
            *kept[2],
        )
        await pool.execute("UPDATE items SET n = 0 WHERE id > 30")

    await Fill.run(pool=pool, on_success=remember, on_complete=lose)
    again = done(await Fill.run(pool=pool, once=True))

    assert (again.resumed, again.batches) == (True, 5)
    assert await times_done(pool) == {1: 50}


@pytest.mark.asyncio
async def test_rows_that_came_since_are_followed_from_where_all_shares_ended(
    pool: Pool,
) -> None:
    """The run's own checkpoint is that of all of them, before it goes on."""
    await numbered(pool, 400)
    stood: list[int] = []

    async def add(state: object) -> None:
        if await pool.fetchval("SELECT max(id) FROM items") == 400:
            await pool.execute("INSERT INTO items SELECT generate_series(401, 420)")

    async def look() -> Verdict:
        """Before each batch."""
        under_way = await pool.fetchval(
            f"SELECT count(*) FROM {NAMES} WHERE name LIKE 'fill#%'"
            " AND finished IS NULL"
        )
        if not under_way and await pool.fetchval("SELECT bool_or(n > 0) FROM items"):
            stood.append(
                await pool.fetchval(f"SELECT batches FROM {NAMES} WHERE name = 'fill'")
            )
        return OK

    result = done(
        await Fill.run(
            pool=pool,
            workers=2,
            follow=True,
            on_success=add,
            mode="sync",
            health_checks=[look],
        )
    )

    assert result.rows == 420
    assert stood == [result.batches - 2, result.batches - 1]
    assert await times_done(pool) == {1: 420}


@pytest.mark.asyncio
async def test_a_save_that_is_repeated_after_a_lost_answer_is_the_same_one(
    pool: Pool,
) -> None:
    lease = await lease_of(pool)

    await lease.save(Snapshot(60, 6, 60, 10))
    lease.kept = 3
    await lease.save(Snapshot(60, 6, 60, 10))

    assert await lease.load() == Snapshot(60, 6, 60, 10)


@pytest.mark.asyncio
async def test_a_run_cut_short_while_it_looks_at_its_shares_keeps_them(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await numbered(pool, 400)
    looks = asyncio.Event()

    async def never(self: CrewSession) -> None:
        looks.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(CrewSession, "_see_to_shares", never)
        async with Fill.start(pool=pool, workers=2, grace=0.05) as run:
            await looks.wait()
    kept = await PostgresStore(pool).load("fill")

    assert run.progress.status == "stopped"
    assert kept is not None
    assert isinstance(kept.state, Cursor)
    assert kept.state.cut is not None
    assert done(await Fill.run(pool=pool, workers=2)).rows == 400
    assert await times_done(pool) == {1: 400}


@pytest.mark.asyncio
async def test_a_run_that_is_stopped_does_not_wait_for_its_shares_to_be_looked_at(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await numbered(pool, 400)

    looks: list[CrewSession] = []

    async def look(self: CrewSession) -> None:
        looks.append(self)

    monkeypatch.setattr(CrewSession, "_see_to_shares", look)
    result = await Fill.run(pool=pool, workers=2, max_batches=30)

    assert result.status is RunStatus.STOPPED
    assert looks == []
