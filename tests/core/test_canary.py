"""When a canary is over, and what an answer to it means."""

from __future__ import annotations

import pytest

from adaptive_backfill import OK, Halt, Pause
from adaptive_backfill._core.canary import has_sung, judged, waits_for
from adaptive_backfill._core.run import Rest, RunState, wished_pause


@pytest.mark.parametrize(
    ("batches", "rows", "counted", "sung"),
    [
        (0, 0, False, False),
        (3, 99, True, False),
        (3, 100, True, True),
        (3, 250, True, True),
        (3, 100, False, True),
        # Nothing was to be done in these, which is known.
        (30, 0, True, False),
        # Nobody says how many rows these did.
        (9, 0, False, False),
        (10, 0, False, True),
    ],
)
def test_a_canary_is_over_with_its_rows_or_batches_where_none_are_told(
    batches: int, rows: int, counted: bool, sung: bool
) -> None:
    run = RunState(None, batches=batches, rows=rows)

    assert has_sung(run, 100, 10, counted=counted) is sung


def test_without_a_size_a_batch_counts_as_one() -> None:
    run = RunState(None, batches=100)

    assert has_sung(run, 100, None, counted=False)


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        (True, True),
        (OK, True),
        (None, None),
        (False, Halt("canary of 100 rows was refused")),
        (Halt("no"), Halt("no")),
    ],
)
def test_an_answer_means_go_on_wait_or_halt(answer: object, meant: object) -> None:
    assert judged(answer, 100) == meant


@pytest.mark.parametrize("answer", [1, 0, "yes", Halt, Pause("later"), [], object()])
def test_everything_else_is_no_answer(answer: object) -> None:
    with pytest.raises(ValueError, match="no answer of on_canary"):
        judged(answer, 100)


def test_a_pause_for_a_canary_says_what_to_do_and_one_by_somebody_who() -> None:
    canary, somebody = wished_pause(waits_for(100)), wished_pause("ann@host")

    assert [str(each) for each in canary.reasons] == [
        "canary of 100 rows done: look at it, then resume"
    ]
    assert [str(each) for each in somebody.reasons] == ["paused by ann@host"]
    assert (canary.by, somebody.by) == ("canary", "operator")
    assert isinstance(canary, Rest)
