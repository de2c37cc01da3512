"""One batch: handler, save, telling of it, learning from it.

Order: `batch.start`, handler, save, `batch.success`, `on_success`. Rule: the run moves
only by what the core's `settle` returns.
"""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from adaptive_backfill._core.answers import Done, Halt, Next, Pause, Verdict
from adaptive_backfill._core.evaluation import HEALTHY, HealthReport
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunStatus
from adaptive_backfill._core.run import (
    Ending,
    Outcome,
    Raised,
    RunState,
    ended,
    settle,
    stopped,
)
from adaptive_backfill._core.snapshot import Snapshot, Wishes
from adaptive_backfill._engine.attempt import BATCH, SINGLE, attempt
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.control import Steering
from adaptive_backfill._engine.handling import by_copies
from adaptive_backfill._engine.hooks import Hooks
from adaptive_backfill._engine.meter import Metering
from adaptive_backfill._engine.outside import ask, shown
from adaptive_backfill._engine.pacer import Pacer, Took, Worker
from adaptive_backfill._engine.reporting import Reporter
from adaptive_backfill._engine.saving import as_checkpoint_error
from adaptive_backfill._ports import Clock, Handle, Measuring, Monitor, UnitOfWork, Work
from adaptive_backfill.errors import CheckpointError, LeaseLost

__all__ = ["Batches", "Tried"]

Tried: TypeAlias = tuple[RunState, Outcome, float]
"""Where a run stood, what came of the attempt, and the seconds that it took."""

STOP_REQUESTED = "stop requested"
"""What a single operation is told, and known by when it hands it back."""


class Batches:
    """Does one batch of a run after the other, when it is told to.

    Attributes:
        run: Where it stands.
        options: What is in force.
        report: What the health checks said last.
        reasons: Why it is paused; empty where it is not.
        kept: Whether the store still takes what is saved.
        pacer: How much to do, and how much of the time.
    """

    def __init__(
        self,
        work: Work,
        options: RunOptions,
        run: RunState,
        *,
        unit: UnitOfWork | None,
        monitor: Monitor,
        control: Steering,
        reporter: Reporter,
        hooks: Hooks,
        meter: Metering,
        pacer: Pacer,
        bell: Bell,
        clock: Clock,
        worker: Worker | None = None,
    ) -> None:
        self.run = run
        self.options = options
        self.report: HealthReport = HEALTHY
        self.reasons: tuple[Reason, ...] = ()
        self.kept = unit is not None
        self.pacer = pacer
        self._worker = worker
        self._work = work
        self._unit = unit
        self._is_whole = unit is not None and unit.atomic
        self._copies = unit is not None or options.retry.attempts > 1
        handle = work.handle if unit is None else unit.within(work.handle)
        self._handle = self._handling(handle)
        self._answers = SINGLE if work.single else BATCH
        self._title = work.title
        self._monitor = monitor
        self._control = control
        self._reporter = reporter
        self._hooks = hooks
        measuring: object = unit
        self._measuring = measuring if isinstance(measuring, Measuring) else None
        self._meter = meter
        self._times = meter.times
        self._bell = bell
        self._clock = clock
        # Whether anything but the health has a say in the next move.
        self._bounded = True
        self._under_way: tuple[RunState, float] | None = None
        self._wishes = Wishes()
        self._good: HealthReport | None = None
        self._slow = False
        self._bad_since: float | None = None

    async def health_check(self) -> Verdict:
        """Tell a single operation whether to go on."""
        wishes = self._control.wishes
        if wishes.stop:
            return Halt(STOP_REQUESTED)
        if wishes.paused is not None:
            return Pause(f"paused by {wishes.paused}")
        self.report = await self._monitor.verdict()
        return self.report.verdict

    def snapshot(self, run: RunState) -> Snapshot:
        """Return what is kept of *run*."""
        return Snapshot(run.state, run.batches, run.rows, self.pacer.steady_size)

    def told(self, state: object) -> object:
        """Return *state* as hooks are told it."""
        return shown(state) if self._copies else state

    def _whole_run(self) -> RunState:
        """Return where the run stands, of which this may be a share."""
        return self.run

    async def _attempt(self) -> Tried | None:
        """Try the next batch; `None` where it is over with nothing left to say."""
        run, reporter, now = self.run, self._reporter, self._clock.monotonic
        size, began = self.pacer.size, self._begun(run)
        # Asked once a batch: nothing is built for nobody.
        told = reporter.is_heard
        if told:
            reporter.attempting(run, run.state, size)
        outcome = await attempt(
            self._handle, run.state, self.options.timeout, self._answers, self._title
        )
        duration = now() - began
        kept, held = await self._keep(run, outcome, duration)
        whole = self._ended(began)
        if kept is None:
            return None
        # Where the save is part of the work, so is its time.
        seconds = whole if self._is_whole else duration
        took = self._measured(Took(began, seconds, size))
        if told:
            known = self._is_whole or self._measuring is not None
            of_database = (took.seconds, took.size) if known else None
            reporter.attempted(run, kept, duration, of_database)
        if held is not None:
            raise held
        settled = self.run
        if settled.batches != run.batches:
            self._meter.count(settled)
        if self._bounded or self._measuring is not None:
            await self._learn(run, kept, took)
        if self._work.on_success is not None and self._succeeded(run, settled):
            await self._hooks.call(
                "on_success", self._work.on_success, self._news(settled)
            )
        return run, kept, took.seconds

    def _begun(self, run: RunState) -> float:
        """Count an attempt at *run* that begins; return when."""
        now = self._clock.monotonic()
        self._under_way = (run, now)
        if self._worker is not None:
            self._times.works(now)
        return now

    def _ended(self, began: float) -> float:
        """Count an attempt that *began* then; return the seconds that it took."""
        self._under_way = None
        now = self._clock.monotonic()
        if self._worker is None:
            self._times.busy += now - began
        else:
            self._times.worked(now)
        return now - began

    def _measured(self, took: Took) -> Took:
        """Return what an attempt *took*, by its unit of work where that knows."""
        if self._measuring is None:
            return took
        measured = self._measuring.measured()
        self._times.locked += measured.locked
        return Took(took.began, measured.seconds, measured.size or took.size)

    async def _learn(self, run: RunState, outcome: Outcome, took: Took) -> None:
        """Let the pacer know of an attempt at *run*."""
        if isinstance(outcome, Raised):
            over = self.run.ending is not None
            self.pacer.failed(outcome.error, took.size, over=over)
        elif isinstance(outcome, Next | Done) and self.run.batches != run.batches:
            await self.pacer.did(took, outcome.rows)

    def _succeeded(self, run: RunState, settled: RunState) -> bool:
        if not self._work.single:
            return settled.batches != run.batches
        return settled.ending is not None and settled.ending.status is RunStatus.DONE

    def _news(self, settled: RunState) -> object:
        """Return what `on_success` is told: nothing by which it could change a run."""
        if self._work.single:
            return None if settled.ending is None else settled.ending.result
        return self.told(settled.state)

    def _break_off(self) -> None:
        """Report an attempt that did not come to its end."""
        if self._under_way is not None:
            run, began = self._under_way
            duration = self._ended(began)
            self._reporter.broken_off(run, duration, outcome="cancelled")

    def _handling(self, handle: Handle) -> Handle:
        """Return *handle* to be called with the settled state.

        With a checkpoint or a retry, every attempt gets a copy of its own. Without
        either nobody looks back at a settled state.
        """
        if self._work.single:
            return lambda _: handle(self.health_check)
        if not self._copies:
            return handle
        return by_copies(handle, self.options.key, kept=self._unit is not None)

    def _settled(self, run: RunState, outcome: Outcome) -> RunState:
        # Also where the handler read the reason and made a Halt of its own of it.
        if isinstance(outcome, Halt) and outcome.reason is STOP_REQUESTED:
            return ended(run, stopped(STOP_REQUESTED))
        return settle(run, outcome, self.options)

    async def _keep(
        self, run: RunState, outcome: Outcome, duration: float
    ) -> tuple[Outcome | None, asyncio.CancelledError | None]:
        """Settle *outcome*, save where it moved the run, and move the run.

        Returns:
            What came of the attempt in the end, `None` where that is told already;
            and a cancellation that was held back until all was safe.
        """
        unit, settled = self._unit, self._settled(run, outcome)
        if unit is None or self._work.single:
            self.run = settled
            return outcome, None
        moved = settled.batches != run.batches
        done = outcome if isinstance(outcome, Done) else None
        if not moved and (done is None or not unit.atomic):
            await unit.rollback()
            self.run = settled
            return outcome, None
        began = self._clock.monotonic()
        given = await ask(unit.commit, self.snapshot(settled), done)
        if given.error is not None:
            return self._not_kept(run, given.error, duration, unit), None
        self.run = settled
        if moved:
            self._reporter.saved(settled.state, began, self._clock)
        held = given.value
        return outcome, held if isinstance(held, asyncio.CancelledError) else None

    def _not_kept(
        self, run: RunState, error: BaseException, duration: float, unit: UnitOfWork
    ) -> Outcome | None:
        """Return what a failed save makes of the attempt: try again, or the end."""
        if unit.atomic and not isinstance(error, CheckpointError | LeaseLost):
            self.run = settle(run, Raised(error), self.options)
            return Raised(error)
        self.kept = False
        wrapped = as_checkpoint_error(error, self.options.key, "saved")
        self.run = ended(run, Ending(RunStatus.FAILED, error=wrapped))
        self._reporter.broken_off(run, duration, outcome="checkpoint", error=wrapped)
        return None
