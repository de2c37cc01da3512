"""Ways to cancel a run, and places where it may be by then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import anyio
import pytest

from adaptive_backfill import (
    OK,
    Answer,
    MemoryStore,
    Next,
    Pause,
    Retry,
    RunResult,
    Runs,
)
from adaptive_backfill.testing import ScriptedCheck
from tests.engine.sharing import (
    Count,
    never,
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
