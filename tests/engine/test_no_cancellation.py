"""Cancellations that are none, and other BaseExceptions."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    MemoryStore,
    Next,
    RunStatus,
    errors,
)
from adaptive_backfill.testing import ScriptedCheck, capture
from tests.engine.cancelling import Hooked
from tests.engine.sharing import (
    AsyncStore,
    Count,
    HealthAsked,
    SyncStore,
    names,
    never,
    only,
    turns,
)


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
