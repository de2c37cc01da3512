"""Laws of the moves of a run: what follows from what, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill import (
    OK,
    Done,
    Fail,
    Halt,
    Next,
    Pause,
    Reason,
    Retry,
    Slow,
    Verdict,
)
from adaptive_backfill._core.evaluation import HealthReport
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunStatus
from adaptive_backfill._core.run import (
    ATTEMPT,
    Ending,
    Outcome,
    Raised,
    Rest,
    RunState,
    decide,
    ended,
    reached,
    resumed_from,
    settle,
    stopped,
)
from adaptive_backfill._core.snapshot import Snapshot, Wishes
from adaptive_backfill.errors import BatchTimeout, InvalidAnswer
from tests.core.making import LEVELS, few, options, report

counts = st.none() | st.integers(0, 1_000)
nexts = st.builds(Next, st.integers(), counts)
raises = st.sampled_from([ValueError("bad"), OSError("gone"), KeyError("k")]).map(
    Raised
)
endings = st.one_of(
    st.builds(Done, st.integers(), counts),
    st.builds(Halt, st.text(max_size=5)),
    st.builds(Fail, st.text(max_size=5)),
)
outcomes = st.one_of(nexts, raises, endings)
scripts = st.lists(st.one_of(nexts, nexts, raises), max_size=12)
policies = st.builds(
    lambda attempts, limit: options(retry=Retry(attempts), max_batches=limit),
    st.integers(1, 4),
    st.none() | st.integers(1, 6),
)
runs = st.builds(
    RunState,
    st.integers(),
    batches=st.integers(0, 9),
    rows=st.integers(0, 99),
    own_batches=st.integers(0, 9),
    attempt=st.integers(1, 4),
    ending=st.none(),
)


def fold(run: RunState, script: Iterable[Outcome], policy: RunOptions) -> RunState:
    """Do what the engine does with *script*: ask, attempt, settle, until it ends."""
    for outcome in script:
        move = reached(run, Wishes(), policy)
        if isinstance(move, Ending):
            return ended(run, move)
        run = settle(run, outcome, policy)
        if run.ending is not None:
            return run
    return run


@few
@given(runs, outcomes, policies)
def test_the_state_moves_on_next_and_on_nothing_else(
    run: RunState, outcome: Outcome, policy: RunOptions
) -> None:
    after = settle(run, outcome, policy)

    moved_to = outcome.state if isinstance(outcome, Next) else run.state
    assert after.state == moved_to


@few
@given(runs, outcomes, policies)
def test_counts_only_grow_and_by_what_the_answer_says(
    run: RunState, outcome: Outcome, policy: RunOptions
) -> None:
    after = settle(run, outcome, policy)

    counts = isinstance(outcome, Next) or (
        isinstance(outcome, Done) and outcome.rows is not None
    )
    rows = outcome.rows or 0 if isinstance(outcome, Next | Done) else 0
    assert after.batches - run.batches == int(counts)
    assert after.own_batches - run.own_batches == int(counts)
    assert after.rows - run.rows == rows


@few
@given(runs, outcomes, policies)
def test_a_run_goes_on_after_next_and_after_what_is_worth_a_retry(
    run: RunState, outcome: Outcome, policy: RunOptions
) -> None:
    after = settle(run, outcome, policy)

    again = isinstance(outcome, Raised) and run.attempt < policy.retry.attempts
    assert (after.ending is None) == (isinstance(outcome, Next) or again)
    if again:
        assert after == run._replace(attempt=run.attempt + 1)
    if isinstance(outcome, Next):
        assert after.attempt == 1


@few
@given(scripts, policies)
def test_folding_any_script_counts_what_was_done(
    script: list[Outcome], policy: RunOptions
) -> None:
    run = fold(RunState(0), script, policy)

    done = [outcome for outcome in script if isinstance(outcome, Next)]
    did = done[: run.batches]
    assert run.batches == run.own_batches <= (policy.max_batches or len(script))
    assert run.rows == sum(outcome.rows or 0 for outcome in did)
    assert run.state == (did[-1].state if did else 0)


@few
@given(st.lists(nexts, max_size=12), endings, st.data())
def test_resuming_equals_never_having_stopped(
    script: list[Outcome], end: Outcome, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(script)))
    policy = options()

    whole = fold(RunState(0), [*script, end], policy)
    first = fold(RunState(0), script[:cut], policy)
    kept = Snapshot(first.state, first.batches, first.rows)
    second = fold(resumed_from(kept), [*script[cut:], end], policy)

    assert second._replace(own_batches=0) == whole._replace(own_batches=0)


@few
@given(scripts, policies, st.integers(1, 3))
def test_any_number_of_stops_comes_to_the_same_end(
    script: list[Outcome], policy: RunOptions, at_once: int
) -> None:
    work = [outcome for outcome in script if isinstance(outcome, Next)]
    whole = fold(RunState(0), [*work, Done("all")], options())

    kept = Snapshot(0)
    left: list[Outcome] = [*work, Done("all")]
    run = resumed_from(kept)
    for _ in range(len(left) + 1):
        if run.ending is not None and run.ending.status is not RunStatus.STOPPED:
            break
        run = fold(resumed_from(kept), [*left, Done()], options(max_batches=at_once))
        left = left[run.own_batches :]
        kept = Snapshot(run.state, run.batches, run.rows)

    assert run._replace(own_batches=0) == whole._replace(own_batches=0)


def test_next_of_none_is_a_state_like_any_other() -> None:
    run = settle(RunState(1), Next(None), options())

    assert run == RunState(None, batches=1, own_batches=1)


def test_done_with_rows_is_a_batch_with_the_state_unchanged() -> None:
    run = settle(RunState(7, batches=2, rows=20), Done("sum", rows=0), options())

    assert run == RunState(7, 3, 20, 1, ending=Ending(RunStatus.DONE, result="sum"))


def test_bare_done_is_no_batch() -> None:
    run = settle(RunState(7, 2, 20, 2, attempt=3), Done("sum"), options())

    assert run == RunState(7, 2, 20, 2, ending=Ending(RunStatus.DONE, result="sum"))


def test_a_halt_of_the_handler_gives_its_reason_and_names_no_check() -> None:
    run = settle(RunState(7), Halt("enough"), options())

    halt = Halt("enough")
    assert run.ending == Ending(RunStatus.HALTED, (Reason(None, halt, "enough"),))


def test_fail_gives_its_reason_as_the_error_and_is_not_retried() -> None:
    reason = ("no", "exception")

    run = settle(RunState(7), Fail(reason), options(retry=Retry(9)))

    assert run.ending is not None
    assert run.ending.status is RunStatus.FAILED
    assert run.ending.error is reason


def test_an_error_out_of_attempts_ends_the_run_with_the_very_error() -> None:
    error = OSError("gone")
    policy = options(retry=Retry(2))

    once = settle(RunState(7), Raised(error), policy)
    twice = settle(once, Raised(error), policy)

    assert once == RunState(7, attempt=2)
    assert twice.ending is not None
    assert twice.ending.error is error


def test_invalid_answers_are_not_retried_and_timeouts_are() -> None:
    policy = options(retry=Retry(3))
    nonsense = InvalidAnswer("Users.handle_batch", None, ["Done()"])
    late = BatchTimeout("Users.handle_batch", 1.0)

    assert settle(RunState(0), Raised(nonsense), policy).ending is not None
    assert settle(RunState(0), Raised(late), policy).ending is None


@few
@given(
    st.sampled_from(LEVELS),
    st.floats(0, 10_000),
    st.none() | st.floats(0, 5_000),
)
def test_only_ok_and_slow_lead_to_an_attempt(
    verdict: Verdict, paused: float, max_pause: float | None
) -> None:
    said = HealthReport(verdict)

    move = decide(said, paused, options(max_pause=max_pause))

    assert (move is ATTEMPT) == (verdict is OK or isinstance(verdict, Slow))


@few
@given(st.sampled_from(LEVELS), st.floats(0, 10_000), st.floats(0, 10_000))
def test_a_longer_pause_never_leads_to_more_patience(
    verdict: Verdict, one: float, other: float
) -> None:
    said = HealthReport(verdict)
    short, long = sorted((one, other))
    patience = options(max_pause=5_000.0)

    before, after = decide(said, short, patience), decide(said, long, patience)

    if isinstance(before, Ending):
        assert isinstance(after, Ending)
    if isinstance(before, Rest) and isinstance(after, Rest):
        assert (after.seconds or 0) <= (before.seconds or 0)


def test_a_halting_verdict_ends_the_run_as_halted_with_all_reasons() -> None:
    said = report(Halt("down"))

    move = decide(said, 0.0, options())

    assert move == Ending(RunStatus.HALTED, said.reasons)


@pytest.mark.parametrize(
    ("paused", "seconds"), [(0.0, 60.0), (59.0, 1.0), (60.0, None), (61.0, None)]
)
def test_bad_health_is_waited_out_for_max_pause_and_then_halts(
    paused: float, seconds: float | None
) -> None:
    said = report(Pause("vacuum"))

    move = decide(said, paused, options(max_pause=60.0))

    if seconds is None:
        assert move == Ending(RunStatus.HALTED, said.reasons)
    else:
        assert move == Rest(seconds, said.reasons, "check")


def test_without_max_pause_bad_health_is_waited_out_for_ever() -> None:
    said = report(Pause("vacuum"))

    move = decide(said, 1e9, options(max_pause=None))

    assert move == Rest(None, said.reasons, "check")


def test_a_max_pause_of_zero_halts_at_once() -> None:
    move = decide(report(Pause("vacuum")), 0.0, options(max_pause=0.0))

    assert isinstance(move, Ending)


def test_a_wish_to_stop_outranks_everything() -> None:
    wishes = Wishes(stop=True, paused="ops")

    move = reached(RunState(0, own_batches=5), wishes, options(max_batches=1))

    assert move == stopped("stop requested")
    assert move == Ending(
        RunStatus.STOPPED,
        (Reason(None, Halt("stop requested"), "stop requested"),),
    )


@pytest.mark.parametrize(("own", "stops"), [(1, False), (2, True), (3, True)])
def test_max_batches_counts_what_this_run_did(own: int, stops: bool) -> None:
    move = reached(
        RunState(0, batches=100, own_batches=own), Wishes(), options(max_batches=2)
    )

    assert move == (stopped("max_batches 2 reached") if stops else ATTEMPT)


def test_a_pause_by_people_has_no_limit_and_says_who() -> None:
    move = reached(RunState(0), Wishes(paused="ops"), options(max_pause=0.0))

    assert isinstance(move, Rest)
    assert move.seconds is None
    assert [str(reason) for reason in move.reasons] == ["paused by ops"]


def test_ending_a_run_changes_neither_its_state_nor_its_counts() -> None:
    run = RunState(7, 3, 30, 2, 2)

    after = ended(run, stopped("enough"))

    assert after == run._replace(ending=stopped("enough"))


def test_a_resumed_run_goes_on_counting_and_starts_its_own_count() -> None:
    assert resumed_from(Snapshot(7, 3, 30, 100)) == RunState(7, 3, 30)
