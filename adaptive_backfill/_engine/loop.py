"""The loop: carries out what the core decides, for every kind of backfill.

Order of one batch: wishes and verdict, `batch.start`, handler, save,
`batch.success`, `on_success`, rest. Rule: the run moves only by what the core's
`reached`, `decide` and `settle` return.
"""

from __future__ import annotations

import asyncio
import random

from adaptive_backfill._core.answers import OK, Done, Halt, Next, Pause, Slow, Verdict
from adaptive_backfill._core.evaluation import HEALTHY, HealthReport
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions, changed
from adaptive_backfill._core.pacing import rest_after
from adaptive_backfill._core.result import RunStatus
from adaptive_backfill._core.run import (
    ATTEMPT,
    Ending,
    Move,
    Outcome,
    Raised,
    Rest,
    RunState,
    decide,
    ended,
    reached,
    settle,
    stopped,
)
from adaptive_backfill._core.snapshot import Snapshot, Wishes, by_value, is_immutable
from adaptive_backfill._engine.attempt import BATCH, SINGLE, attempt
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.control import Steering
from adaptive_backfill._engine.hooks import Hooks
from adaptive_backfill._engine.meter import Metering
from adaptive_backfill._engine.outside import ask, shown
from adaptive_backfill._engine.reporting import Reporter
from adaptive_backfill._engine.saving import as_checkpoint_error, uncopied
from adaptive_backfill._ports import Clock, Handle, Monitor, UnitOfWork, Work
from adaptive_backfill.errors import CheckpointError, LeaseLost

__all__ = ["Loop"]

STOP_REQUESTED = "stop requested"
"""What a single operation is told, and known by when it hands it back."""

OUTLASTED = "the batch under way was cancelled: it outlasted its grace"


class Loop:
    """One run between its opening and its closing.

    Attributes:
        run: Where it stands.
        options: What is in force.
        report: What the health checks said last.
        reasons: Why it is paused; empty where it is not.
        kept: Whether the store still takes what is saved.
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
        bell: Bell,
        clock: Clock,
    ) -> None:
        self.run = run
        self.options = options
        self.report: HealthReport = HEALTHY
        self.reasons: tuple[Reason, ...] = ()
        self.kept = unit is not None
        self._work = work
        self._unit = unit
        self._copies = unit is not None or options.retry.attempts > 1
        handle = work.handle if unit is None else unit.within(work.handle)
        self._handle = self._handling(handle)
        self._answers = SINGLE if work.single else BATCH
        self._title = work.title
        self._monitor = monitor
        self._control = control
        self._reporter = reporter
        self._hooks = hooks
        self._meter = meter
        self._bell = bell
        self._clock = clock
        self._wishes = Wishes()
        # Whether anything but the health has a say in the next move.
        self._bounded = options.max_batches is not None
        self._good: HealthReport | None = None
        self._under_way: tuple[RunState, float] | None = None
        self._slow = False
        self._bad_since: float | None = None

    async def drive(self) -> None:
        """Go on until the run has an ending."""
        try:
            if self.run.ending is None:
                await self._monitor.start()
            while self.run.ending is None:
                await self._step()
        except asyncio.CancelledError:
            if not self._control.was_interrupted():
                raise
            self.cut_short()
        finally:
            self._break_off()
            await self._monitor.stop()
            if self._unit is not None:
                await self._unit.rest()
        self._meter.resume()

    def cut_short(self) -> None:
        """End the run, whose lease is lost or whose grace is over.

        A run that has come to an ending of its own by then keeps it.
        """
        if self._control.lost is not None:
            self.kept = False
            lost = Ending(RunStatus.FAILED, error=self._control.lost)
            self.run = ended(self.run, lost)
        elif self.run.ending is None:
            self.run = ended(self.run, stopped(OUTLASTED))

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
        return Snapshot(run.state, run.batches, run.rows, self.options.batch_size)

    def told(self, state: object) -> object:
        """Return *state* as hooks are told it."""
        return shown(state) if self._copies else state

    async def _step(self) -> None:
        if self._control.wishes is not self._wishes:
            self._obey(self._control.wishes)
        move = self._bounds()
        if move is ATTEMPT:
            report = await self._monitor.verdict()
            if self._control.wishes is not self._wishes:
                return
            # Most batches are told the same good news as the one before.
            if report is not self._good:
                move = self._judge(report)
        if move is ATTEMPT:
            await self._attempt()
        elif isinstance(move, Rest):
            await self._rest(move)
        elif isinstance(move, Ending):
            self.run = ended(self.run, move)

    def _bounds(self) -> Move:
        """Return the next move as far as the health has no say in it."""
        if not self._bounded:
            return ATTEMPT
        move = reached(self.run, self._wishes, self.options)
        if move is not ATTEMPT:
            self._bad_since = None
        return move

    def _obey(self, wishes: Wishes) -> None:
        retuned = wishes.values != self._wishes.values
        self._wishes = wishes
        self._bounded = True
        if retuned and wishes.values:
            self.options = changed(self.options, wishes.values)
            if self._work.retuned is not None:
                self._work.retuned(wishes.values)
            self._reporter.retuned(self.options)

    def _judge(self, report: HealthReport) -> Move:
        self.report = report
        verdict = report.verdict
        if verdict is OK:
            self._slow = False
            self._bad_since = None
            self._good = report
            return ATTEMPT
        self._good = None
        if isinstance(verdict, Slow) and not self._slow:
            self._slow = True
            self._reporter.slowing(report)
        now = self._clock.monotonic()
        if not isinstance(verdict, Pause):
            self._bad_since = None
        elif self._bad_since is None:
            self._bad_since = now
        bad_for = 0.0 if self._bad_since is None else now - self._bad_since
        move = decide(report, bad_for, self.options)
        if isinstance(move, Ending):
            self._reporter.halting(report)
        return move

    async def _rest(self, rest: Rest) -> None:
        self.reasons = rest.reasons
        if not self._meter.is_paused:
            self._meter.pause()
            self._reporter.pausing(self.report, rest.reasons)
        if self._unit is not None:
            await self._unit.rest()
        if self._control.wishes is not self._wishes:
            # Wished just now, by a telemetry handler or while the unit let go.
            return
        waits = [rest.seconds]
        if self._bad_since is not None:
            waits.append(self._monitor.recheck_after)
        await self._bell.wait(min((w for w in waits if w is not None), default=None))

    async def _attempt(self) -> None:
        run, reporter, now = self.run, self._reporter, self._clock.monotonic
        if self.reasons:
            self.reasons = ()
            reporter.resuming(self._meter.resume())
        began = now()
        self._under_way = (run, began)
        # Asked once a batch: nothing is built for nobody.
        told = reporter.is_heard
        if told:
            reporter.attempting(run, run.state, self.options)
        outcome = await attempt(
            self._handle, run.state, self.options.timeout, self._answers, self._title
        )
        duration = now() - began
        kept, held = await self._keep(run, outcome, duration)
        self._under_way = None
        if kept is None:
            return
        if told:
            reporter.attempted(run, kept, duration)
        if held is not None:
            raise held
        await self._follow(run, self.run, kept, duration)

    async def _follow(
        self, run: RunState, settled: RunState, outcome: Outcome, duration: float
    ) -> None:
        """Tell the hook of an attempt at *run* that came to *settled*; then rest."""
        if settled.batches != run.batches:
            self._meter.count(settled)
        hook = self._work.on_success
        if hook is not None and self._succeeded(run, settled):
            given = await ask(hook, self._news(settled))
            if given.error is not None:
                self._hooks.failed("on_success", given.error)
        rest = self._rest_after(run, outcome, duration)
        if rest == 0:
            # Without one real yield a batch, a handler that never waits would
            # starve the monitor, cancellation and the whole service.
            await asyncio.sleep(0)
        elif rest is not None:
            await self._delay(rest)

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
            duration = self._clock.monotonic() - began
            self._reporter.broken_off(run, duration, outcome="cancelled")

    def _handling(self, handle: Handle) -> Handle:
        """Return *handle* to be called with the settled state.

        With a checkpoint or a retry, every attempt gets a copy of its own, so that
        what a failed one did to it is neither tried again nor saved. Without either
        nobody looks back at a settled state.
        """
        if self._work.single:
            return lambda _: handle(self.health_check)
        if not self._copies:
            return handle

        async def handle_a_copy(state: object) -> object:
            answer = await handle(by_value(state))
            # The handler may hold on to what it answered, and change it later.
            if isinstance(answer, Next) and not is_immutable(answer.state):
                copied = await ask(by_value, answer.state)
                if copied.error is not None and self._unit is not None:
                    raise uncopied(answer.state, self.options.key, copied.error)
                if copied.error is not None:
                    raise copied.error
                return Next(copied.value, answer.rows)
            return answer

        return handle_a_copy

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

    def _rest_after(
        self, run: RunState, outcome: Outcome, duration: float
    ) -> float | None:
        """Return the seconds to rest after an attempt at *run*; `None` for no rest."""
        options, settled = self.options, self.run
        if settled.ending is not None or settled.own_batches == options.max_batches:
            return None
        if isinstance(outcome, Raised):
            wait = options.retry.wait(run.attempt, random.random())
            self._reporter.retrying(settled, outcome.error, wait)
            return wait
        if self._good is not None:
            return options.delay_between_batches
        return rest_after(options.delay_between_batches, duration, self.report.verdict)

    async def _delay(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        if self._unit is not None:
            await self._unit.rest()
        while not self._control.wishes.stop:
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            await self._bell.wait(left)
