"""A checkpoint is gone on from by the walk that it is of, and by no other one."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from adaptive_backfill import Checkpoint, MemoryStore, Runs, RunStatus
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._ports import Held
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._walk import Cursor
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill

from . import tables
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet


class Fill(TableBackfill):
    """Counts in each row of its table how often it was done."""

    name = "fill"
    table = "items"
    columns = ("id",)
    batch_size = 10

    async def handle_rows(self, rows: list[Any], connection: Any) -> None:
        await connection.execute(
            f"UPDATE {self.table} SET n = n + 1 WHERE id = ANY($1)",
            [row["id"] for row in rows],
        )


async def refused(pool: Pool, **overrides: Any) -> str:
    """What a run that has to do nothing says is wrong."""
    result = await Fill.run(pool=pool, **overrides)
    assert result.status is RunStatus.FAILED, result
    assert isinstance(result.error, ConfigurationError), result.error
    assert (result.batches, result.rows) == (0, 0)
    (problem,) = result.error.problems
    return problem


async def kept(pool: Pool, name: str = "fill") -> Snapshot:
    """The checkpoint of *name*."""
    lease = await PostgresStore(pool).acquire(name, "a look")
    assert not isinstance(lease, Held)
    snapshot = await lease.load()
    await lease.release(None, handed_over=False)
    assert snapshot is not None
    return snapshot


def _walk(snapshot: Snapshot) -> str | None:
    assert isinstance(snapshot.state, Cursor)
    return snapshot.state.walk


# -- what is refused -----------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 3])
async def test_the_next_table_of_a_loop_does_not_begin_where_the_one_before_stopped(
    pool: Pool, workers: int
) -> None:
    await numbered(pool, 1000, "t1")
    await numbered(pool, 1000, "t2")
    await Fill.run(pool=pool, table="t1", max_batches=5, workers=workers)
    before = await kept(pool)

    problem = await refused(pool, table="t2", workers=workers)

    assert await times_done(pool, "t2") == {0: 1000}
    assert "'fill' is of a walk over public.t1 by id" in problem
    assert "this run walks public.t2 by id" in problem
    assert "run(name='fill-t2')" in problem
    assert "restart=True" in problem
    after = await kept(pool)
    assert (after, _walk(after)) == (before, _walk(before))
    done(await Fill.run(pool=pool, table="t2", name="fill-t2"))
    done(await Fill.run(pool=pool, table="t1", workers=workers))
    assert await times_done(pool, "t1") == await times_done(pool, "t2") == {1: 1000}


@pytest.mark.asyncio
@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1)])
async def test_neither_a_cut_nor_workers_make_another_walk_of_it(
    pool: Pool, first: int, then: int
) -> None:
    await numbered(pool, 1000, "t1")
    await numbered(pool, 1000, "t2")
    await Fill.run(pool=pool, table="t1", max_batches=5, workers=first)
    before = await kept(pool)

    await refused(pool, table="t2", workers=then)

    assert await times_done(pool, "t2") == {0: 1000}
    assert await kept(pool) == before
    done(await Fill.run(pool=pool, table="t1", workers=then))
    assert await times_done(pool, "t1") == {1: 1000}


@pytest.mark.asyncio
@pytest.mark.parametrize(("first", "then"), [("asc", "desc"), ("desc", "asc")])
async def test_a_walk_does_not_turn_round_half_way(
    pool: Pool, first: str, then: str
) -> None:
    await numbered(pool, 100)
    await Fill.run(pool=pool, order=first, max_batches=2)

    problem = await refused(pool, order=then)

    assert await times_done(pool) == {0: 80, 1: 20}
    assert problem.count("public.items by id desc") == 1
    done(await Fill.run(pool=pool, order=first))
    assert await times_done(pool) == {1: 100}


@pytest.mark.asyncio
async def test_a_walk_does_not_go_on_by_another_key_of_the_same_type(
    pool: Pool,
) -> None:
    await numbered(pool, 100)
    await pool.execute(
        "ALTER TABLE items ADD other int; UPDATE items SET other = 101 - id;"
        "ALTER TABLE items ALTER other SET NOT NULL, ADD UNIQUE (other)"
    )
    await Fill.run(pool=pool, max_batches=2)

    problem = await refused(pool, key="other")

    assert "public.items by other" in problem
    assert await times_done(pool) == {0: 80, 1: 20}


@pytest.mark.asyncio
async def test_tables_of_one_name_in_two_schemas_are_two_walks(pool: Pool) -> None:
    await pool.execute("CREATE SCHEMA tenant")
    await numbered(pool, 100)
    await numbered(pool, 100, "tenant.items")
    await Fill.run(pool=pool, max_batches=2)

    assert "tenant.items by id" in await refused(pool, table="tenant.items")
    assert await times_done(pool, "tenant.items") == {0: 100}


@pytest.mark.asyncio
async def test_a_walk_that_is_done_but_was_not_closed_is_no_end_of_another_one(
    pool: Pool,
) -> None:
    await numbered(pool, 10, "t1")
    await numbered(pool, 10, "t2")
    done(await Fill.run(pool=pool, table="t1"))
    # As where the process went away between the last COMMIT and the release.
    await pool.execute("UPDATE adaptive_backfill.backfill_names SET told = false")

    result = await Fill.run(pool=pool, table="t2")

    assert isinstance(result.error, ConfigurationError)
    assert await times_done(pool, "t2") == {0: 10}
    done(await Fill.run(pool=pool, table="t1"))
    done(await Fill.run(pool=pool, table="t2"))
    assert await times_done(pool, "t1") == await times_done(pool, "t2") == {1: 10}


@pytest.mark.asyncio
async def test_a_cut_is_not_gone_on_from_though_another_beginning_was_given(
    pool: Pool,
) -> None:
    await numbered(pool, 100, "t1")
    await numbered(pool, 100, "t2")
    await Fill.run(pool=pool, table="t1", workers=2, max_batches=1)
    # As it was kept when it was cut, before a batch was done.
    await pool.execute("UPDATE adaptive_backfill.backfill_names SET batches = 0")

    problem = await refused(
        pool, table="t2", workers=2, initial_state=Cursor(None, (100,))
    )

    assert "public.t1 by id" in problem
    assert await times_done(pool, "t2") == {0: 100}


@pytest.mark.asyncio
async def test_where_the_checkpoint_has_a_name_another_one_is_proposed_for_it(
    pool: Pool,
) -> None:
    await numbered(pool, 100)
    checkpoint = Checkpoint(MemoryStore(), "mine")
    await Fill.run(pool=pool, checkpoint=checkpoint, max_batches=2)

    problem = await refused(pool, checkpoint=checkpoint, order="desc")

    assert "run(checkpoint=Checkpoint(store, 'mine-items'))" in problem


@pytest.mark.asyncio
async def test_a_run_that_was_refused_is_told_and_in_the_history(pool: Pool) -> None:
    await numbered(pool, 100)
    told: list[tuple[object, object]] = []
    await Fill.run(pool=pool, max_batches=2)

    await Fill.run(pool=pool, order="desc", on_error=lambda *about: told.append(about))

    ((error, state),) = told
    assert isinstance(error, ConfigurationError)
    assert state is None
    latest, before = await Runs(PostgresStore(pool)).history("fill")
    assert (latest.status, before.status) == (RunStatus.FAILED, RunStatus.STOPPED)


# -- what is not ---------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 3])
async def test_a_table_is_the_same_one_however_it_is_named(
    pool: Pool, workers: int
) -> None:
    await numbered(pool, 1000)
    await Fill.run(pool=pool, table="items", max_batches=5, workers=workers)

    result = done(
        await Fill.run(pool=pool, table="public.items", key="id", workers=workers)
    )

    assert result.resumed
    assert await times_done(pool) == {1: 1000}


@pytest.mark.asyncio
async def test_restart_begins_another_walk_and_forgets_the_one_before(
    pool: Pool,
) -> None:
    await numbered(pool, 100)
    await Fill.run(pool=pool, max_batches=2)

    result = done(await Fill.run(pool=pool, order="desc", restart=True))

    assert result.rows == 100
    assert await times_done(pool) == {1: 80, 2: 20}


@pytest.mark.asyncio
async def test_a_table_after_one_that_is_done_begins_at_its_start(pool: Pool) -> None:
    for table in ("t1", "t2"):
        await numbered(pool, 100, table)
        done(await Fill.run(pool=pool, table=table))
        assert await times_done(pool, table) == {1: 100}


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 3])
async def test_a_cursor_of_an_earlier_version_is_gone_on_from_and_named_from_then_on(
    pool: Pool, workers: int
) -> None:
    await numbered(pool, 1000)
    await Fill.run(pool=pool, max_batches=5, workers=workers)
    # Such a one had no such field.
    await pool.execute(
        "UPDATE adaptive_backfill.backfill_names SET state = "
        "(state::jsonb #- '{$dataclass,2,walk}')::text"
    )
    assert _walk(await kept(pool)) is None

    await Fill.run(pool=pool, max_batches=5, workers=workers)

    assert _walk(await kept(pool)) == "public.items by id"
    done(await Fill.run(pool=pool, workers=workers))
    assert await times_done(pool) == {1: 1000}


@pytest.mark.asyncio
async def test_a_cursor_that_was_given_is_of_the_walk_that_begins_there(
    pool: Pool,
) -> None:
    await numbered(pool, 100)

    begin = Cursor((50,), (100,))
    await Fill.run(pool=pool, initial_state=begin, max_batches=2)

    await refused(pool, order="desc")
    done(await Fill.run(pool=pool))
    assert await times_done(pool) == {0: 50, 1: 50}


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 3])
async def test_a_walk_that_goes_on_to_new_rows_is_still_the_same_one(
    pool: Pool, workers: int
) -> None:
    await numbered(pool, 100)
    more = iter([200])
    states: list[Cursor] = []

    async def on_success(state: Cursor) -> None:
        states.append(state)
        if (last := next(more, None)) is not None:
            await pool.execute(f"INSERT INTO items SELECT generate_series(101, {last})")

    result = done(
        await Fill.run(pool=pool, follow=True, workers=workers, on_success=on_success)
    )

    assert isinstance(result.state, Cursor)
    assert result.state.walk == "public.items by id"
    assert result.rows == 200
    # A share's says nothing: it is reached through the whole run's.
    assert {state.walk for state in states} == {"public.items by id"} or workers > 1
    assert await times_done(pool) == {1: 200}


def test_a_cursor_moves_on_with_all_that_it_says_but_a_cut() -> None:
    cursor = Cursor((1,), (9,), walk="public.items by id")

    moved = cursor.at((5,))

    assert [getattr(moved, field.name) for field in fields(moved)] == [
        (5,),
        (9,),
        None,
        "public.items by id",
    ]
    assert moved == replace(moved, walk=None)


# -- following -----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_begins_at_the_greatest_key_cannot_follow(pool: Pool) -> None:
    class Both(Fill):
        order = "desc"
        follow = True

    with pytest.raises(ConfigurationError, match='follow with order="asc"'):
        await Both.run(pool=pool)
    with pytest.raises(ConfigurationError, match="behind a walk that begins"):
        await Fill.run(pool=pool, order="desc", follow=True)
