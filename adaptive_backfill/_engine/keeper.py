"""Keep the lease alive, show the progress to others, and hear what they wish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from structlog.typing import FilteringBoundLogger

from adaptive_backfill._core.result import Progress
from adaptive_backfill._core.saying import said
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.control import RunControl
from adaptive_backfill._engine.outlast import end_all
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._ports import Clock, Control, Lease
from adaptive_backfill.errors import LeaseLost

__all__ = ["Keeper"]


class Keeper:
    """Beats for one run, in a task of its own, as often as its lease wants."""

    def __init__(
        self,
        lease: Lease,
        store: object,
        key: str,
        *,
        control: RunControl,
        clock: Clock,
        log: FilteringBoundLogger,
        progress: Callable[[], Progress],
    ) -> None:
        self._lease = lease
        self._store = store if isinstance(store, Control) else None
        self._key = key
        self._control = control
        self._clock = clock
        self._log = log
        self._progress = progress
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Beat once, so that wishes from before are known; then keep beating."""
        if self._lease.beat_every is None:
            return
        await self._beat()
        self._task = asyncio.create_task(self._keep_beating(self._lease.beat_every))

    async def stop(self) -> None:
        """Beat no more."""
        if self._task is not None:
            await end_all((self._task,))
            await self._send()

    async def _keep_beating(self, every: float) -> None:
        while self._control.lost is None:
            await self._clock.sleep(every)
            await self._beat()

    async def _beat(self) -> None:
        await self._send()
        # In the store a run goes by its key, and that is what others ask for.
        shown = replace(self._progress(), name=self._key)
        given = await ask(self._lease.beat, shown)
        if isinstance(given.error, LeaseLost):
            self._control.lost = given.error
            self._control.interrupt()
        elif given.error is not None:
            # Not the end yet: the next save, or the lease's time, will tell.
            self._log.warning("heartbeat failed", error=said(given.error))
        else:
            self._control.heard(cast("Wishes", given.value))

    async def _send(self) -> None:
        while (wish := self._control.unsent) and self._store is not None:
            given = await ask(self._store.wish, self._key, wish)
            if given.error is not None:
                self._log.warning("wish not kept", error=said(given.error))
                return
            if self._control.unsent is wish:
                self._control.unsent = None
