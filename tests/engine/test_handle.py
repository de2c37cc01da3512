"""A run in the background, and the handle to wait for it and to steer it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import anyio
import pytest

from adaptive_backfill import (
    Answer,
    Checkpoint,
    MemoryStore,
    Run,
    RunStatus,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import (
    Count,
    Gate,
    Quits,
    names,
    only,
    turns,
)


@pytest.mark.asyncio
async def test_a_run_goes_on_in_the_background_and_is_waited_for() -> None:
    gate = Gate()

    async with Count.start(**gate.overrides()) as run:
        assert isinstance(run, Run)
        await gate.begun.wait()
        gate.go.set()
        result = await run.wait()
        again = await run.wait()

    assert (result.status, result.batches) == ("done", 3)
    assert again is result is await run.wait()
    assert gate.heard == [result]
    assert result.run_id == run.progress.run_id


@pytest.mark.asyncio
async def test_what_is_wrong_is_said_on_entering() -> None:
    handle = Count.start(timeout=-1)

    with pytest.raises(errors.ConfigurationError, match="timeout"):
        async with handle:
            pytest.fail("it was entered")


@pytest.mark.asyncio
@pytest.mark.parametrize("grace", [-1, True, None, "10", float("nan"), float("inf")])
async def test_the_grace_is_checked_on_entering(grace: Any) -> None:
    handle = Count.start(grace=grace)

    with pytest.raises(errors.ConfigurationError, match="grace"):
        async with handle:
            pytest.fail("it was entered")


@pytest.mark.asyncio
async def test_a_name_that_is_taken_is_said_on_entering() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    gate = Gate()

    async with Count.start(**gate.overrides(checkpoint=checkpoint)):
        await gate.begun.wait()
        handle = Count.start(checkpoint=checkpoint)
        with pytest.raises(errors.AlreadyRunning):
            async with handle:
                pytest.fail("it was entered")
        gate.go.set()


@pytest.mark.asyncio
async def test_a_handle_is_for_one_run_and_for_a_block() -> None:
    handle = Count.start()

    for use in (lambda: handle.progress, handle.pause, handle.stop):
        with pytest.raises(errors.ConfigurationError):
            use()
    async with handle:
        pass
    with pytest.raises(errors.ConfigurationError):
        async with handle:
            pytest.fail("it was entered")


@pytest.mark.asyncio
async def test_a_run_in_the_background_is_one_task() -> None:
    gate = Gate()
    before = len(asyncio.all_tasks())

    async with Count.start(**gate.overrides()):
        await gate.begun.wait()
        during = len(asyncio.all_tasks())
        gate.go.set()

    assert during == before + 1
    assert len(asyncio.all_tasks()) == before


@pytest.mark.asyncio
async def test_a_wait_that_is_cancelled_does_not_cancel_the_run() -> None:
    gate = Gate()

    async with Count.start(**gate.overrides()) as run:
        await gate.begun.wait()
        with anyio.move_on_after(0.01):
            await run.wait()
        waiting = asyncio.create_task(run.wait())
        await turns(1)
        waiting.cancel()
        await turns()
        assert waiting.cancelled()
        gate.go.set()
        result = await run.wait()

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_run_that_fails_does_not_disturb_the_block() -> None:
    async def fails(state: int) -> Answer[int]:
        raise ValueError

    async with Count.start(handle_batch=fails) as run:
        await turns(100)
        result = await run.wait()

    assert result.status is RunStatus.FAILED


@pytest.mark.asyncio
async def test_a_base_exception_of_the_run_comes_out_of_wait() -> None:
    thrown = Quits()

    async def quits(state: int) -> Answer[int]:
        await turns()
        raise thrown

    async def use() -> None:
        async with Count.start(handle_batch=quits) as run:
            await run.wait()

    with pytest.raises(Quits) as caught:
        await use()
    assert caught.value is thrown


@pytest.mark.asyncio
async def test_stop_is_obeyed_after_the_batch_under_way() -> None:
    gate = Gate()

    async with Count.start(**gate.overrides()) as run:
        await gate.begun.wait()
        run.stop()
        gate.go.set()
        result = await run.wait()

    assert (result.status, result.batches) == ("stopped", 2)
    assert gate.seen == ["finished"]
    assert "stop" in str(result.reasons[0])


@pytest.mark.asyncio
async def test_pause_and_resume_are_obeyed_at_batch_boundaries() -> None:
    gate = Gate()

    with capture() as events:
        async with Count.start(**gate.overrides()) as run:
            await gate.begun.wait()
            run.pause()
            await turns()
            under_way = run.progress
            gate.go.set()
            await turns(50)
            paused = run.progress
            run.resume()
            result = await run.wait()

    assert under_way.status == "running"
    assert (paused.status, paused.batches) == ("paused", 2)
    assert "paused by" in str(paused.reasons[0])
    assert result.status is RunStatus.DONE
    assert names(events).count("pause") == names(events).count("resume") == 1
    assert result.paused > 0


@pytest.mark.asyncio
async def test_pausing_twice_is_pausing_once() -> None:
    gate = Gate()

    with capture() as events:
        async with Count.start(**gate.overrides()) as run:
            await gate.begun.wait()
            run.pause()
            run.pause()
            gate.go.set()
            await turns(50)
            run.pause()
            await turns(50)
            run.resume()
            result = await run.wait()

    assert result.status is RunStatus.DONE
    assert names(events).count("pause") == names(events).count("resume") == 1


@pytest.mark.asyncio
async def test_stopped_while_paused_a_run_ends_as_stopped() -> None:
    gate = Gate()

    with capture() as events:
        async with Count.start(**gate.overrides()) as run:
            await gate.begun.wait()
            run.pause()
            gate.go.set()
            await turns(50)
            run.stop()
            result = await run.wait()

    assert (result.status, result.batches) == ("stopped", 2)
    assert names(events)[-2:] == ["pause", "stop"]


@pytest.mark.asyncio
async def test_set_changes_size_and_delay_from_the_next_batch_on() -> None:
    clock = FakeClock()
    sizes: list[tuple[object, object]] = []
    gate = Gate()

    class Sized(Count):
        batch_size = 10

        async def handle_batch(self, state: int) -> Answer[int]:
            answer = await gate(state)
            sizes.append((self.batch_size, self.delay_between_batches))
            return answer

    with capture() as events:
        async with testing.start(Sized, clock) as run:
            await gate.begun.wait()
            run.set(batch_size=20, delay_between_batches=timedelta(seconds=7))
            before = run.progress.batch_size
            gate.go.set()
            result = await run.wait()

    assert result.status is RunStatus.DONE
    assert sizes == [(10, 0.0), (10, 0.0), (20, 7.0), (20, 7.0)]
    assert before == 10
    assert run.progress.batch_size == 20
    assert [each["size"] for each in only(events, "batch.start")] == [10, 10, 20, 20]
    assert Sized.batch_size == 10
    assert clock.slept.count(7.0) == 1
    (pace,) = only(events, "pace.change")
    assert (pace["batch_size"], pace["delay"]) == (20, 7.0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 0},
        {"batch_size": True},
        {"delay_between_batches": -1},
        {"batch_sise": 5},
        {"timeout": 5},
        {"name": "x"},
    ],
    ids=repr,
)
async def test_set_says_what_is_wrong_and_changes_nothing(
    values: dict[str, Any],
) -> None:
    gate = Gate()

    async with Count.start(**gate.overrides(batch_size=5)) as run:
        await gate.begun.wait()
        with pytest.raises(errors.ConfigurationError, match=next(iter(values))):
            run.set(**values)
        gate.go.set()
        result = await run.wait()

    assert result.status is RunStatus.DONE
    assert run.progress.batch_size == 5


@pytest.mark.asyncio
async def test_what_was_set_holds_for_one_run_only() -> None:
    gate = Gate()
    checkpoint = Checkpoint(MemoryStore(), "set")

    async with Count.start(
        **gate.overrides(batch_size=5, checkpoint=checkpoint)
    ) as run:
        await gate.begun.wait()
        run.set(batch_size=50)
        gate.go.set()
        while run.progress.batch_size != 50:
            await turns(1)
        run.stop()
    with capture() as events:
        await Count.run(batch_size=5, checkpoint=checkpoint)

    assert {each["size"] for each in only(events, "batch.start")} == {5}


@pytest.mark.asyncio
async def test_a_pause_made_during_a_heartbeat_is_not_undone_by_it() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        async def acquire(
            self, name: str, run_id: str, state_type: object = None
        ) -> Any:
            lease: Any = await super().acquire(name, run_id, state_type)
            beat = lease.beat

            async def slow_beat(progress: Any) -> Any:
                wishes = await beat(progress)
                if gate.begun.is_set() and not go.is_set():
                    asked.set()
                    await go.wait()
                return wishes

            lease.beat = slow_beat
            return lease

    gate = Gate()
    checkpoint = Checkpoint(Slow(), "slow")
    async with testing.start(
        Count, FakeClock(), **gate.overrides(checkpoint=checkpoint)
    ) as run:
        await asked.wait()
        run.pause()
        go.set()
        await turns(10)
        gate.go.set()
        await turns(100)
        paused = run.progress.status
        run.resume()
        result = await run.wait()

    assert paused == "paused"
    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_pause_by_the_handle_outlasts_the_run() -> None:
    checkpoint = Checkpoint(MemoryStore(), "lasting")
    gate = Gate()
    async with Count.start(**gate.overrides(checkpoint=checkpoint)) as run:
        await gate.begun.wait()
        run.pause()
        gate.go.set()
    assert (await run.wait()).status is RunStatus.STOPPED

    async with Count.start(checkpoint=checkpoint) as again:
        await turns(50)
        paused = again.progress
        again.resume()
        result = await again.wait()

    assert paused.status == "paused"
    assert result.status is RunStatus.DONE
