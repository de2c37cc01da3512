"""A walk by several workers: each row once, and otherwise a run like any other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import asyncpg
import pytest

from adaptive_backfill import (
    OK,
    Checkpoint,
    Halt,
    MemoryStore,
    Pause,
    Progress,
    RunResult,
    Runs,
    RunStatus,
    SqliteStore,
    Verdict,
)
from adaptive_backfill._ports import Held
from adaptive_backfill.errors import (
    AlreadyRunning,
    ConfigurationError,
    LeaseLost,
    TooManyQuarantined,
)
from adaptive_backfill.postgres._walk import Cursor
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.testing import capture
from tests.engine.conftest import nobody_left_listening, quiet

from .asking import Pool, pool_of, until
from .worker_process import LEASE, Fill

__all__ = ["nobody_left_listening", "quiet"]

pytestmark = pytest.mark.postgres

ROWS = 2_000


async def numbered(pool: Pool, rows: int = ROWS) -> None:
    await pool.execute(
        "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);"
        f"INSERT INTO items SELECT generate_series(1, {rows}); ANALYZE items"
    )


async def times_done(pool: Pool) -> dict[int, int]:
    """How many rows were done how often."""
    found = await pool.fetch("SELECT n, count(*) FROM items GROUP BY n")
    return dict(map(tuple, found))


def done(result: RunResult) -> RunResult:
    if isinstance(result.error, BaseException):
        raise result.error
    assert result.status is RunStatus.DONE, result
    return result


class Told(Fill):
    """Notes what its hooks are told."""

    name = "fill"
    workers = 4

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    async def on_success(self, state: object) -> None:
        self.told.append(("success", state))

    async def on_error(self, error: object, state: object) -> None:
        self.told.append(("error", error))

    async def on_complete(self, result: RunResult) -> None:
        self.told.append(("complete", result))
        type(self).last = self.told

    last: list[tuple[str, object]] = []


class ByHand(TableBackfill):
    """Does its rows in Python, on both of the connections that it has."""

    name = "by_hand"
    table = "items"
    batch_size = 50
    most = 0
    under_way = 0

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        self.under_way += 1
        type(self).most = max(self.most, self.under_way)
        mine = self.connection
        assert mine is connection
        await connection.execute("SELECT pg_sleep(0.002)")
        assert self.connection is mine
        await mine.executemany(
            "UPDATE items SET n = n + 1 WHERE id = $1", [(row["id"],) for row in rows]
        )
        self.under_way -= 1


# -- each row once -----------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_each_row_is_done_once(pool: Pool, workers: int, order: str) -> None:
    await numbered(pool)

    result = done(await Fill.run(pool=pool, workers=workers, order=order))

    assert await times_done(pool) == {1: ROWS}
    assert result.rows == ROWS
    assert result.batches >= ROWS / 20
    end = (ROWS,) if order == "asc" else (1,)
    assert result.state == Cursor(end, end)


@pytest.mark.asyncio
async def test_rows_that_go_through_python_are_done_once_and_at_once(
    pool: Pool,
) -> None:
    await numbered(pool)
    ByHand.most = 0

    result = done(await ByHand.run(pool=pool, workers=4))

    assert await times_done(pool) == {1: ROWS}
    assert result.rows == ROWS
    assert ByHand.most > 1


@pytest.mark.asyncio
async def test_a_key_with_gaps_and_crowds_is_shared_evenly(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE items (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0);"
        "INSERT INTO items SELECT g FROM generate_series(1, 1500) g UNION ALL"
        " SELECT 1000000000 + g * g * 1000 FROM generate_series(1, 500) g;"
        "ANALYZE items"
    )

    with capture("backfill.batch.success") as heard:
        done(await Fill.run(pool=pool, workers=4))

    assert await times_done(pool) == {1: ROWS}
    batches = Counter(event.metadata["share"] for event in heard)
    assert len(batches) == 16
    assert max(batches.values()) <= 2 * min(batches.values()) + 1


KEYS = {
    "text": ("k text PRIMARY KEY", "'id ' || g"),
    "uuid": ("k uuid PRIMARY KEY", "md5(g::text)::uuid"),
    "timestamptz": ("k timestamptz PRIMARY KEY", "now() + g * interval '1 us'"),
    "several": ("a text, b int, PRIMARY KEY (a, b)", "'tenant ' || g % 3, g"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KEYS)
async def test_a_key_of_any_type_can_be_shared_and_resumed(
    pool: Pool, kind: str
) -> None:
    columns, values = KEYS[kind]
    await pool.execute(
        f"CREATE TABLE items ({columns}, n int NOT NULL DEFAULT 0);"
        f"INSERT INTO items SELECT {values}, 0 FROM generate_series(1, {ROWS}) g;"
    )

    first = await Fill.run(pool=pool, workers=4, max_batches=30)
    second = done(await Fill.run(pool=pool, workers=4))

    assert first.status is RunStatus.STOPPED
    assert second.resumed
    assert second.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
@pytest.mark.parametrize("rows", [0, 1, 3])
async def test_more_workers_than_rows_are_no_trouble(pool: Pool, rows: int) -> None:
    await numbered(pool, rows)

    result = done(await Fill.run(pool=pool, workers=4))

    assert result.rows == rows
    assert await times_done(pool) == ({1: rows} if rows else {})


@pytest.mark.asyncio
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_the_checkpoint_may_be_kept_elsewhere(
    pool: Pool, store: str, tmp_path: Any
) -> None:
    await numbered(pool)
    kept = MemoryStore() if store == "memory" else SqliteStore(tmp_path / "kept.db")
    checkpoint = Checkpoint(kept)

    first = await Fill.run(pool=pool, workers=4, checkpoint=checkpoint, max_batches=9)
    second = done(await Fill.run(pool=pool, workers=4, checkpoint=checkpoint))

    assert (first.batches, first.status) == (9, RunStatus.STOPPED)
    assert second.resumed
    assert second.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_rows_that_come_meanwhile_are_followed(pool: Pool) -> None:
    await numbered(pool)

    class Growing(Told):
        name = "fill"

        async def on_success(self, state: object) -> None:
            if not self.told:
                await pool.execute(
                    f"INSERT INTO items SELECT generate_series({ROWS + 1}, {ROWS + 90})"
                )
            await super().on_success(state)

    result = done(await Growing.run(pool=pool, follow=True))

    assert result.rows == ROWS + 90
    assert await times_done(pool) == {1: ROWS + 90}


# -- resuming ----------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "workers", [(4, 2, 1), (4, 1, 4), (1, 4, 2), (2, 4, 4), (1, 1, 4)]
)
async def test_each_run_may_have_another_number_of_workers(
    pool: Pool, workers: Sequence[int]
) -> None:
    await numbered(pool)
    *before, last = workers

    for number, each in enumerate(before, 1):
        result = await Fill.run(pool=pool, workers=each, max_batches=25)
        assert (result.status, result.batches) == (RunStatus.STOPPED, 25 * number)
        assert result.rows == sum(
            n * rows for n, rows in (await times_done(pool)).items()
        )
    result = done(await Fill.run(pool=pool, workers=last))

    assert result.resumed
    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_new_walk_does_all_rows_again(pool: Pool) -> None:
    await numbered(pool)

    done(await Fill.run(pool=pool, workers=4))
    done(await Fill.run(pool=pool, workers=4))
    await Fill.run(pool=pool, workers=4, max_batches=40)
    result = done(await Fill.run(pool=pool, workers=4, restart=True))

    assert not result.resumed
    assert result.rows == ROWS
    times = await times_done(pool)
    assert set(times) == {3, 4}
    assert sum(times.values()) == ROWS


@pytest.mark.asyncio
async def test_a_finished_run_is_remembered_once(pool: Pool) -> None:
    await numbered(pool)

    done(await Fill.run(pool=pool, workers=4, once=True))
    again = await Fill.run(pool=pool, workers=4, once=True)

    assert again.status is RunStatus.SKIPPED
    assert again.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_run_that_fell_after_its_last_batch_calls_no_handler_again(
    pool: Pool,
) -> None:
    await numbered(pool)
    await Fill.run(pool=pool, workers=2, max_batches=5)
    kept = await pool.fetchrow(f"SELECT * FROM {NAMES} WHERE name = 'fill'")
    assert kept is not None
    done(await Fill.run(pool=pool, workers=2))
    # As if the process had been killed before it could say that all shares are done.
    await pool.execute(
        f"UPDATE {NAMES} SET (state, form, finished) = ($1, $2, NULL)"
        " WHERE name = 'fill'",
        kept["state"],
        kept["form"],
    )

    result = done(await Told.run(pool=pool, workers=2))

    assert result.rows == ROWS
    assert [what for what, _ in Told.last] == ["complete"]
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_killed_process_is_resumed_in_every_share(
    pool: Pool, database: str
) -> None:
    rows = 6_000
    await numbered(pool, rows)
    command = [sys.executable, "-m", "tests.postgres.worker_process", database, "3"]

    for least in (500, 1500, 2500):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await until(partial(_enough, pool, least))
        process.kill()
        await process.wait()
        await nobody_else(pool)
        await pool.execute(f"UPDATE {NAMES} SET expires_at = '-infinity'")
    before = (await times_done(pool))[1]
    store = PostgresStore(pool, lease=LEASE)
    result = done(await Fill.run(pool=pool, workers=4, checkpoint=Checkpoint(store)))

    assert 2500 <= before < rows
    assert result.resumed
    assert result.rows == rows
    assert await times_done(pool) == {1: rows}


NAMES = "adaptive_backfill.backfill_names"


async def _enough(pool: Pool, least: int) -> bool:
    found = await pool.fetchval("SELECT count(*) FROM items WHERE n > 0")
    return bool(found >= least)


async def nobody_else(pool: Pool) -> None:
    """Wait until the killed process's backends have gone, or have committed."""

    async def gone() -> bool:
        return not await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state <> 'idle' AND pid <> pg_backend_pid()"
        )

    await until(gone)


@pytest.mark.asyncio
async def test_shares_that_another_run_has_taken_cannot_be_committed(
    pool: Pool,
) -> None:
    await numbered(pool)
    store = PostgresStore(pool)
    frozen = asyncio.Event()

    class Frozen(Told):
        name = "fill"

        async def on_success(self, state: object) -> None:
            if not frozen.is_set():
                for number in range(1, 17):
                    # What whoever takes over the run's name does first.
                    name = f"fill#{number}/16"
                    taken = await store.acquire(name, "shares of fill")
                    assert not isinstance(taken, Held)
                before.append((await times_done(pool))[0])
                frozen.set()

    before: list[int] = []
    result = await Frozen.run(pool=pool, checkpoint=Checkpoint(store))

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, LeaseLost)
    # Those that were in the middle of their COMMIT may have been the last before.
    assert before[0] - (await times_done(pool))[0] <= 3 * 20


# -- trouble -----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_share_whose_backend_is_killed_is_gone_on_with(
    pool: Pool, database: str
) -> None:
    await numbered(pool)
    killed = 0

    class Killed(ByHand):
        name = "by_hand"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            nonlocal killed
            await super().handle_rows(rows, connection)
            if killed < 3:
                killed += 1
                pid = connection.get_server_pid()
                await pool.execute("SELECT pg_terminate_backend($1)", pid)

    async with pool_of(database, 6) as own:
        result = done(await Killed.run(pool=own, workers=4))

    assert killed == 3
    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_share_whose_worker_dies_is_taken_up_again_without_any_retry(
    pool: Pool, database: str
) -> None:
    await numbered(pool)
    dead: list[int] = []

    class Dying(ByHand):
        name = "by_hand"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await super().handle_rows(rows, connection)
            if len(dead) < 2 and rows[0]["id"] > 1000:
                dead.append(rows[0]["id"])
                pid = connection.get_server_pid()
                await pool.execute("SELECT pg_terminate_backend($1)", pid)

    async with pool_of(database, 4) as own:
        with capture("backfill.**") as heard:
            result = done(await Dying.run(pool=own, workers=2, retry=None))

    assert len(dead) == 2
    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}
    names = Counter(event.name for event in heard)
    assert names["backfill.batch.exception"] == 2
    assert names["backfill.batch.retry"] == 0
    assert names["backfill.stop"] == 1
    token = await pool.fetchval(f"SELECT max(token) FROM {NAMES}")
    assert token > 1


@pytest.mark.asyncio
async def test_a_share_that_kills_every_worker_fails_the_run(
    pool: Pool, database: str
) -> None:
    await numbered(pool)

    class Deadly(ByHand):
        name = "by_hand"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await super().handle_rows(rows, connection)
            if rows[0]["id"] > 1900:
                pid = connection.get_server_pid()
                await pool.execute("SELECT pg_terminate_backend($1)", pid)

    async with pool_of(database, 4) as own:
        failed = await Deadly.run(pool=own, workers=2, retry=None)
    result = done(await ByHand.run(pool=pool, workers=2))

    assert failed.status is RunStatus.FAILED
    assert isinstance(failed.error, Exception)
    assert result.resumed
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_run_that_loses_its_name_stops_in_every_share(pool: Pool) -> None:
    await numbered(pool)
    store = PostgresStore(pool)
    checkpoint = Checkpoint(store)

    async with Fill.start(
        pool=pool, workers=4, checkpoint=checkpoint, delay_between_batches=0.1
    ) as run:
        await until(lambda: _batches(run.progress, 4))
        await pool.execute(
            f"UPDATE {NAMES} SET expires_at = '-infinity' WHERE name = 'fill'"
        )
        taken = await store.acquire("fill", "another run")
        result = await run.wait()
    before = await times_done(pool)
    assert not isinstance(taken, Held)
    await taken.release(None, handed_over=True)
    again = done(await Fill.run(pool=pool, workers=2, checkpoint=checkpoint))

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, LeaseLost)
    assert before[1] < ROWS
    assert again.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_failed_batch_fails_the_run_once_and_ends_the_other_workers(
    pool: Pool,
) -> None:
    await numbered(pool)

    class Failing(Told):
        name = "fill"
        statement = "UPDATE items SET n = n + 1 WHERE {batch} AND no_such_column = 1"

    result = await Failing.run(pool=pool)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, asyncpg.UndefinedColumnError)
    assert [what for what, _ in Failing.last] == ["error", "complete"]
    assert Failing.last[0][1] is result.error
    assert Failing.last[1][1] is result
    assert await times_done(pool) == {0: ROWS}


@pytest.mark.asyncio
async def test_a_halt_of_one_worker_halts_the_run_and_can_be_resumed(
    pool: Pool,
) -> None:
    await numbered(pool)

    class Halting(ByHand):
        name = "by_hand"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> Any:
            if rows[0]["id"] > 400:
                return Halt("not beyond 400")
            return await super().handle_rows(rows, connection)

    halted = await Halting.run(pool=pool, workers=4)
    result = done(await ByHand.run(pool=pool, workers=4))

    assert halted.status is RunStatus.HALTED
    assert [str(reason) for reason in halted.reasons] == ["not beyond 400"]
    assert result.resumed
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_rows_that_cannot_be_done_are_set_aside_in_any_share(pool: Pool) -> None:
    await numbered(pool)

    class Poisoned(Fill):
        workers = 4
        statement = (
            "UPDATE items SET n = n + 1 + 0 * (1 / (id % 500 - 7)) WHERE {batch}"
        )

    result = done(await Poisoned.run(pool=pool))

    assert result.quarantined == 4
    assert result.rows == ROWS - 4
    failures = await Poisoned.failures(pool=pool)
    assert sorted(failure.key for failure in failures) == [7, 507, 1007, 1507]

    again = done(await Poisoned.run(pool=pool))

    assert again.quarantined == 4
    assert await times_done(pool) == {0: 4, 2: ROWS - 4}


@pytest.mark.asyncio
async def test_max_quarantined_is_that_of_all_workers(pool: Pool) -> None:
    await numbered(pool)

    class Poisoned(Fill):
        workers = 4
        statement = "UPDATE items SET n = 1 / (id % 100) WHERE {batch}"

    failed = await Poisoned.run(pool=pool, max_quarantined=19)
    again = await Poisoned.run(pool=pool, max_quarantined=19)
    result = done(await Poisoned.run(pool=pool, max_quarantined=20))

    for each in (failed, again):
        assert each.status is RunStatus.FAILED
        assert isinstance(each.error, TooManyQuarantined)
    assert result.quarantined == 20
    assert result.rows == ROWS - 20


@pytest.mark.asyncio
async def test_a_pool_that_is_too_small_is_refused(pool: Pool, database: str) -> None:
    await numbered(pool)
    said = "the pool has 4 connections at most, and workers=4 need 5"

    async with pool_of(database, 4) as small:
        with pytest.raises(ConfigurationError, match=said):
            await Fill.run(pool=small, workers=4)
        late = await Fill.run(pool=lambda: small, workers=4)
        done(await Fill.run(pool=small, workers=3))

    assert isinstance(late.error, ConfigurationError)
    assert said in str(late.error)


@pytest.mark.asyncio
async def test_a_run_by_dsn_opens_connections_enough(pool: Pool, database: str) -> None:
    await numbered(pool)

    result = done(await Fill.run(dsn=database, workers=6))

    assert result.rows == ROWS


# -- one run -----------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 3, 17])
async def test_max_batches_are_those_of_all_workers(pool: Pool, limit: int) -> None:
    await numbered(pool)

    result = await Fill.run(pool=pool, workers=4, max_batches=limit)

    assert (result.status, result.batches) == (RunStatus.STOPPED, limit)
    assert [str(each) for each in result.reasons] == [f"max_batches {limit} reached"]
    assert await times_done(pool) == {0: ROWS - limit * 20, 1: limit * 20}


@pytest.mark.asyncio
async def test_a_second_run_of_the_name_is_refused(pool: Pool) -> None:
    await numbered(pool)

    async with Fill.start(pool=pool, workers=4, delay_between_batches=0.05):
        with pytest.raises(AlreadyRunning):
            await Fill.run(pool=pool, workers=4)


@pytest.mark.asyncio
async def test_stop_pause_resume_and_set_reach_all_workers(pool: Pool) -> None:
    await numbered(pool)
    with capture("backfill.**") as heard:
        async with Fill.start(
            pool=pool, workers=4, delay_between_batches=0.01, batch_size=5
        ) as run:
            await until(lambda: _batches(run.progress, 8))
            run.pause()
            await until(lambda: _status(run.progress, "paused"))
            await nobody_else(pool)
            before = await times_done(pool)
            paused = run.progress
            run.set(batch_size=7)
            assert await times_done(pool) == before
            run.resume()
            await until(lambda: _batches(run.progress, paused.batches + 8))
            assert run.progress.status == "running"
            assert run.progress.batch_size == 7
            run.stop()
            stopped = await run.wait()
    result = done(await Fill.run(pool=pool, workers=4))

    assert [str(reason) for reason in paused.reasons] == ["paused by its handle"]
    assert stopped.status is RunStatus.STOPPED
    assert [str(reason) for reason in stopped.reasons] == ["stop requested"]
    assert stopped.paused > 0
    names = Counter(event.name for event in heard)
    for once in ("start", "stop", "pause", "resume", "pace.change"):
        assert names[f"backfill.{once}"] == 1, once
    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


async def _batches(progress: Progress, least: int) -> bool:
    return progress.batches >= least


async def _status(progress: Progress, status: str) -> bool:
    return progress.status == status


@pytest.mark.asyncio
async def test_wishes_from_elsewhere_go_to_the_name_of_the_run(pool: Pool) -> None:
    await numbered(pool)
    runs = Runs(PostgresStore(pool))

    async with Fill.start(pool=pool, workers=3, delay_between_batches=0.05) as run:
        await until(lambda: _batches(run.progress, 3))
        await runs.stop("fill")
        result = await run.wait()
    seen = await runs.list()

    assert result.status is RunStatus.STOPPED
    assert [(each.name, each.batches, each.rows) for each in seen] == [
        ("fill", result.batches, result.rows)
    ]
    assert [past.run_id for past in await runs.history("fill")] == [result.run_id]


@pytest.mark.asyncio
async def test_progress_is_that_of_all_shares(pool: Pool) -> None:
    await numbered(pool)
    seen: list[Progress] = []

    async with Told.start(pool=pool, delay_between_batches=0.002) as run:
        while not (await _status(run.progress, "done")):
            seen.append(run.progress)
            await asyncio.sleep(0.01)
        result = done(await run.wait())

    assert [each.rows for each in seen] == sorted(each.rows for each in seen)
    shares = [each.share for each in seen if each.share is not None]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    middle = next(each for each in seen if each.rows >= ROWS / 2)
    assert middle.share == pytest.approx(middle.rows / ROWS, abs=0.1)
    assert result.batches == len(Told.last) - 1


@pytest.mark.asyncio
async def test_hooks_are_told_of_each_batch_and_once_of_the_end(pool: Pool) -> None:
    await numbered(pool)

    result = done(await Told.run(pool=pool))

    what = Counter(name for name, _ in Told.last)
    assert what == {"success": result.batches, "complete": 1}
    assert Told.last[-1] == ("complete", result)
    cursors = [state for name, state in Told.last if name == "success"]
    assert all(isinstance(cursor, Cursor) for cursor in cursors)


@pytest.mark.asyncio
async def test_events_say_which_worker_and_which_share_they_are_of(pool: Pool) -> None:
    await numbered(pool)

    with capture("backfill.**") as heard:
        result = done(await Fill.run(pool=pool, workers=4))

    assert (heard[0].name, heard[-1].name) == ("backfill.start", "backfill.stop")
    begun = [event for event in heard if event.name == "backfill.batch.start"]
    ended = [
        event
        for event in heard
        if event.name in ("backfill.batch.success", "backfill.batch.done")
    ]
    assert len(begun) == len(ended) == result.batches
    assert sum(event.measurements["rows"] for event in ended) == ROWS
    assert {event.metadata["worker"] for event in ended} == {1, 2, 3, 4}
    assert {event.metadata["share"] for event in ended} == {
        f"{number}/16" for number in range(1, 17)
    }
    assert {event.metadata["run_id"] for event in heard} == {result.run_id}


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_one_verdict_holds_for_all_workers(pool: Pool, mode: str) -> None:
    await numbered(pool)
    answers: list[Verdict] = [OK, OK, Pause("busy"), Pause("busy")]

    async def check() -> Verdict:
        return answers.pop(0) if answers else OK

    with capture("backfill.**") as heard:
        result = done(
            await Fill.run(
                pool=pool,
                workers=4,
                mode=mode,
                health_checks=[check],
                health_interval=0.02,
                delay_between_batches=0.005,
            )
        )

    names = Counter(event.name for event in heard)
    assert names["backfill.pause"] == names["backfill.resume"] >= 1
    assert result.paused > 0
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_halting_verdict_halts_the_run_with_one_event(pool: Pool) -> None:
    await numbered(pool)

    async def check() -> Verdict:
        return Halt("too hot") if await _enough(pool, 200) else OK

    with capture("backfill.**") as heard:
        result = await Fill.run(
            pool=pool, workers=3, health_checks=[check], mode="sync"
        )

    assert result.status is RunStatus.HALTED
    assert [reason.value for reason in result.reasons] == ["too hot"]
    names = Counter(event.name for event in heard)
    assert names["backfill.health_check.halt"] == 1


@pytest.mark.asyncio
async def test_a_cancelled_run_leaves_everything_to_the_next(pool: Pool) -> None:
    await numbered(pool)
    begun = asyncio.Event()

    class Cancelled(Told):
        name = "fill"

        async def on_success(self, state: object) -> None:
            await super().on_success(state)
            if len(self.told) >= 10:
                begun.set()

    with capture("backfill.stop") as heard:
        task = asyncio.create_task(Cancelled.run(pool=pool))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [event.metadata["outcome"] for event in heard] == ["cancelled"]
    assert pool.get_idle_size() == pool.get_size()
    result = done(await Fill.run(pool=pool, workers=4))

    assert result.resumed
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_stop_past_its_grace_ends_the_batches_under_way(pool: Pool) -> None:
    await numbered(pool)
    begun = asyncio.Event()

    class Stuck(ByHand):
        name = "by_hand"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

    async with Stuck.start(pool=pool, workers=4, grace=0.01) as run:
        await begun.wait()
    result = await run.wait()

    assert result.status is RunStatus.STOPPED
    assert pool.get_idle_size() == pool.get_size()
    done(await ByHand.run(pool=pool, workers=2))
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_one_worker_is_the_plain_walk(pool: Pool) -> None:
    await numbered(pool)

    with capture("backfill.batch.success") as heard:
        done(await Fill.run(pool=pool))

    assert not any("share" in event.metadata for event in heard)
    assert await pool.fetchval(f"SELECT count(*) FROM {NAMES}") == 1
