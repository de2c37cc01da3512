"""The pacer and the caps by themselves, told what a loop would tell them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from adaptive_backfill import DONE, OK, Adaptive, Answer, CheckResult, Pause
from adaptive_backfill._core.evaluation import HealthReport, joined
from adaptive_backfill._core.options import changed
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.caps import Caps
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.pacer import Pacer, Took
from adaptive_backfill._engine.reporting import Reporter
from adaptive_backfill._ports import Work
from adaptive_backfill.testing import FakeClock, capture
from tests.core.making import options
from tests.engine.sharing import only


async def nothing(state: object) -> Answer[object]:
    return DONE


def worked(**about: Any) -> Work:
    return Work(nothing, "Users.handle_batch", False, int, **about)


def pacer_on(clock: FakeClock, work: Work | None = None, **values: Any) -> Pacer:
    about = options(**{"pace": Adaptive(), **values})
    return Pacer(
        about,
        work or worked(),
        size=400,
        reporter=Reporter(about, "r1", single=False),
        bell=Bell(clock),
        clock=clock,
    )


def loaded(load: float, verdict: Any = OK, *, fresh: bool = True) -> HealthReport:
    return HealthReport(verdict, (), (CheckResult("load", OK, load=load),), fresh)


def judged_at(at: float, load: float) -> HealthReport:
    return HealthReport(OK, (), (CheckResult("index", OK, load=load, load_at=at),))


def caps_on(clock: FakeClock, work: Work | None = None, **values: Any) -> Caps:
    log = structlog.get_logger()
    return Caps(options(**values), work or worked(), log=log, clock=clock)


def test_what_fails_all_workers_at_once_halves_the_size_once() -> None:
    heard: list[object] = []
    pacer = pacer_on(FakeClock(), worked(retuned=heard.append))

    for _ in range(3):
        pacer.failed(TimeoutError("lock timeout"), 400)
    then = pacer.size
    pacer.failed(TimeoutError("lock timeout"), 200)

    assert (then, pacer.size) == (200, 100)
    assert heard == [{"batch_size": size} for size in (400, 200, 100)]


def test_a_failure_that_has_nothing_to_do_with_size_leaves_it() -> None:
    work = worked(too_much=lambda error: isinstance(error, TimeoutError))
    pacer = pacer_on(FakeClock(), work)

    pacer.failed(ConnectionError("gone"), 400)
    gone = pacer.size
    pacer.failed(TimeoutError("too long"), 400)

    assert (gone, pacer.size) == (400, 200)


@pytest.mark.asyncio
async def test_what_is_set_later_does_not_set_again_what_was_set_before() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)

    pacer.obey(Wishes(values={"batch_size": 50}))
    set_to = pacer.size
    for _ in range(30):
        await pacer.did(Took(clock.now, 0.001, pacer.size), pacer.size)
    learned = pacer.size
    pacer.obey(Wishes(values={"batch_size": 50, "duty": 0.5}))

    assert set_to == 50
    assert learned != 50
    assert pacer.size == learned
    assert pacer.duty() == 0.25


def test_a_limit_that_is_met_does_not_wait_for_the_next_second() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)

    pacer.saw(loaded(0.3))
    before = pacer.level
    clock.now = 0.1
    pacer.saw(loaded(0.3))
    pacer.saw(loaded(0.3, Pause("lag")))
    paused = pacer.level
    clock.now = 0.2
    pacer.saw(loaded(0.3, Pause("lag")))

    assert before is not None
    assert paused is not None
    assert paused == pytest.approx(before / 2)
    assert pacer.level == paused


def test_a_sample_says_whether_it_is_fresh() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)

    with capture() as events:
        for fresh in (True, False):
            clock.now += 5.0
            pacer.saw(loaded(0.3, fresh=fresh))

    samples = only(events, "pace.sample")
    assert [each["fresh"] for each in samples] == [1.0, 0.0]


def test_who_rested_for_too_long_is_forgiven_a_second_of_it() -> None:
    pacer = pacer_on(FakeClock(), pace=None, duty=0.5)

    pacer.rested(None, 100.0)

    assert pacer.rest(None, 0.5) == 0.0
    assert pacer.rest(None, 0.75) == pytest.approx(0.25)


def test_who_rested_for_too_short_does_not_owe_the_rest() -> None:
    pacer = pacer_on(FakeClock(), pace=None, duty=0.5)

    owed = pacer.rest(None, 4.0)
    pacer.rested(None, 1.0)

    assert owed == 4.0
    assert pacer.rest(None, 1.0) == 1.0


def test_new_windows_count_at_once() -> None:
    caps = caps_on(FakeClock(datetime(2026, 11, 25, 23, tzinfo=UTC)))
    before = options(windows=("22:00-06:00",))
    caps.retuned(before, {"windows"})
    is_open = caps.outside() is None

    caps.retuned(changed(before, {"windows": ("12:00-13:00",)}), {"windows"})

    assert is_open
    assert caps.outside() is not None


@pytest.mark.parametrize(("minute", "seconds"), [(0, 60.0), (59, 30.0)])
def test_a_closed_window_is_looked_at_each_minute_and_when_it_opens(
    minute: int, seconds: float
) -> None:
    clock = FakeClock(datetime(2026, 11, 25, 21, minute, 30, tzinfo=UTC))

    rest = caps_on(clock, windows=("22:00-06:00",)).outside()

    assert rest is not None
    assert rest.seconds == seconds


@pytest.mark.asyncio
async def test_a_new_cap_forgets_what_the_old_one_was_still_waiting_for() -> None:
    clock = FakeClock()
    caps = caps_on(clock, max_rows_per_second=1.0, max_wal_per_second=None)
    await caps.did(0.0, 100)
    waited = caps.until_free()

    caps.retuned(options(max_rows_per_second=50.0), {"max_rows_per_second"})

    assert waited == 100.0
    assert caps.until_free() == 0.0


@pytest.mark.asyncio
async def test_wal_that_is_unknown_again_is_said_again() -> None:
    told = iter([None, None, 100, None])

    async def wal() -> int | None:
        return next(told)

    with capture_logs() as lines:
        caps = caps_on(FakeClock(), worked(wal=wal), max_wal_per_second=10.0)
        for _ in range(4):
            await caps.did(0.0, 1)

    assert [line["log_level"] for line in lines] == ["warning", "warning"]
    assert caps.until_free() == pytest.approx(9.9, abs=0.2)


def test_a_run_with_one_worker_has_no_level_above_one() -> None:
    clock = FakeClock()
    plain = pacer_on(clock, pace=Adaptive(max_workers=4))
    crew = pacer_on(clock, worked(most_workers=lambda: 3), pace=Adaptive(max_workers=4))

    for _ in range(30):
        clock.now += 5.0
        for pacer in (plain, crew):
            pacer.saw(loaded(0.1))

    assert plain.level == 1.0
    assert crew.level == 3.0


def test_a_look_that_was_heard_is_not_heard_again() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)

    with capture() as events:
        for at, load in ((1.0, 0.6), (1.0, 0.6), (1.0, 0.6), (2.0, 0.5)):
            clock.now += 5.0
            pacer.saw(judged_at(at, load))

    told = only(events, "pace.sample")
    assert [each.get("load") for each in told] == [0.6, None, None, 0.5]
    assert [each["pending"] for each in told] == [0, 1, 1, 0]


def test_a_look_between_two_samples_that_count_is_heard_with_the_next() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)

    pacer.saw(judged_at(1.0, 0.6))
    clock.now += 0.2
    pacer.saw(judged_at(2.0, 1.5))
    clock.now += 5.0
    with capture() as events:
        pacer.saw(judged_at(2.0, 1.5))

    (told,) = only(events, "pace.sample")
    assert told["load"] == 1.5


def test_what_is_set_says_what_and_what_became_of_it() -> None:
    pacer = pacer_on(FakeClock(), pace=Adaptive(min_size=10))

    pacer.obey(Wishes(values={"batch_size": 5, "duty": 0.5}))

    assert pacer.why == (
        "set from outside: batch_size=5, duty=0.5, so 10 rows, by the bounds of its "
        "pace"
    )


def test_a_look_that_is_told_beside_another_pause_each_time_counts_once() -> None:
    clock = FakeClock()
    pacer = pacer_on(clock)
    over, shut = loaded(1.5), HealthReport(Pause("behind"))
    levels = []
    for _ in range(6):
        clock.now += 1.0
        pacer.saw(joined(over, shut))
        levels.append(pacer.level)
    once = pacer_on(clock)
    clock.now += 1.0
    once.saw(joined(over, shut))

    # By the pause, which holds, and by the look, which is the same one all the time.
    assert set(levels) == {once.level}
