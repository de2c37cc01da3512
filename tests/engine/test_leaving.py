"""Leaving the block of a handle: the grace, and what it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adaptive_backfill import (
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    MemoryStore,
    Next,
    Pause,
    RunResult,
    RunStatus,
    Snapshot,
)
from adaptive_backfill.testing import ScriptedCheck, capture
from tests.engine.sharing import (
    AsyncStore,
    Count,
    Gate,
    HealthAsked,
    SlowStore,
    names,
    never,
    only,
    turns,
)


@pytest.mark.asyncio
async def test_leaving_lets_the_batch_under_way_finish() -> None:
    gate = Gate()
    checkpoint = Checkpoint(AsyncStore(), "kept")

    async with Count.start(**gate.overrides(checkpoint=checkpoint)) as run:
        await gate.begun.wait()
        asyncio.get_running_loop().call_later(0.01, gate.go.set)
    result = await run.wait()

    assert gate.seen == ["finished"]
    assert (result.status, result.state, result.batches) == ("stopped", 2, 2)
    assert gate.heard == [result]
    assert result.reasons != ()
    assert run.progress.status == "stopped"


@pytest.mark.asyncio
@pytest.mark.parametrize("grace", [0, 0.01, timedelta(milliseconds=10)])
async def test_past_its_grace_the_batch_is_cancelled(grace: Any) -> None:
    gate = Gate()
    checkpoint = Checkpoint(MemoryStore(), "kept")

    with capture() as events:
        async with Count.start(
            grace=grace, **gate.overrides(checkpoint=checkpoint)
        ) as run:
            await gate.begun.wait()
        result = await run.wait()

    assert gate.seen == ["cancelled"]
    assert (result.status, result.state, result.batches) == ("stopped", 1, 1)
    assert result.error is None
    assert len(result.reasons) == 1
    assert gate.heard == [result]
    assert names(events)[-2:] == ["batch.exception", "stop"]
    assert only(events, "batch.exception")[0]["outcome"] == "cancelled"
    assert only(events, "stop")[0]["outcome"] == "stopped"
    again = await Count.run(checkpoint=checkpoint)
    assert (again.status, again.resumed, again.batches) == ("done", True, 3)


@pytest.mark.asyncio
async def test_an_answer_given_in_spite_of_it_counts() -> None:
    begun = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        try:
            begun.set()
            await never()
        except asyncio.CancelledError:
            await turns()
        return Next(1, rows=5)

    async with Count.start(grace=0, handle_batch=handle) as run:
        await begun.wait()
    result = await run.wait()

    assert (result.status, result.state, result.rows) == ("stopped", 1, 5)


WAITS: dict[str, dict[str, Any]] = {
    "delay": {"delay_between_batches": 3600},
    "pause": {"mode": "sync", "health_checks": [ScriptedCheck([Pause("p")] * 99)]},
    "async pause": {"health_checks": [ScriptedCheck([Pause("p")] * 99)]},
}


@pytest.mark.asyncio
@pytest.mark.parametrize("wait", WAITS)
async def test_leaving_ends_every_wait_at_once(wait: str) -> None:
    async with Count.start(grace=3600, **WAITS[wait]) as run:
        await turns(50)
    result = await run.wait()

    assert result.status is RunStatus.STOPPED


@pytest.mark.asyncio
async def test_leaving_after_the_end_changes_nothing() -> None:
    async with Count.start() as run:
        result = await run.wait()
        run.stop()
        run.pause()

    assert (await run.wait()) is result
    assert result.status is RunStatus.DONE


class Slowly:
    """A hook, a method or a check that waits for ever, where it is wanted."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, *args: object) -> Any:
        self.begun.set()
        await never()


def _in_hook(name: str) -> Callable[[Slowly], dict[str, Any]]:
    async def fails(state: int) -> Answer[int]:
        return Fail("f")

    def make(slowly: Slowly) -> dict[str, Any]:
        hook: dict[str, Any] = {name: slowly}
        return {**hook, "handle_batch": fails} if name == "on_error" else hook

    return make


PLACES: dict[str, tuple[str, Callable[[Slowly], dict[str, Any]]]] = {
    "on_success": ("stopped", _in_hook("on_success")),
    "on_error": ("failed", _in_hook("on_error")),
    "on_complete": ("done", _in_hook("on_complete")),
    "total": ("stopped", lambda slowly: {"total": slowly}),
    "a check": (
        "stopped",
        lambda slowly: {"mode": "sync", "health_checks": [slowly]},
    ),
    "the first sampling": ("stopped", lambda slowly: {"health_checks": [slowly]}),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("place", PLACES)
async def test_wherever_the_grace_runs_out_wait_returns_a_result(place: str) -> None:
    status, make = PLACES[place]
    slowly = Slowly()
    completed: list[RunResult] = []
    checkpoint = Checkpoint(MemoryStore(), "place")
    overrides = {"on_complete": completed.append, **make(slowly)}

    with capture() as events:
        async with Count.start(grace=0, checkpoint=checkpoint, **overrides) as run:
            await slowly.begun.wait()
        result = await run.wait()

    assert result.status == status
    if place != "on_complete":
        assert completed == [result]
    assert names(events).count("stop") == names(events).count("start") == 1
    assert only(events, "stop")[0]["outcome"] == status
    again = await Count.run(checkpoint=checkpoint)
    assert again.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_grace_that_runs_out_in_initial_state() -> None:
    slowly = Slowly()
    completed: list[RunResult] = []

    class Starts(Count):
        async def initial_state(self) -> int:  # type: ignore[override]
            await slowly()
            return 0

    async with Starts.start(grace=0, on_complete=completed.append) as run:
        await slowly.begun.wait()
    result = await run.wait()

    assert result.status is RunStatus.STOPPED
    assert completed == [result]


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["load", "save", "delete"])
async def test_a_grace_that_runs_out_in_a_store(method: str) -> None:
    store = SlowStore(method)
    completed: list[RunResult] = []
    checkpoint = Checkpoint(store, "slow")

    async with Count.start(
        grace=0, checkpoint=checkpoint, on_complete=completed.append
    ) as run:
        await store.begun.wait()
        asyncio.get_running_loop().call_later(0.02, store.go.set)
    result = await run.wait()

    assert result.status == ("done" if method == "delete" else "stopped")
    assert completed == [result]
    if method == "save":
        # What must finish, finishes.
        assert store.kept["slow"] == Snapshot(1, 1, 10)
        assert (result.state, result.batches) == (1, 1)


@pytest.mark.asyncio
async def test_a_grace_that_runs_out_in_the_last_save() -> None:
    store = SlowStore("save")
    completed: list[RunResult] = []
    checks = [ScriptedCheck([ValueError("x")])]

    async with Count.start(
        grace=0,
        checkpoint=Checkpoint(store, "slow"),
        health_checks=checks,
        on_complete=completed.append,
    ) as run:
        await store.begun.wait()
        asyncio.get_running_loop().call_later(0.02, store.go.set)
    result = await run.wait()

    assert result.status is RunStatus.HALTED
    assert completed == [result]
    assert store.kept["slow"] == Snapshot(0, 0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["acquire", "beat"])
async def test_a_grace_that_runs_out_while_a_lease_is_asked_for(method: str) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()

    class Slow(MemoryStore):
        async def acquire(
            self, name: str, run_id: str, state_type: object = None
        ) -> Any:
            if method == "acquire":
                await slow()
            lease: Any = await super().acquire(name, run_id, state_type)
            beat = lease.beat

            async def slow_beat(progress: Any) -> Any:
                if not go.is_set():
                    await slow()
                return await beat(progress)

            if method == "beat":
                lease.beat = slow_beat
            return lease

    store = Slow()
    completed: list[RunResult] = []
    handle = Count.start(
        grace=0,
        checkpoint=Checkpoint(store, "slow"),
        on_complete=completed.append,
    )
    if method == "acquire":
        # Entering waits for the lease: it is the entering that is cancelled.
        entering = asyncio.create_task(handle.__aenter__())
        await begun.wait()
        entering.cancel()
        await turns()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await entering
    else:
        async with handle as run:
            await begun.wait()
        result = await run.wait()
        assert result.status is RunStatus.STOPPED
        assert completed == [result]
        go.set()

    again = await Count.run(checkpoint=Checkpoint(store, "slow"))
    assert again.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_run_that_is_done_stays_done_where_its_last_hook_is_cancelled() -> None:
    slowly = Slowly()
    checkpoint = Checkpoint(MemoryStore(), "last")

    async def handle(state: int) -> Answer[int]:
        return Done("all", rows=5)

    async with Count.start(
        grace=0, handle_batch=handle, on_success=slowly, checkpoint=checkpoint
    ) as run:
        await slowly.begun.wait()
    result = await run.wait()

    assert (result.status, result.result, result.rows) == ("done", "all", 5)
    assert await MemoryStore.load(checkpoint.store, "last") is None  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_single_operation_is_left_as_a_run_of_batches_is() -> None:
    begun = asyncio.Event()
    completed: list[RunResult] = []

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            begun.set()
            await never()
            return Done()

    async with Once.start(grace=0, on_complete=completed.append) as run:
        await begun.wait()
    result = await run.wait()

    assert result.status is RunStatus.STOPPED
    assert completed == [result]
