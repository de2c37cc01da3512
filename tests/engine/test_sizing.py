"""With a pace, the size of a batch follows what batches take."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    Adaptive,
    Answer,
    Checkpoint,
    MemoryStore,
    Next,
    Retry,
    RunStatus,
)
from adaptive_backfill.errors import BatchTimeout
from adaptive_backfill.testing import FakeClock, capture, run, start
from tests.engine.pacing import Plant, planted
from tests.engine.sharing import only


def sizes(given: dict[str, Any]) -> list[int]:
    return [size for _, size in given["did"]]


@pytest.mark.asyncio
async def test_a_run_begins_with_a_hundred_rows_and_grows_until_the_knee() -> None:
    clock = FakeClock()
    given = planted(clock, pace=Adaptive(overhead=0.15))

    result = await run(Plant, clock, **given)

    assert result.status is RunStatus.DONE
    assert sizes(given)[0] == 100
    # 10 ms a batch and 0.1 ms a row: at 15 % the knee is some 570 rows.
    assert 400 <= sizes(given)[-1] <= 800


@pytest.mark.asyncio
async def test_a_run_begins_with_its_declared_size_within_the_bounds() -> None:
    clock = FakeClock()

    declared = planted(clock, pace=Adaptive(overhead=0.15), batch_size=700)
    bounded = planted(clock, pace=Adaptive(max_size=50), batch_size=700)
    await run(Plant, clock, **declared)
    await run(Plant, clock, **bounded)

    assert sizes(declared)[0] == 700
    assert max(sizes(bounded)) == sizes(bounded)[0] == 50


@pytest.mark.asyncio
async def test_events_and_progress_tell_the_size_in_force() -> None:
    clock = FakeClock()
    given = planted(clock, pace=Adaptive(overhead=0.15))

    with capture() as events:
        async with start(Plant, clock, **given) as under_way:
            await under_way.wait()

    assert [each["size"] for each in only(events, "batch.start")][:-1] == sizes(given)
    assert under_way.progress.batch_size in sizes(given)[-2:]


@pytest.mark.asyncio
async def test_every_change_of_size_is_an_event_and_a_line_with_its_reason() -> None:
    clock = FakeClock()
    given = planted(clock, pace=Adaptive(overhead=0.15))

    with capture() as events, capture_logs() as lines:
        await run(Plant, clock, **given)

    changes = only(events, "pace.change")
    told = [line for line in lines if line["event"] == "pace changed"]
    by_size = [each for each in changes if each["reasons"][0].endswith("rows")]
    assert [each["batch_size"] for each in by_size[:2]] == [200, 400]
    assert {each["batch_size"] for each in by_size} <= set(sizes(given))
    assert [line["reasons"] for line in told] == [
        list(each["reasons"]) for each in changes
    ]


@pytest.mark.asyncio
async def test_the_learned_size_is_kept_and_a_resumed_run_begins_with_it() -> None:
    clock = FakeClock()
    store = MemoryStore()
    checkpoint = Checkpoint(store, "plant")
    first = planted(
        clock, pace=Adaptive(overhead=0.15), checkpoint=checkpoint, max_batches=40
    )
    then = planted(clock, pace=Adaptive(overhead=0.15), checkpoint=checkpoint)

    await run(Plant, clock, **first)
    kept = await store.load("plant")
    await run(Plant, clock, **then)

    assert kept is not None
    assert kept.batch_size is not None
    assert kept.batch_size > 200
    assert sizes(then)[0] == kept.batch_size


@pytest.mark.asyncio
async def test_without_a_pace_a_resumed_run_has_its_declared_size() -> None:
    clock = FakeClock()
    checkpoint = Checkpoint(MemoryStore(), "plant")
    first = planted(clock, batch_size=30, checkpoint=checkpoint, max_batches=4)
    then = planted(clock, batch_size=20, checkpoint=checkpoint, max_batches=4)

    await run(Plant, clock, **first)
    with capture() as events:
        await run(Plant, clock, **then)

    assert set(sizes(first)) == {30}
    assert set(sizes(then)) == {20}
    assert {each["size"] for each in only(events, "batch.start")} == {20}


@pytest.mark.asyncio
async def test_a_batch_that_is_tried_again_is_half_as_big() -> None:
    clock = FakeClock()
    tried: list[int] = []

    class Fails(Plant):
        async def handle_batch(self, state: int) -> Answer[int]:
            tried.append(self.batch_size)
            if state == 1 and len(tried) == 2:
                raise RuntimeError("deadlock detected")
            return await super().handle_batch(state)

    with capture() as events:
        await run(
            Fails,
            clock,
            **planted(clock, pace=Adaptive(overhead=0.15), batch_size=400, batches=3),
            retry=Retry(attempts=2, base=0),
        )

    assert tried[2] * 2 == tried[1]
    reasons = [each["reasons"][0] for each in only(events, "pace.change")]
    assert any("deadlock detected" in why for why in reasons)


@pytest.mark.asyncio
async def test_a_failure_that_ends_the_run_changes_no_size() -> None:
    clock = FakeClock()
    checkpoint = Checkpoint(MemoryStore(), "plant")

    async def fail(state: int) -> Answer[int]:
        raise RuntimeError("gone")

    given = planted(
        clock, pace=Adaptive(overhead=0.15), batch_size=400, checkpoint=checkpoint
    )
    await run(Plant, clock, **given, handle_batch=fail)

    store = checkpoint.store
    assert isinstance(store, MemoryStore)
    kept = await store.load("plant")
    assert kept is not None
    assert kept.batch_size == 400


@pytest.mark.asyncio
async def test_a_batch_too_long_for_its_time_has_the_next_run_begin_with_half() -> None:
    clock = FakeClock()
    store = MemoryStore()
    given = planted(
        clock,
        pace=Adaptive(overhead=0.15),
        batch_size=400,
        checkpoint=Checkpoint(store, "plant"),
    )

    async def takes_too_long(state: int) -> Answer[int]:
        raise BatchTimeout("Plant.handle_batch", 30.0)

    result = await run(Plant, clock, **given, handle_batch=takes_too_long)

    kept = await store.load("plant")
    assert result.status is RunStatus.FAILED
    assert kept is not None
    assert (kept.batches, kept.batch_size) == (0, 200)


@pytest.mark.asyncio
async def test_a_size_set_from_outside_is_where_it_goes_on_from() -> None:
    clock = FakeClock()
    given = planted(clock, pace=Adaptive(overhead=0.15), batches=40)

    async with start(Plant, clock, **given) as under_way:
        while len(given["did"]) < 30:
            await clock.sleep(0.005)
        under_way.set(batch_size=20)
        before = len(given["did"])
        await under_way.wait()

    assert sizes(given)[before] == 20
    assert sizes(given)[-1] > 20


@pytest.mark.asyncio
async def test_a_handler_without_rows_is_sized_by_what_it_was_asked_for() -> None:
    clock = FakeClock()
    asked: list[int] = []

    class Silent(Plant):
        async def handle_batch(self, state: int) -> Answer[int]:
            asked.append(self.batch_size)
            answer = await super().handle_batch(state)
            return Next(answer.state) if isinstance(answer, Next) else answer

    await run(Silent, clock, **planted(clock, pace=Adaptive(overhead=0.15)))

    assert 400 <= asked[-1] <= 800
