"""What a `TableBackfill` can be asked before, while and after it runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, ClassVar, cast

from typing_extensions import override

from adaptive_backfill._core.options import Option
from adaptive_backfill._core.rules import is_count
from adaptive_backfill._dsl.backfill import prepared_for
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._aside import NotDone
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._gauge import Gauge
from adaptive_backfill.postgres._looking import SAMPLE, Looking, looking
from adaptive_backfill.postgres._options import TABLE_OPTIONS
from adaptive_backfill.postgres._rows_answer import rows_done
from adaptive_backfill.postgres._walk import Cursor, Key, Walk
from adaptive_backfill.postgres.backfill import PostgresBackfill
from adaptive_backfill.postgres.plans import DryRun, Plan, Verification

__all__ = ["Planning"]


class Planning(PostgresBackfill[Cursor]):
    """The part of a `TableBackfill` that plans, measures and verifies."""

    _options: ClassVar[Mapping[str, Option]] = TABLE_OPTIONS
    _walk: Walk | None = None

    @classmethod
    async def plan(cls, /, *, measure: bool = True, **overrides: Any) -> Plan:
        """Return what a run would do, and whether it should; print it to read it.

        Args:
            measure: Whether to do up to three batches, in transactions that are
                rolled back, and to reckon time and WAL from them. `handle_rows` is
                called for them.
            overrides: As in `run`, `pool` and `dsn` among them.

        Returns:
            The plan; `ok` is False, with the reasons, where the table cannot be
            walked by the key, or only at too high a cost.

        Raises:
            ConfigurationError: The class, or an override, is not usable.
            InvalidAnswer: `handle_rows` returned something that is not an answer.
        """
        prepared = prepared_for(cls, overrides)
        try:
            async with cls._looking(prepared) as look:
                try:
                    return await look.plan(measure=measure)
                except NotDone as error:
                    plan = await look.plan(measure=False)
                    said = f"the sample was not done: {error}"
                    return replace(plan, warnings=(*plan.warnings, said))
        except ConfigurationError as error:
            return Plan(
                name=prepared.options.name,
                table=str(getattr(prepared.instance, "table", "")),
                ok=False,
                reasons=error.problems,
            )

    @classmethod
    async def dry_run(cls, n: int = SAMPLE, /, **overrides: Any) -> DryRun:
        """Do *n* batches, roll each of them back, and return what they cost.

        Neither data nor checkpoint, lease or quarantine are changed; sequences are,
        and what `handle_rows` does outside of its connection. It begins where a new
        run would, or with the first row that is still to do.

        Args:
            n: Batches, at least 1; fewer are done where the table ends.
            overrides: As in `run`; ``initial_state=Cursor(...)`` to begin elsewhere.

        Raises:
            ConfigurationError: The class, or an override, is not usable, or the table
                cannot be walked.
            InvalidAnswer: `handle_rows` returned something that is not an answer.
            Exception: What a batch raised; or that `handle_rows` answered `Halt` or
                `Fail`, with its reason.
        """
        if not is_count(n, least=1):
            msg = f"the batches to try must be an int of at least 1, not {n!r}"
            raise ConfigurationError([msg], subject=f"{cls.__qualname__}.dry_run")
        async with cls._looking(prepared_for(cls, overrides)) as look:
            return await look.sample(n)

    @classmethod
    async def verify(cls, /, **overrides: Any) -> Verification:
        """Count the rows that still match `where`, exactly; it may read all of them.

        Raises:
            ConfigurationError: The class, or an override, is not usable, or there is
                no such table.
        """
        async with cls._looking(prepared_for(cls, overrides)) as look:
            failures = getattr(cls, "failures", None)
            aside = None
            if failures is not None:
                aside = len(await failures(**{**overrides, "pool": look.pool}))
            return await look.verify(aside)

    @override
    async def total(self) -> int | None:
        """Return about how many rows the table has, as the server estimates."""
        return None if self._walk is None else await self._walk.total(exact=False)

    async def try_out(self, connection: Connection, cursor: Cursor, upper: Key) -> int:
        """Do the rows from *cursor* to *upper*, in a transaction that is rolled back.

        Returns:
            How many were done.

        Raises:
            NotDone: `handle_rows` answered `Halt` or `Fail`.
            InvalidAnswer: It answered nothing that makes sense.
        """
        walk = self._walk
        handle_rows = getattr(self, "handle_rows", None)
        if walk is None:
            return 0
        if handle_rows is None:
            return await walk.do(connection, cursor, upper)
        rows = await walk.rows(connection, cursor, upper)
        if rows:
            self._connection = connection
            try:
                answer = await handle_rows(rows, connection)
            finally:
                self._connection = None
            return rows_done(answer, len(rows), type(self).__qualname__)
        return 0

    @override
    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        prepared = super()._adapted(prepared)
        if prepared.options.total is not Planning.total:
            # Whoever says how many rows there are wants the share to go by them.
            return prepared
        gauge = Gauge(exact=getattr(prepared.instance, "count", "") == "exact")
        opened = prepared.work.resources
        work = replace(
            prepared.work,
            left=gauge.left,
            share=gauge.share,
            resources=None if opened is None else lambda: gauge.over(opened()),
        )
        return prepared._replace(work=work)

    @classmethod
    def _looking(cls, prepared: Prepared) -> AbstractAsyncContextManager[Looking]:
        backfill = cast("Planning", prepared.instance)
        handled = getattr(backfill, "handle_rows", None) is not None
        statement: str | None = getattr(backfill, "statement", None)
        return looking(
            prepared,
            lock_timeout=backfill.lock_timeout,
            statement=None if handled else statement,
            do=backfill.try_out,
        )
