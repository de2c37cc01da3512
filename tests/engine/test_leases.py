"""One run of a name at a time: refused, skipped, free again, lost."""

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
    STORES,
    AsyncStore,
    Count,
    HealthAsked,
    Owner,
    SlowStore,
    SyncStore,
    cancel,
    never,
)


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
    await cancel(first)


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
    await cancel(await Owner(checkpoint).begin())
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
    await cancel(task)


@pytest.mark.asyncio
async def test_a_cancelled_run_is_seen_as_stopped_from_outside() -> None:
    store = MemoryStore()
    await cancel(await Owner(Checkpoint(store, "one")).begin())

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
    await cancel(first)

    result = await Count.run(checkpoint=checkpoint)

    assert (result.status, result.resumed) == ("done", True)
