"""Holding a cancellation back, and for how long."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from adaptive_backfill._engine.outlast import PATIENCE, end_all, finish, outlast
from tests.engine.sharing import never, turns

SOON = 0.01


def test_five_seconds_is_how_long_a_cancellation_is_held_back() -> None:
    assert PATIENCE == 5.0


@pytest.mark.asyncio
async def test_without_a_cancellation_nothing_is_returned() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, 1)

    assert await outlast(future) is None


@pytest.mark.asyncio
async def test_what_is_done_already_is_not_waited_for() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(1)

    assert await outlast(future) is None


@pytest.mark.asyncio
async def test_without_a_cancellation_patience_does_not_matter() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    loop.call_later(SOON * 5, future.set_result, 1)

    assert await outlast(future, SOON) is None
    assert future.result() == 1


@pytest.mark.asyncio
async def test_a_cancellation_by_the_task_is_returned_when_it_is_done() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(outlast(future))
    await turns(1)
    task.cancel("why")
    await turns()
    still = task.done()
    future.set_result(1)

    held = await task

    assert not still
    assert isinstance(held, asyncio.CancelledError)
    assert held.args == ("why",)


@pytest.mark.asyncio
async def test_a_cancellation_by_a_scope_is_returned_when_it_is_done() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    held: Any = None

    with anyio.CancelScope() as scope:
        loop.call_soon(scope.cancel)
        loop.call_later(SOON, future.set_result, 1)
        held = await outlast(future)

    assert isinstance(held, asyncio.CancelledError)


@pytest.mark.asyncio
async def test_past_the_patience_a_cancellation_by_the_task_is_raised() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(outlast(future, SOON))
    await turns(1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert future.cancelled()


@pytest.mark.asyncio
async def test_past_the_patience_a_later_cancellation_is_raised_at_once() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    task = asyncio.create_task(outlast(future, SOON))
    lapsed = asyncio.Event()
    loop.call_later(SOON * 5, lapsed.set)
    await lapsed.wait()
    still = task.done()
    task.cancel()
    await turns()

    assert not still
    assert task.cancelled()
    assert future.cancelled()


@pytest.mark.asyncio
async def test_past_the_patience_a_cancellation_by_a_scope_is_raised() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await outlast(future, SOON)

    assert scope.cancelled_caught
    assert future.cancelled()


@pytest.mark.asyncio
async def test_finish_gives_the_result_or_the_error_of_the_work() -> None:
    async def works() -> int:
        await turns()
        return 1

    async def fails() -> int:
        await turns()
        raise ValueError("x")

    assert await finish(works()) == 1
    with pytest.raises(ValueError, match="x"):
        await finish(fails())


@pytest.mark.asyncio
async def test_finish_raises_what_was_held_back_after_the_work() -> None:
    order: list[str] = []
    go = asyncio.Event()

    async def works() -> None:
        await go.wait()
        order.append("done")

    task = asyncio.create_task(finish(works()))
    await turns(1)
    task.cancel()
    await turns()
    order.append("cancelled")
    go.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert order == ["cancelled", "done"]


@pytest.mark.asyncio
async def test_a_failure_of_work_that_was_held_on_for_is_not_left_unseen() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context)
    )
    go = asyncio.Event()

    async def fails() -> None:
        await go.wait()
        raise ValueError

    task = asyncio.create_task(finish(fails()))
    await turns(1)
    task.cancel()
    await turns(1)
    go.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await turns()
    assert complaints == []


@pytest.mark.asyncio
async def test_end_all_returns_when_the_tasks_are_gone() -> None:
    gone: list[int] = []

    async def lives(number: int) -> None:
        try:
            await never()
        finally:
            await turns(number)
            gone.append(number)

    tasks = [asyncio.create_task(lives(number)) for number in (1, 20, 5)]
    await turns(1)
    await end_all(tasks)

    assert sorted(gone) == [1, 5, 20]
    assert all(task.cancelled() for task in tasks)


@pytest.mark.asyncio
async def test_end_all_is_finished_before_a_cancellation() -> None:
    go = asyncio.Event()

    async def stubborn() -> None:
        try:
            await never()
        finally:
            await go.wait()

    task = asyncio.create_task(stubborn())
    await turns(1)
    ending = asyncio.create_task(end_all([task]))
    await turns(1)
    ending.cancel()
    await turns()
    still = ending.done()
    go.set()

    with pytest.raises(asyncio.CancelledError):
        await ending
    assert not still
    assert task.done()


@pytest.mark.asyncio
async def test_a_cancelled_scope_does_not_keep_the_waiting_busy() -> None:
    """anyio cancels again at every turn of the loop, but not behind a shield."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    task = asyncio.current_task()
    assert task is not None

    with anyio.CancelScope() as scope:
        loop.call_soon(scope.cancel)
        loop.call_later(SOON, future.set_result, 1)
        await outlast(future)
        asked = task.cancelling()

    assert asked == 1
