"""The workers of one walk, and the shares that they drive to their ends."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias, cast

import asyncpg
from typing_extensions import override

from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.run import Ending, RunState, ended
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._engine.outlast import PATIENCE, end_all, finish
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.saving import PlainUnit
from adaptive_backfill._engine.sharing import ShareLoop, ShareReporter, Whole
from adaptive_backfill._ports import Lease
from adaptive_backfill.errors import BackfillError, CheckpointError
from adaptive_backfill.postgres._parts import Parts, Share
from adaptive_backfill.postgres._walk import Cursor

__all__ = ["Crew", "Cutting"]

_MAY_PASS = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What ends a worker, and not the share: its connection went, say."""

_AGAIN = Retry(attempts=3, base=0.5, cap=10.0, on=_MAY_PASS)
"""How a share is taken up that ended so, and had done nothing since it was taken."""

Cutting: TypeAlias = Callable[[RunState], Awaitable[Parts | None]]
"""Cuts what is left of a walk; `None` where it stays whole."""


class Crew(Loop):
    """The loop of a walk: once it is in shares, it lets workers drive them.

    A walk that is whole is cut as soon as there is work for a second worker.
    """

    _parts: Parts | None = None
    _cut: Cutting | None = None

    def cuts_by(self, cut: Cutting) -> None:
        """Cut the walk by *cut*, once there is work for more than one worker."""
        self._cut = cut

    def man(self, parts: Parts) -> None:
        """Work on *parts*."""
        self._parts = parts
        self._queue = deque(share for share in parts.shares if not share.is_done)
        self._whole = Whole(
            self,
            self._move,
            control=self._control,
            monitor=self._monitor,
            meter=self._meter,
            reporter=self._reporter,
        )

    @override
    async def _step(self) -> None:
        parts = self._parts
        if parts is None:
            # Not while it is paused: the batch after that ends the pause.
            one = (self.pacer.workers or 1) == 1 or bool(self.reasons)
            if one or not await self._split():
                await super()._step()
            return
        try:
            await self._drive_all(parts)
        finally:
            where = replace(parts.where(), walk=parts.cursor.walk)
            self.run = parts.sum()._replace(state=where)
        given = await ask(parts.terms.ended)
        ending = parts.ending()
        if isinstance(given.error, BackfillError):
            # Its counts are those of shares that the server has lost.
            self.kept = self.kept and not isinstance(given.error, CheckpointError)
            ending = ending or Ending(RunStatus.FAILED, error=given.error)
        if ending is None:
            self._parts = None
            ending = await self._go_on(parts)
        if ending is not None:
            if ending.status is RunStatus.DONE:
                self.run = self.run._replace(state=replace(where, cut=None))
            self.run = ended(self.run, ending)

    async def _split(self) -> bool:
        """Cut what is left of the walk into shares; return whether it could be."""
        cut, self._cut = self._cut, None
        if cut is None:
            return False
        if self._unit is not None:
            await self._unit.rest()
        given = await ask(cut, self.run)
        if given.error is not None:
            self._reporter.log.warning(
                "the walk could not be cut: one worker goes on",
                error=said_of_error(given.error),
            )
        if not isinstance(given.value, Parts):
            return False
        self.man(given.value)
        return True

    async def _drive_all(self, parts: Parts) -> None:
        """Have as many workers as there is work for, until there is none."""
        workers: dict[int, asyncio.Task[None]] = {}
        ringing: asyncio.Task[None] | None = None
        try:
            while True:
                # Listened to first: what rings while workers are hired is not lost.
                ringing = asyncio.create_task(self._bell.wait(None))
                await asyncio.sleep(0)
                if self._hire(parts, workers):
                    some = (ringing, *workers.values())
                    await asyncio.wait(some, return_when="FIRST_COMPLETED")
                await end_all((ringing,))
                if not workers:
                    return
                for number, worker in list(workers.items()):
                    if worker.done():
                        workers.pop(number).result()
        finally:
            # The run may be cancelled while all of them are waited for.
            listening = () if ringing is None else (ringing,)
            await end_all((*listening, *workers.values()))

    def _hire(self, parts: Parts, workers: dict[int, asyncio.Task[None]]) -> bool:
        """Add workers to *workers*, by number, if some are missing.

        Those that are too many by now wait for work: see `Pacer.duty`.

        Returns:
            Whether there are any.
        """
        wanted = min(self.pacer.workers or parts.terms.workers, parts.terms.most())
        for number in range(1, wanted + 1):
            if number not in workers and self._queue and not self._whole.over:
                work = self._work_through(parts, number)
                workers[number] = asyncio.create_task(work)
        return bool(workers)

    async def _work_through(self, parts: Parts, number: int) -> None:
        """Drive one share after the other, until there are none or the run is over."""
        while self._queue and not self._whole.over:
            share = self._queue.popleft()
            if share.lease is None and not await self._taken(parts, share):
                return
            if share.is_done or await self._drive(parts, share, number):
                continue
            return

    async def _drive(self, parts: Parts, share: Share, number: int) -> bool:
        """Drive *share*; return whether its worker is to go on to another one."""
        before, lease = share.run.batches, cast("Lease", share.lease)
        options = parts.terms.begin(self.options)
        voice = ShareReporter(
            self._whole, options, parts.run_id, worker=number, share=share.place
        )
        loop = ShareLoop(
            self._whole,
            self._work,
            options,
            share.run._replace(own_batches=0),
            unit=(self._work.unit or PlainUnit)(lease),
            hooks=self._hooks,
            bell=self._bell,
            clock=self._clock,
            reporter=voice,
            worker=number,
        )
        share.driven_by(loop)
        await loop.drive()
        if share.run.batches > before:
            share.tries = 0
        if share.is_done:
            await self._closed(parts, share, lease)
            return True
        ending = loop.run.ending
        if ending is None or ending.status is RunStatus.STOPPED:
            return False
        if self._is_to_be_taken_up(share, ending):
            voice.log.warning("share given up, to be taken up", error=str(ending.error))
            share.give_up()
            self._queue.append(share)
            return True
        self.kept = self.kept and loop.kept
        self._whole.over = True
        self._bell.ring()
        return False

    def _is_to_be_taken_up(self, share: Share, ending: Ending) -> bool:
        error = ending.error
        # A bad argument is one of asyncpg's InterfaceErrors, too.
        if not isinstance(error, _MAY_PASS) or isinstance(error, ValueError):
            return False
        share.tries += 1
        return share.tries < _AGAIN.attempts

    async def _taken(self, parts: Parts, share: Share) -> bool:
        """Take up a share that a worker had to give up."""
        # Any ring may cut it short: it only keeps workers from all coming at once.
        await self._bell.wait(_AGAIN.wait(share.tries, random.random()))
        given = await ask(parts.take, share)
        if given.error is None:
            return bool(given.value)
        share.fail(given.error)
        self._whole.over = True
        self._bell.ring()
        return False

    async def _closed(self, parts: Parts, share: Share, lease: Lease) -> None:
        """Let the store remember that *share* is finished."""
        run = share.run
        result = RunResult(
            f"{self.options.key}#{share.place}",
            parts.run_id,
            RunStatus.DONE,
            state=run.state,
            batches=run.batches,
            rows=run.rows,
        )
        given = await ask(finish, lease.release(result, handed_over=False), PATIENCE)
        share.lease, share.closed = None, lease
        if given.error is not None:
            self._reporter.log.warning("share not tidied up", error=str(given.error))

    async def _go_on(self, parts: Parts) -> Ending | None:
        """Go on to rows that came since, if that is wished; else return the end."""
        if parts.terms.follow:
            given = await ask(parts.terms.walk().start)
            if given.error is not None:
                return Ending(RunStatus.FAILED, error=given.error)
            anew = cast("Cursor", given.value)
            if anew.end is not None and anew.end != parts.cursor.end:
                state = replace(anew, last=parts.cursor.end)
                self.run = self.run._replace(state=state)
                given = await ask(parts.join, self.run)
                if given.error is None:
                    return None
                self.kept = False
                return Ending(RunStatus.FAILED, error=given.error)
        return Ending(RunStatus.DONE)

    def _move(self) -> None:
        if self._parts is not None:
            self.run = self._parts.sum()
