"""Numbers, times and pace in words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from adaptive_backfill import Progress, RunResult, RunStatus
from adaptive_backfill.cli.picture import facts
from adaptive_backfill.cli.words import pace, spent


def result(
    duration: float = 100.0,
    *,
    busy: float = 0.0,
    paused: float = 0.0,
    delayed: float = 0.0,
    locked: float = 0.0,
    waited: Mapping[str, float] | None = None,
) -> RunResult:
    return RunResult(
        "users",
        "r1",
        RunStatus.DONE,
        duration=duration,
        paused=paused,
        busy=busy,
        delayed=delayed,
        locked=locked,
        waited=waited or {},
    )


def test_the_time_of_a_run_is_told_in_shares_with_what_it_waited_for() -> None:
    spent_so = result(
        busy=61.0,
        paused=30.0,
        delayed=9.0,
        waited={"operator": 1.0, "replica_lag": 29.0},
    )

    assert spent(spent_so) == (
        "busy 61%, paused 30% (replica_lag 29 s, operator 1.0 s), delayed 9%"
    )


def test_waits_for_locks_are_told_where_they_are_known() -> None:
    assert spent(result(busy=90.0, delayed=10.0, locked=3.5)) == (
        "busy 90%, delayed 10%, waiting for locks 3.5 s"
    )


@pytest.mark.parametrize("told", [result(busy=100.0), result(0.0)])
def test_a_run_that_only_worked_has_nothing_to_tell(told: RunResult) -> None:
    assert spent(told) is None


@pytest.mark.parametrize(
    ("level", "duty", "words"),
    [
        (None, 1.0, None),
        (1.0, 1.0, None),
        (2.5, 1.0, "2.5 workers"),
        (0.4, 0.4, "working 40% of the time"),
        (3.0, 0.5, "3.0 workers, working 50% of the time"),
    ],
)
def test_how_much_a_run_works_is_told_where_it_is_not_all_of_the_time(
    level: float | None, duty: float, words: str | None
) -> None:
    progress = Progress("users", "r1", "running", level=level, duty=duty)

    assert pace(progress) == words
    assert (words in facts(progress, "")) == (words is not None)
