"""One run's walk over its table: the ranges, and the statements that do them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import asyncpg

from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._inspecting import (
    Inspected,
    estimated,
    inspect_table,
)
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres._store_pool import Pool
from adaptive_backfill.postgres.identifiers import quoted, table_named
from adaptive_backfill.postgres.keyset import Keyset, with_batch

__all__ = ["Cursor", "Key", "Walk", "Way"]

Key = tuple[Any, ...]
"""The values of a key's columns."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a walk is: the state of a `TableBackfill`.

    Attributes:
        last: The last key done, exclusive; `None` before the first batch.
        end: The key where it ends, fixed at the start; `None` for an empty table.
    """

    last: Key | None
    end: Key | None


class Way(NamedTuple):
    """What a class says of its walk, as it is in force.

    Attributes:
        subject: The class, for errors.
        table: As the user names it.
        key: Columns; `None` for the primary key.
        where: Rows still to do.
        descending: Whether it begins at the greatest key.
        statement: With ``{batch}``; `None` where rows go through Python.
        columns: What those rows have; none for all columns.
    """

    subject: str
    table: str
    key: tuple[str, ...] | None
    where: str | None
    descending: bool
    statement: str | None
    columns: tuple[str, ...]


class Walk:
    """Opens the run's pool, looks at the table, and does its ranges."""

    def __init__(self, way: Way, pool: RunPool) -> None:
        self._way = way
        self._pool = pool
        self._table = table_named(way.table)
        self._inspected: Inspected | None = None
        self._texts: dict[object, str] = {}

    async def __aenter__(self) -> Self:
        """Open the pool, and look at the table.

        Raises:
            ConfigurationError: It cannot be walked by the key.
        """
        await self._pool.__aenter__()
        try:
            async with self._pool.pool.acquire() as connection:
                self._inspected = await inspect_table(
                    connection, self._table, self._way.key, self._way.subject
                )
        finally:
            if self._inspected is None:
                await self._pool.__aexit__(None, None, None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the pool, where it was opened here."""
        await self._pool.__aexit__(kind, error, trace)

    @property
    def pool(self) -> Pool:
        """The pool of the run, while it is open."""
        return self._pool.pool

    @property
    def seen(self) -> Inspected:
        """What the database says of the table."""
        return self._seen()

    @property
    def keyset(self) -> Keyset:
        """The ranges of the walk, as SQL."""
        return self._keyset()

    def batch(self, *, after: bool) -> str:
        """Return the SQL of a batch: the statement, or what reads its rows."""
        by = self._done if self._way.statement else self._select
        return by(self._keyset(), after=after)

    async def start(self) -> Cursor:
        """Return where a new walk begins, and fix where it ends."""
        async with self._pool.pool.acquire() as connection:
            return Cursor(None, await self.last(connection))

    async def total(self, *, exact: bool) -> int | None:
        """Return the rows that there are, counted or estimated."""
        async with self._pool.pool.acquire() as connection:
            if exact:
                counted: int = await connection.fetchval(self._keyset().left())
                return counted
            return await estimated(connection, self._seen().oid)

    async def last(self, connection: Connection) -> Key | None:
        """Return the key where the walk would end now; `None` for an empty table."""
        row = await connection.fetchrow(self._keyset().last())
        return None if row is None else tuple(row)

    async def bound(self, connection: Connection, cursor: Cursor, size: int) -> Key:
        """Return the last key of the next batch of at most *size* keys."""
        after = cursor.last is not None
        text = self._text(("bound", after), lambda keys: keys.bound(after=after))
        row = await connection.fetchrow(text, *_keys(cursor), size - 1)
        return (cursor.end or ()) if row is None else tuple(row)

    async def rows(
        self, connection: Connection, cursor: Cursor, upper: Key
    ) -> list[asyncpg.Record]:
        """Return the rows of a batch that are still to do, in key order, locked.

        Locked, so that what is written was not changed since it was read.
        """
        after = cursor.last is not None
        text = self._text(("rows", after), lambda keys: self._select(keys, after=after))
        found = await connection.fetch(text, *_up_to(cursor, upper))
        return list(found)

    async def do(self, connection: Connection, cursor: Cursor, upper: Key) -> int:
        """Do a batch by the statement; return how many rows it did."""
        after = cursor.last is not None
        text = self._text(("do", after), lambda keys: self._done(keys, after=after))
        status = await connection.execute(text, *_up_to(cursor, upper))
        return _count_of(status)

    async def do_with(
        self,
        connection: Connection,
        cursor: Cursor,
        upper: Key,
        *,
        lease: PostgresLease,
        snapshot: Snapshot,
    ) -> tuple[int, bool]:
        """Do a batch, and save *snapshot* in the same statement.

        Returns:
            How many rows it did; and whether the lease was still held.
        """
        arguments = _up_to(cursor, upper)
        after = cursor.last is not None
        text = self._text(
            ("ride", after),
            lambda keys: (
                f"WITH done AS ({self._done(keys, after=after)} RETURNING 1), "
                f"kept AS ({lease.riding_update(len(arguments) + 1, 'done')}) "
                "SELECT (SELECT count(*) FROM done), EXISTS (SELECT FROM kept)"
            ),
        )
        row = await connection.fetchrow(
            text, *arguments, *lease.riding_arguments(snapshot)
        )
        if row is None:
            return 0, False
        return int(row[0]), bool(row[1])

    def _select(self, keys: Keyset, *, after: bool) -> str:
        columns = ", ".join(map(quoted, self._way.columns)) or "*"
        order = keys.order()
        return (
            f"SELECT {columns} FROM {keys.table.sql} "
            f"WHERE {keys.batch(None, after=after)} ORDER BY {order} FOR NO KEY UPDATE"
        )

    def _done(self, keys: Keyset, *, after: bool) -> str:
        statement = self._way.statement or ""
        return with_batch(statement.strip().rstrip(";"), keys, after=after)

    def _text(self, of: object, make: Callable[[Keyset], str]) -> str:
        text = self._texts.get(of)
        if text is None:
            text = self._texts[of] = make(self._keyset())
        return text

    def _seen(self) -> Inspected:
        if self._inspected is None:
            msg = f"the walk over {self._table.sql} has not been opened"
            raise RuntimeError(msg)
        return self._inspected

    def _keyset(self) -> Keyset:
        seen = self._seen()
        return Keyset(
            self._table, seen.key, seen.types, self._way.descending, self._way.where
        )


def _keys(cursor: Cursor) -> Key:
    return (*(cursor.last or ()), *(cursor.end or ()))


def _up_to(cursor: Cursor, upper: Key) -> Key:
    return (*(cursor.last or ()), *upper)


def _count_of(status: str) -> int:
    """Return the rows of a command tag: ``UPDATE 5``, ``INSERT 0 5``."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
