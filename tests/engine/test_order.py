"""In what order things happen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adaptive_backfill import (
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
    telemetry,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import (
    AsyncStore,
    Count,
    HealthAsked,
    SyncStore,
    names,
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
