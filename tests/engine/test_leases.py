"""One run of a name at a time; standing by; taking over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    RunResult,
    Runs,
    RunStatus,
    Snapshot,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import (
    AsyncStore,
    Count,
    HealthAsked,
    SlowStore,
    SyncStore,
    never,
    turns,
)

STORES = pytest.mark.parametrize("store", [MemoryStore, AsyncStore, SyncStore])


class Owner:
    """A run that waits in its second batch until the test says `go`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.answer: Answer[int] = DONE

    async def handle(self, state: int) -> Answer[int]:
        if state == 0:
            return Next(1, rows=10)
        self.begun.set()
        await self.go.wait()
        return self.answer

    async def begin(self, **overrides: Any) -> asyncio.Task[RunResult]:
        task = asyncio.create_task(
            Count.run(handle_batch=self.handle, checkpoint=self.checkpoint, **overrides)
        )
        await self.begun.wait()
        return task


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
@STORES
async def test_the_second_of_two_runs_raises_before_any_side_effect(
    store: Any,
) -> None:
    kept = store()
    owner = Owner(Checkpoint(kept, "one"))
    first = await owner.begin()
    asked = list(getattr(kept, "asked", []))
    done: list[str] = []

    class Second(Count):
        def initial_state(self) -> int:  # type: ignore[override]
            done.append("initial_state")
            return 0

        async def handle_batch(self, state: int) -> Answer[int]:
            done.append("handle")
            return DONE

        def on_error(self, error: object, state: object) -> None:
            done.append("on_error")

        def on_complete(self, result: RunResult) -> None:
            done.append("on_complete")

    with capture() as events:
        for restart in (False, True):
            with pytest.raises(errors.AlreadyRunning, match="'one'") as caught:
                await Second.run(checkpoint=Checkpoint(kept, "one"), restart=restart)
            assert caught.value.name == "one"

    assert events == []
    assert done == []
    assert getattr(kept, "asked", []) == asked
    owner.go.set()
    assert (await first).status is RunStatus.DONE


@pytest.mark.asyncio
@STORES
async def test_other_names_and_other_stores_are_free(store: Any) -> None:
    kept = store()
    owner = Owner(Checkpoint(kept, "one"))
    first = await owner.begin()

    other_name = await Count.run(checkpoint=Checkpoint(kept, "two"))
    other_store = await Count.run(checkpoint=Checkpoint(store(), "one"))

    assert (other_name.status, other_store.status) == ("done", "done")
    await _end(first)


class Broken(Count):
    def initial_state(self) -> int:  # type: ignore[override]
        raise ValueError


def _answers(answer: object) -> Any:
    async def handle(state: int) -> object:
        return answer

    return handle


def _raises(*args: object) -> None:
    raise ValueError


ENDINGS: dict[str, dict[str, Any]] = {
    "done": {},
    "halted": {"handle_batch": _answers(Halt("h"))},
    "failed": {"handle_batch": _answers(Fail("f"))},
    "nonsense": {"handle_batch": _answers(None)},
    "stopped": {"max_batches": 1},
    "hooks": {"on_success": lambda s: _raises(), "on_complete": lambda r: _raises()},
    "check": {"health_checks": [ScriptedCheck([ValueError()] * 99)]},
}


@pytest.mark.asyncio
@STORES
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_name_is_free_again_after_any_ending(store: Any, ending: str) -> None:
    checkpoint = Checkpoint(store(), "one")

    await Count.run(checkpoint=checkpoint, **ENDINGS[ending])
    result = await Count.run(checkpoint=checkpoint)

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [AsyncStore, SyncStore])
@pytest.mark.parametrize("method", ["load", "save", "delete"])
async def test_a_name_is_free_again_after_a_store_failed(
    store: Any, method: str
) -> None:
    kept = store(**{method: OSError()})
    checkpoint = Checkpoint(kept, "one")

    await Count.run(checkpoint=checkpoint)
    kept.fails.clear()
    result = await Count.run(checkpoint=checkpoint)

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@STORES
async def test_a_name_is_free_again_after_what_ended_otherwise(store: Any) -> None:
    checkpoint = Checkpoint(store(), "one")

    async def quits(state: int) -> Answer[int]:
        raise GeneratorExit

    await Broken.run(checkpoint=checkpoint)
    await _end(await Owner(checkpoint).begin())
    with pytest.raises(GeneratorExit):
        await Count.run(checkpoint=checkpoint, handle_batch=quits)
    result = await Count.run(checkpoint=checkpoint)

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@STORES
async def test_a_name_is_not_free_before_the_run_has_returned(store: Any) -> None:
    """The last thing a run does with its name is to give it back."""
    checkpoint = Checkpoint(store(), "one")
    refused: list[str] = []

    async def again(*args: object) -> None:
        try:
            await Count.run(checkpoint=checkpoint)
        except errors.AlreadyRunning:
            refused.append("refused")

    await Count.run(
        checkpoint=checkpoint,
        handle_batch=Owner(checkpoint).handle,
        max_batches=1,
        on_success=again,
        on_complete=again,
    )

    assert refused == ["refused"] * 2


@pytest.mark.asyncio
async def test_a_run_that_gave_its_name_back_twice_does_not_give_back_anothers() -> (
    None
):
    """The grace runs out while the checkpoint of a finished run is being deleted."""
    store = SlowStore("delete")
    checkpoint = Checkpoint(store, "one")

    async with Count.start(grace=0, checkpoint=checkpoint) as run:
        await store.begun.wait()
        leaving = asyncio.get_running_loop()
        leaving.call_later(0.01, store.go.set)
    first = await run.wait()

    assert first.status is RunStatus.DONE
    assert store.asked.count("delete") == 1


@pytest.mark.asyncio
@STORES
async def test_a_run_that_is_thrown_away_holds_nothing(store: Any) -> None:
    checkpoint = Checkpoint(store(), "one")

    # Never awaited, so it never began.
    run = Count.run(checkpoint=checkpoint)
    run.close()
    result = await Count.run(checkpoint=checkpoint)

    assert result.status is RunStatus.DONE


# Skipping.


@pytest.mark.asyncio
async def test_skip_answers_with_the_counts_that_the_store_knows() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    owner = Owner(checkpoint)
    first = await owner.begin()
    done: list[str] = []

    with capture() as events:
        result = await Count.run(
            checkpoint=checkpoint,
            if_running="skip",
            on_complete=lambda result: done.append("on_complete"),
        )

    assert result.status is RunStatus.SKIPPED
    assert (result.batches, result.rows, result.state) == (1, 10, None)
    assert len(result.reasons) == 1
    assert result.run_id != ""
    assert done == []
    assert events == []
    owner.go.set()
    assert (await first).status is RunStatus.DONE


@pytest.mark.asyncio
async def test_skip_runs_where_nobody_else_does() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")

    result = await Count.run(checkpoint=checkpoint, if_running="skip")

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [AsyncStore, SyncStore])
@pytest.mark.parametrize(
    "wanted", [{"once": True}, {"if_running": "skip"}, {"if_running": "wait"}]
)
async def test_a_plain_store_can_neither_skip_nor_wait_nor_remember(
    store: Any, wanted: dict[str, Any]
) -> None:
    with pytest.raises(errors.ConfigurationError, match="store"):
        await Count.run(checkpoint=Checkpoint(store(), "one"), **wanted)
    with pytest.raises(errors.ConfigurationError, match="checkpoint"):
        await Count.run(**wanted)


# Standing by.


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
    await _end(first)

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
    await _end(first)


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
    await _end(first)


@pytest.mark.asyncio
async def test_of_several_that_stand_by_one_takes_over_and_the_others_wait() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    first = await Owner(checkpoint).begin()
    # On the real clock, where all three look at nearly the same time.
    others = [asyncio.create_task(StandBy.run(checkpoint=checkpoint)) for _ in range(3)]
    await turns()
    await _end(first)

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


# A lost lease.


class Stealable(MemoryStore):
    """A store whose leases the test can take away."""

    def steal(self, name: str) -> None:
        self._shelves[name].holder = "thief"


@pytest.mark.asyncio
async def test_a_lost_lease_fails_the_run_with_nothing_written() -> None:
    store = Stealable()
    checkpoint = Checkpoint(store, "one")
    heard: list[object] = []

    async def handle(state: int) -> Answer[int]:
        if state == 1:
            store.steal("one")
        return Next(state + 1, rows=10)

    result = await Count.run(
        handle_batch=handle,
        checkpoint=checkpoint,
        on_error=lambda error, state: heard.append(error),
    )

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.LeaseLost)
    assert heard == [result.error]
    assert await store.load("one") == Snapshot(1, 1, 10)
    with pytest.raises(errors.AlreadyRunning):
        await Count.run(checkpoint=checkpoint)


@pytest.mark.asyncio
async def test_a_lease_lost_in_the_middle_of_a_batch_ends_it() -> None:
    """The heartbeat finds out, and cancels the batch; nobody else is cancelled."""
    store = Stealable()
    ended: list[str] = []
    heard: list[str] = []

    async def handle(state: int) -> Answer[int]:
        if state == 0:
            return Next(1, rows=10)
        store.steal("one")
        try:
            await never()
        finally:
            ended.append("batch")
        return DONE

    with capture() as events:
        result = await asyncio.wait_for(
            testing.run(
                Count,
                FakeClock(),
                handle_batch=handle,
                checkpoint=Checkpoint(store, "one"),
                on_error=lambda error, state: heard.append("on_error"),
                on_complete=lambda result: heard.append("on_complete"),
            ),
            5,
        )

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.LeaseLost)
    assert ended == ["batch"]
    assert heard == ["on_error", "on_complete"]
    assert await store.load("one") == Snapshot(1, 1, 10)
    assert [event.metadata.get("outcome") for event in events][-1] == "failed"


@pytest.mark.asyncio
async def test_a_single_operation_holds_its_lease() -> None:
    begun = asyncio.Event()

    class Once(Backfill):
        checkpoint = Checkpoint(MemoryStore(), "single")

        async def handle(self, health_check: HealthAsked) -> Done:
            begun.set()
            await never()
            return Done()

    task = asyncio.create_task(Once.run())
    await begun.wait()

    with pytest.raises(errors.AlreadyRunning):
        await Once.run()
    await _end(task)


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
    await _end(first)
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
    await _end(first)

    result = await asyncio.wait_for(second, 5)

    assert (result.status, result.resumed) == ("done", True)


@pytest.mark.asyncio
async def test_a_cancelled_run_is_seen_as_stopped_from_outside() -> None:
    store = MemoryStore()
    await _end(await Owner(Checkpoint(store, "one")).begin())

    seen = await Runs(store).status("one")

    assert seen is not None
    assert seen.status == "stopped"
    assert await Runs(store).history("one") == []


@pytest.mark.asyncio
async def test_a_wish_to_stop_that_nobody_heard_does_not_stop_the_next_run() -> None:
    store = MemoryStore()
    checkpoint = Checkpoint(store, "one")
    first = await Owner(checkpoint).begin()
    await Runs(store).stop("one")
    await _end(first)

    result = await Count.run(checkpoint=checkpoint)

    assert (result.status, result.resumed) == ("done", True)
