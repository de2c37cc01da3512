"""Shares of one run: one pace, one cap, one canary for all of their workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from typing_extensions import override

from adaptive_backfill import (
    DONE,
    OK,
    Adaptive,
    Answer,
    Backfill,
    HealthCheck,
    MemoryStore,
    Next,
    Pause,
    RunResult,
    RunStatus,
    Slow,
    Verdict,
)
from adaptive_backfill._core.options import TUNABLE
from adaptive_backfill._core.run import Ending, RunState, ended, stopped
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._engine.saving import PlainUnit
from adaptive_backfill._engine.session import Session
from adaptive_backfill._engine.sharing import ShareLoop, ShareReporter, Whole
from adaptive_backfill._ports import Clock, Held
from adaptive_backfill.testing import FakeClock, capture, run, start
from tests.engine.pacing import Gauge, gauge
from tests.engine.sharing import names, only


class Shared(Backfill[Any]):
    """So many shares at once, each of ten batches that take a second."""

    initial_state = 0
    batch_size = 10
    shares: int = 3
    length: int = 10
    time: FakeClock
    did: list[tuple[float, str]]

    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        work = replace(prepared.work, tunable=TUNABLE, most_workers=lambda: 16)
        return prepared._replace(work=work)

    @classmethod
    def _session(cls, prepared: Prepared, clock: Clock | None) -> Session:
        return InShares(prepared.work, prepared.options, clock=clock)

    async def handle_batch(self, state: Any) -> Answer[Any]:
        share, at = state
        if at == self.length:
            return DONE
        self.did.append((self.time.now, share))
        await self.time.sleep(1.0)
        return Next((share, at + 1), rows=10)


class Crew(Loop):
    """Drives all shares at once, each by a worker of its own."""

    @override
    async def _step(self) -> None:
        whole = Whole(
            self,
            self._sum,
            control=self._control,
            monitor=self._monitor,
            meter=self._meter,
            reporter=self._reporter,
        )
        plant: Any = self._work.handle.__self__  # type: ignore[attr-defined]
        self._shares = [
            await self._share(whole, number) for number in range(plant.shares)
        ]
        await asyncio.gather(*(share.drive() for share in self._shares))
        self._sum()
        done = all(
            share.run.ending is not None and share.run.ending.status is RunStatus.DONE
            for share in self._shares
        )
        ending = Ending(RunStatus.DONE) if done else stopped("stop requested")
        self.run = ended(self.run, ending)

    async def _share(self, whole: Whole, number: int) -> ShareLoop:
        lease = await MemoryStore().acquire(f"share {number}", "run")
        assert not isinstance(lease, Held)
        name = "abcdef"[number]
        return ShareLoop(
            whole,
            self._work,
            self.options,
            RunState((name, 0)),
            unit=PlainUnit(lease),
            hooks=self._hooks,
            bell=self._bell,
            clock=self._clock,
            reporter=ShareReporter(
                whole, self.options, "run", worker=number + 1, share=name
            ),
            worker=number + 1,
        )

    def _sum(self) -> None:
        runs = [share.run for share in self._shares]
        self.run = self.run._replace(
            batches=sum(each.batches for each in runs),
            rows=sum(each.rows for each in runs),
            own_batches=sum(each.own_batches for each in runs),
        )


class InShares(Session):
    _loop_type = Crew


def shared(clock: FakeClock, **overrides: Any) -> dict[str, Any]:
    return {"time": clock, "did": [], **overrides}


def at_once(given: dict[str, Any], at: float) -> int:
    """How many batches were under way at that time."""
    return sum(began <= at < began + 1 for began, _ in given["did"])


def most_at_once(given: dict[str, Any]) -> int:
    return max(at_once(given, began) for began, _ in given["did"])


@pytest.mark.asyncio
async def test_without_a_pace_all_workers_work() -> None:
    clock = FakeClock()
    given = shared(clock)

    result = await run(Shared, clock, **given)

    assert (result.status, result.rows, clock.now) == (RunStatus.DONE, 300, 10.0)
    assert (result.busy, result.delayed) == (10.0, 0.0)


@pytest.mark.asyncio
async def test_with_a_pace_and_no_gauge_one_works_after_the_other() -> None:
    clock = FakeClock()
    given = shared(clock, pace=Adaptive(max_workers=3, min_size=10, max_size=10))

    result = await run(Shared, clock, **given)

    assert (result.status, result.rows) == (RunStatus.DONE, 300)
    assert most_at_once(given) == 1
    # Whoever ended its share leaves its place to the next, to the last of them.
    assert [share for _, share in given["did"]] == ["a"] * 10 + ["b"] * 10 + ["c"] * 10


@pytest.mark.asyncio
async def test_an_easy_load_brings_more_workers_and_a_heavy_one_takes_them() -> None:
    clock = FakeClock()
    load = gauge(clock, lambda now: 0.3 if now < 120 else 1.3)
    given = shared(
        clock,
        pace=Adaptive(max_workers=3, min_size=10, max_size=10),
        health_checks=[load],
        length=150,
    )

    result = await run(Shared, clock, **given)

    assert result.status is RunStatus.DONE
    assert at_once(given, 110.5) == 3
    assert at_once(given, 160.5) <= 1


@pytest.mark.asyncio
async def test_slow_leaves_one_worker_half_of_its_time() -> None:
    clock = FakeClock()

    def answer(now: float) -> Verdict:
        return Slow("busy") if 120 <= now < 124 else OK

    check = HealthCheck(Gauge(clock, lambda now: 0.3, answer), name="load")
    given = shared(
        clock,
        pace=Adaptive(max_workers=3, min_size=10, max_size=10),
        health_checks=[check],
        length=150,
    )

    await run(Shared, clock, **given)

    of_all = [at for at, _ in given["did"] if 121.5 < at < 125]
    assert [round(b - a, 6) for a, b in pairwise(of_all)] == [2.0]


@pytest.mark.asyncio
async def test_one_cap_holds_for_all_workers_together() -> None:
    clock = FakeClock()
    given = shared(clock, max_rows_per_second=10)

    result = await run(Shared, clock, **given)

    assert result.rows == 300
    assert clock.now >= 28


@pytest.mark.asyncio
async def test_fewer_workers_may_be_set_and_more_again() -> None:
    clock = FakeClock()
    given = shared(clock)

    async with start(Shared, clock, **given) as under_way:
        await clock.sleep(2.5)
        under_way.set(workers=1)
        await clock.sleep(4.0)
        under_way.set(workers=3)
        await under_way.wait()

    assert [at_once(given, at + 0.5) for at in range(8)] == [3, 3, 3, 1, 1, 1, 3, 3]


@pytest.mark.asyncio
async def test_what_is_set_is_told_once_and_not_by_each_worker() -> None:
    clock = FakeClock()
    given = shared(clock)

    with capture() as events:
        async with start(Shared, clock, **given) as under_way:
            await clock.sleep(2.5)
            under_way.set(duty=0.5, batch_size=20)
            await under_way.wait()

    (told,) = only(events, "pace.change")
    assert (told["duty"], told["batch_size"]) == (0.5, 20)
    assert under_way.progress.batch_size == 20


@pytest.mark.asyncio
async def test_until_the_canary_is_over_one_worker_works() -> None:
    clock = FakeClock()
    looks: list[RunResult] = []

    def approve(result: RunResult) -> bool:
        looks.append(result)
        return True

    given = shared(clock, canary=40, on_canary=approve)

    result = await run(Shared, clock, **given)

    assert (result.status, result.rows) == (RunStatus.DONE, 300)
    assert [each.rows for each in looks] == [40]
    assert [at_once(given, at + 0.5) for at in range(6)] == [1, 1, 1, 1, 3, 3]


@pytest.mark.asyncio
async def test_a_canary_that_waits_pauses_all_workers() -> None:
    clock = FakeClock()
    given = shared(clock, canary=40)

    async with start(Shared, clock, **given) as under_way:
        await clock.sleep(30.0)
        seen = under_way.progress
        under_way.resume()
        result = await under_way.wait()

    assert (seen.status, seen.rows) == ("paused", 40)
    assert (result.status, result.rows) == (RunStatus.DONE, 300)
    assert result.waited == {"canary": 26.0}


@pytest.mark.asyncio
async def test_max_batches_is_met_whoever_has_to_wait_for_work() -> None:
    clock = FakeClock()
    pace = Adaptive(max_workers=3, min_size=10, max_size=10)
    given = shared(clock, pace=pace, max_batches=17, length=30)

    result = await run(Shared, clock, **given)

    assert (result.status, result.batches) == (RunStatus.STOPPED, 17)
    # Who waits for work keeps no batch from who has it.
    assert {share for _, share in given["did"]} == {"a"}


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["stop", "pause"])
async def test_workers_that_wait_for_work_hear_what_is_wished(how: str) -> None:
    clock = FakeClock()
    pace = Adaptive(max_workers=3, min_size=10, max_size=10)
    wish: Callable[[Any], None] = {
        "stop": lambda under_way: under_way.stop(),
        "pause": lambda under_way: under_way.pause(),
    }[how]

    async with start(Shared, clock, **shared(clock, pace=pace)) as under_way:
        await clock.sleep(4.0)
        wish(under_way)
        await clock.sleep(4.0)
        seen = under_way.progress.status
        under_way.resume()
        result = await under_way.wait()

    assert seen == {"stop": "stopped", "pause": "paused"}[how]
    assert result.status in (RunStatus.STOPPED, RunStatus.DONE)
    assert result.paused == {"stop": 0.0, "pause": pytest.approx(4.0, abs=1.0)}[how]


@pytest.mark.asyncio
async def test_health_that_pauses_one_pauses_the_run_once() -> None:
    clock = FakeClock()
    asked: list[object] = []

    async def check() -> object:
        asked.append(OK)
        return OK

    given = shared(clock, pace=Adaptive(max_workers=3), health_checks=[check])
    result = await run(Shared, clock, **given)

    assert asked
    assert result.status is RunStatus.DONE
    assert result.paused == 0.0


@pytest.mark.asyncio
async def test_shares_paused_for_one_thing_after_another_tell_each_once() -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))
    opening = 10 * 3600.0

    async def lag() -> Verdict:
        return Pause("behind") if clock.now < opening + 10 else OK

    given = shared(
        clock,
        windows="22:00-06:00 UTC",
        health_checks=[HealthCheck(lag, name="lag")],
        mode="sync",
    )
    with capture() as events:
        result = await run(Shared, clock, **given)

    told = [name for name in names(events) if name in ("pause", "resume")]
    pauses, resumes = only(events, "pause"), only(events, "resume")
    assert told == ["pause", "resume"] * 2
    assert [each["paused"] for each in resumes] == [opening, 10.0]
    assert [each["reasons"] for each in pauses] == [each["reasons"] for each in resumes]
    assert str(resumes[1]["reasons"][0]) == "lag: behind"
    assert result.waited == {"window": opening, "lag": 10.0}
    assert result.paused == opening + 10
