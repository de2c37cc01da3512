"""A single operation and the health it may ask for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    OK,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Pause,
    Retry,
    RunStatus,
    Slow,
    Verdict,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import HealthAsked, names, turns

BOTH = pytest.mark.parametrize("mode", ["sync", "async"])


class Asks(Backfill):
    """Asks for its health, and returns what is not good as it is."""

    async def handle(self, health_check: HealthAsked) -> object:
        verdict = await health_check()
        return Done(verdict) if verdict is OK else verdict


@pytest.mark.asyncio
@BOTH
async def test_health_check_is_ok_where_there_are_no_checks(mode: str) -> None:
    result = await Asks.run(mode=mode)

    assert (result.status, result.result) == ("done", OK)


@pytest.mark.asyncio
@pytest.mark.parametrize("bad", [Slow("x"), Pause("x"), Halt("x")], ids=repr)
async def test_a_bad_verdict_may_be_returned_as_it_is_and_halts(
    bad: Verdict,
) -> None:
    with capture() as events:
        result = await testing.run(
            Asks, FakeClock(), mode="sync", health_checks=[ScriptedCheck([OK, bad])]
        )

    assert result.status is RunStatus.HALTED
    assert [reason.value for reason in result.reasons] == ["x"]
    assert names(events) == ["start", "halt", "stop"]


@pytest.mark.asyncio
async def test_health_check_answers_a_pause_at_once() -> None:
    seen: list[Verdict] = []

    async def handle(health_check: HealthAsked) -> Done:
        seen.append(await health_check())
        seen.append(await health_check())
        return Done()

    result = await testing.run(
        Asks,
        FakeClock(),
        mode="sync",
        health_checks=[ScriptedCheck([OK, Pause("busy")])],
        handle=handle,
    )

    assert seen == [Pause("busy"), OK]
    assert (result.status, result.duration) == ("done", 0.0)


@pytest.mark.asyncio
async def test_health_check_reads_the_latest_verdict_in_the_background() -> None:
    clock = FakeClock()
    seen: list[Verdict] = []

    async def handle(health_check: HealthAsked) -> Done:
        for _ in range(3):
            seen.append(await health_check())
            await clock.sleep(5)
        return Done()

    await testing.run(
        Asks,
        clock,
        health_checks=[ScriptedCheck([OK, Slow("1"), Halt("2")])],
        health_interval=4,
        handle=handle,
    )

    assert seen == [OK, Slow("1"), Halt("2")]


@pytest.mark.asyncio
@pytest.mark.parametrize("rewrapped", [False, True], ids=["as it is", "rewrapped"])
async def test_a_stop_wish_is_a_halt_and_the_status_stopped(
    rewrapped: bool,
) -> None:
    seen: list[Verdict] = []
    heard: list[object] = []

    async def handle(health_check: HealthAsked) -> object:
        while (verdict := await health_check()) is OK:
            await asyncio.sleep(0)
        seen.append(verdict)
        seen.append(await health_check())
        if rewrapped and isinstance(verdict, Halt):
            return Halt(verdict.reason)
        return verdict

    async with Asks.start(handle=handle, on_complete=heard.append) as run:
        await turns()
        run.stop()
        result = await run.wait()

    assert seen == [Halt("stop requested")] * 2
    assert result.status is RunStatus.STOPPED
    assert [str(reason) for reason in result.reasons] == ["stop requested"]
    assert heard == [result]


@pytest.mark.asyncio
async def test_a_halt_of_its_own_halts_also_after_a_stop_wish() -> None:
    begun = asyncio.Event()

    async def handle(health_check: HealthAsked) -> object:
        begun.set()
        while await health_check() is OK:
            await asyncio.sleep(0)
        return Halt("quota")

    async with Asks.start(handle=handle) as run:
        await begun.wait()
        run.stop()
        result = await run.wait()

    assert result.status is RunStatus.HALTED
    assert result.reasons[0].value == "quota"


@pytest.mark.asyncio
async def test_a_pause_wish_is_a_pause_that_says_who() -> None:
    seen: list[Verdict] = []

    async def handle(health_check: HealthAsked) -> object:
        while (verdict := await health_check()) is OK:
            await asyncio.sleep(0)
        seen.append(verdict)
        return verdict

    async with Asks.start(handle=handle) as run:
        await turns()
        run.pause()
        result = await run.wait()

    (verdict,) = seen
    assert isinstance(verdict, Pause)
    assert str(verdict.reason).startswith("paused by ")
    assert result.status is RunStatus.HALTED
    assert result.reasons[0].value == verdict.reason


@pytest.mark.asyncio
async def test_a_pause_wish_before_it_begins_is_waited_out() -> None:
    begun: list[str] = []

    async def handle(health_check: HealthAsked) -> Done:
        begun.append("handle")
        return Done()

    gate = asyncio.Event()

    async def check() -> None:
        await gate.wait()

    async with Asks.start(mode="sync", handle=handle, health_checks=[check]) as run:
        await turns()
        run.pause()
        gate.set()
        await turns()
        before = (list(begun), run.progress.status)
        run.resume()
        result = await run.wait()

    assert before == ([], "paused")
    assert begun == ["handle"]
    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_single_operation_is_retried() -> None:
    tries = 0

    async def handle(health_check: HealthAsked) -> Done:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ValueError
        return Done(tries)

    with capture() as events:
        result = await testing.run(Asks, FakeClock(), handle=handle, retry=Retry(3))

    assert (result.status, result.result) == ("done", 3)
    assert names(events) == [
        "start", "exception", "retry", "exception", "retry", "success", "stop",
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_a_single_operation_may_have_a_lease_and_be_remembered() -> None:
    checkpoint = Checkpoint(MemoryStore(), "single")
    ran = 0

    async def handle(health_check: HealthAsked) -> Any:
        nonlocal ran
        ran += 1
        return Fail("x") if ran == 1 else Done(ran)

    first = await Asks.run(checkpoint=checkpoint, once=True, handle=handle)
    second = await Asks.run(checkpoint=checkpoint, once=True, handle=handle)
    third = await Asks.run(checkpoint=checkpoint, once=True, handle=handle)

    assert (first.status, second.status, third.status) == ("failed", "done", "skipped")
    assert not second.resumed
    assert ran == 2


@pytest.mark.asyncio
async def test_a_single_operation_has_no_batches() -> None:
    with capture() as events:
        result = await Asks.run()

    assert (result.batches, result.rows, result.state) == (0, 0, None)
    assert not any("batch" in event.name for event in events)
