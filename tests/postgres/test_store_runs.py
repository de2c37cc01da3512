"""Backfills that keep their checkpoint in a `PostgresStore`, from start to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Halt,
    Next,
    RunResult,
    Runs,
    RunStatus,
    Snapshot,
    Verdict,
)
from adaptive_backfill._ports import Held
from adaptive_backfill.errors import AlreadyRunning, LeaseLost, NotRunning
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres.store import PostgresStore

from .asking import pool_of, until
from .storing import NAME, Pool, run_out, taken

pytestmark = pytest.mark.postgres

LONG = 3600.0


@dataclass(frozen=True)
class Place:
    tenant: str
    last: int


class Count(Backfill[int]):
    """Counts to 10, and notes what it counted."""

    initial_state = 0
    seen: list[int]

    async def handle_batch(self, state: int) -> Answer[int]:
        if state == 10:
            return Done("all of it")
        self.seen.append(state)
        return Next(state + 1, rows=10)


class Endless(Backfill[int]):
    """Takes its time between batches."""

    initial_state = 0
    delay_between_batches = LONG

    async def handle_batch(self, state: int) -> Answer[int]:
        return Next(state + 1, rows=self.batch_size)


@pytest_asyncio.fixture
async def elsewhere(database: str) -> AsyncIterator[Runs]:
    """The runs as another process sees them, through a pool of its own."""
    async with pool_of(database, 1) as pool:
        yield Runs(PostgresStore(pool), by="ann@host")


@pytest.fixture
def kept(pool: Pool) -> Checkpoint:
    return Checkpoint(PostgresStore(pool), NAME)


async def seen_to(elsewhere: Runs, **what: object) -> None:
    """Wait until the run is seen elsewhere to be as *what* says."""

    async def is_so() -> bool:
        shown = await elsewhere.status(NAME)
        return shown is not None and all(
            getattr(shown, name) == value for name, value in what.items()
        )

    await until(is_so)


@pytest.mark.asyncio
async def test_a_stopped_run_resumes_where_it_stood(
    kept: Checkpoint, pool: Pool
) -> None:
    seen: list[int] = []

    first = await Count.run(checkpoint=kept, seen=seen, max_batches=4)
    # Another process has another store.
    again = Checkpoint(PostgresStore(pool), NAME)
    second = await Count.run(checkpoint=again, seen=seen)

    assert (first.status, first.state) == (RunStatus.STOPPED, 4)
    assert (second.status, second.resumed) == (RunStatus.DONE, True)
    assert (second.batches, second.rows, second.result) == (10, 100, "all of it")
    assert seen == list(range(10))


@pytest.mark.asyncio
async def test_a_run_that_bad_health_halts_resumes(kept: Checkpoint) -> None:
    asked = 0

    async def third_is_bad() -> Verdict:
        nonlocal asked
        asked += 1
        return Halt("disk full") if asked == 4 else OK

    seen: list[int] = []
    halted = await Count.run(
        checkpoint=kept, seen=seen, mode="sync", health_checks=[third_is_bad]
    )
    done = await Count.run(checkpoint=kept, seen=seen)

    assert (halted.status, halted.state) == (RunStatus.HALTED, 3)
    assert (done.status, done.batches) == (RunStatus.DONE, 10)
    assert seen == list(range(10))


@pytest.mark.asyncio
async def test_a_state_of_a_declared_type_comes_back_as_one(kept: Checkpoint) -> None:
    class Places(Backfill[Place]):
        initial_state = Place("a", 0)
        checkpoint = kept

        async def handle_batch(self, state: Place) -> Answer[Place]:
            return Next(Place(state.tenant, state.last + 1))

    await Places.run(max_batches=2)
    result = await Places.run(max_batches=1)

    assert result.state == Place("a", 3)


@pytest.mark.asyncio
async def test_a_finished_backfill_runs_once(kept: Checkpoint, elsewhere: Runs) -> None:
    seen: list[int] = []

    first = await Count.run(checkpoint=kept, seen=seen, once=True)
    second = await Count.run(checkpoint=kept, seen=seen, once=True)
    again = await Count.run(checkpoint=kept, seen=seen, once=True, restart=True)

    assert [first.status, second.status, again.status] == ["done", "skipped", "done"]
    assert seen == list(range(10)) * 2
    assert [past.run_id for past in await elsewhere.history(NAME)] == [
        again.run_id,
        first.run_id,
    ]


@pytest.mark.asyncio
async def test_a_name_that_runs_is_refused_or_skipped(kept: Checkpoint) -> None:
    async with Endless.start(checkpoint=kept) as run:
        with pytest.raises(AlreadyRunning) as refused:
            await Endless.run(checkpoint=kept)
        skipped = await Endless.run(checkpoint=kept, if_running="skip")
        run.stop()

    assert refused.value.name == NAME
    assert skipped.status is RunStatus.SKIPPED
    assert "is already at it" in str(skipped.reasons[0])


@pytest.mark.asyncio
async def test_who_stands_by_takes_over_from_a_run_that_was_cancelled(
    kept: Checkpoint, elsewhere: Runs
) -> None:
    first = asyncio.create_task(Endless.run(checkpoint=kept))
    await seen_to(elsewhere, status="running")
    standby = asyncio.create_task(
        Endless.run(checkpoint=kept, if_running="wait", max_batches=1)
    )
    await asyncio.sleep(0)

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    result = await standby

    assert (result.status, result.resumed, result.state) == ("stopped", True, 2)


@pytest.mark.asyncio
async def test_who_stands_by_is_told_how_the_other_run_ended(
    kept: Checkpoint, elsewhere: Runs
) -> None:
    first = asyncio.create_task(Endless.run(checkpoint=kept))
    await seen_to(elsewhere, status="running")
    standby = asyncio.create_task(Endless.run(checkpoint=kept, if_running="wait"))
    await asyncio.sleep(0)

    await elsewhere.stop(NAME)

    assert (await first).status is RunStatus.STOPPED
    skipped = await standby
    assert (skipped.status, skipped.batches) == (RunStatus.SKIPPED, 1)
    assert "ended: stopped" in str(skipped.reasons[0])


@pytest.mark.asyncio
async def test_a_run_is_paused_retuned_and_stopped_from_elsewhere(
    kept: Checkpoint, elsewhere: Runs
) -> None:
    quick = {"batch_size": 5, "delay_between_batches": 0.01}
    async with Endless.start(checkpoint=kept, **quick) as run:
        await elsewhere.pause(NAME)
        await seen_to(elsewhere, status="paused")
        (paused,) = await elsewhere.list()

        await elsewhere.set(NAME, batch_size=7)
        await elsewhere.resume(NAME)
        await seen_to(elsewhere, status="running", batch_size=7)
        await elsewhere.stop(NAME)
        result = await run.wait()

    assert "ann@host" in str(paused.reasons[0])
    assert (result.status, result.reasons[0].value) == ("stopped", "stop requested")
    assert result.rows - paused.rows == 7 * (result.batches - paused.batches)
    with pytest.raises(NotRunning):
        await elsewhere.stop(NAME)


@pytest.mark.asyncio
async def test_a_run_whose_name_was_taken_over_ends_and_writes_nothing(
    kept: Checkpoint, pool: Pool, elsewhere: Runs
) -> None:
    running = asyncio.create_task(Endless.run(checkpoint=kept))
    await seen_to(elsewhere, status="running", batches=1)
    store = PostgresStore(pool)

    async def taken_over() -> PostgresLease | None:
        # The run beats, and may have renewed its lease in between.
        await run_out(pool)
        lease = await store.acquire(NAME, "second", int)
        return None if isinstance(lease, Held) else lease

    while (lease := await taken_over()) is None:
        pass
    result = await running

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, LeaseLost)
    assert await lease.load() == Snapshot(1, batches=1)


@pytest.mark.asyncio
async def test_the_result_of_a_single_operation_is_remembered(kept: Checkpoint) -> None:
    class Once(Backfill):
        checkpoint = kept
        once = True

        async def handle(self, health_check: Any) -> Answer[Any]:
            return Done({"moved": 3})

    done = await Once.run()
    skipped = await Once.run()

    assert (done.status, done.result) == (RunStatus.DONE, {"moved": 3})
    assert skipped.status is RunStatus.SKIPPED


@pytest.mark.asyncio
async def test_a_run_leaves_every_connection_free(database: str) -> None:
    async with pool_of(database, 2) as pool:
        for number in range(10):
            kept = Checkpoint(PostgresStore(pool), f"backfill {number}")
            task = asyncio.create_task(Endless.run(checkpoint=kept))
            for _ in range(number * 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

        async def all_are_idle() -> bool:
            return pool.get_idle_size() == pool.get_size()

        await until(all_are_idle)
        for number in range(10):
            lease = await taken(PostgresStore(pool), f"run {number}")
            await lease.release(
                RunResult(NAME, f"run {number}", RunStatus.HALTED), handed_over=False
            )
            kept = Checkpoint(PostgresStore(pool), f"backfill {number}")
            assert (await Endless.run(checkpoint=kept, max_batches=1)).batches >= 1


@pytest.mark.asyncio
async def test_a_bare_done_leaves_no_checkpoint(kept: Checkpoint, pool: Pool) -> None:
    class Nothing(Backfill[int]):
        initial_state = 0
        checkpoint = kept

        async def handle_batch(self, state: int) -> Answer[int]:
            return DONE

    assert (await Nothing.run()).status is RunStatus.DONE
    assert await PostgresStore(pool).load(NAME) is None
