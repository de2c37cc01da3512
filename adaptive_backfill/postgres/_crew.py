"""The workers of one walk, and the shares that they drive to their ends."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias, cast

import asyncpg
from typing_extensions import override

from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.run import Ending, RunState, ended, resumed_from, stopped
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._engine.outlast import PATIENCE, end_all, finish
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.saving import PlainUnit
from adaptive_backfill._engine.sharing import ShareLoop, ShareReporter, Whole
from adaptive_backfill._ports import Lease
from adaptive_backfill.errors import BackfillError
from adaptive_backfill.postgres._walk import Cursor, Key, Walk
from adaptive_backfill.postgres.shares import Cut, Range

__all__ = ["Crew", "Cutting", "Parts", "Share", "Terms"]

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

_WORST_FIRST = (RunStatus.FAILED, RunStatus.HALTED, RunStatus.STOPPED)


class Terms(NamedTuple):
    """What a class says of its workers.

    Attributes:
        workers: Batches at once, from the start.
        most: Batches at once that there may come to be.
        walk: The walk, once it is open.
        follow: Whether to go on to rows that came since.
        begin: Makes the current task a worker; returns its options.
        begun_anew: Called where a walk begins from the start.
        ended: Called when all workers are gone. A `BackfillError` that it raises ends
            a run that would be done.
    """

    workers: int
    most: Callable[[], int]
    walk: Callable[[], Walk]
    follow: bool
    begin: Callable[[RunOptions], RunOptions]
    begun_anew: Callable[[], Awaitable[None]]
    ended: Callable[[], Awaitable[None]]


class Share:
    """A part of the walk.

    Attributes:
        place: Which it is, such as ``1/4``.
        range: Its keys.
        lease: The hold of its name; `None` where it is to be taken.
        tries: Times that it was taken up in a row with nothing done.
        size: The size of its last batch, as it was kept; `None` where it was not.
    """

    def __init__(self, place: str, keys: Range) -> None:
        self.place = place
        self.range = keys
        self.lease: Lease | None = None
        self.tries = 0
        self.size: int | None = None
        self._begins = RunState(Cursor(keys.after, keys.until))
        self._loop: Loop | None = None
        self._own_batches = 0

    @property
    def run(self) -> RunState:
        """Where it stands."""
        if self._loop is None:
            return self._begins
        run = self._loop.run
        return run._replace(own_batches=self._own_batches + run.own_batches)

    @property
    def is_done(self) -> bool:
        """Whether all of it is done."""
        ending = self.run.ending
        return ending is not None and ending.status is RunStatus.DONE

    @property
    def last(self) -> Key | None:
        """The key up to which it is done; `None` before the first of all keys."""
        if self.is_done:
            return self.range.until
        return cast("Cursor", self.run.state).last

    def driven_by(self, loop: Loop) -> None:
        """Go by what *loop* makes of it."""
        self._own_batches = self.run.own_batches
        self._loop = loop

    def give_up(self) -> None:
        """Leave it for another worker, to be taken and opened again."""
        self.lease = None
        self._begins, self._loop = self.run._replace(attempt=1, ending=None), None

    def fail(self, error: object) -> None:
        """End it, because it cannot be taken up."""
        failed = Ending(RunStatus.FAILED, error=error)
        self._begins, self._loop = ended(self.run, failed), None

    async def open(self) -> None:
        """Look where it stands, in its store."""
        lease = self.lease
        if lease is None:
            return
        own = self.run.own_batches
        begins = RunState(Cursor(self.range.after, self.range.until))
        past, kept = await lease.finished(), await lease.load()
        if past is not None:
            done = Ending(RunStatus.DONE)
            begins = begins._replace(batches=past.batches, rows=past.rows, ending=done)
        elif kept is not None:
            begins, self.size = resumed_from(kept), kept.batch_size
        self._begins, self._loop = begins._replace(own_batches=own), None


class Parts(NamedTuple):
    """What a crew works on.

    Attributes:
        terms: What the class says.
        shares: In the order of the walk.
        cursor: Where the walk was cut.
        cut: How.
        take: Takes a share's lease and opens it; False where the run is to stop.
        run_id: Names the run.
        own_batches: Batches that this run did before it was cut.
    """

    terms: Terms
    shares: list[Share]
    cursor: Cursor
    cut: Cut
    take: Callable[[Share], Awaitable[bool]]
    run_id: str
    own_batches: int = 0

    def sum(self) -> RunState:
        """Return where all of them together stand."""
        runs = [share.run for share in self.shares]
        return RunState(
            self.cursor,
            self.cut.batches + sum(run.batches for run in runs),
            self.cut.rows + sum(run.rows for run in runs),
            self.own_batches + sum(run.own_batches for run in runs),
        )

    def where(self) -> Cursor:
        """Return the cursor of what is done without a gap."""
        for share in self.shares:
            if not share.is_done:
                return replace(self.cursor, last=share.last)
        return Cursor(self.cursor.end, self.cursor.end)

    def ending(self) -> Ending | None:
        """Return the worst ending of a share; `None` where all are done."""
        if all(share.is_done for share in self.shares):
            return None
        endings = [share.run.ending for share in self.shares]
        for status in _WORST_FIRST:
            such = [each for each in endings if each and each.status is status]
            if such:
                reasons = {str(why): why for each in such for why in each.reasons}
                return such[0]._replace(reasons=tuple(reasons.values()))
        return stopped("stop requested")


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
            self.run = parts.sum()._replace(state=parts.where())
        given = await ask(parts.terms.ended)
        ending = parts.ending()
        if isinstance(given.error, BackfillError):
            ending = ending or Ending(RunStatus.FAILED, error=given.error)
        if ending is None:
            self._parts = None
            ending = await self._go_on(parts)
        if ending is not None:
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
            await end_all(workers.values())

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
        share.lease = None
        if given.error is not None:
            self._reporter.log.warning("share not tidied up", error=str(given.error))

    async def _go_on(self, parts: Parts) -> Ending | None:
        """Go on to rows that came since, if that is wished; else return the end."""
        if parts.terms.follow:
            given = await ask(parts.terms.walk().start)
            if given.error is not None:
                return Ending(RunStatus.FAILED, error=given.error)
            end = cast("Cursor", given.value).end
            if end is not None and end != parts.cursor.end:
                self.run = self.run._replace(state=Cursor(parts.cursor.end, end))
                return None
        return Ending(RunStatus.DONE)

    def _move(self) -> None:
        if self._parts is not None:
            self.run = self._parts.sum()
