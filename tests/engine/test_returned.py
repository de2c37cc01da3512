"""Errors are returned: the result of a run that failed, and raising for it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from adaptive_backfill import (
    Answer,
    Checkpoint,
    Fail,
    Halt,
    MemoryStore,
    RunStatus,
    errors,
)
from tests.engine.sharing import (
    Count,
    turns,
)

BOOM = ValueError("boom")


async def _raises(state: object) -> Answer[int]:
    raise BOOM


@pytest.mark.asyncio
async def test_fail_gives_that_very_value_as_the_error() -> None:
    why = object()

    async def handle(state: int) -> Answer[int]:
        return Fail(why)

    result = await Count.run(handle_batch=handle)

    assert result.status is RunStatus.FAILED
    assert result.error is why


@pytest.mark.asyncio
async def test_an_exception_is_that_very_object_with_its_traceback() -> None:
    error = ValueError("mine")

    async def handle_the_rows(state: int) -> Answer[int]:
        raise error

    result = await Count.run(handle_batch=handle_the_rows)

    assert result.error is error
    assert error.__traceback__ is not None
    frames = []
    trace: Any = error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert frames[-1] == "handle_the_rows"


@pytest.mark.asyncio
async def test_a_task_that_nobody_awaits_neither_dies_nor_complains() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context)
    )

    task = asyncio.create_task(Count.run(handle_batch=_raises))
    await asyncio.wait([task])
    status = task.result().status
    del task
    other = asyncio.create_task(Count.run(handle_batch=_raises))
    await turns(200)
    assert other.done()
    del other
    gc.collect()

    assert status is RunStatus.FAILED
    assert complaints == []


@pytest.mark.asyncio
async def test_raise_for_status_raises_for_halted_and_failed_only() -> None:
    async def halts(state: int) -> Answer[int]:
        return Halt("disk is full")

    done = await Count.run()
    stopped = await Count.run(max_batches=1)
    halted = await Count.run(handle_batch=halts)
    failed = await Count.run(handle_batch=_raises)

    assert done.raise_for_status() is done
    assert stopped.raise_for_status() is stopped
    with pytest.raises(errors.RunHalted, match="disk is full") as halting:
        halted.raise_for_status()
    with pytest.raises(errors.RunFailed, match="boom") as failing:
        failed.raise_for_status()
    assert halting.value.result is halted
    assert failing.value.result is failed
    assert failing.value.__cause__ is BOOM


@pytest.mark.asyncio
async def test_raise_for_status_of_a_failure_without_an_exception() -> None:
    async def handle(state: int) -> Answer[int]:
        return Fail("no such user")

    result = await Count.run(handle_batch=handle)

    with pytest.raises(errors.RunFailed, match="no such user") as failing:
        result.raise_for_status()
    assert failing.value.__cause__ is None


@pytest.mark.asyncio
async def test_raise_for_status_of_a_skip_returns_it() -> None:
    checkpoint = Checkpoint(MemoryStore(), "skip")
    await Count.run(checkpoint=checkpoint, once=True)

    skipped = await Count.run(checkpoint=checkpoint, once=True)

    assert skipped.raise_for_status() is skipped
