"""The clock that tests own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from adaptive_backfill._engine.clock import Bell, SystemClock
from adaptive_backfill.testing import FakeClock
from tests.engine.sharing import never, turns


@pytest.mark.asyncio
async def test_time_jumps_to_the_next_sleeper_in_order() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *seconds: float) -> None:
        for each in seconds:
            await clock.sleep(each)
            woken.append((name, clock.monotonic()))

    await asyncio.gather(sleeper("a", 3600, 1), sleeper("b", 10, 10), sleeper("c", 15))

    assert woken == [("b", 10), ("c", 15), ("b", 20), ("a", 3600), ("a", 3601)]
    assert clock.now == 3601


@pytest.mark.asyncio
async def test_sleepers_of_the_same_moment_wake_in_the_order_they_slept() -> None:
    clock = FakeClock()
    woken: list[int] = []

    async def sleeper(number: int) -> None:
        await clock.sleep(5)
        woken.append(number)

    await asyncio.gather(*[sleeper(number) for number in range(5)])

    assert woken == [0, 1, 2, 3, 4]
    assert clock.now == 5


@pytest.mark.asyncio
async def test_time_waits_for_who_is_still_busy() -> None:
    clock = FakeClock()
    order: list[str] = []

    async def busy() -> None:
        await turns(20)
        order.append("busy")

    async def sleeper() -> None:
        await clock.sleep(1)
        order.append("slept")

    await asyncio.gather(sleeper(), busy())

    assert order == ["busy", "slept"]


@pytest.mark.asyncio
async def test_a_sleep_of_nothing_lets_others_run() -> None:
    clock = FakeClock()
    ran: list[str] = []
    other = asyncio.create_task(_note(ran))

    await clock.sleep(0)

    assert ran == ["other"]
    assert clock.now == 0
    await other


async def _note(ran: list[str]) -> None:
    ran.append("other")


@pytest.mark.asyncio
async def test_who_sleeps_for_ever_is_woken_by_somebody_else() -> None:
    clock = FakeClock()
    for_ever = asyncio.create_task(clock.sleep(math.inf))
    await clock.sleep(1e9)
    await turns(100)

    assert not for_ever.done()
    assert clock.now == 1e9
    for_ever.cancel()
    with pytest.raises(asyncio.CancelledError):
        await for_ever


@pytest.mark.asyncio
async def test_a_cancelled_sleeper_does_not_move_the_time() -> None:
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(100))
    await turns(1)
    sleeper.cancel()
    await asyncio.wait([sleeper])
    await clock.sleep(5)

    assert clock.now == 5


@pytest.mark.asyncio
async def test_it_remembers_what_was_slept() -> None:
    clock = FakeClock()
    await clock.sleep(2)
    await clock.sleep(0.5)

    assert clock.slept == [2, 0.5]


def test_a_clock_works_in_two_event_loops_one_after_the_other() -> None:
    clock = FakeClock()
    asyncio.run(clock.sleep(1))
    asyncio.run(clock.sleep(1))

    assert clock.now == 2


def test_a_clock_survives_a_loop_that_was_left_in_the_middle_of_a_sleep() -> None:
    clock = FakeClock()

    async def leave() -> None:
        sleeper = asyncio.create_task(clock.sleep(100))
        await turns(2)
        assert not sleeper.done()

    asyncio.run(leave())
    asyncio.run(asyncio.wait_for(clock.sleep(1), 5))

    assert clock.now == 1


# The real clock, and the bell.


@pytest.mark.asyncio
async def test_the_real_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.001)

    assert clock.monotonic() > before


@pytest.mark.asyncio
async def test_a_bell_wakes_everybody_who_waits_now() -> None:
    bell = Bell(SystemClock())
    waiting = [asyncio.create_task(bell.wait(3600)) for _ in range(3)]
    for_ever = asyncio.create_task(bell.wait(None))
    await turns(2)
    bell.ring()

    await asyncio.wait_for(asyncio.gather(*waiting, for_ever), 5)


@pytest.mark.asyncio
async def test_a_bell_waits_no_longer_than_it_is_told() -> None:
    clock = FakeClock()
    await Bell(clock).wait(60)

    assert clock.now == 60


@pytest.mark.asyncio
async def test_a_ring_is_not_kept() -> None:
    bell = Bell(SystemClock())
    bell.ring()
    waiting = asyncio.create_task(bell.wait(3600))
    await turns()

    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.asyncio
async def test_a_ring_does_not_swallow_a_cancellation() -> None:
    async def waits(bell: Bell) -> None:
        await bell.wait(3600)
        await never()

    for first in ("ring", "cancel"):
        bell = Bell(SystemClock())
        task = asyncio.create_task(waits(bell))
        await turns(2)
        acts: list[Callable[[], object]] = [bell.ring, task.cancel]
        for act in acts if first == "ring" else reversed(acts):
            act()
        await asyncio.wait([task], timeout=5)

        assert task.cancelled()


def test_the_fake_time_of_day_goes_on_with_the_fake_clock() -> None:
    clock = FakeClock(datetime(2026, 3, 29, 1, 30, tzinfo=ZoneInfo("Europe/Berlin")))

    clock.now = 3600.0

    # An hour later, in a night in which the clock is put forward.
    assert clock.wall() == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_the_real_time_of_day_has_a_zone() -> None:
    assert SystemClock().wall().utcoffset() == timedelta()
