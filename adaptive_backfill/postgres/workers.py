"""A walk by several workers: shares of the key range, each with its own cursor.

The run holds the lease of its name. Its checkpoint says where the walk was cut, once
and for all; where each share stands is kept under a name of the share's own, in the
transactions of its batches. Whoever holds the run's lease takes the shares, too: that
gives each a new fencing token, so that nothing of an earlier run is committed any more.
A share that is finished is remembered as finished until the walk is cut anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from typing_extensions import override

from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.run import RunState, stopped
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.leasing import Skipped, acquire, leases_of
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._engine.opening import Opened, failed_at_start
from adaptive_backfill._engine.outlast import PATIENCE, finish
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.session import Session
from adaptive_backfill._ports import Clock, Held, Lease, UnitOfWork
from adaptive_backfill.errors import CheckpointError
from adaptive_backfill.postgres._crew import Crew
from adaptive_backfill.postgres._parts import Parts, Share, Terms
from adaptive_backfill.postgres._run_pool import check_size
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres._walk import Cursor
from adaptive_backfill.postgres.shares import Cut, Range, ranges

__all__ = ["CrewSession"]

SHARES_A_WORKER = 4
"""Shares to cut for each worker, so that none is long idle where they are uneven."""

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_LEARN = 120.0


class CrewSession(Session):
    """A run that is in shares where it has several workers, or had at its start."""

    def __init__(
        self, prepared: Prepared, terms: Terms, *, clock: Clock | None = None
    ) -> None:
        self._place, self._left = prepared.work.share, prepared.work.left
        work = replace(
            prepared.work,
            share=None if self._place is None else self._share_of,
            left=None if self._left is None else self._left_of,
        )
        super().__init__(work, prepared.options, restart=prepared.restart, clock=clock)
        self._terms = terms
        self._shares: list[Share] = []
        self._parts: Parts | None = None
        self._looks_after = False

    @override
    async def _starting_point(self) -> Opened | Skipped:
        opened = await super()._starting_point()
        if not isinstance(opened, Opened) or opened.run.ending is not None:
            return opened
        given = await ask(self._in_shares, opened)
        if given.error is not None:
            return failed_at_start(given.error)
        return cast("Opened", given.value)

    async def _in_shares(self, opened: Opened) -> Opened:
        """Return where the run stands, with all of its shares taken, if it has any."""
        pool = self._work.pool
        # One that was given as a callable could not be looked at before.
        check_size(pool() if callable(pool) else pool, self._terms.workers, "pool")
        lease, cursor = self._lease, opened.run.state
        if lease is None or not isinstance(cursor, Cursor):
            return opened
        self._loop_type = Crew
        if self._work.state_given:
            kept = await lease.load()
            if kept is not None and isinstance(kept.state, Cursor) and kept.state.cut:
                # It may not have heard yet of what its shares have done.
                cursor = kept.state
                self._reporter.log.warning(
                    "initial_state is ignored: the checkpoint is cut into shares; "
                    "pass restart=True to begin anew"
                )
        if cursor.cut is None and self._terms.workers == 1:
            return opened
        parts = await self._parts_of(
            opened.run,
            cursor,
            workers=self._terms.workers,
            size=self._options.batch_size,
        )
        if parts is None:
            if not self.control.wishes.stop:
                return opened
            early = stopped("stopped while starting")
            return Opened(RunState(None, ending=early))
        self._parts = parts
        begun = any(share.run.batches for share in parts.shares)
        furthest = max(parts.shares, key=lambda share: share.run.batches)
        return opened._replace(
            run=parts.sum(),
            resumed=opened.resumed or begun,
            # The run's own snapshot is older than those of its shares.
            batch_size=furthest.size or opened.batch_size,
        )

    async def _split(self, run: RunState) -> Parts | None:
        """Cut what is left of a walk that was whole until now.

        For as many workers as there may come to be, because it is cut only once.
        """
        if not isinstance(run.state, Cursor):
            return None
        most, size = self._terms.most(), self._pacer.steady_size
        parts = await self._parts_of(run, run.state, workers=most, size=size)
        if parts is not None:
            self._parts = parts = parts._replace(own_batches=run.own_batches)
        return parts

    async def _parts_of(
        self, run: RunState, cursor: Cursor, *, workers: int, size: int | None
    ) -> Parts | None:
        """Return the shares of *cursor*, all of them taken; `None` if it stays whole.

        Also where the run is to stop before they are.
        """
        lease = self._lease
        cut = cursor.cut or await self._cut(cursor, run, workers)
        if cut is None or cursor.end is None or lease is None:
            return None
        keys = ranges(cut.after, cursor.end, cut.ends)
        self._shares = [
            Share(f"{number}/{len(keys)}", each) for number, each in enumerate(keys, 1)
        ]
        for share in self._shares:
            if not await self._take_share(share, anew=cursor.cut is None):
                return None
        if cursor.cut is None:
            cursor = replace(cursor, cut=cut)
            await self._remember(lease, cursor, run, size)
        terms = self._terms._replace(ended=self._workers_ended)
        return Parts(
            terms,
            self._shares,
            cursor,
            cut,
            self._take_share,
            self._join,
            self.run_id,
        )

    async def _workers_ended(self) -> None:
        """Look whether the server still has what the workers did.

        Raises:
            CheckpointError: It has not, or it cannot be asked.
            BackfillError: What the class makes of it.
        """
        if all(share.is_done for share in self._shares):
            await self._see_to_shares()
        await self._terms.ended()

    async def _see_to_shares(self) -> None:
        """Look whether all shares that are done are known to be.

        Raises:
            CheckpointError: One is not; or the store could not be asked for long.
        """
        until = self._clock.monotonic() + _SECONDS_TO_LEARN
        for share in self._shares:
            while (given := await ask(share.is_forgotten)).error is not None:
                if self._clock.monotonic() > until:
                    raise given.error
                await self._bell.wait(_SECONDS_BETWEEN_LOOKS)
            if given.value:
                msg = (
                    f"Share {share.place} of {self._options.key!r} was done, and the "
                    "server knows nothing of that any more, as after a failover to a "
                    "standby that was behind. Run it again: it goes on from where its "
                    "shares' checkpoints stand."
                )
                raise CheckpointError(msg)

    async def _is_all_there(self) -> bool:
        """Whether the run may be remembered as finished; if not, that is said."""
        # Asked once more, it was cut short, and there is no time to look again.
        error: object = "the look at its shares was cut short"
        if not self._looks_after:
            self._looks_after = True
            given = await ask(self._see_to_shares)
            self._looks_after = False
            if given.error is None:
                return True
            error = said_of_error(given.error)
        self._reporter.log.warning("not remembered as finished", error=error)
        return False

    async def _join(self, run: RunState) -> None:
        """Save where *run* stands, now that nothing is left of its shares.

        At once, so that whatever server has this has their batches, too.
        """
        if self._lease is None:
            return
        size = self._pacer.steady_size
        saving = self._lease.save(Snapshot(run.state, run.batches, run.rows, size))
        if saving is not None:
            await saving
        closed = [share.closed for share in self._shares]
        together = any(isinstance(one, PostgresLease) and one.kept for one in closed)
        if together and isinstance(self._lease, PostgresLease):
            self._lease.kept = run.batches

    async def _cut(self, cursor: Cursor, run: RunState, workers: int) -> Cut | None:
        """Return where to cut what is left of the walk; `None` to leave it whole."""
        if cursor.end is None:
            return None
        within = Range(cursor.last, cursor.end)
        ends = await self._terms.walk().cut(within, workers * SHARES_A_WORKER)
        return Cut(cursor.last, ends, run.batches, run.rows) if ends else None

    async def _remember(
        self, lease: Lease, cursor: Cursor, run: RunState, size: int | None
    ) -> None:
        """Save how the walk is cut, before anything of a share is done."""
        if cursor.last is None:
            await self._terms.begun_anew()
        saving = lease.save(Snapshot(cursor, run.batches, run.rows, size))
        if saving is not None:
            await saving

    async def _take_share(self, share: Share, *, anew: bool = False) -> bool:
        """Take the lease of *share*, and see where it stands.

        Its holder is said to be the run's name, not the run, so that whoever has the
        name has its shares, too.

        Returns:
            Whether it is taken; not, where the run is to stop.
        """
        checkpoint, key = self._options.checkpoint, self._options.key
        if checkpoint is None or self._lease is None:
            return False
        store, name = leases_of(checkpoint.store), f"{key}#{share.place}"
        kind = self._work.state_type
        while isinstance(
            lease := await acquire(store, name, f"shares of {key}", kind), Held
        ):
            # A transaction of an earlier run is not decided yet.
            shown = replace(self.progress(), name=key)
            self.control.heard(await self._lease.beat(shown))
            if self.control.wishes.stop:
                return False
            await self._bell.wait(_SECONDS_BETWEEN_LOOKS)
        share.lease = lease
        if anew:
            await lease.discard()
        await share.open()
        return True

    @override
    def _make_loop(self, run: RunState, unit: UnitOfWork | None) -> Loop:
        loop = super()._make_loop(run, unit)
        if isinstance(loop, Crew) and self._parts is not None:
            loop.man(self._parts)
        elif isinstance(loop, Crew):
            loop.cuts_by(self._split)
        return loop

    @override
    async def _release(self, result: RunResult | None) -> None:
        done = result is not None and result.status is RunStatus.DONE
        if done and not await self._is_all_there():
            # It goes on from where it was cut.
            result = None
        for share in self._shares:
            lease, share.lease = share.lease, None
            if lease is not None:
                await ask(finish, lease.release(None, handed_over=False), PATIENCE)
        await super()._release(result)

    def _share_of(self, state: object) -> float | None:
        """Return how much is done, by the places of all cursors in the table."""
        place, parts = self._place, self._parts
        if place is None or parts is None or not isinstance(state, Cursor):
            return None if place is None else place(state)
        end = parts.cursor.end
        if state.cut is None:
            return place(state)
        whole = place(Cursor(parts.cut.after, end))
        for share in parts.shares:
            begin = place(Cursor(share.range.after, end))
            now = place(Cursor(share.last, end))
            if whole is None or begin is None or now is None:
                return None
            whole += now - begin
        return whole

    async def _left_of(self, state: object) -> int | None:
        """Count what is left of all shares, and of the walk where it is whole."""
        parts = self._parts
        counts = 0
        if parts is not None and any(share.run.batches for share in parts.shares):
            for share in parts.shares:
                if not share.is_done:
                    counts += await self._counted(share.run.state) or 0
        # Last, because it also measures the way to the end.
        whole = await self._counted(state)
        return whole if not counts or whole is None else counts

    async def _counted(self, state: object) -> int | None:
        given = await ask(self._left or (lambda _: None), state)
        if given.error is not None:
            raise given.error
        return cast("int | None", given.value)
