"""Of what is set, from the handle and from elsewhere, the last wish wins, and acts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import Adaptive, Checkpoint, MemoryStore, Runs
from adaptive_backfill._core.records import wishes_from, wishes_text
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.control import RunControl
from adaptive_backfill._engine.wishes import wished_since, with_values
from adaptive_backfill.testing import FakeClock, start
from tests.engine.pacing import Plant, planted

NAME = "plant"


def endless(clock: FakeClock, **overrides: Any) -> dict[str, Any]:
    return planted(clock, batches=10**9, fixed=0.5, a_row=0.0, **overrides)


def test_a_wish_for_the_same_value_is_told_from_no_wish() -> None:
    once = with_values(Wishes(), {"batch_size": 100, "duty": 0.5})
    twice = with_values(once, {"batch_size": 100})

    assert wished_since(once, once) == {}
    assert wished_since(once, twice) == {"batch_size": 100}


def test_wishes_are_counted_through_the_text_that_a_store_keeps() -> None:
    once = with_values(Wishes(), {"batch_size": 100})
    twice = with_values(once, {"batch_size": 100})

    kept = [wishes_from(wishes_text(wishes)) for wishes in (once, twice)]

    assert wished_since(*kept) == {"batch_size": 100}
    # As a version wrote it that did not count.
    assert wishes_from('{"values":{"batch_size":100}}').values == {"batch_size": 100}


def test_what_the_store_keeps_from_before_is_no_wish_against_the_handle() -> None:
    control = RunControl(Bell(FakeClock()))
    told = with_values(Wishes(), {"duty": 0.2})

    control.heard(told)
    control.set({"duty": 1.0})
    told = with_values(told, {"batch_size": 50})
    control.heard(told)
    by_handle = control.wishes.values
    told = with_values(told, {"duty": 0.2})
    control.heard(told)

    assert by_handle == {"duty": 1.0, "batch_size": 50}
    assert control.wishes.values == {"duty": 0.2, "batch_size": 50}


def test_a_store_that_does_not_count_is_believed_by_what_changes() -> None:
    control = RunControl(Bell(FakeClock()))

    control.heard(Wishes(values={"duty": 0.2}))
    control.set({"duty": 1.0})
    control.heard(Wishes(values={"duty": 0.2}))
    before = control.wishes
    control.heard(Wishes(values={"duty": 0.2, "batch_size": 50}))

    assert before.values == {"duty": 1.0}
    assert control.wishes.values == {"duty": 1.0, "batch_size": 50}


@pytest.mark.asyncio
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_size_that_is_set_again_is_in_force_again(elsewhere: bool) -> None:
    clock, store = FakeClock(), MemoryStore()
    given = endless(
        clock, pace=Adaptive(target=60.0), checkpoint=Checkpoint(store, NAME)
    )

    async with start(Plant, clock, **given) as under_way:

        async def set_to_100() -> int:
            began = len(given["did"])
            if elsewhere:
                await Runs(store).set(NAME, batch_size=100)
            else:
                under_way.set(batch_size=100)
            await clock.sleep(30.0)
            sizes = [size for _, size in given["did"][began:]]
            assert max(sizes) > 100
            return sizes.count(100)

        await clock.sleep(60.0)
        first, second = await set_to_100(), await set_to_100()
        under_way.stop()

    assert first >= 1
    assert second >= 1


@pytest.mark.asyncio
async def test_what_the_handle_set_outlives_an_older_wish_from_elsewhere() -> None:
    clock, store = FakeClock(), MemoryStore()
    given = endless(clock, batch_size=10, checkpoint=Checkpoint(store, NAME))

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(5.0)
        await Runs(store).set(NAME, duty=0.2)
        await clock.sleep(20.0)
        slowed = under_way.progress.duty
        under_way.set(duty=1)
        await clock.sleep(20.0)
        await Runs(store).set(NAME, batch_size=50)
        await clock.sleep(20.0)
        seen = under_way.progress
        under_way.stop()

    assert slowed == 0.2
    assert (seen.duty, seen.batch_size) == (1.0, 50)


@pytest.mark.asyncio
async def test_a_cap_on_wal_is_warned_of_where_there_is_none_to_count() -> None:
    clock, store = FakeClock(), MemoryStore()
    given = endless(clock, checkpoint=Checkpoint(store, NAME))

    with capture_logs() as lines:
        async with start(Plant, clock, **given) as under_way:
            await asyncio.sleep(0)
            await clock.sleep(5.0)
            await Runs(store).set(NAME, max_wal_per_second=10**6)
            await clock.sleep(20.0)
            under_way.stop()

    warned = [line for line in lines if line["event"] == "cannot be set on this run"]
    assert [line["options"] for line in warned] == [["max_wal_per_second"]]


def test_a_text_by_a_process_that_does_not_count_is_believed_by_its_values() -> None:
    before = Wishes(values={"duty": 0.5}, asked={"duty": 2})

    assert wished_since(before, Wishes(paused="by hand", values={"duty": 0.5})) == {}
    assert wished_since(before, Wishes(values={"duty": 0.25})) == {"duty": 0.25}
