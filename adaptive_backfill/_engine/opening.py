"""What a run starts from: its checkpoint, its initial state, or an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from structlog.typing import FilteringBoundLogger

from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.rules import is_count
from adaptive_backfill._core.run import Ending, RunState, resumed_from
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine.leasing import Skipped, skipped
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.saving import as_checkpoint_error
from adaptive_backfill._ports import Lease, Work
from adaptive_backfill.errors import CheckpointError, LeaseLost

__all__ = ["Opened", "failed_at_start", "open_run", "total_of"]


class Opened(NamedTuple):
    """What a run starts from.

    Attributes:
        run: Where it stands; with an ending already, where it cannot start.
        has_state: Whether there is a state to save.
        resumed: Whether it goes on from a checkpoint.
        batch_size: The size that was in force there, where it is known.
    """

    run: RunState
    has_state: bool = False
    resumed: bool = False
    batch_size: int | None = None


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
    try:
        kept = None if lease is None else await _kept(options, lease, restart=restart)
    except (CheckpointError, LeaseLost) as error:
        return failed_at_start(error)
    if isinstance(kept, Opened | Skipped):
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
        run, size = resumed_from(snapshot), snapshot.batch_size
        return Opened(run, has_state=True, resumed=True, batch_size=size)
    if snapshot is not None and not work.state_given:
        return Opened(resumed_from(snapshot), has_state=True)
    first = await ask(work.initial_state)
    if first.error is not None:
        return failed_at_start(first.error)
    return Opened(RunState(first.value), has_state=True)


async def _kept(
    options: RunOptions, lease: Lease, *, restart: bool
) -> Snapshot | Opened | Skipped | None:
    """Return the snapshot; or that all is done, or all but closed."""
    store = _Reading(options.key)
    if restart:
        await store.ask(lease.discard, "deleted")
    past = cast("RunResult | None", await store.ask(lease.finished, "read"))
    if past is not None and options.once:
        return skipped(past)
    untold = cast("RunResult | None", await store.ask(lease.untold, "read"))
    if untold is not None:
        return _all_but_closed(untold)
    if past is None:
        return cast("Snapshot | None", await store.ask(lease.load, "read"))
    # That an earlier run finished says nothing of the one that begins.
    await store.ask(lease.discard, "deleted")
    return None


async def total_of(work: Work, run: RunState, log: FilteringBoundLogger) -> int | None:
    """Return the rows there are, done ones included; `None` where nobody knows."""
    if work.left is not None:
        left = await ask(work.left, run.state)
        if is_count(left.value, least=0):
            return run.rows + cast("int", left.value)
    if work.total is None:
        return None
    given = await ask(work.total)
    if is_count(given.value, least=0):
        return cast("int", given.value)
    # Only the share and the eta hang on it, and a run does not. `None` is an answer, as
    # of a table that was never analyzed, whose total nobody may have asked for.
    say = log.info if given.error is None and given.value is None else log.warning
    say("total is not known", gave=repr(given.error or given.value))
    return None


class _Reading:
    """Asks a store, whose errors are `CheckpointError`s here."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def ask(self, call: Callable[[], object], doing: str) -> object:
        given = await ask(call)
        if given.error is not None:
            raise as_checkpoint_error(given.error, self._key, doing)
        return given.value


def _all_but_closed(past: RunResult) -> Opened:
    """Return a run whose last batch is committed, and which fell before its end."""
    ending = Ending(RunStatus.DONE, result=past.result)
    run = RunState(past.state, past.batches, past.rows, ending=ending)
    return Opened(run, resumed=True)
