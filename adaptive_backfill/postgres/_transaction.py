"""The unit of work of PostgreSQL: one transaction a batch, the checkpoint in it.

Rule: whatever ends an attempt, the server is never left with half of it. COMMIT and
ROLLBACK run in a task of their own under a bounded shield. Where even that ends in a
lost connection, nobody knows whether the batch was committed: the checkpoint that
was committed with it tells, and is read again before anything is retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import asyncpg
import asyncpg.pool
import structlog

from adaptive_backfill._core.answers import Done
from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine.outlast import finish, outlast
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._engine.saving import as_checkpoint_error
from adaptive_backfill._ports import Handle, Lease
from adaptive_backfill.errors import CheckpointError, LeaseLost
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres._store_lease import PostgresLease

Lent: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Any]"

__all__ = ["Limits", "Transaction"]

_LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
"""What a commit raises where the connection went, and the outcome is unknown."""


class Limits(NamedTuple):
    """What the server holds a batch to.

    Attributes:
        statement: Seconds that a statement may take; `None` for no limit.
        lock: Seconds to wait for a lock, so that the backfill always gives way.
        idle: Seconds that the transaction may be idle.
    """

    statement: float | None
    lock: float
    idle: float

    def begin(self) -> str:
        """Return one message that opens a transaction under these limits.

        `SET LOCAL` only: behind a pooler in transaction mode a session is not ours.
        """
        statement = 0 if self.statement is None else max(1, int(self.statement * 1000))
        return (
            f"BEGIN; SET LOCAL statement_timeout = {statement}; "
            f"SET LOCAL lock_timeout = {max(1, int(self.lock * 1000))}; "
            "SET LOCAL idle_in_transaction_session_timeout = "
            f"{max(1, int(self.idle * 1000))}"
        )


class Transaction:
    """One run's batches as transactions on its pool.

    The connection is kept from one batch to the next, because a pool asks the server
    to reset each one that it takes back; it is given back before a wait.

    Where the checkpoint is kept in another database, or in another kind of store, it
    is saved after the commit: then at least once, which is logged.

    Attributes:
        lease: The run's hold of its name.
        saved: Whether the checkpoint has ridden in the batch's own statement.
        kept: What was kept with the last batch of this run.
    """

    atomic = True

    def __init__(
        self,
        pool: RunPool,
        lease: Lease,
        *,
        limits: Limits,
        place: Callable[[Transaction, Connection | None], None],
    ) -> None:
        self.lease = lease
        self.saved = False
        self.kept: Snapshot | None = None
        self._pool = pool
        self._begin = limits.begin()
        self._place = place
        self._connection: Lent | None = None
        self._open = False
        self._together: bool | None = None

    def within(self, handle: Handle) -> Handle:
        """Return *handle* so that each call of it is one transaction."""

        async def attempt(argument: object) -> object:
            async with _Attempt(self):
                await self._opened()
                return await handle(argument)

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
        connection, self._connection = self._connection, None
        if connection is not None:
            await finish(self._pool.pool.release(connection, timeout=5.0))

    @property
    def riding(self) -> PostgresLease | None:
        """The lease, where its save may ride in the batch's own statement."""
        lease = self.lease
        return lease if self._together and isinstance(lease, PostgresLease) else None

    async def _opened(self) -> None:
        self.saved = False
        if self._connection is None:
            self._connection = await self._pool.pool.acquire()
        if self._together is None:
            self._together = await self._is_together(self._connection)
        self._open = True
        await self._connection.execute(self._begin)
        self._place(self, self._connection)

    async def _is_together(self, connection: Connection) -> bool:
        if isinstance(self.lease, PostgresLease) and await self.lease.is_on(connection):
            return True
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
            if self.riding is not None and not self.saved:
                await self._save_in(connection, self.riding, snapshot, done)
            await connection.execute("COMMIT")
        except _LOST:
            await self._drop()
            if self.riding is None or not await self._was_committed(snapshot, done):
                raise
        except (asyncpg.PostgresError, LeaseLost, CheckpointError):
            await self._rolled_back()
            raise
        self._open = False
        self.kept = snapshot
        self._place(self, None)
        if self.riding is None and (done is None or done.rows is not None):
            await self._save_apart(snapshot)

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
        if done is not None:
            return await self.lease.finished() is not None
        kept = await self.lease.load()
        return kept is not None and kept.batches >= snapshot.batches

    async def _rolled_back(self) -> None:
        connection = self._connection
        if connection is not None and self._open:
            try:
                await connection.execute("ROLLBACK")
            except (*_LOST, asyncpg.PostgresError, TimeoutError):
                await self._drop()
        self._open = False
        self._place(self, None)

    async def _drop(self) -> None:
        """Let go of a connection of which nobody knows in what state it is."""
        connection, self._connection = self._connection, None
        self._open = False
        self._place(self, None)
        if connection is not None:
            connection.terminate()
            await self._pool.pool.release(connection)


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
            await self._transaction.rollback()
