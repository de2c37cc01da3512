"""How near to its limit a check is, where it can tell."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    OK,
    Adaptive,
    CheckResult,
    HealthCheck,
    HealthContext,
    Slow,
    Verdict,
)
from adaptive_backfill.testing import FakeClock, capture, run
from tests.engine.pacing import Plant, planted
from tests.engine.sharing import Count, only


class Gauge:
    """A check that knows how near to its limit it is."""

    def __init__(self, answer: Verdict, load: object) -> None:
        self.answer = answer
        self.answers = load
        self.told: list[object] = []

    async def __call__(self) -> Verdict:
        self.told.append("asked")
        return self.answer

    def load(self, context: HealthContext) -> Any:
        self.told.append(context.name)
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


async def found(check: object) -> CheckResult:
    """Return what a run's sampler finds with *check*."""
    seen: list[CheckResult] = []

    def evaluate(results: Any) -> Verdict:
        seen.extend(results)
        return OK

    await run(Count, FakeClock(), mode="sync", health_checks=[check], evaluate=evaluate)
    return seen[0]


@pytest.mark.asyncio
async def test_a_check_that_tells_its_load_is_asked_for_it_after_its_answer() -> None:
    gauge = Gauge(Slow("busy"), 1.25)

    result = await found(HealthCheck(gauge, name="load"))

    assert (result.answer, result.load) == (Slow("busy"), 1.25)
    assert gauge.told[:2] == ["asked", "tests.engine.sharing.Count"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "load", [None, "high", True, -1.0, float("-inf"), RuntimeError("no look yet")]
)
async def test_a_load_that_is_no_number_says_nothing(load: object) -> None:
    result = await found(HealthCheck(Gauge(OK, load), name="load"))

    assert (result.answer, result.load) == (OK, None)


@pytest.mark.asyncio
@pytest.mark.parametrize("load", [float("nan"), float("inf")])
async def test_a_load_that_cannot_be_said_is_the_pace_s_to_judge(load: float) -> None:
    result = await found(HealthCheck(Gauge(OK, load), name="load"))

    assert str(result.load) == str(load)


@pytest.mark.asyncio
@pytest.mark.parametrize("load", [float("nan"), float("inf")])
async def test_a_load_that_cannot_be_said_holds_a_run_back(load: float) -> None:
    clock = FakeClock()
    gauges = [Gauge(OK, 0.1), Gauge(OK, load), Gauge(OK, 0.2)]
    given = planted(clock, batches=2, health_checks=gauges, pace=Adaptive())

    with capture() as events:
        await run(Plant, clock, **given)

    assert only(events, "pace.sample")[0]["level"] < 0.5


@pytest.mark.asyncio
async def test_a_load_may_do_without_the_context() -> None:
    class Plain(Gauge):
        def load(self) -> float:  # type: ignore[override]
            return 0.5

    result = await found(HealthCheck(Plain(OK, None), name="load"))

    assert result.load == 0.5


@pytest.mark.asyncio
async def test_a_load_that_raises_is_told_once_a_run() -> None:
    gauge = Gauge(OK, RuntimeError("no look yet"))

    with capture_logs() as logs:
        await run(
            Count,
            FakeClock(),
            mode="sync",
            health_checks=[HealthCheck(gauge, name="queue")],
        )

    assert len(gauge.told) > 2
    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert line["event"] == "health check tells no load"
    assert line["check"] == "queue"
    assert "no look yet" in line["error"]


@pytest.mark.asyncio
async def test_a_plain_check_has_no_load() -> None:
    result = await found(lambda: OK)

    assert result.load is None
