"""The time limit of a batch, and that nothing of a batch outlives its run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Checkpoint,
    Next,
    Retry,
    RunStatus,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import AsyncStore, Count, names, never, turns

SHORT = 0.01


async def _hangs(state: int) -> Answer[int]:
    await never()
    return DONE


async def _outlast_the_limit() -> None:
    """Wait longer than the limit, whatever the machine does meanwhile."""
    loop = asyncio.get_running_loop()
    passed = asyncio.Event()
    loop.call_later(SHORT * 3, passed.set)
    await passed.wait()


@pytest.mark.asyncio
async def test_a_batch_that_overruns_fails_with_a_batch_timeout() -> None:
    heard: list[object] = []
    with capture() as events:
        result = await Count.run(
            handle_batch=_hangs,
            timeout=SHORT,
            on_error=lambda error, state: heard.append(error),
        )

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.BatchTimeout)
    assert isinstance(result.error, TimeoutError)
    assert result.error.seconds == SHORT
    assert heard == [result.error]
    assert names(events) == ["start", "batch.start", "batch.timeout", "stop"]


@pytest.mark.asyncio
async def test_a_timeout_error_of_the_users_own_stays_what_it_is() -> None:
    mine = TimeoutError("the other service")

    async def handle(state: int) -> Answer[int]:
        raise mine

    for timeout in (None, 60):
        with capture() as events:
            result = await Count.run(handle_batch=handle, timeout=timeout)

        assert result.error is mine
        assert names(events) == ["start", "batch.start", "batch.exception", "stop"]


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["asyncio.timeout", "anyio.fail_after", "wait_for"])
async def test_a_limit_of_the_users_own_is_told_apart(how: str) -> None:
    async def handle(state: int) -> Answer[int]:
        if how == "asyncio.timeout":
            async with asyncio.timeout(SHORT):
                await never()
        elif how == "anyio.fail_after":
            with anyio.fail_after(SHORT):
                await never()
        else:
            await asyncio.wait_for(never(), SHORT)
        return DONE

    with capture() as events:
        result = await Count.run(handle_batch=handle, timeout=60)

    assert isinstance(result.error, TimeoutError)
    assert not isinstance(result.error, errors.BatchTimeout)
    assert "batch.exception" in names(events)


@pytest.mark.asyncio
async def test_a_timeout_error_raised_out_of_a_late_cancellation_is_the_users() -> None:
    mine = TimeoutError("my own")

    async def handle(state: int) -> Answer[int]:
        try:
            await never()
        except asyncio.CancelledError:
            raise mine from None
        return DONE

    with capture() as events:
        result = await Count.run(handle_batch=handle, timeout=SHORT)

    assert result.error is mine
    assert names(events)[-2:] == ["batch.exception", "stop"]


@pytest.mark.asyncio
async def test_an_answer_given_in_spite_of_the_timeout_counts() -> None:
    async def handle(state: int) -> Answer[int]:
        if state == 0:
            try:
                await never()
            except asyncio.CancelledError:
                return Next(1, rows=7)
        await turns()
        return DONE

    with capture() as events:
        result = await Count.run(handle_batch=handle, timeout=0.5)

    assert (result.status, result.state, result.rows) == ("done", 1, 7)
    assert "batch.timeout" not in names(events)


@pytest.mark.asyncio
async def test_the_limit_covers_the_handler_only() -> None:
    class Store(AsyncStore):
        async def save(self, name: str, snapshot: Any) -> None:
            await _outlast_the_limit()
            await super().save(name, snapshot)

    async def slow(*args: object) -> None:
        await _outlast_the_limit()

    async def check() -> object:
        await _outlast_the_limit()
        return OK

    result = await Count.run(
        mode="sync",
        timeout=SHORT,
        max_batches=2,
        delay_between_batches=SHORT * 3,
        health_checks=[check],
        on_success=slow,
        on_complete=slow,
        checkpoint=Checkpoint(Store(), "slow"),
    )

    assert (result.status, result.batches) == ("stopped", 2)
    assert result.hook_errors == []


@pytest.mark.asyncio
async def test_each_batch_and_each_attempt_has_the_whole_limit() -> None:
    tries = 0

    async def handle(state: int) -> Answer[int]:
        nonlocal tries
        tries += 1
        if tries % 2:
            await never()
        return DONE if state == 2 else Next(state + 1)

    result = await testing.run(
        Count, FakeClock(), handle_batch=handle, timeout=SHORT, retry=Retry(2)
    )

    assert (result.status, tries) == ("done", 6)


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", [None, SHORT])
async def test_the_handlers_coroutine_has_ended_when_run_returns(
    timeout: float | None,
) -> None:
    made: list[Coroutine[Any, Any, Any]] = []
    cleaned: list[str] = []

    async def handle(state: int) -> Answer[int]:
        try:
            if state == 1:
                if timeout is None:
                    raise ValueError
                await never()
        finally:
            cleaned.append(f"batch {state}")
        return Next(state + 1)

    async def kept(state: int) -> Any:
        coroutine = handle(state)
        made.append(coroutine)
        return await coroutine

    result = await Count.run(handle_batch=kept, timeout=timeout)

    assert result.status is RunStatus.FAILED
    assert cleaned == ["batch 0", "batch 1"]
    assert {inspect.getcoroutinestate(each) for each in made} == {inspect.CORO_CLOSED}


@pytest.mark.asyncio
async def test_a_cancellation_at_the_moment_of_the_timeout_is_not_lost() -> None:
    """The limit runs out, and the task is cancelled before it hears of it."""
    loop = asyncio.get_running_loop()

    async def handle(state: int) -> Answer[int]:
        # Both are due by the time that the loop looks again.
        loop.call_later(SHORT, task.cancel)
        until = loop.time() + SHORT * 2
        while loop.time() < until:
            pass
        await never()
        return DONE

    task = asyncio.create_task(Count.run(handle_batch=handle, timeout=SHORT))

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_the_limit_of_the_class_can_be_switched_off_for_a_run() -> None:
    class Limited(Count):
        timeout = SHORT

    result = await Limited.run(handle_batch=_hangs)
    unlimited = await Limited.run(timeout=None)

    assert isinstance(result.error, errors.BatchTimeout)
    assert unlimited.status is RunStatus.DONE
