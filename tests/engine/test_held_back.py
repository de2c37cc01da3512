"""What must finish, finishes before a cancellation is raised."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    Checkpoint,
    MemoryStore,
    RunResult,
    RunStatus,
    Snapshot,
)
from adaptive_backfill.testing import ScriptedCheck, capture
from tests.engine.cancelling import WAYS, Hooked, Place
from tests.engine.sharing import (
    Count,
    SlowStore,
    names,
    never,
    only,
    turns,
)


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
