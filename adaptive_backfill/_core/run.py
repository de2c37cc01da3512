"""A run as a value, and the functions that move it.

`decide` says what to do next; `settle` folds in what came of it. Rule: every change
of a run's state, its counts or its ending is made in this file. The engine only
carries out what `decide` says and tells `settle` how it went.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, assert_never

from adaptive_backfill._core.answers import Done, Fail, Halt, Next, Pause
from adaptive_backfill._core.evaluation import HealthReport
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunStatus
from adaptive_backfill._core.snapshot import Snapshot, Wishes

__all__ = [
    "CANARY",
    "OPERATOR",
    "WINDOW",
    "Attempt",
    "Ending",
    "Move",
    "Outcome",
    "Raised",
    "Rest",
    "RunState",
    "decide",
    "ended",
    "reached",
    "resumed_from",
    "settle",
    "stopped",
    "wished_pause",
]


class Ending(NamedTuple):
    """How it ended."""

    status: RunStatus
    reasons: tuple[Reason, ...] = ()
    error: object = None
    result: object = None


class RunState(NamedTuple):
    """A run between two moves. A tuple, because one is made for every batch.

    Attributes:
        state: The last settled state of the user's.
        batches: Batches done in the whole backfill.
        rows: Rows done in the whole backfill.
        own_batches: Batches done by this run.
        attempt: The try at the next batch, from 1.
        ending: `None` while it runs.
    """

    state: object
    batches: int = 0
    rows: int = 0
    own_batches: int = 0
    attempt: int = 1
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised, ran out of time, or answered nonsense.

    *error* may be a `CancelledError` that is nobody's cancellation of this run.
    """

    error: BaseException


Outcome: TypeAlias = Next[object] | Done | Halt | Fail | Raised


class Attempt(NamedTuple):
    """Try the next batch."""


class Rest(NamedTuple):
    """Wait, at most *seconds* where given, for things to change; then ask again.

    *by* is what is waited for, in a word: a check's name, or one of the words below.
    """

    seconds: float | None
    reasons: tuple[Reason, ...]
    by: str = "health"


Move: TypeAlias = Attempt | Rest | Ending

CANARY, OPERATOR, WINDOW = "canary", "operator", "window"
"""What is waited for, beside good health."""

ATTEMPT = Attempt()


def resumed_from(snapshot: Snapshot) -> RunState:
    """Return a run that goes on from *snapshot*."""
    return RunState(snapshot.state, snapshot.batches, snapshot.rows)


def reached(run: RunState, wishes: Wishes, options: RunOptions) -> Move:
    """Return the next move as far as the health has no say in it."""
    if wishes.stop:
        return stopped("stop requested")
    limit = options.max_batches
    if limit is not None and run.own_batches >= limit:
        return stopped(f"max_batches {limit} reached")
    if wishes.paused is not None:
        return wished_pause(wishes.paused)
    return ATTEMPT


def wished_pause(paused: str) -> Rest:
    """Return the rest of a run that is *paused*, by somebody or for its canary."""
    by_canary = paused.startswith(f"{CANARY} ")
    pause = Pause(paused if by_canary else f"paused by {paused}")
    by = CANARY if by_canary else OPERATOR
    return Rest(None, (Reason(None, pause, pause.reason),), by)


def decide(report: HealthReport, paused: float, options: RunOptions) -> Move:
    """Return what the health makes of the next batch.

    Args:
        report: What the checks said last.
        paused: Seconds that bad health has been waited out by now.
        options: The run's options.
    """
    verdict = report.verdict
    if isinstance(verdict, Halt):
        return Ending(RunStatus.HALTED, report.reasons)
    if not isinstance(verdict, Pause):
        return ATTEMPT
    if options.max_pause is None:
        return Rest(None, report.reasons, _pausing(report))
    left = options.max_pause - paused
    if left <= 0:
        return Ending(RunStatus.HALTED, report.reasons)
    return Rest(left, report.reasons, _pausing(report))


def _pausing(report: HealthReport) -> str:
    """Return the name of the first check that has the run wait."""
    names = (why.check for why in report.reasons if isinstance(why.answer, Pause))
    return next((name for name in names if name), "health")


def stopped(why: str) -> Ending:
    """Return the ending of a run that was asked to stop."""
    halt = Halt(why)
    return Ending(RunStatus.STOPPED, (Reason(None, halt, why),))


def ended(run: RunState, ending: Ending) -> RunState:
    """Return *run* with its ending; its state and counts stay."""
    return run._replace(ending=ending)


def settle(run: RunState, outcome: Outcome, options: RunOptions) -> RunState:
    """Return *run* after an attempt that came to *outcome*.

    The state moves on `Next`, and on nothing else.
    """
    state, batches, rows, own, attempt, _ = run
    match outcome:
        case Next():
            done = outcome.rows or 0
            return RunState(outcome.state, batches + 1, rows + done, own + 1)
        case Done(result=result, rows=done):
            ending = Ending(RunStatus.DONE, result=result)
            if done is None:
                return RunState(state, batches, rows, own, 1, ending)
            return RunState(state, batches + 1, rows + done, own + 1, 1, ending)
        case Halt(reason=value):
            reason = Reason(None, outcome, value)
            return ended(run, Ending(RunStatus.HALTED, (reason,)))
        case Fail(reason=error):
            return ended(run, Ending(RunStatus.FAILED, error=error))
        case Raised(error=error):
            if options.retry.covers(error, attempt):
                return run._replace(attempt=attempt + 1)
            return ended(run, Ending(RunStatus.FAILED, error=error))
        case _:
            assert_never(outcome)
