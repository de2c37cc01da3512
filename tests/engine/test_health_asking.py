"""When the checks are asked, and how their findings are judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    CheckResult,
    Done,
    Halt,
    HealthCheck,
    Next,
    Pause,
    RunStatus,
    Slow,
    Verdict,
    errors,
    quorum,
    testing,
    weighted,
    worst_of,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import (
    BOTH,
    Count,
    HealthAsked,
    answering,
    names,
    turns,
)


@pytest.mark.asyncio
async def test_sync_asks_before_every_batch_the_first_included() -> None:
    order: list[str] = []

    async def check() -> None:
        order.append("check")

    async def handle(state: int) -> Answer[int]:
        order.append(f"batch {state}")
        return DONE if state == 1 else Next(state + 1)

    await Count.run(mode="sync", health_checks=[check], handle_batch=handle)

    assert order == ["check", "batch 0", "check", "batch 1"]


@pytest.mark.asyncio
async def test_async_waits_for_the_first_sampling_and_no_other() -> None:
    first, others = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    async def check() -> None:
        asked = order.count("asked") + 1
        order.append("asked")
        await (first if asked == 1 else others).wait()
        order.append("answered")

    async def handle(state: int) -> Answer[int]:
        order.append(f"batch {state}")
        # The second sampling is under way by now, and stays so.
        while order.count("asked") < 2:
            await asyncio.sleep(0)
        return DONE if state == 2 else Next(state + 1)

    class Impatient(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await turns(50)

    task = asyncio.create_task(
        testing.run(Count, Impatient(), health_checks=[check], handle_batch=handle)
    )
    await turns()
    before = list(order)
    first.set()
    result = await task

    assert before == ["asked"]
    assert result.status is RunStatus.DONE
    assert order == ["asked", "answered", "batch 0", "asked", "batch 1", "batch 2"]


@pytest.mark.asyncio
async def test_the_next_sampling_starts_an_interval_after_the_end_of_the_last() -> None:
    clock = FakeClock()
    started: list[float] = []

    async def check() -> None:
        started.append(clock.now)
        await clock.sleep(3)

    async def handle(state: int) -> Answer[int]:
        await clock.sleep(20)
        return DONE

    await testing.run(
        Count, clock, health_checks=[check], health_interval=5, handle_batch=handle
    )

    assert started == [0, 8, 16]


@pytest.mark.asyncio
@BOTH
async def test_a_single_operation_is_asked_for_before_it_begins(mode: str) -> None:
    begun: list[str] = []

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            begun.append("handle")
            return Done()

    result = await Once.run(mode=mode, health_checks=[answering(Halt("down"))])

    assert result.status is RunStatus.HALTED
    assert begun == []


@pytest.mark.asyncio
async def test_all_checks_are_asked_at_the_same_time() -> None:
    meeting = asyncio.Event()

    async def first() -> None:
        await meeting.wait()

    async def second() -> None:
        meeting.set()

    result = await Count.run(mode="sync", health_checks=[first, second])

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@BOTH
async def test_all_reasons_are_kept_in_the_order_of_declaration(mode: str) -> None:
    later = asyncio.Event()
    boom = ValueError("boom")

    async def first() -> Verdict:
        await later.wait()
        return Slow("1")

    async def second() -> Verdict:
        return OK

    async def third() -> Verdict:
        later.set()
        raise boom

    async def fourth() -> Verdict:
        return Pause("4")

    result = await Count.run(mode=mode, health_checks=[first, second, third, fourth])

    assert [(r.check, r.answer, r.value, r.error) for r in result.reasons] == [
        ("first", Slow("1"), "1", None),
        ("third", Halt(boom), result.reasons[1].value, boom),
        ("fourth", Pause("4"), "4", None),
    ]


@pytest.mark.asyncio
async def test_a_handlers_halt_has_no_check_in_its_reason() -> None:
    async def handle(state: int) -> Answer[int]:
        return Halt("quota used up")

    result = await Count.run(handle_batch=handle)

    (reason,) = result.reasons
    assert reason.check is None
    assert reason.answer == Halt("quota used up")
    assert reason.value == "quota used up"
    assert reason.error is None
    assert str(reason) == "quota used up"


@pytest.mark.asyncio
@BOTH
async def test_severity_is_applied(mode: str) -> None:
    seen: list[Sequence[CheckResult]] = []

    def evaluate(results: Sequence[CheckResult]) -> Verdict:
        seen.append(list(results))
        return worst_of(results)

    with capture() as events:
        result = await testing.run(
            Count,
            FakeClock(),
            mode=mode,
            max_batches=1,
            evaluate=evaluate,
            health_checks=[
                HealthCheck(answering(Halt("w")), name="warns", severity="warning"),
                HealthCheck(
                    answering(Halt("i")), name="informs", severity="info", weight=2
                ),
                HealthCheck(answering(OK), name="fine"),
            ],
        )

    assert result.status is RunStatus.STOPPED
    assert [(r.name, r.answer, r.weight, r.severity) for r in seen[0]] == [
        ("warns", Slow("w"), 1.0, "warning"),
        ("informs", OK, 2.0, "info"),
        ("fine", OK, 1.0, "critical"),
    ]
    assert seen[0][0].reason is not None
    assert seen[0][0].reason.answer == Slow("w")
    assert "health_check.slow" in names(events)


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("wrong", [None, True, False, 0, Halt, "halt"], ids=repr)
async def test_an_evaluation_that_answers_nonsense_halts_the_run(
    mode: str, wrong: object
) -> None:
    result = await Count.run(
        mode=mode,
        health_checks=[answering(OK)],
        evaluate=lambda results: wrong,
    )

    reason = result.reasons[-1]
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, errors.InvalidHealthResult)
    assert reason.error.check == "evaluate"
    assert reason.answer == Halt(reason.error)
    assert repr(wrong) in str(reason)


@pytest.mark.asyncio
@BOTH
async def test_an_evaluation_that_raises_halts_the_run(mode: str) -> None:
    boom = ZeroDivisionError("by zero")

    def evaluate(results: Sequence[CheckResult]) -> Verdict:
        raise boom

    result = await Count.run(
        mode=mode, health_checks=[answering(OK)], evaluate=evaluate
    )

    reason = result.reasons[-1]
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, errors.InvalidHealthResult)
    assert reason.error.__cause__ is boom


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("evaluate", "status"),
    [
        (worst_of, "halted"),
        (quorum(1 / 3), "halted"),
        (quorum(0.5), "done"),
        (weighted(5), "halted"),
        (weighted(5.5), "done"),
        (lambda results: Halt("because I say so"), "halted"),
    ],
)
async def test_evaluations(evaluate: Any, status: str) -> None:
    result = await testing.run(
        Count,
        FakeClock(),
        evaluate=evaluate,
        health_checks=[
            HealthCheck(answering(OK), name="a"),
            HealthCheck(answering(Halt("b")), name="b", weight=5),
            HealthCheck(answering(OK), name="c"),
            HealthCheck(answering(Halt("d")), name="d", weight=9, severity="info"),
        ],
    )

    assert result.status == status


@pytest.mark.asyncio
async def test_a_slow_first_sampling_is_waited_for_and_is_no_pause() -> None:
    gate = asyncio.Event()

    async def check() -> None:
        await gate.wait()

    with capture() as events:
        task = asyncio.create_task(Count.run(health_checks=[check], max_pause=0))
        await turns(50)
        waiting = names(events)
        gate.set()
        result = await task

    assert waiting == ["start"]
    assert result.status is RunStatus.DONE
    assert "pause" not in names(events)
