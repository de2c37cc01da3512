"""The unit of work of PostgreSQL: one transaction a batch, the checkpoint in it.

Rule: whatever ends an attempt, the server is never left with half of it. COMMIT and
ROLLBACK run in a task of their own under a bounded shield. Where even that ends in a
lost connection, nobody knows whether the batch was committed: the checkpoint that
was committed with it tells, and is read again before anything is retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, TypeAlias, cast

import anyio
import asyncpg
import asyncpg.pool
import structlog

from adaptive_backfill._core.answers import Done
from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine.outlast import finish, outlast
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.saving import as_checkpoint_error
from adaptive_backfill._ports import Handle, Lease, Measured
from adaptive_backfill.errors import CheckpointError, LeaseLost
from adaptive_backfill.postgres._beginning import Beginnings, told_if_caught
from adaptive_backfill.postgres._connecting import (
    Connection,
    application_name,
    is_gone,
)
from adaptive_backfill.postgres._guard import Guard
from adaptive_backfill.postgres._hearing import Hears
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres._server_limits import Limits
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres._wal_meter import WalMeter

Lent: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Any]"

__all__ = ["Transaction"]

_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a commit raises where the connection went, and the outcome is unknown."""

_SECONDS_TO_GET_ONE = 30.0
# Together less than `outlast` is patient, or what they do is cut off half-way.
_SECONDS_TO_ROLL_BACK = 3.0
_SECONDS_TO_LET_GO = 1.0
_SECONDS_TO_LEARN = 120.0
_SECONDS_BETWEEN_LOOKS = 0.5


class Transaction:
    """One run's batches as transactions on its pool.

    The connection is kept from one batch to the next, because a pool asks the server
    to reset each one that it takes back; it is given back before a wait.

    Where the checkpoint is kept in another database, or in another kind of store, it
    is saved after the commit: then at least once, which is logged.

    Args:
        pool: The run's pool.
        lease: The run's hold of its name.
        title: Names the backfill to operators.
        limits: What the server holds each batch to.
        place: Takes the connection for the length of an attempt.
        hears: Is told what becomes of each attempt.
        apart: Whether it is wanted so that the checkpoint is not kept with the data.
        gives_way: Whether a batch is cancelled when somebody waits for it.
        wal: Counts the WAL of its batches.

    Attributes:
        lease: The run's hold of its name.
        title: What its transactions are shown as, in `application_name`.
    """

    atomic = True

    def __init__(
        self,
        pool: RunPool,
        lease: Lease,
        *,
        title: str,
        limits: Limits,
        place: Callable[[Transaction, Connection | None], None],
        hears: Hears | None = None,
        apart: bool = False,
        gives_way: bool = False,
        wal: WalMeter | None = None,
    ) -> None:
        self.lease = lease
        self.title = application_name(title)
        self._pool = pool
        self._limits = limits
        self._beginnings = Beginnings(self.title, limits)
        self._place = place
        self._hears = hears
        self._wal = wal
        self._wal_before: int | None = None
        self._began = 0.0
        self._measured = Measured(0.0)
        self._guard = Guard(pool, self.title) if gives_way else None
        self._connection: Lent | None = None
        self._open = False
        self._tried = False
        self._together: bool | None = False if apart else None

    def within(self, handle: Handle) -> Handle:
        """Return *handle* so that each call of it is one transaction."""

        async def attempt(argument: object) -> object:
            async with _Attempt(self):
                connection = await self._opened()
                if self._guard is None:
                    return await handle(argument)
                pid = connection.get_server_pid()
                return await self._guard.over(handle, argument, pid)

        return attempt

    def commit(
        self, snapshot: Snapshot, done: Done | None
    ) -> Awaitable[asyncio.CancelledError | None]:
        """Commit the batch with *snapshot*; with *done*, as the last one."""
        return self._committed(snapshot, done)

    async def rollback(self) -> None:
        """Drop the work of the attempt."""
        if self._open:
            await finish(self._rolled_back())

    async def rest(self) -> None:
        """Give the connection back."""
        if self._guard is not None:
            self._guard.rest()
        if self._open:
            # A COMMIT that was given up: nobody knows what became of it.
            await finish(self._drop())
        elif self._beginnings.is_ahead:
            await finish(self._rolled_back())
        connection, self._connection = self._connection, None
        if connection is not None:
            await finish(self._given_back(connection))

    async def _given_back(self, connection: Lent) -> None:
        # What cannot be given back is terminated by the pool. The batch was decided.
        with suppress(*_LOST, asyncpg.PostgresError):
            await self._pool.pool.release(connection, timeout=_SECONDS_TO_ROLL_BACK)

    def begins_to_change(self) -> None:
        """Take note that what an attempt takes counts from now on.

        Until now it only looked for keys, perhaps for those of the next batches, too.
        """
        self._began = monotonic()

    def foresee(self, state: object) -> None:
        """Take note that *state*, which nobody may change, is likely to be saved next.

        It is encoded once the server has been sent something, and is at work itself.
        """
        if self.riding is not None:
            asyncio.get_running_loop().call_soon(self.riding.foresee, state)

    def measured(self) -> Measured:
        """Return what the last attempt took, from when it began to change rows.

        Of waiting for locks only what was in vain is known: the whole `lock_timeout`.
        """
        return self._measured

    @property
    def riding(self) -> PostgresLease | None:
        """The lease, where it is saved in the batch's own transaction."""
        lease = self.lease
        return lease if self._together and isinstance(lease, PostgresLease) else None

    async def _opened(self) -> Lent:
        self._tried = False
        self._began = monotonic()
        if self._connection is None:
            self._connection = await self._acquired()
        if self._together is None:
            self._together = await self._is_together(self._connection)
        self._open = True
        self._began = monotonic()
        await self._beginnings.begin(self._connection)
        self._tried = True
        if self._wal is not None:
            self._wal_before = await self._wal.position(self._connection)
        self._place(self, self._connection)
        return self._connection

    async def _acquired(self) -> Lent:
        try:
            return await self._pool.pool.acquire(timeout=_SECONDS_TO_GET_ONE)
        except TimeoutError:
            msg = (
                f"the pool had no connection free for {_SECONDS_TO_GET_ONE:g} s, or "
                "the server does not answer"
            )
            raise TimeoutError(msg) from None

    async def failed(self, error: BaseException, *, lost: bool | None = None) -> None:
        """Roll an attempt back that *error* has ended, and tell who hears."""
        connection = self._connection
        if lost is None:
            lost = connection is None or is_gone(connection)
        in_vain = isinstance(error, asyncpg.LockNotAvailableError)
        self._measure(locked=self._limits.lock if in_vain else 0.0)
        if self._hears is not None:
            # Begun ahead, its connection may have been lost before the batch.
            before = lost and self._beginnings.was_ahead
            self._hears.failed(error, tried=self._tried and not before, lost=lost)
        # Interrupted before it was opened, it may still be busy with what was asked.
        keep = self._open and not lost
        await (self.rollback() if keep else finish(self._drop()))

    async def _is_together(self, connection: Connection) -> bool:
        if isinstance(self.lease, PostgresLease):
            if await self.lease.is_on(connection):
                return True
            # Not there is elsewhere, or lost: and who lost it may not do a batch.
            await self.lease.settled()
        structlog.get_logger("adaptive_backfill").warning(
            "the checkpoint is kept apart from the data: a crash between the two "
            "repeats a batch (at least once)"
        )
        return False

    async def _committed(
        self, snapshot: Snapshot, done: Done | None
    ) -> asyncio.CancelledError | None:
        committing = asyncio.ensure_future(self._commit(snapshot, done))
        held = await outlast(committing)
        if held is not None and committing.exception() is not None:
            raise held from committing.exception()
        committing.result()
        return held

    async def _commit(self, snapshot: Snapshot, done: Done | None) -> None:
        connection = self._connection
        if connection is None or not self._open:
            msg = "the transaction of the batch is gone: its connection was lost"
            raise asyncpg.InterfaceError(msg)
        try:
            if self.riding is not None:
                with told_if_caught():
                    await self._save_in(connection, self.riding, snapshot, done)
        except (*_LOST, asyncpg.PostgresError, LeaseLost, CheckpointError) as error:
            # What is not sent is not committed.
            await self.failed(error)
            raise
        try:
            # What is to be done between two batches is not to be done in the next.
            apart = self.riding is None or self._wal_before is not None
            more = done is None and not apart
            await self._beginnings.commit(connection, more=more)
        except (*_LOST, asyncpg.PostgresError) as error:
            lost = isinstance(error, _LOST) or is_gone(connection)
            # A cancel that came too late for the COMMIT ends what was sent behind it.
            in_doubt = lost or isinstance(error, asyncpg.QueryCanceledError)
            if not in_doubt or not await self._was_committed(snapshot, done):
                await self.failed(error, lost=lost)
                raise
        await self._done(connection)
        if self.riding is not None:
            self.riding.committed(snapshot.batches, finished=done is not None)
        elif done is None or done.rows is not None:
            await self._save_apart(snapshot)

    async def _done(self, connection: Connection) -> None:
        self._open = False
        self._place(self, None)
        self._measure()
        if self._hears is not None:
            self._hears.done()
        if self._wal is not None and self._connection is connection:
            # The batch is decided: what goes wrong here is for the next to meet.
            with suppress(*_LOST, asyncpg.PostgresError):
                await self._wal.count(connection, self._wal_before)

    def _measure(self, *, locked: float = 0.0) -> None:
        taken = None if self._hears is None else self._hears.taken
        self._measured = Measured(monotonic() - self._began, taken, locked)

    async def _save_in(
        self,
        connection: Connection,
        lease: PostgresLease,
        snapshot: Snapshot,
        done: Done | None,
    ) -> None:
        if done is None:
            await lease.save_on(connection, snapshot)
            return
        result = RunResult(
            lease.name,
            lease.run_id,
            RunStatus.DONE,
            state=snapshot.state,
            result=done.result,
            batches=snapshot.batches,
            rows=snapshot.rows,
        )
        await lease.finish_on(connection, result)

    async def _save_apart(self, snapshot: Snapshot) -> None:
        given = await ask(self.lease.save, snapshot)
        if given.error is not None:
            # The batch is committed, and must not be tried again for this.
            raise as_checkpoint_error(given.error, "the run", "saved")

    async def _was_committed(self, snapshot: Snapshot, done: Done | None) -> bool:
        """Ask the checkpoint whether a COMMIT that was not heard of was done.

        Raises:
            CheckpointError: It could not be asked. Nobody knows, and so nothing may
                be tried again nor saved.
        """
        await self._drop()
        lease = self.riding
        if lease is None:
            return False
        with anyio.move_on_after(_SECONDS_TO_LEARN):
            while True:
                given = await ask(lease.settled)
                if given.error is None:
                    batches, finished = cast("tuple[int, bool]", given.value)
                    return finished if done else batches >= snapshot.batches
                if isinstance(given.error, LeaseLost):
                    raise given.error
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        msg = (
            "The connection was lost in the COMMIT of a batch, and the server could "
            f"not be asked for {_SECONDS_TO_LEARN:g} s whether it was done. Run it "
            "again once the server is back: it goes on from what was committed."
        )
        raise CheckpointError(msg)

    async def _rolled_back(self) -> None:
        connection = self._connection
        if connection is not None and (self._open or self._beginnings.is_ahead):
            try:
                # Not by asyncpg's own limit, which does not run while it waits for the
                # server to cancel the query before.
                async with asyncio.timeout(_SECONDS_TO_ROLL_BACK):
                    await connection.execute("ROLLBACK")
            except (*_LOST, asyncpg.PostgresError):
                await self._drop()
        self._open = self._beginnings.is_ahead = False
        self._place(self, None)

    async def _drop(self) -> None:
        """Let go of a connection of which nobody knows in what state it is."""
        connection, self._connection = self._connection, None
        self._open = self._beginnings.is_ahead = False
        self._place(self, None)
        if connection is not None:
            # The pool has taken one back by itself that it saw to be closed.
            with suppress(*_LOST, asyncpg.PostgresError):
                connection.terminate()
                await self._pool.pool.release(connection, timeout=_SECONDS_TO_LET_GO)


class _Attempt:
    """Opens a transaction, and rolls it back unless the handler answered."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __aenter__(self) -> None:
        """Open nothing yet, so that what goes wrong in opening is rolled back, too."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            await self._transaction.failed(error)
