"""With a pace, or a duty, a run works as much of the time as it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from adaptive_backfill import (
    OK,
    Adaptive,
    Answer,
    Checkpoint,
    HealthCheck,
    MemoryStore,
    Pause,
    Retry,
    RunStatus,
    Slow,
    Verdict,
)
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.saving import PlainUnit
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture, run, start
from tests.engine.pacing import Gauge, Plant, gauge, planted
from tests.engine.sharing import names, only


def began(given: dict[str, Any]) -> list[float]:
    return [at for at, _ in given["did"]]


def steps(times: Sequence[float]) -> list[float]:
    """Seconds from each of *times* to the next."""
    return [round(b - a, 6) for a, b in pairwise(times)]


def second(clock: FakeClock, **overrides: Any) -> dict[str, Any]:
    """What a `Plant` is run with whose batches take a second."""
    return planted(clock, fixed=1.0, a_row=0.0, **overrides)


@pytest.mark.asyncio
async def test_a_duty_rests_so_as_to_work_that_share_of_the_time() -> None:
    clock = FakeClock()
    given = second(clock, duty=0.25, batches=4)

    result = await run(Plant, clock, **given)

    assert steps(began(given)) == [4.0, 4.0, 4.0]
    assert (result.busy, result.delayed) == (4.0, 12.0)


@pytest.mark.asyncio
async def test_a_longer_declared_delay_is_the_rest() -> None:
    clock = FakeClock()
    given = second(clock, duty=0.5, delay_between_batches=3, batches=3)

    await run(Plant, clock, **given)

    assert steps(began(given)) == [4.0, 4.0]


@pytest.mark.asyncio
async def test_rests_that_are_too_short_to_be_slept_are_owed() -> None:
    clock = FakeClock()
    given = planted(clock, fixed=0.002, a_row=0.0, duty=0.5, batches=9)

    await run(Plant, clock, **given)

    # Each batch owes 2 ms, and sleeping begins with 5.
    assert steps(began(given)) == [
        *[0.002, 0.002, 0.008],
        *[0.002, 0.002, 0.008],
        *[0.002, 0.002],
    ]


@pytest.mark.asyncio
async def test_a_duty_that_is_raised_while_it_rests_is_heard_at_once() -> None:
    clock = FakeClock()
    given = second(clock, duty=0.1, batches=3)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(4.0)
        under_way.set(duty=1.0)
        await under_way.wait()

    assert began(given) == [0.0, 4.0, 5.0]


@pytest.mark.asyncio
async def test_a_pause_that_is_wished_while_it_rests_is_heard_at_once() -> None:
    clock = FakeClock()
    given = second(clock, duty=0.05, batches=2)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(4.0)
        under_way.pause()
        await clock.sleep(1.0)
        seen = under_way.progress.status
        under_way.resume()
        result = await under_way.wait()

    assert seen == "paused"
    assert result.paused == 1.0


@pytest.mark.asyncio
async def test_a_declared_delay_is_kept_whatever_is_set_meanwhile() -> None:
    clock = FakeClock()
    given = second(clock, duty=0.1, delay_between_batches=6, batches=2)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(4.0)
        under_way.set(duty=1.0)
        await under_way.wait()

    assert began(given) == [0.0, 7.0]


@pytest.mark.asyncio
async def test_a_gauge_at_its_limit_has_the_run_work_less() -> None:
    clock = FakeClock()
    loads = gauge(clock, lambda now: 1.2 if now > 20 else 0.8)
    given = second(clock, pace=Adaptive(), health_checks=[loads], batches=40)

    with capture() as events:
        await run(Plant, clock, **given)

    before = [step for at, step in _timed(given) if at < 20]
    after = [step for at, step in _timed(given) if at > 40]
    assert max(before[3:]) <= 2.0
    assert min(after) > 2.0
    assert any(
        "load 1.20" in each["reasons"][0] for each in only(events, "pace.change")
    )


def _timed(given: dict[str, Any]) -> list[tuple[float, float]]:
    return list(zip(began(given), steps(began(given)), strict=False))


@pytest.mark.asyncio
async def test_a_run_is_back_at_full_pace_once_the_load_goes() -> None:
    clock = FakeClock()
    loads = gauge(clock, lambda now: 1.2 if 20 < now < 60 else 0.3)
    given = second(clock, pace=Adaptive(), health_checks=[loads], batches=90)

    await run(Plant, clock, **given)

    late = [step for at, step in _timed(given) if at > 125]
    assert late
    assert max(late) <= 1.12


@pytest.mark.asyncio
async def test_with_a_pace_slow_leaves_half_of_the_time_and_stays_there() -> None:
    clock = FakeClock()
    checks = [ScriptedCheck([Slow("busy")] * 99)]
    given = second(clock, pace=Adaptive(), health_checks=checks, batches=30)

    with capture() as events:
        await run(Plant, clock, **given)

    assert steps(began(given))[-1] == pytest.approx(2.0)
    assert "health_check.slow" in names(events)


@pytest.mark.asyncio
async def test_without_any_check_a_run_works_all_of_the_time() -> None:
    clock = FakeClock()
    given = second(clock, pace=Adaptive(), batches=20)

    await run(Plant, clock, **given)

    assert steps(began(given))[-1] == 1.0


@pytest.mark.asyncio
async def test_a_run_that_was_paused_goes_on_more_gently() -> None:
    clock = FakeClock()

    def answer(now: float) -> Verdict:
        return Pause("lag 9 s > 5 s") if 20 <= now < 40 else OK

    check = HealthCheck(Gauge(clock, lambda now: 0.8, answer), name="lag")
    given = second(clock, pace=Adaptive(), health_checks=[check], batches=60)

    result = await run(Plant, clock, **given)

    first = next(step for at, step in _timed(given) if at >= 40)
    assert result.status is RunStatus.DONE
    assert first >= 1.5
    assert result.waited == {"lag": result.paused}


@pytest.mark.asyncio
async def test_where_checks_are_asked_in_every_batch_one_look_a_second_counts() -> None:
    clock = FakeClock()
    given = planted(
        clock,
        fixed=0.1,
        a_row=0.0,
        pace=Adaptive(),
        mode="sync",
        health_checks=[gauge(clock, lambda now: 0.5)],
        batches=50,
    )

    with capture() as events:
        await run(Plant, clock, **given)

    samples = only(events, "pace.sample")
    assert 4 < len(samples) <= clock.now + 1
    assert all(each["seconds"] >= 1.0 for each in samples[1:])
    assert {each["load"] for each in samples} == {0.5}
    assert "rate" not in samples[0]


@pytest.mark.asyncio
async def test_a_sample_has_the_rate_since_the_one_before_it() -> None:
    clock = FakeClock()
    pace = Adaptive(min_size=10, max_size=10)
    given = second(clock, pace=pace, batches=40)

    with capture() as events:
        await run(Plant, clock, **given)

    samples = only(events, "pace.sample")
    # Without checks one each `health_interval`, because time passes all the same.
    assert [each["seconds"] for each in samples[1:]] == [5.0] * 8
    assert [each["rate"] for each in samples[2:]] == [10.0] * 7
    assert all("load" not in each for each in samples)


@pytest.mark.asyncio
async def test_a_sample_over_a_pause_has_no_rate() -> None:
    clock = FakeClock()
    given = second(clock, pace=Adaptive(), batches=30)

    with capture() as events:
        async with start(Plant, clock, **given) as under_way:
            await clock.sleep(11.5)
            under_way.pause()
            await clock.sleep(20.0)
            under_way.resume()
            await under_way.wait()

    over = [each for each in only(events, "pace.sample") if each["seconds"] > 10]
    assert len(over) == 1
    assert "rate" not in over[0]


@pytest.mark.asyncio
async def test_the_wait_for_another_try_is_kept_whatever_is_set_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    monkeypatch.setattr("random.random", lambda: 1.0)
    tried: list[float] = []

    class Fails(Plant):
        async def handle_batch(self, state: int) -> Answer[int]:
            tried.append(clock.now)
            if len(tried) == 1:
                raise RuntimeError("again")
            return await super().handle_batch(state)

    about = second(clock, duty=0.5, retry=Retry(attempts=2, base=8.0), batches=1)
    async with start(Fails, clock, **about) as under_way:
        await clock.sleep(2.0)
        under_way.set(duty=1.0)
        await under_way.wait()

    assert tried[:2] == [0.0, 8.0]


@pytest.mark.asyncio
@pytest.mark.parametrize(("seconds", "given_back"), [(0.02, 0), (1.0, 3)])
async def test_a_short_rest_holds_on_to_what_the_next_batch_needs(
    seconds: float, given_back: int
) -> None:
    clock = FakeClock()
    rested: list[float] = []

    class Holding(PlainUnit):
        async def rest(self) -> None:
            rested.append(clock.now)

    class Held(Plant):
        @classmethod
        def _adapted(cls, prepared: Prepared) -> Prepared:
            return prepared._replace(work=replace(prepared.work, unit=Holding))

    given = second(
        clock,
        delay_between_batches=seconds,
        checkpoint=Checkpoint(MemoryStore()),
        batches=3,
    )
    await run(Held, clock, **given)

    # And once at the end.
    assert len(rested) == given_back + 1


@pytest.mark.asyncio
async def test_the_worst_load_counts_and_what_is_for_information_does_not() -> None:
    clock = FakeClock()
    checks = [
        gauge(clock, lambda now: 0.3),
        HealthCheck(Gauge(clock, lambda now: 0.6), name="b"),
        HealthCheck(Gauge(clock, lambda now: 5.0), name="c", severity="info"),
    ]
    given = second(clock, pace=Adaptive(), health_checks=checks, batches=8)

    with capture() as events:
        await run(Plant, clock, **given)

    assert {each["load"] for each in only(events, "pace.sample")} == {0.6}


@pytest.mark.asyncio
async def test_progress_tells_the_pace_and_why() -> None:
    clock = FakeClock()
    loads = gauge(clock, lambda now: 2.0)
    pace = Adaptive(min_size=10, max_size=10)
    given = second(clock, pace=pace, duty=0.8, health_checks=[loads], batches=6)

    async with start(Plant, clock, **given) as under_way:
        await under_way.wait()
        seen = under_way.progress

    assert seen.level is not None
    assert seen.level < 0.5
    assert seen.duty == pytest.approx(seen.level * 0.8)
    assert seen.pace is not None
    assert "load 2.00" in seen.pace


@pytest.mark.asyncio
async def test_progress_without_a_pace_has_no_level_and_all_of_the_time() -> None:
    clock = FakeClock()

    async with start(Plant, clock, **second(clock, batches=2)) as under_way:
        await under_way.wait()
        seen = under_way.progress

    assert (seen.level, seen.duty, seen.pace) == (None, 1.0, None)


@pytest.mark.asyncio
async def test_workers_cannot_be_set_where_there_is_one() -> None:
    clock = FakeClock()

    async with start(Plant, clock, **second(clock, batches=2)) as under_way:
        with pytest.raises(ConfigurationError, match="'workers' cannot be set"):
            under_way.set(workers=2)
        with pytest.raises(
            ConfigurationError, match="'max_wal_per_second' cannot be set"
        ):
            under_way.set(max_wal_per_second=5)
