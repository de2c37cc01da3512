"""What a run starts from: its checkpoint, its initial state, or an error."""

from __future__ import annotations

from typing import NamedTuple, cast

from structlog.typing import FilteringBoundLogger

from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.run import Ending, RunState, resumed_from
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine.leasing import Skipped, skipped
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.saving import as_checkpoint_error
from adaptive_backfill._ports import Lease, Work

__all__ = ["Opened", "failed_at_start", "open_run"]


class Opened(NamedTuple):
    """What a run starts from.

    Attributes:
        run: Where it stands; with an ending already, where it cannot start.
        has_state: Whether there is a state to save.
        resumed: Whether it goes on from a checkpoint.
    """

    run: RunState
    has_state: bool = False
    resumed: bool = False


def failed_at_start(error: object) -> Opened:
    """Return a run that is over before its first batch."""
    return Opened(RunState(None, ending=Ending(RunStatus.FAILED, error=error)))


async def open_run(
    work: Work,
    options: RunOptions,
    lease: Lease | None,
    *,
    restart: bool,
    log: FilteringBoundLogger,
) -> Opened | Skipped:
    """Return what the run starts from, or why there is nothing to run."""
    snapshot: Snapshot | None = None
    if lease is not None:
        kept = await _kept(options, lease, restart=restart)
        if not isinstance(kept, Snapshot | None):
            return kept
        snapshot = kept
    if work.single:
        return Opened(RunState(None))
    if snapshot is not None and snapshot.batches > 0:
        if work.state_given:
            log.warning(
                "initial_state is ignored: the checkpoint has batches already; "
                "pass restart=True to begin anew",
                batches=snapshot.batches,
            )
        return Opened(resumed_from(snapshot), has_state=True, resumed=True)
    if snapshot is not None and not work.state_given:
        return Opened(resumed_from(snapshot), has_state=True)
    first = await ask(work.initial_state)
    if first.error is not None:
        return failed_at_start(first.error)
    return Opened(RunState(first.value), has_state=True)


async def _kept(
    options: RunOptions, lease: Lease, *, restart: bool
) -> Snapshot | Opened | Skipped | None:
    """Return the snapshot; or the failure to read it; or that all is done."""
    finished = await ask(lease.finished)
    if finished.error is not None:
        return _unreadable(finished.error, options, "read")
    past = cast("RunResult | None", finished.value)
    if past is not None and options.once and not restart:
        return skipped(past)
    if restart or past is not None:
        # A finished mark of an earlier run says nothing of the one that begins.
        discarded = await ask(lease.discard)
        if discarded.error is not None:
            return _unreadable(discarded.error, options, "deleted")
    loaded = await ask(lease.load)
    if loaded.error is not None:
        return _unreadable(loaded.error, options, "read")
    return cast("Snapshot | None", loaded.value)


def _unreadable(error: BaseException, options: RunOptions, doing: str) -> Opened:
    return failed_at_start(as_checkpoint_error(error, options.key, doing))
