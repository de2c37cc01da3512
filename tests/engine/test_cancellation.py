"""Cancellation of either kind, wherever it lands, and what must finish first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import anyio
import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    MemoryStore,
    Next,
    Pause,
    Retry,
    RunResult,
    Runs,
    RunStatus,
    Snapshot,
    errors,
)
from adaptive_backfill.testing import ScriptedCheck, capture
from tests.engine.sharing import (
    AsyncStore,
    Count,
    HealthAsked,
    SlowStore,
    SyncStore,
    names,
    never,
    only,
    told,
    turns,
)

Started: TypeAlias = Coroutine[Any, Any, RunResult]
Way: TypeAlias = Callable[[Started, asyncio.Event], Awaitable[None]]


class Elsewhere(Exception):
    """Something went wrong in another task of the same group."""


async def _when(ready: asyncio.Event, act: Callable[[], object]) -> None:
    await ready.wait()
    # Let the run get to where it waits.
    await turns(5)
    act()


async def _by_task_cancel(run: Started, ready: asyncio.Event) -> None:
    task = asyncio.create_task(run)
    await _when(ready, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def _by_scope(run: Started, ready: asyncio.Event) -> None:
    with anyio.CancelScope() as scope:
        other = asyncio.create_task(_when(ready, scope.cancel))
        await run
        pytest.fail("the run returned")
    assert scope.cancelled_caught
    await other


async def _by_anyio_group(run: Started, ready: asyncio.Event) -> None:
    async def start() -> None:
        await run
        pytest.fail("the run returned")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await _when(ready, group.cancel_scope.cancel)


async def _by_asyncio_group(run: Started, ready: asyncio.Event) -> None:
    tasks: list[asyncio.Task[RunResult]] = []

    async def fail() -> None:
        await _when(ready, lambda: None)
        raise Elsewhere

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            tasks.append(group.create_task(run))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(error) for error in caught.value.exceptions] == [Elsewhere]
    assert tasks[0].cancelled()


async def _by_timeout(run: Started, ready: asyncio.Event) -> None:
    async def limited() -> None:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            group.create_task(_when(ready, lambda: limit.reschedule(0)))
            await run

    with pytest.raises(TimeoutError):
        await limited()


async def _by_fail_after(run: Started, ready: asyncio.Event) -> None:
    async def limited() -> None:
        with anyio.fail_after(3600) as scope:
            expiring = _when(ready, lambda: setattr(scope, "deadline", -1))
            other = asyncio.create_task(expiring)
            await run
            await other

    with pytest.raises(TimeoutError):
        await limited()


WAYS: dict[str, Way] = {
    "Task.cancel": _by_task_cancel,
    "anyio scope": _by_scope,
    "anyio task group": _by_anyio_group,
    "asyncio task group": _by_asyncio_group,
    "asyncio.timeout": _by_timeout,
    "anyio.fail_after": _by_fail_after,
}


class Hooked(Count):
    """Writes down which hooks are called."""

    heard: list[str]

    def on_success(self, state: object) -> None:
        self.heard.append(f"on_success {state}")

    def on_error(self, error: object, state: object) -> None:
        self.heard.append("on_error")

    def on_complete(self, result: RunResult) -> None:
        self.heard.append("on_complete")


class Place:
    """Where a run is when it is cancelled: at its second batch, mostly."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.store = MemoryStore()
        self.finished = 1
        self.hooks = ["on_success 1"]
        self.started = True
        self.running: list[str] = []

    async def wait(self, *args: object) -> Any:
        self.running.append("began")
        self.ready.set()
        try:
            await never()
        finally:
            self.running.append("ended")

    async def overrides(self, where: str) -> dict[str, Any]:
        make = getattr(self, f"in_{where.replace(' ', '_')}")
        made: dict[str, Any] = await make()
        return made

    async def in_handler(self) -> dict[str, Any]:
        async def handle(state: int) -> Answer[int]:
            if state == 1:
                await self.wait()
            return Next(state + 1, rows=10)

        return {"handle_batch": handle}

    async def in_handler_with_a_timeout(self) -> dict[str, Any]:
        return {**await self.in_handler(), "timeout": 3600}

    async def in_a_delay(self) -> dict[str, Any]:
        def on_success(state: object) -> None:
            self.ready.set()

        self.hooks = []
        return {"delay_between_batches": 3600, "on_success": on_success}

    async def in_a_retry(self) -> dict[str, Any]:
        async def handle(state: int) -> Answer[int]:
            if state == 1:
                self.ready.set()
                raise ValueError
            return Next(state + 1, rows=10)

        return {"handle_batch": handle, "retry": Retry(2, base=1e6, cap=1e6)}

    async def in_a_pause(self) -> dict[str, Any]:
        async def check() -> object:
            if self.store._shelves["run"].snapshot is not None:
                self.ready.set()
                return Pause("busy")
            return OK

        return {"mode": "sync", "health_checks": [check]}

    async def in_a_pause_of_the_background(self) -> dict[str, Any]:
        self.finished, self.hooks = 0, []

        async def check() -> object:
            self.ready.set()
            return Pause("busy")

        return {"health_checks": [check]}

    async def in_a_wished_pause(self) -> dict[str, Any]:
        self.finished, self.hooks = 0, []
        await Runs(self.store).pause("run")
        asyncio.get_running_loop().call_soon(self.ready.set)
        return {}

    async def in_a_check(self) -> dict[str, Any]:
        self.finished, self.hooks = 0, []
        return {"mode": "sync", "health_checks": [self.wait]}

    async def in_the_first_sampling(self) -> dict[str, Any]:
        self.finished, self.hooks = 0, []
        return {"health_checks": [ScriptedCheck([]), lambda: self.wait()]}

    async def in_on_success(self) -> dict[str, Any]:
        self.hooks = []
        return {"on_success": self.wait}

    async def in_on_error(self) -> dict[str, Any]:
        async def handle(state: int) -> Answer[int]:
            if state == 1:
                raise ValueError
            return Next(state + 1, rows=10)

        return {"handle_batch": handle, "on_error": self.wait}

    async def in_on_complete(self) -> dict[str, Any]:
        return {"max_batches": 1, "on_complete": self.wait}

    async def in_initial_state(self) -> dict[str, Any]:
        self.finished, self.hooks, self.started = 0, [], False
        return {}

    async def in_total(self) -> dict[str, Any]:
        self.finished, self.hooks, self.started = 0, [], False
        return {"total": self.wait}


PLACES = [
    name.removeprefix("in_").replace("_", " ")
    for name in vars(Place)
    if name.startswith("in_")
]


def _left() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", PLACES)
async def test_cancelled_anywhere_nothing_is_left_but_the_checkpoint(
    where: str, way: str
) -> None:
    place = Place()
    overrides = await place.overrides(where)
    checkpoint = Checkpoint(place.store, "run")
    heard: list[str] = []
    base: type[Hooked] = Hooked
    if where == "initial state":

        class Starts(Hooked):
            async def initial_state(self) -> int:  # type: ignore[override]
                result: int = await place.wait()
                return result

        base = Starts

    before = _left()
    with capture() as events:
        await WAYS[way](
            base.run(checkpoint=checkpoint, heard=heard, **overrides), place.ready
        )

    assert _left() == before
    assert place.running.count("began") == place.running.count("ended")
    assert heard == place.hooks
    if place.started:
        assert names(events)[-1] == "stop"
        assert names(events).count("stop") == names(events).count("start") == 1
        assert only(events, "stop")[0]["outcome"] == "cancelled"
        assert only(events, "stop")[0]["batches"] == place.finished
        ends = [n for n in names(events) if n.startswith("batch.") and n[6:] != "retry"]
        assert ends.count("batch.start") * 2 == len(ends)
    else:
        assert events == []
    kept = await place.store.load("run")
    if where in ("on error", "on complete"):
        assert kept == Snapshot(1, 1, 10)
    else:
        assert (kept.batches if kept else 0) == place.finished
    await Runs(place.store).resume("run")
    again = await Count.run(checkpoint=checkpoint)
    assert (again.status, again.batches, again.rows) == ("done", 3, 30)
    assert again.resumed == (place.finished > 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["Task.cancel", "anyio scope"])
async def test_a_batch_under_way_ends_as_an_exception_of_outcome_cancelled(
    way: str,
) -> None:
    place = Place()
    with capture() as events:
        await WAYS[way](Count.run(**await place.in_handler()), place.ready)

    (batch,) = [each for each in told(events) if each[0] == "batch.exception"]
    assert batch[2] == {"state": 1, "attempt": 1, "outcome": "cancelled"}
    assert set(batch[1]) == {"batch", "duration"}
    assert batch[1]["batch"] == 2


@pytest.mark.asyncio
async def test_a_cancellation_arrives_unchanged() -> None:
    place = Place()
    task = asyncio.create_task(Count.run(**await place.in_handler()))
    await place.ready.wait()
    task.cancel("shutting down")

    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    assert caught.value.args == ("shutting down",)
    assert task.cancelling() == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_stand_by_leaves_the_owner_alone(way: str) -> None:
    place = Place()
    checkpoint = Checkpoint(place.store, "run")
    owner = asyncio.create_task(
        Count.run(checkpoint=checkpoint, **await place.in_handler())
    )
    await place.ready.wait()
    ready = asyncio.Event()
    asyncio.get_running_loop().call_soon(ready.set)

    await WAYS[way](Count.run(checkpoint=checkpoint, if_running="wait"), ready)

    with pytest.raises(errors.AlreadyRunning):
        await Count.run(checkpoint=checkpoint)
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await owner


# What must finish, finishes.


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_a_cancellation_is_held_back_until_the_save_is_done(way: str) -> None:
    store = SlowStore("save")
    heard: list[str] = []
    order: list[str] = []

    async def later() -> None:
        # The cancellation comes after 5 turns.
        await store.begun.wait()
        await turns(50)
        order.append("saved")
        store.go.set()

    async def run() -> RunResult:
        try:
            return await Hooked.run(checkpoint=Checkpoint(store, "slow"), heard=heard)
        except asyncio.CancelledError:
            order.append("cancelled")
            raise

    other = asyncio.create_task(later())
    with capture() as events:
        await WAYS[way](run(), store.begun)
    await other

    assert order == ["saved", "cancelled"]
    assert store.kept["slow"] == Snapshot(1, 1, 10)
    assert heard == []
    assert names(events) == [
        "start", "batch.start", "checkpoint.save", "batch.success", "stop",
    ]  # fmt: skip
    assert only(events, "stop")[0]["outcome"] == "cancelled"
    assert only(events, "stop")[0]["batches"] == 1
    again = await Count.run(checkpoint=Checkpoint(store, "slow"))
    assert (again.status, again.resumed, again.batches) == ("done", True, 3)


@pytest.mark.asyncio
async def test_a_second_cancellation_is_held_back_too() -> None:
    store = SlowStore("save")
    task = asyncio.create_task(Count.run(checkpoint=Checkpoint(store, "slow")))
    await store.begun.wait()
    for _ in range(3):
        task.cancel()
        await turns()
    still = task.done()
    store.go.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not still
    assert store.kept["slow"].batches == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_a_save_that_fails_does_not_swallow_the_cancellation(way: str) -> None:
    store = SlowStore("save")
    store.fails["save"] = OSError("disk full")
    heard: list[str] = []

    async def later() -> None:
        await store.begun.wait()
        await turns(50)
        store.go.set()

    other = asyncio.create_task(later())
    with capture() as events:
        await WAYS[way](
            Hooked.run(checkpoint=Checkpoint(store, "slow"), heard=heard), store.begun
        )
    await other

    assert heard == []
    assert names(events)[-2:] == ["batch.exception", "stop"]
    assert only(events, "stop")[0]["outcome"] == "cancelled"


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_the_last_save_is_finished_before_the_cancellation(way: str) -> None:
    """The save of a run that halts before its first batch."""
    store = SlowStore("save")

    async def later() -> None:
        await store.begun.wait()
        await turns(50)
        store.go.set()

    other = asyncio.create_task(later())
    check = ScriptedCheck([ValueError("x")])
    await WAYS[way](
        Count.run(checkpoint=Checkpoint(store, "slow"), health_checks=[check]),
        store.begun,
    )
    await other

    assert store.kept["slow"] == Snapshot(0, 0, 0)


@pytest.mark.asyncio
async def test_the_delete_of_a_finished_run_is_finished_before_a_cancellation() -> None:
    store = SlowStore("delete")
    task = asyncio.create_task(Count.run(checkpoint=Checkpoint(store, "slow")))
    await store.begun.wait()
    task.cancel()
    await turns()
    still = task.done()
    store.go.set()

    await asyncio.wait([task])
    assert not still
    assert store.kept == {}
    again = await Count.run(checkpoint=Checkpoint(store, "slow"))
    assert again.status is RunStatus.DONE


class Stuck(MemoryStore):
    """Leases that can never be given back."""

    async def acquire(self, name: str, run_id: str, state_type: object = None) -> Any:
        lease = await super().acquire(name, run_id, state_type)

        async def release(*args: object, **kwargs: object) -> None:
            await never()

        lease.release = release  # type: ignore[method-assign, union-attr]
        return lease


@pytest.mark.asyncio
async def test_a_release_that_hangs_holds_a_cancellation_back_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adaptive_backfill._engine.session.PATIENCE", 0.01)
    place = Place()
    task = asyncio.create_task(
        Count.run(checkpoint=Checkpoint(Stuck(), "stuck"), **await place.in_handler())
    )
    await place.ready.wait()
    task.cancel()

    done, _ = await asyncio.wait([task], timeout=4)

    assert done
    assert task.cancelled()


# A cancellation that is none.


@contextlib.asynccontextmanager
async def _cancelled_task() -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(never())
    await turns(1)
    task.cancel()
    yield task


@pytest.mark.asyncio
async def test_a_stray_cancellation_in_the_handler_is_a_failure() -> None:
    heard: list[object] = []

    async def handle(state: int) -> Answer[int]:
        async with _cancelled_task() as task:
            await task
        return DONE

    for timeout in (None, 60):
        with capture() as events:
            result = await Count.run(
                handle_batch=handle,
                timeout=timeout,
                on_error=lambda error, state: heard.append(error),
            )

        assert result.status is RunStatus.FAILED
        assert isinstance(result.error, asyncio.CancelledError)
        assert heard.pop() is result.error
        (batch,) = only(events, "batch.exception")
        assert "outcome" not in batch
        assert only(events, "stop")[0]["outcome"] == "failed"


@pytest.mark.asyncio
async def test_a_stray_cancellation_in_a_single_operation_is_a_failure() -> None:
    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            raise asyncio.CancelledError

    result = await Once.run()

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, asyncio.CancelledError)


@pytest.mark.asyncio
@pytest.mark.parametrize("hook", ["on_success", "on_error", "on_complete"])
async def test_a_stray_cancellation_in_a_hook_changes_nothing(hook: str) -> None:
    async def stray(*args: object) -> None:
        async with _cancelled_task() as task:
            await task

    async def fails(state: int) -> Answer[int]:
        raise ValueError

    failing: dict[str, Any] = {"handle_batch": fails} if hook == "on_error" else {}
    result = await Count.run(**failing, **{hook: lambda *args: stray(*args)})

    assert result.status == ("failed" if failing else "done")
    assert len(result.hook_errors) == (3 if hook == "on_success" else 1)
    assert all(isinstance(error, Exception) for error in result.hook_errors)


@pytest.mark.asyncio
async def test_a_stray_cancellation_in_initial_state_is_a_failure() -> None:
    class Starts(Count):
        async def initial_state(self) -> int:  # type: ignore[override]
            raise asyncio.CancelledError

    result = await Starts.run()

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, asyncio.CancelledError)


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["load", "save"])
async def test_a_stray_cancellation_in_a_store_is_a_failure(method: str) -> None:
    class Strays(AsyncStore):
        def _ask(self, name: str) -> None:
            if name == method:
                raise asyncio.CancelledError
            super()._ask(name)

    result = await Count.run(checkpoint=Checkpoint(Strays(), "stray"))

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.CheckpointError)
    assert isinstance(result.error.__cause__, asyncio.CancelledError)


@pytest.mark.asyncio
async def test_a_task_group_of_the_handlers_own_may_cancel_its_tasks() -> None:
    async def handle(state: int) -> Answer[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(never)
            group.cancel_scope.cancel()
        with anyio.move_on_after(0):
            await never()
        return DONE if state == 1 else Next(state + 1)

    result = await Count.run(handle_batch=handle, timeout=60)

    assert (result.status, result.batches) == ("done", 1)


@pytest.mark.asyncio
async def test_a_ring_and_a_cancellation_in_the_same_turn_are_both_heard() -> None:
    """The bell wakes the run by a cancel scope: it must not swallow a cancellation."""
    for first in ("cancel", "ring"):
        async with Count.start(delay_between_batches=3600) as run:
            await turns()
            task = run._task
            assert task is not None
            acts: list[Callable[[], object]] = [task.cancel, run.pause]
            for act in acts if first == "cancel" else reversed(acts):
                act()
            await asyncio.wait([task])

        assert task.cancelled()


# Other BaseExceptions.


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [MemoryStore, AsyncStore, SyncStore])
@pytest.mark.parametrize("kind", [GeneratorExit, KeyboardInterrupt, SystemExit])
async def test_base_exceptions_come_out_as_themselves_with_the_lease_released(
    kind: type[BaseException], store: Any
) -> None:
    thrown = kind()
    heard: list[str] = []
    checkpoint = Checkpoint(store(), "base")

    async def handle(state: int) -> Answer[int]:
        if state == 1:
            raise thrown
        return Next(state + 1, rows=10)

    for timeout in (None, 60):
        with capture() as events, pytest.raises(kind) as caught:
            await Hooked.run(
                heard=heard,
                handle_batch=handle,
                timeout=timeout,
                checkpoint=checkpoint,
                health_checks=[ScriptedCheck([])],
            )
        assert caught.value is thrown
        assert names(events)[-2:] == ["batch.exception", "stop"]
    assert heard == ["on_success 1"]
    again = await Count.run(checkpoint=checkpoint)
    assert (again.status, again.resumed) == ("done", True)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_comes_out_of_asyncio_run_as_itself(
    kind: type[BaseException],
) -> None:
    checkpoint = Checkpoint(MemoryStore(), "interrupted")

    async def handle(state: int) -> Answer[int]:
        if state == 1:
            raise kind
        return Next(state + 1)

    with pytest.raises(kind):
        asyncio.run(Count.run(handle_batch=handle, checkpoint=checkpoint))
    again = asyncio.run(Count.run(checkpoint=checkpoint))

    assert (again.status, again.batches, again.resumed) == ("done", 3, True)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: what is started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_cancels_the_run_and_releases_its_lease() -> None:
    checkpoint = Checkpoint(MemoryStore(), "ctrl-c")

    async def handle(state: int) -> Answer[int]:
        if state == 1:
            signal.raise_signal(signal.SIGINT)
            await never()
        return Next(state + 1)

    with capture() as events, pytest.raises(KeyboardInterrupt):
        asyncio.run(Count.run(handle_batch=handle, checkpoint=checkpoint))
    again = asyncio.run(Count.run(checkpoint=checkpoint))

    assert only(events, "stop")[0]["outcome"] == "cancelled"
    assert (again.status, again.batches, again.resumed) == ("done", 3, True)


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", [None, 60])
async def test_a_group_of_the_users_own_task_group_stays_as_it_is(
    timeout: float | None,
) -> None:
    boom = ValueError("x")

    async def fail() -> None:
        raise boom

    async def with_asyncio(state: int) -> Answer[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(never())
        return DONE

    async def with_anyio(state: int) -> Answer[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            group.start_soon(never)
        return DONE

    for handle in (with_asyncio, with_anyio):
        with capture() as events:
            result = await Count.run(handle_batch=handle, timeout=timeout)

        assert isinstance(result.error, ExceptionGroup)
        assert result.error.exceptions == (boom,)
        assert names(events)[-2:] == ["batch.exception", "stop"]


@pytest.mark.asyncio
async def test_nothing_of_ours_is_wrapped_in_a_group() -> None:
    boom = ValueError("x")

    async def handle(state: int) -> Answer[int]:
        raise boom

    async def quits(state: int) -> Answer[int]:
        raise GeneratorExit

    result = await Count.run(handle_batch=handle, health_checks=[ScriptedCheck([])])
    with pytest.raises(GeneratorExit):
        await Count.run(handle_batch=quits, health_checks=[ScriptedCheck([])] * 3)

    assert result.error is boom
