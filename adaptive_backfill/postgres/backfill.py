"""Backfills whose data and checkpoint are one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, cast

import asyncpg
from typing_extensions import override

from adaptive_backfill._core.answers import State
from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.options import Option, RunOptions, changed
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.snapshot import Checkpoint
from adaptive_backfill._dsl.backfill import Backfill
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.memory_store import MemoryStore
from adaptive_backfill._ports import Lease
from adaptive_backfill.errors import BackfillError, ConfigurationError
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._faults import Kind, kind_of
from adaptive_backfill.postgres._giving_way import GivingWay, Yielding
from adaptive_backfill.postgres._options import OWN_STORE, POSTGRES_OPTIONS
from adaptive_backfill.postgres._own import Own, begin_to_work_for
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres._server_limits import Limits
from adaptive_backfill.postgres._signal import patient
from adaptive_backfill.postgres._transaction import Transaction
from adaptive_backfill.postgres._wal_meter import WalMeter
from adaptive_backfill.postgres.checks import recommended, statement_latency
from adaptive_backfill.postgres.store import PostgresStore

__all__ = ["PostgresBackfill", "limits_of"]

_NO_TIMEOUT = 3600.0
"""Seconds after which this side gives a statement up where no `timeout` is set."""

_IDLE = 60.0
"""Seconds that a batch may leave its transaction idle where no `timeout` is set."""


class PostgresBackfill(Backfill[State]):
    """A backfill whose batches are transactions, done exactly once.

    Write ``async def handle_batch(self, state)`` as for any `Backfill`, and do its
    work on `connection`. When it answers, the checkpoint is saved in the same
    transaction, which is then committed: both are kept, or neither. What it answers
    `Halt` or `Fail` to, or raises in, is rolled back.

    Runs on ``run(pool=...)`` or ``run(dsn=...)``, else on the environment's
    ``DATABASE_URL``. A pool needs two connections. Where no `checkpoint` is declared,
    it is kept in the same database.

    Whoever waits for more than a second for what a batch has locked goes first: the
    batch is cancelled, rolled back and tried again, with half of the `batch_size` where
    there is one. `retry` does not count that; ten times in a row fail the run. It takes
    a connection of the pool beside the batch's: for as long as there are batches, where
    the pool has two to spare, or for a moment each second.
    """

    pool: Any
    """An asyncpg pool, or a callable that returns one. By default one is opened."""
    dsn: str | None
    """Where to open a pool; by default the environment's ``DATABASE_URL``."""
    lock_timeout: float
    """Seconds that a batch waits for a lock before it gives way; 0.5 by default."""

    _options: ClassVar[Mapping[str, Option]] = POSTGRES_OPTIONS
    _connection: Own[Connection | None] = Own(None)
    _transaction: Own[Transaction | None] = Own(None)
    _giving_way: GivingWay | None = None
    _wal: WalMeter | None = None

    @property
    def connection(self) -> Connection:
        """The connection of the batch under way, in its transaction.

        Raises:
            BackfillError: There is no batch under way.
        """
        if self._connection is None:
            msg = (
                "there is no batch under way: the connection is there in handle_batch, "
                "not in hooks, health checks or initial_state"
            )
            raise BackfillError(msg)
        return self._connection

    @override
    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        if prepared.work.single:
            msg = (
                "a single operation (handle) has no batches to make transactions of; "
                "subclass Backfill for it"
            )
            raise ConfigurationError([msg], subject=cls.__qualname__)
        backfill = cast("PostgresBackfill[Any]", prepared.instance)
        options = prepared.options
        run_pool = RunPool(
            backfill.pool,
            backfill.dsn,
            title=options.name,
            size=backfill.batches_at_once(),
            command_timeout=options.timeout or _NO_TIMEOUT,
        )
        checkpoint = options.checkpoint
        if checkpoint is None:
            # A transaction needs a lease; this one goes with the run.
            checkpoint = Checkpoint(MemoryStore())
        elif checkpoint.store is OWN_STORE:
            checkpoint = Checkpoint(
                PostgresStore(lambda: run_pool.pool), checkpoint.name
            )
        apart = options.checkpoint is None
        retry = backfill.yields_by(options)
        wal = backfill.weighing_wal()
        if options.pace is not None and not options.health_checks:
            options = changed(options, {"health_checks": backfill.eyes()})
        options = changed(options, {"checkpoint": checkpoint, "retry": retry})
        limits = limits_of(options.timeout, backfill.lock_timeout)
        work = replace(
            prepared.work,
            unit=lambda lease: backfill.unit_over(
                run_pool, lease, limits=limits, apart=apart
            ),
            resources=lambda: backfill.opened_by(run_pool),
            pool=lambda: run_pool.pool,
            retuned=partial(backfill.retuned, prepared.work.retuned),
            wal=wal.written,
            too_much=_was_too_much,
        )
        return prepared._replace(work=work, options=options)

    def unit_over(
        self, run_pool: RunPool, lease: Lease, *, limits: Limits, apart: bool
    ) -> Transaction:
        """Return what makes each batch a transaction on *run_pool*."""
        return Transaction(
            run_pool,
            lease,
            title=self.name,
            limits=limits,
            place=self.placed,
            hears=self._giving_way,
            apart=apart,
            gives_way=self.can_spare_one_of(run_pool.pool),
            wal=self._wal,
        )

    def yields_by(self, options: RunOptions) -> Retry:
        """Return how often a batch is tried again, those not counted that gave way."""

        def resize(size: int) -> None:
            self.batch_size = size

        self._giving_way = GivingWay(options.batch_size, resize)
        retry = options.retry
        return Yielding(
            retry.attempts,
            retry.base,
            retry.cap,
            retry.on,
            giving_way=self._giving_way,
        )

    def eyes(self) -> tuple[HealthCheck, ...]:
        """Return what a pace goes by where no `health_checks` are declared."""
        return (*recommended(), patient(statement_latency()))

    def weighing_wal(self) -> WalMeter:
        """Return what counts the WAL of this run's batches, while that is needed."""
        self._wal = WalMeter(self.needs_wal)
        return self._wal

    def needs_wal(self) -> bool:
        """Whether somebody wants to know how much WAL the batches write."""
        return self.max_wal_per_second is not None

    def retuned(
        self,
        retune: Callable[[Mapping[str, object]], None] | None,
        values: Mapping[str, object],
    ) -> None:
        """Take changed options by *retune*, and the size as far as it fits."""
        if retune is not None:
            retune(values)
        if self._giving_way is not None and "batch_size" in values:
            self._giving_way.retuned(cast("int | None", values["batch_size"]))

    def can_spare_one_of(self, pool: object) -> bool:
        """Whether *pool* has a connection beside those of the batches."""
        if not isinstance(pool, asyncpg.Pool):
            return True
        most: int = pool.get_max_size()
        return most > self.batches_at_once()

    def batches_at_once(self) -> int:
        """Return how many batches may be under way at once."""
        return 1

    def begin_to_work(self, options: RunOptions) -> RunOptions:
        """Make the current task one of several workers; return its *options*."""
        begin_to_work_for(self)
        return options

    def opened_by(self, run_pool: RunPool) -> AbstractAsyncContextManager[object]:
        """Return what opens *run_pool* for the run, and closes it after."""
        return run_pool

    def placed(self, transaction: Transaction, connection: Connection | None) -> None:
        """Hear of the transaction of the batch under way, and of its end."""
        self._transaction = transaction
        self._connection = connection


def _was_too_much(error: BaseException) -> bool:
    """Whether a smaller batch may fare better than the one that ended in *error*."""
    if isinstance(error, asyncpg.DeadlockDetectedError):
        return True
    return kind_of(error, lost=False) is Kind.TOO_MUCH


def limits_of(timeout: float | None, lock_timeout: float) -> Limits:
    """Return what the server holds a batch to, by the options that say so."""
    # The server gives up a little before this side does, and says why.
    return Limits(
        statement=None if timeout is None else timeout * 0.9,
        lock=lock_timeout,
        idle=_IDLE if timeout is None else timeout,
    )
