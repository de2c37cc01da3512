"""A frozen look at a run: its state, counts, share, rate and verdict."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Checkpoint,
    MemoryStore,
    Next,
    Pause,
    Retry,
    Run,
    RunResult,
    RunStatus,
    Slow,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck
from tests.engine.sharing import (
    Count,
    Gate,
    turns,
)


@pytest.mark.asyncio
async def test_progress_of_a_run_at_its_stations() -> None:
    gate = Gate()
    seen: list[Any] = []
    slowly = asyncio.Event()

    class Starts(Count):
        async def initial_state(self) -> int:  # type: ignore[override]
            await slowly.wait()
            return 0

    async with Starts.start(**gate.overrides(batch_size=9, total=40)) as run:
        seen.append(run.progress)
        slowly.set()
        await gate.begun.wait()
        seen.append(run.progress)
        gate.go.set()
        result = await run.wait()
        seen.append(run.progress)

    first, second, third = seen
    assert {p.name for p in seen} == {result.name}
    assert {p.run_id for p in seen} == {result.run_id}
    assert first.status == "starting"
    assert (first.batches, first.rows, first.state) == (0, 0, None)
    assert second.status == "running"
    assert (second.state, second.batches, second.rows) == (1, 1, 10)
    assert (second.total, second.share, second.batch_size) == (40, 0.25, 9)
    assert second.verdict is OK
    assert second.reasons == ()
    assert third.status == "done"
    assert (third.state, third.batches, third.rows, third.share) == (3, 3, 30, 0.75)


@pytest.mark.asyncio
async def test_progress_cannot_be_changed() -> None:
    async with Count.start() as run:
        progress = run.progress
        with pytest.raises(AttributeError):
            progress.batches = 5  # type: ignore[misc]


@pytest.mark.asyncio
async def test_progress_shows_the_state_by_value() -> None:
    gate = Gate()

    async def handle(state: list[int]) -> Answer[list[int]]:
        await gate(len(state))
        return DONE if len(state) == 3 else Next([*state, 0])

    async with Count.start(
        **gate.overrides(handle_batch=handle, initial_state=[], retry=Retry(2))
    ) as run:
        await gate.begun.wait()
        seen: Any = run.progress.state
        seen.append(666)
        gate.go.set()
        result = await run.wait()

    assert result.state == [0, 0, 0]


@pytest.mark.asyncio
async def test_progress_shows_a_state_that_cannot_be_copied_as_it_is() -> None:
    gate = Gate()
    cursor = (number for number in range(9))

    class Cursor(Count):
        def initial_state(self) -> Any:  # type: ignore[override]
            return cursor

    async def handle(state: Any) -> Answer:
        await gate(1)
        return DONE

    async with Cursor.start(**gate.overrides(handle_batch=handle)) as run:
        await gate.begun.wait()
        seen = run.progress.state
        gate.go.set()
        result = await run.wait()

    assert seen is cursor
    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_progress_shows_the_verdict_and_its_reasons() -> None:
    gate = Gate()
    checks = [ScriptedCheck([Slow("busy")] * 99)]

    async with Count.start(**gate.overrides(health_checks=checks)) as run:
        await gate.begun.wait()
        slow = run.progress
        gate.go.set()

    assert slow.status == "running"
    assert slow.verdict == Slow("busy")
    assert [(r.check, r.value) for r in slow.reasons] == [("ScriptedCheck", "busy")]


@pytest.mark.asyncio
async def test_progress_of_a_pause_says_why() -> None:
    checks = [ScriptedCheck([Pause("lag")] * 99)]

    async with Count.start(health_checks=checks) as run:
        await turns(50)
        paused = run.progress

    assert paused.status == "paused"
    assert paused.verdict == Pause("lag")
    assert [reason.value for reason in paused.reasons] == ["lag"]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["int", "method", "async method", "function"])
async def test_total_is_an_int_or_called_once(kind: str) -> None:
    called: list[str] = []

    class Plain(Count):
        total: Any = 60

    class Method(Count):
        def total(self) -> int:
            called.append("method")
            return 60

    class AsyncMethod(Count):
        async def total(self) -> int:
            await turns(1)
            called.append("async method")
            return 60

    def function() -> int:
        called.append("function")
        return 60

    bases: dict[str, type[Count]] = {
        "int": Plain,
        "method": Method,
        "async method": AsyncMethod,
    }
    more: dict[str, Any] = {"total": function} if kind == "function" else {}

    async with bases.get(kind, Count).start(**more) as run:
        await run.wait()

    assert (run.progress.total, run.progress.share) == (60, 0.5)
    assert called == ([] if kind == "int" else [kind])


@pytest.mark.asyncio
async def test_without_total_there_is_no_share_and_no_eta() -> None:
    async with Count.start() as run:
        await run.wait()

    progress = run.progress
    assert (progress.total, progress.share, progress.eta) == (None, None, None)


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", [ValueError("x"), "many", -1, None], ids=repr)
async def test_a_total_that_cannot_be_told_does_not_end_the_run(broken: Any) -> None:
    async def total() -> Any:
        if isinstance(broken, Exception):
            raise broken
        return broken

    async with Count.start(total=total) as run:
        result = await run.wait()

    assert result.status is RunStatus.DONE
    assert run.progress.total is None


class Metered:
    """Batches of some rows and seconds, and the progress during each."""

    def __init__(self, clock: FakeClock, *batches: tuple[float, int | None]) -> None:
        self.clock = clock
        self.batches = batches
        self.entered = asyncio.Event()
        self.run: Run | None = None
        self.seen: list[Any] = []

    async def __call__(self, state: int) -> Answer[int]:
        await self.entered.wait()
        assert self.run is not None
        self.seen.append(self.run.progress)
        if state == len(self.batches):
            return DONE
        seconds, rows = self.batches[state]
        await self.clock.sleep(seconds)
        return Next(state + 1, rows=rows)

    async def go(self, **overrides: Any) -> RunResult:
        async with testing.start(
            Count, self.clock, handle_batch=self, **overrides
        ) as run:
            self.run = run
            self.entered.set()
            return await run.wait()


@pytest.mark.asyncio
async def test_rate_is_none_until_a_batch_reported_rows() -> None:
    metered = Metered(FakeClock(), (2, None), (2, None), (2, 60), (2, 60))
    await metered.go(total=240)

    assert [each.rate for each in metered.seen] == [None, None, None, 10.0, 15.0]
    assert [each.eta for each in metered.seen] == [None, None, None, 18.0, 8.0]


@pytest.mark.asyncio
async def test_rate_is_that_of_the_last_minute() -> None:
    slow = [(1.0, 1)] * 100
    quick = [(1.0, 10)] * 100
    metered = Metered(FakeClock(), *slow, *quick)
    await metered.go()

    rates = [each.rate for each in metered.seen]
    assert rates[1:100] == pytest.approx([1.0] * 99)
    assert rates[130] == pytest.approx(5.5)
    assert rates[161:] == pytest.approx([10.0] * len(rates[161:]))


@pytest.mark.asyncio
async def test_rate_counts_running_time_only() -> None:
    clock = FakeClock()
    check = ScriptedCheck([OK, OK, *[Pause("busy")] * 4])
    metered = Metered(clock, *[(1.0, 10)] * 8)
    result = await metered.go(mode="sync", health_checks=[check], health_interval=100)

    assert result.paused == 400.0
    assert [each.rate for each in metered.seen[1:]] == pytest.approx([10.0] * 8)


@pytest.mark.asyncio
async def test_rate_counts_the_rows_of_this_run_only() -> None:
    checkpoint = Checkpoint(MemoryStore(), "rate")
    first = Metered(FakeClock(), (1, 1000))
    await first.go(checkpoint=checkpoint, max_batches=1)
    second = Metered(FakeClock(), (1, 1000), (1, 10), (1, 10))
    await second.go(checkpoint=checkpoint, total=1040)

    assert [each.rate for each in second.seen] == [None, 10.0, 10.0]
    assert [each.rows for each in second.seen] == [1000, 1010, 1020]
    assert second.seen[-1].eta == 2.0
