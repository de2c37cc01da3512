"""Have somebody look at the first rows of a backfill before all others are done.

Who approves is the hook `on_canary`, or whoever resumes the run; where nobody could,
it is halted. An approval is remembered in the store beside the checkpoint, under a name
of its own, so that a later run does not ask again; and forgotten with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from adaptive_backfill._core.answers import Halt
from adaptive_backfill._core.canary import (
    ANSWERS,
    has_sung,
    judged,
    unheard,
    waits_for,
)
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.run import (
    ATTEMPT,
    CANARY,
    Ending,
    Move,
    RunState,
    wished_pause,
)
from adaptive_backfill._core.saying import said
from adaptive_backfill._core.snapshot import Snapshot, Wishes
from adaptive_backfill._engine.control import Steering
from adaptive_backfill._engine.hooks import Hooks
from adaptive_backfill._engine.outside import Given, ask
from adaptive_backfill._ports import Work
from adaptive_backfill.errors import InvalidAnswer

__all__ = ["Canary"]


class Canary:
    """The canary of one run.

    Args:
        rows: How many there are to do first, at least 1.
        work: Has the hook.
        options: The run's.
        control: What to pause the run by.
        hooks: Hear of a hook that raises.
        log: The run's.
        result: Makes what the hook looks at, of where the run stands.

    Attributes:
        over: Whether the run may go on to all other rows.
        counted: Whether a batch has said how many rows it did.
    """

    def __init__(
        self,
        rows: int,
        work: Work,
        options: RunOptions,
        *,
        control: Steering,
        hooks: Hooks,
        log: FilteringBoundLogger,
        result: Callable[[RunState, Ending], RunResult],
    ) -> None:
        self.over = False
        self.counted = False
        self._rows = rows
        self._hook = work.on_canary
        self._can_be_resumed = work.can_be_resumed
        self._title = f"{work.title.rpartition('.')[0]}.on_canary"
        checkpoint = options.checkpoint
        self._store: object = None if checkpoint is None else checkpoint.store
        self._key = f"{options.key}#{CANARY}"
        self._control = control
        self._hooks = hooks
        self._log = log
        self._result = result
        self._waiting = False

    async def begin(self, run: RunState) -> None:
        """See whether an earlier run was approved that *run* goes on from."""
        if run.batches == 0:
            await self.forget()
            return
        kept = await self._ask("load", self._key)
        self.over = isinstance(kept.value, Snapshot)

    async def forget(self) -> None:
        """Have the next run ask again."""
        await self._ask("delete", self._key)

    def heard(self, wishes: Wishes, run: RunState, size: int | None) -> None:
        """Take note of the pause of an earlier run that waited for its approval."""
        if wishes.paused != waits_for(self._rows) or self._waiting:
            return
        if self._hook is None and self.is_due(run, size):
            self._waiting = True
        else:
            # There is somebody to ask first; or nothing to look at, because it was
            # begun anew since.
            self._control.hold(None)

    def is_due(self, run: RunState, size: int | None) -> bool:
        """Whether the next batch of *run* has to wait for an approval."""
        return not self.over and has_sung(run, self._rows, size, counted=self.counted)

    async def move(self, run: RunState) -> Move:
        """Ask whether *run*, of which it is due, may go on."""
        if self._waiting:
            # Paused for this, and resumed.
            return await self._approve(run, "resumed")
        try:
            look = judged(await self._answer(run), self._rows)
        except ValueError:
            look = None
        if look is True:
            return await self._approve(run, "on_canary")
        if look is None and not self._can_be_resumed:
            look = unheard(self._rows)
        if isinstance(look, Halt):
            reason = Reason(None, look, look.reason)
            return Ending(RunStatus.HALTED, (reason,))
        self._waiting = True
        self._control.hold(waits_for(self._rows))
        return wished_pause(waits_for(self._rows))

    async def _answer(self, run: RunState) -> object:
        if self._hook is None:
            return None
        why = wished_pause(waits_for(self._rows)).reasons
        given = await ask(self._hook, self._result(run, Ending(RunStatus.STOPPED, why)))
        error = given.error
        if error is None:
            try:
                judged(given.value, self._rows)
            except ValueError:
                error = InvalidAnswer(self._title, given.value, ANSWERS)
        if error is None:
            return given.value
        # Unknown is not approved: it waits for somebody to look.
        self._hooks.failed("on_canary", error)
        return None

    async def _approve(self, run: RunState, by: str) -> Move:
        self.over, self._waiting = True, False
        self._log.info("canary approved", by=by, rows=run.rows, batches=run.batches)
        approved = Snapshot("approved", run.batches, run.rows)
        await self._ask("save", self._key, approved)
        return ATTEMPT

    async def _ask(self, method: str, *args: object) -> Given:
        """Ask the store, where there is one; what goes wrong has it asked again."""
        if self._store is None:
            return Given()
        given = await ask(getattr(self._store, method), *args)
        if given.error is not None:
            self._log.warning(
                f"approval of the canary not {_DONE[method]}", error=said(given.error)
            )
        return given


_DONE = {"load": "read", "save": "kept", "delete": "forgotten"}
