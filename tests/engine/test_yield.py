"""The event loop is shared: a run gives it back at least once a batch."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import anyio
import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Checkpoint,
    Halt,
    MemoryStore,
    Next,
    Retry,
    RunStatus,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck
from tests.engine.sharing import AsyncStore, Count, SyncStore

BATCHES = 300


class Heart:
    """Beats at every turn of the loop that it gets."""

    def __init__(self) -> None:
        self.beats = 0

    async def beat(self) -> None:
        while True:
            self.beats += 1
            await asyncio.sleep(0)


class Greedy:
    """A handler without an await, that notes the heart's beats at each batch."""

    def __init__(self, heart: Heart, batches: int = BATCHES) -> None:
        self.heart = heart
        self.batches = batches
        self.seen: list[int] = []

    async def __call__(self, state: int) -> Answer[int]:
        self.seen.append(self.heart.beats)
        return DONE if state == self.batches else Next(state + 1, rows=1)


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "memory": {"store": MemoryStore},
    "async store": {"store": AsyncStore},
    "sync store": {"store": SyncStore},
    "timeout": {"timeout": 60},
    "sync checks": {"mode": "sync", "health_checks": [ScriptedCheck([])]},
    "async checks": {"health_checks": [ScriptedCheck([])]},
    "hook": {"on_success": lambda state: None},
}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_a_handler_without_an_await_starves_nobody(way: str) -> None:
    overrides = dict(WAYS[way])
    store = overrides.pop("store", None)
    heart = Heart()
    handler = Greedy(heart)
    beating = asyncio.create_task(heart.beat())

    result = await Count.run(
        handle_batch=handler,
        checkpoint=Checkpoint(store(), "greedy") if store else None,
        **overrides,
    )
    beating.cancel()

    assert result.batches == BATCHES
    between = [b - a for a, b in zip(handler.seen, handler.seen[1:], strict=False)]
    assert min(between) >= 1


@pytest.mark.asyncio
async def test_retries_without_a_wait_starve_nobody() -> None:
    heart = Heart()
    seen: list[int] = []

    async def handle(state: int) -> Answer[int]:
        seen.append(heart.beats)
        raise ValueError

    beating = asyncio.create_task(heart.beat())
    await Count.run(handle_batch=handle, retry=Retry(50, base=0))
    beating.cancel()

    assert len(seen) == 50
    assert min(b - a for a, b in itertools.pairwise(seen)) >= 1


@pytest.mark.asyncio
async def test_a_handler_without_an_await_can_be_cancelled() -> None:
    async def handle(state: int) -> Answer[int]:
        return Next(state + 1)

    task = asyncio.create_task(Count.run(handle_batch=handle))
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await Count.run(handle_batch=handle)
    assert scope.cancelled_caught


@pytest.mark.asyncio
async def test_a_handler_without_an_await_can_be_stopped() -> None:
    async def handle(state: int) -> Answer[int]:
        return Next(state + 1)

    async with Count.start(handle_batch=handle) as run:
        run.stop()
        result = await run.wait()

    assert result.status is RunStatus.STOPPED


@pytest.mark.asyncio
async def test_a_handler_without_an_await_does_not_starve_the_monitor() -> None:
    asked = 0

    async def check() -> object:
        nonlocal asked
        asked += 1
        return Halt("down") if asked == 5 else OK

    async def handle(state: int) -> Answer[int]:
        return Next(state + 1)

    result = await testing.run(
        Count, FakeClock(), health_checks=[check], handle_batch=handle
    )

    assert result.status is RunStatus.HALTED
