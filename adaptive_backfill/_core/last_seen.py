"""What is shown of a run that is over."""

from __future__ import annotations

from dataclasses import replace

from adaptive_backfill._core.answers import Halt
from adaptive_backfill._core.estimate import share_of
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.result import Progress, RunResult, RunStatus

__all__ = ["is_over", "last_seen", "went_away"]


def is_over(progress: Progress) -> bool:
    """Whether *progress* shows a run that has ended."""
    return isinstance(progress.status, RunStatus)


def last_seen(progress: Progress, result: RunResult | None) -> Progress:
    """Return the last *progress* of a run that ended in *result*.

    `None` as the result says that it was cancelled.
    """
    if result is None:
        return _stopped(progress, "cancelled; run it again to resume")
    return replace(
        progress,
        status=result.status,
        state=result.state,
        batches=result.batches,
        rows=result.rows,
        share=_share(progress, result),
        rate=None,
        eta=None,
        eta_low=None,
        eta_high=None,
        reasons=result.reasons,
    )


def went_away(progress: Progress) -> Progress:
    """Return the last *progress* of a run that fell silent without an ending."""
    return _stopped(
        progress, "its process went away without an ending; the next run resumes"
    )


def _stopped(progress: Progress, why: str) -> Progress:
    reason = Reason(None, Halt(why), why)
    return replace(
        progress,
        status=RunStatus.STOPPED,
        eta=None,
        eta_low=None,
        eta_high=None,
        reasons=(reason,),
    )


def _share(progress: Progress, result: RunResult) -> float | None:
    """Return the share that was done at the end, where *progress* is older."""
    by_rows = share_of(progress.rows, progress.total)
    if progress.share is None or progress.share == by_rows:
        return share_of(result.rows, progress.total)
    # By the place in the table, which a result does not tell.
    return 1.0 if result.status is RunStatus.DONE else progress.share
