"""The loop: carries out what the core decides, for every kind of backfill.

Order: wishes, windows, canary and caps; verdict; a batch (see `batch`); rest. Rule: the
run moves only by what the core's `reached`, `decide` and `settle` return.
"""

from __future__ import annotations

import asyncio
import random

from adaptive_backfill._core.answers import OK, Pause, Slow
from adaptive_backfill._core.evaluation import HealthReport
from adaptive_backfill._core.options import retuned
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
    stopped,
)
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.batch import Batches

__all__ = ["Loop"]

LONG = 0.05
"""Seconds of a rest in which others may need what a unit of work holds."""

OUTLASTED = "the batch under way was cancelled: it outlasted its grace"


class Loop(Batches):
    """One run between its opening and its closing."""

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

    async def _step(self) -> None:
        while self._control.wishes is not self._wishes:
            self._obey(self._control.wishes)
        move = await self._bounds() if self._bounded else ATTEMPT
        if move is ATTEMPT:
            move = self._judged(await self._monitor.verdict())
        if move is ATTEMPT:
            await self._do()
        elif isinstance(move, Rest):
            await self._rest(move)
        elif isinstance(move, Ending):
            self.run = ended(self.run, move)

    async def _bounds(self) -> Move | None:
        """Return the next move as far as the health has no say in it.

        `None` where it is to be asked for again, because time has passed.
        """
        pacer = self.pacer
        move = reached(self.run, self._wishes, self.options)
        if move is ATTEMPT:
            move = pacer.caps.outside() or ATTEMPT
        if move is ATTEMPT:
            if self._worker is not None and pacer.duty(self._worker) == 0:
                await self._idle()
                return None
            move = await self._canary_move()
        if move is not ATTEMPT:
            self._bad_since = None
            return move
        wait = pacer.caps.until_free()
        if wait > 0:
            await self._delay(wait, least=0.0)
            return None
        return ATTEMPT

    async def _canary_move(self) -> Move:
        canary, run = self.pacer.canary, self._whole_run()
        if canary is None or not canary.is_due(run, self.pacer.size):
            return ATTEMPT
        if self._unit is not None:
            await self._unit.rest()
        move = await canary.move(run)
        self._bell.ring()
        return move

    async def _idle(self) -> None:
        """Wait until there is work for this worker."""
        self._end_pause()
        if self._unit is not None:
            await self._unit.rest()
        wished = self._control.wishes is not self._wishes
        if not wished and self.pacer.duty(self._worker) == 0:
            await self._bell.wait(None)

    def _obey(self, wishes: Wishes) -> None:
        self._wishes = wishes
        pacer = self.pacer
        pacer.obey(wishes)
        if wishes.values:
            self.options = retuned(self.options, wishes.values)
        if pacer.canary is not None:
            pacer.canary.heard(wishes, self._whole_run(), pacer.size)
        bounds = (wishes.paused, self.options.max_batches, pacer.canary)
        self._bounded = wishes.stop or pacer.is_on or bounds != (None, None, None)

    def _judged(self, report: HealthReport) -> Move | None:
        """Return what *report* makes of the next batch; `None` to look around first."""
        if self._control.wishes is not self._wishes:
            return None
        if self.pacer.is_on:
            self.pacer.saw(report)
        # Most batches are told the same good news as the one before.
        return ATTEMPT if report is self._good else self._judge(report)

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
        self.pacer.idled()
        self._begin_pause(rest)
        if self._unit is not None:
            await self._unit.rest()
        if self._control.wishes is not self._wishes:
            # Wished just now, by a telemetry handler or while the unit let go.
            return
        waits = [rest.seconds]
        if self._bad_since is not None:
            waits.append(self._monitor.recheck_after)
        await self._bell.wait(min((w for w in waits if w is not None), default=None))

    def _begin_pause(self, rest: Rest) -> None:
        """Begin a pause, or go on with it; with another where *rest* has another cause.

        So each pause is told with a cause and a length of its own.
        """
        before = self._meter.paused_by
        if before is not None and before != rest.by:
            self._reporter.resuming(self._meter.turn(), self.reasons)
        self.reasons = rest.reasons
        self._meter.pause(rest.by)
        if before != rest.by:
            self._reporter.pausing(self.report, rest.reasons)

    def _end_pause(self) -> None:
        """End the pause, if there is one."""
        if self.reasons:
            reasons, self.reasons = self.reasons, ()
            length = self._meter.resume()
            if length is not None:
                self._reporter.resuming(length, reasons)

    async def _do(self) -> None:
        """Do a batch, and rest."""
        if self.reasons:
            self._end_pause()
        tried = await self._attempt()
        rest = None if tried is None else self._rest_after(*tried)
        if rest == 0:
            # Without one real yield a batch, a handler that never waits would starve
            # the monitor, cancellation and the whole service. Where the batch was
            # saved as a whole, it has waited for its server.
            if not self._is_whole:
                await asyncio.sleep(0)
        elif rest is not None:
            paced = self.pacer.is_on and self.run.attempt == 1
            least = self.options.delay_between_batches if paced else rest
            await self._delay(rest, least)

    def _rest_after(self, run: RunState, outcome: Outcome, took: float) -> float | None:
        """Return the seconds to rest after an attempt at *run*; `None` for no rest."""
        options, settled = self.options, self.run
        if settled.ending is not None or settled.own_batches == options.max_batches:
            return None
        if isinstance(outcome, Raised):
            wait = options.retry.wait(run.attempt, random.random())
            self._reporter.retrying(settled, outcome.error, wait)
            return wait
        rest = options.delay_between_batches
        if self.pacer.is_on:
            rest = max(rest, self.pacer.rest(self._worker, took))
        if self._good is not None or options.pace is not None:
            return rest
        return rest_after(rest, took, self.report.verdict)

    async def _delay(self, seconds: float, least: float) -> None:
        """Rest for *seconds*; only for the *least* of them once something is wished."""
        now = self._clock.monotonic
        began = now()
        if self._unit is not None and seconds >= LONG:
            await self._unit.rest()
        self._times.delays(began)
        try:
            while not self._control.wishes.stop:
                wished = self._control.wishes is not self._wishes
                left = began + (least if wished else seconds) - now()
                if left <= 0:
                    break
                await self._bell.wait(left)
        finally:
            self._times.delayed_until(now())
        if self.pacer.is_on:
            self.pacer.rested(self._worker, now() - began)
