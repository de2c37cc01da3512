"""What is kept of a run, and what the next one makes of it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Fail,
    Halt,
    MemoryStore,
    Next,
    RunStatus,
    Snapshot,
    errors,
)
from adaptive_backfill.testing import ScriptedCheck, capture
from tests.engine.sharing import (
    CUSTOM,
    STORES,
    AsyncStore,
    Count,
    HealthAsked,
    names,
    only,
    snapshot_in,
)


@STORES
def test_one_store_works_in_two_event_loops_one_after_the_other(store: Any) -> None:
    class Twice(Count):
        checkpoint = Checkpoint(store(), "twice")
        health_checks = [ScriptedCheck([])]

    first = asyncio.run(Twice.run(max_batches=1))
    second = asyncio.run(Twice.run(max_batches=1))
    third = asyncio.run(Twice.run())

    assert [r.status for r in (first, second, third)] == ["stopped", "stopped", "done"]
    assert [r.batches for r in (first, second, third)] == [1, 2, 3]
    assert [r.resumed for r in (first, second, third)] == [False, True, True]


@STORES
def test_a_run_that_a_dead_loop_left_behind_holds_nothing(store: Any) -> None:
    checkpoint = Checkpoint(store(), "left")

    async def forget() -> None:
        async def handle(state: int) -> Answer[int]:
            if state == 1:
                begun.set()
                await asyncio.Event().wait()
            return Next(state + 1, rows=10)

        begun = asyncio.Event()
        task = asyncio.create_task(
            Count.run(checkpoint=checkpoint, handle_batch=handle)
        )
        await begun.wait()
        assert not task.done()

    # asyncio.run cancels what is left.
    asyncio.run(forget())
    again = asyncio.run(Count.run(checkpoint=checkpoint))

    assert (again.status, again.batches, again.resumed) == ("done", 3, True)


@pytest.mark.asyncio
@STORES
async def test_deleted_when_done_and_kept_otherwise(store: Any) -> None:
    checkpoint = Checkpoint(store(), "kept")

    async def halts(state: int) -> Answer[int]:
        return Halt("h") if state == 1 else Next(state + 1, rows=10)

    async def fails(state: int) -> Answer[int]:
        return Fail("f") if state == 2 else Next(state + 1, rows=10)

    seen = []
    await Count.run(checkpoint=checkpoint, handle_batch=halts, batch_size=7)
    seen.append(await snapshot_in(checkpoint))
    await Count.run(checkpoint=checkpoint, handle_batch=fails)
    seen.append(await snapshot_in(checkpoint))
    await Count.run(checkpoint=checkpoint, max_batches=1)
    seen.append(await snapshot_in(checkpoint))
    result = await Count.run(checkpoint=checkpoint)
    seen.append(await snapshot_in(checkpoint))

    assert seen == [
        Snapshot(1, 1, 10, 7),
        Snapshot(2, 2, 20, None),
        Snapshot(3, 3, 30, None),
        None,
    ]
    assert (result.batches, result.rows) == (3, 30)


@pytest.mark.asyncio
@STORES
async def test_a_checkpoint_without_a_name_goes_by_the_runs_name(store: Any) -> None:
    class First(Count):
        checkpoint = Checkpoint(store())

    class Second(First):
        pass

    await First.run(max_batches=1)
    second = await Second.run(max_batches=2)
    first = await First.run(max_batches=1)

    assert (second.resumed, second.batches) == (False, 2)
    assert (first.resumed, first.batches) == (True, 2)


@pytest.mark.asyncio
@STORES
@pytest.mark.parametrize("state", [None, 0, False, "", {}, [], 0.0, ()], ids=repr)
async def test_falsy_states_are_states_to_resume_from(store: Any, state: Any) -> None:
    checkpoint = Checkpoint(store(), "falsy")
    seen: list[object] = []

    async def first(state: object) -> Answer:
        return Next(falsy)

    async def second(state: object) -> Answer:
        seen.append(state)
        return DONE

    falsy = state
    await Count.run(
        initial_state="first", handle_batch=first, checkpoint=checkpoint, max_batches=1
    )
    result = await Count.run(handle_batch=second, checkpoint=checkpoint)

    assert seen == [falsy]
    assert type(seen[0]) is type(falsy)
    assert result.resumed


@pytest.mark.asyncio
@STORES
async def test_also_a_run_without_a_batch_keeps_its_state(store: Any) -> None:
    checkpoint = Checkpoint(store(), "none")
    check = ScriptedCheck([Halt("down")])

    halted = await Count.run(
        checkpoint=checkpoint, initial_state=2, health_checks=[check]
    )
    kept = await snapshot_in(checkpoint)
    resumed = await Count.run(checkpoint=checkpoint, max_batches=1)

    assert (halted.status, halted.state) == ("halted", 2)
    assert kept == Snapshot(2, 0, 0)
    assert not resumed.resumed
    assert (resumed.state, resumed.batches) == (3, 1)


@pytest.mark.asyncio
@STORES
async def test_a_snapshot_without_a_batch_gives_way_to_a_given_state(
    store: Any,
) -> None:
    checkpoint = Checkpoint(store(), "none")
    check = ScriptedCheck([Halt("down")])
    await Count.run(checkpoint=checkpoint, initial_state=2, health_checks=[check])

    with capture() as events, capture_logs() as lines:
        result = await Count.run(checkpoint=checkpoint, initial_state=1, max_batches=1)

    assert not result.resumed
    assert (result.state, result.batches) == (2, 1)
    assert only(events, "start")[0]["resumed"] is False
    assert not [line for line in lines if "initial_state" in line["event"]]


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ["load", "save", "initial_state"])
async def test_nothing_is_kept_where_there_is_no_state_or_no_store(
    ending: str,
) -> None:
    store = AsyncStore(**{ending: OSError("x")})

    class Starts(Count):
        def initial_state(self) -> int:  # type: ignore[override]
            if ending == "initial_state":
                raise ValueError
            return 0

    result = await Starts.run(checkpoint=Checkpoint(store, "x"))

    assert result.status is RunStatus.FAILED
    assert store.asked.count("save") == (ending == "save")
    assert store.kept == {}


@pytest.mark.asyncio
@CUSTOM
async def test_a_last_save_that_fails_does_not_change_the_ending(store: Any) -> None:
    kept = store(save=OSError("disk full"))
    heard: list[object] = []

    result = await Count.run(
        checkpoint=Checkpoint(kept, "x"),
        health_checks=[ScriptedCheck([Halt("down")])],
        on_error=lambda error, state: heard.append(error),
    )

    assert result.status is RunStatus.HALTED
    assert result.error is None
    assert heard == []
    assert kept.asked == ["load", "save"]


@pytest.mark.asyncio
async def test_an_initial_state_that_cannot_be_kept_does_not_change_the_ending() -> (
    None
):
    class Locks(Count):
        def initial_state(self) -> Any:  # type: ignore[override]
            return threading.Lock()

    halted = await Locks.run(
        checkpoint=Checkpoint(MemoryStore(), "x"),
        health_checks=[ScriptedCheck([Halt("down")])],
    )
    failed = await Locks.run(checkpoint=Checkpoint(MemoryStore(), "x"))

    assert halted.status is RunStatus.HALTED
    assert failed.status is RunStatus.FAILED
    assert isinstance(failed.error, TypeError | errors.CheckpointError)


@pytest.mark.asyncio
async def test_a_single_operation_keeps_no_snapshot() -> None:
    store = AsyncStore()

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> object:
            return Halt("h")

    await Once.run(checkpoint=Checkpoint(store, "x"))

    assert store.kept == {}


@pytest.mark.asyncio
@STORES
async def test_without_its_checkpoint_a_run_leaves_what_is_stored(store: Any) -> None:
    class Kept(Count):
        checkpoint = Checkpoint(store(), "kept")

    await Kept.run(max_batches=1)
    before = await snapshot_in(Kept.checkpoint)

    result = await Kept.run(checkpoint=None)

    assert (result.status, result.batches, result.resumed) == ("done", 3, False)
    assert await snapshot_in(Kept.checkpoint) == before == Snapshot(1, 1, 10)
    if not isinstance(Kept.checkpoint.store, MemoryStore):
        assert Kept.checkpoint.store.asked == ["load", "save", "save"]  # type: ignore[attr-defined]


@pytest.mark.asyncio
@STORES
async def test_the_checkpoint_wins_over_a_given_state_with_a_warning(
    store: Any,
) -> None:
    checkpoint = Checkpoint(store(), "kept")
    await Count.run(checkpoint=checkpoint, max_batches=1)

    with capture_logs() as lines:
        result = await Count.run(checkpoint=checkpoint, initial_state=0)

    assert (result.status, result.batches, result.resumed) == ("done", 3, True)
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "initial_state" in warnings[0]["event"]


@pytest.mark.asyncio
@STORES
async def test_a_restart_begins_at_the_initial_state(store: Any) -> None:
    checkpoint = Checkpoint(store(), "kept")
    await Count.run(checkpoint=checkpoint, max_batches=2)

    with capture_logs() as lines:
        result = await Count.run(
            checkpoint=checkpoint, restart=True, initial_state=1, max_batches=1
        )

    assert (result.state, result.batches, result.resumed) == (2, 1, False)
    assert not [line for line in lines if "initial_state" in line["event"]]
    assert await snapshot_in(checkpoint) == Snapshot(2, 1, 10)


@pytest.mark.asyncio
async def test_a_restart_also_forgets_that_it_was_finished() -> None:
    checkpoint = Checkpoint(MemoryStore(), "once")
    await Count.run(checkpoint=checkpoint, once=True)

    skipped = await Count.run(checkpoint=checkpoint, once=True)
    restarted = await Count.run(checkpoint=checkpoint, once=True, restart=True)

    assert skipped.status is RunStatus.SKIPPED
    assert (skipped.batches, skipped.rows, skipped.state) == (3, 30, None)
    assert (restarted.status, restarted.batches) == ("done", 3)


@pytest.mark.asyncio
async def test_initial_state_is_asked_for_only_when_nothing_was_loaded() -> None:
    asked = 0

    class Starts(Count):
        checkpoint = Checkpoint(MemoryStore(), "starts")

        async def initial_state(self) -> int:  # type: ignore[override]
            nonlocal asked
            asked += 1
            return 0

    await Starts.run(max_batches=1)
    await Starts.run(max_batches=1)

    assert asked == 1


@pytest.mark.asyncio
async def test_order_at_the_start() -> None:
    """Lease, restart, load, initial_state, start, first verdict."""
    order: list[str] = []

    class Store(AsyncStore):
        def _ask(self, method: str) -> None:
            order.append(method)
            super()._ask(method)

    class Starts(Count):
        def initial_state(self) -> int:  # type: ignore[override]
            order.append("initial_state")
            return 0

        async def handle_batch(self, state: int) -> Answer[int]:
            order.append("batch")
            return DONE

    async def check() -> None:
        order.append("check")

    store = Store()
    with capture() as events:
        await Starts.run(
            restart=True, checkpoint=Checkpoint(store, "x"), health_checks=[check]
        )

    assert order[:5] == ["delete", "load", "initial_state", "check", "batch"]
    assert names(events)[0] == "start"
