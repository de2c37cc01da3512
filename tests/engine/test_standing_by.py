"""Standing by for another run, and taking over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    RunResult,
    Runs,
    RunStatus,
    testing,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import (
    Count,
    Owner,
    cancel,
    never,
    turns,
)


class StandBy(Count):
    """Counts on from where the owner was."""

    if_running = "wait"


async def _stand_by(checkpoint: Checkpoint) -> asyncio.Task[RunResult]:
    run = testing.run(StandBy, FakeClock(), checkpoint=checkpoint)
    task = asyncio.create_task(run)
    await turns(50)
    assert not task.done()
    return task


@pytest.mark.asyncio
async def test_a_stand_by_takes_over_from_an_owner_that_was_cancelled() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    first = await Owner(checkpoint).begin()
    second = await _stand_by(checkpoint)
    await cancel(first)

    result = await asyncio.wait_for(second, 5)

    assert (result.status, result.resumed) == ("done", True)
    assert (result.batches, result.rows) == (3, 30)


@pytest.mark.asyncio
@pytest.mark.parametrize("grace", [10, 0])
async def test_a_stand_by_takes_over_from_an_owner_that_left_its_block(
    grace: float,
) -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    owner = Owner(checkpoint)
    owner.answer = Next(2, rows=10)

    async with Count.start(
        grace=grace, handle_batch=owner.handle, checkpoint=checkpoint
    ) as run:
        await owner.begun.wait()
        second = await _stand_by(checkpoint)
        if grace:
            owner.go.set()
            # Its batch may still finish, but the block is left first.
    first = await run.wait()
    result = await asyncio.wait_for(second, 5)

    assert first.status is RunStatus.STOPPED
    assert (result.status, result.resumed) == ("done", True)
    assert (result.batches, result.rows) == (3, 30)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (DONE, "done"),
        (Done(rows=1), "done"),
        (Halt("disk"), "halted"),
        (Fail("broken"), "failed"),
    ],
    ids=repr,
)
async def test_a_stand_by_is_skipped_after_an_ending_of_the_owners_own(
    answer: Answer[int], status: str
) -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    owner = Owner(checkpoint)
    owner.answer = answer
    heard: list[str] = []
    first = await owner.begin()
    second = await _stand_by(checkpoint)
    owner.go.set()

    ended = await first
    result = await asyncio.wait_for(second, 5)

    assert ended.status == status
    assert result.status is RunStatus.SKIPPED
    assert (result.batches, result.rows) == (ended.batches, ended.rows)
    assert result.state is None
    assert status in str(result.reasons[0])
    for reason in ended.reasons:
        assert str(reason) in str(result.reasons[0])
    assert heard == []


@pytest.mark.asyncio
async def test_a_stand_by_is_skipped_after_max_batches() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    owner = Owner(checkpoint)
    owner.answer = Next(2, rows=10)
    first = await owner.begin(max_batches=2)
    second = await _stand_by(checkpoint)
    owner.go.set()

    ended = await first
    result = await asyncio.wait_for(second, 5)

    assert ended.status is RunStatus.STOPPED
    assert result.status is RunStatus.SKIPPED
    assert "max_batches" in str(result.reasons[0])
    assert (result.batches, result.rows) == (2, 20)


@pytest.mark.asyncio
@pytest.mark.parametrize("by", ["handle", "Runs", "handle, then leaving"])
async def test_a_stand_by_is_skipped_after_a_wish_to_stop(by: str) -> None:
    store = MemoryStore()
    checkpoint = Checkpoint(store, "one")
    owner = Owner(checkpoint)
    owner.answer = Next(2, rows=10)

    async with Count.start(handle_batch=owner.handle, checkpoint=checkpoint) as run:
        await owner.begun.wait()
        second = await _stand_by(checkpoint)
        if by == "Runs":
            await Runs(store).stop("one")
            # A wish is seen within two seconds.
            while not run._session.control.wishes.stop:  # type: ignore[union-attr]
                await asyncio.sleep(0)
        else:
            run.stop()
        owner.go.set()
        if by != "handle, then leaving":
            await run.wait()
    ended = await run.wait()
    result = await asyncio.wait_for(second, 5)

    assert ended.status is RunStatus.STOPPED
    assert result.status is RunStatus.SKIPPED
    assert "stop" in str(result.reasons[0])


@pytest.mark.asyncio
async def test_a_stand_by_shows_that_it_waits_and_can_be_stopped() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    owner = Owner(checkpoint)
    first = await owner.begin()

    with capture() as events:
        async with StandBy.start(checkpoint=checkpoint) as run:
            waiting = run.progress.status
            run.stop()
            result = await asyncio.wait_for(run.wait(), 5)

    assert waiting == "waiting"
    assert result.status is RunStatus.SKIPPED
    assert events == []
    owner.go.set()
    assert (await first).status is RunStatus.DONE


@pytest.mark.asyncio
async def test_leaving_the_block_of_a_stand_by_ends_it() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    first = await Owner(checkpoint).begin()

    async with StandBy.start(checkpoint=checkpoint) as run:
        pass
    result = await run.wait()

    assert result.status is RunStatus.SKIPPED
    await cancel(first)


@pytest.mark.asyncio
async def test_leaving_the_block_of_a_stand_by_does_not_wait_for_a_slow_store() -> None:
    asked = asyncio.Event()

    class Slow(MemoryStore):
        async def ending(self, name: str, run_id: str) -> Any:
            asked.set()
            await never()

    checkpoint = Checkpoint(Slow(), "one")
    first = await Owner(checkpoint).begin()

    async with testing.start(
        StandBy, FakeClock(), grace=0, checkpoint=checkpoint
    ) as run:
        await asked.wait()
    result = await run.wait()

    assert result.status is RunStatus.SKIPPED
    await cancel(first)


@pytest.mark.asyncio
async def test_of_several_that_stand_by_one_takes_over_and_the_others_wait() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    first = await Owner(checkpoint).begin()
    # On the real clock, where all three look at nearly the same time.
    others = [asyncio.create_task(StandBy.run(checkpoint=checkpoint)) for _ in range(3)]
    await turns()
    await cancel(first)

    results = await asyncio.wait_for(asyncio.gather(*others), 15)

    assert sorted(result.status for result in results) == ["done", "skipped", "skipped"]
    done = next(result for result in results if result.status == "done")
    for result in results:
        assert (result.batches, result.rows) == (3, 30)
        if result is not done:
            assert done.run_id in str(result.reasons[0])


@pytest.mark.asyncio
async def test_a_stand_by_takes_over_at_once_where_nobody_runs() -> None:
    result = await asyncio.wait_for(
        StandBy.run(checkpoint=Checkpoint(MemoryStore(), "one")), 5
    )

    assert (result.status, result.batches) == ("done", 3)


@pytest.mark.asyncio
async def test_the_owner_may_fail_while_nobody_looks() -> None:
    """An ending, a new run and its ending, all between two looks."""
    checkpoint = Checkpoint(MemoryStore(), "one")
    owner = Owner(checkpoint)
    owner.answer = Fail("broken")
    first = await owner.begin()
    second = await _stand_by(checkpoint)
    owner.go.set()
    await first
    third = await Count.run(checkpoint=checkpoint)

    result = await asyncio.wait_for(second, 5)

    assert third.status is RunStatus.DONE
    assert result.status is RunStatus.SKIPPED
    assert "failed" in str(result.reasons[0])


class GatedClock(FakeClock):
    """A clock whose sleepers wake when the test says `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.go.wait()


@pytest.mark.asyncio
async def test_a_run_that_came_and_went_between_two_looks_is_not_overlooked() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    clock = GatedClock()
    first = await Owner(checkpoint).begin()
    second = asyncio.create_task(testing.run(StandBy, clock, checkpoint=checkpoint))
    await turns(50)
    await cancel(first)
    third = await Count.run(checkpoint=checkpoint)
    clock.go.set()

    result = await asyncio.wait_for(second, 5)

    assert (third.status, third.batches) == ("done", 3)
    assert result.status is RunStatus.SKIPPED
    assert third.run_id in str(result.reasons[0])
    assert (result.batches, result.rows) == (3, 30)


@pytest.mark.asyncio
async def test_endings_from_before_it_stood_by_do_not_matter() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    await Count.run(checkpoint=checkpoint)
    first = await Owner(checkpoint).begin()
    second = await _stand_by(checkpoint)
    await cancel(first)

    result = await asyncio.wait_for(second, 5)

    assert (result.status, result.resumed) == ("done", True)
