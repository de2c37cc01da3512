"""What is told of batches, in every ending, compared whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    Pause,
    Retry,
    Slow,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import (
    AsyncStore,
    Count,
    names,
    never,
    only,
    told,
)
from tests.engine.telling import START, began, results_of, started, stopped


@pytest.mark.asyncio
async def test_events_of_a_run_that_is_done() -> None:
    clock = FakeClock()

    async def handle(state: int) -> Answer[int]:
        await clock.sleep(2)
        return Next(1, rows=10) if state == 0 else Done("all", rows=5)

    with capture() as events:
        await testing.run(Count, clock, handle_batch=handle, batch_size=100)

    assert told(events) == [
        START,
        began(1, 0, size=100),
        (
            "batch.success",
            {"batch": 1, "duration": 2.0, "rows": 10},
            {"state": 0, "next_state": 1, "attempt": 1},
        ),
        began(2, 1, size=100),
        (
            "batch.done",
            {"batch": 2, "duration": 2.0, "rows": 5},
            {"state": 1, "result": "all", "attempt": 1},
        ),
        stopped("done", 1, 2, 15, duration=4.0),
    ]


@pytest.mark.asyncio
async def test_what_has_no_value_is_not_measured() -> None:
    async def handle(state: int) -> Answer[int]:
        return Next(1) if state == 0 else DONE

    with capture() as events:
        await testing.run(Count, FakeClock(), handle_batch=handle)

    assert told(events) == [
        START,
        began(1, 0),
        (
            "batch.success",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "next_state": 1, "attempt": 1},
        ),
        began(2, 1),
        (
            "batch.done",
            {"batch": 2, "duration": 0.0},
            {"state": 1, "result": None, "attempt": 1},
        ),
        stopped("done", 1, 1, 0),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "event", "outcome"),
    [(Halt("why"), "batch.halt", "halted"), (Fail("why"), "batch.error", "failed")],
)
async def test_events_of_a_halt_and_of_a_failure(
    answer: Halt | Fail, event: str, outcome: str
) -> None:
    async def handle(state: int) -> Answer[int]:
        return answer

    with capture() as events:
        await testing.run(Count, FakeClock(), handle_batch=handle)

    more: dict[str, Any] = {"error": "why"} if outcome == "failed" else {}
    assert told(events) == [
        START,
        began(1, 0),
        (
            event,
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": "why", "attempt": 1},
        ),
        stopped(outcome, 0, **more),
    ]


@pytest.mark.asyncio
async def test_events_of_an_exception() -> None:
    error = ValueError("x")

    async def handle(state: int) -> Answer[int]:
        raise error

    with capture() as events:
        await testing.run(Count, FakeClock(), handle_batch=handle)

    assert told(events) == [
        START,
        began(1, 0),
        (
            "batch.exception",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": error, "attempt": 1},
        ),
        stopped("failed", 0, error=error),
    ]


@pytest.mark.asyncio
async def test_events_of_a_timeout() -> None:
    async def handle(state: int) -> Answer[int]:
        await never()
        return DONE

    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), handle_batch=handle, timeout=0.01
        )

    assert isinstance(result.error, errors.BatchTimeout)
    assert told(events) == [
        START,
        began(1, 0),
        (
            "batch.timeout",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": result.error, "attempt": 1},
        ),
        stopped("failed", 0, error=result.error),
    ]


@pytest.mark.asyncio
async def test_events_of_retries() -> None:
    first, second = ValueError("1"), ValueError("2")
    troubles: list[Exception] = [first, second]

    async def handle(state: int) -> Answer[int]:
        if troubles:
            raise troubles.pop(0)
        return DONE

    clock = FakeClock()
    with capture() as events:
        await testing.run(Count, clock, handle_batch=handle, retry=Retry(3))

    one, two = (each["wait"] for each in only(events, "batch.retry"))
    assert clock.slept == pytest.approx([one, two])
    assert told(events) == [
        START,
        began(1, 0),
        (
            "batch.exception",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": first, "attempt": 1},
        ),
        (
            "batch.retry",
            {"batch": 1, "attempt": 1, "wait": one},
            {"state": 0, "error": first},
        ),
        began(1, 0, 2),
        (
            "batch.exception",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": second, "attempt": 2},
        ),
        (
            "batch.retry",
            {"batch": 1, "attempt": 2, "wait": two},
            {"state": 0, "error": second},
        ),
        began(1, 0, 3),
        (
            "batch.done",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "result": None, "attempt": 3},
        ),
        stopped("done", 0, duration=pytest.approx(one + two)),
    ]


@pytest.mark.asyncio
async def test_events_of_bad_health() -> None:
    check = ScriptedCheck([Halt("down")])
    with capture() as events:
        result = await testing.run(Count, FakeClock(), health_checks=[check])

    (halting,) = [event for event in events if "health" in event.name]
    assert names(events) == ["start", "health_check.halt", "stop"]
    assert halting.measurements == {}
    assert [found.answer for found in results_of(halting)] == [Halt("down")]
    assert halting.metadata["reasons"] == result.reasons
    assert told(events)[-1] == stopped("halted", 0)


@pytest.mark.asyncio
async def test_events_of_slow_health_once_until_it_is_good_again() -> None:
    check = ScriptedCheck([Slow("a"), Slow("a"), OK, Slow("b")])
    with capture() as events:
        await testing.run(Count, FakeClock(), health_checks=[check], mode="sync")

    assert names(events) == [
        "start", "health_check.slow", "batch.start", "batch.success",
        "batch.start", "batch.success", "batch.start", "batch.success",
        "health_check.slow", "batch.start", "batch.done", "stop",
    ]  # fmt: skip
    slowing = [event for event in events if event.name.endswith("slow")]
    assert [event.measurements for event in slowing] == [{}, {}]
    assert [r.answer for e in slowing for r in results_of(e)] == [Slow("a"), Slow("b")]


@pytest.mark.asyncio
async def test_events_of_a_pause() -> None:
    check = ScriptedCheck([OK, Pause("busy"), Pause("busy"), OK])
    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), health_checks=[check], mode="sync", health_interval=5
        )

    assert names(events) == [
        "start", "batch.start", "batch.success", "pause", "resume",
        "batch.start", "batch.success", "batch.start", "batch.success",
        "batch.start", "batch.done", "stop",
    ]  # fmt: skip
    assert dict(events[3].measurements) == {}
    assert [found.answer for found in results_of(events[3])] == [Pause("busy")]
    reasons = events[3].metadata["reasons"]
    assert told(events)[4] == ("resume", {"paused": 10.0}, {"reasons": reasons})
    assert told(events)[-1] == stopped("done", 3, 3, 30, duration=10.0, paused=10.0)
    assert result.paused == 10.0


@pytest.mark.asyncio
async def test_events_of_a_pause_that_lasts_too_long() -> None:
    check = ScriptedCheck([Pause("busy")] * 9)
    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), health_checks=[check], mode="sync", max_pause=20
        )

    assert names(events) == ["start", "pause", "health_check.halt", "stop"]
    assert told(events)[-1] == stopped("halted", 0, duration=20.0, paused=20.0)
    assert [reason.value for reason in result.reasons] == ["busy"]


@pytest.mark.asyncio
async def test_events_of_max_batches() -> None:
    with capture() as events:
        await testing.run(Count, FakeClock(), max_batches=1)

    assert names(events) == ["start", "batch.start", "batch.success", "stop"]
    assert told(events)[-1] == stopped("stopped", 1, 1, 10)


@pytest.mark.asyncio
async def test_events_of_a_cancellation_in_a_batch() -> None:
    begun = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        if state == 0:
            return Next(1, rows=10)
        begun.set()
        await never()
        return DONE

    with capture() as events:
        task = asyncio.create_task(testing.run(Count, FakeClock(), handle_batch=handle))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

    assert task.cancelled()
    assert told(events)[-3:] == [
        began(2, 1),
        (
            "batch.exception",
            {"batch": 2, "duration": 0.0},
            {"state": 1, "attempt": 1, "outcome": "cancelled"},
        ),
        (
            "stop",
            {"duration": 0.0, "batches": 1, "rows": 10, "paused": 0.0},
            {"outcome": "cancelled"},
        ),
    ]
    assert names(events).count("stop") == 1


@pytest.mark.asyncio
async def test_events_of_a_save_that_fails() -> None:
    store = AsyncStore(save=OSError("disk full"))
    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), checkpoint=Checkpoint(store, "x")
        )

    assert isinstance(result.error, errors.CheckpointError)
    assert told(events) == [
        START,
        began(1, 0),
        (
            "batch.exception",
            {"batch": 1, "duration": 0.0},
            {
                "state": 0,
                "attempt": 1,
                "outcome": "checkpoint",
                "error": result.error,
            },
        ),
        stopped("failed", 0, error=result.error),
    ]


@pytest.mark.asyncio
async def test_events_of_saves() -> None:
    with capture("backfill.checkpoint.**") as events:
        await testing.run(Count, FakeClock(), checkpoint=Checkpoint(AsyncStore(), "x"))

    assert told(events) == [
        ("checkpoint.save", {"duration": 0.0}, {"state": state}) for state in (1, 2, 3)
    ]


@pytest.mark.asyncio
async def test_events_of_a_load_that_fails() -> None:
    store = AsyncStore(load=OSError("gone"))
    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), checkpoint=Checkpoint(store, "x")
        )

    assert told(events) == [started(None), stopped("failed", None, error=result.error)]


@pytest.mark.asyncio
async def test_events_of_an_initial_state_that_raises() -> None:
    error = ValueError("no state")

    class Starts(Count):
        def initial_state(self) -> int:  # type: ignore[override]
            raise error

    with capture() as events:
        await testing.run(Starts, FakeClock())

    assert told(events) == [started(None), stopped("failed", None, error=error)]


@pytest.mark.asyncio
async def test_events_of_a_hook_that_raises() -> None:
    error = ValueError("hook")

    def hook(state: object) -> None:
        raise error

    with capture() as events:
        await testing.run(Count, FakeClock(), on_success=hook, max_batches=1)

    assert names(events) == [
        "start", "batch.start", "batch.success", "hook.exception", "stop",
    ]  # fmt: skip
    assert told(events)[3] == (
        "hook.exception", {}, {"hook": "on_success", "error": error},
    )  # fmt: skip


@pytest.mark.asyncio
async def test_batches_go_on_being_numbered_after_a_resume() -> None:
    checkpoint = Checkpoint(MemoryStore(), "numbers")
    await Count.run(checkpoint=checkpoint, max_batches=2)

    with capture() as events:
        await testing.run(Count, FakeClock(), checkpoint=checkpoint)

    assert told(events)[0] == started(2, resumed=True)
    assert [
        event.measurements["batch"]
        for event in events
        if event.name == "backfill.batch.start"
    ] == [3, 4]


@pytest.mark.asyncio
async def test_a_skipped_run_tells_nothing() -> None:
    checkpoint = Checkpoint(MemoryStore(), "once")
    await Count.run(checkpoint=checkpoint, once=True)

    with capture() as events:
        result = await Count.run(checkpoint=checkpoint, once=True)

    assert result.status == "skipped"
    assert events == []
