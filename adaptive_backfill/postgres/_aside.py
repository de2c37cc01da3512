"""The part of a `TableBackfill` that gives way, finds bad rows and sets them aside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import anyio
import asyncpg
import structlog
from typing_extensions import override

from adaptive_backfill._core.options import Option, RunOptions, changed
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._dsl.backfill import Backfill
from adaptive_backfill._dsl.preparing import Prepared, prepare
from adaptive_backfill._engine.outlast import finish
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._ports import Gate, Lease
from adaptive_backfill.errors import ConfigurationError, TooManyQuarantined
from adaptive_backfill.postgres._connecting import Connection, application_name, is_gone
from adaptive_backfill.postgres._failing import Failing, Patience
from adaptive_backfill.postgres._faults import Kind, kind_of
from adaptive_backfill.postgres._fence import check_slots, fence_of
from adaptive_backfill.postgres._options import TABLE_OPTIONS
from adaptive_backfill.postgres._own import Own
from adaptive_backfill.postgres._quarantine import Quarantine, described
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres._server_limits import Limits
from adaptive_backfill.postgres._store_pool import Pool, PoolSource
from adaptive_backfill.postgres._store_schema import DEFAULT_SCHEMA
from adaptive_backfill.postgres._transaction import Transaction
from adaptive_backfill.postgres._walk import Cursor, Key
from adaptive_backfill.postgres.backfill import PostgresBackfill, limits_of
from adaptive_backfill.postgres.failures import Failure
from adaptive_backfill.postgres.store import PostgresStore

__all__ = ["NotDone", "SettingAside"]


class NotDone(Exception):
    """`handle_rows` answered `Halt` or `Fail`, and there is no run to end by it."""


@asynccontextmanager
async def _open(prepared: Prepared) -> AsyncIterator[Pool]:
    """Open what a run would open, without a run."""
    work = prepared.work
    if work.resources is None or not callable(work.pool):
        msg = "it has no pool to look through"
        raise ConfigurationError([msg], subject=prepared.options.name)
    async with work.resources():
        yield cast("Pool", work.pool())


class SettingAside(PostgresBackfill[Cursor]):
    """A `PostgresBackfill` whose bad rows do not stop it."""

    standbys: Sequence[str]
    """DSNs of standbys to wait for; by default none. Before each batch the run waits
    until each of them has replayed what the batches before it wrote, but for
    `max_lag_bytes`; and while one cannot be asked."""
    slots: Sequence[str]
    """Names of the primary's replication slots to wait for in the same way: until
    whoever reads from them has confirmed that much. By default none."""
    max_lag_bytes: int
    """Bytes of WAL that each of `standbys` and `slots` may be behind the last batch;
    64 MiB by default."""
    max_quarantined: int
    """Rows to set aside at most; with one more the run fails. 100 by default."""

    _options: ClassVar[Mapping[str, Option]] = TABLE_OPTIONS
    _failing = Own[Failing | None](None)
    _quarantine = Own[Quarantine | None](None)

    @classmethod
    async def failures(cls, /, **overrides: Any) -> list[Failure]:
        """Return the rows that are set aside, in the order in which they failed.

        A new walk from the beginning forgets them, because it comes to them again.

        Args:
            overrides: As in `run`, `pool` and `dsn` among them.

        Raises:
            ConfigurationError: The class, or an override, is not usable.
        """
        prepared = cls._adapted(prepare(cls, Backfill, cls._definition, overrides))
        backfill = cast("Self", prepared.instance)
        async with _open(prepared):
            return await backfill.listed()

    @classmethod
    async def retry_failures(cls, /, **overrides: Any) -> int:
        """Try the rows that are set aside again, each in a transaction of its own.

        What is done, or is not to be done any more, is set aside no longer; what fails
        again, for a deadlock or a lost connection too, is kept with its new error, and
        the next one is tried. May be called while a run is under way.

        Args:
            overrides: As in `run`, `pool` and `dsn` among them.

        Returns:
            How many are done now.

        Raises:
            ConfigurationError: The class, or an override, is not usable.
            Exception: What says that no row can be tried: the server is away, or the
                statement is wrong.
        """
        prepared = cls._adapted(prepare(cls, Backfill, cls._definition, overrides))
        backfill = cast("Self", prepared.instance)
        async with _open(prepared) as pool:
            return await backfill.done_again(pool, prepared.options.timeout)

    @override
    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        prepared = super()._adapted(prepared)
        backfill = cast("Self", prepared.instance)
        work, options = prepared.work, prepared.options
        retry = options.retry
        failing = Failing(retry, options.max_pause)
        patience = Patience(
            retry.attempts, retry.base, retry.cap, retry.on, failing=failing
        )
        store = None if options.checkpoint is None else options.checkpoint.store
        schema = store.schema if isinstance(store, PostgresStore) else DEFAULT_SCHEMA
        quarantine = Quarantine(cast("PoolSource", work.pool), options.key, schema)
        backfill.braced_by(failing, quarantine)
        return prepared._replace(
            options=changed(options, {"retry": patience}),
            work=replace(
                work, quarantined=lambda: quarantine.count, gate=backfill.fence()
            ),
        )

    def fence(self) -> Gate | None:
        """Return what a run waits for before each batch."""
        if self._wal is None:
            return None
        limit = self.max_lag_bytes
        return fence_of(self._wal, limit, standbys=self.standbys, slots=self.slots)

    async def find_slots(self, connection: Connection) -> None:
        """Look whether all slots are there that the run is to wait for.

        Raises:
            ConfigurationError: One is not.
        """
        await check_slots(connection, self.slots, type(self).__qualname__)

    @override
    def needs_wal(self) -> bool:
        return super().needs_wal() or bool(self.standbys or self.slots)

    def braced_by(self, failing: Failing, quarantine: Quarantine) -> None:
        """Take what this run does about failing batches."""
        self._failing = failing
        self._quarantine = quarantine

    @override
    def begin_to_work(self, options: RunOptions) -> RunOptions:
        """Make the current task a worker, which has failures of its own."""
        quarantine, retry = self._quarantine, options.retry
        options = super().begin_to_work(options)
        if quarantine is None:
            return options
        # How many there are is for the run to know, and a new walk its to begin.
        own = copy(quarantine)
        own.count = 0
        plain = Retry(retry.attempts, retry.base, retry.cap, retry.on)
        failing = Failing(plain, options.max_pause)
        self.braced_by(failing, own)
        patience = Patience(
            retry.attempts, retry.base, retry.cap, retry.on, failing=failing
        )
        return changed(options, {"retry": patience})

    @override
    def unit_over(
        self, run_pool: RunPool, lease: Lease, *, limits: Limits, apart: bool
    ) -> Transaction:
        """Return what makes each batch a transaction, and hears how it ended."""
        return Transaction(
            run_pool,
            lease,
            title=self.name,
            limits=limits,
            place=self.placed,
            hears=self,
            apart=apart,
            gives_way=True,
            wal=self._wal,
        )

    def failed(self, error: BaseException, *, tried: bool, lost: bool) -> None:
        """Hear what ended an attempt, and is rolled back."""
        if self._failing is not None and self._quarantine is not None:
            self._quarantine.settled(committed=False)
            self._failing.failed(error, tried=tried, lost=lost)

    @property
    def taken(self) -> int | None:
        """How many keys the last batch was for."""
        return None if self._failing is None else self._failing.taken

    def done(self) -> None:
        """Hear that a batch was committed."""
        if self._failing is not None and self._quarantine is not None:
            self._quarantine.settled(committed=True)
            self._failing.done()

    async def _look_aside(self, connection: Connection) -> None:
        """See how many rows are set aside already."""
        if self._quarantine is not None:
            await self._quarantine.open(connection)

    async def listed(self) -> list[Failure]:
        """Return the rows that are set aside."""
        quarantine = self._quarantine
        # Where there are none, there may be no table either; it is not made for this.
        return await quarantine.listed() if quarantine and quarantine.count else []

    async def done_again(self, pool: Pool, timeout: float | None) -> int:
        """Try the rows that are set aside again; return how many are done now."""
        quarantine = self._quarantine
        if quarantine is None or not quarantine.count:
            return 0
        limits = limits_of(timeout, self.lock_timeout)
        done = 0
        for key in await quarantine.keys():
            with anyio.move_on_after(timeout or float("inf")) as scope:
                given = await ask(self._alone, pool, quarantine, key, limits)
            if scope.cancelled_caught:
                await quarantine.again(key, f"not done in {timeout:g} s")
                continue
            error = given.error
            if error is None:
                done += bool(given.value)
            elif kind_of(error, lost=False) is Kind.LASTING:
                raise error
            else:
                # Where the server is away, this cannot be kept either, and raises.
                await quarantine.again(key, described(error))
        return done

    async def _alone(
        self, pool: Pool, quarantine: Quarantine, key: Key, limits: Limits
    ) -> bool:
        """Do one row and forget that it failed, or neither."""
        async with pool.acquire() as connection:
            committed = False
            try:
                await connection.execute(
                    limits.begin(
                        connection.get_server_version().major,
                        application_name(self.name),
                    )
                )
                number = await quarantine.take(connection, key)
                if number is None:
                    return False
                await self._do_row(connection, key)
                await quarantine.drop(connection, number)
                await finish(connection.execute("COMMIT"))
                committed = True
            except asyncpg.InterfaceError as error:
                if not is_gone(connection):
                    raise
                # Ended between two statements; that says nothing of the other rows.
                raise asyncpg.ConnectionDoesNotExistError(str(error)) from error
            finally:
                if not committed and not is_gone(connection):
                    await finish(connection.execute("ROLLBACK"))
        return True

    async def _do_row(self, connection: Connection, key: Key) -> None:
        """Do the one row of *key*, if it is still to do."""
        raise NotImplementedError

    async def _set_aside(self, connection: Connection, key: Key) -> None:
        """Keep, with the batch, that the row of *key* cannot be done."""
        failing, quarantine = self._failing, self._quarantine
        if failing is None or quarantine is None or failing.aside is None:
            return
        if self._transaction is None or self._transaction.riding is None:
            await quarantine.make()
        error, limit = failing.aside, self.max_quarantined
        said = described(error)
        count = await quarantine.put(connection, key, said, failing.attempts)
        if count > limit:
            raise TooManyQuarantined(type(self).__qualname__, limit, said) from error
        structlog.get_logger("adaptive_backfill").warning(
            "row set aside", reason=said, attempts=failing.attempts, quarantined=count
        )
