"""A run in the background, and the handle to watch and steer it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    MemoryStore,
    Next,
    Pause,
    Retry,
    Run,
    RunResult,
    RunStatus,
    Slow,
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
    names,
    never,
    only,
    turns,
)


class Gate:
    """A handler that waits in its second batch until the test says `go`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.seen: list[str] = []
        self.heard: list[RunResult] = []

    async def __call__(self, state: int) -> Answer[int]:
        if state == 1:
            self.begun.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.seen.append("cancelled")
                raise
            self.seen.append("finished")
        return DONE if state == 3 else Next(state + 1, rows=10)

    def overrides(self, **more: Any) -> dict[str, Any]:
        return {"handle_batch": self, "on_complete": self.heard.append, **more}


# Entering and waiting.


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


class Quits(BaseException):
    """Neither an Exception nor a cancellation."""


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


# Leaving.


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


# The block's own exceptions.


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "thrown",
    [
        ValueError("x"),
        ExceptionGroup("mine", [ValueError("y")]),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        Quits(),
    ],
    ids=repr,
)
async def test_exceptions_of_the_block_pass_unwrapped(thrown: BaseException) -> None:
    gate = Gate()
    runs: list[Run] = []

    async def use() -> None:
        async with Count.start(grace=0, **gate.overrides()) as run:
            runs.append(run)
            await gate.begun.wait()
            raise thrown

    with pytest.raises(type(thrown)) as caught:
        await use()

    assert caught.value is thrown
    assert (await runs[0].wait()).status is RunStatus.STOPPED
    assert len(gate.heard) == 1


@pytest.mark.asyncio
async def test_a_block_that_is_cancelled_leaves_its_run_the_grace() -> None:
    gate = Gate()
    entered = asyncio.Event()
    runs: list[Run] = []
    loop = asyncio.get_running_loop()

    async def use() -> None:
        async with Count.start(**gate.overrides()) as run:
            runs.append(run)
            entered.set()
            await never()

    task = asyncio.create_task(use())
    await gate.begun.wait()
    await entered.wait()
    task.cancel("why")
    loop.call_later(0.01, gate.go.set)
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    first = await runs[0].wait()

    assert (first.status, first.batches) == ("stopped", 2)
    assert gate.seen == ["finished"]
    assert gate.heard == [first]


@pytest.mark.asyncio
async def test_a_block_in_a_cancelled_scope_leaves_its_run_the_grace() -> None:
    gate = Gate()
    loop = asyncio.get_running_loop()

    with anyio.CancelScope() as scope:
        async with Count.start(**gate.overrides()) as run:
            await gate.begun.wait()
            scope.cancel()
            loop.call_later(0.01, gate.go.set)
            await never()
    result = await run.wait()

    assert scope.cancelled_caught
    assert (result.status, result.batches) == ("stopped", 2)
    assert gate.heard == [result]


@pytest.mark.asyncio
async def test_a_second_cancellation_while_leaving_cancels_the_batch() -> None:
    gate = Gate()
    runs: list[Run] = []

    async def use() -> None:
        async with Count.start(grace=3600, **gate.overrides()) as run:
            runs.append(run)
            await gate.begun.wait()

    task = asyncio.create_task(use())
    await gate.begun.wait()
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await runs[0].wait()

    assert gate.seen == ["cancelled"]
    assert (result.status, result.batches) == ("stopped", 1)
    assert gate.heard == [result]


# Steering.


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


# Progress.


@pytest.mark.asyncio
async def test_progress_of_a_run_at_its_stations() -> None:
    gate = Gate()
    seen: list[Any] = []
    slowly = asyncio.Event()

    class Starts(Count):
        async def initial_state(self) -> int:  # type: ignore[override]
            await slowly.wait()
            return 0

    async with Starts.start(**gate.overrides(batch_size=9, total=40)) as run:
        seen.append(run.progress)
        slowly.set()
        await gate.begun.wait()
        seen.append(run.progress)
        gate.go.set()
        result = await run.wait()
        seen.append(run.progress)

    first, second, third = seen
    assert {p.name for p in seen} == {result.name}
    assert {p.run_id for p in seen} == {result.run_id}
    assert first.status == "starting"
    assert (first.batches, first.rows, first.state) == (0, 0, None)
    assert second.status == "running"
    assert (second.state, second.batches, second.rows) == (1, 1, 10)
    assert (second.total, second.share, second.batch_size) == (40, 0.25, 9)
    assert second.verdict is OK
    assert second.reasons == ()
    assert third.status == "done"
    assert (third.state, third.batches, third.rows, third.share) == (3, 3, 30, 0.75)


@pytest.mark.asyncio
async def test_progress_cannot_be_changed() -> None:
    async with Count.start() as run:
        progress = run.progress
        with pytest.raises(AttributeError):
            progress.batches = 5  # type: ignore[misc]


@pytest.mark.asyncio
async def test_progress_shows_the_state_by_value() -> None:
    gate = Gate()

    async def handle(state: list[int]) -> Answer[list[int]]:
        await gate(len(state))
        return DONE if len(state) == 3 else Next([*state, 0])

    async with Count.start(
        **gate.overrides(handle_batch=handle, initial_state=[], retry=Retry(2))
    ) as run:
        await gate.begun.wait()
        seen: Any = run.progress.state
        seen.append(666)
        gate.go.set()
        result = await run.wait()

    assert result.state == [0, 0, 0]


@pytest.mark.asyncio
async def test_progress_shows_a_state_that_cannot_be_copied_as_it_is() -> None:
    gate = Gate()
    cursor = (number for number in range(9))

    class Cursor(Count):
        def initial_state(self) -> Any:  # type: ignore[override]
            return cursor

    async def handle(state: Any) -> Answer:
        await gate(1)
        return DONE

    async with Cursor.start(**gate.overrides(handle_batch=handle)) as run:
        await gate.begun.wait()
        seen = run.progress.state
        gate.go.set()
        result = await run.wait()

    assert seen is cursor
    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_progress_shows_the_verdict_and_its_reasons() -> None:
    gate = Gate()
    checks = [ScriptedCheck([Slow("busy")] * 99)]

    async with Count.start(**gate.overrides(health_checks=checks)) as run:
        await gate.begun.wait()
        slow = run.progress
        gate.go.set()

    assert slow.status == "running"
    assert slow.verdict == Slow("busy")
    assert [(r.check, r.value) for r in slow.reasons] == [("ScriptedCheck", "busy")]


@pytest.mark.asyncio
async def test_progress_of_a_pause_says_why() -> None:
    checks = [ScriptedCheck([Pause("lag")] * 99)]

    async with Count.start(health_checks=checks) as run:
        await turns(50)
        paused = run.progress

    assert paused.status == "paused"
    assert paused.verdict == Pause("lag")
    assert [reason.value for reason in paused.reasons] == ["lag"]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["int", "method", "async method", "function"])
async def test_total_is_an_int_or_called_once(kind: str) -> None:
    called: list[str] = []

    class Plain(Count):
        total: Any = 60

    class Method(Count):
        def total(self) -> int:
            called.append("method")
            return 60

    class AsyncMethod(Count):
        async def total(self) -> int:
            await turns(1)
            called.append("async method")
            return 60

    def function() -> int:
        called.append("function")
        return 60

    bases: dict[str, type[Count]] = {
        "int": Plain,
        "method": Method,
        "async method": AsyncMethod,
    }
    more: dict[str, Any] = {"total": function} if kind == "function" else {}

    async with bases.get(kind, Count).start(**more) as run:
        await run.wait()

    assert (run.progress.total, run.progress.share) == (60, 0.5)
    assert called == ([] if kind == "int" else [kind])


@pytest.mark.asyncio
async def test_without_total_there_is_no_share_and_no_eta() -> None:
    async with Count.start() as run:
        await run.wait()

    progress = run.progress
    assert (progress.total, progress.share, progress.eta) == (None, None, None)


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", [ValueError("x"), "many", -1, None], ids=repr)
async def test_a_total_that_cannot_be_told_does_not_end_the_run(broken: Any) -> None:
    async def total() -> Any:
        if isinstance(broken, Exception):
            raise broken
        return broken

    async with Count.start(total=total) as run:
        result = await run.wait()

    assert result.status is RunStatus.DONE
    assert run.progress.total is None


class Metered:
    """Batches of some rows and seconds, and the progress during each."""

    def __init__(self, clock: FakeClock, *batches: tuple[float, int | None]) -> None:
        self.clock = clock
        self.batches = batches
        self.entered = asyncio.Event()
        self.run: Run | None = None
        self.seen: list[Any] = []

    async def __call__(self, state: int) -> Answer[int]:
        await self.entered.wait()
        assert self.run is not None
        self.seen.append(self.run.progress)
        if state == len(self.batches):
            return DONE
        seconds, rows = self.batches[state]
        await self.clock.sleep(seconds)
        return Next(state + 1, rows=rows)

    async def go(self, **overrides: Any) -> RunResult:
        async with testing.start(
            Count, self.clock, handle_batch=self, **overrides
        ) as run:
            self.run = run
            self.entered.set()
            return await run.wait()


@pytest.mark.asyncio
async def test_rate_is_none_until_a_batch_reported_rows() -> None:
    metered = Metered(FakeClock(), (2, None), (2, None), (2, 60), (2, 60))
    await metered.go(total=240)

    assert [each.rate for each in metered.seen] == [None, None, None, 10.0, 15.0]
    assert [each.eta for each in metered.seen] == [None, None, None, 18.0, 8.0]


@pytest.mark.asyncio
async def test_rate_is_that_of_the_last_minute() -> None:
    slow = [(1.0, 1)] * 100
    quick = [(1.0, 10)] * 100
    metered = Metered(FakeClock(), *slow, *quick)
    await metered.go()

    rates = [each.rate for each in metered.seen]
    assert rates[1:100] == pytest.approx([1.0] * 99)
    assert rates[130] == pytest.approx(5.5)
    assert rates[161:] == pytest.approx([10.0] * len(rates[161:]))


@pytest.mark.asyncio
async def test_rate_counts_running_time_only() -> None:
    clock = FakeClock()
    check = ScriptedCheck([OK, OK, *[Pause("busy")] * 4])
    metered = Metered(clock, *[(1.0, 10)] * 8)
    result = await metered.go(mode="sync", health_checks=[check], health_interval=100)

    assert result.paused == 400.0
    assert [each.rate for each in metered.seen[1:]] == pytest.approx([10.0] * 8)


@pytest.mark.asyncio
async def test_rate_counts_the_rows_of_this_run_only() -> None:
    checkpoint = Checkpoint(MemoryStore(), "rate")
    first = Metered(FakeClock(), (1, 1000))
    await first.go(checkpoint=checkpoint, max_batches=1)
    second = Metered(FakeClock(), (1, 1000), (1, 10), (1, 10))
    await second.go(checkpoint=checkpoint, total=1040)

    assert [each.rate for each in second.seen] == [None, 10.0, 10.0]
    assert [each.rows for each in second.seen] == [1000, 1010, 1020]
    assert second.seen[-1].eta == 2.0


@pytest.mark.asyncio
async def test_a_cancellation_beside_the_end_of_the_grace_is_a_cancellation() -> None:
    gate = Gate()

    async with Count.start(**gate.overrides()) as run:
        await gate.begun.wait()
        assert run._task is not None
        assert run._session is not None
        run._task.cancel()
        run._session.control.interrupt()
        await asyncio.wait([run._task])

    assert run._task.cancelled()
    assert gate.heard == []


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
