"""What the loops of one run's shares have in common, and what each sees of it.

A share is driven by a loop of its own, on a lease of its own. All of them obey one
control and one monitor, and make one pause, one rate and one voice: so that a run in
shares looks and is steered like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from typing_extensions import override

from adaptive_backfill._core.answers import OK
from adaptive_backfill._core.evaluation import HealthReport
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions, changed
from adaptive_backfill._core.run import Rest, RunState, ended, stopped
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.control import Steering
from adaptive_backfill._engine.hooks import Hooks
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._engine.meter import Metering
from adaptive_backfill._engine.reporting import Reporter
from adaptive_backfill._engine.times import Times
from adaptive_backfill._ports import Clock, Monitor, UnitOfWork, Work

__all__ = ["ShareLoop", "ShareReporter", "Whole"]

_STOP = Wishes(stop=True)


class Whole:
    """The run that shares are of, as they see it: their control and their monitor.

    Args:
        loop: Shows the run to others.
        moved: Called after each batch of a share; moves *loop*'s run.
        control: The run's.
        monitor: The run's; started and stopped by it.
        meter: The run's.
        reporter: The run's.

    Attributes:
        over: Whether no share is to begin another batch.
    """

    def __init__(
        self,
        loop: Loop,
        moved: Callable[[], None],
        *,
        control: Steering,
        monitor: Monitor,
        meter: Metering,
        reporter: Reporter,
    ) -> None:
        self.over = False
        self.loop = loop
        self.moved = moved
        self.meter = meter
        self.reporter = reporter
        self.resting: set[object] = set()
        self.slow = False
        self.turns = count()
        self._control = control
        self._monitor = monitor
        self._begun: set[object] = set()

    @property
    def wishes(self) -> Wishes:
        """What is wished of each share."""
        return _STOP if self.over else self._control.wishes

    @property
    def lost(self) -> BaseException | None:
        """Why the run's lease is gone, where it is."""
        return self._control.lost

    def hold(self, by: str | None) -> None:
        """Pause the run, until somebody resumes it."""
        self._control.hold(by)

    def was_interrupted(self) -> bool:
        """Whether a share's cancellation ends a batch only: it never does."""
        return False

    @property
    def recheck_after(self) -> float | None:
        """Seconds after which to ask again while paused."""
        return self._monitor.recheck_after

    async def start(self) -> None:
        """Do nothing: the run has begun to watch."""

    async def verdict(self) -> HealthReport:
        """Return the run's report, and show it."""
        report = self.loop.report = await self._monitor.verdict()
        if report.verdict is OK:
            self.slow = False
        return report

    async def stop(self) -> None:
        """Do nothing: the run goes on watching."""

    def may_begin(self, share: object) -> bool:
        """Whether *share* may begin a batch, by the `max_batches` of the run."""
        limit = self.loop.options.max_batches
        if limit is None:
            return True
        self._begun.discard(share)
        if self.loop.run.own_batches + len(self._begun) >= limit:
            return False
        self._begun.add(share)
        return True

    def has_done(self, share: object) -> None:
        """Take note that the batch that *share* began is counted, or given up."""
        self._begun.discard(share)


class ShareMeter:
    """Counts a share's batches and pauses towards the run's.

    The run is paused from the first share that rests until none does any more.
    """

    def __init__(self, whole: Whole) -> None:
        self._whole = whole

    @property
    def paused_by(self) -> str | None:
        """What the run is paused by now; `None` where it is not."""
        return self._whole.meter.paused_by

    @property
    def times(self) -> Times:
        """Where the run's time goes."""
        return self._whole.meter.times

    def pause(self, by: str) -> None:
        """Begin a pause of this share, or go on with it."""
        self._whole.meter.pause(by)
        self._whole.resting.add(self)

    def resume(self) -> float | None:
        """End the pause of this share; return that of the run, if it ends with it."""
        if self not in self._whole.resting:
            return None
        self._whole.resting.discard(self)
        return None if self._whole.resting else self._whole.meter.resume()

    def turn(self) -> float:
        """End the run's pause, for another; whoever rests still rests for that one."""
        return self._whole.meter.turn()

    def count(self, run: RunState) -> None:
        """Take note that the share has moved to *run*."""
        self._whole.moved()
        self._whole.has_done(self)
        self._whole.meter.count(self._whole.loop.run)


class ShareReporter(Reporter):
    """A share's voice: of its batches by itself, of the run once for all of them."""

    def __init__(
        self, whole: Whole, options: RunOptions, run_id: str, *, worker: int, share: str
    ) -> None:
        part = {"worker": worker, "share": share}
        super().__init__(options, run_id, single=False, part=part)
        self._whole = whole

    @override
    def halting(self, report: HealthReport) -> None:
        if not self._whole.over:
            self._whole.over = True
            self._whole.reporter.halting(report)

    @override
    def slowing(self, report: HealthReport) -> None:
        if not self._whole.slow:
            self._whole.slow = True
            self._whole.reporter.slowing(report)

    @override
    def pausing(self, report: HealthReport, reasons: tuple[Reason, ...]) -> None:
        self._whole.reporter.pausing(report, reasons)

    @override
    def resuming(self, paused: float, reasons: tuple[Reason, ...]) -> None:
        # Those of the share may be older: it rests since before they changed.
        reasons = self._whole.loop.reasons or reasons
        self._whole.loop.reasons = ()
        self._whole.reporter.resuming(paused, reasons)


class ShareLoop(Loop):
    """The loop of one share.

    Args:
        whole: The run that it is a share of.
        work: What the run does.
        options: What is in force; `max_batches` is the run's to count.
        run: Where the share stands.
        unit: Makes its batches whole.
        hooks: The run's.
        bell: The run's.
        clock: Time.
        reporter: The share's voice.
        worker: The number of the worker that drives it, from 1: where there is not
            work for all of them, the lower ones go on.
    """

    def __init__(
        self,
        whole: Whole,
        work: Work,
        options: RunOptions,
        run: RunState,
        *,
        unit: UnitOfWork,
        hooks: Hooks,
        bell: Bell,
        clock: Clock,
        reporter: Reporter,
        worker: int = 1,
    ) -> None:
        self._whole = whole
        self._place = (worker, next(whole.turns))
        self._own_meter = ShareMeter(whole)
        super().__init__(
            work,
            changed(options, {"max_batches": None}),
            run,
            unit=unit,
            monitor=whole,
            control=whole,
            reporter=reporter,
            hooks=hooks,
            meter=self._own_meter,
            pacer=whole.loop.pacer,
            bell=bell,
            clock=clock,
            worker=self._place,
        )

    @override
    async def drive(self) -> None:
        self.pacer.joined(self._place)
        try:
            await super().drive()
        finally:
            self._whole.has_done(self._own_meter)
            self.pacer.left(self._place)

    @override
    async def _step(self) -> None:
        if self._whole.may_begin(self._own_meter):
            await super()._step()
        else:
            limit = self._whole.loop.options.max_batches
            self.run = ended(self.run, stopped(f"max_batches {limit} reached"))

    @override
    async def _idle(self) -> None:
        # Its turn is for others to have, who count towards `max_batches`, too.
        self._whole.has_done(self._own_meter)
        await super()._idle()

    @override
    def _begin_pause(self, rest: Rest) -> None:
        super()._begin_pause(rest)
        self._whole.loop.reasons = rest.reasons

    @override
    def _whole_run(self) -> RunState:
        return self._whole.loop.run
