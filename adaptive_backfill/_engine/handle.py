"""A run in the background, and the handle to watch and steer it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

import anyio

from adaptive_backfill._core.options import tuned
from adaptive_backfill._core.result import Progress, RunResult
from adaptive_backfill._core.rules import is_number
from adaptive_backfill._engine.outlast import end_all
from adaptive_backfill._engine.session import Session
from adaptive_backfill.errors import ConfigurationError

__all__ = ["Run"]


class Run:
    """A run in the background; use it with ``async with``, once.

    Entering starts the run; leaving the block stops it gracefully. The batch under
    way may finish within `grace` seconds, then it is cancelled, and the run ends as
    `stopped`. A cancellation that arrives while leaving cancels the batch at once.
    """

    def __init__(
        self, prepare: Callable[[], Session], grace: float | timedelta
    ) -> None:
        self._prepare = prepare
        self._grace = grace.total_seconds() if isinstance(grace, timedelta) else grace
        self._session: Session | None = None
        self._task: asyncio.Task[RunResult] | None = None

    async def __aenter__(self) -> Self:
        """Start the run.

        Raises:
            ConfigurationError: The class, or an override, is not usable.
            AlreadyRunning: Another run has the name, and `if_running` is `"raise"`.
        """
        if self._task is not None:
            msg = "a handle starts one run; call start() again for another"
            raise ConfigurationError([msg], subject="Run")
        if not is_number(self._grace):
            msg = f"grace must be seconds of 0 or more, or a timedelta: {self._grace!r}"
            raise ConfigurationError([msg], subject="Run")
        session = self._session = self._prepare()
        task = self._task = asyncio.create_task(session.run())
        taken = asyncio.create_task(session.taken.wait())
        try:
            await asyncio.wait((task, taken), return_when="FIRST_COMPLETED")
        except asyncio.CancelledError:
            await end_all((task,))
            raise
        finally:
            await end_all((taken,))
        if task.done() and not task.cancelled():
            # AlreadyRunning, which nobody would hear of otherwise.
            task.result()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the run, and return when it is gone."""
        task, session = self._running()
        if task.done():
            return
        # Whoever stopped it already meant it for those who stand by, too.
        session.control.leaving = not session.control.wishes.stop
        session.control.stop()
        held: asyncio.CancelledError | None = None
        # The block may be left because its scope is cancelled: the run is to have
        # its grace all the same.
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.wait((task,), timeout=self._grace)
            except asyncio.CancelledError as second:
                held = second
            session.control.interrupt()
            while not task.done():
                try:
                    await asyncio.wait((task,))
                except asyncio.CancelledError as again:
                    held = again
                    task.cancel()
        if not task.cancelled():
            # A SystemExit, say, has gone through the loop by itself: it is not to be
            # reported as never retrieved on top.
            task.exception()
        if held is not None:
            raise held

    @property
    def progress(self) -> Progress:
        """A frozen look at the run, as it is now."""
        return self._running()[1].progress()

    def pause(self) -> None:
        """Pause after the batch under way, until `resume`."""
        self._running()[1].control.pause()

    def resume(self) -> None:
        """Go on after a pause, whoever paused."""
        self._running()[1].control.resume()

    def stop(self) -> None:
        """Stop after the batch under way; the next run resumes."""
        self._running()[1].control.stop()

    def set(self, **values: object) -> None:
        """Change *values* from the next batch on; the last wish for each holds.

        A value that is set again is in force again, whatever the pace made of it.

        Args:
            values: `batch_size`, `delay_between_batches`, `duty`,
                `max_rows_per_second`, `windows`; on PostgreSQL `max_wal_per_second`;
                and `workers`, where there may be several.

        Raises:
            ConfigurationError: An option cannot be changed, or not to this value.
        """
        session = self._running()[1]
        session.control.set(tuned(values, session.tunable))

    async def wait(self) -> RunResult:
        """Wait for the run to end; return its result.

        Cancelling the wait does not cancel the run.
        """
        return await asyncio.shield(self._running()[0])

    def _running(self) -> tuple[asyncio.Task[RunResult], Session]:
        if self._task is None or self._session is None:
            msg = "the run has not begun; use `async with Class.start() as run:`"
            raise ConfigurationError([msg], subject="Run")
        return self._task, self._session
