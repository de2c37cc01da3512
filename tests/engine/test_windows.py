"""Outside of its windows a run is paused, and says until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import OK, HealthCheck, Pause, RunStatus, Verdict
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture, run, start
from tests.engine.pacing import Plant, planted
from tests.engine.sharing import names, only

HOUR = 3600.0
NIGHT = "22:00-06:00 Europe/Berlin"
WHY = "outside of the window 22:00-06:00 Europe/Berlin: until 2026-11-25 22:00 CET"


def hourly(clock: FakeClock, **overrides: Any) -> dict[str, Any]:
    """What a `Plant` is run with whose batches take an hour."""
    return planted(clock, fixed=HOUR, a_row=0.0, **overrides)


def hours(given: dict[str, Any]) -> list[float]:
    return [round(at / HOUR, 3) for at, _ in given["did"]]


@pytest.mark.asyncio
async def test_a_run_waits_for_its_window_to_open_and_at_its_end_again() -> None:
    # Half past eight in Berlin.
    clock = FakeClock(datetime(2026, 11, 25, 19, 30, tzinfo=UTC))
    given = hourly(clock, windows=NIGHT, batches=10)

    result = await run(Plant, clock, **given)

    assert result.status is RunStatus.DONE
    assert hours(given) == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 25.5, 26.5]
    assert result.waited == {"window": pytest.approx(17.5 * HOUR)}
    assert result.paused == pytest.approx(17.5 * HOUR)


@pytest.mark.asyncio
async def test_why_it_waits_is_an_event_a_line_and_progress() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))
    given = hourly(clock, windows=NIGHT, batches=1)

    with capture() as events, capture_logs() as lines:
        async with start(Plant, clock, **given) as under_way:
            await clock.sleep(HOUR)
            seen = under_way.progress
            await under_way.wait()

    assert (seen.status, [str(why) for why in seen.reasons]) == ("paused", [WHY])
    assert seen.reasons[0].answer == Pause(WHY)
    assert names(events).count("pause") == names(events).count("resume") == 1
    (resumed,) = only(events, "resume")
    assert [str(why) for why in resumed["reasons"]] == [WHY]
    (paused,) = [line for line in lines if line["event"] == "paused"]
    assert paused["reasons"] == [WHY]
    (after,) = [line for line in lines if line["event"] == "resumed"]
    assert after["after"] == f"paused 32400 s: {WHY}"


@pytest.mark.asyncio
async def test_the_hours_outside_are_no_bad_health_to_give_up_on() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))
    given = hourly(clock, windows=NIGHT, batches=1, max_pause=60)

    result = await run(
        Plant, clock, **given, mode="sync", health_checks=[ScriptedCheck([])]
    )

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_windows_may_be_taken_away_while_it_waits() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))
    given = hourly(clock, windows=NIGHT, batches=1)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(HOUR)
        under_way.set(windows=None)
        await under_way.wait()

    assert hours(given) == [1.0]


@pytest.mark.asyncio
async def test_windows_may_be_set_while_it_runs() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))
    given = hourly(clock, batches=3)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(1.5 * HOUR)
        under_way.set(windows=NIGHT)
        await under_way.wait()

    assert hours(given) == [0.0, 1.0, 9.0]


@pytest.mark.asyncio
async def test_who_waits_for_a_window_stops_at_once() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))

    async with start(Plant, clock, **hourly(clock, windows=NIGHT)) as under_way:
        await clock.sleep(10.0)
        under_way.stop()
        result = await under_way.wait()

    assert result.status is RunStatus.STOPPED
    assert clock.now < 60


@pytest.mark.asyncio
async def test_a_pause_that_outlasts_the_opening_is_somebodys_from_then_on() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 20, tzinfo=UTC))
    given = hourly(clock, windows=NIGHT, batches=1)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(HOUR / 2)
        under_way.pause()
        await clock.sleep(HOUR)
        under_way.resume()
        result = await under_way.wait()

    assert result.waited == {"window": HOUR / 2, "operator": HOUR}


def lagging_until(clock: FakeClock, until: float) -> HealthCheck:
    async def lag() -> Verdict:
        return Pause("behind") if clock.now < until else OK

    return HealthCheck(lag, name="lag")


@pytest.mark.asyncio
async def test_a_pause_for_health_after_one_for_a_window_is_told_as_its_own() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))
    opening = 9 * HOUR
    given = hourly(clock, windows=NIGHT, batches=1, mode="sync")
    check = lagging_until(clock, opening + 10)

    with capture() as events, capture_logs() as lines:
        result = await run(Plant, clock, **given, health_checks=[check])

    told = [name for name in names(events) if name in ("pause", "resume")]
    pauses, resumes = only(events, "pause"), only(events, "resume")
    assert told == ["pause", "resume"] * 2
    why = [[str(reason) for reason in each["reasons"]] for each in (*pauses, *resumes)]
    assert why == [[WHY], ["lag: behind"]] * 2
    assert [each["paused"] for each in resumes] == [opening, 10.0]
    assert sum(each["paused"] for each in resumes) == result.paused
    assert [line["after"] for line in lines if line["event"] == "resumed"] == [
        f"paused 32400 s: {WHY}",
        "paused 10 s: lag: behind",
    ]
    assert result.waited == {"window": opening, "lag": 10.0}


@pytest.mark.asyncio
async def test_a_pause_whose_reason_says_other_numbers_is_still_the_same() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 22, tzinfo=UTC))

    async def lag() -> Verdict:
        return Pause(f"{20 - clock.now:.0f} s") if clock.now < 20 else OK

    with capture() as events:
        await run(
            Plant,
            clock,
            **hourly(clock, batches=1, mode="sync"),
            health_checks=[HealthCheck(lag, name="lag")],
        )

    assert names(events).count("pause") == 1
    assert [each["paused"] for each in only(events, "resume")] == [20.0]
