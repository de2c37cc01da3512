"""The database of a `PostgresStore`: asked in single statements, its schema seen to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio

from adaptive_backfill._core.codec import Encoded, decode
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine.outlast import finish
from adaptive_backfill.errors import CheckpointError
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._store_errors import (
    GONE,
    PASSING,
    TROUBLE,
    explained,
    newer,
    nothing_free,
)
from adaptive_backfill.postgres._store_pool import Pool, PoolSource, pool_of
from adaptive_backfill.postgres._store_schema import KNOWN, making
from adaptive_backfill.postgres._store_sql import LOAD, VERSION, Tables

__all__ = ["StoreDatabase"]

PATIENCE = 30.0
"""Seconds to wait for a connection, and for the answer to a statement."""

_TRIES = 20
_SECONDS_MORE_EACH_TRY = 0.002

_T = TypeVar("_T")


class StoreDatabase:
    """What a store and its leases have in common.

    Attributes:
        schema: Where the tables are.
        lease: Seconds that a lease lasts.
        tables: Says statements in that schema.
    """

    def __init__(self, source: PoolSource, schema: str, lease: float) -> None:
        self.schema = schema
        self.lease = lease
        self.tables = Tables(schema)
        self._source = source
        self._seen_to: Pool | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def rows(self, template: str, *args: object) -> Sequence[Sequence[Any]]:
        """Return the rows that the statement gives.

        Raises:
            CheckpointError: The database cannot be asked.
        """
        text = self.tables.sql(template)
        return await self._asked(
            lambda connection: connection.fetch(text, *args, timeout=PATIENCE)
        )

    async def seen(self, template: str, *args: object) -> Sequence[Sequence[Any]]:
        """Return the rows that the statement gives, for who only looks.

        Makes no tables: where there are none, there is nothing to be seen.

        Raises:
            CheckpointError: The database cannot be asked.
        """
        text = self.tables.sql(template)

        async def look(connection: Connection) -> Sequence[Sequence[Any]]:
            try:
                return await connection.fetch(text, *args, timeout=PATIENCE)
            except GONE:
                if self._seen_to is None:
                    return []
                raise

        return await self._asked(look, self._pool_as_it_is)

    async def row(self, template: str, *args: object) -> Sequence[Any] | None:
        """Return the only row that the statement gives, or `None`."""
        found = await self.rows(template, *args)
        return found[0] if found else None

    async def changes(self, template: str, *args: object) -> bool:
        """Whether the statement changed a row."""
        text = self.tables.sql(template)
        return changed(
            await self._asked(
                lambda connection: connection.execute(text, *args, timeout=PATIENCE)
            )
        )

    async def load(self, name: str, state_type: object) -> Snapshot | None:
        """Return the snapshot of *name*, or `None` where there is none.

        Raises:
            CheckpointError: It cannot be read.
        """
        kept = await self.seen(LOAD, name)
        if not kept:
            return None
        text, form, *counts = kept[0]
        try:
            return Snapshot(decode(Encoded(text, form), state_type), *counts)
        except CheckpointError as error:
            msg = (
                f"The checkpoint of {name!r} in the schema {self.schema!r} cannot be "
                f"used. {error}"
            )
            raise CheckpointError(msg) from error

    def done_by_itself(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Do *work* to its end, whether anybody awaits the answer or not."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        # Looked at, or asyncio complains where nobody awaits it.
        if not task.cancelled():
            task.exception()

    async def _asked(
        self,
        ask: Callable[[Connection], Awaitable[_T]],
        pool_for_it: Callable[[], Awaitable[Pool]] | None = None,
    ) -> _T:
        """Return what *ask* gives, on a connection of its own.

        It is asked again where the trouble may pass: so it has to be something that
        may be done twice.
        """
        get_pool = pool_for_it or self._pool
        tries = 0
        while True:
            tries += 1
            try:
                pool = await get_pool()
                async with self._lent(pool) as connection:
                    return await ask(connection)
            except TROUBLE as error:
                if isinstance(error, GONE):
                    self._seen_to = None
                if not isinstance(error, PASSING) or tries == _TRIES:
                    raise explained(error, self.schema) from error
            # At random, so that two that are at odds are not so again.
            await anyio.sleep(random.uniform(0, tries * _SECONDS_MORE_EACH_TRY))

    async def _pool(self) -> Pool:
        """Return the pool, with tables in its database."""
        pool = await self._pool_as_it_is()
        if pool is not self._seen_to:
            # To its end: a rollback that is cancelled leaves a spoilt connection.
            await finish(self._make(pool))
            self._seen_to = pool
        return pool

    async def _pool_as_it_is(self) -> Pool:
        """Return the pool, with whatever tables are in its database; not newer ones."""
        pool = await pool_of(self._source)
        if pool is not self._seen_to:
            self._seen_to = None
            version = await self._version(pool)
            if version > KNOWN:
                raise newer(version, KNOWN, self.schema)
            if version == KNOWN:
                self._seen_to = pool
        return pool

    async def _version(self, pool: Pool) -> int:
        """Return that of the tables; 0 where there are none."""
        async with self._lent(pool) as connection:
            try:
                found = await connection.fetchval(
                    self.tables.sql(VERSION), timeout=PATIENCE
                )
            except GONE:
                return 0
        return int(found or 0)

    async def _make(self, pool: Pool) -> None:
        # Each look into the tables has to see what others have committed by then.
        async with (
            self._lent(pool) as connection,
            connection.transaction(isolation="read_committed"),
        ):
            await connection.execute(making(self.tables), timeout=PATIENCE)

    @asynccontextmanager
    async def _lent(self, pool: Pool) -> AsyncIterator[Connection]:
        try:
            connection = await pool.acquire(timeout=PATIENCE)
        except TimeoutError as error:
            raise nothing_free(PATIENCE, self.schema) from error
        try:
            yield connection
        finally:
            # The answer is there by then. What cannot be given back is terminated.
            with suppress(*TROUBLE):
                await pool.release(connection)


def changed(status: str) -> bool:
    """Whether a command with this *status*, such as `UPDATE 1`, changed a row."""
    return not status.endswith(" 0")
