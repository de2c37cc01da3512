"""What a health check may say, and what it comes to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    HealthCheck,
    MemoryStore,
    Next,
    Pause,
    RunStatus,
    Slow,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import (
    BOTH,
    Count,
    HealthAsked,
    answering,
    never,
    turns,
)


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("healthy", [OK, None, True], ids=repr)
async def test_ok_none_and_true_are_healthy(mode: str, healthy: object) -> None:
    result = await Count.run(mode=mode, health_checks=[answering(healthy)])

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@BOTH
async def test_halt_means_halt_with_its_reason(mode: str) -> None:
    result = await Count.run(mode=mode, health_checks=[answering(Halt("down"))])

    (reason,) = result.reasons
    assert (result.status, result.batches) == ("halted", 0)
    assert (reason.check, reason.answer, reason.value, reason.error) == (
        "check",
        Halt("down"),
        "down",
        None,
    )
    assert "down" in str(reason)


@pytest.mark.asyncio
async def test_false_is_a_halt_with_the_name_of_the_check() -> None:
    async def disk_is_free() -> bool:
        return False

    result = await Count.run(health_checks=[disk_is_free])

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert reason.answer == Halt("disk_is_free")
    assert reason.value == "disk_is_free"
    assert str(reason) == "disk_is_free"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "nonsense",
    [
        *[0, 1, "", "ok", ValueError("x"), [], (OK,)],
        *[Halt, Slow, Pause, Fail(1), DONE, Next(1)],
    ],
    ids=repr,
)
async def test_everything_else_is_a_halt_that_names_check_and_value(
    nonsense: object,
) -> None:
    async def replica() -> object:
        return nonsense

    result = await Count.run(health_checks=[replica])

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, errors.InvalidHealthResult)
    assert reason.answer == Halt(reason.error)
    assert reason.value is nonsense
    assert "replica" in str(reason)
    assert repr(nonsense) in str(reason)


@pytest.mark.asyncio
@BOTH
async def test_a_check_that_raises_halts_and_the_checkpoint_stays(mode: str) -> None:
    boom = ConnectionError("refused")
    heard: list[object] = []
    checkpoint = Checkpoint(MemoryStore(), "raising")
    asked = 0

    async def database() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise boom

    result = await testing.run(
        Count,
        FakeClock(),
        mode=mode,
        health_checks=[database],
        health_interval=1,
        delay_between_batches=1.0 if mode == "async" else 0,
        checkpoint=checkpoint,
        on_error=lambda error, state: heard.append(error),
    )

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert result.error is None
    assert reason.error is boom
    assert reason.answer == Halt(boom)
    assert "database" in str(reason)
    assert "refused" in str(reason)
    assert heard == []
    kept = await checkpoint.store.load("raising")  # type: ignore[attr-defined]
    assert kept.batches == result.batches
    assert kept.state == result.state
    assert 1 <= result.batches <= 2


@pytest.mark.asyncio
@BOTH
async def test_a_check_that_hangs_halts(mode: str) -> None:
    cancelled: list[str] = []

    async def replica() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            cancelled.append("replica")
            raise

    result = await Count.run(mode=mode, health_checks=[replica], health_timeout=0.01)

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, TimeoutError)
    assert isinstance(reason.error, errors.HealthCheckTimeout)
    assert "replica" in str(reason)
    assert cancelled == ["replica"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("on_error", "answer"), [("halt", Halt), ("pause", Pause), ("slow", Slow)]
)
async def test_on_error_says_what_trouble_counts_as(
    on_error: Any, answer: type[Halt | Pause | Slow]
) -> None:
    boom = ValueError("x")
    asked = 0

    async def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise boom

    with capture() as events:
        result = await testing.run(
            Count,
            FakeClock(),
            mode="sync",
            health_checks=[HealthCheck(check, on_error=on_error)],
        )

    if on_error == "halt":
        assert result.status is RunStatus.HALTED
        assert result.reasons[0].answer == Halt(boom)
        return
    told = {"pause": "backfill.pause", "slow": "backfill.health_check.slow"}
    (event,) = [event for event in events if event.name == told[on_error]]
    reasons = event.metadata["reasons"]
    assert result.status is RunStatus.DONE
    assert [each.answer for each in reasons] == [answer(boom)]  # type: ignore[attr-defined]
    assert reasons[0].error is boom  # type: ignore[index]


@pytest.mark.asyncio
async def test_on_error_holds_for_nonsense_and_for_a_timeout() -> None:
    def run(check: Any, timeout: float) -> Any:
        return testing.run(
            Count,
            FakeClock(),
            mode="sync",
            max_pause=0,
            health_timeout=timeout,
            health_checks=[HealthCheck(check, on_error="pause")],
        )

    nonsense = await run(answering(17), 5)
    late = await run(never, 0.01)

    assert isinstance(nonsense.reasons[0].answer, Pause)
    assert isinstance(nonsense.reasons[0].error, errors.InvalidHealthResult)
    assert isinstance(late.reasons[0].answer, Pause)
    assert isinstance(late.reasons[0].error, errors.HealthCheckTimeout)


@pytest.mark.asyncio
@BOTH
async def test_a_stray_cancellation_in_a_check_is_unhealthy(mode: str) -> None:
    async def check() -> None:
        task = asyncio.create_task(never())
        await turns(1)
        task.cancel()
        await task

    result = await Count.run(mode=mode, health_checks=[check])

    assert result.status is RunStatus.HALTED
    assert isinstance(result.reasons[0].error, asyncio.CancelledError)


@pytest.mark.asyncio
async def test_among_equals_the_first_declared_speaks() -> None:
    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            return Done(await health_check())

    result = await Once.run(
        health_checks=[
            answering(OK),
            answering(Slow("first")),
            answering(Slow("second")),
        ]
    )

    assert result.result == Slow("first")
