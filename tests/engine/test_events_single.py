"""What is told of a single operation, in every ending, compared whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    Done,
    Fail,
    Halt,
    Slow,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import (
    HealthAsked,
    names,
    never,
    told,
)
from tests.engine.telling import Single, results_of, started, stopped


@pytest.mark.asyncio
async def test_events_of_a_single_success() -> None:
    with capture() as events:
        await testing.run(Single, FakeClock())

    assert told(events) == [
        started(None),
        (
            "success",
            {"duration": 0.0},
            {"state": None, "result": "made", "attempt": 1},
        ),
        stopped("done", None),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "event", "outcome"),
    [(Halt("why"), "halt", "halted"), (Fail("why"), "error", "failed")],
)
async def test_events_of_a_single_halt_and_failure(
    answer: object, event: str, outcome: str
) -> None:
    async def handle(health_check: HealthAsked) -> object:
        return answer

    with capture() as events:
        await testing.run(Single, FakeClock(), handle=handle)

    more: dict[str, Any] = {"error": "why"} if outcome == "failed" else {}
    assert told(events) == [
        started(None),
        (event, {"duration": 0.0}, {"state": None, "error": "why", "attempt": 1}),
        stopped(outcome, None, **more),
    ]


@pytest.mark.asyncio
async def test_events_of_a_single_halting_verdict() -> None:
    check = ScriptedCheck([Halt("down")])
    with capture() as events:
        result = await testing.run(Single, FakeClock(), health_checks=[check])

    assert names(events) == ["start", "halt", "stop"]
    assert events[1].measurements == {}
    assert [found.answer for found in results_of(events[1])] == [Halt("down")]
    assert events[1].metadata["reasons"] == result.reasons
    assert told(events)[-1] == stopped("halted", None)


@pytest.mark.asyncio
async def test_events_of_a_single_exception() -> None:
    error = ValueError("x")

    async def handle(health_check: HealthAsked) -> Done:
        raise error

    with capture() as events:
        await testing.run(Single, FakeClock(), handle=handle)

    assert told(events) == [
        started(None),
        ("exception", {"duration": 0.0}, {"state": None, "error": error, "attempt": 1}),
        stopped("failed", None, error=error),
    ]


@pytest.mark.asyncio
async def test_events_of_a_single_timeout() -> None:
    async def handle(health_check: HealthAsked) -> Done:
        await never()
        return Done()

    with capture() as events:
        result = await testing.run(Single, FakeClock(), handle=handle, timeout=0.01)

    assert names(events) == ["start", "timeout", "stop"]
    assert events[1].metadata["error"] is result.error
    assert isinstance(result.error, errors.BatchTimeout)


@pytest.mark.asyncio
async def test_a_cancelled_single_operation_has_only_its_stop() -> None:
    begun = asyncio.Event()

    async def handle(health_check: HealthAsked) -> Done:
        begun.set()
        await never()
        return Done()

    with capture() as events:
        task = asyncio.create_task(testing.run(Single, FakeClock(), handle=handle))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

    assert told(events) == [
        started(None),
        (
            "stop",
            {"duration": 0.0, "batches": 0, "rows": 0, "paused": 0.0},
            {"outcome": "cancelled"},
        ),
    ]


@pytest.mark.asyncio
async def test_events_of_a_single_slow_start() -> None:
    check = ScriptedCheck([Slow("busy")])
    with capture() as events:
        await testing.run(Single, FakeClock(), health_checks=[check])

    assert names(events) == ["start", "health_check.slow", "success", "stop"]
