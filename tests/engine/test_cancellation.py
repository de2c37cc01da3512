"""Cancellation of either kind, wherever it lands."""

from __future__ import annotations

import asyncio

import pytest

from adaptive_backfill import (
    Checkpoint,
    Runs,
    Snapshot,
    errors,
)
from adaptive_backfill.testing import capture
from tests.engine.cancelling import PLACES, WAYS, Hooked, Place
from tests.engine.sharing import (
    Count,
    names,
    only,
    tasks_left,
    told,
)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", PLACES)
async def test_cancelled_anywhere_nothing_is_left_but_the_checkpoint(
    where: str, way: str
) -> None:
    place = Place()
    overrides = await place.overrides(where)
    checkpoint = Checkpoint(place.store, "run")
    heard: list[str] = []
    base: type[Hooked] = Hooked
    if where == "initial state":

        class Starts(Hooked):
            async def initial_state(self) -> int:  # type: ignore[override]
                result: int = await place.wait()
                return result

        base = Starts

    before = tasks_left()
    with capture() as events:
        await WAYS[way](
            base.run(checkpoint=checkpoint, heard=heard, **overrides), place.ready
        )

    assert tasks_left() == before
    assert place.running.count("began") == place.running.count("ended")
    assert heard == place.hooks
    if place.started:
        assert names(events)[-1] == "stop"
        assert names(events).count("stop") == names(events).count("start") == 1
        assert only(events, "stop")[0]["outcome"] == "cancelled"
        assert only(events, "stop")[0]["batches"] == place.finished
        ends = [n for n in names(events) if n.startswith("batch.") and n[6:] != "retry"]
        assert ends.count("batch.start") * 2 == len(ends)
    else:
        assert events == []
    kept = await place.store.load("run")
    if where in ("on error", "on complete"):
        assert kept == Snapshot(1, 1, 10)
    else:
        assert (kept.batches if kept else 0) == place.finished
    await Runs(place.store).resume("run")
    again = await Count.run(checkpoint=checkpoint)
    assert (again.status, again.batches, again.rows) == ("done", 3, 30)
    assert again.resumed == (place.finished > 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["Task.cancel", "anyio scope"])
async def test_a_batch_under_way_ends_as_an_exception_of_outcome_cancelled(
    way: str,
) -> None:
    place = Place()
    with capture() as events:
        await WAYS[way](Count.run(**await place.in_handler()), place.ready)

    (batch,) = [each for each in told(events) if each[0] == "batch.exception"]
    assert batch[2] == {"state": 1, "attempt": 1, "outcome": "cancelled"}
    assert set(batch[1]) == {"batch", "duration"}
    assert batch[1]["batch"] == 2


@pytest.mark.asyncio
async def test_a_cancellation_arrives_unchanged() -> None:
    place = Place()
    task = asyncio.create_task(Count.run(**await place.in_handler()))
    await place.ready.wait()
    task.cancel("shutting down")

    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    assert caught.value.args == ("shutting down",)
    assert task.cancelling() == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_stand_by_leaves_the_owner_alone(way: str) -> None:
    place = Place()
    checkpoint = Checkpoint(place.store, "run")
    owner = asyncio.create_task(
        Count.run(checkpoint=checkpoint, **await place.in_handler())
    )
    await place.ready.wait()
    ready = asyncio.Event()
    asyncio.get_running_loop().call_soon(ready.set)

    await WAYS[way](Count.run(checkpoint=checkpoint, if_running="wait"), ready)

    with pytest.raises(errors.AlreadyRunning):
        await Count.run(checkpoint=checkpoint)
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await owner
