"""One run from the lease to the result.

Order at the start: lease, `restart`, `once`, load, `initial_state`, `start`. Order at
the end: monitor gone, last save, `on_error`, `on_complete`, release (which deletes
the checkpoint of a finished run), `stop`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import cast

import structlog

from adaptive_backfill._core.health import HealthContext
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.run import Ending, RunState, stopped
from adaptive_backfill._core.saying import said
from adaptive_backfill._engine.canary import Canary
from adaptive_backfill._engine.clock import Bell, SystemClock
from adaptive_backfill._engine.control import RunControl
from adaptive_backfill._engine.hooks import Hooks
from adaptive_backfill._engine.keeper import Keeper
from adaptive_backfill._engine.leasing import Skipped, take
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._engine.meter import Meter
from adaptive_backfill._engine.monitors import monitor_for
from adaptive_backfill._engine.opening import (
    Opened,
    failed_at_start,
    open_run,
    total_of,
)
from adaptive_backfill._engine.outlast import (
    PATIENCE,
    counting_cancellations,
    finish,
    outlast,
)
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.pacer import Pacer
from adaptive_backfill._engine.reporting import Reporter
from adaptive_backfill._engine.saving import PlainUnit, as_checkpoint_error
from adaptive_backfill._engine.showing import early_progress, progress_of
from adaptive_backfill._ports import Clock, Lease, UnitOfWork, Work
from adaptive_backfill.errors import AlreadyRunning

__all__ = ["Session"]


class Session:
    """One run. Call `run` once.

    Attributes:
        run_id: Names it.
        control: Takes people's wishes.
        taken: Set once the lease is decided: taken, refused, or waited for.
    """

    _loop_type: type[Loop] = Loop

    def __init__(
        self,
        work: Work,
        options: RunOptions,
        *,
        restart: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.run_id = uuid.uuid4().hex
        if work.wal is None:
            # Nobody is to set a cap that cannot be kept to.
            work = replace(work, tunable=work.tunable - {"max_wal_per_second"})
        self._work = work
        self._options = options
        self._restart = restart
        self._clock: Clock = clock or SystemClock()
        self._bell = Bell(self._clock)
        self.control = RunControl(self._bell)
        self.taken = asyncio.Event()
        self._reporter = Reporter(options, self.run_id, single=work.single)
        self._hooks = Hooks(self._reporter)
        self._meter = Meter(self._clock, work.share)
        self._lease: Lease | None = None
        self._keeper: Keeper | None = None
        self._loop: Loop | None = None
        self._canary: Canary | None = None
        self._waiting = False
        self._result: RunResult | None = None

    async def run(self) -> RunResult:
        """Run to the end.

        Raises:
            AlreadyRunning: Another run has the name, and `if_running` is `"raise"`.
        """
        async with counting_cancellations():
            self.control.steers(asyncio.current_task())
            with structlog.contextvars.bound_contextvars(
                backfill=self._options.name, run_id=self.run_id
            ):
                return await self._with_resources()

    async def _with_resources(self) -> RunResult:
        if self._work.resources is None:
            return await self._run(None)
        resources = self._work.resources()
        given = await ask(resources.__aenter__)
        try:
            return await self._run(given.error)
        finally:
            if given.error is None:
                await finish(resources.__aexit__(None, None, None))

    async def _run(self, closed: BaseException | None) -> RunResult:
        """Run to the end; *closed* is why the resources could not be opened."""
        taken = await self._take() if closed is None else failed_at_start(closed)
        self.taken.set()
        if isinstance(taken, Skipped):
            return self._skip(taken)
        try:
            result = await self._hold(taken)
        finally:
            if self._result is None:
                await self._abandon()
        return result

    def progress(self) -> Progress:
        """Return a frozen look at the run."""
        name, size = self._options.name, self._options.batch_size
        if self._loop is not None:
            return progress_of(name, self.run_id, self._loop, self._meter, self._result)
        return early_progress(
            name, self.run_id, size, result=self._result, waiting=self._waiting
        )

    @property
    def tunable(self) -> frozenset[str]:
        """The options that may be changed while it runs."""
        return self._work.tunable

    async def _take(self) -> Opened | Skipped | None:
        """Take the lease; return why there is nothing to run, or an early end."""
        try:
            given = await ask(
                partial(
                    take,
                    self._options,
                    self.run_id,
                    state_type=self._work.state_type,
                    control=self.control,
                    bell=self._bell,
                    standing_by=self._stand_by,
                )
            )
        except asyncio.CancelledError:
            if not self.control.was_interrupted():
                raise
            return Skipped("stopped while it was standing by")
        self._waiting = False
        if isinstance(given.error, AlreadyRunning):
            raise given.error
        if given.error is not None:
            key = self._options.key
            return failed_at_start(as_checkpoint_error(given.error, key, "taken"))
        if isinstance(given.value, Skipped):
            return given.value
        self._lease = cast("Lease | None", given.value)
        return None

    def _stand_by(self) -> None:
        self._waiting = True
        self.taken.set()
        self._reporter.log.info("standing by for another run of the same name")

    async def _hold(self, early: Opened | None) -> RunResult:
        opened = early or await self._open()
        if isinstance(opened, Skipped):
            result = self._skip(opened)
            if self._lease is not None:
                await ask(finish, self._lease.release(None, handed_over=False))
            return result
        unit = self._unit()
        self._pacer = self._make_pacer(opened)
        loop = self._loop = self._make_loop(opened.run, unit)
        self._meter.begin(opened.run)
        self._reporter.started(opened.run.state, resumed=opened.resumed)
        # Also a run that is over already: others are to see that it was there.
        if await self._cut_short(self._watch()) and opened.run.ending is None:
            loop.cut_short()
        if self._canary is not None:
            await self._cut_short(self._canary.begin(opened.run))
        await self._cut_short(loop.drive())
        if opened.has_state:
            await self._cut_short(self._save_last(loop))
        return await self._close(loop, opened)

    async def _cut_short(self, step: Awaitable[None]) -> bool:
        """Take *step*; return whether the grace, or the lease, ended in the middle.

        That is no cancellation of the run: it goes on to its end all the same.
        """
        try:
            await step
        except asyncio.CancelledError:
            if not self.control.was_interrupted():
                raise
            return True
        return False

    async def _open(self) -> Opened | Skipped:
        try:
            opened = await self._starting_point()
            if isinstance(opened, Opened):
                log = self._reporter.log
                self._meter.total = await total_of(self._work, opened.run, log)
        except asyncio.CancelledError:
            if not self.control.was_interrupted():
                raise
            return Opened(RunState(None, ending=stopped("stopped while starting")))
        return opened

    async def _starting_point(self) -> Opened | Skipped:
        return await open_run(
            self._work,
            self._options,
            self._lease,
            restart=self._restart,
            log=self._reporter.log,
        )

    def _unit(self) -> UnitOfWork | None:
        if self._lease is None:
            return None
        return (self._work.unit or PlainUnit)(self._lease)

    def _make_pacer(self, opened: Opened) -> Pacer:
        options, begins = self._options, opened.run.ending is None
        work = self._work if begins else replace(self._work, most_workers=None)
        if options.canary is not None:
            self._canary = Canary(
                options.canary,
                work,
                options,
                control=self.control,
                hooks=self._hooks,
                log=self._reporter.log,
                result=partial(self._result_of, resumed=opened.resumed),
            )
        kept = opened.batch_size if options.pace is not None else None
        return Pacer(
            options,
            work,
            size=kept or options.batch_size,
            reporter=self._reporter,
            bell=self._bell,
            clock=self._clock,
            canary=self._canary,
        )

    def _make_loop(self, run: RunState, unit: UnitOfWork | None) -> Loop:
        options = self._options
        context = HealthContext(options.name, self._work.pool, self.run_id)
        return self._loop_type(
            self._work,
            options,
            run,
            unit=unit,
            monitor=monitor_for(
                options,
                context,
                clock=self._clock,
                bell=self._bell,
                gate=self._work.gate,
            ),
            control=self.control,
            reporter=self._reporter,
            hooks=self._hooks,
            meter=self._meter,
            pacer=self._pacer,
            bell=self._bell,
            clock=self._clock,
        )

    async def _watch(self) -> None:
        """Begin to keep the lease, and to hear wishes."""
        if self._lease is None or self._options.checkpoint is None:
            return
        self._keeper = Keeper(
            self._lease,
            self._options.checkpoint.store,
            self._options.key,
            control=self.control,
            clock=self._clock,
            log=self._reporter.log,
            progress=self.progress,
        )
        await self._keeper.start()

    async def _save_last(self, loop: Loop) -> None:
        """Save where a run that is not done stands. Never changes how it ended."""
        ending = loop.run.ending
        if self._lease is None or not loop.kept or ending is None:
            return
        if ending.status is RunStatus.DONE:
            return
        given = await ask(PlainUnit(self._lease).commit, loop.snapshot(loop.run))
        if given.error is not None:
            self._reporter.log.warning("last save failed", error=said(given.error))
        elif isinstance(given.value, asyncio.CancelledError):
            raise given.value

    async def _close(self, loop: Loop, opened: Opened) -> RunResult:
        work, run = self._work, loop.run
        ending = run.ending or stopped("nothing was decided")
        result = self._result_of(run, ending, resumed=opened.resumed)
        if self._canary is not None and ending.status is RunStatus.DONE:
            await self._cut_short(self._canary.forget())
        call = self._hooks.call
        if ending.status is RunStatus.FAILED:
            state = () if work.single else (loop.told(run.state),)
            about = (ending.error, *state)
            await self._cut_short(call("on_error", work.on_error, *about))
        await self._cut_short(call("on_complete", work.on_complete, result))
        if await self._cut_short(self._release(result)):
            # Where it was the heartbeat that was being ended; twice is once.
            await self._release(result)
        self._result = result
        self._reporter.stopped(result)
        return result

    def _result_of(self, run: RunState, ending: Ending, *, resumed: bool) -> RunResult:
        """Return the result of *run*, if *ending* is its."""
        meter, quarantined = self._meter, self._work.quarantined
        return RunResult(
            name=self._options.name,
            run_id=self.run_id,
            status=ending.status,
            state=run.state,
            result=ending.result,
            reasons=ending.reasons,
            error=ending.error,
            batches=run.batches,
            rows=run.rows,
            duration=meter.duration(),
            paused=meter.paused(),
            resumed=resumed,
            quarantined=0 if quarantined is None else quarantined(),
            hook_errors=self._hooks.errors,
            busy=meter.times.busy,
            delayed=meter.times.delayed,
            locked=meter.times.locked,
            waited=meter.waited(),
        )

    async def _release(self, result: RunResult | None) -> None:
        if self._keeper is not None:
            await self._keeper.stop()
        if self._lease is None:
            return
        leaves = result is None or (
            self.control.leaving and result.status is RunStatus.STOPPED
        )
        releasing = self._lease.release(result, handed_over=leaves)
        given = await ask(finish, releasing, PATIENCE)
        if given.error is not None:
            self._reporter.log.warning(
                "checkpoint not tidied up; its name is free when its lease has run out",
                error=said(given.error),
            )

    async def _abandon(self) -> None:
        """Leave no trace but the checkpoint: somebody cancelled the run."""
        releasing = asyncio.ensure_future(self._release(None))
        # Whoever cancelled is waiting already: not for ever for a store that hangs.
        timer = asyncio.get_running_loop().call_later(PATIENCE, releasing.cancel)
        await outlast(releasing)
        timer.cancel()
        run = None if self._loop is None else self._loop.run
        self._reporter.cancelled(run, self._meter.duration(), self._meter.paused())

    def _skip(self, why: Skipped) -> RunResult:
        self._result = RunResult(
            self._options.name,
            self.run_id,
            RunStatus.SKIPPED,
            reasons=why.reasons,
            batches=why.batches,
            rows=why.rows,
            quarantined=why.quarantined,
        )
        self._reporter.log.info("backfill skipped", reason=why.why)
        return self._result
