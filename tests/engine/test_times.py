"""Where the time of a run went."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Checkpoint,
    MemoryStore,
    Next,
    Pause,
    Retry,
    Runs,
    Slow,
)
from adaptive_backfill._core.answers import Done
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.saving import PlainUnit
from adaptive_backfill._engine.times import Times
from adaptive_backfill._ports import Measured
from adaptive_backfill.testing import FakeClock, ScriptedCheck, run, start
from tests.core.making import few
from tests.engine.pacing import Plant, planted


def second(clock: FakeClock, **overrides: Any) -> dict[str, Any]:
    """What a `Plant` is run with whose batches take a second."""
    return planted(clock, fixed=1.0, a_row=0.0, **{"batches": 3, **overrides})


@pytest.mark.asyncio
async def test_a_run_that_only_works_is_busy_all_of_the_time() -> None:
    clock = FakeClock()

    result = await run(Plant, clock, **second(clock))

    assert (result.busy, result.delayed, result.waited) == (3.0, 0.0, {})
    assert result.duration == result.busy


@pytest.mark.asyncio
async def test_rests_between_batches_are_delays_whyever() -> None:
    clock = FakeClock()
    checks = [ScriptedCheck([Slow("busy"), OK])]

    result = await run(
        Plant,
        clock,
        **second(clock, delay_between_batches=0.5),
        mode="sync",
        health_checks=checks,
    )

    # A second after the first, because it was slow; half a second after the others.
    assert (result.busy, result.delayed) == (3.0, 2.0)


@pytest.mark.asyncio
async def test_the_wait_for_another_try_is_a_delay() -> None:
    clock = FakeClock()
    tries: list[int] = []

    async def handle(state: int) -> Answer[int]:
        tries.append(state)
        if len(tries) == 1:
            raise RuntimeError("again")
        return DONE

    result = await run(
        Plant, clock, **second(clock), handle_batch=handle, retry=Retry(2, base=9)
    )

    assert result.delayed == clock.now > 0


@pytest.mark.asyncio
async def test_pauses_are_told_by_the_check_that_asked_for_them() -> None:
    clock = FakeClock()
    checks = [
        ScriptedCheck([OK, Pause("lag"), Pause("lag"), OK, Pause("lag")]),
    ]

    result = await run(Plant, clock, **second(clock), mode="sync", health_checks=checks)

    assert result.waited == {"ScriptedCheck": 15.0}
    assert result.paused == 15.0
    assert result.duration == result.busy + result.paused


@pytest.mark.asyncio
async def test_a_pause_by_somebody_is_the_operators() -> None:
    clock = FakeClock()

    async with start(Plant, clock, **second(clock)) as under_way:
        await clock.sleep(0.5)
        under_way.pause()
        await clock.sleep(10.0)
        under_way.resume()
        result = await under_way.wait()

    assert result.waited == {"operator": 9.5}


@pytest.mark.asyncio
async def test_a_batch_that_is_cut_short_was_busy_until_then() -> None:
    clock = FakeClock()
    begun = asyncio.Event()

    async def hang(state: int) -> Answer[int]:
        begun.set()
        await clock.sleep(50.0)
        return Next(state + 1)

    about = second(clock)
    async with start(Plant, clock, grace=0, **about, handle_batch=hang) as under_way:
        await begun.wait()
        await asyncio.sleep(0)
    result = await under_way.wait()

    assert result.busy == clock.now
    assert result.duration == result.busy


class Locked(Plant):
    """On a unit of work that says what each attempt took."""

    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        return prepared._replace(work=replace(prepared.work, unit=MeasuringUnit))


class MeasuringUnit(PlainUnit):
    def measured(self) -> Measured:
        return Measured(0.25, size=40, locked=0.125)


@pytest.mark.asyncio
async def test_a_unit_of_work_may_tell_database_time_and_locks() -> None:
    clock = FakeClock()
    about = second(clock, duty=0.5, checkpoint=Checkpoint(MemoryStore()))

    result = await run(Locked, clock, **about)

    # The last attempt, which finds nothing to do, is one, too.
    assert result.locked == 0.5
    # Half of the time by that of the database, not of the handler.
    assert result.delayed == 0.75


@pytest.mark.asyncio
async def test_the_time_of_a_save_that_is_part_of_the_batch_is_its_own() -> None:
    clock = FakeClock()

    class Whole(PlainUnit):
        atomic = True

        def commit(self, snapshot: Snapshot, done: Done | None = None) -> Any:
            async def committed() -> None:
                await clock.sleep(1.0)
                saving = self._lease.save(snapshot)
                if saving is not None:
                    await saving

            return committed()

    class Atomic(Plant):
        @classmethod
        def _adapted(cls, prepared: Prepared) -> Prepared:
            return prepared._replace(work=replace(prepared.work, unit=Whole))

    about = second(clock, duty=0.5, checkpoint=Checkpoint(MemoryStore()), batches=2)
    await run(Atomic, clock, **about)

    assert [at for at, _ in about["did"]] == [0.0, 4.0]


@pytest.mark.asyncio
async def test_history_tells_where_the_time_went() -> None:
    clock = FakeClock()
    store = MemoryStore()
    checkpoint = Checkpoint(store, "plant")

    result = await run(Plant, clock, **second(clock, checkpoint=checkpoint, duty=0.5))
    (past,) = await Runs(store).history("plant")

    assert (past.busy, past.delayed) == (result.busy, result.delayed) == (3.0, 3.0)


moments = st.lists(st.tuples(st.floats(0, 10), st.sampled_from("wWdDpP")), max_size=30)


@few
@given(moments)
def test_no_moment_counts_twice(moments: list[tuple[float, str]]) -> None:
    times, now, working, delaying = Times(), 0.0, 0, 0
    for seconds, what in moments:
        now += seconds
        if what == "w":
            times.works(now)
            working += 1
        elif what == "W" and working:
            times.worked(now)
            working -= 1
        elif what == "d":
            times.delays(now)
            delaying += 1
        elif what == "D" and delaying:
            times.delayed_until(now)
            delaying -= 1
        elif what in "pP":
            times.pauses(now, paused=what == "p")

    times.turn(now)

    assert times.busy + times.delayed <= now + 1e-9
    assert min(times.busy, times.delayed) >= 0


def test_batches_at_the_same_time_are_busy_once() -> None:
    times = Times()

    times.works(0.0)
    times.works(1.0)
    times.worked(3.0)
    times.delays(3.0)
    times.worked(4.0)
    times.delayed_until(6.0)

    assert (times.busy, times.delayed) == (4.0, 2.0)
