"""Going more gently, waiting, and giving up waiting."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Done,
    Halt,
    Next,
    Pause,
    RunStatus,
    Slow,
    telemetry,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import Count, HealthAsked, names, only, turns

BOTH = pytest.mark.parametrize("mode", ["sync", "async"])


class Scripted(ScriptedCheck):
    """Remembers when it was asked."""

    def __init__(self, clock: FakeClock, *script: Any) -> None:
        super().__init__(script)
        self.clock = clock
        self.at: list[float] = []

    async def __call__(self) -> Any:
        self.at.append(self.clock.now)
        return await super().__call__()


class Timed:
    """A handler of batches that take *seconds*, and remembers when each began."""

    def __init__(self, clock: FakeClock, seconds: float, batches: int = 5) -> None:
        self.clock = clock
        self.seconds = seconds
        self.batches = batches
        self.sizes: list[object] = []
        self.began: list[float] = []

    async def __call__(self, state: int) -> Answer[int]:
        self.began.append(self.clock.now)
        await self.clock.sleep(self.seconds)
        return DONE if state == self.batches - 1 else Next(state + 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(("delay", "rest"), [(0, 4.0), (1, 4.0), (7, 7.0)])
async def test_slow_rests_at_least_as_long_as_the_batch_took(
    delay: float, rest: float
) -> None:
    clock = FakeClock()
    handler = Timed(clock, 4.0)
    check = Scripted(clock, OK, Slow("busy"), Slow("busy"), OK)

    result = await testing.run(
        Count,
        clock,
        mode="sync",
        health_checks=[check],
        handle_batch=handler,
        delay_between_batches=delay,
    )

    rests = [
        b - a - 4.0 for a, b in zip(handler.began, handler.began[1:], strict=False)
    ]
    assert result.status is RunStatus.DONE
    assert rests == [delay, rest, rest, delay]


@pytest.mark.asyncio
async def test_slow_in_the_background_lasts_until_a_verdict_is_ok() -> None:
    clock = FakeClock()
    handler = Timed(clock, 1.0, batches=9)
    check = Scripted(clock, Slow("busy"), Slow("busy"), OK)

    await testing.run(
        Count, clock, health_checks=[check], health_interval=4, handle_batch=handler
    )

    # Half of the time until the third look, at 8 s; then all of it.
    assert handler.began == [0, 2, 4, 6, 8, 9, 10, 11, 12]


@pytest.mark.asyncio
@BOTH
async def test_slow_leaves_the_batch_size_as_it_is(mode: str) -> None:
    sizes: list[object] = []

    class Sized(Count):
        batch_size = 70

        async def handle_batch(self, state: int) -> Answer[int]:
            sizes.append(self.batch_size)
            return await super().handle_batch(state)

    with capture() as events:
        await testing.run(
            Sized,
            FakeClock(),
            mode=mode,
            health_checks=[ScriptedCheck([Slow("s")] * 9)],
        )

    assert sizes == [70] * 4
    assert {each["size"] for each in only(events, "batch.start")} == {70}
    assert "pace.change" not in names(events)


@pytest.mark.asyncio
async def test_a_single_operation_only_reports_slow() -> None:
    clock = FakeClock()

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            await clock.sleep(3)
            return Done(1)

    with capture() as events:
        result = await testing.run(
            Once, clock, mode="sync", health_checks=[ScriptedCheck([Slow("busy")])]
        )

    assert result.status is RunStatus.DONE
    assert result.duration == 3.0
    assert names(events) == ["start", "health_check.slow", "success", "stop"]


@pytest.mark.asyncio
async def test_sync_asks_again_every_interval_while_paused() -> None:
    clock = FakeClock()
    check = Scripted(clock, *[Pause("busy")] * 3)

    result = await testing.run(
        Count, clock, mode="sync", health_checks=[check], health_interval=7
    )

    assert result.status is RunStatus.DONE
    assert check.at[:4] == [0, 7, 14, 21]
    assert result.paused == 21.0


@pytest.mark.asyncio
async def test_async_goes_on_with_the_sampling_that_is_healthy_again() -> None:
    clock = FakeClock()
    handler = Timed(clock, 1.0, batches=2)
    check = Scripted(clock, *[Pause("busy")] * 3)

    result = await testing.run(
        Count, clock, health_checks=[check], health_interval=7, handle_batch=handler
    )

    assert result.status is RunStatus.DONE
    assert check.at[:4] == [0, 7, 14, 21]
    assert handler.began == [21, 22]
    assert result.paused == 21.0


@pytest.mark.asyncio
@BOTH
async def test_past_max_pause_the_run_halts_with_the_reasons(mode: str) -> None:
    clock = FakeClock()
    check = Scripted(clock, *[Pause("lag")] * 99)

    result = await testing.run(
        Count, clock, mode=mode, health_checks=[check], max_pause=timedelta(minutes=1)
    )

    assert result.status is RunStatus.HALTED
    assert [(r.check, r.answer) for r in result.reasons] == [
        ("Scripted", Pause("lag")),
    ]
    assert result.duration == result.paused == 60.0


@pytest.mark.asyncio
@BOTH
async def test_max_pause_is_the_length_of_one_pause(mode: str) -> None:
    clock = FakeClock()
    check = Scripted(clock, *[*[Pause("a")] * 3, OK] * 5)
    handler = Timed(clock, 5.0, batches=5)

    result = await testing.run(
        Count,
        clock,
        mode=mode,
        health_checks=[check],
        handle_batch=handler,
        health_interval=5,
        max_pause=18,
    )

    assert result.status is RunStatus.DONE
    assert result.paused > 18


@pytest.mark.asyncio
@BOTH
async def test_a_max_pause_of_nothing_halts_at_once(mode: str) -> None:
    result = await testing.run(
        Count,
        FakeClock(),
        mode=mode,
        health_checks=[ScriptedCheck([Pause("lag")])],
        max_pause=0,
    )

    assert (result.status, result.duration) == ("halted", 0.0)


@pytest.mark.asyncio
@BOTH
async def test_without_max_pause_a_pause_may_last_for_days(mode: str) -> None:
    result = await testing.run(
        Count,
        FakeClock(),
        mode=mode,
        health_checks=[ScriptedCheck([Pause("lag")] * 99)],
        health_interval=3600,
        max_pause=None,
    )

    assert result.status is RunStatus.DONE
    assert result.paused == 99 * 3600


@pytest.mark.asyncio
@BOTH
async def test_a_halt_in_a_pause_halts(mode: str) -> None:
    result = await testing.run(
        Count,
        FakeClock(),
        mode=mode,
        health_checks=[ScriptedCheck([Pause("lag"), Halt("down")])],
        health_interval=5,
    )

    assert (result.status, result.paused) == ("halted", 5.0)
    assert [reason.value for reason in result.reasons] == ["down"]


@pytest.mark.asyncio
@BOTH
async def test_stop_ends_a_pause_at_once(mode: str) -> None:
    """On the real clock: an hour would not pass."""
    check = ScriptedCheck([Pause("lag")] * 99)
    async with Count.start(
        mode=mode, health_checks=[check], health_interval=3600
    ) as run:
        while run.progress.status != "paused":
            await turns()
        run.stop()
        result = await asyncio.wait_for(run.wait(), 5)

    assert (result.status, result.batches) == ("stopped", 0)


@pytest.mark.asyncio
@BOTH
async def test_a_pause_that_was_wished_has_no_end_of_its_own(mode: str) -> None:
    clock = FakeClock()
    check = ScriptedCheck([])

    async with testing.start(
        Count, clock, mode=mode, health_checks=[check], max_pause=10
    ) as run:
        run.pause()
        while run.progress.status != "paused":
            await turns()
        await clock.sleep(1000)
        still = run.progress
        run.resume()
        result = await run.wait()

    assert still.status == "paused"
    assert "paused by" in str(still.reasons[0])
    assert result.status is RunStatus.DONE
    assert result.paused >= 1000


@pytest.mark.asyncio
async def test_a_wished_pause_in_the_middle_of_bad_health_does_not_count() -> None:
    """Bad health is waited out for `max_pause`; what people wish is not bad health."""
    clock = FakeClock()

    async def check() -> object:
        return Pause("lag") if clock.now < 1015 else OK

    with capture() as events:
        async with testing.start(
            Count,
            clock,
            mode="sync",
            health_checks=[check],
            health_interval=1,
            max_pause=20,
        ) as run:
            await clock.sleep(10)
            run.pause()
            await clock.sleep(1000)
            run.resume()
            result = await run.wait()

    assert result.status is RunStatus.DONE
    # Each is a pause of its own: for the lag, by somebody, and for the lag again.
    assert names(events).count("pause") == 3
    told = [
        (str(each["reasons"][0]), each["paused"]) for each in only(events, "resume")
    ]
    assert told == [
        ("check: lag", 10),
        ("paused by its handle", 1000),
        ("check: lag", 5),
    ]


@pytest.mark.asyncio
async def test_a_telemetry_handler_may_resume_what_was_paused() -> None:
    """The wish comes between the run's last look at the wishes and its waiting."""

    def resume(event: telemetry.Event) -> None:
        run.resume()

    telemetry.attach("resume", "backfill.pause", resume)
    try:
        async with Count.start() as run:
            run.pause()
            result = await asyncio.wait_for(run.wait(), 5)
    finally:
        telemetry.detach("resume")

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_handlers_halt_halts() -> None:
    async def handle(state: int) -> Answer[int]:
        return Halt("enough") if state == 2 else Next(state + 1, rows=1)

    with capture() as events:
        result = await Count.run(handle_batch=handle)

    assert (result.status, result.state, result.rows) == ("halted", 2, 2)
    assert names(events)[-2:] == ["batch.halt", "stop"]


@pytest.mark.asyncio
async def test_the_time_paused_is_summed_over_all_pauses() -> None:
    check = ScriptedCheck([Pause("a"), OK, Pause("a"), Pause("a"), OK])
    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), mode="sync", health_checks=[check], health_interval=10
        )

    assert [each["paused"] for each in only(events, "resume")] == [10.0, 20.0]
    assert only(events, "stop")[0]["paused"] == 30.0
    assert result.paused == 30.0
