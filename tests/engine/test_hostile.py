"""What users' code may do that nobody means to: a run ends all the same."""

from __future__ import annotations

import asyncio
import threading

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Fail,
    Halt,
    MemoryStore,
    Next,
    Retry,
    Runs,
    RunStatus,
)
from adaptive_backfill._engine.outlast import end_all
from adaptive_backfill.errors import BatchTimeout, CheckpointError


class Unsayable:
    """As an object of a closed database session is."""

    def __str__(self) -> str:
        raise RuntimeError("detached")

    __repr__ = __str__


class UnsayableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("detached")


@pytest.mark.asyncio
async def test_a_check_that_swallows_cancellation_does_not_outlive_the_run() -> None:
    asked: asyncio.Event = asyncio.Event()

    async def swallows() -> object:
        try:
            await asyncio.sleep(0 if not asked.is_set() else 60)
        except asyncio.CancelledError:
            return OK
        asked.set()
        return OK

    class Users(Backfill[int]):
        initial_state = 0
        health_checks = [swallows]
        health_interval = 0.001
        health_timeout = 60

        async def handle_batch(self, state: int) -> Answer[int]:
            await asyncio.sleep(0.01)
            return DONE if state == 3 else Next(state + 1)

    async with asyncio.timeout(5):
        result = await Users.run()

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_task_that_swallows_one_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_all([task])

    assert (swallowed, task.done()) == (2, True)


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [Unsayable(), Fail(Unsayable()), Halt(Unsayable())])
async def test_a_value_that_cannot_be_written_ends_a_run_and_frees_its_name(
    answer: object,
) -> None:
    store = MemoryStore()

    class Users(Backfill[int]):
        initial_state = 0
        checkpoint = Checkpoint(store, "users")

        async def handle_batch(self, state: int) -> object:
            return answer

    first = await Users.run()
    second = await Users.run()

    assert first.status is second.status
    assert first.status in (RunStatus.FAILED, RunStatus.HALTED)


@pytest.mark.asyncio
async def test_an_error_that_cannot_be_written_is_returned_as_it_is() -> None:
    error = UnsayableError()

    class Users(Backfill[int]):
        async def handle_batch(self, state: None) -> Answer[None]:
            raise error

    result = await Users.run()

    assert (result.status, result.error) == (RunStatus.FAILED, error)


@pytest.mark.asyncio
async def test_a_check_that_gives_what_cannot_be_written_halts() -> None:
    class Users(Backfill[int]):
        health_checks = [lambda: Halt(Unsayable())]

        async def handle_batch(self, state: None) -> Answer[None]:
            return DONE

    result = await Users.run()

    assert result.status is RunStatus.HALTED
    assert "Unsayable" in str(result.reasons[0])


@pytest.mark.asyncio
async def test_a_timeout_is_a_timeout_where_an_earlier_cancellation_was_caught() -> (
    None
):
    class Cleanup(Backfill[int]):
        async def handle_batch(self, state: None) -> Answer[None]:
            await asyncio.sleep(60)
            return DONE

    async def shut_down() -> object:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return (await Cleanup.run(timeout=0.01)).error
        return None

    task = asyncio.create_task(shut_down())
    await asyncio.sleep(0)
    task.cancel()

    assert isinstance(await task, BatchTimeout)


@pytest.mark.asyncio
async def test_what_history_hands_out_is_nobodys_to_change() -> None:
    store = MemoryStore()

    class Users(Backfill[list[str]]):
        initial_state: list[str] = []
        checkpoint = Checkpoint(store, "users")

        async def handle_batch(self, state: list[str]) -> Answer[list[str]]:
            return DONE if state else Next(["a"])

    result = await Users.run()
    assert isinstance(result.state, list)
    result.state.append("user")
    result.hook_errors.append(ValueError("user"))

    kept = (await Runs(store).history("users"))[0]
    assert (kept.state, kept.hook_errors) == (["a"], [])


@pytest.mark.asyncio
async def test_a_state_that_cannot_be_copied_is_refused_by_name_and_once() -> None:
    calls = 0

    class Users(Backfill[object]):
        initial_state = 0
        checkpoint = Checkpoint(MemoryStore(), "users")
        retry = Retry(attempts=3, base=0)

        async def handle_batch(self, state: object) -> Answer[object]:
            nonlocal calls
            calls += 1
            return Next(threading.Lock(), rows=1)

    result = await Users.run()

    assert (result.status, calls) == (RunStatus.FAILED, 1)
    assert isinstance(result.error, CheckpointError)
    assert "'users', a lock, cannot be copied" in str(result.error)


@pytest.mark.asyncio
async def test_a_run_that_fails_at_its_start_is_the_one_that_is_shown() -> None:
    store = MemoryStore()

    class Users(Backfill[int]):
        checkpoint = Checkpoint(store, "users")

        async def initial_state(self) -> int:
            raise ConnectionError("no source")

        async def handle_batch(self, state: int) -> Answer[int]:
            return DONE

    result = await Users.run()
    shown = await Runs(store).status("users")

    assert shown is not None
    assert (shown.run_id, shown.status) == (result.run_id, RunStatus.FAILED)


@pytest.mark.asyncio
async def test_a_cancellation_under_way_when_a_batch_begins_is_no_failure() -> None:
    class Users(Backfill[int]):
        max_batches = 5

        def initial_state(self) -> int:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return 0

        async def handle_batch(self, state: int) -> Answer[int]:
            await asyncio.sleep(0)
            return Next(state + 1)

    running = asyncio.create_task(Users.run())

    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.asyncio
async def test_a_cancellation_under_way_when_a_run_begins_is_no_failure() -> None:
    class Users(Backfill[int]):
        async def handle_batch(self, state: None) -> Answer[None]:
            await asyncio.sleep(0)
            return DONE

    async def cancelled_before() -> object:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return await Users.run()

    running = asyncio.create_task(cancelled_before())

    with pytest.raises(asyncio.CancelledError):
        await running
