"""A gate: what each batch waits for beside the health, however that is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from adaptive_backfill import OK, Backfill, Halt, HealthCheck, Pause, RunStatus, Verdict
from adaptive_backfill._core.evaluation import HEALTHY, HealthReport, joined
from adaptive_backfill._core.health import HealthContext, Reason
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.monitors import monitor_for
from adaptive_backfill._ports import Gate
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture, run
from tests.core.making import options
from tests.engine.sharing import Count, names

BOTH = pytest.mark.parametrize("mode", ["sync", "async"])


class Reader:
    """Follows what is written; asked for it, it has all that there is *after* then."""

    def __init__(self, clock: FakeClock, after: float = 0.0) -> None:
        self.clock = clock
        self.after = after
        self.asked: list[float] = []
        self.is_near = False

    async def __call__(self) -> Verdict:
        self.asked.append(self.clock.now)
        self.is_near = self.clock.now >= self.after
        return OK if self.is_near else Pause(f"behind until {self.after}")

    def gate(self) -> Gate:
        return Gate([HealthCheck(self, name="reader")], lambda: self.is_near)


class Gated(Backfill[int]):
    initial_state = 0
    reader: Reader
    writes: bool = False

    async def handle_batch(self, state: int) -> Any:
        if self.writes:
            self.reader.is_near = False
        return await Count.handle_batch(self, state)  # type: ignore[arg-type]

    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        backfill: Any = prepared.instance
        return prepared._replace(
            work=replace(prepared.work, gate=backfill.reader.gate())
        )


@pytest.mark.asyncio
@BOTH
async def test_no_batch_begins_before_the_gate_is_open(mode: str) -> None:
    clock = FakeClock()
    reader = Reader(clock, after=clock.now + 2.0)

    with capture() as heard:
        result = await run(Gated, clock, mode=mode, reader=reader)

    assert (result.status, result.rows) == (RunStatus.DONE, 30)
    assert result.waited == {"reader": 2.0}
    # Four times a second while it is shut, and not again once it is known to be open.
    assert [at - reader.asked[0] for at in reader.asked] == [
        quarter / 4 for quarter in range(9)
    ]
    told = names(heard)
    assert told.index("resume") < told.index("batch.start")


@pytest.mark.asyncio
async def test_it_is_asked_again_for_what_each_batch_writes() -> None:
    clock = FakeClock()
    reader = Reader(clock)

    result = await run(Gated, clock, reader=reader, writes=True)

    assert result.status is RunStatus.DONE
    assert len(reader.asked) == 4


@pytest.mark.asyncio
async def test_a_gate_that_stays_shut_is_waited_for_as_long_as_max_pause_says() -> None:
    clock = FakeClock()
    reader = Reader(clock, after=clock.now + 1_000.0)

    result = await run(Gated, clock, reader=reader, max_pause=3.0)

    assert result.status is RunStatus.HALTED
    assert str(result.reasons[0]).startswith("reader: behind until ")
    assert (result.batches, result.paused) == (0, 3.0)


@pytest.mark.asyncio
@BOTH
async def test_worse_health_counts_more_than_a_gate(mode: str) -> None:
    clock = FakeClock()
    reader = Reader(clock, after=clock.now + 1_000.0)
    check = ScriptedCheck([Halt("on fire")])

    result = await run(Gated, clock, mode=mode, reader=reader, health_checks=[check])

    assert result.status is RunStatus.HALTED
    said = [str(reason) for reason in result.reasons]
    assert any("on fire" in each for each in said)


def test_two_reports_are_one_by_the_worse_verdict() -> None:
    pause = Pause("behind")
    shut = HealthReport(pause, (Reason("reader", pause, "behind"),))
    halt = Halt("on fire")
    bad = HealthReport(halt, (Reason("fire", halt, "on fire"),), fresh=False)

    assert joined(HEALTHY, shut) == shut
    both = joined(bad, shut)
    assert (both.verdict, both.fresh) == (halt, False)
    assert [reason.check for reason in both.reasons] == ["fire", "reader"]


@pytest.mark.asyncio
async def test_workers_that_come_at_once_share_two_looks_and_each_asks_again() -> None:
    clock = FakeClock()
    begun, answers = 0, asyncio.Event()

    async def look() -> Verdict:
        nonlocal begun
        begun += 1
        await answers.wait()
        return Pause("behind")

    monitor = monitor_for(
        options(),
        HealthContext("gated"),
        clock=clock,
        bell=Bell(clock),
        gate=Gate([HealthCheck(look, name="reader")], lambda: False),
    )
    first = asyncio.create_task(monitor.verdict())
    await asyncio.sleep(0)
    others = [asyncio.create_task(monitor.verdict()) for _ in range(5)]
    await asyncio.sleep(0)
    answers.set()
    found = await asyncio.gather(first, *others)

    # One that was under way when they came may know nothing of what they wrote.
    assert begun == 2
    assert {type(report.verdict) for report in found} == {Pause}
    # Whoever waits asks again by itself, whatever the others were told since.
    assert monitor.recheck_after == 0.25
