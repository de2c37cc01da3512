"""The shares of one walk, and what its workers go by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple, cast

from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunStatus
from adaptive_backfill._core.run import Ending, RunState, ended, resumed_from, stopped
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._ports import Lease
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres._walk import Cursor, Key, Walk
from adaptive_backfill.postgres.shares import Cut, Range

__all__ = ["Parts", "Share", "Terms"]

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
        ready: Called with a connection before the first batch. A `BackfillError` that
            it raises ends the run.
        ended: Called when all workers are gone. A `BackfillError` that it raises ends
            a run that would be done.
    """

    workers: int
    most: Callable[[], int]
    walk: Callable[[], Walk]
    follow: bool
    begin: Callable[[RunOptions], RunOptions]
    begun_anew: Callable[[], Awaitable[None]]
    ready: Callable[[Connection], Awaitable[None]]
    ended: Callable[[], Awaitable[None]]


class Share:
    """A part of the walk.

    Attributes:
        place: Which it is, such as ``1/4``.
        range: Its keys.
        lease: The hold of its name; `None` where it is to be taken.
        closed: The hold that it had when it was done, which is given back by now.
        tries: Times that it was taken up in a row with nothing done.
        size: The size of its last batch, as it was kept; `None` where it was not.
    """

    def __init__(self, place: str, keys: Range) -> None:
        self.place = place
        self.range = keys
        self.lease: Lease | None = None
        self.closed: Lease | None = None
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

    async def is_forgotten(self) -> bool:
        """Whether this run finished it, and its store does not know that any more.

        Raises:
            CheckpointError: The store cannot be asked.
        """
        lease = self.lease or self.closed
        # Only of what was committed together with the data does it say anything.
        if not isinstance(lease, PostgresLease) or lease.kept is None:
            return False
        return self.is_done and await lease.finished() is None

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
        join: Saves where the run stands, once all shares are done.
        run_id: Names the run.
        own_batches: Batches that this run did before it was cut.
    """

    terms: Terms
    shares: list[Share]
    cursor: Cursor
    cut: Cut
    take: Callable[[Share], Awaitable[bool]]
    join: Callable[[RunState], Awaitable[None]]
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
        """Return the cursor of what is done without a gap.

        With its cut, also where all is done: until that is sure, its shares may be
        gone back to.
        """
        for share in self.shares:
            if not share.is_done:
                return replace(self.cursor, last=share.last)
        return replace(self.cursor, last=self.cursor.end)

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
