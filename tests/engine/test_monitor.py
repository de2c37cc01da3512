"""That the monitor goes with its run, and when its verdict is too old."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Fail,
    Halt,
    Next,
    Pause,
    RunStatus,
    Verdict,
    testing,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import (
    BOTH,
    Count,
    Quits,
    answering,
    never,
    tasks_left,
    turns,
)

ENDINGS: dict[str, dict[str, Any]] = {
    "done": {},
    "halted": {"handle_batch": Halt("h")},
    "failed": {"handle_batch": Fail("f")},
    "raised": {"handle_batch": ValueError("x")},
    "late": {"handle_batch": None, "timeout": 0.5},
    "stopped": {"max_batches": 2},
}


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_monitor_is_gone_before_run_returns(ending: str) -> None:
    overrides = dict(ENDINGS[ending])
    sampling: list[str] = []

    async def check() -> None:
        if sampling:
            # The second one is still under way when the run ends.
            try:
                sampling.append("begun")
                await never()
            finally:
                sampling.append("ended")
        sampling.append("first")

    if "handle_batch" in overrides:
        answer = overrides["handle_batch"]

        async def handle(state: int) -> object:
            while "begun" not in sampling:
                await asyncio.sleep(0)
            if answer is None:
                await never()
            if isinstance(answer, Exception):
                raise answer
            return answer

        overrides["handle_batch"] = handle

    before = tasks_left()
    await testing.run(
        Count,
        FakeClock(),
        health_checks=[check],
        health_interval=0.001,
        delay_between_batches=1,
        **overrides,
    )

    assert tasks_left() == before
    assert sampling.count("begun") == sampling.count("ended") == 1


@pytest.mark.asyncio
async def test_the_monitor_is_gone_after_a_cancellation_and_a_base_exception() -> None:
    async def interrupts(state: int) -> Answer[int]:
        raise GeneratorExit

    async def hangs(state: int) -> Answer[int]:
        await never()
        return DONE

    before = tasks_left()
    with pytest.raises(GeneratorExit):
        await Count.run(health_checks=[answering(OK)], handle_batch=interrupts)
    after_base = tasks_left()
    task = asyncio.create_task(
        Count.run(health_checks=[answering(OK)], handle_batch=hangs)
    )
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert after_base == before
    assert tasks_left() == before


@pytest.mark.asyncio
@BOTH
async def test_cancelled_during_the_first_sampling_nothing_is_left(mode: str) -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def check() -> None:
        begun.set()
        try:
            await never()
        finally:
            ended.append("check")

    before = tasks_left()
    task = asyncio.create_task(
        Count.run(mode=mode, health_checks=[check, answering(OK)])
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended == ["check"]
    assert tasks_left() == before


@pytest.mark.asyncio
async def test_a_failing_check_does_not_disturb_the_batch_under_way() -> None:
    asked = 0
    bad = asyncio.Event()

    async def check() -> Verdict:
        nonlocal asked
        asked += 1
        if asked == 1:
            return OK
        bad.set()
        return Halt("down")

    async def handle(state: int) -> Answer[int]:
        await bad.wait()
        await turns(50)
        return Next(state + 1, rows=1)

    result = await testing.run(
        Count, FakeClock(), health_checks=[check], handle_batch=handle
    )

    assert (result.status, result.state, result.batches) == ("halted", 1, 1)


@pytest.mark.asyncio
@BOTH
async def test_a_run_that_is_cancelled_as_a_check_overruns_is_cancelled(
    mode: str,
) -> None:
    """Both come in the same turn of the loop, and neither may swallow the other."""
    loop = asyncio.get_running_loop()
    short = 0.01

    async def check() -> None:
        loop.call_later(short, task.cancel)
        until = loop.time() + short * 2
        while loop.time() < until:
            pass
        await never()

    task = asyncio.create_task(
        Count.run(mode=mode, health_checks=[check], health_timeout=short)
    )
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("count", [1, 2])
async def test_other_base_exceptions_of_a_check_propagate(
    mode: str, count: int
) -> None:
    thrown = Quits()

    async def check() -> None:
        raise thrown

    others = [answering(OK)] * (count - 1)
    with pytest.raises(Quits) as caught:
        await testing.run(Count, FakeClock(), mode=mode, health_checks=[check, *others])

    assert caught.value is thrown


@pytest.mark.asyncio
async def test_a_monitor_that_dies_later_does_not_leave_the_run_waiting() -> None:
    thrown = Quits()
    asked = 0

    async def check() -> Verdict:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise thrown
        return Pause("wait")

    with pytest.raises(Quits):
        await testing.run(Count, FakeClock(), max_pause=None, health_checks=[check])


class Hangs:
    """A check that answers once, and then takes *seconds* of the clock."""

    def __init__(self, clock: FakeClock, seconds: float, answer: Verdict = OK) -> None:
        self.clock = clock
        self.seconds = seconds
        self.answer = answer
        self.asked = 0

    async def __call__(self) -> Verdict:
        self.asked += 1
        if self.asked > 1:
            await self.clock.sleep(self.seconds)
        return self.answer


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("interval", "timeout", "stale"), [(5.0, 5.0, 15.0), (1.0, 9.0, 10.0)]
)
async def test_a_verdict_twice_too_old_is_an_unknown_health_and_pauses(
    interval: float, timeout: float, stale: float
) -> None:
    clock = FakeClock()
    check = Hangs(clock, 1000)
    begun: list[float] = []

    async def handle(state: int) -> Answer[int]:
        begun.append(clock.now)
        return DONE if clock.now > 1000 else Next(state + 1)

    with capture() as events:
        result = await testing.run(
            Count,
            clock,
            health_checks=[check],
            health_interval=interval,
            health_timeout=timeout,
            handle_batch=handle,
            delay_between_batches=1,
        )

    (pause,) = [event for event in events if event.name == "backfill.pause"]
    assert result.status is RunStatus.DONE
    # The last batch before the pause began within twice the time after the sampling
    # at 0, and the next one after the second sampling had ended.
    assert begun == [*map(float, range(int(2 * stale))), interval + 1000]
    reasons = pause.metadata["reasons"]
    assert [str(each)[:14] for each in reasons] == ["health unknown"]  # type: ignore[attr-defined]
    assert isinstance(reasons[0].answer, Pause)  # type: ignore[index]


@pytest.mark.asyncio
async def test_an_unknown_health_halts_after_max_pause() -> None:
    clock = FakeClock()

    async def handle(state: int) -> Answer[int]:
        return Next(state + 1)

    result = await testing.run(
        Count,
        clock,
        health_checks=[Hangs(clock, 1e9)],
        handle_batch=handle,
        delay_between_batches=1,
        max_pause=60,
    )

    assert result.status is RunStatus.HALTED
    assert "health unknown" in str(result.reasons[0])
    assert result.duration == 90.0


@pytest.mark.asyncio
async def test_old_good_news_is_no_good_news_for_ever() -> None:
    """The verdict OK is dropped in time even where batches follow at once."""
    clock = FakeClock()
    check = Hangs(clock, 1e9)

    async def handle(state: int) -> Answer[int]:
        await clock.sleep(10)
        return Next(state + 1)

    result = await testing.run(
        Count, clock, health_checks=[check], handle_batch=handle, max_pause=0
    )

    assert result.status is RunStatus.HALTED
    assert result.batches == 3


@pytest.mark.asyncio
async def test_a_verdict_is_stale_before_it_is_unknown() -> None:
    clock = FakeClock()
    fresh: list[tuple[float, bool]] = []
    entered = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        await entered.wait()
        loop = run._session._loop  # type: ignore[union-attr]
        assert loop is not None
        fresh.append((clock.now, loop.report.fresh))
        return DONE if clock.now >= 29 else Next(state + 1)

    async with testing.start(
        Count,
        clock,
        health_checks=[Hangs(clock, 1e9)],
        handle_batch=handle,
        delay_between_batches=1,
    ) as run:
        entered.set()
        await run.wait()

    assert fresh == [(float(at), at < 15) for at in range(30)]
