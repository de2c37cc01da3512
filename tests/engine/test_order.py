"""In what order things happen, and what is told of them, compared whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    Pause,
    Retry,
    RunResult,
    Slow,
    Snapshot,
    errors,
    telemetry,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import (
    AsyncStore,
    Count,
    HealthAsked,
    SyncStore,
    Told,
    names,
    never,
    only,
    told,
)

START: Told = ("start", {}, {"resumed": False, "state": 0})


def _start(state: object = 0, *, resumed: bool = False) -> Told:
    return ("start", {}, {"resumed": resumed, "state": state})


def _began(batch: int, state: object, attempt: int = 1, **size: float) -> Told:
    return (
        "batch.start",
        {"batch": batch, **size},
        {"state": state, "attempt": attempt},
    )


def _stop(
    outcome: str, state: object, batches: int = 0, rows: int = 0, **more: Any
) -> Told:
    duration, paused = more.pop("duration", 0.0), more.pop("paused", 0.0)
    return (
        "stop",
        {"duration": duration, "batches": batches, "rows": rows, "paused": paused},
        {"outcome": outcome, "state": state, **more},
    )


@contextmanager
def _everything(diary: list[str]) -> Iterator[None]:
    def note(event: telemetry.Event) -> None:
        diary.append(event.name.removeprefix("backfill."))

    telemetry.attach("diary", "backfill.**", note)
    try:
        yield
    finally:
        telemetry.detach("diary")


class DiaryStore(AsyncStore):
    """Writes down what it is asked."""

    def __init__(self, diary: list[str]) -> None:
        super().__init__()
        self.diary = diary

    def _ask(self, method: str) -> None:
        self.diary.append(method)
        super()._ask(method)


class DiaryClock(FakeClock):
    """Writes down the rest of seven seconds."""

    def __init__(self, diary: list[str]) -> None:
        super().__init__()
        self.diary = diary

    async def sleep(self, seconds: float) -> None:
        if seconds == 7:
            self.diary.append("delay")
        await super().sleep(seconds)


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_order_of_a_run(mode: str) -> None:
    diary: list[str] = []

    class Told(Backfill[int]):
        checkpoint = Checkpoint(DiaryStore(diary), "told")
        delay_between_batches = 7
        health_interval = 1000

        def initial_state(self) -> int:
            diary.append("initial_state")
            return 0

        async def handle_batch(self, state: int) -> Answer[int]:
            diary.append("handler")
            return Next(1) if state == 0 else Done(rows=1)

        def on_success(self, state: object) -> None:
            diary.append(f"on_success {state}")

        def on_complete(self, result: RunResult) -> None:
            diary.append("on_complete")

    async def check() -> None:
        diary.append("check")

    with _everything(diary):
        await testing.run(Told, DiaryClock(diary), health_checks=[check], mode=mode)

    again = ["check"] if mode == "sync" else []
    assert diary == [
        "load", "initial_state", "start",
        "check", "batch.start", "handler", "save", "checkpoint.save", "batch.success",
        "on_success 1", "delay",
        *again, "batch.start", "handler", "save", "checkpoint.save", "batch.done",
        "on_success 1", "on_complete", "delete", "stop",
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_order_of_a_failure() -> None:
    diary: list[str] = []

    class Fails(Count):
        async def handle_batch(self, state: int) -> Answer[int]:
            return Fail("x")

        def on_error(self, error: object, state: object) -> None:
            diary.append(f"on_error {error} {state}")

        def on_complete(self, result: RunResult) -> None:
            diary.append("on_complete")

    with _everything(diary):
        await Fails.run(checkpoint=Checkpoint(DiaryStore(diary), "fails"))

    assert diary == [
        "load", "start", "batch.start", "batch.error", "save",
        "on_error x 0", "on_complete", "stop",
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_order_of_a_single_operation() -> None:
    diary: list[str] = []

    class Once(Backfill):
        mode = "sync"

        async def handle(self, health_check: HealthAsked) -> Done:
            diary.append("handler")
            await health_check()
            return Done(5)

        def on_success(self, result: object) -> None:
            diary.append(f"on_success {result}")

        def on_complete(self, result: RunResult) -> None:
            diary.append("on_complete")

    async def check() -> None:
        diary.append("check")

    with _everything(diary):
        await Once.run(health_checks=[check])

    assert diary == [
        "start", "check", "handler", "check", "success", "on_success 5",
        "on_complete", "stop",
    ]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [MemoryStore, AsyncStore, SyncStore])
async def test_the_checkpoint_is_safe_before_anybody_hears(store: Any) -> None:
    kept = store()
    known: list[object] = []

    async def see(state: object) -> None:
        found = kept.load("safe")
        known.append(found if isinstance(found, Snapshot) else await found)

    await Count.run(on_success=see, batch_size=5, checkpoint=Checkpoint(kept, "safe"))

    assert known == [Snapshot(n, n, n * 10, 5) for n in (1, 2, 3)]


@pytest.mark.asyncio
async def test_the_constants_of_every_event() -> None:
    with capture() as events:
        result = await Count.run(
            name="users", mode="sync", telemetry_prefix=("my_app", "users")
        )

    assert len(events) == 10
    for event in events:
        assert event.name.startswith("my_app.users.")
        assert event.metadata["backfill"] == "users"
        assert event.metadata["run_id"] == result.run_id
        assert event.metadata["mode"] == "sync"


@pytest.mark.asyncio
async def test_measurements_are_numbers_only() -> None:
    clock = FakeClock()
    check = ScriptedCheck([Slow("s"), OK, Pause("p"), OK])
    with capture() as events:
        await testing.run(
            Count, clock, health_checks=[check], mode="sync", batch_size=3,
            checkpoint=Checkpoint(MemoryStore(), "x"),
        )  # fmt: skip

    numbers = [v for event in events for v in event.measurements.values()]
    assert numbers
    assert all(type(number) in (int, float) for number in numbers)


# Every ending of batches.


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
        _began(1, 0, size=100),
        (
            "batch.success",
            {"batch": 1, "duration": 2.0, "rows": 10},
            {"state": 0, "next_state": 1, "attempt": 1},
        ),
        _began(2, 1, size=100),
        (
            "batch.done",
            {"batch": 2, "duration": 2.0, "rows": 5},
            {"state": 1, "result": "all", "attempt": 1},
        ),
        _stop("done", 1, 2, 15, duration=4.0),
    ]


@pytest.mark.asyncio
async def test_what_has_no_value_is_not_measured() -> None:
    async def handle(state: int) -> Answer[int]:
        return Next(1) if state == 0 else DONE

    with capture() as events:
        await testing.run(Count, FakeClock(), handle_batch=handle)

    assert told(events) == [
        START,
        _began(1, 0),
        (
            "batch.success",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "next_state": 1, "attempt": 1},
        ),
        _began(2, 1),
        (
            "batch.done",
            {"batch": 2, "duration": 0.0},
            {"state": 1, "result": None, "attempt": 1},
        ),
        _stop("done", 1, 1, 0),
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
        _began(1, 0),
        (
            event,
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": "why", "attempt": 1},
        ),
        _stop(outcome, 0, **more),
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
        _began(1, 0),
        (
            "batch.exception",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": error, "attempt": 1},
        ),
        _stop("failed", 0, error=error),
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
        _began(1, 0),
        (
            "batch.timeout",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "error": result.error, "attempt": 1},
        ),
        _stop("failed", 0, error=result.error),
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
        _began(1, 0),
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
        _began(1, 0, 2),
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
        _began(1, 0, 3),
        (
            "batch.done",
            {"batch": 1, "duration": 0.0},
            {"state": 0, "result": None, "attempt": 3},
        ),
        _stop("done", 0, duration=pytest.approx(one + two)),
    ]


@pytest.mark.asyncio
async def test_events_of_bad_health() -> None:
    check = ScriptedCheck([Halt("down")])
    with capture() as events:
        result = await testing.run(Count, FakeClock(), health_checks=[check])

    (halting,) = [event for event in events if "health" in event.name]
    assert names(events) == ["start", "health_check.halt", "stop"]
    assert halting.measurements == {}
    assert [found.answer for found in _results(halting)] == [Halt("down")]
    assert halting.metadata["reasons"] == result.reasons
    assert told(events)[-1] == _stop("halted", 0)


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
    assert [r.answer for e in slowing for r in _results(e)] == [Slow("a"), Slow("b")]


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
    assert [found.answer for found in _results(events[3])] == [Pause("busy")]
    assert told(events)[4] == ("resume", {"paused": 10.0}, {})
    assert told(events)[-1] == _stop("done", 3, 3, 30, duration=10.0, paused=10.0)
    assert result.paused == 10.0


@pytest.mark.asyncio
async def test_events_of_a_pause_that_lasts_too_long() -> None:
    check = ScriptedCheck([Pause("busy")] * 9)
    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), health_checks=[check], mode="sync", max_pause=20
        )

    assert names(events) == ["start", "pause", "health_check.halt", "stop"]
    assert told(events)[-1] == _stop("halted", 0, duration=20.0, paused=20.0)
    assert [reason.value for reason in result.reasons] == ["busy"]


@pytest.mark.asyncio
async def test_events_of_max_batches() -> None:
    with capture() as events:
        await testing.run(Count, FakeClock(), max_batches=1)

    assert names(events) == ["start", "batch.start", "batch.success", "stop"]
    assert told(events)[-1] == _stop("stopped", 1, 1, 10)


@pytest.mark.asyncio
async def test_events_of_a_cancellation_in_a_batch() -> None:
    began = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        if state == 0:
            return Next(1, rows=10)
        began.set()
        await never()
        return DONE

    with capture() as events:
        task = asyncio.create_task(testing.run(Count, FakeClock(), handle_batch=handle))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])

    assert task.cancelled()
    assert told(events)[-3:] == [
        _began(2, 1),
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
        _began(1, 0),
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
        _stop("failed", 0, error=result.error),
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

    assert told(events) == [_start(None), _stop("failed", None, error=result.error)]


@pytest.mark.asyncio
async def test_events_of_an_initial_state_that_raises() -> None:
    error = ValueError("no state")

    class Starts(Count):
        def initial_state(self) -> int:  # type: ignore[override]
            raise error

    with capture() as events:
        await testing.run(Starts, FakeClock())

    assert told(events) == [_start(None), _stop("failed", None, error=error)]


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

    assert told(events)[0] == _start(2, resumed=True)
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


# Every ending of a single operation.


class Single(Backfill):
    async def handle(self, health_check: HealthAsked) -> object:
        return Done("made")


@pytest.mark.asyncio
async def test_events_of_a_single_success() -> None:
    with capture() as events:
        await testing.run(Single, FakeClock())

    assert told(events) == [
        _start(None),
        (
            "success",
            {"duration": 0.0},
            {"state": None, "result": "made", "attempt": 1},
        ),
        _stop("done", None),
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
        _start(None),
        (event, {"duration": 0.0}, {"state": None, "error": "why", "attempt": 1}),
        _stop(outcome, None, **more),
    ]


@pytest.mark.asyncio
async def test_events_of_a_single_halting_verdict() -> None:
    check = ScriptedCheck([Halt("down")])
    with capture() as events:
        result = await testing.run(Single, FakeClock(), health_checks=[check])

    assert names(events) == ["start", "halt", "stop"]
    assert events[1].measurements == {}
    assert [found.answer for found in _results(events[1])] == [Halt("down")]
    assert events[1].metadata["reasons"] == result.reasons
    assert told(events)[-1] == _stop("halted", None)


@pytest.mark.asyncio
async def test_events_of_a_single_exception() -> None:
    error = ValueError("x")

    async def handle(health_check: HealthAsked) -> Done:
        raise error

    with capture() as events:
        await testing.run(Single, FakeClock(), handle=handle)

    assert told(events) == [
        _start(None),
        ("exception", {"duration": 0.0}, {"state": None, "error": error, "attempt": 1}),
        _stop("failed", None, error=error),
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
    began = asyncio.Event()

    async def handle(health_check: HealthAsked) -> Done:
        began.set()
        await never()
        return Done()

    with capture() as events:
        task = asyncio.create_task(testing.run(Single, FakeClock(), handle=handle))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])

    assert told(events) == [
        _start(None),
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


def _results(event: telemetry.Event) -> list[Any]:
    results = event.metadata["results"]
    assert isinstance(results, tuple | list)
    return list(results)


@pytest.mark.asyncio
async def test_the_verdict_is_asked_before_every_attempt_and_so_are_wishes() -> None:
    check = ScriptedCheck([OK, OK, Halt("down")])

    async def handle(state: int) -> Answer[int]:
        raise ValueError

    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), handle_batch=handle, retry=Retry(5), mode="sync",
            health_checks=[check],
        )  # fmt: skip

    assert result.status == "halted"
    assert names(events).count("batch.start") == 2
    assert check.asked == 3
