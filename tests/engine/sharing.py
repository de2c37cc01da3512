"""Small backfills, stores and listening that the tests of the engine share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    MemoryStore,
    Next,
    RunResult,
    Snapshot,
    Verdict,
    telemetry,
)

HealthAsked: TypeAlias = Callable[[], Awaitable[Verdict]]
Told: TypeAlias = tuple[str, dict[str, float], dict[str, object]]

ALWAYS = ("backfill", "run_id", "mode")


class Count(Backfill[int]):
    """Counts from 0 to 3, ten rows a batch."""

    initial_state = 0

    async def handle_batch(self, state: int) -> Answer[int]:
        return DONE if state == 3 else Next(state + 1, rows=10)


class AsyncStore:
    """Three async methods over a dict; keeps the very objects it is given."""

    def __init__(self, **fails: Exception) -> None:
        self.kept: dict[str, Snapshot] = {}
        self.asked: list[str] = []
        self.fails = fails

    def _ask(self, method: str) -> None:
        self.asked.append(method)
        if method in self.fails:
            raise self.fails[method]

    async def load(self, name: str) -> Snapshot | None:
        self._ask("load")
        return self.kept.get(name)

    async def save(self, name: str, snapshot: Snapshot) -> None:
        self._ask("save")
        self.kept[name] = snapshot

    async def delete(self, name: str) -> None:
        self._ask("delete")
        self.kept.pop(name, None)


class SyncStore:
    """The same with plain methods."""

    def __init__(self, **fails: Exception) -> None:
        self.kept: dict[str, Snapshot] = {}
        self.asked: list[str] = []
        self.fails = fails

    def _ask(self, method: str) -> None:
        self.asked.append(method)
        if method in self.fails:
            raise self.fails[method]

    def load(self, name: str) -> Snapshot | None:
        self._ask("load")
        return self.kept.get(name)

    def save(self, name: str, snapshot: Snapshot) -> None:
        self._ask("save")
        self.kept[name] = snapshot

    def delete(self, name: str) -> None:
        self._ask("delete")
        self.kept.pop(name, None)


class SlowStore(AsyncStore):
    """Saves, or does another thing, only once the test says `go`."""

    def __init__(self, slow: str = "save") -> None:
        super().__init__()
        self.slow = slow
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def _wait(self, method: str) -> None:
        if method == self.slow:
            self.begun.set()
            await self.go.wait()

    async def load(self, name: str) -> Snapshot | None:
        await self._wait("load")
        return await super().load(name)

    async def save(self, name: str, snapshot: Snapshot) -> None:
        await self._wait("save")
        await super().save(name, snapshot)

    async def delete(self, name: str) -> None:
        await self._wait("delete")
        await super().delete(name)


async def snapshot_in(checkpoint: Checkpoint) -> Snapshot | None:
    """What *checkpoint*, which has a name of its own, keeps now."""
    store = checkpoint.store
    assert checkpoint.name is not None
    if isinstance(store, MemoryStore):
        return await store.load(checkpoint.name)
    assert isinstance(store, AsyncStore | SyncStore)
    return store.kept.get(checkpoint.name)


def told(events: Iterable[telemetry.Event], prefix: str = "backfill") -> list[Told]:
    """*events* without their prefix, and without the metadata that all have."""
    return [
        (
            event.name.removeprefix(f"{prefix}."),
            dict(event.measurements),
            {k: v for k, v in event.metadata.items() if k not in ALWAYS},
        )
        for event in events
    ]


def names(events: Iterable[telemetry.Event], prefix: str = "backfill") -> list[str]:
    """The names of *events*, without their prefix."""
    return [event.name.removeprefix(f"{prefix}.") for event in events]


def only(
    events: Iterable[telemetry.Event], name: str, prefix: str = "backfill"
) -> list[Mapping[str, Any]]:
    """Measurements and metadata, in one mapping, of the events called *name*."""
    return [
        {**event.metadata, **event.measurements}
        for event in events
        if event.name == f"{prefix}.{name}"
    ]


async def never() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


async def turns(count: int = 20) -> None:
    """Let the other tasks have *count* turns."""
    for _ in range(count):
        await asyncio.sleep(0)


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


class Quits(BaseException):
    """Neither an Exception nor a cancellation."""


BOTH = pytest.mark.parametrize("mode", ["sync", "async"])


def answering(answer: object) -> Callable[[], Awaitable[object]]:
    async def check() -> object:
        return answer

    return check


def tasks_left() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


STORES = pytest.mark.parametrize("store", [MemoryStore, AsyncStore, SyncStore])


class Owner:
    """A run that waits in its second batch until the test says `go`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.answer: Answer[int] = DONE

    async def handle(self, state: int) -> Answer[int]:
        if state == 0:
            return Next(1, rows=10)
        self.begun.set()
        await self.go.wait()
        return self.answer

    async def begin(self, **overrides: Any) -> asyncio.Task[RunResult]:
        task = asyncio.create_task(
            Count.run(handle_batch=self.handle, checkpoint=self.checkpoint, **overrides)
        )
        await self.begun.wait()
        return task


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


CUSTOM = pytest.mark.parametrize("store", [AsyncStore, SyncStore])
