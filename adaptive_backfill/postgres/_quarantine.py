"""Rows that could not be done, as they are kept beside the checkpoints.

They are kept in the database of the data, wherever the checkpoint is: so that a row is
set aside in the transaction in which the walk passes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from adaptive_backfill._core.codec import Encoded, decode, encode
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._store_database import StoreDatabase
from adaptive_backfill.postgres._store_errors import explained
from adaptive_backfill.postgres._store_pool import PoolSource
from adaptive_backfill.postgres._store_schema import DEFAULT_SCHEMA
from adaptive_backfill.postgres._store_sql import (
    FAILURE_AGAIN,
    FAILURE_DONE,
    FAILURE_PUT,
    FAILURE_TAKEN,
    FAILURES,
    FAILURES_COUNTED,
    FAILURES_DROPPED,
    FAILURES_THERE,
)
from adaptive_backfill.postgres.failures import Failure

__all__ = ["Quarantine", "described"]


class Quarantine:
    """The rows that the backfill *name* has set aside.

    Attributes:
        count: How many there are, as far as this run knows.
    """

    def __init__(
        self, pool: PoolSource, name: str, schema: str = DEFAULT_SCHEMA
    ) -> None:
        self.count = 0
        self._pending: int | None = None
        self._name = name
        # It is asked for its tables, never for a lease.
        self._database = StoreDatabase(pool, schema, 1.0)

    async def open(self, connection: Connection) -> None:
        """Count what is there already; makes no table.

        Raises:
            CheckpointError: The role may not look.
        """
        sql = self._database.tables.sql
        try:
            if await connection.fetchval(sql(FAILURES_THERE)):
                found = await connection.fetchval(sql(FAILURES_COUNTED), self._name)
                self.count = found
        except asyncpg.InsufficientPrivilegeError as error:
            raise explained(error, self._database.schema) from error

    async def make(self) -> None:
        """See to it that the table is there."""
        await self._database.row(FAILURES_COUNTED, self._name)

    async def empty(self, connection: Connection) -> None:
        """Forget them all, with the transaction of *connection*."""
        sql = self._database.tables.sql
        await connection.execute(sql(FAILURES_DROPPED), self._name)
        self._pending = 0

    async def put(
        self, connection: Connection, key: Sequence[object], error: str, attempts: int
    ) -> int:
        """Keep a row in the transaction of *connection*; return how many there are."""
        sql = self._database.tables.sql
        arguments = (self._name, *encode(tuple(key)), error, attempts)
        await connection.execute(sql(FAILURE_PUT), *arguments)
        found: int = await connection.fetchval(sql(FAILURES_COUNTED), self._name)
        self._pending = found
        return found

    def settled(self, *, committed: bool) -> None:
        """Hear what became of the transaction of `empty` and `put`."""
        if committed and self._pending is not None:
            self.count = self._pending
        self._pending = None

    async def keys(self) -> list[tuple[object, ...]]:
        """Return the keys of them all, in the order in which they failed first."""
        found = await self._database.seen(FAILURES, self._name)
        return [_key(row[0], row[1]) for row in found]

    async def listed(self) -> list[Failure]:
        """Return them all, in the order in which they failed first."""
        found = await self._database.seen(FAILURES, self._name)
        return [
            Failure(_shown(_key(key, form)), error, attempts, at)
            for key, form, error, attempts, at in found
        ]

    async def take(self, connection: Connection, key: Sequence[object]) -> int | None:
        """Lock a row of the list; `None` where somebody else is at it."""
        sql = self._database.tables.sql(FAILURE_TAKEN)
        found: int | None = await connection.fetchval(
            sql, self._name, encode(tuple(key)).text
        )
        return found

    async def drop(self, connection: Connection, number: int) -> None:
        """Forget the row that `take` gave."""
        await connection.execute(self._database.tables.sql(FAILURE_DONE), number)

    async def again(self, key: Sequence[object], error: str) -> None:
        """Keep that a row has failed once more."""
        text = encode(tuple(key)).text
        await self._database.changes(FAILURE_AGAIN, self._name, text, error)


def described(error: BaseException) -> str:
    """Return *error* as it is kept."""
    # A text in PostgreSQL takes no NUL, and an error may quote one.
    return f"{type(error).__name__}: {error}".replace("\0", "\\0")


def _key(text: str, form: str) -> tuple[object, ...]:
    key = decode(Encoded(text, form))
    return key if isinstance(key, tuple) else (key,)


def _shown(key: tuple[object, ...]) -> object:
    return key[0] if len(key) == 1 else key
