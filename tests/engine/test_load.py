"""How near to its limit a check is, where it can tell."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill import OK, CheckResult, HealthCheck, HealthContext, Slow, Verdict
from adaptive_backfill.testing import FakeClock, run
from tests.engine.sharing import Count


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
    "load", [None, "high", True, float("nan"), -1.0, RuntimeError("no look yet")]
)
async def test_a_load_that_is_no_number_says_nothing(load: object) -> None:
    result = await found(HealthCheck(Gauge(OK, load), name="load"))

    assert (result.answer, result.load) == (OK, None)


@pytest.mark.asyncio
async def test_a_plain_check_has_no_load() -> None:
    result = await found(lambda: OK)

    assert result.load is None
