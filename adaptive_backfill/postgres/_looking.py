"""A backfill that is prepared as for a run, and only looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import asyncpg

from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.outside import ask
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._gauge import SECONDS_TO_COUNT
from adaptive_backfill.postgres._sampling import Batch, rolled_back, sample
from adaptive_backfill.postgres._server_limits import Limits
from adaptive_backfill.postgres._store_pool import Pool
from adaptive_backfill.postgres._surveying import Asked, operation_of, survey
from adaptive_backfill.postgres._walk import Cursor, Walk
from adaptive_backfill.postgres.identifiers import quoted
from adaptive_backfill.postgres.plans import DryRun, Plan, Verification

__all__ = ["SAMPLE", "Looking", "looking"]

SAMPLE = 3
"""Batches that a plan is reckoned from."""

_REFUSED = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    asyncpg.FeatureNotSupportedError,
)
"""What a statement is answered that no run could do."""

_SECONDS_A_STATEMENT = 60.0
_EXAMPLES = 10


class Looking(NamedTuple):
    """What there is to look through.

    Attributes:
        options: As they would be in force.
        walk: Open.
        state: Where a run would begin that has no checkpoint.
        limits: What the server holds each batch to.
        statement: What a batch does; `None` where rows go through Python.
        do: Does a batch.
    """

    options: RunOptions
    walk: Walk
    state: Cursor
    limits: Limits
    statement: str | None
    do: Batch

    @property
    def pool(self) -> Pool:
        """Where connections come from."""
        return self.walk.pool

    @property
    def size(self) -> int:
        """Keys a batch."""
        return self.options.batch_size or 1

    async def plan(self, *, measure: bool) -> Plan:
        """Return the plan, reckoned from a sample where it is to be measured."""
        asked = Asked(self.options.name, self.statement, self.size)
        try:
            async with rolled_back(self.pool, self.limits) as connection:
                plan = await survey(self.walk, connection, asked)
        except _REFUSED as error:
            why = (f"the server refuses it: {error}",)
            table = self.walk.keyset.table.sql
            return Plan(name=asked.name, table=table, ok=False, reasons=why)
        if not (measure and plan.ok):
            return plan
        try:
            measured = await self.sample(SAMPLE)
        except (asyncpg.PostgresError, TimeoutError) as error:
            said = f"the sample failed: {type(error).__name__}: {error}"
            return replace(plan, warnings=(*plan.warnings, said))
        if not measured.batches or plan.batches is None:
            return replace(plan, sample=measured)
        each = measured.seconds / measured.batches + self.options.delay_between_batches
        wal = (measured.wal_bytes or 0) / measured.batches
        return replace(
            plan,
            sample=measured,
            seconds=plan.batches * each,
            wal_bytes=round(plan.batches * wal),
        )

    async def sample(self, batches: int) -> DryRun:
        """Return what *batches* cost, each of them rolled back."""
        return await sample(
            self.walk,
            self.limits,
            self.state,
            self.size,
            batches=batches,
            do=self.do,
        )

    async def verify(self, quarantined: int | None) -> Verification:
        """Count the rows that are still to do."""
        keys = self.walk.keyset
        said = Verification(
            name=self.options.name, table=keys.table.sql, quarantined=quarantined
        )
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            why = await self._uncountable(connection)
            if why:
                return replace(said, unknown=why)
            columns = ", ".join(map(quoted, keys.key))
            where = keys.only_to_do()
            # Mostly there are none or few, and then these are all.
            found = await connection.fetch(
                f"SELECT {columns} FROM {keys.table.sql}{where} LIMIT {_EXAMPLES}",
                timeout=SECONDS_TO_COUNT,
            )
            remaining = len(found)
            if remaining == _EXAMPLES:
                remaining = await connection.fetchval(
                    keys.left(), timeout=SECONDS_TO_COUNT
                )
        examples = tuple(tuple(row) for row in found)
        return replace(said, remaining=remaining, examples=examples)

    async def _uncountable(self, connection: Connection) -> str:
        """Return why rows that are done cannot be told from those that are not."""
        if self.statement is not None:
            operation = await operation_of(self.walk, connection)
            if operation is None:
                return "the statement changes no row of the table that it walks"
            if operation == "Delete":
                return ""
        if self.walk.keyset.where is None:
            return "there is no `where`, by which rows still to do could be known"
        return ""


@asynccontextmanager
async def looking(
    prepared: Prepared, *, lock_timeout: float, statement: str | None, do: Batch
) -> AsyncIterator[Looking]:
    """Open the walk of *prepared*, and look through it.

    Raises:
        ConfigurationError: The table cannot be walked.
    """
    work, options = prepared.work, prepared.options
    opening = None if work.resources is None else work.resources()
    if not isinstance(opening, Walk):
        msg = "it walks no table"
        raise ConfigurationError([msg], subject=options.name)
    async with opening as walk:
        given = await ask(work.initial_state)
        if given.error is not None:
            raise given.error
        if not isinstance(given.value, Cursor):
            msg = f"initial_state must be a Cursor, not {given.value!r}"
            raise ConfigurationError([msg], subject=options.name)
        seconds = options.timeout or _SECONDS_A_STATEMENT
        limits = Limits(seconds * 0.9, lock_timeout, seconds)
        yield Looking(options, walk, given.value, limits, statement, do)
