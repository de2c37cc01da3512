"""The block's own exceptions and cancellations, and what its run makes of them."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from adaptive_backfill import (
    Run,
    RunStatus,
)
from tests.engine.sharing import (
    Count,
    Gate,
    Quits,
    never,
    turns,
)


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
