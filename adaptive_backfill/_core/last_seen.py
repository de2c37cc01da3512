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
        share=share_of(result.rows, progress.total),
        rate=None,
        eta=None,
        reasons=result.reasons,
    )


def went_away(progress: Progress) -> Progress:
    """Return the last *progress* of a run that fell silent without an ending."""
    return _stopped(
        progress, "its process went away without an ending; the next run resumes"
    )


def _stopped(progress: Progress, why: str) -> Progress:
    reason = Reason(None, Halt(why), why)
    return replace(progress, status=RunStatus.STOPPED, eta=None, reasons=(reason,))
