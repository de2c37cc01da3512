"""Recording a run, and playing it again by another policy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import OK, Adaptive, Answer, Backfill, Done, Next, telemetry
from adaptive_backfill._core.pacing_level import Seen
from adaptive_backfill._core.pacing_size import Batch
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.telemetry import Event
from adaptive_backfill.testing import (
    Change,
    FakeClock,
    Replay,
    Trace,
    record,
    replay,
    run,
    start,
)


def recorded(
    size: int, batches: int, *, fixed: float = 0.001, a_row: float = 5e-6
) -> Trace:
    """Return the trace of a run of batches of about *size*, without noise."""
    told, now = [], 0.0
    for number in range(batches):
        # Of sizes that differ, the fixed part can be told from the rows.
        asked = size // 4 if number % 10 == 5 else size
        seconds = fixed + a_row * asked
        now += seconds
        told.append((round(now, 6), Batch(seconds, asked, asked)))
    return Trace(tuple(told), ((0.0, Seen(0.3)),))


def begin(run_id: str) -> None:
    """Tell that the run *run_id* begins."""
    metadata = {"run_id": run_id, "resumed": False, "state": None}
    telemetry.Emitter("backfill", {}).emit("start", {}, metadata)


class Copying(Backfill[int]):
    initial_state = 0
    health_checks = [lambda: OK]
    pace = Adaptive()

    async def handle_batch(self, state: int) -> Answer[int]:
        rows = self.batch_size or 0
        if state >= 10:
            return Done(rows=rows)
        return Next(state + 1, rows=rows)


def test_a_trace_comes_back_from_its_file(tmp_path: Path) -> None:
    trace = Trace(
        ((0.5, Batch(0.25, 100, 90)), (1.0, Batch(0.5, 200))),
        ((0.0, Seen(0.75, seconds=2.0)), (0.75, Seen(None, tripped=True, fresh=False))),
    )

    trace.write(tmp_path / "trace.jsonl")

    assert Trace.read(tmp_path / "trace.jsonl") == trace


def test_an_observation_is_a_line_in_order_of_time() -> None:
    trace = Trace(((1.5, Batch(0.25, 100, 90)),), ((0.0, Seen(0.75)),))

    assert list(trace.lines()) == [
        '{"at":0.0,"seen":{"load":0.75,"seconds":5.0}}',
        '{"at":1.5,"batch":{"seconds":0.25,"size":100,"rows":90}}',
    ]


def test_lines_that_are_no_observations_are_refused_all_at_once() -> None:
    lines = ["", '{"at": 0, "seen": {"lod": 1}}', "no", '{"at": 1, "batch": 3}']

    with pytest.raises(ConfigurationError) as refused:
        Trace.parse(lines)

    assert refused.value.subject == "trace"
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "line 2 is no observation",
        "line 3 is no observation",
        "line 4 is no observation",
    ]


@pytest.mark.asyncio
async def test_a_run_is_recorded_with_its_sizes_and_its_health(tmp_path: Path) -> None:
    clock = FakeClock()
    with record(tmp_path / "trace.jsonl", clock=clock.monotonic):
        result = await run(Copying, clock)
    trace = Trace.read(tmp_path / "trace.jsonl")

    assert len(trace.batches) == result.batches == 11
    assert sum(batch.rows or 0 for _, batch in trace.batches) == result.rows
    assert all(batch.size == batch.rows for _, batch in trace.batches)
    assert trace.seen[0][1].tripped is False
    assert telemetry.attached() == ()


@pytest.mark.asyncio
async def test_only_the_first_run_is_recorded(tmp_path: Path) -> None:
    clock = FakeClock()
    with record(tmp_path / "trace.jsonl", clock=clock.monotonic):
        first = await run(Copying, clock)
        await run(Copying, clock)

    assert len(Trace.read(tmp_path / "trace.jsonl").batches) == first.batches


@pytest.mark.asyncio
async def test_a_run_that_has_begun_already_is_not_recorded(tmp_path: Path) -> None:
    clock = FakeClock()

    class Endless(Copying):
        async def handle_batch(self, state: int) -> Answer[int]:
            await clock.sleep(1.0)
            return Next(state + 1, rows=1)

    async with start(Endless, clock) as before:
        while not before.progress.batches:
            await clock.sleep(1.0)
        with record(tmp_path / "trace.jsonl", clock=clock.monotonic):
            await clock.sleep(5.0)
            result = await run(Copying, clock)

    batches = Trace.read(tmp_path / "trace.jsonl").batches
    assert len(batches) == result.batches
    assert sum(batch.rows or 0 for _, batch in batches) == result.rows


def test_that_nothing_was_recorded_is_said(tmp_path: Path) -> None:
    with capture_logs() as lines, record(tmp_path / "trace.jsonl", "other.**"):
        pass

    (said,) = lines
    assert said["event"].startswith("nothing recorded: no run began")
    assert (said["log_level"], said["pattern"]) == ("warning", "other.**")


def test_a_batch_is_recorded_as_the_pace_took_it(tmp_path: Path) -> None:
    emitter = telemetry.Emitter("backfill", {"run_id": "r"})
    numbers = {"batch": 1.0, "duration": 0.001, "database": 0.004}
    with record(tmp_path / "trace.jsonl"):
        begin("r")
        emitter.emit("batch.start", {"batch": 1.0, "size": 200}, {})
        emitter.emit("batch.success", {**numbers, "size": 100, "rows": 90}, {})

    ((_, batch),) = Trace.read(tmp_path / "trace.jsonl").batches
    assert batch == Batch(0.004, 100, 90)


def test_batches_that_differ_in_whether_their_rows_are_known_are_in_order() -> None:
    lines = [
        '{"at": 1, "batch": {"seconds": 1, "size": 5, "rows": 5}}',
        '{"at": 1, "batch": {"seconds": 1, "size": 5}}',
    ]

    batches = Trace.parse(lines).batches

    assert [batch.rows for _, batch in batches] == [5, None]


def test_batches_of_shares_under_way_at_once_are_told_apart(tmp_path: Path) -> None:
    def told(name: str, worker: int, **numbers: float) -> None:
        metadata = {"run_id": "r", "worker": worker, "share": "a"}
        emitter.emit(name, {"batch": 1.0, **numbers}, metadata)

    emitter = telemetry.Emitter("backfill", {})
    with record(tmp_path / "trace.jsonl"):
        begin("r")
        told("batch.start", 0, size=100)
        told("batch.start", 1, size=200)
        told("batch.success", 0, duration=0.5, rows=100)
        told("batch.done", 1, duration=0.25)

    batches = [batch for _, batch in Trace.read(tmp_path / "trace.jsonl").batches]
    assert batches == [Batch(0.5, 100, 100), Batch(0.25, 200, None)]


def test_a_replay_by_smaller_batches_takes_longer_by_their_fixed_cost() -> None:
    trace = recorded(1_000, 200)

    small = replay(trace, Adaptive(max_size=100, max_workers=1), level=1.0)
    large = replay(trace, Adaptive(overhead=0.02, max_workers=1), level=1.0)

    assert small.rows == large.rows == sum(batch.size for _, batch in trace.batches)
    assert small.seconds == pytest.approx(small.rows * (0.001 / 100 + 5e-6), rel=0.02)
    assert large.seconds < 0.6 * small.seconds
    assert large.longest > 4 * small.longest
    assert small.recorded == large.recorded == trace.batches[-1][0]


def test_of_batches_that_were_all_alike_the_cost_is_by_the_row() -> None:
    batches = tuple((0.5 * at, Batch(0.5, 100, 100)) for at in range(1, 101))

    played = replay(Trace(batches), Adaptive(max_size=50), level=1.0)

    assert played.seconds == pytest.approx(50.0, rel=0.02)


def test_a_replay_by_half_a_worker_takes_twice_as_long() -> None:
    trace = Trace(recorded(1_000, 100).batches)

    full = replay(trace, Adaptive(), level=1.0)
    half = replay(trace, Adaptive(), level=0.5)

    assert half.seconds == pytest.approx(2 * full.seconds, rel=0.01)
    assert half.batches == full.batches


def test_a_replay_says_what_the_policy_would_have_changed_and_why() -> None:
    trace = recorded(1_000, 500)
    sick = Trace(trace.batches, ((0.0, Seen(0.3)), (1.0, Seen(1.2)), (2.0, Seen(0.3))))

    played = replay(sick, Adaptive())
    at = [change.at for change in played.changes]

    assert at == sorted(at)
    assert played.changes[0] == Change(
        0.0, "first look, load 0.30 < 0.7: 0.50 -> 1.00 workers"
    )
    assert any(
        change.why == "load 1.20 >= 1: 1.00 -> 0.50 workers"
        for change in played.changes
    )
    assert any("a batch and" in change.why for change in played.changes)
    assert str(played).startswith(f"{played.rows} rows in {played.batches} batches")


def test_a_replay_waits_while_a_budget_is_spent_and_not_for_ever() -> None:
    trace = recorded(1_000, 100)
    paused = (0.0, Seen(0.3, tripped=True)), (9.0, Seen(0.3)), (14.0, Seen(0.3))

    waited = replay(Trace(trace.batches, paused), Adaptive())
    never_over = replay(Trace(trace.batches, paused[:1]), Adaptive())

    assert waited.seconds > 9.0
    assert never_over.seconds < 9.0


def test_a_replay_of_sparse_rows_keeps_them_sparse() -> None:
    batches = tuple(
        (float(number), Batch(0.001, 1_000, 10)) for number in range(1, 100)
    )

    played = replay(Trace(batches), Adaptive(max_size=2_000))

    assert isinstance(played, Replay)
    assert played.rows == 99_000


@pytest.mark.parametrize("batches", [(), ((1.0, Batch(0.0, 100, 100)),)])
def test_a_trace_without_a_batch_that_took_time_cannot_be_replayed(
    batches: tuple[tuple[float, Batch], ...],
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        replay(Trace(batches), Adaptive())

    assert str(refused.value) == (
        "trace cannot be used:\n"
        "  - no batch in it has a size and took time; record a run with `pace`"
    )


def test_an_event_of_no_run_is_passed_over(tmp_path: Path) -> None:
    with record(tmp_path / "trace.jsonl"):
        telemetry.Emitter("mine", {"run_id": "r"}).emit("other", {}, {})

    assert (tmp_path / "trace.jsonl").read_text() == ""
    assert isinstance(Event("a", {}, {}), tuple)


@pytest.mark.asyncio
@pytest.mark.parametrize(("load", "told"), [(math.nan, 1.0), (math.inf, 1e300)])
async def test_a_load_that_is_no_number_is_as_bad_in_the_trace(
    tmp_path: Path, load: float, told: float
) -> None:
    class Broken:
        async def __call__(self) -> None:
            """Find nothing."""

        def load(self) -> float:
            return load

    clock = FakeClock()
    with record(tmp_path / "trace.jsonl", clock=clock.monotonic):
        await run(Copying, clock, health_checks=[Broken()])

    _, seen = Trace.read(tmp_path / "trace.jsonl").seen[0]
    assert seen.load is not None
    assert seen.load >= told
