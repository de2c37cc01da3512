"""Backfills that walk a table along its key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, cast

import asyncpg
from typing_extensions import override

from adaptive_backfill._core.answers import DONE, Answer, Done, Fail, Halt, Next
from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.options import Option
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._dsl.reading import find, takes, writes_async
from adaptive_backfill._engine.session import Session
from adaptive_backfill._ports import Clock
from adaptive_backfill.errors import (
    BackfillError,
    ConfigurationError,
    TooManyQuarantined,
)
from adaptive_backfill.postgres._aside import NotDone, SettingAside
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._options import TABLE_OPTIONS
from adaptive_backfill.postgres._own import works_for
from adaptive_backfill.postgres._parts import Terms
from adaptive_backfill.postgres._resuming import WalkSession
from adaptive_backfill.postgres._rows_answer import rows_answer
from adaptive_backfill.postgres._run_pool import RunPool, check_size
from adaptive_backfill.postgres._signal import patient
from adaptive_backfill.postgres._walk import Cursor, Key, Walk, Way
from adaptive_backfill.postgres.checks import recommended, statement_latency
from adaptive_backfill.postgres.planning import Planning

__all__ = ["TableBackfill"]

MOST_WORKERS = 16
"""Batches at once that a running run may be told to do, if its pool has as many
connections; more would need more shares, too."""


class TableBackfill(SettingAside, Planning):
    """Fills, moves or deletes the rows of a table, a range of its key at a time.

    Say it in SQL, with ``{batch}`` (or ``{batch:alias}``) where the range goes:

        >>> class UsersToV2(TableBackfill):
        ...     table = "users"
        ...     key = "id"
        ...     where = "version = 1"
        ...     statement = "UPDATE users SET version = 2 WHERE {batch}"

    or in Python, with `columns` and ``async def handle_rows(self, rows, connection)``,
    which returns `None` (all done), how many rows it did, `Halt` or `Fail`. The rows
    come in key order and locked.

    The end is fixed at the start, so that a run ends while rows are being inserted.
    Each batch, its checkpoint and its counts are one transaction: done exactly once.
    """

    table: str
    """The table, such as ``"users"`` or ``"public.users"``."""
    key: str | Sequence[str]
    """The columns to walk by, unique together and without NULLs; by default the
    primary key."""
    where: str | None
    """Rows still to do, as SQL over the table's columns; by default all."""
    statement: str
    """An UPDATE, DELETE or INSERT ... SELECT with ``{batch}`` in its WHERE."""
    columns: Sequence[str]
    """What `handle_rows` is handed of each row; by default all columns."""
    order: Literal["asc", "desc"]
    """Which end of the key to begin at; ``"asc"`` by default."""
    follow: bool
    """Whether to go on to rows that came since, until there are none. Only to keys
    greater than the last one done, and so not with `order` ``"desc"``: a row that is
    committed later, with a smaller key than the cursor, is not seen."""
    count: Literal["estimate", "exact"]
    """How `total` is known; ``"estimate"``, the default, costs nothing, and is of the
    whole table; ``"exact"`` counts the rows that are still to do."""

    workers: int
    """Batches at once, each in a share of the key range of its own; 1 by default. With
    more, `handle_rows` and `on_success` may be under way several times at once."""

    _options: ClassVar[Mapping[str, Option]] = TABLE_OPTIONS
    _walk: Walk | None = None
    _declared_workers = 1

    async def handle_batch(self, state: Cursor) -> Answer[Cursor]:
        """Do the next range. The library's own; write `handle_rows`, or `statement`."""
        walk, connection, failing = self._walking(), self.connection, self._failing
        if state.last is None and self._quarantine and self._quarantine.count:
            await self._quarantine.empty(connection)
        if state.end is None:
            return DONE
        size = self.batch_size if failing is None else failing.size(self.batch_size)
        upper = await walk.upper(connection, state, size)
        after = state.at(upper)
        self._begins_to_change(after)
        if failing is not None and failing.sets_aside(upper):
            await self._set_aside(connection, upper)
            rows = 0
        elif self._rows_handler() is not None:
            found = await walk.rows(connection, state, upper)
            answer = await self._through_python(found, connection)
            if isinstance(answer, Halt | Fail):
                return answer
            rows = answer
        else:
            rows = await walk.do(connection, state, upper)
        if upper != state.end:
            return Next(after, rows=rows)
        # A share ends where the next begins; the whole walk is what follows.
        follows = self.follow and not works_for(self)
        end = await walk.last(connection) if follows else None
        if end is None or end == upper:
            return Done(rows=rows)
        return Next(replace(after, end=end), rows=rows)

    @override
    async def initial_state(self) -> Cursor:
        """Return where the walk begins, and fix where it ends."""
        return await self._walking().start()

    def _walking(self) -> Walk:
        if self._walk is None:
            msg = "the walk begins with the run; use run() or start()"
            raise BackfillError(msg)
        return self._walk

    def _begins_to_change(self, after: Cursor) -> None:
        if self._transaction is not None:
            self._transaction.begins_to_change()
            self._transaction.foresee(after)

    def _rows_handler(self) -> Callable[..., Awaitable[object]] | None:
        handler: Callable[..., Awaitable[object]] | None = getattr(
            self, "handle_rows", None
        )
        return handler

    @override
    @classmethod
    def _own_problems(cls, root: type) -> Iterator[str]:
        rows, statement = find(cls, "handle_rows", root), find(cls, "statement", root)
        if rows is None:
            return
        if statement is not None and statement.value is not None:
            yield "it has both statement and handle_rows; keep one"
        if not writes_async(rows.value) or not takes(rows.value, 2, in_class=True):
            yield (
                "handle_rows must be `async def handle_rows(self, rows, connection)`"
            )

    @override
    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        backfill = cast("TableBackfill", prepared.instance)
        rows = getattr(backfill, "handle_rows", None)
        problems = []
        if not backfill.table:
            problems.append('table is missing: set `table = "users"`')
        if not backfill.statement and rows is None:
            problems.append(
                "it does not say what to do: set `statement`, with {batch} in its "
                "WHERE, or define `async def handle_rows(self, rows, connection)`"
            )
        if backfill.workers > 1 and backfill.pace is not None:
            problems.append(
                f"workers={backfill.workers} and pace: with a pace their number "
                f"follows; say pace = Adaptive(max_workers={backfill.workers})"
            )
        if backfill.follow and backfill.order == "desc":
            problems.append(
                'order="desc" and follow=True: new keys are greater as a rule, and lie '
                'behind a walk that begins at the greatest; follow with order="asc"'
            )
        if problems:
            raise ConfigurationError(problems, subject=cls.__qualname__)
        prepared = super()._adapted(prepared)
        # A cursor's keys may be of any type, and so have to describe themselves.
        work = replace(
            prepared.work, state_type=None, most_workers=backfill.most_workers
        )
        return prepared._replace(work=work)

    @override
    @classmethod
    def _session(cls, prepared: Prepared, clock: Clock | None) -> Session:
        backfill = cast("TableBackfill", prepared.instance)
        check_size(backfill.pool, backfill.workers, cls.__qualname__)
        return WalkSession(prepared, backfill.terms(), clock=clock)

    def terms(self) -> Terms:
        """Return what this run's workers go by."""
        self._declared_workers = self.workers
        return Terms(
            self.workers,
            self.most_workers,
            self._walking,
            self.follow,
            begin=self.begin_to_work,
            begun_anew=self.begun_anew,
            ready=self.find_slots,
            ended=self.workers_ended,
        )

    @override
    def eyes(self) -> tuple[HealthCheck, ...]:
        checks = recommended(table=self.table, standbys=self.standbys)
        return (*checks, patient(statement_latency()))

    def most_workers(self) -> int:
        """Return how many workers there may come to be, by the pace and the pool."""
        pool = self._walking().pool
        most = MOST_WORKERS if self.pace is None else self.pace.max_workers
        if isinstance(pool, asyncpg.Pool):
            # One connection is for the lease, the health checks and the guard.
            most = min(most, pool.get_max_size() - 1)
        # Not by `self.workers`, which is what somebody wishes for by now.
        return max(self._declared_workers, most)

    async def begun_anew(self) -> None:
        """Forget what an earlier walk has set aside."""
        quarantine = self._quarantine
        if quarantine is not None and quarantine.count:
            async with self._walking().pool.acquire() as connection:
                await quarantine.empty(connection)
            quarantine.settled(committed=True)

    async def workers_ended(self) -> None:
        """Count what all workers together have set aside.

        Raises:
            TooManyQuarantined: Several did so at once, and none could see that.
        """
        quarantine, limit = self._quarantine, self.max_quarantined
        if quarantine is None:
            return
        async with self._walking().pool.acquire() as connection:
            await quarantine.open(connection)
        if quarantine.count > limit:
            said = f"{quarantine.count} were found by several workers at once"
            raise TooManyQuarantined(type(self).__qualname__, limit, said)

    @override
    def batches_at_once(self) -> int:
        return max(self.workers, MOST_WORKERS)

    @override
    def opened_by(self, run_pool: RunPool) -> Walk:
        """Return the walk, which opens *run_pool* and looks at the table."""
        way = Way(
            subject=type(self).__qualname__,
            table=self.table,
            key=cast("tuple[str, ...] | None", self.key),
            where=self.where,
            descending=self.order == "desc",
            statement=self.statement,
            columns=tuple(self.columns),
        )
        self._walk = Walk(way, run_pool, self._look_aside)
        return self._walk

    @override
    async def _do_row(self, connection: Connection, key: Key) -> None:
        """Do the one row of *key*, if it is still to do."""
        walk = self._walking()
        if self._rows_handler() is None:
            await walk.redo(connection, key)
            return
        self._connection = connection
        try:
            found = await walk.row(connection, key)
            answer = await self._through_python(found, connection)
        finally:
            self._connection = None
        if isinstance(answer, Halt | Fail):
            raise NotDone(answer)

    async def _through_python(
        self, rows: list[asyncpg.Record], connection: Connection
    ) -> int | Halt | Fail:
        handle_rows = self._rows_handler()
        if not rows or handle_rows is None:
            return 0
        answer = await handle_rows(rows, connection)
        return rows_answer(answer, len(rows), type(self).__qualname__)
